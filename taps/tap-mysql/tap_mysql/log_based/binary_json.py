"""MySQL's binary JSON as the text that the server would show; MariaDB keeps JSON as text.

Layout: https://dev.mysql.com/doc/dev/mysql-server/latest/json__binary_8h.html (read 2026-11-21).
"""

from __future__ import annotations

import base64
import json
import struct
from typing import TYPE_CHECKING

from icetap.errors import DataError
from tap_mysql.log_based import readers
from tap_mysql.log_based import table_map as kinds

if TYPE_CHECKING:
    from collections.abc import Iterator

_SMALL_OBJECT, _LARGE_OBJECT, _SMALL_ARRAY, _LARGE_ARRAY, _LITERAL = range(5)
_INT16, _UINT16, _INT32, _UINT32, _INT64, _UINT64, _DOUBLE, _STRING = range(5, 13)
_OPAQUE = 15
_NUMBERS = {
    _INT16: struct.Struct("<h"),
    _UINT16: struct.Struct("<H"),
    _INT32: struct.Struct("<i"),
    _UINT32: struct.Struct("<I"),
    _INT64: struct.Struct("<q"),
    _UINT64: struct.Struct("<Q"),
}
_LITERALS = {0: "null", 1: "true", 2: "false"}
_LARGEST_DEPTH = 100


def json_text(document: bytes) -> str:
    """Return the text of a document; an empty one is null, as the server has it.

    Raises:
        DataError: When it is damaged.
    """
    if not document:
        return "null"
    try:
        return _value(document, document[0], 1, depth=0)
    except (IndexError, struct.error, KeyError, UnicodeDecodeError) as error:
        raise DataError("a JSON document in the binary log is not in MySQL's binary form") from error


def _value(data: bytes, kind: int, position: int, *, depth: int) -> str:
    if depth > _LARGEST_DEPTH:
        raise DataError(f"a JSON document in the binary log is nested more than {_LARGEST_DEPTH} times")
    if kind in {_SMALL_OBJECT, _LARGE_OBJECT, _SMALL_ARRAY, _LARGE_ARRAY}:
        is_large = kind in {_LARGE_OBJECT, _LARGE_ARRAY}
        parts = _parts(data, position, is_large=is_large, is_object=kind <= _LARGE_OBJECT, depth=depth)
        return "{" + ", ".join(parts) + "}" if kind <= _LARGE_OBJECT else "[" + ", ".join(parts) + "]"
    if kind == _LITERAL:
        return _LITERALS[data[position]]
    if kind in _NUMBERS:
        return str(_NUMBERS[kind].unpack_from(data, position)[0])
    if kind == _DOUBLE:
        return repr(struct.unpack_from("<d", data, position)[0]).replace("e+", "e")
    if kind == _STRING:
        length, start = _length(data, position)
        return json.dumps(data[start : start + length].decode(), ensure_ascii=False)
    if kind == _OPAQUE:
        length, start = _length(data, position + 1)
        return _opaque(data[position], data[start : start + length])
    raise DataError(f"a JSON document in the binary log holds a value of the unknown kind {kind}")


def _parts(data: bytes, base: int, *, is_large: bool, is_object: bool, depth: int) -> Iterator[str]:
    """Yield the members; offsets count from the first byte of the object or array."""
    number = struct.Struct("<I" if is_large else "<H")
    count = number.unpack_from(data, base)[0]
    entries = base + 2 * number.size
    key_size = number.size + 2
    values = entries + (count * key_size if is_object else 0)
    inline = {_LITERAL, _INT16, _UINT16} | ({_INT32, _UINT32} if is_large else set())
    for place in range(count):
        entry = values + place * (1 + number.size)
        kind = data[entry]
        where = entry + 1 if kind in inline else base + number.unpack_from(data, entry + 1)[0]
        text = _value(data, kind, where, depth=depth + 1)
        if is_object:
            key = entries + place * key_size
            start = base + number.unpack_from(data, key)[0]
            length = struct.unpack_from("<H", data, key + number.size)[0]
            name = json.dumps(data[start : start + length].decode(), ensure_ascii=False)
            text = f"{name}: {text}"
        yield text


def _length(data: bytes, position: int) -> tuple[int, int]:
    """Return a length of seven bits a byte, lowest first, and where it ends."""
    value, shift = 0, 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, position


def _opaque(kind: int, data: bytes) -> str:
    """Return a value that JSON has no type for: decimals as numbers, moments as texts, others as base64."""
    if kind == kinds.DECIMAL:
        precision, scale = data[0], data[1]
        digits, _ = readers.decimal_reader(precision, scale)(data, 2)
        return readers.decimal_text(digits, scale)
    if kind in {kinds.DATE, kinds.OLD_TIME, kinds.OLD_DATETIME, kinds.OLD_TIMESTAMP}:
        return f'"{_moment(kind, int.from_bytes(data[:8], "little", signed=True))}"'
    return f'"base64:type{kind}:{base64.b64encode(data).decode()}"'


def _moment(kind: int, packed: int) -> str:
    sign, packed = ("-", -packed) if packed < 0 else ("", packed)
    whole, micros = packed >> 24, packed & 0xFFFFFF
    if kind == kinds.OLD_TIME:
        return f"{sign}{whole >> 12:02d}:{whole >> 6 & 63:02d}:{whole & 63:02d}.{micros:06d}"
    year, month = divmod(whole >> 22, 13)
    day = f"{year:04d}-{month:02d}-{whole >> 17 & 31:02d}"
    if kind == kinds.DATE:
        return day
    return f"{day} {whole >> 12 & 31:02d}:{whole >> 6 & 63:02d}:{whole & 63:02d}.{micros:06d}"
