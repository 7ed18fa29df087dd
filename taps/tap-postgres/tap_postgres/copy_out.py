"""The rows of a COPY as they come from the server, in blocks.

Where the connection is in plain text, its socket is read here: libpq hands rows over one at a time, each as an object,
which costs more than all that is done with them. libpq is told nothing of the statement, and finds the session as it
left it, between two others. Where it encrypts, the rows are taken from it.

https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-COPY (read 2026-11-22)
"""

from __future__ import annotations

import os
import select
import struct
from typing import TYPE_CHECKING, Protocol

import numpy as np
from psycopg import pq

from icetap.sql.row_bytes import PADDING, Block

if TYPE_CHECKING:
    from collections.abc import Iterator

    from icetap.sql.row_bytes import Octets, Positions

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_HEADER_BYTES = len(_SIGNATURE) + 8
_TRAILER = b"\xff\xff"
_HEAD_BYTES = 5
"""A message's type, and its length, in which the length itself counts."""
_LENGTH_BYTES, _COUNT_BYTES = 4, 2
_LOOKED_AT_BYTES = 128 * 1024
"""So many at once, several times: they stay in the processor's cache."""
_ROW, _ERROR, _COMPLETE, _READY = b"dECZ"
_IGNORED = b"HcNSA"
"""The beginning and the end of the rows, notices, settings that changed, notifications."""
_IS_READY = b"Z\0\0\0\x05"
_LATEST_BYTES = 4096
"""Where that is looked for: settings that changed, or an error, may be told behind it."""
_FEW = 8
"""Other messages among rows, after which these are taken one by one: each look at all the rest takes long."""
_PATIENCE_MS = 1000
_length = struct.Struct(">I").unpack_from


class CopyError(Exception):
    """The server refused the statement or broke it off, or what it sent is not what was expected.

    Attributes:
        sqlstate: Five characters; None when the connection is of no more use.
    """

    def __init__(self, said: str, sqlstate: str | None = None) -> None:
        super().__init__(said)
        self.sqlstate = sqlstate


class CopyOut(Protocol):
    """The rows of one statement. The session can be used for another one when `is_over`."""

    is_over: bool

    def blocks(self, size: int) -> Iterator[Block]:
        """Yield whole rows, of about so many bytes together, until the server has said that these were all.

        A block's bytes are those of the next one as soon as that is asked for.

        Raises:
            CopyError: When the rows end in another way.
        """


def copy_out(session: pq.abc.PGconn, sql: str, *, columns: int) -> CopyOut:
    """Let a session send the rows of `COPY … TO STDOUT (FORMAT BINARY)`, each of so many columns."""
    is_plain = not session.ssl_in_use and not session.used_gssapi
    if is_plain and hasattr(os, "readv"):
        return _SocketCopy(session, sql, columns=columns)
    return _LibpqCopy(session, sql)


# --- from the socket -----------------------------------------------------------------------------------


class _SocketCopy:
    """Reads messages into one buffer for all blocks, and finds the rows in it without looking at each."""

    def __init__(self, session: pq.abc.PGconn, sql: str, *, columns: int) -> None:
        self.is_over = False
        self._socket = session.socket
        self._columns = columns
        self._has_header = False
        self._error: CopyError | None = None
        self._announced = -1
        self._is_ready = False
        query = sql.encode() + b"\0"
        self._send(b"Q" + struct.pack(">I", _LENGTH_BYTES + len(query)) + query)

    def blocks(self, size: int) -> Iterator[Block]:
        """Yield whole rows."""
        content = bytearray(size + PADDING)
        held = count = 0
        while not self.is_over:
            held = self._fill(content, held)
            begins, ends, place = self._scan(content, held)
            self.is_over = self._is_ready and place == held
            if len(begins):
                count += len(begins)
                yield Block(np.frombuffer(content, np.uint8), begins, ends)
            if place:
                content[: held - place] = content[place:held]
                held -= place
            elif held == len(content) - PADDING:  # not even one row: it is longer
                content = content[:held] + bytes(held + PADDING)
        if self._error is not None:
            raise self._error
        if count != self._announced:
            raise CopyError(f"lost synchronization: {count} rows came, the server sent {self._announced}")

    def _fill(self, content: bytearray, held: int) -> int:
        """Receive until the buffer is full, or what came may be the end; return how much it holds."""
        room = len(content) - PADDING
        view = memoryview(content)
        while held < room:
            try:
                received = os.readv(self._socket, [view[held:room]])
            except BlockingIOError:
                _wait(self._socket, select.POLLIN)
                continue
            except OSError as error:
                raise CopyError(f"could not receive data from the server: {error.strerror}") from error
            if not received:
                self._scan(content, held)
                raise self._error or CopyError("server closed the connection unexpectedly")
            held += received
            if self._is_ready or content.find(_IS_READY, max(held - _LATEST_BYTES, 0), held) >= 0:
                break
        return held

    def _send(self, message: bytes) -> None:
        rest = memoryview(message)
        while rest:
            try:
                rest = rest[os.write(self._socket, rest) :]
            except BlockingIOError:
                _wait(self._socket, select.POLLOUT)
            except OSError as error:
                raise CopyError(f"could not send data to the server: {error.strerror}") from error

    def _scan(self, content: bytearray, end: int) -> tuple[Positions, Positions, int]:
        """Return where the rows up to here begin and end, and where the first message begins that is not whole."""
        octets = np.frombuffer(content, np.uint8)
        begins, ends = [_NOWHERE], [_NOWHERE]
        place = others = 0
        while place + _HEAD_BYTES <= end:
            (length,) = _length(content, place + 1)
            after = place + 1 + length
            if length < _LENGTH_BYTES:
                raise CopyError("lost synchronization: a message has no length")
            if after > end:
                break
            if others < _FEW and content[place] == _ROW:
                heads, nexts = _row_messages(octets, place, end, columns=self._columns)
                if len(heads):
                    begins.append(heads + _HEAD_BYTES)
                    ends.append(nexts)
                    place = int(nexts[-1])
                    continue
            row = self._message(content[place], content[place + _HEAD_BYTES : after])
            if row:
                begins.append(np.array([after - row]))
                ends.append(np.array([after]))
            others += not row
            place = after
        return np.concatenate(begins), np.concatenate(ends), place

    def _message(self, kind: int, payload: bytearray) -> int:
        """Take a message that is no plain row; return how many bytes at its end are one."""
        if kind == _ROW and not self._has_header:
            self._has_header = True
            if not payload.startswith(_SIGNATURE):
                raise CopyError("lost synchronization: the rows do not begin with the signature of COPY")
            payload = payload[_HEADER_BYTES:]
        if kind == _ROW:
            return 0 if payload == _TRAILER else len(payload)
        if kind == _ERROR:
            self._error = _told(payload)
        elif kind == _COMPLETE:
            self._announced = int(payload[:-1].rpartition(b" ")[2])
        elif kind == _READY:
            self._is_ready = True
        elif kind not in _IGNORED:
            raise CopyError(f"lost synchronization: a message of type {chr(kind)!r} came")
        return 0


_NOWHERE = np.empty(0, np.int64)


def _row_messages(octets: Octets, place: int, end: int, *, columns: int) -> tuple[Positions, Positions]:
    """Return where the whole messages with rows begin and end that stand here, one after the other.

    Whatever looks like the beginning of a row may be one, or be inside of another: those are rows to which the lengths
    lead, one by one, from the first.
    """
    heads = _likely_heads(octets, place, end - _HEAD_BYTES - 1, columns=columns)
    if not len(heads) or heads[0] != place:
        return _NOWHERE, _NOWHERE
    lengths = np.zeros(len(heads), np.int64)
    for number in range(_LENGTH_BYTES):
        lengths = lengths << 8 | octets[heads + (1 + number)]
    nexts = heads + 1 + lengths
    if not (nexts[:-1] == heads[1:]).all():
        chosen = _linked(heads, nexts)
        heads, nexts = heads[chosen], nexts[chosen]
    whole = nexts <= end
    return heads[whole], nexts[whole]


def _likely_heads(octets: Octets, place: int, end: int, *, columns: int) -> Positions:
    """Return where a message's type and, behind its length, the number of columns stand."""
    found = [_NOWHERE]
    for start in range(place, end, _LOOKED_AT_BYTES):
        stop = min(start + _LOOKED_AT_BYTES, end)
        likely = octets[start:stop] == _ROW
        for number, octet in enumerate(columns.to_bytes(_COUNT_BYTES, "big"), start=_HEAD_BYTES):
            likely &= octets[start + number : stop + number] == octet
        found.append(np.flatnonzero(likely) + start)
    return np.concatenate(found)


def _linked(heads: Positions, nexts: Positions) -> Positions:
    """Return the numbers of those that one reaches from the first."""
    following = np.searchsorted(heads, nexts)
    is_there = heads[np.minimum(following, len(heads) - 1)] == nexts
    is_reached = np.zeros(len(heads), np.bool_)
    is_reached[0] = True
    is_reached[following[is_there]] = True
    reached = np.flatnonzero(is_reached)
    if (nexts[reached][:-1] == heads[reached][1:]).all():  # nothing but rows leads to a row
        return reached
    targets = np.where(is_there, following, -1).tolist()
    number, chosen = 0, []
    while number >= 0:
        chosen.append(number)
        number = targets[number]
    return np.array(chosen)


def _told(payload: bytearray) -> CopyError:
    """Return the error of a message: fields of a letter and a text each."""
    fields = {part[:1]: part[1:].decode("utf-8", "replace") for part in bytes(payload).split(b"\0")}
    return CopyError(fields.get(b"M", "no message"), fields.get(b"C"))


def _wait(socket: int, event: int) -> None:
    waiting = select.poll()
    waiting.register(socket, event)
    waiting.poll(_PATIENCE_MS)  # TLS may hold what came already, which the socket does not tell


# --- from libpq ----------------------------------------------------------------------------------------


class _LibpqCopy:
    """Takes one row at a time from libpq, which has decrypted it."""

    def __init__(self, session: pq.abc.PGconn, sql: str) -> None:
        self.is_over = False
        self._session = session
        self._has_header = False
        session.send_query(sql.encode())
        result = next_result(session)
        if result is None or result.status != pq.ExecStatus.COPY_OUT:
            while next_result(session) is not None:
                pass
            self.is_over = True
            raise refusal(result)

    def blocks(self, size: int) -> Iterator[Block]:
        """Yield whole rows."""
        rows: list[bytes] = []
        held = count = 0
        while (row := self._next()) is not None:
            rows.append(row)
            held += len(row)
            if held >= size:
                count += len(rows)
                yield _block(rows)
                rows, held = [], 0
        if rows:
            count += len(rows)
            yield _block(rows)
        if count != self._announced():
            raise CopyError(
                f"lost synchronization: {count} rows came, the server sent another number of them"
            )

    def _next(self) -> bytes | None:
        """Return the next row; None after the last one."""
        while True:
            length, data = self._session.get_copy_data(1)
            if length < 0:
                return None
            if not length:
                _wait(self._session.socket, select.POLLIN)
                self._session.consume_input()
                continue
            row = bytes(data)
            if not self._has_header:
                self._has_header = True
                row = row[_HEADER_BYTES:]
            if row and row != _TRAILER:
                return row

    def _announced(self) -> int:
        result = next_result(self._session)
        while next_result(self._session) is not None:
            pass
        self.is_over = True
        if result is None or result.status != pq.ExecStatus.COMMAND_OK:
            raise refusal(result)
        return result.command_tuples or 0


def next_result(session: pq.abc.PGconn) -> pq.abc.PGresult | None:
    """Return the next result of what was sent, None after the last one; other threads run while it is waited for.

    The calls of libpq that wait by themselves do so under Python's lock.
    """
    while session.flush():
        _wait(session.socket, select.POLLOUT)
    while session.is_busy():
        _wait(session.socket, select.POLLIN)
        session.consume_input()
    return session.get_result()


def _block(rows: list[bytes]) -> Block:
    octets = np.frombuffer(b"".join([*rows, bytes(PADDING)]), np.uint8)
    ends = np.cumsum(np.fromiter(map(len, rows), np.int64, len(rows)))
    return Block(octets, np.concatenate([[0], ends[:-1]]), ends)


def refusal(result: pq.abc.PGresult | None) -> CopyError:
    """Return the error of a result that is one; without a result the connection is gone."""
    if result is None:
        return CopyError("server closed the connection unexpectedly")
    state = result.error_field(pq.DiagnosticField.SQLSTATE)
    said = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message
    return CopyError(said.decode("utf-8", "replace"), state.decode() if state else None)
