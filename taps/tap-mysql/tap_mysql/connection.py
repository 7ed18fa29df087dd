"""A connection that reads Arrow, in one consistent snapshot."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pymysql

from icetap.errors import IcetapError, RetriableError
from tap_mysql import wire
from tap_mysql.errors import translated
from tap_mysql.rows import MOMENT, TEXT, columns
from tap_mysql.select import bound, select_sql
from tap_mysql.server import is_mariadb_version
from tap_mysql.statement import Described, Statement, raise_for

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from icetap.sql.dialect import Selection, Value
    from tap_mysql.packets import PacketReader
    from tap_mysql.server import Server
    from tap_mysql.snapshots import Snapshots

BLOCK_BYTES = 2 * 1024 * 1024
"""Of rows in a batch. More do not fit the processor's caches, and take longer."""
_SNAPSHOT = (
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
)
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - of moments without a zone


class MySQLConnection:
    """One open connection in one read-only transaction: InnoDB's tables stay as they were when it began.

    Args:
        server: Where to connect.
        snapshots: What shares this one's snapshot with others, when asked to.
    """

    def __init__(self, server: Server, *, snapshots: Snapshots | None = None) -> None:
        self._server = server
        self._snapshots = snapshots
        self._exported: str | None = None
        self._wire = server.open()
        self._is_reading = threading.Event()
        try:
            self.begin()
        except BaseException:
            self.close()
            raise

    @property
    def is_open(self) -> bool:
        """Whether it can still be used."""
        return bool(self._wire.open)

    @property
    def server_version(self) -> str:
        """The version that the server names itself."""
        return str(self._wire.get_server_info())

    @property
    def is_mariadb(self) -> bool:
        """Whether the server is a MariaDB."""
        return is_mariadb_version(self.server_version)

    def begin(self) -> None:
        """Take a new snapshot."""
        with translated(self._server.where):
            for statement in _SNAPSHOT:
                self._wire.query(statement)

    def release(self) -> bool:
        """Let go of the snapshot; say whether it can be used again."""
        self._drop_shared()
        if self._wire.open:
            with translated(self._server.where):
                self._wire.query("COMMIT")
        return self.is_open

    def describe(self, sql: str) -> list[Described]:
        """Return the columns of a statement's result, without running it."""
        with translated(self._server.where):
            statement = Statement(self._wire, sql)
            statement.close()
            return statement.columns

    def rows(self, sql: str, parameters: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """Return a small result as tuples; dates, times and decimals as texts."""
        found: list[tuple[Any, ...]] = []
        for described, arrays in self._blocks(sql, parameters, rows=65_536):
            values = [_python(array, column) for column, array in zip(described, arrays, strict=True)]
            found += zip(*values, strict=True)
        return found

    def records(self, sql: str, parameters: Sequence[Value] = ()) -> list[dict[str, Any]]:
        """Return a small result as `rows` does, by the names of its columns."""
        return [
            dict(zip((column.name for column in described), values, strict=True))
            for described, arrays in self._blocks(sql, parameters, rows=65_536)
            for values in zip(
                *(_python(array, column) for column, array in zip(described, arrays, strict=True)),
                strict=True,
            )
        ]

    def read(self, selection: Selection, *, batch_rows: int) -> Generator[pa.RecordBatch, None, None]:
        """Yield the rows of a selection; nothing is refused here, so the last column is always false."""
        extras = len(selection.extras)
        names = [str(number) for number in range(len(selection.columns) + extras + 1)]
        for _, arrays in self._blocks(select_sql(selection), selection.parameters, rows=batch_rows):
            own = len(arrays) - extras
            is_refused = pa.repeat(pa.scalar(False), len(arrays[0]))
            plain = [_plain(array) for array in arrays[own:]]
            yield pa.RecordBatch.from_arrays([*arrays[:own], *plain, is_refused], names=names)

    def _blocks(
        self, sql: str, parameters: Sequence[Value], *, rows: int
    ) -> Generator[tuple[list[Described], list[pa.Array]], None, None]:
        """Run a statement and yield its rows; ends only after the server has said that this was all."""
        text, values = bound(sql, parameters)
        with translated(self._server.where):
            if not self._wire.open:
                raise RetriableError(f"{self._server.where}: the connection was lost. Run again.")
            statement = Statement(self._wire, text)
            self._is_reading.set()
            reader: PacketReader | None = None
            try:
                reader = statement.execute(values)
                if reader is None:
                    return
                types = [column.wire_type() for column in statement.columns]
                for block in reader.blocks(rows=rows, size=BLOCK_BYTES):
                    yield statement.columns, columns(block, types)
                if reader.is_broken_off:
                    raise_for(reader.last or b"")
            finally:
                self._is_reading.clear()
                if reader is not None and reader.last is None:
                    wire.hang_up(self._wire)  # what is left would have to be read first
                elif self._wire.open:
                    statement.close()

    def cancel(self) -> None:
        """Stop the statement that runs, by a second connection; without one, hang up."""
        if not self._is_reading.is_set():
            return
        number = self._wire.thread_id()
        try:
            other = self._server.open()
            try:
                other.query(f"KILL QUERY {number}")
            finally:
                other.close()
        except (IcetapError, pymysql.Error):
            wire.interrupt(self._wire)

    def export_snapshot(self) -> str | None:
        """Take a new snapshot that others share; None where the server cannot do it."""
        if self._snapshots is not None:
            self._exported = self._snapshots.export(self)
        return self._exported

    def close(self) -> None:
        """Close; nothing stays open."""
        self._drop_shared()
        if self._wire.open:
            with contextlib.suppress(pymysql.Error, OSError):
                self._wire.close()

    def _drop_shared(self) -> None:
        if self._snapshots is not None and self._exported is not None:
            self._snapshots.drop(self._exported)
            self._exported = None


def _plain(array: pa.Array) -> pa.Array:
    """Texts as texts: what comes behind a length is bytes at first."""
    return array.cast(pa.string()) if array.type == TEXT else array


def _python(array: pa.Array, described: Described) -> list[Any]:
    if array.type == MOMENT:
        return [
            None
            if value is None or value["is_invalid"]
            else str(_EPOCH + dt.timedelta(microseconds=value["micros"]))
            for value in array.to_pylist()
        ]
    values: list[Any] = array.to_pylist()
    if array.type == TEXT and not described.is_binary:
        return [None if value is None else value.decode("utf-8") for value in values]
    return values
