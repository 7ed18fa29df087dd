"""Rows that wait: spooled in memory and on disk, marked at each STATE."""

from __future__ import annotations

import pyarrow as pa
import pytest

from target_iceberg.methods.staging import DELETED, DirectStage, Spool
from target_iceberg.tables.writer import WriterOptions


def batch(*ids, kind=None):
    return pa.RecordBatch.from_arrays([pa.array(ids, kind or pa.int64())], names=["id"])


@pytest.mark.parametrize("memory", [1, 10**9], ids=["on-disk", "in-memory"])
def test_spooled_rows_come_back_in_order_and_by_number(memory):
    spool = Spool(keys=["id"], memory_bytes=memory)
    spool.write(batch(1, 2))
    spool.write(batch(), pa.array([], pa.bool_()))
    spool.write(batch(3), pa.array([True]))
    assert [one for part in spool.batches() for one in part.to_pylist()] == [
        {"id": 1, DELETED: False},
        {"id": 2, DELETED: False},
        {"id": 3, DELETED: True},
    ]
    assert spool.take(pa.array([2, 0]), pa.schema([("id", pa.int64())])).column(0).to_pylist() == [3, 1]
    assert spool.rows == 3
    spool.close()
    assert spool.rows == 0


def test_spooled_rows_of_several_widths_come_back_in_the_newest():
    spool = Spool(keys=["id"], memory_bytes=1)
    spool.write(batch(1, kind=pa.int32()))
    spool.write(batch(2**40))
    wide = pa.schema([("id", pa.int64()), ("v", pa.string())])
    assert spool.take(pa.array([0, 1]), wide).to_pylist() == [{"id": 1, "v": None}, {"id": 2**40, "v": None}]
    spool.close()


@pytest.fixture
def stage(lake, singer):
    lake.ok(singer.schema(properties={"id": {"type": "integer"}}))
    table = lake.table()
    return lambda keys: DirectStage(table, schema=table.schema(), keys=keys, options=WriterOptions("0" * 12))


def test_rows_are_parted_at_the_last_state(stage):
    rows = stage(())
    rows.write(batch(1, 2))
    rows.mark()
    rows.write(batch(3))
    assert rows.uncovered_rows == 1
    covered, rest = rows.split_at_mark()
    assert [sum(one.record_count for one in files) for files in (covered, rest)] == [2, 1]


def test_deletes_keep_their_place_when_rows_are_read_again(stage):
    rows = stage(("id",))
    rows.write(batch(1, 2, 3), pa.array([False, True, False]))
    rows.write(batch(2))
    told = [(row["id"], flags is not None) for part, flags in rows.batches() for row in part.to_pylist()]
    assert told == [(1, False), (2, True), (3, False), (2, False)]


def test_after_the_search_for_duplicates_deletes_come_first(stage):
    rows = stage(("id",))
    rows.write(batch(1, 1, 2))
    rows.write(batch(3), pa.array([True]))
    rows.write(batch(3))
    files, superseded = rows.finish()
    assert superseded == 1
    assert sum(one.record_count for one in files) == 3
    told = [(row["id"], flags is not None) for part, flags in rows.batches() for row in part.to_pylist()]
    assert told == [(3, True), (1, False), (2, False), (3, False)]


def test_only_deletes_can_be_read_again(stage):
    rows = stage(("id",))
    rows.write(batch(1), pa.array([True]))
    assert [part.to_pylist() for part, _ in rows.batches()] == [[{"id": 1}]]


def test_discarded_files_are_gone(stage, lake):
    rows = stage(())
    rows.write(batch(1))
    rows.split_at_mark()
    assert list(lake.folder.glob("warehouse/raw/s/data/*"))
    rows.discard()
    assert not list(lake.folder.glob("warehouse/raw/s/data/*"))
