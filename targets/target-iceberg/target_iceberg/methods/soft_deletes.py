"""Deletes that leave the row where it is: the row before, with the time of its deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from icetap.types import TIMESTAMPTZ, schema_from_iceberg
from target_iceberg.contracts.metadata import DELETED_AT_FIELD
from target_iceberg.decoding.decode import DELETED_AT
from target_iceberg.methods.joins import engine, key_names, numbered, reader
from target_iceberg.methods.stored_rows import files_with_keys, key_types, live_keys, rows_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table

    from target_iceberg.methods.staging import Spool

_ROWS_AT_ONCE = 16_384


def with_mark(batch: pa.RecordBatch, times: pa.Array) -> pa.RecordBatch:
    """Return rows that were deleted at these times; those that were before keep theirs."""
    place = batch.schema.get_field_index(DELETED_AT)
    marks = pc.coalesce(batch.column(place), times.cast(TIMESTAMPTZ))
    return batch.set_column(place, batch.schema.field(place), marks)


def mark_deleted(table: Table, spool: Spool, *, came: int, schema: Schema) -> int:
    """Give each key whose newest row is a delete its row before again, marked, as its newest row.

    That is a row that came in the same load, or the stored one. A key that neither has stays deleted.

    Args:
        table: The table, freshly loaded.
        spool: The incoming rows; deletes have their time in `_sdc_deleted_at`. Gets the marked rows.
        came: How many of them came; those behind were made for a head of the table that is no longer the newest.
        schema: The table's columns as they will be.

    Returns:
        How many stored rows get a mark that they did not have.
    """
    deletes = pc.indices_nonzero(spool.deletes.slice(0, came)).cast(pa.int64())
    if not len(deletes):
        return 0
    tasks = files_with_keys(table, spool, schema=schema)
    marked = 0
    with engine() as database:
        _find_deleted(database, spool, came=came, deletes=deletes, kinds=key_types(schema, spool.keys))
        _find_stored(database, live_keys(table, tasks, schema=schema, keys=spool.keys), keys=spool.keys)
        pairs = _ask(database, "SELECT kept, n FROM deleted WHERE kept IS NOT NULL ORDER BY kept")
        for pair in pairs:
            rows = spool.take(pair.column("kept"), schema_from_iceberg(schema)).combine_chunks()
            times = _times(spool, pair.column("n"))
            for batch in rows.to_batches():
                spool.write(with_mark(batch, times))
        places = _ask(database, "SELECT file, pos, n FROM found ORDER BY file, pos")
        for batch, beside in rows_at(table, tasks, schema=schema, places=places):
            marked += batch.column(DELETED_AT).null_count
            spool.write(with_mark(batch, _times(spool, beside.column("n"))))
    return marked


def _find_deleted(
    database: duckdb.DuckDBPyConnection,
    spool: Spool,
    *,
    came: int,
    deletes: pa.Array,
    kinds: Sequence[pa.DataType],
) -> None:
    """Find the keys whose newest row is a delete (`n`), and the last row before it that is none (`kept`)."""
    names = ", ".join(key_names(spool.keys))
    schema, arrived = numbered(spool.batches(spool.keys), keys=spool.keys, extra="n", kinds=kinds)
    if schema is None:
        raise AssertionError("where there is a delete, there is a row")
    database.register("arrived", reader(arrived, schema))
    database.register("deletes", pa.table({"n": deletes}))
    database.execute(
        f"CREATE TEMP TABLE deleted AS SELECT {names}, max(a.n) AS n, max(a.n) FILTER (WHERE d.n IS NULL) AS kept "
        f"FROM (FROM arrived WHERE n < {came}) AS a LEFT JOIN deletes AS d ON a.n = d.n "
        f"GROUP BY {names} HAVING max(a.n) = max(d.n)"
    )


def _find_stored(
    database: duckdb.DuckDBPyConnection, stored: pa.RecordBatchReader, *, keys: Sequence[str]
) -> None:
    """Find the stored rows of deleted keys of which no row came."""
    database.register("stored", stored)
    equal = " AND ".join(f"s.{name} = d.{name}" for name in key_names(keys))
    database.execute(
        "CREATE TEMP TABLE found AS SELECT s.file, s.pos, d.n FROM stored AS s "
        f"JOIN (FROM deleted WHERE kept IS NULL) AS d ON {equal}"
    )


def _ask(database: duckdb.DuckDBPyConnection, sql: str) -> pa.RecordBatchReader:
    return database.execute(sql).to_arrow_reader(_ROWS_AT_ONCE)


def _times(spool: Spool, numbers: pa.Int64Array) -> pa.Array:
    """Return the times of these deletes."""
    fields = pa.schema([DELETED_AT_FIELD])
    return spool.take(numbers, fields).column(0).combine_chunks()
