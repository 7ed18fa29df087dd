"""Whatever is killed, and when: after the next complete run the table equals the source, row by row."""

import random
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count

import pytest

from . import lake
from .pipes import Kill, Pipe
from .sources import CHANGES, COLUMNS, Source

LIVE = "WHERE _sdc_deleted_at IS NULL"
CURRENT = "WHERE _is_current"
BAD_VERSIONS = """
    SELECT * FROM (
        SELECT *, lead(_valid_from) OVER line AS next, lead((name, amount, seen_at)) OVER line AS next_values
        FROM t WINDOW line AS (PARTITION BY id ORDER BY _valid_from))
    WHERE _valid_to IS NULL AND next IS NOT NULL OR _valid_to > next OR _valid_to < _valid_from
    OR _valid_to = next AND (name, amount, seen_at) IS NOT DISTINCT FROM next_values"""
"""Versions that overlap, end before they begin, or equal the one that follows at once."""


@dataclass(frozen=True)
class Mode:
    """How a source is read and loaded, and which rows of the table must then equal it."""

    keyed: bool
    incremental: bool
    target: dict = field(default_factory=dict)
    rows: str = ""
    bad: str | None = None
    """A query that finds nothing, whenever it is asked."""
    begins_full: bool = True
    """Whether kills begin when the table has been loaded once."""


MODES = {
    "upsert": Mode(keyed=True, incremental=True, begins_full=False),
    "upsert, merge-on-read": Mode(keyed=True, incremental=True, target={"merge_mode": "merge-on-read"}),
    "append without keys": Mode(keyed=False, incremental=True, begins_full=False),
    "full reads with keys": Mode(keyed=True, incremental=False, begins_full=False),
    "full reads without keys": Mode(keyed=False, incremental=False, begins_full=False),
    "overwrite": Mode(keyed=False, incremental=False, target={"load_method": "overwrite"}),
    "snapshot-diff": Mode(
        keyed=True, incremental=False, target={"load_method": "snapshot-diff", "merge_mode": "merge-on-read"}
    ),
    "soft deletes": Mode(keyed=True, incremental=False, target={"delete_mode": "soft"}, rows=LIVE),
    "history": Mode(
        keyed=True, incremental=True, target={"load_method": "history"}, rows=CURRENT, bad=BAD_VERSIONS
    ),
    "history of full reads": Mode(
        keyed=True, incremental=False, target={"load_method": "history"}, rows=CURRENT, bad=BAD_VERSIONS
    ),
}
LANES = {"record": {}, "arrow": {"batch_config": {"encoding": {"format": "arrow"}}}}
KILLS = 3
"""In each chain of the short form: sixty in all."""
ROWS = 2500
SEED = 20261121


@dataclass
class Chain:
    """One pipeline that is killed again and again, its source changing in between."""

    source: Source
    pipe: Pipe
    mode: Mode
    rng: random.Random
    story: list[str] = field(default_factory=list)
    kills: int = 0

    def go(self, kills: int) -> int:
        """Kill this often, completing and comparing now and then; return the runs that were made."""
        if self.mode.begins_full:
            self.complete()
        for number in count(1):
            if self.kills >= kills:
                break
            assert number <= 3 * kills, f"most kills came too late: {self.story}"
            if self.source.incremental or self.rng.random() < 0.5:
                self.source.change()
                self.story.append("source changed")
            self.one_kill(is_first=number == 1 and not self.mode.begins_full)
            if self.rng.random() < 0.1:
                self.complete()
        self.complete()
        return number

    def one_kill(self, *, is_first: bool) -> None:
        """Run, kill, and keep the state that Meltano would have kept."""
        start = self.pipe.state
        lines, pace = 8, {"every": 1, "pause": 0.02}
        if self.lane_has_lines:
            lines, pace = CHANGES if self.source.incremental and not is_first else ROWS, {}
        line = self.rng.randrange(1, lines)
        if not self.source.incremental and self.lane_has_lines and self.rng.random() < 0.5:
            line = len(self.source.rows())  # full reads are committed behind their last row
        kill = Kill(
            self.rng.choice(["tap", "target", "target", "both"]),
            self.rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]),
            line,
            self.rng.choice([0, self.rng.random() * 0.05, self.rng.random() * 0.3]),
            **pace,
        )
        ran = self.pipe.run(kill=kill)
        if kill.whom == "both":
            # Lines that the loader printed while Meltano was being stopped may be lost.
            kept = self.rng.randrange(0, len(ran.states) + 1)
            self.pipe.state = [start, *ran.states][kept]
        self.kills += ran.killed
        self.story.append(
            f"{kill}: {'hit' if ran.killed else 'came too late'}, tap {ran.tap}, target {ran.target}, "
            f"{len(ran.states)} states, kept {self.pipe.state}"
        )

    @property
    def lane_has_lines(self):
        return "batch_config" not in self.pipe.tap

    def complete(self) -> None:
        """Run to the end, again where a full read was only resumed, and compare."""
        for _ in range(3):
            bookmark = self.pipe.state.get("bookmarks", {}).get("rows", {})
            ran = self.pipe.run()
            self.story.append(f"complete run from {bookmark}: tap {ran.tap}, target {ran.target}")
            assert ran.is_good, self.told(ran.log[-3000:])
            if "position" not in bookmark:
                break
        found = lake.query(self.pipe.warehouse, "rows", f"SELECT {COLUMNS} FROM t {self.mode.rows}")
        difference = lake.differences(self.source.rows(), found)
        assert not difference, self.told(difference)
        if self.mode.bad:
            bad = lake.query(self.pipe.warehouse, "rows", self.mode.bad)
            assert not bad, self.told(f"{len(bad)} versions do not fit, such as {bad[:3]}")

    def told(self, end: str) -> str:
        return "\n".join([*self.story, end])


def chain(folder, mode: str, lane: str, *, seed: str, launch=subprocess.Popen) -> Chain:
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    method = MODES[mode]
    path = folder / "source.db"
    source = Source(path, keyed=method.keyed, incremental=method.incremental, rng=rng, size=ROWS)
    tap = {**source.config, "batch_size": rng.choice([97, 250, 1000]), **LANES[lane]}
    target = {"batch_size_rows": rng.choice([200, 400, 800]), "flush_seconds": 1, **method.target}
    story = [f"seed {seed!r}, tap {tap}, target {target}"]
    return Chain(source, Pipe(folder, tap, target, launch=launch), method, rng, story)


@pytest.mark.parametrize("mode", MODES)
def test_no_row_is_lost_and_none_comes_twice(mode, tmp_path, warm):
    def go(lane):
        one = chain(tmp_path / lane, mode, lane, seed=f"{SEED} {mode} {lane}", launch=warm)
        one.go(KILLS)
        print(one.told("the table equals the source"))
        return one.kills

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(go, LANES)) >= 2 * KILLS


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("round_number", range(4))
@pytest.mark.parametrize("mode", MODES)
def test_no_row_is_lost_in_500_kills(mode, round_number, tmp_path):
    def go(lane):
        seed = f"{random.SystemRandom().randrange(10**9)} {mode} {lane}"
        print(f"seed {seed}")
        one = chain(tmp_path / lane, mode, lane, seed=seed)
        one.go(8)
        print(one.told("the table equals the source"))
        return one.kills

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(go, LANES)) >= 16
