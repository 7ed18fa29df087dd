"""A plain API whose records change while they are read."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from icetap.testing.api.tables import Table, by_cursor
from icetap.testing.api.unrest import Unrest

if TYPE_CHECKING:
    from icetap.testing.api.server import Call, FakeApi

PAGE = 5
AHEAD = timedelta(hours=1)
"""How far the clock of some writers is ahead of the API's: a bookmark must not go there with them."""


class MovingSource:
    """Records (`id`, `at`, `created`, `n`) at `GET /things`, which change as `Unrest` says, and move to other pages.

    Most records never change again, so that what a run misses of them stays missed.

    Args:
        api: The server.
        seed: Of what happens.
        style: `page` sorts by `at` (parameters `page`, `since`), `cursor` newest first (`after`, `since`; `has_more`).
    """

    def __init__(self, api: FakeApi, seed: int, *, style: Literal["page", "cursor"], size: int = 60) -> None:
        self.style = style
        self.unrest = Unrest(api, seed, lambda _: self.change())
        self._next_id = 0
        self.table = Table(order="at" if style == "page" else "-created")
        for place in range(size):
            # Far apart, so that no lookback brings back what a moved page has hidden.
            self.add(before=timedelta(minutes=10) * (size - place))
        api.route("GET", "/things", self._answer)

    def _time(self, before: timedelta = timedelta()) -> str:
        ahead = AHEAD if not before and self.unrest.random.random() < 0.1 else timedelta()
        return (self.unrest.time() - before + ahead).isoformat().replace("+00:00", "Z")

    def add(self, *, before: timedelta = timedelta()) -> None:
        """Add a record, as if it had been a while ago."""
        self._next_id += 1
        self.table.put({"id": self._next_id, "at": self._time(before), "created": self._next_id, "n": 0})

    def change(self) -> None:
        """Change some records, and sometimes add one."""
        some = self.unrest.random
        for _ in range(some.randrange(3)):
            row = self.table.records[some.randrange(3, self._next_id + 1, 3)]
            self.table.put({**row, "at": self._time(), "n": row["n"] + 1})
        if some.random() < 0.3:
            self.add()

    def _answer(self, call: Call) -> dict[str, Any]:
        keep = self.table.since(call, param="since", field="at")
        if self.style == "page":
            return {"data": self.table.page(int(call.param("page")), PAGE, keep)}
        found, more = by_cursor(self.table.rows(keep), after=call.param("after") or None, size=PAGE)
        return {"data": found, "has_more": more}
