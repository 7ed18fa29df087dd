"""Beginning again with a stream: its bookmark is forgotten, and by choice its rows too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyiceberg.table.snapshots import Operation

from target_iceberg.positions import bookmarks
from target_iceberg.settings import stream_settings
from target_iceberg.tables.commit import Change, SchemaStage, commit_change, new_run_id
from target_iceberg.tables.loaded_table import STREAM
from target_iceberg.tables.retrying import until_settled
from target_iceberg.upkeep.inspection import keys_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table


@dataclass(frozen=True)
class ResetReport:
    """What was forgotten.

    Attributes:
        table: Namespace and name.
        pipeline: Whose bookmark it was.
        bookmark: The bookmark, None when there was none.
        rows: How many rows were removed from the newest snapshot.
        is_dropped: Whether the table itself is gone.
        appends: Whether the stream's rows are appended: what is read again then stands there twice.
    """

    table: str
    pipeline: str
    bookmark: str | None
    rows: int = 0
    is_dropped: bool = False
    appends: bool = False


def appends(table: Table, config: Mapping[str, Any]) -> bool:
    """Whether rows that come again would be new rows of this table."""
    method = stream_settings(config, table.properties.get(STREAM, "")).load_method
    return method == "append-only" or (method == "auto" and not keys_of(table))


def forget_bookmark(table: Table, pipeline: str, *, with_rows: bool, appends: bool = False) -> ResetReport:
    """Set a pipeline's bookmark to none, and empty the table by choice, in one commit.

    The property stays, without a bookmark: were it gone, the newest snapshot's summary would count. A run of
    this pipeline that is loading the table is refused at its next commit.

    Args:
        table: The table; fresh afterwards.
        pipeline: Whose bookmark is forgotten.
        with_rows: Whether the table is emptied too; older snapshots keep the rows until they expire.
        appends: For the report.
    """
    name = bookmarks.property_name(pipeline)
    position = bookmarks.Position(run_id=f"reset-{new_run_id()}")

    def commit() -> ResetReport:
        before = bookmarks.read_position(table.metadata, pipeline)
        head = table.metadata.current_snapshot()
        empties = with_rows and head is not None
        change = Change(
            parent=head.snapshot_id if head else None,
            replaces_all=empties,
            # Without rows to take away it is a snapshot too: a load that has read this head must not commit on it.
            operation=None if empties else Operation.REPLACE,
            has_snapshot=head is not None,
            summary=bookmarks.summary(position, pipeline=pipeline) if empties else {},
            properties=lambda snapshot_id, number: {
                name: bookmarks.encode(position, snapshot_id=snapshot_id, sequence_number=number)
            },
        )
        rows = int(bookmarks.entries_of(head).get("total-records", 0)) if empties and head else 0
        commit_change(table, change, stage=SchemaStage(table))
        return ResetReport(".".join(table.name()), pipeline, before.bookmark, rows, appends=appends)

    return until_settled(table, commit)


def drop_table(catalog: Catalog, table: Table, pipeline: str) -> ResetReport:
    """Remove the table from the catalog and delete its files."""
    before = bookmarks.read_position(table.metadata, pipeline)
    head = table.metadata.current_snapshot()
    rows = int(bookmarks.entries_of(head).get("total-records", 0)) if head else 0
    catalog.purge_table(table.name())
    return ResetReport(".".join(table.name()), pipeline, before.bookmark, rows, is_dropped=True)


def as_text(report: ResetReport) -> str:
    """Return the report for people, with what is left to do."""
    if report.is_dropped:
        first = f"{report.table} is gone, with {report.rows:,} rows and the bookmarks of every pipeline."
    else:
        was = f" (it was {report.bookmark})" if report.bookmark else ""
        first = f"{report.table}: the bookmark of pipeline '{report.pipeline}' is forgotten{was}."
        if report.rows:
            first += f" Its {report.rows:,} rows are gone from the newest snapshot; older ones have them until they expire."
    lines = [
        first,
        "Meltano keeps a state of its own: run once with --full-refresh, or clear it with `meltano state clear`.",
    ]
    if report.appends and not report.rows and not report.is_dropped:
        lines.append("Rows of this stream are appended: all that is read again will be there twice.")
    return "\n".join(lines)
