"""PostgreSQL as a dialect of the SQL engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
from typing_extensions import override

from icetap.errors import ConfigurationError, RetriableError, SkippableError
from icetap.sql.dialect import Chunk, Column, CursorRange, Dialect, Selection, Table, Value
from icetap.types import kind_of
from tap_postgres import chunks, cursors, statistics
from tap_postgres.catalogue import BLOCK_POSITION, Relation, query_table, read_tables
from tap_postgres.connection import Connection
from tap_postgres.select import placeholder
from tap_postgres.types import TypeOptions, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tap_postgres.log_based.change_log import PostgresChangeLog
    from tap_postgres.log_based.settings import LogSettings
    from tap_postgres.server import Server


class PostgresDialect(Dialect):
    """One database.

    Args:
        server: Where it is.
        types: How its types are read.
        schemas: The only schemas to look at; empty for all.
        include_partitions: Whether the parts of partitioned tables are streams of their own.
        log: Slot and publication of LOG_BASED streams; None when there can be none.
    """

    def __init__(
        self,
        server: Server,
        *,
        types: TypeOptions,
        schemas: Sequence[str] = (),
        include_partitions: bool = False,
        log: LogSettings | None = None,
    ) -> None:
        self._log = log
        self.server = server
        self.types = types
        self._schemas = schemas
        self._include_partitions = include_partitions
        self._relations: dict[str, Relation] = {}
        self._sizes: dict[int, tuple[int | None, int | None]] | None = None

    @override
    def connect(self, snapshot: str | None = None) -> Connection:
        return Connection(self.server, snapshot)

    @override
    def release(self, connection: Any) -> bool:
        connection.release()
        return True

    @override
    def renew(self, connection: Any) -> None:
        connection.renew()

    @override
    def transient(self, error: BaseException) -> bool:
        return isinstance(error, RetriableError)

    @override
    def change_log(self) -> PostgresChangeLog | None:
        if self._log is None:
            return None
        from tap_postgres.log_based.change_log import PostgresChangeLog  # noqa: PLC0415 - takes time, seldom needed

        return PostgresChangeLog(self, self._log)

    @override
    def version(self, connection: Any) -> str:
        ((version, is_standby),) = connection.rows(
            "SELECT current_setting('server_version'), pg_is_in_recovery()"
        )
        return f"PostgreSQL {version}{', a read replica' if is_standby else ''}, {self.server.name.partition(' at ')[2]}"

    @override
    def tables(self, connection: Any, *, is_wanted: Callable[[str], bool]) -> list[Table]:
        tables, self._relations = read_tables(
            connection,
            options=self.types,
            schemas=self._schemas,
            include_partitions=self._include_partitions,
        )
        return tables

    def relation(self, table: Table) -> Relation | None:
        """Return what the catalogue told of a table beside its columns; None for a query."""
        return self._relations.get(f"{table.schema}-{table.name}") if table.kind != "query" else None

    @override
    def describe(self, connection: Any, *, name: str, sql: str) -> Table:
        connection.rows("SAVEPOINT described")
        try:
            described = connection.described(sql)
        except SkippableError as error:
            raise ConfigurationError(str(error)) from error
        finally:  # a query that is refused ends no transaction, one that is none leaves no lock
            connection.rows("ROLLBACK TO SAVEPOINT described")
        return query_table(connection, name, sql=sql, described=described, options=self.types)

    # --- cursors ------------------------------------------------------------------------------------------

    @override
    def cursor_range(
        self, connection: Any, table: Table, column: Column, *, conditions: Sequence[str]
    ) -> CursorRange:
        """Look at both ends and count the NULLs: by the index where there is one, else in one scan."""
        read, source = quoted(column.name), _from(table)
        where = " WHERE " + " AND ".join(conditions) if conditions else ""
        relation = self.relation(table)
        has_index = relation is not None and self._has_index(connection, relation, column)
        nulls = f"(SELECT count(*) FROM {source}{where}{' AND ' if conditions else ' WHERE '}{read} IS NULL)"
        if has_index:
            # Not every type that can be ordered has the aggregates min and max.
            there = f"{where}{' AND ' if conditions else ' WHERE '}{read} IS NOT NULL"
            ends = [
                f"(SELECT {read} FROM {source}{there} ORDER BY {read} {way} LIMIT 1)::text"
                for way in ("ASC", "DESC")
            ]
            sql = f"SELECT {', '.join(ends)}, {nulls}"
        else:
            low, high = _ends(column, read)
            sql = f"SELECT {low}::text, {high}::text, count(*) - count({read}) FROM {source}{where}"
        ((low, high, count),) = connection.rows(sql, table.parameters)
        return CursorRange(
            upper=high,
            storage_class=cursors.storage_class(column),
            nulls=int(count),
            has_index=has_index,
            problem=cursors.problem(column, (low, high)),
        )

    def _has_index(self, connection: Any, relation: Relation, column: Column) -> bool:
        """Say whether the column leads a whole btree index."""
        found = connection.rows(
            "SELECT 1 FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] "
            "JOIN pg_class AS x ON x.oid = i.indexrelid JOIN pg_am AS m ON m.oid = x.relam "
            f"WHERE i.indrelid = {placeholder(1)} AND a.attname = {placeholder(2)} AND m.amname = 'btree' "
            "AND i.indpred IS NULL AND i.indisvalid LIMIT 1",
            (relation.oid, column.name),
        )
        return bool(found)

    @override
    def sample(self, connection: Any, table: Table, column: Column) -> Value:
        read = quoted(column.name)
        found = connection.rows(
            f"SELECT {read}::text FROM {_from(table)} WHERE {read} IS NOT NULL LIMIT 1", table.parameters
        )
        return str(found[0][0]) if found else None

    @override
    def cursor_from_bookmark(self, value: Any, column: Column, *, like: Value) -> Value:
        return cursors.from_bookmark(value, column)

    @override
    def cursor_before(self, value: Value, column: Column, *, amount: int) -> Value:
        return cursors.earlier(value, column, amount=amount)

    # --- full reads ---------------------------------------------------------------------------------------

    @override
    def chunks(
        self,
        connection: Any,
        table: Table,
        *,
        conditions: Sequence[str],
        after: Mapping[str, Value] | None,
    ) -> Sequence[Chunk]:
        relation = self.relation(table)
        if relation is None:
            return ()
        # The planner leaves out parts by a condition on the whole only; so do policies of row-level security.
        if relation.kind == "p" and not conditions and not relation.is_filtered and not _is_in_order(after):
            return chunks.of_parts(connection, table, relation.oid, after=after)
        if not relation.has_blocks:
            return ()
        return chunks.of_heap(connection, table, relation.oid, after=after, can_resume=_is_by_blocks(table))

    @override
    def cursor_expression(self, column: Column) -> str | None:
        return None if pa.types.is_nested(column.field.type) or _is_json(column) else quoted(column.name)

    @override
    def position_expressions(self, table: Table) -> Sequence[str]:
        if _is_by_blocks(table):  # no row tells it
            return ["NULL::text" for _ in table.position]
        return list(table.position.values())

    @override
    def after_position(self, table: Table, *, start: int) -> str:
        return "true" if _is_by_blocks(table) else super().after_position(table, start=start)

    # --- values that do not fit, sizes --------------------------------------------------------------------

    @override
    def refused_values(
        self, connection: Any, selection: Selection
    ) -> list[tuple[Column, int, str, str | None]]:
        return []  # no value has another type than its column's

    @override
    def row_bytes(self, connection: Any, table: Table, columns: Sequence[Column]) -> int:
        relation = self.relation(table)
        size = statistics.row_bytes(
            connection, table, columns, has_blocks=relation is not None and relation.has_blocks
        )
        connection.row_bytes = size
        return size

    @override
    def statistics(self, connection: Any, table: Table) -> tuple[int | None, int | None]:
        relation = self.relation(table)
        if relation is None:
            return None, None
        if self._sizes is None:
            self._sizes = statistics.sizes(connection)
        return self._sizes.get(relation.oid, (None, None))

    @override
    def placeholder(self, number: int) -> str:
        return placeholder(number)

    @override
    def quote(self, name: str) -> str:
        return quoted(name)


def _is_by_blocks(table: Table) -> bool:
    return tuple(table.position) == BLOCK_POSITION


def _is_in_order(after: Mapping[str, Value] | None) -> bool:
    """Say whether a read of a partitioned table went by the key before it was interrupted."""
    return after is not None and after.keys() != set(chunks.PARTS_POSITION)


def _is_json(column: Column) -> bool:
    return kind_of(column.field) == "json"


def _from(table: Table) -> str:
    return f"{table.source} AS icetap_query" if table.kind == "query" else table.source


def _ends(column: Column, read: str) -> tuple[str, str]:
    """Return the aggregates for the ends; not every type that can be ordered has them."""
    if column.field.type == pa.uuid() or pa.types.is_boolean(column.field.type):
        return tuple(f"(array_agg({read} ORDER BY {read} {way}))[1]" for way in ("", "DESC"))  # type: ignore[return-value]
    return f"min({read})", f"max({read})"
