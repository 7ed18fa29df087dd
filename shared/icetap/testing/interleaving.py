"""Several actors that take turns at named points, in an order that a seed decides: races that can be repeated.

Each actor runs in a thread of its own, but only one at a time: when it comes to a point, it waits until it is
its turn again. So whatever may happen between two points of one actor happens in some order with the others,
and a seed that finds a fault finds it again.
"""

from __future__ import annotations

import contextlib
import random
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

_ACTOR = threading.local()


class Interleaving:
    """Runs actors in turns.

    Attributes:
        trace: Who passed which point, in order: what to read when a round went wrong.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 -- a repeatable order, no secret
        self._turns: dict[str, threading.Semaphore] = {}
        self._waiting: set[str] = set()
        self._back = threading.Semaphore(0)
        self._errors: dict[str, BaseException] = {}
        self.trace: list[str] = []

    def run(self, actors: dict[str, Callable[[], Any]]) -> dict[str, BaseException]:
        """Run all actors to their end.

        Args:
            actors: What to do, by name.

        Returns:
            The errors that ended actors, by their names.
        """
        threads = []
        for name, act in actors.items():
            self._turns[name] = threading.Semaphore(0)
            self._waiting.add(name)
            threads.append(threading.Thread(target=self._play, args=(name, act), name=name))
            threads[-1].start()
        while self._waiting:
            name = self._random.choice(sorted(self._waiting))
            self._waiting.discard(name)
            self._turns[name].release()
            self._back.acquire()
        for thread in threads:
            thread.join()
        return self._errors

    def _play(self, name: str, act: Callable[[], Any]) -> None:
        self._turns[name].acquire()
        _ACTOR.point = lambda where: self._stop(name, where)
        try:
            act()
        except BaseException as error:  # noqa: BLE001 -- whatever it is, the test that asked must hear it
            self._errors[name] = error
        finally:
            del _ACTOR.point
            self._back.release()

    def _stop(self, name: str, where: str) -> None:
        self.trace.append(f"{name}: {where}")
        self._waiting.add(name)
        self._back.release()
        self._turns[name].acquire()


def point(where: str) -> None:
    """Let others go first, when an actor of an `Interleaving` calls it; else do nothing."""
    stop = getattr(_ACTOR, "point", None)
    if stop is not None:
        stop(where)


@contextlib.contextmanager
def points_around(*functions: tuple[ModuleType, str]) -> Iterator[None]:
    """Make points of the moments before and after these functions, as called through these modules."""
    originals = [(module, name, getattr(module, name)) for module, name in functions]
    for module, name, original in originals:
        setattr(module, name, _with_points(original, name))
    try:
        yield
    finally:
        for module, name, original in originals:
            setattr(module, name, original)


def _with_points(original: Callable[..., Any], name: str) -> Callable[..., Any]:
    def stopping(*arguments: Any, **options: Any) -> Any:
        point(f"before {name}")
        result = original(*arguments, **options)
        point(f"after {name}")
        return result

    return stopping
