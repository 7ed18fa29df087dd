"""Keys: which row is the newest of its key, and which stored rows have the same keys.

DuckDB joins and groups; what does not fit in its share of the memory goes to a private folder.
"""

from __future__ import annotations

import contextlib
import tempfile
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import duckdb

DUCKDB_MEMORY_MB = 128


class KeyOrder:
    """Notices whether keys came in strictly rising order: then none of them came twice."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._key = keys[0] if len(keys) == 1 else None
        self.first: pa.Scalar | None = None
        """The smallest key, while the order is strict."""
        self.last: pa.Scalar | None = None
        """The largest key, while the order is strict."""
        self.is_strict = bool(keys) and self._key is not None

    def see(self, batch: pa.RecordBatch) -> None:
        """Look at the next rows."""
        if not self.is_strict or not batch.num_rows:
            return
        column = batch.column(self._key)
        if not _has_order(column.type):
            self.is_strict = False
            return
        rises = pc.all(pc.less(column.slice(0, len(column) - 1), column.slice(1))).as_py()
        follows = self.last is None or pc.less(self.last, column[0]).as_py()
        self.is_strict = rises is not False and follows is True
        self.first = column[0] if self.first is None else self.first
        self.last = column[len(column) - 1]


def _has_order(kind: pa.DataType) -> bool:
    return any(matches(kind) for matches in (pa.types.is_integer, pa.types.is_string, pa.types.is_temporal))


@contextlib.contextmanager
def _engine() -> Iterator[duckdb.DuckDBPyConnection]:
    import duckdb  # noqa: PLC0415 - loads that need no join do without it

    with tempfile.TemporaryDirectory(prefix="icetap-join-") as folder:
        connection = duckdb.connect(
            config={
                "memory_limit": f"{DUCKDB_MEMORY_MB}MB",
                "temp_directory": folder,
                "threads": 2,
                "preserve_insertion_order": False,
            }
        )
        try:
            # The right side of a join is built, the left one streams: sizes are known here, not there.
            connection.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")
            yield connection
        finally:
            connection.close()


def _names(keys: Sequence[str]) -> list[str]:
    return [f"k{number}" for number in range(len(keys))]


def _reader(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(schema, batches)


def _joinable(kind: pa.DataType) -> pa.DataType:
    """Return the type in which DuckDB joins: it cannot push filters on uuids down to Arrow."""
    return pa.binary() if isinstance(kind, pa.BaseExtensionType) else kind


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    return (column.storage if isinstance(column, pa.ExtensionArray) else column).cast(kind)


def _numbered(
    batches: Iterable[pa.RecordBatch],
    *,
    keys: Sequence[str],
    extra: str,
    kinds: Sequence[pa.DataType] | None = None,
) -> tuple[pa.Schema | None, Iterator[pa.RecordBatch]]:
    """Return key batches as columns k0, k1, … and a running number; the schema comes from the first batch."""
    source = iter(batches)
    first = next(source, None)
    if first is None:
        return None, iter(())
    kinds = [_joinable(kind) for kind in kinds or [first.schema.field(key).type for key in keys]]
    schema = pa.schema([*zip(_names(keys), kinds, strict=True), (extra, pa.int64())])

    def generate() -> Iterator[pa.RecordBatch]:
        number = 0
        batch: pa.RecordBatch | None = first
        while batch is not None:
            columns = [_as(batch.column(key), kind) for key, kind in zip(keys, kinds, strict=True)]
            numbers = pa.arange(number, number + batch.num_rows)
            yield pa.RecordBatch.from_arrays([*columns, numbers], schema=schema)
            number += batch.num_rows
            batch = next(source, None)

    return schema, generate()


def latest_rows(
    staged: Iterable[pa.RecordBatch], deletes: Sequence[tuple[pa.RecordBatch, int]], *, keys: Sequence[str]
) -> pa.Int64Array:
    """Return the numbers of the rows that are the newest of their key and not deleted after, sorted.

    Args:
        staged: The keys of all rows, in order.
        deletes: Deleted keys, each with the number of rows that came before them.
        keys: The key columns.
    """
    schema, batches = _numbered(staged, keys=keys, extra="n")
    if schema is None:
        return pa.array([], pa.int64())
    names = ", ".join(_names(keys))
    with _engine() as engine:
        # Rows have odd moments and deletes even ones, so that a delete lies between two rows.
        engine.register("staged", _reader(batches, schema))
        engine.execute(f"CREATE TEMP TABLE moments AS SELECT {names}, 2 * n + 1 AS moment FROM staged")
        for number, (batch, before) in enumerate(deletes):
            columns = [_as(batch.column(key), schema.field(index).type) for index, key in enumerate(keys)]
            engine.register(f"d{number}", pa.Table.from_arrays(columns, names=_names(keys)))
            engine.execute(f"INSERT INTO moments SELECT {names}, {2 * before} FROM d{number}")
        found = engine.execute(
            f"SELECT max(moment) // 2 AS n FROM moments GROUP BY {names} HAVING max(moment) % 2 = 1 ORDER BY n"
        )
        column = found.to_arrow_table().column(0).cast(pa.int64())
    return column.combine_chunks() if column.num_chunks else pa.array([], pa.int64())


class Matches:
    """What a join of incoming keys with stored keys found.

    Attributes:
        latest: Numbers of the incoming rows that are the newest of their key, sorted; deletes included.
        stored: A table of (file, pos, n): the stored row at `pos` of file number `file` has the key of row `n`.
    """

    def __init__(self, latest: pa.Int64Array, stored: pa.Table) -> None:
        self.latest = latest
        self.stored = stored

    @classmethod
    def none(cls, rows: int) -> Matches:
        """Return what is found when each of `rows` has a key of its own that is not stored."""
        return cls(pa.arange(0, rows), _no_rows_stored())


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
    schema, batches = _numbered(incoming, keys=keys, extra="n", kinds=kinds)
    empty = _no_rows_stored()
    if schema is None:
        return Matches(pa.array([], pa.int64()), empty)
    names = ", ".join(_names(keys))
    with _engine() as engine:
        engine.register("arrived", _reader(batches, schema))
        engine.execute(
            f"CREATE TEMP TABLE incoming AS SELECT {names}, max(n) AS n FROM arrived GROUP BY {names}"
        )
        latest = engine.execute("SELECT n FROM incoming ORDER BY n").to_arrow_table().column(0)
        stored_schema = pa.schema([*list(schema)[:-1], ("file", pa.int64()), ("pos", pa.int64())])
        engine.register(
            "stored", _reader(_positioned(stored, keys=keys, schema=stored_schema), stored_schema)
        )
        equal = " AND ".join(f"s.{name} = i.{name}" for name in _names(keys))
        found = engine.execute(
            f"SELECT s.file, s.pos, i.n FROM stored s JOIN incoming i ON {equal}"
        ).to_arrow_table()
    numbers = latest.cast(pa.int64()).combine_chunks() if latest.num_chunks else pa.array([], pa.int64())
    return Matches(
        numbers, found.sort_by([("file", "ascending"), ("pos", "ascending")]) if len(found) else empty
    )


def _no_rows_stored() -> pa.Table:
    return pa.schema([("file", pa.int64()), ("pos", pa.int64()), ("n", pa.int64())]).empty_table()


def _positioned(
    stored: Iterable[tuple[int, int, pa.RecordBatch]], *, keys: Sequence[str], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    for file_number, first, batch in stored:
        columns = [_as(batch.column(key), schema.field(index).type) for index, key in enumerate(keys)]
        files = pa.array([file_number], pa.int64()).take(pa.array([0] * batch.num_rows, pa.int8()))
        positions = pa.arange(first, first + batch.num_rows)
        yield pa.RecordBatch.from_arrays([*columns, files, positions], schema=schema)
