"""A database of each test's own, real or ours, and the tap as a person runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from icetap.testing.in_process import read, run_command
from icetap.testing.mssql import Database, mssql_database
from tap_mssql.tap import TapMSSQL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from icetap.testing.in_process import Done, TapRun


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
def sync() -> Callable[..., TapRun]:
    """Run the tap in this process and return its messages."""

    def run(
        database: Database,
        *,
        state: dict[str, Any] | None = None,
        catalog: dict[str, Any] | None = None,
        **config: Any,
    ) -> TapRun:
        return read(TapMSSQL(config={**database.config, **config}, state=state, catalog=catalog))

    return run


@pytest.fixture
def command(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Done]:
    """Run the command with a config file, in this process."""

    def run(*arguments: str, **config: Any) -> Done:
        return run_command(TapMSSQL, *arguments, config=config, folder=tmp_path, captured=capfdbinary)

    return run
