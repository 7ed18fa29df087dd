"""Memory does not grow with the table: peaks of tap and loader at two sizes, in both lanes."""

import functools
import json
import sqlite3
from contextlib import closing

import pytest

from .pipes import BIN, Pipe, measured

LIMIT_MB = 512
GROWTH = 1.15
SIZES = [
    # What is held at once is small too, so that the smaller table fills it.
    pytest.param((40_000, 160_000), {"batch_size": 5_000}, {"batch_size_rows": 10_000}, id="short"),
    pytest.param((200_000, 700_000), {}, {}, id="long", marks=pytest.mark.soak),
]
COLUMNS = (
    "id INTEGER PRIMARY KEY, customer TEXT, country TEXT, amount REAL, tax REAL, quantity INTEGER, paid BOOLEAN, "
    "day DATE, created_at TIMESTAMP, updated_at TIMESTAMP, note TEXT, reference TEXT"
)
ROW = (
    "i, 'customer ' || (i % 9973), substr('DEFRITESPTNL', 1 + 2 * (i % 6), 2), i / 7.0, i / 97.0, i % 13, i % 2, "
    "date(1600000000 + i, 'unixepoch'), datetime(1600000000 + i, 'unixepoch'), datetime(1600000100 + i, 'unixepoch'), "
    "CASE WHEN i % 3 THEN 'a note on order ' || i END, hex(i * 2654435761)"
)


@pytest.fixture(scope="module")
def database_of(tmp_path_factory):
    """Make a database with so many orders, once."""
    folder = tmp_path_factory.mktemp("memory")

    @functools.cache
    def make(size):
        path = folder / f"{size}.db"
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode = OFF")
            database.execute(f"CREATE TABLE orders ({COLUMNS})")
            series = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?)"
            database.execute(f"INSERT INTO orders {series} SELECT {ROW} FROM n", (size,))
            database.commit()
        return path

    yield make
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize("lane", ["record", "arrow"])
@pytest.mark.parametrize(("sizes", "tap", "target"), SIZES)
def test_memory_does_not_grow_with_the_table(database_of, tmp_path, lane, sizes, tap, target):
    peaks = {}
    for size in sizes:
        folder = tmp_path / str(size)
        batch = {"batch_config": {"encoding": {"format": "arrow"}}} if lane == "arrow" else {}
        config = {"database": str(database_of(size)), **tap, **batch}
        pipe = Pipe(folder, config, dict(target), target_command=["target-iceberg"])
        pipe.tap_command, pipe.target_command = (
            measured([str(BIN / "tap-sqlite")], into=folder / "tap-sqlite.peak"),
            measured([str(BIN / "target-iceberg")], into=folder / "target-iceberg.peak"),
        )
        pipe.target["report_path"] = str(folder / "report.json")
        pipe.run().require()
        (report,) = json.loads((folder / "report.json").read_text())["streams"]
        assert report["rows_inserted"] == size
        peaks[size] = [
            int((folder / f"{name}.peak").read_text()) for name in ("tap-sqlite", "target-iceberg")
        ]
    print(f"peaks in MB of tap and loader: {peaks}")
    small, large = peaks.values()
    assert max(large) < LIMIT_MB, peaks
    assert all(most <= GROWTH * least for least, most in zip(small, large, strict=True)), peaks
