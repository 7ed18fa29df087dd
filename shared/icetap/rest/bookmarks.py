"""How far streams have been read: one bookmark for all parents and partitions, or one for each."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from icetap.rest.incremental import Incremental, Progress, local_now
from icetap.rest.marks import mark_for
from icetap.rest.parallel import in_order
from icetap.rest.parts import Part, RecordPage
from icetap.rest.sampling import lookback_of
from icetap.rest.templates import render

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from icetap.rest.stream import RestStream

MOST_PARENTS = 10_000
"""Bookmarks of so many parents fit into a state of about half a megabyte."""

STATE_SECONDS = 15.0
"""How often at most a STATE with all of them is written in the middle of a read."""


def progress_from(stream: RestStream, incremental: Incremental, bookmark: Mapping[str, Any]) -> Progress:
    """Return the progress of a read that begins at a bookmark; at the initial value when it has none."""
    return Progress(
        incremental,
        stream=stream.label,
        shown_as=str(stream.replication_key),
        bookmark=bookmark,
        now=local_now(),
        formats=stream.cursor_formats(),
        initial=render(incremental.initial, {"config": stream.config}),
        lookback_seconds=lookback_of(stream),
    )


@dataclass(frozen=True)
class _Step:
    name: str
    progress: Progress
    page: RecordPage
    is_complete: bool = False
    """Whether a window was read to its end."""


class ParentBookmarks:
    """Reads a stream from a bookmark of its own for each parent and partition (`state: per_parent`).

    A parent that was not there before is read from its beginning, however old its records are. The state holds a mark of
    the parent and not its values, which may be personal. Of more than `MOST_PARENTS` parents, the same ones lose their
    bookmarks in every run, and are read from their beginning: it costs requests, never records.

    Args:
        stream: The stream; its shared progress knows the server's time.
        incremental: Its declaration.
        start: The bookmark that it begins at.
    """

    def __init__(self, stream: RestStream, incremental: Incremental, start: Mapping[str, Any]) -> None:
        self._stream = stream
        self._incremental = incremental
        self._found: dict[str, Any] = dict(start.get("parents") or {})
        self._reached: dict[str, Any] = {}
        self._seen: set[str] = set()
        self._skipped: set[str] = set()
        self._written_at = time.monotonic()

    def pages(self, contexts: Iterable[Mapping[str, Any]]) -> Iterator[RecordPage]:
        """Yield the records of some parents, every now and then with the bookmark of all."""
        stream = self._stream
        parts = [
            Part(partition=partition, parent=parent)
            for parent in contexts
            for partition in stream.partitions_of(parent)
        ]
        tasks = (partial(self._steps, part) for part in parts)
        for step in in_order(tasks, workers=stream.client.options.max_parallel):
            self._take_note(step)
            yield replace(step.page, bookmark=self._due())

    def skip(self, part: Part) -> None:
        """Take note that a part could not be read to its end: its bookmark stays where it was."""
        name = mark_for(self._stream, part.names)
        self._skipped.add(name)
        self._see(name)

    def _steps(self, part: Part) -> Iterator[_Step]:
        name = mark_for(self._stream, part.names)
        bookmark = {"replication_key_value": self._found[name]} if name in self._found else {}
        progress = progress_from(self._stream, self._incremental, bookmark)
        for window in progress.windows():
            for page in self._stream.pages_of(replace(part, window=window)):
                yield _Step(name, progress, page)
            if name in self._skipped:
                self._skipped.discard(name)
                return
            progress.complete(window)
            yield _Step(name, progress, RecordPage([]), is_complete=True)

    def _take_note(self, step: _Step) -> None:
        self._see(step.name)
        shared, progress = self._stream.progress, step.progress
        without = progress.without_cursor
        reached = progress.after(step.page.records, is_alone=True)
        if shared is not None:
            shared.without_cursor += progress.without_cursor - without
            progress.not_later_than(shared.now)
        if step.is_complete:
            reached = progress.bookmark()
        if reached:
            self._reached[step.name] = reached["replication_key_value"]
        if len(self._reached) > 2 * MOST_PARENTS:
            self._reached = _first(self._reached)

    def _see(self, name: str) -> None:
        """Take note that a parent of an earlier run is still there."""
        if name in self._found:
            self._seen.add(name)

    def _due(self) -> dict[str, Any] | None:
        if time.monotonic() - self._written_at < STATE_SECONDS:
            return None
        self._written_at = time.monotonic()
        return self.bookmark()

    def bookmark(self, *, is_end: bool = False) -> dict[str, Any]:
        """Return the stream's part of the state; at the end of a whole read without parents that are gone."""
        found = self._found
        if is_end and self._sees_every_parent:
            found = {name: value for name, value in found.items() if name in self._seen}
        parents = {**found, **self._reached}
        if is_end and len(parents) > MOST_PARENTS:
            self._stream.logger.warning(
                "Stream %s: bookmarks of %d parents are kept; all others are read from their beginning each time. "
                "`state: shared` keeps one for all",
                self._stream.name,
                MOST_PARENTS,
            )
        return {"replication_key": str(self._stream.replication_key), "parents": _first(parents)}

    @property
    def _sees_every_parent(self) -> bool:
        parent = self._stream.parent_stream
        return not self._stream.follow_parent and (parent is None or parent.is_complete)


def _first(parents: dict[str, Any]) -> dict[str, Any]:
    """Return as many bookmarks as are kept: of the same parents whenever there are too many."""
    if len(parents) <= MOST_PARENTS:
        return parents
    return {name: parents[name] for name in sorted(parents)[:MOST_PARENTS]}
