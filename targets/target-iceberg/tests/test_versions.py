"""Full reads with versions: which rows are visible, which are removed, and what proves completion."""

from __future__ import annotations

import pytest

OLD, NEW = 1, 2
KEYED, PLAIN = ["id"], []


@pytest.fixture(params=[KEYED, PLAIN], ids=["keyed", "key-less"])
def keys(request):
    return request.param


def first(lake, singer, keys, **config):
    """A table with the rows 1, 2, 3 of version 1."""
    return lake.ok(
        singer.schema(keys=keys),
        singer.records([1, 2, 3], version=OLD),
        singer.activate(OLD),
        singer.state(s={"n": 1}),
        **config,
    )


def version_of(lake):
    return lake.table().properties.get("icetap.version")


def test_the_first_load_is_visible_and_resumable_as_it_commits(lake, singer, keys):
    outcome = lake.ok(
        singer.schema(keys=keys),
        singer.records([1], version=OLD),
        singer.state(s={"at": 1}),
        singer.records([2], version=OLD),
        singer.state(s={"at": 2}),
        batch_size_rows=1,
    )
    assert {"bookmarks": {"s": {"at": 1}}} in outcome.states
    assert lake.ids() == [1, 2]
    assert version_of(lake) == "1"


def test_a_complete_new_version_replaces_everything_in_one_snapshot(lake, singer, keys):
    first(lake, singer, keys)
    before = lake.snapshots()
    outcome = lake.ok(
        singer.schema(keys=keys),
        singer.records([2, 4], name="b", version=NEW),
        singer.activate(NEW),
        singer.state(s={"n": 2}),
    )
    assert lake.names() == {2: "b2", 4: "b4"}
    assert [row["name"] for row in lake.rows()] == ["b2", "b4"]
    assert lake.snapshots() == before + 1
    assert version_of(lake) == "2"
    assert outcome.last_state == {"bookmarks": {"s": {"n": 2}}}


def test_an_incomplete_new_version_is_merged_when_there_are_keys(lake, singer):
    first(lake, singer, KEYED)
    outcome = lake.ok(
        singer.schema(), singer.records([2, 4], name="b", version=NEW), singer.state(s={"n": 2})
    )
    assert lake.names() == {1: "a1", 2: "b2", 3: "a3", 4: "b4"}
    assert version_of(lake) == "2"
    assert outcome.last_state == {"bookmarks": {"s": {"n": 2}}}
    assert "full_table_completion" in " ".join(outcome.stream()["warnings"])
    lake.ok(singer.schema(), singer.records([5], version=NEW), singer.activate(NEW))
    assert sorted(lake.names()) == [1, 2, 3, 4, 5]


def test_an_incomplete_version_that_changes_nothing_becomes_active_too(lake, singer):
    first(lake, singer, KEYED)
    snapshots = lake.snapshots()
    lake.ok(singer.schema(), singer.records([1], version=NEW))
    assert version_of(lake) == "2"
    assert lake.snapshots() == snapshots


def test_an_incomplete_new_version_without_keys_changes_nothing(lake, singer):
    first(lake, singer, PLAIN)
    outcome = lake.load(singer.schema(keys=[]), singer.records([9], version=NEW), singer.state(s={"n": 2}))
    assert "full_table_completion" in str(outcome.error)
    assert outcome.error.exit_code != 0
    assert outcome.lines == [] or outcome.last_state == {"bookmarks": {"s": {"n": 1}}}
    assert lake.ids() == [1, 2, 3]
    assert version_of(lake) == "1"


def test_a_new_version_of_zero_rows_changes_nothing(lake, singer, keys):
    first(lake, singer, keys)
    outcome = lake.ok(singer.schema(keys=keys), singer.activate(NEW), singer.state(s={"n": 1}))
    assert lake.ids() == [1, 2, 3]
    assert outcome.error is None


@pytest.mark.parametrize("allowed", [True, False], ids=["allowed", "not-allowed"])
def test_zero_rows_announced_twice_empty_the_table_only_when_allowed(lake, singer, keys, allowed):
    first(lake, singer, keys)
    outcome = lake.ok(
        singer.state(s={"n": 1}),
        singer.schema(keys=keys),
        singer.activate(NEW),
        singer.activate(NEW),
        singer.state(s={"n": 1}),
        allow_empty_full_table=allowed,
    )
    assert lake.ids() == ([] if allowed else [1, 2, 3])
    assert lake.rows() == [] or not allowed
    if not allowed:
        assert "allow_empty_full_table" in " ".join(outcome.stream()["warnings"])


@pytest.mark.parametrize("allowed", [True, False], ids=["allowed", "not-allowed"])
def test_a_table_that_is_emptied_after_rows_of_its_version_is_empty_only_when_allowed(
    lake, singer, keys, allowed
):
    first(lake, singer, keys)
    lake.ok(
        singer.state(s={"n": 1}),
        singer.schema(keys=keys),
        singer.records([4], version=OLD),
        singer.activate(NEW),
        singer.activate(NEW),
        singer.state(s={"n": 2}),
        allow_empty_full_table=allowed,
    )
    assert lake.ids() == ([] if allowed else [1, 2, 3, 4])


def test_one_version_for_ever_with_markers_at_both_ends_and_no_rows_empties_nothing(lake, singer, keys):
    first(lake, singer, keys)
    lake.ok(
        singer.state(s={"n": 1}),
        singer.schema(keys=keys),
        singer.activate(OLD),
        singer.activate(OLD),
        allow_empty_full_table=True,
    )
    assert lake.ids() == [1, 2, 3]


@pytest.mark.parametrize(
    ("before", "after", "complete"),
    [(1, 0, False), (0, 1, True), (1, 1, True), (0, 0, False), (2, 0, False)],
    ids=["first", "last", "both-ends", "never", "twice-first"],
)
def test_the_marker_proves_completion_only_after_rows(lake, singer, before, after, complete):
    first(lake, singer, KEYED)
    lake.ok(
        singer.schema(),
        *[singer.activate(NEW)] * before,
        singer.records([4], version=NEW),
        *[singer.activate(NEW)] * after,
    )
    assert lake.ids() == ([4] if complete else [1, 2, 3, 4])


def test_the_end_of_input_proves_completion_when_the_owner_says_so(lake, singer, keys):
    first(lake, singer, keys)
    lake.ok(singer.schema(keys=keys), singer.records([4], version=NEW), full_table_completion="end_of_input")
    assert lake.ids() == [4]


@pytest.mark.parametrize(
    "broken", ['{"type": "RECORD", "stream": "s", "rec', "Killed"], ids=["half-a-line", "noise"]
)
def test_a_broken_input_never_proves_completion(lake, singer, broken):
    first(lake, singer, PLAIN)
    data = (
        lake.file([singer.schema(keys=[]), *singer.records([4], version=NEW)]).read_bytes() + broken.encode()
    )
    done = lake.run(data, full_table_completion="end_of_input")
    assert done.returncode == 3, done.stderr
    assert lake.ids() == [1, 2, 3]


def test_one_version_for_ever_goes_on(lake, singer):
    first(lake, singer, KEYED)
    lake.ok(
        singer.schema(),
        singer.activate(OLD),
        singer.records([3, 4], name="b", version=OLD),
        singer.activate(OLD),
    )
    assert lake.names() == {1: "a1", 2: "a2", 3: "b3", 4: "b4"}


def test_one_version_for_ever_without_keys_appends(lake, singer):
    first(lake, singer, PLAIN)
    lake.ok(
        singer.state(s={"n": 1}),
        singer.schema(keys=[]),
        singer.activate(OLD),
        singer.records([3, 4], version=OLD),
    )
    assert lake.ids() == [1, 2, 3, 3, 4]


def test_two_versions_in_one_run_leave_the_complete_one(lake, singer, keys):
    lake.ok(
        singer.state(),
        singer.schema(keys=keys),
        singer.records([1, 2], version=OLD),
        singer.records([2, 3], name="b", version=NEW),
        singer.activate(NEW),
        singer.state(s={"n": 2}),
    )
    assert lake.names() == {2: "b2", 3: "b3"}


def test_a_second_version_that_breaks_off_leaves_the_first_without_keys(lake, singer):
    outcome = lake.load(
        singer.state(),
        singer.schema(keys=[]),
        singer.records([1, 2], version=OLD),
        singer.records([2, 3], name="b", version=NEW),
    )
    assert outcome.error is not None
    assert lake.ids() == [1, 2]


def test_of_two_new_versions_only_the_later_counts(lake, singer, keys):
    first(lake, singer, keys)
    lake.ok(
        singer.schema(keys=keys),
        singer.records([8], version=NEW),
        singer.records([9], version=3),
        singer.activate(3),
    )
    assert lake.ids() == [9]


def test_a_version_over_rows_without_one_is_new(lake, singer):
    lake.ok(singer.schema(), singer.records([1, 2]))
    lake.ok(singer.schema(), singer.records([2], version=NEW), singer.activate(NEW))
    assert lake.ids() == [2]


def test_duplicates_of_a_key_inside_a_version_end_as_the_last_one(lake, singer):
    first(lake, singer, KEYED)
    lake.ok(
        singer.schema(),
        singer.records([5, 4], version=NEW),
        singer.records([5], name="z", version=NEW),
        singer.activate(NEW),
    )
    assert lake.names() == {4: "a4", 5: "z5"}


def test_readers_see_the_old_table_until_the_new_version_is_complete(lake, singer, keys, monkeypatch):
    first(lake, singer, keys)
    seen = []
    from target_iceberg.loader import Loader

    original = Loader.take

    def take(self, item):
        original(self, item)
        seen.append(lake.ids())

    monkeypatch.setattr(Loader, "take", take)
    lake.ok(
        singer.schema(keys=keys),
        singer.records([4], version=NEW),
        singer.state(s={"n": 8}),
        singer.records([5], version=NEW),
        singer.activate(NEW),
        singer.state(s={"n": 9}),
        batch_size_rows=1,
    )
    assert all(ids in ([1, 2, 3], [4, 5]) for ids in seen)
    assert seen[2] == [1, 2, 3]
    assert seen[-1] == [4, 5]


def test_no_state_is_printed_while_a_new_version_waits(lake, singer):
    first(lake, singer, PLAIN)
    outcome = lake.ok(
        singer.state(s={"n": 1}),
        singer.schema(keys=[]),
        singer.schema("t"),
        singer.records([4], version=NEW),
        singer.state(s={"n": 8}, t={"n": 1}),
        singer.records([1], "t"),
        singer.state(s={"n": 8}, t={"n": 2}),
        singer.activate(NEW),
        singer.state(s={"n": 9}, t={"n": 2}),
        streams={"t": {"batch_size_rows": 1}},
    )
    assert all(one["bookmarks"].get("s") in ({"n": 1}, {"n": 9}) for one in outcome.states)
    assert outcome.last_state == {"bookmarks": {"s": {"n": 9}, "t": {"n": 2}}}


def test_the_second_read_of_the_same_rows_makes_no_snapshot(lake, singer, keys):
    first(lake, singer, keys)
    snapshots = lake.snapshots()
    outcome = lake.ok(singer.schema(keys=keys), singer.records([1, 2, 3], version=NEW), singer.activate(NEW))
    assert lake.snapshots() == snapshots
    assert version_of(lake) == "2"
    assert outcome.stream()["rows_unchanged"] == 3


# --- load methods ---------------------------------------------------------------------------------------


def test_overwrite_replaces_when_complete(lake, singer, keys):
    lake.ok(
        singer.schema(keys=keys),
        singer.records([1, 2], version=1),
        singer.activate(1),
        load_method="overwrite",
    )
    lake.ok(
        singer.schema(keys=keys), singer.records([3], version=1), singer.activate(1), load_method="overwrite"
    )
    assert lake.ids() == [3]


def test_overwrite_that_is_not_complete_changes_nothing_and_fails(lake, singer, keys):
    lake.ok(
        singer.schema(keys=keys),
        singer.records([1, 2], version=1),
        singer.activate(1),
        load_method="overwrite",
    )
    outcome = lake.load(
        singer.schema(keys=keys), singer.records([3]), singer.state(s={"n": 1}), load_method="overwrite"
    )
    assert "full_table_completion" in str(outcome.error)
    assert lake.ids() == [1, 2]
    assert outcome.lines == []


def test_overwrite_without_versions_takes_the_end_of_input_by_choice(lake, singer):
    for ids in ([1, 2], [3]):
        lake.ok(
            singer.schema(keys=[]),
            singer.records(ids),
            load_method="overwrite",
            full_table_completion="end_of_input",
        )
    assert lake.ids() == [3]


@pytest.mark.parametrize("method", ["upsert", "append-only"])
def test_named_methods_ignore_the_marker_and_say_so(lake, singer, method):
    keys = KEYED if method == "upsert" else PLAIN
    for version, ids in ((OLD, [1, 2]), (NEW, [3])):
        outcome = lake.ok(
            singer.schema(keys=keys),
            singer.records(ids, version=version),
            singer.activate(version),
            load_method=method,
        )
    assert lake.ids() == [1, 2, 3]
    assert "ACTIVATE_VERSION is ignored" in " ".join(outcome.stream()["evolved"])


def test_append_only_keeps_every_row_of_a_key(lake, singer):
    for _ in range(2):
        lake.ok(singer.schema(), singer.records([1, 1]), load_method="append-only")
    assert lake.ids() == [1, 1, 1, 1]


def test_upsert_needs_a_key(lake, singer):
    outcome = lake.load(singer.schema(keys=[]), singer.records([1]), load_method="upsert")
    assert "key_properties" in str(outcome.error)
    assert outcome.error.exit_code == 2
