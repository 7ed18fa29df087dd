"""Sorted tables: rows in order within files, exactly as they came, however many there are."""

from __future__ import annotations

import datetime as dt
import math
import random
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.table.sorting import NullOrder
from pyiceberg.transforms import IdentityTransform

from icetap.errors import ConfigurationError
from icetap.tables import read_data_file
from icetap.types import iceberg_schema, schema_from_iceberg
from target_iceberg.tables.writer import DataFileWriter, WriterOptions

PEOPLE = {
    "id": {"type": "integer"},
    "name": {"type": ["null", "string"]},
    "born": {"type": ["null", "number"]},
}


def files(lake, stream="s"):
    return [task.file for task in lake.table(stream).scan().plan_files()]


def stored(data_file):
    return pq.read_table(data_file.file_path.removeprefix("file://"))


def test_rows_are_sorted_within_files_and_the_table_says_so(lake, singer):
    rows = [{"id": one, "name": name, "born": None} for one, name in enumerate(["b", None, "a", "c", "a"])]
    lake.ok(
        singer.schema(properties=PEOPLE),
        [singer.record(row) for row in rows],
        sort_by=["name desc", "id"],
    )
    [file] = files(lake)
    assert stored(file)["name"].to_pylist() == ["c", "b", "a", "a", None]
    assert stored(file)["id"].to_pylist() == [3, 0, 2, 4, 1]
    order = lake.table().sort_order()
    assert file.sort_order_id == order.order_id == 1
    assert [str(field) for field in order.fields] == ["2 DESC NULLS LAST", "1 ASC NULLS FIRST"]


def test_a_changed_order_holds_for_new_files(lake, singer):
    head = singer.schema(properties=PEOPLE)
    lake.ok(head, [singer.record({"id": one}) for one in (2, 1)])
    outcome = lake.ok(head, [singer.record({"id": one}) for one in (4, 3)], sort_by=["id desc nulls first"])
    assert "new files are sorted by id desc nulls first" in str(outcome.report)
    assert [(one.sort_order_id, stored(one)["id"].to_pylist()) for one in files(lake)] == [
        (1, [4, 3]),
        (None, [2, 1]),
    ]
    lake.ok(head, [singer.record({"id": one}) for one in (6, 5)], sort_by=[])
    assert lake.table().sort_order().order_id == 0
    assert files(lake)[0].sort_order_id is None


def test_a_merge_keeps_files_sorted(lake, singer):
    head = singer.schema(properties=PEOPLE)
    lake.ok(head, [singer.record({"id": one, "name": f"{one:02}"}) for one in range(10)], sort_by=["name"])
    for mode in ("copy-on-write", "merge-on-read"):
        lake.ok(
            head,
            [singer.record({"id": one, "name": f"{20 - one}{mode}"}) for one in (3, 7, 11)],
            merge_mode=mode,
        )
    for file in files(lake):
        names = stored(file)["name"].to_pylist()
        assert names == sorted(names)
    assert len(lake.rows()) == 11


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("nmae", "did you mean 'name'?"),
        ("name upwards", "no column 'name upwards'"),
        ("tags", "which has no order"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(lake, singer, entry, said):
    tags = {"type": "array", "items": {"type": "string"}}
    outcome = lake.load(singer.schema(properties={**PEOPLE, "tags": tags}), sort_by=[entry])
    assert isinstance(outcome.error, ConfigurationError)
    assert said in str(outcome.error)


ORDERED = {
    "boolean": (pa.bool_(), [False, True]),
    "int": (pa.int32(), [-(2**31), -1, 0, 2**31 - 1]),
    "long": (pa.int64(), [-(2**63), 2**53, 2**53 + 1, 2**63 - 1]),
    "float": (pa.float32(), [-math.inf, -1.5, -0.0, 0.0, 1e-40, 2.0, math.inf, math.nan]),
    "double": (pa.float64(), [-math.inf, -1e300, -0.0, 0.0, 5e-324, 0.1, math.inf, math.nan]),
    "decimal": (
        pa.decimal128(38, 2),
        [Decimal(one) for one in (f"-{10**35}.00", "-0.01", "0.00", f"{10**35}.01")],
    ),
    "date": (pa.date32(), [dt.date(1, 1, 1), dt.date(1969, 12, 31), dt.date(9999, 12, 31)]),
    "time": (pa.time64("us"), [dt.time(0), dt.time(0, 0, 0, 1), dt.time(23, 59, 59, 999999)]),
    "timestamp": (
        pa.timestamp("us"),
        [
            dt.datetime.fromisoformat(one)
            for one in ("0001-01-01", "1969-12-31T23:59:59.999999", "2026-01-01")
        ],
    ),
    "string": (pa.string(), ["", "A", "Z", "a", "a\0", "ab", "é", "\uffff", "\U0001f600"]),
    "binary": (pa.binary(), [b"", b"\0", b"\0\0", b"a", b"\x7f", b"\x80", b"\xff"]),
    "fixed": (pa.binary(2), [b"\0\0", b"\x7f\xff", b"\x80\0"]),
    "uuid": (pa.uuid(), [bytes(16), b"\x7f" * 16, b"\x80" + bytes(15), b"\xff" * 16]),
}
"""Values of each type in their order."""


def column(kind, values):
    if kind == pa.uuid():
        return pa.ExtensionArray.from_storage(kind, pa.array(values, pa.binary(16)))
    return pa.array(values, kind)


def shown(value):
    return repr(value)


@pytest.mark.parametrize("memory", [32 * 2**20, 4096], ids=["in-memory", "spilled"])
@pytest.mark.parametrize("way", ["asc", "desc nulls first"])
@pytest.mark.parametrize("name", ORDERED)
def test_values_of_each_type_have_their_order(lake, name, way, memory):
    kind, values = ORDERED[name]
    fields = [pa.field("v", kind), pa.field("n", pa.int64())]
    lake.catalog.create_namespace("t")
    table = lake.catalog.create_table(("t", "t"), schema=iceberg_schema(fields))
    with table.update_sort_order() as update:
        add = update.asc if way == "asc" else update.desc
        add("v", IdentityTransform(), NullOrder.NULLS_FIRST)
    arrived = [one for one in [*values, None] for _ in range(40)]
    random.Random(7).shuffle(arrived)
    writer = DataFileWriter(
        table, schema=table.schema(), options=WriterOptions("0" * 12, memory_bytes=memory)
    )
    schema = schema_from_iceberg(table.schema())
    for start in range(0, len(arrived), 25):
        some = arrived[start : start + 25]
        arrays = [column(kind, some), pa.arange(start, start + len(some))]
        writer.write(pa.RecordBatch.from_arrays(arrays, schema=schema))
    [file] = writer.close()
    rows = stored(file)
    expected = [None, *(values if way == "asc" else values[::-1])]
    places = {shown(value): place for place, value in enumerate(column(kind, expected).to_pylist())}
    keys = [places[shown(value)] for value in rows["v"].to_pylist()]
    assert keys == sorted(keys)
    came = column(kind, arrived).to_pylist()
    told = list(zip(keys, rows["n"].to_pylist(), strict=True))
    assert told == sorted(told), "equal values stay in the order they came"
    assert [shown(came[n]) for _, n in told] == [shown(value) for value in rows["v"].to_pylist()]


NESTED = {
    "things": pa.list_(pa.struct([("a", pa.int64()), ("b", pa.string())])),
    "named": pa.map_(pa.string(), pa.struct([("p", pa.decimal128(20, 3))])),
    "deep": pa.struct([("x", pa.struct([("y", pa.list_(pa.float64()))])), ("u", pa.string())]),
}


def nested_rows(count):
    draw = random.Random(2)
    for n in range(count):
        things = [{"a": draw.randrange(9), "b": None}, None, {"a": None, "b": "\U0001f600"}]
        x = draw.choice([None, {"y": None}, {"y": []}, {"y": [0.1, None]}])
        yield {
            "n": n,
            "key": draw.choice([None, "a", "b", "c"]),
            "things": draw.choice([None, [], things[: draw.randrange(4)]]),
            "named": draw.choice([None, [], [("k", {"p": Decimal("1.001")}), ("l", None)]]),
            "deep": draw.choice([None, {"x": x, "u": draw.choice([None, "u"])}]),
        }


@pytest.mark.parametrize("memory", [32 * 2**20, 4096], ids=["in-memory", "spilled"])
@pytest.mark.parametrize("sort", [True, False], ids=["sorted", "partitioned"])
def test_nested_values_come_through_as_they_were(lake, sort, memory):
    fields = [("n", pa.int64()), ("key", pa.string()), *NESTED.items()]
    lake.catalog.create_namespace("t")
    table = lake.catalog.create_table(("t", "t"), schema=iceberg_schema([pa.field(*one) for one in fields]))
    if sort:
        with table.update_sort_order() as update:
            update.asc("key", IdentityTransform(), NullOrder.NULLS_LAST)
    else:
        with table.update_spec() as update:
            update.add_field("key", "identity")
    schema = schema_from_iceberg(table.schema())
    rows = list(nested_rows(600))
    options = WriterOptions("0" * 12, memory_bytes=memory)
    writer = DataFileWriter(table, schema=table.schema(), options=options)
    for start in range(0, len(rows), 50):
        writer.write(pa.RecordBatch.from_pylist(rows[start : start + 50], schema=schema))
    told = [
        row
        for one in writer.close()
        for part in read_data_file(table.io, one, table.schema())
        for row in part.to_pylist()
    ]
    right = pa.RecordBatch.from_pylist(rows, schema=schema).to_pylist()
    assert sorted(told, key=lambda row: row["n"]) == right
    if sort:
        assert [row["n"] for row in told] == [
            row["n"] for row in sorted(right, key=lambda row: (row["key"] is None, row["key"] or ""))
        ]
