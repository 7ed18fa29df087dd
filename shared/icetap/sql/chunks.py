"""Chunks of one table, read by several connections at once and passed on in their order."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from icetap.sql.dialect import SnapshotGoneError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    import pyarrow as pa

    from icetap.sql.dialect import Chunk, Connection
    from icetap.sql.retries import Retries

MEMORY_LIMIT_MB = 32
"""Of rows that wait, by default. Twice as much is not faster, even where the network is slow, and four readers need no more
(10 ms away, 40 MB a second and connection: 10.3 and 6.1 s for 3 million rows by two and four, 2026-11-22)."""

JOIN_SECONDS = 5.0
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Rows:
    """Decoded rows, and how many records were left out of them, by reason."""

    batch: pa.RecordBatch
    rejected: dict[str, int] = field(default_factory=dict)


class LostPartError(Exception):
    """A connection broke while rows of its chunk were already passed on; `__cause__` says why."""


@dataclass(slots=True)
class _Part:
    """The rows of a chunk that wait. Passed on once they are all there, or earlier when memory is short."""

    rows: deque[Rows] = field(default_factory=deque)
    size: int = 0
    is_done: bool = False
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Readers:
    """Who reads.

    Attributes:
        count: So many threads, each with a connection of its own.
        connect: Opens a connection that sees the snapshot; called again when one is lost, if `retries` are given.
        read: Yields the decoded rows of a chunk.
        memory_bytes: So much may wait; one batch per reader comes on top.
        is_transient: Whether a new connection may help after an error.
        new_retries: Makes what waits between attempts; None lets the first error end the reading.
        closes: Whether connections are closed at the end, because they are the readers' own.
    """

    count: int
    connect: Callable[[], Connection]
    read: Callable[[Connection, Chunk], Iterator[Rows]]
    memory_bytes: int
    is_transient: Callable[[BaseException], bool]
    new_retries: Callable[[Callable[[], None]], Retries] | None
    closes: bool = True


def in_order(
    chunks: Sequence[Chunk], readers: Readers, *, check: Callable[[], None]
) -> Generator[tuple[Chunk, Rows, bool], None, None]:
    """Yield the rows of all chunks in the chunks' order, and whether they are the last ones of theirs.

    Args:
        chunks: Read by whichever reader is free, ahead of what is yielded as far as memory allows.
        readers: Who reads.
        check: Called often while waiting; whatever it raises ends the reading.

    Raises:
        Exception: What any reader met, at once.
        LostPartError: When a chunk cannot be read again, because rows of it have been yielded.
    """
    reading = _Reading(chunks, readers)
    reading.start()
    try:
        for number, chunk in enumerate(chunks):
            before: Rows | None = None
            while (rows := reading.next_of(number, check=check)) is not None:
                if before is not None:
                    yield chunk, before, False
                before = rows
            if before is not None:
                yield chunk, before, True
    finally:
        reading.stop()


class _StoppedError(Exception):
    """The consumer went away."""


class _Reading:
    """The threads and what they have read; everything here is guarded by one condition."""

    def __init__(self, chunks: Sequence[Chunk], readers: Readers) -> None:
        self._chunks = chunks
        self._readers = readers
        self._changed = threading.Condition()
        self._parts: dict[int, _Part] = {}
        self._taken = 0
        self._front = 0
        self._held = 0
        self._error: BaseException | None = None
        self._stopped = False
        self._connections: set[Connection] = set()
        self._threads = [
            threading.Thread(target=self._work, name=f"icetap-chunks-{number}", daemon=True)
            for number in range(readers.count)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads; a driver that cannot be interrupted ends with the process."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            running = list(self._connections)
        for connection in running:
            with contextlib.suppress(Exception):  # it may be closed by its own thread at this moment
                connection.cancel()
        for thread in self._threads:
            thread.join(timeout=JOIN_SECONDS)

    # --- the consumer -------------------------------------------------------------------------------

    def next_of(self, number: int, *, check: Callable[[], None]) -> Rows | None:
        """Return the next rows of a chunk, None when there are no more."""
        with self._changed:
            self._front = number
            self._changed.notify_all()
            while True:
                if self._error is not None:
                    raise self._error
                part = self._parts.get(number)
                if part is not None and (part.is_done or part.is_open):
                    if part.rows:
                        rows = part.rows.popleft()
                        self._held -= rows.batch.nbytes
                        self._changed.notify_all()
                        return rows
                    if part.is_done:
                        del self._parts[number]
                        return None
                if not self._changed.wait(timeout=_POLL_SECONDS):
                    check()

    # --- the readers --------------------------------------------------------------------------------

    def _work(self) -> None:
        connection: Connection | None = None
        try:
            while (number := self._next_number()) is not None:
                connection = self._fill(number, connection)
        except _StoppedError:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by the consumer
            with self._changed:
                self._error = self._error or error
                self._changed.notify_all()
        finally:
            if connection is not None:
                self._close(connection)

    def _next_number(self) -> int | None:
        """Return the next chunk to read, once there is memory for it."""
        with self._changed:
            while not self._stopped and self._error is None and self._taken < len(self._chunks):
                if self._taken <= self._front or self._held < self._readers.memory_bytes:
                    number, self._taken = self._taken, self._taken + 1
                    self._parts[number] = _Part()
                    return number
                self._changed.wait()
            return None

    def _fill(self, number: int, connection: Connection | None) -> Connection:
        """Read a chunk whole, on a new connection when the one at hand is lost."""
        retries = self._readers.new_retries and self._readers.new_retries(self._check_stopped)
        while True:
            try:
                connection = connection or self._connected()
                for rows in self._readers.read(connection, self._chunks[number]):
                    self._put(number, rows)
                self._finish(number)
            except (_StoppedError, SnapshotGoneError):
                if connection is not None:
                    self._close(connection)
                raise
            except Exception as error:
                if connection is not None:
                    self._close(connection)
                    connection = None
                self._check_stopped()  # an error that cancelling made is none
                if not self._readers.is_transient(error):
                    raise
                if not self._forget(number):
                    raise LostPartError from error
                if retries is None:
                    raise
                retries.wait_after(error)
            else:
                return connection

    def _connected(self) -> Connection:
        connection = self._readers.connect()
        with self._changed:
            self._connections.add(connection)
        return connection

    def _close(self, connection: Connection) -> None:
        with self._changed:
            self._connections.discard(connection)
        if not self._readers.closes:
            return
        with contextlib.suppress(Exception):  # it may be lost already
            connection.close()

    def _put(self, number: int, rows: Rows) -> None:
        """Add rows, once there is room.

        The chunk whose turn it is need not wait: it is held whole, so that it can be read again after a lost
        connection, unless it alone is as large as all the memory; then its rows are passed on as they come.
        """
        with self._changed:
            part = self._parts[number]
            while not self._stopped and self._held >= self._readers.memory_bytes:
                if number == self._front:
                    if part.size < self._readers.memory_bytes:
                        break
                    part.is_open = True
                    self._changed.notify_all()
                    if not part.rows:
                        break
                self._changed.wait()
            self._check_stopped()
            part.rows.append(rows)
            part.size += rows.batch.nbytes
            self._held += rows.batch.nbytes
            if part.is_open:
                self._changed.notify_all()

    def _finish(self, number: int) -> None:
        with self._changed:
            self._parts[number].is_done = True
            self._changed.notify_all()

    def _forget(self, number: int) -> bool:
        """Drop what was read of a chunk, unless it has been passed on in part."""
        with self._changed:
            part = self._parts[number]
            if part.is_open:
                return False
            self._held -= sum(rows.batch.nbytes for rows in part.rows)
            self._parts[number] = _Part()
            self._changed.notify_all()
            return True

    def _check_stopped(self) -> None:
        if self._stopped:
            raise _StoppedError
