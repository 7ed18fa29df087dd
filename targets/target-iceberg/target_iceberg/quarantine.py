"""The table `<table>__rejected`: rows that did not fit, kept with the reason.

It is written before the commit that moves the bookmark past its rows, so that a crash in between keeps
a row twice rather than not at all.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
from pyiceberg.exceptions import NoSuchTableError, TableAlreadyExistsError

from icetap.types import TIMESTAMPTZ, iceberg_schema, json_field
from target_iceberg.commit import Change, SchemaStage, TableMovedError, commit_change
from target_iceberg.writer import DataFileWriter, WriterOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

    from target_iceberg.decode import Rejected

SUFFIX = "__rejected"
COLUMNS = pa.schema(
    [
        pa.field("run_id", pa.string()),
        pa.field("stream", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("column", pa.string()),
        pa.field("line", pa.int64()),
        json_field("record"),
        pa.field("rejected_at", TIMESTAMPTZ),
    ]
)


def keep_rejected(
    catalog: Catalog, table: Table, rows: Sequence[Rejected], *, stream: str, run_id: str
) -> None:
    """Append refused rows to the quarantine table of `table`, which is made when it is missing."""
    if not rows:
        return
    quarantine = _open(catalog, table)
    now = datetime.now(UTC)
    batch = pa.RecordBatch.from_pylist(
        [
            {
                "run_id": run_id,
                "stream": stream,
                "reason": row.reason,
                "column": row.column,
                "line": row.line,
                "record": row.raw,
                "rejected_at": now,
            }
            for row in rows
        ],
        schema=COLUMNS,
    )
    stage = SchemaStage(quarantine)
    writer = DataFileWriter(quarantine, schema=stage.schema, options=WriterOptions(run_id))
    writer.write(batch)
    files = writer.close()
    while True:
        change = Change(
            added=files, parent=quarantine.metadata.current_snapshot_id, properties=lambda _id, _sequence: {}
        )
        try:
            commit_change(quarantine, change, stage=stage)
        except TableMovedError:
            stage = SchemaStage(quarantine)  # an append fits on any head
        else:
            return


def quarantine_of(table: Table) -> str:
    """Return the name of a table's quarantine table."""
    return ".".join(table.name()) + SUFFIX


def _open(catalog: Catalog, table: Table) -> Table:
    *namespace, name = table.name()
    identifier = (*namespace, name + SUFFIX)
    try:
        return catalog.load_table(identifier)
    except NoSuchTableError:
        pass
    try:
        return catalog.create_table(identifier, schema=iceberg_schema(COLUMNS))
    except TableAlreadyExistsError:
        return catalog.load_table(identifier)
