"""From events to transactions: only what was committed, whole, in the order of the commits.

The log holds more than that: transactions that were rolled back after all, in whole or to a savepoint; prepared ones
whose end comes later or never; the beginning of one whose server died. So the events of a transaction wait here
until its end is known; large ones wait in a file.
"""

from __future__ import annotations

import logging
import re
import struct
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from icetap.errors import ConfigurationError, DataError, StateError
from icetap.secrets.scratch import encrypted_file
from tap_mysql.log_based import events as event_bodies
from tap_mysql.log_based import protocol
from tap_mysql.log_based.positions import Coordinates, MariaGtid, Mark, MySQLGtid
from tap_mysql.log_based.row_events import ROW_EVENTS
from tap_mysql.log_based.statements import Effect, effects_of
from tap_mysql.log_based.table_map import TableMap, table_map, table_name, table_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tap_mysql.log_based.events import Statement
    from tap_mysql.log_based.protocol import Event
    from tap_mysql.log_based.statements import TableEffect

LOGGER = logging.getLogger("tap-mysql")

MEMORY_BYTES = 32 * 1024 * 1024
"""Row events of a transaction beyond this many bytes wait in a temporary file."""

_FRAME = struct.Struct("<BII")
_KEPT_TABLES = 1000
_VERSION_END = 52


@dataclass(frozen=True, slots=True)
class LoggedRows:
    """A row event, and the table as it was then."""

    table: TableMap
    kind: int
    body: bytes


class Buffer:
    """What a transaction has done so far."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._limit = memory_bytes
        self._bytes = 0
        self._parts: list[LoggedRows | TableEffect] = []
        self._tables: list[TableMap] = []
        self._file: IO[bytes] | None = None

    def append(self, part: LoggedRows | TableEffect) -> None:
        """Add a part; effects of statements are few and stay in memory only while rows do."""
        if isinstance(part, LoggedRows):
            self._bytes += len(part.body)
            if self._bytes > self._limit:
                self._write(part)
                return
        if self._file is not None:
            raise DataError("a transaction of the binary log changes a table's definition after many rows")
        self._parts.append(part)

    def _write(self, part: LoggedRows) -> None:
        if self._file is None:
            self._file = encrypted_file()  # no mask has been applied yet
        if not self._tables or self._tables[-1] is not part.table:
            self._tables.append(part.table)
        self._file.write(_FRAME.pack(part.kind, len(self._tables) - 1, len(part.body)) + part.body)

    def place(self) -> tuple[int, int, int]:
        """Return where the transaction is now, for `cut`."""
        return len(self._parts), self._bytes, self._file.tell() if self._file else 0

    def cut(self, place: tuple[int, int, int]) -> None:
        """Forget what came after a place."""
        parts, self._bytes, size = place
        del self._parts[parts:]
        if self._file is not None:
            self._file.seek(size)
            self._file.truncate()

    def parts(self) -> Iterator[LoggedRows | TableEffect]:
        """Yield what is there, once; holds one event of those in the file."""
        yield from self._parts
        if self._file is None:
            return
        self._file.seek(0)
        while frame := self._file.read(_FRAME.size):
            kind, table, length = _FRAME.unpack(frame)
            yield LoggedRows(self._tables[table], kind, self._file.read(length))

    def close(self) -> None:
        """Drop everything."""
        self._parts.clear()
        if self._file is not None:
            self._file.close()
            self._file = None


@dataclass(frozen=True, slots=True)
class Transaction:
    """A committed transaction; `parts` are valid until the next one is asked for.

    `committed_at` is in seconds since 1970. `is_safe` is False while an earlier one is prepared and not decided:
    the position behind this one then would lose that one.
    """

    mark: Mark
    committed_at: int
    buffer: Buffer
    is_safe: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing is under way; everything before these coordinates has come."""

    at: Coordinates


_SAVEPOINT = re.compile(r"\s*(SAVEPOINT|ROLLBACK\s+TO(?:\s+SAVEPOINT)?)\s+(.*)", re.IGNORECASE | re.DOTALL)
_XA_END = re.compile(r"\s*XA\s+(COMMIT|ROLLBACK)\s+(.*?)(\s+ONE\s+PHASE)?\s*", re.IGNORECASE | re.DOTALL)
_XA_START = re.compile(r"\s*XA\s+(START|BEGIN|END)\b", re.IGNORECASE)
_OPENS = re.compile(r"\bSTART\s+TRANSACTION\s*$", re.IGNORECASE)


class TransactionReader:
    """Puts transactions together.

    Args:
        at: Where the events begin; the server tells the file anew.
        is_wanted: Whether the rows of a table are read: database and name.
        is_affected: Whether an effect is on such a table.
    """

    def __init__(
        self,
        at: Coordinates,
        *,
        is_wanted: Callable[[str, str], bool],
        is_affected: Callable[[TableEffect], bool],
    ) -> None:
        self.at = at
        self._is_wanted = is_wanted
        self._is_affected = is_affected
        self._tables: dict[int, TableMap | None] = {}
        self._known: dict[bytes, TableMap] = {}
        self._is_mariadb = False
        self._gtid: MariaGtid | MySQLGtid | None = None
        self._buffer = Buffer()
        self._savepoints: dict[str, tuple[int, int, int]] = {}
        self._is_open = False
        self._has_begun = False
        self._prepared: dict[str, Buffer] = {}

    def close(self) -> None:
        """Drop what waits."""
        for buffer in (self._buffer, *self._prepared.values()):
            buffer.close()

    def transactions(self, events: Iterable[Event]) -> Iterator[Transaction | Waiting]:
        """Yield what was committed; holds one transaction, at most `MEMORY_BYTES` of it in memory."""
        for event in events:
            if event.end and not event.is_artificial and event.kind != protocol.ROTATE:
                self.at = Coordinates(self.at.file, event.end)
            if event.kind == protocol.PAYLOAD:
                for inner in event_bodies.payload_events(event):
                    yield from self._handled(inner)
            else:
                yield from self._handled(event)

    def _handled(self, event: Event) -> Iterator[Transaction | Waiting]:
        kind = event.kind
        if kind == protocol.TABLE_MAP:
            self._map_table(event.body)
        elif kind in ROW_EVENTS:
            table = self._tables.get(table_number(event.body))
            if table is not None:
                self._buffer.append(LoggedRows(table, kind, event.body))
        elif kind == protocol.XID:
            yield self._committed(event)
        elif kind == protocol.QUERY:
            yield from self._statement(event, event_bodies.statement_of(event.body))
        elif kind == protocol.QUERY_COMPRESSED:
            yield from self._statement(event, event_bodies.uncompressed_statement(event.body))
        elif kind in {protocol.MARIADB_GTID, protocol.GTID, protocol.ANONYMOUS_GTID, protocol.TAGGED_GTID}:
            self._begin(event)
        elif kind == protocol.ROTATE:
            self.at = event_bodies.next_file(event.body)
        elif kind == protocol.FORMAT_DESCRIPTION:
            self._is_mariadb = b"MariaDB" in event.body[:_VERSION_END]
            self._drop_unfinished()
            self._tables.clear()
        elif kind == protocol.XA_PREPARE:
            yield from self._prepare(event)
        elif kind in {protocol.HEARTBEAT, protocol.HEARTBEAT_2}:
            if not self._has_begun:
                yield Waiting(self.at)
        elif kind == protocol.PARTIAL_UPDATE:
            self._refuse_partial(event.body)
        elif kind == protocol.INCIDENT:
            raise StateError(
                f"the server noted at {self.at} that its binary log lacks events (an incident). "
                "Run once with --full-refresh for the streams that are read from the log."
            )

    # --- beginnings and ends ------------------------------------------------------------------------

    def _begin(self, event: Event) -> None:
        self._drop_unfinished()
        self._has_begun = True
        if event.kind == protocol.MARIADB_GTID:
            self._gtid, flags = event_bodies.maria_gtid(event)
            self._is_open = not flags & event_bodies.STANDALONE
        elif event.kind == protocol.GTID:
            self._gtid = event_bodies.mysql_gtid(event.body)

    def _drop_unfinished(self) -> None:
        """Forget a transaction without an end: its server died while it wrote it, and rolled it back."""
        if self._has_begun and self._is_open:
            LOGGER.warning(
                "The binary log holds a transaction without an end before %s; it did not happen", self.at
            )
        self._start_anew()

    def _start_anew(self) -> None:
        self._buffer.close()
        self._buffer = Buffer()
        self._savepoints = {}
        self._gtid, self._is_open, self._has_begun = None, False, False

    def _committed(self, event: Event) -> Transaction:
        """Hand the transaction over, and begin a new one; the old buffer is the receiver's."""
        made = Transaction(Mark(self.at, self._gtid), event.timestamp, self._buffer, not self._prepared)
        self._buffer = Buffer()
        self._start_anew()
        return made

    def _statement(self, event: Event, statement: Statement) -> Iterator[Transaction]:
        text = statement.text
        word = text.strip().split(maxsplit=1)[0].upper().rstrip(";") if text.strip() else ""
        if word == "BEGIN" or _XA_START.match(text):
            self._is_open = self._has_begun = True
        elif word == "COMMIT":
            yield self._committed(event)
        elif found := _SAVEPOINT.fullmatch(text):
            self._savepoint(found[1].upper(), found[2].strip())
        elif word == "ROLLBACK":
            self._buffer.cut((0, 0, 0))
            yield self._committed(event)
        elif found := _XA_END.fullmatch(text):
            yield self._decided(event, found[1].upper(), found[2])
        else:
            for effect in effects_of(statement):
                self._note(effect)
            if _OPENS.search(text):
                self._is_open = True
            if not self._is_open:
                yield self._committed(event)

    def _savepoint(self, verb: str, name: str) -> None:
        if verb == "SAVEPOINT":
            self._savepoints[name] = self._buffer.place()
        elif name in self._savepoints:
            self._buffer.cut(self._savepoints[name])
        else:
            raise DataError(f"the binary log goes back to a savepoint before {self.at} that it did not name")

    def _note(self, effect: TableEffect) -> None:
        if not self._is_affected(effect):
            return
        if effect.effect is Effect.WRITTEN:
            raise ConfigurationError(
                f"the binary log holds, before {self.at}, a statement that wrote to "
                f"{effect.database}.{effect.table} instead of the rows that it wrote: some session has "
                "binlog_format other than ROW. Set it to ROW, globally and in every session that sets it, then run "
                "once with --full-refresh."
            )
        self._buffer.append(effect)

    # --- XA -----------------------------------------------------------------------------------------

    def _prepare(self, event: Event) -> Iterator[Transaction]:
        is_one_phase, _, branch, qualifier = struct.unpack_from("<BIII", event.body)
        if is_one_phase:
            yield self._committed(event)
            return
        identity = event.body[13 : 13 + branch + qualifier]
        name = f"{identity[:branch].hex()},{identity[branch:].hex()}"
        self._prepared[name], self._buffer = self._buffer, Buffer()
        held = Transaction(Mark(self.at, self._gtid), event.timestamp, Buffer(), is_safe=False)
        self._start_anew()
        yield held

    def _decided(self, event: Event, verb: str, text: str) -> Transaction:
        """End a prepared transaction; one that was prepared before the reading began cannot be pending."""
        buffer = self._prepared.pop(_xa_name(text), None) or self._buffer
        if verb == "ROLLBACK":
            buffer.cut((0, 0, 0))
        if buffer is not self._buffer:
            self._buffer.close()
            self._buffer = buffer
        return self._committed(event)

    # --- tables -------------------------------------------------------------------------------------

    def _map_table(self, body: bytes) -> None:
        number = table_number(body)
        if not self._is_wanted(*table_name(body)):
            self._tables[number] = None
            return
        known = self._known.get(body)
        if known is None:
            if len(self._known) >= _KEPT_TABLES:
                self._known.clear()
            known = self._known[body] = table_map(body, is_mariadb=self._is_mariadb)
        self._tables[number] = known

    def _refuse_partial(self, body: bytes) -> None:
        table = self._tables.get(table_number(body))
        if table is not None:
            raise ConfigurationError(
                f"the binary log holds parts of JSON documents of {table.database}.{table.table} instead of whole "
                "ones. Set binlog_row_value_options to '' (it is PARTIAL_JSON), then run once with --full-refresh."
            )


_XA_PART = re.compile(r"[xX]'([0-9a-fA-F]*)'|'((?:[^']|'')*)'")


def _xa_name(text: str) -> str:
    """Return branch and qualifier of `X'61',X'62',1` as hexadecimal digits."""
    parts = [
        (match[1] if match[1] is not None else match[2].encode().hex()).lower()
        for match in _XA_PART.finditer(text)
    ]
    return ",".join([*parts, "", ""][:2])
