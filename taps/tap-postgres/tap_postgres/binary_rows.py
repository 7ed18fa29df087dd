"""Rows of PostgreSQL's binary COPY format as Arrow columns, without a Python object per value.

A row is the number of its columns, then each value behind its length, all numbers big-endian. The values of a column
are found at once, by offsets into the bytes as they came.

https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS (read 2026-11-22)
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Octets = npt.NDArray[np.uint8]
    Positions = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]
    Reader = Callable[["Wire", "Values"], pa.Array]

PADDING = 16
"""So many bytes behind the last row can be asked for."""

_COUNT_BYTES, _LENGTH_BYTES = 2, 4


class RowFormatError(Exception):
    """Bytes that are no rows of the columns that were described."""


@dataclass(frozen=True, slots=True)
class Block:
    """Whole rows as they came: the bytes, `PADDING` more behind them, and where each row begins and ends."""

    octets: Octets
    begins: Positions
    ends: Positions


@dataclass(frozen=True, slots=True)
class Values:
    """Where the values of a column begin and end; a NULL has no bytes. `is_null` is None where none is."""

    begins: Positions
    ends: Positions
    is_null: Mask | None

    def __len__(self) -> int:
        return len(self.begins)

    def validity(self) -> pa.Buffer | None:
        """Return Arrow's bitmap of them."""
        return None if self.is_null is None else bitmap(~self.is_null)


def bitmap(mask: Mask | Octets) -> pa.Buffer:
    """Return a bit for each element that is not zero."""
    return pa.py_buffer(np.packbits(mask, bitorder="little"))


class Wire:
    """The bytes of a block, read at many positions at once."""

    def __init__(self, octets: Octets) -> None:
        self.octets = octets
        self.content = pa.py_buffer(octets)

    def at(self, kind: str, positions: Positions) -> npt.NDArray[Any]:
        """Return what stands at these positions, in the machine's byte order.

        Args:
            kind: A type of numpy's, such as `>i4`.
            positions: Aligned to nothing.
        """
        dtype = np.dtype(kind)
        overlapping: npt.NDArray[Any] = np.ndarray(
            (len(self.octets) - dtype.itemsize + 1,), dtype, self.octets, strides=(1,)
        )
        return overlapping[positions].astype(dtype.newbyteorder("="), copy=False)

    def values(self, positions: Positions) -> Values:
        """Return the values whose lengths stand at these positions."""
        lengths = self.at(">i4", positions).astype(np.int64)
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
    wire = Wire(block.octets)
    if not (wire.at(">i2", block.begins) == len(readers)).all():
        raise RowFormatError(f"a row has another number of columns than {len(readers)}")
    positions = block.begins + _COUNT_BYTES
    found = []
    for reader in readers:
        values = wire.values(positions)
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

    def read(wire: Wire, values: Values) -> pa.Array:
        found = _fixed(wire, values, wire_type)
        if epoch:
            found += found.dtype.type(epoch)
        return _array(kind, found, values)

    return read


def booleans(wire: Wire, values: Values) -> pa.Array:
    """A byte each."""
    found = _fixed(wire, values, "u1")
    return pa.Array.from_buffers(pa.bool_(), len(found), [values.validity(), bitmap(found)])


def uuids(wire: Wire, values: Values) -> pa.Array:
    """Sixteen bytes each."""
    return pa.ExtensionArray.from_storage(
        pa.uuid(), _array(pa.binary(16), _fixed(wire, values, "V16"), values)
    )


def _fixed(wire: Wire, values: Values, wire_type: str) -> npt.NDArray[Any]:
    width = np.dtype(wire_type).itemsize
    lengths = values.ends - values.begins
    wrong = lengths != width
    if values.is_null is not None:
        wrong &= ~values.is_null
    if wrong.any():
        raise RowFormatError(f"a value has {lengths[wrong][0]} bytes, expected {width}")
    found = wire.at(wire_type, values.begins)
    if values.is_null is not None:  # other values stand there, which nobody may see
        found[values.is_null] = np.zeros(1, found.dtype)[0]
    return found


def _array(kind: pa.DataType, found: npt.NDArray[Any], values: Values) -> pa.Array:
    return pa.Array.from_buffers(
        kind, len(found), [values.validity(), pa.py_buffer(np.ascontiguousarray(found).view(np.uint8))]
    )


# --- texts and bytes -----------------------------------------------------------------------------------


def octets(kind: pa.DataType, *, version: int | None = None) -> Reader:
    """Return a reader of texts or bytes, each after a byte with its version if there is one."""

    def read(wire: Wire, values: Values) -> pa.Array:
        if version is None:
            return _between(wire, values, kind)
        others = wire.octets[values.begins] != version
        if values.is_null is not None:
            others &= ~values.is_null
        if others.any():
            raise RowFormatError(f"a value has another version than {version}")
        begins = np.minimum(values.begins + 1, values.ends)
        return _between(wire, Values(begins, values.ends, values.is_null), kind)

    return read


def _between(wire: Wire, values: Values, kind: pa.DataType) -> pa.Array:
    """Return the bytes from here to there, copied once.

    They are chosen from an array over all the bytes, in which every other element is a value and the rest is what
    lies between.
    """
    count = len(values)
    if not count:
        return pa.array([], kind)
    offsets = np.empty(2 * count, np.int32)
    offsets[0::2], offsets[1::2] = values.begins, values.ends
    everything = pa.Array.from_buffers(kind, 2 * count - 1, [None, pa.py_buffer(offsets), wire.content])
    chosen = _evens(count)
    return everything.take(
        pa.array(chosen) if values.is_null is None else pa.array(chosen, mask=values.is_null)
    )


@functools.lru_cache(maxsize=2)
def _evens(count: int) -> npt.NDArray[np.int32]:
    return np.arange(0, 2 * count, 2, dtype=np.int32)


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

    def read(wire: Wire, values: Values) -> pa.Array:
        begins, counts = _elements(wire, values)
        offsets = np.zeros(len(values) + 1, np.int32)
        np.cumsum(counts, out=offsets[1:])
        child = element(wire, _each_element(wire, begins, counts, values.ends))
        mask = None if values.is_null is None else pa.array(values.is_null)
        return pa.ListArray.from_arrays(pa.array(offsets), child, mask=mask)

    return read


def _elements(wire: Wire, values: Values) -> tuple[Positions, Positions]:
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


def _each_element(wire: Wire, begins: Positions, counts: Positions, ends: Positions) -> Values:
    """Return the elements of all arrays, one after the other."""
    total = int(counts.sum())
    widths = np.where(counts > 0, ends - begins, 0)
    step = int(widths.sum()) // total if total else 0
    if total and step >= _LENGTH_BYTES and (widths == counts * step).all():
        within = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
        positions = np.repeat(begins, counts) + within * step
        values = wire.values(positions)
        if (values.ends - positions == step).all():  # all of one length, as numbers are
            return values
    found = []
    view = memoryview(wire.content)
    for position, count in zip(begins.tolist(), counts.tolist(), strict=True):
        place = position
        for _ in range(count):
            found.append(place)
            place += _LENGTH_BYTES + max(_length(view, place)[0], 0)
    return wire.values(np.array(found, np.int64))
