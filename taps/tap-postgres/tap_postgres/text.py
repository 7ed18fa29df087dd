"""From the server's own text of a value to the exact one: what a change log tells, and types that are read as text.

Texts are those of a session with `DateStyle = ISO`, `TimeZone = UTC`, `IntervalStyle = iso_8601` and
`bytea_output = hex`. Each decoder gives what the one in `decode` gives of the binary form.
"""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from icetap.sql.dialect import Decoded
from tap_postgres.decode import assembled, if_any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tap_postgres.overflow import Overflow, Range

_INSTANT = re.compile(r"(\d{4})-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?(?:[+-]\d\d(?::\d\d){0,2})?")
_TIME = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?")


def boolean(texts: pa.Array) -> Decoded:
    """`t` and `f`."""
    return Decoded(pc.equal(texts, "t"))


def cast(kind: pa.DataType, *, through: pa.DataType | None = None) -> Callable[[pa.Array], Decoded]:
    """Return a decoder of numbers; `through` is the type that the text stands for, where another one is wider."""

    def decode(texts: pa.Array) -> Decoded:
        return Decoded(pc.cast(pc.cast(texts, through or kind), kind))

    return decode


def binary(texts: pa.Array) -> Decoded:
    r"""Bytes in hexadecimal digits, after `\x`."""
    return Decoded(_each(texts, lambda value: bytes.fromhex(value[2:]), pa.binary()))


def uuids(texts: pa.Array) -> Decoded:
    """UUIDs, as 16 bytes."""
    stored = _each(texts, lambda value: bytes.fromhex(value.replace("-", "")), pa.binary(16))
    return Decoded(pa.ExtensionArray.from_storage(pa.uuid(), stored))


def bounded(overflow: Overflow) -> Callable[[pa.Array], Decoded]:
    """Return a decoder of dates, instants and times of day."""
    bounds = overflow.bounds

    def decode(texts: pa.Array) -> Decoded:
        if pa.types.is_time(bounds.kind):
            counted = _each(texts, _microseconds, pa.int64())
        else:
            counted = _counted(texts, bounds)
        return overflow.applied(counted)

    return decode


def _counted(texts: pa.Array, bounds: Range) -> pa.Array:
    width = pa.int32() if pa.types.is_date(bounds.kind) else pa.int64()
    try:
        return pc.cast(texts, bounds.kind).view(width)
    except pa.ArrowInvalid:
        return _each(texts, functools.partial(_one_counted, bounds=bounds, width=width), width)


def _one_counted(value: str, *, bounds: Range, width: pa.DataType) -> int:
    """Return one value as it is counted; those that no type holds as the nearest end beyond."""
    year = value.split("-", 1)[0]
    if value == "-infinity" or value.endswith("BC"):
        return bounds.first - 1
    if value == "infinity" or len(year) > 4:
        return bounds.last + 1
    # PostgreSQL writes offsets with seconds for instants before the zones of today; in UTC there are none.
    counted: int = pa.scalar(value).cast(bounds.kind).cast(width).as_py()
    return counted


def _microseconds(value: str) -> int:
    match = _TIME.fullmatch(value)
    if match is None:
        raise ValueError("not a time of day")
    hours, minutes, seconds = int(match[1]), int(match[2]), int(match[3])
    return ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + int((match[4] or "0").ljust(6, "0"))


def _each(texts: pa.Array, one: Callable[[str], Any], kind: pa.DataType) -> pa.Array:
    return pa.array(
        (None if value is None else one(value) for value in texts.to_pylist()), kind, size=len(texts)
    )


# --- arrays, hstore, vectors ----------------------------------------------------------------------------


def list_of(element: pa.Field, decode: Callable[[pa.Array], Decoded]) -> Callable[[pa.Array], Decoded]:
    """Return a decoder of arrays of one dimension; others do not fit."""

    def decode_list(texts: pa.Array) -> Decoded:
        rows = [None if value is None else array_elements(value) for value in texts.to_pylist()]
        several = pa.array([isinstance(row, _Several) for row in rows], pa.bool_())
        flat = pa.array([None if isinstance(row, _Several) else row for row in rows], pa.list_(pa.string()))
        decoded = assembled(flat, decode(flat.values), element)
        refused = several if decoded.refused is None else pc.or_(decoded.refused, several)
        return Decoded(decoded.array, if_any(refused))

    return decode_list


class _Several:
    """Stands for an array of more than one dimension."""


_BOUNDS = re.compile(r"^(?:\[-?\d+:-?\d+\])+=")
_ELEMENT = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,{}"]+)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def array_elements(value: str) -> Sequence[str | None] | _Several:
    """Return the elements of an array's text as texts; lower bounds are not kept.

    https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO (read 2026-11-21)
    """
    inner = _BOUNDS.sub("", value, count=1)[1:-1]
    if inner.startswith("{"):
        return _Several()
    if not inner:
        return []
    if '"' not in inner:
        return [None if item == "NULL" else _ESCAPED.sub(r"\1", item) for item in inner.split(",")]
    return [
        _ESCAPED.sub(r"\1", match[1]) if match[1] is not None else (None if match[2] == "NULL" else match[2])
        for match in _ELEMENT.finditer(inner)
    ]


_PAIR = re.compile(r'"((?:[^"\\]|\\.)*)"=>(?:"((?:[^"\\]|\\.)*)"|NULL)', re.DOTALL)


def hstore(texts: pa.Array) -> Decoded:
    """Maps of text to text, of the extension hstore."""
    return Decoded(_each(texts, _pairs, pa.map_(pa.field("key", pa.string(), nullable=False), pa.string())))


def _pairs(value: str) -> list[tuple[str, str | None]]:
    return [
        (_ESCAPED.sub(r"\1", pair[1]), None if pair[2] is None else _ESCAPED.sub(r"\1", pair[2]))
        for pair in _PAIR.finditer(value)
    ]


def vector(texts: pa.Array) -> Decoded:
    """Lists of single-precision numbers, of the extension pgvector, as doubles of the same value."""
    lists = _each(texts, json.loads, pa.list_(pa.field("element", pa.float32())))
    return Decoded(pc.cast(lists, pa.list_(pa.field("element", pa.float64()))))
