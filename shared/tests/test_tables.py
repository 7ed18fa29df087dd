"""Reading tables: every value as it was stored, found by field id, whatever wrote the file."""

import datetime as dt
import decimal
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask
from pyiceberg.table.name_mapping import MappedField, NameMapping
from pyiceberg.types import (
    DecimalType,
    DoubleType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestamptzType,
    UUIDType,
)

from icetap.errors import DataError
from icetap.tables import plan_files, position_deletes, read_data_file, read_table
from icetap.types import schema_from_iceberg

POINT = StructType(NestedField(11, "x", LongType()), NestedField(12, "y", LongType()))
NESTED = Schema(
    NestedField(1, "id", LongType(), required=True),
    NestedField(2, "point", POINT),
    NestedField(
        3, "points", ListType(4, StructType(NestedField(21, "x", LongType())), element_required=False)
    ),
    NestedField(
        5,
        "by_name",
        MapType(6, StringType(), 7, StructType(NestedField(31, "v", DoubleType())), value_required=False),
    ),
    NestedField(8, "key", UUIDType()),
)
NESTED_ROWS = [
    {"id": 1, "point": {"x": 1, "y": 2}, "points": [{"x": 1}, None], "by_name": [("a", {"v": 1.5})]},
    {"id": 2, "point": None, "points": None, "by_name": None},
    {"id": 3, "point": {"x": None, "y": None}, "points": [], "by_name": []},
    {"id": 4, "point": {"x": 5, "y": None}, "points": [{"x": None}], "by_name": [("b", None)]},
]
KEY = uuid.UUID("00000000-0000-4000-8000-000000000001")


def write(folder, schema, rows, *, name="data.parquet", **options):
    """Write rows with the schema's field ids, as a Parquet writer of any engine would."""
    arrow = schema_from_iceberg(schema, with_ids=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=arrow), folder / name, **options)
    return data_file(folder / name)


def data_file(path, *, content=DataFileContent.DATA, file_format=FileFormat.PARQUET):
    return DataFile.from_args(content=content, file_path=f"file://{path}", file_format=file_format)


def read(file, schema, **options):
    batches = list(read_data_file(PyArrowFileIO(), file, schema, **options))
    return pa.Table.from_batches(batches)


def nested_rows():
    return [{**row, "key": KEY.bytes if row["id"] == 1 else None} for row in NESTED_ROWS]


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("store_schema", [True, False], ids=["arrow-schema-stored", "plain-parquet"])
def test_a_null_stays_null_at_every_depth(tmp_path, batch_size, store_schema):
    file = write(tmp_path, NESTED, nested_rows(), store_schema=store_schema)

    table = read(file, NESTED, batch_size=batch_size)

    assert table.schema == schema_from_iceberg(NESTED)
    assert table.to_pylist() == [{**row, "key": KEY if row["id"] == 1 else None} for row in NESTED_ROWS]


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_fields_are_found_by_id_when_they_were_renamed_moved_added_and_dropped(tmp_path, batch_size):
    file = write(tmp_path, NESTED, nested_rows())
    evolved = Schema(
        NestedField(9, "new", StringType()),
        NestedField(
            5,
            "by_title",
            MapType(
                6,
                StringType(),
                7,
                StructType(NestedField(32, "w", LongType()), NestedField(31, "value", DoubleType())),
                value_required=False,
            ),
        ),
        NestedField(
            3,
            "path",
            ListType(
                4,
                StructType(NestedField(22, "x", StringType()), NestedField(21, "lon", LongType())),
                element_required=False,
            ),
        ),
        NestedField(
            2, "point", StructType(NestedField(12, "x", LongType()), NestedField(11, "y", LongType()))
        ),
    )

    table = read(file, evolved, batch_size=batch_size)

    assert table.to_pylist() == [
        {
            "new": None,
            "by_title": None
            if row["by_name"] is None
            else [(k, None if v is None else {"w": None, "value": v["v"]}) for k, v in row["by_name"]],
            "path": None
            if row["points"] is None
            else [None if one is None else {"x": None, "lon": one["x"]} for one in row["points"]],
            "point": None if row["point"] is None else {"x": row["point"]["y"], "y": row["point"]["x"]},
        }
        for row in NESTED_ROWS
    ]


def test_promoted_columns_are_widened_exactly(tmp_path):
    stored = Schema(
        NestedField(1, "i", IntegerType()),
        NestedField(2, "d", DecimalType(9, 2)),
        NestedField(3, "l", ListType(4, IntegerType(), element_required=False)),
    )
    file = write(tmp_path, stored, [{"i": -(2**31), "d": decimal.Decimal("1234567.89"), "l": [1, None]}])
    promoted = Schema(
        NestedField(1, "i", LongType()),
        NestedField(2, "d", DecimalType(38, 2)),
        NestedField(3, "l", ListType(4, LongType(), element_required=False)),
    )

    table = read(file, promoted)

    assert table.schema == schema_from_iceberg(promoted)
    assert table.to_pylist() == [{"i": -(2**31), "d": decimal.Decimal("1234567.89"), "l": [1, None]}]


def test_a_change_of_type_that_iceberg_does_not_allow_is_refused_by_name(tmp_path):
    file = write(tmp_path, Schema(NestedField(1, "n", StringType())), [{"n": "1"}])

    with pytest.raises(DataError, match="column n is string in the file and int64 in the table"):
        read(file, Schema(NestedField(1, "n", LongType())))


def test_columns_come_in_the_order_asked(tmp_path):
    file = write(tmp_path, NESTED, nested_rows())

    assert read(file, NESTED, columns=["key", "id"]).column_names == ["key", "id"]


def test_rows_are_counted_when_the_file_has_none_of_the_columns_asked(tmp_path):
    file = write(tmp_path, Schema(NestedField(1, "a", LongType())), [{"a": 1}, {"a": 2}])
    evolved = Schema(NestedField(1, "a", LongType()), NestedField(2, "b", LongType()))

    assert read(file, evolved, columns=["b"]).to_pylist() == [{"b": None}, {"b": None}]


@pytest.mark.parametrize("batch_size", [1, 7, 100])
@pytest.mark.parametrize("deleted", [[], [0], [99], [3, 7, 7, 50], range(100), range(10, 40)], ids=str)
def test_deleted_positions_are_left_out_whatever_the_batches(tmp_path, batch_size, deleted):
    schema = Schema(NestedField(1, "n", LongType()))
    file = write(tmp_path, schema, [{"n": n} for n in range(100)], row_group_size=30)

    batches = read_data_file(
        PyArrowFileIO(), file, schema, deleted_positions=list(deleted), batch_size=batch_size
    )

    assert [n for batch in batches for n in batch["n"].to_pylist()] == [
        n for n in range(100) if n not in deleted
    ]


def test_positions_hold_when_row_groups_are_left_out(tmp_path):
    schema = Schema(NestedField(1, "n", LongType()))
    file = write(tmp_path, schema, [{"n": n} for n in range(100)], row_group_size=30)

    table = read(file, schema, deleted_positions=[0, 65], keep=pa.compute.field("n") == 66)

    assert table["n"].to_pylist() == [n for n in range(60, 90) if n != 65]


def test_row_groups_are_not_judged_by_a_column_that_has_exchanged_its_name(tmp_path):
    stored = Schema(NestedField(1, "a", LongType()), NestedField(2, "b", LongType()))
    file = write(tmp_path, stored, [{"a": n, "b": 1000 + n} for n in range(100)], row_group_size=30)
    exchanged = Schema(NestedField(1, "b", LongType()), NestedField(2, "a", LongType()))

    table = read(file, exchanged, keep=pa.compute.field("a") == 1066)

    assert 1066 in table["a"].to_pylist()


def test_files_without_ids_are_read_by_the_name_mapping_and_refused_without(tmp_path):
    rows = [{"old": 1, "s": {"in": "x"}, "extra": 2}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "plain.parquet")
    schema = Schema(
        NestedField(1, "new", LongType()),
        NestedField(2, "s", StructType(NestedField(3, "inner", StringType()))),
    )
    mapping = NameMapping(
        [
            MappedField(field_id=1, names=["new", "old"]),
            MappedField(field_id=2, names=["s"], fields=[MappedField(field_id=3, names=["in"])]),
        ]
    )
    file = data_file(tmp_path / "plain.parquet")

    assert read(file, schema, name_mapping=mapping).to_pylist() == [{"new": 1, "s": {"inner": "x"}}]
    with pytest.raises(DataError, match=r"schema\.name-mapping\.default"):
        read(file, schema)


def test_position_deletes_of_other_files_do_not_count(tmp_path):
    schema = Schema(NestedField(1, "n", LongType()))
    file = write(tmp_path, schema, [{"n": n} for n in range(5)])
    deletes = []
    for number, rows in enumerate(
        [[(file.file_path, 4), (file.file_path, 1)], [("file:///other.parquet", 2), (file.file_path, 1)]]
    ):
        path = tmp_path / f"deletes-{number}.parquet"
        pq.write_table(pa.Table.from_pylist([{"file_path": f, "pos": p} for f, p in rows]), path)
        deletes.append(data_file(path, content=DataFileContent.POSITION_DELETES))

    positions = position_deletes(PyArrowFileIO(), FileScanTask(file, delete_files=set(deletes)))

    assert positions.to_pylist() == [1, 4]


@pytest.mark.parametrize(
    ("content", "file_format", "words"),
    [
        pytest.param(DataFileContent.EQUALITY_DELETES, FileFormat.PARQUET, "equality deletes", id="equality"),
        pytest.param(DataFileContent.POSITION_DELETES, FileFormat.PUFFIN, "PUFFIN", id="deletion-vector"),
    ],
)
def test_deletes_that_cannot_be_read_are_refused(tmp_path, content, file_format, words):
    task = FileScanTask(
        data_file(tmp_path / "d"),
        delete_files={data_file(tmp_path / "e", content=content, file_format=file_format)},
    )

    with pytest.raises(DataError, match=words):
        position_deletes(PyArrowFileIO(), task)


def test_a_data_file_of_another_format_is_refused(tmp_path):
    with pytest.raises(DataError, match="format ORC"):
        read(data_file(tmp_path / "x.orc", file_format=FileFormat.ORC), NESTED)


@pytest.fixture
def events(tmp_path):
    """A table of three files with days, and a column added after the first file."""
    catalog = SqlCatalog("t", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
    catalog.create_namespace("raw")
    schema = Schema(NestedField(1, "id", LongType()), NestedField(2, "at", TimestamptzType()))
    table = catalog.create_table("raw.events", schema)
    for day in (1, 2, 3):
        at = dt.datetime(2026, 1, day, tzinfo=dt.UTC)
        rows = [{"id": 10 * day + n, "at": at} for n in range(3)]
        if day == 2:
            table.update_schema().add_column("note", StringType()).commit()
        table.append(pa.Table.from_pylist(rows, schema=schema_from_iceberg(schema)))
    return table


def test_a_filter_gives_matching_rows_only_and_opens_matching_files_only(events):
    row_filter = "at >= '2026-01-02T00:00:00+00:00' and id != 21"

    rows = [
        row
        for batch in read_table(events, columns=["note", "id"], row_filter=row_filter)
        for row in batch.to_pylist()
    ]

    assert sorted(row["id"] for row in rows) == [20, 22, 30, 31, 32]
    assert {tuple(row) for row in rows} == {("note", "id")}
    assert len(plan_files(events, row_filter=row_filter)) == 2


def test_an_older_snapshot_is_read_with_the_present_columns(events):
    first = events.history()[0].snapshot_id

    rows = [row for batch in read_table(events, snapshot_id=first) for row in batch.to_pylist()]

    assert sorted(row["id"] for row in rows) == [10, 11, 12]
    assert {tuple(row) for row in rows} == {("id", "at", "note")}


def test_an_empty_table_has_no_rows(tmp_path):
    catalog = SqlCatalog("t", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
    catalog.create_namespace("raw")

    assert list(read_table(catalog.create_table("raw.empty", NESTED))) == []
