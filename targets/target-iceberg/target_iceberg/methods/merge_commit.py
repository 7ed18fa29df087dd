"""A merge as one commit, planned anew on each head, and what its rows are made into before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from target_iceberg.methods.history import Rules, spool_versions
from target_iceberg.methods.merge import plan_merge, write_merge
from target_iceberg.methods.soft_deletes import mark_deleted
from target_iceberg.settings import table_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_iceberg.methods.job import Job
    from target_iceberg.methods.merge import MergePlan, WrittenMerge
    from target_iceberg.methods.staging import Spool
    from target_iceberg.tables.commit import Change


@dataclass(frozen=True)
class Prepared:
    """Rows that are ready to be merged, and what the merge cannot count by itself.

    Attributes:
        spool: The rows.
        made: How many of them did not come, but were made of stored ones.
        deleted: Rows that the merge changes because they are deleted.
        unchanged, repeated: Rows that came and are not among those to merge.
    """

    spool: Spool
    made: int = 0
    deleted: int = 0
    unchanged: int = 0
    repeated: int = 0


def prepare(
    job: Job, spool: Spool, *, came: int, is_truth: bool = False, comes_again: bool = False
) -> Prepared:
    """Make rows into what the table keeps of them: themselves, marked ones, or versions.

    Args:
        job: The stream.
        spool: The rows.
        came: How many of them came; more may have been made of stored ones, for an older head of the table.
        is_truth: Whether they are what a complete full read differs in.
        comes_again: Whether they may be changes that the table has been through.
    """
    table, schema = job.target.table, job.target.schema_stage.schema
    if job.keeps_history:
        versions = job.new_spool(keys=table_keys(job.keys, job.settings))
        rules = Rules(job.load_microseconds, order=job.order, is_truth=is_truth, comes_again=comes_again)
        found = spool_versions(table, spool, versions, schema=schema, rules=rules)
        return Prepared(versions, deleted=found.closed, unchanged=found.unchanged, repeated=found.late)
    if job.keeps_deleted:
        marked = mark_deleted(table, spool, came=came, schema=schema)
        return Prepared(spool, made=spool.rows - came, deleted=marked)
    return Prepared(spool)


def commit_merge(
    job: Job, preparing: Callable[[], Prepared], *, is_full_read: bool = False, is_open: bool = False
) -> None:
    """Merge rows by their keys in one commit, and count what became of them.

    Args:
        job: The stream.
        preparing: Prepares the rows for the table as it is then.
        is_full_read: These rows are all there is: commit even when none changes.
        is_open: No STATE covers the rows yet.
    """
    merge = _Merge(job, preparing)

    def build() -> Change | None:
        written = merge.plan_and_write()
        if written is None:
            return job.target.change(has_snapshot=False, is_full_read=True) if is_full_read else None
        return job.target.change(
            added=written.added,
            added_deletes=written.added_deletes,
            removed=written.removed,
            removed_deletes=written.removed_deletes,
            parent=job.target.head,
            is_full_read=is_full_read,
            is_open=is_open,
        )

    job.target.commit(build)
    merge.count()


class _Merge:
    """A merge that may be planned several times, until a commit of it lands."""

    def __init__(self, job: Job, preparing: Callable[[], Prepared]) -> None:
        self._job = job
        self._preparing = preparing
        self._prepared: Prepared | None = None
        self._plan: MergePlan | None = None
        self._written: WrittenMerge | None = None

    def plan_and_write(self) -> WrittenMerge | None:
        """Return the files of the merge on the table as it is; None when no row changes."""
        job, table = self._job, self._job.target.table
        if self._written is not None:
            self._written.discard(table)
            self._written = None
        self._prepared = self._preparing()
        schema = job.target.schema_stage.schema
        self._plan = plan_merge(
            table,
            self._prepared.spool,
            schema=schema,
            skip_unchanged=job.settings.skip_unchanged,
            mode=job.settings.merge_mode,
        )
        if not self._plan.changes_nothing:
            self._written = write_merge(
                table, self._plan, self._prepared.spool, schema=schema, options=job.options
            )
        return self._written

    def count(self) -> None:
        """Tell the report, and forget the rows."""
        counts, plan, prepared = self._job.counts, self._plan, self._prepared
        if plan is None or prepared is None:
            return
        counts.inserted += len(plan.rows)
        counts.updated += plan.updated - prepared.deleted
        counts.deleted += plan.deleted + prepared.deleted
        counts.unchanged += plan.unchanged + prepared.unchanged
        counts.repeated += plan.superseded - prepared.made + prepared.repeated
        prepared.spool.close()
