"""A commit's cost does not grow with the commits before it: manifests are merged when there are many."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from pyiceberg.manifest import DataFileContent, ManifestContent, ManifestEntryStatus

from target_iceberg.tables import internals
from target_iceberg.tables.commit import Change, SchemaStage, commit_change
from target_iceberg.tables.writer import DataFileWriter, WriterOptions

FIELDS = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("name", pa.string())])
MARK = {"merge_mode": "merge-on-read"}


def append(table, number):
    writer = DataFileWriter(table, schema=table.schema(), options=WriterOptions(f"n{number}"))
    writer.write(pa.record_batch({"id": [number], "name": [f"a{number}"]}, schema=FIELDS))
    change = Change(added=writer.close(), parent=table.metadata.current_snapshot_id)
    commit_change(table, change, stage=SchemaStage(table))


def manifests(table):
    return table.current_snapshot().manifests(table.io)


@pytest.fixture
def table(lake):
    lake.catalog.create_namespace("raw")
    return lake.catalog.create_table("raw.s", schema=FIELDS)


def test_the_number_of_manifests_stays_bounded_and_nothing_is_lost(table, lake, monkeypatch):
    monkeypatch.setattr(internals, "FEWEST_MANIFESTS", 8)
    written = Counter()
    most = 0
    for number in range(60):
        append(table, number)
        most = max(most, len(manifests(table)))
        for one in manifests(table):
            if one.added_snapshot_id == table.metadata.current_snapshot_id:
                written["entries"] += one.existing_files_count
    assert most <= 12
    assert lake.ids() == list(range(60))
    assert [row["id"] for row in lake.rows()] == list(range(60))
    assert written["entries"] < 60 * 5, "entries are written again too often"


def test_merged_entries_keep_their_snapshot_and_sequence_numbers(table, monkeypatch):
    monkeypatch.setattr(internals, "FEWEST_MANIFESTS", 4)
    expected = {}
    for number in range(9):
        append(table, number)
        head = table.current_snapshot()
        for manifest in head.manifests(table.io):
            for entry in manifest.fetch_manifest_entry(table.io):
                if entry.snapshot_id == head.snapshot_id:
                    expected[entry.data_file.file_path] = (head.snapshot_id, head.sequence_number)
    found = {
        entry.data_file.file_path: (entry.snapshot_id, entry.sequence_number, entry.file_sequence_number)
        for manifest in manifests(table)
        for entry in manifest.fetch_manifest_entry(table.io)
    }
    assert found == {path: (snapshot, number, number) for path, (snapshot, number) in expected.items()}
    for manifest in manifests(table):
        entries = manifest.fetch_manifest_entry(table.io)
        assert manifest.min_sequence_number == min(entry.sequence_number for entry in entries)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("commit.manifest-merge.enabled", "false", 12),
        ("commit.manifest.min-count-to-merge", "100", 12),
        ("commit.manifest.min-count-to-merge", "3", 4),
    ],
    ids=["off", "many", "few"],
)
def test_the_table_says_when_manifests_are_merged(table, name, value, expected):
    with table.transaction() as transaction:
        transaction.set_properties({name: value})
    for number in range(12):
        append(table, number)
    found = len(manifests(table))
    assert found <= expected
    assert found == expected or expected < 12


def test_manifests_of_deletes_and_of_other_specs_are_merged_apart(lake, singer, monkeypatch):
    monkeypatch.setattr(internals, "FEWEST_MANIFESTS", 3)
    lake.ok(singer.schema(), singer.records(range(1, 30)))
    for number in range(1, 6):
        lake.ok(singer.schema(), singer.records([number, 100 + number], name="b"), **MARK)
    with lake.table().update_spec() as spec:
        spec.add_field("id", "bucket[2]", "part")
    for number in range(6, 12):
        lake.ok(singer.schema(), singer.records([number, 100 + number], name="b"), **MARK)
    table = lake.table()
    listed = manifests(table)
    assert len(listed) <= 9
    assert {(one.content, one.partition_spec_id) for one in listed} >= {
        (ManifestContent.DATA, 0),
        (ManifestContent.DATA, 1),
        (ManifestContent.DELETES, 0),
    }
    for manifest in listed:
        for entry in manifest.fetch_manifest_entry(table.io):
            is_data = entry.data_file.content == DataFileContent.DATA
            assert is_data == (manifest.content == ManifestContent.DATA)
    names = lake.names()
    assert {row["id"]: row["name"] for row in lake.rows()} == names
    assert {one for one, name in names.items() if name.startswith("b")} == {*range(1, 12), *range(101, 112)}


def test_a_file_that_left_is_named_once_as_deleted_and_then_no_more(lake, singer):
    lake.ok(singer.schema(), singer.records([1, 2]))
    lake.ok(singer.schema(), singer.records([1], name="b"), merge_mode="copy-on-write")
    first = statuses(lake.table())
    lake.ok(singer.schema(), singer.records([5]))
    assert (first[ManifestEntryStatus.DELETED], first[ManifestEntryStatus.ADDED]) == (1, 1)
    assert statuses(lake.table())[ManifestEntryStatus.DELETED] == 0


def statuses(table):
    return Counter(
        entry.status
        for manifest in manifests(table)
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False)
    )
