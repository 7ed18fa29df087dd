"""Tables without keys: where the tap starts against where the table is."""

from __future__ import annotations

import json
import subprocess

import pytest

from icetap.errors import StateError

CURSOR = {"cursor": "id", "keys": []}


def run(lake, singer, start, *steps, **config):
    """A run that begins at `start` (None: a tap that has no state); steps are rows or a bookmark."""
    messages = [] if start == "silent" else [singer.state() if start is None else singer.state(s=start)]
    messages.append(singer.schema(**CURSOR))
    for step in steps:
        messages += singer.records(step) if isinstance(step, list) else [singer.state(s=step)]
    return lake.load(*messages, **config)


EVERY = {"batch_size_rows": 1}


def test_equal_starts_go_on(lake, singer):
    run(lake, singer, None, [1, 2], 2)
    outcome = run(lake, singer, 2, [2, 3], 3)
    assert outcome.error is None
    assert lake.ids() == [1, 2, 3]


def test_the_unconfirmed_last_run_is_taken_back(lake, singer):
    run(lake, singer, None, [1, 2], 2)
    run(lake, singer, 2, [2, 3, 4], 4)  # its STATE was lost
    outcome = run(lake, singer, 2, [2, 3, 4, 5], 5)
    assert outcome.error is None
    assert lake.ids() == [1, 2, 3, 4, 5]
    assert [row["id"] for row in lake.rows()] == [1, 2, 3, 4, 5]


def test_the_unconfirmed_first_run_is_taken_back(lake, singer):
    run(lake, singer, None, [1, 2], 2)
    outcome = run(lake, singer, None, [1, 2, 3], 3)
    assert outcome.error is None
    assert lake.ids() == [1, 2, 3]


def test_going_back_to_one_of_the_last_runs_commits(lake, singer):
    run(lake, singer, None, [1, 2], 2, [3, 4], 4, [5], 5, **EVERY)
    outcome = run(lake, singer, 2, [2, 3, 4, 5, 6], 6)
    assert outcome.error is None
    assert lake.ids() == [1, 2, 3, 4, 5, 6]


def test_rows_after_the_last_state_are_taken_back(lake, singer):
    outcome = run(lake, singer, None, [1, 2], 2, [3, 4])
    assert outcome.last_state == singer.state(s=2)["value"]
    assert lake.head()["icetap.open"] == "true"
    assert lake.ids() == [1, 2, 3, 4]
    run(lake, singer, 2, [2, 3, 4, 5], 5)
    assert lake.ids() == [1, 2, 3, 4, 5]


def test_a_run_that_broke_off_before_its_first_state_is_taken_back(lake, singer):
    run(lake, singer, None, [1, 2])
    run(lake, singer, None, [1, 2, 3])
    run(lake, singer, None, [1, 2, 3, 4], 4)
    assert lake.ids() == [1, 2, 3, 4]


def test_an_sdk_tap_that_broke_off_twice_before_its_first_state_is_taken_back(lake, singer):
    """An SDK tap without a state begins without a STATE message."""
    run(lake, singer, "silent", [1, 2])
    run(lake, singer, "silent", [1, 2, 3])
    run(lake, singer, "silent", [1, 2, 3, 4], 4)
    assert lake.ids() == [1, 2, 3, 4]


def test_a_tap_that_never_sends_state_never_loses_history(lake, singer):
    """Whatever it declares: nothing says that its rows come again."""
    for day in ([1, 2], [3, 4], [5]):
        assert run(lake, singer, "silent", day).error is None
    assert lake.ids() == [1, 2, 3, 4, 5]


def test_a_tap_without_cursor_and_state_never_loses_history(lake, singer):
    for day in ([1, 2], [3, 4], [5]):
        outcome = lake.ok(singer.schema(keys=[]), singer.records(day))
    assert lake.ids() == [1, 2, 3, 4, 5]
    assert "each full run appends" in " ".join(outcome.stream()["warnings"])


def test_a_classic_tap_that_does_not_repeat_its_state_appends_and_is_told(lake, singer):
    for ids, bookmark in (([1, 2], {"v": 2}), ([3], {"v": 3})):
        outcome = run(lake, singer, "silent", ids, bookmark)
        assert outcome.error is None
    assert lake.ids() == [1, 2, 3]
    assert "may come twice" in " ".join(outcome.stream()["warnings"])


def test_a_state_older_than_the_last_run_stops_with_the_state_that_fits(lake, singer):
    run(lake, singer, None, [1, 2], 2)
    run(lake, singer, 2, [3], 3)
    run(lake, singer, 3, [4], 4)
    outcome = run(lake, singer, 2, [3, 4, 5], 5)
    assert isinstance(outcome.error, StateError)
    assert "--read-state" in str(outcome.error)
    assert "on_state_mismatch" in str(outcome.error)
    assert outcome.lines == []
    assert lake.ids() == [1, 2, 3, 4]


def test_read_state_prints_the_state_with_which_the_run_goes_on(lake, singer):
    run(lake, singer, None, [1, 2], 2)
    run(lake, singer, 2, [3], 3)
    run(lake, singer, 3, [4], 4)
    command = [*lake.command(), "--read-state"]
    printed = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout.decode()
    assert json.loads(printed) == singer.state(s=4)["value"]
    outcome = run(lake, singer, json.loads(printed)["bookmarks"]["s"], [4, 5], 5)
    assert outcome.error is None
    assert lake.ids() == [1, 2, 3, 4, 5]


def test_a_foreign_state_stops_also_on_an_empty_table(lake, singer):
    outcome = run(lake, singer, 7, [8], 8)
    assert isinstance(outcome.error, StateError)
    assert lake.ids() == []


def test_append_by_choice_loads_all_the_same(lake, singer):
    run(lake, singer, None, [1, 2], 2)
    run(lake, singer, 2, [3], 3)
    run(lake, singer, 3, [4], 4)
    outcome = run(lake, singer, 2, [3, 4], 4, on_state_mismatch="append")
    assert outcome.error is None
    assert lake.ids() == [1, 2, 3, 3, 4, 4]


def test_rewind_by_choice_goes_back_further_than_the_last_run(lake, singer):
    run(lake, singer, None, [1, 2], 2)
    run(lake, singer, 2, [3], 3)
    run(lake, singer, 3, [4], 4)
    outcome = run(lake, singer, 2, [2, 3, 4, 5], 5, on_state_mismatch="rewind")
    assert outcome.error is None
    assert lake.ids() == [1, 2, 3, 4, 5]


def test_a_lost_state_of_several_runs_does_not_drop_what_the_source_no_longer_has(lake, singer):
    run(lake, singer, None, [1, 2], 2)
    run(lake, singer, 2, [3], 3)
    outcome = run(lake, singer, None, [3], 3)
    assert isinstance(outcome.error, StateError)
    assert lake.ids() == [1, 2, 3]


def test_readers_never_see_fewer_rows_while_a_run_is_taken_back(lake, singer, monkeypatch):
    from target_iceberg.loader import Loader

    run(lake, singer, None, [1, 2], 2)
    run(lake, singer, 2, [3, 4, 5], 5)
    old_head = lake.table().metadata.current_snapshot_id
    seen, printed = [], []
    original = Loader.take

    def take(self, item):
        original(self, item)
        is_old = lake.table().metadata.current_snapshot_id == old_head
        seen.append((len(lake.ids()), is_old, len(printed)))

    monkeypatch.setattr("target_iceberg.target._emit", printed.append)
    monkeypatch.setattr(Loader, "take", take)
    run(lake, singer, 2, [2, 3], 3, [4], 4, [5], 5, [6], 6, **EVERY)
    assert min(count for count, _, _ in seen) == 5
    assert not any(states for _, is_old, states in seen if is_old)
    assert len(printed) > 1
    assert lake.ids() == [1, 2, 3, 4, 5, 6]


def test_a_tap_that_died_before_its_first_row_takes_nothing_back(lake, singer):
    run(lake, singer, None, [1, 2], 2)
    run(lake, singer, 2, [3], 3)
    outcome = run(lake, singer, 2, 2)
    assert outcome.error is None
    assert lake.ids() == [1, 2, 3]
    run(lake, singer, 2, [2, 3, 4], 4)
    assert lake.ids() == [1, 2, 3, 4]


def test_a_last_run_that_moved_its_bookmark_alone_is_no_obstacle(lake, singer):
    run(lake, singer, None, [1, 2], {"n": 1})
    run(lake, singer, {"n": 1}, {"n": 2})
    snapshots = lake.snapshots()
    outcome = run(lake, singer, {"n": 1}, {"n": 3})
    assert outcome.error is None
    assert lake.snapshots() == snapshots
    outcome = run(lake, singer, {"n": 1}, [3], {"n": 4})
    assert outcome.error is None
    assert lake.ids() == [1, 2, 3]


def test_an_unsorted_sdk_stream_that_broke_off_is_read_again_whole(lake, singer):
    progress = {"progress_markers": {"Note": "x", "replication_key": "id", "replication_key_value": 9}}
    run(lake, singer, None, [9, 1], progress, [5], **EVERY)
    run(lake, singer, None, [9, 1, 5, 7], singer.at(9))
    assert lake.ids() == [1, 5, 7, 9]
    run(lake, singer, 9, [9, 8], singer.at(9) | progress, **EVERY)
    run(lake, singer, 9, [9, 8, 12], 12)
    assert lake.ids() == [1, 5, 7, 8, 9, 12]


def test_two_pipelines_into_one_table_are_told_and_nothing_is_taken_back(lake, singer):
    run(lake, singer, None, [1, 2], 2, pipeline="one")
    run(lake, singer, None, [8, 9], 9, pipeline="two")
    outcome = run(lake, singer, None, [1, 2], 2, pipeline="one")
    assert outcome.error is None
    assert lake.ids() == [1, 1, 2, 2, 8, 9]
    assert "one" not in outcome.stream()["warnings"][0].split("(")[1]
    assert "two" in outcome.stream()["warnings"][0]


@pytest.mark.parametrize("method", ["auto", "upsert"])
def test_keyed_streams_go_on_from_anywhere(lake, singer, method):
    lake.ok(singer.schema(), singer.records([1, 2]), singer.state(s=2), load_method=method)
    lake.ok(singer.state(s=2), singer.schema(), singer.records([3]), singer.state(s=3), load_method=method)
    for start in (None, 1, 99):
        lake.ok(
            singer.state() if start is None else singer.state(s=start),
            singer.schema(),
            singer.records([1, 2, 3]),
            singer.state(s=3),
            load_method=method,
        )
    assert lake.ids() == [1, 2, 3]
