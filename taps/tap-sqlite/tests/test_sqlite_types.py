"""One row per declared type: the column it becomes, and each value as it arrives in both lanes."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest

from icetap.errors import ConfigurationError, DataError
from icetap.types import schema_from_singer
from tap_sqlite.types import affinity, meaning

INTEGER = {"type": ["integer", "null"]}
NUMBER = {"type": ["number", "null"]}
STRING = {"type": ["string", "null"]}
BOOLEAN = {"type": ["boolean", "null"]}
BINARY = {"type": ["string", "null"], "contentEncoding": "base64"}
DATE = {"type": ["string", "null"], "format": "date"}
TIME = {"type": ["string", "null"], "format": "time"}
TIMESTAMP = {"type": ["string", "null"], "format": "date-time", "x-sql-datatype": "timestamp"}
TIMESTAMPTZ = {"type": ["string", "null"], "format": "date-time"}
JSON = {"type": ["string", "null"], "contentMediaType": "application/json"}

# declared type, SQL literal, schema, value in a RECORD, value in the Arrow file
CASES = [
    pytest.param("INTEGER", "9223372036854775807", INTEGER, 2**63 - 1, 2**63 - 1, id="integer-largest"),
    pytest.param("INTEGER", "-9223372036854775808", INTEGER, -(2**63), -(2**63), id="integer-smallest"),
    pytest.param("BIGINT", "9007199254740993", INTEGER, 9007199254740993, 9007199254740993, id="bigint"),
    pytest.param("TINYINT(1)", "1", INTEGER, 1, 1, id="tinyint"),
    pytest.param("UNSIGNED BIG INT", "5", INTEGER, 5, 5, id="unsigned-big-int"),
    pytest.param("INT", "NULL", INTEGER, None, None, id="null"),
    pytest.param("REAL", "0.1", NUMBER, Decimal("0.1"), 0.1, id="real"),
    pytest.param("DOUBLE PRECISION", "1.5e300", NUMBER, Decimal("1.5e300"), 1.5e300, id="double"),
    pytest.param("FLOAT", "5e-324", NUMBER, Decimal("5e-324"), 5e-324, id="float-smallest"),
    pytest.param("REAL", "3", NUMBER, 3, 3.0, id="real-of-an-integer"),
    pytest.param("FLOATING POINT", "1.0", NUMBER, 1, 1.0, id="floating-point-has-integer-affinity"),
    pytest.param("FLOATING POINT", "1.5", NUMBER, Decimal("1.5"), 1.5, id="floating-point"),
    pytest.param("DECIMAL(10,2)", "12.30", NUMBER, Decimal("12.3"), 12.3, id="decimal-is-a-double"),
    pytest.param("NUMERIC", "1e15", NUMBER, Decimal("1e15"), 1e15, id="numeric"),
    pytest.param("DECIMAL(18,0)", "9007199254740993", INTEGER, 9007199254740993, 9007199254740993, id="decimal-without-scale"),
    pytest.param("BOOLEAN", "1", BOOLEAN, True, True, id="boolean-true"),
    pytest.param("BOOL", "0", BOOLEAN, False, False, id="boolean-false"),
    pytest.param("TEXT", "'é ☃ 𝄞 \"\\'", STRING, 'é ☃ 𝄞 "\\', 'é ☃ 𝄞 "\\', id="text"),
    pytest.param("TEXT", "'a'||char(0)||'b'||char(10)||char(31)", STRING, "a\0b\n\x1f", "a\0b\n\x1f", id="text-with-controls"),
    pytest.param("TEXT", "''", STRING, "", "", id="text-empty"),
    pytest.param("VARCHAR(3)", "'longer than three'", STRING, "longer than three", "longer than three", id="varchar-is-not-cut"),
    pytest.param("NCHAR(55)", "'007'", STRING, "007", "007", id="leading-zeros"),
    pytest.param("CLOB", "'x'", STRING, "x", "x", id="clob"),
    pytest.param("BLOB", "x'00ff10'", BINARY, "AP8Q", b"\x00\xff\x10", id="blob"),
    pytest.param("BLOB", "x''", BINARY, "", b"", id="blob-empty"),
    pytest.param("GEOMETRY", "x'4750'", BINARY, "R1A=", b"GP", id="geometry"),
    pytest.param("MULTIPOINT", "x'4750'", BINARY, "R1A=", b"GP", id="multipoint-contains-int"),
    pytest.param("DATE", "'2024-02-29'", DATE, "2024-02-29", dt.date(2024, 2, 29), id="date-leap-day"),
    pytest.param("DATE", "'0001-01-01'", DATE, "0001-01-01", dt.date.min, id="date-first"),
    pytest.param("DATE", "'9999-12-31'", DATE, "9999-12-31", dt.date.max, id="date-last"),
    pytest.param("TIME", "'23:59:59.000001'", TIME, "23:59:59.000001", dt.time(23, 59, 59, 1), id="time"),
    pytest.param("DATETIME", "'2020-01-02 03:04:05'", TIMESTAMP, "2020-01-02T03:04:05.000000", dt.datetime.fromisoformat("2020-01-02T03:04:05"), id="datetime"),
    pytest.param("DATETIME", "'2020-01-02T03:04:05.123456'", TIMESTAMP, "2020-01-02T03:04:05.123456", dt.datetime.fromisoformat("2020-01-02T03:04:05.123456"), id="datetime-micros"),
    pytest.param("TIMESTAMP", "'2020-01-02 03:04'", TIMESTAMP, "2020-01-02T03:04:00.000000", dt.datetime.fromisoformat("2020-01-02T03:04:00"), id="timestamp-minutes"),
    pytest.param("TIMESTAMP", "'2020-01-02'", TIMESTAMP, "2020-01-02T00:00:00.000000", dt.datetime.fromisoformat("2020-01-02T00:00:00"), id="timestamp-midnight"),
    pytest.param("TIMESTAMP", "'2020-01-02 03:04:05.1230000000'", TIMESTAMP, "2020-01-02T03:04:05.123000", dt.datetime.fromisoformat("2020-01-02T03:04:05.123000"), id="timestamp-zeros-beyond-micros"),
    pytest.param("TIMESTAMPTZ", "'2020-01-02 03:04:05+02:00'", TIMESTAMPTZ, "2020-01-02T01:04:05.000000Z", dt.datetime(2020, 1, 2, 1, 4, 5, tzinfo=dt.UTC), id="timestamptz"),
    pytest.param("TIMESTAMP WITH TIME ZONE", "'2020-01-02 03:04:05.5 +00:00'", TIMESTAMPTZ, "2020-01-02T03:04:05.500000Z", dt.datetime(2020, 1, 2, 3, 4, 5, 500000, tzinfo=dt.UTC), id="timestamptz-with-a-space"),
    pytest.param("JSON", "'{\"b\": 12345678901234567890.12, \"a\": [1]}'", JSON, '{"b": 12345678901234567890.12, "a": [1]}', '{"b": 12345678901234567890.12, "a": [1]}', id="json"),
    pytest.param("JSON", "7", JSON, "7", "7", id="json-number"),
    pytest.param("UUID", "'6f1ed002-ab5d-4a3a-9b3c-000000000001'", STRING, "6f1ed002-ab5d-4a3a-9b3c-000000000001", "6f1ed002-ab5d-4a3a-9b3c-000000000001", id="uuid"),
    pytest.param("STRING", "'007'", STRING, "7", "7", id="string-has-numeric-affinity"),
    pytest.param("STRING", "'x7'", STRING, "x7", "x7", id="string"),
    pytest.param("", "5", STRING, "5", "5", id="none-integer"),
    pytest.param("", "0.30000000000000004", STRING, "0.30000000000000004", "0.30000000000000004", id="none-real-keeps-digits"),
    pytest.param("", "'five'", STRING, "five", "five", id="none-text"),
]  # fmt: skip


@pytest.mark.parametrize(("declared", "literal", "schema", "in_record", "in_arrow"), CASES)
def test_value_arrives_as_it_is_stored(
    database, sync, tmp_path, declared, literal, schema, in_record, in_arrow
):
    path = database(
        f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {declared}); INSERT INTO t VALUES (1, {literal})"
    )
    lines = sync(path)
    assert lines.schema("t")["v"] == schema
    assert lines.records("t") == [{"id": 1, "v": in_record}]
    files = sync(
        path, batch_config={"encoding": {"format": "arrow"}, "storage": {"root": str(tmp_path / "b")}}
    )
    assert files.table().column("v").to_pylist() == [in_arrow]


@pytest.mark.parametrize("declared", sorted({case.values[0] for case in CASES}))
def test_arrow_file_has_the_types_of_the_schema_message(database, sync, tmp_path, declared):
    path = database(f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {declared}); INSERT INTO t VALUES (1, NULL)")
    out = sync(path, batch_config={"storage": {"root": str(tmp_path / "b")}})
    declared_columns = schema_from_singer(out.of("SCHEMA")[0]["schema"], key_properties=["id"])
    assert out.table().schema.types == declared_columns.types


REFUSED = [
    pytest.param("INTEGER", "'abc'", id="text-in-integer"),
    pytest.param("INTEGER", "1.5", id="real-in-integer"),
    pytest.param("INTEGER", "x'01'", id="blob-in-integer"),
    pytest.param("REAL", "'abc'", id="text-in-real"),
    pytest.param("NUMERIC", "9007199254740993", id="integer-beyond-a-double"),
    pytest.param("NUMERIC", "'abc'", id="text-in-numeric"),
    pytest.param("BOOLEAN", "2", id="two-in-boolean"),
    pytest.param("BOOLEAN", "'true'", id="text-in-boolean"),
    pytest.param("TEXT", "x'6162'", id="blob-in-text"),
    pytest.param("TEXT", "CAST(x'ff41' AS TEXT)", id="invalid-utf-8"),
    pytest.param("BLOB", "'abc'", id="text-in-blob"),
    pytest.param("BLOB", "5", id="integer-in-blob"),
    pytest.param("DATE", "20240101", id="integer-in-date"),
    pytest.param("DATE", "'2024-02-30'", id="no-such-day"),
    pytest.param("DATE", "'2024-01-01 10:00:00'", id="time-in-date"),
    pytest.param("TIME", "'24:00:00'", id="24-oclock"),
    pytest.param("DATETIME", "1704067200", id="unix-time-in-datetime"),
    pytest.param("DATETIME", "'2020-01-02 03:04:05Z'", id="zone-in-datetime"),
    pytest.param("DATETIME", "'2020-01-02 03:04:05.1234567'", id="nanoseconds"),
    pytest.param("TIMESTAMPTZ", "'2020-01-02 03:04:05'", id="no-zone-in-timestamptz"),
    pytest.param("JSON", "'{'", id="no-json"),
    pytest.param("UUID", "x'00112233445566778899aabbccddeeff'", id="blob-in-uuid"),
    pytest.param("", "x'01'", id="blob-without-type"),
]


@pytest.mark.parametrize("late", [False, True], ids=["first-batch", "later-batch"])
@pytest.mark.parametrize(("declared", "literal"), REFUSED)
def test_value_of_another_type_ends_the_run_by_default(database, sync, declared, literal, late):
    script = f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {declared});"
    if late:
        script += "INSERT INTO t(v) VALUES (NULL), (NULL), (NULL), (NULL), (NULL);"
    path = database(f"{script} INSERT INTO t(v) VALUES ({literal})")
    with pytest.raises(DataError, match="'v'"):
        sync(path, batch_size=2)


@pytest.mark.parametrize(("declared", "literal"), REFUSED)
def test_value_of_another_type_is_left_out_and_counted_when_asked(database, sync, caplog, declared, literal):
    path = database(
        f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {declared}); INSERT INTO t VALUES (1, NULL), (2, {literal}), (3, NULL)"
    )
    out = sync(path, on_rejected="skip")
    assert [record["id"] for record in out.records()] == [1, 3]
    assert "1 records left out" in caplog.text


def test_message_about_a_bad_value_names_column_count_and_place_but_no_value(database, sync):
    path = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, qty INTEGER)",
        {"t": [(1, 1), (2, "canary"), (3, b"x"), (4, 4)]},
    )
    with pytest.raises(DataError) as caught:
        sync(path)
    message = str(caught.value)
    assert "column 'qty' (INTEGER) holds 2" in message
    assert "the first at id 2" in message
    assert "type_scan" in message
    assert "canary" not in message


SCANNED = [
    pytest.param("INTEGER", [1, "a"], STRING, ["1", "a"], id="integer-and-text"),
    pytest.param("INTEGER", [1, 1.5], NUMBER, [1, Decimal("1.5")], id="integer-and-real"),
    pytest.param("INTEGER", [2**60, 1.5], STRING, ["1152921504606846976", "1.5"], id="large-integer-and-real"),
    pytest.param("BOOLEAN", [0, 1], BOOLEAN, [False, True], id="boolean-holds"),
    pytest.param("BOOLEAN", [0, 2], INTEGER, [0, 2], id="boolean-with-two"),
    pytest.param("DATETIME", [1704067200], INTEGER, [1704067200], id="unix-time"),
    pytest.param("DATETIME", ["2020-01-02 03:04:05Z"], TIMESTAMPTZ, ["2020-01-02T03:04:05.000000Z"], id="zones"),
    pytest.param("DATETIME", ["2020-01-02", "yesterday"], STRING, ["2020-01-02", "yesterday"], id="no-date"),
    pytest.param("DATE", ["2020-01-02", "2020-01-02 10:00:00"], TIMESTAMP, ["2020-01-02T00:00:00.000000", "2020-01-02T10:00:00.000000"], id="date-with-times"),
    pytest.param("TEXT", [b"\xff"], BINARY, ["/w=="], id="blobs-in-text"),
    pytest.param("NUMERIC", [2**60], INTEGER, [2**60], id="large-integers-in-numeric"),
    pytest.param("", [1, 2], INTEGER, [1, 2], id="no-type-but-integers"),
    pytest.param("JSON", ['{"a": 1}', "{"], STRING, ['{"a": 1}', "{"], id="json-that-is-none"),
    pytest.param("UUID", [b"\x00" * 16], BINARY, ["AAAAAAAAAAAAAAAAAAAAAA=="], id="uuid-as-blob"),
]  # fmt: skip


@pytest.mark.parametrize(("declared", "values", "schema", "arrived"), SCANNED)
def test_type_scan_chooses_a_type_that_holds_all_values(database, sync, declared, values, schema, arrived):
    path = database(f"CREATE TABLE t (v {declared})", {"t": [(value,) for value in values]})
    out = sync(path, type_scan=True)
    assert out.schema("t")["v"] == schema
    assert [record["v"] for record in out.records()] == arrived


def test_declared_decimals_are_exact_when_asked(database, sync):
    path = database(
        "CREATE TABLE t (v DECIMAL(10,2))", {"t": [(12.3,), (12,), (0.07,), (99999999.99,), (None,), (1e-2,)]}
    )
    out = sync(path, number_as="decimal")
    assert out.schema("t")["v"]["x-sql-datatype-properties"] == {"precision": 10, "scale": 2}
    assert [str(record["v"]) for record in out.records()] == [
        "12.30",
        "12.00",
        "0.07",
        "99999999.99",
        "None",
        "0.01",
    ]


@pytest.mark.parametrize("value", [0.1 + 0.2, 1e17, 1.234, "x"], ids=["noise", "too-large", "scale", "text"])
def test_decimals_with_more_digits_than_declared_are_refused(database, sync, value):
    path = database("CREATE TABLE t (v DECIMAL(10,2))", {"t": [(1,), (value,)]})
    with pytest.raises(DataError, match="'v'"):
        sync(path, number_as="decimal")


def test_infinity_has_no_json_form_but_travels_as_arrow(database, sync, tmp_path):
    path = database("CREATE TABLE t (v REAL); INSERT INTO t VALUES (1e400), (1)")
    with pytest.raises(DataError, match="NaN or Infinity"):
        sync(path)
    assert [record["v"] for record in sync(path, on_rejected="skip").records()] == [1]
    out = sync(path, batch_config={"storage": {"root": str(tmp_path / "b")}})
    assert out.table().column("v").to_pylist() == [float("inf"), 1.0]


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("INT", "INTEGER"),
        ("CHARINT", "INTEGER"),
        ("FLOATING POINT", "INTEGER"),
        ("CHARACTER(20)", "TEXT"),
        ("clob", "TEXT"),
        ("", "BLOB"),
        ("BLOB", "BLOB"),
        ("REAL", "REAL"),
        ("doub", "REAL"),
        ("STRING", "NUMERIC"),
        ("DECIMAL(10,5)", "NUMERIC"),
    ],
)
def test_affinity_follows_sqlite(database, declared, expected):
    import sqlite3

    path = database(f"CREATE TABLE t (v {declared}); INSERT INTO t VALUES ('1.0'), ('x')")
    stored = sqlite3.connect(path).execute("SELECT typeof(v) FROM t").fetchall()[0][0]
    assert affinity(declared) == expected
    assert stored == {"INTEGER": "integer", "NUMERIC": "integer", "REAL": "real"}.get(expected, "text")


def test_names_unknown_to_sqlite_promise_nothing():
    assert meaning("STRING") == "any"
    assert meaning("ENUM('a','b')") == "any"


@pytest.mark.parametrize(
    ("declared", "values"),
    [
        ("INT", [1, None, -5]),
        ("INTEGER", [2**63 - 1]),
        ("REAL", [1.5, 2.0]),
        ("TEXT", ["a"]),
        ("BLOB", [b"a"]),
        ("ANY", ["a", 1, 2.5]),
    ],
)
def test_strict_tables_are_read(database, sync, tmp_path, declared, values):
    path = database(f"CREATE TABLE t (v {declared}) STRICT", {"t": [(value,) for value in values]})
    out = sync(path, batch_config={"storage": {"root": str(tmp_path / "b")}})
    expected = [str(value) for value in values] if declared == "ANY" else values
    assert out.table().column("v").to_pylist() == expected
    assert isinstance(out.table().schema.field("v").type, pa.DataType)


@pytest.mark.parametrize("kind", ["INT", "TEXT"])
def test_a_table_of_many_columns_is_read_and_its_limit_is_said(database, sync, kind):
    columns = ", ".join(f"c{number} {kind}" for number in range(1_200))
    path = database(f"CREATE TABLE t ({columns}); INSERT INTO t(c1199) VALUES (7)")
    assert sync(path, on_rejected="skip").records()[0]["c1199"] in {7, "7"}
    columns = ", ".join(f"c{number}" for number in range(700))
    path = database(f"CREATE TABLE t ({columns})", name="untyped.db")
    with pytest.raises(ConfigurationError, match="deselect some"):
        sync(path)
