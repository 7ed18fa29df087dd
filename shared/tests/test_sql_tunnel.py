"""The SSH tunnel against asyncssh's own server: known hosts only, made anew when it breaks."""

import asyncio
import contextlib
import socket
import threading

import asyncssh
import pytest

from icetap.errors import ConfigurationError, RetriableError
from icetap.sql.server import ServerAddress

USER, PASSWORD = "tunnel", "sesame-77"


class Bastion:
    """An SSH server that forwards connections; one user, with a password or a key."""

    def __init__(self):
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.user_key = asyncssh.generate_private_key("ssh-ed25519")
        self.loop = asyncio.new_event_loop()
        self.connections = []
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.server = self.call(self._listen())
        self.port = self.server.get_port()

    async def _listen(self):
        bastion = self

        class Server(asyncssh.SSHServer):
            def connection_made(self, conn):
                bastion.connections.append(conn)

            def password_auth_supported(self):
                return True

            def validate_password(self, username, password):
                return (username, password) == (USER, PASSWORD)

            def public_key_auth_supported(self):
                return True

            def validate_public_key(self, username, key):
                return username == USER and key == bastion.user_key.convert_to_public()

            def connection_requested(self, *_):
                return True

        return await asyncssh.listen("127.0.0.1", 0, server_factory=Server, server_host_keys=[self.host_key])

    def call(self, action):
        return asyncio.run_coroutine_threadsafe(action, self.loop).result(10)

    def cut(self):
        for connection in self.connections:
            self.loop.call_soon_threadsafe(connection.abort)

    def stop(self):
        self.server.close()
        self.cut()
        self.loop.call_soon_threadsafe(self.loop.stop)


@pytest.fixture(scope="module")
def bastion():
    started = Bastion()
    yield started
    started.stop()


@pytest.fixture
def echo():
    """The server behind the tunnel: it answers each connection with the bytes that it got."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.sendall(b"echo " + connection.recv(100))

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


def public(key):
    return key.export_public_key().decode().strip()


def tunnelled(bastion, port, **options):
    given = {"host": "127.0.0.1", "port": bastion.port, "user": USER, **options}
    return ServerAddress.from_config(
        {"host": "127.0.0.1", "port": port, "ssh_tunnel": given, "connect_timeout_seconds": 10},
        schemes=("postgresql",),
        default_port=5432,
    )


def said_through(address):
    with socket.create_connection(address.dial(), timeout=10) as connection:
        connection.sendall(b"hello")
        return connection.recv(100)


@contextlib.contextmanager
def opened(address):
    try:
        yield address
    finally:
        address.close()


@pytest.mark.parametrize(
    "trust",
    [
        pytest.param(lambda key, _: {"host_key": public(key)}, id="host key"),
        pytest.param(lambda key, _: {"host_key": key.get_fingerprint()}, id="fingerprint"),
        pytest.param(
            lambda key, folder: {"known_hosts": str(folder / "known_hosts")}, id="file of known hosts"
        ),
    ],
)
def test_bytes_go_through_a_tunnel_to_a_known_host(bastion, echo, tmp_path, trust):
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{bastion.port} {public(bastion.host_key)}\n")
    known = trust(bastion.host_key, tmp_path)

    with opened(tunnelled(bastion, echo, password=PASSWORD, **known)) as address:
        assert said_through(address) == b"echo hello"


@pytest.mark.parametrize("passphrase", [None, "open up"], ids=["plain", "encrypted"])
def test_a_private_key_opens_a_tunnel(bastion, echo, passphrase):
    key = bastion.user_key.export_private_key("openssh", passphrase=passphrase, rounds=64).decode()
    given = {"private_key": key, "private_key_password": passphrase}

    with opened(tunnelled(bastion, echo, host_key=public(bastion.host_key), **given)) as address:
        assert said_through(address) == b"echo hello"


def test_the_names_of_another_tap_are_taken(bastion, echo):
    given = {"enable": True, "username": USER, "user": None, "password": PASSWORD}

    with opened(tunnelled(bastion, echo, host_key=public(bastion.host_key), **given)) as address:
        assert said_through(address) == b"echo hello"


def test_a_tunnel_that_is_not_enabled_is_none(bastion):
    assert tunnelled(bastion, 1, enable=False).dial() == ("127.0.0.1", 1)


@pytest.mark.parametrize(
    "trust",
    [
        pytest.param(lambda other, folder: {"known_hosts": str(folder / "empty")}, id="unknown host"),
        pytest.param(lambda other, folder: {"host_key": public(other)}, id="another key"),
        pytest.param(lambda other, folder: {"host_key": other.get_fingerprint()}, id="another fingerprint"),
    ],
)
def test_a_host_that_is_not_known_gets_no_password(bastion, tmp_path, trust):
    (tmp_path / "empty").write_text("")
    other = asyncssh.generate_private_key("ssh-ed25519")

    with pytest.raises(ConfigurationError, match=r"host key of the SSH server .*ssh-keyscan"):
        tunnelled(bastion, 1, password=PASSWORD, **trust(other, tmp_path)).dial()


def test_a_wrong_password_is_refused_by_name(bastion):
    with pytest.raises(ConfigurationError, match="refuses the user 'tunnel'") as error:
        tunnelled(bastion, 1, host_key=public(bastion.host_key), password="wrong-one").dial()

    assert "wrong-one" not in str(error.value)


def test_a_key_that_cannot_be_read_is_named(bastion):
    locked = bastion.user_key.export_private_key("openssh", passphrase="open up", rounds=64).decode()

    with pytest.raises(ConfigurationError, match=r"'ssh_tunnel\.private_key_password'"):
        tunnelled(bastion, 1, host_key=public(bastion.host_key), private_key=locked).dial()


def test_a_server_that_is_away_may_come_back():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    away = ServerAddress.from_config(
        {
            "host": "h",
            "ssh_tunnel": {"host": "127.0.0.1", "port": port, "user": USER, "password": PASSWORD},
            "connect_timeout_seconds": 2,
        },
        schemes=("postgresql",),
        default_port=5432,
    )

    with pytest.raises(RetriableError, match="does not answer"):
        away.dial()


def test_a_broken_tunnel_is_made_anew(bastion, echo):
    with opened(tunnelled(bastion, echo, host_key=public(bastion.host_key), password=PASSWORD)) as address:
        assert said_through(address) == b"echo hello"
        before = len(bastion.connections)
        bastion.cut()
        address.tunnel._wait(address.tunnel._connection.wait_closed())

        assert said_through(address) == b"echo hello"
        assert len(bastion.connections) == before + 1
