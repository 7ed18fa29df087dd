"""Rows in the order of a layout: partition after partition, sorted within each, in bounded memory.

Rows are collected up to a share of the memory, put in order, and written to a private local file as a
run. At the end the runs are merged: of an unsorted layout, each partition's slices one after the other;
of a sorted one, in the order that DuckDB finds by sorting the keys alone. Values never leave Arrow.
"""

from __future__ import annotations

import os
from itertools import accumulate, zip_longest
from operator import itemgetter
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from icetap.scratch_folders import ScratchFolder
from target_iceberg.tables.memory import keep_within
from target_iceberg.tables.partitions import Partitioner
from target_iceberg.tables.sorting import SortKeys, merged_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pyiceberg.schema import Schema

    from target_iceberg.tables.layout import Layout
    from target_iceberg.tables.memory import MemoryBudget
    from target_iceberg.tables.partitions import Partition

MOST_RUNS = 256
"""Runs that are merged at once: each holds one block in memory then."""
BLOCK_BYTES = 128 * 1024
OUTPUT_BYTES = 4 * 2**20


class Arrangement:
    """Takes rows in any order and gives them back partition by partition."""

    def __init__(
        self, layout: Layout, *, schema: Schema, memory_bytes: int, budget: MemoryBudget | None = None
    ) -> None:
        self._partitioner = Partitioner(layout.spec, schema)
        self._sort = SortKeys(layout.order, schema)
        self._memory_bytes = memory_bytes
        self._budget = budget
        if budget is not None:
            budget.join(self)
        self._buffer: list[pa.RecordBatch] = []
        self._numbers: list[pa.Int32Array] = []
        self._bytes = 0
        self._runs: list[_Run] = []
        self._folder: ScratchFolder | None = None

    @property
    def is_full(self) -> bool:
        """Whether the rows should be taken out before more come."""
        return len(self._runs) >= MOST_RUNS

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows."""
        if not batch.num_rows:
            return
        self._buffer.append(batch)
        self._numbers.append(self._partitioner.numbers(batch))
        self._bytes += batch.nbytes
        keep_within(self._memory_bytes, self, budget=self._budget)

    @property
    def held_bytes(self) -> int:
        """Bytes of rows in memory."""
        return self._bytes

    def drain(self) -> Iterator[tuple[Partition, Iterator[pa.RecordBatch]]]:
        """Yield each partition with its rows, and forget them; each must be read before the next."""
        if self._runs and self._buffer:
            self.spill()
        if self._runs:
            yield from self._merged()
        elif self._buffer:
            rows, numbers = self._in_order()
            counts = _counts(numbers, len(self._partitioner.partitions))
            yield from self._cut(counts, iter(rows.to_batches()))
        self.close()

    def close(self) -> None:
        """Forget all rows and remove their files."""
        self._buffer, self._numbers, self._bytes = [], [], 0
        for run in self._runs:
            run.close()
        self._runs = []
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def _in_order(self) -> tuple[pa.Table, pa.Int32Array]:
        """Return the buffered rows in order, and the number of each one's partition."""
        numbers = pa.concat_arrays(self._numbers)
        rows = pa.Table.from_batches(self._buffer).combine_chunks()
        self._buffer, self._numbers, self._bytes = [], [], 0
        if self._sort.is_needed:
            order = self._sort.order(rows, numbers)
        elif len(self._partitioner.partitions) > 1:
            order = pc.array_sort_indices(numbers)  # a stable sort
        else:
            return rows, numbers
        return rows.take(order), numbers.take(order)

    def spill(self) -> None:
        """Write the rows in memory to a run."""
        if self._folder is None:
            self._folder = ScratchFolder("arrange")
        path = self._folder.path / f"{len(self._runs):06d}.arrow"
        self._runs.append(_Run.write(path, *self._in_order(), partitions=len(self._partitioner.partitions)))

    def _merged(self) -> Iterator[tuple[Partition, Iterator[pa.RecordBatch]]]:
        if self._sort.is_needed:
            counts = [sum(column) for column in zip_longest(*(run.counts for run in self._runs), fillvalue=0)]
            yield from self._cut(counts, self._merged_by_key())
            return
        for number, partition in enumerate(self._partitioner.partitions):
            if any(number < len(run.counts) and run.counts[number] for run in self._runs):
                yield partition, self._slices(number)

    def _slices(self, number: int) -> Iterator[pa.RecordBatch]:
        for run in self._runs:
            yield from run.partition(number)

    def _merged_by_key(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows of all runs in the order of (partition, keys); holds a block of each run."""
        keys = (batch for number, run in enumerate(self._runs) for batch in self._keys_of(number, run))
        cursors = [_Cursor(run) for run in self._runs]
        per_batch = max(1, OUTPUT_BYTES // max(run.row_bytes for run in self._runs))
        for origin in merged_order(self._sort, keys, rows=per_batch):
            counts = sorted(origin.value_counts().to_pylist(), key=itemgetter("values"))
            pieces = [cursors[one["values"]].take(one["counts"]) for one in counts]
            # Row n of the pieces, one after the other, belongs where the n-th smallest origin stands.
            places = pc.array_sort_indices(pc.array_sort_indices(origin))
            yield from pa.concat_tables(pieces).combine_chunks().take(places).to_batches()

    def _keys_of(self, number: int, run: _Run) -> Iterator[pa.RecordBatch]:
        first = 0
        for rows, partitions in run.blocks():
            yield self._sort.columns(rows, partitions, run=number, first=first)
            first += rows.num_rows

    def _cut(
        self, counts: Sequence[int], batches: Iterator[pa.RecordBatch]
    ) -> Iterator[tuple[Partition, Iterator[pa.RecordBatch]]]:
        """Cut a stream of rows in the order of their partitions into the partitions."""
        stream = _Stream(batches)
        for partition, count in zip(self._partitioner.partitions, counts, strict=False):
            if count:
                yield partition, stream.take(count)


def _counts(numbers: pa.Int32Array, partitions: int) -> list[int]:
    found = {one["values"]: one["counts"] for one in numbers.value_counts().to_pylist()}
    return [found.get(number, 0) for number in range(partitions)]


class _Stream:
    """Batches from which rows are taken by count."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._rest: pa.RecordBatch | None = None

    def take(self, rows: int) -> Iterator[pa.RecordBatch]:
        while rows:
            batch = self._rest if self._rest is not None else next(self._batches)
            piece = batch.slice(0, rows)
            self._rest = batch.slice(rows) if batch.num_rows > rows else None
            rows -= piece.num_rows
            if piece.num_rows:
                yield piece


class _Run:
    """Rows in order, in a local file of blocks; the number of their partition is the last column."""

    def __init__(self, path: Path, *, counts: list[int], block_rows: int, row_bytes: int) -> None:
        self.counts = counts
        self.row_bytes = row_bytes
        self._ends = list(accumulate(counts))
        self._block_rows = block_rows
        self._source = pa.OSFile(os.fspath(path))
        self._reader = pa.ipc.open_file(self._source)
        self._block: tuple[int, pa.RecordBatch] | None = None

    @classmethod
    def write(cls, path: Path, rows: pa.Table, numbers: pa.Int32Array, *, partitions: int) -> _Run:
        row_bytes = max(1, rows.nbytes // rows.num_rows)
        block_rows = max(1, BLOCK_BYTES // row_bytes)
        rows = rows.append_column("partition", numbers)
        with pa.OSFile(os.fspath(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
            for start in range(0, rows.num_rows, block_rows):
                for batch in rows.slice(start, block_rows).combine_chunks().to_batches():
                    writer.write_batch(batch)
        return cls(path, counts=_counts(numbers, partitions), block_rows=block_rows, row_bytes=row_bytes)

    def blocks(self) -> Iterator[tuple[pa.RecordBatch, pa.Int32Array]]:
        """Yield all rows with the numbers of their partitions."""
        for number in range(self._reader.num_record_batches):
            block = self._reader.get_batch(number)
            yield _without_last(block), block.column(block.num_columns - 1)

    def partition(self, number: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of one partition."""
        if number < len(self._ends):
            yield from self.rows(self._ends[number] - self.counts[number], self._ends[number])

    def rows(self, start: int, stop: int) -> Iterator[pa.RecordBatch]:
        while start < stop:
            number, offset = divmod(start, self._block_rows)
            if self._block is None or self._block[0] != number:
                self._block = (number, _without_last(self._reader.get_batch(number)))
            piece = self._block[1].slice(offset, stop - start)
            yield piece
            start += piece.num_rows

    def close(self) -> None:
        self._block = None
        self._source.close()


def _without_last(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.select(list(range(batch.num_columns - 1)))


class _Cursor:
    """Takes the rows of a run one after the other."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._next = 0

    def take(self, rows: int) -> pa.Table:
        start, self._next = self._next, self._next + rows
        return pa.Table.from_batches(self._run.rows(start, self._next))
