"""SIGTERM and SIGINT: no new work, but a commit that runs is finished and its STATE printed."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    Hook = Callable[[sys.UnraisableHookArgs], object]

_AGAIN_SECONDS = 0.01


class Terminated(BaseException):
    """The process was asked to end; `exit_code` is 128 and the signal's number."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"ended by signal {signum}")
        self.signum = signum
        self.exit_code = 128 + signum


def _asking_again(told: Hook) -> Hook:
    """Return a hook that sends a signal once more whose exception Python has dropped.

    A signal may arrive in a destructor or in a weak reference's callback, where no exception gets through.
    Source: https://docs.python.org/3/library/sys.html#sys.unraisablehook (read 2026-11-21).
    """

    def hook(dropped: sys.UnraisableHookArgs) -> None:
        if not isinstance(dropped.exc_value, Terminated):
            told(dropped)
            return
        again = threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), dropped.exc_value.signum))
        again.daemon = True
        again.start()

    return hook


class Termination:
    """Turns signals into `Terminated`, at once or after the section that must be finished."""

    def __init__(self) -> None:
        self._depth = 0
        self._pending: int | None = None

    def handle(self, signum: int, _frame: FrameType | None) -> None:
        """End now, or when the commit that runs is done."""
        if self._depth:
            self._pending = signum
            return
        sys.unraisablehook = _asking_again(sys.unraisablehook)
        raise Terminated(signum)

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """Finish what is inside before a signal ends the process."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if self._pending is not None and not self._depth:
            raise Terminated(self._pending)
