"""The memory of a tap and its loader is the same for five million rows of a server as for half of them."""

import json
import os
import subprocess

import pytest

from .pipes import BIN, measured

pytestmark = [pytest.mark.soak, pytest.mark.timeout(7200)]

SIZES = (2_500_000, 5_000_000)
"""Fewer do not fill what the loader's search for repeated keys may hold."""
LIMIT_MB = 512
GROWTH = 1.15
COLUMNS = """id BIGINT PRIMARY KEY, customer VARCHAR(30), country CHAR(2), amount DECIMAL(12,2), rate DOUBLE PRECISION,
    quantity INT, is_paid BOOLEAN, day DATE, created_at TIMESTAMP(6), reference CHAR(32), note TEXT, rating INT"""
ROWS = """INSERT INTO orders SELECT i, concat('customer ', i %% 9973), substr('DEFRITES', 1 + 2 * (i %% 4), 2), i / 7.0,
    i / 97.0, i %% 13, i %% 2 = 0, DATE '2024-03-01' + INTERVAL %(day)s DAY, TIMESTAMP '2024-03-01 01:00:00' + %(second)s,
    md5(concat(i, '')), CASE WHEN i %% 3 > 0 THEN concat('a note that was written on the order number ', i) END,
    CASE WHEN i %% 5 > 0 THEN i %% 6 END FROM %(numbers)s"""


def postgres_rows(size):
    numbers = f"generate_series(1, {size}) AS numbers(i)"
    return ROWS % {"day": "'1'", "second": "i * INTERVAL '1 second'", "numbers": numbers}


def mariadb_rows(size):
    numbers = f"(SELECT seq AS i FROM seq_1_to_{size}) AS numbers"
    return ROWS % {"day": "1", "second": "INTERVAL i SECOND", "numbers": numbers}


SERVERS = [
    pytest.param("postgres_server", "tap-postgres", postgres_rows, id="PostgreSQL"),
    pytest.param("mariadb_server", "tap-mysql", mariadb_rows, id="MariaDB", marks=pytest.mark.servers),
]


@pytest.mark.parametrize("lane", ["record", "arrow"])
@pytest.mark.parametrize(("fixture", "tap", "rows_of"), SERVERS)
def test_memory_is_flat_up_to_five_million_rows(fixture, tap, rows_of, lane, request, tmp_path):
    server = request.getfixturevalue(fixture)
    peaks = []
    for size in SIZES:
        database = server.new_database()
        for statement in (f"CREATE TABLE orders ({COLUMNS})", rows_of(size)):
            server.execute(database, statement)
        config = {
            "host": server.host,
            "port": server.port,
            "user": server.user,
            "password": server.password,
            "database": database,
        }
        peaks.append(peaks_of(tap, config, tmp_path / str(size), lane, rows=size))
        server.execute(database, "DROP TABLE orders")

    print(f"peaks in MB of tap and loader: {peaks}")
    small, large = peaks
    assert max(large) < LIMIT_MB, peaks
    assert all(most <= GROWTH * least for least, most in zip(small, large, strict=True)), peaks


def peaks_of(tap, config, folder, lane, *, rows):
    """Load everything into a new warehouse; return the most memory that tap and loader held, in megabytes."""
    folder.mkdir()
    if lane == "arrow":
        config["batch_config"] = {"encoding": {"format": "arrow"}}
    loader = {"warehouse": str(folder / "warehouse"), "report_path": str(folder / "report.json")}
    commands = [
        measured(
            [str(BIN / name), "--config", written(folder / f"{name}.json", settings)],
            into=folder / f"{name}.peak",
        )
        for name, settings in {tap: config, "target-iceberg": loader}.items()
    ]
    environ = {**os.environ, "LOGLEVEL": "WARNING", "MELTANO_PROJECT_ROOT": str(folder)}
    with subprocess.Popen(commands[0], stdout=subprocess.PIPE, env=environ) as source:
        subprocess.run(commands[1], stdin=source.stdout, stdout=subprocess.DEVNULL, env=environ, check=True)
    assert source.returncode == 0
    (report,) = json.loads((folder / "report.json").read_text())["streams"]
    assert report["rows_inserted"] == rows
    return [int((folder / f"{name}.peak").read_text()) for name in (tap, "target-iceberg")]


def written(path, settings):
    path.write_text(json.dumps(settings))
    return str(path)
