"""A run of all LOG_BASED streams: full reads where they are needed, then the log, once, for all of them.

A table and its log are joined without gap or overlap: a full read sees a snapshot whose place in the log is
known, and the stream follows the log from exactly there. STATE is written only between transactions, after
every lane has announced what it holds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from icetap.errors import ConfigurationError, SkippableError
from icetap.sql.change_log import Begin, Change, End, Event, Progress, Reread, Rows, Shape, Truncate
from icetap.sql.change_log_bookmark import LogBookmark
from icetap.sql.change_log_stream import FollowedStream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from icetap.errors import IcetapError
    from icetap.sql.change_log import ChangeLog, TableId
    from icetap.sql.stream import SQLStream
    from icetap.sql.tap import SQLTap

HELD_BYTES = 32 * 1024 * 1024
"""So much waits in all streams together before it is sent."""

STATE_SECONDS = 10.0
STATE_ROWS = 100_000
"""A STATE follows at the next end of a transaction: files for the loader should not be small."""

LIVE_SECONDS = 1.0
"""Where the log has been read to its end, changes do not wait for others."""

CHECK_EVERY = 1000
"""Events between two looks at what waits."""


@dataclass(slots=True)
class Limits:
    """When to stop following. Seconds; None for no limit.

    Args:
        run_seconds: At the first end of a transaction after so long.
        idle_seconds: When nothing has come for so long; None ends at what was committed at the start.
    """

    run_seconds: float | None
    idle_seconds: float | None
    began: float = 0.0
    changed: float = 0.0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Limits:
        """Read the settings; the clock starts."""
        now = time.monotonic()
        return cls(config.get("max_run_seconds"), config.get("idle_exit_seconds"), now, now)

    def is_over(self, now: float) -> bool:
        """Whether the time is up."""
        return self.run_seconds is not None and now - self.began >= self.run_seconds

    def is_idle(self, now: float) -> bool:
        """Whether nothing came for long enough."""
        return self.idle_seconds is not None and now - self.changed >= self.idle_seconds


class LogBasedRun:
    """Reads these streams of a tap from one change log; holds `HELD_BYTES`, and a batch per stream.

    Args:
        tap: Writes the STATEs.
        streams: All LOG_BASED.
        log: Not opened yet.
    """

    def __init__(self, tap: SQLTap, streams: Sequence[SQLStream], log: ChangeLog) -> None:
        self._tap = tap
        self._log = log
        self._streams = [FollowedStream(stream, log) for stream in streams]
        self._limits = Limits.from_config(tap.config)
        self._following: dict[TableId, FollowedStream] = {}
        self._ahead: dict[str, list[FollowedStream]] = {}
        """Streams that may have seen what comes next, by their position."""
        self._by_table = {each.table_id: each for each in self._streams}
        self._begin: Begin | None = None
        self._position: str | None = None
        self._stated_at = time.monotonic()
        self._unstated = self._held = 0
        self._changes = 0
        self._transactions = 0

    def run(self) -> None:
        """Read everything that is due.

        Raises:
            ConfigurationError: When the prerequisites are not there, with the statement that makes them.
            StateError: When the log no longer has what a stream needs.
        """
        try:
            self._prepare()
            if self._streams:
                self._read_in_full()
                self._follow()
        except BaseException:
            for each in self._streams:
                each.sender.abandon()
            raise
        finally:
            self._log.close()

    def _prepare(self) -> None:
        """Find out where to begin; also once the run before has let go of the log."""
        retries = self._streams[0].stream.retries()
        while True:
            try:
                self._place()
                break
            except Exception as error:
                if not self._tap.dialect.transient(error):
                    raise
                retries.wait_after(error)

    def _place(self) -> None:
        self._open()
        if not self._streams:
            return
        source = self._log.source_id()
        for each in self._streams:
            each.place(source=source)
        known = {each.bookmark.position for each in self._streams if each.bookmark.position}
        known |= set(self._positions_left_out(source))
        if known:
            self._log.confirm(known)

    def _open(self) -> None:
        """Open the log for the streams whose changes it can tell, and leave out the others."""
        followed = []
        for each in list(self._streams):
            try:
                followed.append(each.followed())
            except ConfigurationError as error:
                self._leave_out(each, error)
        refused = self._log.open(followed) if followed else {}
        for each in list(self._streams):
            if reason := refused.get(each.stream.table.stream):
                self._leave_out(each, ConfigurationError(reason))

    def _positions_left_out(self, source: str) -> Iterator[str]:
        """Yield where selected streams stand that cannot be read now: their changes must not be forgotten."""
        bookmarks = self._tap.state.get("bookmarks", {})
        for name in self._tap.left_out:
            given = LogBookmark.from_state(bookmarks.get(name) or {}, stream=name)
            if given.position and given.source == source:
                yield given.position

    # --- full reads ---------------------------------------------------------------------------------

    def _read_in_full(self) -> None:
        retries = self._streams[0].stream.retries()
        while waiting := [each for each in self._streams if each.reads_in_full]:
            try:
                with self._log.snapshot() as snapshot:
                    for each in waiting:
                        self._tap.check_interrupted()
                        each.read_in_full(snapshot, self._tap.check_interrupted)
                        retries.progressed()
            except SkippableError as error:
                each.reads_in_full = False
                self._leave_out(each, error)
            except Exception as error:
                if not self._tap.dialect.transient(error):
                    raise
                retries.wait_after(error)

    def _leave_out(self, stream: FollowedStream, reason: IcetapError) -> None:
        self._tap.leave_out(stream.name, reason)
        self._streams.remove(stream)
        del self._by_table[stream.table_id]

    # --- following ----------------------------------------------------------------------------------

    def _follow(self) -> None:
        if not self._streams:
            return
        self._limits = Limits.from_config(self._tap.config)
        until: str | None = None
        retries = self._streams[0].stream.retries()
        while True:
            before = self._transactions
            try:
                if self._limits.idle_seconds is None:
                    until = until or self._log.end()
                self._consume(self._changes_from_here(until))
                break
            except Exception as error:
                if not self._tap.dialect.transient(error):
                    raise
                if self._transactions > before:
                    retries.progressed()
                for each in self._streams:
                    each.undo(self._begin)
                retries.wait_after(error)
        self._state(at_end=True)
        self._tap.logger.info(
            "Change log: %d changes in %d transactions, up to %s",
            self._changes,
            self._transactions,
            self._position or "where it was",
        )

    def _changes_from_here(self, until: str | None) -> Iterator[Event]:
        self._mark_positions()
        self._limits.changed = time.monotonic()  # what came while the server was away is not known yet
        self._following, self._ahead, self._begin = {}, {}, None
        placed = [each for each in self._streams if each.bookmark.position is not None]
        for each in placed:
            self._ahead.setdefault(str(each.bookmark.position), []).append(each)
        positions = {each.table_id: str(each.bookmark.position) for each in placed}
        return self._log.changes(positions, until=until) if positions else iter(())

    def _consume(self, events: Iterator[Event]) -> None:
        """Take events until the log ends or the time is up."""
        begin = self._begin
        count = 0
        try:
            for event in events:
                kind = type(event)
                if kind is Change:
                    stream = self._following.get(event.table)  # type: ignore[union-attr]
                    if stream is not None and begin is not None:
                        self._hold(stream.take(event, begin))  # type: ignore[arg-type]
                elif kind is Begin:
                    begin = self._begin = event  # type: ignore[assignment]
                    self._start_following(event.mark)  # type: ignore[union-attr]
                elif kind is End:
                    self._transactions += 1
                    if self._at_boundary(event.position):  # type: ignore[union-attr]
                        return
                elif kind is Progress:
                    if self._at_progress(event.position):  # type: ignore[union-attr]
                        return
                else:
                    self._take_other(event, begin)
                count += 1
                if count % CHECK_EVERY == 0:
                    self._check()
        finally:
            close = getattr(events, "close", None)
            if close is not None:
                close()

    def _take_other(self, event: Event, begin: Begin | None) -> None:
        if isinstance(event, Shape):
            if event.table in self._by_table:
                self._by_table[event.table].take_shape(event)
            return
        if isinstance(event, Reread):
            if event.table in self._following:
                self._following.pop(event.table).read_next_time(event.reason)
            return
        stream = self._following.get(event.table) if isinstance(event, Truncate | Rows) else None
        if stream is None or begin is None:
            return
        if isinstance(event, Truncate):
            stream.truncate()
        elif isinstance(event, Rows):
            stream.take_rows(event, begin)
            self._unstated += event.batch.num_rows

    def _hold(self, size: int) -> None:
        """Count a change that waits; send them all when they take too much memory together."""
        self._unstated += 1
        self._held += size
        if self._held >= HELD_BYTES:
            for each in self._streams:
                each.flush()
            self._held = 0

    def _start_following(self, mark: Any) -> None:
        """Let streams follow from the first transaction on that they have not seen."""
        for position in list(self._ahead):
            if not self._log.is_seen(mark, position):
                for each in self._ahead.pop(position):
                    self._following[each.table_id] = each

    def _check(self) -> None:
        self._tap.check_interrupted()
        most = int(self._tap.config["batch_size"])
        for each in self._streams:
            if each.held_rows >= most:
                each.flush()

    def _at_boundary(self, position: str) -> bool:
        """Move on to the end of a transaction; say whether to stop there."""
        self._begin, self._position = None, position
        now = time.monotonic()
        self._limits.changed = now
        if self._unstated >= STATE_ROWS or now - self._stated_at >= STATE_SECONDS:
            self._tap.check_interrupted()
            self._state(at_end=False)
        return self._limits.is_over(now)

    def _at_progress(self, position: str) -> bool:
        """Move on to where nothing is under way; say whether to stop there."""
        self._tap.check_interrupted()
        self._position = position
        for own in list(self._ahead):
            if self._log.is_reached(own, by=position):
                for each in self._ahead.pop(own):
                    self._following[each.table_id] = each
        now = time.monotonic()
        if now - self._stated_at >= (LIVE_SECONDS if self._unstated else STATE_SECONDS):
            self._state(at_end=False)
        return self._limits.is_over(now) or self._limits.is_idle(now)

    def _mark_positions(self) -> None:
        if self._position is not None:
            for each in self._following.values():
                each.bookmark = each.bookmark.at(self._position)

    def _state(self, *, at_end: bool) -> None:
        """Announce everything, then write one STATE for all streams."""
        for each in self._streams:
            each.settle(at_end=at_end)
        self._mark_positions()
        self._changes += self._unstated
        for each in self._streams:
            each.stream.set_bookmark(each.bookmark.as_state())
        self._tap.write_state()
        self._stated_at, self._unstated, self._held = time.monotonic(), 0, 0
