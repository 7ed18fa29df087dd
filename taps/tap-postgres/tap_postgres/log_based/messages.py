"""The messages of pgoutput, decoded.

https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html (read 2026-11-21)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from icetap.sql.change_log import UNCHANGED, Begin, Change, End, Event, Shape, Truncate, Unchanged
from tap_postgres.log_based.positions import lsn_text

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from icetap.sql.dialect import Column

POSTGRES_EPOCH = 946_684_800_000_000
"""2000-01-01 in microseconds since 1970: timestamps of the protocol count from there."""

_UINT32 = struct.Struct("!I")
_BEGIN = struct.Struct("!QqI")
_COMMIT = struct.Struct("!BQQq")
_COLUMN = struct.Struct("!Ii")
_COUNT = struct.Struct("!H")
_NULL, _UNCHANGED, _TEXT = b"nut"
_OLD_KEY, _OLD_ROW, _NEW = b"KON"

Cell = bytes | Unchanged | None


@dataclass(frozen=True, slots=True)
class Mark:
    """What tells one transaction from others: where its commit stands in the log, and its number modulo 2^32."""

    commit_lsn: int
    xid: int


@dataclass(frozen=True, slots=True)
class LoggedColumn:
    """A column as a relation message names it."""

    name: str
    type_oid: int
    modifier: int


class Decoder:
    """Turns messages into events; one for each time that the log is read.

    Args:
        followed: The OIDs of the tables whose changes are wanted.
        columns_of: Makes the columns of a relation message readable.

    Attributes:
        is_inside: Whether a transaction has begun and not ended.
        end_lsn: Where the last transaction ended.
    """

    def __init__(
        self, followed: Container[object], columns_of: Callable[[list[LoggedColumn]], tuple[Column, ...]]
    ) -> None:
        self._followed = followed
        self._columns_of = columns_of
        self.is_inside = False
        self.end_lsn = 0

    def decode(self, data: bytes) -> Iterator[Event]:
        """Yield what one message says; the parts of a TRUNCATE are events of their own."""
        kind = data[:1]
        if kind == b"R":
            yield from self._relation(data)
        elif kind == b"B":
            commit_lsn, moment, xid = _BEGIN.unpack_from(data, 1)
            self.is_inside = True
            yield Begin(Mark(commit_lsn, xid), moment + POSTGRES_EPOCH, (commit_lsn,))
        elif kind == b"C":
            _, _, self.end_lsn, _ = _COMMIT.unpack_from(data, 1)
            self.is_inside = False
            yield End(lsn_text(self.end_lsn))
        elif kind == b"T":
            (count,) = _UINT32.unpack_from(data, 1)
            for number in range(count):
                (oid,) = _UINT32.unpack_from(data, 6 + 4 * number)
                yield Truncate(oid)

    def change(self, data: bytes) -> Change | None:
        """Return the change that a message tells, None when it is another message or of another table."""
        kind = data[0]
        if kind not in b"IUD":
            return None
        oid = int.from_bytes(data[1:5], "big")
        if oid not in self._followed:
            return None
        which = data[5]
        if which == _NEW:
            new, has_unchanged, _ = tuple_cells(data, 6)
            return Change(oid, new, None, has_unchanged, size=len(data))
        old, _, at = tuple_cells(data, 6)
        is_whole = which == _OLD_ROW
        if kind == 0x44:  # D
            return Change(oid, None, old, is_old_whole=is_whole, size=len(data))
        new, has_unchanged, _ = tuple_cells(data, at + 1)
        return Change(oid, new, old, has_unchanged, is_whole, len(data))

    def _relation(self, data: bytes) -> Iterator[Event]:
        (oid,) = _UINT32.unpack_from(data, 1)
        if oid not in self._followed:
            return
        at = data.index(b"\0", data.index(b"\0", 5) + 1) + 2  # behind schema, name and replica identity
        (count,) = _COUNT.unpack_from(data, at)
        at += 2
        columns = []
        for _ in range(count):
            end = data.index(b"\0", at + 1)
            type_oid, modifier = _COLUMN.unpack_from(data, end + 1)
            columns.append(LoggedColumn(data[at + 1 : end].decode(), type_oid, modifier))
            at = end + 1 + _COLUMN.size
        yield Shape(oid, self._columns_of(columns))


def tuple_cells(data: bytes, at: int) -> tuple[list[Cell], bool, int]:
    """Return the cells of a tuple, whether some are unchanged, and where the tuple ends.

    Cells are the server's texts as bytes; null is None.
    """
    cells: list[Cell] = []
    add, size_at = cells.append, _UINT32.unpack_from
    has_unchanged = False
    count = data[at] << 8 | data[at + 1]
    at += 2
    for _ in range(count):
        kind = data[at]
        if kind == _TEXT:
            start = at + 5
            at = start + size_at(data, at + 1)[0]
            add(data[start:at])
        else:
            at += 1
            if kind == _NULL:
                add(None)
            elif kind == _UNCHANGED:
                add(UNCHANGED)
                has_unchanged = True
            else:
                raise ValueError(
                    f"pgoutput sent a value of the form {chr(kind)!r}; only texts were asked for"
                )
    return cells, has_unchanged, at
