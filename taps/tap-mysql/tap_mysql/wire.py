"""What PyMySQL keeps to itself and the binary protocol needs: commands, packets, the socket.

Its versions 1.1.1 to 1.2 have these (read 2026-11-21); the tests of statements fail when one changes.
"""

# ruff: noqa: SLF001 - this is the one place that knows them

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

from pymysql.protocol import FieldDescriptorPacket, MysqlPacket

if TYPE_CHECKING:
    from io import BufferedReader

    from tap_mysql.packets import Source

_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}


def send(connection: Any, command: int, payload: str | bytes) -> None:
    """Send a command."""
    connection._execute_command(command, payload)


def packet(connection: Any) -> MysqlPacket:
    """Return the next packet.

    Raises:
        pymysql.Error: When it is an error.
    """
    return connection._read_packet()


def description(connection: Any) -> FieldDescriptorPacket:
    """Return the next packet, which describes a column."""
    return connection._read_packet(FieldDescriptorPacket)


def rest(connection: Any) -> tuple[Source, int]:
    """Return where the bytes after the last packet come from, and what the next packet counts."""
    return _Socket(connection._rfile), connection._next_seq_id


class _Socket:
    """Takes first what the driver's buffer holds, then from the socket itself.

    A `readinto1` of the buffer waits for more when it holds less than was asked for (Python 3.11 to 3.13).
    """

    def __init__(self, buffered: BufferedReader) -> None:
        self._buffered: BufferedReader | None = buffered
        self._raw = buffered.raw

    def readinto(self, buffer: memoryview, /) -> int:
        """Return the number of bytes that came, 0 at the end."""
        if self._buffered is None:
            return self._raw.readinto(buffer) or 0
        piece = self._buffered.read1(len(buffer))
        self._buffered = None
        buffer[: len(piece)] = piece
        return len(piece)


def is_protected(connection: Any) -> bool:
    """Say whether nobody on the way can read along."""
    return bool(connection._secure)


def keep_alive(connection: Any) -> None:
    """Let the system notice within two minutes when the other side is gone without a word."""
    raw = connection._sock
    if raw.family == getattr(socket, "AF_UNIX", None):
        return
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def hang_up(connection: Any) -> None:
    """Close at once, without the good-bye that waits for what is still to come."""
    connection._force_close()


def interrupt(connection: Any) -> None:
    """End a read that waits in another thread."""
    with contextlib.suppress(OSError, AttributeError):  # it is closed already
        connection._sock.shutdown(socket.SHUT_RDWR)
