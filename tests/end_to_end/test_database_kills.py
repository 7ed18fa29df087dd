"""A writer that changes PostgreSQL at random while the pipeline is killed again and again: the tables end up equal."""

import random
import uuid

import pytest

from .following import LANES, Following, in_both_lanes
from .pipes import BIN, Pipe
from .random_writer import RandomWriter

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
    print(f"seed {seed!r}")
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


def follow(*given, runs, **options):
    one = following(*given, **options)
    try:
        return one.follow(runs)
    finally:
        slot = one.pipe.tap["replication_slot_name"]
        one.writer.rows(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
            f"WHERE slot_name = '{slot}' AND active_pid IS NULL"
        )


def test_what_is_written_while_pipelines_are_killed_arrives(postgres_server, tmp_path, warm):
    def go(lane):
        seed = f"20261121 {lane}"
        return follow(postgres_server, tmp_path / lane, lane, seed=seed, truncates=False, launch=warm, runs=3)

    assert in_both_lanes(go) >= 2


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("round_number", range(2))
def test_what_is_written_during_100_runs_arrives(round_number, postgres_server, tmp_path, warm):
    def go(lane):
        seed = f"{random.SystemRandom().randrange(10**9)} {lane}"
        return follow(postgres_server, tmp_path / lane, lane, seed=seed, truncates=True, launch=warm, runs=50)

    assert in_both_lanes(go) >= 30
