"""Relays that stand before a real server of any protocol and spoil the connection, as `icetap.testing.proxies` does it.

`TcpProxy` cuts the connection at a statement, `LossyProxy` in the middle of an answer; `HoldingProxy` lets a client wait.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Self

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 2**16


class _Relay:
    """Takes connections for a server on this machine while it is entered; a subclass passes their bytes."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        end_connection(self._socket)
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                server = socket.create_connection(("127.0.0.1", self._upstream))
                self._took(client, server)
                threading.Thread(target=self._questions, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answers, args=(server, client), daemon=True).start()

    def _took(self, client: socket.socket, server: socket.socket) -> None:
        """Hear of a new connection."""

    def _questions(self, client: socket.socket, server: socket.socket) -> None:
        for block in _blocks(client):
            with contextlib.suppress(OSError):
                server.sendall(block)
        end_connection(server)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        for block in _blocks(server):
            with contextlib.suppress(OSError):
                client.sendall(block)
        end_connection(client)


class TcpProxy(_Relay):
    """Passes bytes to a server on this machine, and cuts a connection when a client says a certain thing.

    Args:
        port: The server's port.
        after: The cut is armed on a connection once the client has sent these bytes.
        at: The bytes at which it is cut.
        times: How often.
        answer_only: Let the server hear them and do what they ask; only its answer is lost.
        vanishes: After the last cut nobody can connect any more.
    """

    def __init__(
        self,
        port: int,
        *,
        after: bytes,
        at: bytes,
        times: int = 1,
        answer_only: bool = False,
        vanishes: bool = False,
    ) -> None:
        super().__init__(port)
        self._after, self._at = after, at
        self._answer_only = answer_only
        self._vanishes = vanishes
        self.left = times
        """How many cuts are still to come."""

    @override
    def _questions(self, client: socket.socket, server: socket.socket) -> None:
        armed = False
        for block in _blocks(client):
            armed = armed or self._after in block
            if armed and self._at in block and self.left > 0:
                self.left -= 1
                if self._vanishes and not self.left:
                    end_connection(self._socket)
                if self._answer_only:
                    # From here on nothing reaches the client; the server's word is waited for, then all ends.
                    end_connection(client)
                    server.sendall(block)
                    time.sleep(0.3)
                break
            with contextlib.suppress(OSError):
                server.sendall(block)
        end_connection(client)
        end_connection(server)


class LossyProxy(_Relay):
    """Passes bytes to a server on this machine, and cuts connections in the middle of what the server answers.

    Args:
        port: The server's port.
        after_bytes: A connection is cut once it has brought so many bytes of answers.
        times: How many connections are cut; later ones pass.
    """

    def __init__(self, port: int, *, after_bytes: int, times: int = 1) -> None:
        super().__init__(port)
        self._after_bytes = after_bytes
        self.left = times
        """How many cuts are still to come."""
        self.connections = 0
        """How many connections were made."""
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()

    def vanish(self) -> None:
        """Cut every connection that is open now, and take no new one."""
        end_connection(self._socket)
        with self._lock:
            for one in self._open:
                end_connection(one)

    @override
    def _took(self, client: socket.socket, server: socket.socket) -> None:
        with self._lock:
            self.connections += 1
            self._open |= {client, server}

    @override
    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        brought = 0
        for block in _blocks(server):
            brought += len(block)
            if brought >= self._after_bytes and self._takes_one():
                break
            with contextlib.suppress(OSError):
                client.sendall(block)
        end_connection(client)
        end_connection(server)

    def _takes_one(self) -> bool:
        with self._lock:
            if self.left <= 0:
                return False
            self.left -= 1
            return True


class HoldingProxy(_Relay):
    """Passes bytes to a server on this machine, but keeps what one connection says: its client waits for an answer.

    Args:
        port: The server's port.
        connection: Which one, counted from 1.
    """

    def __init__(self, port: int, *, connection: int) -> None:
        super().__init__(port)
        self._connection = connection
        self._count = 0
        self._lock = threading.Lock()
        self.is_holding = threading.Event()
        """Set once its client has said something."""

    @override
    def _questions(self, client: socket.socket, server: socket.socket) -> None:
        with self._lock:
            self._count += 1
            is_held = self._count == self._connection
        if is_held:
            for _ in _blocks(client):
                self.is_holding.set()
        else:
            super()._questions(client, server)
        end_connection(server)


def _blocks(source: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(OSError):
        while block := source.recv(_BLOCK):
            yield block


def end_connection(one: socket.socket) -> None:
    """Tell the other side that nothing more comes; it may be gone already."""
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
