"""Positions in the binary log: GTIDs as MariaDB and as MySQL write them, or a file and an offset.

A position says which transactions a table holds already. Its text is what the bookmark keeps:

- MariaDB, `0-1-13,1-2-5`: domain, server, sequence number; the last transaction of each domain.
  https://mariadb.com/kb/en/gtid/ (read 2026-11-21)
- MySQL, `3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7,…`: all transactions of each server.
  https://dev.mysql.com/doc/refman/8.4/en/replication-gtids-concepts.html (read 2026-11-21)
- either, `binlog.000003:1234`: a file and an offset, which hold for this one server only.
"""

from __future__ import annotations

import abc
import re
import struct
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from typing_extensions import override

from icetap.errors import StateError
from tap_mysql.log_based.protocol import DUMP, DUMP_GTID, THROUGH_GTID

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

FIRST_OFFSET = 4
"""Where the first event of each file begins."""


@dataclass(frozen=True, slots=True)
class MariaGtid:
    """One transaction of MariaDB's."""

    domain: int
    server: int
    number: int


@dataclass(frozen=True, slots=True)
class MySQLGtid:
    """One transaction of MySQL's."""

    source: str
    number: int


@dataclass(frozen=True, slots=True)
class Coordinates:
    """An offset in a file of one server's log."""

    file: str
    offset: int

    @property
    def order(self) -> tuple[int, int]:
        """What coordinates of one server sort by: the file's number has six digits or more."""
        number = self.file.rpartition(".")[2]
        return int(number) if number.isdecimal() else 0, self.offset

    def __str__(self) -> str:
        return f"{self.file}:{self.offset}"


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a transaction is: its end in the log, and its GTID where it has one."""

    end: Coordinates
    gtid: MariaGtid | MySQLGtid | None = None


class Position(abc.ABC):
    """Which transactions have been read."""

    @property
    @abc.abstractmethod
    def text(self) -> str:
        """What the bookmark keeps."""

    @abc.abstractmethod
    def covers(self, mark: Mark) -> bool:
        """Say whether a transaction has been read."""

    @abc.abstractmethod
    def after(self, mark: Mark) -> Position:
        """Return the position once this transaction has been read too."""

    @abc.abstractmethod
    def lower(self, other: Position) -> Position:
        """Return the position from which both can go on; both are of one kind."""

    def preparations(self) -> Iterator[str]:
        """Yield statements that come before the dump."""
        yield from ()

    @abc.abstractmethod
    def dump_command(self, *, flags: int, server_id: int) -> bytes:
        """Return the command that asks for what follows the position."""


@dataclass(frozen=True, slots=True)
class FilePosition(Position):
    """A file and an offset."""

    at: Coordinates

    @property
    @override
    def text(self) -> str:
        return str(self.at)

    @override
    def covers(self, mark: Mark) -> bool:
        return mark.end.order <= self.at.order

    @override
    def after(self, mark: Mark) -> FilePosition:
        return FilePosition(mark.end)

    @override
    def lower(self, other: Position) -> Position:
        assert isinstance(other, FilePosition)  # noqa: S101 - for the type checker
        return min(self, other, key=lambda one: one.at.order)

    @override
    def dump_command(self, *, flags: int, server_id: int) -> bytes:
        return struct.pack("<BIHI", DUMP, self.at.offset, flags, server_id) + self.at.file.encode()


@dataclass(frozen=True, slots=True)
class MariaPosition(Position):
    """The last transaction of each domain, and the server that wrote it."""

    last: Mapping[int, MariaGtid]

    @property
    @override
    def text(self) -> str:
        return ",".join(f"{one.domain}-{one.server}-{one.number}" for _, one in sorted(self.last.items()))

    @override
    def covers(self, mark: Mark) -> bool:
        assert isinstance(mark.gtid, MariaGtid)  # noqa: S101 - for the type checker
        last = self.last.get(mark.gtid.domain)
        return last is not None and mark.gtid.number <= last.number

    @override
    def after(self, mark: Mark) -> MariaPosition:
        if not isinstance(mark.gtid, MariaGtid):
            raise _without_gtid(mark)
        if self.covers(mark):
            raise StateError(
                f"the binary log goes back from {self.last[mark.gtid.domain].number} to {mark.gtid.number} in the GTID "
                f"domain {mark.gtid.domain}, before {mark.end}: two servers wrote in it at once (gtid_strict_mode is OFF). "
                "Set 'log_position: file', and run once with --full-refresh."
            )
        return MariaPosition({**self.last, mark.gtid.domain: mark.gtid})

    @override
    def lower(self, other: Position) -> Position:
        assert isinstance(other, MariaPosition)  # noqa: S101 - for the type checker
        both = self.last.keys() & other.last.keys()
        return MariaPosition(
            {
                domain: min(self.last[domain], other.last[domain], key=lambda one: one.number)
                for domain in both
            }
        )

    @override
    def preparations(self) -> Iterator[str]:
        yield f"SET @slave_connect_state = '{self.text}'"
        # The server then refuses a position inside a hole of its log, instead of going on behind it.
        yield "SET @slave_gtid_strict_mode = 1"
        yield "SET @slave_gtid_ignore_duplicates = 0"

    @override
    def dump_command(self, *, flags: int, server_id: int) -> bytes:
        return struct.pack("<BIHI", DUMP, FIRST_OFFSET, flags, server_id)


def _without_gtid(mark: Mark) -> StateError:
    return StateError(
        f"the transaction before {mark.end} of the binary log has no GTID that can be read (gtid_mode is not ON, or it "
        "has a tag). Set 'log_position: file', and run once with --full-refresh."
    )


Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class MySQLPosition(Position):
    """All transactions of each server, as intervals whose ends belong to them, sorted and apart."""

    sets: Mapping[str, tuple[Interval, ...]]

    @property
    @override
    def text(self) -> str:
        return ",".join(
            ":".join([source, *(f"{low}-{high}" if low < high else f"{low}" for low, high in intervals)])
            for source, intervals in sorted(self.sets.items())
        )

    @override
    def covers(self, mark: Mark) -> bool:
        assert isinstance(mark.gtid, MySQLGtid)  # noqa: S101 - for the type checker
        intervals = self.sets.get(mark.gtid.source, ())
        return any(low <= mark.gtid.number <= high for low, high in intervals)

    @override
    def after(self, mark: Mark) -> MySQLPosition:
        if not isinstance(mark.gtid, MySQLGtid):
            raise _without_gtid(mark)
        source, number = mark.gtid.source, mark.gtid.number
        joined = joined_intervals([*self.sets.get(source, ()), (number, number)])
        return MySQLPosition({**self.sets, source: joined})

    @override
    def lower(self, other: Position) -> Position:
        assert isinstance(other, MySQLPosition)  # noqa: S101 - for the type checker
        both = {
            source: common_intervals(self.sets[source], other.sets[source])
            for source in self.sets.keys() & other.sets.keys()
        }
        return MySQLPosition({source: intervals for source, intervals in both.items() if intervals})

    @override
    def dump_command(self, *, flags: int, server_id: int) -> bytes:
        data = struct.pack("<Q", len(self.sets))
        for source, intervals in sorted(self.sets.items()):
            data += uuid.UUID(source).bytes + struct.pack("<Q", len(intervals))
            for low, high in intervals:  # on the wire, the end does not belong to them
                data += struct.pack("<QQ", low, high + 1)
        head = struct.pack("<BHIIQI", DUMP_GTID, flags | THROUGH_GTID, server_id, 0, FIRST_OFFSET, len(data))
        return head + data


def joined_intervals(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """Return intervals sorted, with those that touch made one."""
    joined: list[Interval] = []
    for low, high in sorted(intervals):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high))
        else:
            joined.append((low, high))
    return tuple(joined)


def common_intervals(left: Sequence[Interval], right: Sequence[Interval]) -> tuple[Interval, ...]:
    """Return the numbers that are in both."""
    return tuple(
        (max(low, other_low), min(high, other_high))
        for low, high in left
        for other_low, other_high in right
        if max(low, other_low) <= min(high, other_high)
    )


# --- texts -----------------------------------------------------------------------------------------

_MARIA = re.compile(r"([0-9]{1,10})-([0-9]{1,10})-([0-9]{1,20})")
_MYSQL = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})((?::[0-9]+(?:-[0-9]+)?)+)", re.IGNORECASE)
_FILE = re.compile(r"([^:,]+\.[0-9]{6,10}):([0-9]{1,10})")


def position_from_text(text: str) -> Position:
    """Return the position that a bookmark or a server's variable tells.

    Raises:
        StateError: When the text is none.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if found := _FILE.fullmatch(text.strip()):
        return FilePosition(Coordinates(found[1], int(found[2])))
    if all(_MARIA.fullmatch(part) for part in parts):
        return maria_position(text)
    if all(_MYSQL.fullmatch(part) for part in parts):
        return mysql_position(text)
    raise StateError(
        f"the log position '{text[:80]}' in the state is no list of GTIDs and no file with an offset. "
        "Run once with --full-refresh, or remove the bookmarks of the streams that are read from the log."
    )


def maria_position(text: str) -> MariaPosition:
    """Return the position of a list such as `@@gtid_binlog_pos`; an empty one is the beginning."""
    found = [tuple(int(number) for number in match.groups()) for match in _MARIA.finditer(text)]
    return MariaPosition({domain: MariaGtid(domain, server, number) for domain, server, number in found})


def mysql_position(text: str) -> MySQLPosition:
    """Return the position of a set such as `@@gtid_executed`; an empty one is the beginning."""
    sets: dict[str, tuple[Interval, ...]] = {}
    for match in _MYSQL.finditer(text):
        ends = [part.split("-") for part in match[2].strip(":").split(":")]
        source = match[1].lower()
        intervals = [(int(end[0]), int(end[-1])) for end in ends]
        sets[source] = joined_intervals([*sets.get(source, ()), *intervals])
    return MySQLPosition(sets)
