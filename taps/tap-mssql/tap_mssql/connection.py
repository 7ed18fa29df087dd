"""An open connection: its session, its snapshot, its results as Arrow."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from icetap.errors import ConfigurationError, IcetapError
from tap_mssql.drivers import FETCH_BYTES, DriverConnection, MssqlPython, Pyodbc
from tap_mssql.errors import translated
from tap_mssql.select import positional, select_sql
from tap_mssql.types import reading

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from icetap.sql.dialect import Column, Selection, Value
    from tap_mssql.address import Address

LOGGER = logging.getLogger("tap-mssql")

ISOLATION_LEVELS = ("auto", "snapshot", "read_committed", "repeatable_read", "read_uncommitted")

# Each by itself where the server does not take them all: Synapse and Fabric refuse some.
_SESSION = (
    "SET TEXTSIZE 2147483647",
    "SET DEADLOCK_PRIORITY LOW",
    "SET ARITHABORT ON",
    "SET ANSI_NULLS ON",
    "SET QUOTED_IDENTIFIER ON",
    "SET DATEFORMAT ymd",
    "SET LANGUAGE us_english",
)

FACTS = (
    "SELECT CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(128)), CAST(SERVERPROPERTY('Edition') AS nvarchar(128)), "
    "DB_NAME(), CAST(d.snapshot_isolation_state AS int), CAST(d.is_read_committed_snapshot_on AS int), "
    "CAST(d.compatibility_level AS int), "
    "COALESCE(HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'UNMASK'), 1) "
    # By name: in Azure SQL Database, DB_ID() and database_id may differ.
    "FROM sys.databases AS d WHERE d.name = DB_NAME()"
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the server and the database are."""

    version: str
    edition: str
    database: str
    has_snapshots: bool
    has_read_committed_snapshots: bool
    compatibility: int
    may_unmask: bool


class Connection:
    """One connection, which reads one snapshot where the database allows it."""

    def __init__(self, driver: DriverConnection, *, where: str) -> None:
        self._driver = driver
        self.where = where
        self.has_transaction = False

    def export_snapshot(self) -> str | None:
        """Return None: SQL Server's snapshots belong to one transaction of one connection."""
        return None

    def execute(self, sql: str) -> None:
        """Run statements that return nothing."""
        with self._translated():
            self._driver.execute(sql)

    def rows(self, sql: str, parameters: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """Return a small result as tuples."""
        with self._translated():
            return self._driver.rows(*positional(sql, parameters))

    def read(self, selection: Selection, *, batch_rows: int) -> Generator[pa.RecordBatch, None, None]:
        """Yield the rows of a selection; holds about `FETCH_BYTES`, or one batch."""
        sql, parameters = positional(select_sql(selection), selection.parameters)
        types = [kind for column in selection.columns for kind in reading(column).driver]
        widths = [reading(column).width for column in selection.columns for _ in reading(column).driver]
        extras = [extra_type(name, selection.table.columns) for name in selection.extras]
        for arrays in self.read_sql(
            sql,
            parameters,
            types=[*types, *(kind for kind, _ in extras)] or [pa.int64()],
            widths=[*widths, *(width for _, width in extras)],
            batch_rows=batch_rows,
        ):
            refused = pa.repeat(pa.scalar(False), len(arrays[0]))
            names = [str(number) for number in range(len(arrays) + 1)]
            yield pa.RecordBatch.from_arrays([*arrays, refused], names=names)

    def read_sql(
        self,
        sql: str,
        parameters: Sequence[Value],
        *,
        types: Sequence[pa.DataType],
        widths: Sequence[int | None],
        batch_rows: int,
    ) -> Generator[list[pa.Array], None, None]:
        """Yield a result's columns as the driver makes them, in batches of about so many rows."""
        with self._translated():
            fetched = self._driver.batches(sql, parameters, types=types, widths=widths, most=batch_rows)
            with contextlib.closing(gathered(fetched, rows=batch_rows)) as batches:
                yield from batches

    def cancel(self) -> None:
        """Stop what runs."""
        self._driver.cancel()

    def close(self) -> None:
        """Close the connection."""
        self._driver.close()

    @contextlib.contextmanager
    def _translated(self) -> Generator[None, None, None]:
        try:
            yield
        except (IcetapError, GeneratorExit):
            raise
        except Exception as error:
            if not _is_of_driver(error):
                raise
            raise translated(error, where=self.where) from error


def _is_of_driver(error: Exception) -> bool:
    """Say whether an error is a driver's: the drivers have DB-API classes of their own, and raise RuntimeError."""
    modules = {base.__module__.partition(".")[0] for base in type(error).__mro__}
    return bool(modules & {"mssql_python", "pyodbc"}) or type(error) is RuntimeError


def extra_type(expression: str, columns: Sequence[Column]) -> tuple[pa.DataType, int | None]:
    """Return what the driver makes of an extra: a number where the column is one, else text."""
    for column in columns:
        if reading(column).text == expression and len(reading(column).driver) == 1:
            is_number = column.expressions[0] == expression
            return (
                (reading(column).driver[0], reading(column).width) if is_number else (pa.large_string(), 128)
            )
    return pa.int64(), 8


def gathered(
    fetches: Generator[list[pa.Array], None, None], *, rows: int
) -> Generator[list[pa.Array], None, None]:
    """Put small fetches together until there are enough rows or bytes for a batch."""
    waiting: list[list[pa.Array]] = []
    count = size = 0
    try:
        for arrays in fetches:
            waiting.append(arrays)
            count += len(arrays[0])
            size += sum(array.nbytes for array in arrays)
            if count >= rows or size >= FETCH_BYTES:
                yield _concatenated(waiting)
                waiting, count, size = [], 0, 0
        if waiting:
            yield _concatenated(waiting)
    finally:
        fetches.close()


def _concatenated(parts: list[list[pa.Array]]) -> list[pa.Array]:
    if len(parts) == 1:
        return parts[0]
    return [pa.concat_arrays(pieces) for pieces in zip(*parts, strict=True)]


# --- opening ----------------------------------------------------------------------------------------


def open_connection(address: Address, config: Mapping[str, Any]) -> Connection:
    """Open a connection and set up its session; no transaction is begun yet.

    Raises:
        ConfigurationError: When the settings are wrong or the server refuses the login.
        RetriableError: When the server is away.
    """
    parts, attributes = address.keywords()
    login, query = int(config["connect_timeout_seconds"]), int(config["query_timeout_seconds"])
    driver: DriverConnection
    try:
        if config["driver"] == "pyodbc":
            driver = Pyodbc(
                parts, attributes, driver=address.odbc_driver, login_seconds=login, query_seconds=query
            )
        else:
            driver = MssqlPython(parts, attributes, login_seconds=login, query_seconds=query)
    except IcetapError:
        raise
    except Exception as error:
        raise translated(error, where=address.where) from error
    connection = Connection(driver, where=address.where)
    try:
        _set_up(connection, lock_seconds=int(config["lock_timeout_seconds"]))
    except BaseException:
        connection.close()
        raise
    return connection


def _set_up(connection: Connection, *, lock_seconds: int) -> None:
    statements = [*_SESSION, f"SET LOCK_TIMEOUT {lock_seconds * 1000}"]
    try:
        connection.execute("; ".join(statements))
    except ConfigurationError:
        for statement in statements:
            try:
                connection.execute(statement)
            except ConfigurationError as error:
                LOGGER.warning("The server does not take '%s', going on without: %s", statement, error)


def facts_of(connection: Connection) -> Facts:
    """Ask what the server and the database are."""
    (row,) = connection.rows(FACTS)
    version, edition, database, snapshots, committed, compatibility, unmask = row
    return Facts(
        version=str(version),
        edition=str(edition),
        database=str(database),
        has_snapshots=snapshots == 1,
        has_read_committed_snapshots=committed == 1,
        compatibility=int(compatibility),
        may_unmask=unmask == 1,
    )


def begin(connection: Connection, isolation_level: str, *, has_snapshots: bool) -> None:
    """Set the isolation level; with snapshots, begin the transaction that sees one."""
    level = isolation_level
    if level == "auto":
        level = "snapshot" if has_snapshots else "read_committed"
    if level == "read_uncommitted":
        LOGGER.warning(
            "isolation_level is read_uncommitted: rows may be missing, doubled, or never have been committed"
        )
    words = level.replace("_", " ").upper()
    connection.execute(f"SET TRANSACTION ISOLATION LEVEL {words}")
    if level == "snapshot":
        connection.execute("BEGIN TRANSACTION")
        connection.has_transaction = True


def end(connection: Connection) -> None:
    """End the transaction, if there is one: the server may forget the row versions that it kept for it."""
    if connection.has_transaction:
        connection.has_transaction = False
        connection.execute("COMMIT TRANSACTION")
