"""How fast a tap asks: token buckets on the client's side, shared by all of its threads."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in so many seconds."""

    requests: int
    seconds: float


class RateLimiter:
    """Gives each request its turn: a first burst of a tenth of the rate, then evenly."""

    def __init__(self, rates: Sequence[Rate], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        now = clock()
        self._buckets = [_Bucket(rate, now) for rate in rates]

    def reserve(self) -> float:
        """Take a turn; return how many seconds it is away."""
        if not self._buckets:
            return 0.0
        with self._lock:
            now = self._clock()
            return max(bucket.reserve(now) for bucket in self._buckets)


class _Bucket:
    """Tokens come back at the rate; a reservation may take one that has not come yet."""

    def __init__(self, rate: Rate, now: float) -> None:
        self._per_second = rate.requests / rate.seconds
        self._size = max(1.0, rate.requests / 10)
        self._tokens = self._size
        self._at = now

    def reserve(self, now: float) -> float:
        self._tokens = min(self._size, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        self._tokens -= 1
        return max(0.0, -self._tokens / self._per_second)
