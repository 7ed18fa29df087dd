"""One row per type: the column it becomes, and each value as it arrives in both lanes."""

from __future__ import annotations

import base64
import importlib.util
import struct
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from icetap.testing.mssql import mssql_database

if TYPE_CHECKING:
    from collections.abc import Iterator

_spec = importlib.util.spec_from_file_location(
    "mssql_types_table", Path(__file__).with_name("mssql_types_table.py")
)
TABLE = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(TABLE)
CASES, SAME, BINARY, STRING = TABLE.CASES, TABLE.SAME, TABLE.BINARY, TABLE.STRING


@dataclass
class Runs:
    """One table with a column per case, read once in each lane."""

    records: Any
    file: pa.Table


@pytest.fixture(scope="module")
def runs(sync, tmp_path_factory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("types")
    columns = ", ".join(f"v{number} {case.values[0]}" for number, case in enumerate(CASES))
    literals = ", ".join(str(case.values[1]) for case in CASES)
    with mssql_database() as database:
        database.execute(
            f"CREATE TABLE dbo.t (id int PRIMARY KEY, {columns})",
            f"INSERT INTO dbo.t VALUES (1, {literals})",
            "INSERT INTO dbo.t (id) VALUES (2)",
        )
        batches = sync(database, batch_config={"storage": {"root": str(folder / "b")}})
        yield Runs(sync(database), batches.table())


@pytest.mark.parametrize("number", [pytest.param(number, id=case.id) for number, case in enumerate(CASES)])
def test_value_arrives_exact_in_both_lanes(runs, number):
    _, _, schema, record, arrow = CASES[number].values
    column = f"v{number}"
    assert runs.records.schema("dbo-t")[column] == schema
    assert [one[column] for one in runs.records.records("dbo-t")] == [record, None]
    assert runs.file.column(column).to_pylist() == [record if arrow is SAME else arrow, None]


def test_rowversion_is_sixteen_digits_that_grow(database, sync):
    database.execute(
        "CREATE TABLE dbo.t (id int PRIMARY KEY, v rowversion)",
        "INSERT INTO dbo.t (id) VALUES (1)",
        "INSERT INTO dbo.t (id) VALUES (2)",
    )
    out = sync(database)
    assert out.schema("dbo-t")["v"] in ({"type": "string"}, STRING)
    first, second = (record["v"] for record in out.records())
    assert len(first) == 16
    assert first == first.upper()
    assert first < second


def test_a_point_is_ewkb_with_its_srid(fake, sync):
    point = struct.pack("<BIdd", 1, 1, 1.5, -2.25)
    stored = (struct.pack("<I", 4326) + point).hex()
    fake.execute(
        "CREATE TABLE dbo.t (id int PRIMARY KEY, v geography)",
        f"INSERT INTO dbo.t VALUES (1, 0x{stored}), (2, NULL)",
    )
    out = sync(fake)
    assert out.schema("dbo-t")["v"] == BINARY
    expected = struct.pack("<BIIdd", 1, 1 | 0x20000000, 4326, 1.5, -2.25)
    assert [one["v"] and base64.b64decode(one["v"]) for one in out.records()] == [expected, None]


def test_a_json_column_travels_as_json_text(fake, sync):
    fake.execute(
        "CREATE TABLE dbo.t (id int PRIMARY KEY, v json)", "INSERT INTO dbo.t VALUES (1, N'{\"a\": 1.10}')"
    )
    out = sync(fake)
    assert out.schema("dbo-t")["v"] == {"type": ["string", "null"], "contentMediaType": "application/json"}
    assert out.records()[0]["v"] == '{"a": 1.10}'


def test_a_vector_is_a_list_of_numbers(fake, sync):
    fake.execute(
        "CREATE TABLE dbo.t (id int PRIMARY KEY, v vector)",
        "INSERT INTO dbo.t VALUES (1, N'[1.5,-2.0e+000]')",
    )
    assert sync(fake).records()[0]["v"] == [Decimal("1.5"), Decimal("-2.0")]


@pytest.mark.parametrize("size", [1, 4000, 100_000])
def test_texts_of_any_length_keep_their_last_character(database, sync, size):
    database.execute("CREATE TABLE dbo.t (id int PRIMARY KEY, v nvarchar(max), w varbinary(max))")
    database.execute(f"INSERT INTO dbo.t VALUES (1, N'{'x' * (size - 1)}é', 0x{'00' * (size - 1)}FF)")
    (record,) = sync(database).records()
    assert record["v"] == "x" * (size - 1) + "é"
    assert base64.b64decode(record["w"]) == b"\0" * (size - 1) + b"\xff"


def test_every_type_is_in_the_arrow_file_with_its_own_type(database, sync, tmp_path):
    database.execute(
        "CREATE TABLE dbo.t (id int PRIMARY KEY, big bigint, d decimal(10,2), at datetime2(3), off datetimeoffset(3), "
        "g uniqueidentifier, b varbinary(3), day date, clock time(3))",
        "INSERT INTO dbo.t (id) VALUES (1)",
    )
    schema = sync(database, batch_config={"storage": {"root": str(tmp_path / "b")}}).table().schema
    assert [str(schema.field(name).type) for name in schema.names] == [
        "int32", "int64", "decimal128(10, 2)", "timestamp[us]", "timestamp[us, tz=UTC]",
        str(pa.uuid()), "binary", "date32[day]", "time64[us]",
    ]  # fmt: skip
