"""The columns `_sdc_*` that tell when and how a row came: https://sdk.meltano.com/en/latest/implementation/record_metadata.html (read 2026-11-21)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from icetap.types import TIMESTAMPTZ
from target_iceberg.decode import DELETED_AT

if TYPE_CHECKING:
    from target_iceberg.decode import Decoded

DELETED_AT_FIELD = pa.field(DELETED_AT, TIMESTAMPTZ)
"""A column only where deletes are rows: in streams that are appended."""

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
