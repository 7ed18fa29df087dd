"""The walk through the pages of one part of a stream."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from icetap.errors import ConfigurationError
from icetap.rest import dates
from icetap.rest.bodies import record_batches
from icetap.rest.incremental import Window
from icetap.rest.paging import NoPaging, NumberWalk, refuse_truncation
from icetap.rest.parallel import in_order
from icetap.rest.templates import render

if TYPE_CHECKING:
    from collections.abc import Iterator

    from icetap.rest.answers import Answer
    from icetap.rest.paging import Paging, Walk
    from icetap.rest.parts import Part, RecordPage
    from icetap.rest.request import Request
    from icetap.rest.stream import RestStream


class PageReader:
    """Reads one part of a stream, page by page; holds one page.

    Args:
        stream: The stream.
        part: What is read of it.
        base: The request for the first page, when another than the stream's own.
    """

    def __init__(self, stream: RestStream, part: Part, *, base: Request | None = None) -> None:
        self._stream = stream
        self._part = part
        self._base = base or stream.request_for(part)
        self._may_seek = base is None

    def pages(self) -> Iterator[RecordPage]:
        """Yield the pages, without the records that lie before the start.

        Raises:
            TruncatedReadError: When there is more, and no way to ask for it is declared.
            EndlessReadError: When the pages repeat themselves.
        """
        stream = self._stream
        if stream.format.is_file:
            yield from self._from_file()
            return
        if stream.paging is None:
            only = stream.ask(self._base)
            refuse_truncation(only, stream.values_in(only))
            yield self._filtered(stream.records_in(only, self._part))
            return
        walk = self._new_walk(stream.paging)
        answers = self._one_by_one(walk)
        while (answer := next(answers, None)) is not None:
            page = stream.records_in(answer, self._part)
            goes_on = walk.advance(answer, stream.values_in(answer))
            yield self._filtered(page)
            if not goes_on or self._is_past(page):
                return
            following = self._next_walk(stream.paging, walk, page)
            if following is not walk:
                walk, answers = following, self._one_by_one(following)
            elif walk.pages == 1 and isinstance(walk, NumberWalk) and self._reads_ahead:
                answers = self._several_at_once(walk, walk.ahead(answer))

    def _from_file(self) -> Iterator[RecordPage]:
        """Yield the records of one body of any size.

        Raises:
            ConfigurationError: When the stream has pages: their signals would have to be read before the records.
        """
        stream = self._stream
        if not isinstance(stream.paging, NoPaging | None):
            raise ConfigurationError(
                f"{stream.label}: a body that is saved as a file (`stream`, `zip`) is all that is asked for, and cannot be one "
                "of several pages. Leave the paging out, or read the pages as they are."
            )
        for values in record_batches(stream.save(self._base), stream.format, stream.records_path):
            yield self._filtered(stream.records_of(values, self._part))

    @property
    def _reads_ahead(self) -> bool:
        incremental = self._stream.incremental
        seeks = incremental is not None and incremental.can_seek and bool(self._stream.primary_keys)
        return self._stream.client.options.max_parallel > 1 and not seeks

    def _one_by_one(self, walk: Walk) -> Iterator[Answer]:
        while True:
            request = self._base.copy()
            walk.prepare(request)
            yield self._stream.ask(request)

    def _several_at_once(self, walk: NumberWalk, positions: list[int]) -> Iterator[Answer]:
        """Yield the pages at positions that are known beforehand, as long as the walk comes by there; then the others."""

        def ask(position: int) -> Iterator[tuple[int, Answer]]:
            request = self._base.copy()
            walk.prepare_at(request, position)
            yield position, self._stream.ask(request)

        tasks = (partial(ask, position) for position in positions)
        for position, answer in in_order(tasks, workers=self._stream.client.options.max_parallel):
            if position != walk.position:
                break
            yield answer
        yield from self._one_by_one(walk)

    def _new_walk(self, paging: Paging) -> Walk:
        walk = paging.walk()
        if paging.size is not None:
            walk.size = int(render(paging.size.value, self._stream.scope(self._part)))
        return walk

    def _next_walk(self, paging: Paging, walk: Walk, page: RecordPage) -> Walk:
        """Go on from the last value seen instead of the next number: rows that moved away do not shift the rest.

        Where all records of a page have one value, the next number is asked for as usual.
        """
        incremental, progress = self._stream.incremental, self._stream.progress
        if not (incremental and incremental.can_seek and progress and page.records):
            return walk
        if not self._stream.primary_keys or not self._may_seek:
            return walk  # the records at the last value come again, and nothing would tell them apart
        if not isinstance(walk, NumberWalk) or (last := progress.value_of(page.records[-1])) is None:
            return walk
        window = self._part.window
        start = None if window.start is None else dates.write(window.start, incremental.start_format)
        if dates.write(last, incremental.start_format) == start:
            return walk
        self._part = replace(self._part, window=Window(last, window.end, window.is_last))
        self._base = self._stream.request_for(self._part)
        return self._new_walk(paging)

    def _is_past(self, page: RecordPage) -> bool:
        """Whether a read of newest first has come to what was read before."""
        incremental, progress, start = (
            self._stream.incremental,
            self._stream.progress,
            self._part.window.start,
        )
        if not (
            incremental and incremental.order == "desc" and progress and page.records and start is not None
        ):
            return False
        last = progress.value_of(page.records[-1])
        return last is not None and dates.is_before(last, start)

    def _filtered(self, page: RecordPage) -> RecordPage:
        """Leave out what lies before the start, where the API does not."""
        incremental, progress, start = (
            self._stream.incremental,
            self._stream.progress,
            self._part.window.start,
        )
        if not (incremental and incremental.filter == "client" and progress and start is not None):
            return page
        kept = [
            record
            for record in page.records
            if (value := progress.value_of(record)) is None or not dates.is_before(value, start)
        ]
        return replace(page, records=kept)
