"""SQLite's declared types as exact Arrow columns.

A declared type is only an affinity: any value may stand in any column of an ordinary table. Each
column here says what its declaration promises, and how a value that breaks the promise is found.
https://www.sqlite.org/datatype3.html (read 2026-11-21)
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

import pyarrow as pa

from icetap.sql.dialect import Column
from icetap.types import KIND, TIME, TIMESTAMP, TIMESTAMPTZ
from tap_sqlite import decode
from tap_sqlite.connection import quoted
from tap_sqlite.select import Physical

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from icetap.sql.dialect import Decoded

_PARAMETERS = re.compile(r"\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")
_GEOMETRIES = frozenset(
    {
        "GEOMETRY",
        "POINT",
        "LINESTRING",
        "POLYGON",
        "MULTIPOINT",
        "MULTILINESTRING",
        "MULTIPOLYGON",
        "GEOMETRYCOLLECTION",
    }
)
_NUMERICS = frozenset(
    {"NUMERIC", "NUM", "NUMBER", "DECIMAL", "DEC", "FIXED", "MONEY", "SMALLMONEY", "CURRENCY"}
)
_MEANINGS = {
    "BOOL": "boolean",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "DATETIME": "timestamp",
    "DATETIME2": "timestamp",
    "SMALLDATETIME": "timestamp",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP WITHOUT TIME ZONE": "timestamp",
    "TIMESTAMPTZ": "timestamptz",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "DATETIMEOFFSET": "timestamptz",
    "TIME": "time",
    "TIME WITHOUT TIME ZONE": "time",
    "JSON": "json",
    "JSONB": "json",
    "UUID": "text",
    "GUID": "text",
    "UNIQUEIDENTIFIER": "text",
}
EXACT_INTEGERS = "BETWEEN -9007199254740992 AND 9007199254740992"
"""Integers that a double holds exactly: 53 bits."""


def affinity(declared: str) -> str:
    """Return the affinity that SQLite derives from a declared type, by its five rules in order."""
    upper = declared.upper()
    if "INT" in upper:
        return "INTEGER"
    if any(word in upper for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if "BLOB" in upper or not upper.strip():
        return "BLOB"
    if any(word in upper for word in ("REAL", "FLOA", "DOUB")):
        return "REAL"
    return "NUMERIC"


def meaning(declared: str, *, number_as: str = "double") -> str:
    """Return what a declared type promises: one of the names of `MAKERS`, or `decimal(p,s)`.

    Names that SQLite does not know promise nothing (`any`): `STRING` has numeric affinity, so that
    '007' becomes 7 in it.
    """
    name = " ".join(_PARAMETERS.sub(" ", declared).upper().split())
    if name in _GEOMETRIES:
        return "binary"
    if name in _MEANINGS:
        return _MEANINGS[name]
    kind = affinity(declared)
    if kind == "INTEGER":
        # FLOATING POINT contains INT: https://www.sqlite.org/datatype3.html, section 3.1.1
        return "number" if "FLOA" in name or "DOUB" in name else "integer"
    if kind == "BLOB":
        return "binary" if name else "any"
    if kind == "NUMERIC":
        return _numeric(declared, name, number_as)
    return {"TEXT": "text", "REAL": "real"}[kind]


def _numeric(declared: str, name: str, number_as: str) -> str:
    if name not in _NUMERICS:
        return "any"
    parameters = _PARAMETERS.search(declared)
    if parameters is None:
        return "number"
    precision, scale = int(parameters[1]), int(parameters[2] or 0)
    if scale == 0 and precision <= 18:
        return "integer"
    if number_as == "decimal" and scale <= precision <= 38:
        return f"decimal({precision},{scale})"
    return "number"


def column(name: str, declared: str, promise: str, *, is_table: bool = True, nullable: bool = True) -> Column:
    """Return a column that reads what a promise says.

    Args:
        name: The column's name in its table.
        declared: The declared type, verbatim.
        promise: The word from `meaning`.
        is_table: Whether SQLite applied the affinity when values were stored; in views and queries it
            did not, so more is checked.
        nullable: False for keys.
    """
    read = quoted(name)
    if promise.startswith("decimal("):
        precision, scale = map(int, promise[8:-1].split(","))
        return _decimal(name, declared, read, pa.decimal128(precision, scale), nullable=nullable)
    if promise == "any":
        return _any(name, declared, read, nullable=nullable)
    arrow_type, physical, refusal, check, decoder = _maker(promise, read, is_table=is_table)
    metadata = {KIND: b"json"} if promise == "json" else None
    return Column(
        field=pa.field(name, arrow_type, nullable=nullable, metadata=metadata),
        native_type=declared,
        expressions=(_json_text(read) if promise == "json" else read,),
        decode=decoder,
        refusal=refusal,
        hint=Physical((physical,), check),
    )


_Maker = tuple[pa.DataType, str, str, str | None, "Callable[[Sequence[pa.Array]], Decoded]"]


def _maker(promise: str, read: str, *, is_table: bool) -> _Maker:
    """Return Arrow type, driver's type, full refusal, cheap check and decoder of a plain promise."""
    not_text = f"typeof({read}) NOT IN ('text', 'null')"
    not_number = f"typeof({read}) IN ('text', 'blob')"
    # In the order of storage classes, a blob is not less than x'' and a number is less than any text:
    # https://www.sqlite.org/datatype3.html, section 4.1. Cheaper than typeof().
    other_than_text = f"({read} < '' OR {read} >= x'')"
    too_large = f"({read} NOT {EXACT_INTEGERS} AND typeof({read}) = 'integer')"
    match promise:
        case "integer":
            refusal = f"typeof({read}) NOT IN ('integer', 'null')"
            return pa.int64(), "int64", refusal, None, decode.as_is
        case "boolean":
            refusal = f"({read} NOT IN (0, 1) OR typeof({read}) NOT IN ('integer', 'null'))"
            return pa.bool_(), "int64", refusal, None, decode.boolean
        case "real" if is_table:
            return pa.float64(), "double", not_number, None, decode.as_is
        case "real" | "number":
            return pa.float64(), "double", f"({not_number} OR {too_large})", too_large, decode.as_is
        case "text":
            check = f"{read} >= x''" if is_table else other_than_text
            return pa.string(), "string", not_text, check, decode.text
        case "binary":
            return (
                pa.binary(),
                "binary",
                f"typeof({read}) NOT IN ('blob', 'null')",
                f"{read} < x''",
                decode.as_is,
            )
        case "json":
            refusal = _json_refusal(read)
            return pa.string(), "string", refusal, refusal, decode.text
        case _:
            types = {"date": pa.date32(), "time": TIME, "timestamp": TIMESTAMP, "timestamptz": TIMESTAMPTZ}
            decoder = functools.partial(decode.instant, kind=types[promise])
            return types[promise], "string", not_text, other_than_text, decoder


def _json_text(read: str) -> str:
    """Text as it is, JSONB as text, numbers with all their digits."""
    return (
        f"CASE typeof({read}) WHEN 'blob' THEN iif(json_valid({read}, 8), json({read}), NULL) "
        f"WHEN 'real' THEN printf('%!.17g', {read}) WHEN 'integer' THEN CAST({read} AS TEXT) ELSE {read} END"
    )


def _json_refusal(read: str) -> str:
    return (
        f"NOT CASE typeof({read}) WHEN 'text' THEN json_valid({read}) WHEN 'blob' THEN json_valid({read}, 8) "
        f"WHEN 'real' THEN abs({read}) <= 1.7976931348623157e308 ELSE 1 END"
    )


def _any(name: str, declared: str, read: str, *, nullable: bool) -> Column:
    """Texts as they are and numbers as their text; one expression per storage class keeps the digits."""
    return Column(
        field=pa.field(name, pa.string(), nullable=nullable, metadata={KIND: b"text"}),
        native_type=declared,
        expressions=tuple(
            f"CASE WHEN typeof({read}) = '{storage_class}' THEN {read} END"
            for storage_class in ("text", "integer", "real")
        ),
        decode=decode.any_scalar,
        refusal=f"typeof({read}) = 'blob'",
        hint=Physical(("string", "int64", "double"), f"typeof({read}) = 'blob'"),
    )


def _decimal(name: str, declared: str, read: str, kind: pa.DataType, *, nullable: bool) -> Column:
    """SQLite keeps decimals as integers or doubles: exact while the double's shortest text fits."""
    return Column(
        field=pa.field(name, kind, nullable=nullable),
        native_type=declared,
        expressions=(
            f"CASE WHEN typeof({read}) = 'integer' THEN {read} END",
            f"CASE WHEN typeof({read}) = 'real' THEN {read} END",
        ),
        decode=functools.partial(decode.decimal, kind=kind),
        refusal=f"typeof({read}) IN ('text', 'blob')",
        hint=Physical(("int64", "double"), f"typeof({read}) IN ('text', 'blob')"),
    )
