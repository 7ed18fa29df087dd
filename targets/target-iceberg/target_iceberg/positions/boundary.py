"""Rows at the bookmark: inclusive bookmarks send them again, and tables without keys must not take them twice."""

from __future__ import annotations

import collections
import json
import logging
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.exceptions import ValidationError
from pyiceberg.expressions import EqualTo

from icetap.tables import read_table
from icetap.types import schema_from_iceberg
from target_iceberg.decoding.json_text import NumberText, parse_json
from target_iceberg.methods.equality import RUN_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyiceberg.table import Table

LOGGER = logging.getLogger("target-iceberg")
NAMES = "icetap.names"
"""Table property: what the columns are called in the source."""


class Boundary:
    """The rows that a table holds at exactly the bookmark's value, as a multiset."""

    def __init__(self, column: str, value: pa.Scalar, known: collections.Counter[Any]) -> None:
        self._column = column
        self._value = value
        self._known = known

    @classmethod
    def of(cls, table: Table, snapshot_id: int | None, *, bookmark: str | None) -> Boundary | None:
        """Read the rows at a bookmark in the Singer SDK's shape; None when there is nothing to compare.

        Args:
            table: The table.
            snapshot_id: The snapshot on which the load goes on.
            bookmark: The tap's start, such as `{"replication_key": "id", "replication_key_value": 7}`.
        """
        part = parse_json(bookmark) if bookmark else None
        if snapshot_id is None or not isinstance(part, dict) or "replication_key_value" not in part:
            return None
        text = part["replication_key_value"]
        column = column_of(table, part.get("replication_key"))
        if column is None or text is None:
            return None
        kind = schema_from_iceberg(table.schema()).field(column).type
        value = as_value(text, kind)
        if value is None:
            LOGGER.warning(
                "column %s: the bookmark does not read as its type; rows at it may come twice", column
            )
            return None
        known: collections.Counter[Any] = collections.Counter()
        for batch in read_table(table, snapshot_id=snapshot_id, row_filter=_equal(column, value)):
            known.update(_rows(batch.filter(_is_at(batch, column, value))))
        return cls(column, value, known) if known else None

    def without_known(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
        """Return the batch without rows that the table has already, and how many those were."""
        if not self._known or self._column not in batch.schema.names:
            return batch, 0
        places = pc.indices_nonzero(_is_at(batch, self._column, self._value))
        dropped = []
        for place, row in zip(places.to_pylist(), _rows(batch.take(places)), strict=True):
            if self._known[row] > 0:
                self._known[row] -= 1
                dropped.append(place)
        if not dropped:
            return batch, 0
        keep = pc.invert(pc.is_in(pa.arange(0, batch.num_rows), value_set=pa.array(dropped, pa.int64())))
        return batch.filter(keep), len(dropped)


def column_of(table: Table, name: Any) -> str | None:
    """Return the table's column for a column of the source, whose name it may not share."""
    remembered = json.loads(table.properties.get(NAMES, "{}")).get("columns", {})
    column = remembered.get(name, name)
    return column if column in [field.name for field in table.schema().fields] else None


def _is_at(batch: pa.RecordBatch, column: str, value: pa.Scalar) -> pa.BooleanArray:
    values = batch.column(column)
    values = values.storage if isinstance(values, pa.ExtensionArray) else values
    return pc.fill_null(pc.equal(values, value), False)


def as_value(text: Any, kind: pa.DataType) -> pa.Scalar | None:
    """Return a bookmark's value in the column's type; None when it does not read as one."""
    try:
        if isinstance(text, str) and pa.types.is_timestamp(kind):
            return _instant(text, kind)
        if isinstance(text, str) and pa.types.is_date(kind):
            return pa.scalar(text[:10]).cast(kind)
        if isinstance(kind, pa.UuidType):
            return pa.scalar(uuid.UUID(str(text)).bytes, kind.storage_type)
        if isinstance(text, NumberText):
            text = str(text.exact())
        if isinstance(text, str | int) and not isinstance(text, bool) and not pa.types.is_string(kind):
            return pa.scalar(str(text)).cast(kind)
        return pa.scalar(text, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, ValueError):
        return None


def _instant(text: str, kind: pa.TimestampType) -> pa.Scalar:
    """Digits beyond the microsecond are cut, as they are when the column is written; no offset is UTC."""
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return (
        pa.scalar(moment, pa.timestamp("us", "UTC")).cast(kind)
        if kind.tz
        else pa.scalar(moment.replace(tzinfo=None), kind)
    )


def _equal(column: str, value: pa.Scalar) -> Any:
    if pa.types.is_fixed_size_binary(value.type):
        return None  # Arrow has no comparison of uuids; the rows are compared here
    try:
        return EqualTo(column, value.as_py())  # type: ignore[call-arg, arg-type]  # pydantic hides the real signature
    except (ValidationError, TypeError, ValueError):
        return None


def _rows(batch: pa.RecordBatch) -> Iterator[str]:
    """Yield one text for each row that is the same for equal rows; nulls and absent columns are alike."""
    names = sorted(name for name in batch.schema.names if name not in RUN_COLUMNS)
    for row in batch.select(names).to_pylist():
        yield repr({name: _plain(value) for name, value in row.items() if value is not None})


def _plain(value: Any) -> Any:
    return value + 0.0 if isinstance(value, float) else value
