"""Rows that are only appended: committed up to a STATE, taken back when the tap sends them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icetap.errors import StateError
from target_iceberg.positions.alignment import align
from target_iceberg.positions.bookmarks import is_unchanged_since

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.manifest import DataFile

    from target_iceberg.methods.job import Job
    from target_iceberg.methods.staging import DirectStage
    from target_iceberg.positions.bookmarks import Rewind
    from target_iceberg.positions.boundary import Boundary
    from target_iceberg.tables.commit import Change


class Appending:
    """Appends the rows of one stream in each of its commits."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._stage: DirectStage | None = None
        self._boundary: Boundary | None = None
        self.is_aligned = job.run.replay is not None
        """Whether it is known how the table stands to where the tap starts."""
        self.rewind: Rewind | None = None
        """The snapshot to go back to with the next commit."""
        self._aligned_to: int | None = None

    @property
    def rows(self) -> int:
        """Rows that wait for a commit."""
        return self._stage.rows if self._stage else 0

    def align(self) -> None:
        """Bring the table to where the tap starts, or refuse; once."""
        if self.is_aligned:
            return
        self.is_aligned = True
        job = self._job
        found = align(
            job.target,
            job.run.ledger.start_of(job.name),
            stream=job.name,
            pipeline=job.run.pipeline,
            on_mismatch=job.settings.on_state_mismatch,
        )
        self.rewind, self._boundary = found.rewind, found.boundary
        self._aligned_to = job.target.head
        if found.warning:
            job.warn(found.warning)

    def open(self) -> None:
        """Get ready for rows."""
        self._stage = self._stage or self._job.new_stage(splits=True)

    def write(self, batch: pa.RecordBatch, deleted: pa.BooleanArray | None) -> None:
        """Stage rows, except those at the bookmark that the table has already."""
        if self._stage is None:
            return
        if self._boundary is not None:
            batch, repeated = self._boundary.without_known(batch)
            self._job.counts.repeated += repeated
            deleted = None
        self._stage.use_schema(self._job.target.schema_stage.schema)
        self._stage.write(batch, deleted)

    def mark(self) -> None:
        """Remember that a STATE covers everything so far."""
        if self._stage is not None:
            self._stage.mark()

    def commit(self, *, at_end: bool) -> None:
        """Commit what a STATE covers; at the end the rest too, in a snapshot that the next run takes back."""
        stage = self._stage
        if stage is None or not stage.rows:
            return
        if not at_end and (stage.uncovered_rows or (self.rewind and stage.rows < self.rewind.rows)):
            return
        covered, rest = stage.split_at_mark()
        self._stage = None
        target = self._job.target
        if self.rewind and not self._job.run.ledger.was_seen and target.position.bookmark is None:
            # This tap may never send a STATE: then nothing says that its rows come again.
            self.rewind = None
        parent = self.rewind.snapshot_id if self.rewind else target.head
        if covered:
            self._append(covered, parent=parent, is_open=False)
            parent = target.head
        if rest:
            speaks_state = self._job.run.ledger.was_seen or self._job.is_incremental
            self._append(rest, parent=parent, is_open=speaks_state)
        self.open()

    def take_back(self) -> None:
        """Go back without new rows: the tap has moved on without sending any."""
        if self.rewind is not None:
            self._append([], parent=self.rewind.snapshot_id, is_open=False)

    def _append(self, files: list[DataFile], *, parent: int | None, is_open: bool) -> None:
        rewinds = self.rewind is not None
        target = self._job.target

        def build() -> Change:
            if rewinds and not is_unchanged_since(target.table.metadata, self._aligned_to):
                raise StateError(
                    f"stream '{self._job.name}': another writer has committed rows to {target.name}, which this run "
                    "would take back. Nothing of this commit was written; run the pipeline again."
                )
            head = parent if rewinds else target.head
            return target.change(added=files, parent=head, is_open=is_open, is_rewound=rewinds)

        target.commit(build)
        self.rewind = None
        self._job.counts.inserted += sum(data_file.record_count for data_file in files)

    def discard(self) -> None:
        """Remove what is staged."""
        if self._stage is not None:
            self._stage.discard()
