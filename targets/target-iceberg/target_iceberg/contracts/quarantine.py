"""The table `<table>__rejected`: rows that did not fit, kept with the reason.

It is written before the commit that moves the bookmark past its rows, so that a crash in between keeps
a row twice rather than not at all. It remembers the stream's newest SCHEMA, by which a replay reads them.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyiceberg.exceptions import NoSuchTableError, TableAlreadyExistsError

from icetap.types import TIMESTAMPTZ, iceberg_schema, json_field, schema_from_iceberg
from target_iceberg.decoding.json_text import dump_json
from target_iceberg.tables.commit import Change, SchemaStage, TableMovedError, commit_change
from target_iceberg.tables.writer import DataFileWriter, WriterOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from target_iceberg.decoding.decode import Rejected

SUFFIX = "__rejected"
SCHEMA = "icetap.schema"
"""Property of the quarantine table: the stream's newest SCHEMA message, without what a replay does not need."""
REPLAY_ID = "replay_id"
COLUMNS = pa.schema(
    [
        pa.field("run_id", pa.string()),
        pa.field("stream", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("column", pa.string()),
        pa.field("line", pa.int64()),
        json_field("record"),
        pa.field("rejected_at", TIMESTAMPTZ),
        pa.field(REPLAY_ID, pa.string()),
    ]
)
"""`replay_id` names the replay that has taken the row and not finished yet; null at rest."""
_ATTEMPTS = 12


def quarantine_of(table: Table) -> str:
    """Return the name of a table's quarantine table."""
    return ".".join(table.name()) + SUFFIX


def find_quarantine(catalog: Catalog, table: Table) -> Table | None:
    """Return a table's quarantine table, None when no row of it was ever refused."""
    try:
        return catalog.load_table(_identifier(table))
    except NoSuchTableError:
        return None


def _identifier(table: Table) -> tuple[str, ...]:
    *namespace, name = table.name()
    return (*namespace, name + SUFFIX)


def _remembered(message: Mapping[str, Any]) -> str:
    kept = ("schema", "key_properties", "bookmark_properties")
    return dump_json({name: message[name] for name in kept if name in message})


def remember_schema(catalog: Catalog, table: Table, message: Mapping[str, Any]) -> None:
    """Note a stream's SCHEMA in the quarantine table of its table, if there is one and it knows another."""
    quarantine = find_quarantine(catalog, table)
    if quarantine is None or quarantine.properties.get(SCHEMA) == _remembered(message):
        return
    change = Change(has_snapshot=False, properties=lambda _id, _sequence: {SCHEMA: _remembered(message)})
    for attempt in range(_ATTEMPTS):
        try:
            commit_change(quarantine, change, stage=SchemaStage(quarantine))
        except TableMovedError:
            time.sleep(min(0.05 * 2**attempt, 2.0))
        else:
            return


def keep_rejected(
    catalog: Catalog, table: Table, rows: Sequence[Rejected], *, message: Mapping[str, Any], run_id: str
) -> None:
    """Append refused rows to the quarantine table of `table`, which is made when it is missing.

    Args:
        catalog: The catalog.
        table: The stream's table.
        rows: What was refused.
        message: The stream's SCHEMA message.
        run_id: The run that refused them.
    """
    if not rows:
        return
    quarantine = _open(catalog, table, message)
    now = datetime.now(UTC)
    batch = pa.RecordBatch.from_pylist(
        [
            {
                "run_id": run_id,
                "stream": message["stream"],
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
    stage = quarantine_stage(quarantine)
    files = write_rows(quarantine, [batch], stage=stage, run_id=run_id)
    while True:
        change = Change(added=files, parent=quarantine.metadata.current_snapshot_id)
        try:
            commit_change(quarantine, change, stage=stage)
        except TableMovedError:
            stage = quarantine_stage(quarantine)  # an append fits on any head
        else:
            return


def quarantine_stage(quarantine: Table) -> SchemaStage:
    """Return the table's columns; one made by an older version gets those that it lacks."""
    stage = SchemaStage(quarantine)
    lacking = [one for one in COLUMNS if one.name not in stage.columns.names]
    if lacking:
        stage.widen(lacking)
    return stage


def write_rows(
    quarantine: Table, batches: Iterable[pa.RecordBatch], *, stage: SchemaStage, run_id: str
) -> list[DataFile]:
    """Write rows with the columns of `COLUMNS` into data files that no snapshot lists yet."""
    columns = schema_from_iceberg(stage.schema)
    writer = DataFileWriter(quarantine, schema=stage.schema, options=WriterOptions(run_id))
    for batch in batches:
        arrays = [
            batch.column(one.name) if one.name in batch.schema.names else pa.nulls(batch.num_rows, one.type)
            for one in columns
        ]
        writer.write(pa.RecordBatch.from_arrays(arrays, schema=columns))
    return writer.close()


def _open(catalog: Catalog, table: Table, message: Mapping[str, Any]) -> Table:
    found = find_quarantine(catalog, table)
    if found is not None:
        return found
    try:
        return catalog.create_table(
            _identifier(table), schema=iceberg_schema(COLUMNS), properties={SCHEMA: _remembered(message)}
        )
    except TableAlreadyExistsError:
        return catalog.load_table(_identifier(table))
