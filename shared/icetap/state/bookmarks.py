"""Cursor values as they stand in a bookmark: lossless, canonical, comparable."""

from __future__ import annotations

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


def is_before(one: object, other: object) -> bool:
    """Say whether a canonical value comes before another of the same type; False for different types."""
    if isinstance(one, str) and isinstance(other, str):
        return one < other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one < other
    return False
