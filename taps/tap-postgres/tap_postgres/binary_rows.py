"""Rows of PostgreSQL's binary COPY format as Arrow columns, without a Python object per value.

A row is the number of its columns, then each value behind its length, all numbers big-endian. The values of a column
are found at once, by offsets into the bytes as they came.

https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS (read 2026-11-22)
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from icetap.sql.row_bytes import RowBytes, RowFormatError, Values, array, bitmap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from icetap.sql.row_bytes import Block, Positions

    Reader = Callable[[RowBytes, Values], pa.Array]

_COUNT_BYTES, _LENGTH_BYTES = 2, 4


def sized_values(wire: RowBytes, positions: Positions) -> Values:
    """Return the values whose lengths stand at these positions."""
    lengths = wire.at(">i4", positions).astype(np.int64)
    begins = positions + _LENGTH_BYTES
    is_null = None
    if len(lengths) and lengths.min() < 0:
        is_null = lengths < 0
        lengths[is_null] = 0
    return Values(begins, begins + lengths, is_null)


def columns(block: Block, readers: Sequence[Reader]) -> list[pa.Array]:
    """Return the columns of a block; its bytes are copied.

    Raises:
        RowFormatError: When the rows have other columns.
    """
    wire = RowBytes(block.octets)
    if not (wire.at(">i2", block.begins) == len(readers)).all():
        raise RowFormatError(f"a row has another number of columns than {len(readers)}")
    positions = block.begins + _COUNT_BYTES
    found = []
    for reader in readers:
        values = sized_values(wire, positions)
        found.append(reader(wire, values))
        positions = values.ends
    if not np.array_equal(positions, block.ends):
        raise RowFormatError("the values of a row do not end where the row ends")
    return found


# --- values of one length ------------------------------------------------------------------------------


def numbers(wire_type: str, kind: pa.DataType, *, epoch: int = 0) -> Reader:
    """Return a reader of numbers, and of dates and times, which are counted from `epoch`.

    A sum beyond the type's bounds wraps, so that infinity stays recognisable.
    """

    def read(wire: RowBytes, values: Values) -> pa.Array:
        found = _fixed(wire, values, wire_type)
        if epoch:
            found += found.dtype.type(epoch)
        return array(kind, found, values)

    return read


def booleans(wire: RowBytes, values: Values) -> pa.Array:
    """A byte each."""
    found = _fixed(wire, values, "u1")
    return pa.Array.from_buffers(pa.bool_(), len(found), [values.validity(), bitmap(found)])


def uuids(wire: RowBytes, values: Values) -> pa.Array:
    """Sixteen bytes each."""
    return pa.ExtensionArray.from_storage(
        pa.uuid(), array(pa.binary(16), _fixed(wire, values, "V16"), values)
    )


def _fixed(wire: RowBytes, values: Values, wire_type: str) -> npt.NDArray[Any]:
    width = np.dtype(wire_type).itemsize
    lengths = values.ends - values.begins
    wrong = lengths != width
    if values.is_null is not None:
        wrong &= ~values.is_null
    if wrong.any():
        raise RowFormatError(f"a value has {lengths[wrong][0]} bytes, expected {width}")
    return wire.fixed(wire_type, values)


# --- texts and bytes -----------------------------------------------------------------------------------


def octets(kind: pa.DataType, *, version: int | None = None) -> Reader:
    """Return a reader of texts or bytes, each after a byte with its version if there is one."""

    def read(wire: RowBytes, values: Values) -> pa.Array:
        if version is None:
            return wire.between(values, kind)
        others = wire.octets[values.begins] != version
        if values.is_null is not None:
            others &= ~values.is_null
        if others.any():
            raise RowFormatError(f"a value has another version than {version}")
        begins = np.minimum(values.begins + 1, values.ends)
        return wire.between(Values(begins, values.ends, values.is_null), kind)

    return read


# --- arrays --------------------------------------------------------------------------------------------

_DIMENSIONS_AT, _DIMENSION_BYTES = 12, 8
_MOST_DIMENSIONS = 6
_length = struct.Struct(">i").unpack_from


def lists(element: Reader) -> Reader:
    """Return a reader of arrays; those of several dimensions become flat.

    A value is the number of dimensions, a mark, the element's type, size and lower bound of each dimension, then the
    elements, each behind its length.
    https://github.com/postgres/postgres/blob/REL_17_STABLE/src/backend/utils/adt/arrayfuncs.c (array_send, read 2026-11-22)
    """

    def read(wire: RowBytes, values: Values) -> pa.Array:
        begins, counts = _elements(wire, values)
        offsets = np.zeros(len(values) + 1, np.int32)
        np.cumsum(counts, out=offsets[1:])
        child = element(wire, _each_element(wire, begins, counts, values.ends))
        mask = None if values.is_null is None else pa.array(values.is_null)
        return pa.ListArray.from_arrays(pa.array(offsets), child, mask=mask)

    return read


def _elements(wire: RowBytes, values: Values) -> tuple[Positions, Positions]:
    """Return where the first element of each array begins, and how many there are."""
    last = np.int64(len(wire.octets) - _LENGTH_BYTES)
    dimensions = wire.at(">i4", np.minimum(values.begins, last)).astype(np.int64)
    if values.is_null is not None:
        dimensions[values.is_null] = 0
    if len(dimensions) and not 0 <= dimensions.min() <= dimensions.max() <= _MOST_DIMENSIONS:
        raise RowFormatError("a value is no array")
    counts = (dimensions > 0).astype(np.int64)
    for number in range(int(dimensions.max(initial=0))):
        place = np.minimum(values.begins + (_DIMENSIONS_AT + number * _DIMENSION_BYTES), last)
        counts *= np.where(dimensions > number, wire.at(">i4", place), 1)
    begins = values.begins + _DIMENSIONS_AT + _DIMENSION_BYTES * dimensions
    return (begins if values.is_null is None else np.where(values.is_null, values.ends, begins)), counts


def _each_element(wire: RowBytes, begins: Positions, counts: Positions, ends: Positions) -> Values:
    """Return the elements of all arrays, one after the other."""
    total = int(counts.sum())
    widths = np.where(counts > 0, ends - begins, 0)
    step = int(widths.sum()) // total if total else 0
    if total and step >= _LENGTH_BYTES and (widths == counts * step).all():
        within = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
        positions = np.repeat(begins, counts) + within * step
        values = sized_values(wire, positions)
        if (values.ends - positions == step).all():  # all of one length, as numbers are
            return values
    found = []
    view = memoryview(wire.content)
    for position, count in zip(begins.tolist(), counts.tolist(), strict=True):
        place = position
        for _ in range(count):
            found.append(place)
            place += _LENGTH_BYTES + max(_length(view, place)[0], 0)
    return sized_values(wire, np.array(found, np.int64))
