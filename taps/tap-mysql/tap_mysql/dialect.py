"""MySQL and MariaDB as a dialect of the SQL engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
from typing_extensions import override

from icetap.errors import ConfigurationError, RetriableError, SkippableError
from icetap.sql.dialect import CHUNK_BYTES, Chunk, Column, CursorRange, Dialect, Selection, Table, Value
from tap_mysql import cursors
from tap_mysql.catalogue import Catalogue, read_catalogue
from tap_mysql.chunks import Cutter, leads_with_integer
from tap_mysql.connection import MySQLConnection
from tap_mysql.described import native_type
from tap_mysql.log_based.binary_log import BinaryLog
from tap_mysql.select import from_item, placeholder
from tap_mysql.server import is_mariadb_version
from tap_mysql.snapshots import Snapshots
from tap_mysql.types import column, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tap_mysql.log_based.binary_log import LogOptions
    from tap_mysql.server import Server
    from tap_mysql.types import TypeOptions

LARGE_BYTES = 2 * CHUNK_BYTES
"""Tables from this size on are read in chunks."""

_UNKNOWN_ROW_BYTES = 256
_TEXT_POSITIONS = frozenset({"date", "datetime", "timestamp", "uuid", "inet4", "inet6"})
_BINARY = frozenset({"binary", "varbinary"})


class MySQLDialect(Dialect):
    """One server."""

    def __init__(
        self, server: Server, *, schemas: Sequence[str], options: TypeOptions, log: LogOptions | None = None
    ) -> None:
        self.server = server
        self._snapshots = Snapshots(lambda: MySQLConnection(server), count=server.max_parallel)
        self.log = log
        self.options = options
        self.schemas = tuple(schemas)
        self._catalogue: Catalogue | None = None
        self._sizes: Mapping[tuple[str, str], tuple[int | None, int | None, int | None]] | None = None

    @override
    def connect(self, snapshot: str | None = None) -> MySQLConnection:
        if snapshot is not None:
            return self._snapshots.take(snapshot)
        return MySQLConnection(self.server, snapshots=self._snapshots)

    @override
    def version(self, connection: Any) -> str:
        ((version, comment),) = connection.rows("SELECT VERSION(), @@version_comment")
        name = "MariaDB" if is_mariadb_version(version) else "MySQL"
        return f"{name} {version} ({comment}), {self.server.where}"

    @override
    def release(self, connection: Any) -> bool:
        return isinstance(connection, MySQLConnection) and connection.release()

    @override
    def renew(self, connection: Any) -> None:
        connection.begin()

    @override
    def transient(self, error: BaseException) -> bool:
        return isinstance(error, RetriableError)

    @override
    def change_log(self) -> BinaryLog | None:
        if self.log is None:
            return None
        return BinaryLog(self.server, options=self.log, connect=self.connect, describe=self._described_now)

    def _described_now(self, table: Table) -> Table | None:
        connection = self.connect()
        try:
            found = read_catalogue(
                connection,
                schemas=[table.schema],
                options=self.options,
                is_mariadb=is_mariadb_version(connection.server_version),
            )
        finally:
            connection.close()
        return next((each for each in found.tables if each.stream == table.stream), None)

    # --- what there is --------------------------------------------------------------------------------

    @override
    def tables(self, connection: Any, *, is_wanted: Callable[[str], bool]) -> list[Table]:
        self._catalogue = read_catalogue(
            connection,
            schemas=self.schemas,
            options=self.options,
            is_mariadb=is_mariadb_version(connection.server_version),
        )
        return self._catalogue.tables

    @override
    def describe(self, connection: Any, *, name: str, sql: str) -> Table:
        source = f"({sql}\n)"
        table = Table(stream=name, schema="", name=name, kind="query", source=source, columns=())
        try:
            described = connection.describe(f"SELECT * FROM {from_item(table)} LIMIT 0")
        except SkippableError as error:  # the query names what is not there, or may not be read
            raise ConfigurationError(str(error)) from error
        columns = [
            column(each.name, native_type(each), options=self.options, nullable=True, table=name)
            for each in described
        ]
        for each in columns:
            if each.unsupported:
                raise ConfigurationError(f"column '{each.name}': {each.unsupported}")
        return Table(stream=name, schema="", name=name, kind="query", source=source, columns=tuple(columns))

    # --- cursors ------------------------------------------------------------------------------------

    @override
    def cursor_expression(self, column: Column) -> str | None:
        return quoted(column.name) if cursors.can_be_compared(column) else None

    @override
    def cursor_range(
        self, connection: Any, table: Table, column: Column, *, conditions: Sequence[str]
    ) -> CursorRange:
        read = quoted(column.name)
        source = from_item(table)
        where = " AND ".join(f"({condition})" for condition in conditions)
        upper = cursors.largest(column, read)
        has_index = self._has_index(table, column)
        if has_index:  # each of the two is a look at one end of the index
            all_of = f" WHERE {where}" if where else ""
            null = f" WHERE {where + ' AND ' if where else ''}{read} IS NULL"
            sql = f"SELECT (SELECT {upper} FROM {source}{all_of}), (SELECT count(*) FROM {source}{null})"
        else:
            sql = f"SELECT {upper}, count(*) - count({read}) FROM {source}" + (
                f" WHERE {where}" if where else ""
            )
        ((found, nulls),) = connection.rows(sql, table.parameters)
        return CursorRange(
            upper=None if found is None else cursors.stored_form(found, column),
            storage_class=cursors.storage_class(column),
            nulls=int(nulls),
            has_index=has_index,
        )

    def _has_index(self, table: Table, column: Column) -> bool:
        return self._catalogue is not None and column.name in self._catalogue.indexed.get(table.stream, ())

    @override
    def sample(self, connection: Any, table: Table, column: Column) -> Value:
        read = quoted(column.name)
        found = connection.rows(
            f"SELECT CAST({read} AS CHAR) FROM {from_item(table)} WHERE {read} IS NOT NULL LIMIT 1",
            table.parameters,
        )
        value: Value = found[0][0] if found else None
        return value

    @override
    def cursor_from_bookmark(self, value: Any, column: Column, *, like: Value) -> Value:
        return cursors.stored_form(value, column)

    @override
    def cursor_before(self, value: Value, column: Column, *, amount: int) -> Value:
        return cursors.earlier(value, column, amount=amount)

    # --- positions ----------------------------------------------------------------------------------

    @override
    def position_expressions(self, table: Table) -> Sequence[str]:
        return [self._position_text(table, name, read) for name, read in table.position.items()]

    @staticmethod
    def _position_text(table: Table, name: str, read: str) -> str:
        """Return what gives a position as a number of 64 bits or a text that loses nothing."""
        kind, is_decimal = _kind_of(table, name)
        if kind in _BINARY:
            return f"HEX({read})"
        return f"CAST({read} AS CHAR)" if is_decimal or kind in _TEXT_POSITIONS else read

    @override
    def after_position(self, table: Table, *, start: int) -> str:
        """Spell out the comparison of rows: the server finds a range in it, and each column keeps its collation."""
        columns = list(table.position.items())
        values = [
            self._position_value(table, name, start + number) for number, (name, _) in enumerate(columns)
        ]
        parts = []
        for number, (_, read) in enumerate(columns):
            same = [f"{columns[before][1]} = {values[before]}" for before in range(number)]
            parts.append("(" + " AND ".join([*same, f"{read} > {values[number]}"]) + ")")
        after = " OR ".join(parts)
        return after if len(columns) == 1 else f"{columns[0][1]} >= {values[0]} AND ({after})"

    @staticmethod
    def _position_value(table: Table, name: str, number: int) -> str:
        """Return the placeholder of a position's value: numbers must not be compared as texts."""
        kind, is_decimal = _kind_of(table, name)
        if kind in _BINARY:
            return f"UNHEX({placeholder(number)})"
        if kind == "bigint" and is_decimal:
            return f"CAST({placeholder(number)} AS UNSIGNED)"
        if is_decimal:
            found = table.column(name)
            assert found is not None  # noqa: S101 - for the type checker
            native = found.hint.native
            return f"CAST({placeholder(number)} AS DECIMAL({native.precision},{native.scale}))"
        return placeholder(number)

    @override
    def chunks(
        self,
        connection: Any,
        table: Table,
        *,
        conditions: Sequence[str],
        after: Mapping[str, Value] | None,
    ) -> Sequence[Chunk]:
        # A connection that several use one after the other cannot serve several at once.
        if getattr(connection, "is_alone", False) or not leads_with_integer(table):
            return ()
        _, size = self.statistics(connection, table)
        if (size or 0) < LARGE_BYTES:
            return ()
        cutter = Cutter(
            connection,
            table,
            row_bytes=self.row_bytes(connection, table, table.columns),
            positions=self.position_expressions(table),
        )
        return cutter.chunks(
            after=after, after_condition=lambda start: self.after_position(table, start=start)
        )

    # --- values that do not fit -----------------------------------------------------------------------

    @override
    def refused_values(
        self, connection: Any, selection: Selection
    ) -> list[tuple[Column, int, str, str | None]]:
        return []  # the server keeps its columns' types

    # --- sizes --------------------------------------------------------------------------------------

    @override
    def row_bytes(self, connection: Any, table: Table, columns: Sequence[Column]) -> int:
        """Return the average of the server's statistics; blocks are cut by their true size anyway."""
        _, _, average = self._sizes_of(connection, table)
        return average or _UNKNOWN_ROW_BYTES

    @override
    def statistics(self, connection: Any, table: Table) -> tuple[int | None, int | None]:
        rows, size, _ = self._sizes_of(connection, table)
        return rows, size

    def _sizes_of(
        self, connection: MySQLConnection, table: Table
    ) -> tuple[int | None, int | None, int | None]:
        if table.kind != "table":
            return None, None, None
        if self._sizes is None:
            found = connection.rows(
                "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_ROWS, DATA_LENGTH + INDEX_LENGTH, AVG_ROW_LENGTH "
                "FROM information_schema.TABLES WHERE TABLE_TYPE <> 'VIEW'"
            )
            self._sizes = {
                (schema, name): (_count(rows), _count(size), _count(average))
                for schema, name, rows, size, average in found
            }
        return self._sizes.get((table.schema, table.name), (None, None, None))

    @override
    def placeholder(self, number: int) -> str:
        return placeholder(number)

    @override
    def quote(self, name: str) -> str:
        return quoted(name)


def _kind_of(table: Table, name: str) -> tuple[str, bool]:
    """Return a column's native type, and whether its Arrow type is a decimal."""
    found = table.column(name)
    if found is None:
        return "", False
    return found.hint.native.data_type, pa.types.is_decimal(found.field.type)


def _count(value: Any) -> int | None:
    return None if value is None else int(value)
