"""Incoming keys against the table: which rows are new, changed, deleted, or the same as before.

The plan is made against one snapshot and void on any other. A file that holds changed rows is either written
again (copy-on-write), with the new row in the old one's place, so that it stays clustered as it was; or its
changed rows are marked as deleted in a position delete file, and the new ones are written beside the rows
that are new (merge-on-read).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from icetap.data_files import BATCH_SIZE
from icetap.tables import open_data_file, plan_files, position_deletes
from icetap.types import schema_from_iceberg
from target_iceberg.methods.changed_rows import ChangedRows, rows_with_positions
from target_iceberg.methods.key_ranges import KeyRanges
from target_iceberg.methods.keys import Matches, match_keys
from target_iceberg.tables.deletes import write_position_deletes
from target_iceberg.tables.writer import DataFileWriter, delete_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyiceberg.manifest import DataFile
    from pyiceberg.schema import Schema
    from pyiceberg.table import FileScanTask, Table

    from target_iceberg.methods.staging import Spool
    from target_iceberg.tables.writer import WriterOptions

SMALL_FILE_BYTES = 16 * 2**20
"""Files up to this size are written again rather than given a delete file."""

REWRITTEN_BYTES = 64 * 2**20
"""Of small files, no more than this is written again in one merge."""

FEWEST_LIVE = 0.5
"""A file is written again when less than this part of its rows would be left."""


@dataclass(frozen=True)
class FileChange:
    """What happens to the rows of one data file.

    Attributes:
        task: The file and its position deletes.
        positions: Rows of the file that go or are replaced, sorted.
        replacements: For each position, the number of the incoming row that takes its place, or null.
        dead: How many rows were deleted before.
    """

    task: FileScanTask
    positions: pa.Int64Array
    replacements: pa.Int64Array
    dead: int = 0

    @property
    def rows_left(self) -> int:
        """Rows that stay as they are."""
        return int(self.task.file.record_count) - self.dead - len(self.positions)


@dataclass(frozen=True)
class MergePlan:
    """What a merge does to a table.

    Attributes:
        rows: Numbers of the incoming rows that are new, sorted.
        files_to_replace: Files to write again.
        position_deletes: Files whose rows are marked as deleted; their replacements are written with the new rows.
        updated, deleted, unchanged, superseded: Counts of rows for the report.
    """

    rows: pa.Int64Array
    files_to_replace: Sequence[FileChange]
    position_deletes: Sequence[FileChange]
    updated: int
    deleted: int
    unchanged: int
    superseded: int

    @property
    def changes_nothing(self) -> bool:
        """Whether the table is as the incoming rows want it."""
        return not len(self.rows) and not self.files_to_replace and not self.position_deletes


@dataclass(frozen=True)
class WrittenMerge:
    """The files of a merge that is ready to be committed.

    Attributes:
        added: Data files to list.
        added_deletes: Position delete files to list.
        removed: Paths of data files that leave.
        removed_deletes: Paths of delete files that leave.
    """

    added: list[DataFile]
    added_deletes: list[DataFile]
    removed: frozenset[str]
    removed_deletes: frozenset[str]

    def discard(self, table: Table) -> None:
        """Delete the files: the plan was void."""
        delete_files(table, [*self.added, *self.added_deletes])


def plan_merge(
    table: Table, spool: Spool, *, schema: Schema, skip_unchanged: bool, mode: str = "auto"
) -> MergePlan:
    """Compare the spooled rows with the table's newest snapshot.

    Args:
        table: The table, freshly loaded.
        spool: The incoming rows.
        schema: The table's columns as they will be after the commit.
        skip_unchanged: Leave rows alone that equal the stored ones.
        mode: One of the setting `merge_mode`. Tables of format version 1 have no position deletes: they are rewritten.
    """
    kinds = [schema_from_iceberg(schema).field(key).type for key in spool.keys]
    ranges = KeyRanges(spool.batches(spool.keys), keys=spool.keys, kinds=kinds)
    tasks = plan_files(table, row_filter=ranges.filter) if table.metadata.current_snapshot_id else []
    if not tasks and spool.seen.are_distinct:
        # New keys only, each once.
        matches = Matches.none(spool.rows)
    else:
        stored = _stored_keys(table, tasks, keys=spool.keys, ranges=ranges)
        matches = match_keys(spool.batches(spool.keys), stored, keys=spool.keys, kinds=kinds)
    planner = _Planner(table, spool, schema=schema, skip_unchanged=skip_unchanged)
    changes = planner.changes(planner.live(tasks, matches))
    rewritten, marked = _by_mode(changes, "copy-on-write" if table.format_version < 2 else mode)
    return MergePlan(
        rows=planner.new_rows(matches),
        files_to_replace=rewritten,
        position_deletes=marked,
        updated=planner.updated,
        deleted=planner.deleted,
        unchanged=planner.unchanged,
        superseded=spool.rows - len(matches.latest),
    )


def _stored_keys(
    table: Table, tasks: Sequence[FileScanTask], *, keys: Sequence[str], ranges: KeyRanges
) -> Iterator[tuple[int, int, pa.RecordBatch]]:
    """Yield (number of the file, position of the first row, keys) where an incoming key may be."""
    for number, task in enumerate(tasks):
        with open_data_file(table, task.file) as file:
            for group in file.groups:
                if ranges.may_be_in(file, group):
                    for first, batch in file.batches(group, keys):
                        yield number, first, batch


def _by_mode(changes: Sequence[FileChange], mode: str) -> tuple[list[FileChange], list[FileChange]]:
    """Return the files to write again, and those whose rows are marked as deleted.

    A file that keeps no row is never marked: it leaves. In `auto`, small files are written again, the
    smallest first, and those that lose most of their rows.
    """
    rewritten: list[FileChange] = []
    marked: list[FileChange] = []
    small = 0
    for change in sorted(changes, key=lambda one: one.task.file.file_size_in_bytes):
        file = change.task.file
        is_small = file.file_size_in_bytes <= min(SMALL_FILE_BYTES, REWRITTEN_BYTES - small)
        is_worn = change.rows_left < FEWEST_LIVE * file.record_count
        rewrites = mode == "copy-on-write" or (mode == "auto" and (is_small or is_worn))
        if rewrites and is_small and not is_worn:
            small += file.file_size_in_bytes
        (rewritten if rewrites or not change.rows_left else marked).append(change)
    places = {id(change): place for place, change in enumerate(changes)}
    return sorted(rewritten, key=lambda one: places[id(one)]), marked


@dataclass(frozen=True)
class _Found:
    """Live rows of one file whose keys came in; `repeated` marks keys that a row before has too."""

    task: FileScanTask
    positions: pa.Int64Array
    numbers: pa.Int64Array
    dead: int


class _Planner:
    """Goes through the files with matches and decides what happens to each row."""

    def __init__(self, table: Table, spool: Spool, *, schema: Schema, skip_unchanged: bool) -> None:
        self._table = table
        self._flags = spool.deletes
        self._comparison = ChangedRows(table, spool, schema=schema) if skip_unchanged else None
        self._met = pa.array([], pa.int64())
        self._has_repeated = False
        self.updated = self.deleted = self.unchanged = 0

    def live(self, tasks: Sequence[FileScanTask], matches: Matches) -> list[_Found]:
        """Return the stored rows that were met and are not deleted already, by file."""
        found = []
        for number, task in enumerate(tasks):
            positions, numbers = matches.in_file(number)
            if not len(positions):
                continue
            dead = position_deletes(self._table.io, task)
            if len(dead):
                lives = pc.invert(pc.is_in(positions, value_set=dead))
                positions, numbers = positions.filter(lives), numbers.filter(lives)
            if len(positions):
                found.append(_Found(task, positions, numbers, len(dead)))
        if found:
            met = pa.concat_arrays([one.numbers for one in found])
            self._met = pc.unique(met)
            self._has_repeated = len(self._met) < len(met)
        return found

    def new_rows(self, matches: Matches) -> pa.Int64Array:
        """Return the numbers of the rows to insert; a key found only among deleted rows is new."""
        rows = matches.latest
        if pc.any(self._flags).as_py():
            rows = rows.filter(pc.invert(self._flags.take(rows)).combine_chunks())
        return rows.filter(pc.invert(pc.is_in(rows, value_set=self._met))) if len(self._met) else rows

    def changes(self, found: Sequence[_Found]) -> list[FileChange]:
        """Decide about the rows that were met; a key that is stored twice keeps its first row."""
        seen = pa.array([], pa.int64())
        decided = []
        for one in found:
            repeated = pa.repeat(pa.scalar(value=False), len(one.numbers))
            if self._has_repeated:
                repeated = pc.or_(pc.is_in(one.numbers, value_set=seen), _again(one.numbers))
                seen = pc.unique(pa.concat_arrays([seen, one.numbers]))
            change = self._change(one, repeated)
            if len(change.positions):
                decided.append(change)
        return decided

    def _change(self, found: _Found, repeated: pa.BooleanArray) -> FileChange:
        is_delete = self._flags.take(found.numbers).combine_chunks()
        goes = pc.or_(is_delete, repeated)
        is_replaced = pc.invert(goes)
        if self._comparison is not None and goes.true_count < len(goes):
            positions, numbers = found.positions.filter(is_replaced), found.numbers.filter(is_replaced)
            differ = self._comparison.differ(found.task.file, positions, numbers)
            is_replaced = pc.replace_with_mask(is_replaced, is_replaced, differ)
        changes = pc.or_(goes, is_replaced)
        replacements = pc.if_else(is_replaced, found.numbers, pa.scalar(None, pa.int64())).filter(changes)
        self.deleted += is_delete.true_count
        self.updated += is_replaced.true_count
        self.unchanged += changes.false_count
        return FileChange(found.task, found.positions.filter(changes), replacements, found.dead)


def _again(numbers: pa.Int64Array) -> pa.BooleanArray:
    """Say for each number whether it stands there before."""
    places = pa.arange(0, len(numbers))
    firsts = pa.table({"number": numbers, "place": places}).group_by("number").aggregate([("place", "min")])
    return pc.invert(pc.is_in(places, value_set=firsts.column("place_min").combine_chunks()))


def write_merge(
    table: Table, plan: MergePlan, spool: Spool, *, schema: Schema, options: WriterOptions
) -> WrittenMerge:
    """Write the files of a merge."""
    arrow_schema = schema_from_iceberg(schema)
    writer = DataFileWriter(table, schema=schema, options=options)
    beside = [change.replacements.drop_null() for change in plan.position_deletes]
    numbers = pa.concat_arrays([plan.rows, *beside])
    try:
        for change in plan.files_to_replace:
            for batch in _rewritten(table, change, spool, schema=schema):
                writer.write(batch)
        for batch in spool.rows_of(
            numbers.take(pc.sort_indices(numbers)) if beside else numbers, arrow_schema
        ):
            writer.write(batch)
        deletes, outdated = write_position_deletes(
            table, [(change.task, change.positions) for change in plan.position_deletes], options=options
        )
        added = writer.close()
    except BaseException:
        writer.abort()
        raise
    removed = frozenset(change.task.file.file_path for change in plan.files_to_replace)
    return WrittenMerge(added, deletes, removed, outdated)


def _rewritten(table: Table, change: FileChange, spool: Spool, *, schema: Schema) -> Iterator[pa.RecordBatch]:
    """Yield the live rows of a file with the changed ones replaced or left out."""
    arrow_schema = schema_from_iceberg(schema)
    if not change.rows_left:
        numbers = change.replacements.drop_null()
        for start in range(0, len(numbers), BATCH_SIZE):
            yield from spool.take(numbers.slice(start, BATCH_SIZE), arrow_schema).to_batches()
        return
    dead = position_deletes(table.io, change.task)
    for first, batch in rows_with_positions(table, change.task.file, schema):
        numbers = pa.arange(first, first + batch.num_rows)
        inside = pc.and_(
            pc.greater_equal(change.positions, first), pc.less(change.positions, first + batch.num_rows)
        )
        touched = change.positions.filter(inside)
        incoming = change.replacements.filter(inside)
        if not len(touched) and not len(dead):
            yield batch
            continue
        replaced = touched.filter(pc.is_valid(incoming))
        new_rows = spool.take(incoming.drop_null(), arrow_schema)
        # Where a row is replaced, its source is the n-th new row, behind the rows of the batch.
        order = pc.index_in(numbers, value_set=replaced)
        source = pc.if_else(
            pc.is_valid(order), pc.add(order.cast(pa.int64()), batch.num_rows), pa.arange(0, batch.num_rows)
        )
        gone = pc.or_(
            pc.is_in(numbers, value_set=touched.filter(pc.is_null(incoming))),
            pc.is_in(numbers, value_set=dead),
        )
        both = pa.concat_tables([pa.Table.from_batches([batch], schema=arrow_schema), new_rows])
        yield from both.take(source.filter(pc.invert(gone))).to_batches()
