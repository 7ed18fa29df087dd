"""Merge-on-read: position delete files that every reader applies, and that leave when they have nothing to delete."""

from __future__ import annotations

import random
from collections import defaultdict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.manifest import DataFileContent
from pyiceberg.table import StaticTable
from pyiceberg.table.snapshots import Operation

from icetap.data_files import OpenDataFile
from icetap.tables import read_table
from icetap.testing.engines import polars_rows
from target_iceberg import merge
from target_iceberg.commit import Change, SchemaStage, TableMovedError, commit_change
from target_iceberg.loaded_table import LoadedTable

GONE = "2024-01-01T00:00:00Z"
MARK = {"merge_mode": "merge-on-read"}
REWRITE = {"merge_mode": "copy-on-write"}
PATH, POS = 2147483546, 2147483545


def files_of(table, content):
    """Path to (entry, manifest) of what the newest snapshot lists."""
    snapshot = table.current_snapshot()
    return {
        entry.data_file.file_path: entry
        for manifest in (snapshot.manifests(table.io) if snapshot else [])
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
        if (entry.data_file.content == DataFileContent.DATA) == (content == "data")
    }


def positions(table, delete_file):
    with table.io.new_input(delete_file.file_path).open() as source:
        return pq.read_table(source)


def assert_sound(table):
    """Nothing dangles, nothing is said wrongly: what must hold after each commit."""
    data, deletes = files_of(table, "data"), files_of(table, "deletes")
    by_file = defaultdict(list)
    for path, entry in deletes.items():
        one = entry.data_file
        rows = positions(table, one)
        pairs = list(zip(rows["file_path"].to_pylist(), rows["pos"].to_pylist(), strict=True))
        assert pairs == sorted(set(pairs)), "sorted by path, then position; each once"
        assert len(pairs) == one.record_count
        assert one.lower_bounds[PATH] == min(pairs)[0].encode()
        assert one.upper_bounds[PATH] == max(pairs)[0].encode()
        for referenced, position in pairs:
            assert referenced in data, f"{path} deletes rows of {referenced}, which has left"
            of = data[referenced].data_file
            assert position < of.record_count
            assert (one.spec_id, one.partition) == (of.spec_id, of.partition)
            assert entry.sequence_number >= data[referenced].sequence_number
            by_file[referenced].append(position)
    assert all(len(set(listed)) == len(listed) for listed in by_file.values()), "a row is deleted twice"
    if table.current_snapshot() is None:
        return
    told = table.current_snapshot().summary.additional_properties
    counted = {
        "total-data-files": len(data),
        "total-delete-files": len(deletes),
        "total-records": sum(entry.data_file.record_count for entry in data.values()),
        "total-position-deletes": sum(entry.data_file.record_count for entry in deletes.values()),
        "total-equality-deletes": 0,
    }
    assert {name: int(told[name]) for name in counted} == counted


def same_for_all_readers(lake, stream="s", *, by="id", without=()):
    """The rows, once four readers have agreed on them."""
    table = lake.table(stream)
    place = table.metadata_location
    ours = [row for batch in read_table(table) for row in batch.to_pylist()]
    readers = {
        "icetap": ours,
        "pyiceberg": StaticTable.from_metadata(place).scan().to_arrow().to_pylist(),
        # Polars 2.1 refuses delete files of several data files, which other engines may write.
        "Polars": polars_rows(table) if "Polars" not in without else ours,
        "DuckDB": lake.rows(stream, by=by),
    }
    plain = {name: sorted(map(in_one_form, rows), key=repr) for name, rows in readers.items()}
    expected = plain.pop("icetap")
    for name, rows in plain.items():
        assert rows == expected, f"{name} reads other rows"
    return sorted(ours, key=lambda row: row[by])


def in_one_form(value):
    """Maps are lists of pairs, of structs, or dictionaries, by reader."""
    if isinstance(value, dict):
        return {key: in_one_form(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [in_one_form(item) for item in value]
    return value


# --- what is written ------------------------------------------------------------------------------------


def test_changed_rows_are_marked_in_one_delete_file_beside_the_data_file(lake, singer):
    lake.ok(singer.schema(), singer.records(range(1, 9)))
    (before,) = files_of(lake.table(), "data").values()
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
    assert before.data_file.file_path in files_of(table, "data")
    (entry,) = files_of(table, "deletes").values()
    rows = positions(table, entry.data_file)
    assert rows["pos"].to_pylist() == [1, 3, 6]
    assert set(rows["file_path"].to_pylist()) == {before.data_file.file_path}
    assert [int(field.metadata[b"PARQUET:field_id"]) for field in rows.schema] == [PATH, POS]
    assert [field.nullable for field in rows.schema] == [False, False]
    head = lake.head()
    assert table.current_snapshot().summary.operation == Operation.OVERWRITE
    assert (head["added-position-deletes"], head["added-delete-files"]) == ("3", "1")
    assert (head["added-position-delete-files"], head["added-records"]) == ("1", "3")
    assert_sound(table)
    names = {row["id"]: row["name"] for row in same_for_all_readers(lake)}
    assert names == {1: "a1", 2: "new2", 3: "a3", 5: "a5", 6: "a6", 7: "new7", 8: "a8", 9: "a9"}


def test_a_second_merge_takes_the_place_of_the_first_delete_file(lake, singer):
    lake.ok(singer.schema(), singer.records(range(1, 9)))
    lake.ok(singer.schema(), singer.records([2], name="b"), **MARK)
    (first,) = files_of(lake.table(), "deletes")
    lake.ok(singer.schema(), singer.records([6], name="b"), **MARK)
    table = lake.table()
    (second,) = files_of(table, "deletes").values()
    assert second.data_file.file_path != first
    assert positions(table, second.data_file)["pos"].to_pylist() == [1, 5]
    head = lake.head()
    assert (head["added-position-deletes"], head["removed-position-deletes"]) == ("2", "1")
    assert head["total-position-deletes"] == "2"
    assert_sound(table)
    assert len(same_for_all_readers(lake)) == 8


def test_deletes_alone_make_a_snapshot_that_says_so(lake, singer):
    lake.ok(singer.schema(), singer.records([1, 2, 3]))
    lake.ok(singer.schema(), singer.record({"id": 2, "_sdc_deleted_at": GONE}), **MARK)
    assert lake.table().current_snapshot().summary.operation == Operation.DELETE
    assert [row["id"] for row in same_for_all_readers(lake)] == [1, 3]


def test_a_file_that_loses_its_last_row_leaves_with_its_deletes(lake, singer):
    lake.ok(singer.schema(), singer.records([1, 2]))
    lake.ok(singer.schema(), singer.records([11, 12]), **MARK)
    lake.ok(singer.schema(), singer.records([1], name="b"), **MARK)
    assert len(files_of(lake.table(), "deletes")) == 1
    lake.ok(singer.schema(), singer.record({"id": 2, "_sdc_deleted_at": GONE}), **MARK)
    assert not files_of(lake.table(), "deletes")
    assert_sound(lake.table())
    assert {row["id"]: row["name"] for row in same_for_all_readers(lake)} == {1: "b1", 11: "a11", 12: "a12"}


def test_copy_on_write_takes_the_deletes_of_its_file_away(lake, singer):
    lake.ok(singer.schema(), singer.records(range(1, 9)))
    lake.ok(singer.schema(), singer.records([2], name="b"), **MARK)
    lake.ok(singer.schema(), singer.records([6], name="c"), **REWRITE)
    table = lake.table()
    assert not files_of(table, "deletes")
    head = lake.head()
    assert (head["removed-delete-files"], head["total-delete-files"]) == ("1", "0")
    assert_sound(table)
    names = {row["id"]: row["name"] for row in same_for_all_readers(lake)}
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
    assert [row["id"] for row in same_for_all_readers(lake)] == [1, 2, 3]


def test_a_key_that_is_stored_twice_ends_as_one(lake, singer):
    lake.ok(singer.schema(), singer.records([1, 2, 3]))
    table = lake.table()
    table.append(table.scan().to_arrow().slice(0, 2))
    lake.ok(singer.schema(), singer.records([1], name="new"), singer.records([2]), **MARK)
    names = sorted((row["id"], row["name"]) for row in same_for_all_readers(lake))
    assert names == [(1, "new1"), (2, "a2"), (3, "a3")]


def test_a_table_of_format_version_1_is_rewritten(lake, singer):
    lake.catalog.create_namespace("raw")
    fields = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("name", pa.string())])
    table = lake.catalog.create_table("raw.s", schema=fields, properties={"format-version": "1"})
    table.append(pa.table({"id": [1, 2], "name": ["a", "b"]}, schema=fields))
    lake.ok(singer.schema(), singer.records([2], name="new"), **MARK)
    assert not files_of(lake.table(), "deletes")
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
    assert len(files_of(lake.table(), "deletes")) == deletes
    assert {one for one, name in lake.names().items() if name.startswith("b")} == set(changed)
    assert_sound(lake.table())


def test_auto_counts_the_rows_that_were_deleted_before(lake, singer, monkeypatch):
    monkeypatch.setattr(merge, "SMALL_FILE_BYTES", 0)
    lake.ok(singer.schema(), singer.records(range(1, 9)))
    for key in (1, 2, 3, 4):
        lake.ok(singer.schema(), singer.records([key], name="b"))
    first = {path for path in files_of(lake.table(), "data") if path.endswith("000001.parquet")}
    assert len(files_of(lake.table(), "deletes")) == 1
    lake.ok(singer.schema(), singer.records([5], name="b"))
    assert not files_of(lake.table(), "deletes")
    assert not first & set(files_of(lake.table(), "data")) or not first
    assert sorted(lake.names()) == list(range(1, 9))


def test_auto_rewrites_no_more_small_files_than_are_worth_it(lake, singer, monkeypatch):
    for start in (0, 10, 20, 30):
        lake.ok(singer.schema(), singer.records(range(start, start + 8)))
    sizes = [entry.data_file.file_size_in_bytes for entry in files_of(lake.table(), "data").values()]
    monkeypatch.setattr(merge, "REWRITTEN_BYTES", sum(sorted(sizes)[:2]))
    lake.ok(singer.schema(), singer.records([0, 10, 20, 30], name="b"))
    assert len(files_of(lake.table(), "deletes")) == 2
    assert len(lake.names()) == 32


# --- deletes of other engines ---------------------------------------------------------------------------


def by_age(table):
    entries = files_of(table, "data").items()
    return [path for path, entry in sorted(entries, key=lambda item: item[1].sequence_number)]


def delete_over_all(table, positions_by_file):
    """A delete file of another engine over several data files: bounds of the path are not equal."""
    from target_iceberg import deletes

    rows = sorted((path, pos) for path, listed in positions_by_file.items() for pos in listed)
    some = next(iter(files_of(table, "data").values())).data_file
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
    assert shared in files_of(table, "deletes")
    assert len(files_of(table, "deletes")) == (2 if mode is MARK else 1)
    assert {row["id"] for row in same_for_all_readers(lake, without=["Polars"])} == {2, 3, 11, 13}
    # Rows that it deleted may come again: the rewritten file does not hold them any more.
    lake.ok(singer.schema(), singer.records([1, 12], name="c"), **mode)
    assert {row["id"]: row["name"] for row in same_for_all_readers(lake, without=["Polars"])} == {
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
    assert len(files_of(lake.table(), "deletes")) == 0
    assert_sound(lake.table())
    assert {row["id"] for row in same_for_all_readers(lake, without=["Polars"])} == {2, 3, 11, 13}


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
    deletes = [entry.data_file for entry in files_of(table, "deletes").values()]
    assert {one.spec_id for one in deletes} == {0, 1, 2}
    assert_sound(table)
    names = {row["id"]: row["name"] for row in same_for_all_readers(lake)}
    assert {one for one, name in names.items() if name.startswith("moved")} == {1, 11, 12, 21, 31, 32}
    assert len(names) == 18
    lake.ok(singer.schema(), singer.records([2, 13, 22], name="again"), **REWRITE)
    assert_sound(lake.table())
    assert len(same_for_all_readers(lake)) == 18


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
    assert files_of(lake.table(), "deletes")
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
    found = {row["id"]: row["x"] for row in same_for_all_readers(lake)}
    assert found == {1: None, 2: None, 3: 0.5, 4: None, 5: None, 6: None, 7: None, 8: None, 2**40: 1.0}
    assert_sound(lake.table())


# --- others write meanwhile -----------------------------------------------------------------------------


def meanwhile(monkeypatch, act):
    """Call `act` once, between the plan of a merge and its commit."""
    original = LoadedTable.change
    done = []

    def change(*args, **kwargs):
        if not done:
            done.append(1)
            act()
        return original(*args, **kwargs)

    monkeypatch.setattr(LoadedTable, "change", change)
    return done


@pytest.mark.parametrize("mode", [MARK, REWRITE], ids=["mark", "rewrite"])
def test_a_merge_whose_file_was_rewritten_meanwhile_is_planned_again(lake, singer, monkeypatch, mode):
    lake.ok(singer.schema(), singer.records(range(1, 9)))

    def rewrite():
        table = lake.table()
        table.overwrite(table.scan().to_arrow().sort_by([("id", "descending")]))

    done = meanwhile(monkeypatch, rewrite)
    lake.ok(singer.schema(), singer.records([1, 2], name="b"), **mode)
    assert done
    assert_sound(lake.table())
    names = {row["id"]: row["name"] for row in same_for_all_readers(lake)}
    assert names == {1: "b1", 2: "b2", **{one: f"a{one}" for one in range(3, 9)}}


def test_two_merges_of_the_same_keys_end_with_each_key_once(lake, singer, monkeypatch):
    lake.ok(singer.schema(), singer.records(range(1, 9)))

    def other():
        lake.ok(singer.schema(), singer.records([2, 3, 50], name="other"), pipeline="other", **MARK)

    meanwhile(monkeypatch, other)
    lake.ok(singer.schema(), singer.records([1, 2, 50], name="mine"), **MARK)
    assert_sound(lake.table())
    names = {row["id"]: row["name"] for row in same_for_all_readers(lake)}
    assert {one: names[one] for one in (1, 2, 3, 50)} == {1: "mine1", 2: "mine2", 3: "other3", 50: "mine50"}
    assert len(names) == 9


def test_files_of_a_plan_that_was_void_do_not_stay(lake, singer, monkeypatch):
    lake.ok(singer.schema(), singer.records(range(1, 9)))
    meanwhile(monkeypatch, lambda: lake.table().append(pa.table({"id": [99], "name": ["x"]}, schema=FIELDS)))
    lake.ok(singer.schema(), singer.records([1], name="b"), **MARK)
    listed = {
        path.rpartition("/")[2] for kind in ("data", "deletes") for path in files_of(lake.table(), kind)
    }
    there = {path.name for path in lake.folder.rglob("*/raw/s/data/**/*.parquet")}
    assert there == listed


FIELDS = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("name", pa.string())])

# --- the commit itself ----------------------------------------------------------------------------------


def test_a_change_planned_on_an_older_snapshot_is_refused(lake, singer):
    lake.ok(singer.schema(), singer.records([1, 2]))
    before = lake.table()
    lake.ok(singer.schema(), singer.records([3]))
    now = lake.table()
    change = Change(parent=before.metadata.current_snapshot_id)
    for table in (before, now):
        with pytest.raises(TableMovedError):
            commit_change(table, change, stage=SchemaStage(table))
    assert lake.snapshots() == 2


def test_a_change_that_removes_what_is_not_there_is_refused(lake, singer):
    lake.ok(singer.schema(), singer.records([1, 2]))
    table = lake.table()
    place = lake.folder / "warehouse/raw/s/metadata"
    before = {path.name for path in place.iterdir()}
    for gone in ({"removed": frozenset({"gone.parquet"})}, {"removed_deletes": frozenset({"gone.parquet"})}):
        change = Change(parent=table.metadata.current_snapshot_id, **gone)
        with pytest.raises(TableMovedError, match=r"gone\.parquet"):
            commit_change(table, change, stage=SchemaStage(table))
    assert {path.name for path in place.iterdir()} == before


def test_a_compaction_keeps_the_sequence_number_that_it_has_read(lake, singer):
    lake.ok(singer.schema(), singer.records([1, 2]))
    lake.ok(singer.schema(), singer.records([3, 4]), **MARK)
    table = lake.table()
    old = files_of(table, "data")
    number = table.current_snapshot().sequence_number
    from target_iceberg.writer import DataFileWriter, WriterOptions

    writer = DataFileWriter(table, schema=table.schema(), options=WriterOptions("compact"))
    for batch in read_table(table):
        writer.write(batch)
    change = Change(
        added=writer.close(),
        removed=frozenset(old),
        parent=table.metadata.current_snapshot_id,
        operation=Operation.REPLACE,
        sequence_number=number,
    )
    commit_change(table, change, stage=SchemaStage(table))
    (entry,) = files_of(lake.table(), "data").values()
    assert (entry.sequence_number, entry.file_sequence_number) == (number, number + 1)
    assert lake.table().current_snapshot().summary.operation == Operation.REPLACE
    assert_sound(lake.table())
    lake.ok(singer.schema(), singer.records([1], name="b"), **MARK)
    assert_sound(lake.table())
    assert {row["id"]: row["name"] for row in same_for_all_readers(lake)} == {
        1: "b1",
        2: "a2",
        3: "a3",
        4: "a4",
    }


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
    same_for_all_readers(lake)
