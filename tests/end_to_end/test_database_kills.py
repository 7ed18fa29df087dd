"""A writer that changes PostgreSQL at random while the pipeline is killed again and again: the tables end up equal."""

import random
import signal
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from . import lake
from .pipes import BIN, Kill, Pipe
from .random_writer import MARKS, NOTES, ROWS, RandomWriter

LANES = {"record": {}, "arrow": {"batch_config": {"encoding": {"format": "arrow"}}}}
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


@dataclass
class Following:
    """A pipeline that follows a database, and what was done to it."""

    pipe: Pipe
    writer: RandomWriter
    rng: random.Random
    is_record_lane: bool
    story: list[str] = field(default_factory=list)
    kills: int = 0

    def run_and_kill(self, runs: int) -> None:
        for _ in range(runs):
            start = self.pipe.state
            kill = Kill(
                self.rng.choice(["tap", "target", "both"]),
                self.rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]),
                self.rng.randrange(1, 400 if self.is_record_lane else 12),
                self.rng.choice([0, self.rng.random() * 0.05, self.rng.random() * 0.3]),
            )
            ran = self.pipe.run(kill=None if self.rng.random() < 0.2 else kill)
            if ran.killed and kill.whom == "both":
                kept = self.rng.randrange(0, len(ran.states) + 1)
                self.pipe.state = [start, *ran.states][kept]
            self.kills += ran.killed
            self.story.append(f"{kill}: hit {ran.killed}, tap {ran.tap}, target {ran.target}")
            assert ran.killed or ran.is_good, self.told(ran.log)

    def compare(self) -> None:
        """Let the pipeline come to its end, and compare row by row."""
        self.writer.settle()
        for _ in range(2):
            ran = self.pipe.run()
            assert ran.is_good, self.told(ran.log)
        for table, (source, loaded) in {"public_rows": ROWS, "public_marks": MARKS}.items():
            found = lake.query(self.pipe.warehouse, table, loaded)
            difference = lake.differences(self.writer.rows(source), found)
            assert not difference, self.told(f"{table}: {difference}")
        notes: Counter = Counter()
        for a, b, is_gone in lake.query(self.pipe.warehouse, "public_notes", NOTES[1]):
            notes[a, b] += -1 if is_gone else 1
        difference = lake.differences(self.writer.rows(NOTES[0]), list(notes.elements()))
        assert not difference, self.told(f"public_notes: {difference}")
        assert min(notes.values(), default=0) >= 0, self.told("more notes were deleted than were there")

    def told(self, end: str) -> str:
        return "\n".join([*self.story, f"{self.writer.statements} statements", end[-4000:]])


def following(server, folder, lane, *, seed, truncates):
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
    pipe = Pipe(folder, tap, target, tap_command=[str(BIN / "tap-postgres")])
    return Following(pipe, writer, rng, lane == "record")


def followed(server, folder, lane, *, runs, seed, truncates):
    print(f"seed {seed!r}")
    one = following(server, folder, lane, seed=seed, truncates=truncates)
    one.writer.start()
    try:
        one.run_and_kill(runs)
        one.compare()
    finally:
        one.writer.settle()
        slot = one.pipe.tap["replication_slot_name"]
        one.writer.rows(
            f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{slot}'"
        )
    print(one.told("the tables equal the source"))
    return one.kills


def test_what_is_written_while_pipelines_are_killed_arrives(postgres_server, tmp_path):
    def go(lane):
        return followed(
            postgres_server, tmp_path / lane, lane, runs=3, seed=f"20261121 {lane}", truncates=False
        )

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(go, LANES)) >= 2


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("round_number", range(2))
def test_what_is_written_during_100_runs_arrives(round_number, postgres_server, tmp_path):
    def go(lane):
        seed = f"{random.SystemRandom().randrange(10**9)} {lane}"
        return followed(postgres_server, tmp_path / lane, lane, runs=50, seed=seed, truncates=True)

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(go, LANES)) >= 30
