"""The replication protocol: asking a server for its binary log, and cutting what comes into events.

Packets and events: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication.html and
https://mariadb.com/kb/en/replication-protocol/ (read 2026-11-21).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from icetap.errors import DataError, RetriableError
from tap_mysql import wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_mysql.log_based.positions import Position

DUMP, REGISTER_REPLICA, DUMP_GTID = 0x12, 0x15, 0x1E
NON_BLOCKING, THROUGH_GTID = 0x01, 0x04

QUERY, ROTATE, FORMAT_DESCRIPTION, XID, TABLE_MAP = 2, 4, 15, 16, 19
HEARTBEAT, HEARTBEAT_2, INCIDENT = 27, 41, 26
XA_PREPARE, PARTIAL_UPDATE, PAYLOAD = 38, 39, 40
GTID, ANONYMOUS_GTID, TAGGED_GTID, MARIADB_GTID = 33, 34, 42, 162
START_ENCRYPTION, QUERY_COMPRESSED = 164, 165

_HEADER = struct.Struct("<IBIIIH")
HEADER_BYTES = _HEADER.size
CHECKSUM_BYTES = 4
_CRC32 = 1
_ARTIFICIAL = 0x20


@dataclass(slots=True)
class Event:
    """One event of the log.

    `timestamp` is in seconds since 1970; `server` is the number of the server that wrote it first.
    `end` is the position in the file after it, 0 where the server does not tell it. `body` is what comes
    after the header, without the checksum. An artificial event was made for the connection and is not in the file.
    """

    kind: int
    timestamp: int
    server: int
    end: int
    flags: int
    body: bytes

    @property
    def is_artificial(self) -> bool:
        """Whether the event is not part of the file."""
        return bool(self.flags & _ARTIFICIAL) or self.end == 0


class EventStream:
    """The events that a server sends on one connection.

    Args:
        connection: An open connection of PyMySQL's that serves nothing else any more.
        server_id: The number by which the server knows this reader; two readers with one number drive each
            other out.
        heartbeat_seconds: How often the server says that there is nothing to say; needs `is_blocking`.
        is_blocking: Wait for what is yet to be written, instead of ending at the end of the log.
    """

    def __init__(
        self, connection: Any, *, server_id: int, is_blocking: bool, heartbeat_seconds: float = 1.0
    ) -> None:
        self._connection = connection
        self._server_id = server_id
        self._is_blocking = is_blocking
        self._heartbeat_seconds = heartbeat_seconds
        self._has_checksums = False

    def begin(self, position: Position) -> None:
        """Ask for the log from a position on."""
        with self._connection.cursor() as cursor:
            for statement in self._preparations():
                cursor.execute(statement)
            for statement in position.preparations():
                cursor.execute(statement)
        self.register()
        flags = 0 if self._is_blocking else NON_BLOCKING
        self._command(position.dump_command(flags=flags, server_id=self._server_id))

    def register(self) -> None:
        """Make the reader known to the server, which checks its right to read the log."""
        self._command(self._registration())
        wire.packet(self._connection)

    def _preparations(self) -> Iterator[str]:
        # The new name is MySQL's since 8.0.26; who does not know a variable lets it be set all the same.
        for name in ("master_binlog_checksum", "source_binlog_checksum"):
            yield f"SET @{name} = @@global.binlog_checksum"
        nanoseconds = int(self._heartbeat_seconds * 1_000_000_000)
        for name in ("master_heartbeat_period", "source_heartbeat_period"):
            yield f"SET @{name} = {nanoseconds}"
        # MariaDB hides its own events from who does not know GTIDs (4).
        yield "SET @mariadb_slave_capability = 4"

    def _registration(self) -> bytes:
        """Make the reader known in SHOW REPLICAS: host, user and password empty."""
        return struct.pack("<BI3sHII", REGISTER_REPLICA, self._server_id, b"\0\0\0", 0, 0, 0)

    def _command(self, payload: bytes) -> None:
        wire.send(self._connection, payload[0], payload[1:])

    def __iter__(self) -> Iterator[Event]:
        """Yield the events in their order, until the end of the log unless `is_blocking`.

        Raises:
            DataError: When an event is damaged.
            RetriableError: When the server says that it ends, without an error.
        """
        connection, packet = self._connection, wire.packet
        while True:
            data = packet(connection).get_all_data()
            if data[0] == 0xFE and len(data) < 9:
                return
            if data[0] != 0:
                raise RetriableError("the server sent something else than an event of its binary log")
            yield self._event(data)

    def _event(self, data: bytes) -> Event:
        timestamp, kind, server, length, end, flags = _HEADER.unpack_from(data, 1)
        stop = 1 + length
        if stop != len(data):
            raise DataError(
                f"an event of kind {kind} in the binary log says it has {length} bytes and has {len(data) - 1}"
            )
        if kind == FORMAT_DESCRIPTION:
            # Its last five bytes are the algorithm and the checksum, whatever the file's other events have.
            self._has_checksums = data[-5] == _CRC32
            stop -= CHECKSUM_BYTES
        elif self._has_checksums or (kind == ROTATE and _is_checked(data)):
            if not _is_checked(data):
                raise DataError(
                    f"an event of kind {kind} in the binary log, before position {end}, does not fit its checksum. "
                    "The log is damaged there: reset this stream's state, so that the tables are read anew."
                )
            stop -= CHECKSUM_BYTES
        return Event(kind, timestamp, server, end, flags, data[1 + HEADER_BYTES : stop])


def _is_checked(data: bytes) -> bool:
    """Say whether the last four bytes are the checksum of those before; a first byte belongs to the packet."""
    return zlib.crc32(memoryview(data)[1:-CHECKSUM_BYTES]) == int.from_bytes(data[-CHECKSUM_BYTES:], "little")
