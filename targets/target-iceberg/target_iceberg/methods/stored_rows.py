"""Stored rows by their place: which live rows there are in which file, and those rows themselves again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from icetap.tables import plan_files, position_deletes, read_data_file
from icetap.types import schema_from_iceberg
from target_iceberg.methods.joins import as_key, joinable, key_names
from target_iceberg.methods.key_ranges import KeyRanges

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyiceberg.schema import Schema
    from pyiceberg.table import FileScanTask, Table

    from target_iceberg.methods.staging import Spool

PLACE = pa.schema([("file", pa.int64()), ("pos", pa.int64())])
"""Where a stored row is: the number of its file among the planned ones, and its position in it."""


def files_with_keys(table: Table, spool: Spool, *, schema: Schema) -> list[FileScanTask]:
    """Return the files of the newest snapshot that may hold a key of the spooled rows."""
    if not table.metadata.current_snapshot_id:
        return []
    ranges = KeyRanges(spool.batches(spool.keys), keys=spool.keys, kinds=key_types(schema, spool.keys))
    return plan_files(table, row_filter=ranges.filter)


def key_types(schema: Schema, keys: Sequence[str]) -> list[pa.DataType]:
    """Return the types of key columns."""
    fields = schema_from_iceberg(schema)
    return [fields.field(key).type for key in keys]


def live_keys(
    table: Table,
    tasks: Sequence[FileScanTask],
    *,
    schema: Schema,
    keys: Sequence[str],
    times: Sequence[str] = (),
    others: Sequence[str] = (),
) -> pa.RecordBatchReader:
    """Return what DuckDB joins with: keys (`k0` and so on), places, and columns beside them.

    Args:
        table: The table.
        tasks: Its planned files.
        schema: The table's columns.
        keys: The key columns.
        times: Columns of times, given as microseconds since the epoch, called `t0` and so on.
        others: Further columns, called `o0` and so on.
    """
    kinds = [joinable(kind) for kind in key_types(schema, keys)]
    time_fields = [(f"t{n}", pa.int64()) for n in range(len(times))]
    other_fields = [(f"o{n}", kind) for n, kind in enumerate(key_types(schema, others))]
    key_fields = zip(key_names(keys), kinds, strict=True)
    fields = pa.schema([*key_fields, *PLACE, *time_fields, *other_fields])

    def generate() -> Iterator[pa.RecordBatch]:
        columns = list(dict.fromkeys([*keys, *times, *others]))
        for places, batch in live_rows(table, tasks, schema=schema, columns=columns):
            found = [
                *(as_key(batch.column(key), kind) for key, kind in zip(keys, kinds, strict=True)),
                *places.columns,
                *(batch.column(time).cast(pa.int64()) for time in times),
                *(batch.column(other) for other in others),
            ]
            yield pa.RecordBatch.from_arrays(found, schema=fields)

    return pa.RecordBatchReader.from_batches(fields, generate())


def live_rows(
    table: Table, tasks: Sequence[FileScanTask], *, schema: Schema, columns: Sequence[str] | None = None
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """Yield the rows that no delete file takes away: their places, and these columns of them.

    Args:
        table: The table.
        tasks: Its planned files.
        schema: The columns that the rows shall have.
        columns: Names of some of them; default all.
    """
    for number, task in enumerate(tasks):
        dead = position_deletes(table.io, task)
        for first, batch in _positioned(table, task, schema=schema, columns=columns):
            positions = pa.arange(first, first + batch.num_rows)
            files = pa.repeat(pa.scalar(number, pa.int64()), len(positions))
            places = pa.RecordBatch.from_arrays([files, positions], schema=PLACE)
            if len(dead):
                is_live = pc.invert(pc.is_in(positions, value_set=dead))
                yield places.filter(is_live), batch.filter(is_live)
            else:
                yield places, batch


def rows_at(
    table: Table,
    tasks: Sequence[FileScanTask],
    *,
    schema: Schema,
    places: pa.RecordBatchReader,
    columns: Sequence[str] | None = None,
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """Yield the rows at these places, which are sorted, and what else stands beside each place.

    Args:
        table: The table.
        tasks: Its planned files.
        schema: The columns that the rows shall have.
        places: Batches with the columns of `PLACE`, and others.
        columns: Names of columns to read; default all.
    """
    reader = _Rows(table, tasks, schema=schema, columns=columns)
    for batch in places:
        done = 0
        while done < batch.num_rows:
            number, position = batch.column("file")[done].as_py(), batch.column("pos")[done].as_py()
            first, stored = reader.around(number, position)
            rest = batch.slice(done)
            inside = pc.and_(
                pc.equal(rest.column("file"), number),
                pc.less(rest.column("pos"), first + stored.num_rows),
            ).true_count
            beside = rest.slice(0, inside)
            yield stored.take(pc.subtract(beside.column("pos"), first)), beside
            done += inside


class _Rows:
    """Goes through files in order; holds one batch."""

    def __init__(
        self,
        table: Table,
        tasks: Sequence[FileScanTask],
        *,
        schema: Schema,
        columns: Sequence[str] | None,
    ) -> None:
        self._table = table
        self._tasks = tasks
        self._schema = schema
        self._columns = columns
        self._number = -1
        self._rows: Iterator[tuple[int, pa.RecordBatch]] = iter(())
        self._first = 0
        self._batch: pa.RecordBatch | None = None

    def around(self, number: int, position: int) -> tuple[int, pa.RecordBatch]:
        """Return the batch with this row, and the position of the batch's first row."""
        if number != self._number:
            self._number, self._batch = number, None
            self._rows = _positioned(
                self._table, self._tasks[number], schema=self._schema, columns=self._columns
            )
        while self._batch is None or position >= self._first + self._batch.num_rows:
            self._first, self._batch = next(self._rows)
        return self._first, self._batch


def _positioned(
    table: Table, task: FileScanTask, *, schema: Schema, columns: Sequence[str] | None
) -> Iterator[tuple[int, pa.RecordBatch]]:
    first = 0
    for batch in read_data_file(
        table.io, task.file, schema, columns=columns, name_mapping=table.name_mapping()
    ):
        yield first, batch
        first += batch.num_rows
