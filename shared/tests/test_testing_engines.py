"""Engines that read our tables without our code."""

import datetime as dt
import decimal

import pyarrow as pa
import pytest

from icetap.catalogs import catalog_settings, open_catalog
from icetap.testing.engines import duckdb_rows, spark_session
from icetap.types import iceberg_schema

COLUMNS = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("price", pa.decimal128(38, 9)),
        pa.field("at", pa.timestamp("us", tz="UTC")),
        pa.field("tags", pa.list_(pa.field("element", pa.string()))),
    ]
)
ROWS = [
    {
        "id": 2**63 - 1,
        "price": decimal.Decimal("12345678901234567890123456789.123456789"),
        "at": dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC),
        "tags": ["a", None],
    },
    {"id": -1, "price": None, "at": dt.datetime(1, 1, 1, tzinfo=dt.UTC), "tags": None},
]


@pytest.fixture
def settings(tmp_path):
    return {"warehouse": str(tmp_path / "lake")}


@pytest.fixture
def table(settings):
    """Two rows with the ends of their types."""
    catalog = open_catalog(settings)
    catalog.create_namespace("raw")
    table = catalog.create_table("raw.t", iceberg_schema(COLUMNS))
    table.append(pa.Table.from_pylist(ROWS, schema=COLUMNS))
    return table


def test_duckdb_reads_a_table_from_its_metadata_file(table):
    assert duckdb_rows(table.metadata_location, "SELECT * FROM t ORDER BY id DESC") == ROWS


@pytest.mark.servers
@pytest.mark.timeout(900)
def test_spark_reads_and_rewrites_a_table_of_the_default_catalog(settings, table):
    with spark_session(catalog_settings(settings).properties) as spark:
        found = spark.sql(
            "SELECT id, price, CAST(at AS STRING) AS at, tags FROM icetap.raw.t ORDER BY id DESC"
        )
        spark.sql("DELETE FROM icetap.raw.t WHERE id = -1")

    assert [(row["id"], row["price"], row["tags"]) for row in found] == [
        (row["id"], row["price"], row["tags"]) for row in ROWS
    ]
    assert [row["at"] for row in found] == ["9999-12-31 23:59:59.999999", "0001-01-01 00:00:00"]
    assert [row["id"] for row in table.refresh().scan().to_arrow().to_pylist()] == [2**63 - 1]
