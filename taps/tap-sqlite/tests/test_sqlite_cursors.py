"""Replication keys whose stored values are traps: texts that do not sort as times, no values, no end."""

from __future__ import annotations

import json

import pytest

from icetap.errors import ConfigurationError, DataError, StateError


def incremental_log(sync, path, key, state=None, **options):
    settings = {"log": {"replication_method": "INCREMENTAL", "replication_key": key, **options}}
    return sync(path, state=state, streams=settings)


def test_rows_without_a_cursor_are_read_once_even_when_no_row_has_one(database, sync, execute):
    path = database("CREATE TABLE log (at DATETIME, n INT)", {"log": [(None, 1), (None, 2)]})
    first = incremental_log(sync, path, "at")
    assert [record["n"] for record in first.records()] == [1, 2]
    second = incremental_log(sync, path, "at", first.state)
    assert second.records() == []
    execute(path, "INSERT INTO log VALUES ('2026-01-01 00:00:00', 3)")
    assert [record["n"] for record in incremental_log(sync, path, "at", second.state).records()] == [3]


def test_bookmarks_of_texts_move_in_the_order_of_the_columns_collation(database, sync, execute):
    path = database("CREATE TABLE log (code TEXT COLLATE NOCASE, n INT)", {"log": [("a", 1), ("d", 2)]})
    first = incremental_log(sync, path, "code")
    execute(path, "INSERT INTO log VALUES ('E', 3)")
    second = incremental_log(sync, path, "code", first.state)
    assert second.state["bookmarks"]["log"]["replication_key_value"] == "E"
    assert [record["n"] for record in incremental_log(sync, path, "code", second.state).records()] == [3]


@pytest.mark.parametrize(
    ("before", "late"),
    [
        ("2026-01-01 10:15:00", "2026-01-01 10:15"),
        ("2026-01-01 00:00:00", "2026-01-01"),
        ("2026-01-01T10:15:00.500", "2026-01-01T10:15:00.5"),
    ],
)
def test_a_late_row_at_the_bookmark_is_found_however_it_is_written(database, sync, execute, before, late):
    path = database("CREATE TABLE log (at TIMESTAMP, n INT)", {"log": [(before, 1)]})
    first = incremental_log(sync, path, "at")
    execute(path, f"INSERT INTO log VALUES ('{late}', 2)")
    assert {record["n"] for record in incremental_log(sync, path, "at", first.state).records()} == {1, 2}


def test_times_with_another_separator_between_the_ends_are_not_lost_in_silence(database, sync, execute):
    rows = [("2026-01-01T10:00:00", 1), ("2026-01-03T05:00:00", 2)]
    path = database("CREATE TABLE log (at TIMESTAMP, n INT)", {"log": rows})
    first = incremental_log(sync, path, "at")
    execute(path, "INSERT INTO log VALUES ('2026-01-03 10:00:00', 3)")
    with pytest.raises(DataError, match="a space and times with a T"):
        incremental_log(sync, path, "at", first.state)


def test_times_whose_lengths_spoil_their_order_need_a_key(database, sync):
    rows = [("2026-01-01T10:00:00Z", 1), ("2026-01-01T10:00:00.5Z", 2), ("2026-01-01T10:00:00.52Z", 3)]
    path = database("CREATE TABLE log (at TIMESTAMPTZ, n INT)", {"log": rows})
    with pytest.raises(DataError, match="several lengths that end in Z"):
        incremental_log(sync, path, "at")
    assert len(incremental_log(sync, path, "at", key_properties=["n"]).records()) == 3


def test_infinity_cannot_be_a_bookmark(database, sync):
    path = database("CREATE TABLE log (at REAL, n INT)", {"log": [(1.5, 1), (float("inf"), 2)]})
    with pytest.raises(DataError, match="Infinity, which no state can hold"):
        incremental_log(sync, path, "at")


def test_a_state_that_holds_no_value_of_the_key_is_refused(database, sync):
    path = database("CREATE TABLE log (at TIMESTAMP, n INT)", {"log": [("2026-01-01 00:00:00", 1)]})
    for key, value in (("at", "2026-13-45T00:00:00"), ("n", 2**70), ("n", True)):
        state = {"bookmarks": {"log": {"replication_key": key, "replication_key_value": value}}}
        with pytest.raises(StateError, match="is no value of the replication key"):
            incremental_log(sync, path, key, state)


def test_a_full_read_starts_anew_when_the_state_holds_no_position(database, sync):
    path = database("CREATE TABLE log (id INTEGER PRIMARY KEY)", {"log": [(1,), (2,)]})
    for bookmark in (
        {"version": "x"},
        *({"version": 5, "position": {"id": bad}} for bad in (None, {}, 2**70)),
    ):
        assert len(sync(path, state={"bookmarks": {"log": bookmark}}).records()) == 2


def test_a_selected_stream_that_is_gone_is_no_success(database, sync, command, execute):
    path = database("CREATE TABLE log (id INTEGER PRIMARY KEY); CREATE TABLE other (id INTEGER PRIMARY KEY)")
    catalog = json.loads(command("--discover", database=str(path)).stdout)
    execute(path, "DROP TABLE log")
    with pytest.raises(ConfigurationError, match="does not have: log"):
        sync(path, catalog=catalog)
