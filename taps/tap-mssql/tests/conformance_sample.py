"""A small SQL Server for the conformance suite; see `icetap.testing.samples`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from icetap.testing.mssql import Database, mssql_database
from icetap.testing.samples import Sample

if TYPE_CHECKING:
    from pathlib import Path

_servers = contextlib.ExitStack()
_databases: dict[Path, Database] = {}


def make(folder: Path, *, rows: int, canary: str) -> Sample:
    """Orders with an `updated_at`, and two customers; a canary is in both."""
    database = _databases[folder] = _servers.enter_context(mssql_database())
    database.execute(
        "CREATE TABLE dbo.customers (id int PRIMARY KEY, name nvarchar(50))",
        f"INSERT INTO dbo.customers VALUES (1, N'Ada'), (2, N'{canary}')",
        "CREATE TABLE dbo.orders (id int PRIMARY KEY, customer_id int, note nvarchar(50), amount decimal(12,2), "
        "paid bit, photo varbinary(10), updated_at datetime2(3) NOT NULL)",
        "CREATE INDEX orders_updated_at ON dbo.orders (updated_at)",
    )
    database.insert("dbo.orders", [_order(number, canary) for number in range(rows)])
    return Sample(
        config={**database.config, "streams": {"dbo-orders": {"lookback_seconds": 0}}},
        rows={"dbo-orders": rows, "dbo-customers": 2},
        incremental=["dbo-orders"],
        metadata={"dbo-orders": {"replication-method": "INCREMENTAL", "replication-key": "updated_at"}},
    )


def _order(number: int, canary: str) -> tuple[object, ...]:
    note = canary if number == 0 else "a note"
    photo = b"\x00\xff" if number % 3 else None
    day, second = divmod(number, 86_400)
    at = f"2026-01-{day + 1:02d}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
    return number, number % 2 + 1, note, number / 4, number % 2, photo, at


def change(folder: Path) -> dict[str, list[int]]:
    """Change the first order and add one."""
    database = _databases[folder]
    database.execute(
        "UPDATE dbo.orders SET note = N'changed', updated_at = '2026-06-01T00:00:00' WHERE id = 0",
        "INSERT INTO dbo.orders (id, note, updated_at) VALUES (1000000, N'new', '2026-06-01T00:00:01')",
    )
    return {"dbo-orders": [0, 1_000_000]}
