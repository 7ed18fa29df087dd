"""A small MariaDB database for the conformance suite; see `icetap.testing.samples`.

Without a MariaDB on this machine the suite skips this tap with one line; `make test-servers` fetches one.
"""

from __future__ import annotations

import atexit
import contextlib
from typing import TYPE_CHECKING

from icetap.testing.mariadb import MariaDB, mariadb
from icetap.testing.samples import Sample

if TYPE_CHECKING:
    from pathlib import Path

START = "2026-01-01 00:00:00"
_SERVER: list[MariaDB] = []


def _server() -> MariaDB:
    """One server for this process; it ends with it."""
    if not _SERVER:
        running = contextlib.ExitStack()
        _SERVER.append(running.enter_context(mariadb(may_fetch=False)))
        atexit.register(running.close)
    return _SERVER[0]


def make(folder: Path, *, rows: int, canary: str) -> Sample:
    """Orders with an `updated_at`, and two customers; a canary is in both, and is the reader's password."""
    server = _server()
    database = server.new_database()
    (folder / "database").write_text(database)
    quoted = canary.replace("'", "''")
    server.execute(
        database,
        "CREATE TABLE customers (id INT PRIMARY KEY, name TEXT)",
        f"INSERT INTO customers VALUES (1, 'Ada'), (2, '{quoted}')",
        "CREATE TABLE orders (id BIGINT PRIMARY KEY, customer_id INT, note TEXT, amount DECIMAL(12, 2), paid BIT(1), "
        "photo BLOB, updated_at TIMESTAMP(6) NOT NULL, KEY orders_updated_at (updated_at))",
        "INSERT INTO orders SELECT seq, seq % 2 + 1, CASE seq WHEN 0 THEN "
        f"'{quoted}' ELSE 'a note' END, seq / 4.0, seq % 2, CASE WHEN seq % 3 > 0 THEN x'00ff' END, "
        f"TIMESTAMP '{START}' + INTERVAL seq SECOND FROM seq_0_to_{rows - 1}",
        f"CREATE USER {database}@'%' IDENTIFIED BY '{quoted}'",
        f"GRANT SELECT ON {database}.* TO {database}@'%'",
    )
    # The names of the streams are the same in every process, as those of the tests that are made of them must be.
    return Sample(
        config={
            "host": server.host,
            "port": server.port,
            "user": database,
            "password": canary,
            "database": database,
            "streams": {
                f"{database}-orders": {"stream_name": "orders", "lookback_seconds": 0},
                f"{database}-customers": {"stream_name": "customers"},
            },
        },
        rows={"orders": rows, "customers": 2},
        incremental=["orders"],
        metadata={"orders": {"replication-method": "INCREMENTAL", "replication-key": "updated_at"}},
    )


def change(folder: Path) -> dict[str, list[int]]:
    """Change the first order and add one."""
    server, database = _server(), (folder / "database").read_text()
    last = int(server.execute(database, "SELECT max(id) FROM orders")[0][0])
    server.execute(
        database,
        "UPDATE orders SET note = 'changed', updated_at = '2026-06-01 00:00:00' WHERE id = 0",
        f"INSERT INTO orders (id, note, updated_at) VALUES ({last + 1}, 'new', '2026-06-01 00:00:01')",
    )
    return {"orders": [0, last + 1]}
