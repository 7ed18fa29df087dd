"""Runs are decoded in threads while the reader reads on; they are handed on in order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from icetap.errors import DataError
from target_iceberg.decoding.reader import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from target_iceberg.decoding.reader import Message, Tick

RUNS_AHEAD = 4
"""Runs that are being decoded while one is staged; 2 MB of lines each, and its columns."""


def in_advance(
    items: Iterable[Run | Message | Tick], begin: Callable[[Run], None]
) -> Iterator[Run | Message | Tick]:
    """Yield the items in their order, and call `begin` with each run up to `RUNS_AHEAD` runs earlier.

    A run never waits for a message: before that, and before a `Tick`, all that wait are yielded.

    Raises:
        DataError: From `items`; everything before it has been yielded by then.
    """
    waiting: deque[Run] = deque()
    try:
        for item in items:
            if isinstance(item, Run):
                begin(item)
                waiting.append(item)
                if len(waiting) > RUNS_AHEAD:
                    yield waiting.popleft()
            else:
                while waiting:
                    yield waiting.popleft()
                yield item
    except DataError:
        yield from waiting
        raise
    yield from waiting
