"""One budget of memory for all rows that wait, whatever stream and stage they belong to."""

from __future__ import annotations

import weakref
from typing import Protocol


class Holder(Protocol):
    """Something that holds rows in memory and can let them go to disk."""

    @property
    def held_bytes(self) -> int:
        """Bytes of rows in memory now."""

    def spill(self) -> None:
        """Let them go to disk."""


def keep_within(most_bytes: int, holder: Holder, *, budget: MemoryBudget | None) -> None:
    """Have a holder that has taken rows keep to its own bound, and all holders together to theirs."""
    if holder.held_bytes >= most_bytes:
        holder.spill()
    elif budget is not None:
        budget.settle()


class MemoryBudget:
    """Has the largest holder let go when all together hold too much."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._holders: weakref.WeakSet[Holder] = weakref.WeakSet()

    def join(self, holder: Holder) -> None:
        """Count what this holder holds, for as long as it lives."""
        self._holders.add(holder)

    def settle(self) -> None:
        """Bring what is held below the limit; called by holders that have taken rows."""
        while sum(holder.held_bytes for holder in self._holders) > self._limit_bytes:
            largest = max(self._holders, key=lambda holder: holder.held_bytes)
            before = largest.held_bytes
            largest.spill()
            if largest.held_bytes >= before:
                return
