"""A database of the test's own on a real MariaDB, and the tap as a person runs it."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pymysql
import pytest

from tap_mysql.tap import TapMySQL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from icetap.testing.mariadb import MariaDB


@dataclass
class Output:
    """The messages of one run."""

    messages: list[dict[str, Any]] = field(default_factory=list)

    def of(self, kind: str, stream: str | None = None) -> list[dict[str, Any]]:
        return [m for m in self.messages if m["type"] == kind and stream in {None, m.get("stream")}]

    def records(self, stream: str | None = None) -> list[dict[str, Any]]:
        return [message["record"] for message in self.of("RECORD", stream)]

    def schema(self, stream: str | None = None) -> dict[str, Any]:
        return self.of("SCHEMA", stream)[-1]["schema"]["properties"]

    def table(self) -> pa.Table:
        """Read all files that the BATCH messages name."""
        tables = []
        for message in self.of("BATCH"):
            for url in message["manifest"]:
                with pa.OSFile(url.removeprefix("file://")) as source:
                    tables.append(pa.ipc.open_file(source).read_all())
        return pa.concat_tables(tables)

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.messages]

    @property
    def state(self) -> dict[str, Any]:
        return self.of("STATE")[-1]["value"]

    def bookmark(self, stream: str) -> dict[str, Any]:
        return self.state["bookmarks"][stream]


def parsed(raw: bytes) -> Output:
    assert not raw or raw.endswith(b"\n"), "the last line is cut"
    return Output([json.loads(line, parse_float=Decimal) for line in raw.splitlines()])


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
def run_tap() -> Callable[..., Output]:
    """Run the tap in this process and return its messages; settings of None are left out."""

    def run(
        settings: dict[str, Any],
        folder: Path,
        *,
        state: dict[str, Any] | None = None,
        catalog: dict[str, Any] | None = None,
    ) -> Output:
        given = {name: value for name, value in settings.items() if value is not None}
        tap = TapMySQL(config=given, state=state, catalog=catalog)
        out = folder / "out.jsonl"
        with out.open("wb") as file:
            tap.messages.lines._descriptor = file.fileno()
            tap.run()
        return parsed(out.read_bytes())

    return run


@pytest.fixture
def sync(run_tap: Callable[..., Output], tmp_path: Path, database: Database) -> Callable[..., Output]:
    """Read the test's own database."""

    def run(
        *, state: dict[str, Any] | None = None, catalog: dict[str, Any] | None = None, **config: Any
    ) -> Output:
        return run_tap({**database.config, **config}, tmp_path, state=state, catalog=catalog)

    return run


@pytest.fixture
def discovered(database: Database) -> Callable[..., dict[str, Any]]:
    """The catalog's entries by stream."""

    def run(**config: Any) -> dict[str, Any]:
        settings = {name: value for name, value in {**database.config, **config}.items() if value is not None}
        return {entry["tap_stream_id"]: entry for entry in TapMySQL(config=settings).catalog_dict["streams"]}

    return run


@dataclass
class Done:
    """How a command ended."""

    returncode: int
    stdout: bytes
    stderr: bytes


@pytest.fixture
def command(
    tmp_path: Path, database: Database, capfdbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., Done]:
    """Run the command with a config file, in this process: a new one costs a second each time."""

    def run(*arguments: str, **config: Any) -> Done:
        file = tmp_path / "config.json"
        file.write_text(json.dumps({**database.config, **config}))
        handlers, hook = list(logging.root.handlers), sys.excepthook
        signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        capfdbinary.readouterr()
        try:
            TapMySQL.cli.main(["--config", str(file), *arguments], prog_name="tap-mysql")
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            logging.root.handlers, sys.excepthook = handlers, hook
            logging.captureWarnings(False)
            for number, handler in signals.items():
                signal.signal(number, handler)
        out, err = capfdbinary.readouterr()
        return Done(code, out, err)

    return run
