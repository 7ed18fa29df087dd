"""A database of each test's own, real or ours, and the tap as a person runs it."""

from __future__ import annotations

import json
import logging
import signal
import sys
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from icetap.testing.mssql import Database, mssql_database
from tap_mssql.tap import TapMSSQL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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

    def tables(self) -> dict[str, pa.Table]:
        """Read all files that the BATCH messages name."""
        found: dict[str, list[pa.Table]] = {}
        for message in self.of("BATCH"):
            for url in message["manifest"]:
                with pa.OSFile(url.removeprefix("file://")) as source:
                    found.setdefault(message["stream"], []).append(pa.ipc.open_file(source).read_all())
        return {stream: pa.concat_tables(tables) for stream, tables in found.items()}

    def table(self) -> pa.Table:
        """Return the one table of the run."""
        (table,) = self.tables().values()
        return table

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


@pytest.fixture
def database() -> Iterator[Database]:
    """An empty database."""
    with mssql_database() as made:
        yield made


@pytest.fixture
def fake(database: Database) -> Database:
    """An empty database of our own server, whose faults a test chooses."""
    if database.fake is None:
        pytest.skip("only our own server does this")
    return database


@pytest.fixture(scope="session")
def run_tap() -> Callable[..., Output]:
    """Run the tap in this process and return its messages."""

    def run(
        database: Database,
        folder: Path,
        *,
        state: dict[str, Any] | None = None,
        catalog: dict[str, Any] | None = None,
        **config: Any,
    ) -> Output:
        tap = TapMSSQL(config={**database.config, **config}, state=state, catalog=catalog)
        out = folder / "out.jsonl"
        with out.open("wb") as file:
            tap.messages.lines._descriptor = file.fileno()
            try:
                tap.run()
            finally:
                tap.messages.lines.flush()
        return parsed(out.read_bytes())

    return run


@pytest.fixture
def sync(run_tap: Callable[..., Output], tmp_path: Path) -> Callable[..., Output]:
    """The same, in a folder of the test's own."""
    return lambda database, **options: run_tap(database, tmp_path, **options)


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
            TapMSSQL.cli.main(["--config", str(file), *arguments], prog_name="tap-mssql")
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
