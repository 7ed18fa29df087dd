"""What is in the loaded tables, read without pyiceberg: the catalog's file with sqlite3, the data with DuckDB."""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from icetap.testing.engines import duckdb_reader
from icetap.testing.lakes import RestServer

REST: dict[Path, RestServer] = {}
"""Warehouses whose tables a REST catalog keeps, instead of the file in the warehouse."""


def metadata_location(warehouse: Path, table: str, namespace: str = "raw") -> str:
    """The path of a table's newest metadata file."""
    if server := REST.get(warehouse):
        answer = server.table(table, namespace)
        assert answer is not None, f"there is no table {namespace}.{table} in the REST catalog"
        return "/" + answer["metadata-location"].removeprefix("file:").lstrip("/")
    with closing(sqlite3.connect(f"file:{warehouse}/catalog.db?mode=ro", uri=True, timeout=30)) as catalog:
        query = "SELECT metadata_location FROM iceberg_tables WHERE table_namespace = ? AND table_name = ?"
        found = catalog.execute(query, (namespace, table)).fetchone()
    assert found is not None, f"there is no table {namespace}.{table} in {warehouse}"
    return "/" + found[0].removeprefix("file:").lstrip("/")  # Spark writes file:/…, others file:///…


def has_table(warehouse: Path, table: str) -> bool:
    try:
        metadata_location(warehouse, table)
    except (AssertionError, sqlite3.OperationalError):
        return False
    return True


def metadata(warehouse: Path, table: str) -> dict[str, Any]:
    """A table's metadata as it stands in its file."""
    return json.loads(Path(metadata_location(warehouse, table)).read_text("utf-8"))


def snapshots(warehouse: Path, table: str) -> list[dict[str, Any]]:
    """The snapshots of the head's line, oldest first."""
    found = metadata(warehouse, table)
    by_id = {snapshot["snapshot-id"]: snapshot for snapshot in found.get("snapshots", [])}
    line, current = [], found.get("current-snapshot-id")
    while current in by_id:
        line.append(by_id[current])
        current = by_id[current].get("parent-snapshot-id")
    return line[::-1]


def query(warehouse: Path, table: str, sql: str = "SELECT * FROM t") -> list[tuple[Any, ...]]:
    """Rows by DuckDB's own Iceberg reader; the table is called `t` in the query."""
    location = metadata_location(warehouse, table)
    if json.loads(Path(location).read_text("utf-8")).get("current-snapshot-id") in {None, -1}:
        return []
    with duckdb_reader() as connection:
        connection.execute(f"CREATE VIEW t AS FROM iceberg_scan('{location}')")
        return connection.execute(sql).fetchall()


def differences(expected: list[tuple[Any, ...]], found: list[tuple[Any, ...]]) -> str:
    """Row by row: what is lost and what is there too often; empty when nothing is."""
    lost, extra = Counter(expected) - Counter(found), Counter(found) - Counter(expected)
    if not lost and not extra:
        return ""
    return (
        f"{lost.total()} of {len(expected)} rows lost, such as {list(lost)[:3]}; "
        f"{extra.total()} too many, such as {list(extra)[:3]}"
    )
