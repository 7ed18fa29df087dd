"""From the cells of the log's rows to the same arrays that a SELECT gives."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from icetap.sql.dialect import Decoded
from tap_mysql.log_based import table_map as kinds
from tap_mysql.log_based.binary_json import json_text
from tap_mysql.log_based.readers import decimal_text, moment_text
from tap_mysql.rows import MOMENT

if TYPE_CHECKING:
    from icetap.sql.dialect import Column
    from tap_mysql.log_based.charsets import Charsets
    from tap_mysql.log_based.table_map import LoggedColumn
    from tap_mysql.types import Native

Cells = Sequence[Any]
ToWire = Callable[[Cells], pa.Array]
"""Makes the array that the column's own `decode` takes."""

_INTEGERS = frozenset(
    {kinds.TINY, kinds.SHORT, kinds.INT24, kinds.LONG, kinds.LONGLONG, kinds.BIT, kinds.YEAR}
)
_MOMENTS = frozenset(
    {
        *(kinds.DATE, kinds.NEWDATE, kinds.DATETIME, kinds.TIMESTAMP),
        *(kinds.OLD_DATETIME, kinds.OLD_TIMESTAMP),
    }
)
_DATES = frozenset({kinds.DATE, kinds.NEWDATE})
_DECIMAL_BYTES = 16
_UUID_BYTES = 16


def with_log_decoder(column: Column, logged: LoggedColumn, charset: str, charsets: Charsets) -> Column:
    """Return a column that also decodes its cells of the log.

    Args:
        column: As the catalogue has it.
        logged: As the log has it.
        charset: The character set of its texts.
        charsets: Converts them.
    """
    exact = _exact(column, logged)
    if exact is not None:
        return dataclasses.replace(column, decode_log=exact)
    to_wire = _to_wire(column, logged, charset, charsets)
    decode = column.decode
    return dataclasses.replace(column, decode_log=lambda cells: decode([to_wire(cells)]))


def _exact(column: Column, logged: LoggedColumn) -> Callable[[Cells], Decoded] | None:
    """Return what makes the column's exact array at once, for the types where that is easily said."""
    kind = column.field.type
    if logged.kind in _INTEGERS and (pa.types.is_integer(kind)):
        return lambda cells: Decoded(pa.array(cells, kind))
    if logged.kind in {kinds.FLOAT, kinds.DOUBLE} and pa.types.is_floating(kind):
        return lambda cells: Decoded(pa.array(cells, kind))
    scale = logged.metadata & 0xFF if logged.kind == kinds.DECIMAL else 0
    if logged.kind in {*_INTEGERS, kinds.DECIMAL} and pa.types.is_decimal128(kind) and kind.scale == scale:
        return lambda cells: Decoded(decimals(cells, kind))
    return None


def decimals(digits: Cells, kind: pa.DataType) -> pa.Array:
    """Return decimals from their digits, which are integers."""
    zero = bytes(_DECIMAL_BYTES)
    octets = b"".join(
        zero if value is None else value.to_bytes(_DECIMAL_BYTES, "little", signed=True) for value in digits
    )
    valid = None
    if None in digits:
        valid = pa.array([value is not None for value in digits]).buffers()[1]
    return pa.Array.from_buffers(kind, len(digits), [valid, pa.py_buffer(octets)])


def _to_wire(column: Column, logged: LoggedColumn, charset: str, charsets: Charsets) -> ToWire:
    native: Native = column.hint.native
    kind = logged.kind
    if kind in _INTEGERS:
        return lambda cells: pa.array(cells, pa.uint64() if kind == kinds.BIT else pa.int64())
    if kind in {kinds.FLOAT, kinds.DOUBLE}:
        return lambda cells: pa.array(cells, pa.float64())
    if kind in _MOMENTS and not pa.types.is_string(column.field.type):
        return moments
    if native.data_type in {"uuid", "inet4", "inet6"}:
        return _texts(_NETWORK_TEXTS[native.data_type])
    if kind in {kinds.ENUM, kinds.SET}:
        return _texts(_choice_text(kind, logged, native, charset, charsets))
    text = _text_of(kind, logged)
    if text is not None:
        return _texts(text)
    if native.data_type == "binary":
        width = logged.metadata
        return _texts(lambda value: value.ljust(width, b"\0"))
    return charsets.converter(charset)


def moments(cells: Cells) -> pa.Array:
    """Return dates and moments as a SELECT has them: microseconds, or the mark that there is no such day."""
    try:
        micros = pa.array(cells, pa.int64())
        invalid = pa.array([None if cell is None else False for cell in cells], pa.bool_())
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        invalid = pa.array([None if cell is None else isinstance(cell, str) for cell in cells], pa.bool_())
        micros = pa.array([0 if isinstance(cell, str) else cell for cell in cells], pa.int64())
    return pa.StructArray.from_arrays([micros, invalid], fields=list(MOMENT))


def _texts(convert: Callable[[Any], bytes | str]) -> ToWire:
    def to_wire(cells: Cells) -> pa.Array:
        values = [None if cell is None else convert(cell) for cell in cells]
        return pa.array(
            [value.encode() if isinstance(value, str) else value for value in values], pa.binary()
        )

    return to_wire


def _text_of(kind: int, logged: LoggedColumn) -> Callable[[Any], str] | None:
    """Return what writes a value as the server does, for what is no text in the log."""
    if kind == kinds.DECIMAL:
        scale = logged.metadata & 0xFF
        return lambda digits: decimal_text(digits, scale)
    if kind == kinds.JSON:
        return json_text
    if kind in {kinds.TIME, kinds.OLD_TIME}:
        return str
    if kind in _MOMENTS:
        digits = 0 if kind in _DATES else logged.metadata
        is_date = kind in _DATES
        return lambda cell: (
            cell if isinstance(cell, str) else moment_text(cell, digits=digits, is_date=is_date)
        )
    return None


# --- ENUM and SET ----------------------------------------------------------------------------------


def _choice_text(
    kind: int, logged: LoggedColumn, native: Native, charset: str, charsets: Charsets
) -> Callable[[int], str]:
    labels = list(native.members)
    if logged.labels is not None:
        labels = charsets.converter(charset)(logged.labels).cast(pa.string()).to_pylist()
    if kind == kinds.ENUM:
        return lambda number: labels[number - 1] if number else ""
    return lambda bits: ",".join(label for place, label in enumerate(labels) if bits >> place & 1)


# --- MariaDB's UUID, INET4, INET6 --------------------------------------------------------------------


def uuid_text(stored: bytes) -> str:
    """Return the hexadecimal digits of a UUID; the log has its bytes in their order, zeros at the end left out."""
    return stored.ljust(_UUID_BYTES, b"\0").hex()


def inet6_text(stored: bytes) -> str:
    """Return an IPv6 address as MariaDB writes it.

    The first longest run of zeros is left out, be it a single one; an IPv4 address at the end keeps its dots.
    https://mariadb.com/kb/en/inet6/ (read 2026-11-21), and tried against a server.
    """
    octets = stored.ljust(16, b"\0")
    words = [int.from_bytes(octets[place : place + 2], "big") for place in range(0, 16, 2)]
    length, first = _longest_zeros(words)
    if first == 0 and (length == 6 or (length == 5 and words[5] == 0xFFFF)):
        return ("::ffff:" if words[5] else "::") + str(ipaddress.IPv4Address(octets[12:]))
    texts = [f"{word:x}" for word in words]
    if not length:
        return ":".join(texts)
    return ":".join(texts[:first]) + "::" + ":".join(texts[first + length :])


def _longest_zeros(words: Sequence[int]) -> tuple[int, int]:
    """Return how long the longest run of zeros is and where the first such one begins."""
    best, length = (0, 0), 0
    for place, word in enumerate(words):
        length = 0 if word else length + 1
        if length > best[0]:
            best = (length, place - length + 1)
    return best


def inet4_text(stored: bytes) -> str:
    """Return an IPv4 address."""
    return str(ipaddress.IPv4Address(stored.ljust(4, b"\0")))


_NETWORK_TEXTS: dict[str, Callable[[bytes], str]] = {
    "uuid": uuid_text,
    "inet4": inet4_text,
    "inet6": inet6_text,
}
