"""Real database files in tmp_path, and the tap as a person runs it."""

from __future__ import annotations

import json
import logging
import signal
import sqlite3
import sys
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from tap_sqlite.tap import TapSQLite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


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


def parsed(raw: bytes) -> Output:
    assert not raw or raw.endswith(b"\n"), "the last line is cut"
    return Output([json.loads(line, parse_float=Decimal) for line in raw.splitlines()])


@pytest.fixture
def database(tmp_path: Path) -> Callable[..., Path]:
    """Make a database file from a script and rows: `database("create …", {"t": [(1, "a")]})`."""

    def make(
        script: str, rows: dict[str, Iterable[tuple[Any, ...]]] | None = None, name: str = "a.db"
    ) -> Path:
        path = tmp_path / name
        connection = sqlite3.connect(path)
        connection.executescript(script)
        for table, values in (rows or {}).items():
            for value in values:
                marks = ", ".join("?" for _ in value)
                connection.execute(f'INSERT INTO "{table}" VALUES ({marks})', value)
        connection.commit()
        connection.close()
        return path

    return make


@pytest.fixture
def execute() -> Callable[..., None]:
    """Change a database as an application would."""

    def run(path: Path, *statements: str) -> None:
        connection = sqlite3.connect(path)
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    return run


@pytest.fixture
def sync(tmp_path: Path) -> Callable[..., Output]:
    """Run the tap in this process and return its messages."""

    def run(
        path: Path | None,
        *,
        state: dict[str, Any] | None = None,
        catalog: dict[str, Any] | None = None,
        **config: Any,
    ) -> Output:
        settings = config if path is None else {"database": str(path), **config}
        tap = TapSQLite(config=settings, state=state, catalog=catalog)
        out = tmp_path / "out.jsonl"
        with out.open("wb") as file:
            tap.messages.lines._descriptor = file.fileno()
            tap.run()
        return parsed(out.read_bytes())

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
            TapSQLite.cli.main(["--config", str(file), *arguments], prog_name="tap-sqlite")
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
