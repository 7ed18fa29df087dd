"""One Parquet data file of an Iceberg table, read by row group and column in the table's types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from icetap.errors import DataError
from icetap.projection import FileColumns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    import pyarrow.compute as pc
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile
    from pyiceberg.schema import Schema
    from pyiceberg.table.name_mapping import NameMapping

BATCH_SIZE = 65_536  # rows


@dataclass(frozen=True)
class RowGroup:
    """A part of a file: `rows` rows from position `first` on."""

    number: int
    first: int
    rows: int


class OpenDataFile:
    """A data file that is open for reading; a context manager.

    Attributes:
        groups: The file's row groups, in order.
    """

    def __init__(
        self,
        io: FileIO,
        data_file: DataFile,
        schema: Schema,
        *,
        name_mapping: NameMapping | None = None,
        constants: Mapping[int, Any] | None = None,
    ) -> None:
        """Open a file and read its footer.

        Args:
            io: The table's FileIO.
            data_file: A Parquet data file of the table.
            schema: The table's schema.
            name_mapping: The table's name mapping, for files without field ids.
            constants: Field id to value, for columns that the file does not have.

        Raises:
            DataError: When the file is not Parquet, or no column of it can be told.
        """
        self._path = data_file.file_path
        if data_file.file_format.name != "PARQUET":
            raise DataError(
                f"{self._path} is a file of format {data_file.file_format.name}; only Parquet can be read."
            )
        self._schema = schema
        self._name_mapping = name_mapping
        self._constants = constants or {}
        self._found: dict[tuple[str, ...] | None, FileColumns] = {}
        self._source = io.new_input(self._path).open()
        # Row groups are read one by one, so that buffering ahead (worth it on object stores) stays bounded.
        self._file = pq.ParquetFile(self._source, pre_buffer=not _is_local(self._path))
        self._metadata = self._file.metadata
        self.groups = list(self._row_groups())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._source.close()

    def _row_groups(self) -> Iterator[RowGroup]:
        first = 0
        for number in range(self._metadata.num_row_groups):
            rows = self._metadata.row_group(number).num_rows
            yield RowGroup(number, first, rows)
            first += rows

    def _columns(self, columns: Sequence[str] | None) -> FileColumns:
        name = None if columns is None else tuple(columns)
        if name not in self._found:
            self._found[name] = FileColumns(
                self._file.schema_arrow,
                self._schema,
                columns=columns,
                name_mapping=self._name_mapping,
                constants=self._constants,
                path=self._path,
            )
        return self._found[name]

    def batches(
        self, group: RowGroup, columns: Sequence[str] | None = None, *, batch_size: int = BATCH_SIZE
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield (position of its first row, batch) of one row group, in the table's types.

        Args:
            group: One of `groups`.
            columns: Names of top-level columns, in the order wanted; default all.
            batch_size: Rows in a batch, at most.

        Raises:
            DataError: When a column cannot be read as its type in the table.
        """
        found = self._columns(columns)
        position = group.first
        for batch in self._file.iter_batches(
            batch_size=batch_size, row_groups=[group.number], columns=found.names_in_file
        ):
            yield position, found.project(batch)
            position += batch.num_rows

    def matching(self, keep: pc.Expression) -> list[RowGroup]:
        """Return the row groups that may hold a matching row, by the file's own statistics."""
        found = self._columns(None)
        if not found.same_names_and_types:  # the file's statistics would be taken for another column's
            return self.groups
        fragment = ds.ParquetFileFormat().make_fragment(self._source)
        kept = fragment.subset(keep, schema=fragment.physical_schema).row_groups
        return [self.groups[one.id] for one in kept]

    def bounds(self, group: RowGroup, column: str) -> tuple[Any, Any] | None:
        """Return values between which a top-level column's lie in a row group; None when they are not known.

        They are Python values of the type in the file, which may be narrower than the table's.
        """
        names = self._columns([column]).names_in_file
        leaf = self._leaf(names[0]) if names else None
        if leaf is None:
            return None
        statistics = self._metadata.row_group(group.number).column(leaf).statistics
        if statistics is None or not statistics.has_min_max:
            return None
        try:
            return statistics.min, statistics.max
        except (UnicodeDecodeError, ValueError, NotImplementedError):  # a text that was cut within a letter
            return None

    def size(self, column: str) -> int:
        """Return the bytes that a top-level column takes in the file, compressed."""
        names = self._columns([column]).names_in_file
        groups = range(self._metadata.num_row_groups)
        leaves = [leaf for leaf, path in enumerate(self._paths()) if names and path[0] == names[0]]
        return sum(
            self._metadata.row_group(group).column(leaf).total_compressed_size
            for group in groups
            for leaf in leaves
        )

    def _leaf(self, name: str) -> int | None:
        return next((leaf for leaf, path in enumerate(self._paths()) if path == [name]), None)

    def _paths(self) -> Iterator[list[str]]:
        for leaf in range(self._metadata.num_columns):
            column = self._metadata.schema.column(leaf)
            # A dot may belong to a name: only columns without parents are certain.
            yield [column.path] if column.path == column.name else [column.path.split(".", 1)[0], column.name]


def _is_local(path: str) -> bool:
    return path.startswith(("file:", "/"))
