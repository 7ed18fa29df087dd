"""Real database files in tmp_path, and the tap as a person runs it."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from icetap.testing.in_process import read, run_command
from tap_sqlite.tap import TapSQLite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from icetap.testing.in_process import Done, TapRun


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
def sync() -> Callable[..., TapRun]:
    """Run the tap in this process and return its messages."""

    def run(
        path: Path | None,
        *,
        state: dict[str, Any] | None = None,
        catalog: dict[str, Any] | None = None,
        **config: Any,
    ) -> TapRun:
        settings = config if path is None else {"database": str(path), **config}
        return read(TapSQLite(config=settings, state=state, catalog=catalog))

    return run


@pytest.fixture
def command(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Done]:
    """Run the command with a config file, in this process."""

    def run(*arguments: str, **config: Any) -> Done:
        return run_command(TapSQLite, *arguments, config=config, folder=tmp_path, captured=capfdbinary)

    return run
