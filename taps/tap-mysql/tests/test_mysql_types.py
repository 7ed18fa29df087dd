"""One row per type: the column it becomes, and each value as it arrives in both lanes."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from base64 import b64encode
from decimal import Decimal

import pyarrow as pa
import pytest

from icetap.errors import DataError
from icetap.types import schema_from_singer
from tap_mysql.types import KNOWN, Native, TypeOptions, column
from tap_mysql.zero_dates import ZeroDates

pytestmark = pytest.mark.servers

SMALL = {"type": ["integer", "null"], "minimum": -(2**31), "maximum": 2**31 - 1}
INTEGER = {"type": ["integer", "null"]}
NUMBER = {"type": ["number", "null"]}
STRING = {"type": ["string", "null"]}
BOOLEAN = {"type": ["boolean", "null"]}
BINARY = {"type": ["string", "null"], "contentEncoding": "base64"}
DATE = {"type": ["string", "null"], "format": "date"}
TIMESTAMP = {"type": ["string", "null"], "format": "date-time", "x-sql-datatype": "timestamp"}
TIMESTAMPTZ = {"type": ["string", "null"], "format": "date-time"}
JSON = {"type": ["string", "null"], "contentMediaType": "application/json"}
UUID = {"type": ["string", "null"], "format": "uuid"}
LIST = {"type": ["array", "null"], "items": {"type": ["string", "null"]}}


def decimal(precision: int, scale: int) -> dict[str, object]:
    return {
        "type": ["number", "null"],
        "x-sql-datatype": "decimal",
        "x-sql-datatype-properties": {"precision": precision, "scale": scale},
    }


def moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


# declared type, SQL literal, schema, value in a RECORD, value in the Arrow file
CASES = [
    pytest.param("TINYINT", "-128", SMALL, -128, -128, id="tinyint"),
    pytest.param("TINYINT UNSIGNED", "255", SMALL, 255, 255, id="tinyint-unsigned"),
    pytest.param("TINYINT(1)", "127", SMALL, 127, 127, id="tinyint-1-is-a-number"),
    pytest.param("BOOLEAN", "TRUE", SMALL, 1, 1, id="boolean-is-tinyint-1"),
    pytest.param("SMALLINT", "-32768", SMALL, -32768, -32768, id="smallint"),
    pytest.param("SMALLINT UNSIGNED", "65535", SMALL, 65535, 65535, id="smallint-unsigned"),
    pytest.param("MEDIUMINT", "-8388608", SMALL, -8388608, -8388608, id="mediumint"),
    pytest.param("MEDIUMINT UNSIGNED", "16777215", SMALL, 16777215, 16777215, id="mediumint-unsigned"),
    pytest.param("INT", "-2147483648", SMALL, -(2**31), -(2**31), id="int"),
    pytest.param("INT UNSIGNED", "4294967295", INTEGER, 2**32 - 1, 2**32 - 1, id="int-unsigned"),
    pytest.param("INT(5) ZEROFILL", "7", INTEGER, 7, 7, id="int-zerofill"),
    pytest.param("BIGINT", "-9223372036854775808", INTEGER, -(2**63), -(2**63), id="bigint-smallest"),
    pytest.param("BIGINT", "9223372036854775807", INTEGER, 2**63 - 1, 2**63 - 1, id="bigint-largest"),
    pytest.param("BIGINT UNSIGNED", "18446744073709551615", decimal(20, 0), 2**64 - 1, Decimal(2**64 - 1), id="bigint-unsigned"),
    pytest.param("DECIMAL(5,2)", "-999.99", decimal(5, 2), Decimal("-999.99"), Decimal("-999.99"), id="decimal"),
    pytest.param("DECIMAL(10,2) ZEROFILL", "12.5", decimal(10, 2), Decimal("12.50"), Decimal("12.50"), id="decimal-zerofill"),
    pytest.param("DECIMAL(38,10)", "9999999999999999999999999999.9999999999", decimal(38, 10), Decimal("9999999999999999999999999999.9999999999"), Decimal("9999999999999999999999999999.9999999999"), id="decimal-38"),
    pytest.param("DECIMAL(38,38)", "0.00000000000000000000000000000000000001", decimal(38, 38), Decimal("1E-38"), Decimal("1E-38"), id="decimal-smallest"),
    pytest.param("DECIMAL(65,30)", "-12345678901234567890123456789012345.123456789012345678901234567890", STRING, "-12345678901234567890123456789012345.123456789012345678901234567890", "-12345678901234567890123456789012345.123456789012345678901234567890", id="decimal-65-is-text"),
    pytest.param("FLOAT", "16777216", NUMBER, 16777216, 16777216.0, id="float-of-eight-digits"),
    pytest.param("FLOAT", "0.1", NUMBER, Decimal("0.10000000149011612"), pa.scalar(0.1, pa.float32()).as_py(), id="float"),
    pytest.param("FLOAT", "3.4028234e38", NUMBER, Decimal("3.4028234663852886e38"), pa.scalar(3.4028235e38, pa.float32()).as_py(), id="float-largest"),
    pytest.param("DOUBLE", "0.30000000000000004", NUMBER, Decimal("0.30000000000000004"), 0.30000000000000004, id="double"),
    pytest.param("DOUBLE", "-1.7976931348623157e308", NUMBER, Decimal("-1.7976931348623157e308"), -1.7976931348623157e308, id="double-smallest"),
    pytest.param("BIT", "b'1'", BOOLEAN, True, True, id="bit-1"),
    pytest.param("BIT(8)", "b'10000000'", INTEGER, 128, 128, id="bit-8"),
    pytest.param("BIT(63)", "0x7fffffffffffffff", INTEGER, 2**63 - 1, 2**63 - 1, id="bit-63"),
    pytest.param("BIT(64)", "0xffffffffffffffff", decimal(20, 0), 2**64 - 1, Decimal(2**64 - 1), id="bit-64"),
    pytest.param("YEAR", "2155", SMALL, 2155, 2155, id="year"),
    pytest.param("YEAR", "0000", SMALL, 0, 0, id="year-zero"),
    pytest.param("CHAR(10)", "'é  '", STRING, "é", "é", id="char-is-cut-by-the-server"),
    pytest.param("VARCHAR(20)", "'😀 \"\\\\ \\n'", STRING, '😀 "\\ \n', '😀 "\\ \n', id="varchar-emoji"),
    pytest.param("VARCHAR(20) CHARACTER SET latin1", "'€é'", STRING, "€é", "€é", id="latin1-is-cp1252"),
    pytest.param("VARCHAR(20) CHARACTER SET utf8mb3", "'ü中'", STRING, "ü中", "ü中", id="utf8mb3"),
    pytest.param("VARCHAR(20) CHARACTER SET ucs2", "'ü中'", STRING, "ü中", "ü中", id="ucs2"),
    pytest.param("VARCHAR(20) CHARACTER SET cp1251", "'Ж'", STRING, "Ж", "Ж", id="cp1251"),
    pytest.param("TINYTEXT", "''", STRING, "", "", id="tinytext-empty"),
    pytest.param("TEXT", "repeat('x', 250)", STRING, "x" * 250, "x" * 250, id="text-of-250"),
    pytest.param("TEXT", "repeat('x', 251)", STRING, "x" * 251, "x" * 251, id="text-of-251"),
    pytest.param("MEDIUMTEXT", "repeat('x', 65536)", STRING, "x" * 65536, "x" * 65536, id="text-of-65536"),
    pytest.param("LONGTEXT", "repeat('é', 100000)", STRING, "é" * 100_000, "é" * 100_000, id="longtext"),
    pytest.param("BINARY(4)", "x'00ff'", BINARY, "AP8AAA==", b"\x00\xff\0\0", id="binary-is-padded"),
    pytest.param("VARBINARY(9)", "x'fbfcfdfeff00'", BINARY, "+/z9/v8A", b"\xfb\xfc\xfd\xfe\xff\0", id="varbinary"),
    pytest.param("TINYBLOB", "x''", BINARY, "", b"", id="blob-empty"),
    pytest.param("BLOB", "repeat(x'00', 65535)", BINARY, None, b"\0" * 65_535, id="blob"),
    pytest.param("MEDIUMBLOB", "x'0a'", BINARY, "Cg==", b"\n", id="mediumblob"),
    pytest.param("LONGBLOB", "repeat(x'ff', 300)", BINARY, None, b"\xff" * 300, id="longblob"),
    pytest.param("VARCHAR(9) CHARACTER SET binary", "x'ff00'", BINARY, "/wA=", b"\xff\0", id="character-set-binary"),
    pytest.param("ENUM('','a','b''c')", "'b''c'", STRING, "b'c", "b'c", id="enum"),
    pytest.param("SET('x','y','z')", "'z,x'", LIST, ["x", "z"], ["x", "z"], id="set-in-the-order-of-its-type"),
    pytest.param("SET('x','y')", "''", LIST, [], [], id="set-empty"),
    pytest.param("DATE", "'1000-01-01'", DATE, "1000-01-01", dt.date(1000, 1, 1), id="date-first"),
    pytest.param("DATE", "'0001-01-01'", DATE, "0001-01-01", dt.date.min, id="date-before-the-documented-first"),
    pytest.param("DATE", "'9999-12-31'", DATE, "9999-12-31", dt.date.max, id="date-last"),
    pytest.param("DATETIME", "'1969-12-31 23:59:59'", TIMESTAMP, "1969-12-31T23:59:59.000000", moment("1969-12-31T23:59:59"), id="datetime"),
    pytest.param("DATETIME", "'2024-01-01 00:00:00'", TIMESTAMP, "2024-01-01T00:00:00.000000", moment("2024-01-01T00:00:00"), id="datetime-midnight"),
    pytest.param("DATETIME(3)", "'2024-01-01 00:00:00.001'", TIMESTAMP, "2024-01-01T00:00:00.001000", moment("2024-01-01T00:00:00.001"), id="datetime-millis"),
    pytest.param("DATETIME(6)", "'9999-12-31 23:59:59.999999'", TIMESTAMP, "9999-12-31T23:59:59.999999", moment("9999-12-31T23:59:59.999999"), id="datetime-last"),
    pytest.param("TIMESTAMP NULL", "'1970-01-01 00:00:01'", TIMESTAMPTZ, "1970-01-01T00:00:01.000000Z", moment("1970-01-01T00:00:01+00:00"), id="timestamp-first"),
    pytest.param("TIMESTAMP(6) NULL", "'2038-01-19 03:14:07.999999'", TIMESTAMPTZ, "2038-01-19T03:14:07.999999Z", moment("2038-01-19T03:14:07.999999+00:00"), id="timestamp-last"),
    pytest.param("TIME", "'838:59:59'", STRING, "838:59:59", "838:59:59", id="time-is-no-time-of-day"),
    pytest.param("TIME(6)", "'-838:59:58.000001'", STRING, "-838:59:58.000001", "-838:59:58.000001", id="time-negative"),
    pytest.param("JSON", "'{\"b\": 12345678901234567890.10, \"a\": [1]}'", JSON, '{"b": 12345678901234567890.10, "a": [1]}', '{"b": 12345678901234567890.10, "a": [1]}', id="json"),
    pytest.param("GEOMETRY", "POINT(1, 2)", BINARY, "AAAAAAEBAAAAAAAAAAAA8D8AAAAAAAAAQA==", bytes.fromhex("000000000101000000000000000000f03f0000000000000040"), id="geometry"),
    pytest.param("POINT", "ST_GeomFromText('POINT(1 2)', 4326)", BINARY, "5hAAAAEBAAAAAAAAAAAA8D8AAAAAAAAAQA==", bytes.fromhex("e61000000101000000000000000000f03f0000000000000040"), id="point-with-srid"),
    pytest.param("UUID", "'123e4567-e89b-12d3-a456-426655440000'", UUID, "123e4567-e89b-12d3-a456-426655440000", uuid.UUID("123e4567-e89b-12d3-a456-426655440000"), id="uuid"),
    pytest.param("INET4", "'10.0.0.1'", STRING, "10.0.0.1", "10.0.0.1", id="inet4"),
    pytest.param("INET6", "'2001:db8::ff'", STRING, "2001:db8::ff", "2001:db8::ff", id="inet6"),
]  # fmt: skip


def made_with(database, *cases, before=()):
    """Make a table `every` with a column per case: its values in row 1, nulls in row 2."""
    columns = ", ".join(f"c{number} {case.values[0]}" for number, case in enumerate(cases))
    literals = ", ".join(str(case.values[1]) for case in cases)
    database.execute(
        *before,
        f"CREATE TABLE every (id INT PRIMARY KEY, {columns})",
        f"INSERT INTO every VALUES (1, {literals})",
        "INSERT INTO every (id) VALUES (2)",
    )


@pytest.fixture(scope="session")
def lanes(new_database, run_tap, tmp_path_factory):
    """Both lanes of a table with all cases, read once."""
    database, folder = new_database(), tmp_path_factory.mktemp("types")
    made_with(database, *CASES)
    arrow = {"batch_config": {"encoding": {"format": "arrow"}, "storage": {"root": f"file://{folder}"}}}
    yield run_tap(database.config), run_tap({**database.config, **arrow})
    database.execute(f"DROP DATABASE {database.name}")


NUMBERED = [pytest.param(number, *case.values[2:], id=case.id) for number, case in enumerate(CASES)]


@pytest.mark.parametrize(("number", "schema", "in_record", "in_arrow"), NUMBERED)
def test_value_arrives_as_it_is_stored(lanes, number, schema, in_record, in_arrow):
    records, batches = lanes
    name = f"c{number}"

    assert records.schema()[name] == schema
    first, second = records.records()
    assert first[name] == in_record or (in_record is None and first[name])
    assert second[name] is None
    column = batches.table().column(name)
    declared = schema_from_singer({"properties": {name: schema}}).field(name)
    assert column.type == declared.type or pa.types.is_float32(column.type)
    assert column.to_pylist() == [in_arrow, None]


def test_every_type_of_the_table_has_a_case():
    spelled = " ".join(str(case.values[0]).lower() for case in CASES)
    without_case = {kind for kind in KNOWN if not re.search(rf"\b{kind}\b", spelled)}

    assert without_case == {*GEOMETRIES, "geomcollection", "vector"}  # needs MySQL 8; MySQL 9 or MariaDB 11.7


GEOMETRIES = {
    "linestring": "LINESTRING(0 0, 1 2)",
    "polygon": "POLYGON((0 0, 1 0, 1 1, 0 0))",
    "multipoint": "MULTIPOINT(0 0, 1 1)",
    "multilinestring": "MULTILINESTRING((0 0, 1 1), (2 2, 3 3))",
    "multipolygon": "MULTIPOLYGON(((0 0, 1 0, 1 1, 0 0)))",
    "geometrycollection": "GEOMETRYCOLLECTION(POINT(1 2))",
}


def test_geometries_arrive_as_the_server_stores_them(database, sync):
    """Four bytes of SRID, then WKB."""
    columns = ", ".join(f"{kind} {kind.upper()}" for kind in GEOMETRIES)
    values = ", ".join(f"ST_GeomFromText('{text}')" for text in GEOMETRIES.values())
    database.execute(f"CREATE TABLE g (id INT PRIMARY KEY, {columns})", f"INSERT INTO g VALUES (1, {values})")
    (stored,) = database.execute(f"SELECT {', '.join(f'HEX({kind})' for kind in GEOMETRIES)} FROM g")
    (record,) = sync().records()

    assert [record[kind] for kind in GEOMETRIES] == [
        b64encode(bytes.fromhex(text)).decode() for text in stored
    ]


def test_every_type_that_the_server_knows_is_in_the_table(mariadb_server):
    """Types are listed by the server's own manual, and by its plug-ins."""
    topics = mariadb_server.execute(
        "mysql",
        "SELECT t.name FROM help_topic t JOIN help_category c USING (help_category_id) "
        "WHERE c.name LIKE '%Data Types'",
    )
    plugins = mariadb_server.execute(
        "", "SELECT PLUGIN_NAME FROM information_schema.PLUGINS WHERE PLUGIN_TYPE = 'DATA TYPE'"
    )
    described = {name.split()[0].lower() for (name,) in topics}
    spellings = {"integer": "int", "dec": "decimal", "numeric": "decimal", "fixed": "decimal"}
    spellings |= {"boolean": "tinyint", "serial": "bigint", "real": "double", "number": "decimal"}
    spellings |= {"int1": "tinyint", "int2": "smallint", "int3": "mediumint", "int4": "int", "int8": "bigint"}
    spellings |= {
        "nchar": "char",
        "character": "char",
        "national": "char",
        "row": "int",
        "long": "mediumtext",
    }
    unknown = {spellings.get(name, name) for name in described if name.isalnum()} - KNOWN
    unknown |= {name.lower() for (name,) in plugins} - KNOWN

    assert unknown == set()


def test_a_type_that_nobody_knows_is_left_out_and_never_guessed():
    made = column("c", Native("hologram", "hologram(3)"), options=OPTIONS, nullable=True)

    assert "hologram(3)" in made.unsupported


def test_a_vector_is_a_list_of_floats():
    made = column("v", Native("vector", "vector(2)"), options=OPTIONS, nullable=True)
    given = pa.array([bytes.fromhex("0000803f000000c0"), None, b""], pa.binary())

    assert made.decode([given]).array.to_pylist() == [[1.0, -2.0], None, []]


OPTIONS = TypeOptions(tinyint1_is_bool=False, zeros=ZeroDates("null"))


# --- choices ---------------------------------------------------------------------------------------

INVALID = [
    pytest.param("DATE", "0000-00-00", id="zero-date"),
    pytest.param("DATE", "2024-00-10", id="date-without-month"),
    pytest.param("DATE", "2017-02-31", id="date-of-no-calendar"),
    pytest.param("DATETIME(6)", "0000-00-00 00:00:00.000000", id="zero-datetime"),
    pytest.param("DATETIME", "2017-02-31 10:00:00", id="datetime-of-no-calendar"),
    pytest.param("TIMESTAMP NULL", "0000-00-00 00:00:00", id="zero-timestamp"),
]


@pytest.fixture
def dates(database):
    """A table with one column for each invalid date, beside a row of good ones."""
    columns = ", ".join(f"c{number} {case.values[0]}" for number, case in enumerate(INVALID))
    values = ", ".join(f"'{case.values[1]}'" for case in INVALID)
    good = ", ".join("'2024-01-02'" for _ in INVALID)
    database.execute(
        "SET sql_mode = 'ALLOW_INVALID_DATES'",
        f"CREATE TABLE dates (id INT PRIMARY KEY, {columns})",
        f"INSERT INTO dates VALUES (1, {values}), (2, {good})",
    )
    return database


def test_invalid_dates_become_null_and_are_counted(dates, sync, caplog):
    first, second = sync().records()

    assert [first[f"c{number}"] for number in range(len(INVALID))] == [None] * len(INVALID)
    assert None not in second.values()
    assert f"Column {dates.stream('dates')}.c2: 1 zero or invalid dates were sent as null" in caplog.text


def test_invalid_dates_become_1970_when_asked(dates, sync):
    first, _ = sync(zero_date="epoch").records()

    assert (first["c0"], first["c3"]) == ("1970-01-01", "1970-01-01T00:00:00.000000")
    assert first["c5"] == "1970-01-01T00:00:00.000000Z"


def test_invalid_dates_keep_their_text_when_asked(dates, sync):
    found = sync(zero_date="string")
    first, second = found.records()

    assert [first[f"c{number}"] for number in range(len(INVALID))] == [case.values[1] for case in INVALID]
    assert second["c3"] == "2024-01-02 00:00:00.000000"
    assert found.schema()["c0"] == STRING


def test_invalid_dates_are_refused_when_asked(dates, sync):
    with pytest.raises(DataError, match=r"column 'c0' \(date\) do not fit its type.*zero_date"):
        sync(zero_date="error")


def test_refused_dates_can_be_left_out(dates, sync):
    assert [record["id"] for record in sync(zero_date="error", on_rejected="skip").records()] == [2]


def test_a_key_of_zero_dates_is_refused(database, sync):
    database.execute(
        "SET sql_mode = ''", "CREATE TABLE t (d DATE PRIMARY KEY)", "INSERT INTO t VALUES ('0000-00-00')"
    )

    with pytest.raises(DataError, match="key column 'd'"):
        sync()


def test_tinyint_1_is_a_boolean_when_asked(database, sync):
    database.execute(
        "CREATE TABLE t (id INT PRIMARY KEY, a TINYINT(1), b TINYINT)",
        "INSERT INTO t VALUES (1, 1, 1), (2, 0, 0), (3, NULL, 7)",
    )
    found = sync(tinyint1_is_bool=True)

    assert [(row["a"], row["b"]) for row in found.records()] == [(True, 1), (False, 0), (None, 7)]
    assert found.schema()["a"] == BOOLEAN


def test_a_boolean_that_is_two_is_refused(database, sync):
    database.execute("CREATE TABLE t (id INT PRIMARY KEY, a TINYINT(1))", "INSERT INTO t VALUES (1, 2)")

    with pytest.raises(DataError, match=r"column 'a' \(tinyint\(1\)\)"):
        sync(tinyint1_is_bool=True)


def test_json_is_known_by_its_check(database, discovered):
    """MariaDB's JSON is a LONGTEXT; only the whole check counts."""
    database.execute(
        "CREATE TABLE t (id INT PRIMARY KEY, a JSON, `b``c` JSON, t LONGTEXT, "
        "o LONGTEXT CHECK (json_valid(o) OR o = ''))"
    )
    schema = discovered()[database.stream("t")]["schema"]["properties"]

    assert [schema[name] == JSON for name in ("a", "b`c", "t", "o")] == [True, True, False, False]


def test_a_bad_enum_value_is_the_empty_text(database, sync):
    database.execute(
        "SET sql_mode = ''",
        "CREATE TABLE t (id INT PRIMARY KEY, e ENUM('a'))",
        "INSERT INTO t VALUES (1, 'b')",
    )

    assert sync().records()[0]["e"] == ""
