"""Any sequence of loads, refusals, fixes, replays and kills ends in the table that a source without faults makes."""

from __future__ import annotations

import contextlib
import random

import pytest
from pyiceberg.exceptions import NoSuchTableError

from target_iceberg.contracts import refused_rows, replay
from target_iceberg.signals import Termination
from target_iceberg.tables import loaded_table

ID = {"id": {"type": "integer"}}
LONG = {"type": ["null", "integer"]}
TEXT = {"type": ["null", "string"]}
STEPS = 7


class Killed(BaseException):
    """Ends a replay as a signal would."""


class Story:
    """Rows with rising cursors; a text in `v` is refused while the SCHEMA says integer."""

    def __init__(self, lake, singer, *, seed: int, keys: list[str]) -> None:
        self.lake, self.singer, self.keys = lake, singer, keys
        self.random = random.Random(seed)
        self.cursor = 0
        self.sent: list[dict] = []

    def load(self, *rows, v=LONG) -> None:
        schema = self.singer.schema(properties={**ID, "v": v, "at": LONG}, keys=self.keys, cursor="at")
        start = [self.singer.state(s=self.singer.at(self.position, "at"))] if self.position else []
        rows = [self.singer.record(row) for row in rows]
        self.position = self.cursor
        self.lake.ok(*start, schema, rows, self.singer.state(s=self.singer.at(self.cursor, "at")))

    position = 0

    def new_rows(self) -> list[dict]:
        rows = []
        for _ in range(self.random.randint(1, 4)):
            self.cursor += 1
            value = f"text {self.cursor}" if self.random.random() < 0.5 else self.cursor
            rows.append({"id": self.random.randint(1, 4), "v": value, "at": self.cursor})
        self.sent += rows
        return rows

    def replay(self) -> None:
        replay.StreamReplay(
            self.lake.catalog,
            self.lake.config,
            self.lake.table(),
            pipeline="default",
            termination=Termination(),
        ).run()

    def killed_replay(self) -> None:
        left = self.random.randint(0, 3)
        is_made = self.random.random() < 0.5
        original = loaded_table.commit_change

        def commit(table, change, *, stage):
            nonlocal left
            left -= 1
            if left < 0 and not is_made:
                raise Killed
            landed = original(table, change, stage=stage)
            if left < 0:
                raise Killed
            return landed

        with pytest.MonkeyPatch.context() as patch:
            for module in (loaded_table, refused_rows, replay):
                patch.setattr(module, "commit_change", commit)
            with contextlib.suppress(Killed):
                self.replay()

    def tell(self) -> None:
        self.load(*self.new_rows())
        for _ in range(STEPS):
            step = self.random.choice(["load", "load", "fix", "replay", "killed"])
            if step == "load":
                self.load(*self.new_rows())
            elif step == "fix":
                self.load(v=TEXT)
            elif step == "replay":
                self.replay()
            else:
                self.killed_replay()
        self.load(v=TEXT)
        self.replay()

    def found(self) -> list[tuple]:
        rows = self.lake.table().scan().to_arrow().to_pylist()
        return sorted((row["at"], row["id"], row.get("v__string") or str(row["v"])) for row in rows)

    def expected(self) -> list[tuple]:
        rows = {row["id"]: row for row in self.sent}.values() if self.keys else self.sent
        return sorted((row["at"], row["id"], str(row["v"])) for row in rows)


@pytest.mark.parametrize("keys", [["id"], []], ids=["keys", "no-keys"])
@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 30))]
)
def test_nothing_is_lost_or_doubled_and_the_newest_row_of_a_key_stays(lake, singer, keys, seed):
    story = Story(lake, singer, seed=seed, keys=keys)
    story.tell()
    assert story.found() == story.expected()
    with contextlib.suppress(NoSuchTableError):  # a story may have refused nothing
        assert lake.table("s__rejected").scan().to_arrow().num_rows == 0
