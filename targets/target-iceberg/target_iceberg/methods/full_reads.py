"""Full reads: kept aside until they are complete, then what the table holds, in one snapshot."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from icetap.tables import plan_files, position_deletes, read_data_file
from icetap.types import TIMESTAMPTZ
from target_iceberg.decoding.json_text import parse_json
from target_iceberg.methods.equality import same_rows
from target_iceberg.methods.mass_deletes import MassDeleteError, check_deletes
from target_iceberg.methods.merge_commit import Prepared, commit_merge, prepare
from target_iceberg.methods.snapshot_diff import Source, compared
from target_iceberg.tables.writer import delete_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyiceberg.manifest import DataFile

    from target_iceberg.methods.job import Job
    from target_iceberg.methods.staging import DirectStage
    from target_iceberg.tables.commit import Change


class FullRead:
    """One full read of a stream, invisible until it is complete."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._stage: DirectStage | None = None
        self.is_complete = False
        """Whether the tap has said that nothing of it is missing."""

    @property
    def rows(self) -> int:
        """Rows that wait for a commit."""
        return self._stage.rows if self._stage else 0

    def open(self) -> None:
        """Get ready for rows."""
        self._stage = self._job.new_stage(keys=self._job.keys)

    def write(self, batch: pa.RecordBatch, deleted: pa.BooleanArray | None) -> None:
        """Stage rows; `deleted` marks those that delete their key."""
        if self._stage is not None:
            self._stage.use_schema(self._job.target.schema_stage.schema)
            self._stage.write(batch, deleted)

    def may_commit(self, *, at_end: bool) -> bool:
        """Whether the read is complete, or taken for complete at the end of the input."""
        settings = self._job.settings
        if self.begins_midway and (not self.is_complete or settings.load_method == "snapshot-diff"):
            return False
        return self.is_complete or (
            at_end
            and not self._job.is_cut_short
            and settings.full_table_completion == "end_of_input"
            and self.rows > 0
        )

    @property
    def begins_midway(self) -> bool:
        """Whether the tap began behind rows that it had sent before: then what did not come may be there all the same."""
        return is_midway(self._job.run.ledger.start_of(self._job.name).bookmark)

    def give_up(self) -> DirectStage | None:
        """Return what was staged of a read that never became complete."""
        stage, self._stage = self._stage, None
        return stage

    def commit(self) -> None:
        """Make the read the table's content.

        Raises:
            MassDeleteError: When too much would go. Nothing has changed then.
        """
        stage, self._stage = self._stage, None
        if stage is None:
            return
        files, superseded = stage.finish()
        stage.release()
        target = self._job.target
        target.refresh()
        try:
            if target.is_empty or not self._job.compares_full_reads:
                self._replace(files, rows=stage.rows)
            else:
                self._merge(files)
        except MassDeleteError:
            delete_files(target.table, files)
            raise
        self._job.counts.repeated += superseded

    def _replace(self, files: list[DataFile], *, rows: int) -> None:
        """Let these files be all that the table has, unless it has exactly their rows already."""
        counts, target = self._job.counts, self._job.target
        stored = 0
        if self._is_stored(files):
            delete_files(target.table, files)
            counts.unchanged += rows
            target.commit(lambda: target.change(has_snapshot=False, is_full_read=True))
            return

        def build() -> Change:
            nonlocal stored
            stored = self._stored_rows()
            self._check(max(stored - rows, 0), stored, rows=rows)
            return target.change(added=files, parent=target.head, replaces_all=True)

        target.commit(build)
        counts.inserted += rows
        counts.deleted += stored

    def _merge(self, files: list[DataFile]) -> None:
        """Let only those rows change that differ from the table's."""
        job = self._job
        source = Source(files, job.keys, job.target.schema_stage.schema)
        rows = sum(data_file.record_count for data_file in files)
        is_partial = job.counts.rejected > 0
        if is_partial:
            job.warn(
                "some rows of its full read were refused: which keys are gone is not known, none was deleted"
            )

        def preparing() -> Prepared:
            spool = job.new_spool()
            with compared(job.target.table, source) as found:
                if not is_partial:
                    self._check(found.gone, found.stored, rows=rows)
                mark = pa.scalar(job.load_time, TIMESTAMPTZ) if job.keeps_deleted else None
                found.spool_into(spool, mark=mark, keeps_gone=is_partial)
                gone = 0 if is_partial else found.gone
            prepared = prepare(job, spool, came=spool.rows, is_truth=True)
            if prepared.spool is not spool:
                spool.close()
            return replace(
                prepared,
                unchanged=prepared.unchanged + found.unchanged,
                deleted=gone if job.keeps_deleted else prepared.deleted,
            )

        commit_merge(job, preparing, is_full_read=True)
        delete_files(job.target.table, files)

    def _check(self, gone: int, stored: int, *, rows: int) -> None:
        settings = self._job.settings
        if rows or not settings.allow_empty_full_table:
            check_deletes(gone, stored, most=settings.max_delete_ratio, stream=self._job.name)

    def _stored_rows(self) -> int:
        """Return how many rows the table has."""
        table = self._job.target.table
        tasks = plan_files(table) if self._job.target.head else []
        return sum(task.file.record_count - len(position_deletes(table.io, task)) for task in tasks)

    def _is_stored(self, files: list[DataFile]) -> bool:
        """Whether the table has exactly these rows in this order, as after two reads of an unchanged source."""
        target = self._job.target
        if not self._job.settings.skip_unchanged or target.schema_stage.is_changed:
            return False
        target.refresh()
        tasks = plan_files(target.table) if target.head else []
        if any(task.delete_files for task in tasks):
            return False
        # Of both, partition after partition: the paths begin with it.
        stored, files = (
            sorted(some, key=lambda data_file: data_file.file_path)
            for some in ((task.file for task in tasks), files)
        )
        if sum(data_file.record_count for data_file in stored) != sum(
            data_file.record_count for data_file in files
        ):
            return False
        return same_rows(*(self._rows_of(source) for source in (stored, files)))

    def _rows_of(self, files: list[DataFile]) -> Iterator[pa.RecordBatch]:
        target = self._job.target
        for data_file in files:
            yield from read_data_file(target.table.io, data_file, target.schema_stage.schema)

    def discard(self) -> None:
        """Remove what is staged."""
        if self._stage is not None:
            self._stage.discard()


def is_within_read(bookmark: str | None) -> bool:
    """Whether a bookmark is one at which a full read, by a tap of this project, goes on."""
    return _has(bookmark, "position")


def is_midway(bookmark: str | None) -> bool:
    """Whether a tap that begins at a bookmark leaves out what lies before."""
    return _has(bookmark, "position") or _has(bookmark, "replication_key_value")


def _has(bookmark: str | None, name: str) -> bool:
    known = parse_json(bookmark) if bookmark else None
    return isinstance(known, dict) and known.get(name) is not None
