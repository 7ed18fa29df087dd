"""`meltano run` again and again: what is new is written, and nothing else."""

import json

import pytest

from . import lake
from .sources import execute, rows

METADATA = {
    "orders": {"replication-method": "INCREMENTAL", "replication-key": "updated_at"},
    "clicks": {"replication-method": "INCREMENTAL", "replication-key": "moment"},
}
ORDERS = "SELECT id, customer, amount, CAST(updated_at AS VARCHAR) FROM t"


def equal(project, database):
    found = lake.query(project.warehouse, "orders", ORDERS)
    assert not lake.differences(rows(database, "SELECT * FROM orders"), found)
    found = lake.query(project.warehouse, "clicks", "SELECT moment, page FROM t")
    assert not lake.differences(rows(database, "SELECT * FROM clicks"), found)


def report(project):
    streams = json.loads((project.folder / "report.json").read_text())["streams"]
    return {stream["stream"]: stream for stream in streams}


@pytest.mark.parametrize("tap", ["tap-sqlite", "tap-sqlite-arrow"])
def test_a_second_run_writes_nothing_and_a_third_exactly_what_changed(project, database, tap):
    path = str(project.folder / "report.json")
    project.configure({"database": str(database)}, {"report_path": path}, metadata=METADATA)
    project.run(tap, "target-iceberg")
    equal(project, database)
    before = {table: lake.snapshots(project.warehouse, table) for table in METADATA}

    project.run(tap, "target-iceberg")
    assert {table: lake.snapshots(project.warehouse, table) for table in METADATA} == before
    second = report(project)
    assert second["orders"]["rows_unchanged"] > 0, "the lookback must have read rows again"
    assert second["clicks"]["rows_repeated"] > 0, "the rows at the bookmark must have come again"

    execute(
        database,
        "UPDATE orders SET amount = amount + 1, updated_at = '2024-06-01 00:00:00' WHERE id % 10 = 0",
        "INSERT INTO orders SELECT id + 500, customer, amount, '2024-06-01 00:00:01' FROM orders LIMIT 20",
        "INSERT INTO clicks SELECT max(moment), 'a late one' FROM clicks",
        "INSERT INTO clicks SELECT max(moment) + 1, 'a new one' FROM clicks",
    )
    project.run(tap, "target-iceberg")
    equal(project, database)
    third = report(project)
    assert (third["orders"]["rows_updated"], third["orders"]["rows_inserted"]) == (50, 20)
    assert third["clicks"]["rows_inserted"] == 2
