"""How to reach the server: libpq's keywords from the settings, and what every session begins with."""

from __future__ import annotations

import contextlib
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from icetap.errors import ConfigurationError, SkippableError
from icetap.sql.dialect import SnapshotGoneError
from icetap.sql.server import ServerAddress
from icetap.sql.tls import pem_file

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

SCHEMES = ("postgresql", "postgres")
DEFAULT_PORT = 5432
_APPLICATION = "icetap tap-postgres"
_CHECK_INTERVAL = "5s"
_KEEPALIVES = {
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "5",
}
_PEM_FILES = {
    "ssl_certificate_authority": "sslrootcert",
    "ssl_client_certificate": "sslcert",
    "ssl_client_private_key": "sslkey",
}


@dataclass
class Server:
    """One database: where it is, and how to begin a session there."""

    address: ServerAddress
    keywords: Mapping[str, str] = field(repr=False)
    statement_timeout_ms: int
    lock_timeout_ms: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Server:
        """Read the settings.

        Raises:
            ConfigurationError: When they are incomplete, or name a file that is not there.
        """
        address = ServerAddress.from_config(config, schemes=SCHEMES, default_port=DEFAULT_PORT)
        keywords = {
            "application_name": _APPLICATION,
            "client_encoding": "UTF8",
            "connect_timeout": str(config["connect_timeout_seconds"]),
            "sslmode": config["sslmode"],
            **_KEEPALIVES,
        }
        for setting, keyword in _PEM_FILES.items():
            if value := config.get(setting):
                keywords[keyword] = "system" if value == "system" else str(pem_file(value, setting=setting))
        return cls(
            address,
            {**keywords, **address.options},
            statement_timeout_ms=config["statement_timeout_seconds"] * 1000,
            lock_timeout_ms=config["lock_timeout_seconds"] * 1000,
        )

    @property
    def name(self) -> str:
        """The server and the database, for messages."""
        return (
            f"PostgreSQL at {self.address.host}:{self.address.port}, database '{self.address.database or ''}'"
        )

    def conninfo(self) -> str:
        """Return libpq's connection string, for one new connection; it holds the password.

        Raises:
            ConfigurationError: When the password's program or the tunnel does not work.
        """
        host, port = self.address.dial()
        # The certificate is checked against the server's own name, wherever the tunnel begins.
        place = {"host": self.address.host, "port": str(port)}
        if host != self.address.host:
            place["host" if not _is_ip_address(host) else "hostaddr"] = host
        given = {
            **place,
            "user": self.address.user,
            "dbname": self.address.database,
            "password": self.address.password(),
            **self.keywords,
        }
        return " ".join(f"{name}={_value(value)}" for name, value in given.items() if value)

    def session_settings(self) -> dict[str, str]:
        """Return what is set for the transaction: behind a pool, nothing may outlive it."""
        return {
            "TimeZone": "UTC",
            "DateStyle": "ISO",
            "IntervalStyle": "iso_8601",
            "bytea_output": "hex",
            "extra_float_digits": "3",
            "standard_conforming_strings": "on",
            "statement_timeout": str(self.statement_timeout_ms),
            "lock_timeout": str(self.lock_timeout_ms),
            "idle_in_transaction_session_timeout": "0",
            "jit": "off",
        }

    def session_sql(self) -> str:
        """Return one SELECT that sets all of them."""
        settings = self.session_settings().items()
        # A database without an encoding would refuse a whole read for one text that is no UTF-8.
        encoding = "CASE current_setting('server_encoding') WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END"
        # Since 14 the server looks whether we are still there, and ends what nobody waits for any more.
        watch = (
            "CASE WHEN current_setting('server_version_num')::int >= 140000 "
            f"THEN set_config('client_connection_check_interval', '{_CHECK_INTERVAL}', true) END"
        )
        return "SELECT " + ", ".join(
            [f"set_config('client_encoding', {encoding}, true)", watch]
            + [f"set_config('{name}', '{value}', true)" for name, value in settings]
        )


def begin_session(execute: Callable[[str], object], server: Server, snapshot: str | None) -> None:
    """Let a new transaction read one snapshot, and nothing else, with the settings of all sessions.

    Args:
        execute: Runs a statement in that transaction.
        server: Has the settings.
        snapshot: The name of another session's snapshot; None takes a new one.

    Raises:
        SnapshotGoneError: When there is no such snapshot any more.
    """
    with _snapshot_gone(snapshot):
        for statement in _begin_statements(snapshot):
            execute(statement)
    execute(server.session_sql())


def _begin_statements(snapshot: str | None) -> list[str]:
    """Return what makes an open transaction read one snapshot, and nothing else.

    https://www.postgresql.org/docs/current/sql-set-transaction.html (read 2026-11-21)

    Raises:
        ConfigurationError: When the name cannot be one of the server's.
    """
    statements = ["SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"]
    if snapshot is not None:
        if not all(character.isalnum() or character in "-_" for character in snapshot):
            raise ConfigurationError("the name of the snapshot is none that PostgreSQL gives")
        statements.append(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
    return statements


@contextlib.contextmanager
def _snapshot_gone(snapshot: str | None) -> Generator[None, None, None]:
    """Tell a snapshot that is not there any more from other errors: the session that exported it has ended."""
    try:
        yield
    except (ConfigurationError, SkippableError) as error:
        if snapshot is None:
            raise
        raise SnapshotGoneError(f"the shared snapshot is gone: {error}") from error


def _value(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
