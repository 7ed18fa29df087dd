"""One stream on its way into one table: what becomes of its rows, when they are committed, with what bookmark."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from icetap.errors import ConfigurationError
from target_iceberg.methods.appending import Appending
from target_iceberg.methods.full_reads import FullRead, is_midway, is_within_read
from target_iceberg.methods.job import Job
from target_iceberg.methods.mass_deletes import MassDeleteError
from target_iceberg.methods.merging import Merging
from target_iceberg.positions.alignment import is_sdk_shaped
from target_iceberg.positions.states import has_progress, same_bookmark

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from pyiceberg.table import Table

    from target_iceberg.run import Counts, Run
    from target_iceberg.settings import StreamSettings
    from target_iceberg.tables.loaded_table import LoadedTable

HELD_BATCHES = 20
"""How much more is held, and how much longer, where a commit had better wait."""


class StreamLoad:
    """Stages the rows of one stream and commits them with their bookmark."""

    def __init__(
        self, name: str, table: Table, *, keys: tuple[str, ...], settings: StreamSettings, run: Run
    ) -> None:
        self.job = Job(name, table, keys, settings, run)
        self.before_commit: Callable[[], None] = lambda: None
        """Called before each commit: keeps what must not be lost when the bookmark moves."""
        self._appending = Appending(self.job)
        self._merging = Merging(self.job)
        self._way: Appending | Merging | FullRead | None = None
        """What happens to the rows; None before the first one, and after a full read."""
        self._activations: dict[str, int] = {}
        self._bytes_waiting = 0
        self._waiting_since: float | None = None
        run.ledger.hold(name)
        self._marked = run.ledger.start_of(name).bookmark

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.job.name

    @property
    def target(self) -> LoadedTable:
        """The table as this run sees it."""
        return self.job.target

    @property
    def table(self) -> Table:
        """The table as last loaded from the catalog."""
        return self.target.table

    @property
    def counts(self) -> Counts:
        """What the report tells."""
        return self.job.counts

    @property
    def failure(self) -> str | None:
        """Why the table is not as the input wants it; None when it is."""
        return self.job.failure

    @property
    def only_appends(self) -> bool:
        """Whether every row, a delete too, becomes a new row of the table."""
        method = self.job.settings.load_method
        return method == "append-only" or (method == "auto" and not self.job.keys)

    # --- rows in ---------------------------------------------------------------------------------

    @property
    def staged_rows(self) -> int:
        """Rows that wait for a commit."""
        return self._way.rows if self._way else 0

    def write(
        self, batch: pa.RecordBatch, *, deleted: pa.BooleanArray | None, version: int | None, input_bytes: int
    ) -> None:
        """Stage rows that have the columns of `schema_stage.schema`."""
        way = self._begin(None if version is None else str(version))
        self.counts.read += batch.num_rows
        self.counts.input_bytes += input_bytes
        self._bytes_waiting += input_bytes
        self._waiting_since = self._waiting_since or time.monotonic()
        way.write(batch, deleted)

    def _begin(self, version: str | None) -> Appending | Merging | FullRead:
        """Decide at the first row, and at each change of version, what becomes of the rows."""
        if self._way is not None and (version is None or version == self.target.version):
            return self._way
        self._end_way()
        self.target.version = version
        self._way = self._way_for(version)
        if isinstance(self._way, Appending):
            self._way.align()
            self._tell_of_repetition(version)
        self._way.open()
        return self._way

    def _tell_of_repetition(self, version: str | None) -> None:
        """Warn of streams that append all their rows again in each run."""
        job = self.job
        if version is None and not job.is_incremental and job.settings.load_method == "auto" and not job.keys:
            job.warn(
                "has no keys, no replication key and no version: each full run appends all its rows again. "
                f"Choose with 'streams.{job.name}': 'key_properties', or 'load_method' (append-only, overwrite)"
            )

    def _way_for(self, version: str | None) -> Appending | Merging | FullRead:
        job, method = self.job, self.job.settings.load_method
        if method in {"upsert", "snapshot-diff", "history"} and not job.keys:
            raise ConfigurationError(
                f"stream '{self.name}' has no key, so load_method '{method}' cannot find its rows. "
                f"Set 'streams.{self.name}.key_properties', or choose 'append-only' or 'overwrite'."
            )
        match method:
            case "append-only":
                return self._appending
            case "overwrite" | "snapshot-diff":
                return FullRead(job)
            case "upsert":
                return self._merging
        by_end = job.settings.full_table_completion == "end_of_input" and not job.is_incremental
        if method == "history" and version is None and by_end and not self.target.is_empty:
            return FullRead(job)
        if version is None or self.target.is_empty or version == self.target.active_version:
            return self._merging if job.keys else self._appending
        return FullRead(job)

    # --- boundaries ------------------------------------------------------------------------------

    def state_came(self) -> None:
        """Notice that a STATE covers every row so far.

        A bookmark that stays where it was while rows came covers none of them: the tap would send them
        again. Where it holds the replication key's value, such rows are ties, and `Boundary` knows them.
        """
        part = self.job.run.ledger.part_of(self.name)
        shows_ties = is_sdk_shaped(part or "") and not has_progress(part)
        if self.job.is_incremental and same_bookmark(part, self._marked) and not shows_ties:
            return
        self._marked = part
        self._appending.mark()
        self._merging.state_came(part)

    def activate(self, version: str) -> None:
        """Take an ACTIVATE_VERSION message."""
        self._activations[version] = self._activations.get(version, 0) + 1
        method = self.job.settings.load_method
        if method in {"append-only", "upsert"}:
            self.announce(f"ACTIVATE_VERSION is ignored with load_method '{method}'")
        elif isinstance(self._way, FullRead) and self.target.version in {None, version}:
            if self.staged_rows:
                self._way.is_complete = True
        elif self._activations[version] >= 2 and self._comes_next(version) and self._may_empty(version):
            self._end_way()
            self.target.version = version
            self._way = FullRead(self.job)
            self._way.is_complete = True
            self._way.open()

    def _comes_next(self, version: str) -> bool:
        """Whether a version without rows comes after all rows so far, as when a table is emptied in the middle."""
        if self._way is None:
            return True
        return self.target.version is not None and int(version) > int(self.target.version)

    def _end_way(self) -> None:
        """Let the rows of the version before become part of the table, or forget those of an unfinished full read."""
        if isinstance(self._way, FullRead) and not self._way.is_complete:
            self._way.discard()
        elif self._way is not None:
            # Without keys, those after the last STATE too.
            self.commit(at_end=isinstance(self._way, Appending))

    def _may_empty(self, version: str) -> bool:
        """Whether a complete full read of zero rows empties the table."""
        settings = self.job.settings
        if settings.load_method in {"auto", "history"} and version == self.target.active_version:
            return False  # one version for ever: no rows means no changes
        if not settings.allow_empty_full_table and not self.target.is_empty:
            self.job.warn(
                "keeps its rows although the source's table is empty: a complete full read had none, or it was "
                "truncated. Set 'allow_empty_full_table: true' to empty it"
            )
        return settings.allow_empty_full_table

    @property
    def is_due(self) -> bool:
        """Whether enough has come, or enough time has passed, for a commit."""
        if self._waiting_since is None or self._is_aside:
            return False
        if self._merging.has_caught_up:
            return True
        settings = self.job.settings
        batches = HELD_BATCHES if self._merging.waits else 1
        return (
            self._bytes_waiting >= batches * settings.batch_size_mb * 2**20
            or self.staged_rows >= batches * settings.batch_size_rows
            or time.monotonic() - self._waiting_since >= batches * settings.flush_seconds
        )

    @property
    def _is_aside(self) -> bool:
        """Whether a full read is under way that is not complete."""
        return isinstance(self._way, FullRead) and not self._way.is_complete

    # --- commits ---------------------------------------------------------------------------------

    def commit(self, *, at_end: bool) -> None:
        """Commit what may be committed now; at the end of input, everything or an error.

        Streams without keys are committed up to the last STATE; the rest goes, at the end, into an
        open snapshot that the next run takes back.
        """
        self.before_commit()
        if isinstance(self._way, FullRead):
            self._commit_full_read(self._way, at_end=at_end)
        elif self._way is not None:
            self._way.commit(at_end=at_end)
        if not self.staged_rows:
            self._bytes_waiting, self._waiting_since = 0, None
        if at_end or not self.staged_rows:
            self._commit_bookmark()

    def _commit_full_read(self, read: FullRead, *, at_end: bool) -> None:
        if read.may_commit(at_end=at_end):
            self._appending.is_aligned = True  # the whole content becomes this read's, wherever the tap began
            self._way = None
            try:
                read.commit()
            except MassDeleteError as refused:
                self.job.failure = str(refused)
        elif at_end:
            self._give_up(read)

    def _give_up(self, read: FullRead) -> None:
        """End with a full read that is not complete: merge what has keys, else change nothing."""
        stage = read.give_up()
        if stage is None or not stage.rows:
            return
        hint = "set 'full_table_completion: end_of_input' to take the end of its input as proof"
        if read.begins_midway:
            hint = (
                "its tap began at a bookmark and did not send what lies before: have it read the stream as FULL_TABLE, and "
                "run once with --full-refresh"
            )
        if self.job.keys and self.job.settings.load_method in {"auto", "history"}:
            self.job.warn(f"its full read was not complete: rows were merged, none was removed ({hint})")
            self._way = self._merging
            self._merging.take_over(stage)
            return
        stage.discard()
        self.job.failure = f"its full read was not complete, so the table is unchanged ({hint})"

    def _commit_bookmark(self) -> None:
        """Move the bookmark alone, when no row moved it, and note that the state may be printed."""
        if self.failure or self._is_aside or self.staged_rows:
            return
        bookmark = self.job.run.ledger.part_of(self.name)
        moved = bookmark is not None and not same_bookmark(bookmark, self.target.position.bookmark)
        appending = self._appending
        if moved and self._way is None and self._way_for(self.target.version) is appending:
            appending.align()
        if appending.rewind is not None and same_bookmark(bookmark, self.started_from):
            return  # the tap has read nothing yet: what it would send again stays visible
        if appending.rewind is not None and moved and appending.rewind.rows:
            appending.take_back()
        elif moved or self.target.schema_stage.is_changed or self._is_new_version:
            self.target.commit(lambda: self.target.change(has_snapshot=False))
        method = self.job.settings.load_method
        breaks_off = {"overwrite": is_within_read, "snapshot-diff": is_midway}.get(method)
        if breaks_off is not None and breaks_off(bookmark):
            return  # a tap that began there would send a part of a full read, which never becomes complete
        self.job.run.ledger.commit(self.name)

    @property
    def _is_new_version(self) -> bool:
        """Whether rows of a version were merged that the table does not know as its own yet."""
        version = self.target.version
        return self._way is self._merging and version is not None and version != self.target.active_version

    # --- the end ---------------------------------------------------------------------------------

    def discard(self) -> None:
        """Remove what is staged and not committed."""
        if self._way is not None:
            self._way.discard()

    @property
    def started_from(self) -> str | None:
        """The bookmark at which the tap began."""
        return self.job.run.ledger.start_of(self.name).bookmark

    @property
    def bookmark(self) -> str | None:
        """The bookmark that the table holds for this pipeline."""
        return self.target.position.bookmark

    def announce(self, text: str) -> None:
        """Tell the report of a change to the table's columns, or of something that was ignored; once."""
        self.job.announce(text)
