"""A merge as one commit, planned anew on each head, and what its rows are made into before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from target_iceberg.history import Rules, spool_versions
from target_iceberg.merge import plan_merge, write_merge
from target_iceberg.settings import table_keys
from target_iceberg.soft_deletes import mark_deleted

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_iceberg.commit import Change
    from target_iceberg.job import Job
    from target_iceberg.merge import MergePlan, WrittenMerge
    from target_iceberg.staging import Spool


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


def prepare(job: Job, spool: Spool, *, is_truth: bool = False, comes_again: bool = False) -> Prepared:
    """Make rows into what the table keeps of them: themselves, marked ones, or versions.

    Args:
        job: The stream.
        spool: The rows that came.
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
        rows = spool.rows
        marked = mark_deleted(table, spool, schema=schema)
        return Prepared(spool, made=spool.rows - rows, deleted=marked)
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
    plan: MergePlan | None = None
    prepared: Prepared | None = None
    written: WrittenMerge | None = None
    target = job.target

    def build() -> Change | None:
        nonlocal plan, prepared, written
        if written is not None:
            written.discard(target.table)
            written = None
        prepared = preparing()
        schema = target.schema_stage.schema
        plan = plan_merge(
            target.table,
            prepared.spool,
            schema=schema,
            skip_unchanged=job.settings.skip_unchanged,
            mode=job.settings.merge_mode,
        )
        if plan.changes_nothing:
            return target.change(has_snapshot=False, is_full_read=True) if is_full_read else None
        written = write_merge(target.table, plan, prepared.spool, schema=schema, options=job.options)
        return target.change(
            added=written.added,
            added_deletes=written.added_deletes,
            removed=written.removed,
            removed_deletes=written.removed_deletes,
            parent=target.head,
            is_full_read=is_full_read,
            is_open=is_open,
        )

    target.commit(build)
    if plan is not None and prepared is not None:
        _count(job, plan, prepared)
        prepared.spool.close()


def _count(job: Job, plan: MergePlan, prepared: Prepared) -> None:
    counts = job.counts
    counts.inserted += len(plan.rows)
    counts.updated += plan.updated - prepared.deleted
    counts.deleted += plan.deleted + prepared.deleted
    counts.unchanged += plan.unchanged + prepared.unchanged
    counts.repeated += max(plan.superseded - prepared.made, 0) + prepared.repeated
