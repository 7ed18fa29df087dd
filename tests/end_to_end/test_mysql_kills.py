"""A writer that changes MariaDB at random while the pipeline is killed again and again: the tables end up equal."""

import random

import pytest

from .following import LANES, Following, in_both_lanes
from .pipes import BIN, Pipe
from .random_mysql_writer import RandomMySQLWriter

pytestmark = pytest.mark.servers

METHODS = {
    "rows": {"replication_method": "LOG_BASED"},
    "notes": {"replication_method": "LOG_BASED"},
    "marks": {
        "replication_method": "INCREMENTAL",
        "replication_key": "updated_at",
        "lookback_seconds": 20,
    },
}
SIZE = 300


def following(server, folder, lane, *, seed, truncates, launch):
    print(f"seed {seed!r}")
    rng = random.Random(seed)
    name = server.new_database()
    writer = RandomMySQLWriter(server, name, seed=seed, size=SIZE, truncates=truncates)
    tap = {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "password": server.password,
        "database": name,
        "server_id": rng.randrange(10**6, 10**9),
        "log_position": rng.choice(["gtid", "file"]),
        "streams": {
            f"{name}-{table}": {**method, "stream_name": f"public-{table}"}
            for table, method in METHODS.items()
        },
        "batch_size": rng.choice([50, 500]),
        **LANES[lane],
    }
    target = {
        "batch_size_rows": rng.choice([100, 1000]),
        "flush_seconds": 1,
        "max_delete_ratio": 1,
        "allow_empty_full_table": True,
    }
    pipe = Pipe(folder, tap, target, tap_command=[str(BIN / "tap-mysql")], launch=launch)
    return Following(pipe, writer, rng, lane == "record")


def test_what_is_written_while_pipelines_are_killed_arrives(mariadb_server, tmp_path, warm):
    def go(lane):
        seed = f"20261121 mysql {lane}"
        return following(
            mariadb_server, tmp_path / lane, lane, seed=seed, truncates=False, launch=warm
        ).follow(3)

    assert in_both_lanes(go) >= 2


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("round_number", range(2))
def test_what_is_written_during_100_runs_arrives(round_number, mariadb_server, tmp_path, warm):
    def go(lane):
        seed = f"{random.SystemRandom().randrange(10**9)} {lane}"
        return following(
            mariadb_server, tmp_path / lane, lane, seed=seed, truncates=True, launch=warm
        ).follow(50)

    assert in_both_lanes(go) >= 30
