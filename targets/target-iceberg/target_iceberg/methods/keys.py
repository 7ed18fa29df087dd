"""Keys: which row is the newest of its key, and which stored rows have the same keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from icetap.tables import count_below
from target_iceberg.methods.joins import as_key, engine, key_names, numbered, reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


def latest_rows(
    staged: Iterable[pa.RecordBatch], deletes: Sequence[tuple[pa.RecordBatch, int]], *, keys: Sequence[str]
) -> pa.Int64Array:
    """Return the numbers of the rows that are the newest of their key and not deleted after, sorted.

    Args:
        staged: The keys of all rows, in order.
        deletes: Deleted keys, each with the number of rows that came before them.
        keys: The key columns.
    """
    schema, batches = numbered(staged, keys=keys, extra="n")
    if schema is None:
        return pa.array([], pa.int64())
    names = ", ".join(key_names(keys))
    with engine() as database:
        # Rows have odd moments and deletes even ones, so that a delete lies between two rows.
        database.register("staged", reader(batches, schema))
        database.execute(f"CREATE TEMP TABLE moments AS SELECT {names}, 2 * n + 1 AS moment FROM staged")
        for number, (batch, before) in enumerate(deletes):
            columns = [as_key(batch.column(key), schema.field(index).type) for index, key in enumerate(keys)]
            database.register(f"d{number}", pa.Table.from_arrays(columns, names=key_names(keys)))
            database.execute(f"INSERT INTO moments SELECT {names}, {2 * before} FROM d{number}")
        found = database.execute(
            f"SELECT max(moment) // 2 AS n FROM moments GROUP BY {names} HAVING max(moment) % 2 = 1 ORDER BY n"
        )
        column = found.to_arrow_table().column(0).cast(pa.int64())
    return column.combine_chunks() if column.num_chunks else pa.array([], pa.int64())


POSITION_BITS = 40
"""A stored row's place: the number of its file, shifted by so many bits, and its position in the file."""


class Matches:
    """What a join of incoming keys with stored keys found.

    Attributes:
        latest: Numbers of the incoming rows that are the newest of their key, sorted; deletes included.
    """

    def __init__(self, latest: pa.Int64Array, places: pa.Int64Array, numbers: pa.Int64Array) -> None:
        """Keep what was found.

        Args:
            latest: See above.
            places: Places of stored rows, sorted.
            numbers: For each place, the number of the incoming row that has its key.
        """
        self.latest = latest
        self._places = places
        self._numbers = numbers

    @classmethod
    def none(cls, rows: int) -> Matches:
        """Return what is found when each of `rows` has a key of its own that is not stored."""
        return cls(pa.arange(0, rows), pa.array([], pa.int64()), pa.array([], pa.int64()))

    def in_file(self, number: int) -> tuple[pa.Int64Array, pa.Int64Array]:
        """Return the positions in file `number` of the stored rows, sorted, and their incoming rows' numbers."""
        start, end = (count_below(self._places, one << POSITION_BITS) for one in (number, number + 1))
        positions = pc.subtract(self._places.slice(start, end - start), number << POSITION_BITS)
        return positions, self._numbers.slice(start, end - start)


def match_keys(
    incoming: Iterable[pa.RecordBatch],
    stored: Iterable[tuple[int, int, pa.RecordBatch]],
    *,
    keys: Sequence[str],
    kinds: Sequence[pa.DataType],
) -> Matches:
    """Join incoming keys with the keys of stored rows.

    Args:
        incoming: The keys of the incoming rows, in order.
        stored: (file number, position of the first row, keys) of each batch of stored rows.
        keys: The key columns.
        kinds: Their types; both sides may hold narrower ones, from before a promotion.
    """
    schema, batches = numbered(incoming, keys=keys, extra="n", kinds=kinds)
    if schema is None:
        return Matches.none(0)
    names = ", ".join(key_names(keys))
    with engine() as database:
        database.register("arrived", reader(batches, schema))
        database.execute(
            f"CREATE TEMP TABLE incoming AS SELECT {names}, max(n) AS n FROM arrived GROUP BY {names}"
        )
        latest = database.execute("SELECT n FROM incoming ORDER BY n").to_arrow_table()
        stored_schema = pa.schema([*list(schema)[:-1], ("place", pa.int64())])
        database.register("stored", reader(_placed(stored, keys=keys, schema=stored_schema), stored_schema))
        equal = " AND ".join(f"s.{name} = i.{name}" for name in key_names(keys))
        found = database.execute(
            f"SELECT s.place, i.n FROM stored s JOIN incoming i ON {equal} ORDER BY s.place"
        ).to_arrow_table()
    return Matches(_whole(latest.column(0)), *(_whole(column) for column in found.columns))


def _whole(column: pa.ChunkedArray) -> pa.Int64Array:
    whole = column.cast(pa.int64()).combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def _placed(
    stored: Iterable[tuple[int, int, pa.RecordBatch]], *, keys: Sequence[str], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Return key batches as key columns and the rows' places."""
    for file_number, first, batch in stored:
        columns = [as_key(batch.column(key), schema.field(index).type) for index, key in enumerate(keys)]
        place = (file_number << POSITION_BITS) + first
        yield pa.RecordBatch.from_arrays([*columns, pa.arange(place, place + batch.num_rows)], schema=schema)
