"""Rows that have arrived but are not committed: in their final Parquet files, or spooled for a merge."""

from __future__ import annotations

import bisect
import os
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import override

from icetap.scratch_folders import ScratchFolder
from icetap.tables import count_below, read_data_file
from icetap.types import schema_from_iceberg
from target_iceberg.methods.distinct_keys import DistinctKeys
from target_iceberg.methods.keys import latest_rows
from target_iceberg.tables.layout import Layout
from target_iceberg.tables.memory import keep_within
from target_iceberg.tables.writer import DataFileWriter, delete_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from pyiceberg.manifest import DataFile
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table

    from target_iceberg.tables.memory import MemoryBudget
    from target_iceberg.tables.writer import WriterOptions

DELETED = "__deleted"
"""The spool's extra column: true for a row that deletes its key."""


class DirectStage:
    """Rows written straight into the table's folder, in files that no snapshot lists yet.

    For appends, first loads and full reads. Memory: one or two row groups, whatever the size. Rows in files
    are in the order in which they came, unless the table's layout arranges them (see `ArrangedStage`).
    """

    def __init__(
        self,
        table: Table,
        *,
        schema: Schema,
        keys: Sequence[str],
        options: WriterOptions,
        seen: DistinctKeys | None = None,
    ) -> None:
        """Begin to stage.

        Args:
            table: The table, as last loaded.
            schema: The columns of what comes first.
            keys: The key columns; with none, rows are not compared.
            options: How files are written.
            seen: Knows the keys of the stages before, and takes those of this one; default only these.
        """
        self._table = table
        self._schema = schema
        self._keys = tuple(keys)
        self.delete_columns = self._keys
        """What is kept of rows that are deletes."""
        self._options = options
        # Of all files of a stage: another writer may change the table's meanwhile.
        self._layout = Layout.of(table)
        self._writer: DataFileWriter | None = None
        self._files: list[DataFile] = []
        self._seen = seen or DistinctKeys(self._keys)
        self._seen.begin_part()
        self._deletes: list[tuple[pa.RecordBatch, int]] = []
        self._rows_at_mark = 0
        self.rows = 0

    def use_schema(self, schema: Schema) -> None:
        """Write what follows with these columns."""
        if schema != self._schema:
            self._roll()
            self._schema = schema

    def write(self, batch: pa.RecordBatch, deleted: pa.BooleanArray | None = None) -> None:
        """Add rows in the table's types; rows that are deletes only remember their key."""
        if deleted is not None and self._keys:
            for piece, is_delete in _runs(batch, deleted):
                if is_delete:
                    self._deletes.append((piece.select(list(self.delete_columns)), self.rows))
                    self._seen.are_distinct = False
                else:
                    self._write(piece)
        else:
            self._write(batch)

    def _write(self, batch: pa.RecordBatch) -> None:
        if self._writer is None:
            self._writer = self._new_writer()
        self._seen.see(batch)
        self._writer.write(batch)
        self.rows += batch.num_rows

    def mark(self) -> None:
        """Remember that a STATE covers everything so far."""
        self._rows_at_mark = self.rows

    @property
    def uncovered_rows(self) -> int:
        """Rows that came after the last mark."""
        return self.rows - self._rows_at_mark

    @property
    def key_range(self) -> tuple[Any, Any] | None:
        """The smallest and the largest value of the one key, when no row has a key of another or of a stage before."""
        low, high = self._seen.low, self._seen.high
        if not self._seen.are_distinct or low is None or high is None:
            return None
        return low.as_py(), high.as_py()

    @property
    def has_deletes(self) -> bool:
        """Whether some rows were deletes."""
        return bool(self._deletes)

    @property
    def has_each_key_once(self) -> bool:
        """Whether every row, deletes among them, has a key of its own."""
        if self._deletes:
            return False
        return self._seen.are_distinct or len(self._latest()) == self.rows

    def _latest(self) -> pa.Int64Array:
        """Return the numbers of the rows that are the newest of their key."""
        self._roll()
        return latest_rows(self._staged_keys(), self._deletes, keys=self._keys)

    def finish(self) -> tuple[list[DataFile], int]:
        """Return the finished files, with the newest row of each key only, and how many rows fell away."""
        self._roll()
        before = self.rows
        if self._keys and not self._seen.are_distinct:
            kept = self._latest()
            if len(kept) < self.rows:
                self._rewrite(kept)
            # What is left came after every delete of its key.
            self._deletes = [(keys, 0) for keys, _ in self._deletes]
        return self._files, before - self.rows

    def split_at_mark(self) -> tuple[list[DataFile], list[DataFile]]:
        """Return the finished files up to the last mark, and those after it."""
        self._roll()
        covered: list[DataFile] = []
        rest: list[DataFile] = []
        first = 0
        for data_file in self._files:
            last = first + data_file.record_count
            if last <= self._rows_at_mark:
                covered.append(data_file)
            elif first >= self._rows_at_mark:
                rest.append(data_file)
            else:
                cut = self._rows_at_mark - first
                covered += self._copy(data_file, pa.arange(0, cut))
                rest += self._copy(data_file, pa.arange(cut, data_file.record_count))
                delete_files(self._table, [data_file])
            first = last
        self._files = [*covered, *rest]
        return covered, rest

    def batches(self) -> Iterator[tuple[pa.RecordBatch, pa.BooleanArray | None]]:
        """Yield everything again in the present columns, deletes in their place."""
        deletes = list(self._deletes)
        schema = schema_from_iceberg(self._schema)
        position = 0
        for batch in self._arrived(schema):
            start = 0
            while deletes and deletes[0][1] <= position + batch.num_rows:
                keys, at = deletes.pop(0)
                yield batch.slice(start, at - position - start), None
                start = at - position
                yield _padded(keys, batch.schema), pa.array([True] * keys.num_rows, pa.bool_())
            yield batch.slice(start), None
            position += batch.num_rows
        for keys, _ in deletes:
            yield _padded(keys, schema), pa.array([True] * keys.num_rows, pa.bool_())

    def _arrived(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:  # noqa: ARG002 - of other stages
        """Yield the rows in the order in which they came, in the present columns."""
        self._roll()
        for data_file in self._files:
            yield from read_data_file(self._table.io, data_file, self._schema)

    def discard(self) -> None:
        """Delete everything that was staged."""
        if self._writer is not None:
            self._writer.abort()
            self._writer = None
        delete_files(self._table, self._files)
        self._files = []

    def release(self) -> None:
        """Forget what is held beside the files, once they are listed."""

    def _new_writer(self) -> DataFileWriter:
        return DataFileWriter(self._table, schema=self._schema, options=self._options, layout=self._layout)

    def _roll(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            self._files += writer.close()

    def _staged_keys(self) -> Iterator[pa.RecordBatch]:
        for data_file in self._files:
            yield from read_data_file(self._table.io, data_file, self._schema, columns=self._keys)

    def _rewrite(self, kept: pa.Int64Array) -> None:
        """Write the files again that hold rows which are not the newest of their key."""
        files: list[DataFile] = []
        first = 0
        for data_file in self._files:
            last = first + data_file.record_count
            inside = kept.filter(pc.and_(pc.greater_equal(kept, first), pc.less(kept, last)))
            if len(inside) == data_file.record_count:
                files.append(data_file)
            else:
                files += self._copy(data_file, pc.subtract(inside, first))
                delete_files(self._table, [data_file])
            first = last
        self._files = files
        self.rows = len(kept)

    def _copy(self, data_file: DataFile, positions: pa.Int64Array) -> list[DataFile]:
        if not len(positions):
            return []
        writer = self._new_writer()
        first = 0
        for batch in read_data_file(self._table.io, data_file, self._schema):
            numbers = pa.arange(first, first + batch.num_rows)
            writer.write(batch.filter(pc.is_in(numbers, value_set=positions)))
            first += batch.num_rows
        return writer.close()


class ArrangedStage(DirectStage):
    """Rows for a table that is partitioned or sorted: spooled as they come, written when they are complete.

    In the files rows stand in another order than they came in, and which of them a STATE covers, or which is
    the newest of its key, is known only by that. Memory: the spool's, then the writer's.
    """

    def __init__(
        self,
        table: Table,
        *,
        schema: Schema,
        keys: Sequence[str],
        options: WriterOptions,
        memory_bytes: int,
        seen: DistinctKeys | None = None,
    ) -> None:
        super().__init__(table, schema=schema, keys=keys, options=options, seen=seen)
        self._spool = Spool(keys=keys, memory_bytes=memory_bytes, budget=options.budget)

    @override
    def use_schema(self, schema: Schema) -> None:
        self._schema = schema

    @override
    def _write(self, batch: pa.RecordBatch) -> None:
        self._seen.see(batch)
        self._spool.write(batch)
        self.rows += batch.num_rows

    @override
    def finish(self) -> tuple[list[DataFile], int]:
        schema = schema_from_iceberg(self._schema)
        rows = self._arrived(schema)
        if self._keys and not self._seen.are_distinct:
            kept = latest_rows(self._arrived_keys(), self._deletes, keys=self._keys)
            self.rows, rows = len(kept), self._spool.rows_of(kept, schema)
        self._files = self._written(rows)
        return self._files, self._spool.rows - self.rows

    @override
    def _latest(self) -> pa.Int64Array:
        return latest_rows(self._arrived_keys(), self._deletes, keys=self._keys)

    @override
    def split_at_mark(self) -> tuple[list[DataFile], list[DataFile]]:
        schema = schema_from_iceberg(self._schema)
        covered = self._written(_piece(self._arrived(schema), 0, self._rows_at_mark))
        self._files = covered  # known to `discard`, should the rest fail
        rest = self._written(_piece(self._arrived(schema), self._rows_at_mark, self.rows))
        self._files = [*covered, *rest]
        self.release()
        return covered, rest

    @override
    def discard(self) -> None:
        super().discard()
        self.release()

    @override
    def release(self) -> None:
        self._spool.close()

    def _written(self, rows: Iterable[pa.RecordBatch]) -> list[DataFile]:
        writer = self._new_writer()
        try:
            for batch in rows:
                writer.write(batch)
            return writer.close()
        except BaseException:
            writer.abort()
            raise

    def _arrived_keys(self) -> Iterator[pa.RecordBatch]:
        fields = schema_from_iceberg(self._schema)
        schema = pa.schema([fields.field(key) for key in self._keys])
        for batch in self._spool.batches(self._keys):
            yield as_schema(batch, schema)

    @override
    def _arrived(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for batch in self._spool.batches():
            yield as_schema(batch, schema)


def _piece(batches: Iterable[pa.RecordBatch], start: int, stop: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows with the numbers from `start` to before `stop`."""
    first = 0
    for batch in batches:
        low, high = max(start - first, 0), min(stop - first, batch.num_rows)
        if low < high:
            yield batch.slice(low, high - low)
        first += batch.num_rows


def _runs(batch: pa.RecordBatch, deleted: pa.BooleanArray) -> Iterator[tuple[pa.RecordBatch, bool]]:
    """Yield pieces of consecutive rows that are all deletes, or all not."""
    start = 0
    flags = deleted.to_pylist()
    for index in range(1, len(flags) + 1):
        if index == len(flags) or flags[index] != flags[start]:
            yield batch.slice(start, index - start), bool(flags[start])
            start = index


def _padded(keys: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        keys.column(field.name) if field.name in keys.schema.names else pa.nulls(keys.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


class Spool:
    """Rows that wait for a merge: in memory, and from `memory_bytes` on in private local files.

    Rows have numbers in the order of their arrival, from 0.
    """

    def __init__(self, *, keys: Sequence[str], memory_bytes: int, budget: MemoryBudget | None = None) -> None:
        self.keys = tuple(keys)
        self._budget = budget
        if budget is not None:
            budget.join(self)
        self._memory_bytes = memory_bytes
        self._places: list[tuple[Path, int]] = []  # file, and number of the batch in it
        self._in_memory: list[pa.RecordBatch] = []
        self._firsts: list[int] = []  # the number of each batch's first row
        self._flags: list[pa.BooleanArray] = []
        self.seen = DistinctKeys(self.keys)
        """Knows whether no key came twice, where they came about in their order."""
        self._bytes = 0
        self._folder: ScratchFolder | None = None
        self.rows = 0

    def write(self, batch: pa.RecordBatch, deleted: pa.BooleanArray | None = None) -> None:
        """Add rows in the table's types; `deleted` marks those that delete their key."""
        if not batch.num_rows:
            return
        flags = deleted if deleted is not None else pa.array([False] * batch.num_rows, pa.bool_())
        self._in_memory.append(batch.append_column(pa.field(DELETED, pa.bool_()), flags))
        self.seen.see(batch)
        self._firsts.append(self.rows)
        self._flags.append(flags)
        self._bytes += batch.nbytes
        self.rows += batch.num_rows
        keep_within(self._memory_bytes, self, budget=self._budget)

    @property
    def held_bytes(self) -> int:
        """Bytes of rows in memory."""
        return self._bytes

    def spill(self) -> None:
        """Write the rows in memory to a file."""
        if self._folder is None:
            self._folder = ScratchFolder("spool")
        path = self._folder.path / f"{len(self._places):06d}.arrow"
        groups: list[list[pa.RecordBatch]] = []
        for batch in self._in_memory:
            if groups and groups[-1][0].schema.equals(batch.schema):
                groups[-1].append(batch)
            else:
                groups.append([batch])
        for number, group in enumerate(groups):
            part = path.with_suffix(f".{number}.arrow")
            with pa.OSFile(os.fspath(part), "wb") as sink, pa.ipc.new_file(sink, group[0].schema) as writer:
                for batch in group:
                    writer.write_batch(batch)
            self._places += [(part, index) for index in range(len(group))]
        self._in_memory, self._bytes = [], 0

    @property
    def deletes(self) -> pa.ChunkedArray:
        """True for each row that deletes its key."""
        return pa.chunked_array(self._flags, pa.bool_())

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, as they came; of those in files, holds one batch."""
        for index in range(len(self._firsts)):
            batch = self._batch(index)
            yield batch.select(list(columns)) if columns else batch

    def _batch(self, index: int) -> pa.RecordBatch:
        if index >= len(self._places):
            return self._in_memory[index - len(self._places)]
        path, number = self._places[index]
        # Mapped anew each time: a map that stays counts as the process's memory, page by page.
        return pa.ipc.open_file(pa.memory_map(os.fspath(path))).get_batch(number)

    def take(self, numbers: pa.Int64Array, schema: pa.Schema) -> pa.Table:
        """Return the rows with these numbers, in this order, in the columns of `schema`."""
        if pc.all(pc.less(numbers.slice(0, max(len(numbers) - 1, 0)), numbers.slice(1))).as_py():
            return pa.Table.from_batches(self.rows_of(numbers, schema), schema=schema)
        order = pc.sort_indices(numbers)
        rows = pa.Table.from_batches(self.rows_of(numbers.take(order), schema), schema=schema)
        return rows.combine_chunks().take(pc.sort_indices(order))

    def rows_of(self, numbers: pa.Int64Array, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the rows with these numbers, which rise, in the columns of `schema`; holds one batch."""
        done = 0
        while done < len(numbers):
            index = bisect.bisect_right(self._firsts, numbers[done].as_py()) - 1
            first, batch = self._firsts[index], self._batch(index)
            until = count_below(numbers, first + batch.num_rows)
            wanted = batch.select([name for name in schema.names if name in batch.schema.names] or [DELETED])
            yield as_schema(_picked(wanted, pc.subtract(numbers[done:until], first)), schema)
            done = until

    def close(self) -> None:
        """Forget the rows and remove their files."""
        self._places, self._in_memory, self._firsts, self._flags = [], [], [], []
        self._bytes = self.rows = 0
        if self._folder is not None:
            self._folder.close()
            self._folder = None


def _picked(batch: pa.RecordBatch, places: pa.Int64Array) -> pa.RecordBatch:
    """Return the rows at these places, which rise; without a copy where they are all in one piece."""
    start, end = places[0].as_py(), places[-1].as_py() + 1
    if end - start == len(places) and pc.count_distinct(places).as_py() == len(places):
        return batch.slice(start, len(places))
    return batch.take(places)


def as_schema(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return the batch with the columns of a table that has grown since: new ones null, wider types cast."""
    columns = []
    for field in schema:
        index = batch.schema.get_field_index(field.name)
        if index < 0:
            columns.append(pa.nulls(batch.num_rows, field.type))
        else:
            column = batch.column(index)
            columns.append(column if column.type == field.type else column.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)
