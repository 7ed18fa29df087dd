"""From the values as the driver reads them to the exact ones, a column at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from icetap.sql.dialect import Decoded
from icetap.types import TIMESTAMPTZ, decimals_from_texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_mysql.zero_dates import ZeroDates

_UUID_BYTES = 16
_FLOAT_BYTES = 4


def as_is(arrays: Sequence[pa.Array]) -> Decoded:
    """Take the values as they came."""
    return Decoded(arrays[0])


def number(arrays: Sequence[pa.Array], *, kind: pa.DataType) -> Decoded:
    """Numbers in their column's width; what does not fit is refused."""
    given = arrays[0]
    if given.type == kind:
        return Decoded(given)
    try:
        return Decoded(pc.cast(given, kind))
    except pa.ArrowInvalid:
        return _one_by_one(given, kind)


def decimal(arrays: Sequence[pa.Array], *, kind: pa.DataType) -> Decoded:
    """Decimals from their digits."""
    texts = _utf8(arrays[0])
    return Decoded.of(decimals_from_texts(texts, kind), texts)


def boolean(arrays: Sequence[pa.Array]) -> Decoded:
    """0 and 1; any other number is refused."""
    given = arrays[0]
    numbers = pc.cast(given, pa.int64())
    refused = pc.fill_null(pc.invert(pc.is_in(numbers, value_set=pa.array([0, 1]))), False)
    refused = pc.and_(refused, pc.is_valid(given))
    return Decoded(pc.equal(numbers, 1), refused if pc.any(refused).as_py() else None)


def text(arrays: Sequence[pa.Array]) -> Decoded:
    """Texts, which the server sends in UTF-8; other bytes are refused."""
    return Decoded.utf8(arrays[0])


def members(arrays: Sequence[pa.Array]) -> Decoded:
    """A SET's members, as a list; the empty set is an empty one."""
    texts = _utf8(arrays[0])
    lists = pc.split_pattern(texts, ",")
    kind = pa.list_(pa.field("element", pa.string()))
    is_empty = pc.equal(texts, "")
    if pc.any(is_empty).as_py():
        lists = pa.array(
            [[] if value == [""] else value for value in lists.to_pylist()], pa.list_(pa.string())
        )
    return Decoded(lists.cast(kind))


def uuid(arrays: Sequence[pa.Array]) -> Decoded:
    """UUIDs from their texts: all hexadecimal digits of a block are read at once."""
    texts = _utf8(arrays[0])
    digits = pc.replace_substring(pc.fill_null(texts, "0" * 32), "-", "")
    octets = bytes.fromhex("".join(digits.to_pylist()))
    valid = None if texts.null_count == 0 else pc.is_valid(texts).buffers()[1]
    stored = pa.Array.from_buffers(pa.binary(_UUID_BYTES), len(texts), [valid, pa.py_buffer(octets)])
    return Decoded(pa.ExtensionArray.from_storage(pa.uuid(), stored))


def vector(arrays: Sequence[pa.Array]) -> Decoded:
    """Vectors: numbers of four bytes, little-endian, one after the other."""
    given = arrays[0]
    joined = b"".join(value or b"" for value in given.to_pylist())
    numbers = pa.Array.from_buffers(pa.float32(), len(joined) // _FLOAT_BYTES, [None, pa.py_buffer(joined)])
    offsets = [0]
    for value in given.to_pylist():
        offsets.append(offsets[-1] + len(value or b"") // _FLOAT_BYTES)
    kind = pa.list_(pa.field("element", pa.float32()))
    mask = pc.is_null(given) if given.null_count else None
    return Decoded(pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), numbers, type=kind, mask=mask))


def moment(arrays: Sequence[pa.Array], *, kind: pa.DataType, zeros: ZeroDates, column: str) -> Decoded:
    """Dates and timestamps from microseconds; what no calendar has follows the policy."""
    given = arrays[0]
    micros, invalid = (pc.struct_field(given, [place]) for place in (0, 1))
    # As plain timestamps first: no cast goes from numbers to dates, and none changes what they say.
    plain = pc.cast(micros, pa.timestamp("us"))
    if pa.types.is_date(kind):
        array = pc.cast(plain, pa.date32())
    else:
        array = pc.cast(micros, TIMESTAMPTZ) if kind.tz else plain
    return zeros.applied(array, invalid, column=column)


def _utf8(array: pa.Array) -> pa.Array:
    return pc.cast(array, pa.string())


def _one_by_one(given: pa.Array, kind: pa.DataType) -> Decoded:
    """Find out which values do not fit."""
    array = pa.array([_cast_one(value, kind) for value in given], kind)
    return Decoded.of(array, given)


def _cast_one(value: pa.Scalar, kind: pa.DataType) -> object:
    try:
        return value.cast(kind).as_py()
    except pa.ArrowInvalid:
        return None
