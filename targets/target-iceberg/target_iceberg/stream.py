"""One stream on its way into one table: what is staged, when it is committed, and as what."""

from __future__ import annotations

import enum
import logging
import time
from typing import TYPE_CHECKING

from icetap.errors import ConfigurationError
from icetap.tables import plan_files, read_data_file
from target_iceberg.alignment import align, is_sdk_shaped
from target_iceberg.equality import same_rows
from target_iceberg.loaded_table import LoadedTable
from target_iceberg.merge import may_hold_keys, plan_merge, write_merge
from target_iceberg.run import Counts
from target_iceberg.staging import DirectStage, Spool
from target_iceberg.states import has_progress, same_bookmark
from target_iceberg.writer import WriterOptions, delete_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from target_iceberg.bookmarks import Rewind
    from target_iceberg.boundary import Boundary
    from target_iceberg.commit import Change
    from target_iceberg.run import Run
    from target_iceberg.settings import StreamSettings

LOGGER = logging.getLogger("target-iceberg")

SPOOL_MEMORY_SHARE = 10  # a tenth of the process's memory


class Mode(enum.Enum):
    """What happens to the rows of a stream."""

    APPEND = "append-only"
    UPSERT = "upsert"
    ASIDE = "overwrite"


class StreamLoad:
    """Stages the rows of one stream and commits them with their bookmark."""

    def __init__(
        self, name: str, table: Table, *, keys: tuple[str, ...], settings: StreamSettings, run: Run
    ) -> None:
        self.name = name
        self.keys = keys
        self.settings = settings
        self.counts = Counts()
        self.target = LoadedTable(table, stream=name, run=run, counts=self.counts)
        self.failure: str | None = None
        self.is_incremental = False
        self.is_cut_short = False
        """Whether the input broke off: then its end proves nothing."""
        self.before_commit: Callable[[], None] = lambda: None
        """Called before each commit: keeps what must not be lost when the bookmark moves."""
        self._run = run
        self._options = WriterOptions(run.run_id, settings.target_file_size_mb * 2**20, settings.compression)
        self._mode: Mode | None = None
        self._is_complete = False
        self._activations: dict[str, int] = {}
        self._direct: DirectStage | None = None
        self._spool: Spool | None = None
        self._rewind: Rewind | None = None
        self._boundary: Boundary | None = None
        self._is_aligned = False
        self._keys_rise = False
        """Whether this run's rows came in the order of their key, beyond all that the table held."""
        self._bytes_waiting = 0
        self._waiting_since: float | None = None
        run.ledger.hold(name)
        self._marked = run.ledger.start_of(name).bookmark

    @property
    def table(self) -> Table:
        """The table as last loaded from the catalog."""
        return self.target.table

    @property
    def only_appends(self) -> bool:
        """Whether every row, a delete too, becomes a new row of the table."""
        method = self.settings.load_method
        return method == "append-only" or (method == "auto" and not self.keys)

    # --- rows in ---------------------------------------------------------------------------------

    @property
    def staged_rows(self) -> int:
        """Rows that wait for a commit."""
        return (self._direct.rows if self._direct else 0) + (self._spool.rows if self._spool else 0)

    def write(
        self, batch: pa.RecordBatch, *, deleted: pa.BooleanArray | None, version: int | None, input_bytes: int
    ) -> None:
        """Stage rows that have the columns of `schema_stage.schema`."""
        self._begin(None if version is None else str(version))
        self.counts.read += batch.num_rows
        self.counts.input_bytes += input_bytes
        self._bytes_waiting += input_bytes
        self._waiting_since = self._waiting_since or time.monotonic()
        if self._boundary is not None:
            batch, repeated = self._boundary.without_known(batch)
            self.counts.repeated += repeated
            deleted = None
        if self._direct is not None:
            self._direct.use_schema(self.target.schema_stage.schema)
            self._direct.write(batch, deleted)
        elif self._spool is not None:
            self._spool.write(batch, deleted)

    def _begin(self, version: str | None) -> None:
        """Decide at the first row, and at each change of version, what becomes of the rows."""
        if self._mode is not None and (version is None or version == self.target.version):
            return
        if self._mode is Mode.ASIDE and not self._is_complete and self._direct is not None:
            # A newer full read has begun: what the older one held is no longer wanted.
            self._direct.discard()
            self._direct = None
        elif self._mode is not None:
            # Rows of the version before become part of the table first; without keys, those after the last STATE too.
            self.commit(at_end=self._mode is Mode.APPEND)
        self.target.version = version
        self._is_complete = False
        self._mode = self._mode_for(version)
        if self._mode is Mode.APPEND:
            self._align_start()
            self._tell_of_repetition(version)
        self._open_stage()

    def _tell_of_repetition(self, version: str | None) -> None:
        """Warn of streams that append all their rows again in each run."""
        if (
            version is None
            and not self.is_incremental
            and self.settings.load_method == "auto"
            and not self.keys
        ):
            self._warn(
                "has no keys, no replication key and no version: each full run appends all its rows again. "
                f"Choose with 'streams.{self.name}': 'key_properties', or 'load_method' (append-only, overwrite)"
            )

    def _mode_for(self, version: str | None) -> Mode:
        match self.settings.load_method:
            case "append-only":
                return Mode.APPEND
            case "overwrite":
                return Mode.ASIDE
            case "upsert":
                if not self.keys:
                    raise ConfigurationError(
                        f"stream '{self.name}' has no key, so load_method 'upsert' cannot find its rows. "
                        f"Set 'streams.{self.name}.key_properties', or choose 'append-only' or 'overwrite'."
                    )
                return Mode.UPSERT
        visible = Mode.UPSERT if self.keys else Mode.APPEND
        if version is None or self.target.is_empty or version == self.target.active_version:
            return visible
        return Mode.ASIDE

    def _open_stage(self) -> None:
        schema = self.target.schema_stage.schema
        if self._mode is Mode.APPEND:
            self._direct = self._direct or DirectStage(
                self.table, schema=schema, keys=(), options=self._options
            )
        elif self._mode is Mode.ASIDE or self.target.is_empty or self._keys_rise:
            self._direct = DirectStage(self.table, schema=schema, keys=self.keys, options=self._options)
        else:
            memory = self._run.memory_limit_mb * 2**20 // SPOOL_MEMORY_SHARE
            self._spool = self._spool or Spool(keys=self.keys, memory_bytes=memory)

    def _align_start(self) -> None:
        """Bring a table without keys to where the tap starts, or refuse."""
        if self._is_aligned:
            return
        self._is_aligned = True
        found = align(
            self.target,
            self._run.ledger.start_of(self.name),
            stream=self.name,
            pipeline=self._run.pipeline,
            on_mismatch=self.settings.on_state_mismatch,
        )
        self._rewind, self._boundary = found.rewind, found.boundary
        if found.warning:
            self._warn(found.warning)

    # --- boundaries ------------------------------------------------------------------------------

    def state_came(self) -> None:
        """Notice that a STATE covers every row so far.

        A bookmark that stays where it was while rows came covers none of them: the tap would send them
        again. Where it holds the replication key's value, such rows are ties, and `Boundary` knows them.
        """
        part = self._run.ledger.part_of(self.name)
        shows_ties = is_sdk_shaped(part or "") and not has_progress(part)
        if self.is_incremental and same_bookmark(part, self._marked) and not shows_ties:
            return
        self._marked = part
        if self._direct is not None:
            self._direct.mark()

    def activate(self, version: str) -> None:
        """Take an ACTIVATE_VERSION message."""
        self._activations[version] = self._activations.get(version, 0) + 1
        if self.settings.load_method in {"append-only", "upsert"}:
            self.announce(f"ACTIVATE_VERSION is ignored with load_method '{self.settings.load_method}'")
        elif self._mode is Mode.ASIDE and self.staged_rows and self.target.version in {None, version}:
            self._is_complete = True
        elif self._mode is None and self._activations[version] >= 2 and self._may_empty(version):
            self.target.version = version
            self._mode = Mode.ASIDE
            self._is_complete = True
            self._open_stage()

    def _may_empty(self, version: str) -> bool:
        """Whether a complete full read of zero rows empties the table."""
        if self.settings.load_method == "auto" and version == self.target.active_version:
            return False  # one version for ever: no rows means no changes
        if not self.settings.allow_empty_full_table and not self.target.is_empty:
            self.announce(
                "its complete full read had no rows; the table is unchanged, as 'allow_empty_full_table' is not set"
            )
        return self.settings.allow_empty_full_table

    @property
    def is_due(self) -> bool:
        """Whether enough has come, or enough time has passed, for a commit."""
        if self._waiting_since is None or (self._mode is Mode.ASIDE and not self._is_complete):
            return False
        return (
            self._bytes_waiting >= self.settings.batch_size_mb * 2**20
            or self.staged_rows >= self.settings.batch_size_rows
            or time.monotonic() - self._waiting_since >= self.settings.flush_seconds
        )

    # --- commits ---------------------------------------------------------------------------------

    def commit(self, *, at_end: bool) -> None:
        """Commit what may be committed now; at the end of input, everything or an error.

        Streams without keys are committed up to the last STATE; the rest goes, at the end, into an
        open snapshot that the next run takes back.
        """
        self.before_commit()
        if self._mode is Mode.ASIDE:
            self._commit_aside(at_end=at_end)
        elif self._mode is Mode.APPEND and self._direct is not None:
            self._commit_append(self._direct, at_end=at_end)
        elif self._mode is Mode.UPSERT and self._direct is not None:
            self._commit_new(self._direct)
        elif self._spool is not None:
            self._commit_merge(self._spool)
        if not self.staged_rows:
            self._bytes_waiting, self._waiting_since = 0, None
        if at_end or not self.staged_rows:
            self._commit_bookmark()

    def _commit_append(self, stage: DirectStage, *, at_end: bool) -> None:
        if not at_end and (stage.uncovered_rows or (self._rewind and stage.rows < self._rewind.rows)):
            return
        if not stage.rows:
            return
        covered, rest = stage.split_at_mark()
        self._direct = None
        if self._rewind and not self._run.ledger.was_seen and self.target.position.bookmark is None:
            # This tap may never send a STATE: then nothing says that its rows come again.
            self._rewind = None
        parent = self._rewind.snapshot_id if self._rewind else self.target.head
        if covered:
            self._append(covered, parent=parent, is_open=False)
            parent = self.target.head
        if rest:
            self._append(rest, parent=parent, is_open=self._speaks_state)
        self._open_stage()

    @property
    def _speaks_state(self) -> bool:
        return self._run.ledger.was_seen or self.is_incremental

    def _append(self, files: list[DataFile], *, parent: int | None, is_open: bool) -> None:
        rewinds = self._rewind is not None

        def build() -> Change:
            head = parent if rewinds else self.target.head
            return self.target.change(added=files, parent=head, is_open=is_open, is_rewound=rewinds)

        self.target.commit(build, replan=not rewinds)
        self._rewind = None
        self.counts.inserted += sum(data_file.record_count for data_file in files)

    def _commit_new(self, stage: DirectStage) -> None:
        """Commit rows that were staged in the hope that the table has none of their keys."""
        self.target.refresh()
        if not self._has_new_keys(stage):
            self._merge_instead(stage)
            return
        if not stage.rows:
            return
        files, superseded = stage.finish()
        self._direct = None

        def build() -> Change | None:
            return (
                self.target.change(added=files, parent=self.target.head)
                if self._has_new_keys(stage)
                else None
            )

        if self.target.commit(build) is None:
            self._merge_instead(stage)
            return
        self.counts.inserted += sum(data_file.record_count for data_file in files)
        self.counts.repeated += superseded
        self._keys_rise = stage.key_range is not None
        self._open_stage()

    def _has_new_keys(self, stage: DirectStage) -> bool:
        """Whether no stored row can have a key of the staged ones."""
        if self.target.is_empty:
            return True
        found = stage.key_range
        return found is not None and not may_hold_keys(self.table, self.keys[0], *found)

    def _merge_instead(self, stage: DirectStage) -> None:
        self._direct = None
        self._keys_rise = False
        self._spool = self._respooled(stage)
        self._commit_merge(self._spool)

    def _respooled(self, stage: DirectStage) -> Spool:
        """Turn files that were written in the hope of an empty table into rows for a merge."""
        memory = self._run.memory_limit_mb * 2**20 // SPOOL_MEMORY_SHARE
        spool = Spool(keys=self.keys, memory_bytes=memory)
        for batch, deleted in stage.batches():
            spool.write(batch, deleted)
        stage.discard()
        return spool

    def _commit_merge(self, spool: Spool) -> None:
        if not spool.rows:
            return
        plan = None
        files: list[DataFile] = []

        def build() -> Change | None:
            nonlocal plan, files
            delete_files(self.table, files)
            schema = self.target.schema_stage.schema
            plan = plan_merge(self.table, spool, schema=schema, skip_unchanged=self.settings.skip_unchanged)
            if plan.changes_nothing:
                return None
            files, removed = write_merge(self.table, plan, spool, schema=schema, options=self._options)
            return self.target.change(added=files, removed=removed, parent=self.target.head)

        self.target.commit(build)
        if plan is not None:
            self.counts.inserted += len(plan.rows)
            self.counts.updated += plan.updated
            self.counts.deleted += plan.deleted
            self.counts.unchanged += plan.unchanged
            self.counts.repeated += plan.superseded
        spool.close()

    def _commit_aside(self, *, at_end: bool) -> None:
        stage = self._direct
        if stage is None:
            return
        complete = self._is_complete or (
            at_end
            and not self.is_cut_short
            and self.settings.full_table_completion == "end_of_input"
            and stage.rows > 0
        )
        if not complete:
            if at_end:
                self._give_up(stage)
            return
        files, superseded = stage.finish()
        self._direct = None
        self._is_aligned = True  # the whole content becomes this read's, wherever the tap began
        if self._holds_already(files):
            delete_files(self.table, files)
            self.counts.unchanged += stage.rows
            self.target.commit(lambda: self.target.change(has_snapshot=False))
            self._mode = None
            return
        self.target.commit(
            lambda: self.target.change(added=files, parent=self.target.head, replaces_all=True)
        )
        self.counts.inserted += stage.rows
        self.counts.repeated += superseded
        self._mode = None

    def _holds_already(self, files: list[DataFile]) -> bool:
        """Whether the table has exactly these rows in this order, as after two reads of an unchanged source."""
        if not self.settings.skip_unchanged or self.target.schema_stage.is_changed:
            return False
        self.target.refresh()
        tasks = plan_files(self.table) if self.target.head else []
        if any(task.delete_files for task in tasks):
            return False
        stored = sorted((task.file for task in tasks), key=lambda data_file: data_file.file_path)
        if sum(data_file.record_count for data_file in stored) != sum(
            data_file.record_count for data_file in files
        ):
            return False
        return same_rows(*(self._rows_of(source) for source in (stored, files)))

    def _rows_of(self, files: list[DataFile]) -> Iterator[pa.RecordBatch]:
        for data_file in files:
            yield from read_data_file(self.table.io, data_file, self.target.schema_stage.schema)

    def _give_up(self, stage: DirectStage) -> None:
        """End with a full read that is not complete: merge what has keys, else change nothing."""
        self._direct = None
        if not stage.rows:
            return
        hint = "set 'full_table_completion: end_of_input' to take the end of its input as proof"
        if self.keys and self.settings.load_method == "auto":
            self._warn(f"its full read was not complete: rows were merged, none was removed ({hint})")
            self._mode = Mode.UPSERT
            self._spool = self._respooled(stage)
            self._commit_merge(self._spool)
            return
        stage.discard()
        self.failure = f"its full read was not complete, so the table is unchanged ({hint})"

    def _commit_bookmark(self) -> None:
        """Move the bookmark alone, when no row moved it, and note that the state may be printed."""
        if self.failure or (self._mode is Mode.ASIDE and not self._is_complete) or self.staged_rows:
            return
        bookmark = self._run.ledger.part_of(self.name)
        moved = bookmark is not None and not same_bookmark(bookmark, self.target.position.bookmark)
        if moved and self._mode is None and self._mode_for(self.target.version) is Mode.APPEND:
            self._align_start()
        if self._rewind is not None and same_bookmark(bookmark, self.started_from):
            return  # the tap has read nothing yet: what it would send again stays visible
        if self._rewind is not None and moved and self._rewind.rows:
            self._append([], parent=self._rewind.snapshot_id, is_open=False)
        elif moved or self.target.schema_stage.is_changed or self._is_new_version:
            self.target.commit(lambda: self.target.change(has_snapshot=False))
        self._run.ledger.commit(self.name)

    @property
    def _is_new_version(self) -> bool:
        """Whether rows of a version were merged that the table does not know as its own yet."""
        known = self.target.active_version
        return self._mode is Mode.UPSERT and self.target.version is not None and self.target.version != known

    # --- the end ---------------------------------------------------------------------------------

    def discard(self) -> None:
        """Remove what is staged and not committed."""
        if self._direct is not None:
            self._direct.discard()
        if self._spool is not None:
            self._spool.close()

    @property
    def started_from(self) -> str | None:
        """The bookmark at which the tap began."""
        return self._run.ledger.start_of(self.name).bookmark

    @property
    def bookmark(self) -> str | None:
        """The bookmark that the table holds for this pipeline."""
        return self.target.position.bookmark

    def _warn(self, text: str) -> None:
        message = f"stream '{self.name}' {text}"
        self.counts.warnings.append(message)
        LOGGER.warning("%s", message)

    def announce(self, text: str) -> None:
        """Tell the report of a change to the table's columns, or of something that was ignored; once."""
        if text not in self.counts.announcements:
            self.counts.announcements.append(text)
