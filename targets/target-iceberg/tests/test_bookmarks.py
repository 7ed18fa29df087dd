"""The bookmark in the table: written with the data, and right after what others do to the table."""

from __future__ import annotations

import json

import pytest
from pyiceberg.io.pyarrow import _dataframe_to_data_files

from icetap.errors import StateError
from target_iceberg.positions import bookmarks

KEYLESS = {"keys": [], "cursor": "id"}


def run(lake, singer, start, ids, end, **options):
    return lake.load(
        singer.state() if start is None else singer.state(s=start),
        singer.schema(**({**KEYLESS, **options} if not options.pop("keyed", False) else {})),
        singer.records(ids),
        singer.state(s=end),
    )


def three_runs(lake, singer):
    run(lake, singer, None, [1, 2], 2)
    run(lake, singer, 2, [3], 3)
    run(lake, singer, 3, [4], 4)
    return [snapshot.snapshot_id for snapshot in lake.table().metadata.snapshots]


def compact(table):
    """Write all rows into one file again, as another engine's compaction does."""
    rows = table.scan().to_arrow()
    transaction = table.transaction()
    old = [task.file for task in table.scan().plan_files()]
    with transaction.update_snapshot().overwrite() as change:
        for data_file in old:
            change.delete_data_file(data_file)
        for data_file in _dataframe_to_data_files(table.metadata, rows, table.io):
            change.append_data_file(data_file)
    transaction.commit_transaction()


def test_each_commit_carries_its_bookmark_in_summary_and_property(lake, singer):
    run(lake, singer, None, [1, 2], 2)
    run(lake, singer, 2, [3], 3)
    head, told = lake.head(), lake.property()
    assert head["icetap.pipeline"] == "default"
    assert json.loads(head["icetap.bookmark"]) == singer.at(3)
    assert json.loads(told["bookmark"]) == singer.at(3)
    assert json.loads(told["from"]) == singer.at(2)
    assert head["icetap.run-id"] == told["run_id"]
    snapshot = lake.table().current_snapshot()
    assert (told["snapshot_id"], told["sequence_number"]) == (snapshot.snapshot_id, snapshot.sequence_number)


def test_a_commit_before_any_state_repeats_the_last_bookmark(lake, singer):
    lake.ok(singer.schema(), singer.records([1]), singer.state(s=1))
    lake.ok(singer.state(s=1), singer.schema(), singer.records([2]))
    assert json.loads(lake.head()["icetap.bookmark"]) == singer.at(1)


def test_a_run_without_rows_moves_the_bookmark_without_a_snapshot(lake, singer):
    run(lake, singer, None, [1], 1)
    before = lake.table().metadata
    outcome = lake.ok(singer.state(s=1), singer.schema(**KEYLESS), singer.state(s={"n": 5}))
    after = lake.table().metadata
    assert len(after.snapshots) == len(before.snapshots) == 1
    assert json.loads(lake.property()["bookmark"]) == {"n": 5}
    assert lake.property()["snapshot_id"] == after.current_snapshot_id
    assert outcome.last_state == {"bookmarks": {"s": {"n": 5}}}


def test_second_run_no_new_snapshot_third_run_exactly_the_changed_rows(lake, singer):
    lake.ok(singer.schema(cursor="id"), singer.records(range(100)), singer.state(s=99))
    second = lake.ok(
        singer.state(s=99), singer.schema(cursor="id"), singer.records(range(50, 100)), singer.state(s=99)
    )
    assert lake.snapshots() == 1
    assert second.stream()["rows_unchanged"] == 50
    assert second.last_state == singer.state(s=99)["value"]
    third = lake.ok(
        singer.state(s=99),
        singer.schema(cursor="id"),
        singer.records(range(95, 100)),
        singer.records([96, 97], name="new"),
        singer.records([100, 101, 102]),
        singer.state(s=102),
    )
    told = third.stream()
    assert (told["rows_inserted"], told["rows_updated"], told["rows_unchanged"]) == (3, 2, 3)
    assert lake.snapshots() == 2
    assert len(lake.ids()) == 103
    assert lake.names()[96] == "new96"


def test_the_second_run_of_a_key_less_stream_makes_no_snapshot(lake, singer):
    run(lake, singer, None, [1, 2, 2], 2)
    outcome = run(lake, singer, 2, [2, 2], 2)
    assert outcome.error is None
    assert lake.snapshots() == 1
    assert outcome.stream()["rows_repeated"] == 2


def test_after_a_rollback_by_hand_the_summary_is_the_truth(lake, singer):
    snapshots = three_runs(lake, singer)
    lake.table().manage_snapshots().rollback_to_snapshot(snapshots[0]).commit()
    assert bookmarks.read_position(lake.table().metadata, "default").bookmark == json.dumps(singer.at(2))
    stopped = run(lake, singer, 4, [5], 5)
    assert isinstance(stopped.error, StateError)
    assert run(lake, singer, 2, [2, 3, 4, 5], 5).error is None
    assert lake.ids() == [1, 2, 3, 4, 5]


def test_a_rolled_back_keyed_table_is_filled_again(lake, singer):
    lake.ok(singer.schema(), singer.records([1]), singer.state(s=1))
    first = lake.table().metadata.current_snapshot_id
    lake.ok(singer.state(s=1), singer.schema(), singer.records([2]), singer.state(s=2))
    lake.table().manage_snapshots().rollback_to_snapshot(first).commit()
    lake.ok(singer.state(s=1), singer.schema(), singer.records([1, 2, 3]), singer.state(s=3))
    assert lake.ids() == [1, 2, 3]


def test_expired_snapshots_do_not_hide_the_bookmark(lake, singer):
    snapshots = three_runs(lake, singer)
    lake.table().maintenance.expire_snapshots().by_ids(snapshots[:-1]).commit()
    assert run(lake, singer, 4, [4, 5], 5).error is None
    assert lake.ids() == [1, 2, 3, 4, 5]


def test_a_compaction_by_another_writer_does_not_hide_the_bookmark(lake, singer):
    snapshots = three_runs(lake, singer)
    compact(lake.table())
    assert lake.head().get("icetap.run-id") is None
    assert run(lake, singer, 4, [4, 5], 5).error is None
    compact(lake.table())
    lake.table().maintenance.expire_snapshots().by_ids(
        [
            one.snapshot_id
            for one in lake.table().metadata.snapshots
            if one.snapshot_id != lake.table().metadata.current_snapshot_id
        ]
    ).commit()
    assert snapshots[0] not in [one.snapshot_id for one in lake.table().metadata.snapshots]
    assert run(lake, singer, 5, [5, 6], 6).error is None
    assert lake.ids() == [1, 2, 3, 4, 5, 6]
    assert [row["id"] for row in lake.rows()] == [1, 2, 3, 4, 5, 6]


def test_a_compaction_after_an_unconfirmed_run_stops_instead_of_guessing(lake, singer):
    run(lake, singer, None, [1, 2], 2)
    run(lake, singer, 2, [3], 3)
    compact(lake.table())
    stopped = run(lake, singer, 2, [2, 3, 4], 4)
    assert isinstance(stopped.error, StateError)
    assert lake.ids() == [1, 2, 3]


def test_rows_of_another_engine_since_the_last_run_are_never_taken_back(lake, singer):
    run(lake, singer, None, [1, 2], 2)
    run(lake, singer, 2, [3], 3)
    table = lake.table()
    table.append(table.scan().to_arrow().slice(0, 1))
    stopped = run(lake, singer, 2, [2, 3, 4], 4)
    assert isinstance(stopped.error, StateError)
    assert sorted(lake.ids()) == [1, 1, 2, 3] or len(lake.ids()) == 4
    assert run(lake, singer, 3, [3, 4], 4).error is None
    assert len(lake.ids()) == 5


def test_the_bookmark_of_another_pipeline_is_not_ours(lake, singer):
    lake.ok(singer.schema(), singer.records([1]), singer.state(s=1), pipeline="one")
    metadata = lake.table().metadata
    assert bookmarks.read_position(metadata, "two") == bookmarks.Position()
    assert bookmarks.other_pipelines(metadata, "two") == ["one"]
    lake.ok(singer.schema(), singer.records([2]), singer.state(s=2), pipeline="two")
    assert lake.property(pipeline="one")["bookmark"] == json.dumps(singer.at(1))
    assert lake.property(pipeline="two")["bookmark"] == json.dumps(singer.at(2))


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "key-less"])
def test_a_full_refresh_of_a_first_run_reads_again_without_doubling(lake, singer, keyed):
    options = {} if keyed else KEYLESS
    for _ in range(2):
        lake.ok(singer.state(), singer.schema(**options), singer.records([1, 2]), singer.state(s=2))
    assert lake.ids() == [1, 2]
