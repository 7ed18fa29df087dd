"""How a kind of object is read: lists first, then what is new, and by events what changed or was deleted.

A list can be asked for by `created` only, which never changes; events tell of the rest, for 30 days
(https://docs.stripe.com/api/events, read 2026-11-21). So a first run lists everything up to its own start, and each later
run takes the time since in windows of a day: first the events, then the list of new objects, then the changed objects that
the list did not have. Held in memory: the ids that one day's events tell of.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from typing_extensions import override

from icetap.rest import (
    Incremental,
    NoAccessError,
    Part,
    RecordPage,
    RefusedRequestError,
    Request,
    Window,
    dates,
    in_order,
    query,
)
from icetap.rest.incremental import SYNC_TIME
from icetap.rest.inference import Fitness, pruned
from tap_stripe.events import Told, read_events
from tap_stripe.objects import ACCOUNT_ID, StripeObjects
from tap_stripe.positions import Position, Positions, windows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

DELETED_AT = "_sdc_deleted_at"
DAY = timedelta(days=1)
LIST_WINDOW = timedelta(days=30)
EVENTS_KEPT = timedelta(days=29)
"""Stripe keeps events for 30 days; the last of them is left for the run itself."""

EVENTS_LOOKBACK = timedelta(minutes=10)
THIS_SECOND = timedelta(seconds=1)
"""Bounds are whole seconds: the one that has just begun counts too, and comes again in the next run."""

NOT_FOUND = 404


class StripeStream(StripeObjects):
    """A kind of object that has a list of its own at the API."""

    events: ClassVar[Sequence[str]] = ()
    lookback: ClassVar[timedelta] = EVENTS_LOOKBACK
    """How far back the list is read again in each run."""

    is_kept_when_deleted: ClassVar[bool] = False
    """Whether an event that ends with `.deleted` means an end only, after which the object is still there."""

    incremental: ClassVar[Incremental | None] = Incremental(
        start=query("created[gte]"),
        start_format="timestamp",
        end=query("created[lt]"),
        end_format="timestamp",
        closed=True,
    )
    _given: Mapping[str, Any]
    _has_events = True

    @classmethod
    @override
    def columns_of_the_tap(cls) -> dict[str, Any]:
        is_deleted = any(name.endswith(".deleted") for name in cls.events) and not cls.is_kept_when_deleted
        return {DELETED_AT: {"type": ["string", "null"], "format": "date-time"}} if is_deleted else {}

    @override
    def begin(self, start: Mapping[str, Any]) -> None:
        super().begin(start)
        self._given = dict(start)

    @override
    def earliest(self, bookmarks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        found = [
            Positions.of(each, by_account=self.stripe.is_platform, where=self.label) for each in bookmarks
        ]
        return reduce(Positions.and_of, found).bookmark()

    # --- the way through time -----------------------------------------------------------------------

    @override
    def read(self, contexts: Iterable[Mapping[str, Any]]) -> Iterator[RecordPage]:
        if self.progress is None:
            yield from super().read(contexts)
            return
        positions = Positions.of(self._given, by_account=self.stripe.is_platform, where=self.label)
        for partition in self.partitions_of({}):
            try:
                for page in self._read_one(positions.of_account(partition), partition):
                    positions.not_later_than(self.progress.now)
                    bookmark = positions.bookmark() if page.bookmark is not None else None
                    yield RecordPage(page.records, bookmark, page.contexts)
            except NoAccessError as error:
                account = partition.get(ACCOUNT_ID)
                if account in {None, self.stripe.own_account}:
                    raise
                # A connected account may take the right away; the others are read all the same.
                self.logger.warning("Stream %s: the account %s is left out: %s", self.name, account, error)
                self.is_complete = False

    def _read_one(self, position: Position, partition: Mapping[str, Any]) -> Iterator[RecordPage]:
        """Read one account; an empty bookmark stands for the position."""
        now = datetime.now(UTC)
        if position.changes_from is not None and self.events and now - position.changes_from > EVENTS_KEPT:
            self.logger.warning(
                "Stream %s: the last run began more than %d days ago, and Stripe keeps events for 30. Reading everything "
                "again; what was deleted in between stays in the table.",
                self.name,
                EVENTS_KEPT.days,
            )
            position.start_over()
        is_first = position.changes_from is None
        if not position.is_whole:
            yield from self._read_lists(position, partition, now=now)
        begin = position.changes_from
        if begin is not None and not is_first:
            yield from self._read_changes(position, partition, begin=begin, now=now)

    def _read_lists(
        self, position: Position, partition: Mapping[str, Any], *, now: datetime
    ) -> Iterator[RecordPage]:
        until = position.changes_from = position.changes_from or now
        given = self.config.get("start_date")
        start = position.read_until or (dates.instant(given) if given else None)
        end = until + THIS_SECOND
        is_known = False
        for window in windows(start, end, length=LIST_WINDOW):
            for page in self._listed(window, partition):
                if not is_known:
                    # Should the run be cut off, the next one learns what was deleted since now, by Stripe's clock.
                    yield RecordPage([], {})
                    is_known = True
                    if self.events:
                        self.stripe.ask_for_events()
                yield page
            position.read_until = window[1]
            position.is_whole = window[1] == end
            yield RecordPage([], {})

    def _read_changes(
        self, position: Position, partition: Mapping[str, Any], *, begin: datetime, now: datetime
    ) -> Iterator[RecordPage]:
        given = self.options.get("lookback_seconds")
        asked = None if given is None else timedelta(seconds=given)
        list_from: datetime | None = begin - (self.lookback if asked is None else asked)
        events_from = begin - (EVENTS_LOOKBACK if asked is None else asked)
        for window in windows(events_from, now + THIS_SECOND, length=DAY if self.events else LIST_WINDOW):
            told = self._told(window, partition)
            if self.events and not self._has_events:
                list_from = min(list_from or events_from, events_from - LIST_WINDOW)
            yield from self._listed((list_from or window[0], window[1]), partition, told=told)
            list_from = None
            yield from self._current(told, partition)
            position.changes_from = min(max(window[1], begin), now)
            yield RecordPage([], {})

    def _listed(
        self,
        window: tuple[datetime | None, datetime],
        partition: Mapping[str, Any],
        *,
        told: dict[str, Told] | None = None,
    ) -> Iterator[RecordPage]:
        """Yield what was created in a window; what the list has is not asked for again."""
        for page in self.pages_of(Part(Window(*window), partition)):
            for record in page.records if told else ():
                if told is not None:
                    told.pop(record["id"], None)
            yield page

    # --- events -------------------------------------------------------------------------------------

    def _told(self, window: tuple[datetime, datetime], partition: Mapping[str, Any]) -> dict[str, Told]:
        """Return what the events of a window tell, by the object's id; nothing without the right to read them."""
        if not self.events or not self._has_events:
            return {}
        try:
            return read_events(self, window, Part(partition=partition))
        except NoAccessError as error:
            self._has_events = False
            self.logger.warning(
                "Stream %s: changes and deletes cannot be seen, only objects created in the last %d days are read again: %s",
                self.name,
                LIST_WINDOW.days,
                error,
            )
            return {}

    def _current(self, told: Mapping[str, Told], partition: Mapping[str, Any]) -> Iterator[RecordPage]:
        tasks = (partial(self._asked_anew, told[key], partition) for key in told)
        yield from in_order(tasks, workers=self.client.options.max_parallel)

    def _asked_anew(self, told: Told, partition: Mapping[str, Any]) -> Iterator[RecordPage]:
        """Yield an object as it is now; when it is gone, as it was last."""
        part = Part(partition=partition)
        if told.payload is not None:
            yield self._as_told(told, told.payload, part)
            return
        request = Request(f"{self.path}/{quote(told.object_id, safe='')}")
        if expanded := self.expanded:
            request.params["expand[]"] = expanded
        try:
            answer = self.ask(self.addressed(request, part))
        except RefusedRequestError as error:
            if error.status != NOT_FOUND:
                raise
            document = None
        else:
            document = answer.document
        if document is not None and not document.get("deleted"):
            yield self.records_in(answer, part)
            return
        if DELETED_AT in (self.properties or {}):
            yield self._as_told(told.as_deleted(), self._last_seen(told, part), part)

    def _last_seen(self, told: Told, part: Part) -> dict[str, Any]:
        request = self.addressed(Request(f"/v1/events/{told.event_id}"), part)
        payload: dict[str, Any] = self.ask(request).document["data"]["object"]
        return payload if payload.get("object") == self.object_name else {"id": told.object_id}

    def _as_told(self, told: Told, payload: dict[str, Any], part: Part) -> RecordPage:
        """Return the copy that an event holds; of a deleted object without fields that the columns do not fit."""
        self.complete(payload, part) if not told.is_deleted else payload.update(part.names)
        record = self.post_process({**payload, "id": told.object_id}, part.names) or {}
        if self.progress is not None:
            record[SYNC_TIME] = self.progress.sync_time
        if not told.is_deleted:
            return RecordPage([record])
        known = self.schema["properties"]
        record = pruned(record, known)
        for name in Fitness(known).misfits(record):
            del record[name]
        return RecordPage([{**record, DELETED_AT: told.at}], contexts=[])
