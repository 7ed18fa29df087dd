"""What people have for other taps for SQL Server: settings, and bookmarks that are gone on from."""

from __future__ import annotations

import pytest

from tap_mssql.settings import SETTINGS_ELSEWHERE

ORDERS = (
    "CREATE TABLE dbo.orders (id int PRIMARY KEY, at datetime2(3), changed datetime, total decimal(10,2), rv rowversion)",
    "INSERT INTO dbo.orders (id, at, changed, total) VALUES (1, '2024-01-01', '2024-01-01', 1)",
    "INSERT INTO dbo.orders (id, at, changed, total) VALUES (2, '2024-01-02T10:00:00.5', '2024-01-02T10:00:00.003', 9.5), (3, '2024-01-03', '2024-01-03', 10)",
)

# The state of PipelineWise's tap (with a version), of taps on the Singer SDK, of old singer-io taps.
STATES = [
    pytest.param("at", {"replication_key": "at", "replication_key_value": "2024-01-02T10:00:00.500000", "version": 1700000000000}, [2, 3], id="pipelinewise-datetime2"),
    pytest.param("at", {"replication_key": "at", "replication_key_value": "2024-01-02T10:00:00.500000+00:00"}, [2, 3], id="sdk-stamps-utc-on-it"),
    pytest.param("changed", {"replication_key": "changed", "replication_key_value": "2024-01-02T10:00:00.003333"}, [2, 3], id="datetime-with-thirds-of-a-millisecond"),
    pytest.param("changed", {"replication_key": "changed", "replication_key_value": "2024-01-02 10:00:00.003"}, [2, 3], id="datetime-with-a-space"),
    pytest.param("id", {"replication_key": "id", "replication_key_value": 2}, [2, 3], id="integer"),
    pytest.param("total", {"replication_key": "total", "replication_key_value": 9.5}, [2, 3], id="decimal-that-was-a-double"),
    pytest.param("total", {"replication_key": "total", "replication_key_value": "9.50"}, [2, 3], id="decimal-that-was-a-text"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "bookmark", "ids"), STATES)
def test_rows_are_read_on_from_the_bookmark_of_another_tap(database, sync, key, bookmark, ids):
    database.execute(*ORDERS)
    options = {"replication_method": "INCREMENTAL", "replication_key": key, "lookback_seconds": 0}
    state = {"bookmarks": {"dbo-orders": bookmark}, "currently_syncing": None}
    first = sync(database, state=state, streams={"dbo-orders": options})
    assert [record["id"] for record in first.records()] == ids
    second = sync(database, state=first.state, streams={"dbo-orders": options})
    assert [record["id"] for record in second.records()] == [3]


def test_a_rowversion_of_another_tap_is_gone_on_from(database, sync):
    database.execute(*ORDERS)
    versions = sorted(record["rv"] for record in sync(database).records())
    bookmark = {"replication_key": "rv", "replication_key_value": f"0x{versions[1].lower()}"}
    options = {"replication_method": "INCREMENTAL", "replication_key": "rv"}
    out = sync(database, state={"bookmarks": {"dbo-orders": bookmark}}, streams={"dbo-orders": options})
    assert [record["rv"] for record in out.records()] == versions[1:]


@pytest.mark.parametrize(
    "bookmark",
    [
        pytest.param({"lsn": "0000002A000001C80003", "version": 1}, id="cdc"),
        pytest.param({"last_pk_fetched": {"id": 2}, "max_pk_values": {"id": 3}, "version": 1}, id="interrupted-full-read"),
    ],
)  # fmt: skip
def test_other_bookmarks_mean_that_the_table_is_read_in_full(database, sync, bookmark):
    database.execute(*ORDERS)
    out = sync(database, state={"bookmarks": {"dbo-orders": bookmark}})
    assert [record["id"] for record in out.records()] == [1, 2, 3]
    assert out.of("ACTIVATE_VERSION")


def test_settings_that_mean_the_same_are_taken(database, sync):
    database.execute(*ORDERS)
    assert len(sync(database, cursor_array_size=1).of("RECORD")) == 3


@pytest.mark.parametrize("name", list(SETTINGS_ELSEWHERE))
def test_settings_that_are_called_otherwise_are_refused_with_what_to_write(database, sync, name):
    with pytest.raises(Exception, match=name) as caught:
        sync(database, **{name: "x"})
    assert SETTINGS_ELSEWHERE[name] in str(caught.value)
