"""Reading through psycopg: the server's own texts, by a cursor in the server. Slower; for where ADBC cannot be had."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import pq
from psycopg.types.string import TextLoader

from icetap.errors import ConfigurationError
from tap_postgres.errors import connect_error, statement_error
from tap_postgres.select import select_sql, with_literals
from tap_postgres.server import begin_session

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from icetap.sql.dialect import Selection, Value
    from tap_postgres.server import Server

_CURSOR = "icetap_read"
_INTEGERS = frozenset({20, 21, 23})
"""The OIDs of bigint, smallint and integer."""


class PsycopgConnection:
    """One session in one read-only transaction, which sees one snapshot."""

    def __init__(self, server: Server, snapshot: str | None) -> None:
        self._server = server
        self.row_bytes = 0
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
        """Yield the rows of a selection, each value as the server's text."""
        width = sum(len(column.expressions) for column in selection.columns)
        names = [str(number) for number in range(width + len(selection.extras) + 1)]
        with self._translated(), self._psycopg.cursor(_CURSOR) as cursor:
            cursor.execute(select_sql(selection).encode())
            described = cursor.description or []
            for column in described:
                cursor.adapters.register_loader(column.type_code, TextLoader)
            are_integers = [column.type_code in _INTEGERS for column in described[width:-1]]
            while rows := cursor.fetchmany(batch_rows):
                *texts, refused = zip(*rows, strict=True)
                arrays = [_texts(values) for values in texts]
                for number, is_integer in enumerate(are_integers, start=width):
                    if is_integer:
                        arrays[number] = pc.cast(arrays[number], pa.int64())
                arrays.append(pa.array([value == "t" for value in refused], pa.bool_()))
                yield pa.RecordBatch.from_arrays(arrays, names=names)

    def described(self, sql: str) -> list[tuple[str, int, int]]:
        """Return name, type and type modifier of each column of a query, as the server sees it, without running it.

        The extended protocol takes one statement only.

        Raises:
            ConfigurationError: When it is no query.
        """
        connection = self._psycopg.pgconn
        for result in (connection.prepare(b"", sql.encode()), connection.describe_prepared(b"")):
            if result.status not in {pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK}:
                state = result.error_field(pq.DiagnosticField.SQLSTATE)
                raise statement_error(
                    result.error_message.decode("utf-8", "replace"),
                    state.decode() if state else None,
                    where=self._server.name,
                )
        if not result.nfields:
            raise ConfigurationError("the statement has no columns; expected one SELECT")
        return [
            ((result.fname(number) or b"").decode(), result.ftype(number), result.fmod(number))
            for number in range(result.nfields)
        ]

    def cancel(self) -> None:
        """Ask the server to stop what runs, from another thread."""
        with contextlib.suppress(psycopg.Error):
            self._psycopg.cancel_safe(timeout=5)

    def close(self) -> None:
        """End the session."""
        with contextlib.suppress(psycopg.Error):
            self._psycopg.close()


def _text(value: Any) -> Any:
    """Return a text as one, also in a database without an encoding."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _texts(values: Sequence[Any]) -> pa.Array:
    """Return texts as the driver gives them: bytes, which need not be UTF-8, in a database without an encoding."""
    if any(isinstance(value, bytes) for value in values):
        return pa.array(values, pa.binary()).view(pa.string())
    return pa.array(values, pa.string())
