"""Incremental reads: what came since the bookmark, nothing lost between two runs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from icetap.columnar.stream import Page
from icetap.errors import ConfigurationError, DataError, SkippableError, StateError
from icetap.sql.queries import replace_bookmark
from icetap.state.bookmarks import canonical, is_before, is_timestamp, sorts_as_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from icetap.sql.dialect import Column, Connection, CursorRange, Table, Value
    from icetap.sql.stream import SQLStream

DEFAULT_LOOKBACK_SECONDS = 300
"""For timestamps of streams with a key: rows are often committed after the time that they carry."""


class IncrementalRead:
    """One incremental read of a stream.

    Rows come sorted by (replication key, position), from the bookmark on (`>=`) up to the largest value
    at the start of the run. Equal values are read again by the next run; rows without a value come
    first, when it is their turn. `bookmark` is that of the rows yielded so far and never moves back.

    Args:
        stream: Gives columns, options and the bookmark of the last run.
        connection: Reads one snapshot, where the source can.
        bookmark: Where to go on in this run, instead of the last one's bookmark.
    """

    def __init__(
        self, stream: SQLStream, connection: Connection, *, bookmark: dict[str, Any] | None = None
    ) -> None:
        self._stream = stream
        self._connection = connection
        self._column = self._cursor_column()
        self.bookmark = self._given_bookmark() if bookmark is None else bookmark

    def pages(self) -> Iterator[Page]:
        """Yield the records; holds one batch."""
        is_first = not self.bookmark
        table, start, current = self._begin()
        yield from self._without_cursor(table, current, is_first=is_first)
        if is_first and current.nulls:
            # Else a run that met only such rows would leave no trace, and the next one would be a first one.
            self.bookmark = {"replication_key": self._stream.replication_key, "replication_key_value": None}
        if current.upper is not None:
            yield from self._with_cursor(table, start, current)

    # --- where to begin -----------------------------------------------------------------------------

    def _cursor_column(self) -> Column:
        stream = self._stream
        if not stream.replication_key:
            raise SkippableError(f"stream '{stream.name}' is INCREMENTAL but {stream.shared.why_no_cursor()}")
        column = stream.columns_by_name[stream.replication_key]
        if stream.dialect.cursor_expression(column) is None or pa.types.is_nested(column.field.type):
            raise ConfigurationError(
                f"stream '{stream.name}': column '{column.name}' has no declared type that can be compared, so "
                "it cannot be the replication key. Use a column with a declared type, or a query with CAST."
            )
        return column

    def _given_bookmark(self) -> dict[str, Any]:
        """Return the bookmark of the last run if it is one of this replication key, else nothing."""
        given = self._stream.bookmark()
        if "replication_key_value" not in given:
            return {}
        if given.get("replication_key") != self._stream.replication_key:
            self._stream.logger.warning(
                "Stream %s: the bookmark is of another replication key; reading from the start",
                self._stream.name,
            )
            return {}
        return given

    @property
    def _cursor(self) -> str:
        """What the replication key is compared and ordered by."""
        return str(self._stream.dialect.cursor_expression(self._column))

    @property
    def _value(self) -> Any:
        """The bookmark's value; None before the first row that has one."""
        return self.bookmark.get("replication_key_value")

    def _begin(self) -> tuple[Table, Value, CursorRange]:
        """Return what to read, from which value, and up to which."""
        dialect, table = self._stream.dialect, self._stream.table
        query = self._stream.query
        if query is None or not query.asks_for_bookmark:
            current = self._range(table)
            start = self._start(like=current.upper)
            self._check_order(table, start)
            return table, start, current
        # The query compares with the bookmark itself: a value of its own shows in which form.
        bound = self._bound(table, query.initial_value)
        if self._value is not None:
            like = dialect.sample(self._connection, bound, self._column)
            start = self._start(like=like)
            bound = self._bound(table, query.initial_value if start is None else start)
        current = self._range(bound)
        self._check_order(bound, None)
        return bound, None, current

    def _bound(self, table: Table, value: Value) -> Table:
        """Return the query with a value for its `:bookmark`."""
        assert self._stream.query is not None  # noqa: S101 - for the type checker
        sql = replace_bookmark(self._stream.query.sql, self._stream.dialect.placeholder(1))
        return dataclasses.replace(table, source=f"({sql}\n)", parameters=(value,))

    def _range(self, table: Table) -> CursorRange:
        current = self._stream.dialect.cursor_range(
            self._connection, table, self._column, conditions=self._stream.where
        )
        if current.problem:
            raise self._unfit(current.problem)
        before = self.bookmark.get("storage_class")
        if before and current.upper is not None and before != current.storage_class:
            raise StateError(
                f"stream '{self._stream.name}': the replication key held {before} values when the bookmark was "
                f"made and holds {current.storage_class} now; the two cannot be compared. "
                "Run once with --full-refresh, or remove this stream's bookmark."
            )
        return current

    def _check_order(self, table: Table, start: Value) -> None:
        """Refuse a replication key whose stored values do not sort as what they mean: `>=` would lose rows."""
        disorder = self._stream.dialect.cursor_disorder(
            self._connection,
            table,
            self._column,
            start=start,
            conditions=self._stream.where,
            has_key=bool(self._stream.primary_keys),
        )
        if disorder:
            raise self._unfit(disorder)

    def _unfit(self, problem: str) -> DataError:
        return DataError(
            f"stream '{self._stream.name}': column '{self._column.name}' cannot be the replication key: "
            f"{problem}. Clean the column up, or choose another one, or FULL_TABLE."
        )

    def _start(self, *, like: Value) -> Value:
        """Return the value from which to ask, in the form of a stored one; None for a first run."""
        if self._value is None or like is None:
            return None
        dialect = self._stream.dialect
        value = dialect.cursor_from_bookmark(self._value, self._column, like=like)
        amount = self._lookback()
        if amount:
            value = dialect.cursor_before(value, self._column, amount=amount)
        return dialect.cursor_start(value, self._column)

    def _lookback(self) -> int:
        configured = self._stream.options.get("lookback_seconds")
        if not self._stream.primary_keys:
            if configured:
                raise ConfigurationError(
                    f"option 'lookback_seconds' of stream '{self._stream.name}' is {configured}, but the stream "
                    "has no key by which repeated rows could be recognised. Set it to 0, or give "
                    "'key_properties'."
                )
            return 0
        if configured is not None:
            return int(configured)
        return DEFAULT_LOOKBACK_SECONDS if is_timestamp(self._column.field.type) else 0

    # --- rows ---------------------------------------------------------------------------------------

    def _without_cursor(self, table: Table, current: CursorRange, *, is_first: bool) -> Iterator[Page]:
        """Read the rows whose cursor is NULL, if it is their turn, else say how many there are."""
        policy = self._stream.options.get("null_cursor", "first_run")
        if not current.nulls:
            return
        if policy == "never" or (policy == "first_run" and not is_first):
            self._stream.logger.warning(
                "Stream %s: %d rows have no value in the replication key and are not read (null_cursor: %s)",
                self._stream.name,
                current.nulls,
                policy,
            )
            return
        selection = self._stream.selection(
            table,
            conditions=[f"{self._cursor} IS NULL"],
            order=tuple(table.position.values()),
        )
        for batch, _ in self._stream.read(self._connection, selection):
            yield Page(batch, None)

    def _with_cursor(self, table: Table, start: Value, current: CursorRange) -> Iterator[Page]:
        stream, cursor = self._stream, self._cursor
        if not current.has_index and stream.query is None:
            stream.logger.warning(
                "Stream %s: the replication key '%s' has no index, so each run reads and sorts the whole table",
                stream.name,
                self._column.name,
            )
        conditions: list[str] = []
        parameters: list[Value] = []
        number = len(table.parameters) + 1
        if start is not None:
            conditions.append(f"{cursor} >= {stream.dialect.cursor_parameter(self._column, number=number)}")
            parameters.append(start)
        end = stream.dialect.cursor_parameter(self._column, number=number + len(parameters))
        conditions.append(f"{cursor} <= {end}")
        parameters.append(current.upper)
        selection = stream.selection(
            table, conditions=conditions, parameters=parameters, order=(cursor, *table.position.values())
        )
        position = list(stream.selected_columns).index(str(stream.replication_key))
        for batch, _ in stream.read(self._connection, selection):
            moved = self._advance(batch.column(position), current)
            yield Page(batch, self.bookmark if moved else None)

    @property
    def _is_compared_here(self) -> bool:
        """Whether Python may compare values: texts follow a collation that only the source knows, and so do UUIDs.

        Nothing is subtracted from texts, so their rows all come from the bookmark on, unless a query of
        the user's own asks for others.
        """
        query = self._stream.query
        asks = query is not None and query.asks_for_bookmark
        kind = self._column.field.type
        is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        return asks or is_number or sorts_as_text(kind)

    def _advance(self, cursors: pa.Array, current: CursorRange) -> bool:
        """Move the bookmark to the last of these sorted values, unless that is before it."""
        if len(cursors) == 0:
            return False
        seen = canonical(cursors.slice(len(cursors) - 1))
        if self._is_compared_here and is_before(seen, self._value, arrow_type=self._column.field.type):
            return False
        self.bookmark = {
            "replication_key": self._stream.replication_key,
            "replication_key_value": seen,
            "storage_class": current.storage_class,
        }
        return True
