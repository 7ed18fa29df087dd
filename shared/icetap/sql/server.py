"""Where a database server is and how to sign in: the settings that all taps of servers have."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from icetap.errors import ConfigurationError
from icetap.secrets.keys import environment_without_keys
from icetap.secrets.redaction import REDACTOR
from icetap.sql.chunks import MEMORY_LIMIT_MB
from icetap.sql.tunnel import SSH_TUNNEL_SETTING, SshTunnel, Tunnel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ADDRESS_ALIASES = {"dsn": "sqlalchemy_url", "connection_string": "sqlalchemy_url"}
"""For a tap's `setting_aliases`."""

_PARTS = ("host", "port", "user", "database")
_COMMAND_SECONDS = 60.0


def names_listed(value: Sequence[str] | str | None) -> list[str]:
    """Return the names of a setting that is a list, or a text: with commas, or of JSON as environments have it."""
    names: Sequence[str] = value.split(",") if isinstance(value, str) else value or ()
    if isinstance(value, str) and value.lstrip().startswith("["):
        with contextlib.suppress(ValueError):
            names = [str(name) for name in json.loads(value)]
    return [name.strip() for name in names if name.strip()]


def server_settings(*, scheme: str, default_port: int) -> dict[str, dict[str, Any]]:
    """Return the settings of a server: address, sign-in, tunnel, time-outs, parallel readers.

    Args:
        scheme: What a URL of such a server begins with, for the examples.
        default_port: What an empty `port` means.
    """
    url = {
        "type": ["string", "null"],
        "secret": True,
        "title": "URL",
        "description": "The whole address in one text, instead of host, port, user, password and database. "
        "Special characters in user and password are percent-encoded.",
        "examples": [f"{scheme}://reader:pa55@db.example.com:{default_port}/shop"],
    }
    return {
        **_address_settings(default_port),
        "sqlalchemy_url": url,
        **{
            alias: {**url, "title": "URL (alias)", "description": "Another name for `sqlalchemy_url`."}
            for alias in ADDRESS_ALIASES
        },
        "ssh_tunnel": SSH_TUNNEL_SETTING,
        **_RUN_SETTINGS,
    }


def _address_settings(default_port: int) -> dict[str, dict[str, Any]]:
    return {
        "host": {
            "type": ["string", "null"],
            "title": "Host",
            "description": "The server's name or address.",
            "examples": ["db.example.com"],
        },
        "port": {
            "type": ["integer", "null"],
            "minimum": 1,
            "maximum": 65_535,
            "title": "Port",
            "description": f"The server's port; {default_port} when empty.",
        },
        "user": {"type": ["string", "null"], "title": "User", "description": "Who signs in."},
        "password": {
            "type": ["string", "null"],
            "secret": True,
            "title": "Password",
            "description": "The user's password. Empty where the server asks for none.",
        },
        "password_command": {
            "type": ["string", "null"],
            "secret": True,
            "title": "Password command",
            "description": "A program that prints the password, such as one that makes short-lived tokens. "
            "It is started before each new connection, without a shell.",
            "examples": [
                "aws rds generate-db-auth-token --hostname db.example.com --port 5432 --username reader"
            ],
        },
        "database": {
            "type": ["string", "null"],
            "title": "Database",
            "description": "The database's name.",
            "examples": ["shop"],
        },
    }


_RUN_SETTINGS: dict[str, dict[str, Any]] = {
    "filter_schemas": {
        "type": ["array", "string", "null"],
        "items": {"type": "string", "minLength": 1},
        "title": "Schemas",
        "description": "Only tables of these schemas are streams; a text lists them with commas. Empty takes all that "
        "the user may see.",
        "examples": [["public", "sales"]],
    },
    "connect_timeout_seconds": {
        "type": "integer",
        "minimum": 1,
        "maximum": 3_600,
        "default": 30,
        "title": "Connect timeout",
        "description": "How long to wait for a new connection, in seconds.",
    },
    "max_retries": {
        "type": "integer",
        "minimum": 0,
        "maximum": 100,
        "default": 5,
        "title": "Retries",
        "description": "How often a lost connection is made anew before the run fails; the waits double, "
        "from half a second to 30 seconds. Progress resets the count.",
    },
    "max_parallel": {
        "type": "integer",
        "minimum": 1,
        "maximum": 32,
        "default": 2,
        "title": "Parallel connections",
        "description": "How many connections read at once.",
    },
    "memory_limit_mb": {
        "type": "integer",
        "minimum": 16,
        "default": MEMORY_LIMIT_MB,
        "title": "Memory for reading ahead",
        "description": "How much of the source's rows may wait, in MiB; what is read and written at the moment comes "
        "on top.",
    },
}


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where and how to connect; the only place that reads these settings.

    Attributes:
        host: The server's name, which its certificate is checked against. Where to connect is `dial`'s answer.
        port: The server's port, seen from the machine that reaches it.
        user: None where the settings name nobody.
        database: None where the settings name none.
        options: What follows the question mark of a URL.
    """

    host: str
    port: int
    user: str | None
    database: str | None
    options: Mapping[str, str]
    given_password: str | None = field(repr=False)
    password_command: tuple[str, ...] = field(repr=False)
    tunnel: Tunnel | None

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], *, schemes: Sequence[str], default_port: int
    ) -> ServerAddress:
        """Read the settings.

        Args:
            config: The tap's settings.
            schemes: What a URL may begin with, up to a `+driver`.
            default_port: The port where none is given.

        Raises:
            ConfigurationError: When the address is given twice, or not at all, or is no address.
        """
        parts = _given_parts(config, schemes=schemes)
        password, command = _sign_in(config, parts.pop("password", None))
        tunnel = SshTunnel.from_config(config.get("ssh_tunnel"))
        return cls(
            host=parts["host"],
            port=int(parts.get("port") or default_port),
            user=parts.get("user"),
            database=parts.get("database"),
            options=parts.get("options") or {},
            given_password=password,
            password_command=command,
            tunnel=None if tunnel is None else Tunnel(tunnel, timeout=config["connect_timeout_seconds"]),
        )

    def password(self) -> str | None:
        """Return the password for a new connection; asks the command each time if there is one.

        Raises:
            ConfigurationError: When the command fails.
        """
        return _answer_of(self.password_command) if self.password_command else self.given_password

    def dial(self) -> tuple[str, int]:
        """Return where to connect to: the server, or this machine's end of the tunnel, opened if it is not.

        Raises:
            ConfigurationError: When the tunnel's host is unknown or refuses us.
            RetriableError: When it does not answer.
        """
        return (self.host, self.port) if self.tunnel is None else self.tunnel.open(self.host, self.port)

    def close(self) -> None:
        """Close the tunnel, if one is open; `dial` opens it again."""
        if self.tunnel is not None:
            self.tunnel.close()


def _given_parts(config: Mapping[str, Any], *, schemes: Sequence[str]) -> dict[str, Any]:
    """Return host, port, user, password, database and options, from one of the two ways to give them."""
    url = config.get("sqlalchemy_url")
    given = [name for name in (*_PARTS, "password") if config.get(name) not in {None, ""}]
    if url and given:
        raise ConfigurationError(
            f"settings 'sqlalchemy_url' and '{given[0]}' both say where the server is; give the URL, or "
            "host, port, user, password and database, but not both"
        )
    if url:
        return _url_parts(url, schemes=schemes)
    if not config.get("host"):
        raise ConfigurationError(
            "setting 'host' is missing: give the server's name (with 'user', 'password' and 'database'), "
            "or the whole address as 'sqlalchemy_url'"
        )
    return {name: config[name] for name in given}


def _url_parts(url: str, *, schemes: Sequence[str]) -> dict[str, Any]:
    expected = f"expected {schemes[0]}://user:password@host:port/database"
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise ConfigurationError(
            f"setting 'sqlalchemy_url' is no URL; {expected}. Give a text of keywords as the settings host, port, "
            "user, password and database instead"
        )
    if scheme.partition("+")[0].lower() not in schemes:
        # A URL without user may have the password in front of the colon: only what looks like a scheme is shown.
        shown = f"begins with '{scheme}'" if scheme.replace("+", "").isalnum() else "has another scheme"
        raise ConfigurationError(f"setting 'sqlalchemy_url' {shown}; {expected}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigurationError(
            f"setting 'sqlalchemy_url' cannot be read: special characters (such as @ / : # ?) in user and "
            f"password are written as %XX; {expected}"
        ) from None
    if parts.fragment:
        raise ConfigurationError(
            "setting 'sqlalchemy_url' holds a '#', which ends an address; in a password it is written as %23"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    host = parts.netloc.rpartition("@")[2]
    # As written: `hostname` is in small letters, and a host may be the percent-encoded folder of a socket.
    host = str(parts.hostname) if host.startswith("[") else unquote(host.partition(":")[0])
    return {
        "host": host or options.pop("host", "localhost"),
        "port": port,
        "user": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "database": unquote(parts.path.removeprefix("/")) or None,
        "options": options,
    }


def _sign_in(config: Mapping[str, Any], password: str | None) -> tuple[str | None, tuple[str, ...]]:
    if password:
        REDACTOR.add(password)
    command = config.get("password_command")
    if not command:
        return password, ()
    if password:
        raise ConfigurationError(
            "a password and the setting 'password_command' are both given; give one of them"
        )
    try:
        words = tuple(shlex.split(command))
    except ValueError:
        raise ConfigurationError(
            "setting 'password_command' has a quotation mark that is never closed"
        ) from None
    if not words:
        raise ConfigurationError("setting 'password_command' names no program")
    return None, words


def _answer_of(command: Sequence[str]) -> str:
    """Run the program; its standard error is shown to nobody, since it may hold secrets."""
    what = f"setting 'password_command': the program '{command[0]}'"
    try:
        ended = subprocess.run(  # noqa: S603 - the owner's own program, without a shell
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_COMMAND_SECONDS,
            check=False,
            env=environment_without_keys(),
        )
    except OSError as error:
        raise ConfigurationError(
            f"{what} cannot be started: {error.strerror}. It is run without a shell: give its whole path, and "
            "no pipes or variables"
        ) from None
    except subprocess.TimeoutExpired:
        raise ConfigurationError(
            f"{what} did not end within {_COMMAND_SECONDS:.0f} s. Run it by hand; it must not ask for anything"
        ) from None
    if ended.returncode != 0:
        raise ConfigurationError(
            f"{what} ended with exit code {ended.returncode}. Run it by hand to see what it says"
        )
    password = ended.stdout.decode("utf-8", errors="replace").strip("\r\n")
    if not password or "\n" in password:
        found = "several lines" if password else "nothing"
        raise ConfigurationError(f"{what} printed {found}; expected one line, the password")
    REDACTOR.add(password)
    return password
