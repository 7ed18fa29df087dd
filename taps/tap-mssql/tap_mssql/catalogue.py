"""What a database holds: tables, views and their columns, in one query over the catalogue views.

https://learn.microsoft.com/en-us/sql/relational-databases/system-catalog-views/catalog-views-transact-sql
(read 2026-11-21)
"""

from __future__ import annotations

import itertools
import logging
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from icetap.sql.dialect import Table
from tap_mssql.types import Declared, column, quoted, reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icetap.sql.dialect import Column
    from tap_mssql.connection import Connection

LOGGER = logging.getLogger("tap-mssql")

# A key is the primary key, else the first unique index that has neither a filter nor a column that may be NULL.
CATALOGUE = """
WITH keys AS (
    SELECT i.object_id, i.index_id,
           ROW_NUMBER() OVER (PARTITION BY i.object_id ORDER BY CAST(i.is_primary_key AS int) DESC, i.index_id) AS place
    FROM sys.indexes AS i
    WHERE i.is_unique = 1 AND i.has_filter = 0 AND i.is_disabled = 0 AND i.is_hypothetical = 0
      AND NOT EXISTS (
          SELECT 1 FROM sys.index_columns AS x
          JOIN sys.columns AS n ON n.object_id = x.object_id AND n.column_id = x.column_id
          WHERE x.object_id = i.object_id AND x.index_id = i.index_id AND x.key_ordinal > 0 AND n.is_nullable = 1)
)
SELECT s.name, o.name, CAST(o.type AS varchar(2)), o.object_id, c.column_id, c.name,
       COALESCE(b.name, t.name), t.name, CAST(t.is_assembly_type AS int),
       CAST(c.max_length AS int), CAST(c.precision AS int), CAST(c.scale AS int), c.collation_name,
       CAST(c.is_nullable AS int), COALESCE(CAST(x.key_ordinal AS int), 0),
       COALESCE(CAST(c.encryption_type AS int), 0), CAST(c.is_masked AS int),
       COALESCE(CAST(u.is_memory_optimized AS int), 0), CAST(c.is_column_set AS int),
       CASE WHEN EXISTS (SELECT 1 FROM sys.database_permissions AS p
                         WHERE p.class = 1 AND p.major_id = o.object_id AND p.minor_id = c.column_id)
              OR HAS_PERMS_BY_NAME(CONCAT(QUOTENAME(s.name), '.', QUOTENAME(o.name)), 'OBJECT', 'SELECT') = 0
            THEN HAS_PERMS_BY_NAME(CONCAT(QUOTENAME(s.name), '.', QUOTENAME(o.name)), 'OBJECT', 'SELECT', c.name, 'COLUMN')
            ELSE 1 END
FROM sys.objects AS o
JOIN sys.schemas AS s ON s.schema_id = o.schema_id
JOIN sys.columns AS c ON c.object_id = o.object_id
JOIN sys.types AS t ON t.user_type_id = c.user_type_id
LEFT JOIN sys.types AS b ON b.user_type_id = t.system_type_id AND b.is_user_defined = 0 AND t.is_assembly_type = 0
LEFT JOIN sys.tables AS u ON u.object_id = o.object_id
LEFT JOIN keys AS k ON k.object_id = o.object_id AND k.place = 1
LEFT JOIN sys.index_columns AS x ON x.object_id = k.object_id AND x.index_id = k.index_id
                                 AND x.column_id = c.column_id AND x.key_ordinal > 0
WHERE o.type IN ('U', 'V') AND o.is_ms_shipped = 0
ORDER BY s.name, o.name, c.column_id
"""

_KINDS = {"U": "table", "V": "view"}
_POSITIONS = {
    "tinyint", "smallint", "int", "bigint", "decimal", "numeric", "money", "smallmoney", "date", "datetime",
    "smalldatetime", "datetime2", "datetimeoffset", "time", "char", "varchar", "nchar", "nvarchar", "uniqueidentifier",
    "binary", "varbinary", "bit",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ColumnRow:
    """One row of the catalogue query; `key_position` counts from 1, 0 is no part of the key."""

    schema: str
    table: str
    kind: str
    object_id: int
    column_id: int
    name: str
    system_type: str
    user_type: str
    is_assembly_type: int
    length: int
    precision: int
    scale: int
    collation: str | None
    is_nullable: int
    key_position: int
    encryption: int
    is_masked: int
    is_memory_optimized: int
    is_column_set: int
    may_select: int

    @classmethod
    def of(cls, row: Sequence[Any]) -> ColumnRow:
        """Read a row; drivers pad nothing that is declared varchar."""
        values = list(row)
        values[2] = str(values[2]).strip()
        return cls(*values)


def read_tables(connection: Connection, *, schemas: Sequence[str] | None, may_unmask: bool) -> list[Table]:
    """Return tables and views, sorted by schema and name.

    Args:
        connection: An open connection.
        schemas: Only those; None for all.
        may_unmask: Whether masked columns show their values.
    """
    rows = [ColumnRow.of(row) for row in connection.rows(CATALOGUE)]
    wanted = set(schemas or ())
    tables = []
    for _, group in itertools.groupby(rows, key=operator.attrgetter("schema", "table")):
        rows_of_one = list(group)
        if not wanted or rows_of_one[0].schema in wanted:
            tables.append(table_of(rows_of_one, may_unmask=may_unmask))
    return tables


def table_of(rows: Sequence[ColumnRow], *, may_unmask: bool) -> Table:
    """Return one table or view; masked columns are told of, since their values are made up."""
    first = rows[0]
    key_rows = sorted((row for row in rows if row.key_position), key=operator.attrgetter("key_position"))
    key = tuple(row.name for row in key_rows)
    columns = tuple(_column(row, nullable=row.name not in key) for row in rows)
    masked = [row.name for row in rows if row.is_masked]
    if masked and not may_unmask:
        LOGGER.warning(
            "Columns %s of '%s' are masked and this user has no right to UNMASK: the server sends made-up values. "
            "GRANT UNMASK to the user, or deselect them",
            ", ".join(masked),
            stream_name(first.schema, first.table),
        )
    reasons = list(dict.fromkeys(column.unsupported for column in columns))
    return Table(
        stream=stream_name(first.schema, first.table),
        schema=first.schema,
        name=first.table,
        kind=_KINDS.get(first.kind, "table"),
        source=f"{quoted(first.schema)}.{quoted(first.table)}",
        columns=columns,
        key=key if not any(column.unsupported for column in columns if column.name in key) else (),
        position=position_of(columns, key),
        unsupported=None
        if None in reasons
        else f"none of its columns can be read: {'; '.join(map(str, reasons))}",
    )


def stream_name(schema: str, name: str) -> str:
    """Return the stream's name."""
    return f"{schema}-{name}"


def position_of(columns: Sequence[Column], key: Sequence[str]) -> dict[str, str]:
    """Return by what a full read is ordered: the key, where all of its columns can be compared and written down."""
    by_name = {column.name: column for column in columns}
    found = [by_name[name] for name in key]
    if any(one.unsupported or reading(one).declared.name not in _POSITIONS for one in found):
        return {}
    return {one.name: quoted(one.name) for one in found}


def declared_of(row: ColumnRow) -> Declared:
    """Return a column's type; an alias type is the type that it stands for."""
    name = row.system_type.lower()
    # geometry, geography and hierarchyid are CLR types of the server's own, known by their names.
    name = row.user_type.lower() if row.is_assembly_type else name
    return Declared(
        name="nvarchar" if name == "sysname" else name,
        length=row.length,
        precision=row.precision,
        scale=row.scale,
        collation=row.collation,
        user_type=row.user_type,
    )


def _column(row: ColumnRow, *, nullable: bool) -> Column:
    reason = None
    if row.encryption:
        reason = "it is always encrypted: only a client with its key can read it"
    elif not row.may_select:
        reason = "this user has no right to SELECT it"
    elif row.is_column_set:
        reason = "it is a column set: its sparse columns are columns of their own"
    return column(row.name, declared_of(row), nullable=nullable, unsupported=reason)
