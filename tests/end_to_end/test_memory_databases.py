"""The memory of tap-postgres stays under a limit, and does not grow with the table, however slowly its rows are taken."""

import functools
import json
import os
import subprocess
import sys

import pytest

from .pipes import BIN, measured

LIMIT_MB = 400
GROWTH = 1.15
ROW_BYTES = 1_000
TAKER = """
import json, os, sys, time
for line in sys.stdin.buffer:
    if line.startswith(b'{"type":"BATCH"'):
        for url in json.loads(line)["manifest"]:
            time.sleep(float(sys.argv[1]))
            os.unlink(url.removeprefix("file://"))
"""


@pytest.fixture(scope="module")
def tables(postgres_server):
    """Make a table of so many megabytes, once; return the settings with which it is read."""
    server, made = postgres_server, []

    @functools.cache
    def make(megabytes):
        made.append(server.new_database())
        rows = megabytes * 1_000_000 // ROW_BYTES
        server.execute(made[-1], "CREATE TABLE wide (id int PRIMARY KEY, note text)")
        server.execute(
            made[-1],
            f"INSERT INTO wide SELECT g, repeat(md5(g::text), {ROW_BYTES // 32}) FROM generate_series(1, {rows}) AS g",
        )
        address = {"host": server.host, "port": server.port, "user": server.user}
        return {**address, "password": server.password, "database": made[-1]}

    yield make
    for database in made:
        server.execute("postgres", f"DROP DATABASE {database}")


@pytest.mark.parametrize("lane", ["record", "arrow"])
@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param((250,), id="250 MB"),
        # Smaller ones do not fill what may be read ahead.
        pytest.param((1_000, 2_500), id="2.5 GB", marks=pytest.mark.soak),
    ],
)
def test_memory_stays_under_its_limit(tables, tmp_path, lane, sizes):
    settings = {"batch_config": {"storage": {"root": str(tmp_path / "batches")}}} if lane == "arrow" else {}
    peaks = [_peak(tmp_path / str(size), {**tables(size), **settings}) for size in sizes]

    print(f"peaks in MB: {peaks}")
    assert max(peaks) < LIMIT_MB, peaks
    assert peaks[-1] <= GROWTH * peaks[0], peaks


def _peak(folder, config):
    """Read a table, and return the most memory that the tap held, in megabytes."""
    folder.mkdir()
    (folder / "tap.json").write_text(json.dumps(config))
    tap = measured([str(BIN / "tap-postgres"), "--config", str(folder / "tap.json")], into=folder / "peak")
    with (
        (folder / "log.txt").open("wb") as log,
        subprocess.Popen(
            tap, stdout=subprocess.PIPE, stderr=log, env={**os.environ, "LOGLEVEL": "WARNING"}
        ) as source,
    ):
        # In the Arrow lane the files wait to be taken, and the tap with them.
        subprocess.run([sys.executable, "-c", TAKER, "0.02"], stdin=source.stdout, check=True)
    assert source.returncode == 0, (folder / "log.txt").read_text()
    return int((folder / "peak").read_text())
