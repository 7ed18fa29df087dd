"""Where the server is, how to sign in, how the connection is protected, and what each session is told."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pymysql
from typing_extensions import override

from icetap.errors import ConfigurationError
from icetap.settings import did_you_mean
from icetap.sql.server import ServerAddress
from icetap.sql.tls import pem_file
from tap_mysql import wire
from tap_mysql.errors import translated

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

LOGGER = logging.getLogger("tap-mysql")

SCHEMES = ("mysql", "mariadb")
DEFAULT_PORT = 3306
SSL_MODES = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")
_URL_OPTIONS = ("ssl_mode", "ssl_ca", "ssl_cert", "ssl_key", "ssl_server_name", "unix_socket")
_HARMLESS_OPTIONS = frozenset({"charset", "use_unicode", "local_infile"})

# A loader may pause for minutes: the server must not hang up meanwhile (net_write_timeout: 60 s by default).
_SESSION = {
    "wait_timeout": 28_800,
    "net_read_timeout": 3_600,
    "net_write_timeout": 3_600,
    "innodb_lock_wait_timeout": 3_600,
    "lock_wait_timeout": 60,  # for an ALTER TABLE to end; a day by default
}
_STATEMENT_LIMIT = {True: "max_statement_time", False: "max_execution_time"}
"""MariaDB's name and MySQL's name of the time limit for statements."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server; the only place that reads these settings.

    `database` is where unqualified names in queries are looked for.
    """

    address: ServerAddress
    ssl_mode: str
    ssl_files: Mapping[str, str]
    unix_socket: str | None
    session_sqls: tuple[str, ...]
    connect_timeout_seconds: int
    ssl_server_name: str | None = None
    max_parallel: int = 1
    _told: set[str] = field(default_factory=set, repr=False)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Server:
        """Read the settings.

        Raises:
            ConfigurationError: When they contradict each other, or a certificate is not there.
        """
        address = ServerAddress.from_config(config, schemes=SCHEMES, default_port=DEFAULT_PORT)
        given = {
            **_known(address.options),
            **{name: config[name] for name in _URL_OPTIONS if config.get(name)},
        }
        mode = str(given.get("ssl_mode", "PREFERRED")).upper()
        if mode not in SSL_MODES:
            raise ConfigurationError(
                f"setting 'ssl_mode' is '{mode}'; expected one of {', '.join(SSL_MODES)}"
            )
        files = {
            name: str(pem_file(given[name], setting=name))
            for name in ("ssl_ca", "ssl_cert", "ssl_key")
            if given.get(name)
        }
        if files and mode == "DISABLED":
            raise ConfigurationError(
                f"settings 'ssl_mode: DISABLED' and '{next(iter(files))}' contradict each other"
            )
        return cls(
            address=address,
            ssl_mode=mode,
            ssl_files=files,
            unix_socket=given.get("unix_socket"),
            session_sqls=tuple(config.get("session_sqls") or ()),
            connect_timeout_seconds=int(config["connect_timeout_seconds"]),
            ssl_server_name=given.get("ssl_server_name"),
            max_parallel=int(config.get("max_parallel", 1)),
        )

    @property
    def where(self) -> str:
        """The server, as a message may show it."""
        return f"{self.address.host}:{self.address.port}"

    def open(self) -> Any:
        """Open a connection of PyMySQL's, in UTC, with time limits that a slow loader can live with.

        Raises:
            ConfigurationError: When the server refuses it.
            RetriableError: When the server does not answer.
        """
        host, port = self.address.dial()
        with translated(self.where):
            connection = pymysql.connect(
                host=host,
                port=port,
                user=self.address.user,
                password=self.address.password() or "",
                database=self.address.database,
                charset="utf8mb4",
                connect_timeout=self.connect_timeout_seconds,
                program_name="icetap",
                unix_socket=self.unix_socket,
                auth_plugin_map={b"mysql_clear_password": ClearPassword},
                **self._tls(),
            )
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def _tls(self) -> dict[str, Any]:
        if self.ssl_mode == "DISABLED":
            return {"ssl_disabled": True}
        if self.ssl_mode == "PREFERRED" and not self.ssl_files:
            return {}  # PyMySQL then takes TLS where the server has it
        return {
            "ssl": _context(self.ssl_mode, self.ssl_files, name=self.ssl_server_name or self.address.host)
        }

    def _prepare(self, connection: Any) -> None:
        wire.keep_alive(connection)
        is_mariadb = is_mariadb_version(connection.get_server_info())
        connection.query("SET SESSION time_zone = '+00:00'")
        for name, value in {**_SESSION, _STATEMENT_LIMIT[is_mariadb]: 0}.items():
            self._set(connection, f"SET SESSION {name} = {value}")
        for statement in self.session_sqls:
            self._set(connection, statement)

    def _set(self, connection: Any, statement: str) -> None:
        """Set a session variable; a server that does not let us is told of once."""
        try:
            connection.query(statement)
        except pymysql.Error as error:
            if not connection.open:
                raise
            if statement not in self._told:
                self._told.add(statement)
                LOGGER.warning("%s: the server refused '%s' (%s)", self.where, statement, error.args[0])


def is_mariadb_version(version: str) -> bool:
    """Say whether a version's text is MariaDB's."""
    return "mariadb" in version.lower()


def _known(options: Mapping[str, str]) -> dict[str, str]:
    for name in options:
        if name not in _URL_OPTIONS and name not in _HARMLESS_OPTIONS:
            raise ConfigurationError(
                f"setting 'sqlalchemy_url' has the option '{name}'{did_you_mean(name, _URL_OPTIONS)}; "
                f"known are {', '.join(_URL_OPTIONS)}"
            )
    return {name: value for name, value in options.items() if name in _URL_OPTIONS}


class NamedContext(ssl.SSLContext):
    """Checks a certificate against the server's own name, also at the end of a tunnel."""

    server_name: str

    @override
    def wrap_socket(self, sock: socket.socket, *args: Any, **options: Any) -> ssl.SSLSocket:
        return super().wrap_socket(sock, *args, **{**options, "server_hostname": self.server_name})


def _context(mode: str, files: Mapping[str, str], *, name: str) -> NamedContext:
    context = NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.server_name = name
    context.check_hostname = mode == "VERIFY_IDENTITY"
    # Certificates that MySQL makes for itself lack what the strict reading of X.509 asks for.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if mode in {"VERIFY_CA", "VERIFY_IDENTITY"}:
        context.verify_mode = ssl.CERT_REQUIRED
        if ca := files.get("ssl_ca"):
            context.load_verify_locations(ca)
        else:
            context.load_default_certs()
    else:
        context.verify_mode = ssl.CERT_NONE
    if certificate := files.get("ssl_cert"):
        context.load_cert_chain(certificate, files.get("ssl_key"))
    return context


class ClearPassword:
    """Signs in with the password as it is (LDAP, cloud tokens), but never over an open wire."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def authenticate(self, _packet: Any) -> Any:
        """Send the password.

        Raises:
            ConfigurationError: When the connection has no TLS.
        """
        connection = self._connection
        if not wire.is_protected(connection):
            raise ConfigurationError(
                "the server asks for the password in clear text, and the connection has no TLS. "
                "Set 'ssl_mode' to VERIFY_IDENTITY."
            )
        connection.write_packet(connection.password + b"\0")
        return wire.packet(connection)
