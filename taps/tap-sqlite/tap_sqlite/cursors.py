"""Values of a replication key as SQLite stores them, and as a bookmark holds them."""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from icetap.errors import ConfigurationError, StateError

if TYPE_CHECKING:
    from icetap.sql.dialect import Column, Value

_INSTANT = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)(?:(?P<separator>[ T])(?P<time>\d\d:\d\d(?::\d\d(?:\.\d+)?)?))?"
    r"(?P<zone> ?(?:Z|[+-]\d\d:?\d\d))?"
)
_LOWEST = -(2**63)
_UTC = frozenset({"Z", "+00:00", "+0000", "-00:00"})


def is_instant(column: Column) -> bool:
    """Say whether the column holds dates or timestamps as texts."""
    kind = column.field.type
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def form_problem(value: object) -> str | None:
    """Say why a text cannot be compared as a timestamp by SQLite, which compares texts; None if it can."""
    match = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return "it holds texts that are not ISO 8601 dates"
    if match["zone"] and match["zone"].strip() not in _UTC:
        return "it holds times with offsets, whose texts do not sort as the times do"
    return None


def stored_form(canonical: Any, column: Column, *, like: Value) -> Value:
    """Return a bookmark's value as SQLite stores it, in the form of a stored value.

    Instants have the separator of the stored ones, and no zone.

    Raises:
        StateError: When it is no value of this column's type.
    """
    if isinstance(like, str) and is_instant(column):
        match = _INSTANT.fullmatch(str(canonical))
        if match is None or not _is_moment(match):
            raise StateError(_misfit(column))
        separator = "T" if "T" in like else " "
        if not match["time"] or pa.types.is_date(column.field.type):
            return match["date"]
        return str(match["date"] + separator + match["time"])
    is_whole = isinstance(canonical, int) and not isinstance(canonical, bool)
    if is_whole and not _LOWEST <= canonical <= -_LOWEST - 1:
        raise StateError(_misfit(column))
    is_value = isinstance(canonical, str) or (
        isinstance(canonical, int | float) and not isinstance(canonical, bool) and math.isfinite(canonical)
    )
    if is_value and isinstance(like, str) is isinstance(canonical, str):
        return canonical if isinstance(canonical, str | int) else float(canonical)
    raise StateError(_misfit(column))


def _is_moment(match: re.Match[str]) -> bool:
    try:
        dt.datetime.fromisoformat(f"{match['date']} {match['time'] or '00:00'}")
    except ValueError:
        return False
    return True


def shortest(value: Value, column: Column) -> Value:
    """Return the smallest text of an instant, so that `>=` finds every way in which it can be written.

    `.500000` is asked for as `.5`, `10:15:00` as `10:15`, and midnight as the date alone.
    """
    if not isinstance(value, str) or not is_instant(column):
        return value
    text = value.rstrip("0").rstrip(".") if "." in value else value
    return text.removesuffix(":00").removesuffix(" 00:00").removesuffix("T00:00") if "." not in text else text


def _misfit(column: Column) -> str:
    return (
        f"the bookmark is no value of the replication key '{column.name}' ({column.native_type}). "
        "Run once with --full-refresh, or correct the state."
    )


def earlier(value: Value, column: Column, *, amount: int) -> Value:
    """Return the stored form of a value `amount` seconds, or units, before.

    Raises:
        ConfigurationError: For texts that are no timestamps.
    """
    if isinstance(value, str) and is_instant(column):
        separator = "T" if "T" in value else " "
        moment = dt.datetime.fromisoformat(value)
        try:
            before = moment - dt.timedelta(seconds=amount)
        except OverflowError:  # before the year 1
            before = moment.replace(year=1, month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
        if pa.types.is_date(column.field.type):
            return before.date().isoformat()
        return before.isoformat(sep=separator)
    if isinstance(value, int):
        return max(value - amount, _LOWEST)
    if isinstance(value, float):
        return value - amount
    raise ConfigurationError(
        f"option 'lookback_seconds' cannot be subtracted from column '{column.name}' ({column.native_type}), "
        "which holds texts. Set it to 0."
    )
