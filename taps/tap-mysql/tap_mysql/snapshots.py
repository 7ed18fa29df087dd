"""One snapshot on several connections.

MySQL cannot hand a snapshot on. MariaDB says of each snapshot at which place of the binary log it was taken, so
connections that begin together can be asked whether they see the same: whoever commits in between moves the place.
https://mariadb.com/kb/en/enhancements-for-start-transaction-with-consistent-snapshot/ (read 2026-11-21)
"""

from __future__ import annotations

import itertools
import logging
import threading
from typing import TYPE_CHECKING

from icetap.sql.dialect import SnapshotGoneError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tap_mysql.connection import MySQLConnection

LOGGER = logging.getLogger("tap-mysql")

ATTEMPTS = 20

_PLACE = "SHOW STATUS LIKE 'binlog_snapshot_%'"
_FILTERS = ("binlog_snapshot_file", "binlog_snapshot_position")
# Commits that the log does not have would move nothing: those of a replica that keeps no log of them.
_LOGS_ALL = (
    "SELECT @@log_bin AND (@@log_slave_updates OR NOT EXISTS (SELECT 1 FROM information_schema.GLOBAL_STATUS "
    "WHERE VARIABLE_NAME = 'SLAVES_RUNNING' AND VARIABLE_VALUE <> '0'))"
)


class Snapshots:
    """The snapshots that are shared now, each with connections that stand ready.

    Args:
        connect: Opens a connection with a snapshot of its own.
        count: How many connections share one.
    """

    def __init__(self, connect: Callable[[], MySQLConnection], *, count: int) -> None:
        self._connect = connect
        self._count = count
        self._ready: dict[str, list[MySQLConnection]] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def export(self, leader: MySQLConnection) -> str | None:
        """Let other connections see what this one sees; its own snapshot is a new one afterwards.

        Returns:
            The snapshot's name, None where the server cannot tell, or commits too often for a common moment.
        """
        if not leader.is_mariadb or leader.rows(_LOGS_ALL)[0][0] != 1:
            return None
        others: list[MySQLConnection] = []
        try:
            others.extend(self._connect() for _ in range(self._count))
            for _ in range(ATTEMPTS):
                for each in (leader, *others):
                    each.begin()
                if len({_place(each) for each in (leader, *others)}) == 1:
                    return self._keep(others)
        except BaseException:
            _close(others)
            raise
        _close(others)
        LOGGER.info("The server commits too often for a common snapshot: one connection reads")
        return None

    def _keep(self, connections: list[MySQLConnection]) -> str:
        with self._lock:
            name = str(next(self._numbers))
            self._ready[name] = connections
            return name

    def take(self, name: str) -> MySQLConnection:
        """Return a connection that sees the snapshot.

        Raises:
            SnapshotGoneError: When none is left: one that was lost cannot be made anew.
        """
        with self._lock:
            ready = self._ready.get(name) or []
            if not ready:
                raise SnapshotGoneError(
                    "a connection was lost, and with it its part of a snapshot that cannot be taken again"
                )
            return ready.pop()

    def drop(self, name: str) -> None:
        """Close the connections that nobody took."""
        with self._lock:
            left = self._ready.pop(name, [])
        _close(left)


def _place(connection: MySQLConnection) -> tuple[str, ...]:
    found = {str(name).lower(): str(value) for name, value in connection.rows(_PLACE)}
    return tuple(found[name] for name in _FILTERS)


def _close(connections: list[MySQLConnection]) -> None:
    for each in connections:
        each.close()
