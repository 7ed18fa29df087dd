"""Waiting before a lost connection is made anew."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from icetap.waiting import growing_wait, wait

if TYPE_CHECKING:
    from collections.abc import Callable

LOGGER = logging.getLogger("icetap.sql")


class Retries:
    """Counts the failures in a row of one reading and waits between them: 0.5 to 30 s, doubled each time.

    Args:
        maximum: How many failures in a row are followed by another attempt.
        what: What is tried, for the log.
        check: Called while waiting; whatever it raises ends the wait.
    """

    def __init__(self, maximum: int, *, what: str, check: Callable[[], None]) -> None:
        self._maximum = maximum
        self._what = what
        self._check = check
        self._failures = 0
        self._lock = threading.Lock()

    def progressed(self) -> None:
        """Begin to count anew: something came."""
        self._failures = 0

    def wait_after(self, error: BaseException) -> None:
        """Wait before the next attempt.

        Raises:
            BaseException: The error itself, when it was the last attempt; what `check` raises.
        """
        with self._lock:
            failures, self._failures = self._failures, self._failures + 1
        if failures >= self._maximum:
            raise error
        seconds = growing_wait(failures)
        LOGGER.warning(
            "%s: %s; attempt %d of %d follows in %.1f s",
            self._what,
            str(error).rstrip("."),
            failures + 2,
            self._maximum + 1,
            seconds,
        )
        wait(seconds, check=self._check)
