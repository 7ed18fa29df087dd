"""Which files and row groups can hold an incoming key, by the smallest and largest key of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue, And, GreaterThanOrEqual, LessThanOrEqual

from icetap.tables import count_below, plan_files
from icetap.types import schema_from_iceberg

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.table import Table

    from icetap.data_files import OpenDataFile, RowGroup

IN_ORDER_TYPES = (pa.types.is_integer, pa.types.is_string, pa.types.is_date, pa.types.is_timestamp)
"""Types of keys whose smallest and largest value can rule files out."""

LISTED_BYTES = 16 * 2**20
"""Of keys up to this size each one is known, of more only the smallest and the largest."""


class KeyRanges:
    """The incoming keys, column by column.

    Args:
        batches: The keys of the incoming rows; columns may have narrower types than `kinds`.
        keys: The key columns.
        kinds: Their types in the table.
    """

    def __init__(
        self, batches: Iterable[pa.RecordBatch], *, keys: Sequence[str], kinds: Sequence[pa.DataType]
    ) -> None:
        self._columns = {
            key: _Column(kind)
            for key, kind in zip(keys, kinds, strict=True)
            if any(matches(kind) for matches in IN_ORDER_TYPES)
        }
        if self._columns:
            for batch in batches:
                for key, column in self._columns.items():
                    column.add(batch.column(key))
            for column in self._columns.values():
                column.sort()

    @property
    def filter(self) -> BooleanExpression:
        """A filter that rules out the files in which no incoming key can be."""
        found: BooleanExpression = AlwaysTrue()
        for key, column in self._columns.items():
            if column.low is not None and column.high is not None:
                found = And(found, between(key, column.low.as_py(), column.high.as_py()))
        return found

    def may_be_in(self, file: OpenDataFile, group: RowGroup) -> bool:
        """Whether an incoming key may be in a row group."""
        return all(
            (bounds := file.bounds(group, key)) is None or column.has_any_between(*bounds)
            for key, column in self._columns.items()
        )


class _Column:
    """The values of one key column, sorted, or their bounds when there are too many."""

    def __init__(self, kind: pa.DataType) -> None:
        self._kind = kind
        self._listed: list[pa.Array] | None = []
        self._bytes = 0
        self._sorted: pa.Array | None = None
        self.low: pa.Scalar | None = None
        self.high: pa.Scalar | None = None

    def add(self, values: pa.Array) -> None:
        values = values.cast(self._kind)
        bounds = pc.min_max(values)
        low, high = bounds["min"], bounds["max"]
        if not low.is_valid:
            return
        self.low = low if self.low is None or pc.less(low, self.low).as_py() else self.low
        self.high = high if self.high is None or pc.greater(high, self.high).as_py() else self.high
        self._bytes += values.nbytes
        if self._listed is not None:
            self._listed.append(values)
        if self._bytes > LISTED_BYTES:
            self._listed = None

    def sort(self) -> None:
        if self._listed:
            values = pa.concat_arrays(self._listed)
            self._sorted = values.take(pc.sort_indices(values))
        self._listed = None

    def has_any_between(self, low: Any, high: Any) -> bool:
        """Whether a value may lie between two, both included."""
        try:
            least, most = pa.scalar(low, self._kind), pa.scalar(high, self._kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return True
        if self._sorted is not None:
            place = count_below(self._sorted, least.as_py())
            return place < len(self._sorted) and self._sorted[place].as_py() <= most.as_py()
        if self.low is None or self.high is None:
            return False
        return not (pc.less(self.high, least).as_py() or pc.greater(self.low, most).as_py())


def between(key: str, low: Any, high: Any) -> BooleanExpression:
    """Return the filter `low <= key <= high`."""
    return And(GreaterThanOrEqual(key, low), LessThanOrEqual(key, high))  # type: ignore[call-arg, arg-type]  # pydantic hides the real signature


def may_hold_keys(
    table: Table, key: str, low: Any, high: Any, *, apart_from: AbstractSet[str] = frozenset()
) -> bool:
    """Whether a file of the table may hold a key between these two, by the bounds of its key column.

    Args:
        table: The table.
        key: The key column.
        low: The smallest key that is looked for.
        high: The largest one.
        apart_from: Paths of files that are known to hold none.
    """
    kind = schema_from_iceberg(table.schema()).field(key).type
    row_filter = between(key, low, high) if any(matches(kind) for matches in IN_ORDER_TYPES) else AlwaysTrue()
    return any(task.file.file_path not in apart_from for task in plan_files(table, row_filter=row_filter))
