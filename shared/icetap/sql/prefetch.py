"""Reading ahead: the driver fills the next batch while the last one is written."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

T = TypeVar("T")

BATCHES_AHEAD = 2
JOIN_SECONDS = 5.0
_POLL_SECONDS = 0.2


def prefetched(
    source: Iterator[T], *, cancel: Callable[[], None], check: Callable[[], None]
) -> Generator[T, None, None]:
    """Yield what `source` yields, read in a thread of its own; holds `BATCHES_AHEAD` items.

    Args:
        source: Read to its end, or until the consumer stops; closed in the thread that reads it.
        cancel: Stops a long call inside `source`, from the consumer's thread.
        check: Called often while waiting; whatever it raises ends the reading.
    """
    reader = _Reader(source)
    reader.start()
    try:
        while True:
            try:
                item = reader.ready.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                check()
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        reader.stop(cancel)


class _End:
    """What the reading thread leaves at its end: nothing, or the error that ended it."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Reader(threading.Thread, Generic[T]):
    """Fills a bounded queue."""

    def __init__(self, source: Iterator[T]) -> None:
        super().__init__(name="icetap-read", daemon=True)
        self.ready: queue.Queue[T | _End] = queue.Queue(maxsize=BATCHES_AHEAD)
        self._source = source
        self._stopped = threading.Event()

    def run(self) -> None:
        """Read until the end, an error, or `stop`."""
        error: BaseException | None = None
        try:
            for item in self._source:
                self._put(item)
                if self._stopped.is_set():
                    break
        except BaseException as raised:  # noqa: BLE001 - raised again where the items are consumed
            error = raised
        finally:
            close = getattr(self._source, "close", None)
            if close is not None:
                close()
            self._put(_End(error))

    def _put(self, item: T | _End) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self.ready.put(item, timeout=_POLL_SECONDS)
                return

    def stop(self, cancel: Callable[[], None]) -> None:
        """End the thread; not every driver can be interrupted, then it ends with the process."""
        if self.is_alive():
            self._stopped.set()
            cancel()
            self.join(timeout=JOIN_SECONDS)
