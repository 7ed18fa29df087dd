"""Full reads: kept aside until they are complete, then the table's whole content in one snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icetap.tables import plan_files, read_data_file
from target_iceberg.equality import same_rows
from target_iceberg.writer import delete_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from pyiceberg.manifest import DataFile

    from target_iceberg.job import Job
    from target_iceberg.staging import DirectStage


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
        return self.is_complete or (
            at_end
            and not self._job.is_cut_short
            and self._job.settings.full_table_completion == "end_of_input"
            and self.rows > 0
        )

    def give_up(self) -> DirectStage | None:
        """Return what was staged of a read that never became complete."""
        stage, self._stage = self._stage, None
        return stage

    def commit(self) -> None:
        """Make the read the table's content, unless the table holds exactly that already."""
        stage, self._stage = self._stage, None
        if stage is None:
            return
        job, target = self._job, self._job.target
        files, superseded = stage.finish()
        stage.release()
        if self._is_stored(files):
            delete_files(target.table, files)
            job.counts.unchanged += stage.rows
            target.commit(lambda: target.change(has_snapshot=False, is_full_read=True))
            return
        target.commit(lambda: target.change(added=files, parent=target.head, replaces_all=True))
        job.counts.inserted += stage.rows
        job.counts.repeated += superseded

    def _is_stored(self, files: list[DataFile]) -> bool:
        """Whether the table has exactly these rows in this order, as after two reads of an unchanged source."""
        target = self._job.target
        if not self._job.settings.skip_unchanged or target.schema_stage.is_changed:
            return False
        target.refresh()
        tasks = plan_files(target.table) if target.head else []
        if any(task.delete_files for task in tasks):
            return False
        stored = sorted((task.file for task in tasks), key=lambda data_file: data_file.file_path)
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
