"""Databases of a real server, and the tap as a person runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from icetap.testing.certificates import make_certificates
from icetap.testing.databases import postgres
from icetap.testing.in_process import read, run_command
from tap_postgres.tap import TapPostgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from icetap.testing.certificates import Certificates
    from icetap.testing.databases import Postgres
    from icetap.testing.in_process import Done, TapRun


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


TRANSPORTS = {"plain": {"sslmode": "disable"}, "encrypted": {"sslmode": "require"}}
"""Rows are taken from the socket, or from libpq."""


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Those of the server that speaks TLS."""
    return make_certificates(tmp_path_factory.mktemp("tls"), names=["db.example.com"])


@pytest.fixture(scope="session")
def tls_server(certificates: Certificates) -> Iterator[Postgres]:
    """A server that speaks TLS with those who ask for it."""
    with postgres(certificates=certificates) as server:
        yield server


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
def sync() -> Callable[..., TapRun]:
    """Run the tap in this process and return its messages."""

    def run(
        source: Database,
        *,
        state: dict[str, Any] | None = None,
        catalog: dict[str, Any] | None = None,
        may_fail: bool = False,
        **config: Any,
    ) -> TapRun:
        tap = TapPostgres(config={**source.config, **config}, state=state, catalog=catalog)
        return read(tap, may_end_with=(Exception,) if may_fail else ())

    return run


@pytest.fixture
def command(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Done]:
    """Run the command with a config file, in this process."""

    def run(*arguments: str, **config: Any) -> Done:
        return run_command(TapPostgres, *arguments, config=config, folder=tmp_path, captured=capfdbinary)

    return run
