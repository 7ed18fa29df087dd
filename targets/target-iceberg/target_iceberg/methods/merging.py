"""Rows with keys: the newest of each key becomes part of the table, whatever the table holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_iceberg.methods.distinct_keys import DistinctKeys
from target_iceberg.methods.key_ranges import may_hold_keys
from target_iceberg.methods.merge_commit import commit_merge, prepare
from target_iceberg.positions.states import same_bookmark

if TYPE_CHECKING:
    import pyarrow as pa

    from target_iceberg.methods.job import Job
    from target_iceberg.methods.staging import DirectStage, Spool
    from target_iceberg.tables.commit import Change


class Merging:
    """Merges the rows of one stream in each of its commits.

    As long as no stored row can have their keys, rows go straight into their final files.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._stage: DirectStage | None = None
        self._spool: Spool | None = None
        self._seen: DistinctKeys | None = None
        """Knows the keys of all rows since the table was empty, while none of them came twice."""
        self._own_files: set[str] = set()
        """The files with those rows."""
        self.comes_again: bool | None = None
        """Whether rows may be changes that a history has already; they are then held until the tap has caught up."""
        self._rows_covered = 0
        self.has_caught_up = False
        """Whether the tap has come to where the table was; what is held is committed then."""

    @property
    def rows(self) -> int:
        """Rows that wait for a commit."""
        return (self._stage.rows if self._stage else 0) + (self._spool.rows if self._spool else 0)

    def open(self) -> None:
        """Get ready for rows."""
        if self.comes_again is None:
            self.comes_again = self._job.may_repeat_versions
        if self._job.target.is_empty:
            self._seen, self._own_files = DistinctKeys(self._job.keys), set()
        if self._seen is not None:
            self._stage = self._job.new_stage(keys=self._job.keys, seen=self._seen)
            self._stage.delete_columns = self._job.delete_columns
        else:
            self._spool = self._spool or self._job.new_spool()

    def write(self, batch: pa.RecordBatch, deleted: pa.BooleanArray | None) -> None:
        """Stage rows; `deleted` marks those that delete their key."""
        if self._stage is not None:
            self._stage.use_schema(self._job.target.schema_stage.schema)
            self._stage.write(batch, deleted)
        elif self._spool is not None:
            self._spool.write(batch, deleted)

    def commit(self, *, at_end: bool) -> None:  # noqa: ARG002 - merged rows need not wait for a STATE
        """Commit everything."""
        if self._stage is not None:
            self._commit_new(self._stage)
        elif self._spool is not None:
            self._commit_merge(self._spool)
        self._rows_covered = 0
        if self.has_caught_up:
            self.comes_again = self.has_caught_up = False

    @property
    def waits(self) -> bool:
        """Whether a commit had better wait: rows could not be told from those that come again after a crash."""
        return bool(self.comes_again) or self._is_uncovered

    @property
    def _is_uncovered(self) -> bool:
        return self._job.goes_by_arrival and self.rows > self._rows_covered

    def state_came(self, bookmark: str | None) -> None:
        """Notice where the tap is, with all rows that came before."""
        self._rows_covered = self.rows
        if self.comes_again and same_bookmark(bookmark, self._job.known_bookmark):
            self.has_caught_up = True

    def take_over(self, stage: DirectStage) -> None:
        """Merge rows that were staged for something else."""
        self._stage = None
        self._seen = None
        self._spool = self._respooled(stage)
        self._commit_merge(self._spool)

    def _commit_new(self, stage: DirectStage) -> None:
        """Commit rows that were staged in the hope that the table has none of their keys."""
        target, counts = self._job.target, self._job.counts
        target.refresh()
        if not (stage.rows or stage.has_deletes):
            return
        if not self._has_new_keys(stage):
            self.take_over(stage)
            return
        if not stage.rows:
            return
        files, superseded = stage.finish()
        self._stage = None

        def build() -> Change | None:
            return target.change(added=files, parent=target.head) if self._has_new_keys(stage) else None

        if target.commit(build) is None:
            self.take_over(stage)
            return
        stage.release()
        counts.inserted += sum(data_file.record_count for data_file in files)
        counts.repeated += superseded
        self._own_files |= {data_file.file_path for data_file in files}
        if stage.key_range is None:
            self._seen = None
        self.open()

    def _has_new_keys(self, stage: DirectStage) -> bool:
        """Whether no stored row can have a key of the staged ones, and none of them is made into another."""
        if self._job.keeps_deleted and stage.has_deletes:
            return False
        if self._job.keeps_history and not stage.has_each_key_once:
            return False
        if self._job.target.is_empty:
            return True
        found = stage.key_range
        return found is not None and not may_hold_keys(
            self._job.target.table, self._job.keys[0], *found, apart_from=self._own_files
        )

    def _respooled(self, stage: DirectStage) -> Spool:
        """Turn files that were written in the hope of an empty table into rows for a merge."""
        spool = self._job.new_spool()
        for batch, deleted in stage.batches():
            spool.write(batch, deleted)
        stage.discard()
        return spool

    def _commit_merge(self, spool: Spool) -> None:
        if not spool.rows:
            return
        comes_again = bool(self.comes_again)
        is_open = self._is_uncovered and self._job.run.ledger.was_seen
        job, came = self._job, spool.rows
        commit_merge(job, lambda: prepare(job, spool, came=came, comes_again=comes_again), is_open=is_open)
        spool.close()

    def discard(self) -> None:
        """Remove what is staged."""
        if self._stage is not None:
            self._stage.discard()
        if self._spool is not None:
            self._spool.close()
