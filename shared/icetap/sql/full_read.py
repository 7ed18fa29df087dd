"""Full reads: everything there is, in chunks or in order, going on where an earlier read stopped."""

from __future__ import annotations

import contextlib
import functools
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from icetap.columnar.stream import Page
from icetap.errors import StateError
from icetap.sql.chunks import LostPartError, Readers, in_order
from icetap.sql.dialect import RefusedValueError, SnapshotGoneError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from icetap.sql.chunks import Rows
    from icetap.sql.dialect import Chunk, Connection, Selection, Value
    from icetap.sql.stream import SQLStream

Position = dict[str, Any]


class FullRead:
    """One full read of a stream, from its start or from where an earlier one stopped.

    A lost connection is made anew. What one connection of several was reading is read again in the same
    snapshot; when the snapshot is lost, the read goes on at its last position in a new one, and then proves
    nothing by absence. A read without a position begins again as long as nothing was sent.

    Args:
        stream: Gives columns, options and settings.
        given: The bookmark of an earlier run: `{"version": …, "position": …}`, or anything else.
        connect: Opens connections that see one snapshot; by default, the read takes a snapshot of its own.

    Attributes:
        version: The number of this read, that of the earlier one when it goes on there.
        is_resumed: Whether it goes on where an earlier run stopped.
        is_complete: Whether it began at its start and came to its end in one snapshot.
    """

    def __init__(
        self,
        stream: SQLStream,
        *,
        given: Mapping[str, Any],
        connect: Callable[[], Connection] | None = None,
    ) -> None:
        self._stream = stream
        self._connect = connect
        self._position = self._resume_position(given)
        self.is_resumed = self._position is not None
        now = time.time_ns() // 1_000_000
        self.version = _version_in(given) if self.is_resumed else max(now, _version_in(given) + 1)
        self.is_complete = False

    def pages(self) -> Iterator[Page]:
        """Yield the records; the bookmarks are `{"version": …, "position": …}`."""
        stream = self._stream
        retries = stream.retries()
        sent = unplaced = 0
        is_one_snapshot = True
        while True:
            try:
                for page in self._attempt():
                    sent += page.batch.num_rows
                    unplaced = 0 if page.bookmark else unplaced + page.batch.num_rows
                    retries.progressed()
                    yield page
                break
            except Exception as raised:
                error = raised.__cause__ if isinstance(raised, LostPartError) and raised.__cause__ else raised
                can_go_on = not sent or (
                    self._position is not None and (bool(stream.primary_keys) or not unplaced)
                )
                if self._connect is not None or not can_go_on or not self._passes(error):
                    if error is raised:
                        raise
                    raise error from None
                retries.wait_after(error)
                is_one_snapshot = is_one_snapshot and not sent
        if not is_one_snapshot:
            stream.logger.warning(
                "Stream %s: the connection was lost and the rest was read from a later snapshot, so this read "
                "does not show which rows are gone",
                stream.name,
            )
        self.is_complete = is_one_snapshot and not self.is_resumed and stream.row_limit is None

    def _passes(self, error: BaseException) -> bool:
        return isinstance(error, SnapshotGoneError) or self._stream.dialect.transient(error)

    def _attempt(self) -> Iterator[Page]:
        """Read what comes after the position, in one snapshot."""
        stream = self._stream
        with stream.session() if self._connect is None else _opened(self._connect) as connection:
            chunks = self._chunks(connection)
            if not chunks:
                yield from self._in_order(connection)
                return
            count = min(stream.max_parallel, len(chunks))
            shared = connection.export_snapshot() if count > 1 and self._connect is None else None
            if count == 1 or (self._connect is None and shared is None):
                yield from self._in_chunks(chunks, 1, connect=lambda: connection, is_borrowed=True)
            else:
                connect = self._connect or functools.partial(stream.dialect.connect, shared)
                yield from self._in_chunks(chunks, count, connect=connect, is_borrowed=False)

    # --- in chunks ----------------------------------------------------------------------------------

    def _chunks(self, connection: Connection) -> Sequence[Chunk]:
        stream = self._stream
        if stream.row_limit is not None or stream.table.parameters:
            return ()
        return stream.dialect.chunks(connection, stream.table, conditions=stream.where, after=self._position)

    def _in_chunks(
        self, chunks: Sequence[Chunk], count: int, *, connect: Callable[[], Connection], is_borrowed: bool
    ) -> Generator[Page, None, None]:
        stream = self._stream
        readers = Readers(
            count=count,
            connect=connect,
            read=self._read_chunk,
            memory_bytes=stream.memory_bytes,
            is_transient=stream.dialect.transient,
            new_retries=None if is_borrowed else stream.retries,
            closes=not is_borrowed,
        )
        try:
            for chunk, rows, is_last in in_order(chunks, readers, check=stream.check_interrupted):
                for reason, records in rows.rejected.items():
                    stream.rejected[reason] = stream.rejected.get(reason, 0) + records
                if is_last and chunk.end is not None:
                    self._position = dict(chunk.end)
                    yield self._page(rows.batch)
                else:
                    yield Page(rows.batch, None)
        except RefusedChunkError as error:
            self._refuse(error.selection)

    def _read_chunk(self, connection: Connection, chunk: Chunk) -> Iterator[Rows]:
        selection = self._stream.selection(
            chunk.table or self._stream.table, conditions=(chunk.condition,), parameters=chunk.parameters
        )
        try:
            yield from self._stream.read_here(connection, selection)
        except RefusedValueError:
            raise RefusedChunkError(selection) from None

    def _refuse(self, selection: Selection) -> None:
        """Say what does not fit, on a connection of its own: those that read may be of no more use."""
        connection = self._stream.dialect.connect()
        try:
            self._stream.refuse(connection, selection)
        finally:
            connection.close()

    # --- in order -----------------------------------------------------------------------------------

    def _in_order(self, connection: Connection) -> Iterator[Page]:
        stream, table = self._stream, self._stream.table
        conditions: tuple[str, ...] = ()
        parameters: tuple[Value, ...] = ()
        if self._position is not None and self._position.keys() == table.position.keys():
            conditions = (stream.dialect.after_position(table, start=len(table.parameters) + 1),)
            parameters = tuple(self._position[name] for name in table.position)
        selection = stream.selection(
            table,
            conditions=conditions,
            parameters=parameters,
            extras=tuple(stream.dialect.position_expressions(table)),
            order=tuple(table.position.values()),
        )
        for batch, extras in stream.read(connection, selection):
            last = dict(zip(table.position, extras, strict=True))
            if last and all(isinstance(value, int | float | str) for value in last.values()):
                self._position = last
                yield self._page(batch)
            else:
                yield Page(batch, None)

    def _page(self, batch: pa.RecordBatch) -> Page:
        return Page(batch, {"version": self.version, "position": self._position})

    # --- where to begin -----------------------------------------------------------------------------

    def _resume_position(self, given: Mapping[str, Any]) -> Position | None:
        """Return where an interrupted full read stopped, or nothing when it cannot go on there."""
        stream, table = self._stream, self._stream.table
        found = given.get("position")
        names = [each for each in (set(table.position), set(table.chunk_position)) if each]
        if not names or not isinstance(found, dict) or not _version_in(given):
            return None
        if not all(_is_position(value) for value in found.values()):
            stream.logger.warning(
                "Stream %s: the state's position is none; reading from the start", stream.name
            )
            return None
        if set(found) not in names:
            stream.logger.info(
                "Stream %s: the key is another one than before; reading from the start", stream.name
            )
            return None
        for name, value in found.items():
            column = table.column(name)
            kind = pa.int64() if column is None else column.field.type
            # A database may compare a text with a number, and find that nothing comes after it.
            if (pa.types.is_integer(kind) or pa.types.is_string(kind)) and (
                isinstance(value, str) is not pa.types.is_string(kind)
            ):
                raise StateError(
                    f"stream '{stream.name}': the state's position is no value of column '{name}' ({kind}). "
                    "Run once with --full-refresh, or correct the state."
                )
        stream.logger.info("Stream %s: going on where the last run stopped", stream.name)
        return dict(found)


@contextlib.contextmanager
def _opened(connect: Callable[[], Connection]) -> Iterator[Connection]:
    connection = connect()
    try:
        yield connection
    finally:
        with contextlib.suppress(Exception):  # it may be lost already
            connection.close()


class RefusedChunkError(Exception):
    """A chunk holds values of another type than their column's."""

    def __init__(self, selection: Selection) -> None:
        super().__init__()
        self.selection = selection


def _version_in(bookmark: Mapping[str, Any]) -> int:
    """Return the bookmark's version, 0 when there is none that is a number."""
    version = bookmark.get("version")
    return int(version) if isinstance(version, int | float) else 0


def _is_position(value: object) -> bool:
    """Say whether a value can be part of a position: a text, or a number of 64 bits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return -(2**63) <= value < 2**63
    return isinstance(value, float | str)
