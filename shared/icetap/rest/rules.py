"""What an answer means: the vendor's own rules first, then the table that holds for all of HTTP."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from icetap.rest.jsonpath import JSONPath
from icetap.waiting import asked_wait

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from icetap.rest.answers import Answer

Action = Literal["retry", "fail", "skip", "stop", "restart", "refresh_auth", "no_access"]
"""`skip` leaves this parent or partition out, counted; `stop` takes this page for the end; `restart` goes through the
pages anew, since the cursor has expired."""

PASSING_STATUSES = frozenset({408, 425, 429})
NO_ACCESS_STATUSES = frozenset({401, 403})
_UNSET = object()
_EPOCH_FROM = 1_000_000_000
"""A reset given as a larger number is a time since 1970, a smaller one is a number of seconds."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """Which answers a rule is for; every condition that is given must hold."""

    status: Sequence[int] = ()
    path: str | None = None
    """A JSONPath into the body, for `equals`, `among` and `exists`."""

    equals: Any = _UNSET
    among: Sequence[Any] = ()
    exists: bool | None = None
    contains: str | None = None
    header: str | None = None
    header_equals: str | None = None

    def __call__(self, answer: Answer) -> bool:
        """Say whether an answer is one of these."""
        if self.status and answer.status not in self.status:
            return False
        if self.contains is not None and self.contains.encode() not in answer.content:
            return False
        if self.header is not None:
            value = answer.headers.get(self.header)
            if value is None or (self.header_equals is not None and value != self.header_equals):
                return False
        return self.path is None or self._fits_body(answer)

    def _fits_body(self, answer: Answer) -> bool:
        value = answer.first(JSONPath(self.path or "$"))
        if self.exists is not None and (value is not None) is not self.exists:
            return False
        if self.equals is not _UNSET and value != self.equals:
            return False
        if self.among and value not in self.among:
            return False
        return self.exists is not None or self.equals is not _UNSET or bool(self.among) or value is not None


@dataclass(frozen=True)
class ErrorRule:
    """What to do with certain answers.

    Args:
        when: Which answers: a `Match`, or any function of an answer.
        action: What to do.
        message: What a person should read; a function of the answer where its own words say more.
        wait: For `retry`: how many seconds the answer asks to wait, where it says so in its own way.
    """

    when: Callable[[Answer], bool]
    action: Action
    message: str | Callable[[Answer], str | None] | None = None
    wait: Callable[[Answer], float | None] | None = None

    def text(self, answer: Answer) -> str | None:
        """Return what a person should read about an answer."""
        return self.message(answer) if callable(self.message) else self.message


def verdict(answer: Answer, rules: Sequence[ErrorRule]) -> ErrorRule | None:
    """Return the first rule that an answer falls under; None when the answer is good."""
    for rule in rules:
        if rule.when(answer):
            return rule
    if answer.status in PASSING_STATUSES or answer.status >= 500:
        return _PASSING
    if answer.status in NO_ACCESS_STATUSES:
        return _NO_ACCESS
    if not 200 <= answer.status < 300:
        return _REFUSED
    return None


_PASSING = ErrorRule(lambda _: True, "retry")
_NO_ACCESS = ErrorRule(lambda _: True, "no_access")
_REFUSED = ErrorRule(lambda _: True, "fail")


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How long to go on asking; waits double from `first_wait` to `longest_wait`, shortened at random by up to a half."""

    max_retries: int = 5
    first_wait: float = 0.5
    longest_wait: float = 60.0
    max_wait: float = 600.0
    """When a server asks for a longer wait than this, the run ends with what it has."""

    wait_headers: Sequence[str] = ()
    """More headers that hold a wait, as `Retry-After` does."""

    random: Callable[[], float] = field(default=random.random, repr=False)

    def wait_of_its_own(self, attempt: int) -> float:
        """Return the seconds to wait after so many failed attempts, when the server does not say."""
        longest = min(self.longest_wait, self.first_wait * 2.0 ** (attempt - 1))
        return float(longest * (1 - self.random() / 2))

    def asked_wait(self, answer: Answer) -> float | None:
        """Return how many seconds the server asks to wait, None when it does not say."""
        for name in ("Retry-After", *self.wait_headers):
            if (seconds := asked_wait(answer.headers.get(name), now=answer.date)) is not None:
                return seconds
        if answer.status == 429:
            return reset_seconds(answer.headers, now=answer.date)
        return None


def reset_seconds(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """Read `RateLimit-Reset` and its kind: seconds from now, or seconds since 1970."""
    for name in ("RateLimit-Reset", "X-RateLimit-Reset", "X-Rate-Limit-Reset"):
        try:
            value = float(headers[name])
        except (KeyError, ValueError):
            continue
        if value >= _EPOCH_FROM:
            value -= (now or datetime.now(UTC)).timestamp()
        return max(0.0, value)
    return None


def exhausted_seconds(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """Return how long to leave the server alone when its headers say that nothing remains of the limit."""
    for name in ("RateLimit-Remaining", "X-RateLimit-Remaining", "X-Rate-Limit-Remaining"):
        if headers.get(name, "").strip() == "0":
            return reset_seconds(headers, now=now)
    return None
