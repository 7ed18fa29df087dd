"""The state is lost, older, of another pipeline; the table is rolled back; two runs meet."""

import json
import shutil
import sqlite3
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from . import lake
from .pipes import BIN, Pipe, run_processes
from .sources import execute, rows

STREAMS = {
    "orders": {"replication_method": "INCREMENTAL", "replication_key": "updated_at"},
    "clicks": {"replication_method": "INCREMENTAL", "replication_key": "moment"},
}
METADATA = {
    "orders": {"replication-method": "INCREMENTAL", "replication-key": "updated_at"},
    "clicks": {"replication-method": "INCREMENTAL", "replication-key": "moment"},
}
COLUMNS = {"orders": "id, customer, amount, CAST(updated_at AS VARCHAR)", "clicks": "moment, page"}
MISMATCH = 4


def add(database, moment):
    """Do what a shop does in a minute: an order changes, one comes, and somebody clicks, twice the same."""
    text = f"2024-01-01 00:{moment:02d}:00"
    execute(
        database,
        f"UPDATE orders SET amount = {moment}, updated_at = '{text}' WHERE id = {moment}",
        f"INSERT INTO orders SELECT max(id) + 1, 'new', 0, '{text}' FROM orders",
        f"INSERT INTO clicks VALUES ({1000 + moment}, 'page'), ({1000 + moment}, 'page')",
    )


def compare(warehouse, database):
    for table, columns in COLUMNS.items():
        found = lake.query(warehouse, table, f"SELECT {columns} FROM t")
        assert not lake.differences(rows(database, f"SELECT * FROM {table}"), found), table


@dataclass
class Shop:
    """A shop's database, its pipeline after three runs, and the state after each of them."""

    database: Path
    pipe: Pipe
    states: list

    def equals_source(self):
        compare(self.pipe.warehouse, self.database)

    def state_that_fits(self):
        done = subprocess.run(
            [BIN / "target-iceberg", "--config", self.pipe.folder / "target.json", "--read-state"],
            capture_output=True, check=True, timeout=60,
        )  # fmt: skip
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory, warm):
    """A shop that is made once; tables know where they are, so each test gets it back in the same place."""
    folder = tmp_path_factory.mktemp("shop")
    shop = folder / "shop"
    shop.mkdir()
    execute(
        shop / "shop.db",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, amount REAL, updated_at TIMESTAMP)",
        "CREATE TABLE clicks (moment INTEGER, page TEXT)",
        "INSERT INTO orders VALUES (1, 'a', 0, '2024-01-01 00:00:00'), (2, 'b', 0, '2024-01-01 00:00:00')",
        "INSERT INTO clicks VALUES (1, 'start'), (1, 'start'), (2, 'end')",
    )
    pipe = Pipe(shop / "pipe", {"database": str(shop / "shop.db"), "streams": STREAMS}, {}, launch=warm)
    states = []
    for number in (1, 2, 3):
        pipe.run().require()
        states.append(pipe.state)
        if number < 3:
            add(shop / "shop.db", number)
    shutil.copytree(shop, folder / "kept")
    return folder, pipe, states


@pytest.fixture
def shop(loaded):
    folder, pipe, states = loaded
    shutil.rmtree(folder / "shop")
    shutil.copytree(folder / "kept", folder / "shop")
    pipe.state = states[-1]
    add(folder / "shop" / "shop.db", 9)
    return Shop(folder / "shop" / "shop.db", pipe, states)


def test_a_state_of_the_run_before_takes_its_rows_back_and_loads_them_again(shop):
    shop.pipe.state = shop.states[1]
    shop.pipe.run().require()
    shop.equals_source()


@pytest.mark.parametrize("state", ["lost", "of two runs before", "of another pipeline"])
def test_without_keys_a_state_that_does_not_fit_stops_and_the_table_tells_the_one_that_does(shop, state):
    before = lake.snapshots(shop.pipe.warehouse, "clicks")
    other = {"replication_key": "moment", "replication_key_value": 77, "storage_class": "integer"}
    given = {
        "lost": {},
        "of two runs before": shop.states[0],
        "of another pipeline": {"bookmarks": {"clicks": other}},
    }
    shop.pipe.state = given[state]
    ran = shop.pipe.run()
    assert (ran.tap, ran.target) != (0, 0)
    assert ran.target == MISMATCH
    assert "--read-state" in ran.log
    assert lake.snapshots(shop.pipe.warehouse, "clicks") == before

    shop.pipe.state = shop.state_that_fits()
    assert shop.pipe.state["bookmarks"]["clicks"] == shop.states[-1]["bookmarks"]["clicks"]
    shop.pipe.run().require()
    shop.equals_source()


def test_an_owner_may_choose_to_go_back_further(shop):
    shop.pipe.state = {}
    shop.pipe.run(on_state_mismatch="rewind").require()
    shop.equals_source()


def test_with_keys_a_lost_state_changes_nothing_but_what_is_new(shop):
    shop.pipe.state = {"bookmarks": {"clicks": shop.states[-1]["bookmarks"]["clicks"]}}
    ran = shop.pipe.run().require()
    assert "5 rows read, 1 inserted, 4 unchanged" in ran.log
    shop.equals_source()


def test_a_table_that_was_rolled_back_by_hand_is_noticed_and_loads_again_from_its_own_state(shop):
    """The property still tells of the newer rows; the line of snapshots tells the truth."""
    for table in COLUMNS:
        _roll_back(shop.pipe.warehouse, table)
    ran = shop.pipe.run()
    assert ran.target == MISMATCH
    shop.pipe.state = shop.state_that_fits()
    assert shop.pipe.state == shop.states[1]
    shop.pipe.run().require()
    shop.equals_source()


def _roll_back(warehouse, table):
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("icetap", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=f"file://{warehouse}")
    loaded = catalog.load_table(("raw", table))
    parent = loaded.current_snapshot().parent_snapshot_id
    loaded.manage_snapshots().rollback_to_snapshot(parent).commit()


def test_full_refresh_under_meltano_does_what_it_does_without_a_state(shop, project):
    config = {"database": str(shop.database)}
    project.configure(
        config, {"pipeline": "default", "warehouse": str(shop.pipe.warehouse)}, metadata=METADATA
    )
    said = project.run("--full-refresh", "tap-sqlite", "target-iceberg", code=1)
    assert "--read-state" in said
    project.set_state(shop.state_that_fits())
    project.run("tap-sqlite", "target-iceberg")
    compare(shop.pipe.warehouse, shop.database)


GATED_TAP = """#!/bin/sh
cat "$BEFORE"
while [ ! -e "$GATE" ]; do sleep 0.05; done
cat "$AFTER"
"""


def keyed(stream, identity, note):
    return json.dumps({"type": "RECORD", "stream": stream, "record": {"id": identity, "note": note}})


def test_of_two_runs_of_one_pipeline_the_second_to_commit_stops(tmp_path):
    schema = {"properties": {"id": {"type": "integer"}, "note": {"type": "string"}}}
    head = [
        json.dumps({"type": "STATE", "value": {"bookmarks": {}}}),
        json.dumps({"type": "SCHEMA", "stream": "t", "schema": schema, "key_properties": ["id"]}),
    ]
    files = {
        "before": [*head, keyed("t", 1, "old run")],
        "after": [keyed("t", 2, "old run")],
        "new": [*head, keyed("t", 1, "new run")],
    }
    for name, lines in files.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    tap = tmp_path / "tap"
    tap.write_text(GATED_TAP)
    tap.chmod(0o755)
    config = tmp_path / "target.json"
    config.write_text(json.dumps({"warehouse": str(tmp_path / "warehouse"), "flush_seconds": 1}))
    target = [str(BIN / "target-iceberg"), "--config", str(config)]
    environ = {
        "BEFORE": str(tmp_path / "before"),
        "AFTER": str(tmp_path / "after"),
        "GATE": str(tmp_path / "gate"),
    }

    def slow_run():
        (tmp_path / "slow").mkdir()
        return run_processes([str(tap)], target, folder=tmp_path / "slow", environ=environ)

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(slow_run)
        _wait_until(
            lambda: lake.has_table(tmp_path / "warehouse", "t") and lake.query(tmp_path / "warehouse", "t")
        )
        run_processes(["cat", str(tmp_path / "new")], target, folder=tmp_path).require()
        (tmp_path / "gate").touch()
        ended = slow.result()
    assert ended.target not in {0, 1}
    assert "another run of this pipeline is loading this table" in ended.log
    assert lake.query(tmp_path / "warehouse", "t", "SELECT id, note FROM t") == [(1, "new run")]


def _wait_until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.1)


def test_two_pipelines_into_two_tables_of_one_warehouse_both_go_through(tmp_path, database, warm):
    def load(name):
        streams = {"orders": {"stream_name": f"orders_{name}"}, "clicks": {"stream_name": f"clicks_{name}"}}
        target = {"warehouse": str(tmp_path / "warehouse"), "pipeline": name, "batch_size_rows": 50}
        tap = {"database": str(database), "streams": streams, "batch_size": 50}
        return Pipe(tmp_path / name, tap, target, launch=warm).run()

    with ThreadPoolExecutor(2) as pool:
        for ran in pool.map(load, ["left", "right"]):
            ran.require()
    for name in ("left", "right"):
        for table, columns in COLUMNS.items():
            found = lake.query(tmp_path / "warehouse", f"{table}_{name}", f"SELECT {columns} FROM t")
            assert not lake.differences(rows(database, f"SELECT * FROM {table}"), found)


def test_a_catalog_that_somebody_else_writes_to_is_waited_for(shop):
    """The default catalog is an SQLite file: a lock of seconds must not end a load."""
    with (
        closing(
            sqlite3.connect(shop.pipe.warehouse / "catalog.db", isolation_level=None, check_same_thread=False)
        ) as held,
        ThreadPoolExecutor(1) as pool,
    ):
        running = pool.submit(shop.pipe.run)
        held.execute("BEGIN EXCLUSIVE")
        time.sleep(4)
        held.execute("ROLLBACK")
        running.result().require()
    shop.equals_source()
