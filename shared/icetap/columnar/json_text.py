"""Arrow columns as JSON text, built column-wise in compiled code.

Digits are kept: integers and decimals as they are, doubles as their shortest text that reads back to
the same double, instants in microseconds. The notation of each type is the one of `icetap.types`.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from icetap.types import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

_NAMED_ESCAPES = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}
_CONTROLS = [(bytes([code]), chr(code), _NAMED_ESCAPES.get(code, f"\\u{code:04x}")) for code in range(0x20)]


def quoted(text: str) -> str:
    """Return a text as a JSON string, its characters beyond ASCII as they are."""
    return json.dumps(text, ensure_ascii=False)


def is_quoted(field: pa.Field) -> bool:
    """Say whether the column's JSON values stand between quotation marks."""
    kind = field.type
    return not (
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_nested(kind)
    )


def json_text(array: pa.Array, field: pa.Field) -> pa.Array:
    """Return the JSON text of each value, without quotation marks around quoted types; null stays null.

    Raises:
        TypeError: For an Arrow type that no Singer type stands for.
    """
    kind = field.type
    if pa.types.is_nested(kind):
        return pa.array([_nested(value, field) for value in array.to_pylist()], pa.string())
    if pa.types.is_boolean(kind):
        return pc.if_else(array, "true", "false")
    if pa.types.is_string(kind):
        return escaped(array)
    if pa.types.is_timestamp(kind):
        # Without the zone, which is always UTC: Arrow (26) looks it up for each value, 30 times as slow.
        text = pc.binary_replace_slice(pc.cast(array.view(pa.timestamp(kind.unit)), pa.string()), 10, 11, "T")
        return pc.binary_join_element_wise(text, "Z", "") if kind.tz else text
    if pa.types.is_binary(kind):
        encode = bytes.hex if kind_of(field) == "hex" else _base64
        return _python_text(array, encode)
    if kind == pa.uuid():
        return _python_text(array.storage, lambda value: str(uuid.UUID(bytes=value)))
    for matches in (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
        pa.types.is_date,
        pa.types.is_time,
    ):
        if matches(kind):
            return pc.cast(array, pa.string())
    raise TypeError(f"column '{field.name}' has the Arrow type {kind}, which has no JSON form")


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _python_text(array: pa.Array, text_of: Callable[[bytes], str]) -> pa.Array:
    values = (None if value is None else text_of(value) for value in array.to_pylist())
    return pa.array(values, pa.string(), size=len(array))


def escaped(array: pa.Array) -> pa.Array:
    """Escape quotation marks, backslashes and control characters in a string array.

    Looks at the raw bytes first: most columns need no change at all. Bytes outside of the array's
    slice are looked at too, which costs time at worst.
    """
    data = array.buffers()[2]
    if data is None or data.size == 0:
        return array
    raw = memoryview(data)
    # A byte below 0x20 is never part of a longer UTF-8 sequence.
    lowest = pc.min(pa.Array.from_buffers(pa.uint8(), data.size, [None, data])).as_py()
    whole = bytes(raw)
    if b"\\" in whole:
        array = pc.replace_substring(array, "\\", "\\\\")
    if b'"' in whole:
        array = pc.replace_substring(array, '"', '\\"')
    if lowest < 0x20:
        for byte, character, escape in _CONTROLS:
            if byte in whole:
                array = pc.replace_substring(array, character, escape)
    return array


def without_json_form(array: pa.Array) -> pa.Array | None:
    """Return a mask of the values that JSON cannot hold (NaN, Infinity), or None when there are none.

    Nested values count too.
    """
    kind = array.type
    if pa.types.is_floating(kind):
        mask = pc.fill_null(pc.invert(pc.is_finite(array)), False)
    elif pa.types.is_nested(kind) and _holds_floats(kind):
        mask = pa.array(
            (_holds_non_finite(value) for value in array.to_pylist()), pa.bool_(), size=len(array)
        )
    else:
        return None
    return mask if pc.any(mask).as_py() else None


def _holds_floats(kind: pa.DataType) -> bool:
    if pa.types.is_map(kind):
        return _holds_floats(kind.item_type)
    if pa.types.is_struct(kind):
        return any(_holds_floats(child.type) for child in kind)
    if pa.types.is_list(kind):
        return _holds_floats(kind.value_type)
    return bool(pa.types.is_floating(kind))


def _holds_non_finite(value: object) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(_holds_non_finite(child) for child in value.values())
    if isinstance(value, list | tuple):
        return any(_holds_non_finite(child) for child in value)
    return False


# --- nested values, one at a time -------------------------------------------------------------------


def _nested(value: Any, field: pa.Field) -> str | None:
    return None if value is None else _value(value, field)


def _value(value: Any, field: pa.Field) -> str:
    """Return the JSON text of one Python value of a column, quotation marks included."""
    kind = field.type
    if value is None:
        return "null"
    if pa.types.is_struct(kind):
        children = (f"{quoted(child.name)}:{_value(value[child.name], child)}" for child in kind)
        return "{" + ",".join(children) + "}"
    if pa.types.is_map(kind):
        items = (f"{quoted(key)}:{_value(child, kind.item_field)}" for key, child in value)
        return "{" + ",".join(items) + "}"
    if pa.types.is_list(kind):
        return "[" + ",".join(_value(child, kind.value_field) for child in value) + "]"
    return _scalar(value, field)


def _scalar(value: Any, field: pa.Field) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | Decimal():
            return str(value)
        case float():
            return repr(value)
        case bytes():
            return quoted(value.hex() if kind_of(field) == "hex" else _base64(value))
        case dt.datetime():
            text = value.replace(tzinfo=None).isoformat(timespec="microseconds")
            return quoted(text + ("Z" if field.type.tz else ""))
        case dt.time():
            return quoted(value.isoformat(timespec="microseconds"))
        case _:
            return quoted(str(value))
