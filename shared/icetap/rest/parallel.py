"""Several requests at once, results in order, memory bounded."""

from __future__ import annotations

import queue
import threading
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

AHEAD = 2
"""Results of one task that may wait until those before them are taken."""

_POLL_SECONDS = 0.1
Result = TypeVar("Result")


def in_order(tasks: Iterable[Callable[[], Iterator[Result]]], *, workers: int) -> Iterator[Result]:
    """Yield what the tasks yield, in their order, while the next ones run ahead.

    Args:
        tasks: Made as they are needed; each returns an iterator that is used by one thread only.
        workers: How many run at once. With one, everything runs in the caller's thread.

    Holds at most `workers * AHEAD` results. An error of a task is raised when its turn comes.
    """
    if workers <= 1:
        for task in tasks:
            yield from task()
        return
    abandoned = threading.Event()
    running: deque[_Running[Result]] = deque()
    waiting = iter(tasks)
    try:
        while True:
            while len(running) < workers and (following := next(waiting, None)) is not None:
                running.append(_Running(following, abandoned))
            if not running:
                return
            yield from running[0].results()
            running.popleft()
    finally:
        abandoned.set()


class _Running(Generic[Result]):
    """One task in its thread, which waits when its results are not taken."""

    def __init__(self, task: Callable[[], Iterator[Result]], abandoned: threading.Event) -> None:
        self._task = task
        self._abandoned = abandoned
        self._queue: queue.Queue[tuple[bool, Result | BaseException | None]] = queue.Queue(AHEAD)
        # A daemon, so that a request under way does not hold up the end of an interrupted run.
        threading.Thread(target=self._run, name="icetap-rest", daemon=True).start()

    def _run(self) -> None:
        try:
            for result in self._task():
                if not self._put(True, result):
                    return
            self._put(False, None)
        except BaseException as error:  # noqa: BLE001 -- raised again where the result is taken
            self._put(False, error)

    def _put(self, is_result: bool, value: Result | BaseException | None) -> bool:
        """Hand something over; return False when nobody wants it any more."""
        while not self._abandoned.is_set():
            try:
                self._queue.put((is_result, value), timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def results(self) -> Iterator[Result]:
        while True:
            is_result, value = self._queue.get()
            if is_result:
                yield value  # type: ignore[misc]
            elif value is None:
                return
            else:
                raise value  # type: ignore[misc]
