"""Values of a replication key: as a bookmark holds them, and as PostgreSQL reads them."""

from __future__ import annotations

import datetime as dt
import math
import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from icetap.errors import ConfigurationError, StateError

if TYPE_CHECKING:
    from icetap.sql.dialect import Column, Value

_INSTANT = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?")
_TIME = re.compile(r"\d\d:\d\d:\d\d(?:\.\d{1,6})?")
_LOWEST = -(2**63)


def storage_class(column: Column) -> str:
    """Return the kind of values of a column, for the bookmark: those of one kind can be compared."""
    kind = column.field.type
    if pa.types.is_timestamp(kind):
        return "timestamptz" if kind.tz else "timestamp"
    for matches, word in _CLASSES:
        if matches(kind):
            return word
    return "numeric" if column.native_type.startswith("numeric") else "text"


_CLASSES = (
    (pa.types.is_integer, "number"),
    (pa.types.is_floating, "number"),
    (pa.types.is_decimal, "numeric"),
    (pa.types.is_date, "date"),
    (pa.types.is_time, "time"),
    (pa.types.is_boolean, "boolean"),
    (lambda kind: kind == pa.uuid(), "uuid"),
    (pa.types.is_binary, "bytes"),
)


def from_bookmark(value: Any, column: Column) -> Value:
    """Return a bookmark's value as PostgreSQL reads it.

    Raises:
        StateError: When it is none of this column's type.
    """
    if _is_value(value, column.field.type, storage_class(column)):
        return value  # type: ignore[no-any-return]
    raise StateError(
        f"the bookmark is no value of the replication key '{column.name}' ({column.native_type}). "
        "Run once with --full-refresh, or correct the state."
    )


def _is_value(value: Any, kind: pa.DataType, stored: str) -> bool:
    if isinstance(value, bool):
        return False
    if pa.types.is_integer(kind):
        return isinstance(value, int) and _LOWEST <= value < -_LOWEST
    if pa.types.is_floating(kind):
        return isinstance(value, int | float) and math.isfinite(value)
    if stored == "numeric":
        return _is_decimal(value)
    if not isinstance(value, str):
        return False
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return bool(_INSTANT.fullmatch(value)) and _is_moment(value)
    return not pa.types.is_time(kind) or bool(_TIME.fullmatch(value))


def _is_decimal(value: Any) -> bool:
    try:
        return Decimal(str(value)).is_finite()
    except InvalidOperation:
        return False


def _is_moment(value: str) -> bool:
    try:
        dt.datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def earlier(value: Value, column: Column, *, amount: int) -> Value:
    """Return the value `amount` seconds, or units, before.

    Raises:
        ConfigurationError: For texts and other values from which nothing can be subtracted.
    """
    kind = column.field.type
    if isinstance(value, str) and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        moment = dt.datetime.fromisoformat(value)
        try:
            before = moment - dt.timedelta(seconds=amount)
        except OverflowError:  # before the year 1
            before = moment.replace(year=1, month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
        return before.date().isoformat() if pa.types.is_date(kind) else before.isoformat()
    if isinstance(value, int):
        return max(value - amount, _LOWEST)
    if isinstance(value, float):
        return value - amount
    if isinstance(value, str) and storage_class(column) == "numeric":
        return str(Decimal(value) - amount)
    raise ConfigurationError(
        f"option 'lookback_seconds' cannot be subtracted from column '{column.name}' ({column.native_type}). "
        "Set it to 0."
    )


def problem(column: Column, ends: tuple[str | None, str | None]) -> str | None:
    """Say why a column with these smallest and largest values, as texts, cannot be a replication key."""
    kind = column.field.type
    if any(end in {"NaN", "Infinity", "-Infinity"} for end in ends) and storage_class(column) in {
        "number",
        "numeric",
    }:
        return "it holds NaN or Infinity, which no state can hold"
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return None
    for end in ends:
        if end is not None and not _is_moment(end.replace(" ", "T")[:10]):
            return (
                "it holds infinity, or years that are not from 1 to 9999, after or before which nothing new is seen. "
                "Leave such rows out with 'where'"
            )
    return None
