"""Who reads while a table is being replaced sees the old table, whole, and then the new one."""

import random
import threading
from collections import Counter

import pytest

from . import lake
from .pipes import Kill, Pipe
from .sources import COLUMNS, Source

SEED = 20261121


def test_readers_see_a_complete_table_while_it_is_replaced(tmp_path, warm):
    """Runs that are killed half-way and runs that end, with somebody who reads all the time."""
    source = Source(tmp_path / "s.db", keyed=False, incremental=False, rng=random.Random(SEED), size=2000)
    tap = {**source.config, "batch_size": 100}
    pipe = Pipe(tmp_path / "pipe", tap, {"batch_size_rows": 100, "flush_seconds": 1}, launch=warm)
    pipe.run(load_method="overwrite").require()
    complete = [Counter(source.rows())]
    seen, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            seen.append(Counter(lake.query(pipe.warehouse, "rows", f"SELECT {COLUMNS} FROM t")))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        for whom in ("tap", "target", None):
            source.change()
            complete.append(Counter(source.rows()))
            pipe.state = {}
            kill = Kill(whom, 9, 1500, 0.0) if whom else None
            ran = pipe.run(load_method="overwrite", kill=kill)
            assert ran.killed == (whom is not None)
            assert ran.is_good == (whom is None)
    finally:
        stop.set()
        reader.join()
    places = [complete.index(rows) for rows in seen if rows in complete]
    assert len(places) == len(seen), (
        f"{len(seen) - len(places)} of {len(seen)} looks found a table that never was"
    )
    assert set(places) <= {0, len(complete) - 1}, "a run that was killed has left its rows"
    assert len(seen) >= 5
    assert Counter(lake.query(pipe.warehouse, "rows", f"SELECT {COLUMNS} FROM t")) == complete[-1]


@pytest.mark.parametrize("keyed", [True, False], ids=["with keys", "without keys"])
def test_a_full_read_that_finds_nothing_new_makes_no_snapshot(tmp_path, keyed, warm):
    source = Source(tmp_path / "s.db", keyed=keyed, incremental=False, rng=random.Random(SEED), size=300)
    pipe = Pipe(tmp_path / "pipe", source.config, {}, launch=warm)
    pipe.run().require()
    before = lake.snapshots(pipe.warehouse, "rows")
    pipe.run().require()
    assert lake.snapshots(pipe.warehouse, "rows") == before
