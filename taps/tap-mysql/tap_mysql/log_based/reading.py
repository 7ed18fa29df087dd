"""From transactions to the engine's events."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from icetap.errors import RetriableError
from icetap.sql.change_log import UNCHANGED, Begin, Change, End, Event, Progress, Reread, Truncate
from tap_mysql.log_based.log_server import begins_before
from tap_mysql.log_based.positions import Coordinates, FilePosition, Position
from tap_mysql.log_based.shapes import Drift, ReadTable, TableName, TableShapes
from tap_mysql.log_based.statements import Effect, TableEffect
from tap_mysql.log_based.transactions import LoggedRows, Transaction, TransactionReader, Waiting

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from tap_mysql.log_based.protocol import Event as LogEvent

PROGRESS_SECONDS = 0.5
_NAMELESS = (
    "it was altered, and the log has no names of columns by which rows from before and after could be told apart "
    "(set binlog_row_metadata to FULL)"
)
_REASONS = {
    Effect.REPLACED: "another table was given its name",
    Effect.ALTERED: "it was altered in a way that changes rows which the log does not tell of",
}


class LogReading:
    """Yields what happened to the followed tables, from one position on.

    Args:
        names: The followed tables.
        shapes: Knows how to read their rows.
        position: Where the reading begins; its kind is that of all positions that are told.
        until: Where it ends, and by which end of the log; None for nowhere.
        folds_names: Whether statements may write names in another case.
    """

    def __init__(
        self,
        names: Collection[TableName],
        shapes: TableShapes,
        position: Position,
        *,
        until: tuple[Position, Coordinates | None] | None,
        folds_names: bool,
    ) -> None:
        self._names = {self._folded(name) if folds_names else name: name for name in names}
        self._folds_names = folds_names
        self._shapes = shapes
        self._position = position
        self._safe = position
        self._until = until
        self._current: dict[TableName, ReadTable] = {}
        self._lost: set[TableName] = set()
        self._told_at = time.monotonic()
        at = position.at if isinstance(position, FilePosition) else Coordinates("", 0)
        self._reader = TransactionReader(at, is_wanted=self._is_wanted, is_affected=self._is_affected)

    def events(self, log: Iterable[LogEvent]) -> Iterator[Event]:
        """Yield the events until the reading ends; holds one event's rows, and the reader one transaction.

        Raises:
            RetriableError: When the log ends before.
        """
        try:
            for found in self._reader.transactions(log):
                if isinstance(found, Waiting):
                    yield self._progress(found.at)
                else:
                    try:
                        yield from self._transaction(found)
                    finally:
                        found.buffer.close()
                if self._is_done():
                    return
            yield self._progress(self._reader.at)
            if not self._is_done():
                # A server that shuts down ends its log as if that were all.
                raise RetriableError(
                    f"the server ended its binary log at {self._reader.at}, before what had been committed when the run "
                    "began. Run again: it goes on there."
                )
        finally:
            self._reader.close()

    # --- where the reading is -------------------------------------------------------------------------

    def _progress(self, at: Coordinates) -> Progress:
        """Say where the reading is while nothing is under way; files go on even without transactions."""
        self._told_at = time.monotonic()
        if isinstance(self._safe, FilePosition) and self._safe is self._position and at.file:
            self._safe = self._position = FilePosition(at)
        return Progress(self._safe.text)

    def _is_done(self) -> bool:
        if self._until is None:
            return False
        goal, at = self._until
        if at is not None and self._reader.at.file and self._reader.at.order >= at.order:
            return True
        return begins_before(goal, self._position)

    # --- transactions ---------------------------------------------------------------------------------

    def _transaction(self, found: Transaction) -> Iterator[Event]:
        self._position = self._position.after(found.mark)
        if found.is_safe:
            self._safe = self._position
        has_begun = False
        for event in self._events_of(found):
            if not has_begun:
                has_begun = True
                end = found.mark.end
                yield Begin(found.mark, found.committed_at * 1_000_000, (end.file, end.offset))
            yield event
        if has_begun:
            yield End(self._safe.text)
            self._told_at = time.monotonic()
        elif time.monotonic() - self._told_at >= PROGRESS_SECONDS or self._is_done():
            yield self._progress(found.mark.end)

    def _events_of(self, found: Transaction) -> Iterator[Event]:
        for part in found.buffer.parts():
            if isinstance(part, LoggedRows):
                yield from self._rows(part)
            else:
                for name in self._affected(part):
                    yield from self._effect(name, part)

    def _rows(self, part: LoggedRows) -> Iterator[Event]:
        table = self._shapes.of(part.table)
        name = table.table_id
        if name in self._lost:
            return
        if isinstance(table, Drift):
            yield from self._lose(name, table.reason)
            return
        if self._current.get(name) is not table:
            self._current[name] = table
            yield table.shape
        rows = list(table.decoder.changes(part.kind, part.body))
        size = len(part.body) // max(1, len(rows))
        has_absent = table.has_absent
        for old, new in rows:
            lacks = has_absent and new is not None and UNCHANGED in new
            yield Change(name, new, old, has_unchanged=lacks, size=size)

    # --- statements -----------------------------------------------------------------------------------

    def _effect(self, name: TableName, effect: TableEffect) -> Iterator[Event]:
        if name in self._lost:
            return
        self._current.pop(name, None)
        if effect.changes_rows:
            self._shapes.altered(name)
            yield from self._lose(name, _REASONS[effect.effect])
        elif effect.effect is Effect.ALTERED:
            if self._shapes.is_read_by_place(name):
                yield from self._lose(name, _NAMELESS)
            self._shapes.altered(name)
        else:
            self._shapes.altered(name)
            yield Truncate(name)

    def _lose(self, name: TableName, reason: str) -> Iterator[Event]:
        self._lost.add(name)
        yield Reread(name, reason)

    # --- names ----------------------------------------------------------------------------------------

    @staticmethod
    def _folded(name: TableName) -> TableName:
        return name[0].casefold(), name[1].casefold()

    def _own(self, name: TableName) -> TableName | None:
        return self._names.get(self._folded(name) if self._folds_names else name)

    def _is_wanted(self, database: str, table: str) -> bool:
        return self._own((database, table)) is not None

    def _is_affected(self, effect: TableEffect) -> bool:
        return bool(self._affected(effect))

    def _affected(self, effect: TableEffect) -> list[TableName]:
        """Return the followed tables that a statement affects."""
        if effect.table is not None:
            own = self._own((effect.database, effect.table))
            return [] if own is None else [own]
        database = self._folded((effect.database, ""))[0] if self._folds_names else effect.database
        return [own for name, own in self._names.items() if name[0] == database]
