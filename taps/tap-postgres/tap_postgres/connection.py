"""Reading as Arrow through ADBC: COPY in binary form, in bounded memory."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from adbc_driver_manager import AdbcConnection, AdbcStatement, Error
from adbc_driver_manager._reader import AdbcRecordBatchReader

from icetap.sql.dialect import CHUNK_BYTES
from tap_postgres.decode import storage
from tap_postgres.errors import connect_error, statement_error
from tap_postgres.select import select_sql, with_literals
from tap_postgres.server import begin_session

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import pyarrow as pa

    from icetap.sql.dialect import Selection, Value
    from tap_postgres.server import Server

_LEAST_BYTES, _MOST_BYTES = 256 * 1024, CHUNK_BYTES
_UNKNOWN_ROW_BYTES = 256


class Connection:
    """One session in one read-only transaction, which sees one snapshot.

    The driver is used below its DB-API, whose import takes a second where pandas is installed.

    Attributes:
        row_bytes: An estimate for the rows that are read next.
    """

    def __init__(self, server: Server, snapshot: str | None) -> None:
        self._server = server
        self.row_bytes = _UNKNOWN_ROW_BYTES
        self._running: AdbcStatement | None = None
        database = server.database()
        try:
            self._adbc = AdbcConnection(database)
        except (Error, OSError) as error:
            raise connect_error(str(error), where=server.name) from error
        try:
            with self._translated():
                self._adbc.set_autocommit(False)
            begin_session(self._execute, server, snapshot)
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def _translated(self) -> Generator[None, None, None]:
        try:
            yield
        except (Error, OSError) as error:
            raise statement_error(
                str(error), getattr(error, "sqlstate", None), where=self._server.name
            ) from error

    def _execute(self, sql: str) -> pa.Table:
        with self._translated(), AdbcStatement(self._adbc) as statement:
            statement.set_sql_query(sql)
            self._running = statement
            try:
                return _reader(statement).read_all()
            finally:
                self._running = None

    def export_snapshot(self) -> str | None:
        """Return a name under which other sessions see the same snapshot."""
        ((name,),) = self.rows("SELECT pg_export_snapshot()")
        return str(name)

    def rows(self, sql: str, parameters: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """Return a small result as tuples."""
        result = self._execute(with_literals(sql, parameters))
        # By position: names of columns may repeat.
        return list(
            zip(*(storage(column.combine_chunks()).to_pylist() for column in result.columns), strict=True)
        )

    def read(self, selection: Selection, *, batch_rows: int) -> Generator[pa.RecordBatch, None, None]:
        """Yield the rows of a selection, in batches of about so many rows."""
        hint = min(_MOST_BYTES, max(_LEAST_BYTES, batch_rows * self.row_bytes))
        with self._translated(), AdbcStatement(self._adbc) as statement:
            self._running = statement
            try:
                statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(hint)})
                statement.set_sql_query(select_sql(selection))
                reader = _reader(statement)
                try:
                    for batch in reader:
                        if batch.num_rows:
                            yield batch
                finally:
                    reader.close()
            finally:
                self._running = None

    def release(self) -> None:
        """End the transaction, with its snapshot and its locks."""
        with self._translated():
            self._adbc.rollback()

    def renew(self) -> None:
        """Begin to read a new snapshot."""
        begin_session(self._execute, self._server, None)

    def cancel(self) -> None:
        """Ask the server to stop what runs, from another thread."""
        running = self._running
        if running is not None:
            with contextlib.suppress(Error, OSError):
                running.cancel()

    def close(self) -> None:
        """End the session, unless a statement still runs that could not be interrupted."""
        if self._running is None:
            with contextlib.suppress(Error, OSError):
                self._adbc.close()


def _reader(statement: AdbcStatement) -> Any:
    """Run a statement; the driver's own reader keeps the SQLSTATE of an error in the middle."""
    handle, _ = statement.execute_query()
    return AdbcRecordBatchReader._import_from_c(handle.address)  # noqa: SLF001 - as the driver's DB-API does
