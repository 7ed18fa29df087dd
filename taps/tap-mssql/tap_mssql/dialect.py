"""SQL Server as a dialect of the SQL engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from icetap.errors import ConfigurationError, SkippableError
from icetap.sql.dialect import Column, CursorRange, Dialect, Selection, Table, Value
from icetap.sql.server import names_listed
from tap_mssql import select, values
from tap_mssql.catalogue import read_tables
from tap_mssql.change_tracking import ChangeTracking
from tap_mssql.connection import Connection, Facts, begin, end, facts_of, open_connection
from tap_mssql.errors import is_transient
from tap_mssql.types import Declared, column, quoted, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tap_mssql.address import Address

_UNKNOWN_ROW_BYTES = 512
_PAGE_BYTES = 8_192

DESCRIBE = (
    "SELECT name, system_type_name, CAST(max_length AS int), CAST(precision AS int), CAST(scale AS int), "
    "collation_name, user_type_name, error_number, error_message "
    "FROM sys.dm_exec_describe_first_result_set(@icetap1, NULL, 0) WHERE is_hidden = 0 OR is_hidden IS NULL "
    "ORDER BY column_ordinal"
)
HAS_INDEX = (
    "SELECT TOP (1) 1 FROM sys.indexes AS i JOIN sys.index_columns AS x ON x.object_id = i.object_id "
    "AND x.index_id = i.index_id AND x.key_ordinal = 1 JOIN sys.columns AS c ON c.object_id = x.object_id "
    "AND c.column_id = x.column_id WHERE i.object_id = OBJECT_ID(@icetap1) AND c.name = @icetap2 "
    "AND i.has_filter = 0 AND i.is_disabled = 0 AND i.is_hypothetical = 0"
)
STATISTICS = (
    "SELECT COALESCE(SUM(CASE WHEN a.type = 1 THEN p.rows ELSE 0 END), 0), COALESCE(SUM(a.used_pages), 0) "
    "FROM sys.partitions AS p JOIN sys.allocation_units AS a ON a.container_id = "
    "CASE WHEN a.type = 2 THEN p.partition_id ELSE p.hobt_id END "
    "WHERE p.object_id = OBJECT_ID(@icetap1) AND p.index_id IN (0, 1)"
)
MIN_ACTIVE_ROWVERSION = "SELECT CONVERT(char(16), CAST(MIN_ACTIVE_ROWVERSION() AS binary(8)), 2)"

_NO_CURSORS = {
    "bit": "it has two values",
    "uniqueidentifier": "uniqueidentifiers do not grow with time",
    "binary": "it holds bytes; only rowversion grows with each change",
    "varbinary": "it holds bytes; only rowversion grows with each change",
}


class MSSQLDialect(Dialect):
    """One database of one server."""

    def __init__(self, address: Address, config: Mapping[str, Any]) -> None:
        self.address = address
        self.config = config
        self._facts: Facts | None = None

    # --- connections ----------------------------------------------------------------------------------

    @override
    def connect(self, snapshot: str | None = None) -> Connection:
        connection = self.open()
        try:
            facts = self.facts(connection)
            begin(connection, self.config["isolation_level"], has_snapshots=facts.has_snapshots)
        except BaseException:
            connection.close()
            raise
        return connection

    @override
    def release(self, connection: Any) -> bool:
        end(connection)
        return True

    @override
    def renew(self, connection: Any) -> None:
        begin(connection, self.config["isolation_level"], has_snapshots=self.facts(connection).has_snapshots)

    def open(self) -> Connection:
        """Open a connection without a transaction."""
        return open_connection(self.address, self.config)

    def facts(self, connection: Connection) -> Facts:
        """Return what the server and the database are; asked once a run."""
        if self._facts is None:
            self._facts = facts_of(connection)
        return self._facts

    @override
    def transient(self, error: BaseException) -> bool:
        cause = error.__cause__
        return is_transient(error if cause is None else cause)

    @override
    def version(self, connection: Any) -> str:
        facts = self.facts(connection)
        reads = "snapshots" if facts.has_snapshots else "no snapshots"
        return f"SQL Server {facts.version}, {facts.edition}, database {facts.database} ({reads})"

    @override
    def change_log(self) -> ChangeTracking:
        return ChangeTracking(self)

    # --- discovery ------------------------------------------------------------------------------------

    @override
    def tables(self, connection: Any, *, is_wanted: Callable[[str], bool]) -> list[Table]:
        facts = self.facts(connection)
        schemas = names_listed(self.config.get("filter_schemas"))
        return read_tables(connection, schemas=schemas, may_unmask=facts.may_unmask)

    @override
    def describe(self, connection: Any, *, name: str, sql: str) -> Table:
        try:
            found = connection.rows(DESCRIBE, (sql,))
        except SkippableError as error:
            raise ConfigurationError(str(error)) from error
        wrong = next((row for row in found if row[7] is not None), None)
        if wrong is not None:
            raise ConfigurationError(
                f"the server cannot describe query '{name}': {wrong[8]} (error {wrong[7]}). "
                "Temporary tables and dynamic SQL cannot be described: put the query into a view"
            )
        if not found:
            raise ConfigurationError(f"query '{name}' has no columns")
        nameless = [number for number, row in enumerate(found, 1) if not row[0]]
        if nameless:
            raise ConfigurationError(
                f"column {nameless[0]} of query '{name}' has no name: give it one with AS"
            )
        table = Table(
            stream=name,
            schema="",
            name=name,
            kind="query",
            source=f"({sql}\n)",
            columns=tuple(column(str(row[0]), _declared(row)) for row in found),
        )
        select.from_item(table)  # says early what is wrong with a WITH
        return table

    # --- cursors --------------------------------------------------------------------------------------

    @override
    def cursor_range(
        self, connection: Any, table: Table, column: Column, *, conditions: Sequence[str]
    ) -> CursorRange:
        name = reading(column).declared.name
        has_index = table.kind == "table" and bool(connection.rows(HAS_INDEX, (table.source, column.name)))
        problem = self._cursor_problem(column)
        if problem:
            return CursorRange(upper=None, storage_class=name, nulls=0, has_index=has_index, problem=problem)
        prefix, source = select.from_item(table)
        read = quoted(column.name)
        where = " WHERE " + " AND ".join(conditions) if conditions else ""
        text = reading(column).text.replace(read, f"MAX({read})")
        ((upper,),) = connection.rows(f"{prefix}SELECT {text} FROM {source}{where}", table.parameters)
        nulls = 0
        if column.field.nullable:
            null = f"{' AND' if conditions else ' WHERE'} {read} IS NULL"
            ((nulls,),) = connection.rows(
                f"{prefix}SELECT COUNT_BIG(*) FROM {source}{where}{null}", table.parameters
            )
        if name == "timestamp" and upper is not None:
            upper = self._committed(connection, str(upper))
        return CursorRange(upper=upper, storage_class=name, nulls=nulls, has_index=has_index)

    @staticmethod
    def _committed(connection: Connection, largest: str) -> str:
        """Return the largest rowversion below which no transaction is open: one that is would be jumped over."""
        ((active,),) = connection.rows(MIN_ACTIVE_ROWVERSION)
        return min(largest, values.rowversion_text(int(active, 16) - 1))

    @staticmethod
    def _cursor_problem(column: Column) -> str | None:
        name = reading(column).declared.name
        if reading(column).bound is None:
            return f"values of the type {name} cannot be compared"
        return _NO_CURSORS.get(name)

    @override
    def cursor_expression(self, column: Column) -> str | None:
        return quoted(column.name) if reading(column).bound is not None else None

    @override
    def cursor_parameter(self, column: Column, *, number: int) -> str:
        return (reading(column).bound or "{p}").replace("{p}", self.placeholder(number))

    @override
    def sample(self, connection: Any, table: Table, column: Column) -> Value:
        """Say that there is a form: each type has one only, which `cursor_from_bookmark` knows."""
        return ""

    @override
    def cursor_from_bookmark(self, value: Any, column: Column, *, like: Value) -> Value:
        return values.bound_value(value, column)

    @override
    def cursor_before(self, value: Value, column: Column, *, amount: int) -> Value:
        return values.earlier(value, column, amount=amount)

    # --- positions ------------------------------------------------------------------------------------

    @override
    def position_expressions(self, table: Table) -> Sequence[str]:
        return [reading(_known(table, name)).text for name in table.position]

    @override
    def after_position(self, table: Table, *, start: int) -> str:
        """Spell out (a, b) > (x, y), which SQL Server does not have."""
        columns = [_known(table, name) for name in table.position]
        bound = [self.cursor_parameter(column, number=start + at) for at, column in enumerate(columns)]
        steps = []
        for at, one in enumerate(columns):
            equal = [f"{quoted(columns[before].name)} = {bound[before]}" for before in range(at)]
            steps.append(" AND ".join([*equal, f"{quoted(one.name)} > {bound[at]}"]))
        return steps[0] if len(steps) == 1 else "(" + " OR ".join(f"({step})" for step in steps) + ")"

    # --- sizes and the rest -----------------------------------------------------------------------------

    @override
    def refused_values(
        self, connection: Any, selection: Selection
    ) -> list[tuple[Column, int, str, str | None]]:
        return []  # a column of SQL Server holds values of its own type only

    @override
    def row_bytes(self, connection: Any, table: Table, columns: Sequence[Column]) -> int:
        """Return the average of the server's statistics; views and queries are guessed by their columns."""
        if table.kind == "table":
            rows, size = self.statistics(connection, table)
            if rows and size:
                return max(1, size // rows)
        return max(_UNKNOWN_ROW_BYTES, 16 * len(columns))

    @override
    def statistics(self, connection: Any, table: Table) -> tuple[int | None, int | None]:
        if table.kind != "table":
            return None, None
        ((rows, pages),) = connection.rows(STATISTICS, (table.source,))
        return int(rows), int(pages) * _PAGE_BYTES

    @override
    def placeholder(self, number: int) -> str:
        return select.placeholder(number)

    @override
    def quote(self, name: str) -> str:
        return quoted(name)


def _known(table: Table, name: str) -> Column:
    found = table.column(name)
    assert found is not None  # noqa: S101 - positions are made of the table's own columns
    return found


def _declared(row: Sequence[Any]) -> Declared:
    """Return the type of a query's column; `system_type_name` is spelled out: decimal(10,2)."""
    _, system, length, precision, scale, collation, user_type, *_ = row
    name = str(system or user_type or "").partition("(")[0].strip().lower()
    return Declared(
        name={"rowversion": "timestamp", "sysname": "nvarchar"}.get(name, name),
        length=int(length or 0),
        precision=int(precision or 0),
        scale=int(scale or 0),
        collation=collation,
        user_type=user_type,
    )
