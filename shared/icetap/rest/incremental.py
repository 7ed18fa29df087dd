"""Incremental reads: from where on a run asks, in which windows, and how far its bookmark may move."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from icetap.errors import StateError
from icetap.rest import dates
from icetap.rest.failures import UnreadableStreamError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from icetap.rest.dates import Cursor
    from icetap.rest.request import Place, Request

SYNC_TIME = "_sync_time"
"""The column that stands for the time of the read where an API filters by a time that its records do not have."""


@dataclass(frozen=True, kw_only=True)
class Incremental:
    """How an API is asked for what changed.

    The request is inclusive (`>=` the bookmark), the bookmark is the largest value seen in an emitted record, and never
    later than the server's own time at the start of the run. A stream whose order is not declared moves its bookmark
    only when a window, or the whole read, is complete.
    """

    replication_key: str | None = None
    """A top-level field of the emitted record; None when the API filters by a time that records do not have."""

    record_format: Sequence[str] = ("iso8601",)
    """How records hold it (`icetap.rest.dates.FORMATS`, or patterns of strftime); the first that fits counts."""

    start: Place | None = None
    start_format: str = "iso8601"
    end: Place | None = None
    end_format: str = "iso8601"
    initial: Any = "{config.start_date}"
    """Where the first run begins, or a template; everything is read when it has no value."""

    lookback_seconds: int = 0
    """Subtracted when asking, never from what is stored: for records that come late. In units for numbers."""

    window: timedelta | None = None
    """Cuts the read into half-open windows, after each of which the bookmark moves."""

    closed: bool = False
    """Whether the last window ends at the start of the run; otherwise it is open, since rows that change while they are
    read would leave a closed one."""

    order: Literal["none", "asc", "desc"] = "none"
    filter: Literal["server", "client"] = "server"

    @property
    def is_time(self) -> bool:
        """Whether the cursor is a time."""
        return not set(self.record_format) <= {"integer", "string"}

    @property
    def can_seek(self) -> bool:
        """Whether pages may be asked for by the last value instead of their number, so that moved rows are not missed."""
        return self.order == "asc" and self.filter == "server" and self.start is not None


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open range of cursor values; None is no bound."""

    start: Cursor | None = None
    end: Cursor | None = None
    is_last: bool = True

    def scope(self) -> dict[str, Any]:
        """The values of the template root `cursor`."""
        return {"start": self.start, "end": self.end}

    def put(self, request: Request, incremental: Incremental) -> None:
        """Put the bounds into a request."""
        if incremental.start is not None and self.start is not None and incremental.filter == "server":
            request.put(incremental.start, dates.write(self.start, incremental.start_format))
        if incremental.end is not None and self.end is not None:
            request.put(incremental.end, dates.write(self.end, incremental.end_format))


class Progress:
    """How far one stream has got in this run.

    Args:
        incremental: The stream's declaration.
        stream: What messages call it.
        shown_as: The name of the replication key in the stream.
        bookmark: The stream's part of the state.
        now: The server's own time at the start of the run.
        formats: What emitted records hold; the declaration's own unless they are converted.
        initial: Where a first run begins.
        lookback_seconds: As the settings have it.
    """

    def __init__(
        self,
        incremental: Incremental,
        *,
        stream: str,
        shown_as: str,
        bookmark: Mapping[str, Any],
        now: datetime,
        formats: Sequence[str],
        initial: Any,
        lookback_seconds: int,
    ) -> None:
        self.incremental = incremental
        self._stream = stream
        self.now = now
        self.key = incremental.replication_key or SYNC_TIME
        self._shown_as = shown_as
        self._formats = tuple(formats)
        self._found = self._bookmarked(bookmark)
        self.start = self._first(initial, lookback_seconds)
        self._max: Cursor | None = None
        self.without_cursor = 0

    def _bookmarked(self, bookmark: Mapping[str, Any]) -> Cursor | None:
        value = bookmark.get("replication_key_value")
        if value is None or bookmark.get("replication_key", self._shown_as) != self._shown_as:
            return None
        try:
            return dates.from_bookmark(value, self._formats)
        except (ValueError, TypeError, ArithmeticError):
            raise StateError(
                f"{self._stream}: the bookmark is no value of '{self.key}' ({' or '.join(self._formats)}). "
                "Run once with --full-refresh, or correct the state."
            ) from None

    def _first(self, initial: Any, lookback_seconds: int) -> Cursor | None:
        """Return from where on to ask: the bookmark less the lookback, never before the initial value."""
        floor = None if initial is None else dates.from_bookmark(initial, self._formats)
        if self._found is None:
            return floor
        asked = self._found
        if isinstance(asked, datetime):
            asked -= timedelta(seconds=lookback_seconds)
        elif isinstance(asked, int):
            asked -= lookback_seconds
        return floor if floor is not None and dates.is_before(asked, floor) else asked

    # --- windows ----------------------------------------------------------------------------------

    def windows(self) -> Iterator[Window]:
        """Yield the windows of this run, oldest first."""
        start, length = self.start, self.incremental.window
        end = self.now if self.incremental.closed else None
        if length is None or not isinstance(start, datetime):
            yield Window(start, end)
            return
        while start + length < self.now:
            yield Window(start, start + length, is_last=False)
            start += length
        yield Window(start, end)

    # --- what records say -------------------------------------------------------------------------

    def value_of(self, record: Mapping[str, Any]) -> Cursor | None:
        """Return a record's cursor value, None when it has none.

        Raises:
            UnreadableStreamError: When it has one of another format.
        """
        value = record.get(self.key)
        if value is None:
            return None
        try:
            return dates.read(value, self._formats)
        except ValueError as error:
            raise UnreadableStreamError(
                f"{self._stream}: the replication key '{self.key}' holds {error}. "
                "Declare its format in `incremental.record_format`."
            ) from None

    def see(self, value: Cursor) -> None:
        """Take note of an emitted record's value."""
        if self._max is None or dates.is_before(self._max, value):
            self._max = value

    def after(self, records: Sequence[Mapping[str, Any]], *, is_alone: bool) -> dict[str, Any] | None:
        """Take note of emitted records; return the bookmark after them where the order is declared, and holds.

        Args:
            records: In the API's order.
            is_alone: Whether they come from one walk through pages, with none beside it.

        Raises:
            UnreadableStreamError: When the records are not in the order that is declared.
        """
        in_order = is_alone and self.incremental.order == "asc"
        if self.key == SYNC_TIME:
            return None
        for record in records:
            value = self.value_of(record)
            if value is None:
                self.without_cursor += 1
            elif in_order and self._max is not None and dates.is_before(value, self._max):
                raise UnreadableStreamError(
                    f"{self._stream}: the API's records are not in the order of '{self.key}', as `order: asc` says. "
                    "Declare `order: none`, or ask the API to sort."
                )
            else:
                self.see(value)
        return self.bookmark() if in_order else None

    def complete(self, window: Window) -> None:
        """Take note that a window was read to its end: the bookmark moves there, even without records."""
        reached = window.end if not window.is_last else None
        if window.is_last and self.key == SYNC_TIME:
            reached = self.now
        if reached is not None:
            self.see(reached)

    def bookmark(self) -> dict[str, Any]:
        """Return the stream's part of the state."""
        reached = self._max
        if isinstance(reached, datetime):
            reached = min(reached, self.now)
        if reached is None or (self._found is not None and dates.is_before(reached, self._found)):
            reached = self._found
        if reached is None:
            return {}
        return {
            "replication_key": self._shown_as,
            "replication_key_value": dates.bookmark(reached, self._formats),
        }

    def not_later_than(self, server_time: datetime | None) -> None:
        """Take the server's time for the start of the run when its clock is behind: it is what records are stamped by."""
        if server_time is not None and server_time < self.now:
            self.now = server_time

    @property
    def sync_time(self) -> str:
        """The time of this run for records that have none."""
        return dates.iso(self.now)


def local_now() -> datetime:
    """Return this machine's time, for servers that do not tell theirs."""
    return datetime.now(UTC)
