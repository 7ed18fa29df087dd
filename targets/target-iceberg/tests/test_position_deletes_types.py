"""Rows of every type, replaced by merge-on-read, are the same for four readers; and so are keys of every type."""

from __future__ import annotations

import datetime as dt
from uuid import UUID

import pyarrow as pa
import pytest
from pyiceberg.table import StaticTable

from icetap.tables import read_table
from icetap.testing.engines import polars_rows
from icetap.testing.soundness import assert_sound, delete_files, duckdb_scan
from icetap.types import iceberg_schema
from target_iceberg.methods.merge import plan_merge, write_merge
from target_iceberg.methods.staging import Spool
from target_iceberg.tables.commit import Change, SchemaStage, commit_change
from target_iceberg.tables.writer import DataFileWriter, WriterOptions

from .test_partition_types import COLUMNS, values_of

OPTIONS = WriterOptions("types")
COUNT = 7


def rows(*, shift=0, numbers=range(COUNT)):
    """Rows with the numbers asked for; values are taken from `shift` rows on."""
    fields = [pa.field("n", pa.int64(), nullable=False)]
    columns = [pa.array(list(numbers), pa.int64())]
    for name, (kind, _) in COLUMNS.items():
        fields.append(pa.field(name, kind))
        columns.append(values_of(name).take(pa.array([(number + shift) % COUNT for number in numbers])))
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def merge(table, batch, *, keys, deleted=None):
    spool = Spool(keys=keys, memory_bytes=2**20)
    spool.write(batch, deleted)
    schema = table.schema()
    plan = plan_merge(table, spool, schema=schema, skip_unchanged=True, mode="merge-on-read")
    written = write_merge(table, plan, spool, schema=schema, options=OPTIONS)
    change = Change(
        added=written.added,
        added_deletes=written.added_deletes,
        removed=written.removed,
        removed_deletes=written.removed_deletes,
        parent=table.metadata.current_snapshot_id,
    )
    commit_change(table, change, stage=SchemaStage(table))
    return plan


@pytest.fixture
def table(lake):
    first = rows()
    lake.catalog.create_namespace("raw")
    table = lake.catalog.create_table("raw.s", schema=iceberg_schema(first.schema))
    writer = DataFileWriter(table, schema=table.schema(), options=OPTIONS)
    writer.write(first)
    commit_change(table, Change(added=writer.close()), stage=SchemaStage(table))
    return table


def told(rows):
    """Rows by number, with uuids as text and instants in UTC."""
    return {row["n"]: {name: plain(name, value) for name, value in row.items()} for row in rows}


def plain(name, value):
    if name == "a_uuid" and isinstance(value, bytes):
        return str(UUID(bytes=value))
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.astimezone(dt.UTC)
    return value


def test_values_of_every_type_are_the_same_for_four_readers(table):
    plan = merge(table, rows(shift=1, numbers=[0, 2, 5]), keys=["n"])
    assert (plan.updated, len(plan.position_deletes)) == (3, 1)
    expected = told(rows().to_pylist()) | told(rows(shift=1, numbers=[0, 2, 5]).to_pylist())
    place = table.metadata_location
    readers = {
        "icetap": [row for batch in read_table(table) for row in batch.to_pylist()],
        "pyiceberg": StaticTable.from_metadata(place).scan().to_arrow().to_pylist(),
        "Polars": polars_rows(table),
        "DuckDB": duckdb_scan(place),
    }
    assert {name: told(found) for name, found in readers.items()} == dict.fromkeys(readers, expected)
    assert delete_files(table)
    assert_sound(table)
    again = merge_nothing(table, rows(shift=1, numbers=[0, 2, 5]))
    assert again.unchanged == 3


def merge_nothing(table, batch):
    spool = Spool(keys=["n"], memory_bytes=2**20)
    spool.write(batch)
    plan = plan_merge(table, spool, schema=table.schema(), skip_unchanged=True, mode="merge-on-read")
    assert plan.changes_nothing
    return plan


@pytest.mark.parametrize("key", [name for name in COLUMNS if name != "a_boolean"])
def test_a_key_of_every_type_finds_its_row(table, key):
    """The row of the key's first value is replaced, that of its second deleted."""
    batch = rows(numbers=[0, 1])
    batch = batch.set_column(0, "n", pa.array([100, 101], pa.int64()))
    plan = merge(table, batch, keys=[key], deleted=pa.array([False, True]))
    assert (plan.updated, plan.deleted, len(plan.rows)) == (1, 1, 0)
    numbers = sorted(row["n"] for batch in read_table(table, columns=["n"]) for row in batch.to_pylist())
    assert numbers == [2, 3, 4, 5, 6, 100]
    assert_sound(table)
