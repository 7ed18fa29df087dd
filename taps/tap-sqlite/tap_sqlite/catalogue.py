"""What a database file holds: tables, views and their columns, in one query."""

from __future__ import annotations

import itertools
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from icetap.errors import IcetapError
from icetap.sql.dialect import Table
from tap_sqlite.connection import quoted
from tap_sqlite.types import column, meaning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from icetap.sql.dialect import Column
    from tap_sqlite.connection import Connection

ROWID = "_rowid_"
"""The alias by which a table's row number can be a column of the stream."""

_KINDS = "'table', 'view', 'virtual'"
_CATALOGUE = f"""
SELECT t.schema, t.name, t.type, t.wr, t.strict,
       c.name, c.type, c."notnull", c.pk, c.hidden,
       EXISTS (SELECT 1 FROM pragma_index_list(t.name, t.schema) WHERE origin = 'pk')
FROM pragma_table_list AS t, pragma_table_xinfo(t.name, t.schema) AS c
WHERE t.type IN ({_KINDS}) AND t.schema <> 'temp' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
"""
_NAMES = f"""
SELECT schema, name, type FROM pragma_table_list
WHERE type IN ({_KINDS}) AND schema <> 'temp' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
"""


@dataclass(frozen=True, slots=True)
class _ColumnRow:
    """One row of the catalogue query; `key_position` counts from 1, 0 is no part of the key."""

    schema: str
    table: str
    kind: str
    without_rowid: int
    strict: int
    name: str
    declared: str
    not_null: int
    key_position: int
    hidden: int
    has_key_index: int


Promises = dict[str, str]
"""The word from `types.meaning` for each column."""


def read_tables(
    connection: Connection,
    *,
    number_as: str,
    scan: Callable[[str, Promises], Promises] | None,
    is_wanted: Callable[[str], bool],
) -> list[Table]:
    """Return tables and views, sorted by schema and name; `main` first.

    Args:
        connection: The open file.
        number_as: What declared decimals become.
        scan: Looks at the stored values: gets the source and what its columns promise, returns what holds.
        is_wanted: Whether the stream of this name may be scanned.
    """
    try:
        rows = [_ColumnRow(*row) for row in connection.rows(_CATALOGUE)]
        broken: list[Table] = []
    except IcetapError:
        # One view of a missing table, or one virtual table of a missing module, fails the whole query.
        rows, broken = _one_by_one(connection)
    tables = broken
    ordered = sorted(rows, key=lambda row: (row.schema, row.table))
    for _, group in itertools.groupby(ordered, key=operator.attrgetter("schema", "table")):
        rows_of_one = list(group)
        name = stream_name(rows_of_one[0].schema, rows_of_one[0].table)
        tables.append(_table(rows_of_one, number_as=number_as, scan=scan if is_wanted(name) else None))
    return sorted(tables, key=lambda table: (table.schema != "main", table.schema, table.name))


def _one_by_one(connection: Connection) -> tuple[list[_ColumnRow], list[Table]]:
    rows: list[_ColumnRow] = []
    broken: list[Table] = []
    for schema, name, kind in sorted(connection.rows(_NAMES)):
        try:
            found = connection.rows(_CATALOGUE + " AND t.schema = ?1 AND t.name = ?2", (schema, name))
        except IcetapError as error:
            reason = str(error).partition(": ")[2].rpartition(". Check")[0] or str(error)
            broken.append(_unsupported(schema, name, kind, reason))
        else:
            rows += [_ColumnRow(*row) for row in found]
    return rows, broken


def _unsupported(schema: str, name: str, kind: str, reason: str) -> Table:
    return Table(
        stream=stream_name(schema, name),
        schema=schema,
        name=name,
        kind=kind,
        source=source_of(schema, name),
        columns=(),
        unsupported=reason,
    )


def stream_name(schema: str, name: str) -> str:
    """Return the stream's name: the table's alone, with the alias in front for attached files."""
    return name if schema == "main" else f"{schema}-{name}"


def source_of(schema: str, name: str) -> str:
    """Return the quoted FROM item."""
    return f"{quoted(schema)}.{quoted(name)}"


def _table(
    rows: list[_ColumnRow], *, number_as: str, scan: Callable[[str, Promises], Promises] | None
) -> Table:
    first = rows[0]
    source = source_of(first.schema, first.table)
    # Hidden columns of kind 1 are commands of virtual tables; 2 and 3 are generated, and readable.
    visible = [row for row in rows if row.hidden != 1]
    key_rows = sorted((row for row in visible if row.key_position), key=lambda row: row.key_position)
    is_rowid_alias = len(key_rows) == 1 and first.kind == "table" and not first.has_key_index
    key = [row.name for row in key_rows] if _is_never_null(key_rows, first, is_rowid_alias) else []
    promises = {row.name: meaning(row.declared, number_as=number_as) for row in visible}
    if scan is not None:
        promises = scan(source, promises)
    columns = [
        column(
            row.name,
            row.declared,
            promises[row.name],
            is_table=first.kind == "table" and row.hidden == 0,
            nullable=row.name not in key,
        )
        for row in visible
    ]
    has_rowid = first.kind == "table" and not first.without_rowid
    return Table(
        stream=stream_name(first.schema, first.table),
        schema=first.schema,
        name=first.table,
        kind=first.kind,
        source=source,
        columns=tuple(columns),
        key=tuple(key),
        position=_position(columns, key_rows, has_rowid=has_rowid, is_rowid_alias=is_rowid_alias),
        unsupported=None if first.table else "its name is empty; read it by a query",
    )


def _is_never_null(key_rows: Sequence[_ColumnRow], table: _ColumnRow, is_rowid_alias: bool) -> bool:
    """Say whether the primary key identifies rows: in ordinary tables it may hold NULL, many times.

    https://www.sqlite.org/lang_createtable.html, section 3.5 (read 2026-11-21)
    """
    if not key_rows:
        return False
    if is_rowid_alias or table.without_rowid or table.strict:
        return True
    return all(row.not_null for row in key_rows)


def _position(
    columns: Iterable[Column], key_rows: Sequence[_ColumnRow], *, has_rowid: bool, is_rowid_alias: bool
) -> dict[str, str]:
    """Return by what a full read is ordered: the rowid, or the key of a table without one."""
    if is_rowid_alias:
        return {key_rows[0].name: quoted(key_rows[0].name)}
    if has_rowid:
        taken = {column.name.lower() for column in columns}
        for alias in (ROWID, "rowid", "oid"):
            if alias not in taken:
                return {alias: alias}
        return {}
    return {row.name: quoted(row.name) for row in key_rows}


def with_rowid(table: Table) -> Table:
    """Return the table with its row number as the column `_rowid_`, if it has one of that name."""
    if ROWID not in table.position or table.column(ROWID):
        return table
    rowid = column(ROWID, "INTEGER", "integer", nullable=False)
    return Table(
        stream=table.stream,
        schema=table.schema,
        name=table.name,
        kind=table.kind,
        source=table.source,
        columns=(*table.columns, rowid),
        key=table.key,
        position=table.position,
    )
