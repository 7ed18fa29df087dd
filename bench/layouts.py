"""Loads into tables that are partitioned or sorted, beside the same load into a plain one."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
from data import TABLE
from project import warehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from measure import Usage

HEAD = ("table", "rows", "wall", "processor", "peak memory", "files", "a file in the middle")
FIRST_400_DAYS = "created_at < '2021-03-09'"
"""The days that the data has: 28 of each month."""

ONE_COMMIT = {"batch_size_mb": 100_000, "flush_seconds": 100_000}
LAYOUTS: Mapping[str, Mapping[str, object]] = {
    "plain": {},
    "partitioned by day": {"partition_by": ["day(created_at)"]},
    "partitioned by day and sorted": {"partition_by": ["day(created_at)"], "sort_by": ["email", "id"]},
    "sorted": {"sort_by": ["email", "id"]},
}


def measure(
    load: Callable[..., Usage], inputs: Mapping[str, Path], *, say: Callable[[str], None]
) -> list[tuple[str, ...]]:
    """Load each input once into each layout, in one commit.

    Args:
        load: Loads a file of messages into a fresh warehouse with these options.
        inputs: What the rows are, to their file of messages.
        say: Tells how far it is.

    Returns:
        The cells of `HEAD` for each load.
    """
    lines: list[tuple[str, ...]] = []
    for what, messages in inputs.items():
        for layout, options in LAYOUTS.items():
            usage = load(messages, into="layouts", **ONE_COMMIT, **options)
            say(f"{what}, {layout}: {usage.wall:.1f} s, {usage.peak_mb:.0f} MB")
            files = _data_files(warehouse("layouts", keep=True))
            rows = sum(pq.read_metadata(file).num_rows for file in files)
            sizes = [file.stat().st_size for file in files]
            lines.append(
                (
                    f"{layout} ({what})",
                    f"{rows:,}",
                    f"{usage.wall:.1f} s",
                    f"{usage.cpu:.1f} s",
                    f"{usage.peak_mb:.0f} MB",
                    f"{len(sizes):,}",
                    f"{median(sizes) / 1024:,.0f} KB",
                )
            )
    return lines


def _data_files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*.parquet") if TABLE in file.parts]
