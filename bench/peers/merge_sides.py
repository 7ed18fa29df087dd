"""Sides of the merge benchmark that run in the loader's environment; each prints one line of JSON.

    python merge_sides.py build WAREHOUSE KIND ROWS CHANGES     the table, and FILE.parquet and FILE.singer to merge
    python merge_sides.py copy WAREHOUSE KIND ROWS NAME         the same table again, under another name
    python merge_sides.py ours WAREHOUSE NAME KIND CHANGES MODE the merge alone, inside the process
    python merge_sides.py upsert WAREHOUSE NAME KIND CHANGES    pyiceberg's `Table.upsert`

A table has 12 columns; nine tenths of the rows to merge are changed ones, spread over the table, the rest are new.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.exceptions import NoSuchTableError

from icetap.catalogs import open_catalog
from icetap.types import iceberg_schema, schema_from_iceberg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyiceberg.table import Table

KEYS = {"integer": ("id",), "uuid": ("id",), "pair": ("order_id", "line")}
KEY_COLUMNS = {
    "integer": ("i::BIGINT AS id", [pa.field("id", pa.int64(), nullable=False)]),
    "uuid": ("md5(i::VARCHAR)::UUID AS id", [pa.field("id", pa.uuid(), nullable=False)]),
    "pair": (
        "(i // 7)::BIGINT AS order_id, 'line-' || (i % 7) AS line",
        [pa.field("order_id", pa.int64(), nullable=False), pa.field("line", pa.string(), nullable=False)],
    ),
}
INSTANT = pa.timestamp("us", "UTC")
OTHERS = [
    pa.field("customer_id", pa.int64()),
    pa.field("status", pa.string()),
    pa.field("quantity", pa.int64()),
    pa.field("unit_price", pa.float64()),
    pa.field("total", pa.decimal128(10, 2)),
    pa.field("is_gift", pa.bool_()),
    pa.field("email", pa.string()),
    pa.field("note", pa.string()),
    pa.field("rating", pa.float64()),
    pa.field("created_at", INSTANT),
    pa.field("updated_at", INSTANT),
]
JSON_TYPES = {
    pa.int64(): {"type": ["null", "integer"]},
    pa.float64(): {"type": ["null", "number"]},
    pa.bool_(): {"type": ["null", "boolean"]},
    pa.string(): {"type": ["null", "string"]},
    pa.uuid(): {"type": "string", "format": "uuid"},
    INSTANT: {"type": ["null", "string"], "format": "date-time"},
    pa.decimal128(10, 2): {
        "type": ["null", "number"],
        "x-sql-datatype": "decimal",
        "x-sql-datatype-properties": {"precision": 10, "scale": 2},
    },
}


def select(kind: str, source: str, *, is_changed: bool) -> str:
    """A query for rows whose values follow from their number `i`."""
    year, more = ("2026", 1) if is_changed else ("2025", 0)
    return f"""
        SELECT {KEY_COLUMNS[kind][0]}, (hash(i) % 10000000000)::BIGINT AS customer_id,
            ['paid', 'open', 'shipped', 'returned', 'cancelled'][(hash(i + 1) % 5)::INT + 1] AS status,
            CASE WHEN hash(i + 2) % 20 = 0 THEN NULL ELSE (hash(i + 3) % 100)::BIGINT + {more} END AS quantity,
            ((hash(i + 4) % 99999) / 100)::DOUBLE AS unit_price,
            ((hash(i + 5) % 9999999) / 100)::DECIMAL(10, 2) AS total,
            hash(i + 6) % 10 = 0 AS is_gift,
            'customer' || (hash(i + 7) % 1000000) || '@mail' || (hash(i + 8) % 50) || '.example.com' AS email,
            CASE WHEN hash(i + 9) % 10 = 0 THEN NULL
                ELSE 'please deliver to the back door after six ' || md5((hash(i + 10) % 100000)::VARCHAR) || i END
                AS note,
            CASE WHEN hash(i + 11) % 3 = 0 THEN NULL ELSE (hash(i + 12) % 500) / 100.0::DOUBLE END AS rating,
            TIMESTAMP '2020-01-01' + to_seconds((hash(i + 13) % 150000000)::BIGINT) AS created_at,
            TIMESTAMP '{year}-01-01' + to_microseconds((hash(i + 14) % 86400000000)::BIGINT) AS updated_at
        FROM {source}"""


def fields(kind: str) -> pa.Schema:
    """The columns of a table."""
    return pa.schema([*KEY_COLUMNS[kind][1], *OTHERS])


def conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch in the table's types; ids come as text."""
    columns = []
    for field in schema:
        column = batch.column(field.name)
        if field.type == pa.uuid():
            packed = pa.array([uuid.UUID(str(text)).bytes for text in column.to_pylist()], pa.binary(16))
            column = pa.ExtensionArray.from_storage(pa.uuid(), packed)
        columns.append(column if column.type == field.type else column.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def build(warehouse: str, kind: str, rows: str, changes: str) -> dict[str, Any]:
    """Make a table, and a tenth of a million rows to merge into it."""
    from target_iceberg.tables.change import Change
    from target_iceberg.tables.commit import SchemaStage, commit_change
    from target_iceberg.tables.writer import DataFileWriter, WriterOptions

    catalog = open_catalog({"warehouse": warehouse})
    catalog.create_namespace_if_not_exists("raw")
    name = ("raw", f"{kind}_{rows}")
    properties = {"format-version": "2"}
    table = catalog.create_table(name, schema=iceberg_schema(fields(kind)), properties=properties)
    engine = duckdb.connect(config={"threads": 2, "memory_limit": "1GB"})
    engine.execute("SET TimeZone = 'UTC'")
    schema = schema_from_iceberg(table.schema())
    writer = DataFileWriter(table, schema=table.schema(), options=WriterOptions("bench"))
    for batch in engine.sql(select(kind, f"range(1, {rows} + 1) t(i)", is_changed=False)).to_arrow_reader(
        65_536
    ):
        writer.write(conformed(batch, schema))
    files = writer.close()
    commit_change(table, Change(added=files), stage=SchemaStage(table))
    write_changes(engine, kind, rows=int(rows), changes=changes)
    return {"files": len(files), "bytes": sum(file.file_size_in_bytes for file in files)}


def write_changes(engine: duckdb.DuckDBPyConnection, kind: str, *, rows: int, changes: str) -> None:
    """Write the rows to merge as Parquet, and as messages."""
    step = rows // 90_000
    numbers = f"SELECT i * {step} AS i FROM range(1, 90001) r(i) UNION ALL SELECT {rows} + i FROM range(1, 10001) r(i)"
    engine.execute(f"CREATE TABLE changes AS {select(kind, f'({numbers}) t', is_changed=True)}")
    id_as_text = "* REPLACE (id::VARCHAR AS id)" if kind == "uuid" else "*"
    instants = "created_at::TIMESTAMPTZ AS created_at, updated_at::TIMESTAMPTZ AS updated_at"
    columns = id_as_text.removesuffix(")") + (", " if kind == "uuid" else " REPLACE (") + instants + ")"
    engine.execute(f"COPY (SELECT {columns} FROM changes) TO '{changes}.parquet' (FORMAT parquet)")
    text = "strftime({0}, '%Y-%m-%dT%H:%M:%S.%fZ') AS {0}"
    texts = ", ".join(text.format(name) for name in ("created_at", "updated_at"))
    lines = engine.execute(f"SELECT to_json(r) FROM (SELECT * REPLACE ({texts}) FROM changes) r")
    properties = {field.name: JSON_TYPES[field.type] for field in fields(kind)}
    head = {
        "type": "SCHEMA",
        "stream": "s",
        "schema": {"type": "object", "properties": properties},
        "key_properties": KEYS[kind],
    }
    with open(f"{changes}.singer", "w", encoding="utf-8") as sink:  # noqa: PTH123 - a plain path from the caller
        sink.write(json.dumps(head) + "\n")
        while rows_of_text := lines.fetchmany(10_000):
            sink.writelines(
                f'{{"type": "RECORD", "stream": "s", "record": {row}}}\n' for (row,) in rows_of_text
            )


def copy(warehouse: str, kind: str, rows: str, name: str) -> dict[str, Any]:
    """List the table's files under another name too."""
    catalog = open_catalog({"warehouse": warehouse})
    base = catalog.load_table(("raw", f"{kind}_{rows}"))
    with contextlib.suppress(NoSuchTableError):
        catalog.drop_table(("raw", name))
    catalog.register_table(("raw", name), base.metadata_location)
    return {}


def batches(kind: str, changes: str) -> Iterator[pa.RecordBatch]:
    """Read the rows to merge."""
    schema = schema_from_iceberg(iceberg_schema(fields(kind)))
    for batch in pq.ParquetFile(f"{changes}.parquet").iter_batches(batch_size=10_000):
        yield conformed(batch, schema)


def ours(warehouse: str, name: str, kind: str, changes: str, mode: str) -> dict[str, Any]:
    """Plan, write and commit a merge."""
    from target_iceberg.methods.merge import plan_merge, write_merge
    from target_iceberg.methods.staging import Spool
    from target_iceberg.tables.change import Change
    from target_iceberg.tables.commit import SchemaStage, commit_change
    from target_iceberg.tables.writer import WriterOptions

    table = open_catalog({"warehouse": warehouse}).load_table(("raw", name))
    spool = Spool(keys=KEYS[kind], memory_bytes=51 * 2**20)
    for batch in batches(kind, changes):
        spool.write(batch)
    schema = table.schema()
    started = time.monotonic()
    plan = plan_merge(table, spool, schema=schema, skip_unchanged=True, mode=mode)
    planned = time.monotonic()
    written = write_merge(table, plan, spool, schema=schema, options=WriterOptions("merge"))
    wrote = time.monotonic()
    change = Change(
        added=written.added,
        added_deletes=written.added_deletes,
        removed=written.removed,
        removed_deletes=written.removed_deletes,
        parent=table.metadata.current_snapshot_id,
    )
    commit_change(table, change, stage=SchemaStage(table))
    ended = time.monotonic()
    phases = {"plan": planned - started, "write": wrote - planned, "commit": ended - wrote}
    return {"seconds": ended - started, **phases, "rows": total(table)}


def upsert(warehouse: str, name: str, kind: str, changes: str) -> dict[str, Any]:
    """Let pyiceberg do it."""
    table = open_catalog({"warehouse": warehouse}).load_table(("raw", name))
    rows = pa.Table.from_batches(batches(kind, changes))
    started = time.monotonic()
    table.upsert(rows, join_cols=list(KEYS[kind]))
    return {"seconds": time.monotonic() - started, "rows": total(table)}


def total(table: Table) -> int:
    """How many rows the table has, by its newest snapshot."""
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    told = snapshot.summary.additional_properties
    return int(told["total-records"]) - int(told["total-position-deletes"])


if __name__ == "__main__":
    sides: dict[str, Callable[..., dict[str, Any]]] = {
        "build": build,
        "copy": copy,
        "ours": ours,
        "upsert": upsert,
    }
    print(json.dumps(sides[sys.argv[1]](*sys.argv[2:])))
