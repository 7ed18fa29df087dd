"""Random histories with crashes: after the next complete run the table equals a plain model of it."""

from __future__ import annotations

import collections
import json
import random

import pytest

from target_iceberg import target as target_module
from target_iceberg.tables import loaded_table as module

RUNS = 25
"""In each of four histories; each run follows one to six writes: 350 random operations in all."""
GONE = "2024-01-01T00:00:00Z"


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the loader handles it."""


class Crashes:
    """Ends a run before or after a commit of the catalog, or not at all."""

    def __init__(self, monkeypatch):
        self.plan = None
        self._original = module.commit_change
        monkeypatch.setattr(module, "commit_change", self._commit)

    def _commit(self, table, change, *, stage):
        if self.plan is not None:
            when, self.plan = self.plan[1], (self.plan[0] - 1, self.plan[1])
            if self.plan[0] == 0:
                self.plan = None
                if when == "after":
                    self._original(table, change, stage=stage)
                raise Killed
        return self._original(table, change, stage=stage)


class Source:
    """A source, its tap with a bookmark in the manner of the SDK, and Meltano's memory of the state."""

    def __init__(self, lake, singer, crashes, seed):
        self.lake, self.singer, self.crashes = lake, singer, crashes
        self.random = random.Random(seed)
        self.clock = 0
        self.rows = []  # (cursor, row): the log of what the source wrote
        self.bookmark = None
        self.reader = None

    def run(self, body, *, crash, cut, keys, **config):
        """Load messages; `cut` drops the end of the tap's output, as when the tap was killed."""
        singer = self.singer
        start = [] if self.bookmark is None else [singer.state(s=singer.at(self.bookmark, "at"))]
        if self.bookmark is None and self.random.random() < 0.5:
            start = [singer.state()]
        properties = {"id": {"type": "integer"}, "at": {"type": "integer"}, "v": {"type": "integer"}}
        head = [*start, singer.schema(properties=properties, keys=keys, cursor="at")]
        if cut:
            body = body[: self.random.randrange(len(body) + 1)]
        self.crashes.plan = (
            (self.random.randint(1, 3), self.random.choice(["before", "after"])) if crash else None
        )
        lines = []
        original, target_module._emit = target_module._emit, lines.append
        try:
            outcome = self.lake.load([*head, *body], batch_size_rows=self.random.choice([1, 1000]), **config)
        except Killed:
            outcome = None
        finally:
            target_module._emit = original
            self.crashes.plan = None
        heard = lines if not crash else lines[: self.random.randrange(len(lines) + 1)]
        if heard:
            self.bookmark = json.loads(heard[-1])["bookmarks"]["s"]["replication_key_value"]
        return outcome


def write(source, keyed):
    """Some new rows; several share a cursor value, and a row may be written twice."""
    for _ in range(source.random.randint(1, 6)):
        source.clock += source.random.choice([0, 0, 1])
        row = {"id": source.random.randrange(12), "at": source.clock, "v": source.random.randrange(3)}
        if keyed and source.random.random() < 0.2:
            row = {"id": row["id"], "at": row["at"], "_sdc_deleted_at": GONE}
        source.rows.append(row)


def reading(source):
    """What the tap sends: every row at or after its bookmark, with STATE in between."""
    singer, low = source.singer, source.bookmark
    rows = [row for row in source.rows if low is None or row["at"] >= low]
    messages, last = [], low
    for row in rows:
        messages.append(singer.record(row))
        last = row["at"]
        if source.random.random() < 0.3:
            messages.append(singer.state(s=singer.at(last, "at")))
    if last is not None:
        messages.append(singer.state(s=singer.at(last, "at")))
    return messages


def table_rows(lake):
    return [tuple(sorted(row.items())) for row in lake.table().scan().to_arrow().to_pylist()]


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "key-less"])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 20))])
def test_the_table_equals_the_model_after_each_complete_run(lake, singer, monkeypatch, keyed, seed):
    crashes = Crashes(monkeypatch)
    source = Source(lake, singer, crashes, seed)
    complete = 0
    for number in range(RUNS):
        write(source, keyed)
        bad = source.random.random()
        outcome = source.run(
            reading(source), crash=bad < 0.35, cut=0.35 <= bad < 0.55, keys=["id"] if keyed else []
        )
        if outcome is not None and outcome.error is not None:
            raise outcome.error
        if bad >= 0.55:
            complete += 1
            if keyed:
                newest = {row["id"]: row for row in source.rows}
                expected = collections.Counter(
                    tuple(sorted(row.items())) for row in newest.values() if "v" in row
                )
            else:
                expected = collections.Counter(tuple(sorted(row.items())) for row in source.rows)
            assert collections.Counter(table_rows(lake)) == expected, f"run {number}"
    assert complete > 5
