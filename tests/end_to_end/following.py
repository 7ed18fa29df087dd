"""A pipeline that follows a database, is killed again and again, and must end with the same rows."""

import random
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from . import lake
from .pipes import Kill, Pipe

LANES: dict[str, dict[str, Any]] = {
    "record": {},
    "arrow": {"batch_config": {"encoding": {"format": "arrow"}}},
}


class Writer(Protocol):
    """An application that changes three tables; each pair of queries tells the same rows there and in DuckDB."""

    ROWS: tuple[str, str]
    NOTES: tuple[str, str]
    MARKS: tuple[str, str]
    statements: int

    def start(self) -> None: ...

    def settle(self) -> None: ...

    def rows(self, query: str) -> list[tuple[Any, ...]]: ...


@dataclass
class Following:
    """A pipeline that follows a database, and what was done to it."""

    pipe: Pipe
    writer: Writer
    rng: random.Random
    is_record_lane: bool
    story: list[str] = field(default_factory=list)
    kills: int = 0

    def follow(self, runs: int) -> int:
        """Write, and kill runs; return how many were killed, once the tables equal the source."""
        self.writer.start()
        try:
            self.run_and_kill(runs)
            self.compare()
        finally:
            self.writer.settle()
        print(self.told("the tables equal the source"))
        return self.kills

    @property
    def tables(self) -> dict[str, tuple[str, str]]:
        return {"public_rows": self.writer.ROWS, "public_marks": self.writer.MARKS}

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
        for table, (source, loaded) in self.tables.items():
            found = lake.query(self.pipe.warehouse, table, loaded)
            difference = lake.differences(self.writer.rows(source), found)
            assert not difference, self.told(f"{table}: {difference}")
        notes: Counter = Counter()
        for a, b, is_gone in lake.query(self.pipe.warehouse, "public_notes", self.writer.NOTES[1]):
            notes[a, b] += -1 if is_gone else 1
        difference = lake.differences(self.writer.rows(self.writer.NOTES[0]), list(notes.elements()))
        assert not difference, self.told(f"public_notes: {difference}")
        assert min(notes.values(), default=0) >= 0, self.told("more notes were deleted than were there")

    def told(self, end: str) -> str:
        return "\n".join([*self.story, f"{self.writer.statements} statements", end[-4000:]])


def in_both_lanes(follow: Callable[[str], int]) -> int:
    """Follow in both lanes at once; return how many runs were killed."""
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(follow, LANES))
