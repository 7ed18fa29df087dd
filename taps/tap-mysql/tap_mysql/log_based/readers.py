"""Reading one value of a row: what the log's bytes mean, by the type of the column.

A reader takes the bytes and a position and returns the value with the position after it. Values come as
Python's integers, floats, texts and bytes; decimals as their digits, an integer. Dates and moments come as
microseconds since 1970, those that no calendar has as the texts that the server would show; times, which may be
negative and have more than a day, as such texts too.

Layouts: https://dev.mysql.com/doc/dev/mysql-server/latest/classbinary__log_1_1Table__map__event.html,
https://dev.mysql.com/doc/dev/mysql-server/latest/field__types_8h.html (read 2026-11-21).
"""

from __future__ import annotations

import datetime as dt
import struct
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from icetap.errors import DataError
from tap_mysql.log_based import table_map as kinds

if TYPE_CHECKING:
    from tap_mysql.log_based.table_map import LoggedColumn

Reader = Callable[[bytes, int], tuple[Any, int]]

_INTEGER_BYTES = {kinds.TINY: 1, kinds.SHORT: 2, kinds.INT24: 3, kinds.LONG: 4, kinds.LONGLONG: 8}
_STRUCTS = {
    (1, False): "b",
    (1, True): "B",
    (2, False): "<h",
    (2, True): "<H",
    (4, False): "<i",
    (4, True): "<I",
}
_STRUCTS |= {(8, False): "<q", (8, True): "<Q"}
_DIGITS_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
_DIGITS = 9
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_DAY_MICROS = 86_400_000_000
_CACHED_DAYS = 50_000


def reader_of(column: LoggedColumn) -> Reader:
    """Return what reads the values of a column.

    Raises:
        DataError: When the log does not tell enough to read them.
    """
    kind, metadata = column.kind, column.metadata
    if kind in _INTEGER_BYTES:
        return _integer(_INTEGER_BYTES[kind], is_unsigned=bool(column.is_unsigned))
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if kind in {kinds.FLOAT, kinds.DOUBLE}:
        return _unpacked(struct.Struct("<f" if kind == kinds.FLOAT else "<d"))
    if kind in {kinds.ENUM, kinds.SET}:
        return _plain_integer(metadata, "little")
    if kind == kinds.BIT:
        return _plain_integer((metadata + 7) // 8, "big")
    if kind == kinds.DECIMAL:
        return decimal_reader(metadata >> 8, metadata & 0xFF)
    if kind in _FRACTIONAL:
        return _FRACTIONAL[kind](metadata)
    if kind in {kinds.VARCHAR, kinds.STRING, kinds.VAR_STRING}:
        return _bytes(1 if metadata < 256 else 2)
    if kind == kinds.COMPRESSED_VARCHAR:
        return _decompressed(_bytes(1 if metadata < 256 else 2))
    if kind in {kinds.BLOB, kinds.GEOMETRY, kinds.JSON, kinds.VECTOR}:
        return _bytes(metadata)
    if kind == kinds.COMPRESSED_BLOB:
        return _decompressed(_bytes(metadata))
    raise DataError(
        f"column '{column.name or '?'}' has the type number {kind} in the binary log, which is not known. "
        "Deselect the column or the table, or read it with FULL_TABLE."
    )


def width_of(column: LoggedColumn) -> int | None:
    """Return how many bytes each value of a column takes, None where that differs."""
    kind, metadata = column.kind, column.metadata
    if kind in _INTEGER_BYTES:
        return _INTEGER_BYTES[kind]
    if kind in {kinds.DATETIME, kinds.TIMESTAMP, kinds.TIME}:
        whole = {kinds.DATETIME: 5, kinds.TIMESTAMP: 4, kinds.TIME: 3}[kind]
        return whole + (metadata + 1) // 2
    fixed = {kinds.FLOAT: 4, kinds.DOUBLE: 8, kinds.YEAR: 1, kinds.DATE: 3, kinds.NEWDATE: 3}
    return fixed.get(kind)


# --- numbers ---------------------------------------------------------------------------------------


def _integer(width: int, *, is_unsigned: bool) -> Reader:
    if width == 3:
        limit, range_ = (1 << 24, 1 << 24) if is_unsigned else (1 << 23, 1 << 24)

        def medium(data: bytes, position: int) -> tuple[int, int]:
            value = int.from_bytes(data[position : position + 3], "little")
            return (value if value < limit else value - range_), position + 3

        return medium
    return _unpacked(struct.Struct(_STRUCTS[width, is_unsigned]))


def _unpacked(layout: struct.Struct) -> Reader:
    unpack, width = layout.unpack_from, layout.size

    def read(data: bytes, position: int) -> tuple[Any, int]:
        return unpack(data, position)[0], position + width

    return read


def _plain_integer(width: int, order: Any) -> Reader:
    def read(data: bytes, position: int) -> tuple[int, int]:
        end = position + width
        return int.from_bytes(data[position:end], order), end

    return read


def decimal_reader(precision: int, scale: int) -> Reader:
    """Read a decimal's digits: groups of nine in four bytes; the first bit is the sign, negative ones inverted."""
    whole = precision - scale
    digits = [
        whole % _DIGITS,
        *[_DIGITS] * (whole // _DIGITS),
        *[_DIGITS] * (scale // _DIGITS),
        scale % _DIGITS,
    ]
    size = sum(_DIGITS_BYTES[count] for count in digits)
    groups: list[tuple[int, int, int]] = []  # where the group's bits are, and what its number counts
    bits, factor = 0, 1
    for count in reversed(digits):
        width = 8 * _DIGITS_BYTES[count]
        if width:
            groups.append((bits, (1 << width) - 1, factor))
        bits += width
        factor *= 10**count
    sign, mask = 1 << (8 * size - 1), (1 << (8 * size)) - 1
    inverted = sign ^ mask

    def read(data: bytes, position: int) -> tuple[int, int]:
        end = position + size
        raw = int.from_bytes(data[position:end], "big")
        value = 0
        if raw & sign:
            raw ^= sign
            for shift, ones, counts in groups:
                value += (raw >> shift & ones) * counts
            return value, end
        raw ^= inverted
        for shift, ones, counts in groups:
            value -= (raw >> shift & ones) * counts
        return value, end

    return read


def decimal_text(digits: int, scale: int) -> str:
    """Return a decimal as the server writes it: as many places as its scale, a zero before the point."""
    if not scale:
        return str(digits)
    sign, text = ("-", str(-digits)) if digits < 0 else ("", str(digits))
    text = text.rjust(scale + 1, "0")
    return f"{sign}{text[:-scale]}.{text[-scale:]}"


def _year(data: bytes, position: int) -> tuple[int, int]:
    value = data[position]
    return (1900 + value if value else 0), position + 1


# --- dates and times -------------------------------------------------------------------------------


class _Days(dict[int, int | None]):
    """Microseconds since 1970 at the beginning of days, by (year * 13 + month) * 32 + day; remembered.

    None for days that no calendar has.
    """

    def __missing__(self, packed: int) -> int | None:
        if len(self) >= _CACHED_DAYS:
            self.clear()
        year, month, day = _parts_of_day(packed)
        try:
            found = (dt.date(year, month, day).toordinal() - _EPOCH_DAY) * _DAY_MICROS
        except ValueError:
            found = None
        self[packed] = found
        return found


def _parts_of_day(packed: int) -> tuple[int, int, int]:
    months, day = divmod(packed, 32)
    year, month = divmod(months, 13)
    return year, month, day


_DAYS = _Days()


def _date(data: bytes, position: int) -> tuple[int | str, int]:
    value = int.from_bytes(data[position : position + 3], "little")
    packed = ((value >> 9) * 13 + (value >> 5 & 15)) * 32 + (value & 31)
    micros = _DAYS[packed]
    return ("{:04d}-{:02d}-{:02d}".format(*_parts_of_day(packed)) if micros is None else micros), position + 3


def _datetime(digits: int) -> Reader:
    """Read five bytes of year, month, day, hour, minute, second; then the fraction."""
    fraction_bytes = (digits + 1) // 2
    to_micros = 10 ** (6 - 2 * fraction_bytes)

    def read(data: bytes, position: int) -> tuple[int | str, int]:
        value = int.from_bytes(data[position : position + 5], "big") - 0x8000000000
        start = position + 5
        end = start + fraction_bytes
        micros = _DAYS[value >> 17]
        if micros is None:
            return _invalid_datetime(value, data[start:end], digits), end
        second = ((value >> 12 & 31) * 60 + (value >> 6 & 63)) * 60 + (value & 63)
        micros += second * 1_000_000
        if fraction_bytes:
            micros += int.from_bytes(data[start:end], "big") * to_micros
        return micros, end

    return read


def _invalid_datetime(value: int, fraction: bytes, digits: int) -> str:
    time = f"{value >> 12 & 31:02d}:{value >> 6 & 63:02d}:{value & 63:02d}"
    day = "{:04d}-{:02d}-{:02d}".format(*_parts_of_day(value >> 17))
    return f"{day} {time}{_fraction(fraction, digits)}"


def _fraction(data: bytes, digits: int) -> str:
    return "." + f"{int.from_bytes(data, 'big'):0{2 * len(data)}d}"[:digits] if digits else ""


def _timestamp(digits: int) -> Reader:
    """Read four bytes of seconds since 1970 in UTC; then the fraction. Zero is the zero timestamp."""
    fraction_bytes = (digits + 1) // 2
    to_micros = 10 ** (6 - 2 * fraction_bytes)
    zero = "0000-00-00 00:00:00" + _fraction(bytes(fraction_bytes), digits)

    def read(data: bytes, position: int) -> tuple[int | str, int]:
        middle = position + 4
        end = middle + fraction_bytes
        micros = int.from_bytes(data[position:middle], "big") * 1_000_000
        if fraction_bytes:
            micros += int.from_bytes(data[middle:end], "big") * to_micros
        return micros or zero, end

    return read


def moment_text(micros: int, *, digits: int, is_date: bool) -> str:
    """Return a date or a moment as the server writes it."""
    days, rest = divmod(micros, _DAY_MICROS)
    day = dt.date.fromordinal(_EPOCH_DAY + days).isoformat()
    if is_date:
        return day
    seconds, micros = divmod(rest, 1_000_000)
    time = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{day} {time}" + (f".{micros:06d}"[: 1 + digits] if digits else "")


def _time(digits: int) -> Reader:
    """Read three bytes of sign, hours, minutes, seconds and the fraction, as one number around its middle."""
    fraction_bytes = (digits + 1) // 2
    width, shift = 3 + fraction_bytes, 8 * fraction_bytes
    middle, mask = 0x800000 << shift, (1 << shift) - 1

    def read(data: bytes, position: int) -> tuple[str, int]:
        end = position + width
        value = int.from_bytes(data[position:end], "big") - middle
        sign, value = ("-", -value) if value < 0 else ("", value)
        whole = value >> shift
        text = f"{sign}{whole >> 12:02d}:{whole >> 6 & 63:02d}:{whole & 63:02d}"
        if fraction_bytes:
            text += _fraction((value & mask).to_bytes(fraction_bytes, "big"), digits)
        return text, end

    return read


def _old_timestamp(data: bytes, position: int) -> tuple[int | str, int]:
    """Read seconds since 1970: the form of columns made before MySQL 5.6 or MariaDB 10.1."""
    value = int.from_bytes(data[position : position + 4], "little")
    return (value * 1_000_000 or "0000-00-00 00:00:00"), position + 4


def _old_datetime(data: bytes, position: int) -> tuple[int | str, int]:
    """Read the decimal number YYYYMMDDhhmmss, as old."""
    date, time = divmod(int.from_bytes(data[position : position + 8], "little"), 1_000_000)
    year, month, day = date // 10_000, date // 100 % 100, date % 100
    hour, minute, second = time // 10_000, time // 100 % 100, time % 100
    micros = _DAYS[(year * 13 + month) * 32 + day]
    if micros is None:
        return f"{year:04d}-{month:02d}-{day:02d} {hour:02d}:{minute:02d}:{second:02d}", position + 8
    return micros + ((hour * 60 + minute) * 60 + second) * 1_000_000, position + 8


def _old_time(data: bytes, position: int) -> tuple[str, int]:
    value = int.from_bytes(data[position : position + 3], "little", signed=True)
    sign, value = ("-", -value) if value < 0 else ("", value)
    return f"{sign}{value // 10000:02d}:{value // 100 % 100:02d}:{value % 100:02d}", position + 3


# --- texts and bytes -------------------------------------------------------------------------------


def _bytes(length_bytes: int) -> Reader:
    if length_bytes == 1:

        def read_short(data: bytes, position: int) -> tuple[bytes, int]:
            start = position + 1
            end = start + data[position]
            return data[start:end], end

        return read_short

    def read(data: bytes, position: int) -> tuple[bytes, int]:
        start = position + length_bytes
        end = start + int.from_bytes(data[position:start], "little")
        return data[start:end], end

    return read


def _decompressed(stored: Reader) -> Reader:
    """Read a value of MariaDB's COMPRESSED columns.

    The first byte is the algorithm and how many bytes tell the length; 0 says that the rest is plain.
    https://mariadb.com/kb/en/storage-engine-independent-column-compression/ (read 2026-11-21)
    """

    def read(data: bytes, position: int) -> tuple[bytes, int]:
        value, end = stored(data, position)
        if not value:
            return value, end
        head = value[0]
        if head == 0:
            return value[1:], end
        packed = value[1 + (head & 0x07) :]
        return zlib.decompress(packed, wbits=-zlib.MAX_WBITS if head & 0x08 else zlib.MAX_WBITS), end

    return read


_SIMPLE: dict[int, Reader] = {
    kinds.YEAR: _year,
    kinds.DATE: _date,
    kinds.NEWDATE: _date,
    kinds.OLD_TIMESTAMP: _old_timestamp,
    kinds.OLD_DATETIME: _old_datetime,
    kinds.OLD_TIME: _old_time,
}
_FRACTIONAL: dict[int, Callable[[int], Reader]] = {
    kinds.DATETIME: _datetime,
    kinds.TIMESTAMP: _timestamp,
    kinds.TIME: _time,
}
