"""A source that changes while it is read: what an incremental reader has to lose nothing of."""

from __future__ import annotations

import copy
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from icetap.testing.api.tables import Table, by_cursor

if TYPE_CHECKING:
    from icetap.testing.api.server import Call, FakeApi

PAGE = 5
LATE_SECONDS = 30
"""How far in the past the time of a change may lie when it becomes visible; a reader's lookback has to be longer."""

_CHANGES, _ADDITIONS = 0.4, 0.3


class MovingSource:
    """Records (`id`, `at`, `created`, `n`) at `GET /things`; every other request finds some of them changed.

    Times are equal, late, and of a clock of their own. Changed records move to other pages. Most records never change
    again, so that what a run misses of them stays missed.

    Args:
        api: The server.
        seed: Of what happens.
        style: `page` sorts by `at` (parameters `page`, `since`), `cursor` newest first (`after`, `since`; `has_more`).
    """

    def __init__(self, api: FakeApi, seed: int, *, style: Literal["page", "cursor"], size: int = 60) -> None:
        self.rng = random.Random(seed)  # noqa: S311 -- a game, no secret
        self.style = style
        self.is_still = False
        self._clock = datetime(2026, 1, 1, tzinfo=UTC)
        self._next_id = 0
        self.table = Table(order="at" if style == "page" else "-created")
        for _ in range(size):
            # Far apart, so that no lookback brings back what a moved page has hidden.
            self._clock += timedelta(minutes=10)
            self.add()
        api.route("GET", "/things", self._answer)

    def _tick(self) -> str:
        """A new time, often the same as before, sometimes a late one."""
        self._clock += timedelta(seconds=self.rng.choice([0, 0, 1, 7]))
        late = self.rng.choice([0, 0, 0, LATE_SECONDS])
        return (self._clock - timedelta(seconds=late)).isoformat().replace("+00:00", "Z")

    def add(self) -> None:
        """Add a record."""
        self._next_id += 1
        self.table.put({"id": self._next_id, "at": self._tick(), "created": self._next_id, "n": 0})

    def change(self) -> None:
        """Change some records, and sometimes add one."""
        for _ in range(self.rng.randrange(3)):
            row = self.table.records[self.rng.randrange(3, self._next_id + 1, 3)]
            self.table.put({**row, "at": self._tick(), "n": row["n"] + 1})
        if self.rng.random() < _ADDITIONS:
            self.add()

    def _answer(self, call: Call) -> dict[str, Any]:
        keep = self.table.since(call, param="since", field="at")
        reply: dict[str, Any]
        if self.style == "page":
            reply = {"data": copy.deepcopy(self.table.page(int(call.param("page")), PAGE, keep))}
        else:
            found, more = by_cursor(self.table.rows(keep), after=call.param("after") or None, size=PAGE)
            reply = {"data": copy.deepcopy(found), "has_more": more}
        if not self.is_still and self.rng.random() < _CHANGES:
            self.change()
        return reply
