"""Which stored rows differ from the incoming rows of the same key, found by reading as few columns as will tell."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from icetap.tables import count_below, open_data_file
from icetap.types import schema_from_iceberg
from target_iceberg.methods.equality import RUN_COLUMNS, unequal_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyiceberg.manifest import DataFile
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table

    from icetap.data_files import OpenDataFile, RowGroup
    from target_iceberg.methods.staging import Spool


class ChangedRows:
    """Compares stored rows with incoming ones, column by column.

    A row that differs in one column needs no look at the others. So the column that has told most rows
    comes first (often it is the time of the last change), then the small ones. Holds one column of a batch.
    """

    def __init__(self, table: Table, spool: Spool, *, schema: Schema) -> None:
        self._table = table
        self._spool = spool
        self._schema = schema
        self._fields = {
            field.name: field
            for field in schema_from_iceberg(schema)
            if field.name not in spool.keys and field.name not in RUN_COLUMNS
        }
        self._told: Counter[str] = Counter()
        """Rows that a column has shown to differ."""
        self._sizes: dict[str, int] | None = None

    def differ(
        self, data_file: DataFile, positions: pa.Int64Array, numbers: pa.Int64Array
    ) -> pa.BooleanArray:
        """Say for each row whether it differs from the incoming row in a column that is not of the key.

        Args:
            data_file: The file of the stored rows.
            positions: Their positions, sorted.
            numbers: The number of the incoming row for each.
        """
        found: list[pa.Array] = []
        with open_data_file(self._table, data_file, self._schema) as file:
            self._sizes = self._sizes or {name: file.size(name) for name in self._fields}
            for group in file.groups:
                here = _within(positions, group.first, group.rows)
                if here.stop > here.start:
                    found.append(self._differ(file, group, positions[here], numbers[here]))
        return pa.concat_arrays(found) if found else pa.array([], pa.bool_())

    def _differ(
        self, file: OpenDataFile, group: RowGroup, positions: pa.Int64Array, numbers: pa.Int64Array
    ) -> pa.BooleanArray:
        """Go from column to column with the rows that no column has told so far."""
        places = pa.arange(0, len(positions))
        same = places
        for name in self._in_order():
            differs = self._differ_in(file, group, name, positions.take(same), numbers.take(same))
            if differs.true_count:
                self._told[name] += differs.true_count
                same = same.filter(pc.invert(differs))
                if not len(same):
                    break
        return pc.invert(pc.is_in(places, value_set=same))

    def _in_order(self) -> Sequence[str]:
        sizes = self._sizes or {}
        return sorted(self._fields, key=lambda name: (-self._told[name], sizes[name]))

    def _differ_in(
        self,
        file: OpenDataFile,
        group: RowGroup,
        name: str,
        positions: pa.Int64Array,
        numbers: pa.Int64Array,
    ) -> pa.BooleanArray:
        schema = pa.schema([self._fields[name]])
        found: list[pa.Array] = []
        for first, batch in file.batches(group, [name]):
            here = _within(positions, first, batch.num_rows)
            if here.stop > here.start:
                old = _rows_at(batch, pc.subtract(positions[here], first))
                new = self._spool.take(numbers[here], schema)
                found.append(unequal_rows(pa.Table.from_batches([old]), new))
        return pa.concat_arrays(found)


def _within(positions: pa.Int64Array, first: int, rows: int) -> slice:
    """Return where the positions of these rows are among sorted ones."""
    start, end = (count_below(positions, limit) for limit in (first, first + rows))
    return slice(start, end)


def _rows_at(batch: pa.RecordBatch, places: pa.Int64Array) -> pa.RecordBatch:
    return batch if len(places) == batch.num_rows else batch.take(places)


def rows_with_positions(
    table: Table, data_file: DataFile, schema: Schema
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield (position of its first row, batch) of a whole file, deleted rows too."""
    with open_data_file(table, data_file, schema) as file:
        for group in file.groups:
            yield from file.batches(group)
