"""How files are laid out: their number and size, the memory it takes, places, names and properties of tables."""

from __future__ import annotations

import collections
import json
import random
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from icetap.errors import ConfigurationError
from icetap.types import iceberg_schema, schema_from_iceberg
from target_iceberg.methods.staging import ArrangedStage, Spool
from target_iceberg.tables import arrangement
from target_iceberg.tables.memory import MemoryBudget
from target_iceberg.tables.writer import DataFileWriter, WriterOptions

DAYS = 400
START = datetime(2025, 1, 1, tzinfo=UTC)
EVENTS = {
    "id": {"type": "integer"},
    "name": {"type": ["null", "string"]},
    "at": {"type": ["null", "string"], "format": "date-time"},
}


def many_days(singer, rows: int) -> list:
    """Rows that touch every day, in no order, with about a kilobyte each."""
    draw = random.Random(5)
    return [
        singer.record(
            {
                "id": one,
                "name": f"{draw.getrandbits(3000):x}",
                "at": (START + timedelta(days=(one * 7919) % DAYS, seconds=one)).isoformat(),
            }
        )
        for one in range(rows)
    ]


def test_400_partitions_in_one_load_make_one_file_each_within_the_memory(lake, singer, tmp_path):
    report = tmp_path / "report.json"
    messages = [singer.schema(properties=EVENTS), *many_days(singer, 24_000)]
    done = lake.run(messages, partition_by=["day(at)"], memory_limit_mb=256, report_path=str(report))
    assert done.returncode == 0, done.stderr.decode()
    files = [task.file for task in lake.table().scan().plan_files()]
    assert len(files) == len({one.partition[0] for one in files}) == DAYS
    assert sum(one.record_count for one in files) == 24_000
    assert json.loads(report.read_text())["peak_memory_mb"] < 400


@pytest.fixture
def wide(lake):
    """A table of numbers and bytes, partitioned by the number's bucket or by nothing."""
    fields = [pa.field("id", pa.int64()), pa.field("data", pa.binary())]
    lake.catalog.create_namespace("t")

    def make(*, buckets: int = 0):
        table = lake.catalog.create_table(("t", f"t{buckets}"), schema=iceberg_schema(fields))
        if buckets:
            with table.update_spec() as update:
                update.add_field("id", f"bucket[{buckets}]", "bucket")
        return table

    return make


def batches(table, rows: int, *, size: int, at_once: int = 1000):
    draw = random.Random(3)
    schema = schema_from_iceberg(table.schema())
    for start in range(0, rows, at_once):
        data = pa.array([draw.randbytes(size) for _ in range(at_once)], pa.binary())
        numbers = pa.arange(start, start + at_once)
        yield pa.RecordBatch.from_arrays([numbers, data], schema=schema)


def written(table, rows, **options):
    writer = DataFileWriter(table, schema=table.schema(), options=WriterOptions("0" * 12, **options))
    for batch in rows:
        writer.write(batch)
    return writer.close()


def ids_of(files) -> list[int]:
    return [
        number
        for one in files
        for number in pq.read_table(one.file_path.removeprefix("file://"))["id"].to_pylist()
    ]


@pytest.mark.parametrize("buckets", [0, 3], ids=["plain", "partitioned"])
@pytest.mark.parametrize("at_once", [500, 12_000], ids=["small-batches", "one-batch"])
def test_files_have_the_size_asked_for_in_real_bytes(wide, buckets, at_once):
    table = wide(buckets=buckets)
    rows = batches(table, 12_000, size=1000, at_once=at_once)
    files = written(table, rows, target_bytes=2 * 2**20, memory_bytes=3 * 2**20)
    assert sorted(ids_of(files)) == list(range(12_000))
    last_of_each = max(buckets, 1)
    sizes = sorted(one.file_size_in_bytes for one in files)[last_of_each:]
    assert sizes
    assert all(1.8 * 2**20 < size < 4.2 * 2**20 for size in sizes)


def test_rows_that_do_not_fit_in_memory_make_no_more_files(wide):
    table = wide(buckets=50)
    files = written(table, batches(table, 20_000, size=50, at_once=500), memory_bytes=64 * 1024)
    assert len(files) == 50
    ids = ids_of(files)
    assert sorted(ids) == list(range(20_000))
    for one in files:
        mine = ids_of([one])
        assert mine == sorted(mine), "rows of a partition stay in the order they came"


def test_more_rows_than_are_merged_at_once_make_a_few_files_of_each_partition(wide, monkeypatch):
    monkeypatch.setattr(arrangement, "MOST_RUNS", 4)
    table = wide(buckets=10)
    files = written(table, batches(table, 20_000, size=50, at_once=500), memory_bytes=256 * 1024)
    assert sorted(ids_of(files)) == list(range(20_000))
    assert 10 < len(files) <= 20


def test_a_writer_that_is_stopped_leaves_nothing(wide, lake):
    table = wide(buckets=3)
    writer = DataFileWriter(table, schema=table.schema(), options=WriterOptions("0" * 12, memory_bytes=2**16))
    for batch in batches(table, 2000, size=100):
        writer.write(batch)
    writer.abort()
    assert not list(lake.folder.glob("warehouse/t/**/*.parquet"))


def test_uuids_have_no_bounds_that_java_would_misread(lake, singer, caplog):
    text = {"type": "string", "format": "uuid"}
    keys = {"type": "array", "items": text}
    row = {
        "id": 1,
        "u": "ffffffff-0000-4000-8000-000000000000",
        "us": ["11111111-0000-4000-8000-000000000000"],
    }
    properties = {"id": {"type": "integer"}, "u": text, "us": keys}
    lake.ok(singer.schema(properties=properties), singer.record(row))
    [file] = [task.file for task in lake.table().scan().plan_files()]
    assert list(file.lower_bounds) == list(file.upper_bounds) == [1]
    group = pq.read_metadata(file.file_path.removeprefix("file://")).row_group(0)
    assert [group.column(one).is_stats_set for one in range(3)] == [True, False, False]
    assert not caplog.records


@pytest.fixture
def stage(wide):
    """An arranged stage with a table of its own."""
    table = wide(buckets=4)

    def make(*keys):
        options = WriterOptions("0" * 12)
        return ArrangedStage(table, schema=table.schema(), keys=keys, options=options, memory_bytes=2**20)

    return make


def batch(*ids):
    return pa.RecordBatch.from_arrays(
        [pa.array(ids, pa.int64()), pa.nulls(len(ids), pa.binary())], ["id", "data"]
    )


def test_arranged_rows_are_parted_at_the_last_state(stage):
    rows = stage()
    rows.write(batch(5, 6, 7, 8))
    rows.mark()
    rows.write(batch(1, 2))
    assert rows.uncovered_rows == 2
    covered, rest = rows.split_at_mark()
    assert (sorted(ids_of(covered)), sorted(ids_of(rest))) == ([5, 6, 7, 8], [1, 2])


def test_arranged_rows_keep_the_newest_of_each_key_and_can_be_read_again(stage):
    rows = stage("id")
    rows.write(batch(1, 2, 1, 3))
    rows.write(batch(3), pa.array([True]))
    rows.write(batch(4, 2))
    files, superseded = rows.finish()
    assert sorted(ids_of(files)) == [1, 2, 4]
    assert (rows.rows, superseded) == (3, 3)
    told = [(row["id"], flags is not None) for part, flags in rows.batches() for row in part.to_pylist()]
    assert told == [(1, False), (2, False), (1, False), (3, False), (3, True), (4, False), (2, False)]


def test_discarded_arranged_rows_are_gone(stage, lake):
    rows = stage()
    rows.write(batch(1, 2))
    rows.split_at_mark()
    rows.discard()
    assert not list(lake.folder.glob("warehouse/t/**/*.parquet"))


def test_tables_lie_where_the_location_says(lake, singer):
    place = lake.folder / "elsewhere"
    lake.ok(singer.schema(), singer.records([1]), location=f"{place}/{{namespace}}/{{environment}}/{{table}}")
    assert lake.table().location() == f"file://{place}/raw/default/s"
    assert list((place / "raw/default/s/data").glob("*.parquet"))
    lake.ok(singer.schema(), singer.records([2]), location="/other/{table}")
    assert lake.ids() == [1, 2]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"location": "/data/everything"}, "expected a template with {table}"),
        ({"location": "lake/{table}"}, "expected a URI"),
        ({"location": "s3://lake/{tabel}"}, "it may hold {pipeline}"),
        ({"format_version": 3}, "deletion vectors and row numbers cannot be written yet"),
        ({"table_properties": {"icetap.keys": "id"}}, "which the loader keeps itself"),
        ({"table_properties": {"format-version": "3"}}, "which the loader keeps itself"),
        ({"table_properties": {"owner": {"name": "x"}}}, "expected a text, a number or a boolean"),
        ({"streams": {"s": {"partition_by": "day(at)"}}}, "expected a list of texts"),
        ({"streams": {"s": {"sort_by": [""]}}}, "expected a list of texts"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(lake, singer, options, said):
    outcome = lake.load(singer.schema(), singer.records([1]), **options)
    assert isinstance(outcome.error, ConfigurationError)
    assert said in str(outcome.error)
    assert lake.rows() == []


def test_table_properties_are_set_and_changed_and_others_stay(lake, singer):
    wanted = {
        "write.parquet.compression-codec": "gzip",
        "owner": "sales",
        "history.expire.min-snapshots-to-keep": 7,
    }
    lake.ok(singer.schema(), singer.records([1]), table_properties=wanted)
    assert {name: lake.table().properties[name] for name in wanted} == {
        **wanted,
        "history.expire.min-snapshots-to-keep": "7",
    }
    outcome = lake.ok(
        singer.schema(),
        singer.records([2]),
        streams={"s": {"table_properties": {"owner": "finance", "new": True}}},
    )
    assert "table properties set: new, owner" in str(outcome.report)
    properties = lake.table().properties
    assert (properties["owner"], properties["new"]) == ("finance", "true")
    assert properties["write.parquet.compression-codec"] == "gzip"
    assert properties["icetap.keys"] == "id"


def test_the_layout_of_each_stream_is_its_own(lake, singer):
    lake.ok(
        singer.schema(),
        singer.schema("t"),
        singer.records([1]),
        singer.records([2], "t"),
        partition_by=["bucket(2, id)"],
        streams={"t": {"partition_by": [], "sort_by": ["name"]}},
    )
    assert collections.Counter(len(lake.table(one).spec().fields) for one in "st") == {1: 1, 0: 1}
    assert lake.table("t").sort_order().fields


def test_rows_of_all_streams_share_one_memory_and_the_largest_goes_to_disk_first():
    budget = MemoryBudget(2900)
    spools = [Spool(keys=["id"], memory_bytes=10**9, budget=budget) for _ in range(3)]
    for rows, spool in zip((150, 100, 120), spools, strict=True):
        spool.write(pa.RecordBatch.from_arrays([pa.arange(0, rows)], names=["id"]))
    assert [spool.held_bytes for spool in spools] == [0, 800, 960]
    assert [sum(part.num_rows for part in spool.batches()) for spool in spools] == [150, 100, 120]
    del spools[1:], spool
    spools[0].write(pa.RecordBatch.from_arrays([pa.arange(0, 300)], names=["id"]))
    assert spools[0].held_bytes == 2400, "what is gone holds nothing"


METHODS = {
    "append": {"load_method": "append-only"},
    "upsert": {"load_method": "upsert"},
    "upsert-copy": {"load_method": "upsert", "merge_mode": "copy-on-write"},
    "upsert-read": {"load_method": "upsert", "merge_mode": "merge-on-read"},
    "soft": {"load_method": "upsert", "delete_mode": "soft"},
    "overwrite": {"load_method": "overwrite", "full_table_completion": "end_of_input"},
    "diff": {"load_method": "snapshot-diff", "full_table_completion": "end_of_input", "max_delete_ratio": 1},
    "history": {"load_method": "history"},
}
LAID_OUT = {"partition_by": ["month(at)", "bucket(3, id)"], "sort_by": ["name desc"]}
EVOLVED = {"partition_by": ["day(at)"], "sort_by": ["at", "id"]}


@pytest.mark.parametrize("method", METHODS)
def test_every_load_method_gives_the_same_rows_whatever_the_layout(lake, singer, method):
    """Three loads of changes and deletes; the second table gets its layout, and then another one."""
    draw = random.Random(11)
    for number, arranged in enumerate((LAID_OUT, LAID_OUT, EVOLVED)):
        changes = []
        for _ in range(25):
            one = draw.randrange(20)
            row = {
                "id": one,
                "name": f"{number}-{draw.randrange(9)}",
                "at": f"2026-0{draw.randrange(1, 4)}-0{draw.randrange(1, 9)}T00:00:00Z",
                "changed": f"2026-05-0{number + 1}T00:00:{len(changes):02}Z",
            }
            gone = draw.random() < 0.15 and method in {
                "upsert",
                "upsert-copy",
                "upsert-read",
                "soft",
                "history",
            }
            changes.append(row | ({"_sdc_deleted_at": row["changed"]} if gone else {}))
        if method == "diff":
            changes = list({row["id"]: row for row in changes}.values())
        time = {"type": "string", "format": "date-time"}
        properties = {**EVENTS, "changed": time}
        lake.ok(
            *(singer.schema(stream, properties=properties, cursor="changed") for stream in "st"),
            *(singer.record(row, stream) for row in changes for stream in "st"),
            streams={"s": METHODS[method], "t": {**METHODS[method], **arranged}},
        )
        plain, laid_out = (sorted(table_rows(lake, stream), key=repr) for stream in "st")
        assert plain
        assert laid_out == plain
    assert len(lake.table("t").specs()) == 2


def table_rows(lake, stream):
    """The rows without the moments at which they were loaded."""
    rows = lake.table(stream).scan().to_arrow().to_pylist()
    return [{name: value for name, value in row.items() if not name.startswith("_sdc_")} for row in rows]
