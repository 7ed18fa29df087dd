"""How values of a type come in binary form, by the type's OID.

https://github.com/postgres/postgres/blob/REL_17_STABLE/src/include/catalog/pg_type.dat (read 2026-11-22)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from icetap.types import MAX_PRECISION, TIME, TIMESTAMP, TIMESTAMPTZ, kind_of
from tap_postgres.binary_numerics import decimals, texts
from tap_postgres.binary_rows import booleans, lists, numbers, octets, uuids
from tap_postgres.overflow import EPOCH_DAYS, EPOCH_MICROS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_postgres.binary_rows import Reader

_NUMERIC, _NUMERICS = 1700, 1231

TEXT = octets(pa.string())

_READERS: dict[int, Reader] = {
    16: booleans,
    17: octets(pa.binary()),
    19: TEXT,
    20: numbers(">i8", pa.int64()),
    21: numbers(">i2", pa.int16()),
    23: numbers(">i4", pa.int32()),
    25: TEXT,
    114: TEXT,
    700: numbers(">f4", pa.float32()),
    701: numbers(">f8", pa.float64()),
    1042: TEXT,
    1043: TEXT,
    1082: numbers(">i4", pa.date32(), epoch=EPOCH_DAYS),
    1083: numbers(">i8", TIME),
    1114: numbers(">i8", TIMESTAMP, epoch=EPOCH_MICROS),
    1184: numbers(">i8", TIMESTAMPTZ, epoch=EPOCH_MICROS),
    2950: uuids,
    3802: octets(pa.string(), version=1),
}
"""bool, bytea, name, int8, int2, int4, text, json, float4, float8, bpchar, varchar, date, time, timestamp, timestamptz,
uuid, jsonb."""

_ELEMENTS = {
    1000: 16,
    1001: 17,
    1003: 19,
    1016: 20,
    1005: 21,
    1007: 23,
    1009: 25,
    199: 114,
    1021: 700,
    1022: 701,
    1014: 1042,
    1015: 1043,
    1182: 1082,
    1183: 1083,
    1115: 1114,
    1185: 1184,
    2951: 2950,
    3807: 3802,
}
"""The arrays of these types."""


_PLAIN: dict[pa.DataType, tuple[int, ...]] = {
    pa.bool_(): (16,),
    pa.binary(): (17,),
    pa.int64(): (20,),
    pa.int32(): (21, 23),
    pa.float64(): (700, 701),
    pa.date32(): (1082,),
    TIME: (1083,),
    TIMESTAMP: (1114,),
    TIMESTAMPTZ: (1184,),
    pa.uuid(): (2950,),
}
_TEXTS, _JSON = (19, 25, 1042, 1043), (114, 3802)


def is_still(field: pa.Field, oid: int) -> bool:
    """Say whether a column that is selected as it is can have become this field."""
    if pa.types.is_list(field.type):
        element = field.type.value_field
        return oid == _NUMERICS if pa.types.is_decimal(element.type) else _still(element, _ELEMENTS.get(oid))
    return _still(field, oid)


def _still(field: pa.Field, oid: int | None) -> bool:
    if pa.types.is_decimal(field.type):
        return oid == _NUMERIC
    if pa.types.is_string(field.type):
        return oid in (_JSON if kind_of(field) == "json" else _TEXTS)
    return oid in _PLAIN.get(field.type, ())


def readers(described: Sequence[tuple[int, int]], hints: Sequence[pa.DataType]) -> list[Reader | None]:
    """Return how each column is read; None for types that are to be cast to text.

    Args:
        described: Type and type modifier of each column.
        hints: What the first ones are to become; a numeric's precision may be unknown, or another one since discovery.
    """
    rest: list[pa.DataType] = [pa.null()] * (len(described) - len(hints))
    return [
        _reader(oid, modifier, hint) for (oid, modifier), hint in zip(described, [*hints, *rest], strict=True)
    ]


def _reader(oid: int, modifier: int, hint: pa.DataType) -> Reader | None:
    if oid == _NUMERIC:
        kind = hint if pa.types.is_decimal128(hint) else decimal_type(modifier) or hint
        return decimals(kind) if pa.types.is_decimal128(kind) else texts
    if oid == _NUMERICS:
        kind = hint.value_type if pa.types.is_list(hint) else decimal_type(modifier) or hint
        return lists(decimals(kind) if pa.types.is_decimal128(kind) else texts)
    if oid in _ELEMENTS:
        return lists(_READERS[_ELEMENTS[oid]])
    return _READERS.get(oid)


def decimal_type(modifier: int) -> pa.Decimal128Type | None:
    """Return the decimal of a numeric's modifier; None without a precision, or with a larger one than decimals have.

    Since 15 the scale may be negative, or larger than the precision.
    """
    if modifier < 4:
        return None
    precision, scale = (modifier - 4) >> 16 & 0xFFFF, (((modifier - 4) & 0x7FF) ^ 1024) - 1024
    digits, decimals_ = max(precision - min(scale, 0), scale), max(scale, 0)
    return pa.decimal128(digits, decimals_) if digits <= MAX_PRECISION else None


def with_casts(sql: str, readers_: Sequence[Reader | None]) -> str:
    """Return a query with those columns as text that have no reader."""
    if all(readers_):
        return sql
    names = [f"c{number}" for number in range(len(readers_))]
    items = [name if reader else f"{name}::text" for name, reader in zip(names, readers_, strict=True)]
    return f"SELECT {', '.join(items)} FROM ({sql}) AS icetap_rows ({', '.join(names)})"
