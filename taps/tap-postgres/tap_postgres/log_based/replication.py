"""A replication connection: commands of the walsender, and the stream of a slot.

libpq's own functions through `psycopg.pq`, because psycopg's cursors do not know the mode COPY BOTH.
https://www.postgresql.org/docs/current/protocol-replication.html (read 2026-11-21)
"""

from __future__ import annotations

import contextlib
import queue
import select
import struct
import threading
import time
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq

from icetap.errors import ConfigurationError, IcetapError, RetriableError
from icetap.secrets.redaction import server_words
from tap_postgres.errors import connect_error, statement_error
from tap_postgres.log_based.positions import lsn_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_postgres.server import Server

STATUS_SECONDS = 5.0
"""The server ends a stream that says nothing for `wal_sender_timeout`, 60 s by default."""

ASK_SECONDS = 0.1
"""After so much silence the server is asked how far it has come."""

FRAMES_AT_ONCE = 500
BYTES_AT_ONCE = 1024 * 1024
BLOCKS_AHEAD = 8

_HEAD = 25
"""Bytes in front of the message of a frame `w`: the letter, two positions, and the server's clock."""
_KEEPALIVE = struct.Struct("!QQB")
_STATUS = struct.Struct("!cQQQQB")
_GOOD = frozenset({pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK})

_REFUSALS = (
    (
        ("replication role", "start WAL sender", "REPLICATION attribute"),
        'Run `ALTER ROLE "{user}" REPLICATION` (RDS: `GRANT rds_replication TO "{user}"`).',
    ),
    (
        ("unsupported startup parameter", "replication connections"),
        "It is a pool: connect to the server itself for LOG_BASED streams.",
    ),
    (
        ("max_wal_senders",),
        "All walsenders are in use: raise max_wal_senders, or end those that nobody needs.",
    ),
)

Frame = bytes | int
"""A message of the plug-in, or how far the server has come."""


class ReplicationConnection:
    """A session of the walsender in one database."""

    def __init__(self, server: Server) -> None:
        self._server = server
        try:
            self._psycopg = psycopg.connect(f"{server.conninfo()} replication='database'", autocommit=True)
        except psycopg.Error as error:
            raise _sign_in_error(str(error), server) from error
        settings = {**server.session_settings(), "statement_timeout": "0"}
        try:
            for name, value in settings.items():
                self.command(f"SET {name} = '{value}'")
        except BaseException:
            self.close()
            raise

    @property
    def pgconn(self) -> pq.abc.PGconn:
        """The connection as libpq has it."""
        return self._psycopg.pgconn

    def command(self, sql: str, *, expects_stream: bool = False) -> list[tuple[str | None, ...]]:
        """Run one command and return its rows.

        Raises:
            IcetapError: What the server says, by its SQLSTATE.
        """
        result = self.pgconn.exec_(sql.encode())
        if result.status == pq.ExecStatus.COPY_BOTH and expects_stream:
            return []
        if result.status not in _GOOD:
            state = result.error_field(pq.DiagnosticField.SQLSTATE)
            raise statement_error(
                result.error_message.decode("utf-8", "replace"),
                state.decode() if state else None,
                where=self._server.name,
            )
        return [
            tuple(
                None if (value := result.get_value(row, column)) is None else value.decode()
                for column in range(result.nfields)
            )
            for row in range(result.ntuples)
        ]

    def close(self) -> None:
        """End the session; a temporary slot of its own goes with it."""
        with contextlib.suppress(psycopg.Error):
            self._psycopg.close()

    def stream(self, slot: str, publication: str, *, start: int, confirmed: int) -> LogStream:
        """Begin to read a slot.

        Args:
            slot: Its name.
            publication: The name of the publication.
            start: The LSN to begin at; the server never begins before what was confirmed.
            confirmed: What the server is told, all the time, that it may forget.
        """
        name = publication.replace('"', '""').replace("'", "''")
        self.command(
            f'START_REPLICATION SLOT "{slot}" LOGICAL {lsn_text(start)} '
            f"(proto_version '1', publication_names '\"{name}\"')",
            expects_stream=True,
        )
        return LogStream(self.pgconn, where=self._server.name, start=start, confirmed=confirmed)


def _sign_in_error(said: str, server: Server) -> IcetapError:
    """Return the error of a replication connection that was refused, with what a DBA has to do."""
    for words, advice in _REFUSALS:
        if any(each in said for each in words):
            return ConfigurationError(
                f"{server.name} refuses a replication connection of '{server.address.user}'. "
                + advice.format(user=server.address.user)
            )
    return connect_error(said, where=f"{server.name}, for replication")


class LogStream(threading.Thread):
    """Reads frames in a thread of its own, so that the server hears from us while the loader is busy.

    Holds `BLOCKS_AHEAD` blocks of about `BYTES_AT_ONCE`, or of one larger message.
    """

    def __init__(self, pgconn: pq.abc.PGconn, *, where: str, start: int, confirmed: int) -> None:
        super().__init__(name="icetap-log", daemon=True)
        self._pgconn = pgconn
        self._where = where
        self._received = start
        self._confirmed = confirmed
        self._blocks: queue.Queue[list[Frame] | BaseException] = queue.Queue(maxsize=BLOCKS_AHEAD)
        self._stopped = threading.Event()
        self._told_at = 0.0

    def blocks(self) -> Iterator[list[Frame]]:
        """Yield what has come, in order; an empty list when nothing came for a second.

        Raises:
            IcetapError: When the connection is lost, or the server ended the stream.
        """
        while True:
            try:
                block = self._blocks.get(timeout=1.0)
            except queue.Empty:
                yield []
                continue
            if isinstance(block, BaseException):
                raise block
            yield block

    def stop(self) -> None:
        """End the thread; the connection is of no use afterwards."""
        self._stopped.set()
        if self.is_alive():
            self.join(timeout=10.0)

    # --- in the thread ------------------------------------------------------------------------------

    def run(self) -> None:
        """Read until `stop`, or an error."""
        try:
            while not self._stopped.is_set():
                block = self._next_block()
                if block:
                    self._put(block)
                else:
                    self._wait()
        except (psycopg.Error, OSError) as error:
            said = server_words(str(error))
            self._put(RetriableError(f"the connection to {self._where} was lost: {said}"))
        except BaseException as error:  # noqa: BLE001 - raised again where the blocks are consumed
            self._put(error)

    def _put(self, block: list[Frame] | BaseException) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._blocks.put(block, timeout=ASK_SECONDS)
                return
            self._tell_if_due()

    def _wait(self) -> None:
        """Wait for more; a server that says nothing is asked."""
        readable, _, _ = select.select([self._pgconn.socket], [], [], ASK_SECONDS)
        if not readable:
            self._tell(asks=True)
            select.select([self._pgconn.socket], [], [], ASK_SECONDS)
        self._pgconn.consume_input()

    def _next_block(self) -> list[Frame]:
        frames: list[Frame] = []
        size = 0
        while len(frames) < FRAMES_AT_ONCE and size < BYTES_AT_ONCE:
            count, view = self._pgconn.get_copy_data(1)
            if count == 0:
                break
            if count < 0:
                raise self._ended()
            frame = bytes(view)
            if frame[0] == ord("w"):
                frames.append(frame[_HEAD:])
                size += count
            elif frame[0] == ord("k"):
                position, _, asks = _KEEPALIVE.unpack_from(frame, 1)
                frames.append(position)
                self._received = max(self._received, position)
                if asks:
                    self._tell(asks=False)
        self._tell_if_due()
        return frames

    def _ended(self) -> Exception:
        """Say why the server ended the stream."""
        result = self._pgconn.get_result()
        if result is None or result.status in _GOOD:
            return RetriableError(f"{self._where} ended the stream of changes: it was stopped")
        state = result.error_field(pq.DiagnosticField.SQLSTATE)
        text = result.error_message.decode("utf-8", "replace")
        return statement_error(text, state.decode() if state else None, where=self._where)

    def _tell_if_due(self) -> None:
        if time.monotonic() - self._told_at >= STATUS_SECONDS:
            self._tell(asks=False)

    def _tell(self, *, asks: bool) -> None:
        """Tell the server that we live, and only of what was confirmed before this run."""
        self._told_at = time.monotonic()
        written, flushed = max(self._received, self._confirmed), self._confirmed
        self._pgconn.put_copy_data(_STATUS.pack(b"r", written, flushed, flushed, 0, asks))
        self._pgconn.flush()
