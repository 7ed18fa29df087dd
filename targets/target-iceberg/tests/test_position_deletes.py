"""Merge-on-read: position delete files that every reader applies, and that leave when they have nothing to delete."""

from __future__ import annotations

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.table.snapshots import Operation

from icetap.data_files import OpenDataFile
from icetap.tables import read_table
from icetap.testing.engines import polars_rows
from icetap.testing.soundness import (
    agreed_rows,
    assert_sound,
    data_files,
    delete_files,
    delete_rows,
    in_one_form,
)
from target_iceberg.methods import merge
from target_iceberg.tables.commit import Change, SchemaStage, commit_change

GONE = "2024-01-01T00:00:00Z"
MARK = {"merge_mode": "merge-on-read"}
REWRITE = {"merge_mode": "copy-on-write"}
PATH, POS = 2147483546, 2147483545


# --- what is written ------------------------------------------------------------------------------------


def test_changed_rows_are_marked_in_one_delete_file_beside_the_data_file(lake, singer):
    lake.ok(singer.schema(), singer.records(range(1, 9)))
    (before,) = data_files(lake.table()).values()
    outcome = lake.ok(
        singer.schema(),
        singer.records([7, 2], name="new"),
        singer.record({"id": 4, "_sdc_deleted_at": GONE}),
        singer.records([9]),
        **MARK,
    )
    told = outcome.stream()
    assert (told["rows_inserted"], told["rows_updated"], told["rows_deleted"]) == (1, 2, 1)
    table = lake.table()
    assert before.data_file.file_path in data_files(table)
    (entry,) = delete_files(table).values()
    rows = delete_rows(table, entry.data_file)
    assert rows["pos"].to_pylist() == [1, 3, 6]
    assert set(rows["file_path"].to_pylist()) == {before.data_file.file_path}
    assert [int(field.metadata[b"PARQUET:field_id"]) for field in rows.schema] == [PATH, POS]
    assert [field.nullable for field in rows.schema] == [False, False]
    head = lake.head()
    assert table.current_snapshot().summary.operation == Operation.OVERWRITE
    assert (head["added-position-deletes"], head["added-delete-files"]) == ("3", "1")
    assert (head["added-position-delete-files"], head["added-records"]) == ("1", "3")
    assert_sound(table)
    names = {row["id"]: row["name"] for row in agreed_rows(lake.table())}
    assert names == {1: "a1", 2: "new2", 3: "a3", 5: "a5", 6: "a6", 7: "new7", 8: "a8", 9: "a9"}


def test_a_second_merge_takes_the_place_of_the_first_delete_file(lake, singer):
    lake.ok(singer.schema(), singer.records(range(1, 9)))
    lake.ok(singer.schema(), singer.records([2], name="b"), **MARK)
    (first,) = delete_files(lake.table())
    lake.ok(singer.schema(), singer.records([6], name="b"), **MARK)
    table = lake.table()
    (second,) = delete_files(table).values()
    assert second.data_file.file_path != first
    assert delete_rows(table, second.data_file)["pos"].to_pylist() == [1, 5]
    head = lake.head()
    assert (head["added-position-deletes"], head["removed-position-deletes"]) == ("2", "1")
    assert head["total-position-deletes"] == "2"
    assert_sound(table)
    assert len(agreed_rows(lake.table())) == 8


def test_deletes_alone_make_a_snapshot_that_says_so(lake, singer):
    lake.ok(singer.schema(), singer.records([1, 2, 3]))
    lake.ok(singer.schema(), singer.record({"id": 2, "_sdc_deleted_at": GONE}), **MARK)
    assert lake.table().current_snapshot().summary.operation == Operation.DELETE
    assert [row["id"] for row in agreed_rows(lake.table())] == [1, 3]


def test_a_file_that_loses_its_last_row_leaves_with_its_deletes(lake, singer):
    lake.ok(singer.schema(), singer.records([1, 2]))
    lake.ok(singer.schema(), singer.records([11, 12]), **MARK)
    lake.ok(singer.schema(), singer.records([1], name="b"), **MARK)
    assert len(delete_files(lake.table())) == 1
    lake.ok(singer.schema(), singer.record({"id": 2, "_sdc_deleted_at": GONE}), **MARK)
    assert not delete_files(lake.table())
    assert_sound(lake.table())
    assert {row["id"]: row["name"] for row in agreed_rows(lake.table())} == {1: "b1", 11: "a11", 12: "a12"}


def test_copy_on_write_takes_the_deletes_of_its_file_away(lake, singer):
    lake.ok(singer.schema(), singer.records(range(1, 9)))
    lake.ok(singer.schema(), singer.records([2], name="b"), **MARK)
    lake.ok(singer.schema(), singer.records([6], name="c"), **REWRITE)
    table = lake.table()
    assert not delete_files(table)
    head = lake.head()
    assert (head["removed-delete-files"], head["total-delete-files"]) == ("1", "0")
    assert_sound(table)
    names = {row["id"]: row["name"] for row in agreed_rows(lake.table())}
    assert names == {1: "a1", 2: "b2", 3: "a3", 4: "a4", 5: "a5", 6: "c6", 7: "a7", 8: "a8"}


def test_rows_that_equal_the_stored_ones_make_no_snapshot_over_deletes_either(lake, singer):
    lake.ok(singer.schema(), singer.records(range(1, 5)))
    lake.ok(singer.schema(), singer.records([2], name="b"), **MARK)
    again = lake.ok(singer.schema(), singer.records([1, 3, 4]), singer.records([2], name="b"), **MARK)
    assert again.stream()["rows_unchanged"] == 4
    assert lake.snapshots() == 2
    # What the deleted row was is no match: the newer one beside it is.
    back = lake.ok(singer.schema(), singer.records([2]), **MARK)
    assert (back.stream()["rows_updated"], back.stream()["rows_inserted"]) == (1, 0)
    assert lake.names()[2] == "a2"
    assert_sound(lake.table())


def test_a_deleted_key_that_comes_back_is_new(lake, singer):
    lake.ok(singer.schema(), singer.records([1, 2, 3]))
    lake.ok(singer.schema(), singer.record({"id": 2, "_sdc_deleted_at": GONE}), **MARK)
    outcome = lake.ok(singer.schema(), singer.records([2]), **MARK)
    assert outcome.stream()["rows_inserted"] == 1
    assert [row["id"] for row in agreed_rows(lake.table())] == [1, 2, 3]


def test_a_key_that_is_stored_twice_ends_as_one(lake, singer):
    lake.ok(singer.schema(), singer.records([1, 2, 3]))
    table = lake.table()
    table.append(table.scan().to_arrow().slice(0, 2))
    lake.ok(singer.schema(), singer.records([1], name="new"), singer.records([2]), **MARK)
    names = sorted((row["id"], row["name"]) for row in agreed_rows(lake.table()))
    assert names == [(1, "new1"), (2, "a2"), (3, "a3")]


def test_a_table_of_format_version_1_is_rewritten(lake, singer):
    lake.catalog.create_namespace("raw")
    fields = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("name", pa.string())])
    table = lake.catalog.create_table("raw.s", schema=fields, properties={"format-version": "1"})
    table.append(pa.table({"id": [1, 2], "name": ["a", "b"]}, schema=fields))
    lake.ok(singer.schema(), singer.records([2], name="new"), **MARK)
    assert not delete_files(lake.table())
    assert lake.names() == {1: "a", 2: "new2"}


# --- which files are written again ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("small", "changed", "deletes"),
    [(2**20, [1], 0), (0, [1], 1), (0, [1, 2, 3, 4], 1), (0, [1, 2, 3, 4, 5], 0)],
    ids=["small", "big", "half", "worn"],
)
def test_auto_rewrites_small_files_and_those_that_lose_most_rows(
    lake, singer, monkeypatch, small, changed, deletes
):
    monkeypatch.setattr(merge, "SMALL_FILE_BYTES", small)
    lake.ok(singer.schema(), singer.records(range(1, 9)))
    lake.ok(singer.schema(), singer.records(changed, name="b"))
    assert len(delete_files(lake.table())) == deletes
    assert {one for one, name in lake.names().items() if name.startswith("b")} == set(changed)
    assert_sound(lake.table())


def test_auto_counts_the_rows_that_were_deleted_before(lake, singer, monkeypatch):
    monkeypatch.setattr(merge, "SMALL_FILE_BYTES", 0)
    lake.ok(singer.schema(), singer.records(range(1, 9)))
    for key in (1, 2, 3, 4):
        lake.ok(singer.schema(), singer.records([key], name="b"))
    first = {path for path in data_files(lake.table()) if path.endswith("000001.parquet")}
    assert len(delete_files(lake.table())) == 1
    lake.ok(singer.schema(), singer.records([5], name="b"))
    assert not delete_files(lake.table())
    assert not first & set(data_files(lake.table())) or not first
    assert sorted(lake.names()) == list(range(1, 9))


def test_auto_rewrites_no_more_small_files_than_are_worth_it(lake, singer, monkeypatch):
    for start in (0, 10, 20, 30):
        lake.ok(singer.schema(), singer.records(range(start, start + 8)))
    sizes = [entry.data_file.file_size_in_bytes for entry in data_files(lake.table()).values()]
    monkeypatch.setattr(merge, "REWRITTEN_BYTES", sum(sorted(sizes)[:2]))
    lake.ok(singer.schema(), singer.records([0, 10, 20, 30], name="b"))
    assert len(delete_files(lake.table())) == 2
    assert len(lake.names()) == 32


# --- deletes of other engines ---------------------------------------------------------------------------


def by_age(table):
    entries = data_files(table).items()
    return [path for path, entry in sorted(entries, key=lambda item: item[1].sequence_number)]


def delete_over_all(table, positions_by_file):
    """A delete file of another engine over several data files: bounds of the path are not equal."""
    from target_iceberg.tables import deletes

    rows = sorted((path, pos) for path, listed in positions_by_file.items() for pos in listed)
    some = next(iter(data_files(table).values())).data_file
    place = f"{table.location()}/data/other-engine-{len(table.metadata.snapshots)}.parquet"
    paths, listed = (pa.array(list(one)) for one in zip(*rows, strict=True))
    with table.io.new_output(place).create() as sink:
        pq.write_table(pa.Table.from_arrays([paths, listed], schema=deletes.ROWS), sink)
    listed_file = deletes._listed(some, listed, path=place, size=len(table.io.new_input(place)))
    listed_file.lower_bounds[PATH], listed_file.upper_bounds[PATH] = (
        rows[0][0].encode(),
        rows[-1][0].encode(),
    )
    change = Change(added_deletes=[listed_file], parent=table.metadata.current_snapshot_id)
    commit_change(table, change, stage=SchemaStage(table))
    return place


@pytest.mark.parametrize("mode", [MARK, REWRITE], ids=["mark", "rewrite"])
def test_a_delete_file_of_several_data_files_stays_while_it_is_needed(lake, singer, mode):
    lake.ok(singer.schema(), singer.records([1, 2, 3]))
    lake.ok(singer.schema(), singer.records([11, 12, 13]))
    one, two = by_age(lake.table())
    shared = delete_over_all(lake.table(), {one: [0], two: [1]})
    lake.ok(singer.schema(), singer.records([2], name="b"), **mode)
    table = lake.table()
    assert shared in delete_files(table)
    assert len(delete_files(table)) == (2 if mode is MARK else 1)
    assert {row["id"] for row in agreed_rows(lake.table(), without=("Polars",))} == {2, 3, 11, 13}
    # Rows that it deleted may come again: the rewritten file does not hold them any more.
    lake.ok(singer.schema(), singer.records([1, 12], name="c"), **mode)
    assert {row["id"]: row["name"] for row in agreed_rows(lake.table(), without=("Polars",))} == {
        1: "c1",
        2: "b2",
        3: "a3",
        11: "a11",
        12: "c12",
        13: "a13",
    }


def test_a_delete_file_that_is_older_than_every_data_file_leaves(lake, singer):
    lake.ok(singer.schema(), singer.records([1, 2, 3]))
    lake.ok(singer.schema(), singer.records([11, 12, 13]))
    one, two = by_age(lake.table())
    delete_over_all(lake.table(), {one: [0], two: [1]})
    lake.ok(singer.schema(), singer.records([2, 3, 11, 13], name="b"), **REWRITE)
    assert len(delete_files(lake.table())) == 0
    assert_sound(lake.table())
    assert {row["id"] for row in agreed_rows(lake.table(), without=("Polars",))} == {2, 3, 11, 13}


# --- partitions -----------------------------------------------------------------------------------------


def test_deletes_bear_the_partition_and_the_spec_of_their_data_file(lake, singer):
    lake.ok(singer.schema(), singer.records(range(1, 5)))
    with lake.table().update_spec() as spec:
        spec.add_field("name", "truncate[2]", "letter")
    for name in ("ab", "ac"):
        numbers = range(11, 14) if name == "ab" else range(21, 24)
        lake.ok(singer.schema(), singer.records(numbers, name=name))
    with lake.table().update_spec() as spec:
        spec.add_field("id", "bucket[4]", "of_id")
    lake.ok(singer.schema(), singer.records(range(31, 39), name="d"))
    lake.ok(singer.schema(), singer.records([1, 11, 12, 21, 31, 32], name="moved"), **MARK)
    table = lake.table()
    deletes = [entry.data_file for entry in delete_files(table).values()]
    assert {one.spec_id for one in deletes} == {0, 1, 2}
    assert_sound(table)
    names = {row["id"]: row["name"] for row in agreed_rows(lake.table())}
    assert {one for one, name in names.items() if name.startswith("moved")} == {1, 11, 12, 21, 31, 32}
    assert len(names) == 18
    lake.ok(singer.schema(), singer.records([2, 13, 22], name="again"), **REWRITE)
    assert_sound(lake.table())
    assert len(agreed_rows(lake.table())) == 18


KEYED_BY_DAY = {
    "id": {"type": "integer"},
    "at": {"type": "string", "format": "date-time"},
    "name": {"type": ["null", "string"]},
}


@pytest.mark.parametrize("days", [[3], [1, 8]], ids=["one", "two"])
def test_files_and_row_groups_that_cannot_hold_a_key_are_not_read(lake, singer, monkeypatch, days):
    def row(day, name):
        return singer.record({"id": day, "at": f"2024-01-{day:02d}T10:00:00Z", "name": name})

    head = singer.schema(properties=KEYED_BY_DAY, keys=["id", "at"])
    lake.ok(head, [row(day, "a") for day in range(1, 10)], partition_by=["day(at)"])
    read = []
    original = OpenDataFile.batches

    def batches(self, group, *args, **kwargs):
        read.append(self._path)
        return original(self, group, *args, **kwargs)

    monkeypatch.setattr(OpenDataFile, "batches", batches)
    lake.ok(head, [row(day, "b") for day in days], **MARK)
    assert len(set(read)) == len(days)
    assert sorted(row["id"] for row in lake.rows() if row["name"] == "b") == days


# --- readers agree --------------------------------------------------------------------------------------

ITEM = {"type": ["null", "object"], "properties": {"x": {"type": ["null", "integer"]}}}
NESTED = {
    "id": {"type": "integer"},
    "n": {"type": ["null", "integer"]},
    "l": {"type": ["null", "array"], "items": ITEM},
    "o": {"type": ["null", "object"], "properties": {"l": {"type": ["null", "array"], "items": ITEM}}},
}
VALUES = [
    {"id": 1, "l": None, "o": None},
    {"id": 2, "l": [], "o": {"l": None}},
    {"id": 3, "l": [None, {"x": None}, {"x": 1}], "o": {"l": []}},
    {"id": 4, "l": [{"x": 7}], "o": {"l": [None]}},
]


def test_nested_nulls_stay_null_through_merge_on_read(lake, singer):
    head = singer.schema(properties=NESTED)
    lake.ok(head, [singer.record(row) for row in VALUES])
    lake.ok(head, [singer.record(row | {"n": row["id"]}) for row in VALUES[1:]], **MARK)
    lake.ok(head, singer.record({"id": 9, "_sdc_deleted_at": GONE}), singer.record({"id": 5}), **MARK)
    assert delete_files(lake.table())
    ours = [row for batch in read_table(lake.table()) for row in batch.to_pylist()]
    ours.sort(key=lambda row: row["id"])
    assert [row["l"] for row in ours] == [row["l"] for row in VALUES] + [None]
    assert [row["o"] for row in ours] == [row["o"] for row in VALUES] + [None]
    # pyiceberg 0.12 makes an empty list of a null list of structs; the others do not.
    assert in_one_form(lake.rows()) == in_one_form(ours)
    assert in_one_form(sorted(polars_rows(lake.table()), key=lambda row: row["id"])) == in_one_form(ours)


def test_columns_that_came_later_and_wider_keys_meet_old_files(lake, singer):
    small = {"id": {"type": "integer", "minimum": 0, "maximum": 1000}, "name": {"type": ["null", "string"]}}
    wide = {
        "id": {"type": "integer"},
        "name": {"type": ["null", "string"]},
        "x": {"type": ["null", "number"]},
    }
    lake.ok(singer.schema(properties=small), singer.records(range(1, 9)))
    rows = [
        singer.record({"id": one, "name": f"a{one}", "x": x})
        for one, x in ((2, None), (3, 0.5), (2**40, 1.0))
    ]
    outcome = lake.ok(singer.schema(properties=wide), rows, **MARK)
    told = outcome.stream()
    assert (told["rows_unchanged"], told["rows_updated"], told["rows_inserted"]) == (1, 1, 1)
    found = {row["id"]: row["x"] for row in agreed_rows(lake.table())}
    assert found == {1: None, 2: None, 3: 0.5, 4: None, 5: None, 6: None, 7: None, 8: None, 2**40: 1.0}
    assert_sound(lake.table())


# --- any sequence of merges -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_any_sequence_of_merges_in_any_mode_equals_a_dictionary(lake, singer, monkeypatch, seed):
    monkeypatch.setattr(merge, "SMALL_FILE_BYTES", 1_100)
    chance = random.Random(seed)
    expected = {}
    for step in range(20):
        messages = []
        for key in chance.sample(range(40), chance.choice([1, 3, 20])):
            if chance.random() < 0.2:
                messages.append(singer.record({"id": key, "_sdc_deleted_at": GONE}))
                expected.pop(key, None)
            else:
                name = f"{step % 3}-{key}"
                messages.append(singer.record({"id": key, "name": name}))
                expected[key] = name
        mode = chance.choice(["auto", "copy-on-write", "merge-on-read"])
        lake.ok(singer.schema(), messages, merge_mode=mode, skip_unchanged=chance.random() < 0.8)
        assert_sound(lake.table())
        assert lake.names() == expected
    agreed_rows(lake.table())
