"""Partitioned tables: settings, evolution, and rows that arrive in many partitions at once."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from icetap.errors import ConfigurationError

EVENTS = {
    "id": {"type": "integer"},
    "name": {"type": ["null", "string"]},
    "at": {"type": ["null", "string"], "format": "date-time"},
}


def event(singer, one, day, **more):
    return singer.record({"id": one, "name": f"n{one}", "at": f"2026-01-{day:02d}T12:00:00Z", **more})


def files(lake, stream="s"):
    return [task.file for task in lake.table(stream).scan().plan_files()]


def by_spec(lake, stream="s"):
    """What partitions each spec has files in, with the number of rows."""
    found: dict = {}
    for one in files(lake, stream):
        partition = found.setdefault(one.spec_id, {})
        key = tuple(one.partition)
        partition[key] = partition.get(key, 0) + one.record_count
    return found


def spec(lake, stream="s"):
    table = lake.table(stream)
    return [
        (field.name, str(field.transform), table.schema().find_column_name(field.source_id))
        for field in table.spec().fields
    ]


def test_a_new_table_gets_the_partitions_of_the_setting(lake, singer):
    lake.ok(
        singer.schema(properties=EVENTS),
        [event(singer, one, one % 3 + 1) for one in range(9)],
        partition_by=["day(at)", "bucket(4, id)", "truncate(1, name)", "name"],
    )
    assert spec(lake) == [
        ("at_day", "day", "at"),
        ("id_bucket_4", "bucket[4]", "id"),
        ("name_trunc_1", "truncate[1]", "name"),
        ("name", "identity", "name"),
    ]
    assert lake.ids() == list(range(9))
    assert len(lake.rows()) == 9
    for one in files(lake):
        rows = pq.read_table(one.file_path.removeprefix("file://"))
        assert {value.day for value in rows["at"].to_pylist()} == {(one.partition[0] - 20454) + 1}
        assert {value[:1] for value in rows["name"].to_pylist()} == {one.partition[2]}
        assert set(rows["name"].to_pylist()) == {one.partition[3]}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("day(crated)", "no column 'crated'"),
        ("day(nam)", "did you mean 'name'?"),
        ("dya(at)", "no transform 'dya'; did you mean 'day'?"),
        ("day(name)", "has the type string; 'day' takes date, timestamp or timestamptz"),
        ("hour(id)", "'hour' takes timestamp or timestamptz"),
        ("truncate(2, at)", "'truncate' takes int, long, decimal, string or binary"),
        ("bucket(id, 16)", "expected 'bucket(<number from 1>, <column>)'"),
        ("bucket(0, id)", "expected 'bucket(<number from 1>, <column>)'"),
    ],
)
def test_an_entry_that_cannot_be_is_refused_with_what_could(lake, singer, entry, said):
    outcome = lake.load(singer.schema(properties=EVENTS), event(singer, 1, 1), partition_by=[entry])
    assert isinstance(outcome.error, ConfigurationError)
    assert said in str(outcome.error)
    assert lake.rows() == []
