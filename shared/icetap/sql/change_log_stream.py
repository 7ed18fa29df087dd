"""One stream that follows a change log: its first full read, then its changes, its bookmark."""

from __future__ import annotations

import functools
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from icetap.columnar.sender import Sender
from icetap.errors import ConfigurationError, DataError, RetriableError, StateError
from icetap.sql.change_log import UNCHANGED, Begin, Followed, Shape
from icetap.sql.change_log_bookmark import LogBookmark, column_types, is_wider
from icetap.sql.change_log_buffer import (
    ChangeBuffer,
    KeyReader,
    filled,
    key_getter,
    log_fields,
    patched,
    without,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from icetap.sql.change_log import Change, ChangeLog, Rows, Snapshot
    from icetap.sql.dialect import Column, Connection
    from icetap.sql.stream import SQLStream

VISIBLE_SECONDS = 60.0
"""How long a change may take to be seen by other connections."""
_POLL_SECONDS = 0.05


class FollowedStream:
    """Makes batches of a stream's changes and sends them; holds what waits.

    Args:
        stream: Gives columns, key and lane.
        log: Tells of the changes.
    """

    def __init__(self, stream: SQLStream, log: ChangeLog) -> None:
        self.stream = stream
        self.table_id = log.table_id(stream.table)
        self.bookmark = LogBookmark()
        self.reads_in_full = False
        self.sender = Sender(stream)
        self._log = log
        self._shape: tuple[Column, ...] = ()
        self._buffer = ChangeBuffer()
        self._key: Callable[[Sequence[Any]], Any] | None = None
        self._key_places: list[int] = []
        self._begin: Begin | None = None
        self._rows_before = 0
        self._sequence = 0
        self._has_sent_part = False
        self._has_rows = False
        """Whether rows of the stream's version came in this run, behind its full read."""
        self._is_announced = False
        """Whether this run has told that the version has no rows."""

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.stream.name

    @property
    def held_rows(self) -> int:
        """Rows that wait."""
        return len(self._buffer)

    def followed(self) -> Followed:
        """Return the table, key and columns, as the log needs to know them.

        Raises:
            ConfigurationError: When it is no table, or has a row filter.
        """
        stream = self.stream
        if stream.query is not None or stream.table.kind not in self._log.table_kinds:
            kind = "query" if stream.query is not None else stream.table.kind
            raise ConfigurationError(
                f"stream '{self.name}' is LOG_BASED but is a {kind}: only tables have a change log. "
                "Choose FULL_TABLE or INCREMENTAL for it."
            )
        if stream.where:
            raise ConfigurationError(
                f"stream '{self.name}' is LOG_BASED and has the option 'where', which a change log cannot apply. "
                "Remove it, or choose FULL_TABLE or INCREMENTAL."
            )
        by_name = stream.selected_columns
        taken = [field.name for field in log_fields(self._log) if field.name in by_name]
        if taken:
            raise ConfigurationError(
                f"stream '{self.name}' has a column '{taken[0]}' of its own, which LOG_BASED adds to its rows. "
                f"Give it another name with 'streams.{stream.table.stream}.rename'."
            )
        key = tuple(by_name[name].name for name in stream.primary_keys)
        return Followed(stream.table, key, tuple(by_name.values()))

    # --- where to begin -----------------------------------------------------------------------------

    def place(self, *, source: str) -> None:
        """Take the incoming bookmark: go on in the log, or read in full first.

        Raises:
            StateError: When the bookmark is of another server's log, or the log is gone.
        """
        stream = self.stream
        given = LogBookmark.from_state(stream.bookmark(), stream=self.name)
        identity = self._log.identity(stream.table)
        columns = column_types(stream.columns)
        self.bookmark = replace(
            given,
            source=source,
            table=identity,
            columns=columns,
            column_mark=self._log.column_mark(stream.table),
        )
        stream.version = given.version or None
        if given.position is None:
            self._read_anew("it has no position in the change log yet")
            return
        self._check_place(given, source=source)
        if given.table is not None and given.table != identity:
            self._read_anew("another table has its name now")
            self.bookmark = replace(self.bookmark, position=None)
        elif reason := self._incomplete(given, columns):
            self._read_anew(reason)
        elif given.full_read is not None:
            self.reads_in_full = True

    def _check_place(self, given: LogBookmark, *, source: str) -> None:
        gone = None
        if given.source is not None and given.source != source:
            gone = "its bookmark is of another server's change log"
        gone = gone or self._log.gone(str(given.position))
        if gone:
            raise StateError(
                f"stream '{self.name}': {gone}. What changed since cannot be known: read the table again, by "
                "running once with --full-refresh, or by removing this stream's bookmark from the state."
            )

    def _read_anew(self, reason: str) -> None:
        self.reads_in_full = True
        self.stream.logger.info("Stream %s: reading the whole table, because %s", self.name, reason)
        # A full read goes on at a 'position', which would be one of something else.
        self.bookmark = replace(self.bookmark, full_read=None)
        given = self.stream.bookmark()
        self.stream.set_bookmark({name: value for name, value in given.items() if name != "position"})

    def _incomplete(self, given: LogBookmark, columns: Mapping[str, str]) -> str | None:
        """Say which columns have values that earlier rows were not loaded with."""
        if not given.columns:
            return None
        for name, kind in columns.items():
            if name in given.columns and not is_wider(given.columns[name], kind):
                return f"column '{name}' was {given.columns[name]} and is {kind} now"
        new = [self.stream.columns_by_name[name].name for name in columns if name not in given.columns]
        if new and self._log.fills_old_rows(self.stream.table, new, since=given.column_mark):
            return f"columns are new that may have values in earlier rows: {', '.join(new)}"
        return None

    # --- the full read ------------------------------------------------------------------------------

    @property
    def _may_resume(self) -> bool:
        """Whether an interrupted full read can go on later: rows that changed meanwhile come by the log.

        Not without a key, where they would be there twice, nor while rows of another table may be there.
        """
        return bool(self.stream.primary_keys)

    def read_in_full(self, snapshot: Snapshot, check: Callable[[], None]) -> None:
        """Read the table; afterwards the stream follows the log from the snapshot's position.

        The bookmark keeps the position of the first attempt until one attempt is complete by itself, so that what
        changed between two attempts is not missed.
        """
        stream = self.stream
        first = self.bookmark.position or snapshot.position
        self.bookmark = self.bookmark.at(first)  # also for another attempt in this run
        self._declare()
        pending: dict[str, Any] | None = None
        rows = 0
        for page in stream.full_pages(snapshot.connect):
            check()
            announced = self.sender.write(self._with_log_fields(page.batch))
            rows += page.batch.num_rows
            if page.bookmark is not None and self._may_resume:
                pending = self._within(page.bookmark, first)
            if announced and pending is not None:
                stream.write_bookmark(pending)
                pending = None
        self.sender.finish()
        self._finish_full_read(snapshot.position if stream.is_complete else first, has_rows=rows > 0)

    def _within(self, page: Mapping[str, Any], first: str) -> dict[str, Any]:
        version = int(page["version"])
        bookmark = replace(self.bookmark, position=first, version=version, full_read=page.get("position"))
        return bookmark.as_state()

    def _finish_full_read(self, position: str, *, has_rows: bool) -> None:
        stream = self.stream
        if stream.is_complete:
            stream.activate_version(has_rows=has_rows)
            self._is_announced = True
        self.bookmark = replace(
            self.bookmark,
            position=position,
            version=stream.version or 0,
            full_read=None,
            is_unannounced=stream.is_complete and not has_rows,
        )
        self.reads_in_full = False
        stream.write_bookmark(self.bookmark.as_state())

    def _with_log_fields(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        nulls = [pa.nulls(batch.num_rows, field.type) for field in log_fields(self._log)]
        return pa.RecordBatch.from_arrays([*batch.columns, *nulls], schema=self._schema)

    # --- changes ------------------------------------------------------------------------------------

    def take_shape(self, shape: Shape) -> None:
        """Know the columns of the changes to come, as the log has them."""
        known = [(column.name, column.field.type) for column in self._shape]
        if known == [(column.name, column.field.type) for column in shape.columns]:
            return
        self.flush()
        self._shape = shape.columns
        stream = self.stream
        logged = {column.name: column for column in shape.columns}
        discovered = [logged.pop(column.name, column) for column in stream.table.columns]
        stream.columns_by_name = stream.renamed_columns((*discovered, *logged.values()))
        self._find_key()

    def _find_key(self) -> None:
        names = [column.name for column in self._shape]
        key = [self.stream.columns_by_name[name].name for name in self.stream.primary_keys]
        missing = [name for name in key if name not in names]
        if missing:
            raise DataError(
                f"stream '{self.name}': the change log has no column '{missing[0]}', which is part of the key. "
                "Discover again, and give the table that key with `target-iceberg rekey`."
            )
        self._key_places = [names.index(name) for name in key]
        self._key = key_getter(self._key_places)

    @functools.cached_property
    def _row_bytes(self) -> int:
        """About how large a row is that is read again, large values included."""
        stream = self.stream
        connection = stream.dialect.connect()
        try:
            return stream.dialect.row_bytes(connection, stream.table, list(stream.selected_columns.values()))
        finally:
            connection.close()

    def take(self, change: Change, begin: Begin) -> int:
        """Take a change; a changed key is a delete and an insert, as is an update where there is no key.

        Returns:
            About how many bytes it will take until it is sent.
        """
        if begin is not self._begin:
            self._begin, self._rows_before, self._sequence = begin, len(self._buffer), 0
            self._has_sent_part = False
        new, old = change.new, change.old
        has_holes = change.has_unchanged
        before = self._buffer.size
        self._buffer.size += change.size
        if old is not None and new is not None:
            if has_holes:
                new = filled(new, old, places=None if change.is_old_whole else self._key_places)
                has_holes = UNCHANGED in new
            if self._key is not None and self._key(old) == self._key(new):
                old = None
        if old is not None:
            self._sequence += 1
            self._buffer.add(old, begin, deleted=True, sequence=self._sequence)
        if new is not None:
            self._sequence += 1
            if has_holes:
                self._buffer.add_with_holes(new, begin, sequence=self._sequence)
                self._buffer.size += self._row_bytes
            else:
                self._buffer.add(new, begin, deleted=False, sequence=self._sequence)
        return self._buffer.size - before

    def take_rows(self, rows: Rows, begin: Begin) -> None:
        """Take many decoded rows."""
        self.flush()
        count = rows.batch.num_rows
        arrays = [
            rows.batch.column(column.name)
            if column.name in rows.batch.schema.names
            else pa.nulls(count, column.field.type)
            for column in self.stream.selected_columns.values()
        ]
        waiting = ChangeBuffer()
        gone = [False] * count if rows.deleted is None else rows.deleted.to_pylist()
        for number, is_gone in enumerate(gone, start=1):
            waiting.add((), begin, deleted=is_gone, sequence=number)
        batch = pa.RecordBatch.from_arrays([*arrays, *waiting.log_arrays(self._log)], schema=self._schema)
        self._send(batch)

    def truncate(self) -> None:
        """Begin a new version: the rows of the one before are gone."""
        self.flush()
        if self.bookmark.is_unannounced and self._has_rows:
            self.sender.finish()
            self.stream.activate_version(has_rows=True)
        version = max(time.time_ns() // 1_000_000, self.bookmark.version + 1)
        self.stream.version = version
        self.bookmark = replace(self.bookmark, version=version, is_unannounced=True)
        self._has_rows = self._is_announced = False

    def read_next_time(self, reason: str) -> None:
        """Forget the place in the log, so that the next run reads the whole table."""
        self.flush()
        self.bookmark = replace(self.bookmark, position=None, full_read=None)
        self.stream.logger.warning(
            "Stream %s: the next run reads the whole table, because %s", self.name, reason
        )

    def undo(self, begin: Begin | None) -> None:
        """Forget the changes of a transaction that was cut off: it will come again.

        Raises:
            RetriableError: When some were sent and there is no key by which the repeated ones could be recognised.
        """
        if begin is None or begin is not self._begin:
            return
        if self._has_sent_part and not self.stream.primary_keys:
            raise RetriableError(
                f"stream '{self.name}' has no key, and the connection was lost in the middle of a transaction whose "
                "first changes were sent. Run again: the loader takes them back."
            )
        self._buffer.cut(self._rows_before)
        self._begin = None

    # --- sending ------------------------------------------------------------------------------------

    @property
    def _schema(self) -> pa.Schema:
        return pa.schema([*self.stream.columns, *log_fields(self._log)])

    def _declare(self) -> None:
        self.sender.declare(self._schema)

    def _send(self, batch: pa.RecordBatch) -> None:
        self._declare()
        self.sender.write(batch)
        self._has_rows = self._has_rows or batch.num_rows > 0

    def flush(self) -> None:
        """Send what waits."""
        if not len(self._buffer):
            return
        buffer, self._buffer = self._buffer, ChangeBuffer()
        self._rows_before, self._has_sent_part = 0, True
        self._send(self._batch(buffer))

    def settle(self, *, at_end: bool) -> None:
        """Announce everything, so that a STATE may follow."""
        self.flush()
        self._declare()
        self.sender.finish()
        if self.bookmark.is_unannounced and (self._has_rows or (at_end and not self._is_announced)):
            self.stream.activate_version(has_rows=self._has_rows)
            self._is_announced = True
            if self._has_rows:
                self.bookmark = replace(self.bookmark, is_unannounced=False)

    def _batch(self, buffer: ChangeBuffer) -> pa.RecordBatch:
        """Decode the waiting cells column by column."""
        schema = self._schema
        places = {column.name: place for place, column in enumerate(self._shape)}
        holes = buffer.holes()
        cells = list(zip(*buffer.rows, strict=True))
        arrays: list[pa.Array] = []
        reasons: list[tuple[str, pa.Array]] = []
        for column in self.stream.selected_columns.values():
            place = places.get(column.name)
            if place is None or column.decode_log is None:
                arrays.append(pa.nulls(len(buffer), column.field.type))
                continue
            decoded = column.decode_log(cells[place])
            arrays.append(decoded.array)
            if decoded.refused is not None:
                reasons.append((f"column '{column.name}' ({column.native_type})", decoded.refused))
        gone = self._fill(arrays, buffer, holes)
        batch = pa.RecordBatch.from_arrays([*arrays, *buffer.log_arrays(self._log)], schema=schema)
        for field, array in zip(schema, batch.columns, strict=True):
            if not field.nullable and array.null_count:
                reasons.append((f"key column '{field.name}', which are NULL,", array.is_null()))
        if reasons:
            keeps = pa.array([row not in gone for row in range(batch.num_rows)], pa.bool_())
            reasons = [(where, mask.filter(keeps)) for where, mask in reasons]
        return self.stream.without_refused(without(batch, gone), reasons)

    # --- values that the log left out ---------------------------------------------------------------

    def _fill(
        self, arrays: list[pa.Array], buffer: ChangeBuffer, holes: Mapping[int, Sequence[int]]
    ) -> set[int]:
        """Read the missing values by key; return the rows that are gone by now, whose end the log will tell."""
        missing = {self._shape[place].name: rows for place, rows in holes.items()}
        unlogged = self._log.unlogged(self.stream.table)
        unlogged |= {column.name for column in self._shape if column.decode_log is None}
        living = [row for row, is_gone in enumerate(buffer.deleted) if not is_gone] if unlogged else []
        missing |= dict.fromkeys(unlogged, living)
        selected = list(self.stream.selected_columns.values())
        wanted = {
            place: missing[column.name] for place, column in enumerate(selected) if missing.get(column.name)
        }
        if not wanted:
            return set()
        if self._key is None:
            raise DataError(
                f"stream '{self.name}' has no key by which values that its change log leaves out can be read. "
                "Give the table a primary key, or REPLICA IDENTITY FULL."
            )
        rows = sorted({row for some in wanted.values() for row in some})
        own = {column.name: column for column in self.stream.table.columns}
        read = {place: own[selected[place].name] for place in wanted if selected[place].name in own}
        numbers, values = self._read_again(rows, buffer, list(read.values()))
        names = list(self.stream.selected_columns)
        keys = zip(
            *(
                arrays[names.index(name)].take(pa.array(rows)).to_pylist()
                for name in self.stream.primary_keys
            ),
            strict=True,
        )
        found = {row: numbers[key] for row, key in zip(rows, keys, strict=True) if key in numbers}
        for place, array in zip(read, values, strict=True):
            mine = {row: found[row] for row in wanted[place] if row in found}
            arrays[place] = patched(arrays[place], array, mine)
        return {row for row in rows if row not in found}

    def _read_again(
        self, rows: Sequence[int], buffer: ChangeBuffer, columns: Sequence[Column]
    ) -> tuple[dict[tuple[Any, ...], int], list[pa.Array]]:
        keys = list({tuple(buffer.rows[row][place] for place in self._key_places): None for row in rows})
        own = {column.name: column for column in self.stream.table.columns}
        key = [own[self._shape[place].name] for place in self._key_places]
        reader = KeyReader(self._log, self.stream.table, key=key)
        connection = self._connection_that_sees(buffer.begins[rows[-1]])
        try:
            return reader.read(connection, keys, columns)
        finally:
            connection.close()

    def _connection_that_sees(self, begin: Begin) -> Connection:
        """Open a connection that sees a transaction, and so all before it."""
        for connection in self._connections():
            if self._log.sees(connection, begin.mark):
                return connection
            connection.close()
        raise RetriableError(
            f"stream '{self.name}': a change is in the log and not in its table after {VISIBLE_SECONDS:.0f} s. "
            "A synchronous standby that does not answer holds commits back in this way; run again later."
        )

    def _connections(self) -> Iterator[Connection]:
        deadline = time.monotonic() + VISIBLE_SECONDS
        while time.monotonic() < deadline:
            yield self.stream.dialect.connect()
            time.sleep(_POLL_SECONDS)
