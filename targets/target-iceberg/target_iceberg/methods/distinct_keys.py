"""Whether a key has come twice, told while rows come, in memory that does not grow with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_SPANS = 65_536
"""Spans of integers that are told apart; 16 bytes each."""


class DistinctKeys:
    """Proves that no key has come twice, where keys come in their order or nearly so.

    Integers may come in any order, as long as what comes late fills places that were left free: a table that is
    read as it lies on disk, or in parts, is like that. Texts and moments must rise. Where that does not hold,
    `are_distinct` is false, and only a search through all keys (`latest_rows`) tells whether one came twice.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._key = keys[0] if len(keys) == 1 else None
        self._seen: _Spans | _Rising | None = None
        self.are_distinct = self._key is not None
        self.low: pa.Scalar | None = None
        """The smallest key since `begin_part`, while all are distinct."""
        self.high: pa.Scalar | None = None
        """The largest key since `begin_part`, while all are distinct."""

    def begin_part(self) -> None:
        """Tell the smallest and the largest key of what comes from now on."""
        self.low = self.high = None

    def see(self, batch: pa.RecordBatch) -> None:
        """Look at the next rows."""
        if not self.are_distinct or not batch.num_rows:
            return
        column = batch.column(self._key)
        if self._seen is None:
            self._seen = _Spans() if pa.types.is_integer(column.type) else _Rising()
        self.are_distinct = not column.null_count and self._seen.add(column)
        if self.are_distinct:
            bounds = pc.min_max(column)
            low, high = bounds["min"], bounds["max"]
            self.low = low if self.low is None or pc.less(low, self.low).as_py() else self.low
            self.high = high if self.high is None or pc.greater(high, self.high).as_py() else self.high


class _Rising:
    """Keys of which each is larger than all before it."""

    def __init__(self) -> None:
        self._last: pa.Scalar | None = None

    def add(self, keys: pa.Array) -> bool:
        """Take the next keys; false when they do not rise, or their type has no order."""
        if not (pa.types.is_string(keys.type) or pa.types.is_temporal(keys.type)):
            return False
        follows = self._last is None or pc.less(self._last, keys[0]).as_py()
        self._last = keys[len(keys) - 1]
        return bool(follows) and pc.all(pc.less(keys[:-1], keys[1:])).as_py() is not False


class _Spans:
    """Integers as disjoint spans: every one that came is in a span, and none that is outside of all has come.

    A span holds only integers that came, until there are too many spans: then those are joined that lie closest
    to each other, as if what lies between them had come. So the gaps of deleted rows are forgotten first, and the
    wider ones of rows that are still to come last. What came just now is left as it is, since the next rows often
    lie among it.
    """

    def __init__(self) -> None:
        self._starts = self._ends = pa.array([], pa.int64())

    def add(self, keys: pa.Array) -> bool:
        """Take the next keys; false when one of them lies in a span, or comes twice."""
        if not pa.types.is_integer(keys.type) or pa.types.is_uint64(keys.type):
            return False
        keys = keys.cast(pa.int64())
        new_starts, new_ends = _joined(keys, keys, _apart(keys, keys))
        starts = pa.concat_arrays([self._starts, new_starts])
        order = pc.sort_indices(starts)
        is_old = pc.less(order, len(self._starts))
        starts, ends = starts.take(order), pa.concat_arrays([self._ends, new_ends]).take(order)
        if pc.any(pc.less_equal(starts[1:], ends[:-1])).as_py():
            return False  # two spans have an integer in common
        apart = pc.and_(_apart(starts, ends), _too_far(starts, ends, among=pc.and_(is_old[1:], is_old[:-1])))
        self._starts, self._ends = _joined(starts, ends, apart)
        return True


def _apart(starts: pa.Int64Array, ends: pa.Int64Array) -> pa.BooleanArray:
    """Tell of each span but the first whether it does not touch the one before."""
    starts, ends = starts[1:], ends[:-1]
    # Behind the largest integer comes the smallest one here.
    return pc.or_(pc.not_equal(starts, pc.add(ends, 1)), pc.less(starts, ends))


def _too_far(starts: pa.Int64Array, ends: pa.Int64Array, *, among: pa.BooleanArray) -> pa.BooleanArray:
    """Tell of each span but the first whether it is so far from the one before that it is not to be joined with it.

    Args:
        starts: The first integers of the spans, sorted.
        ends: Their last ones.
        among: Which of them may be joined at all.
    """
    excess = (among.true_count or 0) - MOST_SPANS
    if excess < 0:
        return pa.repeat(pa.scalar(value=True), len(among))
    # Without signs, a distance of more than 2**63 is right too.
    gaps = pc.subtract(starts[1:].view(pa.uint64()), ends[:-1].view(pa.uint64()))
    candidates = gaps.filter(among)
    place = excess + MOST_SPANS // 2 - 1
    widest_joined = candidates[pc.partition_nth_indices(candidates, pivot=place)[place].as_py()]
    return pc.or_(pc.invert(among), pc.greater(gaps, widest_joined))


def _joined(
    starts: pa.Int64Array, ends: pa.Int64Array, apart: pa.BooleanArray
) -> tuple[pa.Int64Array, pa.Int64Array]:
    """Join each span with the one before but for those that stay apart."""
    return (
        pa.concat_arrays([starts[:1], starts[1:].filter(apart)]),
        pa.concat_arrays([ends[:-1].filter(apart), ends[-1:]]),
    )
