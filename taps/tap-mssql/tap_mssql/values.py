"""Values of replication keys: from a bookmark to what is bound, and earlier by a lookback."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from icetap.errors import ConfigurationError, StateError
from tap_mssql.types import reading

if TYPE_CHECKING:
    from icetap.sql.dialect import Column, Value

_INSTANT = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)(?:[ T](?P<time>\d\d:\d\d(?::\d\d)?)(?:\.(?P<digits>\d{1,9}))?)?"
    r"(?P<zone> ?(?:Z|[+-]\d\d:?\d\d))?"
)
_TIMES = {"date", "datetime", "smalldatetime", "datetime2", "datetimeoffset"}
_INTEGERS = {"tinyint": (0, 255), "smallint": (-(2**15), 2**15 - 1), "int": (-(2**31), 2**31 - 1)}
_BIGINT = (-(2**63), 2**63 - 1)
_DECIMALS = {"decimal", "numeric", "money", "smallmoney"}
_ROWVERSION = re.compile(r"(?:0x)?([0-9A-Fa-f]{16})")
_TICKS_A_SECOND = 10_000_000
_DAY = 86_400 * _TICKS_A_SECOND
_DATETIME_STARTS = dt.date(1753, 1, 1)
_SMALLDATETIME_STARTS = dt.date(1900, 1, 1)


def bound_value(canonical: Any, column: Column) -> Value:
    """Return a bookmark's value as it is bound for a column.

    Instants become ISO texts, down to the grain of the column's type: 1/300 s for datetime, minutes for
    smalldatetime. A bookmark with a zone is taken in UTC by datetimeoffset; other types have no zones and leave it out.

    Raises:
        StateError: When it is no value of this column's type.
    """
    declared = reading(column).declared
    name = declared.name
    try:
        if name in _TIMES:
            return _instant_text(_ticks(str(canonical), keeps_zone=name == "datetimeoffset"), name)
        if name in _INTEGERS or name == "bigint":
            low, high = _INTEGERS.get(name, _BIGINT)
            if isinstance(canonical, int) and not isinstance(canonical, bool) and low <= canonical <= high:
                return canonical
        elif name in _DECIMALS:
            if not isinstance(canonical, bool):
                return format(Decimal(str(canonical)), "f")
        elif name in {"float", "real"}:
            if isinstance(canonical, int | float) and not isinstance(canonical, bool):
                return float(canonical)
        elif name == "timestamp":
            if match := _ROWVERSION.fullmatch(str(canonical)):
                return match[1].upper()
        elif isinstance(canonical, str):
            return canonical
    except (ValueError, InvalidOperation):
        pass
    raise StateError(
        f"the bookmark is no value of the replication key '{column.name}' ({column.native_type}). "
        "Run once with --full-refresh, or correct the state."
    )


def earlier(value: Value, column: Column, *, amount: int) -> Value:
    """Return the bound form of a value `amount` seconds, or units, before.

    Raises:
        ConfigurationError: When nothing can be subtracted from such values.
    """
    name = reading(column).declared.name
    if name in _TIMES:
        return _instant_text(_ticks(str(value), keeps_zone=False) - amount * _TICKS_A_SECOND, name)
    if isinstance(value, int):
        return max(value - amount, _INTEGERS.get(name, _BIGINT)[0])
    if name in _DECIMALS:
        return format(Decimal(str(value)) - amount, "f")
    if isinstance(value, float):
        return value - amount
    if name == "timestamp":
        return rowversion_text(max(0, int(str(value), 16) - amount))
    raise ConfigurationError(
        f"option 'lookback_seconds' cannot be subtracted from column '{column.name}' ({column.native_type}). "
        "Set it to 0."
    )


def rowversion_text(number: int) -> str:
    """Return a rowversion as a bookmark holds it: 16 hexadecimal digits, whose text sorts as they do."""
    return f"{number:016X}"


def _ticks(text: str, *, keeps_zone: bool) -> int:
    """Return ten-millionths of a second since the year 1.

    Raises:
        ValueError: When the text is no instant.
    """
    match = _INSTANT.fullmatch(text.strip())
    if match is None:
        raise ValueError
    moment = dt.datetime.fromisoformat(f"{match['date']} {match['time'] or '00:00:00'}")
    digits = (match["digits"] or "").ljust(7, "0")[:7]
    days = (moment.toordinal() - 1) * _DAY
    seconds = moment.hour * 3600 + moment.minute * 60 + moment.second
    zone = (match["zone"] or "Z").strip().replace(":", "")
    offset = (
        0 if zone == "Z" or not keeps_zone else int(zone[0] + "1") * (int(zone[1:3]) * 60 + int(zone[3:5]))
    )
    return days + (seconds - offset * 60) * _TICKS_A_SECOND + int(digits)


def _instant_text(ticks: int, name: str) -> str:
    """Return an instant as text, down to the grain of the type and not before its first value."""
    if name == "smalldatetime":
        ticks -= ticks % (60 * _TICKS_A_SECOND)
    first = {"datetime": _DATETIME_STARTS, "smalldatetime": _SMALLDATETIME_STARTS}.get(name, dt.date.min)
    ticks = max(ticks, (first.toordinal() - 1) * _DAY)
    days, within = divmod(ticks, _DAY)
    seconds, digits = divmod(within, _TICKS_A_SECOND)
    if name == "datetime":
        # .003, .007, .010 …: what the server shows for thirds of a hundredth; rounded down, or rows would be lost.
        digits = _shown_thirds(digits)
    date = dt.date.fromordinal(days + 1).isoformat()
    if name == "date":
        return date
    time = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    # A query of the user's compares with this text itself, and datetime takes no more than three digits.
    fraction = f".{digits:07d}"[: {"datetime": 4, "smalldatetime": 0}.get(name, 8)]
    return f"{date}T{time}{fraction}" + ("+00:00" if name == "datetimeoffset" else "")


def _shown_thirds(digits: int) -> int:
    """Return the largest 1/300 s whose shown milliseconds are not above these ten-millionths."""
    third = min(digits * 300 // _TICKS_A_SECOND + 1, 299)
    while third and _shown(third) > digits:
        third -= 1
    return _shown(third)


def _shown(third: int) -> int:
    """Ten-millionths that the server shows for so many 1/300 s: in whole milliseconds, to the nearest."""
    return (third * 10 + 1) // 3 * 10_000
