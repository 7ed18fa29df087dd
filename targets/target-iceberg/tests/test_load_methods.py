"""`snapshot-diff`, `history`, soft deletes and refused mass deletes, case by case."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from target_iceberg.tables import loaded_table as module

GONE = "2024-01-02T03:04:05Z"
GONE_AT = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
DIFF = {"load_method": "snapshot-diff"}
HISTORY = {"load_method": "history"}
SOFT = {"delete_mode": "soft"}
SOFT_DIFF = {**DIFF, **SOFT}
TIMED = {
    "id": {"type": "integer"},
    "at": {"type": ["null", "string"], "format": "date-time"},
    "v": {"type": ["null", "string"]},
}


def deletes(singer, *ids, at=GONE):
    return [singer.record({"id": one, "_sdc_deleted_at": at}) for one in ids]


def read(singer, rows, *, version, **schema):
    """A complete full read."""
    return [
        singer.schema(**schema),
        *[singer.record(row, version=version) for row in rows],
        singer.activate(version),
    ]


def load(lake, head, *messages, apart, **config):
    """Load messages; `apart` from each other, so that each row is a commit of its own, or all in one."""
    flat = [one for part in messages for one in (part if isinstance(part, list) else [part])]
    if apart:
        flat = [
            one for number, row in enumerate(flat) for one in (row, {"type": "STATE", "value": {"n": number}})
        ]
    return lake.ok(head, flat, batch_size_rows=1 if apart else 1000, **config)


def people(*pairs):
    return [{"id": one, "name": name} for one, name in pairs]


def stored(lake):
    return lake.table().scan().to_arrow().to_pylist()


# --- snapshot-diff -------------------------------------------------------------------------------


def test_a_full_read_inserts_updates_and_deletes_in_one_snapshot(lake, singer):
    lake.ok(read(singer, people((1, "a"), (2, "b"), (3, "c")), version=1), **DIFF)
    before = lake.snapshots()
    outcome = lake.ok(read(singer, people((2, "b"), (3, "new"), (4, "d")), version=2), **DIFF)
    assert lake.rows() == people((2, "b"), (3, "new"), (4, "d"))
    assert lake.snapshots() == before + 1
    counts = outcome.stream()
    assert [counts["rows_" + word] for word in ("inserted", "updated", "deleted", "unchanged")] == [
        1,
        1,
        1,
        1,
    ]


def test_a_full_read_that_changes_nothing_makes_no_snapshot(lake, singer):
    rows = people((1, "a"), (2, "b"))
    lake.ok(read(singer, rows, version=1), **DIFF)
    before = lake.snapshots()
    outcome = lake.ok(read(singer, rows[::-1], version=2), singer.state(s={"n": 2}), **DIFF)
    assert lake.snapshots() == before
    assert outcome.stream()["rows_unchanged"] == 2
    assert outcome.last_state == {"bookmarks": {"s": {"n": 2}}}
    assert lake.table().properties["icetap.version"] == "2"


def test_only_files_with_changed_rows_are_written_again(lake, singer):
    lake.ok(read(singer, people(*((n, "a") for n in range(50))), version=1), **DIFF)
    lake.ok(read(singer, people(*((n, "a") for n in range(100))), version=2), **DIFF)
    files = set(lake.table().inspect.files()["file_path"].to_pylist())
    lake.ok(read(singer, people(*((n, "a" if n < 99 else "b") for n in range(100))), version=3), **DIFF)
    assert len(files & set(lake.table().inspect.files()["file_path"].to_pylist())) == 1


def test_an_incomplete_full_read_changes_nothing_and_ends_with_an_error(lake, singer):
    lake.ok(read(singer, people((1, "a"), (2, "b")), version=1), **DIFF)
    outcome = lake.load(singer.schema(), singer.record({"id": 1, "name": "x"}, version=2), **DIFF)
    assert "not complete" in str(outcome.error)
    assert lake.rows() == people((1, "a"), (2, "b"))


def test_keys_that_are_stored_twice_are_left_once(lake, singer):
    lake.ok(singer.schema(keys=[]), singer.records([1, 1, 2]), load_method="append-only")
    table = lake.table()
    with table.transaction() as transaction:
        transaction.set_properties({"icetap.keys": "id"})
    lake.ok(read(singer, people((1, "a1"), (2, "a2")), version=2), **DIFF)
    assert lake.rows() == people((1, "a1"), (2, "a2"))


def test_a_snapshot_diff_without_keys_is_refused(lake, singer):
    outcome = lake.load(read(singer, people((1, "a")), version=1, keys=[]), **DIFF)
    assert "key_properties" in str(outcome.error)


def test_refused_rows_keep_a_full_read_from_deleting(lake, singer):
    """Their keys are not known: what does not come may be among them."""
    lake.ok(read(singer, people((1, "a"), (2, "b"), (3, "c")), version=1), **DIFF)
    bad = singer.record({"id": 2, "name": {"no": "text"}}, version=2)
    outcome = lake.ok(
        singer.schema(), bad, singer.record({"id": 1, "name": "x"}, version=2), singer.activate(2), **DIFF
    )
    assert lake.rows() == people((1, "x"), (2, "b"), (3, "c"))
    assert "refused" in " ".join(outcome.stream()["warnings"])


def test_the_end_of_input_proves_nothing_when_the_tap_went_on_from_a_bookmark(lake, singer):
    lake.ok(read(singer, people((1, "a"), (2, "b")), version=1), **DIFF)
    for start in ({"version": 1, "position": {"id": 1}}, singer.at(2)):
        outcome = lake.load(
            singer.state(s=start),
            singer.schema(),
            singer.record({"id": 2, "name": "b"}, version=1),
            full_table_completion="end_of_input",
            **DIFF,
        )
        assert "began at a bookmark" in str(outcome.error)
        assert lake.ids() == [1, 2]


KEY_TYPES = {
    "text-and-day": (
        {"a": {"type": "string"}, "b": {"type": "string", "format": "date"}},
        [{"a": "x", "b": "2024-01-01"}, {"a": "x", "b": "2024-01-02"}, {"a": "x\u0000", "b": "2024-01-01"}],
    ),
    "uuid": (
        {"a": {"type": "string", "format": "uuid"}},
        [{"a": f"00000000-0000-4000-8000-00000000000{n}"} for n in range(3)],
    ),
    "decimal": (
        {"a": {"type": "number", "multipleOf": 0.01, "minimum": -1000, "maximum": 1000}},
        [{"a": 1.5}, {"a": 1.51}, {"a": -2}],
    ),
    "time": (
        {"a": {"type": "string", "format": "date-time"}},
        [{"a": f"2024-01-01T00:00:00.00000{n}Z"} for n in range(3)],
    ),
}


@pytest.mark.parametrize("settings", [DIFF, SOFT_DIFF, HISTORY], ids=["hard", "soft", "history"])
@pytest.mark.parametrize("kind", KEY_TYPES)
def test_full_reads_are_compared_by_keys_of_every_kind(lake, singer, kind, settings):
    properties, keys = KEY_TYPES[kind]
    schema = {"properties": {**properties, "v": {"type": ["null", "string"]}}, "keys": list(properties)}
    rows = [{**key, "v": "old"} for key in keys]
    lake.ok(read(singer, rows, version=1, **schema), **settings)
    outcome = lake.ok(read(singer, [{**rows[0], "v": "new"}, rows[1]], version=2, **schema), **settings)
    counts = outcome.stream()
    assert [counts["rows_" + word] for word in ("updated", "deleted", "unchanged")] == [1, 1, 1]
    live = [
        row["v"]
        for row in stored(lake)
        if row.get("_sdc_deleted_at") is None and row.get("_is_current", True)
    ]
    assert sorted(live) == ["new", "old"]


@pytest.mark.parametrize("settings", [DIFF, HISTORY], ids=["snapshot-diff", "history"])
def test_the_columns_of_the_run_change_no_row(lake, singer, settings):
    rows = people((1, "a"), (2, "b"))
    lake.ok(read(singer, rows, version=1), add_record_metadata=True, **settings)
    snapshots = lake.snapshots()
    outcome = lake.ok(read(singer, rows, version=2), add_record_metadata=True, **settings)
    assert (lake.snapshots(), outcome.stream()["rows_unchanged"]) == (snapshots, 2)


@pytest.mark.parametrize("method", ["overwrite", "snapshot-diff"])
def test_no_state_is_printed_from_which_a_full_read_would_never_be_complete(lake, singer, method):
    """A tap that was stopped right behind its last row has said where it could go on."""
    rows = [singer.record(row, version=2) for row in people((1, "a"), (2, "b"))]
    midway = {"version": 2, "position": {"id": 2}}
    outcome = lake.ok(
        singer.state(s={"version": 1}),
        singer.schema(),
        rows,
        singer.state(s=midway),
        singer.activate(2),
        load_method=method,
    )
    assert lake.ids() == [1, 2]
    assert {"bookmarks": {"s": midway}} not in outcome.states
    outcome = lake.ok(
        singer.state(s={"version": 1}),
        singer.schema(),
        rows,
        singer.state(s=midway),
        singer.activate(2),
        singer.state(s={"version": 2}),
        load_method=method,
    )
    assert outcome.last_state == {"bookmarks": {"s": {"version": 2}}}


# --- soft deletes --------------------------------------------------------------------------------


def marks(lake):
    return {row["id"]: (row["name"], row["_sdc_deleted_at"]) for row in lake.rows()}


def test_a_soft_delete_marks_the_row_and_a_new_row_clears_the_mark(lake, singer):
    lake.ok(singer.schema(), singer.records([1, 2, 3]), **SOFT)
    outcome = lake.ok(singer.schema(), deletes(singer, 2, 9), **SOFT)
    assert marks(lake) == {1: ("a1", None), 2: ("a2", GONE_AT), 3: ("a3", None)}
    assert (outcome.stream()["rows_deleted"], outcome.stream()["rows_updated"]) == (1, 0)
    snapshots = lake.snapshots()
    lake.ok(singer.schema(), deletes(singer, 2, at="2025-01-01T00:00:00Z"), **SOFT)
    assert (marks(lake)[2], lake.snapshots()) == (("a2", GONE_AT), snapshots)
    lake.ok(singer.schema(), singer.records([2]), **SOFT)
    assert marks(lake)[2] == ("a2", None)


@pytest.mark.parametrize("has_rows", [True, False], ids=["table-with-rows", "first-load"])
@pytest.mark.parametrize("apart", [True, False], ids=["each-row-a-commit", "one-commit"])
def test_a_soft_delete_behind_its_row_marks_that_row(lake, singer, has_rows, apart):
    if has_rows:
        lake.ok(singer.schema(), singer.records([1, 8], name="old"), **SOFT)
    load(
        lake,
        singer.schema(),
        singer.records([1, 2, 3]),
        deletes(singer, 1, 2),
        singer.records([2], name="back"),
        apart=apart,
        **SOFT,
    )
    expected = {1: ("a1", GONE_AT), 2: ("back2", None), 3: ("a3", None)}
    assert marks(lake) == ({8: ("old8", None)} | expected if has_rows else expected)


@pytest.mark.parametrize("method", ["snapshot-diff", "auto"])
def test_rows_that_are_gone_from_a_full_read_are_marked_and_can_come_back(lake, singer, method):
    settings = {"load_method": method, **SOFT}
    lake.ok(read(singer, people((1, "a"), (2, "b"), (3, "c")), version=1), **settings)
    outcome = lake.ok(read(singer, people((1, "a"), (3, "c")), version=2), **settings)
    found = marks(lake)
    assert [found[one][1] is None for one in (1, 2, 3)] == [True, False, True]
    assert (outcome.stream()["rows_deleted"], outcome.stream()["rows_unchanged"]) == (1, 2)
    snapshots = lake.snapshots()
    lake.ok(read(singer, people((1, "a"), (3, "c")), version=3), **settings)
    assert (marks(lake), lake.snapshots()) == (found, snapshots)
    lake.ok(read(singer, people((1, "a"), (2, "b"), (3, "c")), version=4), **settings)
    assert marks(lake) == {1: ("a", None), 2: ("b", None), 3: ("c", None)}


# --- history -------------------------------------------------------------------------------------


def at(day, hour=0):
    return f"2024-03-{day:02d}T{hour:02d}:00:00Z"


def timed(lake):
    """(id, v, from, to) of each version, with days for times; the current ones end with None."""
    found = []
    for row in sorted(stored(lake), key=lambda one: (one["id"], one["_valid_from"])):
        assert row["_is_current"] == (row["_valid_to"] is None)
        found.append((row["id"], row["v"], row["_valid_from"].day, row["_valid_to"] and row["_valid_to"].day))
    return found


def versions(lake):
    """The names of each key's versions in their order, and whether the last one is current; intervals must fit."""
    found: dict = {}
    for row in sorted(stored(lake), key=lambda one: (one["id"], one["_valid_from"])):
        before = found.setdefault(row["id"], [])
        if before:
            assert before[-1]["_valid_to"] is not None, "two versions are current"
            assert before[-1]["_valid_to"] <= row["_valid_from"], "versions overlap"
        assert row["_valid_to"] is None or row["_valid_to"] > row["_valid_from"]
        assert row["_is_current"] == (row["_valid_to"] is None)
        before.append(row)
    return {key: ([row["name"] for row in rows], rows[-1]["_is_current"]) for key, rows in found.items()}


@pytest.fixture(params=[True, False], ids=["each-row-a-commit", "one-commit"])
def apart(request):
    return request.param


def timed_load(lake, singer, *rows, apart):
    records = [row if "type" in row else singer.record(row) for row in rows]
    return load(lake, singer.schema(properties=TIMED, cursor="at"), records, apart=apart, **HISTORY)


def test_each_change_is_a_version_that_begins_at_its_replication_key(lake, singer, apart):
    rows = [
        {"id": 1, "at": at(1), "v": "a"},
        {"id": 2, "at": at(1), "v": "x"},
        {"id": 1, "at": at(3), "v": "b"},
    ]
    timed_load(lake, singer, *rows, apart=apart)
    timed_load(lake, singer, {"id": 1, "at": at(5), "v": "c"}, apart=apart)
    assert timed(lake) == [(1, "a", 1, 3), (1, "b", 3, 5), (1, "c", 5, None), (2, "x", 1, None)]
    snapshots = lake.snapshots()
    outcome = timed_load(lake, singer, *rows, {"id": 1, "at": at(5), "v": "c"}, apart=apart)
    assert lake.snapshots() == snapshots
    assert outcome.stream()["rows_unchanged"] + outcome.stream()["rows_repeated"] == 4


def test_a_row_that_comes_late_takes_its_place_in_time(lake, singer, apart):
    timed_load(lake, singer, {"id": 1, "at": at(5), "v": "e"}, {"id": 1, "at": at(9), "v": "i"}, apart=apart)
    timed_load(lake, singer, {"id": 1, "at": at(7), "v": "g"}, {"id": 1, "at": at(2), "v": "b"}, apart=apart)
    assert timed(lake) == [(1, "b", 2, 5), (1, "e", 5, 7), (1, "g", 7, 9), (1, "i", 9, None)]


def test_of_two_rows_for_one_moment_the_last_one_counts(lake, singer, apart):
    timed_load(lake, singer, {"id": 1, "at": at(1), "v": "a"}, {"id": 1, "at": at(1), "v": "b"}, apart=apart)
    assert timed(lake) == [(1, "b", 1, None)]
    timed_load(lake, singer, {"id": 1, "at": at(1), "v": "c"}, {"id": 1, "at": at(4), "v": "d"}, apart=apart)
    assert timed(lake) == [(1, "c", 1, 4), (1, "d", 4, None)]


def test_a_delete_closes_the_version_and_a_key_can_come_back(lake, singer, apart):
    first = [{"id": 1, "at": at(1), "v": "a"}, *deletes(singer, 1, at=at(4))]
    timed_load(lake, singer, *first, apart=apart)
    assert timed(lake) == [(1, "a", 1, 4)]
    outcome = timed_load(
        lake,
        singer,
        *first,
        *deletes(singer, 8, at=at(4)),
        {"id": 1, "at": at(6), "v": "b"},
        apart=apart,
    )
    assert timed(lake) == [(1, "a", 1, 4), (1, "b", 6, None)]
    assert outcome.stream()["rows_inserted"] == 1
    timed_load(
        lake,
        singer,
        {"id": 1, "at": at(2), "v": "late"},
        {"id": 1, "at": at(5), "v": "between"},
        apart=apart,
    )
    assert timed(lake) == [(1, "a", 1, 2), (1, "late", 2, 4), (1, "between", 5, 6), (1, "b", 6, None)]


def test_a_delete_at_the_moment_of_its_row_leaves_a_version_of_no_length(lake, singer, apart):
    timed_load(lake, singer, {"id": 1, "at": at(3), "v": "a"}, *deletes(singer, 1, at=at(3)), apart=apart)
    assert timed(lake) == [(1, "a", 3, 3)]
    timed_load(lake, singer, {"id": 1, "at": at(5), "v": "b"}, apart=apart)
    assert timed(lake) == [(1, "a", 3, 3), (1, "b", 5, None)]


def test_without_a_time_versions_begin_with_their_load(lake, singer, apart):
    start = datetime.now(UTC)
    load(lake, singer.schema(), singer.records([1, 2]), apart=apart, **HISTORY)
    load(lake, singer.schema(), singer.records([1, 3]), apart=apart, **HISTORY)
    rows = {row["id"]: row for row in lake.rows()}
    assert len(lake.rows()) == 3
    assert start <= rows[1]["_valid_from"] <= rows[3]["_valid_from"] <= datetime.now(UTC)
    load(
        lake,
        singer.schema(),
        singer.records([1], name="b"),
        singer.records([1], name="b"),
        singer.records([1], name="c"),
        deletes(singer, 1),
        singer.records([1], name="c"),
        deletes(singer, 2),
        apart=apart,
        **HISTORY,
    )
    assert versions(lake) == {1: (["a1", "b1", "c1", "c1"], True), 2: (["a2"], False), 3: (["a3"], True)}


def test_a_number_as_replication_key_gives_order_but_no_time(lake, singer, apart):
    properties = {"id": {"type": "integer"}, "lsn": {"type": "integer"}, "name": {"type": ["null", "string"]}}
    head = singer.schema(properties=properties, cursor="lsn")
    log = [
        singer.record({"id": 1, "lsn": 1, "name": "a"}),
        singer.record({"id": 1, "lsn": 2, "name": "b"}),
        singer.record({"id": 1, "lsn": 3, "_sdc_deleted_at": GONE}),
        singer.record({"id": 1, "lsn": 4, "name": "a"}),
        singer.record({"id": 2, "lsn": 5, "name": "x"}),
        singer.record({"id": 2, "lsn": 6, "_sdc_deleted_at": GONE}),
    ]
    load(lake, head, log, apart=apart, **HISTORY)
    expected = {1: (["a", "b", "a"], True), 2: (["x"], False)}
    assert versions(lake) == expected
    snapshots = lake.snapshots()
    load(lake, head, log, apart=apart, **HISTORY)
    assert (versions(lake), lake.snapshots()) == (expected, snapshots)
    load(lake, head, log[1:], singer.record({"id": 2, "lsn": 7, "name": "y"}), apart=apart, **HISTORY)
    assert versions(lake) == {1: (["a", "b", "a"], True), 2: (["x", "y"], True)}


def test_a_complete_full_read_closes_missing_keys_and_they_can_come_back(lake, singer):
    lake.ok(read(singer, people((1, "a"), (2, "b"), (3, "c")), version=1), **HISTORY)
    outcome = lake.ok(read(singer, people((1, "a"), (3, "new")), version=2), **HISTORY)
    assert versions(lake) == {1: (["a"], True), 2: (["b"], False), 3: (["c", "new"], True)}
    counts = outcome.stream()
    assert [counts["rows_" + word] for word in ("inserted", "updated", "deleted", "unchanged")] == [
        1,
        1,
        1,
        1,
    ]
    snapshots = lake.snapshots()
    lake.ok(read(singer, people((1, "a"), (3, "new")), version=3), **HISTORY)
    assert lake.snapshots() == snapshots
    lake.ok(read(singer, people((1, "a"), (2, "b"), (3, "new")), version=4), **HISTORY)
    assert versions(lake)[2] == (["b", "b"], True)


def test_in_a_complete_full_read_an_older_time_is_current_all_the_same(lake, singer):
    rows = [{"id": 1, "at": at(5), "v": "a"}, {"id": 2, "at": at(5), "v": "b"}]
    lake.ok(read(singer, rows, version=1, properties=TIMED, cursor="at"), **HISTORY)
    restored = [{"id": 1, "at": at(3), "v": "restored"}, {"id": 2, "at": at(7), "v": "c"}]
    lake.ok(read(singer, restored, version=2, properties=TIMED, cursor="at"), **HISTORY)
    found = {row["v"]: row for row in stored(lake)}
    assert [found[v]["_is_current"] for v in ("a", "restored", "b", "c")] == [False, True, False, True]
    assert found["a"]["_valid_to"] == found["restored"]["_valid_from"] > found["c"]["_valid_from"]


def test_an_incomplete_full_read_closes_nothing_in_a_history(lake, singer):
    lake.ok(read(singer, people((1, "a"), (2, "b")), version=1), **HISTORY)
    lake.ok(singer.schema(), singer.record({"id": 1, "name": "x"}, version=2), **HISTORY)
    assert versions(lake) == {1: (["a", "x"], True), 2: (["b"], True)}


def test_full_reads_without_versions_are_taken_for_complete_when_the_owner_says_so(lake, singer):
    settings = {"full_table_completion": "end_of_input", **HISTORY}
    lake.ok(singer.schema(), singer.records([1, 2]), **settings)
    lake.ok(singer.schema(), singer.records([1]), **settings)
    assert versions(lake) == {1: (["a1"], True), 2: (["a2"], False)}


def test_a_new_column_makes_a_version_only_where_it_has_a_value(lake, singer, apart):
    wide = {
        "id": {"type": "integer"},
        "name": {"type": ["null", "string"]},
        "more": {"type": ["null", "string"]},
    }
    load(lake, singer.schema(), singer.records([1, 2]), apart=apart, **HISTORY)
    load(
        lake,
        singer.schema(properties=wide),
        singer.record({"id": 1, "name": "a1", "more": "m"}),
        singer.record({"id": 2, "name": "a2", "more": None}),
        apart=apart,
        **HISTORY,
    )
    assert versions(lake) == {1: (["a1", "a1"], True), 2: (["a2"], True)}
    assert [row["more"] for row in lake.rows() if row["_is_current"]] == ["m", None]


def test_a_history_needs_a_table_of_its_own_and_its_names(lake, singer):
    lake.ok(singer.schema(), singer.records([1]))
    assert "table_name" in str(lake.load(singer.schema(), singer.records([1]), **HISTORY).error)
    properties = {"id": {"type": "integer"}, "_valid_to": {"type": ["null", "string"]}}
    outcome = lake.load(singer.schema("o", properties=properties), singer.record({"id": 1}, "o"), **HISTORY)
    assert "_valid_to" in str(outcome.error)


# --- mass deletes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "ratio", "left", "refused"),
    [
        *((method, 0.5, 199, True) for method in ("auto", "overwrite", "snapshot-diff", "history")),
        ("auto", 0.5, 200, False),
        ("snapshot-diff", 0.5, 200, False),
        ("overwrite", 1, 1, False),
        ("history", 1, 1, False),
        ("auto", 0, 399, True),
        ("snapshot-diff", 0.01, 300, False),
    ],
)
def test_a_full_read_that_lacks_too_much_changes_nothing(lake, singer, method, ratio, left, refused):
    settings = {"load_method": method, "max_delete_ratio": ratio}
    rows = people(*((n, "a") for n in range(400)))
    lake.ok(read(singer, rows, version=1), singer.state(s={"n": 1}), **settings)
    outcome = lake.load(
        singer.state(s={"n": 1}), read(singer, rows[:left], version=2), singer.state(s={"n": 2}), **settings
    )
    current = [row for row in lake.rows() if row.get("_is_current", True)]
    assert len(current) == (400 if refused else left)
    if refused:
        assert f"delete {400 - left} of 400 rows" in str(outcome.error)
        assert "max_delete_ratio" in str(outcome.error)
        assert json.loads(lake.property()["bookmark"]) == {"n": 1}
        assert {"bookmarks": {"s": {"n": 2}}} not in outcome.states


def test_a_ratio_for_a_stream_is_a_part_not_a_percentage(lake, singer):
    outcome = lake.load(singer.schema(), singer.records([1]), streams={"s": {"max_delete_ratio": 50}})
    assert "setting 'streams.s.max_delete_ratio' is 50; expected 0 to 1" in str(outcome.error)


@pytest.mark.parametrize("method", ["auto", "overwrite", "snapshot-diff", "history"])
def test_an_empty_full_read_that_is_allowed_empties_tables_of_any_size(lake, singer, method):
    settings = {"load_method": method, "allow_empty_full_table": True}
    rows = people(*((n, "a") for n in range(400)))
    lake.ok(read(singer, rows, version=1), **settings)
    lake.ok(singer.schema(), singer.activate(2), singer.activate(2), **settings)
    assert not [row for row in lake.rows() if row.get("_is_current", True)]


# --- beside another writer -----------------------------------------------------------------------


@pytest.fixture
def meanwhile(monkeypatch):
    """Run something between the first plan of the loader and its commit."""

    def install(action):
        original = module.commit_change

        def commit(table, change, *, stage):
            monkeypatch.setattr(module, "commit_change", original)
            action()
            return original(table, change, stage=stage)

        monkeypatch.setattr(module, "commit_change", commit)

    return install


def test_a_snapshot_diff_is_planned_again_on_what_another_writer_left(lake, singer, meanwhile):
    lake.ok(read(singer, people((1, "a"), (2, "b"), (3, "c")), version=1), pipeline="one", **DIFF)
    other = [singer.schema(), *[singer.record(row) for row in people((2, "x"), (5, "y"))]]
    meanwhile(lambda: lake.ok(*other, pipeline="two"))
    lake.ok(read(singer, people((1, "a"), (2, "b"), (4, "d")), version=2), pipeline="one", **DIFF)
    assert lake.rows() == people((1, "a"), (2, "b"), (4, "d"))


def test_a_soft_delete_marks_the_row_that_another_writer_has_just_written(lake, singer, meanwhile):
    lake.ok(singer.schema(), singer.records([1, 2]), pipeline="one", **SOFT)
    meanwhile(lambda: lake.ok(singer.schema(), singer.records([1], name="b"), pipeline="two", **SOFT))
    outcome = lake.ok(singer.schema(), deletes(singer, 1), pipeline="one", **SOFT)
    assert marks(lake) == {1: ("b1", GONE_AT), 2: ("a2", None)}
    assert (outcome.stream()["rows_deleted"], outcome.stream()["rows_updated"]) == (1, 0)


def test_versions_of_two_writers_lie_on_one_line(lake, singer, meanwhile):
    def load_at(day, value, pipeline):
        row = singer.record({"id": 1, "at": at(day), "v": value})
        return lake.ok(singer.schema(properties=TIMED, cursor="at"), row, pipeline=pipeline, **HISTORY)

    load_at(1, "a", "one")
    meanwhile(lambda: load_at(4, "b", "two"))
    load_at(5, "c", "one")
    assert timed(lake) == [(1, "a", 1, 4), (1, "b", 4, 5), (1, "c", 5, None)]


@pytest.mark.parametrize("settings", [SOFT, HISTORY], ids=["soft", "history"])
def test_a_contract_does_not_leave_out_the_columns_of_the_loader(lake, singer, settings):
    rules = {"schema_policy": "discard", "streams": {"s": {"columns": {"_*": {"schema_policy": "discard"}}}}}
    lake.ok(singer.schema(), singer.records([1, 2]), **rules, **settings)
    lake.ok(singer.schema(), deletes(singer, 1), **rules, **settings)
    live = [
        row["id"]
        for row in stored(lake)
        if row.get("_sdc_deleted_at") is None and row.get("_is_current", True)
    ]
    assert (live, len(stored(lake))) == ([2], 2)
