"""One row per type of SQL Server: what it is declared as, a value, its schema, and the value as it arrives."""

from __future__ import annotations

import base64
import datetime as dt
import uuid
from decimal import Decimal

import pytest

INT = {"type": ["integer", "null"], "minimum": -(2**31), "maximum": 2**31 - 1}
LONG = {"type": ["integer", "null"]}
NUMBER = {"type": ["number", "null"]}
STRING = {"type": ["string", "null"]}
BOOLEAN = {"type": ["boolean", "null"]}
BINARY = {"type": ["string", "null"], "contentEncoding": "base64"}
DATE = {"type": ["string", "null"], "format": "date"}
TIME = {"type": ["string", "null"], "format": "time"}
TIMESTAMP = {"type": ["string", "null"], "format": "date-time", "x-sql-datatype": "timestamp"}
TIMESTAMPTZ = {"type": ["string", "null"], "format": "date-time"}
UUID = {"type": ["string", "null"], "format": "uuid"}


def decimal(precision: int, scale: int) -> dict:
    return {
        "type": ["number", "null"],
        "x-sql-datatype": "decimal",
        "x-sql-datatype-properties": {"precision": precision, "scale": scale},
    }


def at(*parts: int) -> dt.datetime:
    return dt.datetime(*parts)  # noqa: DTZ001 - as the database means it: without a zone


def utc(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)


SAME = object()
GUID = "6F9619FF-8B86-D011-B42D-00C04FC964FF"

# declared type, SQL literal, schema, value in a RECORD, value in the Arrow file (SAME: as in the RECORD)
CASES = [
    pytest.param("tinyint", "255", INT, 255, SAME, id="tinyint-is-unsigned"),
    pytest.param("smallint", "-32768", INT, -32768, SAME, id="smallint"),
    pytest.param("int", "-2147483648", INT, -(2**31), SAME, id="int"),
    pytest.param("bigint", "9223372036854775807", LONG, 2**63 - 1, SAME, id="bigint"),
    pytest.param("bit", "1", BOOLEAN, True, SAME, id="bit"),
    pytest.param("bit", "0", BOOLEAN, False, SAME, id="bit-zero"),
    pytest.param("decimal(38,10)", "-1234567890123456789012345678.0123456789", decimal(38, 10), Decimal("-1234567890123456789012345678.0123456789"), SAME, id="decimal-of-38-digits"),
    pytest.param("numeric(5,0)", "12345", decimal(5, 0), 12345, Decimal(12345), id="numeric"),
    pytest.param("decimal(38,38)", "0.00000000000000000000000000000000000001", decimal(38, 38), Decimal("1E-38"), SAME, id="decimal-smallest"),
    pytest.param("money", "-922337203685477.5808", decimal(19, 4), Decimal("-922337203685477.5808"), SAME, id="money-smallest"),
    pytest.param("money", "0.0001", decimal(19, 4), Decimal("0.0001"), SAME, id="money-fraction"),
    pytest.param("smallmoney", "214748.3647", decimal(10, 4), Decimal("214748.3647"), SAME, id="smallmoney"),
    pytest.param("float", "1.7976931348623157E+308", NUMBER, Decimal("1.7976931348623157e308"), 1.7976931348623157e308, id="float-largest"),
    pytest.param("float", "0.1", NUMBER, Decimal("0.1"), 0.1, id="float"),
    pytest.param("real", "0.5", NUMBER, Decimal("0.5"), 0.5, id="real"),
    pytest.param("real", "0.1", NUMBER, Decimal("0.10000000149011612"), 0.10000000149011612, id="real-as-the-double-that-it-is"),
    pytest.param("char(5)", "'ab'", STRING, "ab   ", SAME, id="char-keeps-its-blanks"),
    pytest.param("varchar(20)", "'é€'", STRING, "é€", SAME, id="varchar-of-a-code-page"),
    pytest.param("varchar(max)", "'long'", STRING, "long", SAME, id="varchar-max"),
    pytest.param("nchar(3)", "N'☃'", STRING, "☃  ", SAME, id="nchar"),
    pytest.param("nvarchar(20)", "N'é ☃ 𝄞 \"\\'", STRING, 'é ☃ 𝄞 "\\', SAME, id="nvarchar"),
    pytest.param("nvarchar(20)", "N''", STRING, "", SAME, id="nvarchar-empty"),
    pytest.param("nvarchar(max)", "N'a𝄞'", STRING, "a𝄞", SAME, id="nvarchar-max"),
    pytest.param("text", "'old'", STRING, "old", SAME, id="text"),
    pytest.param("ntext", "N'old'", STRING, "old", SAME, id="ntext"),
    pytest.param("xml", "N'<a b=\"1\"/>'", STRING, '<a b="1"/>', SAME, id="xml"),
    pytest.param("binary(4)", "0x00FF", BINARY, base64.b64encode(b"\0\xff\0\0").decode(), b"\0\xff\0\0", id="binary-is-padded"),
    pytest.param("varbinary(8)", "0x00FF10", BINARY, "AP8Q", b"\0\xff\x10", id="varbinary"),
    pytest.param("varbinary(max)", "0x", BINARY, "", b"", id="varbinary-max-empty"),
    pytest.param("image", "0x01", BINARY, "AQ==", b"\x01", id="image"),
    pytest.param("uniqueidentifier", f"'{GUID}'", UUID, GUID.lower(), uuid.UUID(GUID), id="uniqueidentifier-in-small-letters"),
    pytest.param("date", "'0001-01-01'", DATE, "0001-01-01", dt.date(1, 1, 1), id="date-first"),
    pytest.param("date", "'9999-12-31'", DATE, "9999-12-31", dt.date(9999, 12, 31), id="date-last"),
    pytest.param("time(7)", "'23:59:59.9999999'", TIME, "23:59:59.999999", dt.time(23, 59, 59, 999999), id="time-is-cut-to-six-digits"),
    pytest.param("time(0)", "'00:00:01'", TIME, "00:00:01.000000", dt.time(0, 0, 1), id="time-of-seconds"),
    pytest.param("datetime", "'1753-01-01T00:00:00.003'", TIMESTAMP, "1753-01-01T00:00:00.003000", at(1753, 1, 1, 0, 0, 0, 3000), id="datetime-first-third"),
    pytest.param("datetime", "'9999-12-31T23:59:59.997'", TIMESTAMP, "9999-12-31T23:59:59.997000", at(9999, 12, 31, 23, 59, 59, 997000), id="datetime-last"),
    pytest.param("smalldatetime", "'2079-06-06T23:59:00'", TIMESTAMP, "2079-06-06T23:59:00.000000", at(2079, 6, 6, 23, 59), id="smalldatetime-last"),
    pytest.param("datetime2(7)", "'0001-01-01T00:00:00.0000019'", TIMESTAMP, "0001-01-01T00:00:00.000001", at(1, 1, 1, 0, 0, 0, 1), id="datetime2-is-cut-to-six-digits"),
    pytest.param("datetime2(7)", "'9999-12-31T23:59:59.9999999'", TIMESTAMP, "9999-12-31T23:59:59.999999", at(9999, 12, 31, 23, 59, 59, 999999), id="datetime2-last"),
    pytest.param("datetime2(0)", "'2024-02-29T12:00:00'", TIMESTAMP, "2024-02-29T12:00:00.000000", at(2024, 2, 29, 12), id="datetime2-of-seconds"),
    pytest.param("datetimeoffset(7)", "'2024-05-05 12:34:56.1234567 +05:30'", TIMESTAMPTZ, "2024-05-05T07:04:56.123456Z", utc(2024, 5, 5, 7, 4, 56, 123456), id="datetimeoffset-in-utc"),
    pytest.param("hierarchyid", "'/1/2/'", STRING, "/1/2/", SAME, id="hierarchyid-as-its-path"),
]  # fmt: skip
