"""What masks cost: the Arrow lane with 3 of the table's 12 columns masked, beside the same without masks.

The Arrow lane is what `meltano run` does with it. Beside it tap and loader alone, joined by a pipe: of that the masks
are a larger part.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from data import TABLE
from measure import Usage, pipe
from project import TAP, TARGET, meltano_run, warehouse
from report import Row, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from measure import Series

ARROW = {"batch_config": {"encoding": {"format": "arrow"}}}
KEY = "key of the benchmark"
PLAIN, MASKED, HASHED = "no masks", "3 columns masked", "3 columns hashed"
MASKS = {
    PLAIN: {},
    # An address that hardly repeats, a long text, a time: what people mask.
    MASKED: {"email": "hash", "note": "partial", "created_at": "year"},
    # The dearest: two columns of which no two values are equal, and one that repeats.
    HASHED: {"email": "hash", "customer_id": "hash", "status": "hash"},
}
WORDS = {
    MASKED: "an address hashed, a text partly hidden, a time cut to its year",
    HASHED: "three columns hashed, two of them all distinct",
}
MELTANO, PIPE = "`meltano run`", "tap and loader alone"
GOAL = 0.15


def sides(
    database: Path, settings: Callable[[str, Mapping[str, object]], Path]
) -> dict[str, Callable[[], Usage]]:
    """Return what is measured, by name: each set of masks through `meltano run` and through a pipe."""

    def run(masks: Mapping[str, str]) -> Usage:
        given = {"masks": json.dumps({TABLE: masks}), "mask_key": KEY}
        return meltano_run("tap-sqlite-arrow", database=database, settings=given)

    def load(masks: Mapping[str, str]) -> Usage:
        config = {"database": str(database), "masks": {TABLE: masks}, "mask_key": KEY, **ARROW}
        into = settings("target", {"warehouse": str(warehouse("masks"))})
        tap, target = pipe([TAP, "--config", settings("tap", config)], [TARGET, "--config", into])
        return Usage(target.wall, tap.cpu + target.cpu, tap.peak_mb + target.peak_mb)

    return {
        _side(way, name): lambda through=through, masks=masks: through(masks)  # type: ignore[misc]
        for way, through in ((MELTANO, run), (PIPE, load))
        for name, masks in MASKS.items()
    }


def _side(way: str, name: str) -> str:
    return f"{way}, {name}"


def lines(found: Mapping[str, Series], *, rows: int) -> list[Row]:
    """Whole walls, and how much longer each side is than the one without masks."""
    return [*_lines_of(MELTANO, found, rows=rows), *_lines_of(PIPE, found, rows=rows)]


def _lines_of(way: str, found: Mapping[str, Series], *, rows: int) -> Iterator[Row]:
    plain = found[_side(way, PLAIN)]
    yield Row(f"{way}, Arrow lane, {rows:,} rows, no masks", seconds(plain))
    for name, words in WORDS.items():
        masked = found[_side(way, name)]
        yield Row(words, seconds(masked))
        # Processor time is what counts on a machine that does other things as well.
        for what, more in (("longer by the clock", "best"), ("more processor time", "cpu")):
            share = getattr(masked, more) / getattr(plain, more) - 1
            has_goal = (way, name) == (MELTANO, MASKED)
            yield Row(what, f"{share:.1%}", *((f"≤ {GOAL:.0%}", share <= GOAL) if has_goal else ()))
        yield Row("processor time for the masks", f"{masked.cpu - plain.cpu:.2f} s")
