"""Reading ahead: the driver fills the next batch while the last one is written."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

T = TypeVar("T")

BATCHES_AHEAD = 2
JOIN_SECONDS = 5.0
_POLL_SECONDS = 0.2


class _End:
    """What the reading thread leaves at its end: nothing, or the error that ended it."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetched(
    source: Iterator[T], *, cancel: Callable[[], None], check: Callable[[], None]
) -> Generator[T, None, None]:
    """Yield what `source` yields, read in a thread of its own; holds `BATCHES_AHEAD` items.

    Args:
        source: Read to its end, or until the consumer stops; closed in the thread that reads it.
        cancel: Stops a long call inside `source`, from the consumer's thread.
        check: Called often while waiting; whatever it raises ends the reading.
    """
    ready: queue.Queue[T | _End] = queue.Queue(maxsize=BATCHES_AHEAD)
    stopped = threading.Event()

    def put(item: T | _End) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=_POLL_SECONDS)
                return

    def read() -> None:
        error: BaseException | None = None
        try:
            for item in source:
                put(item)
                if stopped.is_set():
                    break
        except BaseException as raised:  # noqa: BLE001 - raised again where the items are consumed
            error = raised
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                close()
            put(_End(error))

    reader = threading.Thread(target=read, name="icetap-read", daemon=True)
    reader.start()
    try:
        while True:
            try:
                item = ready.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                check()
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        if reader.is_alive():
            stopped.set()
            cancel()
            # Not every driver can be interrupted; then the thread ends with the process.
            reader.join(timeout=JOIN_SECONDS)
