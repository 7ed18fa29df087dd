"""A small PostgreSQL database for the conformance suite; see `icetap.testing.samples`."""

from __future__ import annotations

import atexit
import contextlib
from typing import TYPE_CHECKING

from icetap.testing.databases import Postgres, postgres
from icetap.testing.samples import Sample

if TYPE_CHECKING:
    from pathlib import Path

START = "2026-01-01 00:00:00+00"
_SERVER: list[Postgres] = []


def _server() -> Postgres:
    """One server for this process; it ends with it."""
    if not _SERVER:
        running = contextlib.ExitStack()
        _SERVER.append(running.enter_context(postgres()))
        atexit.register(running.close)
    return _SERVER[0]


def make(folder: Path, *, rows: int, canary: str) -> Sample:
    """Orders with an `updated_at`, and two customers; a canary is in both, and is the reader's password."""
    server = _server()
    database = server.new_database()
    (folder / "database").write_text(database)
    quoted = canary.replace("'", "''")
    for statement in (
        "CREATE TABLE customers (id int PRIMARY KEY, name text)",
        f"INSERT INTO customers VALUES (1, 'Ada'), (2, '{quoted}')",
        (
            "CREATE TABLE orders (id bigint PRIMARY KEY, customer_id int, note text, amount numeric(12, 2), paid boolean, "
            "photo bytea, updated_at timestamptz NOT NULL)"
        ),
        "CREATE INDEX orders_updated_at ON orders (updated_at)",
        (
            f"INSERT INTO orders SELECT i, i % 2 + 1, CASE i WHEN 0 THEN '{quoted}' ELSE 'a note' END, i / 4.0, "
            "i % 2 = 1, CASE WHEN i % 3 > 0 THEN decode('00ff', 'hex') END, "
            f"timestamptz '{START}' + i * interval '1 second' FROM generate_series(0, {rows - 1}) AS i"
        ),
        "ANALYZE orders",
        f"CREATE ROLE {database} LOGIN PASSWORD '{quoted}'",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {database}",
    ):
        server.execute(database, statement)
    return Sample(
        config={
            "host": server.host,
            "port": server.port,
            "user": database,
            "password": canary,
            "database": database,
            "streams": {"public-orders": {"lookback_seconds": 0}},
        },
        rows={"public-orders": rows, "public-customers": 2},
        incremental=["public-orders"],
        metadata={"public-orders": {"replication-method": "INCREMENTAL", "replication-key": "updated_at"}},
    )


def change(folder: Path) -> dict[str, list[int]]:
    """Change the first order and add one."""
    server, database = _server(), (folder / "database").read_text()
    last = int(str(server.execute(database, "SELECT max(id) FROM orders")[0][0]))
    server.execute(
        database, "UPDATE orders SET note = 'changed', updated_at = '2026-06-01 00:00:00+00' WHERE id = 0"
    )
    server.execute(
        database,
        f"INSERT INTO orders (id, note, updated_at) VALUES ({last + 1}, 'new', '2026-06-01 00:00:01+00')",
    )
    return {"public-orders": [0, last + 1]}
