"""Bookmarks that live in the table: written with the data, read back, rewound to.

Where a bookmark stands and what counts is decided by the project's page on exactly-once loading. In
short: the table property `icetap.bookmark.<pipeline>` is the truth while its snapshot lies on the
head's line; after a rollback by hand, the newest snapshot summary of the pipeline is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from target_iceberg.positions.states import same_bookmark

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot

PROPERTY_PREFIX = "icetap.bookmark."
PIPELINE = "icetap.pipeline"
RUN_ID = "icetap.run-id"
BOOKMARK = "icetap.bookmark"
STARTED_FROM = "icetap.from"
OPEN = "icetap.open"
OPAQUE = "icetap.opaque"


@dataclass(frozen=True)
class Position:
    """Where a table is for one pipeline.

    Attributes:
        bookmark: The stream's part of STATE as canonical JSON, None before any.
        run_id: The run that wrote it.
        started_from: The bookmark at which that run began.
        snapshot_id: The snapshot that was the head when it was written.
        is_opaque: Whether the bookmark is the whole of a STATE that cannot be split by stream.
    """

    bookmark: str | None = None
    run_id: str | None = None
    started_from: str | None = None
    snapshot_id: int | None = None
    is_opaque: bool = False


def property_name(pipeline: str) -> str:
    """Return the table property that holds a pipeline's bookmark."""
    return PROPERTY_PREFIX + pipeline


def encode(position: Position, *, snapshot_id: int | None, sequence_number: int) -> str:
    """Return the property's text."""
    return json.dumps(
        {
            "snapshot_id": snapshot_id,
            "sequence_number": sequence_number,
            "run_id": position.run_id,
            "from": position.started_from,
            "bookmark": position.bookmark,
            **({"opaque": True} if position.is_opaque else {}),
        }
    )


def summary(position: Position, *, pipeline: str, is_open: bool = False) -> dict[str, str]:
    """Return the entries of a snapshot's summary."""
    entries = {PIPELINE: pipeline, RUN_ID: position.run_id or ""}
    if position.bookmark is not None:
        entries[BOOKMARK] = position.bookmark
    if position.started_from is not None:
        entries[STARTED_FROM] = position.started_from
    if is_open:
        entries[OPEN] = "true"
    if position.is_opaque:
        entries[OPAQUE] = "true"
    return entries


def line_of(metadata: TableMetadata) -> Iterator[Snapshot]:
    """Yield the head and its ancestors, newest first, as far as they are known."""
    snapshot = metadata.current_snapshot()
    while snapshot is not None:
        yield snapshot
        parent = snapshot.parent_snapshot_id
        snapshot = metadata.snapshot_by_id(parent) if parent is not None else None


def entries_of(snapshot: Snapshot) -> dict[str, str]:
    """Return the free entries of a snapshot's summary."""
    return dict(snapshot.summary.additional_properties) if snapshot.summary else {}


def read_position(metadata: TableMetadata, pipeline: str) -> Position:
    """Return where the table is for this pipeline; an empty position when it never loaded."""
    text = metadata.properties.get(property_name(pipeline))
    if text is not None:
        value = json.loads(text)
        if _counts(metadata, value):
            return Position(
                value["bookmark"],
                value["run_id"],
                value["from"],
                value["snapshot_id"],
                value.get("opaque", False),
            )
    for snapshot in line_of(metadata):
        entries = entries_of(snapshot)
        if entries.get(PIPELINE) == pipeline:
            return Position(
                entries.get(BOOKMARK),
                entries.get(RUN_ID),
                entries.get(STARTED_FROM),
                snapshot.snapshot_id,
                entries.get(OPAQUE) == "true",
            )
    return Position()


def _counts(metadata: TableMetadata, value: dict[str, Any]) -> bool:
    """Whether the property's snapshot is on the head's line, or expired and not newer than the head."""
    snapshot_id = value["snapshot_id"]
    if snapshot_id is None or metadata.current_snapshot_id == snapshot_id:
        return True
    if any(snapshot.snapshot_id == snapshot_id for snapshot in line_of(metadata)):
        return True
    head = metadata.current_snapshot()
    is_known = metadata.snapshot_by_id(snapshot_id) is not None
    return not is_known and head is not None and (head.sequence_number or 0) >= value["sequence_number"]


def other_pipelines(metadata: TableMetadata, pipeline: str) -> list[str]:
    """Return the other pipelines that load into this table."""
    own = property_name(pipeline)
    return sorted(
        name.removeprefix(PROPERTY_PREFIX)
        for name in metadata.properties
        if name.startswith(PROPERTY_PREFIX) and name != own
    )


@dataclass(frozen=True)
class Rewind:
    """The snapshot to go back to, None for the empty table, and the rows that are taken back."""

    snapshot_id: int | None
    rows: int


def find_rewind(metadata: TableMetadata, pipeline: str, start: str | None, *, any_run: bool) -> Rewind | None:
    """Return the snapshot at which the tap's start and the table agree, when going back is safe.

    Going back is safe as long as everything that came since is an append of this pipeline's last run
    (of any of its runs, when `any_run`).

    Args:
        metadata: The table's present metadata.
        pipeline: This pipeline.
        start: The bookmark from which the tap reads now, None for the beginning.
        any_run: Look beyond the last run, as the owner allows with `on_state_mismatch: rewind`.
    """
    last = read_position(metadata, pipeline)
    last_run, head_id = last.run_id, metadata.current_snapshot_id
    if (
        last_run
        and same_bookmark(last.started_from, start)
        and is_unchanged_since(metadata, last.snapshot_id)
    ):
        head = content_head(metadata)
        if head is None or entries_of(head).get(RUN_ID) != last_run:
            return Rewind(head_id, 0)  # the last run moved its bookmark alone
    taken_back = 0
    for snapshot, newest in _content_line(metadata):
        entries = entries_of(snapshot)
        is_own = entries.get(PIPELINE) == pipeline and (any_run or entries.get(RUN_ID) == last_run)
        is_open = entries.get(OPEN) == "true"
        if is_own and not is_open and same_bookmark(entries.get(BOOKMARK), start):
            return Rewind(newest, taken_back)
        if not is_own or snapshot.summary is None or snapshot.summary.operation.value != "append":
            return None
        taken_back += int(entries.get("added-records", 0))
        if _continues(metadata, snapshot, entries.get(RUN_ID)):
            continue
        if same_bookmark(entries.get(STARTED_FROM), start):
            before = _stateless_before(metadata, snapshot, pipeline)
            if before is None:
                return _before(metadata, snapshot, taken_back)
            last_run = before
        elif not any_run:
            return None
    return None


def is_unchanged_since(metadata: TableMetadata, snapshot_id: int | None) -> bool:
    """Whether the table still has the rows of this snapshot: it is the head, or only compactions followed."""
    for snapshot in line_of(metadata):
        if snapshot.snapshot_id == snapshot_id:
            return True
        if not is_compaction(snapshot):
            return False
    return snapshot_id is None


def _before(metadata: TableMetadata, snapshot: Snapshot, rows: int) -> Rewind | None:
    """Return the way back to what the table was before an append, None when that snapshot has expired.

    The first append to an empty table is known by its counts, since expiry takes the parent's name away.
    """
    parent_id = snapshot.parent_snapshot_id
    if parent_id is not None:
        return Rewind(parent_id, rows) if metadata.snapshot_by_id(parent_id) else None
    entries = entries_of(snapshot)
    is_first = entries.get("total-records") == entries.get("added-records")
    return Rewind(None, rows) if is_first else None


def _stateless_before(metadata: TableMetadata, snapshot: Snapshot, pipeline: str) -> str | None:
    """Return the run of the parent when it, like this one, ended before the tap's very first STATE.

    Both read from the beginning, so what takes back the one takes back the other.
    """
    parent = _content_parent(metadata, snapshot)
    if parent is None:
        return None
    for entries in (entries_of(snapshot), entries_of(parent)):
        is_open = entries.get(PIPELINE) == pipeline and entries.get(OPEN) == "true"
        if not is_open or BOOKMARK in entries or STARTED_FROM in entries:
            return None
    return entries_of(parent).get(RUN_ID)


def _continues(metadata: TableMetadata, snapshot: Snapshot, run_id: str | None) -> bool:
    """Whether the change before this one was made by the same run."""
    parent = _content_parent(metadata, snapshot)
    return parent is not None and entries_of(parent).get(RUN_ID) == run_id


def _content_parent(metadata: TableMetadata, snapshot: Snapshot) -> Snapshot | None:
    parent = _parent(metadata, snapshot)
    while parent is not None and is_compaction(parent):
        parent = _parent(metadata, parent)
    return parent


def _parent(metadata: TableMetadata, snapshot: Snapshot) -> Snapshot | None:
    parent_id = snapshot.parent_snapshot_id
    return metadata.snapshot_by_id(parent_id) if parent_id is not None else None


def needed_for_rewinding(metadata: TableMetadata, pipeline: str) -> set[int]:
    """Return the snapshots that the next run of a pipeline may go back to, or must see to know the way.

    These are the appends of its last run on the head's line, what was compacted between them, and what
    the table was before; where several runs ended before the tap's first STATE, those of all of them.
    """
    run_id = read_position(metadata, pipeline).run_id
    needed: set[int] = set()
    for snapshot in line_of(metadata):
        entries = entries_of(snapshot)
        needed.add(snapshot.snapshot_id)
        if is_compaction(snapshot):
            continue
        is_own = entries.get(PIPELINE) == pipeline and entries.get(RUN_ID) == run_id
        if not is_own or snapshot.summary is None or snapshot.summary.operation.value != "append":
            break
        if not _continues(metadata, snapshot, run_id):
            run_id = _stateless_before(metadata, snapshot, pipeline)
    return needed


def is_compaction(snapshot: Snapshot) -> bool:
    """Whether the snapshot rearranged files without changing a row, as the specification says of `replace`."""
    return snapshot.summary is not None and snapshot.summary.operation.value == "replace"


def _content_line(metadata: TableMetadata) -> Iterator[tuple[Snapshot, int]]:
    """Yield the snapshots that changed rows, newest first, each with the newest one that has the same rows."""
    newest: int | None = None
    for snapshot in line_of(metadata):
        newest = snapshot.snapshot_id if newest is None else newest
        if not is_compaction(snapshot):
            yield snapshot, newest
            newest = None


def content_head(metadata: TableMetadata) -> Snapshot | None:
    """Return the newest snapshot that changed rows."""
    return next((snapshot for snapshot, _ in _content_line(metadata)), None)


def head_is_open(metadata: TableMetadata, pipeline: str) -> bool:
    """Whether the newest snapshot holds rows of this pipeline that no STATE has covered yet."""
    head = content_head(metadata)
    if head is None:
        return False
    entries = entries_of(head)
    return entries.get(PIPELINE) == pipeline and entries.get(OPEN) == "true"
