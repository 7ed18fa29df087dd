"""SQL Server's types on the wire: declarations and values of TDS 7.4.

[MS-TDS] 2.2.5.4 and 2.2.5.5 (read 2026-11-21):
https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-tds/
"""

from __future__ import annotations

import datetime as dt
import re
import struct
import uuid
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any

COLLATION = bytes.fromhex("0904d00034")  # SQL_Latin1_General_CP1_CI_AS
LONG = 0xFFFF
"""The size that stands for `(max)`."""

_TYPE = re.compile(
    r"\s*(?P<name>[a-z0-9_]+)\s*(?:\(\s*(?P<size>max|\d+)\s*(?:,\s*(?P<scale>\d+)\s*)?\))?\s*", re.IGNORECASE
)
_FIXED = {
    "bit": (0x68, 1), "tinyint": (0x26, 1), "smallint": (0x26, 2), "int": (0x26, 4), "bigint": (0x26, 8),
    "real": (0x6D, 4), "float": (0x6D, 8), "smallmoney": (0x6E, 4), "money": (0x6E, 8),
    "smalldatetime": (0x6F, 4), "datetime": (0x6F, 8), "uniqueidentifier": (0x24, 16),
}  # fmt: skip
_TEXTS = {"char": 0xAF, "varchar": 0xA7, "nchar": 0xEF, "nvarchar": 0xE7, "sysname": 0xE7}
_BYTES = {"binary": 0xAD, "varbinary": 0xA5, "timestamp": 0xAD, "rowversion": 0xAD}
_SCALED = {"time": 0x29, "datetime2": 0x2A, "datetimeoffset": 0x2B}
_EPOCH = dt.date(1900, 1, 1)
_CONTEXT = Context(prec=80)


@dataclass(frozen=True, slots=True)
class WireType:
    """A declared type: `decimal(10,2)` is name decimal, size 10, scale 2; `size` is -1 for (max)."""

    name: str
    size: int
    scale: int

    @classmethod
    def of(cls, declared: str) -> WireType:
        """Read a declaration."""
        match = _TYPE.fullmatch(declared)
        assert match, declared
        name = match["name"].lower()
        name = {"integer": "int", "numeric": "decimal", "dec": "decimal", "uuid": "uniqueidentifier"}.get(
            name, name
        )
        size = -1 if (match["size"] or "").lower() == "max" else int(match["size"] or 0)
        if name in _SCALED:
            return cls(name, 0, 7 if match["size"] is None else size)
        defaults = {"decimal": 18, "sysname": 128, "timestamp": 8, "rowversion": 8, "float": 53}
        return cls(name, size or defaults.get(name, 1), int(match["scale"] or 0))

    def declaration(self) -> bytes:
        """Return the TYPE_INFO of a column."""
        if self.name == "float" and self.size <= 24:
            return bytes((0x6D, 4))
        if self.name in _FIXED:
            return bytes(_FIXED[self.name])
        if self.name in _TEXTS:
            return bytes((_TEXTS[self.name],)) + struct.pack("<H", self._bytes()) + COLLATION
        if self.name in _BYTES:
            return bytes((_BYTES[self.name],)) + struct.pack("<H", self._bytes())
        if self.name == "decimal":
            return bytes((0x6C, 17, self.size, self.scale))
        if self.name in _SCALED:
            return bytes((_SCALED[self.name], self.scale))
        assert self.name == "date", f"this server cannot send {self.name}"
        return b"\x28"

    def _bytes(self) -> int:
        if self.size == -1:
            return LONG
        return self.size * (2 if self.name in {"nchar", "nvarchar", "sysname"} else 1)

    def value(self, value: Any) -> bytes:
        """Return a value as it stands in a row."""
        if self.name in _TEXTS or self.name in _BYTES:
            return self._long_value(value)
        if value is None:
            return b"\0"
        data = self._fixed_value(value)
        return bytes((len(data),)) + data

    def _long_value(self, value: Any) -> bytes:
        if value is None:
            return b"\xff" * (8 if self.size == -1 else 2)
        if isinstance(value, str):
            data = (
                value.encode("utf-16-le", "surrogatepass") if self.name[0] in "ns" else value.encode("cp1252")
            )
        else:
            data = bytes(value)
        if self.size != -1:
            return struct.pack("<H", len(data)) + data
        pieces = (data[start : start + 8000] for start in range(0, len(data), 8000))
        return (
            struct.pack("<Q", len(data))
            + b"".join(struct.pack("<I", len(piece)) + piece for piece in pieces)
            + bytes(4)
        )

    def _fixed_value(self, value: Any) -> bytes:
        match self.name:
            case "bit" | "tinyint" | "smallint" | "int" | "bigint":
                size = _FIXED[self.name][1]
                return int(value).to_bytes(size, "little", signed=size > 1)
            case "real" | "float":
                return struct.pack("<f" if self.declaration()[1] == 4 else "<d", float(value))
            case "money" | "smallmoney":
                units = int(Decimal(value).scaleb(4))
                if self.name == "smallmoney":
                    return struct.pack("<i", units)
                return struct.pack("<iI", units >> 32, units & 0xFFFFFFFF)
            case "decimal":
                digits = int(Decimal(value).scaleb(self.scale, _CONTEXT).to_integral_value(context=_CONTEXT))
                return bytes((digits >= 0,)) + abs(digits).to_bytes(16, "little")
            case "uniqueidentifier":
                return uuid.UUID(str(value)).bytes_le
            case _:
                return self._instant(str(value))

    def _instant(self, text: str) -> bytes:
        """Return a date or a time, given as ISO text with up to seven digits."""
        if self.name == "date":
            return _days(dt.date.fromisoformat(text))
        if self.name == "time":
            return _ticks(text, self.scale)
        moment, digits, offset = parsed(text)
        if self.name == "datetime":
            thirds = round(Decimal(digits) * 300 / 10_000_000)
            seconds = moment.hour * 3600 + moment.minute * 60 + moment.second
            return struct.pack("<iI", (moment.date() - _EPOCH).days, seconds * 300 + thirds)
        if self.name == "smalldatetime":
            return struct.pack("<HH", (moment.date() - _EPOCH).days, moment.hour * 60 + moment.minute)
        if self.name == "datetime2":
            return _ticks(text[11:], self.scale) + _days(moment.date())
        utc = moment - dt.timedelta(minutes=offset)
        return (
            _ticks(f"{utc:%H:%M:%S}.{digits:07d}", self.scale) + _days(utc.date()) + struct.pack("<h", offset)
        )


def _days(date: dt.date) -> bytes:
    return (date.toordinal() - 1).to_bytes(3, "little")


def _ticks(text: str, scale: int) -> bytes:
    hours, minutes, seconds = text[:8].split(":")
    digits = (text[9:16] or "0").ljust(7, "0")
    ticks: int = ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 10**scale + int(
        digits[:scale] or "0"
    )
    return ticks.to_bytes(3 if scale <= 2 else 4 if scale <= 4 else 5, "little")


def parsed(text: str) -> tuple[dt.datetime, int, int]:
    """Return the moment in whole seconds, its ten-millionths, and its offset in minutes."""
    match = _MOMENT.fullmatch(text.strip())
    assert match, text
    moment = dt.datetime.fromisoformat(f"{match['date']} {match['time'] or '00:00:00'}")
    zone = match["zone"] or "+00:00"
    offset = 0 if zone == "Z" else int(zone[0] + "1") * (int(zone[1:3]) * 60 + int(zone[-2:]))
    return moment, int((match["digits"] or "").ljust(7, "0")[:7]), offset


_MOMENT = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)(?:[ T](?P<time>\d\d:\d\d(?::\d\d)?)(?:\.(?P<digits>\d+))?)? ?(?P<zone>Z|[+-]\d\d:\d\d)?"
)


def read_parameter(data: memoryview, at: int) -> tuple[Any, int]:
    """Read one parameter's type and value of a remote procedure call; return it and where the next begins."""
    kind = data[at]
    at += 1
    if kind in {0x26, 0x68, 0x6D, 0x6F, 0x24}:
        return _short(kind, data, at + 1)
    if kind in {0x6A, 0x6C}:
        return _short(kind, data, at + 3, scale=data[at + 2])
    if kind in {0x29, 0x2A, 0x2B}:
        return _short(kind, data, at + 1, scale=data[at])
    if kind == 0x28:
        return _short(kind, data, at)
    if kind in _OLD_LONG:
        raw, at = _long_counted(data, at + 4 + (0 if kind == 0x22 else 5))
    else:
        size = struct.unpack_from("<H", data, at)[0]
        at += 2 + (5 if kind in _WIDE | _NARROW else 0)
        raw, at = _plp(data, at) if size == LONG else _counted(data, at)
    if raw is None:
        return None, at
    if kind in _WIDE:
        return raw.decode("utf-16-le", "surrogatepass"), at
    return (raw.decode("cp1252") if kind in _NARROW else raw), at


_OLD_LONG = {0x22, 0x23, 0x63}  # image, text, ntext: FreeTDS sends statements as ntext
_WIDE = {0xE7, 0xEF, 0x63}
_NARROW = {0xA7, 0xAF, 0x23}


def _long_counted(data: memoryview, at: int) -> tuple[bytes | None, int]:
    length = struct.unpack_from("<i", data, at)[0]
    at += 4
    return (None, at) if length < 0 else (bytes(data[at : at + length]), at + length)


def _counted(data: memoryview, at: int) -> tuple[bytes | None, int]:
    length = struct.unpack_from("<H", data, at)[0]
    at += 2
    return (None, at) if length == LONG else (bytes(data[at : at + length]), at + length)


def _plp(data: memoryview, at: int) -> tuple[bytes | None, int]:
    total = struct.unpack_from("<Q", data, at)[0]
    at += 8
    if total == 2**64 - 1:
        return None, at
    found = b""
    while length := struct.unpack_from("<I", data, at)[0]:
        found += data[at + 4 : at + 4 + length]
        at += 4 + length
    return found, at + 4


def _short(kind: int, data: memoryview, at: int, *, scale: int = 0) -> tuple[Any, int]:
    length = data[at]
    raw = bytes(data[at + 1 : at + 1 + length])
    at += 1 + length
    if not length:
        return None, at
    match kind:
        case 0x26:
            return int.from_bytes(raw, "little", signed=length > 1), at
        case 0x68:
            return raw[0], at
        case 0x6D:
            return struct.unpack("<f" if length == 4 else "<d", raw)[0], at
        case 0x24:
            return str(uuid.UUID(bytes_le=raw)).upper(), at
        case 0x6A | 0x6C:
            digits = Decimal(int.from_bytes(raw[1:], "little")).scaleb(-scale, _CONTEXT)
            return str(digits if raw[0] else -digits), at
        case 0x28:
            return dt.date.fromordinal(int.from_bytes(raw, "little") + 1).isoformat(), at
        case 0x2A:
            ticks = int.from_bytes(raw[:-3], "little") * 10 ** (7 - scale)
            day = dt.date.fromordinal(int.from_bytes(raw[-3:], "little") + 1)
            seconds, rest = divmod(ticks, 10_000_000)
            return f"{day} {dt.timedelta(seconds=seconds)!s:0>8}.{rest:07d}", at
        case _:
            raise AssertionError(f"a parameter of the type {kind:#x}")
