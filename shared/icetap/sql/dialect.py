"""What a SQL tap gives to the engine: how to connect, what is there, and how to read it exactly."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from icetap.errors import RetriableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from icetap.sql.change_log import ChangeLog

Value = int | float | str | bytes | None
"""What is bound to a statement, and what a cursor or a position is made of."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A column in its exact type; `refused` marks values that did not fit (null when all did)."""

    array: pa.Array
    refused: pa.Array | None = None

    @classmethod
    def of(cls, array: pa.Array, given: pa.Array) -> Decoded:
        """Take what was given as a value, and is null now, for one that did not fit."""
        if array.null_count <= given.null_count:
            return cls(array)
        return cls(array, pc.and_(pc.is_null(array), pc.is_valid(given)))

    @classmethod
    def utf8(cls, octets: pa.Array) -> Decoded:
        """Take bytes for texts; those that are no UTF-8 do not fit."""
        try:
            return cls(pc.cast(octets, pa.string()))
        except pa.ArrowInvalid:
            return cls.of(pa.array([_utf8(value) for value in octets.to_pylist()], pa.string()), octets)


def _utf8(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, a view or a query.

    `field` has the column's own name and its exact Arrow type. `expressions` are what the SELECT list
    asks for, quoted, so that the driver distorts nothing; `decode` makes the exact array of them.
    `refusal` is an SQL condition that is true for a value of another type than the column's.
    `decode_log` makes the exact array of the values as the change log has them, one per row, null as None; without
    it, the engine reads the values again by key.
    """

    field: pa.Field
    native_type: str
    expressions: tuple[str, ...]
    decode: Callable[[Sequence[pa.Array]], Decoded]
    refusal: str | None = None
    hint: Any = None
    unsupported: str | None = None
    decode_log: Callable[[Sequence[Any]], Decoded] | None = None

    @property
    def name(self) -> str:
        """The column's name in the source."""
        return str(self.field.name)


@dataclass(frozen=True, slots=True)
class Table:
    """Something that can be read: a table, a view, or a query of the user's.

    `source` is the quoted FROM item. `key` holds the columns that are unique and never null.
    `position` names quoted expressions by which a full read can be ordered and resumed, cheaply.
    `chunk_position` names numbers by which chunks of it say where they end, where that is no position of rows.
    `estimated_bytes` is what the catalogue says of its size, None where it says nothing.
    """

    stream: str
    schema: str
    name: str
    kind: str
    source: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    position: Mapping[str, str] = field(default_factory=dict)
    chunk_position: tuple[str, ...] = ()
    unsupported: str | None = None
    parameters: tuple[Value, ...] = ()
    estimated_bytes: int | None = None

    def column(self, name: str) -> Column | None:
        """Return the column of this name, or None."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True, slots=True)
class CursorRange:
    """The values of a replication key now: its largest one, and what kind of value it is.

    `storage_class` is the dialect's own word, kept in the bookmark; `problem` says why the column
    cannot be a cursor.
    """

    upper: Value
    storage_class: str
    nulls: int
    has_index: bool
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """One SELECT: columns, conditions with their bound values, order, limit.

    `extras` are further quoted expressions (cursor, position) that come after the columns, raw.
    `guarded` asks for values of other types as null, with `is_refused` true, instead of an error.
    """

    table: Table
    columns: tuple[Column, ...]
    extras: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    parameters: tuple[Value, ...] = ()
    order: tuple[str, ...] = ()
    limit: int | None = None
    guarded: bool = False


CHUNK_BYTES = 24 * 1024 * 1024
"""About how many bytes of rows a chunk should hold: many workers then fill whole ones in little memory."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a full read: the rows for which a condition is true; all of them fit in memory.

    `end` is the position, under the names of `Table.position` or of `Table.chunk_position`, that says "this chunk
    and all before it have been read"; None where a later run could not go on there. Inside a chunk rows have no order.
    The condition's placeholders count from 1: only what has no parameters of its own is cut into chunks.
    `table` is what to read instead of the whole: a part of it, with the same columns.
    """

    condition: str
    parameters: tuple[Value, ...] = ()
    end: Mapping[str, Value] | None = None
    table: Table | None = None


class Connection(Protocol):
    """An open connection; the engine uses it from one thread at a time, except `cancel`."""

    def export_snapshot(self) -> str | None:
        """Return a name under which other connections see the same snapshot, while this one stays open.

        None where the source cannot share one.
        """

    def rows(self, sql: str, parameters: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """Return a small result as Python tuples.

        Raises:
            SkippableError: As `read`.
        """

    def read(self, selection: Selection, *, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the result: one array per expression of each column, then the extras, then `is_refused`.

        It ends only after the source has said that this was all: a lost connection is an error.

        Raises:
            RefusedValueError: When a value does not fit and the selection is not guarded.
            SkippableError: When this table is gone or a right on it is missing; other streams go on.
            RetriableError: When the connection is lost.
        """

    def cancel(self) -> None:
        """Stop what runs, from another thread."""

    def close(self) -> None:
        """Close; nothing stays open."""


class RefusedValueError(Exception):
    """The driver met a value of another type than the column's; the engine finds out which."""


class TableBusyError(RetriableError):
    """What stands in the way of one table: a lock, a time limit. When it lasts, the other tables are still read."""


class SnapshotGoneError(RetriableError):
    """The snapshot that was to be shared is not there any more: its connection was lost."""


class Dialect(abc.ABC):
    """One kind of database."""

    @abc.abstractmethod
    def connect(self, snapshot: str | None = None) -> Connection:
        """Open a connection that reads one snapshot until it is closed, where the source can.

        Args:
            snapshot: What `Connection.export_snapshot` of another connection returned, to see what it sees.

        Raises:
            ConfigurationError: When the settings are wrong.
            RetriableError: When the source is busy or away.
            SnapshotGoneError: When there is no such snapshot any more.
        """

    def release(self, connection: Connection) -> bool:  # noqa: ARG002 - for dialects
        """Let go of a connection's snapshot and locks but stay connected; False where it must be closed for that."""
        return False

    def renew(self, connection: Connection) -> None:  # noqa: ARG002 - for dialects
        """Let a released connection see a new snapshot; whatever it raises, a new connection is made."""
        raise RuntimeError("this dialect releases no connections, so there is none to renew")

    def transient(self, error: BaseException) -> bool:  # noqa: ARG002 - for dialects
        """Say whether a new connection may do what failed on the old one.

        Args:
            error: What `connect` or a method of a connection raised; the driver's own is its `__cause__`.
        """
        return False

    def chunks(
        self,
        connection: Connection,  # noqa: ARG002 - for dialects, as all of these
        table: Table,  # noqa: ARG002
        *,
        conditions: Sequence[str],  # noqa: ARG002
        after: Mapping[str, Value] | None,  # noqa: ARG002
    ) -> Sequence[Chunk]:
        """Cut a full read into chunks of about `CHUNK_BYTES`, in the order in which they are sent.

        Together they hold every row once. Without any, the table is read as one, in the order of its position.

        Args:
            connection: Sees the snapshot that is read.
            table: A table without parameters.
            conditions: The owner's own; rows that do not fulfil them are not read.
            after: The position after which to begin: a chunk's `end`, or that of a row.
        """
        return ()

    @abc.abstractmethod
    def version(self, connection: Connection) -> str:
        """Return the server's name and version."""

    @abc.abstractmethod
    def tables(self, connection: Connection, *, is_wanted: Callable[[str], bool]) -> list[Table]:
        """Return what can be read, in a stable order, by one catalogue query.

        `is_wanted` tells of a stream whether its rows may be looked at, where that is needed to describe it.
        """

    @abc.abstractmethod
    def describe(self, connection: Connection, *, name: str, sql: str) -> Table:
        """Return a query as a table, its columns described by the server.

        `sql` holds no parameters any more; `Table.source` is the query in parentheses.
        """

    @abc.abstractmethod
    def cursor_range(
        self, connection: Connection, table: Table, column: Column, *, conditions: Sequence[str]
    ) -> CursorRange:
        """Return where a replication key stands now, without a scan where there is an index."""

    @abc.abstractmethod
    def sample(self, connection: Connection, table: Table, column: Column) -> Value:
        """Return any value of a column that is not null, as the source stores it, or None."""

    @abc.abstractmethod
    def cursor_from_bookmark(self, value: Any, column: Column, *, like: Value) -> Value:
        """Return a bookmark's canonical value in the form of a stored one.

        Raises:
            StateError: When it cannot be one of this column's values.
        """

    @abc.abstractmethod
    def cursor_before(self, value: Value, column: Column, *, amount: int) -> Value:
        """Return the cursor value `amount` seconds (or units, for numbers) earlier.

        Raises:
            ConfigurationError: When nothing can be subtracted from such values.
        """

    def cursor_start(self, value: Value, column: Column) -> Value:  # noqa: ARG002 - for dialects
        """Return the smallest stored form of a cursor value, so that `>=` finds each form of it."""
        return value

    def cursor_disorder(
        self,
        connection: Connection,  # noqa: ARG002 - for dialects, as all of these
        table: Table,  # noqa: ARG002
        column: Column,  # noqa: ARG002
        *,
        start: Value,  # noqa: ARG002
        conditions: Sequence[str],  # noqa: ARG002
        has_key: bool,  # noqa: ARG002
    ) -> str | None:
        """Say why the stored values from `start` on (None: all) do not sort as what they mean; None if they do.

        Databases with real types of time have nothing to say here.
        """
        return None

    @abc.abstractmethod
    def refused_values(
        self, connection: Connection, selection: Selection
    ) -> list[tuple[Column, int, str, str | None]]:
        """Find the columns with values of another type: column, count, what they are, where the first is."""

    @abc.abstractmethod
    def row_bytes(self, connection: Connection, table: Table, columns: Sequence[Column]) -> int:
        """Estimate the size of a row in bytes, from few rows."""

    @abc.abstractmethod
    def statistics(self, connection: Connection, table: Table) -> tuple[int | None, int | None]:
        """Return estimated rows and size in bytes, from the server's statistics, never by counting."""

    def cursor_expression(self, column: Column) -> str | None:
        """Return what a replication key is compared and ordered by: what an index may serve; None if nothing.

        By default what the SELECT list asks for, which is wrong where that is a cast.
        """
        return column.expressions[0] if len(column.expressions) == 1 else None

    def cursor_parameter(self, column: Column, *, number: int) -> str:  # noqa: ARG002 - for dialects
        """Return the placeholder of a value that the cursor expression is compared with, cast if need be."""
        return self.placeholder(number)

    def position_expressions(self, table: Table) -> Sequence[str]:
        """Return what the SELECT list asks for to have the values of `Table.position`: numbers or texts."""
        return list(table.position.values())

    def after_position(self, table: Table, *, start: int) -> str:
        """Return the condition for rows after the values of `Table.position`; parameters count from `start`."""
        return self.after(list(table.position.values()), start=start)

    def after(self, expressions: Sequence[str], *, start: int) -> str:
        """Return the condition for rows that come after a position; parameters count from `start`."""
        names = ", ".join(expressions)
        values = ", ".join(self.placeholder(start + number) for number in range(len(expressions)))
        return f"({names}) > ({values})"

    def change_log(self) -> ChangeLog | None:
        """Return the change log for LOG_BASED streams, nothing opened yet; None where there is none."""
        return None

    @abc.abstractmethod
    def placeholder(self, number: int) -> str:
        """Return the text for the parameter of this number, from 1."""

    @abc.abstractmethod
    def quote(self, name: str) -> str:
        """Return a name as an identifier."""
