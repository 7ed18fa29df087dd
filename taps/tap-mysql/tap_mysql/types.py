"""MySQL's and MariaDB's types as exact Arrow columns.

https://dev.mysql.com/doc/refman/8.4/en/data-types.html, https://mariadb.com/kb/en/data-types/ (read 2026-11-21)
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from icetap.sql.dialect import Column
from icetap.types import KIND, MAX_PRECISION, TIMESTAMP, TIMESTAMPTZ
from tap_mysql import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from icetap.sql.dialect import Decoded
    from tap_mysql.zero_dates import ZeroDates

    Decoder = Callable[[Sequence[pa.Array]], Decoded]

BIGINT_UNSIGNED = pa.decimal128(20, 0)
_LONG_BITS = 63
_TEXTS = frozenset(
    {"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "inet4", "inet6"}
)
_BYTES = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
_GEOMETRIES = frozenset(
    {
        "geometry",
        "point",
        "linestring",
        "polygon",
        "multipoint",
        "multilinestring",
        "multipolygon",
        "geometrycollection",
        "geomcollection",
    }
)
_SMALL_INTEGERS = frozenset({"tinyint", "smallint", "mediumint"})
_MOMENTS = {"date": pa.date32(), "datetime": TIMESTAMP, "timestamp": TIMESTAMPTZ}

KNOWN = frozenset(
    {*_TEXTS, *_BYTES, *_GEOMETRIES, *_SMALL_INTEGERS, *_MOMENTS}
    | {"int", "bigint", "decimal", "float", "double", "bit", "year", "time", "set", "json", "uuid", "vector"}
)
"""Every `DATA_TYPE` that a server reports and that can be read."""


@dataclass(frozen=True, slots=True)
class Native:
    """A column's type in the words of `information_schema.columns`, or of a result's description.

    `precision` is that of a DECIMAL, or the bits of a BIT. `members` are an ENUM's or a SET's.
    """

    data_type: str
    column_type: str
    precision: int = 0
    scale: int = 0
    is_unsigned: bool = False
    is_json: bool = False
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """How a column is asked for: `select` is what the SELECT list says; `native` tells its type."""

    native: Native
    select: str


@dataclass(frozen=True, slots=True)
class TypeOptions:
    """The settings that change what types become."""

    tinyint1_is_bool: bool
    zeros: ZeroDates


_MEMBER = re.compile(r"'((?:[^']|'')*)'")


def members_of(column_type: str) -> tuple[str, ...]:
    """Return the members of an ENUM or a SET, as its type names them."""
    return tuple(text.replace("''", "'") for text in _MEMBER.findall(column_type))


def quoted(name: str) -> str:
    """Return a name as an identifier."""
    return "`" + name.replace("`", "``") + "`"


def column(name: str, native: Native, *, options: TypeOptions, nullable: bool, table: str = "") -> Column:
    """Return a column of this type; `unsupported` where the table of types has none.

    Args:
        name: The column's name.
        native: Its type.
        options: What the settings say.
        nullable: False for keys.
        table: The stream's name, under which zero dates are counted.
    """
    read = quoted(name)
    found = _meaning(native, read, name=f"{table}.{name}" if table else name, options=options)
    if found is None:
        return Column(
            field=pa.field(name, pa.null()),
            native_type=native.column_type,
            expressions=(read,),
            decode=decode.as_is,
            unsupported=f"its type {native.column_type} is none that this tap maps; cast it in a view or a query",
        )
    kind, select, decoder = found
    metadata = {KIND: b"json"} if _is_json(native) else None
    return Column(
        field=pa.field(name, kind, nullable=nullable, metadata=metadata),
        native_type=native.column_type,
        expressions=(read,),
        decode=decoder,
        hint=Reading(native, select),
    )


def _is_json(native: Native) -> bool:
    return native.data_type == "json" or native.is_json


def _meaning(
    native: Native, read: str, *, name: str, options: TypeOptions
) -> tuple[pa.DataType, str, Decoder] | None:
    """Return the Arrow type, what the SELECT list asks for, and the decoder."""
    kind = native.data_type
    if kind in _TEXTS or _is_json(native):
        return pa.string(), read, decode.text
    if kind in _BYTES or kind in _GEOMETRIES:
        return pa.binary(), read, decode.as_is
    if kind in _MOMENTS:
        if options.zeros.policy == "string":
            return pa.string(), f"CAST({read} AS CHAR)", decode.text
        exact = _MOMENTS[kind]
        return exact, read, functools.partial(decode.moment, kind=exact, zeros=options.zeros, column=name)
    if kind == "time":
        # No time of day: -838:59:59 to 838:59:59. https://dev.mysql.com/doc/refman/8.4/en/time.html
        return pa.string(), f"CAST({read} AS CHAR)", decode.text
    if kind == "decimal":
        if native.precision > MAX_PRECISION:
            return pa.string(), read, decode.text
        exact = pa.decimal128(native.precision, native.scale)
        return exact, read, functools.partial(decode.decimal, kind=exact)
    if kind in _LISTS:
        exact, decoder = _LISTS[kind]
        return exact, read, decoder
    return _number(native, read, options=options)


_LISTS: dict[str, tuple[pa.DataType, Decoder]] = {
    "set": (pa.list_(pa.field("element", pa.string())), decode.members),
    "vector": (pa.list_(pa.field("element", pa.float32())), decode.vector),
    "uuid": (pa.uuid(), decode.uuid),
}


def _number(native: Native, read: str, *, options: TypeOptions) -> tuple[pa.DataType, str, Decoder] | None:
    kind = native.data_type
    is_flag = kind == "tinyint" and native.column_type.startswith("tinyint(1)")
    if kind == "bit":
        as_number = f"CAST({read} AS UNSIGNED)"  # it comes as bytes otherwise
        if native.precision == 1:
            return pa.bool_(), as_number, decode.boolean
        width = pa.int64() if native.precision <= _LONG_BITS else BIGINT_UNSIGNED
        return width, as_number, functools.partial(decode.number, kind=width)
    if is_flag and options.tinyint1_is_bool:
        return pa.bool_(), read, decode.boolean
    widths: dict[str, pa.DataType] = {
        **dict.fromkeys((*_SMALL_INTEGERS, "year"), pa.int32()),
        "int": pa.int64() if native.is_unsigned else pa.int32(),
        "bigint": BIGINT_UNSIGNED if native.is_unsigned else pa.int64(),
        "float": pa.float64(),
        "double": pa.float64(),
    }
    if kind not in widths:
        return None
    return widths[kind], read, functools.partial(decode.number, kind=widths[kind])
