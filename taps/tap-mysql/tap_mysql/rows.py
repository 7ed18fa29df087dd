"""Rows of MySQL's binary protocol as Arrow columns, without a Python object per value.

A row is a zero, a bitmap of NULLs, then one value after the other: numbers as they lie in memory, moments in
fields of their own, everything else behind its length. All values of a column are found at once, by offsets into
the bytes as they came.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_binary_resultset.html (read 2026-11-21)
"""

from __future__ import annotations

import datetime as dt
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_mysql.packets import Block

BITMAP_OFFSET = 2
"""The first bits of the bitmap stand for no column."""

MOMENT = pa.struct([pa.field("micros", pa.int64()), pa.field("is_invalid", pa.bool_())])
"""A date or a moment: microseconds since 1970, or the mark that there is no such day (0000-00-00, 2017-02-31)."""

TEXT = pa.binary()
"""What stands behind its length: texts, bytes, decimals."""

_TWO_BYTES, _THREE_BYTES, _EIGHT_BYTES = 0xFC, 0xFD, 0xFE
_PADDING = bytes(16)  # so that the bytes behind the last value can be asked for
_EPOCH = dt.date(1970, 1, 1).toordinal()
_DAY = 86_400_000_000


def columns(block: Block, types: Sequence[pa.DataType]) -> list[pa.Array]:
    """Return the columns of a block, which must not be used again.

    Args:
        block: The rows.
        types: What each column is on the wire: a number, `TEXT` or `MOMENT`; null where all are NULL.
    """
    block.data.extend(_PADDING)
    wire = _Wire.of(block)
    nulls = _Nulls(wire, pa.array(block.starts, pa.int32()))
    positions = pc.add(nulls.begins, _int32(nulls.width(len(types))))
    found = []
    for number, kind in enumerate(types):
        array, positions = _column(wire, positions, nulls.of(number), kind)
        found.append(array)
    return found


@dataclass(frozen=True, slots=True)
class _Wire:
    """The bytes of a block, as a buffer and as an array of numbers."""

    content: pa.Buffer
    octets: pa.Array

    @classmethod
    def of(cls, block: Block) -> _Wire:
        content = pa.py_buffer(block.data)
        return cls(content, pa.Array.from_buffers(pa.uint8(), len(block.data), [None, content]))

    def byte(self, positions: pa.Array, offset: int = 0) -> pa.Array:
        """Return the bytes at these positions as numbers."""
        return self.octets.take(pc.add(positions, _int32(offset)) if offset else positions)

    def between(self, begins: pa.Array, ends: pa.Array, is_null: pa.Array | None) -> pa.Array:
        """Return the bytes from here to there as values, copied once.

        They are chosen from an array over all the bytes, in which every other element is a value and the rest
        is what lies between.
        """
        count = len(begins)
        offsets = pa.concat_arrays([begins, ends]).take(_in_turn(count))
        everything = pa.Array.from_buffers(
            pa.binary(), 2 * count - 1, [None, offsets.buffers()[1], self.content]
        )
        chosen = _evens(count)
        return everything.take(chosen if is_null is None else pc.if_else(is_null, None, chosen))


class _Nulls:
    """The bitmaps at the beginning of the rows."""

    def __init__(self, wire: _Wire, begins: pa.Array) -> None:
        self.begins = begins
        self._wire = wire
        self._byte: tuple[int, pa.Array | None] = (-1, None)

    def width(self, count: int) -> int:
        """How many bytes lie before the first value."""
        return 1 + (count + 7 + BITMAP_OFFSET) // 8

    def of(self, number: int) -> pa.Array | None:
        """Return where the column of this number is NULL; None when nowhere."""
        place, bit = divmod(number + BITMAP_OFFSET, 8)
        if self._byte[0] != place:
            byte = self._wire.byte(self.begins, 1 + place)
            self._byte = (place, byte if pc.max(byte).as_py() else None)
        byte = self._byte[1]
        if byte is None:
            return None
        is_null = pc.not_equal(pc.bit_wise_and(byte, pa.scalar(1 << bit, pa.uint8())), _ZERO)
        return is_null if pc.any(is_null).as_py() else None


_ZERO = pa.scalar(0, pa.uint8())


def _column(
    wire: _Wire, positions: pa.Array, is_null: pa.Array | None, kind: pa.DataType
) -> tuple[pa.Array, pa.Array]:
    """Return the values that begin at these positions, and where the next ones begin."""
    if pa.types.is_null(kind):
        return pa.nulls(len(positions)), positions
    if kind == MOMENT:
        return _moments(wire, positions, is_null)
    if kind == TEXT:
        return _texts(wire, positions, is_null)
    return _numbers(wire, positions, is_null, kind)


def _numbers(
    wire: _Wire, positions: pa.Array, is_null: pa.Array | None, kind: pa.DataType
) -> tuple[pa.Array, pa.Array]:
    width = kind.bit_width // 8
    if is_null is None:
        ends = pc.add(positions, _int32(width))
        values = wire.between(positions, ends, None)
        return pa.Array.from_buffers(kind, len(values), [None, values.buffers()[2]]), ends
    ends = pc.add(positions, pc.if_else(is_null, _int32(0), _int32(width)))
    values = pc.fill_null(wire.between(positions, ends, is_null), bytes(width))
    valid = pc.invert(is_null)
    return pa.Array.from_buffers(kind, len(values), [valid.buffers()[1], values.buffers()[2]]), ends


def _texts(wire: _Wire, positions: pa.Array, is_null: pa.Array | None) -> tuple[pa.Array, pa.Array]:
    first = wire.byte(positions)
    if is_null is not None:
        first = pc.if_else(is_null, _ZERO, first)
    length = first.cast(pa.int32())
    skipped = _int32(1) if is_null is None else pc.if_else(is_null, _int32(0), _int32(1))
    if pc.max(first).as_py() >= _TWO_BYTES:
        for mark, width in ((_TWO_BYTES, 2), (_THREE_BYTES, 3), (_EIGHT_BYTES, 8)):
            is_marked = pc.equal(first, pa.scalar(mark, pa.uint8()))
            if pc.any(is_marked).as_py():
                # Rows have less than 4 GB, so of eight bytes the last four are zero.
                number = _little_endian(wire, positions, first=1, width=min(width, 4))
                length = pc.if_else(is_marked, number.cast(pa.int32()), length)
                skipped = pc.if_else(is_marked, _int32(1 + width), skipped)
    begins = pc.add(positions, skipped)
    ends = pc.add(begins, length)
    return wire.between(begins, ends, is_null), ends


def _little_endian(wire: _Wire, positions: pa.Array, *, first: int, width: int) -> pa.Array:
    """Return the numbers of up to four bytes; what lies behind the block's end counts as zero."""
    last = _int32(len(wire.octets) - 1)
    total = None
    for place in range(width):
        where = pc.min_element_wise(pc.add(positions, _int32(first + place)), last)
        byte = pc.shift_left(wire.octets.take(where).cast(pa.int64()), pa.scalar(8 * place, pa.int64()))
        total = byte if total is None else pc.bit_wise_or(total, byte)
    return total


# --- moments ---------------------------------------------------------------------------------------


def _moments(wire: _Wire, positions: pa.Array, is_null: pa.Array | None) -> tuple[pa.Array, pa.Array]:
    """Fields of 0, 4, 7 or 11 bytes: the longer ones have a time, and its fraction; what is left out is zero."""
    length = wire.byte(positions)
    if is_null is not None:
        length = pc.if_else(is_null, _ZERO, length)
    skipped = pc.add(length.cast(pa.int32()), _int32(1))
    if is_null is not None:
        skipped = pc.if_else(is_null, _int32(0), skipped)
    days = _days(wire, positions, length)
    micros = pc.multiply(pc.fill_null(days, 0), _int64(_DAY))
    if pc.max(length).as_py() > 4:
        micros = pc.add(micros, _time_of_day(wire, positions, length))
    is_invalid = pc.is_null(days)
    micros = pc.if_else(is_invalid, _int64(0), micros)
    return (
        pa.StructArray.from_arrays([micros, is_invalid], fields=list(MOMENT), mask=is_null),
        pc.add(positions, skipped),
    )


def _days(wire: _Wire, positions: pa.Array, length: pa.Array) -> pa.Array:
    """Days since 1970; null where the calendar has no such day."""
    year = _little_endian(wire, positions, first=1, width=2)
    month, day = (_little_endian(wire, positions, first=place, width=1) for place in (3, 4))
    code = pc.add(pc.multiply(year, _int64(512)), pc.add(pc.multiply(month, _int64(32)), day))
    code = pc.if_else(pc.equal(length, _ZERO), _int64(0), code)
    dates = pc.dictionary_encode(code)  # few of them are different
    return pa.array([_day(each) for each in dates.dictionary.to_pylist()], pa.int64()).take(dates.indices)


@functools.lru_cache(maxsize=65_536)
def _day(code: int) -> int | None:
    try:
        return dt.date(code >> 9, (code >> 5) & 15, code & 31).toordinal() - _EPOCH
    except ValueError:
        return None


def _time_of_day(wire: _Wire, positions: pa.Array, length: pa.Array) -> pa.Array:
    hour, minute, second = (_little_endian(wire, positions, first=place, width=1) for place in (5, 6, 7))
    seconds = pc.add(pc.multiply(pc.add(pc.multiply(hour, _int64(60)), minute), _int64(60)), second)
    micros = pc.multiply(seconds, _int64(1_000_000))
    has_time = pc.greater(length, pa.scalar(4, pa.uint8()))
    total = pc.if_else(has_time, micros, _int64(0))
    has_fraction = pc.greater(length, pa.scalar(7, pa.uint8()))
    if pc.any(has_fraction).as_py():
        fraction = _little_endian(wire, positions, first=8, width=4)
        total = pc.add(total, pc.if_else(has_fraction, fraction, _int64(0)))
    return total


# --- small things ----------------------------------------------------------------------------------


def _int32(value: int) -> pa.Scalar:
    """A number that leaves the type of what it is added to: plain ones have 64 bits."""
    return pa.scalar(value, pa.int32())


def _int64(value: int) -> pa.Scalar:
    return pa.scalar(value, pa.int64())


@functools.lru_cache(maxsize=2)
def _in_turn(count: int) -> pa.Array:
    """0, n, 1, n + 1, …: beginnings and ends in turn."""
    return pa.array([place for number in range(count) for place in (number, count + number)], pa.int32())


@functools.lru_cache(maxsize=2)
def _evens(count: int) -> pa.Array:
    return pa.array(range(0, 2 * count, 2), pa.int32())
