"""SQLite as a dialect of the SQL engine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from typing_extensions import override

from icetap.errors import ConfigurationError
from icetap.sql.dialect import Column, CursorRange, Dialect, Selection, Table, Value
from tap_sqlite import cursors
from tap_sqlite.catalogue import Promises, read_tables
from tap_sqlite.connection import Connection, DatabaseFile, quoted
from tap_sqlite.scan import scanned
from tap_sqlite.select import physical
from tap_sqlite.types import column, meaning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_CLASSES = {"integer": "number", "real": "number"}
_SAMPLE_PLACES = 32
_SAMPLE_ROWS = 32
_UNKNOWN_ROW_BYTES = 256


class SQLiteDialect(Dialect):
    """One database file, with its attached ones."""

    def __init__(self, file: DatabaseFile, *, number_as: str, type_scan: bool) -> None:
        self.file = file
        self._number_as = number_as
        self._type_scan = type_scan

    @override
    def connect(self, snapshot: str | None = None) -> Connection:
        return self.file.open()

    @override
    def version(self, connection: Any) -> str:
        (version,) = connection.rows("SELECT sqlite_version()")[0]
        return f"SQLite {version}, {self.file.path}"

    def _scan(self, connection: Connection) -> Callable[[str, Promises], Promises] | None:
        if not self._type_scan:
            return None
        return lambda source, promises: scanned(connection, source, list(promises.items()))

    @override
    def tables(self, connection: Any, *, is_wanted: Callable[[str], bool]) -> list[Table]:
        return read_tables(
            connection, number_as=self._number_as, scan=self._scan(connection), is_wanted=is_wanted
        )

    @override
    def describe(self, connection: Any, *, name: str, sql: str) -> Table:
        """Describe a query by a view that lives in this connection alone: SQLite tells its columns."""
        view = quoted(f"icetap {name}")
        connection.rows(f"CREATE TEMP VIEW {view} AS\n{sql}\n")
        found = connection.rows(
            "SELECT name, type FROM pragma_table_xinfo(?1, 'temp') ORDER BY cid", (f"icetap {name}",)
        )
        connection.rows(f"DROP VIEW temp.{view}")
        if not found:
            raise ConfigurationError(f"query '{name}' has no columns")
        promises = {item: meaning(declared, number_as=self._number_as) for item, declared in found}
        source = f"({sql}\n)"
        if scan := self._scan(connection):
            promises = scan(source, promises)
        columns = (column(item, declared, promises[item], is_table=False) for item, declared in found)
        return Table(stream=name, schema="", name=name, kind="query", source=source, columns=tuple(columns))

    # --- cursors ------------------------------------------------------------------------------------

    @override
    def cursor_range(
        self, connection: Any, table: Table, column: Column, *, conditions: Sequence[str]
    ) -> CursorRange:
        """Look at both ends: classes sort as NULL < numbers < texts < blobs, so the ends tell all.

        https://www.sqlite.org/datatype3.html, section 4.1 (read 2026-11-21)
        """
        read = column.expressions[0]
        where = " WHERE " + " AND ".join(conditions) if conditions else ""
        has_index = self._has_index(connection, table, column)
        items = (f"min({read})", f"max({read})", f"count(*) - count({read})")
        if has_index:  # one aggregate a subquery, so that each is a look at one end of the index
            null = f"{' AND ' if conditions else ' WHERE '}{read} IS NULL"
            ends = [f"(SELECT {item} FROM {table.source}{where})" for item in items[:2]]
            sql = f"SELECT {ends[0]} AS low, {ends[1]} AS high, (SELECT count(*) FROM {table.source}{where}{null}) AS nulls"
        else:
            sql = f"SELECT {items[0]} AS low, {items[1]} AS high, {items[2]} AS nulls FROM {table.source}{where}"
        (row,) = connection.rows(
            f"SELECT typeof(low), typeof(high), nulls, low, high FROM ({sql})", table.parameters
        )
        low_class, high_class, nulls, low, high = row
        return CursorRange(
            upper=high,
            storage_class=_CLASSES.get(high_class, high_class),
            nulls=nulls,
            has_index=has_index,
            problem=_cursor_problem(column, low_class, high_class, (low, high)),
        )

    def _has_index(self, connection: Connection, table: Table, column: Column) -> bool:
        """Say whether the column leads an index, or is the rowid, or leads the key that orders the table."""
        if table.kind != "table":
            return False
        if next(iter(table.position.values()), None) == column.expressions[0]:
            return True
        found = connection.rows(
            "SELECT 1 FROM pragma_index_list(?1, ?2) AS i, pragma_index_xinfo(i.name, ?2) AS c "
            "WHERE c.seqno = 0 AND c.name = ?3 AND i.partial = 0",
            (table.name, table.schema, column.name),
        )
        return bool(found)

    @override
    def sample(self, connection: Any, table: Table, column: Column) -> Value:
        read = column.expressions[0]
        found = connection.rows(
            f"SELECT {read} FROM {table.source} WHERE {read} IS NOT NULL LIMIT 1", table.parameters
        )
        value: Value = found[0][0] if found else None
        return value

    @override
    def cursor_from_bookmark(self, value: Any, column: Column, *, like: Value) -> Value:
        return cursors.stored_form(value, column, like=like)

    @override
    def cursor_before(self, value: Value, column: Column, *, amount: int) -> Value:
        return cursors.earlier(value, column, amount=amount)

    @override
    def cursor_start(self, value: Value, column: Column) -> Value:
        return cursors.shortest(value, column)

    @override
    def cursor_disorder(
        self,
        connection: Any,
        table: Table,
        column: Column,
        *,
        start: Value,
        conditions: Sequence[str],
        has_key: bool,
    ) -> str | None:
        """Look at the texts from the bookmark's day on: the ends alone do not tell what lies between."""
        if not cursors.is_instant(column):
            return None
        read = column.expressions[0]
        has_date = f"{read} GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9][ T]*'"
        where = [*conditions, has_date]
        parameters = list(table.parameters)
        if isinstance(start, str):
            parameters.append(start[:10])
            where.append(f"{read} >= {self.placeholder(len(parameters))}")
        ((separators, lengths, ends_in_z),) = connection.rows(
            f"SELECT min(substr({read}, 11, 1)) <> max(substr({read}, 11, 1)), "
            f"min(length({read})) <> max(length({read})), max({read} GLOB '*Z') "
            f"FROM {table.source} WHERE {' AND '.join(where)}",
            parameters,
        )
        if separators:
            return _TWO_SEPARATORS
        if lengths and ends_in_z and not has_key:  # with a key, rows that come again are recognised
            return "it holds times of several lengths that end in Z, whose texts do not sort as the times do, and no key tells rows that come again"
        return None

    # --- values that do not fit -----------------------------------------------------------------------

    @override
    def refused_values(
        self, connection: Any, selection: Selection
    ) -> list[tuple[Column, int, str, str | None]]:
        findings = []
        for one in selection.columns:
            if one.refusal is None:
                continue
            where = " AND ".join([*selection.conditions, f"({one.refusal})"])
            rowid = next(iter(selection.table.position.values()), None)
            first = f"min({rowid})" if rowid and len(selection.table.position) == 1 else "NULL"
            read = quoted(one.name)
            ((count, classes, place),) = connection.rows(
                f"SELECT count(*), coalesce(group_concat(DISTINCT typeof({read})), ''), {first} "
                f"FROM {selection.table.source} WHERE {where}",
                selection.parameters,
            )
            if count:
                name = next(iter(selection.table.position), "")
                # A rowid is a place in the file; any other key would be data.
                is_place = isinstance(place, int) and not isinstance(place, bool)
                findings.append((one, count, classes, f"{name} {place}" if is_place else None))
        return findings

    # --- sizes --------------------------------------------------------------------------------------

    @override
    def row_bytes(self, connection: Any, table: Table, columns: Sequence[Column]) -> int:
        """Measure a few rows at many places of a table; rows of views are guessed."""
        long = [
            f"coalesce(octet_length({quoted(one.name)}), 0)"
            for one in columns
            if physical(one).types[0] in {"string", "binary"}
        ]
        fixed = 8 * len(columns) + 8
        if not long:
            return fixed
        if table.kind != "table" or len(table.position) != 1:
            return max(fixed, _UNKNOWN_ROW_BYTES)
        position = next(iter(table.position.values()))
        ((low, high),) = connection.rows(
            f"SELECT low, high FROM (SELECT (SELECT min({position}) FROM {table.source}) AS low, "
            f"(SELECT max({position}) FROM {table.source}) AS high)"
        )
        if not isinstance(low, int) or not isinstance(high, int):
            return max(fixed, _UNKNOWN_ROW_BYTES)
        step = max(1, (high - low) // _SAMPLE_PLACES)
        size = _sum(long)
        largest = 0
        for place in range(low, high + 1, step):
            ((found,),) = connection.rows(
                f"SELECT max(size) FROM (SELECT {size} AS size FROM {table.source} "
                f"WHERE {position} >= ?1 ORDER BY {position} LIMIT {_SAMPLE_ROWS})",
                (place,),
            )
            largest = max(largest, found or 0)
        return fixed + int(largest)

    @override
    def statistics(self, connection: Any, table: Table) -> tuple[int | None, int | None]:
        """Rows as ANALYZE left them, else the largest rowid; SQLite keeps no sizes of tables."""
        if table.kind != "table":
            return None, None
        schema = quoted(table.schema)
        if connection.rows(f"SELECT 1 FROM {schema}.sqlite_schema WHERE name = 'sqlite_stat1'"):
            found = connection.rows(f"SELECT stat FROM {schema}.sqlite_stat1 WHERE tbl = ?1", (table.name,))
            counts = [int(stat.split()[0]) for (stat,) in found if stat]
            if counts:
                return max(counts), None
        positions = list(table.position.values())
        if len(positions) == 1 and (column := table.column(next(iter(table.position)))) is None:
            ((largest,),) = connection.rows(f"SELECT max({positions[0]}) FROM {table.source}")
            return largest or 0, None
        if len(positions) == 1 and column is not None and pa.types.is_integer(column.field.type):
            ((largest,),) = connection.rows(f"SELECT max({positions[0]}) FROM {table.source}")
            return largest or 0, None
        return None, None

    @override
    def placeholder(self, number: int) -> str:
        return f"?{number}"

    @override
    def quote(self, name: str) -> str:
        return quoted(name)


def _sum(terms: Sequence[str]) -> str:
    """Add many terms in groups: SQLite goes down a tree of expressions for 1,000 steps at most."""
    groups = [" + ".join(terms[start : start + 100]) for start in range(0, len(terms), 100)]
    return " + ".join(f"({group})" for group in groups)


_TWO_SEPARATORS = (
    "it holds times with a space and times with a T in the middle, whose texts do not sort as the times do"
)


def _cursor_problem(column: Column, low_class: str, high_class: str, ends: tuple[Value, Value]) -> str | None:
    low, high = (_CLASSES.get(name, name) for name in (low_class, high_class))
    if low != high:
        return f"it holds {low} and {high} values, and SQLite puts every {low} before every {high}"
    if high == "blob":
        return "it holds blobs"
    if high == "text" and cursors.is_instant(column):
        low_form, high_form = (cursors.form_problem(end) for end in ends)
        if low_form or high_form:
            return low_form or high_form
        if all(isinstance(end, str) and len(end) > 10 for end in ends) and ends[0][10] != ends[1][10]:  # type: ignore[index]
            return _TWO_SEPARATORS
    if any(isinstance(end, float) and math.isinf(end) for end in ends):
        return "it holds Infinity, which no state can hold"
    return None
