"""What a server holds: tables, views, their columns and keys, by one query per catalogue table."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from icetap.sql.dialect import Table
from tap_mysql.select import placeholder
from tap_mysql.types import Native, TypeOptions, column, members_of, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icetap.sql.dialect import Column
    from tap_mysql.connection import MySQLConnection

SYSTEM_SCHEMAS = ("information_schema", "mysql", "performance_schema", "sys")

_KINDS = {
    "BASE TABLE": "table",
    "SYSTEM VERSIONED": "table",
    "VIEW": "view",
}
"""What can be read; SEQUENCE and temporary tables are left out."""

_TABLES = "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE {where}"
_COLUMNS = (
    "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, IS_NULLABLE, DATA_TYPE, COLUMN_TYPE, NUMERIC_PRECISION, "
    "NUMERIC_SCALE, PRIVILEGES FROM information_schema.COLUMNS WHERE {where} "
    "ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION"
)
_INDEXES = (
    "SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, NON_UNIQUE, COLUMN_NAME, SUB_PART, NULLABLE "
    "FROM information_schema.STATISTICS WHERE {where} ORDER BY TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"
)
_CHECKS = (
    "SELECT CONSTRAINT_SCHEMA, TABLE_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS "
    "WHERE {where} AND CHECK_CLAUSE LIKE '%json\\_valid(%'"
)
_JSON_CHECK = re.compile(r"\(*json_valid\(`((?:[^`]|``)+)`\)\)*", re.IGNORECASE)

Name = tuple[str, str]
"""Schema and table."""

# By these a read can be ordered and go on: comparing and sorting mean the same for their values, and the text
# of a value is the value. An ENUM sorts by its members' places; a FLOAT is not what its text says.
_ORDERED = frozenset(
    {
        *("tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "year"),
        *(
            "char",
            "varchar",
            "binary",
            "varbinary",
            "date",
            "datetime",
            "timestamp",
            "uuid",
            "inet4",
            "inet6",
        ),
    }
)


@dataclass(slots=True)
class _Index:
    """One index: its columns in order; `is_whole` when it holds them from end to end."""

    is_unique: bool
    columns: list[str] = field(default_factory=list)
    is_whole: bool = True
    is_nullable: bool = False

    @property
    def is_key(self) -> bool:
        """Whether it identifies rows: unique, never null, of whole columns."""
        return self.is_unique and self.is_whole and not self.is_nullable


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Tables and views, and by which columns an index finds their rows."""

    tables: list[Table]
    indexed: dict[str, frozenset[str]]


def read_catalogue(
    connection: MySQLConnection, *, schemas: Sequence[str], options: TypeOptions, is_mariadb: bool
) -> Catalogue:
    """Return what the user may see, sorted by schema and name.

    Args:
        connection: An open one.
        schemas: Only these; all but the server's own when empty.
        options: What the settings say of types.
        is_mariadb: Whether JSON columns are texts with a check.
    """

    def rows(statement: str, of: str) -> list[tuple[Any, ...]]:
        where, values = _in_schemas(schemas, of)
        return connection.rows(statement.format(where=where), values)

    checks = rows(_CHECKS, "CONSTRAINT_SCHEMA") if is_mariadb else []
    json_columns = {
        (schema, table, match[1].replace("``", "`"))
        for schema, table, clause in checks
        if (match := _JSON_CHECK.fullmatch(_text(clause)))
    }
    columns: dict[Name, list[tuple[Any, ...]]] = defaultdict(list)
    for schema, table, *rest in rows(_COLUMNS, "TABLE_SCHEMA"):
        columns[schema, table].append(tuple(rest))
    indexes = _indexes(rows(_INDEXES, "TABLE_SCHEMA"))
    tables, indexed = [], {}
    for schema, name, kind in sorted(rows(_TABLES, "TABLE_SCHEMA")):
        if kind not in _KINDS:
            continue
        own = indexes.get((schema, name), {})
        maker = _TableMaker(schema, name, _KINDS[kind], own, json_columns, options)
        table = maker.table(columns.get((schema, name), []))
        tables.append(table)
        indexed[table.stream] = frozenset(index.columns[0] for index in own.values() if index.columns)
    return Catalogue(tables, indexed)


def stream_name(schema: str, table: str) -> str:
    """Return the stream's name."""
    return f"{schema}-{table}"


def _in_schemas(schemas: Sequence[str], of: str) -> tuple[str, tuple[str, ...]]:
    """Return a condition on a column of schemas; the catalogue is read from disk, so it is worth to be exact."""
    names = tuple(schemas) or SYSTEM_SCHEMAS
    listed = ", ".join(placeholder(number) for number in range(1, len(names) + 1))
    return f"{of} {'IN' if schemas else 'NOT IN'} ({listed})", names


def _indexes(rows: Sequence[tuple[Any, ...]]) -> dict[Name, dict[str, _Index]]:
    found: dict[Name, dict[str, _Index]] = defaultdict(dict)
    for schema, table, name, non_unique, column_name, sub_part, nullable in rows:
        index = found[schema, table].setdefault(name, _Index(is_unique=not int(non_unique)))
        if column_name is None:  # an expression, in MySQL 8
            index.is_whole = False
            if not index.columns:
                index.columns.append("")
            continue
        index.columns.append(column_name)
        index.is_whole = index.is_whole and sub_part is None
        index.is_nullable = index.is_nullable or nullable == "YES"
    return found


@dataclass(frozen=True, slots=True)
class _TableMaker:
    schema: str
    name: str
    kind: str
    indexes: dict[str, _Index]
    json_columns: set[tuple[str, str, str]]
    options: TypeOptions

    def table(self, rows: Sequence[tuple[Any, ...]]) -> Table:
        """Return the table of these rows of the catalogue."""
        key = self._key()
        columns = tuple(self._column(row, key) for row in rows)
        readable = {each.name: each for each in columns if each.unsupported is None}
        if not set(key) <= set(readable):
            key = ()
        reason = None
        if not readable:
            reason = "no column of it can be read (a broken view, or no SELECT right)"
        return Table(
            stream=stream_name(self.schema, self.name),
            schema=self.schema,
            name=self.name,
            kind=self.kind,
            source=f"{quoted(self.schema)}.{quoted(self.name)}",
            columns=columns,
            key=key,
            position=self._position([readable[name] for name in key]),
            unsupported=reason,
        )

    def _key(self) -> tuple[str, ...]:
        """The primary key, else the shortest unique index that can stand for it."""
        keys = {name: index for name, index in self.indexes.items() if index.is_key}
        if "PRIMARY" in keys:
            return tuple(keys["PRIMARY"].columns)
        best = min(keys.items(), key=lambda item: (len(item[1].columns), item[0]), default=None)
        return tuple(best[1].columns) if best else ()

    def _column(self, row: tuple[Any, ...], key: Sequence[str]) -> Column:
        name, _nullable, data_type, column_type, precision, scale, privileges = row
        data_type, column_type = _text(data_type).lower(), _text(column_type)
        native = Native(
            data_type=data_type,
            column_type=column_type,
            precision=int(precision or 0),
            scale=int(scale or 0),
            is_unsigned="unsigned" in column_type.lower(),
            is_json=(self.schema, self.name, name) in self.json_columns,
            members=members_of(column_type) if data_type in {"enum", "set"} else (),
        )
        made = column(
            name,
            native,
            options=self.options,
            nullable=name not in key,
            table=stream_name(self.schema, self.name),
        )
        if made.unsupported is None and "select" not in _text(privileges).lower():
            return _without_right(made)
        return made

    def _position(self, key: Sequence[Column]) -> dict[str, str]:
        if self.kind != "table" or any(each.hint.native.data_type not in _ORDERED for each in key):
            return {}
        return {each.name: quoted(each.name) for each in key}


def _without_right(made: Column) -> Column:
    return dataclasses.replace(made, unsupported="the user has no SELECT right on it")


def _text(value: Any) -> str:
    """A text of the catalogue; some servers send some of them as bytes."""
    return value.decode("utf-8") if isinstance(value, bytes) else str(value or "")
