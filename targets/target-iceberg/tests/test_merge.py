"""Merges by key: newest wins, deletes in their place, equal rows left alone, other engines' deletes respected."""

from __future__ import annotations

import json
import random
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.typedef import Record

from target_iceberg.methods.merging import Merging
from target_iceberg.methods.staging import Spool
from target_iceberg.tables.commit import Change, SchemaStage, commit_change

GONE = "2024-01-01T00:00:00Z"
NULLABLE = {"type": ["null", "string"]}


@pytest.fixture(params=["one-run", "over-runs", "marked", "small-commits"])
def play(request, lake, singer):
    """Load steps into a keyed stream: (id, name) writes, (id, None) deletes."""

    def message(step):
        key, name = step
        return singer.record(
            {"id": key, "_sdc_deleted_at": GONE} if name is None else {"id": key, "name": name}
        )

    def load(*steps):
        if request.param == "one-run":
            lake.ok(singer.schema(), [message(step) for step in steps])
        elif request.param in {"over-runs", "marked"}:
            mode = "auto" if request.param == "over-runs" else "merge-on-read"
            for step in steps:
                lake.ok(singer.schema(), message(step), merge_mode=mode)
        else:
            lake.ok(
                singer.schema(),
                [x for step in steps for x in (message(step), singer.state(s={"n": str(step)}))],
                batch_size_rows=1,
            )
        return lake.names()

    return load


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(1, "a"), (1, "b")], {1: "b"}),
        ([(1, "a"), (2, "x"), (1, "b"), (1, "c")], {1: "c", 2: "x"}),
        ([(1, "a"), (1, None)], {}),
        ([(1, "a"), (2, "x"), (1, None)], {2: "x"}),
        ([(1, None), (1, "a")], {1: "a"}),
        ([(2, "x"), (1, "a"), (1, None), (1, "b")], {1: "b", 2: "x"}),
        ([(2, "x"), (1, "a"), (1, None), (1, "b"), (1, None)], {2: "x"}),
        ([(2, "x"), (9, None)], {2: "x"}),
        ([(1, "a"), (2, "b"), (3, "c"), (2, None), (3, "d"), (1, None), (2, "e")], {2: "e", 3: "d"}),
    ],
    ids=[
        "twice",
        "thrice",
        "then-gone",
        "one-gone",
        "gone-first",
        "back",
        "gone-again",
        "never-there",
        "mixed",
    ],
)
def test_the_newest_of_each_key_wins_and_deletes_keep_their_place(play, steps, expected):
    assert play(*steps) == expected


# --- keys of every type ---------------------------------------------------------------------------------

MONEY = {
    "type": "number",
    "x-sql-datatype": "decimal",
    "x-sql-datatype-properties": {"precision": 38, "scale": 10},
}
KEYS = {
    "integer": ({"type": "integer"}, [-(2**63), 0, 2**63 - 1]),
    "small-integer": ({"type": "integer", "minimum": -100, "maximum": 100}, [-100, 0, 100]),
    "boolean": ({"type": "boolean"}, [True, False]),
    "double": ({"type": "number"}, [0.1, -0.0, 1e300]),
    "decimal": (MONEY, ["1234567890123456789012345678.0123456789", "-0.0000000001", "0"]),
    "string": ({"type": "string"}, ["", "a", "a\u0000b", "😀", "\U0010ffff", "é", "e\u0301", "x" * 5000]),
    "date": ({"type": "string", "format": "date"}, ["0001-01-01", "2024-02-29", "9999-12-31"]),
    "timestamptz": (
        {"type": "string", "format": "date-time"},
        ["0001-01-01T00:00:00Z", "2024-02-29T23:59:59.999999Z", "9999-12-31T23:59:59Z"],
    ),
    "timestamp": (
        {"type": "string", "format": "date-time", "x-sql-datatype": "timestamp"},
        ["2024-02-29T23:59:59.999999", "1969-12-31T23:59:59"],
    ),
    "time": ({"type": "string", "format": "time"}, ["00:00:00", "23:59:59.999999"]),
    "uuid": (
        {"type": "string", "format": "uuid"},
        ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    ),
    "binary": ({"type": "string", "contentEncoding": "base64"}, ["", "AA==", "AAE=", "/w=="]),
}


def raw(values: dict) -> str:
    """A RECORD line; decimals are given as text and written as numbers with all digits."""
    members = ", ".join(f'"{name}": {value}' for name, value in values.items())
    return f'{{"type": "RECORD", "stream": "s", "record": {{{members}}}}}'


def text_of(value, kind):
    return value if kind is MONEY else json.dumps(value)


@pytest.mark.parametrize(("kind", "values"), KEYS.values(), ids=KEYS)
def test_keys_of_every_type_meet_again(lake, singer, kind, values):
    head = singer.schema(properties={"k": kind, "v": {"type": "integer"}}, keys=["k"])
    texts = [text_of(value, kind) for value in values]
    lake.ok(head, [raw({"k": text, "v": 1}) for text in texts])
    again = lake.ok(head, [raw({"k": text, "v": 1}) for text in reversed(texts)])
    assert lake.snapshots() == 1
    assert again.stream()["rows_unchanged"] == len(values)
    changed = lake.ok(
        head, raw({"k": texts[0], "v": 2}), raw({"k": texts[-1], "_sdc_deleted_at": json.dumps(GONE)})
    )
    told = changed.stream()
    assert (told["rows_inserted"], told["rows_updated"], told["rows_deleted"]) == (0, 1, 1)
    found = lake.table().scan().to_arrow().to_pylist()
    assert sorted(row["v"] for row in found) == [1] * (len(values) - 2) + [2]


def test_composite_keys_need_all_their_parts(lake, singer):
    properties = {"a": {"type": "integer"}, "b": {"type": "string"}, "v": {"type": "integer"}}
    head = singer.schema(properties=properties, keys=["a", "b"])

    def rows(*items):
        return [singer.record(dict(zip("abv", item, strict=True))) for item in items]

    lake.ok(head, rows((1, "x", 1), (1, "y", 2), (2, "x", 3), (1, "x", 4)))
    lake.ok(head, rows((1, "y", 5), (2, "y", 6)))
    found = {(row["a"], row["b"]): row["v"] for row in lake.table().scan().to_arrow().to_pylist()}
    assert found == {(1, "x"): 4, (1, "y"): 5, (2, "x"): 3, (2, "y"): 6}


@pytest.mark.parametrize("row", [{"id": None, "name": "x"}, {"name": "x"}], ids=["null", "missing"])
def test_a_row_without_its_key_is_refused_and_kept(lake, singer, row):
    outcome = lake.ok(singer.schema(), singer.records([1]), singer.record(row), singer.records([2]))
    assert lake.ids() == [1, 2]
    assert outcome.stream()["rows_rejected"] == 1
    kept = lake.table("s__rejected").scan().to_arrow().to_pylist()
    assert [one["column"] for one in kept] == ["id"]


def test_a_key_that_is_stored_twice_stops_nothing_and_ends_as_one(lake, singer):
    lake.ok(singer.schema(), singer.records([1, 2, 3]))
    table = lake.table()
    table.append(table.scan().to_arrow().slice(0, 2))
    lake.ok(singer.schema(), singer.records([1], name="new"))
    found = sorted((row["id"], row["name"]) for row in lake.rows())
    assert found == [(1, "new1"), (2, "a2"), (2, "a2"), (3, "a3")]
    lake.ok(singer.schema(), singer.record({"id": 2, "_sdc_deleted_at": GONE}))
    assert lake.ids() == [1, 3]


def test_keys_that_were_promoted_in_the_middle_of_a_run(lake, singer):
    small = {"id": {"type": "integer", "minimum": 0, "maximum": 1000}, "name": NULLABLE}
    big = {"id": {"type": "integer"}, "name": NULLABLE}
    lake.ok(singer.schema(properties=small), singer.records([1, 2]))
    lake.ok(
        singer.schema(properties=small),
        singer.records([2, 3], name="b"),
        singer.schema(properties=big),
        singer.records([3, 2**40], name="c"),
    )
    assert lake.names() == {1: "a1", 2: "b2", 3: "c3", 2**40: f"c{2**40}"}
    assert [row["id"] for row in lake.rows()] == [1, 2, 3, 2**40]


# --- what is equal --------------------------------------------------------------------------------------

OBJECT = {"type": ["null", "object"], "properties": {"x": {"type": ["null", "number"]}, "j": {}}}
SAME = {
    "integer-1.0": ({"type": "integer"}, "1", "1.0"),
    "decimal": (MONEY, "1.0", "1.00"),
    "minus-zero": ({"type": "number"}, "-0.0", "0.0"),
    "json-order": ({}, '{"a": 1, "b": [1, 2]}', '{"b":[1,2],"a":1}'),
    "null-absent": (NULLABLE, "null", None),
    "offset": (
        {"type": "string", "format": "date-time"},
        '"2024-01-01T02:00:00+02:00"',
        '"2024-01-01T00:00:00Z"',
    ),
    "nested-minus-zero": (OBJECT, '{"x": -0.0}', '{"x": 0.0}'),
    "nested-json": (OBJECT, '{"j": {"a": 1, "b": 2}}', '{"j": {"b": 2, "a": 1}}'),
    "map-order": (
        {"type": "object", "additionalProperties": {"type": "integer"}},
        '{"a": 1, "b": 2}',
        '{"b": 2, "a": 1}',
    ),
}
OTHER = {
    "case": (NULLABLE, '"a"', '"A"'),
    "normal-form": (NULLABLE, '"\\u00e9"', '"e\\u0301"'),
    "null-empty": (NULLABLE, "null", '""'),
    "null-list": ({"type": ["null", "array"], "items": {"type": "integer"}}, "null", "[]"),
    "list-order": ({"type": "array", "items": {"type": "integer"}}, "[1, 2]", "[2, 1]"),
    "json-null": ({}, "null", '"null"'),
    "decimal": (MONEY, "1.0000000001", "1"),
    "last-digit": ({"type": "integer"}, "9007199254740993", "9007199254740992"),
    "null-object": (OBJECT, "null", '{"x": null}'),
}


@pytest.mark.parametrize(("kind", "one", "other"), SAME.values(), ids=SAME)
def test_values_that_are_equal_make_no_snapshot(lake, singer, kind, one, other):
    head = singer.schema(properties={"id": {"type": "integer"}, "v": kind})
    lake.ok(head, raw({"id": 1, "v": one}))
    outcome = lake.ok(head, raw({"id": 1} if other is None else {"id": 1, "v": other}))
    assert outcome.stream()["rows_unchanged"] == 1
    assert lake.snapshots() == 1


@pytest.mark.parametrize(("kind", "one", "other"), OTHER.values(), ids=OTHER)
def test_values_that_differ_are_written(lake, singer, kind, one, other):
    head = singer.schema(properties={"id": {"type": "integer"}, "v": kind})
    lake.ok(head, raw({"id": 1, "v": one}))
    outcome = lake.ok(head, raw({"id": 1, "v": other}))
    assert outcome.stream()["rows_updated"] == 1
    lake.ok(head, raw({"id": 1, "v": one}))
    assert lake.snapshots() == 3


def test_without_skip_unchanged_equal_rows_are_written_again(lake, singer):
    for _ in range(2):
        lake.ok(singer.schema(), singer.records([1]), skip_unchanged=False)
    assert lake.snapshots() == 2
    assert lake.ids() == [1]


def test_a_merge_touches_only_the_files_that_hold_its_keys(lake, singer):
    lake.ok(singer.schema(), singer.records([1, 2]))
    lake.ok(singer.schema(), singer.records([11, 12]))
    before = {task.file.file_path for task in lake.table().scan().plan_files()}
    lake.ok(singer.schema(), singer.records([11], name="new"))
    after = {task.file.file_path for task in lake.table().scan().plan_files()}
    assert len(before & after) == 1
    assert lake.names() == {1: "a1", 2: "a2", 11: "new11", 12: "a12"}
    head = lake.head()
    assert (head["total-records"], head["total-data-files"]) == ("4", "2")


# --- other engines --------------------------------------------------------------------------------------


def delete_positions(table, positions):
    """A position delete file over the table's only data file, as merge-on-read engines write it."""
    change = Change(added_deletes=[delete_file(table, positions)], parent=table.metadata.current_snapshot_id)
    commit_change(table, change, stage=SchemaStage(table))


def delete_file(table, positions):
    (task,) = table.scan().plan_files()
    path = f"{table.location()}/data/deletes-{len(table.metadata.snapshots)}.parquet"
    columns = pa.schema(
        [
            pa.field("file_path", pa.string(), False, {"PARQUET:field_id": "2147483546"}),
            pa.field("pos", pa.int64(), False, {"PARQUET:field_id": "2147483545"}),
        ]
    )
    rows = pa.table({"file_path": [task.file.file_path] * len(positions), "pos": positions}, schema=columns)
    with table.io.new_output(path).create() as sink:
        pq.write_table(rows, sink)
    nothing = {
        key: {}
        for key in (
            "column_sizes",
            "value_counts",
            "null_value_counts",
            "nan_value_counts",
            "lower_bounds",
            "upper_bounds",
        )
    }
    return DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=len(positions),
        file_size_in_bytes=len(table.io.new_input(path)),
        split_offsets=None,
        sort_order_id=None,
        equality_ids=None,
        key_metadata=None,
        **nothing,
    )


def test_rows_that_another_engine_deleted_stay_deleted_and_can_come_back(lake, singer):
    lake.ok(singer.schema(), singer.records([1, 2, 3, 4]))
    delete_positions(lake.table(), [1, 2])
    assert [row["id"] for row in lake.rows()] == [1, 4]
    outcome = lake.ok(singer.schema(), singer.records([4], name="new"), singer.records([2, 5]))
    told = outcome.stream()
    assert (told["rows_inserted"], told["rows_updated"], told["rows_unchanged"]) == (2, 1, 0)
    assert lake.names() == {1: "a1", 2: "a2", 4: "new4", 5: "a5"}
    assert [row["id"] for row in lake.rows()] == [1, 2, 4, 5]


def test_a_deleted_row_comes_back_also_when_nothing_else_of_its_file_changes(lake, singer):
    lake.ok(singer.schema(), singer.records([1, 2, 3]))
    delete_positions(lake.table(), [0])
    lake.ok(singer.schema(), singer.records([1, 2]))
    assert lake.ids() == [1, 2, 3]
    assert [row["id"] for row in lake.rows()] == [1, 2, 3]


def test_a_key_less_load_leaves_deletes_of_other_engines_alone(lake, singer):
    lake.ok(singer.schema(keys=[]), singer.records([1, 2, 3]))
    delete_positions(lake.table(), [0])
    lake.ok(singer.schema(keys=[]), singer.records([4]))
    assert [row["id"] for row in lake.rows()] == [2, 3, 4]


def test_a_new_version_drops_deletes_of_other_engines_with_the_rows(lake, singer):
    lake.ok(singer.schema(), singer.records([1, 2, 3], version=1))
    delete_positions(lake.table(), [0])
    lake.ok(singer.schema(), singer.records([1], version=2), singer.activate(2))
    assert [row["id"] for row in lake.rows()] == [1]


# --- nested nulls ---------------------------------------------------------------------------------------


def test_nested_nulls_stay_null_after_copy_on_write(lake, singer):
    item = {"type": ["null", "object"], "properties": {"x": {"type": ["null", "integer"]}}}
    properties = {
        "id": {"type": "integer"},
        "n": {"type": ["null", "integer"]},
        "l": {"type": ["null", "array"], "items": item},
        "m": {"type": ["null", "object"], "additionalProperties": item},
        "o": {"type": ["null", "object"], "properties": {"l": {"type": ["null", "array"], "items": item}}},
    }
    head = singer.schema(properties=properties)
    given = [
        {"id": 1, "l": None, "m": None, "o": None},
        {"id": 2, "l": [], "m": {}, "o": {"l": None}},
        {"id": 3, "l": [None, {"x": None}, {"x": 1}], "m": {"a": None, "b": {"x": None}}, "o": {"l": []}},
        {"id": 4, "l": [{"x": 7}], "m": {"a": {"x": 7}}, "o": {"l": [None]}},
    ]
    lake.ok(head, [singer.record(row) for row in given])
    first = lake.rows()
    lake.ok(head, singer.record(given[3] | {"n": 1}))
    second = lake.rows()
    assert lake.snapshots() == 2
    assert first[:3] == second[:3]
    assert [row["l"] for row in second] == [row["l"] for row in given]
    assert [None if row["m"] is None else dict(row["m"]) for row in second] == [row["m"] for row in given]
    assert [row["o"] for row in second] == [row["o"] for row in given]
    again = lake.ok(head, [singer.record(row) for row in given[:3]])
    assert again.stream()["rows_unchanged"] == 3


def test_decimals_keep_all_their_digits_through_a_merge(lake, singer):
    digits = "1234567890123456789012345678.0123456789"
    head = singer.schema(properties={"id": {"type": "integer"}, "v": MONEY})
    lake.ok(head, raw({"id": 1, "v": digits}), raw({"id": 2, "v": "1"}))
    lake.ok(head, raw({"id": 2, "v": "2"}))
    assert lake.rows()[0]["v"] == Decimal(digits)


# --- first loads of several commits ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        pytest.param([5, 6, 7], {1: "a1", 2: "a2", 3: "a3", 5: "b5", 6: "b6", 7: "b7"}, id="beyond"),
        pytest.param([3, 4], {1: "a1", 2: "a2", 3: "b3", 4: "b4"}, id="meeting-the-last-key"),
        pytest.param([5, 2], {1: "a1", 2: "b2", 3: "a3", 5: "b5"}, id="falling"),
        pytest.param([5, 5], {1: "a1", 2: "a2", 3: "a3", 5: "b5"}, id="twice"),
        pytest.param([0], {0: "b0", 1: "a1", 2: "a2", 3: "a3"}, id="below"),
    ],
)
def test_further_commits_of_a_first_load_compare_what_may_meet_stored_keys(lake, singer, second, expected):
    lake.ok(
        singer.schema(),
        singer.records([1, 2, 3], name="a"),
        singer.state(s=3),
        singer.records(second, name="b"),
        singer.state(s=4),
        singer.records([9], name="c"),
        singer.state(s=9),
        batch_size_rows=1,
    )

    assert lake.names() == {**expected, 9: "c9"}


@pytest.mark.parametrize("keys", [range(5), [1, 4, 0, 3, 2]], ids=["rising", "nearly-in-order"])
def test_keys_that_came_in_no_commit_before_are_written_without_a_spool(lake, singer, monkeypatch, keys):
    monkeypatch.setattr(Spool, "write", None)
    lake.ok(
        singer.schema(),
        *(part for n in keys for part in (singer.records([n]), singer.state(s=n))),
        batch_size_rows=1,
    )

    assert len(lake.names()) == 5
    assert len(lake.table().metadata.snapshots) == 5


def test_a_delete_in_a_further_commit_of_a_first_load_finds_its_row(lake, singer):
    lake.ok(
        singer.schema(),
        singer.records([1, 2]),
        singer.state(s=2),
        singer.records([3]),
        singer.record({"id": 1, "_sdc_deleted_at": "2024-01-01T00:00:00Z"}),
        singer.state(s=3),
        batch_size_rows=1,
    )

    assert sorted(lake.names()) == [2, 3]


@pytest.mark.parametrize("seed", range(6))
def test_the_last_row_of_a_key_wins_over_the_commits_of_a_first_load(lake, singer, seed):
    """Keys come nearly in order; in most loads some come again, in their commit or in a later one."""
    chance = random.Random(seed)
    keys = sorted(range(0, 60, chance.choice([1, 3])), key=lambda key: key + chance.randrange(20))
    for _ in range(chance.randrange(3)):
        keys.insert(chance.randrange(len(keys)), chance.choice(keys))
    rows = [{"id": key, "name": str(place)} for place, key in enumerate(keys)]
    parts = [rows[start : start + 7] for start in range(0, len(rows), 7)]

    lake.ok(
        singer.schema(),
        *([*map(singer.record, part), singer.state(s=part[0]["name"])] for part in parts),
        batch_size_rows=chance.choice([1, 20]),
    )

    assert lake.names() == {row["id"]: row["name"] for row in rows}


def test_keys_that_another_pipeline_wrote_during_a_first_load_are_compared(lake, singer, monkeypatch):
    """The keys 5 and 2 are new to the first load's own commits, not to the table."""
    commit, others = Merging.commit, [singer.records([2, 5, 7], name="b")]

    def commit_between(self, *, at_end):
        commit(self, at_end=at_end)
        if others:
            lake.ok(singer.schema(), others.pop(), pipeline="two")

    monkeypatch.setattr(Merging, "commit", commit_between)
    lake.ok(
        singer.schema(),
        singer.records([1, 9], name="a"),
        singer.state(s=1),
        singer.records([5, 2], name="c"),
        singer.state(s=2),
        pipeline="one",
        batch_size_rows=1,
    )

    assert not others
    assert lake.names() == {1: "a1", 2: "c2", 5: "c5", 7: "b7", 9: "a9"}
