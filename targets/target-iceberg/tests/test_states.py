"""What of STATE is printed, and when."""

from __future__ import annotations

import json

import pytest

from target_iceberg.positions.states import StateLedger, same_bookmark


def test_a_state_is_printed_only_after_its_commit(lake, singer, monkeypatch):
    seen = []
    from target_iceberg.tables import loaded_table as module

    original = module.commit_change

    def commit(table, change, *, stage):
        seen.append("commit")
        return original(table, change, stage=stage)

    monkeypatch.setattr(module, "commit_change", commit)
    monkeypatch.setattr("target_iceberg.target._emit", lambda line: seen.append(json.loads(line)))
    lake.ok(
        singer.schema(),
        singer.records([1]),
        singer.state(s=1),
        singer.records([2]),
        singer.state(s=2),
        batch_size_rows=1,
    )
    assert seen == [
        "commit",
        "commit",
        singer.state(s=1)["value"],
        "commit",
        singer.state(s=2)["value"],
    ] or seen == [
        "commit",
        "commit",
        singer.state(s=2)["value"],
    ]
    first_state = next(index for index, one in enumerate(seen) if one != "commit")
    assert "commit" in seen[:first_state]


def test_each_stream_moves_by_itself(lake, singer):
    outcome = lake.ok(
        singer.schema("a"),
        singer.schema("b"),
        singer.state(a=0, b=0),
        singer.records([1], "a"),
        singer.records([1], "b"),
        singer.records([2], "a"),
        singer.state(a=2, b=1),
    )
    assert outcome.last_state == singer.state(a=2, b=1)["value"]
    assert lake.ids("a") == [1, 2]
    assert lake.ids("b") == [1]


def test_a_stream_that_is_not_committed_stays_at_its_old_bookmark(lake, singer):
    lake.ok(singer.schema("a"), singer.records([1, 2], "a", version=1), singer.state(a=1))
    outcome = lake.load(
        singer.state(a=1, b=0),
        singer.schema("a", keys=[]) | {"key_properties": ["id"]},
        singer.schema("b"),
        singer.records([7], "a", version=2),
        singer.records([1], "b"),
        singer.state(a=7, b=1),
        load_method="overwrite",
    )
    assert outcome.error is not None
    for line in outcome.states:
        assert line["bookmarks"]["a"] == singer.at(1)


def test_streams_that_are_not_loaded_keep_their_bookmarks(lake, singer):
    start = singer.state(other=5, s=0)
    outcome = lake.ok(start, singer.schema(), singer.records([1]), singer.state(other=5, s=1))
    assert outcome.last_state == singer.state(other=5, s=1)["value"]


def test_other_members_come_from_the_newest_state_that_is_wholly_committed(lake, singer):
    end = {
        "type": "STATE",
        "value": {"bookmarks": {"s": {"x": 1}}, "currently_syncing": None, "cursor": 1.10},
    }
    outcome = lake.ok(singer.schema(), singer.records([1]), end)
    assert outcome.last_state == end["value"]


@pytest.mark.parametrize(
    "number", ["1.10", "1e400", "1E-7", "12345678901234567890123", "-0.0", "0.1000000000000000055"]
)
@pytest.mark.parametrize(
    "form",
    ['{"bookmarks": {"s": {"at": %s}}}', '{"position": %s}'],
    ids=["split", "opaque"],
)
def test_numbers_keep_their_text(lake, singer, number, form):
    text = form % number
    outcome = lake.ok(singer.schema(), singer.records([1]), f'{{"type": "STATE", "value": {text}}}')
    assert outcome.lines == [text]
    again = lake.ok(
        f'{{"type": "STATE", "value": {text}}}', singer.schema(), f'{{"type": "STATE", "value": {text}}}'
    )
    assert again.lines == [text]
    assert lake.snapshots() == 1


@pytest.mark.parametrize(
    "value",
    [{}, {"bookmarks": {}}, {"currently_syncing": "s"}, {"bookmarks": {}, "currently_syncing": "s"}],
    ids=["nothing", "no-bookmarks", "syncing", "syncing-and-no-bookmarks"],
)
def test_an_empty_state_is_never_printed(lake, singer, value):
    outcome = lake.ok({"type": "STATE", "value": value}, singer.schema(), singer.records([1]))
    assert outcome.lines == []


def test_a_classic_tap_that_names_its_stream_first_is_split_all_the_same(lake, singer):
    outcome = lake.ok(
        {"type": "STATE", "value": {"currently_syncing": "s"}},
        singer.schema(),
        singer.records([1]),
        {"type": "STATE", "value": {"bookmarks": {"s": {"v": 1}}, "currently_syncing": "s"}},
    )
    assert outcome.last_state == {"bookmarks": {"s": {"v": 1}}, "currently_syncing": "s"}
    assert lake.property()["bookmark"] == '{"v": 1}'


def test_an_opaque_state_waits_for_all_streams_before_it(lake, singer):
    outcome = lake.load(
        singer.schema("a"),
        singer.schema("b", keys=[]),
        singer.records([1], "a"),
        singer.records([1], "b", version=3),
        {"type": "STATE", "value": {"offset": 1}},
        streams={"b": {"load_method": "overwrite"}},
    )
    assert "not complete" in str(outcome.error)
    assert outcome.lines == []
    assert lake.ids("a") == [1]


def test_an_opaque_state_is_printed_when_everything_is_committed(lake, singer):
    outcome = lake.ok(
        singer.schema("a"),
        singer.schema("b", keys=[]),
        singer.records([1], "a"),
        singer.records([1], "b"),
        {"type": "STATE", "value": {"offset": 1}},
        singer.records([2], "a"),
        {"type": "STATE", "value": {"offset": 2}},
        batch_size_rows=1,
    )
    assert outcome.last_state == {"offset": 2}
    assert lake.ids("b") == [1]


def test_progress_markers_of_the_sdk_do_not_make_a_difference():
    progress = '{"progress_markers": {"Note": "x", "replication_key_value": 3}}'
    assert same_bookmark(None, progress)
    assert same_bookmark(
        '{"replication_key_value": 1}', '{"replication_key_value": 1.0, "progress_markers": {}}'
    )
    assert not same_bookmark('{"replication_key_value": 1}', '{"replication_key_value": 2}')


def test_the_first_state_tells_the_start_only_before_rows():
    ledger = StateLedger()
    ledger.rows_came()
    ledger.receive({"bookmarks": {"s": {"v": 1}}})
    assert ledger.start_of("s").bookmark is None
    assert not ledger.start_of("s").is_stated
