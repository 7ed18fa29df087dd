"""Record batches to Parquet data files of one table: by its layout, rolled by real size, in bounded memory.

Tables that are neither partitioned nor sorted get their rows in the order in which they come. For others
the rows are arranged first (arrangement.py), so that one file is open at a time, however many partitions
there are.

pyiceberg's own writer turns a null `list<struct>` into an empty one and measures files by their size
in memory, so the files are written with pyarrow here; only their statistics come from pyiceberg.
"""

from __future__ import annotations

import contextlib
import itertools
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.schema import sanitize_column_names

from icetap.types import schema_from_iceberg
from target_iceberg.tables.arrangement import Arrangement
from target_iceberg.tables.layout import Layout
from target_iceberg.tables.partitions import Partition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyiceberg.schema import Schema
    from pyiceberg.table import Table

    from target_iceberg.tables.memory import MemoryBudget

ROW_GROUP_ROWS = 131_072
ROW_GROUP_BYTES = 24 * 2**20  # in memory, before compression

DICTIONARY_SAMPLE_ROWS = 16_384

METRICS_OF_COLUMN = "write.metadata.metrics.column"

_COUNTER = itertools.count(1)


@dataclass(frozen=True)
class WriterOptions:
    """How data files are written: named after the run, rolled at `target_bytes` of Parquet.

    `memory_bytes` of rows are arranged in memory, for tables that are partitioned or sorted; `budget` is
    what they share with all other rows that wait.
    """

    run_id: str
    target_bytes: int = 256 * 2**20
    compression: str = "zstd"
    memory_bytes: int = 32 * 2**20
    budget: MemoryBudget | None = None


class DataFileWriter:
    """Writes batches of one table's columns into files of its layout.

    It holds `memory_bytes` of rows where they are arranged, and up to two row groups.
    """

    def __init__(
        self, table: Table, *, schema: Schema, options: WriterOptions, layout: Layout | None = None
    ) -> None:
        """Begin to write.

        Args:
            table: The table, as last loaded.
            schema: The columns of the batches: the table's as they will be after the commit.
            options: How files are written.
            layout: Partition spec and sort order; default the table's own.

        Raises:
            DataError: When the table is partitioned in a way that this loader does not know.
        """
        layout = layout or Layout.of(table)
        self._whole = Partition(layout.spec, schema)
        self._arrangement = (
            None if layout.is_plain else Arrangement(layout, schema=schema, memory_bytes=options.memory_bytes)
        )
        self._files = _RollingFiles(table, schema=schema, options=options, layout=layout)
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; the batch has the table's columns in the table's order and types."""
        self.rows += batch.num_rows
        if self._arrangement is None:
            self._files.write(batch, self._whole)
            return
        self._arrangement.add(batch)
        if self._arrangement.is_full:
            self._write_arranged(self._arrangement)

    def close(self) -> list[DataFile]:
        """Finish the last file and return every file written.

        Of a table that is neither partitioned nor sorted, files and rows are in the order of writing.
        """
        if self._arrangement is not None:
            self._write_arranged(self._arrangement)
        return self._files.close()

    def abort(self) -> None:
        """Stop writing and delete what was written."""
        if self._arrangement is not None:
            self._arrangement.close()
        self._files.abort()

    def _write_arranged(self, arrangement: Arrangement) -> None:
        for partition, batches in arrangement.drain():
            for batch in batches:
                self._files.write(batch, partition)


class _RollingFiles:
    """Files of one partition after the other; the Parquet work runs in one background thread."""

    def __init__(self, table: Table, *, schema: Schema, options: WriterOptions, layout: Layout) -> None:
        self._table = table
        self._options = options
        self._form = _Form(table, schema=schema, options=options, layout=layout)
        self._buffer: list[pa.RecordBatch] = []
        self._buffered_rows = self._buffered_bytes = 0
        # A file is closed between row groups, so small files need small ones.
        self._row_group_bytes = min(ROW_GROUP_BYTES, options.target_bytes)
        self._partition: Partition | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="parquet")
        self._pending: Future[None] | None = None
        self._open: _OpenFile | None = None
        self._files: list[DataFile] = []
        if options.budget is not None:
            options.budget.join(self)

    @property
    def held_bytes(self) -> int:
        """Bytes of rows that wait for their row group."""
        return self._buffered_bytes

    def spill(self) -> None:
        """Write them as a smaller row group."""
        self._flush()

    def write(self, batch: pa.RecordBatch, partition: Partition) -> None:
        """Add rows of a partition; the file of another one is closed first."""
        if partition is not self._partition:
            self._flush()
            self._partition = partition
        for piece in _pieces(batch, self._row_group_bytes):
            free = ROW_GROUP_ROWS - self._buffered_rows
            self._add(piece[:free])
            for start in range(free, piece.num_rows, ROW_GROUP_ROWS):
                self._add(piece[start : start + ROW_GROUP_ROWS])
        if self._options.budget is not None:
            self._options.budget.settle()

    def _add(self, piece: pa.RecordBatch) -> None:
        """Add rows that the row group has place for, and write it when it is full."""
        self._buffer.append(piece)
        self._buffered_rows += piece.num_rows
        self._buffered_bytes += piece.nbytes
        if self._buffered_rows >= ROW_GROUP_ROWS or self._buffered_bytes >= self._row_group_bytes:
            self._flush()

    def close(self) -> list[DataFile]:
        self._flush()
        self._wait()
        self._roll()
        self._thread.shutdown()
        return self._files

    def abort(self) -> None:
        self._buffer, self._buffered_rows, self._buffered_bytes = [], 0, 0
        self._thread.shutdown(cancel_futures=True)
        if self._open:
            self._open.discard()
            self._open = None
        delete_files(self._table, self._files)

    def _flush(self) -> None:
        if not self._buffer or self._partition is None:
            return
        self._wait()
        rows = pa.Table.from_batches(self._buffer)
        self._buffer, self._buffered_rows, self._buffered_bytes = [], 0, 0
        self._pending = self._thread.submit(self._write_row_group, rows, self._partition)

    def _wait(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def _write_row_group(self, rows: pa.Table, partition: Partition) -> None:
        if self._open is not None and self._open.partition is not partition:
            self._roll()
        if self._open is None:
            self._open = _OpenFile(self._form, partition, first=rows)
        self._open.write(rows)
        if self._open.size >= self._options.target_bytes:
            self._roll()

    def _roll(self) -> None:
        if self._open is not None:
            opened, self._open = self._open, None
            self._files.append(opened.close())


def _pieces(batch: pa.RecordBatch, most_bytes: int) -> Iterator[pa.RecordBatch]:
    """Cut a batch into pieces of about so many bytes at most."""
    parts = max(1, -(-batch.nbytes // most_bytes))
    rows = max(1, -(-batch.num_rows // parts))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


class _Form:
    """What all files of a writer have in common; with many partitions it is worth finding out once."""

    def __init__(self, table: Table, *, schema: Schema, options: WriterOptions, layout: Layout) -> None:
        self.table = table
        self.options = options
        self.layout = layout
        # Column names in files follow Iceberg's rule for odd characters; readers go by field id.
        sanitized = sanitize_column_names(schema)
        self.arrow_schema = schema_from_iceberg(sanitized, with_ids=True)
        self.columns = parquet_path_to_id_mapping(sanitized)
        uuids = _ids_of_uuids(sanitized)
        silent = {f"{METRICS_OF_COLUMN}.{sanitized.find_column_name(one)}": "none" for one in uuids}
        self.statistics_plan = compute_statistics_plan(sanitized, {**table.properties, **silent})
        self.compared_columns = (
            [path for path, one in self.columns.items() if one not in uuids] if uuids else True
        )
        self._places = table.location_provider()

    def new_path(self, partition: Partition) -> str:
        """Return where the next file goes."""
        name = f"icetap-{self.options.run_id}-{next(_COUNTER):06d}.parquet"
        folder = partition if self.layout.spec.fields else None
        # Of the partition, the provider asks only for its folder.
        return self._places.new_data_location(name, folder)  # type: ignore[arg-type]


def _ids_of_uuids(schema: Schema) -> frozenset[int]:
    """Return the columns whose bounds are told neither in the file nor in the manifest.

    Iceberg's Java library compares UUIDs as signed numbers, but bounds are those of unsigned bytes: Spark 4.0 with
    Iceberg 1.11 leaves out files and row groups that hold the UUID asked for (seen 2026-11-21).
    """
    fields = (schema.find_field(field_id) for field_id in schema.field_ids)
    return frozenset(field.field_id for field in fields if str(field.field_type) == "uuid")


class _OpenFile:
    """One Parquet file that is being written."""

    def __init__(self, form: _Form, partition: Partition, *, first: pa.Table) -> None:
        self._form = form
        self.partition = partition
        self._path = form.new_path(partition)
        self._sink = form.table.io.new_output(self._path).create(overwrite=True)
        self._writer = pq.ParquetWriter(
            self._sink,
            schema=form.arrow_schema,
            compression=form.options.compression,
            store_decimal_as_integer=True,
            store_schema=False,
            write_statistics=form.compared_columns,
            write_batch_size=4096,
            # Columns of many values leave the dictionary early: a quarter less work, and smaller files.
            dictionary_pagesize_limit=128 * 1024,
            use_dictionary=_repeating(form.columns, first),
        )

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return int(self._sink.tell())

    def write(self, rows: pa.Table) -> None:
        columns = [
            column if column.type == field.type else _relabel(column, field.type)
            for column, field in zip(rows.columns, self._form.arrow_schema, strict=True)
        ]
        table = pa.Table.from_arrays(columns, schema=self._form.arrow_schema)
        self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)

    def discard(self) -> None:
        """Delete the file, whatever state it is in: the disk may be full."""
        for close in (self._writer.close, self._sink.close):
            with contextlib.suppress(OSError, ValueError, pa.ArrowException):
                close()
        with contextlib.suppress(OSError, ValueError):
            self._form.table.io.delete(self._path)

    def close(self) -> DataFile:
        self._writer.close()
        size = self.size
        self._sink.close()
        statistics = data_file_statistics_from_parquet_metadata(
            parquet_metadata=self._writer.writer.metadata,
            stats_columns=self._form.statistics_plan,
            parquet_column_mapping=self._form.columns,
        )
        layout = self._form.layout
        data_file = DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=self._path,
            file_format=FileFormat.PARQUET,
            partition=self.partition.record,
            file_size_in_bytes=size,
            sort_order_id=layout.order.order_id if layout.order.fields else None,
            equality_ids=None,
            key_metadata=None,
            **statistics.to_serialized_dict(),
        )
        data_file.spec_id = layout.spec.spec_id
        return data_file


def _repeating(paths: Iterable[str], rows: pa.Table) -> list[str]:
    """Return the columns in which a dictionary may pay: all but those of which nearly every value is another.

    Of 8,192 values more than nine tenths are different only where there are so many values that the dictionary of a
    row group would be given up, after its work. Without it a tenth of the work is saved, and files are smaller.
    """
    if rows.num_rows < ROW_GROUP_ROWS // 2:
        return list(paths)
    distinct = set()
    for field, column in zip(rows.schema, rows.columns, strict=True):
        values = column[:DICTIONARY_SAMPLE_ROWS]
        count = len(values) - values.null_count
        if pa.types.is_nested(field.type) or count < DICTIONARY_SAMPLE_ROWS // 2:
            continue
        if isinstance(field.type, pa.BaseExtensionType):
            values = values.cast(field.type.storage_type)
        if pc.count_distinct(values).as_py() > 0.9 * count:
            distinct.add(field.name)
    return [path for path in paths if path not in distinct]


def _relabel(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Give nested fields other names; the values stay where they are."""
    return pa.chunked_array([_relabel_array(chunk, kind) for chunk in column.chunks], type=kind)


def _relabel_array(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type == kind:
        return array
    buffers = array.buffers()[: _own_buffers(kind)]
    return pa.Array.from_buffers(
        kind,
        len(array),
        buffers,
        null_count=array.null_count,
        offset=array.offset,
        children=[_relabel_array(child, child_kind) for child, child_kind in _children(array, kind)],
    )


def _own_buffers(kind: pa.DataType) -> int:
    return 1 if pa.types.is_struct(kind) else 2


def _children(array: pa.Array, kind: pa.DataType) -> list[tuple[pa.Array, pa.DataType]]:
    if pa.types.is_struct(kind):
        # `field` ignores the offset of a sliced parent, as `from_buffers` expects.
        return [(array.field(index), kind.field(index).type) for index in range(kind.num_fields)]
    if pa.types.is_map(kind):
        entries = pa.StructArray.from_arrays([array.keys, array.items], fields=list(_entries(array.type)))
        return [(entries, pa.struct(list(_entries(kind))))]
    return [(array.values, kind.value_type)]


def _entries(kind: pa.DataType) -> tuple[pa.Field, pa.Field]:
    return kind.key_field, kind.item_field


def delete_files(table: Table, files: list[DataFile]) -> None:
    """Delete data files that no snapshot lists; one that cannot be deleted is left for the sweep."""
    for data_file in files:
        try:
            table.io.delete(data_file.file_path)
        except (OSError, ValueError):
            continue
