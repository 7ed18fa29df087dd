"""One session: small results as Python values, large ones as Arrow, by COPY in binary form, in bounded memory."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
from psycopg import pq

from icetap.errors import ConfigurationError, SkippableError
from icetap.sql.row_bytes import RowFormatError
from tap_postgres import binary_rows, wire_types
from tap_postgres.copy_out import CopyError, copy_out, next_result, refusal
from tap_postgres.errors import connect_error, statement_error
from tap_postgres.select import select_sql, with_literals
from tap_postgres.server import begin_session
from tap_postgres.types import quoted

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from icetap.sql.dialect import Selection, Value
    from tap_postgres.server import Server

_LEAST_BYTES, _MOST_BYTES = 256 * 1024, 2 * 1024 * 1024
"""Of rows in a batch. More do not fit the processor's caches, and take longer."""
_UNKNOWN_ROW_BYTES = 256
_CANCEL_SECONDS = 5


class Connection:
    """One session in one read-only transaction, which sees one snapshot.

    Attributes:
        row_bytes: An estimate for the rows that are read next.
    """

    def __init__(self, server: Server, snapshot: str | None) -> None:
        self._server = server
        self.row_bytes = _UNKNOWN_ROW_BYTES
        try:
            # No statement is prepared under a name: behind a pool it would belong to another session.
            self._psycopg = psycopg.connect(server.conninfo(), prepare_threshold=None)
        except psycopg.Error as error:
            raise connect_error(str(error), where=server.name) from error
        try:
            begin_session(self._execute, server, snapshot)
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def _translated(self) -> Generator[None, None, None]:
        try:
            yield
        except psycopg.Error as error:
            said = error.diag.message_primary or str(error)
            raise statement_error(said, error.sqlstate, where=self._server.name) from error
        except CopyError as error:
            raise statement_error(str(error), error.sqlstate, where=self._server.name) from error
        except RowFormatError as error:
            raise statement_error(f"lost synchronization: {error}", None, where=self._server.name) from error

    def _execute(self, sql: str) -> psycopg.Cursor[Any]:
        with self._translated():
            return self._psycopg.execute(sql.encode())

    def export_snapshot(self) -> str | None:
        """Return a name under which other sessions see the same snapshot."""
        ((name,),) = self.rows("SELECT pg_export_snapshot()")
        return str(name)

    def rows(self, sql: str, parameters: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """Return a small result as tuples."""
        cursor = self._execute(with_literals(sql, parameters))
        with self._translated():
            rows = cursor.fetchall() if cursor.description else []
        return [tuple(_text(value) for value in row) for row in rows]

    def read(self, selection: Selection, *, batch_rows: int) -> Generator[pa.RecordBatch, None, None]:
        """Yield the rows of a selection, in batches of about so many rows; none is refused here."""
        size = min(_MOST_BYTES, max(_LEAST_BYTES, batch_rows * self.row_bytes))
        sql = select_sql(selection)
        described = self.described(sql)
        self._check_types(selection, described)
        hints = [column.field.type for column in selection.columns for _ in column.expressions]
        readers = wire_types.readers([each[1:] for each in described], hints)
        sql = wire_types.with_casts(sql, readers)
        found = [reader or wire_types.TEXT for reader in readers]
        names = [str(number) for number in range(len(readers) + 1)]
        with self._translated():
            copy = copy_out(
                self._psycopg.pgconn, f"COPY ({sql}) TO STDOUT (FORMAT BINARY)", columns=len(readers)
            )
            try:
                for block in copy.blocks(size):
                    arrays = binary_rows.columns(block, found)
                    arrays.append(pa.repeat(pa.scalar(False), len(block.begins)))
                    yield pa.RecordBatch.from_arrays(arrays, names=names)
            finally:
                if not copy.is_over:  # rows would come where an answer is expected
                    self.cancel()
                    self.close()

    def described(self, sql: str) -> list[tuple[str, int, int]]:
        """Return name, type and type modifier of each column of a query, as the server sees it, without running it.

        The extended protocol takes one statement only.

        Raises:
            ConfigurationError: When it is no query.
        """
        session = self._psycopg.pgconn
        with self._translated():
            session.send_prepare(b"", sql.encode())
            _only_result(session)
            session.send_describe_prepared(b"")
            result = _only_result(session)
        if not result.nfields:
            raise ConfigurationError("the statement has no columns; expected one SELECT")
        return [
            ((result.fname(number) or b"").decode(), result.ftype(number), result.fmod(number))
            for number in range(result.nfields)
        ]

    def _check_types(self, selection: Selection, described: Sequence[tuple[str, int, int]]) -> None:
        """Refuse to read columns that have become others: their values would be taken for those of the old type.

        Raises:
            SkippableError: When one has.
        """
        number = 0
        for column in selection.columns:
            _, oid, modifier = described[number]
            number += len(column.expressions)
            if column.expressions[0] == quoted(column.name) and not wire_types.is_still(column.field, oid):
                ((found,),) = self.rows(f"SELECT format_type({oid}, {modifier})")
                raise SkippableError(
                    f"stream '{selection.table.stream}': column '{column.name}' was {column.native_type} at discovery, "
                    f"and is {found} now. Run again: each run looks at the types anew."
                )

    def release(self) -> None:
        """End the transaction, with its snapshot and its locks."""
        with self._translated():
            self._psycopg.rollback()

    def renew(self) -> None:
        """Begin to read a new snapshot."""
        begin_session(self._execute, self._server, None)

    def cancel(self) -> None:
        """Ask the server to stop what runs, from another thread."""
        with contextlib.suppress(psycopg.Error):
            self._psycopg.cancel_safe(timeout=_CANCEL_SECONDS)

    def close(self) -> None:
        """End the session."""
        with contextlib.suppress(psycopg.Error):
            self._psycopg.close()


def _only_result(session: pq.abc.PGconn) -> pq.abc.PGresult:
    result = next_result(session)
    while next_result(session) is not None:
        pass
    if result is None or result.status != pq.ExecStatus.COMMAND_OK:
        raise refusal(result)
    return result


def _text(value: Any) -> Any:
    """Return a text as one, also in a database without an encoding."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
