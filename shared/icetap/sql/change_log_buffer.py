"""Changes of one stream on their way into a record batch."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from icetap.errors import DataError
from icetap.sql.change_log import KEYS_AT_ONCE, UNCHANGED
from icetap.sql.dialect import RefusedValueError, Selection
from icetap.types import TIMESTAMPTZ

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from icetap.sql.change_log import Begin, ChangeLog
    from icetap.sql.dialect import Column, Connection, Table

DELETED_AT = pa.field("_sdc_deleted_at", TIMESTAMPTZ)
SEQUENCE = pa.field("_sdc_sequence", pa.int64())
"""The number of a change among those of its stream in its transaction, from 1."""

CELL_BYTES = 60
"""What a value takes beside its bytes while it waits."""


def log_fields(log: ChangeLog) -> tuple[pa.Field, ...]:
    """Return the columns that a stream has only because it is read from a log."""
    return (DELETED_AT, *log.order_columns, SEQUENCE)


class ChangeBuffer:
    """Rows as the log gave them, until they become one batch.

    `rows` holds the cells, `begins` the transaction of each row, `deleted` whether the row is gone.
    """

    def __init__(self) -> None:
        self.rows: list[Sequence[Any]] = []
        self.begins: list[Begin] = []
        self.deleted: list[bool] = []
        self.sequence: list[int] = []
        self.with_holes: list[int] = []
        self.size = 0

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, cells: Sequence[Any], begin: Begin, *, deleted: bool, sequence: int) -> None:
        """Take one row."""
        self.rows.append(cells)
        self.begins.append(begin)
        self.deleted.append(deleted)
        self.sequence.append(sequence)
        self.size += CELL_BYTES * len(cells)

    def add_with_holes(self, cells: Sequence[Any], begin: Begin, *, sequence: int) -> None:
        """Take one row in which some cells are `UNCHANGED`."""
        self.with_holes.append(len(self.rows))
        self.add(cells, begin, deleted=False, sequence=sequence)

    def cut(self, count: int) -> None:
        """Forget all rows but the first ones."""
        for some in (self.rows, self.begins, self.deleted, self.sequence):
            del some[count:]
        self.with_holes = [row for row in self.with_holes if row < count]

    def holes(self) -> dict[int, list[int]]:
        """Return the rows that lack a value, by the cell's place, and put null there."""
        found: dict[int, list[int]] = {}
        for row in self.with_holes:
            cells = list(self.rows[row])
            for place, cell in enumerate(cells):
                if cell is UNCHANGED:
                    found.setdefault(place, []).append(row)
                    cells[place] = None
            self.rows[row] = cells
        return found

    def log_arrays(self, log: ChangeLog) -> list[pa.Array]:
        """Return the arrays of `log_fields`."""
        deleted_at = pa.array(
            [
                begin.committed_at if gone else None
                for begin, gone in zip(self.begins, self.deleted, strict=True)
            ],
            pa.int64(),
        )
        order = [
            pa.array([begin.order[place] for begin in self.begins], field.type)
            for place, field in enumerate(log.order_columns)
        ]
        return [deleted_at.cast(TIMESTAMPTZ), *order, pa.array(self.sequence, pa.int64())]


def key_getter(places: Sequence[int]) -> Callable[[Sequence[Any]], Any] | None:
    """Return what takes the key out of a row's cells, None for tables without one."""
    return operator.itemgetter(*places) if places else None


def filled(new: Sequence[Any], old: Sequence[Any], *, places: Sequence[int] | None) -> list[Any]:
    """Return a row with unchanged cells taken from the old one: all, or those at some places."""
    return [
        old[place] if cell is UNCHANGED and (places is None or place in places) else cell
        for place, cell in enumerate(new)
    ]


# --- reading again by key -------------------------------------------------------------------------------


class KeyReader:
    """Reads columns of rows again by their keys, as the rows are now.

    Args:
        log: Knows the condition for a key.
        table: The table as discovered.
        key: The key's columns.
    """

    def __init__(self, log: ChangeLog, table: Table, *, key: Sequence[Column]) -> None:
        self._log = log
        self._table = table
        self._key = key

    def read(
        self, connection: Connection, keys: Sequence[Sequence[Any]], columns: Sequence[Column]
    ) -> tuple[dict[tuple[Any, ...], int], list[pa.Array]]:
        """Return the row number of each key that was found, and the columns' values.

        Args:
            connection: Sees what was committed before the changes came.
            keys: Each row's cells of the key, without repetitions.
            columns: What to read.
        """
        found: list[list[pa.Array]] = []
        for start in range(0, len(keys), KEYS_AT_ONCE):
            condition, parameters = self._log.key_condition(
                self._key, keys[start : start + KEYS_AT_ONCE], start=len(self._table.parameters) + 1
            )
            selection = Selection(
                table=self._table,
                columns=(*self._key, *columns),
                conditions=(condition,),
                parameters=(*self._table.parameters, *parameters),
            )
            found += [self._decoded(raw, selection) for raw in self._batches(connection, selection)]
        arrays = [
            pa.concat_arrays([each[place] for each in found]) if found else pa.nulls(0, column.field.type)
            for place, column in enumerate((*self._key, *columns))
        ]
        places = zip(*(array.to_pylist() for array in arrays[: len(self._key)]), strict=True)
        return {key: row for row, key in enumerate(places)}, arrays[len(self._key) :]

    @staticmethod
    def _batches(connection: Connection, selection: Selection) -> Iterator[pa.RecordBatch]:
        try:
            yield from connection.read(selection, batch_rows=KEYS_AT_ONCE)
        except RefusedValueError as error:
            raise DataError(
                f"stream '{selection.table.stream}': a row that was read again by its key holds a value of another "
                "type than its column's. Discover again."
            ) from error

    @staticmethod
    def _decoded(raw: pa.RecordBatch, selection: Selection) -> list[pa.Array]:
        arrays, start = [], 0
        columns = raw.columns
        for column in selection.columns:
            end = start + len(column.expressions)
            arrays.append(column.decode(columns[start:end]).array)
            start = end
        return arrays


def patched(array: pa.Array, values: pa.Array, places: Mapping[int, int]) -> pa.Array:
    """Return an array with other values at some rows: row -> number of the value."""
    indices = list(range(len(array)))
    for row, number in places.items():
        indices[row] = len(array) + number
    if values.type != array.type:
        values = values.cast(array.type)
    return pa.concat_arrays([array, values]).take(pa.array(indices, pa.int64()))


def without(batch: pa.RecordBatch, rows: set[int]) -> pa.RecordBatch:
    """Return the batch without some rows."""
    if not rows:
        return batch
    return batch.filter(pc.invert(pa.array([row in rows for row in range(batch.num_rows)], pa.bool_())))
