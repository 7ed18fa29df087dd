"""What masks cost: the Arrow lane with 3 of the table's 12 columns masked, beside the same without masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data import TABLE
from measure import Usage, pipe
from project import TAP, TARGET, warehouse
from report import Row, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from measure import Series

ARROW = {"batch_config": {"encoding": {"format": "arrow"}}}
PLAIN, MASKED, HASHED = "no masks", "3 columns masked", "3 columns hashed"
MASKS = {
    PLAIN: {},
    # An address that hardly repeats, a long text, a time: what people mask.
    MASKED: {"email": "hash", "note": "partial", "created_at": "year"},
    # The dearest: two columns of which no two values are equal, and one that repeats.
    HASHED: {"email": "hash", "customer_id": "hash", "status": "hash"},
}
GOAL = 0.15


def sides(
    database: Path, settings: Callable[[str, Mapping[str, object]], Path]
) -> dict[str, Callable[[], Usage]]:
    """Return what is measured, by name: tap and loader, joined by a pipe."""

    def load(masks: Mapping[str, str]) -> Usage:
        config = {"database": str(database), "masks": {TABLE: masks}, "mask_key": "of the benchmark", **ARROW}
        into = settings("target", {"warehouse": str(warehouse("masks"))})
        tap, target = pipe([TAP, "--config", settings("tap", config)], [TARGET, "--config", into])
        return Usage(target.wall, tap.cpu + target.cpu, tap.peak_mb + target.peak_mb)

    return {name: lambda masks=masks: load(masks) for name, masks in MASKS.items()}  # type: ignore[misc]


def lines(found: Mapping[str, Series], *, rows: int) -> list[Row]:
    """Whole walls, and how much longer each side is than the one without masks."""
    plain, masked, hashed = (found[name] for name in (PLAIN, MASKED, HASHED))
    longer, dearer = (getattr(masked, what) / getattr(plain, what) - 1 for what in ("best", "cpu"))
    return [
        Row(f"Arrow lane, {rows:,} rows, no masks", seconds(plain)),
        Row("an address hashed, a text partly hidden, a time cut to its year", seconds(masked)),
        Row("longer by the clock", f"{longer:.1%}", f"≤ {GOAL:.0%}", longer <= GOAL),
        # What counts on a machine that does other things as well.
        Row("more processor time", f"{dearer:.1%}", f"≤ {GOAL:.0%}", dearer <= GOAL),
        Row("three columns hashed, two of them all distinct", seconds(hashed)),
        Row("longer by the clock", f"{hashed.best / plain.best - 1:.1%}"),
        Row("more processor time", f"{hashed.cpu / plain.cpu - 1:.1%}"),
        Row(
            "processor time for the masks",
            f"{masked.cpu - plain.cpu:.2f} s and {hashed.cpu - plain.cpu:.2f} s",
        ),
    ]
