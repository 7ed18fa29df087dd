"""Columns: what an Arrow type alone does not say, values without a declared type, and changes of type."""

from __future__ import annotations

import json
from decimal import MAX_PREC, Context, Decimal
from typing import Literal

import pyarrow as pa

Kind = Literal["json", "text", "hex"]

KIND = b"icetap.kind"

MAX_PRECISION = 38
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

TIMESTAMP = pa.timestamp("us")
TIMESTAMPTZ = pa.timestamp("us", tz="UTC")
TIME = pa.time64("us")

_ANY_PRECISION = Context(prec=MAX_PREC)  # the default context would round to 28 digits


def kind_of(field: pa.Field) -> Kind | None:
    """Return what a field's Arrow type does not say, or None for an ordinary column."""
    kind = (field.metadata or {}).get(KIND)
    return kind.decode() if kind else None


def new_field(name: str, arrow_type: pa.DataType, kind: Kind | None = None) -> pa.Field:
    """A nullable column; its kind goes into the metadata."""
    return pa.field(name, arrow_type, metadata={KIND: kind.encode()} if kind else None)


def json_field(name: str) -> pa.Field:
    """A nullable column of JSON text."""
    return new_field(name, pa.string(), "json")


def infer_field(name: str, value: object) -> pa.Field:
    """Return the column for a JSON value that no SCHEMA declared.

    Args:
        name: The column's name.
        value: The value as parsed, with `Decimal` for numbers that have a fraction or an exponent.

    Objects and arrays become JSON text: one value does not say what the next will hold. Null and
    integers beyond 64 bits become text.
    """
    if isinstance(value, bool):
        return new_field(name, pa.bool_())
    if isinstance(value, int):
        inside = INT64_MIN <= value <= INT64_MAX
        return new_field(name, pa.int64()) if inside else new_field(name, pa.string(), "text")
    if isinstance(value, float | Decimal):
        return new_field(name, pa.float64())
    if isinstance(value, str):
        return new_field(name, pa.string())
    return json_field(name)


def canonical_json(text: str) -> str:
    """Return JSON text with sorted keys and no white space; numbers compare by value.

    Text that is not JSON is returned as it is.
    """
    try:
        value = json.loads(text, parse_float=Decimal)
    except ValueError:
        return text
    return json.dumps(_comparable(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _comparable(value: object) -> object:
    if isinstance(value, dict):
        return {key: _comparable(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_comparable(child) for child in value]
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        # A marker that no JSON string of the source can be: 1.0 and 1 are one number.
        return {"\x00number": str(Decimal(value).normalize(_ANY_PRECISION))}
    return value


def promotion(old: pa.DataType, new: pa.DataType) -> pa.DataType | None:
    """Return the type that Iceberg lets `old` become so that it also holds `new`, or None.

    https://iceberg.apache.org/spec/#schema-evolution (read 2026-11-21)
    """
    if old == new:
        return old
    if pa.types.is_integer(old) and pa.types.is_integer(new):
        return max(old, new, key=lambda kind: kind.bit_width)
    if pa.types.is_floating(old) and pa.types.is_floating(new):
        return max(old, new, key=lambda kind: kind.bit_width)
    if pa.types.is_decimal(old) and pa.types.is_decimal(new) and old.scale == new.scale:
        return max(old, new, key=lambda kind: kind.precision)
    return None


def variant_suffix(arrow_type: pa.DataType) -> str:
    """Return the word for a type in the name of a variant column: `amount__decimal`."""
    if pa.types.is_timestamp(arrow_type):
        return "timestamptz" if arrow_type.tz else "timestamp"
    for matches, word in _SUFFIXES:
        if matches(arrow_type):
            return word
    raise TypeError(f"no column can have the Arrow type {arrow_type}")


_SUFFIXES = (
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_int32, "int"),
    (pa.types.is_integer, "long"),
    (pa.types.is_float32, "float"),
    (pa.types.is_floating, "double"),
    (pa.types.is_decimal, "decimal"),
    (pa.types.is_date, "date"),
    (pa.types.is_time, "time"),
    (lambda kind: kind == pa.uuid(), "uuid"),
    (pa.types.is_string, "string"),
    (pa.types.is_binary, "binary"),
    (pa.types.is_fixed_size_binary, "binary"),
    (pa.types.is_struct, "struct"),
    (pa.types.is_map, "map"),
    (pa.types.is_list, "list"),
)
