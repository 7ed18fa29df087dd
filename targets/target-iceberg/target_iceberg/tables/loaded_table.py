"""A stream's table as one run sees it: its position, its fence, and commits that are planned again."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from icetap.errors import StateError
from target_iceberg.positions import bookmarks
from target_iceberg.positions.boundary import NAMES
from target_iceberg.tables.commit import Change, SchemaStage, TableMovedError, commit_change

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from target_iceberg.run import Counts, Run

VERSION = "icetap.version"
REPLAY = "icetap.replay"
"""Table property: the last replay of refused rows that was committed."""
FULL_READ = "icetap.full-read"
"""Table property: the run that last made the table a complete read of its source, and when (seconds since 1970)."""
KEYS = "icetap.keys"
STREAM = "icetap.stream"
DELETED_AT = "icetap.deleted-at"
"""Table property: when a delete by key was last committed, in seconds since 1970; it may have met no row."""

COMMIT_ATTEMPTS = 12


class FenceError(StateError):
    """Another run of the same pipeline has loaded into the table."""


class LoadedTable:
    """Commits one run's changes to a table, each with the stream's bookmark."""

    def __init__(self, table: Table, *, stream: str, run: Run, counts: Counts) -> None:
        self.table = table
        self.schema_stage = SchemaStage(table)
        self.position = bookmarks.read_position(table.metadata, run.pipeline)
        self.names = table.properties.get(NAMES, "{}")
        """What the table remembers of its columns' names, as JSON."""
        self.version: str | None = None
        """The version whose rows are being loaded; it becomes the table's with the next commit."""
        self.deletes_came = False
        """Whether rows came since the last commit that delete their key."""
        self._stream = stream
        self._run = run
        self._counts = counts
        self._fence = table.properties.get(bookmarks.property_name(run.pipeline))
        self._known = keys_and_names(table)

    @property
    def name(self) -> str:
        """Namespace and name, joined by dots."""
        return ".".join(self.table.name())

    @property
    def head(self) -> int | None:
        """The id of the newest snapshot."""
        head: int | None = self.table.metadata.current_snapshot_id
        return head

    @property
    def active_version(self) -> str | None:
        """The version whose rows are the table's content."""
        version: str | None = self.table.properties.get(VERSION)
        return version

    @property
    def is_empty(self) -> bool:
        """Whether the newest snapshot has no rows."""
        head = self.table.metadata.current_snapshot()
        return head is None or bookmarks.entries_of(head).get("total-records") == "0"

    def refresh(self) -> None:
        """Load the table as it is now, and check that no other run of this pipeline has written to it.

        Raises:
            FenceError: When one has.
        """
        self.table.refresh()
        if self._run.replay is not None:
            self._run.replay.check(self.head)
        elif self.table.properties.get(bookmarks.property_name(self._run.pipeline)) != self._fence:
            raise FenceError(
                f"stream '{self._stream}': another run of this pipeline is loading this table ({self.name}). "
                "This run stops; what the other one commits stays. "
                "If two pipelines are meant to load it, give each its own name with the setting 'pipeline'."
            )
        keys, names = keys_and_names(self.table)
        if keys != self._known[0] or any(names.get(own) != column for own, column in self._known[1].items()):
            raise FenceError(
                f"stream '{self._stream}': the key or a column's name of {self.name} was changed during this load. "
                "What was committed stays; run the pipeline again."
            )
        if not self.schema_stage.is_changed:
            self.schema_stage = SchemaStage(self.table)

    def change(
        self,
        *,
        added: list[DataFile] | None = None,
        removed: frozenset[str] = frozenset(),
        added_deletes: list[DataFile] | None = None,
        removed_deletes: frozenset[str] = frozenset(),
        parent: int | None = None,
        replaces_all: bool = False,
        is_open: bool = False,
        is_rewound: bool = False,
        is_full_read: bool = False,
        has_snapshot: bool = True,
    ) -> Change:
        """Return a `Change` that carries the newest bookmark.

        With `is_open`, no STATE covers the rows yet: the next run takes them back. With `is_rewound`,
        `parent` is a snapshot to which the table goes back. With `is_full_read`, or when all is replaced, the
        table holds a complete read of the source: rows refused before it are out of date.
        """
        position = self._new_position(is_rewound=is_rewound)
        replay = self._run.replay
        return Change(
            added=added or (),
            added_deletes=added_deletes or (),
            removed=removed,
            removed_deletes=removed_deletes,
            parent=parent,
            is_rewound=is_rewound,
            replaces_all=replaces_all,
            summary=(
                {bookmarks.RUN_ID: self._run.run_id, REPLAY: replay.replay_id}
                if replay
                else bookmarks.summary(position, pipeline=self._run.pipeline, is_open=is_open)
            ),
            properties=self._properties(position, is_full_read=is_full_read or replaces_all),
            has_snapshot=has_snapshot,
        )

    def _new_position(self, *, is_rewound: bool) -> bookmarks.Position:
        """Return where the table is after the next commit."""
        started_from = self._run.ledger.start_of(self._stream).bookmark
        bookmark = self._run.ledger.part_of(self._stream)
        # Before any STATE the last known bookmark stays; after a rewind that is where the tap began.
        known = started_from if is_rewound else self.position.bookmark
        is_opaque = self._run.ledger.is_opaque if bookmark else self.position.is_opaque
        return bookmarks.Position(bookmark or known, self._run.run_id, started_from, is_opaque=is_opaque)

    def _properties(
        self, position: bookmarks.Position, *, is_full_read: bool
    ) -> Callable[[int | None, int], Mapping[str, str]]:
        name = bookmarks.property_name(self._run.pipeline)
        replay = self._run.replay
        full_read = {"run_id": self._run.run_id, "at": time.time()} if is_full_read else None

        def properties(snapshot_id: int | None, sequence_number: int) -> Mapping[str, str]:
            text = bookmarks.encode(position, snapshot_id=snapshot_id, sequence_number=sequence_number)
            others = {VERSION: self.version, NAMES: self.names}
            stored = self.table.properties
            return {
                **({REPLAY: replay.replay_id} if replay else {name: text}),
                **({FULL_READ: json.dumps(full_read)} if full_read else {}),
                **({DELETED_AT: str(time.time())} if self.deletes_came else {}),
                **{key: value for key, value in others.items() if value and value != stored.get(key)},
            }

        return properties

    def commit(self, build: Callable[[], Change | None], *, replan: bool = True) -> int | None:
        """Plan and commit until it succeeds; None when the plan finds nothing to do.

        Args:
            build: Plans on the table as it is then.
            replan: Whether it may be called again after another writer's commit.

        Raises:
            FenceError: When another run of this pipeline has loaded meanwhile.
            StateError: When the table keeps moving, or a plan may not be repeated.
        """
        self.refresh()
        for attempt in range(COMMIT_ATTEMPTS):
            try:
                change = self._planned(build)
                if change is None:
                    return None
                snapshot_id = commit_change(self.table, change, stage=self.schema_stage)
            except TableMovedError as moved:
                self.refresh()
                if not replan or (self.schema_stage.is_changed and not self.schema_stage.fits(self.table)):
                    raise StateError(
                        f"stream '{self._stream}': {moved}. Nothing of this commit was written; run the pipeline again."
                    ) from moved
                time.sleep(min(0.05 * 2**attempt, 2.0))
                continue
            self._landed(snapshot_id, change)
            return snapshot_id
        raise StateError(
            f"stream '{self._stream}': other writers committed to {self.name} each time this load tried. "
            "Run the pipeline again when they are done."
        )

    def _planned(self, build: Callable[[], Change | None]) -> Change | None:
        """Plan; when a file is gone that was read for it, because a newer snapshot has replaced it, say so."""
        head = self.head
        try:
            return build()
        except FileNotFoundError as gone:
            self.table.refresh()
            if self.head == head:
                raise
            raise TableMovedError("the snapshot that was read has been replaced and expired") from gone

    def _landed(self, snapshot_id: int | None, change: Change) -> None:
        self._fence = self.table.properties.get(bookmarks.property_name(self._run.pipeline))
        self._known = keys_and_names(self.table)
        self.deletes_came = False
        if self._run.replay is not None:
            self._run.replay.head = self.head
        self.position = bookmarks.read_position(self.table.metadata, self._run.pipeline)
        self.schema_stage = SchemaStage(self.table)
        if change.has_snapshot:
            self._counts.commits += 1
            self._counts.files += len(change.added) + len(change.added_deletes)
            self._counts.snapshot_id = snapshot_id


def keys_and_names(table: Table) -> tuple[str | None, Mapping[str, str]]:
    """Return the table's key, and its columns by their names in the source."""
    return table.properties.get(KEYS), json.loads(table.properties.get(NAMES, "{}")).get("columns", {})
