"""What goes wrong between a tap and an API, one trap at a time; each works whatever the vendor's shape is."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

from icetap.testing.api.server import Call, FakeApi, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

Spoiler = Callable[[FakeApi, Call, Reply], Reply]


@dataclass
class Trap:
    """Spoils some of the answers.

    `before` decides without asking the vendor's fake: nothing happens on its side. `after` changes its answer.
    """

    name: str
    spoil: Spoiler
    on: Sequence[int] = ()
    """The requests that are spoiled, counted from 1; none: each one when it comes for the first time."""

    is_before: bool = True
    always: bool = False
    spoiled: list[Call] = field(default_factory=list)
    _seen: set[object] = field(default_factory=set)

    def before(self, api: FakeApi, call: Call, number: int) -> Reply | None:
        """Return an answer in place of the fake's own, or None."""
        return self._spoiled(api, call, Reply(), number) if self.is_before else None

    def after(self, api: FakeApi, call: Call, reply: Reply, number: int) -> Reply:
        """Return the answer, changed or not."""
        return reply if self.is_before else self._spoiled(api, call, reply, number) or reply

    def _spoiled(self, api: FakeApi, call: Call, reply: Reply, number: int) -> Reply | None:
        if not self.always and not (number in self.on if self.on else self._is_new(call)):
            return None
        self.spoiled.append(call)
        return self.spoil(api, call, reply)

    def _is_new(self, call: Call) -> bool:
        asked = call.method, call.path, json.dumps(dict(call.params), sort_keys=True), call.body
        is_new = asked not in self._seen
        self._seen.add(asked)
        return is_new


HTML = b"<!DOCTYPE html><html><body><h1>We will be back soon</h1></body></html>"


def _status(status: int, **headers: str) -> Spoiler:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _api, _call, _reply: Reply({"message": "not now"}, status=status, headers=named)


def _until_a_date() -> Spoiler:
    """The first wait is one of a second; those that follow are over, so that a run of many requests does not take minutes."""
    wait = [timedelta(seconds=1)]

    def spoil(api: FakeApi, _call: Call, _reply: Reply) -> Reply:
        until = (api.now() + (wait.pop() if wait else timedelta())).replace(microsecond=0)
        return Reply(b"", status=429, headers={"Retry-After": format_datetime(until, usegmt=True)})

    return spoil


def _cut(_api: FakeApi, _call: Call, reply: Reply) -> Reply:
    return replace(reply, cut_after=max(1, len(reply.content) // 2))


def _html(_api: FakeApi, _call: Call, _reply: Reply) -> Reply:
    return Reply(HTML, media_type="text/html; charset=utf-8")


def _gzip(_api: FakeApi, _call: Call, reply: Reply) -> Reply:
    return replace(
        reply, body=gzip.compress(reply.content), headers={**reply.headers, "Content-Encoding": "gzip"}
    )


def _text(_api: FakeApi, _call: Call, reply: Reply) -> Reply:
    return replace(reply, media_type="text/plain")


def _slow(_api: FakeApi, _call: Call, reply: Reply) -> Reply:
    return replace(reply, delay=3.0)


def _half(_api: FakeApi, _call: Call, reply: Reply) -> Reply:
    """A proxy that ends the answer in the middle and says that it is all."""
    content = reply.content
    return replace(reply, body=content[: len(content) // 2])


TRAPS: dict[str, Callable[[], Trap]] = {
    "429 in seconds": lambda: Trap("429 in seconds", _status(429, Retry_After="0.01")),
    "429 with a date": lambda: Trap("429 with a date", _until_a_date()),
    "503 with a wait": lambda: Trap("503 with a wait", _status(503, Retry_After="0")),
    "500 in the middle": lambda: Trap("500 in the middle", _status(500)),
    "a cut answer": lambda: Trap("a cut answer", _cut, is_before=False),
    "half an answer": lambda: Trap("half an answer", _half, is_before=False),
    "an HTML page": lambda: Trap("an HTML page", _html),
    "gzip": lambda: Trap("gzip", _gzip, is_before=False, always=True),
    "another content type": lambda: Trap("another content type", _text, is_before=False, always=True),
    "a slow answer": lambda: Trap("a slow answer", _slow, on=(2,), is_before=False),
}
"""Traps from which a tap gets out by itself, with every record: each request falls into them once, of a slow answer one."""

PAGE_TRAPS = ("small pages", "rows that move", "an expired cursor", "an empty page in the middle")
"""What goes wrong with pages has the vendor's shape: a tap's sample sets these (`Sample.page_traps`)."""
