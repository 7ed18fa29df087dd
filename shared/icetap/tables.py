"""Reading Iceberg tables as Arrow batches, exactly as they are stored.

pyiceberg plans (which data files, which delete files); the files are read here, for two reasons. pyiceberg 0.12
turns a null `list<struct>` or `map<_, struct>` into an empty one on the way, and a merge needs the position of a
row in its file. Columns are found by field id at every depth, as the Iceberg specification asks
(https://iceberg.apache.org/spec/#column-projection, read 2026-11-21): renamed columns keep their values, columns
that a file does not have are null, promoted ones (int to long, float to double, wider decimals) are widened.

Format version 2, Parquet files and position deletes; anything else is refused by name.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from icetap.data_files import BATCH_SIZE, OpenDataFile
from icetap.errors import DataError
from icetap.types import schema_from_iceberg

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile
    from pyiceberg.schema import Schema
    from pyiceberg.table import FileScanTask, Table
    from pyiceberg.table.name_mapping import NameMapping

FORMAT_VERSION = 2
NO_POSITIONS = pa.array([], pa.int64())


def arrow_schema(schema: Schema) -> pa.Schema:
    """Return the Arrow columns that batches of a table with this schema have."""
    return schema_from_iceberg(schema)


def read_table(
    table: Table,
    *,
    snapshot_id: int | None = None,
    columns: Sequence[str] | None = None,
    row_filter: str | BooleanExpression | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a table; holds one row group of one file in memory.

    Args:
        table: A loaded table.
        snapshot_id: The snapshot to read, with the table's present schema; default the newest.
        columns: Names of top-level columns, in the order wanted; default all.
        row_filter: Only matching rows, by pyiceberg's rules; files that cannot match are not opened.
        batch_size: Rows in a batch, at most.

    Raises:
        DataError: When the table needs what this reader refuses (see the module).
    """
    schema = table.schema()
    wanted = [field.name for field in schema.fields] if columns is None else list(columns)
    matching = None if row_filter is None else _BoundFilter(schema, row_filter)
    read = wanted if matching is None else [*wanted, *(c for c in matching.columns if c not in wanted)]
    for task in plan_files(table, snapshot_id=snapshot_id, row_filter=row_filter):
        for batch in read_task(table, task, columns=read, batch_size=batch_size):
            rows = batch if matching is None else matching.apply(batch)
            if rows.num_rows:
                yield rows.select(wanted)


def plan_files(
    table: Table, *, snapshot_id: int | None = None, row_filter: str | BooleanExpression | None = None
) -> list[FileScanTask]:
    """Return the data files of a snapshot with their position deletes.

    Raises:
        DataError: When the table has format version 3, equality deletes or deletion vectors.
    """
    if table.format_version > FORMAT_VERSION:
        raise DataError(
            f"table {'.'.join(table.name())} has format version {table.format_version}; versions 1 and 2 can be read. "
            "Read it with an engine that knows this version."
        )
    scan = table.scan(snapshot_id=snapshot_id)
    if row_filter is not None:
        scan = scan.filter(row_filter)
    try:
        return list(scan.plan_files())
    except (NotImplementedError, ValueError) as error:
        if "equality deletes" not in str(error):
            raise
        raise DataError(
            f"table {'.'.join(table.name())} has equality deletes, which cannot be read here. "
            "Have the engine that wrote them rewrite its data files (compaction) first."
        ) from error


def read_task(
    table: Table,
    task: FileScanTask,
    *,
    columns: Sequence[str] | None = None,
    keep: pc.Expression | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[pa.RecordBatch]:
    """Yield the live rows of one planned file; arguments as in `read_data_file`."""
    yield from read_data_file(
        table.io,
        task.file,
        table.schema(),
        columns=columns,
        deleted_positions=position_deletes(table.io, task),
        keep=keep,
        name_mapping=table.name_mapping(),
        constants=_identity_partition_values(table, task.file),
        batch_size=batch_size,
    )


def read_data_file(
    io: FileIO,
    data_file: DataFile,
    schema: Schema,
    *,
    columns: Sequence[str] | None = None,
    deleted_positions: pa.Array | Collection[int] = (),
    keep: pc.Expression | None = None,
    name_mapping: NameMapping | None = None,
    constants: Mapping[int, Any] | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of one data file in the table's types, in file order.

    Without `deleted_positions` and `keep`, the n-th row that comes is the row at position n of the file.

    Args:
        io: The table's FileIO.
        data_file: A Parquet data file of the table.
        schema: The table's schema.
        columns: Names of top-level columns, in the order wanted; default all.
        deleted_positions: Positions in the file, from 0, of rows to leave out.
        keep: Row groups whose statistics rule this expression out are left out; no other row is.
        name_mapping: The table's name mapping, for files without field ids.
        constants: Field id to value, for columns that the file does not have.
        batch_size: Rows in a batch, at most.

    Raises:
        DataError: When the file is not Parquet, or a column cannot be read as its type in the table.
    """
    deleted = _sorted_positions(deleted_positions)
    with OpenDataFile(io, data_file, schema, name_mapping=name_mapping, constants=constants) as file:
        for group in file.groups if keep is None else file.matching(keep):
            for first, batch in file.batches(group, columns, batch_size=batch_size):
                yield _without(batch, deleted, first=first)


def open_data_file(table: Table, data_file: DataFile, schema: Schema | None = None) -> OpenDataFile:
    """Open a data file of a table for reading by row group and column.

    Args:
        table: The table.
        data_file: One of its data files.
        schema: The columns wanted, when they are not the table's present ones.
    """
    return OpenDataFile(
        table.io,
        data_file,
        schema or table.schema(),
        name_mapping=table.name_mapping(),
        constants=_identity_partition_values(table, data_file),
    )


def position_deletes(io: FileIO, task: FileScanTask) -> pa.Array:
    """Return the positions of a data file that its delete files delete: sorted int64, without repeats.

    Raises:
        DataError: When a delete file is not a Parquet file of position deletes.
    """
    return positions_in(io, task.delete_files, path=task.file.file_path)


def positions_in(io: FileIO, delete_files: Iterable[DataFile], *, path: str) -> pa.Array:
    """Return the positions that delete files list for the data file at `path`, as `position_deletes` does."""
    found: list[pa.Array] = []
    for delete_file in delete_files:
        _check_position_deletes(delete_file)
        with io.new_input(delete_file.file_path).open() as source:
            rows = ds.Scanner.from_fragment(
                ds.ParquetFileFormat().make_fragment(source),
                columns=["pos"],
                filter=pc.field("file_path") == path,
            ).to_table()
        found.extend(rows["pos"].chunks)
    return _sorted_positions(pa.concat_arrays(found)) if found else NO_POSITIONS


def _check_position_deletes(delete_file: DataFile) -> None:
    if delete_file.content.name != "POSITION_DELETES":
        raise DataError(
            f"{delete_file.file_path} holds equality deletes, which cannot be read here. "
            "Have the engine that wrote them rewrite its data files (compaction) first."
        )
    if delete_file.file_format.name != "PARQUET":
        raise DataError(
            f"{delete_file.file_path} is a delete file of format {delete_file.file_format.name}; "
            "only Parquet files of position deletes can be read."
        )


def _sorted_positions(positions: pa.Array | Collection[int]) -> pa.Array:
    if not isinstance(positions, pa.Array):
        positions = pa.array(list(positions), pa.int64())
    unique = pc.unique(positions)
    return unique.take(pc.sort_indices(unique))


def _without(batch: pa.RecordBatch, deleted: pa.Array, *, first: int) -> pa.RecordBatch:
    """The batch without the rows deleted; its first row is at position `first` of the file."""
    if not len(deleted):
        return batch
    low = count_below(deleted, first)
    high = count_below(deleted, first + batch.num_rows)
    if low == high:
        return batch
    positions = pa.arange(first, first + batch.num_rows)
    return batch.filter(pc.invert(pc.is_in(positions, value_set=deleted[low:high])))


def count_below(values: pa.Array, limit: Any) -> int:
    """Return how many of these values, which rise, are smaller than `limit`."""
    return bisect.bisect_left(range(len(values)), limit, key=lambda place: values[place].as_py())


def _identity_partition_values(table: Table, data_file: DataFile) -> dict[int, Any]:
    """Field id to value of columns by which the file is partitioned unchanged.

    Files that were added from Hive tables hold these values in their folder's name only.
    """
    spec = table.specs().get(data_file.spec_id)
    if spec is None or not spec.fields:
        return {}
    return {
        field.source_id: data_file.partition[index]
        for index, field in enumerate(spec.fields)
        if str(field.transform) == "identity" and data_file.partition[index] is not None
    }


class _BoundFilter:
    """A pyiceberg row filter as an Arrow expression, and the top-level columns it needs."""

    def __init__(self, schema: Schema, row_filter: str | BooleanExpression) -> None:
        from pyiceberg.expressions import parser  # noqa: PLC0415 -- with a filter only: 0.2 s
        from pyiceberg.expressions.visitors import bind, extract_field_ids  # noqa: PLC0415
        from pyiceberg.io.pyarrow import expression_to_pyarrow  # noqa: PLC0415

        parsed = parser.parse(row_filter) if isinstance(row_filter, str) else row_filter
        bound = bind(schema, parsed, case_sensitive=True)
        self._expression = expression_to_pyarrow(bound, schema)
        paths = (schema.find_column_name(field_id) or "" for field_id in extract_field_ids(bound))
        top_level = {field.name for field in schema.fields}
        self.columns = sorted({path if path in top_level else path.split(".", 1)[0] for path in paths})

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch.filter(self._expression)
