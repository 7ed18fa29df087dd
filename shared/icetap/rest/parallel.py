"""Several requests at once, results in order, memory bounded."""

from __future__ import annotations

import queue
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

AHEAD = 2
"""Tasks for each worker that are begun before their turn, and results of one of them that may wait until they are taken."""

_POLL_SECONDS = 0.1
Result = TypeVar("Result")


def in_order(tasks: Iterable[Callable[[], Iterator[Result]]], *, workers: int) -> Iterator[Result]:
    """Yield what the tasks yield, in their order, while the next ones run ahead.

    A worker whose task has ended takes the next one, though others before it are still under way: one slow answer does
    not make the others wait.

    Args:
        tasks: Made as they are needed; each returns an iterator that is used by one thread only.
        workers: How many run at once. With one, everything runs in the caller's thread.

    Holds at most `workers * AHEAD` tasks, with `AHEAD` results each. An error of a task is raised when its turn comes.
    """
    if workers <= 1:
        for task in tasks:
            yield from task()
        return
    pool = _Pool(workers)
    begun: deque[_Begun[Result]] = deque()
    waiting = iter(tasks)
    try:
        while True:
            while len(begun) < workers * AHEAD and (following := next(waiting, None)) is not None:
                begun.append(_Begun(following, pool.abandoned))
                pool.run(begun[-1])
            if not begun:
                return
            yield from begun[0].results()
            begun.popleft()
    finally:
        pool.abandon()


class _Pool:
    """Threads that run tasks in the order in which these come; as many as there are tasks for."""

    def __init__(self, workers: int) -> None:
        self.abandoned = threading.Event()
        self._workers = workers
        self._threads = 0
        self._tasks: queue.SimpleQueue[_Begun[Any] | None] = queue.SimpleQueue()

    def run(self, task: _Begun[Any]) -> None:
        self._tasks.put(task)
        if self._threads < self._workers:
            self._threads += 1
            # A daemon, so that a request under way does not hold up the end of an interrupted run.
            threading.Thread(target=self._work, name="icetap-rest", daemon=True).start()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            if not self.abandoned.is_set():
                task.run()

    def abandon(self) -> None:
        """Let the threads end, each after what it is at."""
        self.abandoned.set()
        for _ in range(self._threads):
            self._tasks.put(None)


class _Begun(Generic[Result]):
    """One task, whose thread waits when its results are not taken."""

    def __init__(self, task: Callable[[], Iterator[Result]], abandoned: threading.Event) -> None:
        self._task = task
        self._abandoned = abandoned
        self._queue: queue.Queue[tuple[bool, Result | BaseException | None]] = queue.Queue(AHEAD)

    def run(self) -> None:
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
