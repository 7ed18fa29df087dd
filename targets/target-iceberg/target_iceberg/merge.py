"""Incoming keys against the table: which rows are new, changed, deleted, or the same as before.

The plan is made against one snapshot and void on any other. It is carried out by copy-on-write: files
that hold a changed row are written again, with the new row in the old one's place, so that files stay
clustered as they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue, And, GreaterThanOrEqual, LessThanOrEqual

from icetap.tables import plan_files, position_deletes, read_data_file
from icetap.types import schema_from_iceberg
from target_iceberg.equality import unequal_rows
from target_iceberg.keys import Matches, match_keys
from target_iceberg.writer import DataFileWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.manifest import DataFile
    from pyiceberg.schema import Schema
    from pyiceberg.table import FileScanTask, Table

    from target_iceberg.staging import Spool
    from target_iceberg.writer import WriterOptions

IN_ORDER_TYPES = (pa.types.is_integer, pa.types.is_string, pa.types.is_date)
"""Types of keys whose smallest and largest value can rule files out."""

_ROWS_COMPARED = 16_384  # stored and incoming rows, which are held several times over while they are compared


@dataclass(frozen=True)
class FileRewrite:
    """What happens to the rows of one data file.

    Attributes:
        task: The file and its position deletes.
        positions: Rows of the file that go or are replaced, sorted.
        replacements: For each position, the number of the incoming row that takes its place, or null.
    """

    task: FileScanTask
    positions: pa.Int64Array
    replacements: pa.Int64Array


@dataclass(frozen=True)
class MergePlan:
    """What a merge does to a table.

    Attributes:
        rows: Numbers of the incoming rows that are new, in the order of their arrival.
        files_to_replace: Files to write again.
        updated, deleted, unchanged, superseded: Counts of rows for the report.
    """

    rows: pa.Int64Array
    files_to_replace: Sequence[FileRewrite]
    updated: int
    deleted: int
    unchanged: int
    superseded: int

    @property
    def changes_nothing(self) -> bool:
        """Whether the table is as the incoming rows want it."""
        return not len(self.rows) and not self.files_to_replace


def plan_merge(table: Table, spool: Spool, *, schema: Schema, skip_unchanged: bool) -> MergePlan:
    """Compare the spooled rows with the table's newest snapshot.

    Args:
        table: The table, freshly loaded.
        spool: The incoming rows.
        schema: The table's columns as they will be after the commit.
        skip_unchanged: Leave rows alone that equal the stored ones.
    """
    tasks = plan_files(table, row_filter=_key_range(spool)) if table.metadata.current_snapshot_id else []
    if not tasks and spool.order.is_strict:
        # New keys only, each once: the further commits of a first load that comes in the order of its keys.
        matches = Matches.none(spool.rows)
    else:
        matches = match_keys(
            spool.batches(spool.keys),
            _stored_keys(table, tasks, keys=spool.keys),
            keys=spool.keys,
            kinds=[schema_from_iceberg(schema).field(key).type for key in spool.keys],
        )
    flags = spool.deletes
    planner = _Planner(table, spool, schema=schema, flags=flags, skip_unchanged=skip_unchanged)
    rewrites = list(planner.rewrites(tasks, matches))
    writes = matches.latest
    if pc.any(flags).as_py():
        writes = writes.filter(pc.invert(flags.take(writes)).combine_chunks())
    # A key that is found only among rows which another engine has deleted is new.
    if tasks:
        writes = writes.filter(pc.invert(planner.seen.of(writes)))
    return MergePlan(
        rows=writes,
        files_to_replace=rewrites,
        updated=planner.updated,
        deleted=planner.deleted,
        unchanged=planner.unchanged,
        superseded=spool.rows - len(matches.latest),
    )


def _key_range(spool: Spool) -> BooleanExpression:
    """Return a filter that rules out the files in which no incoming key can be."""
    found: BooleanExpression = AlwaysTrue()
    for key in spool.keys:
        low = high = None
        for batch in spool.batches([key]):
            column = batch.column(0)
            if not any(matches(column.type) for matches in IN_ORDER_TYPES):
                break
            bounds = pc.min_max(column).as_py()
            low = bounds["min"] if low is None else min(low, bounds["min"])
            high = bounds["max"] if high is None else max(high, bounds["max"])
        else:
            if low is not None and high is not None:
                found = And(found, _between(key, low, high))
    return found


def _between(key: str, low: Any, high: Any) -> BooleanExpression:
    return And(GreaterThanOrEqual(key, low), LessThanOrEqual(key, high))  # type: ignore[call-arg, arg-type]  # pydantic hides the real signature


def may_hold_keys(table: Table, key: str, low: Any, high: Any) -> bool:
    """Whether a file of the table may hold a key between these two, by the bounds of its key column."""
    kind = schema_from_iceberg(table.schema()).field(key).type
    if not any(matches(kind) for matches in IN_ORDER_TYPES):
        return True
    return bool(plan_files(table, row_filter=_between(key, low, high)))


def _stored_keys(
    table: Table, tasks: Sequence[FileScanTask], *, keys: Sequence[str]
) -> Iterator[tuple[int, int, pa.RecordBatch]]:
    schema = table.schema()
    for number, task in enumerate(tasks):
        first = 0
        for batch in read_data_file(table.io, task.file, schema, columns=keys):
            yield number, first, batch
            first += batch.num_rows


class _Planner:
    """Goes through the files with matches and decides what happens to each row."""

    def __init__(
        self, table: Table, spool: Spool, *, schema: Schema, flags: pa.ChunkedArray, skip_unchanged: bool
    ) -> None:
        self._table = table
        self._spool = spool
        self._schema = schema
        self._arrow_schema = schema_from_iceberg(schema)
        self._flags = flags
        self._skip_unchanged = skip_unchanged
        self.seen = _Seen(spool.rows)
        self.updated = self.deleted = self.unchanged = 0

    def rewrites(self, tasks: Sequence[FileScanTask], matches: Matches) -> Iterator[FileRewrite]:
        stored = matches.stored
        for number in pc.unique(stored.column("file")).to_pylist():
            task = tasks[number]
            mine = stored.filter(pc.equal(stored.column("file"), number))
            dead = position_deletes(self._table.io, task)
            if len(dead):
                mine = mine.filter(pc.invert(pc.is_in(mine.column("pos"), value_set=dead)))
            rewrite = self._rewrite(
                task, mine.column("pos").combine_chunks(), mine.column("n").combine_chunks()
            )
            if len(rewrite.positions):
                yield rewrite

    def _rewrite(self, task: FileScanTask, positions: pa.Int64Array, numbers: pa.Int64Array) -> FileRewrite:
        """Decide for the matched rows of one file; a key that is stored twice keeps one row."""
        gone_or_replaced: list[pa.Int64Array] = []
        replacements: list[pa.Int64Array] = []
        for here, incoming, differs in self._compared(task, positions, numbers):
            is_delete = self._flags.take(incoming).combine_chunks()
            goes = pc.or_(is_delete, self.seen.add(incoming))
            is_replaced = pc.and_(differs, pc.invert(goes))
            changes = pc.or_(goes, is_replaced)
            gone_or_replaced.append(here.filter(changes))
            replacements.append(
                pc.if_else(is_replaced, incoming, pa.scalar(None, pa.int64())).filter(changes)
            )
            self.deleted += is_delete.true_count
            self.updated += is_replaced.true_count
            self.unchanged += changes.false_count
        nothing = [pa.array([], pa.int64())]
        return FileRewrite(
            task, pa.concat_arrays(gone_or_replaced or nothing), pa.concat_arrays(replacements or nothing)
        )

    def _compared(
        self, task: FileScanTask, positions: pa.Int64Array, numbers: pa.Int64Array
    ) -> Iterator[tuple[pa.Int64Array, pa.Int64Array, pa.BooleanArray]]:
        """Yield positions, the numbers of the incoming rows, and whether the two rows differ."""
        if not self._skip_unchanged:
            yield positions, numbers, pc.is_valid(positions)
            return
        for first, batch in _with_positions(self._table, task.file, self._schema):
            inside = pc.and_(pc.greater_equal(positions, first), pc.less(positions, first + batch.num_rows))
            matched, arrived = positions.filter(inside), numbers.filter(inside)
            for start in range(0, len(matched), _ROWS_COMPARED):
                here, incoming = (one.slice(start, _ROWS_COMPARED) for one in (matched, arrived))
                old = pa.Table.from_batches([batch.take(pc.subtract(here, first))])
                yield here, incoming, unequal_rows(old, self._spool.take(incoming, self._arrow_schema))


class _Seen:
    """Which incoming rows have met a stored one; a byte for each."""

    def __init__(self, rows: int) -> None:
        self._marks = bytearray(rows)

    def of(self, numbers: pa.Int64Array) -> pa.BooleanArray:
        """Say for each number whether it is marked."""
        marks = pa.Array.from_buffers(pa.uint8(), len(self._marks), [None, pa.py_buffer(self._marks)])
        return marks.take(numbers).cast(pa.bool_())

    def add(self, numbers: pa.Int64Array) -> pa.BooleanArray:
        """Mark the numbers; say for each whether it was marked before, or stands here a second time."""
        before = self.of(numbers)
        listed = numbers.to_pylist()
        if len(set(listed)) < len(listed):
            before = pa.array([self._marked(number) for number in listed], pa.bool_())
        for number in listed:
            self._marks[number] = 1
        return before

    def _marked(self, number: int) -> bool:
        was_marked, self._marks[number] = bool(self._marks[number]), 1
        return was_marked


def _with_positions(
    table: Table, data_file: DataFile, schema: Schema
) -> Iterator[tuple[int, pa.RecordBatch]]:
    first = 0
    for batch in read_data_file(table.io, data_file, schema):
        yield first, batch
        first += batch.num_rows


def write_merge(
    table: Table, plan: MergePlan, spool: Spool, *, schema: Schema, options: WriterOptions
) -> tuple[list[DataFile], frozenset[str]]:
    """Write the new files of a copy-on-write merge.

    Returns:
        The files to list, and the paths of those that they replace.
    """
    arrow_schema = schema_from_iceberg(schema)
    writer = DataFileWriter(table, schema=schema, options=options)
    try:
        for rewrite in plan.files_to_replace:
            for batch in _rewritten(table, rewrite, spool, schema=schema):
                writer.write(batch)
        for batch in spool.rows_of(plan.rows, arrow_schema):
            writer.write(batch)
        files = writer.close()
    except BaseException:
        writer.abort()
        raise
    return files, frozenset(rewrite.task.file.file_path for rewrite in plan.files_to_replace)


def _rewritten(
    table: Table, rewrite: FileRewrite, spool: Spool, *, schema: Schema
) -> Iterator[pa.RecordBatch]:
    """Yield the live rows of a file with the changed ones replaced or left out."""
    dead = position_deletes(table.io, rewrite.task)
    arrow_schema = schema_from_iceberg(schema)
    for first, batch in _with_positions(table, rewrite.task.file, schema):
        numbers = pa.arange(first, first + batch.num_rows)
        inside = pc.and_(
            pc.greater_equal(rewrite.positions, first), pc.less(rewrite.positions, first + batch.num_rows)
        )
        touched = rewrite.positions.filter(inside)
        incoming = rewrite.replacements.filter(inside)
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
