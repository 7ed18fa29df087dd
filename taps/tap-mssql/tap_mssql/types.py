"""SQL Server's types as exact Arrow columns: what the SELECT asks for, what becomes of it, how values are bound.

https://learn.microsoft.com/en-us/sql/t-sql/data-types/data-types-transact-sql (read 2026-11-21)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa

from icetap.sql.dialect import Column
from icetap.types import KIND, TIME, TIMESTAMP, TIMESTAMPTZ
from tap_mssql import decode

LONG = -1
"""The length that the catalogue has for `(max)`."""

_MAX_NVARCHAR = 4_000
_INTEGERS = {"tinyint": 1, "smallint": 2, "int": 4, "bigint": 8}
_MONEY = {"money": (19, 4), "smallmoney": (10, 4)}
_COLLATION = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Declared:
    """A column's type as the catalogue has it.

    `length` is in bytes, -1 for (max); `user_type` is the alias or CLR type's own name.
    """

    name: str
    length: int = 0
    precision: int = 0
    scale: int = 0
    collation: str | None = None
    user_type: str | None = None

    @property
    def text(self) -> str:
        """The type as a declaration says it."""
        match self.name:
            case "decimal" | "numeric":
                return f"{self.name}({self.precision},{self.scale})"
            case "datetime2" | "datetimeoffset" | "time":
                return f"{self.name}({self.scale})"
            case "char" | "varchar" | "binary" | "varbinary":
                return f"{self.name}({'max' if self.length == LONG else self.length})"
            case "nchar" | "nvarchar":
                return f"{self.name}({'max' if self.length == LONG else self.length // 2})"
            case _:
                return self.name


@dataclass(frozen=True, slots=True)
class Rule:
    """How one type is read and bound.

    Attributes:
        arrow: The exact type.
        select: What the SELECT list asks for; `{c}` is the quoted column.
        driver: What the driver makes of each of these.
        decode: From the driver's arrays to the exact one.
        bound: A parameter, `{p}`, as a value of the column's own type, so that an index serves; None where the column
            cannot be compared.
        text: The value as a bookmark holds it, for positions; None where `select` does.
        width: Bytes of a value in the driver's buffer; `None` for values that are fetched one by one.
        kind: What the Arrow type does not say.
    """

    arrow: pa.DataType
    select: tuple[str, ...]
    driver: tuple[pa.DataType, ...]
    decode: decode.Decode
    bound: str | None = None
    text: str | None = None
    width: int | None = 8
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A `Rule` for one column, spelled out; the `hint` of our columns."""

    declared: Declared
    driver: tuple[pa.DataType, ...]
    bound: str | None
    text: str
    width: int | None


def rule_for(declared: Declared) -> Rule | None:
    """Return the rule for a type, None for one that cannot be read."""
    name = declared.name
    if name in _INTEGERS:
        kind = pa.int64() if name == "bigint" else pa.int32()
        return Rule(kind, ("{c}",), (pa.int64(),), decode.cast_to(kind), bound=f"CAST({{p}} AS {name})")
    if name == "bit":
        return Rule(pa.bool_(), ("{c}",), (pa.bool_(),), decode.cast_to(pa.bool_()), bound="CAST({p} AS bit)")
    if name in {"float", "real"}:
        # A double holds every real exactly; bound as text of style 3, which reads back to the same number.
        bound = f"CAST({{p}} AS {name})"
        return Rule(pa.float64(), ("{c}",), (pa.float64(),), decode.cast_to(pa.float64()), bound=bound)
    if name in {"decimal", "numeric"} or name in _MONEY:
        return _decimal(declared)
    if name in {"char", "varchar", "nchar", "nvarchar"}:
        return _text(declared)
    if name in {"text", "ntext", "xml", "json"}:
        return _long_text("CAST({c} AS nvarchar(max))", kind="json" if name == "json" else None)
    if name in {"binary", "varbinary"}:
        return _binary(declared)
    return _instant(declared) or _OTHERS.get(name)


def _decimal(declared: Declared) -> Rule:
    precision, scale = _MONEY.get(declared.name, (declared.precision, declared.scale))
    kind = pa.decimal128(precision, scale)
    name = f"decimal({precision},{scale})"
    read = "CAST({c} AS " + name + ")" if declared.name in _MONEY else "{c}"
    typed = f"CAST({{p}} AS {declared.name})" if declared.name in _MONEY else f"CAST({{p}} AS {name})"
    text = "CONVERT(varchar(41), " + read + ")"
    return Rule(kind, (read,), (kind,), decode.cast_to(kind), bound=typed, text=text, width=20)


def _text(declared: Declared) -> Rule:
    """Texts come as nvarchar: the server knows the code page of the column's collation, the client may not."""
    is_wide = declared.name[0] == "n"
    length = declared.length if declared.length == LONG else declared.length // (2 if is_wide else 1)
    bound = "{p}" if is_wide or not _is_collation(declared.collation) else (
        f"CAST({{p}} COLLATE {declared.collation} AS varchar({'max' if length == LONG else length}))"
    )  # fmt: skip
    if length == LONG or length > _MAX_NVARCHAR:
        read = "{c}" if is_wide else "CAST({c} AS nvarchar(max))"
        return Rule(pa.string(), (read,), (pa.large_string(),), decode.text, bound=bound, width=None)
    read = "{c}" if is_wide else "CAST({c} AS nvarchar(" + str(length) + "))"
    width = 2 * length + 2
    return Rule(pa.string(), (read,), (pa.large_string(),), decode.text, bound=bound, width=width)


def _is_collation(name: str | None) -> bool:
    return name is not None and _COLLATION.fullmatch(name) is not None


def _long_text(select: str, *, kind: str | None = None) -> Rule:
    return Rule(pa.string(), (select,), (pa.large_string(),), decode.text, width=None, kind=kind)


def _binary(declared: Declared) -> Rule:
    is_long = declared.length == LONG
    size = "max" if is_long else str(declared.length)
    return Rule(
        pa.binary(),
        ("{c}",),
        (pa.large_binary(),),
        decode.cast_to(pa.binary()),
        bound=f"CONVERT(varbinary({size}), {{p}}, 2)",
        text="CONVERT(varchar(max), {c}, 2)",
        width=None if is_long else declared.length,
    )


def _instant(declared: Declared) -> Rule | None:
    """Dates and times. Seven digits are cut to six; a bookmark never lies behind what it was cut from."""
    name, scale = declared.name, declared.scale
    match name:
        case "date":
            kind = pa.date32()
            text = "CONVERT(char(10), {c}, 23)"
            return Rule(
                kind, ("{c}",), (kind,), decode.cast_to(kind), bound="CAST({p} AS date)", text=text, width=6
            )
        case "time":
            text = "CONVERT(varchar(16), CAST({c} AS time(7)))"
            bound = f"CAST({{p}} AS time({scale}))"
            return Rule(TIME, ("{c}",), (TIME,), decode.truncated_to(TIME), bound=bound, text=text, width=12)
        case "datetime" | "smalldatetime":
            # Text of more than three digits is no datetime, but every datetime2 can become one.
            bound = f"CAST(CAST({{p}} AS datetime2(7)) AS {name})"
        case "datetime2":
            bound = f"CAST({{p}} AS datetime2({scale}))"
        case "datetimeoffset":
            # In UTC, as datetime2: every driver reads that in the same way.
            read = "CAST(SWITCHOFFSET({c}, '+00:00') AS datetime2(7))"
            text = "CONVERT(varchar(34), SWITCHOFFSET({c}, '+00:00'), 121)"
            bound = f"CAST({{p}} AS datetimeoffset({scale}))"
            decoder = decode.cast_to(TIMESTAMPTZ)
            return Rule(TIMESTAMPTZ, (read,), (TIMESTAMP,), decoder, bound=bound, text=text, width=16)
        case _:
            return None
    text = "CONVERT(varchar(27), {c}, 121)"
    return Rule(
        TIMESTAMP, ("{c}",), (TIMESTAMP,), decode.cast_to(TIMESTAMP), bound=bound, text=text, width=16
    )


_VARIANT = (
    "CASE CAST(SQL_VARIANT_PROPERTY({c}, 'BaseType') AS nvarchar(128)) "
    "WHEN N'float' THEN CONVERT(nvarchar(max), CAST({c} AS float), 3) "
    "WHEN N'real' THEN CONVERT(nvarchar(max), CAST({c} AS real), 3) "
    "WHEN N'money' THEN CONVERT(nvarchar(max), CAST({c} AS decimal(19,4))) "
    "WHEN N'smallmoney' THEN CONVERT(nvarchar(max), CAST({c} AS decimal(10,4))) "
    "WHEN N'date' THEN CONVERT(nvarchar(max), CAST({c} AS date), 23) "
    "WHEN N'datetime' THEN CONVERT(nvarchar(max), CAST({c} AS datetime), 121) "
    "WHEN N'smalldatetime' THEN CONVERT(nvarchar(max), CAST({c} AS datetime), 121) "
    "WHEN N'datetime2' THEN CONVERT(nvarchar(max), CAST({c} AS datetime2(7)), 121) "
    "WHEN N'datetimeoffset' THEN CONVERT(nvarchar(max), CAST({c} AS datetimeoffset(7)), 121) "
    "WHEN N'binary' THEN CONVERT(nvarchar(max), CAST({c} AS varbinary(8000)), 1) "
    "WHEN N'varbinary' THEN CONVERT(nvarchar(max), CAST({c} AS varbinary(8000)), 1) "
    "ELSE CAST({c} AS nvarchar(max)) END"
)
"""Each base type in a text that keeps all of it: a plain CAST gives six digits of a float and no seconds of a time."""

_OTHERS: dict[str, Rule] = {
    "image": Rule(
        pa.binary(),
        ("CAST({c} AS varbinary(max))",),
        (pa.large_binary(),),
        decode.cast_to(pa.binary()),
        width=None,
    ),
    "uniqueidentifier": Rule(
        pa.uuid(),
        ("CAST({c} AS char(36))",),
        (pa.large_string(),),
        decode.uuid,
        bound="CAST({p} AS uniqueidentifier)",
        text="CAST({c} AS char(36))",
        width=74,
    ),
    # Eight bytes that grow, and no time at all: as hexadecimal digits their text sorts as they do.
    "timestamp": Rule(
        pa.string(),
        ("CONVERT(char(16), CAST({c} AS binary(8)), 2)",),
        (pa.large_string(),),
        decode.text,
        bound="CONVERT(binary(8), {p}, 2)",
        text="CONVERT(char(16), CAST({c} AS binary(8)), 2)",
        width=34,
    ),
    "hierarchyid": Rule(pa.string(), ("{c}.ToString()",), (pa.large_string(),), decode.text, width=8_002),
    "geometry": Rule(
        pa.binary(),
        ("{c}.AsBinaryZM()", "{c}.STSrid"),
        (pa.large_binary(), pa.int64()),
        decode.geometry,
        width=None,
    ),
    "geography": Rule(
        pa.binary(),
        ("{c}.AsBinaryZM()", "{c}.STSrid"),
        (pa.large_binary(), pa.int64()),
        decode.geometry,
        width=None,
    ),
    "sql_variant": _long_text(_VARIANT),
    "vector": Rule(
        pa.list_(pa.float64()),
        ("CAST({c} AS nvarchar(max))",),
        (pa.large_string(),),
        decode.vector,
        width=None,
    ),
}


def column(name: str, declared: Declared, *, nullable: bool = True, unsupported: str | None = None) -> Column:
    """Return a column that reads what its type says; one that cannot be read says why."""
    read = quoted(name)
    rule = rule_for(declared)
    if rule is None:
        what = declared.user_type or declared.name
        unsupported = (
            unsupported or f"its type {what} has no form outside of SQL Server; cast it in a view or a query"
        )
        rule = _UNREADABLE
    metadata = {KIND: rule.kind.encode()} if rule.kind else None
    return Column(
        field=pa.field(name, rule.arrow, nullable=nullable, metadata=metadata),
        native_type=declared.text,
        expressions=tuple(part.replace("{c}", read) for part in rule.select),
        decode=rule.decode,
        hint=Reading(
            declared=declared,
            driver=rule.driver,
            bound=rule.bound,
            text=(rule.text or rule.select[0]).replace("{c}", read),
            width=rule.width,
        ),
        unsupported=unsupported,
    )


_UNREADABLE = Rule(pa.string(), ("NULL",), (pa.large_string(),), decode.text)


def reading(column: Column) -> Reading:
    """Return how one of our columns is read."""
    hint: Reading = column.hint
    return hint


def quoted(name: str) -> str:
    """Return a name as an identifier."""
    return "[" + name.replace("]", "]]") + "]"
