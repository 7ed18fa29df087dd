"""SQLite databases that change as an application changes them."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

CHANGES = 400
"""Rows that an incremental source gets between runs, at least."""
START = 1_700_000_000
COLUMNS = "id, name, amount, CAST(seen_at AS VARCHAR)"
"""The columns of a loaded table, as `Source.rows` gives them."""


class Source:
    """A table `rows` of (id, name, amount, seen_at), with or without a key, and the settings to read it."""

    def __init__(self, path: Path, *, keyed: bool, incremental: bool, rng: random.Random, size: int) -> None:
        self.path = path
        self.rng = rng
        self.keyed = keyed
        self.incremental = incremental
        self.clock = START
        self._next = 1
        key = "PRIMARY KEY" if keyed else ""
        with self._open() as database:
            database.execute(
                f"CREATE TABLE rows (id INTEGER {key}, name TEXT, amount REAL, seen_at TIMESTAMP)"
            )
            database.execute("CREATE INDEX rows_seen_at ON rows (seen_at)")
        self.insert(size)

    def _open(self) -> Any:
        return closing(sqlite3.connect(self.path, timeout=30, isolation_level=None))

    @property
    def config(self) -> dict[str, Any]:
        if not self.incremental:
            return {"database": str(self.path)}
        options = {"replication_method": "INCREMENTAL", "replication_key": "seen_at"}
        return {"database": str(self.path), "streams": {"rows": options}}

    def _at(self) -> str:
        """The next moment, the same one several times in a row."""
        self.clock += self.rng.choice([0, 0, 0, 1, 7])
        with closing(sqlite3.connect(":memory:")) as clock:
            return clock.execute("SELECT datetime(?, 'unixepoch')", (self.clock,)).fetchone()[0]

    def insert(self, count: int) -> None:
        """Add rows; without a key also rows that equal each other, and in the first load rows without a time."""
        rows = []
        for _ in range(count):
            has_time = self.clock > START or not self.incremental or self.rng.random() < 0.5
            at = self._at() if has_time else None
            rows.append((self._next, f"name {self._next}", self._next / 4, at))
            if not self.keyed and self.rng.random() < 0.2:
                rows.append(rows[-1])
            self._next += 1
        with self._open() as database:
            database.execute("BEGIN")
            database.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", rows)
            database.execute("COMMIT")

    def change(self) -> None:
        """Do what applications do: add, change, and where full reads can see it, delete."""
        self.insert(self.rng.randrange(CHANGES, 2 * CHANGES) if self.incremental else self.rng.randrange(60))
        if self.incremental and not self.keyed:
            return
        with self._open() as database:
            database.execute("BEGIN")
            for _ in range(self.rng.randrange(1, 60)):
                row = self.rng.randrange(1, self._next)
                if not self.incremental and self.rng.random() < 0.3:
                    database.execute("DELETE FROM rows WHERE id = ?", (row,))
                else:
                    name = f"changed at {self.clock}"
                    at = self._at()
                    database.execute("UPDATE rows SET name = ?, seen_at = ? WHERE id = ?", (name, at, row))
            database.execute("COMMIT")

    def rows(self) -> list[tuple[Any, ...]]:
        with self._open() as database:
            return database.execute("SELECT id, name, amount, seen_at FROM rows").fetchall()


def execute(path: Path, *statements: str) -> None:
    """Change a database, or make it."""
    with closing(sqlite3.connect(path, timeout=30)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Ask a database."""
    with closing(sqlite3.connect(path, timeout=30)) as database:
        return database.execute(sql).fetchall()
