"""An SSH tunnel to a server that only another machine reaches; the extra `icetap[ssh]`.

No host key is accepted that was not known before: the settings or a `known_hosts` file name it.
https://asyncssh.readthedocs.io/en/latest/api.html (read 2026-11-21)
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from icetap.errors import ConfigurationError, RetriableError
from icetap.secrets.redaction import REDACTOR
from icetap.settings import did_you_mean
from icetap.sql.tls import pem_text

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    import asyncssh

T = TypeVar("T")

KEEPALIVE_SECONDS = 30.0
_CLOSE_SECONDS = 5.0

SSH_TUNNEL_SETTING: dict[str, Any] = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "title": "SSH tunnel",
    "description": "A machine through which the server is reached. Its host key must be known.",
    "examples": [{"host": "bastion.example.com", "user": "tunnel", "private_key": "~/.ssh/id_ed25519"}],
    "properties": {
        "enable": {
            "type": "boolean",
            "default": True,
            "title": "Enabled",
            "description": "False connects directly.",
        },
        "host": {"type": "string", "title": "Host", "description": "The machine's name or address."},
        "port": {
            "type": "integer",
            "minimum": 1,
            "maximum": 65_535,
            "default": 22,
            "title": "Port",
            "description": "The port of its SSH server.",
        },
        "user": {"type": "string", "title": "User", "description": "Who signs in there."},
        "username": {"type": "string", "title": "User (alias)", "description": "Another name for `user`."},
        "password": {
            "type": ["string", "null"],
            "secret": True,
            "title": "Password",
            "description": "Of that user. Without one and without a key, the keys in ~/.ssh and the agent's are tried.",
        },
        "private_key": {
            "type": ["string", "null"],
            "secret": True,
            "title": "Private key",
            "description": "The key's text, or the path of its file.",
        },
        "private_key_password": {
            "type": ["string", "null"],
            "secret": True,
            "title": "Password of the private key",
            "description": "Where the key is encrypted.",
        },
        "host_key": {
            "type": ["string", "null"],
            "title": "Host key",
            "description": "The machine's public key (`ssh-ed25519 AAAA…`), or its fingerprint (`SHA256:…`).",
        },
        "known_hosts": {
            "type": ["string", "null"],
            "title": "Known hosts",
            "description": "A file of known host keys; ~/.ssh/known_hosts when empty.",
        },
    },
}


@dataclass(frozen=True, slots=True)
class SshTunnel:
    """The settings of a tunnel."""

    host: str
    port: int
    user: str
    password: str | None = field(repr=False)
    private_key: str | None = field(repr=False)
    private_key_password: str | None = field(repr=False)
    host_key: str | None
    known_hosts: Path | None

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | None) -> SshTunnel | None:
        """Read the setting `ssh_tunnel`; None where there is no tunnel.

        Raises:
            ConfigurationError: When something is missing or unknown.
        """
        if not config or config.get("enable") is False:
            return None
        known = SSH_TUNNEL_SETTING["properties"]
        if unknown := sorted(set(config) - set(known)):
            raise ConfigurationError(
                f"setting 'ssh_tunnel' has no option '{unknown[0]}'{did_you_mean(unknown[0], known)}"
            )
        user = config.get("user") or config.get("username")
        for name, value in (("host", config.get("host")), ("user", user)):
            if not value:
                raise ConfigurationError(f"setting 'ssh_tunnel.{name}' is missing")
        if config.get("host_key") and config.get("known_hosts"):
            raise ConfigurationError(
                "settings 'ssh_tunnel.host_key' and 'ssh_tunnel.known_hosts' both name keys; give one of them"
            )
        for name in ("password", "private_key", "private_key_password"):
            if config.get(name):
                REDACTOR.add(config[name])
        known_hosts = config.get("known_hosts")
        return cls(
            host=config["host"],
            port=int(config.get("port") or 22),
            user=str(user),
            password=config.get("password") or None,
            private_key=config.get("private_key") or None,
            private_key_password=config.get("private_key_password") or None,
            host_key=config.get("host_key") or None,
            known_hosts=Path(known_hosts).expanduser() if known_hosts else None,
        )


class Tunnel:
    """One SSH connection, and a port of this machine that leads through it; opened when it is needed.

    Args:
        settings: Where and how to sign in.
        timeout: Seconds to wait for the SSH server.
    """

    def __init__(self, settings: SshTunnel, *, timeout: float) -> None:
        self._settings = settings
        self._timeout = timeout
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: asyncssh.SSHClientConnection | None = None
        self._ends: dict[tuple[str, int], asyncssh.SSHListener] = {}

    def open(self, host: str, port: int) -> tuple[str, int]:
        """Return this machine's end of the way to a server; a broken tunnel is made anew.

        Raises:
            ConfigurationError: When the machine's key is unknown, or it refuses us.
            RetriableError: When it does not answer.
        """
        with self._lock:
            if self._connection is not None and self._connection.is_closed():
                self._connection = None
                self._ends.clear()
            if self._connection is None:
                self._connection = self._wait(self._connected())
            if (host, port) not in self._ends:
                self._ends[host, port] = self._wait(_forwarded(self._connection, host, port=port))
            return "127.0.0.1", self._ends[host, port].get_port()

    def close(self) -> None:
        """Close what is open."""
        with self._lock:
            connection, self._connection = self._connection, None
            self._ends.clear()
            if connection is not None:
                connection_, loop = connection, self._running_loop()
                loop.call_soon_threadsafe(connection_.abort)

    # --- one event loop in a thread of its own --------------------------------------------------------

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="icetap-tunnel", daemon=True).start()
            atexit.register(self._stop)
        return self._loop

    def _wait(self, action: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(action, self._running_loop()).result()

    def _stop(self) -> None:
        """End the thread before the interpreter ends: else asyncio complains on standard error."""
        self.close()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)

    # --- signing in ---------------------------------------------------------------------------------

    async def _connected(self) -> asyncssh.SSHClientConnection:
        """Sign in.

        Raises:
            ConfigurationError: When the key of the host is unknown or the sign-in is refused.
            RetriableError: When nobody answers.
        """
        try:
            import asyncssh  # noqa: PLC0415 - an extra
        except ImportError:
            raise ConfigurationError(
                "setting 'ssh_tunnel' needs the package asyncssh: install the extra `icetap[ssh]`"
            ) from None
        asyncssh.set_log_level("WARNING")
        options = self._options()
        where = f"{self._settings.host}:{self._settings.port}"
        try:
            return await asyncssh.connect(self._settings.host, self._settings.port, **options)
        except asyncssh.HostKeyNotVerifiable:
            raise ConfigurationError(self._unknown_host()) from None
        except asyncssh.PermissionDenied:
            raise ConfigurationError(
                f"the SSH server {where} refuses the user '{self._settings.user}'. Check 'ssh_tunnel.user' and "
                "'ssh_tunnel.password' or 'ssh_tunnel.private_key', and that the public key is authorized there"
            ) from None
        except (OSError, asyncssh.Error, TimeoutError) as error:
            kind = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise RetriableError(
                f"the SSH server {where} does not answer ({kind}). Check 'ssh_tunnel.host' and 'ssh_tunnel.port'"
            ) from error

    def _options(self) -> dict[str, Any]:
        settings = self._settings
        options: dict[str, Any] = {
            "username": settings.user,
            "config": None,
            "keepalive_interval": KEEPALIVE_SECONDS,
            "connect_timeout": self._timeout,
            "login_timeout": self._timeout,
            "known_hosts": self._known_hosts(),
        }
        if settings.password:
            options["password"] = settings.password
        if settings.private_key:
            options["client_keys"] = [self._private_key()]
        if settings.password or settings.private_key:
            options["agent_path"] = None
            options.setdefault("client_keys", None)
        if settings.host_key and settings.host_key.startswith("SHA256:"):
            options["client_factory"] = _client_for(settings.host_key)
        return options

    def _known_hosts(self) -> Any:
        """Return the keys to trust, in asyncssh's form: trusted ones, authorities, revoked ones."""
        import asyncssh  # noqa: PLC0415 - an extra

        settings = self._settings
        if settings.known_hosts is not None:
            if not settings.known_hosts.is_file():
                raise ConfigurationError("setting 'ssh_tunnel.known_hosts': there is no such file")
            return str(settings.known_hosts)
        if settings.host_key is None:
            default = Path("~/.ssh/known_hosts").expanduser()
            return str(default) if default.is_file() else ([], [], [])
        if settings.host_key.startswith("SHA256:"):
            return ([], [], [])
        try:
            return ([asyncssh.import_public_key(settings.host_key)], [], [])
        except (asyncssh.KeyImportError, ValueError):
            raise ConfigurationError(
                "setting 'ssh_tunnel.host_key' is no public key; expected 'ssh-ed25519 AAAA…' or 'SHA256:…'"
            ) from None

    def _private_key(self) -> asyncssh.SSHKey:
        import asyncssh  # noqa: PLC0415 - an extra

        settings = self._settings
        text = pem_text(str(settings.private_key), setting="ssh_tunnel.private_key")
        try:
            return asyncssh.import_private_key(text, settings.private_key_password)
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError):
            raise ConfigurationError(
                "setting 'ssh_tunnel.private_key' cannot be read: expected a private key in OpenSSH or PEM form"
                + (
                    ", and 'ssh_tunnel.private_key_password' to be its password"
                    if settings.private_key_password
                    else "; an encrypted one needs 'ssh_tunnel.private_key_password'"
                )
            ) from None

    def _unknown_host(self) -> str:
        host, port = self._settings.host, self._settings.port
        return (
            f"the host key of the SSH server {host}:{port} is not the known one, or none is known. Ask its owner for "
            f"the fingerprint and set 'ssh_tunnel.host_key', or add the key that `ssh-keyscan -p {port} {host}` "
            "prints, once compared, to the file of 'ssh_tunnel.known_hosts'"
        )


async def _forwarded(
    connection: asyncssh.SSHClientConnection, host: str, *, port: int
) -> asyncssh.SSHListener:
    return await connection.forward_local_port("127.0.0.1", 0, host, port)


def _client_for(fingerprint: str) -> type[asyncssh.SSHClient]:
    """Return a client that trusts the one key with this fingerprint."""
    import asyncssh  # noqa: PLC0415 - an extra

    class Client(asyncssh.SSHClient):
        def validate_host_public_key(self, _host: str, _addr: str, _port: int, key: asyncssh.SSHKey) -> bool:
            return key.get_fingerprint("sha256") == fingerprint.rstrip("=")

    return Client
