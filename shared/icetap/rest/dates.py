"""Instants and other cursor values: as records carry them, as requests ask for them, as bookmarks hold them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from icetap.state.bookmarks import is_before as is_smaller

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FORMATS = ("iso8601", "date", "timestamp", "timestamp_ms", "integer", "string")
"""The named formats; any other is a pattern of strftime."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Cursor = datetime | int | str
"""A value that grows with each change: an instant in UTC, a number, or a text."""


def iso(value: datetime) -> str:
    """Return an instant as bookmarks hold it: in UTC, with six digits."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def instant(value: Any) -> datetime:
    """Return an instant from an ISO 8601 text, or from seconds since 1970; without an offset it is in UTC.

    Raises:
        ValueError: When the value is none.
    """
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return EPOCH + timedelta(microseconds=int(Decimal(str(value)) * 1_000_000))
    found = datetime.fromisoformat(str(value))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def read(value: Any, formats: Sequence[str]) -> Cursor:
    """Return a record's cursor value.

    Args:
        value: As the record has it.
        formats: What it may be; the first that fits counts.

    Raises:
        ValueError: When it fits none of them.
    """
    for name in formats:
        try:
            return _READERS[name](value) if name in _READERS else _parsed(value, name)
        except (ValueError, TypeError, ArithmeticError):
            continue
    raise ValueError(
        f"a value of the type {type(value).__name__} that is not of the format {' or '.join(formats)}"
    )


def _parsed(value: Any, pattern: str) -> datetime:
    found = datetime.strptime(value, pattern)  # noqa: DTZ007 -- the next line gives it a zone
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _iso8601(value: Any) -> datetime:
    if not isinstance(value, str):
        raise TypeError(value)
    return instant(value)


def _number(value: Any) -> Decimal:
    if isinstance(value, bool):
        raise TypeError(value)
    return Decimal(str(value))


def _date(value: Any) -> datetime:
    day = date.fromisoformat(value)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _integer(value: Any) -> int:
    number = _number(value)
    if number != int(number):
        raise ValueError(value)
    return int(number)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


_READERS: dict[str, Callable[[Any], Cursor]] = {
    "iso8601": _iso8601,
    "date": _date,
    "timestamp": lambda value: instant(_number(value)),
    "timestamp_ms": lambda value: instant(_number(value) / 1000),
    "integer": _integer,
    "string": _string,
}


def write(value: Cursor, name: str) -> str | int:
    """Return a cursor value as a request asks for it; digits beyond the format's are cut, so that nothing is missed."""
    if not isinstance(value, datetime):
        return value
    value = value.astimezone(UTC)
    match name:
        case "iso8601":
            text = value.isoformat(timespec="microseconds" if value.microsecond else "seconds")
            return text.replace("+00:00", "Z")
        case "date":
            return value.date().isoformat()
        case "timestamp":
            return (value - EPOCH) // timedelta(seconds=1)
        case "timestamp_ms":
            return (value - EPOCH) // timedelta(milliseconds=1)
        case "integer" | "string":
            return iso(value)
        case _:
            return value.strftime(name)


def is_before(one: Cursor, other: Cursor) -> bool:
    """Say whether a value comes before another of its kind; False for values of two kinds."""
    if isinstance(one, datetime) and isinstance(other, datetime):
        return one < other
    return is_smaller(one, other)


def bookmark(value: Cursor, formats: Sequence[str] = ("iso8601",)) -> str | int:
    """Return a cursor value as a bookmark holds it: canonical, comparable, in the kind of the emitted column."""
    if not isinstance(value, datetime):
        return value
    if formats[0] in {"date", "timestamp", "timestamp_ms"}:
        return write(value, formats[0])
    return iso(value)


def from_bookmark(value: Any, formats: Sequence[str]) -> Cursor:
    """Return the cursor value that a bookmark holds.

    Raises:
        ValueError: When it is none of this stream's kind.
    """
    kinds = set(formats)
    if kinds <= {"integer"}:
        return _integer(value)
    if kinds <= {"string"}:
        return _string(value)
    if isinstance(value, int | float | Decimal) and formats[0] == "timestamp_ms":
        return instant(Decimal(str(value)) / 1000)
    return instant(value)
