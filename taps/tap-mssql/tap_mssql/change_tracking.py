"""LOG_BASED by change tracking: which rows changed since a version, and what they are now.

https://learn.microsoft.com/en-us/sql/relational-databases/track-changes/work-with-change-tracking-sql-server
(read 2026-11-21)

A position is a version of the database: everything up to it has been read. Change tracking shows the net change of each
row, so a run sends each changed row once, as it is now; rows that came and went between two runs are never seen.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import override

from icetap.errors import ConfigurationError, SkippableError
from icetap.sql.change_log import Begin, ChangeLog, End, Followed, Progress, Reread, Rows, Snapshot
from tap_mssql import select
from tap_mssql.types import quoted, reading

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterator, Mapping, Sequence

    from icetap.sql.change_log import Event, TableId
    from icetap.sql.dialect import Column, Table, Value
    from tap_mssql.connection import Connection
    from tap_mssql.dialect import MSSQLDialect

BATCH_ROWS = 65_536
_POLL_SECONDS = 1.0

CURRENT = "SELECT CHANGE_TRACKING_CURRENT_VERSION()"
SOURCE = "SELECT name, CAST(service_broker_guid AS char(36)) FROM sys.databases WHERE name = DB_NAME()"
RETENTION = (
    "SELECT CAST(is_auto_cleanup_on AS int), retention_period, retention_period_units_desc "
    "FROM sys.change_tracking_databases "
    "WHERE database_id IN (SELECT DB_ID() UNION ALL SELECT d.database_id FROM sys.databases AS d WHERE d.name = DB_NAME())"
)
TRACKED = (
    "SELECT object_id, begin_version, CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID(@icetap1)) "
    "FROM sys.change_tracking_tables WHERE object_id = OBJECT_ID(@icetap1)"
)
MIN_VALID = "SELECT CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID(@icetap1))"
MAY_VIEW = "SELECT HAS_PERMS_BY_NAME(@icetap1, 'OBJECT', 'VIEW CHANGE TRACKING')"


def changes_sql(followed: Followed) -> str:
    """Return the statement for a table's changes since @icetap1: operation, key as tracked, the columns as they are.

    Rows that changed and are gone by now are left out: their deletion comes with a later version.
    """
    table, key = followed.table, [_column(followed, name) for name in followed.key]
    tracked = [f"ct.{quoted(column.name)} AS {_tracked(number)}" for number, column in enumerate(key)]
    items = ["CAST(c.[icetap operation] AS nchar(1))"]
    for number, column in enumerate(key):
        items += [part.replace(quoted(column.name), _tracked(number)) for part in column.expressions]
    items += [expression for column in followed.columns for expression in column.expressions]
    matches = " AND ".join(
        f"t.{quoted(column.name)} = c.{_tracked(number)}" for number, column in enumerate(key)
    )
    return (
        f"SELECT {', '.join(items)} FROM (SELECT ct.SYS_CHANGE_OPERATION AS [icetap operation], {', '.join(tracked)} "
        f"FROM CHANGETABLE(CHANGES {table.source}, @icetap1) AS ct) AS c "
        f"LEFT JOIN {table.source} AS t ON {matches} "
        f"WHERE c.[icetap operation] = N'D' OR t.{quoted(key[0].name)} IS NOT NULL"
    )


def _tracked(number: int) -> str:
    return quoted(f"icetap key {number}")


def _column(followed: Followed, name: str) -> Column:
    return next(column for column in followed.columns if column.name == name)


class ChangeTracking(ChangeLog):
    """The change tracking of one database."""

    order_columns = (pa.field("_sdc_change_version", pa.int64()),)

    def __init__(self, dialect: MSSQLDialect) -> None:
        self._dialect = dialect
        self._connection: Connection | None = None
        self._followed: dict[TableId, Followed] = {}

    # --- prerequisites --------------------------------------------------------------------------------

    @override
    def source_id(self) -> str:
        ((name, guid),) = self._asked.rows(SOURCE)
        return f"{name}:{str(guid).strip().lower()}"

    @override
    def open(self, followed: Sequence[Followed]) -> Mapping[str, str]:
        self._connection = self._dialect.open()
        self._followed = {self.table_id(each.table): each for each in followed}
        problems = [text for is_good, text in self._database_findings(self._connection) if not is_good]
        if problems:
            raise ConfigurationError("; ".join(problems))
        found = ((each, *self._table_finding(self._connection, each)) for each in followed)
        return {each.table.stream: text for each, is_good, text in found if not is_good}

    @override
    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def _asked(self) -> Connection:
        assert self._connection is not None, "open() comes first"  # noqa: S101 - the engine's order of calls
        return self._connection

    @override
    def findings(self, followed: Sequence[Followed]) -> Iterator[tuple[bool, str]]:
        connection = self._dialect.open()
        try:
            found = list(self._database_findings(connection))
            yield from found
            if all(is_good for is_good, _ in found):
                yield from (self._table_finding(connection, each) for each in followed)
        finally:
            connection.close()

    def _database_findings(self, connection: Connection) -> Iterator[tuple[bool, str]]:
        retention = connection.rows(RETENTION)
        if not retention:
            yield (
                False,
                (
                    "change tracking is off, or this user may not see it. A DBA runs: ALTER DATABASE CURRENT SET "
                    "CHANGE_TRACKING = ON (CHANGE_RETENTION = 7 DAYS, AUTO_CLEANUP = ON)"
                ),
            )
            return
        ((cleans, period, unit),) = retention
        kept = f"changes are kept for {period} {str(unit).lower()}" if cleans else "changes are kept for ever"
        yield True, f"change tracking is on, {kept}; run more often than that"
        facts = self._dialect.facts(connection)
        if not facts.has_snapshots:
            yield (
                True,
                (
                    "snapshot isolation is off: rows may be newer than their version, which sends some twice. Better: "
                    "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON"
                ),
            )

    @staticmethod
    def _table_finding(connection: Connection, followed: Followed) -> tuple[bool, str]:
        table = followed.table
        where = f"table {table.source}"
        if not table.key:
            return (
                False,
                f"{where} has no primary key, which change tracking needs. Give it one, or choose FULL_TABLE",
            )
        if set(followed.key) != set(table.key):
            return False, (
                f"{where} is tracked by its primary key ({', '.join(table.key)}), and the stream's key is "
                f"{', '.join(followed.key)}. Leave 'key_properties' out, or choose another replication method"
            )
        tracked = connection.rows(TRACKED, (table.source,))
        if not tracked:
            return False, (
                f"{where} is not tracked. A DBA runs: ALTER TABLE {table.source} ENABLE CHANGE_TRACKING"
            )
        ((allowed,),) = connection.rows(MAY_VIEW, (table.source,))
        if not allowed or tracked[0][2] is None:
            return False, (
                f"{where} is tracked, and this user may not see it. A DBA runs: GRANT VIEW CHANGE TRACKING ON "
                f"{table.source} TO the user"
            )
        return True, f"{where}: changes are known since version {tracked[0][2]}"

    # --- positions ------------------------------------------------------------------------------------

    @override
    def table_id(self, table: Table) -> TableId:
        return (table.schema, table.name)

    @override
    def identity(self, table: Table) -> str | None:
        """Tell a table from its successor; TRUNCATE and tracking anew give another `begin_version`."""
        found = self._asked.rows(TRACKED, (table.source,))
        return f"{found[0][0]}:{found[0][1]}" if found else None

    @override
    def gone(self, position: str) -> str | None:
        """Say whether a position is ahead of the database; what was cleaned up, each table tells by itself."""
        current = self.end()
        if int(position) > int(current):
            return (
                f"the bookmark's version {position} is ahead of the database's {current}: the database was restored "
                "from a backup, or change tracking was switched off and on"
            )
        return None

    @override
    def confirm(self, positions: Collection[str]) -> None:
        """Do nothing: the server cleans up by time alone."""

    @override
    def end(self) -> str:
        return str(_current(self._asked))

    @override
    def is_seen(self, mark: Any, position: str) -> bool:
        return int(mark) <= int(position)

    @override
    def is_reached(self, position: str, *, by: str) -> bool:
        return int(position) <= int(by)

    # --- reading --------------------------------------------------------------------------------------

    @override
    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """The version comes first, the rows after: what changes in between comes again, by its version."""
        yield Snapshot(self.end(), self._dialect.connect)

    @override
    def changes(self, positions: Mapping[TableId, str], *, until: str | None) -> Iterator[Event]:
        at = {table: int(position) for table, position in positions.items()}
        while True:
            with contextlib.closing(self._round(at)) as events:
                yield from events
            if until is not None:
                return
            time.sleep(_POLL_SECONDS)

    def _round(self, at: dict[TableId, int]) -> Generator[Event, None, None]:
        """Read the changes of all tables up to the version of now, in one snapshot where there is one."""
        connection = self._dialect.connect()
        try:
            current = _current(connection)
            if all(position >= current for position in at.values()):
                yield Progress(str(current))
                return
            yield Begin(current, committed_at=time.time_ns() // 1_000, order=(current,))
            for table, since in at.items():
                if since < current:
                    yield from self._changes_of(connection, table, since)
                    at[table] = current
            yield End(str(current))
        finally:
            connection.close()

    def _changes_of(self, connection: Connection, table: TableId, since: int) -> Iterator[Event]:
        followed = self._followed[table]
        if reason := _cleaned_up(connection, followed, since):
            yield Reread(table, reason)
            return
        with contextlib.closing(_read(connection, followed, since)) as batches:
            for batch, deleted in batches:
                yield Rows(table, batch, deleted)
        # The server cleans up at any time, snapshot or not: what was lost while we read shows only now.
        if reason := _cleaned_up(self._asked, followed, since):
            yield Reread(table, reason)

    @override
    def key_condition(
        self, columns: Sequence[Column], keys: Sequence[Sequence[Any]], *, start: int
    ) -> tuple[str, tuple[Value, ...]]:
        numbers = itertools.count(start)
        rows = [
            " AND ".join(
                f"{quoted(column.name)} = {self._dialect.cursor_parameter(column, number=next(numbers))}"
                for column in columns
            )
            for _ in keys
        ]
        return "(" + " OR ".join(f"({row})" for row in rows) + ")", tuple(
            value for key in keys for value in key
        )


def _current(connection: Connection) -> int:
    """Return the database's version.

    Raises:
        ConfigurationError: When change tracking is off.
    """
    ((version,),) = connection.rows(CURRENT)
    if version is None:
        raise ConfigurationError(
            f"{connection.where}: change tracking was switched off, or this user may not see it. Run with --test for "
            "the statements that a DBA has to run"
        )
    return int(version)


def _cleaned_up(connection: Connection, followed: Followed, since: int) -> str | None:
    """Say why the changes since a version are not all known, None if they are.

    Raises:
        SkippableError: When the table is not tracked any more.
    """
    ((smallest,),) = connection.rows(MIN_VALID, (followed.table.source,))
    if smallest is None:
        raise SkippableError(
            f"table {followed.table.source} is not tracked any more, or this user may not see it. Run with --test for "
            "the statements that a DBA has to run"
        )
    if int(smallest) > since:
        return (
            f"its changes are known from version {smallest} on only, and it was read up to {since}: raise "
            "CHANGE_RETENTION, or run more often"
        )
    return None


def _read(
    connection: Connection, followed: Followed, since: int
) -> Generator[tuple[pa.RecordBatch, pa.Array], None, None]:
    """Yield the changed rows, decoded, and which of them are gone."""
    key = [_column(followed, name) for name in followed.key]
    columns = [*key, *followed.columns]
    types = [pa.large_string(), *(kind for column in columns for kind in reading(column).driver)]
    widths = [4, *(reading(column).width for column in columns for _ in reading(column).driver)]
    statement = select.positional(changes_sql(followed), (since,))
    for arrays in connection.read_sql(*statement, types=types, widths=widths, batch_rows=BATCH_ROWS):
        gone = pc.equal(arrays[0], "D")
        decoded, at = [], 1
        for column in columns:
            count = len(column.expressions)
            decoded.append(column.decode(arrays[at : at + count]).array)
            at += count
        tracked = dict(zip(followed.key, decoded, strict=False))
        fields = []
        values = []
        for column, array in zip(followed.columns, decoded[len(key) :], strict=True):
            is_key = column.name in tracked
            values.append(_chosen(gone, tracked[column.name], array) if is_key else array)
            fields.append(column.field)
        yield (
            pa.RecordBatch.from_arrays(
                values, schema=pa.schema(field.with_nullable(True) for field in fields)
            ),
            gone,
        )


def _chosen(gone: pa.Array, tracked: pa.Array, array: pa.Array) -> pa.Array:
    """Return the tracked key of rows that are gone, and the rows' own of those that live."""
    if isinstance(array.type, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(array.type, pc.if_else(gone, tracked.storage, array.storage))
    return pc.if_else(gone, tracked, array)
