"""Upkeep: files compacted, snapshots expired, orphans swept, and never a row or a bookmark changed."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyiceberg.expressions import StartsWith

from icetap.testing.lakes import s3_for_anybody
from icetap.testing.tables import table_findings
from target_iceberg.tables.table_files import LiveFile, TableFiles, table_files
from target_iceberg.upkeep.compaction import CompactionOptions, plan_groups
from target_iceberg.upkeep.maintenance import Maintenance, MaintenanceOptions, counts
from target_iceberg.upkeep.storage import plain_path
from target_iceberg.upkeep.sweep import sweep

KEYLESS = {"keys": [], "cursor": "id"}
DAY = timedelta(days=1)


def maintain(lake, stream="s", *, config=None, pause=lambda _: None, **options):
    options = {"expire_days": 0.0, "keep_snapshots": 1, **options}
    keeper = Maintenance(
        lake.catalog, {**lake.config, **(config or {})}, MaintenanceOptions(**options), pause=pause
    )
    report = keeper.of(lake.table(stream))
    assert report.failure is None
    return report


def appended(lake, singer, runs, *, first=0, stream="s"):
    """One run of two rows after the other, each with its bookmark."""
    for number in range(first, first + runs):
        start = singer.state(**{stream: number * 2}) if number else singer.state()
        outcome = lake.ok(
            start,
            singer.schema(stream, **KEYLESS),
            singer.records([number * 2 + 1, number * 2 + 2], stream),
            singer.state(**{stream: number * 2 + 2}),
        )
        assert outcome.stream(stream)["rows_inserted"] == 2


def upserted(lake, singer, runs, *, rows=40, merge_mode="merge-on-read"):
    """A table of forty rows of which each run changes another."""
    lake.ok(singer.schema(), singer.records(range(rows)))
    for number in range(runs):
        lake.ok(singer.schema(), singer.records([number], name="new"), merge_mode=merge_mode)


def stored(lake):
    return {path for path in (lake.folder / "warehouse").rglob("*") if path.is_file()}


def backdated(path, days=10):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(b"left over")
    then = time.time() - days * 86_400
    os.utime(path, (then, then))
    return path


# --- compaction ----------------------------------------------------------------------------------


def test_small_files_become_one_in_the_order_of_their_rows(lake, singer):
    appended(lake, singer, 8)
    before, bookmark = lake.rows(), lake.property()
    report = maintain(lake, expire=False)
    assert (report.before["files"], report.after["files"], report.compaction.snapshots) == (8, 1, 1)
    table = lake.table()
    assert table.current_snapshot().summary.operation.value == "replace"
    assert table.scan().to_arrow().column("id").to_pylist() == list(range(1, 17))
    assert lake.rows() == before
    assert lake.property() == bookmark
    assert table_findings(table) == []


def test_a_load_goes_on_after_a_compaction_as_if_there_had_been_none(lake, singer):
    appended(lake, singer, 6)
    maintain(lake)
    appended(lake, singer, 1, first=6)
    assert lake.ids() == list(range(1, 15))


def test_files_with_many_deletes_are_written_again_without_them(lake, singer):
    upserted(lake, singer, 6)
    before = lake.rows()
    assert counts(lake.table())["delete_files"] >= 1
    report = maintain(lake)
    assert report.after["delete_files"] == 0
    assert report.after["files"] < report.before["files"]
    assert lake.rows() == before
    assert table_findings(lake.table()) == []
    assert int(lake.head()["total-position-deletes"]) == 0


def test_a_compacted_table_is_left_alone_the_next_time(lake, singer):
    appended(lake, singer, 6)
    maintain(lake)
    head = lake.table().metadata.current_snapshot_id
    again = maintain(lake)
    assert again.compaction.files_before == 0
    assert lake.table().metadata.current_snapshot_id == head


def test_partitions_are_compacted_each_for_itself_and_stay_sorted(lake, singer):
    layout = {"partition_by": ["truncate(1, name)"], "sort_by": ["id desc"]}
    for number in range(6):
        lake.ok(
            singer.schema(keys=[]),
            singer.records([number, number + 100], name="a"),
            singer.records([number + 50], name="b"),
            load_method="append-only",
            **layout,
        )
    before = lake.rows()
    report = maintain(lake)
    assert (report.before["files"], report.after["files"]) == (12, 2)
    assert lake.rows() == before
    files = [task.file for task in lake.table().scan().plan_files()]
    assert sorted(file.partition[0] for file in files) == ["a", "b"]
    for name, ids in (
        ("a", [105, 104, 103, 102, 101, 100, 5, 4, 3, 2, 1, 0]),
        ("b", list(range(55, 49, -1))),
    ):
        found = lake.table().scan(row_filter=StartsWith("name", name)).to_arrow()
        assert found.column("id").to_pylist() == ids


def test_many_manifests_become_few(lake, singer):
    appended(lake, singer, 22)
    report = maintain(lake, min_files=100, expire=False)
    assert (report.before["manifests"], report.after["manifests"]) == (22, 1)
    assert report.after["files"] == 22
    assert table_findings(lake.table()) == []
    assert len(lake.rows()) == 44


def live(size, *, number=1, name="f"):
    file = SimpleNamespace(
        file_path=f"{name}{number}-{size}", file_size_in_bytes=size, record_count=10, spec_id=0, partition=()
    )
    return LiveFile(file, number)


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        pytest.param([1, 1, 1, 1], [], id="too few"),
        pytest.param([1, 1, 1, 1, 1], [1, 1, 1, 1, 1], id="enough"),
        pytest.param([1, 1, 1, 1, 1, 50], [1, 1, 1, 1, 1], id="the large one is left alone"),
        pytest.param([1, 1, 1, 1, 1, 5], [1, 1, 1, 1, 1, 5], id="as much that is new to it"),
        pytest.param([80, 90, 100, 100, 100], [], id="whole already"),
    ],
)
def test_a_file_is_rewritten_only_along_with_as_many_bytes_of_others(sizes, chosen):
    files = tuple(live(size, number=number) for number, size in enumerate(sizes))
    groups = plan_groups(TableFiles(files), CompactionOptions(target_bytes=100))
    assert sorted(file.bytes for group in groups for file in group.files) == sorted(chosen)


def test_a_group_replaces_no_more_bytes_than_it_may():
    files = tuple(live(30, number=number) for number in range(20))
    groups = plan_groups(TableFiles(files), CompactionOptions(target_bytes=100, group_bytes=200))
    assert [sum(file.bytes for file in group.files) for group in groups] == [180, 180, 180, 60]


def test_an_append_during_a_compaction_does_not_waste_it(lake, singer):
    appended(lake, singer, 6)
    came = []

    def pause(point):
        if point == "compaction is planned" and not came:
            came.append(point)
            appended(lake, singer, 1, first=6)

    written = maintain(lake, pause=pause, expire=False)
    assert (written.compaction.files_before, written.compaction.files_after) == (6, 1)
    assert counts(lake.table())["files"] == 2
    assert lake.ids() == list(range(1, 15))
    assert table_findings(lake.table()) == []


@pytest.mark.parametrize("merge_mode", ["copy-on-write", "merge-on-read"])
def test_a_merge_during_a_compaction_voids_it_and_it_is_planned_anew(lake, singer, merge_mode):
    for number in range(6):
        lake.ok(singer.schema(keys=["id"]), singer.records([number]))
    lake.ok(singer.schema(), singer.records(range(10, 40)), merge_mode=merge_mode)
    upserted(lake, singer, 2, merge_mode="merge-on-read")
    came = []

    def pause(point):
        if point == "compaction is planned" and not came:
            came.append(point)
            lake.ok(singer.schema(), singer.records([7, 20], name="new"), merge_mode=merge_mode)

    maintain(lake, pause=pause, min_files=2)
    assert came
    assert lake.names()[7] == lake.names()[20].replace("20", "7") == "new7"
    assert table_findings(lake.table()) == []
    assert {path.name for path in stored(lake) if path.suffix == ".parquet"} == {
        task.file.file_path.rpartition("/")[2] for task in lake.table().scan().plan_files()
    } | {one.file.file_path.rpartition("/")[2] for one in _deletes(lake)}


def _deletes(lake):
    return table_files(lake.table()).deletes


# --- expiry --------------------------------------------------------------------------------------


def test_expired_snapshots_leave_with_the_files_that_only_they_needed(lake, singer):
    upserted(lake, singer, 5, merge_mode="copy-on-write")
    before = lake.rows()
    report = maintain(lake, compact=False)
    assert (report.before["snapshots"], report.after["snapshots"]) == (6, 1)
    assert report.expiry.files > 5
    data = [path for path in stored(lake) if path.suffix == ".parquet"]
    assert len(data) == report.after["files"]
    assert lake.rows() == before
    assert table_findings(lake.table()) == []


def test_young_snapshots_stay_and_so_do_tags_and_branches(lake, singer):
    upserted(lake, singer, 5, merge_mode="copy-on-write")
    assert maintain(lake, expire_days=1.0).expiry.snapshots == 0
    snapshots = [one.snapshot_id for one in lake.table().metadata.snapshots]
    lake.table().manage_snapshots().create_tag(snapshots[1], "audit").commit()
    lake.table().manage_snapshots().create_branch(snapshots[3], "test").commit()
    maintain(lake, compact=False)
    table = lake.table()
    assert [one.snapshot_id for one in table.metadata.snapshots] == [snapshots[1], snapshots[3], snapshots[5]]
    assert table.scan(snapshot_id=snapshots[1]).to_arrow().num_rows == 40
    assert table_findings(table) == []


def test_so_many_snapshots_stay_as_are_to_be_kept(lake, singer):
    appended(lake, singer, 6)
    maintain(lake, compact=False, keep_snapshots=4)
    assert lake.snapshots() == 4


def unconfirmed(lake, singer, *, first, end):
    """A run of several commits of which Meltano stored no STATE: its tap will start at `first` again."""
    pieces = [
        part for one in range(first + 1, end + 1) for part in (singer.records([one]), singer.state(s=one))
    ]
    messages = [message for part in pieces for message in (part if isinstance(part, list) else [part])]
    lake.ok(singer.state(s=first), singer.schema(**KEYLESS), messages, batch_size_rows=1)


@pytest.mark.parametrize("compact", [True, False], ids=["compacted too", "only expired"])
@pytest.mark.parametrize(
    "resumed_at", [12, 14, 18], ids=["where it began", "at a commit of it", "at its end"]
)
def test_what_rewinding_needs_is_kept(lake, singer, compact, resumed_at):
    appended(lake, singer, 6)
    unconfirmed(lake, singer, first=12, end=18)
    maintain(lake, compact=compact)
    lake.ok(
        singer.state(s=resumed_at),
        singer.schema(**KEYLESS),
        singer.records(range(resumed_at, 21)),
        singer.state(s=20),
    )
    assert lake.ids() == list(range(1, 21))
    assert table_findings(lake.table()) == []


def test_a_run_that_goes_back_leaves_a_compaction_of_its_own_rows_behind(lake, singer):
    appended(lake, singer, 1)
    unconfirmed(lake, singer, first=2, end=9)
    maintain(lake, expire=False)
    lake.ok(singer.state(s=2), singer.schema(**KEYLESS), singer.records(range(2, 12)), singer.state(s=11))
    assert lake.ids() == list(range(1, 12))
    assert maintain(lake).after["snapshots"] == 2  # the run and what was before it


def test_files_that_lie_elsewhere_are_never_deleted(lake, singer, tmp_path):
    lake.ok(singer.schema(keys=[]), singer.records([1]), load_method="append-only")
    (source,) = [path for path in stored(lake) if path.suffix == ".parquet"]
    foreign = tmp_path / "elsewhere.parquet"
    foreign.write_bytes(source.read_bytes())
    lake.table().add_files([f"file://{foreign}"])
    lake.table().delete("id = 1")
    report = maintain(lake)
    assert report.expiry.kept_outside == 1
    assert foreign.exists()
    assert not source.exists()


def test_a_table_whose_files_are_kept_by_its_owner_is_not_expired(lake, singer):
    appended(lake, singer, 3)
    with lake.table().transaction() as transaction:
        transaction.set_properties({"gc.enabled": "false"})
    report = maintain(lake)
    assert report.expiry is None
    assert report.sweep is None
    assert "gc.enabled" in report.notes[0]


# --- sweep ---------------------------------------------------------------------------------------


def test_old_files_that_nothing_needs_are_swept_and_nothing_else(lake, singer):
    upserted(lake, singer, 3)
    root = lake.folder / "warehouse" / "raw" / "s"
    for path in stored(lake):
        backdated(path)
    needed = {path for path in stored(lake) if path.is_relative_to(root)}
    orphans = [
        backdated(root / "data" / "icetap-0123456789ab-000001.parquet"),
        backdated(root / "data" / "deep" / "er" / "x y%20z.parquet"),
        backdated(root / "metadata" / "00007-left.metadata.json"),
    ]
    young = root / "data" / "young.parquet"
    young.write_bytes(b"staged by another engine")
    report = maintain(lake, compact=False, expire=False)
    assert report.sweep.files == 3
    assert report.sweep.bytes == 27
    assert not any(path.exists() for path in orphans)
    assert young.exists()
    assert {path for path in stored(lake) if path.is_relative_to(root)} == needed | {young}
    assert table_findings(lake.table()) == []


def test_a_dry_run_names_what_it_would_do_and_does_nothing(lake, singer):
    appended(lake, singer, 6)
    orphan = backdated(lake.folder / "warehouse" / "raw" / "s" / "data" / "old.parquet")
    before = stored(lake), lake.table().metadata_location
    report = maintain(lake, is_dry_run=True)
    assert report.compaction.files_before == 6
    assert report.expiry.snapshots == 4  # the last run's, and what was before it, stay for a rewind
    assert report.sweep.paths == [plain_path(str(orphan))]
    assert (stored(lake), lake.table().metadata_location) == before


def test_files_of_a_run_that_still_writes_stay_however_old(lake, singer):
    lake.ok(singer.schema(), singer.records([1]))
    data = lake.folder / "warehouse" / "raw" / "s" / "data"
    staged = backdated(data / "icetap-0123456789ab-000001.parquet")
    (data / "icetap-0123456789ab-000002.parquet").write_bytes(b"young")
    gone = backdated(data / "icetap-ba9876543210-000001-deletes.parquet")
    sweep(lake.table(), older_than=3 * DAY, pause=lambda _: None)
    assert staged.exists()
    assert not gone.exists()


def test_a_commit_that_lists_an_old_file_while_it_is_swept_keeps_it(lake, singer):
    lake.ok(singer.schema(keys=[]), singer.records([1]), load_method="append-only")
    (source,) = [path for path in stored(lake) if path.suffix == ".parquet"]
    late = backdated(source.with_name("late.parquet"))
    late.write_bytes(source.read_bytes())
    backdated(late)

    def pause(point):
        if point == "files are about to go":
            lake.table().add_files([f"file://{late}"])

    assert sweep(lake.table(), older_than=3 * DAY, pause=pause).files == 0
    assert lake.ids() == [1, 1]


def test_other_tables_files_and_links_are_never_swept(lake, singer, tmp_path):
    lake.ok(singer.schema(), singer.records([1]))
    root = lake.folder / "warehouse" / "raw" / "s"
    inner = f"file://{root}/inner"
    lake.catalog.create_table("raw.inner", schema=lake.table().schema(), location=inner)
    kept = backdated(root / "inner" / "data" / "x.parquet")
    outside = backdated(tmp_path / "outside" / "y.parquet")
    (root / "link").symlink_to(outside.parent)
    report = maintain(lake)
    assert report.sweep.files == 0
    assert kept.exists()
    assert outside.exists()


def test_a_table_that_shares_its_location_is_not_swept(lake, singer):
    lake.ok(singer.schema(), singer.records([1]))
    lake.catalog.create_table("raw.twin", schema=lake.table().schema(), location=lake.table().location())
    orphan = backdated(lake.folder / "warehouse" / "raw" / "s" / "data" / "old.parquet")
    report = maintain(lake)
    assert "shares its location" in report.notes[0]
    assert orphan.exists()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with s3_for_anybody(tmp_path_factory.mktemp("s3")) as server:
        yield server


def test_tables_in_an_object_store_are_looked_after_too(lake, singer, store):
    uri = f"sqlite:///{lake.folder / 'catalog.db'}"
    lake.config = {"warehouse": store.warehouse, "catalog": {"type": "sql", "uri": uri, **store.properties()}}
    upserted(lake, singer, 6)
    before = lake.names()
    report = maintain(lake, sweep=False)
    assert (report.after["delete_files"], report.after["snapshots"]) == (0, 1)
    assert report.expiry.files > 10
    table = lake.table()
    orphan = f"{table.location()}/data/deep/left over.parquet"
    with table.io.new_output(orphan).create() as file:
        file.write(b"left over")
    assert sweep(table, older_than=3 * DAY, pause=lambda _: None).files == 0
    swept = sweep(table, older_than=-DAY, pause=lambda _: None)  # an object's time cannot be set back
    assert swept.paths == [plain_path(orphan)]
    assert not table.io.new_input(orphan).exists()
    assert lake.names() == before
    assert table_findings(lake.table()) == []
