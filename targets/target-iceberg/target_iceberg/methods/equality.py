"""When two rows are the same: on values of the table's types, not on text.

1.0 equals 1.00 within one decimal type, NaN equals NaN, -0.0 equals 0.0, null equals null, JSON text
is compared in canonical form, strings byte by byte.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from icetap.types import canonical_json, kind_of

RUN_COLUMNS = frozenset(
    {
        "_sdc_batched_at",
        "_sdc_extracted_at",
        "_sdc_received_at",
        "_sdc_sequence",
        "_sdc_sync_started_at",
        "_sdc_table_version",
    }
)
"""Columns that tell of the run or the full read, not of the row."""


if TYPE_CHECKING:
    from collections.abc import Iterator


def unequal_rows(old: pa.Table, new: pa.Table) -> pa.BooleanArray:
    """Return for each row whether any column differs; both tables have the same columns and length."""
    differences = [
        _unequal(old.column(field.name), new.column(field.name), field)
        for field in new.schema
        if field.name not in RUN_COLUMNS
    ]
    everything = functools.reduce(pc.or_, differences) if differences else pa.array([False] * old.num_rows)
    return everything.combine_chunks() if isinstance(everything, pa.ChunkedArray) else everything


def same_rows(one: Iterator[pa.RecordBatch], other: Iterator[pa.RecordBatch]) -> bool:
    """Whether two sources hold equal rows in the same order; reads no further than the first difference.

    Both have the same columns; how they are cut into batches does not matter. Holds a batch of each.
    """
    left, right = next(one, None), next(other, None)
    while left is not None and right is not None:
        rows = min(left.num_rows, right.num_rows)
        old, new = (pa.Table.from_batches([batch.slice(0, rows)]) for batch in (left, right))
        if rows and pc.any(unequal_rows(old, new)).as_py():
            return False
        left = left.slice(rows) if rows < left.num_rows else next(one, None)
        right = right.slice(rows) if rows < right.num_rows else next(other, None)
    return left is None and right is None


def _unequal(old: pa.ChunkedArray, new: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    kind = field.type
    if pa.types.is_nested(kind):
        left, right = ([comparable(one, field) for one in column.to_pylist()] for column in (old, new))
        return pa.chunked_array([[one != other for one, other in zip(left, right, strict=True)]], pa.bool_())
    if isinstance(kind, pa.BaseExtensionType):
        old, new = old.cast(kind.storage_type), new.cast(kind.storage_type)
    differs = pc.fill_null(pc.not_equal(old, new), False)
    if pa.types.is_floating(kind):
        both_nan = pc.and_(pc.is_nan(old), pc.is_nan(new))
        differs = pc.and_(differs, pc.invert(pc.fill_null(both_nan, False)))
    differs = pc.or_(differs, pc.xor(pc.is_null(old), pc.is_null(new)))
    if kind_of(field) == "json" and pc.any(differs).as_py():
        return _unequal_json(old, new, differs)
    return differs


def _unequal_json(old: pa.ChunkedArray, new: pa.ChunkedArray, differs: pa.ChunkedArray) -> pa.ChunkedArray:
    """Look again, by canonical form, at JSON texts that are not the same letter by letter."""
    looked_at = [
        text is not None and (one is None or other is None or canonical_json(one) != canonical_json(other))
        for text, one, other in _texts(differs, old, new)
    ]
    return pa.chunked_array([looked_at], pa.bool_())


def _texts(differs: pa.ChunkedArray, old: pa.ChunkedArray, new: pa.ChunkedArray) -> Any:
    for different, one, other in zip(differs.to_pylist(), old.to_pylist(), new.to_pylist(), strict=True):
        yield (True if different else None), one, other


def comparable(value: Any, field: pa.Field) -> Any:
    """Return Python values that compare by the rules above, at every depth."""
    kind = field.type
    if isinstance(value, float):
        return "NaN" if value != value else value + 0.0  # noqa: PLR0124 - the test for NaN
    if isinstance(value, str):
        return canonical_json(value) if kind_of(field) == "json" else value
    if value is None or not pa.types.is_nested(kind):
        return value
    if pa.types.is_struct(kind):
        return {child.name: comparable(value[child.name], child) for child in kind}
    if pa.types.is_map(kind):
        return {key: comparable(item, kind.item_field) for key, item in value}
    return [comparable(child, kind.value_field) for child in value]
