"""Values of a replication key as the server takes them, and as a bookmark holds them."""

from __future__ import annotations

import datetime as dt
import math
import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from icetap.errors import ConfigurationError, StateError
from tap_mysql.statement import Number

if TYPE_CHECKING:
    from icetap.sql.dialect import Column, Value

_NO_CURSORS = frozenset({"enum", "set", "json", "vector", "time", "bit", "inet4", "inet6", "uuid"})
_LARGEST = 2**64
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)?(?:Z|[+-]\d\d:\d\d)?")


def can_be_compared(column: Column) -> bool:
    """Say whether the values sort as they compare, and can be kept in a bookmark."""
    kind = column.field.type
    if pa.types.is_binary(kind) or pa.types.is_boolean(kind) or pa.types.is_nested(kind):
        return False
    return column.hint.native.data_type not in _NO_CURSORS and not column.hint.native.is_json


def storage_class(column: Column) -> str:
    """Return what kind of value the bookmark holds."""
    kind = column.field.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "moment"
    return "text" if pa.types.is_string(kind) else "number"


def largest(column: Column, expression: str) -> str:
    """Return the SQL for the largest value, such that nothing of it is lost on the way."""
    if column.hint.native.data_type == "float":
        return f"max({expression}) * 1E0"
    if storage_class(column) == "number" and not pa.types.is_decimal(column.field.type):
        return f"max({expression})"
    return f"CAST(max({expression}) AS CHAR)"


def stored_form(value: Any, column: Column) -> Value:
    """Return a bookmark's canonical value, or the server's text, as a statement takes it.

    Raises:
        StateError: When it is no value of this column's type.
    """
    kind = column.field.type
    try:
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            return _moment_text(str(value), kind)
        if pa.types.is_decimal(kind):
            return _number(value)
        if pa.types.is_integer(kind):
            return _integer(value)
        if pa.types.is_floating(kind):
            return _finite(value)
    except (ValueError, InvalidOperation):
        raise StateError(_misfit(column)) from None
    if not isinstance(value, str):
        raise StateError(_misfit(column))
    return value


def _moment_text(text: str, kind: pa.DataType) -> str:
    if not _MOMENT.fullmatch(text):
        raise ValueError(text)
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is not None:
        moment = moment.astimezone(dt.UTC).replace(tzinfo=None)
    if pa.types.is_date(kind):
        return moment.date().isoformat()
    return moment.isoformat(sep=" ", timespec="microseconds")


def _number(value: Any) -> Value:
    if isinstance(value, bool) or not isinstance(value, int | str | float):
        raise ValueError  # noqa: TRY004 - one kind of error for all that does not fit
    exact = Decimal(str(value))
    if not exact.is_finite():
        raise ValueError(value)
    if exact == exact.to_integral_value() and 0 <= exact < _LARGEST:
        return int(exact)
    return Number(f"{exact:f}")


def _integer(value: Any) -> int:
    if isinstance(value, bool) or int(value) != value or not -(2**63) <= value < 2**63:
        raise ValueError(value)
    return int(value)


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(float(value)):
        raise ValueError(value)
    return float(value)


def earlier(value: Value, column: Column, *, amount: int) -> Value:
    """Return the value `amount` seconds, or units, before.

    Raises:
        ConfigurationError: For texts that are no moments.
    """
    kind = column.field.type
    if isinstance(value, str) and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        try:
            before = dt.datetime.fromisoformat(value) - dt.timedelta(seconds=amount)
        except OverflowError:  # before the year 1
            before = dt.datetime(1, 1, 1)  # noqa: DTZ001 - of moments without a zone
        return _moment_text(before.isoformat(), kind)
    if isinstance(value, Number):
        return Number(f"{Decimal(value) - amount:f}")
    if isinstance(value, int):
        least = 0 if pa.types.is_decimal(kind) else -(2**63)
        return max(value - amount, least)
    if isinstance(value, float):
        return value - amount
    raise ConfigurationError(
        f"option 'lookback_seconds' cannot be subtracted from column '{column.name}' ({column.native_type}), "
        "which holds texts. Set it to 0."
    )


def _misfit(column: Column) -> str:
    return (
        f"the bookmark is no value of the replication key '{column.name}' ({column.native_type}). "
        "Run once with --full-refresh, or correct the state."
    )
