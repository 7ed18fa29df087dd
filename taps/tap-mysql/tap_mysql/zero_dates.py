"""Dates that no calendar has: 0000-00-00, 2024-00-10, 2017-02-31.

MySQL stores them as its SQL mode allows: https://dev.mysql.com/doc/refman/8.4/en/datetime.html (read 2026-11-21)
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from icetap.sql.dialect import Decoded

if TYPE_CHECKING:
    from collections.abc import Iterator

POLICIES = ("null", "epoch", "string", "error")


@dataclass(frozen=True, slots=True)
class ZeroDates:
    """What becomes of such values, and how many of them there were, by column.

    `null` and `epoch` put something in their place and count it; `error` refuses them; with `string` all
    dates of such columns are texts, so that none comes here.
    """

    policy: str
    _counts: Counter[str] = field(default_factory=Counter, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def applied(self, array: pa.Array, invalid: pa.Array, *, column: str) -> Decoded:
        """Return the column with something in place of its invalid values.

        Args:
            array: The values, with anything where `invalid` is true.
            invalid: Which of them no calendar has; false or null for NULLs.
            column: What the count goes under.
        """
        count = pc.sum(invalid).as_py() or 0
        if not count:
            return Decoded(array)
        invalid = pc.fill_null(invalid, False)
        if self.policy == "epoch":
            stand_in = pa.scalar(0, pa.int64()).cast(pa.timestamp("us")).cast(array.type)
            array = pc.if_else(invalid, stand_in, array)
        else:
            array = pc.if_else(invalid, None, array)
        if self.policy == "error":
            return Decoded(array, invalid)
        with self._lock:
            self._counts[column] += count
        return Decoded(array)

    def counted(self) -> Iterator[tuple[str, int]]:
        """Yield the columns that held such values, and how many."""
        yield from sorted(self._counts.items())
