"""Small tables, read ahead by several threads while the table before them is sent: thousands of them wait for no answer."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from icetap.columnar.stream import Page
    from icetap.sql.stream import SQLStream

SMALL_BYTES = 2 * 1024 * 1024
"""A table that the server says is smaller is read ahead."""

MOST_BYTES = 4 * SMALL_BYTES
"""Of a table that turns out to be larger, so much is read ahead; the rest comes when it is its turn."""

TABLES_AHEAD = 4
"""So many tables a reader may wait."""

JOIN_SECONDS = 5.0
_POLL_SECONDS = 0.2


@dataclass(slots=True)
class _Read:
    """What was read of a stream; `rest` yields what was not, `error` says why there is no more."""

    pages: list[Page] = field(default_factory=list)
    rest: Iterator[Page] | None = None
    error: BaseException | None = None
    is_done: bool = False


class TablesAhead:
    """Reads streams in their order, each whole, by one thread of several.

    At most `TABLES_AHEAD` tables a reader wait, of at most `MOST_BYTES` each and mostly far less.

    Args:
        streams: In the order in which they will be asked for.
        count: How many threads read.
        check: Called while waiting; whatever it raises ends the wait.
    """

    def __init__(self, streams: Sequence[SQLStream], *, count: int, check: Callable[[], None]) -> None:
        self._streams = list(streams)
        self._numbers = {stream.name: number for number, stream in enumerate(self._streams)}
        self._check = check
        self._changed = threading.Condition()
        self._reads: dict[int, _Read] = {}
        self._taken = 0
        self._front = 0
        self._ahead = count * TABLES_AHEAD
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._work, name=f"icetap-ahead-{number}", daemon=True)
            for number in range(count)
        ]

    def start(self) -> None:
        """Begin to read."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads; one that waits for the server ends with the process."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=JOIN_SECONDS)

    def has(self, stream: SQLStream) -> bool:
        """Say whether a stream is read here."""
        return stream.name in self._numbers

    def pages(self, stream: SQLStream) -> Iterator[Page]:
        """Yield a stream's pages, once they are there.

        Raises:
            Exception: What the reading of this stream met, after the pages before it.
        """
        number = self._numbers[stream.name]
        with self._changed:
            self._front = max(self._front, number)
            self._changed.notify_all()
            while number not in self._reads or not self._reads[number].is_done:
                if not self._changed.wait(timeout=_POLL_SECONDS):
                    self._check()
            read = self._reads.pop(number)
        yield from read.pages
        if read.error is not None:
            raise read.error
        if read.rest is not None:
            yield from read.rest

    def _work(self) -> None:
        while (number := self._next_number()) is not None:
            read = self._reads[number]
            try:
                self._fill(read, self._streams[number].read_pages())
            except BaseException as error:  # noqa: BLE001 - raised again where the pages are consumed
                read.error = error
            with self._changed:
                read.is_done = True
                self._changed.notify_all()

    def _next_number(self) -> int | None:
        with self._changed:
            while not self._stopped and self._taken < len(self._streams):
                if self._taken <= self._front + self._ahead:
                    number, self._taken = self._taken, self._taken + 1
                    self._reads[number] = _Read()
                    return number
                self._changed.wait()
            return None

    def _fill(self, read: _Read, pages: Iterator[Page]) -> None:
        size = 0
        for page in pages:
            read.pages.append(page)
            size += page.batch.nbytes
            if size > MOST_BYTES or self._stopped:
                read.rest = pages
                return
