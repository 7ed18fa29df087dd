"""SQL Server's conversions for `icetap.testing.tsql`: how values are stored in SQLite, cast and written as text.

Stored: integers and doubles as themselves, decimals as text (their collation compares by value), texts as text, bytes as
blobs, instants as `YYYY-MM-DD HH:MM:SS.fffffff`, those with an offset in UTC with ` +HH:MM` behind, UUIDs in capitals.
"""

from __future__ import annotations

import datetime as dt
import struct
import uuid
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from icetap.testing.tds import ServerError
from icetap.testing.tds_types import WireType, parsed

_CONTEXT = Context(prec=80, rounding=ROUND_HALF_UP)
_RANGES = {"tinyint": (0, 255), "smallint": (-(2**15), 2**15 - 1), "int": (-(2**31), 2**31 - 1), "bigint": (-(2**63), 2**63 - 1)}  # fmt: skip
_MONEY = {"money": 4, "smallmoney": 4}
_TEXTS = {
    "char",
    "varchar",
    "nchar",
    "nvarchar",
    "sysname",
    "text",
    "ntext",
    "xml",
    "json",
    "vector",
    "hierarchyid",
}
_BYTES = {"binary", "varbinary", "image", "rowversion", "timestamp", "geometry", "geography"}


def cast(value: Any, declared: str, style: int | None = None) -> Any:
    """CAST, and CONVERT with a style.

    Raises:
        ServerError: 241, 245, 8114 or 8115, as SQL Server's own conversions.
    """
    if value is None:
        return None
    kind = (
        WireType.of(declared)
        if declared.lower() not in _TEXTS | _BYTES | {"sql_variant"}
        else WireType(declared.lower(), -1, 0)
    )
    name = kind.name
    try:
        if name == "sql_variant":
            return value
        if name in _BYTES:
            return _bytes(value, kind, style)
        if name in _TEXTS:
            return _text(value, kind, style)
        if name == "bit":
            return int(str(value).lower() not in {"0", "false", "0.0"})
        if name in _RANGES:
            return _integer(value, name)
        if name == "decimal" or name in _MONEY:
            scale = _MONEY.get(name, kind.scale)
            return format(Decimal(str(value)).quantize(Decimal(1).scaleb(-scale), context=_CONTEXT), "f")
        if name in {"float", "real"}:
            number = float(value)
            return struct.unpack("<f", struct.pack("<f", number))[0] if name == "real" else number
        if name == "uniqueidentifier":
            return str(uuid.UUID(str(value))).upper()
        return instant(str(value), kind)
    except (ValueError, ArithmeticError, AssertionError):
        raise ServerError(
            241, f"Conversion failed when converting the value '{value}' to {declared}."
        ) from None


def _integer(value: Any, name: str) -> int:
    number = int(Decimal(str(value)))
    low, high = _RANGES[name]
    if not low <= number <= high:
        raise ServerError(8115, f"Arithmetic overflow error converting expression to data type {name}.")
    return number


def _bytes(value: Any, kind: WireType, style: int | None) -> bytes:
    if isinstance(value, str):
        data = (
            bytes.fromhex(value)
            if style == 2
            else bytes.fromhex(value[2:])
            if style == 1
            else value.encode("utf-16-le")
        )
    elif isinstance(value, int):
        data = value.to_bytes(8, "big")
    else:
        data = bytes(value)
    if kind.name == "binary":
        return data[: kind.size].ljust(kind.size, b"\0")
    return data if kind.size == -1 else data[: kind.size]


def _text(value: Any, kind: WireType, style: int | None) -> str:
    if isinstance(value, bytes):
        text = (
            value.hex().upper()
            if style == 2
            else "0x" + value.hex().upper()
            if style == 1
            else value.decode("utf-16-le")
        )
    elif isinstance(value, float):
        text = f"{value:.16e}" if style == 3 else f"{value:g}"
    else:
        text = str(value)
    if style == 23:
        text = text[:10]
    if kind.size != -1 and kind.name in {"char", "nchar"}:
        return text[: kind.size].ljust(kind.size)
    return text if kind.size == -1 else text[: kind.size]


def instant(text: str, kind: WireType) -> str:
    """Return a date or a time in its stored form, at the grain of its type."""
    if kind.name == "time":
        hours, _, digits = (text[11:] if len(text) > 10 and text[4] == "-" else text).partition(".")
        return f"{hours:0<8.8}.{_cut(int(digits[:7].ljust(7, '0') or 0), kind.scale):07d}"[
            : 9 + max(kind.scale, 0)
        ].rstrip(".")
    if kind.name == "date":
        return dt.date.fromisoformat(text[:10]).isoformat()
    moment, ticks, offset = parsed(text)
    if kind.name == "datetimeoffset":
        moment -= dt.timedelta(minutes=offset)
        sign = "-" if offset < 0 else "+"
        return (
            f"{moment:%Y-%m-%d %H:%M:%S}".rjust(19, "0")
            + f".{_cut(ticks, kind.scale):07d} {sign}{abs(offset) // 60:02d}:{abs(offset) % 60:02d}"
        )
    if text.rstrip()[-6:-5] in {"+", "-"} and len(text) > 26:  # from datetimeoffset: its local time
        moment += dt.timedelta(minutes=offset)
    shown = f"{moment:%Y-%m-%d %H:%M:%S}".rjust(19, "0")
    if kind.name == "datetime":
        thirds = round(ticks * 300 / 10_000_000)
        return f"{shown}.{(thirds * 10 + 1) // 3:03d}"
    if kind.name == "smalldatetime":
        rounded = moment + dt.timedelta(seconds=30)
        return f"{rounded:%Y-%m-%d %H:%M}:00"
    return f"{shown}.{_cut(ticks, kind.scale):07d}"


def _cut(digits: int, scale: int) -> int:
    unit: int = 10 ** (7 - scale)
    return digits // unit * unit


def compare_guids(one: str, other: str) -> int:
    """Compare as SQL Server does: the last six bytes first."""
    left, right = (_guid_order(text) for text in (one, other))
    return (left > right) - (left < right)


def _guid_order(text: str) -> tuple[bytes, ...]:
    raw = uuid.UUID(text).bytes_le
    return raw[10:], raw[8:10], raw[6:8], raw[4:6], raw[:4]


def compare_decimals(one: str, other: str) -> int:
    """Compare decimals, which are stored as texts."""
    left, right = Decimal(one), Decimal(other)
    return (left > right) - (left < right)


def compare_texts(one: str, other: str) -> int:
    """Compare as SQL_Latin1_General_CP1_CI_AS: without case, without blanks at the end."""
    left, right = one.casefold().rstrip(" "), other.casefold().rstrip(" ")
    return (left > right) - (left < right)
