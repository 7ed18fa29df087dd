"""A writer that changes PostgreSQL at random while the pipeline is killed again and again: the tables end up equal."""

import random
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from .following import LANES, Following
from .pipes import BIN, Pipe
from .random_writer import RandomWriter
from .warm import WarmCommands

STREAMS = {
    "public-rows": {"replication_method": "LOG_BASED"},
    "public-notes": {"replication_method": "LOG_BASED"},
    "public-marks": {
        "replication_method": "INCREMENTAL",
        "replication_key": "updated_at",
        "lookback_seconds": 20,
    },
}
SIZE = 300


def following(server, folder, lane, *, seed, truncates, launch):
    rng = random.Random(seed)
    name = server.new_database()
    writer = RandomWriter(server, name, seed=seed, size=SIZE, truncates=truncates)
    tap = {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "password": server.password,
        "database": name,
        "replication_slot_name": f"kills_{uuid.uuid4().hex[:12]}",
        "streams": STREAMS,
        "batch_size": rng.choice([50, 500]),
        **LANES[lane],
    }
    target = {
        "batch_size_rows": rng.choice([100, 1000]),
        "flush_seconds": 1,
        "max_delete_ratio": 1,
        "allow_empty_full_table": True,
    }
    pipe = Pipe(folder, tap, target, tap_command=[str(BIN / "tap-postgres")], launch=launch)
    return Following(pipe, writer, rng, lane == "record")


def followed(server, folder, lane, *, runs, seed, truncates, launch=subprocess.Popen):
    print(f"seed {seed!r}")
    one = following(server, folder, lane, seed=seed, truncates=truncates, launch=launch)
    one.writer.start()
    try:
        one.run_and_kill(runs)
        one.compare()
    finally:
        one.writer.settle()
        slot = one.pipe.tap["replication_slot_name"]
        one.writer.rows(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
            f"WHERE slot_name = '{slot}' AND active_pid IS NULL"
        )
    print(one.told("the tables equal the source"))
    return one.kills


def test_what_is_written_while_pipelines_are_killed_arrives(postgres_server, tmp_path, warm):
    def go(lane):
        seed = f"20261121 {lane}"
        return followed(
            postgres_server, tmp_path / lane, lane, runs=3, seed=seed, truncates=False, launch=warm[lane]
        )

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(go, LANES)) >= 2


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("round_number", range(2))
def test_what_is_written_during_100_runs_arrives(round_number, postgres_server, tmp_path):
    def go(lane):
        seed = f"{random.SystemRandom().randrange(10**9)} {lane}"
        with WarmCommands() as launch:
            return followed(
                postgres_server, tmp_path / lane, lane, runs=50, seed=seed, truncates=True, launch=launch
            )

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(go, LANES)) >= 30
