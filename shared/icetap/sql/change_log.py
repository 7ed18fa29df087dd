"""Change logs: what a database tells of the changes of its rows, in the form that the engine reads.

A dialect that has a log returns a `ChangeLog` from `Dialect.change_log()`. The engine
(`icetap.sql.change_log_run`) does everything that is the same for all databases: it reads streams without a
bookmark from a snapshot, follows the log for all streams at once, makes columnar batches of the changes,
announces new columns, and writes STATE at the ends of transactions.

The order of calls in a run:

1. `open(followed)`: the prerequisites hold, the log is kept from here on.
2. `gone(position)` for each bookmark; `confirm(positions)` with those of the streams that go on.
3. With streams that must be read in full: `snapshot()`, and in it their rows.
4. `end()`, then `changes(positions, until=…)` until it ends by itself or the engine closes it.
5. `close()`, always.

A *position* is a text, the dialect's own: everything committed before it has been read. It is exclusive:
reading from it sends nothing twice. Positions are kept in the bookmarks, `{"log_position": …, …}`.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    import pyarrow as pa

    from icetap.sql.dialect import Column, Connection, Table, Value

TableId = Hashable
"""How a log names a table in its events: an OID, a pair of schema and name."""


class Unchanged(enum.Enum):
    """The type of `UNCHANGED`."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED
"""A cell that the log leaves out because its value did not change, or never has: the engine reads it by key."""


# --- events --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shape:
    """What the rows of a table look like from here on; comes before the first change, and after each DDL.

    `columns` are in the order of the cells and have `decode_log`. Columns that the type table cannot read
    have `unsupported`, as in discovery. A shape may come again unchanged.
    """

    table: TableId
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Begin:
    """A transaction begins; nothing comes outside of one, except `Shape` and `Progress`.

    Only transactions that have been committed come, one after the other, in the order of their commits.

    Args:
        mark: What `ChangeLog.is_seen` compares with positions.
        committed_at: Microseconds since the epoch, UTC; becomes `_sdc_deleted_at` of deleted rows.
        order: The values of `ChangeLog.order_columns`, the same for all rows of the transaction.
    """

    mark: Any
    committed_at: int
    order: tuple[Value, ...] = ()


@dataclass(slots=True)
class Change:
    """A row was inserted (`new`), updated (`new`, perhaps `old`) or deleted (`old`).

    Both hold the values of one row in the order of its `Shape`, as `Column.decode_log` takes them; null is None.
    `old` of an update may be left out when the key did not change and the table has one; where it is there,
    the engine compares the keys, and a changed one becomes delete(old) + insert(new). `old` may hold the key
    alone, other cells None. `is_old_whole` says that it is the whole row: then `UNCHANGED` cells of `new` are
    taken from it. `has_unchanged` says that `new` holds such cells. `size` is about how many bytes the values have.
    """

    table: TableId
    new: Sequence[Any] | None
    old: Sequence[Any] | None = None
    has_unchanged: bool = False
    is_old_whole: bool = False
    size: int = 100


@dataclass(frozen=True, slots=True)
class Rows:
    """Many rows at once, for logs that are read by SELECT: the net changes of a table since a position.

    `batch` has columns named and typed as the table's, decoded; those that are missing are null.
    `deleted` marks the rows that are gone, of which only the key counts; None when all live.
    """

    table: TableId
    batch: pa.RecordBatch
    deleted: pa.BooleanArray | None = None


@dataclass(frozen=True, slots=True)
class Truncate:
    """A table was emptied; its next rows are those of a new version."""

    table: TableId


@dataclass(frozen=True, slots=True)
class Reread:
    """The log does not tell what became of a table's rows: the next run reads the table in full.

    `reason` says why, without a capital and a full stop.
    """

    table: TableId
    reason: str


@dataclass(frozen=True, slots=True)
class End:
    """The transaction is over; `position` is behind it, and everything before has come."""

    position: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Nothing is under way and everything before `position` has come.

    A log that waits yields one at least each second, so that the engine can look at the clock.
    """

    position: str


Event = Shape | Begin | Change | Rows | Truncate | Reread | End | Progress


# --- what a dialect gives ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Followed:
    """A table that is read LOG_BASED, and the columns of its stream's key by their names in the table.

    A key may be empty: then updates and deletes must come with the whole old row.
    """

    table: Table
    key: tuple[str, ...]
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A consistent look at the tables: exactly what was committed before `position`.

    Where a source cannot have it exact, the position must be the earlier one: rows that came in between are
    sent again, which changes nothing in streams with a key.
    `connect` opens connections that see it, while the context of `ChangeLog.snapshot` lasts.
    """

    position: str
    connect: Callable[[], Connection]


class ChangeLog(abc.ABC):
    """The log of one database; used from one thread."""

    order_columns: tuple[pa.Field, ...] = ()
    """Columns by which changes can be ordered, such as `_sdc_lsn`; null in rows of an initial read."""

    table_kinds: frozenset[str] = frozenset({"table"})
    """The `Table.kind` of what has a log."""

    @abc.abstractmethod
    def source_id(self) -> str:
        """Return what tells this server's log from another's; kept in the bookmark as `log_source`."""

    @abc.abstractmethod
    def findings(self, followed: Sequence[Followed]) -> Iterator[tuple[bool, str]]:
        """Yield one line per prerequisite, right and table: whether it is good, and what a person should read.

        For `--test`: nothing is changed in the source. Tells how far the log is behind, in bytes or seconds, and how
        much longer it will be kept.
        """

    @abc.abstractmethod
    def open(self, followed: Sequence[Followed]) -> Mapping[str, str]:
        """Make sure that changes of these tables are logged and kept from now on.

        Returns:
            Streams whose table has no whole log, and why, with the way out; nothing is done for them.

        Raises:
            ConfigurationError: With the statement that a DBA has to run, where rights or settings lack for all.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Close every connection; what was kept open is let go."""

    @abc.abstractmethod
    def table_id(self, table: Table) -> TableId:
        """Return what names this table in events."""

    def identity(self, table: Table) -> str | None:  # noqa: ARG002 - for dialects
        """Return what changes when another table takes this one's name, None where nothing tells.

        Kept in the bookmark as `table`; when it changes the table is read in full again.
        """
        return None

    @abc.abstractmethod
    def gone(self, position: str) -> str | None:
        """Say why the log cannot be read from a position: what was found and what was expected; None if it can."""

    @abc.abstractmethod
    def confirm(self, positions: Collection[str]) -> None:
        """Tell the source that everything before all of these has been loaded: it may forget it.

        Called with positions of the incoming STATE only: nothing else is known to be committed.
        """

    @abc.abstractmethod
    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Take a consistent look at all tables.

        Raises:
            RetriableError: When the source cannot give one now.
        """

    @abc.abstractmethod
    def end(self) -> str:
        """Return the position behind everything that is committed now."""

    @abc.abstractmethod
    def changes(self, positions: Mapping[TableId, str], *, until: str | None) -> Iterator[Event]:
        """Yield what happened since the positions, transaction by transaction; holds one change, or one batch.

        Begins at the earliest position; the engine leaves out what a stream has already seen. Changes of
        tables that are not asked for may be left out. Closing the generator ends the reading at once.

        Args:
            positions: Where each table's stream stands.
            until: Ends after the first `End` or `Progress` at or behind this position; None goes on for ever.

        Raises:
            RetriableError: When the connection is lost; the engine may call this again, from the last `End` on.
            StateError: When the log is gone, with the next step.
        """

    @abc.abstractmethod
    def is_seen(self, mark: Any, position: str) -> bool:
        """Say whether the transaction of `Begin.mark` lies before a position."""

    @abc.abstractmethod
    def is_reached(self, position: str, *, by: str) -> bool:
        """Say whether a reader that stands at `by` has everything that lies before `position`."""

    def sees(self, connection: Connection, mark: Any) -> bool:  # noqa: ARG002 - for dialects
        """Say whether a connection sees the transaction of `Begin.mark`, as it must to read rows again by key.

        A log may tell of a commit before other connections see it; the engine then opens another one.
        """
        return True

    @abc.abstractmethod
    def key_condition(
        self, columns: Sequence[Column], keys: Sequence[Sequence[Any]], *, start: int
    ) -> tuple[str, tuple[Value, ...]]:
        """Return the SQL condition for the rows with these keys, and its parameters.

        Args:
            columns: The key's columns.
            keys: For each row the cells of its key, as the log gave them; at most `KEYS_AT_ONCE`.
            start: The number of the first parameter's placeholder.
        """

    def unlogged(self, table: Table) -> frozenset[str]:  # noqa: ARG002 - for dialects
        """Return the columns of a table that its log never has (generated ones); they are read by key."""
        return frozenset()

    def column_mark(self, table: Table) -> Value:  # noqa: ARG002 - for dialects
        """Return what tells later which columns a table has now; kept in the bookmark as `column_mark`."""
        return None

    def fills_old_rows(
        self,
        table: Table,  # noqa: ARG002 - for dialects, as all of these
        names: Collection[str],  # noqa: ARG002
        *,
        since: Value,  # noqa: ARG002
    ) -> bool:
        """Say whether columns that are new in a stream have values in rows that the log does not tell of.

        True for a column with a default, and for one that was there before `since` (a `column_mark`), such as a
        renamed or newly selected one: then the table is read again. When in doubt, True.
        """
        return True


KEYS_AT_ONCE = 500
"""So many rows are read again by key in one statement."""

CHANGE_LOG_SETTINGS: dict[str, dict[str, Any]] = {
    "max_run_seconds": {
        "type": ["integer", "null"],
        "minimum": 1,
        "title": "Longest time in the change log",
        "description": "LOG_BASED: ends the run at the end of a transaction after so many seconds in the change "
        "log; the next run goes on there. Empty means no limit.",
        "examples": [600],
    },
    "idle_exit_seconds": {
        "type": ["integer", "null"],
        "minimum": 1,
        "title": "Wait for changes",
        "description": "LOG_BASED: goes on following the change log until nothing has come for so many seconds. "
        "Empty ends the run at what was committed when it reached the log.",
        "examples": [60],
    },
}
"""Settings of every tap with a change log."""
