"""SQL Server for tests: a real one by `ICETAP_TEST_MSSQL_URL`, else our own that speaks its protocol.

The same tests run against both; what only ours can do (errors on demand, cut connections) asks for `Database.fake`.
"""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from icetap.testing.odbc import make_loadable
from icetap.testing.servers import address_from_environment, real_server
from icetap.testing.tds import TdsServer
from icetap.testing.tsql import Server, ServerSession

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Sequence

NAME = "SQL Server"


@dataclass
class Database:
    """A database of a test's own.

    `fake` is our server's inside, `listener` its socket; both are None for a real server.
    """

    config: dict[str, Any]
    fake: Server | None = None
    listener: TdsServer | None = None
    _session: ServerSession | None = None

    def execute(self, *statements: str) -> None:
        """Run statements as an application would, each in its own transaction."""
        for statement in statements:
            if self.fake is None:
                _run_on_real(self.config, statement)
                continue
            self._session = self._session or ServerSession(self.fake)
            for result in self._session.execute(statement, [], lambda: False):
                list(result.rows)

    def insert(self, table: str, rows: Sequence[Sequence[object]]) -> None:
        """Insert many rows of plain values: numbers, ASCII texts, None, and bytes; one transaction on our server."""
        if self.fake is not None:
            self.fake.insert(table, rows)
            return
        for start in range(0, len(rows), 500):
            values = ", ".join(f"({', '.join(map(_literal, row))})" for row in rows[start : start + 500])
            self.execute(f"INSERT INTO {table} VALUES {values}")

    def object_id(self, name: str) -> int:
        """Return a table's number, on our server only."""
        assert self.fake is not None
        found = self.fake.catalogue.object_id(name)
        assert found is not None
        return found

    def change_catalogue(self, sql: str, *parameters: Any) -> None:
        """Change what our server's catalogue views say."""
        assert self.fake is not None
        with contextlib.closing(self.fake.open()) as connection:
            connection.execute(sql, parameters)


@contextlib.contextmanager
def mssql_database(*, tls: ssl.SSLContext | None = None) -> Iterator[Database]:
    """Give a new database; it ends with the block."""
    with real_server(NAME) as answers:
        make_loadable()
        if (address := address_from_environment("mssql")) and tls is None:
            answers("an address in the environment")
            with _new_on_real(_config_of(address)) as database:
                yield database
            return
        answers("our own server of its protocol on SQLite; nothing was tried on a real one")
        with tempfile.TemporaryDirectory(prefix="icetap-mssql-", ignore_cleanup_errors=True) as folder:
            server = Server(Path(folder))
            listener = TdsServer(server.login, tls=tls)
            try:
                yield Database(_own_config(server, listener), server, listener)
            finally:
                listener.close()


def _own_config(server: Server, listener: TdsServer) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": listener.port,
        "user": server.user,
        "password": server.password,
        "database": "shop",
        "encrypt": "optional",
    }


def _config_of(address: str) -> dict[str, Any]:
    """Settings from `mssql://user:password@host:port/?encrypt=…&trust_server_certificate=true`."""
    parts = urlsplit(address)
    options = dict(parse_qsl(parts.query))
    trusts = options.pop("trust_server_certificate", "false").lower() in {"true", "yes", "1"}
    return {
        "host": parts.hostname or "",
        "port": parts.port or 1433,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": parts.path.strip("/") or "master",
        "trust_server_certificate": trusts,
        **options,
    }


@contextlib.contextmanager
def _new_on_real(config: dict[str, Any]) -> Iterator[Database]:
    name = f"icetap_{uuid.uuid4().hex[:12]}"
    _run_on_real(config, f"CREATE DATABASE {name}")
    try:
        _run_on_real(config, f"ALTER DATABASE {name} SET ALLOW_SNAPSHOT_ISOLATION ON")
        yield Database({**config, "database": name})
    finally:
        _run_on_real(
            config, f"ALTER DATABASE {name} SET SINGLE_USER WITH ROLLBACK IMMEDIATE; DROP DATABASE {name}"
        )


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return f"N'{value}'" if isinstance(value, str) else str(value)


def _run_on_real(config: dict[str, Any], statement: str) -> None:
    import mssql_python

    parts = {
        "Server": f"{config['host']},{config['port']}",
        "Database": config["database"],
        "UID": config["user"],
        "PWD": "{" + config["password"].replace("}", "}}") + "}",
        "Encrypt": {"optional": "no", "no": "no"}.get(config.get("encrypt", "yes"), "yes"),
        "TrustServerCertificate": "yes" if config.get("trust_server_certificate") else "no",
    }
    text = ";".join(f"{name}={value}" for name, value in parts.items())
    connection = mssql_python.connect(text, autocommit=True)
    try:
        connection.execute(statement).close()
    finally:
        connection.close()
