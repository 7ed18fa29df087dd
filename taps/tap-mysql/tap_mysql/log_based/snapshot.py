"""Connections that see the tables as they were at one place of the log."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from icetap.errors import RetriableError
from icetap.sql.dialect import SnapshotGoneError
from tap_mysql.log_based.positions import Coordinates

if TYPE_CHECKING:
    from collections.abc import Callable

    from icetap.sql.dialect import Connection
    from tap_mysql.connection import MySQLConnection


class SnapshotConnections:
    """Lends the connections of one snapshot to one reader after the other; used from several threads.

    Args:
        connections: All see the same.
    """

    def __init__(self, connections: list[MySQLConnection]) -> None:
        self._all = connections
        self._free = list(connections)
        self._lock = threading.Lock()

    def lend(self) -> LentConnection:
        """Lend a connection.

        Raises:
            RetriableError: When too many were lost: another snapshot has to be taken.
        """
        with self._lock:
            while self._free:
                connection = self._free.pop()
                if connection.is_open:
                    return LentConnection(connection, self._take_back, is_alone=len(self._all) == 1)
        raise RetriableError("a connection was lost, and with it its part of the snapshot")

    def _take_back(self, connection: MySQLConnection) -> None:
        with self._lock:
            self._free.append(connection)

    def close(self) -> None:
        """Close them all."""
        for each in self._all:
            each.close()


class LentConnection:
    """A connection of the snapshot; closing it gives it back.

    `is_alone` says that there is no other one, so that several readers must not want one each.
    """

    def __init__(
        self, connection: MySQLConnection, give_back: Callable[[MySQLConnection], None], *, is_alone: bool
    ) -> None:
        self._connection = connection
        self._give_back = give_back
        self._is_lent = True
        self.is_alone = is_alone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def close(self) -> None:
        """Give the connection back."""
        if self._is_lent:
            self._is_lent = False
            self._give_back(self._connection)


def shared_by(
    leader: MySQLConnection, connect: Callable[[str], MySQLConnection], *, count: int
) -> list[MySQLConnection]:
    """Return a connection and others that see the same, where the server can tell; else that one alone.

    Args:
        leader: Its snapshot is a new one afterwards.
        connect: Opens a connection that sees a snapshot that was shared.
        count: How many others are wanted.
    """
    found = [leader]
    name = leader.export_snapshot() if count > 1 else None
    if name is None:
        return found
    try:
        found += [connect(name) for _ in range(count)]
    except SnapshotGoneError:
        return found
    return found


def snapshot_coordinates(connection: Connection) -> Coordinates | None:
    """Return where in the log a connection's snapshot is; None where the server does not say."""
    found = {
        str(name).lower(): value for name, value in connection.rows("SHOW STATUS LIKE 'binlog_snapshot_%'")
    }
    file, offset = found.get("binlog_snapshot_file"), found.get("binlog_snapshot_position")
    return Coordinates(str(file), int(str(offset))) if file and offset else None
