"""The type table: one column a row, with what PostgreSQL is given, the Arrow type and the value that must arrive."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pyarrow as pa

UTC = dt.UTC
FIRST, LAST = (
    end.replace(tzinfo=None)
    for end in (dt.datetime.min.replace(tzinfo=UTC), dt.datetime.max.replace(tzinfo=UTC))
)
SETUP = (
    "CREATE EXTENSION IF NOT EXISTS plpgsql",
    "CREATE TYPE mood AS ENUM ('sad', 'happy, \"very\"')",
    "CREATE TYPE pair AS (a int, b text, c numeric(10, 2))",
    "CREATE DOMAIN amount AS numeric(12, 2)",
    "CREATE DOMAIN tags AS text[]",
    "CREATE DOMAIN small_amount AS amount CHECK (VALUE < 10)",
)

# name: native type, expression, Arrow type, value
ROWS: dict[str, tuple[str, str, pa.DataType, Any]] = {
    "boolean": ("boolean", "true", pa.bool_(), True),
    "smallint_min": ("smallint", "-32768", pa.int32(), -32768),
    "int_max": ("integer", "2147483647", pa.int32(), 2**31 - 1),
    "bigint_min": ("bigint", "-9223372036854775808", pa.int64(), -(2**63)),
    "bigint_max": ("bigint", "9223372036854775807", pa.int64(), 2**63 - 1),
    "oid_max": ("oid", "4294967295", pa.int64(), 2**32 - 1),
    "xid_max": ("xid", "'4294967295'", pa.int64(), 2**32 - 1),
    "real": ("real", "1.5", pa.float64(), 1.5),
    "real_is_widened": ("real", "'0.1'", pa.float64(), 0.10000000149011612),
    "double": ("double precision", "0.1", pa.float64(), 0.1),
    "double_small": ("double precision", "'5e-324'", pa.float64(), 5e-324),
    "numeric": ("numeric(12,3)", "-123456789.125", pa.decimal128(12, 3), Decimal("-123456789.125")),
    "numeric_38": ("numeric(38,0)", "9" * 38, pa.decimal128(38, 0), Decimal("9" * 38)),
    "numeric_beyond_doubles": ("numeric(20,2)", "99999999999999.01", pa.decimal128(20, 2), Decimal("99999999999999.01")),
    "numeric_39": ("numeric(39,1)", f"{'9' * 38}.5", pa.string(), f"{'9' * 38}.5"),
    "numeric_bare": ("numeric", "12345678901234567890.1234567890123456789012345678901", pa.string(),
                     "12345678901234567890.1234567890123456789012345678901"),
    "numeric_bare_nan": ("numeric", "'NaN'", pa.string(), "NaN"),
    "money": ("money", "1234.5", pa.decimal128(19, 2), Decimal("1234.50")),
    "char_is_padded": ("char(5)", "'ab'", pa.string(), "ab   "),
    "varchar": ("varchar(20)", "E'x\\ty'", pa.string(), "x\ty"),
    "text": ("text", "E'é\\n\"q\"\\\\ 𝄞'", pa.string(), 'é\n"q"\\ 𝄞'),
    "text_empty": ("text", "''", pa.string(), ""),
    "name": ("name", "'a name'", pa.string(), "a name"),
    "one_char": ('"char"', "'a'", pa.string(), "a"),
    "bytea": ("bytea", "'\\x00ff5c'", pa.binary(), b"\x00\xff\\"),
    "bytea_empty": ("bytea", "''", pa.binary(), b""),
    "date_first": ("date", "'0001-01-01'", pa.date32(), dt.date(1, 1, 1)),
    "date_last": ("date", "'9999-12-31'", pa.date32(), dt.date(9999, 12, 31)),
    "timestamp_first": ("timestamp", "'0001-01-01 00:00:00'", pa.timestamp("us"), FIRST),
    "timestamp_last": ("timestamp", "'9999-12-31 23:59:59.999999'", pa.timestamp("us"),
                       LAST),
    "timestamptz": ("timestamptz", "'2026-11-21 10:00:00.123456+05:30'", pa.timestamp("us", "UTC"),
                    dt.datetime(2026, 11, 21, 4, 30, 0, 123456, tzinfo=UTC)),
    "timestamptz_local_mean_time": ("timestamptz", "'1800-01-01 00:00:00+00:00:07'", pa.timestamp("us", "UTC"),
                                    dt.datetime(1799, 12, 31, 23, 59, 53, tzinfo=UTC)),
    "time": ("time", "'23:59:59.999999'", pa.time64("us"), dt.time(23, 59, 59, 999999)),
    "timetz": ("timetz", "'10:00:00.5+05:30'", pa.string(), "10:00:00.5+05:30"),
    "interval": ("interval", "'1 mon 2 days 03:04:05.5'", pa.string(), "P1M2DT3H4M5.5S"),
    "interval_negative": ("interval", "'-1 mon +2 days'", pa.string(), "P-1M2D"),
    "uuid": ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", pa.uuid(),
             uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
    "json_keeps_its_text": ("json", "'{\"a\": 1.10, \"a\":  2}'", pa.string(), '{"a": 1.10, "a":  2}'),
    "jsonb_keeps_digits": ("jsonb", "'{\"a\": 12345678901234567890.50}'", pa.string(), '{"a": 12345678901234567890.50}'),
    "int_list": ("int[]", "'{1,NULL,3}'", pa.list_(pa.field("element", pa.int32())), [1, None, 3]),
    "list_empty": ("int[]", "'{}'", pa.list_(pa.field("element", pa.int32())), []),
    "list_with_other_bounds": ("int[]", "'[0:1]={1,2}'", pa.list_(pa.field("element", pa.int32())), [1, 2]),
    "numeric_list": ("numeric(8,2)[]", "'{1.50,NULL}'", pa.list_(pa.field("element", pa.decimal128(8, 2))),
                     [Decimal("1.50"), None]),
    "text_list": ("text[]", "'{a,NULL,\"NULL\",\"a,b\",\"q\\\"x\\\\\",\"\",\"{}\"}'",
                  pa.list_(pa.field("element", pa.string())), ["a", None, "NULL", "a,b", 'q"x\\', "", "{}"]),
    "timestamptz_list": ("timestamptz[]", "'{2020-01-01 00:00:00+00,NULL}'",
                         pa.list_(pa.field("element", pa.timestamp("us", "UTC"))),
                         [dt.datetime(2020, 1, 1, tzinfo=UTC), None]),
    "uuid_list": ("uuid[]", "'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'", pa.list_(pa.field("element", pa.uuid())),
                  [uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")]),
    "bytea_list": ("bytea[]", "ARRAY['\\x00ff'::bytea]", pa.list_(pa.field("element", pa.binary())), [b"\x00\xff"]),
    "boolean_list": ("boolean[]", "'{t,f,NULL}'", pa.list_(pa.field("element", pa.bool_())), [True, False, None]),
    "enum_list": ("mood[]", "'{sad,\"happy, \\\"very\\\"\"}'", pa.list_(pa.field("element", pa.string())),
                  ["sad", 'happy, "very"']),
    "inet_list": ("inet[]", "'{1.2.3.4,10.0.0.0/8}'", pa.list_(pa.field("element", pa.string())),
                  ["1.2.3.4", "10.0.0.0/8"]),
    "enum": ("mood", "'sad'", pa.string(), "sad"),
    "domain": ("amount", "1.5", pa.decimal128(12, 2), Decimal("1.50")),
    "domain_of_a_domain": ("small_amount", "1.5", pa.decimal128(12, 2), Decimal("1.50")),
    "domain_of_an_array": ("tags", "'{x,y}'", pa.list_(pa.field("element", pa.string())), ["x", "y"]),
    "composite": ("pair", "ROW(1, 'a,b', 2.5)", pa.string(), '{"a":1,"b":"a,b","c":2.50}'),
    "range": ("int4range", "'[1,5]'", pa.string(), "[1,6)"),
    "timestamp_range": ("tstzrange", "'[2020-01-01 00:00+00,)'", pa.string(), '["2020-01-01 00:00:00+00",)'),
    "inet": ("inet", "'1.2.3.4'", pa.string(), "1.2.3.4"),
    "cidr": ("cidr", "'10.0.0.0/8'", pa.string(), "10.0.0.0/8"),
    "macaddr": ("macaddr", "'08:00:2b:01:02:03'", pa.string(), "08:00:2b:01:02:03"),
    "bit": ("bit(3)", "B'101'", pa.string(), "101"),
    "varbit": ("varbit", "B'10'", pa.string(), "10"),
    "tsvector": ("tsvector", "'fat cat'", pa.string(), "'cat' 'fat'"),
    "pg_lsn": ("pg_lsn", "'16/B374D848'", pa.string(), "16/B374D848"),
    "point": ("point", "'(1,2.5)'", pa.string(), "(1,2.5)"),
    "regclass": ("regclass", "'pg_class'", pa.string(), "pg_class"),
}  # fmt: skip
