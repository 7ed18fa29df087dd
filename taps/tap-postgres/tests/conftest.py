"""Databases of a real server, and the tap as a person runs it."""

from __future__ import annotations

import json
import logging
import signal
import sys
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pytest

from tap_postgres.tap import TapPostgres

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from icetap.testing.databases import Postgres


@dataclass
class Output:
    """The messages of one run."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    error: BaseException | None = None

    def of(self, kind: str, stream: str | None = None) -> list[dict[str, Any]]:
        return [m for m in self.messages if m["type"] == kind and stream in {None, m.get("stream")}]

    def records(self, stream: str | None = None) -> list[dict[str, Any]]:
        return [message["record"] for message in self.of("RECORD", stream)]

    def schema(self, stream: str | None = None) -> dict[str, Any]:
        return self.of("SCHEMA", stream)[-1]["schema"]["properties"]

    @property
    def state(self) -> dict[str, Any]:
        return self.of("STATE")[-1]["value"]

    def table(self) -> pa.Table:
        """Read all files that the BATCH messages name."""
        tables = []
        for message in self.of("BATCH"):
            for url in message["manifest"]:
                with pa.OSFile(url.removeprefix("file://")) as source:
                    tables.append(pa.ipc.open_file(source).read_all())
        return pa.concat_tables(tables)


@dataclass
class Database:
    """A database of a test's own."""

    server: Postgres
    name: str

    @property
    def config(self) -> dict[str, Any]:
        return {
            "host": self.server.host,
            "port": self.server.port,
            "user": self.server.user,
            "password": self.server.password,
            "database": self.name,
        }

    def connect(self) -> psycopg.Connection[Any]:
        """A session of an application's."""
        config = self.config
        return psycopg.connect(
            host=config["host"],
            port=config["port"],
            user=config["user"],
            password=config["password"],
            dbname=self.name,
            autocommit=True,
        )

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements one by one; return the last one's rows."""
        with self.connect() as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="session")
def database(postgres_server: Postgres) -> Callable[..., Database]:
    """Make a database from statements."""

    def make(*statements: str) -> Database:
        made = Database(postgres_server, postgres_server.new_database())
        if statements:
            made.execute(*statements)
        return made

    return make


@pytest.fixture(scope="session")
def _scratch(database: Callable[..., Database]) -> Database:
    return database()


@pytest.fixture
def scratch(_scratch: Database) -> Callable[..., Database]:
    """Make the schema `public` from statements, in a database that all tests share; the faster one."""

    def make(*statements: str) -> Database:
        extensions = _scratch.execute("SELECT extname FROM pg_extension WHERE extname <> 'plpgsql'")
        _scratch.execute(
            *(f'DROP EXTENSION "{name}" CASCADE' for (name,) in extensions),
            "DROP SCHEMA public CASCADE",
            "CREATE SCHEMA public",
            *statements,
        )
        return _scratch

    return make


@pytest.fixture
def sync(tmp_path: Path) -> Callable[..., Output]:
    """Run the tap in this process and return its messages."""

    def run(
        source: Database,
        *,
        state: dict[str, Any] | None = None,
        catalog: dict[str, Any] | None = None,
        may_fail: bool = False,
        **config: Any,
    ) -> Output:
        out = tmp_path / "out.jsonl"
        error = None
        with out.open("wb") as file:
            tap = TapPostgres(config={**source.config, **config}, state=state, catalog=catalog)
            tap.messages.lines._descriptor = file.fileno()
            try:
                tap.run()
            except Exception as raised:
                if not may_fail:
                    raise
                error = raised
        lines = out.read_bytes()
        assert not lines or lines.endswith(b"\n"), "the last line is cut"
        return Output([json.loads(line, parse_float=Decimal) for line in lines.splitlines()], error)

    return run


@dataclass
class Done:
    """How a command ended."""

    returncode: int
    stdout: bytes
    stderr: bytes


@pytest.fixture
def command(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Done]:
    """Run the command with a config file, in this process: a new one costs a second each time."""

    def run(*arguments: str, **config: Any) -> Done:
        file = tmp_path / "config.json"
        file.write_text(json.dumps(config))
        handlers, hook = list(logging.root.handlers), sys.excepthook
        signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        capfdbinary.readouterr()
        try:
            TapPostgres.cli.main(["--config", str(file), *arguments], prog_name="tap-postgres")
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
