"""A small SQLite file for the conformance suite; see `icetap.testing.samples`."""

import sqlite3
from contextlib import closing
from pathlib import Path

from icetap.testing.samples import Sample

START = "2026-01-01 00:00:00"


def make(folder: Path, *, rows: int, canary: str) -> Sample:
    """Orders with an `updated_at`, and two customers; a canary is in both."""
    with closing(sqlite3.connect(folder / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT)")
        connection.executemany("INSERT INTO customers VALUES (?, ?)", [(1, "Ada"), (2, canary)])
        connection.execute(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER, note TEXT, amount DECIMAL(12, 2), "
            "paid BOOLEAN, photo BLOB, updated_at TIMESTAMP NOT NULL)"
        )
        connection.execute("CREATE INDEX orders_updated_at ON orders (updated_at)")
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1) "
            "INSERT INTO orders SELECT i, i % 2 + 1, CASE i WHEN 0 THEN ? ELSE 'a note' END, i / 4.0, i % 2, "
            "CASE WHEN i % 3 THEN x'00ff' END, datetime(?, i || ' seconds') FROM n",
            (rows, canary, START),
        )
    return Sample(
        config={"database": str(folder / "shop.db"), "streams": {"orders": {"lookback_seconds": 0}}},
        rows={"orders": rows, "customers": 2},
        incremental=["orders"],
        metadata={"orders": {"replication-method": "INCREMENTAL", "replication-key": "updated_at"}},
    )


def change(folder: Path) -> dict[str, list[int]]:
    """Change the first order and add one."""
    with closing(sqlite3.connect(folder / "shop.db")) as connection, connection:
        last = connection.execute("SELECT max(id) FROM orders").fetchone()[0]
        connection.execute(
            "UPDATE orders SET note = 'changed', updated_at = '2026-06-01 00:00:00' WHERE id = 0"
        )
        connection.execute(
            "INSERT INTO orders (id, note, updated_at) VALUES (?, 'new', '2026-06-01 00:00:01')", (last + 1,)
        )
    return {"orders": [0, last + 1]}
