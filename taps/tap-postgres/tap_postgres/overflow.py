"""Dates and times that PostgreSQL holds and Iceberg does not: infinity, other years than 1 to 9999, 24:00.

https://www.postgresql.org/docs/current/datatype-datetime.html (read 2026-11-21)
"""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from icetap.sql.dialect import Decoded

if TYPE_CHECKING:
    from collections import Counter

POLICIES = ("refuse", "null", "clamp", "string")

_DAY = 86_400_000_000
_EPOCH = dt.date(1970, 1, 1).toordinal()
FIRST_DAY, LAST_DAY = dt.date.min.toordinal() - _EPOCH, dt.date.max.toordinal() - _EPOCH
EPOCH_DAYS, EPOCH_MICROS = 10_957, 946_684_800_000_000
"""2000-01-01, PostgreSQL's own epoch, in Unix time; it is added to infinity, too."""
_LOWEST_DAY, _LOWEST_MICRO = -2_451_507 + EPOCH_DAYS, -211_813_488_000_000_000 + EPOCH_MICROS
"""The earliest finite values, in the year -4713."""


@dataclass(frozen=True, slots=True)
class Range:
    """What a type holds, as it is counted; `lowest` is PostgreSQL's earliest, below it the sums wrapped."""

    kind: pa.DataType
    first: int
    last: int
    lowest: int | None
    minus_infinity: int | None


def range_of(kind: pa.DataType) -> Range:
    """Return the bounds of a date, a time of day, or an instant."""
    if pa.types.is_date(kind):
        return Range(kind, FIRST_DAY, LAST_DAY, _LOWEST_DAY, -(2**31) + EPOCH_DAYS)
    if pa.types.is_time(kind):
        return Range(kind, 0, _DAY - 1, None, None)
    return Range(kind, FIRST_DAY * _DAY, (LAST_DAY + 1) * _DAY - 1, _LOWEST_MICRO, -(2**63) + EPOCH_MICROS)


@dataclass(frozen=True, slots=True)
class Overflow:
    """What happens to such values of one column: `refuse` marks them, `null` and `clamp` count them."""

    bounds: Range
    policy: str
    column: str
    counts: Counter[str] = field(repr=False)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def applied(self, counted: pa.Array) -> Decoded:
        """Return the exact values of what was counted: days or microseconds since 1970."""
        bounds = self.bounds
        ends = pc.min_max(counted)
        low, high = ends["min"].as_py(), ends["max"].as_py()
        if low is None or (low >= bounds.first and high <= bounds.last):
            return Decoded(_typed(counted, bounds.kind))
        outside = pc.fill_null(
            pc.or_(pc.less(counted, bounds.first), pc.greater(counted, bounds.last)), False
        )
        if self.policy == "clamp":
            self._count(outside)
            return Decoded(_typed(pc.if_else(outside, self._ends(counted), counted), bounds.kind))
        inside = _typed(pc.if_else(outside, None, counted), bounds.kind)
        if self.policy == "null":
            self._count(outside)
            return Decoded(inside)
        return Decoded(inside, outside)

    def _ends(self, counted: pa.Array) -> pa.Array:
        """Return the first or the last value of the type, whichever is nearer."""
        bounds = self.bounds
        late = pc.greater(counted, bounds.last)
        if bounds.lowest is not None:
            wrapped = pc.and_(
                pc.less(counted, bounds.lowest),
                pc.not_equal(counted, pa.scalar(bounds.minus_infinity, counted.type)),
            )
            late = pc.or_(late, wrapped)
        return pc.if_else(late, pa.scalar(bounds.last, counted.type), pa.scalar(bounds.first, counted.type))

    def _count(self, outside: pa.Array) -> None:
        with self.lock:
            self.counts[self.column] += pc.sum(outside).as_py() or 0


def _typed(counted: pa.Array, kind: pa.DataType) -> pa.Array:
    return counted.view(kind)
