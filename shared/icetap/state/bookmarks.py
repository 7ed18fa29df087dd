"""Cursor values as they stand in a bookmark: lossless, canonical, comparable."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal, InvalidOperation

import pyarrow as pa

from icetap.columnar.json_text import json_text


def is_timestamp(arrow_type: pa.DataType) -> bool:
    """Say whether a lookback in seconds has a meaning for values of this type."""
    return bool(pa.types.is_timestamp(arrow_type))


def canonical(value: pa.Array) -> int | float | str:
    """Return the first value of an array as a bookmark holds it.

    Integers and doubles are numbers; everything else is the text that a RECORD holds: instants in six
    digits, those with a zone in UTC.
    """
    kind = value.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        number: int | float = value[0].as_py()
        return number
    if pa.types.is_string(kind):
        return str(value[0].as_py())
    return str(json_text(value.slice(0, 1), pa.field("cursor", kind))[0].as_py())


def sorts_as_text(arrow_type: pa.DataType) -> bool:
    """Say whether the canonical texts of this type sort as its values do, wherever they come from."""
    kinds = (pa.types.is_timestamp, pa.types.is_date, pa.types.is_time)
    return any(is_kind(arrow_type) for is_kind in kinds)


def is_before(one: object, other: object, *, arrow_type: pa.DataType | None = None) -> bool:
    """Say whether a canonical value comes before another of the same type; False for different types.

    Decimals are texts that sort otherwise than their values, and so are instants that another tap wrote with an
    offset: they are known by their Arrow type.
    """
    if arrow_type is not None and pa.types.is_decimal(arrow_type):
        return _is_number(one) and _is_number(other) and Decimal(str(one)) < Decimal(str(other))
    if arrow_type is not None and is_timestamp(arrow_type):
        moments = _moment(one), _moment(other)
        if moments[0] is not None and moments[1] is not None:
            return moments[0] < moments[1]
    if isinstance(one, str) and isinstance(other, str):
        return one < other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one < other
    return False


def _moment(value: object) -> dt.datetime | None:
    """Return an instant's text as one in UTC; None for years that Python does not have."""
    try:
        found = dt.datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


def _is_number(value: object) -> bool:
    try:
        return Decimal(str(value)).is_finite()
    except InvalidOperation:
        return False
