"""Databases whose tables are read LOG_BASED."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from icetap.testing.in_process import read
from tap_mysql.tap import TapMySQL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from icetap.testing.in_process import TapRun


class Table:
    """A stream's rows by their key, as a loader has them."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.columns: list[str] = []
        self.rows: dict[tuple[Any, ...], tuple[int, dict[str, Any]]] = {}


class Log:
    """A database whose tables are read LOG_BASED, from where the last run came to."""

    def __init__(self, database: Any) -> None:
        self.database = database
        self.state: dict[str, Any] | None = None
        self.tables: dict[str, Table] = {}
        self.settings: dict[str, Any] = {"streams": {"*": {"replication_method": "LOG_BASED"}}}

    def tap(self, **config: Any) -> TapMySQL:
        given = None if self.state is None else json.loads(json.dumps(self.state))
        return TapMySQL(config={**self.database.config, **self.settings, **config}, state=given)

    def run(self, *statements: str, **config: Any) -> TapRun:
        """Run the tap; statements are run after it has looked at the tables and before it looks at the log."""
        tap = self.tap(**config)
        _ = tap.streams
        self.execute(*statements)
        output = read(tap)
        self._load(output)
        self.state = output.state
        return output

    def records(self, *statements: str, table: str | None = None, **config: Any) -> list[dict[str, Any]]:
        """Run the tap; return its records without the log's columns, deleted ones with `gone`."""
        stream = None if table is None else self.database.stream(table)
        return [short(record) for record in self.run(*statements, **config).records(stream)]

    def _load(self, output: TapRun) -> None:
        """Do with the messages what a loader does that keeps the columns of the newest SCHEMA."""
        for message in output.messages:
            if message["type"] == "STATE":
                continue
            table = self.tables.setdefault(message["stream"], Table())
            if message["type"] == "SCHEMA":
                table.keys = message["key_properties"]
                table.columns = [
                    name for name in message["schema"]["properties"] if not name.startswith("_sdc_")
                ]
            elif message["type"] == "RECORD":
                key = tuple(message["record"][name] for name in table.keys)
                table.rows[key] = (message["version"], message["record"])
            else:
                table.rows = {k: row for k, row in table.rows.items() if row[0] == message["version"]}

    def live(self, table: str = "items") -> list[dict[str, Any]]:
        """The rows that a loader has now."""
        loaded = self.tables[self.database.stream(table)]
        return [
            {name: record.get(name) for name in loaded.columns}
            for _, (_, record) in sorted(loaded.rows.items())
            if not record.get("_sdc_deleted_at")
        ]

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        return self.database.execute(*statements)

    def bookmark(self, table: str = "items") -> dict[str, Any]:
        assert self.state is not None
        return self.state["bookmarks"][self.database.stream(table)]


def short(record: dict[str, Any]) -> dict[str, Any]:
    own = {name: value for name, value in record.items() if not name.startswith("_sdc_")}
    return own | ({"gone": True} if record.get("_sdc_deleted_at") else {})


@pytest.fixture
def log(database: Any) -> Log:
    """A database without tables."""
    return Log(database)


@pytest.fixture
def items(log: Log) -> Log:
    """A table of two rows, read once."""
    log.execute(
        "CREATE TABLE items (id INT PRIMARY KEY, name VARCHAR(20))",
        "INSERT INTO items VALUES (1, 'one'), (2, 'two')",
    )
    assert log.records() == [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]
    return log


@pytest.fixture
def set_global(mariadb_server: Any) -> Iterator[Callable[..., None]]:
    """Set variables of the server for the time of the test."""
    before: dict[str, Any] = {}

    def run(**values: Any) -> None:
        for name, value in values.items():
            (old,) = mariadb_server.execute("", f"SELECT @@global.{name}")[0]
            before.setdefault(name, old)
            mariadb_server.execute("", f"SET GLOBAL {name} = {value!r}")

    yield run
    for name, old in before.items():
        mariadb_server.execute("", f"SET GLOBAL {name} = {old!r}")
