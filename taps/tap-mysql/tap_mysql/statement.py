"""Prepared statements on a connection of PyMySQL's, which has none: described, bound and read by the server's rules.

The binary protocol gives numbers as they are (the text of a FLOAT has six digits), binds values with their types,
and costs the server less than half of what texts cost.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_command_phase_ps.html (read 2026-11-21)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pymysql.constants import FIELD_TYPE, FLAG
from pymysql.err import raise_mysql_exception

from tap_mysql import wire
from tap_mysql.packets import PacketReader
from tap_mysql.rows import MOMENT, TEXT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icetap.sql.dialect import Value

_PREPARE, _EXECUTE, _CLOSE = 0x16, 0x17, 0x19
_NO_CURSOR, _ONE_ITERATION, _NEW_TYPES = 0, 1, 1
_UNSIGNED = 0x8000
_LARGEST = 2**63 - 1
BINARY_CHARSET = 63

_INTEGERS = {
    FIELD_TYPE.TINY: (pa.int8(), pa.uint8()),
    FIELD_TYPE.SHORT: (pa.int16(), pa.uint16()),
    FIELD_TYPE.YEAR: (pa.int16(), pa.uint16()),
    FIELD_TYPE.INT24: (pa.int32(), pa.uint32()),
    FIELD_TYPE.LONG: (pa.int32(), pa.uint32()),
    FIELD_TYPE.LONGLONG: (pa.int64(), pa.uint64()),
}
STRINGS = frozenset(
    {
        FIELD_TYPE.VARCHAR,
        FIELD_TYPE.VAR_STRING,
        FIELD_TYPE.STRING,
        FIELD_TYPE.TINY_BLOB,
        FIELD_TYPE.MEDIUM_BLOB,
        FIELD_TYPE.LONG_BLOB,
        FIELD_TYPE.BLOB,
    }
)
"""Texts and bytes alike: their character set tells which."""
_BINARY_STRINGS = STRINGS | {FIELD_TYPE.BIT, FIELD_TYPE.GEOMETRY}
_OTHERS = {
    FIELD_TYPE.FLOAT: pa.float32(),
    FIELD_TYPE.DOUBLE: pa.float64(),
    FIELD_TYPE.NULL: pa.null(),
    FIELD_TYPE.DATE: MOMENT,
    FIELD_TYPE.NEWDATE: MOMENT,
    FIELD_TYPE.DATETIME: MOMENT,
    FIELD_TYPE.TIMESTAMP: MOMENT,
}


class Number(str):
    """The text of a decimal number: bound as a number, where any other text is bound as a text."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Described:
    """A column of a result, as the server describes it.

    `length` is in bytes; `scale` is the number of decimals.
    """

    name: str
    type_code: int
    flags: int
    charset: int
    length: int
    scale: int

    @property
    def is_unsigned(self) -> bool:
        """Whether its numbers are never negative."""
        return bool(self.flags & FLAG.UNSIGNED)

    @property
    def is_binary(self) -> bool:
        """Whether its values are bytes and no texts; texts of numbers and dates count as texts."""
        return self.charset == BINARY_CHARSET and self.type_code in _BINARY_STRINGS

    def wire_type(self) -> pa.DataType:
        """Return how its values come.

        Raises:
            ValueError: For TIME, whose fields are its own: such columns are asked for as texts.
        """
        if self.type_code in _INTEGERS:
            return _INTEGERS[self.type_code][self.is_unsigned]
        if self.type_code in _OTHERS:
            return _OTHERS[self.type_code]
        if self.type_code == FIELD_TYPE.TIME:
            raise ValueError(f"column '{self.name}' comes as TIME and not as text")
        return TEXT


class Statement:
    """A prepared statement; one result at a time.

    Args:
        connection: An open connection of PyMySQL's, with nothing left to read.
        sql: One statement, with `?` for each value.

    Raises:
        pymysql.Error: When the server refuses it.
    """

    def __init__(self, connection: Any, sql: str) -> None:
        self._connection = connection
        wire.send(connection, _PREPARE, sql)
        first = wire.packet(connection)
        self._id, count, parameters = struct.unpack("<xIHH", first.get_all_data()[:9])
        self._parameters = int(parameters)
        self._definitions(self._parameters)
        self.columns = self._definitions(count)

    def _definitions(self, count: int) -> list[Described]:
        connection = self._connection
        found = [wire.description(connection) for _ in range(count)]
        if count:
            wire.packet(connection)  # their end
        return [
            Described(each.name, each.type_code, each.flags, each.charsetnr, each.length, each.scale)
            for each in found
        ]

    def execute(self, parameters: Sequence[Value]) -> PacketReader | None:
        """Run it; return a reader of its rows, or None when it has no result.

        Raises:
            pymysql.Error: When the server refuses it.
        """
        if len(parameters) != self._parameters:
            raise ValueError(f"{self._parameters} parameters were expected, {len(parameters)} given")
        connection = self._connection
        head = struct.pack("<IBI", self._id, _NO_CURSOR, _ONE_ITERATION)
        wire.send(connection, _EXECUTE, head + _bound(parameters))
        first = wire.packet(connection)
        if first.is_ok_packet():
            return None
        self.columns = self._definitions(first.read_length_encoded_integer())
        source, number = wire.rest(connection)
        return PacketReader(source, number=number)

    def close(self) -> None:
        """Let the server forget it; there is no answer."""
        if self._connection.open:
            wire.send(self._connection, _CLOSE, struct.pack("<I", self._id))


def raise_for(payload: bytes) -> None:
    """Raise the error of a packet that the server ended a result with."""
    raise_mysql_exception(payload)


def _bound(parameters: Sequence[Value]) -> bytes:
    if not parameters:
        return b""
    bitmap = bytearray((len(parameters) + 7) // 8)
    kinds, values = [], []
    for number, value in enumerate(parameters):
        kind, octets = _parameter(value)
        if octets is None:
            bitmap[number // 8] |= 1 << number % 8
        kinds.append(struct.pack("<H", kind))
        values.append(octets or b"")
    return bytes(bitmap) + bytes([_NEW_TYPES]) + b"".join(kinds) + b"".join(values)


def _parameter(value: Value) -> tuple[int, bytes | None]:
    """Return a value's type and its bytes."""
    if value is None:
        return FIELD_TYPE.NULL, None
    if isinstance(value, float):
        return FIELD_TYPE.DOUBLE, struct.pack("<d", value)
    if isinstance(value, int) and -_LARGEST - 1 <= value <= _LARGEST:
        return FIELD_TYPE.LONGLONG, struct.pack("<q", value)
    if isinstance(value, int):
        return FIELD_TYPE.LONGLONG | _UNSIGNED, struct.pack("<Q", value)
    if isinstance(value, bytes):
        return FIELD_TYPE.BLOB, _counted(value)
    kind = FIELD_TYPE.NEWDECIMAL if isinstance(value, Number) else FIELD_TYPE.VAR_STRING
    return kind, _counted(value.encode("utf-8"))


def _counted(octets: bytes) -> bytes:
    """Put the length in front."""
    size = len(octets)
    if size < 0xFB:  # from here on, the first byte says how many bytes the length has
        return bytes([size]) + octets
    if size <= 0xFFFF:
        return b"\xfc" + struct.pack("<H", size) + octets
    return b"\xfe" + struct.pack("<Q", size) + octets
