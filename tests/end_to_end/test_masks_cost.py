"""What three masked columns of twelve cost: a short form of the benchmark, in processor time, which other work changes little."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from icetap.testing.in_process import read
from tap_sqlite.tap import TapSQLite

if TYPE_CHECKING:
    from types import ModuleType

BENCH = Path(__file__).parents[2] / "bench"
ROWS = 60_000
MOST_MICROSECONDS = 1.8
"""Of a row; measured on 2026-11-22: 0.7 to 1.0, of which 0.5 are the hash of an address that hardly repeats."""

MOST_OF_THE_TAPS = 1.0
"""How many times what the tap takes to read a row and write it to a file."""

ATTEMPTS = 4


@pytest.fixture(scope="module")
def bench() -> dict[str, ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCH)
        return {name: importlib.import_module(name) for name in ("data", "masks")}


def test_masks_cost_a_row_few_microseconds(bench: dict[str, ModuleType], tmp_path: Path) -> None:
    database = tmp_path / "orders.db"
    bench["data"].build(database, ROWS)
    masks = bench["masks"]

    def seconds(side: str) -> float:
        config: dict[str, Any] = {
            "database": str(database),
            "masks": {bench["data"].TABLE: masks.MASKS[side]},
            "mask_key": "of a test of costs",
            "batch_config": {
                "encoding": {"format": "arrow"},
                "storage": {"root": str(tmp_path / str(time.monotonic_ns()))},
            },
        }
        start = time.process_time()
        run = read(TapSQLite(config=config))
        taken = time.process_time() - start
        assert sum(table.num_rows for table in run.tables().values()) == ROWS
        return taken

    plain, masked = (min(seconds(side) for _ in range(ATTEMPTS)) for side in (masks.PLAIN, masks.MASKED))

    cost = (masked - plain) / ROWS * 1e6
    assert cost <= MOST_MICROSECONDS, f"three masks cost a row {cost:.2f} microseconds of processor time"
    assert masked - plain <= MOST_OF_THE_TAPS * plain, f"{masked:.3f} s with masks, {plain:.3f} s without"
