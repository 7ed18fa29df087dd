"""A writer that never stops, runs that are cut off: what arrives by change tracking is the table, in the end."""

from __future__ import annotations

import random
import threading

import pytest

LOG = {"streams": {"dbo-t": {"replication_method": "LOG_BASED"}}}
ON = "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON)"


class Loader:
    """What a loader makes of the messages: rows by key, those of other versions gone when a version is activated."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[int | None, dict]] = {}
        self.state: dict | None = None

    def load(self, messages, upto: int) -> None:
        for message in messages[:upto]:
            if message["type"] == "RECORD":
                given = message["record"]
                record = {name: value for name, value in given.items() if not name.startswith("_sdc_")}
                if given["_sdc_deleted_at"] is None:
                    self.rows[record["id"]] = (message.get("version"), record)
                else:
                    self.rows.pop(record["id"], None)
            elif message["type"] == "ACTIVATE_VERSION":
                self.rows = {key: row for key, row in self.rows.items() if row[0] == message["version"]}
            elif message["type"] == "STATE" and message["value"]:
                self.state = message["value"]


def statement(rng: random.Random) -> str:
    key, value = rng.randrange(60), rng.randrange(1000)
    moved = key + 1000 + value * 100
    return rng.choice(
        [
            f"INSERT INTO dbo.t SELECT {key}, {value} WHERE NOT EXISTS (SELECT 1 FROM dbo.t WHERE id = {key})",
            f"UPDATE dbo.t SET v = {value} WHERE id = {key}",
            f"UPDATE dbo.t SET v = {value} WHERE v < {value // 4}",
            f"DELETE FROM dbo.t WHERE id = {key}",
            f"UPDATE dbo.t SET id = {moved} WHERE id = {key} AND NOT EXISTS (SELECT 1 FROM dbo.t WHERE id = {moved})",
        ]
    )


def follow(database, sync, *, seed: int, rounds: int) -> None:
    rng = random.Random(seed)
    loader = Loader()
    for _ in range(rounds):
        stop = threading.Event()
        chosen = random.Random(rng.random())

        def write(stop=stop, chosen=chosen) -> None:
            while not stop.is_set():
                database.execute(statement(chosen))

        writer = threading.Thread(target=write)
        writer.start()
        try:
            messages = sync(database, state=loader.state, **LOG).messages
        finally:
            stop.set()
            writer.join()
        cut = rng.random() < 0.4
        loader.load(messages, rng.randrange(len(messages) + 1) if cut else len(messages))
        if rng.random() < 0.1:
            database.execute("TRUNCATE TABLE dbo.t")
    for _ in range(2):
        loader.load(sync(database, state=loader.state, **LOG).messages, 10**9)
    found = {key: row for key, (_, row) in loader.rows.items()}
    assert found == {record["id"]: record for record in sync(database).records()}


@pytest.fixture
def followed(database):
    database.execute(
        ON,
        "CREATE TABLE dbo.t (id int PRIMARY KEY, v int)",
        "ALTER TABLE dbo.t ENABLE CHANGE_TRACKING",
        "INSERT INTO dbo.t VALUES (1, 1), (2, 2), (3, 3)",
    )
    return database


@pytest.mark.parametrize("snapshots", [True, False], ids=["snapshots", "none"])
def test_what_arrives_is_the_table(followed, sync, snapshots):
    if not snapshots:
        followed.execute("ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION OFF")
    follow(followed, sync, seed=7 + snapshots, rounds=5)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_what_arrives_is_the_table_after_a_hundred_runs(followed, sync, seed):
    follow(followed, sync, seed=seed, rounds=100)


def test_a_run_that_waits_for_changes_ends_when_nothing_comes_any_more(followed, sync):
    first = sync(followed, **LOG)
    timer = threading.Timer(0.3, followed.execute, ["UPDATE dbo.t SET v = 9 WHERE id = 1"])
    timer.start()
    out = sync(followed, state=first.state, idle_exit_seconds=1, **LOG)
    timer.join()
    assert [(record["id"], record["v"]) for record in out.records()] == [(1, 9)]
