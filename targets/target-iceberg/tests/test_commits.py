"""A merge whose table moved meanwhile is planned again; a commit does what its change says, or nothing."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pyiceberg.table.snapshots import Operation

from icetap.tables import read_table
from icetap.testing.soundness import agreed_rows, assert_sound, data_files, delete_files
from target_iceberg.tables.commit import Change, SchemaStage, TableMovedError, commit_change
from target_iceberg.tables.loaded_table import LoadedTable
from target_iceberg.tables.writer import DataFileWriter, WriterOptions

MARK = {"merge_mode": "merge-on-read"}
REWRITE = {"merge_mode": "copy-on-write"}

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
    names = {row["id"]: row["name"] for row in agreed_rows(lake.table())}
    assert names == {1: "b1", 2: "b2", **{one: f"a{one}" for one in range(3, 9)}}


def test_two_merges_of_the_same_keys_end_with_each_key_once(lake, singer, monkeypatch):
    lake.ok(singer.schema(), singer.records(range(1, 9)))

    def other():
        lake.ok(singer.schema(), singer.records([2, 3, 50], name="other"), pipeline="other", **MARK)

    meanwhile(monkeypatch, other)
    lake.ok(singer.schema(), singer.records([1, 2, 50], name="mine"), **MARK)
    assert_sound(lake.table())
    names = {row["id"]: row["name"] for row in agreed_rows(lake.table())}
    assert {one: names[one] for one in (1, 2, 3, 50)} == {1: "mine1", 2: "mine2", 3: "other3", 50: "mine50"}
    assert len(names) == 9


def test_files_of_a_plan_that_was_void_do_not_stay(lake, singer, monkeypatch):
    lake.ok(singer.schema(), singer.records(range(1, 9)))
    meanwhile(monkeypatch, lambda: lake.table().append(pa.table({"id": [99], "name": ["x"]}, schema=FIELDS)))
    lake.ok(singer.schema(), singer.records([1], name="b"), **MARK)
    listed = {path.rpartition("/")[2] for kind in (data_files, delete_files) for path in kind(lake.table())}
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
    old = data_files(table)
    number = table.current_snapshot().sequence_number
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
    (entry,) = data_files(lake.table()).values()
    assert (entry.sequence_number, entry.file_sequence_number) == (number, number + 1)
    assert lake.table().current_snapshot().summary.operation == Operation.REPLACE
    assert_sound(lake.table())
    lake.ok(singer.schema(), singer.records([1], name="b"), **MARK)
    assert_sound(lake.table())
    assert {row["id"]: row["name"] for row in agreed_rows(lake.table())} == {
        1: "b1",
        2: "a2",
        3: "a3",
        4: "a4",
    }
