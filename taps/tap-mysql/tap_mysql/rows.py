"""Rows of MySQL's binary protocol as Arrow columns, without a Python object per value.

A row is a zero, a bitmap of NULLs, then one value after the other: numbers as they lie in memory, moments in
fields of their own, everything else behind its length. All values of a column are found at once, by offsets into
the bytes as they came.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_binary_resultset.html (read 2026-11-21)
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from icetap.sql.row_bytes import RowBytes, RowFormatError, Values, array, bitmap

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from icetap.sql.row_bytes import Block, Mask, Octets, Positions

    Numbers = npt.NDArray[np.int64]

BITMAP_OFFSET = 2
"""The first bits of the bitmap stand for no column."""

MOMENT = pa.struct([pa.field("micros", pa.int64()), pa.field("is_invalid", pa.bool_())])
"""A date or a moment: microseconds since 1970, or the mark that there is no such day (0000-00-00, 2017-02-31)."""

TEXT = pa.binary()
"""What stands behind its length: texts, bytes, decimals."""


def columns(block: Block, types: Sequence[pa.DataType]) -> list[pa.Array]:
    """Return the columns of a block; its bytes are copied.

    Args:
        block: The rows.
        types: What each column is on the wire: a number, `TEXT` or `MOMENT`; null where all are NULL.

    Raises:
        RowFormatError: When the rows have other columns.
    """
    wire = RowBytes(block.octets)
    nulls = [wire.at("u1", block.begins + place) for place in range(1, 1 + _bitmap_bytes(len(types)))]
    positions = block.begins + (1 + len(nulls))
    found = []
    for number, kind in enumerate(types):
        place, bit = divmod(number + BITMAP_OFFSET, 8)
        values = _values(wire, positions, _marked(nulls[place], bit), kind)
        found.append(_column(wire, values, kind))
        positions = values.ends
    if not np.array_equal(positions, block.ends):
        raise RowFormatError("the values of a row do not end where the row ends")
    return found


def _bitmap_bytes(count: int) -> int:
    return (count + 7 + BITMAP_OFFSET) // 8


def _marked(octets: Octets, bit: int) -> Mask | None:
    """Return where a bit is set; None when nowhere."""
    is_marked: Mask = (octets & np.uint8(1 << bit)) != 0
    return is_marked if is_marked.any() else None


def _values(wire: RowBytes, positions: Positions, is_null: Mask | None, kind: pa.DataType) -> Values:
    """Return the values that begin at these positions, without what says how long they are."""
    if pa.types.is_null(kind):
        return Values(positions, positions, is_null)
    if kind == TEXT:
        begins, lengths = _counted(wire, positions)
    elif kind == MOMENT:
        begins, lengths = positions + 1, wire.at("u1", positions).astype(np.int64)
    else:
        begins, lengths = positions, np.full(1, kind.bit_width // 8)
    if is_null is None:
        return Values(begins, begins + lengths, None)
    begins = np.where(is_null, positions, begins)
    return Values(begins, begins + np.where(is_null, 0, lengths), is_null)


_TWO_BYTES = 0xFC
_LONGER = {_TWO_BYTES: ("<u2", 2), 0xFD: ("<u4", 3), 0xFE: ("<u4", 8)}
"""How lengths of more than one byte are read, and how many bytes they take; no row has more than 4 GB."""


def _counted(wire: RowBytes, positions: Positions) -> tuple[Positions, Positions]:
    """Return where what is behind its length begins, and how long it is; anything where no value is."""
    first = wire.at("u1", positions)
    lengths, begins = first.astype(np.int64), positions + 1
    if first.max(initial=0) >= _TWO_BYTES:
        for mark, (kind, width) in _LONGER.items():
            marked = np.flatnonzero(first == mark)
            if len(marked):
                number = wire.at(kind, begins[marked]).astype(np.int64)
                lengths[marked] = number & 0xFFFFFF if width == 3 else number
                begins[marked] += width
    return begins, lengths


def _column(wire: RowBytes, values: Values, kind: pa.DataType) -> pa.Array:
    if pa.types.is_null(kind):
        return pa.nulls(len(values))
    if kind == MOMENT:
        return _moments(wire, values)
    if kind == TEXT:
        return wire.between(values, TEXT)
    return array(kind, wire.fixed(kind.to_pandas_dtype(), values), values)


# --- moments ---------------------------------------------------------------------------------------

_DATE_BYTES, _TIME_BYTES = 4, 7
_DAY, _SECOND = 86_400_000_000, 1_000_000
_LAST_YEAR, _MONTHS = 9999, 16
"""Months are counted in sixteens, so that any number of a month has a place."""


def _moments(wire: RowBytes, values: Values) -> pa.Array:
    """Fields of 0, 4, 7 or 11 bytes: the longer ones have a time, and its fraction; what is left out is zero."""
    lengths = values.ends - values.begins
    fields = wire.at("<u8", values.begins)
    longest = int(lengths.max(initial=0))
    days, is_invalid = _days(fields * (lengths > 0))
    micros = days * _DAY
    if longest > _DATE_BYTES:
        hour, minute, second = (
            (fields >> np.uint64(8 * place) & 0xFF).astype(np.int64) for place in (4, 5, 6)
        )
        time = ((hour * 60 + minute) * 60 + second) * _SECOND
        if longest > _TIME_BYTES:
            fraction = wire.at("<u4", values.begins + _TIME_BYTES)
            time += np.where(lengths > _TIME_BYTES, fraction, 0)
        micros += np.where(lengths > _DATE_BYTES, time, 0)
    micros[is_invalid] = 0
    children = [
        pa.array(micros),
        pa.Array.from_buffers(pa.bool_(), len(micros), [None, bitmap(is_invalid)]),
    ]
    return pa.Array.from_buffers(MOMENT, len(micros), [values.validity()], children=children)


def _days(dates: npt.NDArray[np.uint64]) -> tuple[Numbers, Mask]:
    """Return the days since 1970 of years in two bytes, months and days, and which of them no calendar has."""
    year, month, day = (
        (dates >> np.uint64(shift) & np.uint64(mask)).astype(np.int64)
        for shift, mask in ((0, 0xFFFF), (16, 0xFF), (24, 0xFF))
    )
    before, length = _calendar()
    place = np.where((year <= _LAST_YEAR) & (month < _MONTHS), year * _MONTHS + month, 0)
    return before[place] + day, (day < 1) | (day > length[place])


@functools.cache
def _calendar() -> tuple[Numbers, Numbers]:
    """Return, for each month that there might be, the day before its first one, and how many days it has."""
    numbers = np.arange(_MONTHS * (_LAST_YEAR + 1))
    year, month = numbers // _MONTHS, numbers % _MONTHS
    start = (12 * (year - 1970) + month - 1).astype("M8[M]")
    first, following = (each.astype("M8[D]").astype(np.int64) for each in (start, start + 1))
    exists = (year >= 1) & (month >= 1) & (month <= 12)
    return first - 1, np.where(exists, following - first, 0)
