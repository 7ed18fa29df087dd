"""Iceberg tables as DuckDB views that read only what a query needs.

DuckDB hands the columns and the simple filters of a query to a `pyarrow.dataset.Dataset`. Ours answers by
planning with pyiceberg's metadata: data files whose column bounds rule the filter out are not opened, row
groups likewise by the file's own statistics, and of the rest only the columns asked for are read, batch by
batch. The filter itself is applied by Arrow on the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs
from pyiceberg.conversions import from_bytes
from pyiceberg.types import DateType, PrimitiveType, TimestampType, TimestamptzType, TimeType

from icetap.records.names import distinct_names
from icetap.tables import arrow_schema, plan_files, read_task

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import FileScanTask, Table
    from pyiceberg.types import NestedField

BATCH_SIZE = 65_536  # rows


@dataclass(frozen=True, slots=True)
class Scan:
    """What DuckDB wants of a scanner: a reader of the rows that match.

    Arrow's own scanner would run these Python generators in threads of its own, ahead of the reader, and a
    query that needs only the first rows would leave them running: the interpreter aborts when it ends under
    them (seen with pyarrow 26, Python 3.11). This reader runs in the thread that asks it.
    """

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    row_filter: pc.Expression | None

    def to_reader(self) -> pa.RecordBatchReader:
        """Return the matching rows as a stream of batches; its name is that of Arrow's scanner."""
        if self.row_filter is None:
            return pa.RecordBatchReader.from_batches(self.schema, self.batches)
        matching = (batch.filter(self.row_filter) for batch in self.batches)
        return pa.RecordBatchReader.from_batches(self.schema, matching)


class IcebergDataset(ds.Dataset):  # type: ignore[misc]  # pyarrow has no type stubs
    """One Iceberg table at its present snapshot, in the form that DuckDB pushes columns and filters into.

    DuckDB calls `scanner` once for each scan in the query plan; the row filter that it passes has been taken
    out of the plan, so it must be applied here. Holds one row group of one file in memory.
    """

    def __init__(self, table: Table) -> None:
        # The base class cannot be built from Python and has nothing to set up.
        self._table = table
        stored = arrow_schema(table.schema())
        # DuckDB folds case; columns that differ by nothing else get a number.
        self._stored_names = dict(zip(distinct_names(stored.names), stored.names, strict=True))
        self._schema = pa.schema(
            [field.with_name(name) for name, field in zip(self._stored_names, stored, strict=True)]
        )
        self.files_read: list[str] = []
        """Locations of the data files that scans have opened so far."""

    @property
    def schema(self) -> pa.Schema:
        """The columns, under names that differ by more than case."""
        return self._schema

    def scanner(
        self,
        columns: Sequence[str] | None = None,
        filter: pc.Expression | None = None,  # noqa: A002 -- the name is pyarrow's
        **_: Any,
    ) -> Scan:
        """Return the scan of these columns and of the rows that match."""
        names = list(columns) if columns else self._schema.names
        schema = pa.schema([self._schema.field(name) for name in names])
        return Scan(schema, self._batches(schema, filter), filter)

    def _batches(self, schema: pa.Schema, row_filter: pc.Expression | None) -> Iterator[pa.RecordBatch]:
        stored = [self._stored_names[name] for name in schema.names]
        # Statistics carry the stored names: they can be used where those are the names of the filter.
        comparable = list(self._stored_names) == list(self._stored_names.values())
        tasks = plan_files(self._table)
        for task in self._prune(tasks, row_filter) if comparable and row_filter is not None else tasks:
            self.files_read.append(task.file.file_path)
            for batch in read_task(
                self._table,
                task,
                columns=stored,
                keep=row_filter if comparable else None,
                batch_size=BATCH_SIZE,
            ):
                yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)

    def _prune(self, tasks: list[FileScanTask], row_filter: pc.Expression) -> list[FileScanTask]:
        """Leave out files whose bounds in the manifest rule the filter out; opens none."""
        if not tasks:
            return []
        # Arrow compares an expression with what is known of a fragment; these are fragments that nobody opens.
        file_format = ds.ParquetFileFormat()
        filesystem = pyarrow.fs.LocalFileSystem()
        fragments = [
            file_format.make_fragment(str(number), filesystem, partition_expression=self._known(task.file))
            for number, task in enumerate(tasks)
        ]
        planned = ds.FileSystemDataset(fragments, self._schema, file_format, filesystem)
        return [tasks[int(fragment.path)] for fragment in planned.get_fragments(filter=row_filter)]

    def _known(self, file: DataFile) -> pc.Expression:
        """What the manifest says about every row of a file."""
        known = pc.scalar(value=True)
        for field in self._table.schema().fields:
            if _has_usable_bounds(field):
                statement = _bounds(field, file, self._schema.field(field.name).type)
                known = known if statement is None else known & statement
        return known


def _has_usable_bounds(field: NestedField) -> bool:
    """Whether bounds say something about all values: those of floats leave NaN out."""
    return field.field_type.is_primitive and str(field.field_type) not in {
        "float",
        "double",
        "uuid",
        "binary",
    }


def _bounds(field: NestedField, file: DataFile, arrow_type: pa.DataType) -> pc.Expression | None:
    lower = (file.lower_bounds or {}).get(field.field_id)
    upper = (file.upper_bounds or {}).get(field.field_id)
    nulls = (file.null_value_counts or {}).get(field.field_id)
    kind = field.field_type
    if lower is None or upper is None or not isinstance(kind, PrimitiveType):
        return None
    storage = pa.int32() if isinstance(kind, DateType) else pa.int64()
    is_instant = isinstance(kind, DateType | TimeType | TimestampType | TimestamptzType)
    ends = []
    for bound in (lower, upper):
        value = from_bytes(kind, bound)
        ends.append(
            pa.scalar(value, storage).cast(arrow_type) if is_instant else pa.scalar(value, arrow_type)
        )
    column = pc.field(field.name)
    low, high = column >= ends[0], column <= ends[1]
    if nulls == 0:
        return low & high
    # Each end with its own "or null": Arrow draws conclusions from this form only.
    return (low | column.is_null()) & (high | column.is_null())


def create_view(
    connection: duckdb.DuckDBPyConnection,
    dataset: IcebergDataset,
    *,
    source: str,
    namespace: str | None,
    name: str,
) -> None:
    """Make a dataset known to DuckDB as `namespace.name`, or as `name` alone.

    Args:
        connection: Where to make the view; it keeps the dataset.
        dataset: The table.
        source: The dataset's own name in DuckDB, different for each one.
        namespace: The DuckDB schema, which is made when missing; None for the default one.
        name: The view's name.
    """
    connection.register(source, dataset)
    if namespace is not None:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_quoted(namespace)}")
    target = _quoted(name) if namespace is None else f"{_quoted(namespace)}.{_quoted(name)}"
    columns = ", ".join(_selected(field) for field in dataset.schema)
    connection.execute(f"CREATE OR REPLACE VIEW {target} AS SELECT {columns} FROM {source}")


def _selected(field: pa.Field) -> str:
    """A column in the view's SELECT list.

    DuckDB 1.5.5 hands `x > 2` on a floating column, or on one inside a struct, to Arrow as it stands; but for
    DuckDB NaN is greater than 2 and for Arrow it is not (seen 2026-11-21: rows were missing). `coalesce` with
    NULL changes no value, and what is not a bare column is filtered by DuckDB itself.
    """
    name = _quoted(field.name)
    return f"coalesce({name}, NULL) AS {name}" if _holds_floats(field.type) else name


def _holds_floats(kind: pa.DataType) -> bool:
    children = [kind.field(index).type for index in range(kind.num_fields)]
    return pa.types.is_floating(kind) or any(map(_holds_floats, children))


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
