"""A database of the test's own on a real MariaDB, and the tap as a person runs it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from icetap.testing.in_process import read, run_command
from tap_mysql.tap import TapMySQL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from icetap.testing.in_process import Done, TapRun
    from icetap.testing.mariadb import MariaDB


@dataclass
class Database:
    """A database on the test server."""

    server: MariaDB
    name: str

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Change it as an application would; return the rows of the last statement."""
        return self.server.execute(self.name, *statements)

    def stream(self, table: str) -> str:
        """Return the name of a table's stream."""
        return f"{self.name}-{table}"

    @property
    def config(self) -> dict[str, Any]:
        """Settings with which the tap reads it."""
        return {
            "host": self.server.host,
            "port": self.server.port,
            "user": self.server.user,
            "password": self.server.password,
            "database": self.name,
            "max_retries": 0,
        }


@pytest.fixture(scope="session")
def new_database(mariadb_server: MariaDB) -> Callable[[], Database]:
    """Make a database that lasts as long as the session."""
    return lambda: Database(mariadb_server, mariadb_server.new_database())


@pytest.fixture
def database(new_database: Callable[[], Database]) -> Iterator[Database]:
    """A new database, gone after the test."""
    made = new_database()
    yield made
    # What a failed test left open would keep its tables from being dropped.
    left = made.execute(
        "SELECT id FROM information_schema.PROCESSLIST WHERE db = database() AND id <> connection_id()"
    )
    for (number,) in left:
        with contextlib.suppress(pymysql.Error):  # it has just ended
            made.execute(f"KILL CONNECTION {number}")
    made.execute(f"DROP DATABASE {made.name}")


@pytest.fixture(scope="session")
def run_tap() -> Callable[..., TapRun]:
    """Run the tap in this process and return its messages; settings of None are left out."""

    def run(
        settings: dict[str, Any],
        *,
        state: dict[str, Any] | None = None,
        catalog: dict[str, Any] | None = None,
    ) -> TapRun:
        given = {name: value for name, value in settings.items() if value is not None}
        return read(TapMySQL(config=given, state=state, catalog=catalog))

    return run


@pytest.fixture
def sync(run_tap: Callable[..., TapRun], database: Database) -> Callable[..., TapRun]:
    """Read the test's own database."""

    def run(
        *, state: dict[str, Any] | None = None, catalog: dict[str, Any] | None = None, **config: Any
    ) -> TapRun:
        return run_tap({**database.config, **config}, state=state, catalog=catalog)

    return run


@pytest.fixture
def discovered(database: Database) -> Callable[..., dict[str, Any]]:
    """The catalog's entries by stream."""

    def run(**config: Any) -> dict[str, Any]:
        settings = {name: value for name, value in {**database.config, **config}.items() if value is not None}
        return {entry["tap_stream_id"]: entry for entry in TapMySQL(config=settings).catalog_dict["streams"]}

    return run


@pytest.fixture
def command(
    tmp_path: Path, database: Database, capfdbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., Done]:
    """Run the command with a config file, in this process."""

    def run(*arguments: str, **config: Any) -> Done:
        settings = {**database.config, **config}
        return run_command(TapMySQL, *arguments, config=settings, folder=tmp_path, captured=capfdbinary)

    return run
