"""Random sequences of changes, full reads, crashes and reruns: each load method against a plain model of it."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from target_iceberg.tables import loaded_table as module

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
KEYS = range(7)
ROUNDS = 8
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 30))]


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the loader handles it."""


@pytest.fixture
def crash(monkeypatch):
    """Sets when a run ends: before or after one of its commits."""
    plan: dict = {}
    original = module.commit_change

    def commit(table, change, *, stage):
        if plan:
            plan["in"] -= 1
            if plan["in"] == 0:
                after = plan["after"]
                plan.clear()
                if after:
                    original(table, change, stage=stage)
                raise Killed
        return original(table, change, stage=stage)

    monkeypatch.setattr(module, "commit_change", commit)
    return plan


def run(lake, rng, plan, messages, *, may_crash, **config):
    """Load, or be killed on the way; return whether the run ended by itself."""
    plan.clear()
    if may_crash:
        plan.update({"in": rng.randint(1, 3), "after": rng.random() < 0.5})
    try:
        lake.ok(*messages, batch_size_rows=rng.choice([1, 3, 1000]), **config)
    except Killed:
        return False
    finally:
        plan.clear()
    return not may_crash


def moment(number):
    return (EPOCH + timedelta(hours=number)).isoformat()


def stored(lake):
    return lake.table().scan().to_arrow().to_pylist()


def changed(rng, rows, number):
    """Some keys get other values, some go, some come."""
    for key in rng.sample(list(KEYS), rng.randint(0, 4)):
        if rng.random() < 0.3:
            rows.pop(key, None)
        else:
            rows[key] = {"id": key, "name": rng.choice(["a", "b", f"c{number}"])}


# --- full reads ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["copy-on-write", "merge-on-read"])
@pytest.mark.parametrize("delete_mode", ["hard", "soft"])
@pytest.mark.parametrize("seed", SEEDS)
def test_snapshot_diff_equals_the_source_after_each_complete_read(
    lake, singer, crash, delete_mode, mode, seed
):
    rng = random.Random(f"{seed} {delete_mode}")
    source: dict = {}
    sent: list[dict] = []
    seen: set = set()
    settings = {
        "load_method": "snapshot-diff",
        "delete_mode": delete_mode,
        "merge_mode": mode,
        "max_delete_ratio": 1,
    }
    for number in range(1, ROUNDS + 1):
        changed(rng, source, number)
        rows = rng.sample(list(source.values()), len(source))
        if not rows:
            continue
        messages = [
            singer.schema(),
            *[singer.record(row, version=number) for row in rows],
            *[singer.activate(number)],
        ]
        sent.append(dict(source))
        if not run(lake, rng, crash, messages, may_crash=rng.random() < 0.3, **settings):
            continue
        seen |= source.keys()
        found = stored(lake)
        ids = {row["id"] for row in found}
        assert len(ids) == len(found)
        assert ids == set(source) or (delete_mode == "soft" and ids >= seen)
        live = {row["id"]: row["name"] for row in found if row.get("_sdc_deleted_at") is None}
        assert live == {row["id"]: row["name"] for row in rows}
        gone = {row["id"]: row["name"] for row in found if row["id"] not in live}
        assert all(name in [one[key]["name"] for one in sent if key in one] for key, name in gone.items())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_history_of_full_reads_holds_every_state_of_the_source(lake, singer, crash, seed):
    rng, source = random.Random(seed), {}
    expected: dict = {key: [] for key in KEYS}
    for number in range(1, ROUNDS + 1):
        changed(rng, source, number)
        if not source:
            continue
        messages = [
            singer.schema(),
            *[singer.record(row, version=number) for row in source.values()],
            singer.activate(number),
        ]
        settings = {"load_method": "history", "max_delete_ratio": 1}
        while not run(lake, rng, crash, messages, may_crash=rng.random() < 0.3, **settings):
            pass
        for key in KEYS:
            state = source[key]["name"] if key in source else None
            if state != (expected[key][-1] if expected[key] else None):
                expected[key].append(state)
        assert sequences(stored(lake)) == {key: states for key, states in expected.items() if states}


def sequences(rows):
    """The states of each key in time; None where it did not exist."""
    found: dict = {}
    ends: dict = {}
    for row in sorted(rows, key=lambda one: one["_valid_from"]):
        key, start, end = row["id"], row["_valid_from"], row["_valid_to"]
        states = found.setdefault(key, [])
        if states:
            assert ends[key] is not None, "two versions are current"
            assert ends[key] <= start, "versions overlap"
            states += [None] if ends[key] < start else []
        assert row["_is_current"] == (end is None)
        states.append(row["name"])
        ends[key] = end
    return {key: states if ends[key] is None else [*states, None] for key, states in found.items()}


# --- logs of changes -----------------------------------------------------------------------------


class Log:
    """A source that remembers what it wrote; its tap sends everything from a position on."""

    def __init__(self, rng, *, states=0.4):
        self.rng = rng
        self.states = states
        self.events: list[dict] = []
        self.position = 0
        self.clock = 0
        self.alive: set = set()

    def write(self):
        for _ in range(self.rng.randint(1, 7)):
            self.clock += self.rng.choice([0, 1, 1, 5])
            key = self.rng.choice(list(KEYS))
            event = {"id": key, "at": self.clock, "lsn": len(self.events), "name": self.rng.choice("abc")}
            if key in self.alive and self.rng.random() < 0.25:
                self.alive.discard(key)
                event["gone"] = True
            else:
                self.alive.add(key)
            self.events.append(event)

    def late_row(self):
        """A row that should have come earlier."""
        self.events.append(
            {
                "id": self.rng.choice(list(KEYS)),
                "at": self.rng.randint(0, self.clock),
                "lsn": 0,
                "name": "late",
            }
        )

    def messages(self, singer, names, cursor):
        properties = {
            "id": {"type": "integer"},
            "name": {"type": ["null", "string"]},
            "at": {"type": ["null", "string"], "format": "date-time"},
            "lsn": {"type": ["null", "integer"]},
        }
        used = {name: properties[name] for name in names}
        out = [singer.state(s={"pos": self.position}), singer.schema(properties=used, cursor=cursor)]
        for number, event in enumerate(self.events[self.position :], self.position):
            row = {**event, "at": moment(event["at"])}
            if event.get("gone"):
                row |= {"name": None, "_sdc_deleted_at": moment(event["at"])}
            out.append(
                singer.record({name: row[name] for name in (*names, "_sdc_deleted_at") if name in row})
            )
            if self.rng.random() < self.states:
                out.append(singer.state(s={"pos": number + 1}))
        out.append(singer.state(s={"pos": len(self.events)}))
        return out


@pytest.mark.parametrize("seed", SEEDS)
def test_soft_deletes_keep_the_last_row_of_each_key(lake, singer, crash, seed):
    rng = random.Random(seed)
    log = Log(rng)
    for _ in range(ROUNDS):
        log.write()
        messages = log.messages(singer, ("id", "name"), None)
        settings = {"delete_mode": "soft", "load_method": "upsert"}
        if not run(lake, rng, crash, messages, may_crash=rng.random() < 0.4, **settings):
            continue
        log.position = len(log.events)
        expected: dict = {}
        for event in log.events:
            name = event["name"] if "gone" not in event else expected[event["id"]][0]
            expected[event["id"]] = (name, event["at"] if "gone" in event else None)
        found = {row["id"]: (row["name"], row["_sdc_deleted_at"]) for row in stored(lake)}
        assert found == {
            key: (name, None if at is None else EPOCH + timedelta(hours=at))
            for key, (name, at) in expected.items()
        }


@pytest.mark.parametrize("seed", SEEDS)
def test_a_history_by_time_is_that_of_all_events_whatever_their_order(lake, singer, crash, seed):
    rng = random.Random(seed)
    log = Log(rng)
    for _ in range(ROUNDS):
        log.write()
        log.late_row()
        messages = log.messages(singer, ("id", "name", "at"), "at")
        if not run(lake, rng, crash, messages, may_crash=rng.random() < 0.4, load_method="history"):
            continue
        log.position = len(log.events)
        found = {
            (row["id"], row["_valid_from"]): (row["name"], row["_valid_to"], row["_is_current"])
            for row in stored(lake)
        }
        assert found == timeline(log.events)


def timeline(events):
    rows: dict = {}
    points: dict = {}
    ended = set()
    for event in events:
        place = event["id"], event["at"]
        points.setdefault(event["id"], set()).add(event["at"])
        if "gone" in event:
            ended.add(place)
        else:
            rows[place] = event["name"]
            ended.discard(place)
    out = {}
    for (key, at), name in rows.items():
        after = [at] if (key, at) in ended else [one for one in points[key] if one > at]
        end = EPOCH + timedelta(hours=min(after)) if after else None
        out[key, EPOCH + timedelta(hours=at)] = (name, end, end is None)
    return out


@pytest.mark.parametrize("seed", SEEDS)
def test_a_history_by_number_holds_each_change_once(lake, singer, crash, seed):
    rng = random.Random(seed)
    log = Log(rng)
    for _ in range(ROUNDS):
        log.write()
        messages = log.messages(singer, ("id", "name", "lsn"), "lsn")
        if not run(lake, rng, crash, messages, may_crash=rng.random() < 0.4, load_method="history"):
            continue
        log.position = max(0, len(log.events) - rng.randint(0, 2))  # inclusive: the last ones come again
        expected: dict = {}
        for event in log.events:
            expected.setdefault(event["id"], []).append(None if "gone" in event else event["name"])
        assert sequences(stored(lake)) == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_a_history_by_arrival_holds_each_change_once_when_the_tap_says_where_it_began(
    lake, singer, crash, seed
):
    rng = random.Random(seed)
    log = Log(rng, states=1)
    for _ in range(ROUNDS):
        log.write()
        messages = log.messages(singer, ("id", "name"), None)
        if not run(lake, rng, crash, messages, may_crash=rng.random() < 0.5, load_method="history"):
            continue
        log.position = len(log.events)
        expected: dict = {}
        for event in log.events:
            states = expected.setdefault(event["id"], [])
            name = None if "gone" in event else event["name"]
            if not states or states[-1] != name:
                states.append(name)
        assert sequences(stored(lake)) == expected
