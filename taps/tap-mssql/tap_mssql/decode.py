"""From what the drivers give to the exact arrays, column-wise, with the values that do not fit marked."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from icetap.sql.dialect import Decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Decode = Callable[[Sequence[pa.Array]], Decoded]

_HAS_SRID = 0x20000000


def cast_to(kind: pa.DataType) -> Decode:
    """Return a decoder for values that the type holds as they are, in whatever width the driver chose."""
    return lambda arrays: Decoded(pc.cast(arrays[0], kind))


def truncated_to(kind: pa.DataType) -> Decode:
    """Return a decoder that cuts times of seven digits to six, as README.md declares."""
    return lambda arrays: Decoded(pc.cast(arrays[0], kind, safe=False))


def text(arrays: Sequence[pa.Array]) -> Decoded:
    """Return texts; the drivers make UTF-8 of the server's UTF-16."""
    return Decoded(pc.cast(arrays[0], pa.string()))


def uuid(arrays: Sequence[pa.Array]) -> Decoded:
    """UUIDs from their texts of 36 characters, in either case."""
    texts = pc.cast(arrays[0], pa.string())
    digits = pc.replace_substring(pc.fill_null(texts, "0" * 32), "-", "")
    raw = bytes.fromhex("".join(digits.to_pylist()))
    validity = pc.is_valid(texts)
    storage = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(texts), [None, pa.py_buffer(raw)])
    return Decoded(pa.ExtensionArray.from_storage(pa.uuid(), pc.if_else(validity, storage, None)))


def geometry(arrays: Sequence[pa.Array]) -> Decoded:
    """Shapes as EWKB: well-known binary as the server writes it (Z and M kept), with the SRID put in."""
    pairs = zip(arrays[0].to_pylist(), arrays[1].to_pylist(), strict=True)
    return Decoded(pa.array((_ewkb(shape, srid) for shape, srid in pairs), pa.binary(), size=len(arrays[0])))


def _ewkb(shape: bytes | None, srid: int | None) -> bytes | None:
    if shape is None:
        return None
    order = "<" if shape[0] == 1 else ">"
    (kind,) = struct.unpack_from(f"{order}I", shape, 1)
    return shape[:1] + struct.pack(f"{order}II", kind | _HAS_SRID, srid or 0) + shape[5:]


def vector(arrays: Sequence[pa.Array]) -> Decoded:
    """Vectors from their JSON texts, each number as it is written."""
    values = (None if value is None else json.loads(value) for value in arrays[0].to_pylist())
    return Decoded(pa.array(values, pa.list_(pa.float64()), size=len(arrays[0])))
