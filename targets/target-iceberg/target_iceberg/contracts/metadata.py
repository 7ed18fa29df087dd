"""Columns that the loader adds: when a version of a row was valid, and `_sdc_*`, when and how it came: https://sdk.meltano.com/en/latest/implementation/record_metadata.html (read 2026-11-21)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from icetap.errors import ConfigurationError
from icetap.types import TIMESTAMPTZ
from target_iceberg.decoding.decode import DELETED_AT
from target_iceberg.settings import VALID_FROM

if TYPE_CHECKING:
    from target_iceberg.decoding.decode import Decoded
    from target_iceberg.settings import StreamSettings

DELETED_AT_FIELD = pa.field(DELETED_AT, TIMESTAMPTZ)
"""A column only where deleted rows stay: in streams that are appended, and with `delete_mode: soft`."""

VALID_TO, IS_CURRENT = "_valid_to", "_is_current"
VALIDITY = pa.schema(
    [
        pa.field(VALID_FROM, TIMESTAMPTZ, nullable=False),
        pa.field(VALID_TO, TIMESTAMPTZ),
        pa.field(IS_CURRENT, pa.bool_()),
    ]
)
"""The columns of a history: a version counts from the first time until before the second."""

FIELDS = (
    pa.field("_sdc_extracted_at", TIMESTAMPTZ),
    pa.field("_sdc_received_at", TIMESTAMPTZ),
    pa.field("_sdc_batched_at", TIMESTAMPTZ),
    pa.field("_sdc_sequence", pa.int64()),
    pa.field("_sdc_table_version", pa.int64()),
    pa.field("_sdc_sync_started_at", pa.int64()),
)

_STARTED_AT = time.time_ns() // 1_000_000


def with_deletes(batch: pa.RecordBatch, decoded: Decoded) -> pa.RecordBatch:
    """Return the batch with the column `_sdc_deleted_at`: where rows are only appended, a delete is a row too."""
    at = decoded.deleted_at
    now = pa.scalar(datetime.now(UTC), TIMESTAMPTZ)
    column = (
        pa.nulls(batch.num_rows, TIMESTAMPTZ)
        if at is None
        else pc.if_else(decoded.deleted, pc.coalesce(at, now), at)
    )
    return batch.append_column(DELETED_AT_FIELD, column)


def with_validity(
    batch: pa.RecordBatch, decoded: Decoded, *, cursor: str | None, load_time: datetime
) -> pa.RecordBatch:
    """Return the batch with the columns of a history, as if each row were the only version of its key.

    A version begins at the value of its replication key, where that is a time, else when the load began; a delete
    at its own time.
    """
    moment = pa.scalar(load_time, TIMESTAMPTZ)
    starts = pa.nulls(batch.num_rows, TIMESTAMPTZ)
    if cursor is not None and is_time(batch.schema.field(cursor).type):
        starts = _instants(batch.column(cursor))
        if decoded.deleted is not None and decoded.deleted_at is not None:
            starts = pc.if_else(decoded.deleted, decoded.deleted_at, starts)
    starts = pc.fill_null(starts, moment)
    columns = [
        starts,
        pa.nulls(batch.num_rows, TIMESTAMPTZ),
        pa.repeat(pa.scalar(value=True), batch.num_rows),
    ]
    for field, column in zip(VALIDITY, columns, strict=True):
        batch = batch.append_column(field, column)
    return batch


def is_time(kind: pa.DataType) -> bool:
    """Whether values of a type tell when a version begins."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _instants(column: pa.Array) -> pa.Array:
    """Return times in UTC; those without a zone, and days, are taken for UTC."""
    if pa.types.is_timestamp(column.type) and column.type.tz:
        return column.cast(TIMESTAMPTZ)
    return column.cast(pa.timestamp("us")).cast(pa.int64()).cast(TIMESTAMPTZ)


def with_own_columns(columns: pa.Schema, settings: StreamSettings, *, stream: str) -> pa.Schema:
    """Return a stream's columns and those that the loader adds by its settings.

    Raises:
        ConfigurationError: When the stream has a column that is called like one of a history.
    """
    if settings.load_method == "history":
        taken = [name for name in VALIDITY.names if name in columns.names]
        if taken:
            raise ConfigurationError(
                f"stream '{stream}' has a column '{taken[0]}' of its own, which load_method 'history' needs for itself. "
                "Rename it with 'stream_maps', or choose another load method."
            )
        columns = pa.schema([*columns, *VALIDITY])
    return beside(columns) if settings.add_record_metadata else columns


def beside(columns: pa.Schema) -> pa.Schema:
    """Return the columns and those of `FIELDS` that the stream does not bring itself."""
    return pa.schema([*columns, *(field for field in FIELDS if field.name not in columns.names)])


def with_metadata(batch: pa.RecordBatch, decoded: Decoded) -> pa.RecordBatch:
    """Return the batch with the columns of `FIELDS` that the stream does not bring itself."""
    now = datetime.now(UTC)
    rows = batch.num_rows
    extracted = decoded.times if decoded.times is not None else pa.nulls(rows, TIMESTAMPTZ)
    values = {
        "_sdc_extracted_at": extracted,
        "_sdc_received_at": pa.repeat(pa.scalar(now, TIMESTAMPTZ), rows),
        "_sdc_batched_at": pa.repeat(pa.scalar(now, TIMESTAMPTZ), rows),
        "_sdc_sequence": pa.repeat(pa.scalar(int(now.timestamp() * 1000), pa.int64()), rows),
        "_sdc_table_version": pa.repeat(pa.scalar(decoded.version, pa.int64()), rows),
        "_sdc_sync_started_at": pa.repeat(pa.scalar(_STARTED_AT, pa.int64()), rows),
    }
    for field in FIELDS:
        if field.name not in batch.schema.names:
            batch = batch.append_column(field, values[field.name])
    return batch
