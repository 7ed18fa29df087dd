"""What a database holds: tables, views, columns, keys and types, in a few queries whatever their number."""

from __future__ import annotations

import itertools
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from icetap.errors import ConfigurationError
from icetap.sql.dialect import Table
from tap_postgres.chunks import PARTS_POSITION
from tap_postgres.types import TypeInfo, TypeTable, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from icetap.sql.dialect import Column, Connection
    from tap_postgres.types import TypeOptions

KINDS = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
}
BLOCK_POSITION = ("ctid", "tableoid", "xmin")
"""The position of a full read by blocks: the next block, the table's file, and the oldest snapshot's `xmin`.

The names are those of system columns, which no column of a table can have.
"""

_COLUMNS = """
SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relkind::text,
       c.relkind IN ('r', 'm') AND coalesce(m.amname = 'heap', false) AND has_table_privilege(c.oid, 'SELECT'),
       c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits AS h WHERE h.inhparent = c.oid),
       c.relrowsecurity AND row_security_active(c.oid) AS is_filtered,
       a.attname::text, a.atttypid::int8, a.atttypmod, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       coalesce(has_column_privilege(c.oid, a.attnum, 'SELECT'), false), a.attnum::int4,
       CASE WHEN c.relkind IN ('r', 'm') THEN greatest(c.relpages::int8 * current_setting('block_size')::int8,
           pg_stat_get_live_tuples(c.oid) * 100) END
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_am AS m ON m.oid = c.relam
LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') {conditions}
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
  AND has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT')
ORDER BY n.nspname, c.relname, a.attnum
"""
_KEYS = """
SELECT i.indrelid::int8, i.indisprimary, i.indisreplident,
       array_to_string(i.indkey::int2[], ' '), i.indnkeyatts::int4, x.relname::text
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = x.relnamespace
WHERE i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
  AND n.nspname <> 'pg_catalog' AND n.nspname !~ '^pg_(toast|temp)'
"""
_TYPES = """
SELECT t.oid::int8, n.nspname::text, t.typname::text, t.typtype::text, t.typbasetype::int8, t.typtypmod,
       CASE WHEN t.typelem <> 0 AND t.typlen = -1 AND t.typcategory = 'A' THEN t.typelem::int8 ELSE 0 END
FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
WHERE t.oid IN ({oids})
"""
_FORMATTED = "SELECT {types}"


@dataclass(frozen=True, slots=True)
class _ColumnRow:
    """One row of the catalogue query; a table without columns has one whose `name` is None.

    `has_children` tells of inheritance, not of partitions: the rows of the children are the table's own, with
    blocks of theirs, and no unique index holds for all of them.
    """

    oid: int
    schema: str
    table: str
    kind: str
    is_heap: bool
    has_children: bool
    is_filtered: bool
    name: str | None
    type_oid: int
    modifier: int
    native_type: str
    not_null: bool
    is_readable: bool
    number: int
    estimated_bytes: int | None

    @property
    def has_blocks(self) -> bool:
        """Whether the table can be read by blocks."""
        return self.is_heap and not self.has_children


@dataclass(frozen=True, slots=True)
class Relation:
    """What the dialect remembers of a table or a view.

    `has_blocks` says that it can be read by blocks: rights on single columns do not include `ctid`.
    """

    oid: int
    kind: str
    has_blocks: bool
    is_filtered: bool


def read_types(connection: Connection, oids: Iterable[int], options: TypeOptions) -> TypeTable:
    """Return these types, and those that they are made of."""
    infos: dict[int, TypeInfo] = {}
    wanted = set(oids)
    while wanted:
        found = connection.rows(_TYPES.format(oids=", ".join(map(str, sorted(wanted)))))
        new = [TypeInfo(*row) for row in found]
        infos.update((info.oid, info) for info in new)
        wanted = {part for info in new for part in (info.base, info.element) if part} - infos.keys()
    return TypeTable(infos, options)


def read_tables(
    connection: Connection, *, options: TypeOptions, schemas: Sequence[str], include_partitions: bool
) -> tuple[list[Table], dict[str, Relation]]:
    """Return tables and views sorted by schema and name, and what is known of each beside that, by stream.

    Args:
        connection: A session in the database.
        options: How types are read.
        schemas: The only schemas to look at; empty for all.
        include_partitions: Whether the parts of partitioned tables are tables of their own.
    """
    conditions = "" if include_partitions else "AND NOT c.relispartition"
    parameters = tuple(schemas)
    if schemas:
        names = ", ".join("'" + schema.replace("'", "''") + "'" for schema in parameters)
        conditions += f" AND n.nspname IN ({names})"
    rows = [_ColumnRow(*row) for row in connection.rows(_COLUMNS.format(conditions=conditions))]
    types = read_types(connection, {row.type_oid for row in rows if row.name is not None}, options)
    keys = _keys(connection)
    tables, relations = [], {}
    for _, group in itertools.groupby(rows, key=operator.attrgetter("oid")):
        of_one = list(group)
        first = of_one[0]
        table = _table(of_one, types, keys.get(first.oid, ()))
        tables.append(table)
        relations[table.stream] = Relation(first.oid, first.kind, first.has_blocks, first.is_filtered)
    return tables, relations


def _keys(connection: Connection) -> Mapping[int, list[tuple[int, ...]]]:
    """Return for each table the numbers of the columns of its unique indexes, the best first.

    The primary key, then the index of the replica identity, then the one with the fewest columns.
    """
    found: dict[int, list[tuple[Any, ...]]] = {}
    for oid, is_primary, is_identity, numbers, count, name in connection.rows(_KEYS):
        columns = tuple(map(int, numbers.split()))[:count]
        found.setdefault(oid, []).append((not is_primary, not is_identity, len(columns), name, columns))
    return {oid: [entry[-1] for entry in sorted(entries)] for oid, entries in found.items()}


def _table(rows: Sequence[_ColumnRow], types: TypeTable, keys: Iterable[tuple[int, ...]]) -> Table:
    first = rows[0]
    existing = [row for row in rows if row.name is not None]
    key = () if first.has_children else _key(existing, keys)
    columns = tuple(_column(row, types, key) for row in existing)
    readable = {column.name for column in columns if column.unsupported is None}
    if not set(key) <= readable:
        key = ()
    return Table(
        stream=f"{first.schema}-{first.table}",
        schema=first.schema,
        name=first.table,
        kind=KINDS[first.kind],
        source=f"{quoted(first.schema)}.{quoted(first.table)}",
        columns=columns,
        key=key,
        position=_position(columns, key, has_blocks=first.has_blocks),
        chunk_position=PARTS_POSITION if key and first.kind == "p" else (),
        unsupported=None if columns else "it has no columns",
        estimated_bytes=first.estimated_bytes,
    )


def _key(rows: Sequence[_ColumnRow], keys: Iterable[tuple[int, ...]]) -> tuple[str, ...]:
    """Return the columns of the first unique index that is never null and may be read."""
    usable = {row.number: str(row.name) for row in rows if row.not_null and row.is_readable}
    for numbers in keys:
        if all(number in usable for number in numbers):
            return tuple(usable[number] for number in numbers)
    return ()


def _column(row: _ColumnRow, types: TypeTable, key: Sequence[str]) -> Column:
    return types.column(
        str(row.name),
        row.type_oid,
        row.modifier,
        native_type=row.native_type,
        nullable=row.name not in key,
        unsupported=None if row.is_readable else "this user may not SELECT it",
        owner=f"{row.schema}-{row.table}",
    )


def _position(columns: Sequence[Column], key: Sequence[str], *, has_blocks: bool) -> Mapping[str, str]:
    """Return by what a full read resumes: blocks, or the key of what has no blocks of its own.

    Rows without a key are not recognised when they come again, so their reads do not resume.
    """
    if not key:
        return {}
    if has_blocks:  # what is read in order nevertheless, such as a preview, comes by the index of the key
        return {
            name: quoted(column) for name, column in zip(BLOCK_POSITION, itertools.cycle(key), strict=False)
        }
    kinds = {column.name: column.field.type for column in columns}
    can_order = all(pa.types.is_integer(kinds[name]) or pa.types.is_string(kinds[name]) for name in key)
    return {name: quoted(name) for name in key} if can_order else {}


def query_table(
    connection: Connection,
    name: str,
    *,
    sql: str,
    described: Sequence[tuple[str, int, int]],
    options: TypeOptions,
) -> Table:
    """Return a query as a table.

    Raises:
        ConfigurationError: When two of its columns have one name.
    """
    names = [column for column, _, _ in described]
    if twice := sorted({column for column in names if names.count(column) > 1}):
        raise ConfigurationError(f"two columns are called '{twice[0]}'; name one of them anew with AS")
    types = read_types(connection, {oid for _, oid, _ in described}, options)
    shown = ", ".join(f"format_type({oid}, {modifier})" for _, oid, modifier in described)
    (native_types,) = connection.rows(_FORMATTED.format(types=shown))
    columns = tuple(
        types.column(column, oid, modifier, native_type=native_type, nullable=True, owner=name)
        for (column, oid, modifier), native_type in zip(described, native_types, strict=True)
    )
    return Table(stream=name, schema="", name=name, kind="query", source=f"({sql}\n)", columns=columns)
