"""The table of types, value by value: exact, or refused with a reason, never changed in silence."""

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID

import pyarrow as pa
import pytest

from icetap.errors import DataError
from icetap.types import canonical_json, schema_from_singer
from target_iceberg.decoding.decode import StreamDecoder
from target_iceberg.decoding.reader import Run

DECIMAL = {"type": "number", "x-sql-datatype": "decimal"}


def decimal(precision, scale):
    return {**DECIMAL, "x-sql-datatype-properties": {"precision": precision, "scale": scale}}


STRING = {"type": ["string", "null"]}
INTEGER = {"type": ["integer", "null"]}
INT32 = {"type": "integer", "minimum": 0, "maximum": 100}
NUMBER = {"type": ["number", "null"]}
BOOLEAN = {"type": ["boolean", "null"]}
INSTANT = {"type": "string", "format": "date-time"}
LOCAL = {**INSTANT, "x-sql-datatype": "timestamp"}
DATE = {"type": "string", "format": "date"}
TIME = {"type": "string", "format": "time"}
UUID_ = {"type": "string", "format": "uuid"}
BASE64 = {"type": "string", "contentEncoding": "base64"}
HEX = {"type": "string", "contentEncoding": "base16"}
SINGER_DECIMAL = {"type": "string", "format": "singer.decimal", "precision": 38, "scale": 9}
ANYTHING = {}
TEXT = {"type": ["string", "integer", "null"]}
LIST = {"type": "array", "items": INTEGER}
STRUCT = {"type": "object", "properties": {"a": INTEGER, "t": INSTANT}}
MAP = {"type": "object", "additionalProperties": decimal(10, 2)}


def run_of(*records: bytes, first_line: int = 1) -> Run:
    lines = b"".join(b'{"type": "RECORD", "stream": "s", "record": ' + one + b"}\n" for one in records)
    return Run("s", lines, len(records), first_line)


def decode_one(schema: dict, text: str):
    """Decode one value in both lanes, which must agree; give (values, reasons, lossy)."""
    declared = schema_from_singer({"properties": {"id": INTEGER, "v": schema}})
    outcomes = []
    for neighbour in (b'{"id": 0}', b'{"id": 1.0}'):  # 1.0 for an integer sends the block to the row lane
        decoder = StreamDecoder("s", declared)
        (decoded,) = decoder.decode(run_of(neighbour, b'{"id": 7, "v": ' + text.encode() + b"}"))
        values = decoded.batch.column("v")
        outcomes.append(
            (
                values[1].as_py() if len(values) == 2 else None,
                [(one.column, one.reason) for one in decoded.rejected],
                decoded.lossy.get("v", 0),
            )
        )
        assert decoded.batch.schema.field("v").type == declared.field("v").type
        decoded.batch.validate(full=True)
    assert repr(outcomes[0]) == repr(outcomes[1])
    return outcomes[0]


def same(one, other) -> bool:
    """Equality that knows types and the sign of zero."""
    if isinstance(one, float) and isinstance(other, float):
        return repr(one) == repr(other)
    return type(one) is type(other) and one == other


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        pytest.param(INTEGER, "9223372036854775807", 2**63 - 1, id="largest-long"),
        pytest.param(INTEGER, "-9223372036854775808", -(2**63), id="smallest-long"),
        pytest.param(INTEGER, "1.0", 1, id="integer-1.0"),
        pytest.param(INTEGER, "9007199254740993.0", 2**53 + 1, id="integer-with-point-beyond-doubles"),
        pytest.param(INTEGER, "1e3", 1000, id="integer-with-exponent"),
        pytest.param(INTEGER, "-0", 0, id="minus-zero"),
        pytest.param(INTEGER, "null", None, id="null"),
        pytest.param(INT32, "100", 100, id="int32"),
        pytest.param(NUMBER, "0.1", 0.1, id="double"),
        pytest.param(NUMBER, "1", 1.0, id="double-from-integer"),
        pytest.param(NUMBER, "-0.0", -0.0, id="double-minus-zero"),
        pytest.param(NUMBER, "0.30000000000000004", 0.30000000000000004, id="double-of-17-digits"),
        pytest.param(NUMBER, "1.7976931348623157e308", 1.7976931348623157e308, id="largest-double"),
        pytest.param(NUMBER, "5e-324", 5e-324, id="smallest-double"),
        pytest.param(NUMBER, "1e23", 1e23, id="power-of-ten"),
        pytest.param(NUMBER, "9007199254740992", 2.0**53, id="double-from-large-integer"),
        pytest.param(BOOLEAN, "true", True, id="true"),
        pytest.param(BOOLEAN, "false", False, id="false"),
        pytest.param(decimal(38, 0), "9" * 38, Decimal("9" * 38), id="38-digits"),
        pytest.param(decimal(38, 0), "-" + "9" * 38, Decimal("-" + "9" * 38), id="38-digits-negative"),
        pytest.param(decimal(38, 38), "1e-38", Decimal("1e-38"), id="1e-38"),
        pytest.param(decimal(16, 2), "99999999999999.01", Decimal("99999999999999.01"), id="no-float-between"),
        pytest.param(decimal(10, 2), "1.120", Decimal("1.12"), id="zeros-cut"),
        pytest.param(decimal(10, 2), "1.1000000000000000000000000000000000000000000000", Decimal("1.1"), id="many-zeros-cut"),
        pytest.param(decimal(10, 2), "12e2", Decimal(1200), id="decimal-exponent"),
        pytest.param(decimal(10, 2), "0e99999", Decimal(0), id="zero-with-huge-exponent"),
        pytest.param(decimal(10, 2), '"12.34"', Decimal("12.34"), id="decimal-as-text"),
        pytest.param(SINGER_DECIMAL, '"12345678901234567890123456789.123456789"',
                     Decimal("12345678901234567890123456789.123456789"), id="singer-decimal"),
        pytest.param(STRING, '"a\\u0000b"', "a\0b", id="nul"),
        pytest.param(STRING, '"\\ud83d\\ude00"', "😀", id="astral-escaped"),
        pytest.param(STRING, '"😀é\\t\\"\\\\"', '😀é\t"\\', id="astral-plain"),
        pytest.param(STRING, '""', "", id="empty-string"),
        pytest.param(STRING, '"' + "long " * 200_000 + '"', "long " * 200_000, id="string-of-1-mb"),
        pytest.param(INSTANT, '"2024-02-29T12:34:56.789012Z"', datetime(2024, 2, 29, 12, 34, 56, 789012, UTC), id="leap-day"),
        pytest.param(INSTANT, '"2024-01-01T00:00:00+05:30"', datetime(2023, 12, 31, 18, 30, tzinfo=UTC), id="offset"),
        pytest.param(INSTANT, '"2024-01-01 00:00:00"', datetime(2024, 1, 1, tzinfo=UTC), id="without-offset-is-utc"),
        pytest.param(INSTANT, '"2024-01-01"', datetime(2024, 1, 1, tzinfo=UTC), id="date-is-midnight"),
        pytest.param(INSTANT, '"2024-01-01t00:00:00z"', datetime(2024, 1, 1, tzinfo=UTC), id="lower-case"),
        pytest.param(INSTANT, '"2024-01-01T00:00:00.123456000Z"', datetime(2024, 1, 1, 0, 0, 0, 123456, UTC), id="nanoseconds-of-zero"),
        pytest.param(INSTANT, '"0001-01-01T00:00:00Z"', datetime(1, 1, 1, tzinfo=UTC), id="year-1"),
        pytest.param(INSTANT, '"9999-12-31T23:59:59.999999Z"', datetime(9999, 12, 31, 23, 59, 59, 999999, UTC), id="year-9999"),
        pytest.param(LOCAL, '"2024-01-01T00:00:00.5"', datetime.fromisoformat("2024-01-01T00:00:00.5"), id="local"),
        pytest.param(DATE, '"0001-01-01"', date(1, 1, 1), id="date-year-1"),
        pytest.param(DATE, '"9999-12-31"', date(9999, 12, 31), id="date-year-9999"),
        pytest.param(TIME, '"23:59:59.999999"', time(23, 59, 59, 999999), id="time"),
        pytest.param(TIME, '"00:00:00"', time(0), id="midnight"),
        pytest.param(UUID_, '"0E35AE7E-3dac-8628-30ec-5f2550501afa"', UUID("0e35ae7e-3dac-8628-30ec-5f2550501afa"), id="uuid"),
        pytest.param(BASE64, '"AP8="', b"\x00\xff", id="base64"),
        pytest.param(BASE64, '""', b"", id="base64-empty"),
        pytest.param(HEX, '"00fF"', b"\x00\xff", id="hex"),
        pytest.param(LIST, "[1, null, 3]", [1, None, 3], id="list-with-null"),
        pytest.param(LIST, "[]", [], id="empty-list"),
        pytest.param(LIST, "null", None, id="null-list"),
        pytest.param(STRUCT, "{}", {"a": None, "t": None}, id="empty-struct"),
        pytest.param(STRUCT, "null", None, id="null-struct"),
        pytest.param(STRUCT, '{"t": "2024-01-01T00:00:00Z"}', {"a": None, "t": datetime(2024, 1, 1, tzinfo=UTC)}, id="struct"),
        pytest.param({"type": "array", "items": STRUCT}, '[{"a": 1}, null, {}]',
                     [{"a": 1, "t": None}, None, {"a": None, "t": None}], id="list-of-struct"),
        pytest.param(MAP, '{"k": 1.10, "l": null}', [("k", Decimal("1.10")), ("l", None)], id="map"),
        pytest.param(MAP, "{}", [], id="empty-map"),
        pytest.param(MAP, "null", None, id="null-map"),
        pytest.param(TEXT, "12345678901234567890.10", "12345678901234567890.10", id="text-of-number"),
        pytest.param(TEXT, "true", "true", id="text-of-boolean"),
        pytest.param(TEXT, '"a\\"b"', 'a"b', id="text-unquoted"),
        pytest.param(TEXT, "null", None, id="text-null"),
    ],
)  # fmt: skip
def test_a_value_arrives_as_it_was(schema, text, value):
    found, refused, lossy = decode_one(schema, text)

    assert refused == []
    assert (same(found, value), found, lossy) == (True, value, 0)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1.10, "b": [1e400, 12345678901234567890]}',
        '"bare \\"text\\""',
        "[]",
        "-0.0",
        "true",
        '"\\ud83d\\ude00"',
    ],
)
def test_free_form_json_keeps_its_digits_and_its_quotes(text):
    found, refused, _ = decode_one(ANYTHING, text)

    assert refused == []
    assert canonical_json(found) == canonical_json(text)
    if "e4" in text:
        assert "1e400" in found
        assert "1.10" in found


@pytest.mark.parametrize(
    ("schema", "text", "reason"),
    [
        pytest.param(INTEGER, '"5"', "expected an integer, found a string", id="text-into-integer"),
        pytest.param(INTEGER, "true", "expected an integer, found a boolean", id="true-into-integer"),
        pytest.param(INTEGER, "1.5", "expected an integer, found a number with a fraction", id="fraction"),
        pytest.param(INTEGER, "9223372036854775808", "an integer beyond 64 bits", id="2^63"),
        pytest.param(INTEGER, "1e999999", "an integer beyond 64 bits", id="huge-exponent"),
        pytest.param(INTEGER, "1e9999999999999999999", "an integer beyond 64 bits", id="exponent-of-19-digits"),
        pytest.param(INTEGER, "1e-9999999999999999999", "expected an integer, found a number with a fraction", id="tiny"),
        pytest.param(NUMBER, "1e9999999999999999999", "a number beyond the range of a double", id="double-exponent"),
        pytest.param(decimal(10, 2), "1e9999999999999999999", "does not fit decimal(10,2): too many digits", id="decimal-19"),
        pytest.param(decimal(10, 2), "-1e-9999999999999999999", "does not fit decimal(10,2): too many digits", id="decimal-tiny"),
        pytest.param(INTEGER, "9" * 5000, "an integer beyond 64 bits", id="5000-digits"),
        pytest.param(INTEGER, "NaN", "NaN or Infinity, which JSON does not have", id="nan-into-integer"),
        pytest.param(INT32, "2147483648", "an integer beyond 32 bits", id="2^31-into-int"),
        pytest.param(INTEGER, "[1]", "expected an integer, found an array", id="array-into-integer"),
        pytest.param(NUMBER, '"5"', "expected a number, found a string", id="text-into-number"),
        pytest.param(NUMBER, "false", "expected a number, found a boolean", id="false-into-number"),
        pytest.param(NUMBER, "NaN", "NaN or Infinity, which JSON does not have", id="nan"),
        pytest.param(NUMBER, "-Infinity", "NaN or Infinity, which JSON does not have", id="infinity"),
        pytest.param(NUMBER, "1e400", "a number beyond the range of a double", id="1e400"),
        pytest.param(BOOLEAN, "0", "expected true or false, found a number", id="0-into-boolean"),
        pytest.param(BOOLEAN, '"true"', "expected true or false, found a string", id="text-into-boolean"),
        pytest.param(decimal(10, 2), "1.123", "does not fit decimal(10,2): too many digits", id="scale"),
        pytest.param(decimal(10, 2), "123456789", "does not fit decimal(10,2): too many digits", id="precision"),
        pytest.param(decimal(10, 2), "1e999999", "does not fit decimal(10,2): too many digits", id="decimal-exponent"),
        pytest.param(decimal(10, 2), "true", "expected a decimal number, found a boolean", id="true-into-decimal"),
        pytest.param(decimal(10, 2), '"NaN"', "expected a decimal number, found a string", id="nan-text-into-decimal"),
        pytest.param(decimal(10, 2), '"1 "', "expected a decimal number, found a string", id="space-in-decimal"),
        pytest.param(STRING, "5", "expected a string, found a number", id="number-into-string"),
        pytest.param(STRING, "{}", "expected a string, found an object", id="object-into-string"),
        pytest.param(STRING, '"\\ud800"', "a lone surrogate, which no UTF-8 text can hold", id="surrogate"),
        pytest.param(STRING, '"\\udc00x"', "a lone surrogate, which no UTF-8 text can hold", id="low-surrogate"),
        pytest.param(INSTANT, '"2024-02-30T00:00:00Z"', "expected a date-time of the years 1 to 9999", id="30-february"),
        pytest.param(INSTANT, '"2024-01-01T24:00:00Z"', "expected a date-time of the years 1 to 9999", id="24:00"),
        pytest.param(INSTANT, '"0000-01-01T00:00:00Z"', "expected a date-time of the years 1 to 9999", id="year-0"),
        pytest.param(INSTANT, '"0001-01-01T00:00:00+05:00"', "expected a date-time of the years 1 to 9999", id="year-0-in-utc"),
        pytest.param(INSTANT, '"9999-12-31T23:59:59-01:00"', "expected a date-time of the years 1 to 9999", id="year-10000-in-utc"),
        pytest.param(INSTANT, '"10000-01-01T00:00:00Z"', "expected a date-time of the years 1 to 9999", id="year-10000"),
        pytest.param(INSTANT, '"infinity"', "expected a date-time of the years 1 to 9999", id="infinity-text"),
        pytest.param(INSTANT, "1700000000", "expected a date-time of the years 1 to 9999, found a number", id="epoch"),
        pytest.param(INSTANT, '""', "expected a date-time of the years 1 to 9999", id="empty-instant"),
        pytest.param(LOCAL, '"2024-01-01T00:00:00Z"', "expected a date-time without an offset of the years 1 to 9999", id="z-in-local"),
        pytest.param(LOCAL, '"2024-01-01T00:00:00+01:00"', "expected a date-time without an offset of the years 1 to 9999", id="offset-in-local"),
        pytest.param(DATE, '"2024-01-01T00:00:00"', "expected a date (YYYY-MM-DD) of the years 1 to 9999", id="date-time-in-date"),
        pytest.param(DATE, '"0000-01-01"', "expected a date (YYYY-MM-DD) of the years 1 to 9999", id="date-year-0"),
        pytest.param(TIME, '"24:00:00"', "expected a time (HH:MM:SS) of one day, without an offset", id="time-24"),
        pytest.param(TIME, '"12:00:00Z"', "expected a time (HH:MM:SS) of one day, without an offset", id="z-in-time"),
        pytest.param(TIME, '"12:00:00+01"', "expected a time (HH:MM:SS) of one day, without an offset", id="offset-in-time"),
        pytest.param(TIME, '"12:00"', "expected a time (HH:MM:SS) of one day, without an offset", id="no-seconds"),
        pytest.param(UUID_, '"0e35ae7e"', "expected a UUID", id="short-uuid"),
        pytest.param(UUID_, '"0e35ae7e-3dac-8628-30ec-5f25505 1afa"', "expected a UUID", id="space-in-uuid"),
        pytest.param(UUID_, '"0e35ae7e-3dac-8628-30ec-5f255050-afa"', "expected a UUID", id="dash-in-uuid"),
        pytest.param(UUID_, '"0e35ae7e-3dac-8628-30ec_5f2550501afa"', "expected a UUID", id="no-dash-in-uuid"),
        pytest.param(UUID_, '"0e35ae7e-3dac-8628-30ec-5f2550501afg"', "expected a UUID", id="no-hex-in-uuid"),
        pytest.param(BASE64, '"AP8"', "expected base64", id="no-padding"),
        pytest.param(BASE64, '"A*8="', "expected base64", id="not-base64"),
        pytest.param(BASE64, '"é"', "expected base64", id="not-ascii"),
        pytest.param(HEX, '"0"', "expected hexadecimal text", id="odd-hex"),
        pytest.param(LIST, "{}", "expected an array, found an object", id="object-into-list"),
        pytest.param(LIST, '[1, "x"]', "expected an integer, found a string", id="bad-element"),
        pytest.param(STRUCT, "[]", "expected an object, found an array", id="array-into-struct"),
        pytest.param(STRUCT, '{"a": "x"}', "a: expected an integer, found a string", id="bad-member"),
        pytest.param(MAP, '{"k": 1.123}', "does not fit decimal(10,2): too many digits", id="bad-map-value"),
        pytest.param(TEXT, "{}", "expected a single value, found an object", id="object-into-text"),
        pytest.param(TEXT, "NaN", "NaN or Infinity, which JSON does not have", id="nan-into-text"),
        pytest.param(ANYTHING, '{"a": [NaN]}', "NaN or Infinity, which JSON does not have", id="nan-in-json"),
        pytest.param(ANYTHING, '"\\ud800"', "a lone surrogate, which no UTF-8 text can hold", id="surrogate-in-json"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_refused_with_its_reason(schema, text, reason):
    found, refused, _ = decode_one(schema, text)

    assert (found, refused) == (None, [("v", reason)])


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        pytest.param(NUMBER, "0.1000000000000000055511151231257827", 0.1, id="more-digits-than-a-double"),
        pytest.param(NUMBER, "9007199254740993", 2.0**53, id="2^53+1"),
        pytest.param(NUMBER, "1234567890123456.78", 1234567890123456.8, id="18-digits"),
        pytest.param(NUMBER, "1e-400", 0.0, id="underflow"),
        pytest.param(NUMBER, "-1e-9999999999999999999", -0.0, id="underflow-by-far"),
        pytest.param(
            INSTANT, '"2024-01-01T00:00:00.123456789Z"', datetime(2024, 1, 1, 0, 0, 0, 123456, UTC), id="ns"
        ),
        pytest.param(
            INSTANT,
            '"2024-01-01T00:00:00.123456789"',
            datetime(2024, 1, 1, 0, 0, 0, 123456, UTC),
            id="ns-utc",
        ),
        pytest.param(
            LOCAL,
            '"2024-01-01T00:00:00.1234567"',
            datetime.fromisoformat("2024-01-01T00:00:00.123456"),
            id="ns-local",
        ),
        pytest.param(TIME, '"10:00:00.123456789"', time(10, 0, 0, 123456), id="ns-time"),
        pytest.param({"type": "array", "items": NUMBER}, "[9007199254740993]", [2.0**53], id="nested"),
    ],
)
def test_a_declared_loss_is_counted(schema, text, value):
    found, refused, lossy = decode_one(schema, text)

    assert (found, refused, lossy) == (value, [], 1)


def test_absent_is_null_and_the_last_of_two_equal_keys_wins():
    declared = schema_from_singer({"properties": {"id": INTEGER, "v": STRING, "o": ANYTHING}})

    (decoded,) = StreamDecoder("s", declared).decode(
        run_of(b'{"id": 1, "id": 2}', b'{"o": {"a": 1, "a": 2}}')
    )

    first, second = decoded.batch.to_pylist()
    assert first == {"id": 2, "v": None, "o": None}
    assert json.loads(second["o"]) == {"a": 2}


def test_a_key_that_is_null_or_missing_refuses_its_row():
    declared = schema_from_singer({"properties": {"id": INTEGER, "v": STRING}}, key_properties=["id"])

    (decoded,) = StreamDecoder("s", declared).decode(
        run_of(b'{"id": 1}', b'{"id": null, "v": "x"}', b'{"v": "y"}', b'{"id": 4}', first_line=10)
    )

    assert decoded.batch.column("id").to_pylist() == [1, 4]
    assert [(one.line, one.column, one.reason, one.raw) for one in decoded.rejected] == [
        (11, "id", "a key that is missing or null", '{"id": null, "v": "x"}'),
        (12, "id", "a key that is missing or null", '{"v": "y"}'),
    ]


def test_bad_rows_never_cost_the_good_rows_around_them():
    declared = schema_from_singer({"properties": {"id": INTEGER, "t": INSTANT, "d": decimal(5, 2)}})
    records = [b'{"id": %d, "t": "2024-01-01T00:00:00Z", "d": 1.5}' % i for i in range(1000)]
    records[3] = b'{"id": 3, "t": "never", "d": "much"}'
    records[500] = b'{"id": 500, "t": "\xff"}'
    records[999] = b'{"id": 999, "d": NaN}'

    (decoded,) = StreamDecoder("s", declared).decode(run_of(*records))

    assert decoded.batch.column("id").to_pylist() == [i for i in range(1000) if i not in {3, 500, 999}]
    assert [(one.line, one.column, one.reason) for one in decoded.rejected] == [
        (4, "t", "expected a date-time of the years 1 to 9999"),
        (501, None, "not UTF-8"),
        (1000, "d", "NaN or Infinity, which JSON does not have"),
    ]
    assert decoded.rejected[0].raw == '{"id": 3, "t": "never", "d": "much"}'
    assert decoded.rejected[1].raw == '{"id": 500, "t": "\\xff"}'


def test_a_record_nested_too_deeply_is_refused_and_does_not_end_the_process():
    declared = schema_from_singer({"properties": {"id": INTEGER}})
    deep = b'{"id": 2, "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"

    (decoded,) = StreamDecoder("s", declared).decode(run_of(b'{"id": 1}', deep))

    assert decoded.batch.column("id").to_pylist() == [1]
    assert [one.reason for one in decoded.rejected] == ["nested too deeply"]


def test_bytes_that_are_not_utf_8_refuse_their_row_alone():
    declared = schema_from_singer({"properties": {"id": INTEGER, "v": STRING}})

    (decoded,) = StreamDecoder("s", declared).decode(
        run_of('{"id": 1, "v": "ü"}'.encode(), b'{"id": 2, "v": "\xfc"}', b'{"id": 3, "v": "x"}')
    )

    assert decoded.batch.column("v").to_pylist() == ["ü", "x"]
    assert [(one.line, one.reason) for one in decoded.rejected] == [(2, "not UTF-8")]


def test_free_form_json_of_any_depth_is_kept_or_refused_and_never_a_crash():
    decoder = StreamDecoder("s", schema_from_singer({"properties": {"id": INTEGER, "v": ANYTHING}}))
    for depth in (10, 300, 600, 900, 5_000, 100_000):
        text = b"[" * depth + b"]" * depth
        for odd in (b"1", b"1.0"):
            (decoded,) = decoder.decode(run_of(b'{"id": %s, "v": %s}' % (odd, text)))
            if depth > 10 and decoded.rejected:
                assert decoded.rejected[0].reason == "nested too deeply"
            else:
                assert decoded.batch.column("v").to_pylist() == [text.decode()]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param(b'{"type": "RECORD", "stream": "s"}', "without an object 'record'", id="no-record"),
        pytest.param(
            b'{"type": "RECORD", "stream": "s", "record": null}', "without an object 'record'", id="null"
        ),
        pytest.param(
            b'{"type": "RECORD", "stream": "s", "record": [1]}', "without an object 'record'", id="array"
        ),
        pytest.param(b'{"type": "RECORD", "stream": "s", "record": {"id": 1}', "is not JSON", id="cut"),
        pytest.param(
            b'{"type": "RECORD", "stream": "s", "record": {}} {}', "is not JSON", id="two-on-a-line"
        ),
        pytest.param(
            b'{"record": {"id": 1}} {"record": {"id": 2}}', "is not JSON", id="two-records-on-a-line"
        ),
        pytest.param(
            b'{"type": "RECORD", "stream": "s", "record": {"id": 1}, "version": "x"}',
            "'version'",
            id="version",
        ),
    ],
)
def test_a_line_that_is_no_record_message_stops_the_stream_by_its_number(line, words):
    run = Run("s", b'{"type": "RECORD", "stream": "s", "record": {"id": 1}}\n' + line + b"\n", 2, 41)

    with pytest.raises(DataError, match="line 42") as raised:
        list(StreamDecoder("s", schema_from_singer({"properties": {"id": INTEGER}})).decode(run))

    assert words in str(raised.value)


def test_pyarrow_types_are_those_of_the_schema_for_an_empty_selection_too():
    declared = schema_from_singer(
        {"properties": {"id": INTEGER, "m": MAP, "u": UUID_, "o": ANYTHING}}, key_properties=["id"]
    )

    (decoded,) = StreamDecoder("s", declared).decode(run_of(b'{"id": null}'))

    assert decoded.batch.num_rows == 0
    assert decoded.batch.schema == declared
    assert isinstance(decoded.batch, pa.RecordBatch)
