"""How long to wait before another attempt, and waiting so that a run can still be stopped."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
_TICK_SECONDS = 0.2


def growing_wait(failures: int) -> float:
    """Return the seconds to wait when so many attempts have failed before this one: 0.5 to 30, doubled each time."""
    return float(min(FIRST_WAIT_SECONDS * 2**failures, LONGEST_WAIT_SECONDS))


def asked_wait(value: str | None, *, now: datetime | None = None) -> float | None:
    """Read `Retry-After`: seconds, or an HTTP date (RFC 9110, section 10.2.3); None when it says nothing.

    Args:
        value: The header.
        now: The server's own time, so that clocks that differ do no harm.
    """
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - (now or datetime.now(UTC))).total_seconds())
    except (TypeError, ValueError):
        return None


def wait(seconds: float, *, check: Callable[[], None]) -> None:
    """Sleep; `check` is called before, meanwhile and after, and whatever it raises ends the wait."""
    end = time.monotonic() + seconds
    check()
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _TICK_SECONDS))
        check()
