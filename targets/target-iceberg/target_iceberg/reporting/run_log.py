"""The table `icetap.runs`: one row per stream and run, so that the runs can be asked about like any data.

It lies in the catalog of the tables. Writing to it never decides about the run that it tells of.
"""

from __future__ import annotations

import json
import random
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError, TableAlreadyExistsError

from icetap import faults
from icetap.types import TIMESTAMPTZ, iceberg_schema, json_field
from target_iceberg.tables.commit import Change, SchemaStage, TableMovedError, commit_change
from target_iceberg.tables.opening import TABLE_PROPERTIES, make_namespace
from target_iceberg.tables.writer import DataFileWriter, WriterOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

IDENTIFIER = ("icetap", "runs")
PATIENCE_SECONDS = 30.0
"""How long a run tries to append its rows while other runs append theirs."""
_LONGEST_WAIT_SECONDS = 1.0

_COUNTS = (
    "rows_read",
    "rows_inserted",
    "rows_updated",
    "rows_deleted",
    "rows_unchanged",
    "rows_repeated",
    "rows_rejected",
    "input_bytes",
    "rows_per_second",
    "commits",
    "files",
    "snapshot_id",
)
_LIST = pa.list_(pa.field("element", pa.string()))
COLUMNS = pa.schema(
    [
        pa.field("run_id", pa.string()),
        pa.field("pipeline", pa.string()),
        pa.field("stream", pa.string()),
        pa.field("table", pa.string()),
        pa.field("started_at", TIMESTAMPTZ),
        pa.field("ended_at", TIMESTAMPTZ),
        pa.field("seconds", pa.float64()),
        pa.field("outcome", pa.string()),
        *(pa.field(name, pa.int64()) for name in _COUNTS),
        json_field("bookmark_from"),
        json_field("bookmark_to"),
        json_field("lossy_values"),
        pa.field("evolved", _LIST),
        pa.field("warnings", _LIST),
        pa.field("error", pa.string()),
        pa.field("peak_memory_mb", pa.int64()),
        pa.field("version", pa.string()),
    ]
)
_OF_RUN = ("run_id", "pipeline", "seconds", "outcome", "peak_memory_mb", "version")
_OF_STREAM = ("stream", "table", *_COUNTS, "bookmark_from", "bookmark_to", "evolved", "warnings")


def append(catalog: Catalog, report: Mapping[str, Any]) -> None:
    """Append the rows of a run report; a run without streams has one row, whose stream is null.

    Raises:
        Exception: Whatever the catalog and its storage raise, and `TableMovedError` when others have
            appended for `PATIENCE_SECONDS`.
    """
    table = _open(catalog)
    stage = _stage(table)
    batch = pa.RecordBatch.from_pylist(list(_rows(report)), schema=COLUMNS)
    writer = DataFileWriter(table, schema=stage.schema, options=WriterOptions(report["run_id"]))
    # A newer loader's table may have columns that this one does not know.
    columns = [
        batch.column(one.name) if one.name in COLUMNS.names else pa.nulls(batch.num_rows, one.type)
        for one in stage.columns
    ]
    writer.write(pa.RecordBatch.from_arrays(columns, schema=stage.columns))
    _commit(table, writer.close(), stage=stage)


def find(catalog: Catalog) -> Table | None:
    """Return the table of runs, None when no run has made it."""
    try:
        return catalog.load_table(IDENTIFIER)
    except (NoSuchTableError, NoSuchNamespaceError):
        return None


def _rows(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    times = {name: datetime.fromisoformat(report[name]) for name in ("started_at", "ended_at")}
    for stream in report["streams"] or [{}]:
        yield {
            **{name: report[name] for name in _OF_RUN},
            **times,
            **{name: stream.get(name) for name in _OF_STREAM},
            "lossy_values": json.dumps(stream["lossy_values"]) if stream.get("lossy_values") else None,
            "error": stream.get("failure") or report["error"],
        }


def _commit(table: Table, files: list[DataFile], *, stage: SchemaStage) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    wait = 0.01
    while True:
        change = Change(
            added=files, parent=table.metadata.current_snapshot_id, properties=lambda _id, _sequence: {}
        )
        try:
            commit_change(table, change, stage=stage)
        except Exception as error:
            is_passing = isinstance(error, TableMovedError) or faults.is_passing(error)
            if not is_passing or time.monotonic() > deadline:
                raise
        else:
            return
        # At random, so that runs that began together do not meet again.
        time.sleep(random.uniform(0, wait))  # noqa: S311 - nothing to be guessed here
        wait = min(wait * 2, _LONGEST_WAIT_SECONDS)
        table.refresh()
        stage = _stage(table)


def _stage(table: Table) -> SchemaStage:
    """Plan the columns that an older loader's table lacks."""
    stage = SchemaStage(table)
    if missing := [one for one in COLUMNS if one.name not in stage.columns.names]:
        stage.widen(missing)
    return stage


def _open(catalog: Catalog) -> Table:
    if (table := find(catalog)) is not None:
        return table
    make_namespace(catalog, IDENTIFIER[:-1])
    try:
        return catalog.create_table(IDENTIFIER, schema=iceberg_schema(COLUMNS), properties=TABLE_PROPERTIES)
    except TableAlreadyExistsError:
        return catalog.load_table(IDENTIFIER)
