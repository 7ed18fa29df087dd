"""Connections that serve one stream after the other: thousands of tables do not sign in thousands of times."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from icetap.sql.dialect import Connection, Dialect


class Sessions:
    """Lends connections, each of which sees a snapshot of its own; used from several threads.

    Attributes:
        kept: How many idle ones are kept open; none outside of a run.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self.kept = 0

    @contextlib.contextmanager
    def lend(self) -> Iterator[Connection]:
        """Give a connection with a new snapshot; one on which something failed is closed."""
        connection = self._take()
        try:
            yield connection
        except BaseException:
            _close(connection)
            raise
        if not self._kept_open(connection):
            _close(connection)

    def _kept_open(self, connection: Connection) -> bool:
        with contextlib.suppress(Exception):  # it may be lost by now
            if len(self._idle) < self.kept and self._dialect.release(connection):
                with self._lock:
                    self._idle.append(connection)
                return True
        return False

    def _take(self) -> Connection:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is not None:
            with contextlib.suppress(Exception):  # it may be lost by now: then there is a new one
                self._dialect.renew(connection)
                return connection
            _close(connection)
        return self._dialect.connect()

    def close(self) -> None:
        """Close what is idle and keep nothing any more."""
        with self._lock:
            self.kept = 0
            idle, self._idle = self._idle, []
        for connection in idle:
            _close(connection)


def _close(connection: Connection) -> None:
    with contextlib.suppress(Exception):  # it may be lost already
        connection.close()
