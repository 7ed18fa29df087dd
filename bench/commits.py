"""What a commit costs as history grows: many small loads into one table, with `maintain` now and then, and without.

python bench/commits.py                1,000 commits each way (about 10 minutes); writes bench/README.md
python bench/commits.py --commits 200  fewer; the README is left alone
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from icetap.catalogs import open_catalog
from target_iceberg.target import TargetIceberg
from target_iceberg.upkeep.maintenance import Maintenance, MaintenanceOptions, counts

if TYPE_CHECKING:
    from collections.abc import Callable

COMMITS, EVERY = 1_000, 100
KEYS, CHANGED = 20_000, 100
KEPT = 10  # snapshots

SCHEMA = {
    "type": "SCHEMA",
    "stream": "orders",
    "schema": {
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "customer": {"type": ["string", "null"]},
            "amount": {"type": ["number", "null"]},
            "updated_at": {"type": ["string", "null"], "format": "date-time"},
        },
    },
    "key_properties": ["id"],
    "bookmark_properties": ["updated_at"],
}


@dataclass
class Course:
    """How a table fared.

    Attributes:
        wall, processor: Seconds of each commit, the whole run of the loader around it.
        upkeep: Seconds of each `maintain`.
        counts: What the table had after the last commit.
    """

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    upkeep: list[float] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def first(self) -> float:
        """Return the processor's seconds of the middle one of the first ten, the table's creation not counted."""
        return statistics.median(self.processor[1:11])

    def last(self) -> float:
        """Return those of the middle one of the last ten."""
        return statistics.median(self.processor[-10:])

    @property
    def growth(self) -> float:
        """How many times the first ten the last ten cost."""
        return self.last() / self.first()


def rows_of(number: int) -> list[dict[str, object]]:
    """Return the rows of a commit: first the whole table, then some of its keys, so that its size stays."""
    chance = random.Random(number)
    keys = range(KEYS) if number == 0 else sorted(chance.sample(range(KEYS), CHANGED))
    moment = f"2026-01-01T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z"
    return [
        {"id": key, "customer": f"customer {key % 997}", "amount": number + key / 4, "updated_at": moment}
        for key in keys
    ]


def messages(number: int) -> bytes:
    """Return a run's messages."""
    records = [{"type": "RECORD", "stream": "orders", "record": row} for row in rows_of(number)]
    bookmark = {"replication_key": "updated_at", "replication_key_value": records[-1]["record"]["updated_at"]}  # type: ignore[index]
    state = {"type": "STATE", "value": {"bookmarks": {"orders": bookmark}}}
    return "".join(f"{json.dumps(one)}\n" for one in [SCHEMA, *records, state]).encode()


def course(
    folder: Path, commits: int, *, maintain_every: int | None, watch: Callable[[int], None] = lambda _: None
) -> Course:
    """Make so many commits into a new table in a folder; `watch` is told after each how many there are."""
    config = {"warehouse": str(folder / "warehouse")}
    found = Course()
    source = folder / "input.jsonl"
    for number in range(commits):
        source.write_bytes(messages(number))
        target = TargetIceberg(config=config, parse_env_config=False)
        wall, processor = time.perf_counter(), time.process_time()
        with (
            source.open() as lines,
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            target.load(lines)
        found.wall.append(time.perf_counter() - wall)
        found.processor.append(time.process_time() - processor)
        watch(number + 1)
        if maintain_every and (number + 1) % maintain_every == 0 and number + 1 < commits:
            began = time.perf_counter()
            options = MaintenanceOptions(expire_days=0, keep_snapshots=KEPT)
            report = Maintenance(open_catalog(config), config, options).of(
                target.catalog.load_table("raw.orders")
            )
            if report.failure:
                raise RuntimeError(report.failure)
            found.upkeep.append(time.perf_counter() - began)
    found.counts = counts(target.catalog.load_table("raw.orders"))
    return found


def compared(commits: int, every: int) -> dict[str, Course]:
    """Run both courses, each in a folder that is removed afterwards."""
    found = {}
    for name, maintain_every in ((f"`maintain` every {every}", every), ("never maintained", None)):
        with tempfile.TemporaryDirectory(prefix="icetap-commits-") as folder:
            before = Path.cwd()
            os.chdir(folder)
            try:
                found[name] = course(Path(folder), commits, maintain_every=maintain_every)
            finally:
                os.chdir(before)
    return found


def main() -> None:
    """Measure, print, and keep what a full run has found."""
    from measure import environment_line
    from report import Row, keep, table

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--commits", type=int, default=COMMITS)
    parser.add_argument("--every", type=int, default=EVERY)
    options = parser.parse_args()
    environment = environment_line()
    rows = []
    for name, found in compared(options.commits, options.every).items():
        rows += [
            Row(
                f"{name}: a commit, first ten",
                f"{1000 * found.first():.0f} ms of processor, {1000 * statistics.median(found.wall[1:11]):.0f} ms",
            ),
            Row(
                f"{name}: the last ten of {options.commits:,}",
                f"{1000 * found.last():.0f} ms of processor, {1000 * statistics.median(found.wall[-10:]):.0f} ms",
            ),
            Row(
                f"{name}: last to first",
                f"{found.growth:.2f}",
                "≤ 1.5" if found.upkeep else "",
                found.growth <= 1.5 if found.upkeep else None,
            ),
            Row(
                f"{name}: the table at the end",
                ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in found.counts.items()),
            ),
        ]
        if found.upkeep:
            rows.append(Row("one `maintain`", f"{statistics.fmean(found.upkeep):.2f} s on average"))
    sys.stdout.write(f"{table(rows)}\n{environment}\n")
    if (options.commits, options.every) == (COMMITS, EVERY):
        keep("commits", rows, environment=environment)


if __name__ == "__main__":
    main()
