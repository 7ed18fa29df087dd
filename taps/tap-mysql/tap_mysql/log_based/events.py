"""The events around the rows: statements, GTIDs, ends of files, compressed transactions.

Layouts: https://dev.mysql.com/doc/dev/mysql-server/latest/group__group__cs__binglog__event__format__and__header.html,
https://mariadb.com/kb/en/replication-protocol/ (read 2026-11-21).
"""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from icetap.errors import DataError
from tap_mysql.log_based.positions import Coordinates, MariaGtid, MySQLGtid
from tap_mysql.log_based.protocol import HEADER_BYTES, Event

if TYPE_CHECKING:
    from collections.abc import Iterator

STANDALONE, COMPLETED_XA = 0x01, 0x80
"""Flags of MariaDB's GTID event: one statement without an end of its own; the end of an XA transaction."""

_QUERY = struct.Struct("<IIBHH")
_MARIA_GTID = struct.Struct("<QIB")
_LATIN1_COLLATIONS = frozenset({5, 8, 15, 31, 47, 48, 49, 94})
_CHARSET_VARIABLE = 4
# Bytes of the status variables that may come before the character set; 1, 3: sql_mode, auto_increment.
_VARIABLE_BYTES = {0: 4, 1: 8, 3: 4}
_CATALOG_VARIABLE = 6


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of the log, and the database in which it ran."""

    database: str
    text: str


def statement_of(body: bytes) -> Statement:
    """Return the statement of a QUERY event."""
    _, _, database_length, _, variables_length = _QUERY.unpack_from(body)
    start = _QUERY.size + variables_length
    end = start + database_length
    codec = "cp1252" if _collation(body[_QUERY.size : start]) in _LATIN1_COLLATIONS else "utf-8"
    return Statement(
        database=body[start:end].decode("utf-8", "replace"), text=body[end + 1 :].decode(codec, "replace")
    )


def _collation(variables: bytes) -> int:
    """Return the number of the client's collation, 0 when it is not told."""
    position = 0
    while position < len(variables):
        kind = variables[position]
        position += 1
        if kind == _CHARSET_VARIABLE:
            return int.from_bytes(variables[position : position + 2], "little")
        if kind == _CATALOG_VARIABLE:
            position += 1 + variables[position]
        elif kind in _VARIABLE_BYTES:
            position += _VARIABLE_BYTES[kind]
        else:
            break
    return 0


def uncompressed(data: bytes) -> bytes:
    """Return the bytes of what MariaDB compressed (`log_bin_compress`, `COMPRESSED` columns of events).

    The first byte's low three bits are how many bytes tell the length; zlib's stream follows.

    Raises:
        DataError: When it is no such thing.
    """
    length_bytes = data[0] & 0x07
    if (data[0] & 0xE0) != 0x80:
        raise DataError(f"the binary log holds an event that is compressed in an unknown way ({data[0]:#x})")
    length = int.from_bytes(data[1 : 1 + length_bytes], "big")
    plain = zlib.decompress(data[1 + length_bytes :])
    if len(plain) != length:
        raise DataError(f"a compressed event of the binary log has {len(plain)} bytes and says {length}")
    return plain


def uncompressed_statement(body: bytes) -> Statement:
    """Return the statement of MariaDB's QUERY_COMPRESSED event."""
    _, _, database_length, _, variables_length = _QUERY.unpack_from(body)
    start = _QUERY.size + variables_length + database_length + 1
    return statement_of(body[:start] + uncompressed(body[start:]))


def maria_gtid(event: Event) -> tuple[MariaGtid, int]:
    """Return the GTID that begins a transaction, and its flags."""
    number, domain, flags = _MARIA_GTID.unpack_from(event.body)
    return MariaGtid(domain, event.server, number), flags


def mysql_gtid(body: bytes) -> MySQLGtid:
    """Return the GTID that begins a transaction."""
    return MySQLGtid(str(uuid.UUID(bytes=body[1:17])), int.from_bytes(body[17:25], "little"))


def next_file(body: bytes) -> Coordinates:
    """Return where a ROTATE event says that the log goes on."""
    return Coordinates(body[8:].decode(), int.from_bytes(body[:8], "little"))


# --- MySQL's compressed transactions -----------------------------------------------------------------

_END, _SIZE, _COMPRESSION, _UNCOMPRESSED_SIZE = 0, 1, 2, 3
_ZSTD, _NONE = 0, 255


def payload_events(event: Event) -> Iterator[Event]:
    """Yield the events inside a TRANSACTION_PAYLOAD event (`binlog_transaction_compression`).

    Their ends are that of the whole; they have no checksums of their own.
    https://dev.mysql.com/doc/refman/8.4/en/binary-log-transaction-compression.html (read 2026-11-21)
    """
    fields, start = _payload_fields(event.body)
    data = event.body[start:]
    if fields.get(_COMPRESSION, _ZSTD) == _ZSTD:
        size = fields[_UNCOMPRESSED_SIZE]
        data = pa.Codec("zstd").decompress(data, decompressed_size=size).to_pybytes()
    elif fields[_COMPRESSION] != _NONE:
        raise DataError(
            f"the binary log holds a transaction that is compressed by method {fields[_COMPRESSION]}, "
            "which is not known. Set binlog_transaction_compression to OFF."
        )
    position = 0
    while position < len(data):
        timestamp, kind, server, length, _, flags = struct.unpack_from("<IBIIIH", data, position)
        body = data[position + HEADER_BYTES : position + length]
        yield Event(kind, timestamp, server, event.end, flags, body)
        position += length


def _payload_fields(body: bytes) -> tuple[dict[int, int], int]:
    """Return the fields before the payload, and where it begins."""
    fields: dict[int, int] = {}
    position = 0
    while True:
        kind, position = packed_integer(body, position)
        if kind == _END:
            return fields, position
        length, position = packed_integer(body, position)
        fields[kind], _ = packed_integer(body, position)
        position += length


def packed_integer(data: bytes, position: int) -> tuple[int, int]:
    """Return an integer of one to nine bytes, and what comes after it."""
    first = data[position]
    if first < 0xFB:
        return first, position + 1
    width = {0xFC: 2, 0xFD: 3, 0xFE: 8}[first]
    end = position + 1 + width
    return int.from_bytes(data[position + 1 : end], "little"), end
