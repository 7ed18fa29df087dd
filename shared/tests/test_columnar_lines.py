"""Arrow columns as JSON text: every type, every digit."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from decimal import Decimal

import pyarrow as pa
import pytest

from icetap.columnar.json_text import escaped, without_json_form
from icetap.columnar.lines import MAX_LINE_BYTES, record_lines, too_long

HEX = {b"icetap.kind": b"hex"}

CASES = [
    pytest.param(pa.field("v", pa.bool_()), True, "true", id="true"),
    pytest.param(pa.field("v", pa.bool_()), False, "false", id="false"),
    pytest.param(pa.field("v", pa.int32()), -5, "-5", id="int32"),
    pytest.param(pa.field("v", pa.int64()), 2**63 - 1, "9223372036854775807", id="largest-int64"),
    pytest.param(pa.field("v", pa.int64()), -(2**63), "-9223372036854775808", id="smallest-int64"),
    pytest.param(pa.field("v", pa.float64()), 0.1, "0.1", id="shortest-text"),
    pytest.param(pa.field("v", pa.float64()), 0.1 + 0.2, "0.30000000000000004", id="seventeen-digits"),
    pytest.param(pa.field("v", pa.float64()), 5e-324, "5e-324", id="smallest-double"),
    pytest.param(pa.field("v", pa.float64()), 1.7976931348623157e308, "1.7976931348623157e+308", id="largest-double"),
    pytest.param(pa.field("v", pa.decimal128(38, 2)), Decimal("999999999999999999999999999999999999.99"), "999999999999999999999999999999999999.99", id="38-digits"),
    pytest.param(pa.field("v", pa.decimal128(10, 2)), Decimal("12.30"), "12.30", id="scale-is-kept"),
    pytest.param(pa.field("v", pa.decimal128(38, 38)), Decimal("1E-38"), "1E-38", id="smallest-decimal"),
    pytest.param(pa.field("v", pa.string()), "", '""', id="empty"),
    pytest.param(pa.field("v", pa.string()), 'a"b\\c', '"a\\"b\\\\c"', id="quote-and-backslash"),
    pytest.param(pa.field("v", pa.string()), "\x00\b\t\n\f\r\x1f", '"\\u0000\\b\\t\\n\\f\\r\\u001f"', id="controls"),
    pytest.param(pa.field("v", pa.string()), "\x7f\u2028é☃𝄞", '"\x7f\u2028é☃𝄞"', id="beyond-ascii-as-it-is"),
    pytest.param(pa.field("v", pa.binary()), b"\x00\xff", '"AP8="', id="base64"),
    pytest.param(pa.field("v", pa.binary(), metadata=HEX), b"\x00\xff", '"00ff"', id="hex"),
    pytest.param(pa.field("v", pa.date32()), dt.date.min, '"0001-01-01"', id="year-1"),
    pytest.param(pa.field("v", pa.date32()), dt.date.max, '"9999-12-31"', id="year-9999"),
    pytest.param(pa.field("v", pa.timestamp("us")), dt.datetime.fromisoformat("2024-02-29T01:02:03.000004"), '"2024-02-29T01:02:03.000004"', id="timestamp"),
    pytest.param(pa.field("v", pa.timestamp("us", "UTC")), dt.datetime(1, 1, 1, tzinfo=dt.UTC), '"0001-01-01T00:00:00.000000Z"', id="timestamptz"),
    pytest.param(pa.field("v", pa.time64("us")), dt.time(23, 59, 59, 999999), '"23:59:59.999999"', id="time"),
    pytest.param(pa.field("v", pa.uuid()), uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"', id="uuid"),
    pytest.param(pa.field("v", pa.string(), metadata={b"icetap.kind": b"json"}), '{"a": 1.10}', '"{\\"a\\": 1.10}"', id="json-travels-as-text"),
    pytest.param(pa.field("v", pa.list_(pa.int64())), [1, None], "[1,null]", id="list"),
    pytest.param(pa.field("v", pa.struct([pa.field("a", pa.decimal128(4, 2)), pa.field("b", pa.timestamp("us", "UTC"))])), {"a": Decimal("1.10"), "b": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}, '{"a":1.10,"b":"2020-01-01T00:00:00.000000Z"}', id="struct"),
    pytest.param(pa.field("v", pa.map_(pa.string(), pa.float64())), [("x", 0.1), ("y", None)], '{"x":0.1,"y":null}', id="map"),
    pytest.param(pa.field("v", pa.list_(pa.field("element", pa.binary(), metadata=HEX))), [b"\x01"], '["01"]', id="list-of-hex"),
]  # fmt: skip


def text_of(field, values, **options):
    batch = pa.record_batch([pa.array(values, field.type)], schema=pa.schema([field]))
    return b"".join(bytes(block) for block in record_lines(batch, stream="s", **options)).decode()


@pytest.mark.parametrize(("field", "value", "text"), CASES)
def test_value_has_this_text(field, value, text):
    assert text_of(field, [value]) == f'{{"type":"RECORD","stream":"s","record":{{"v":{text}}}}}\n'


@pytest.mark.parametrize(("field", "value", "text"), CASES)
def test_null_beside_a_value_is_null(field, value, text):
    assert text_of(field, [None, value]).count('"v":null}') == 1
    assert f'"v":{text}}}' in text_of(field, [None, value])


def test_lines_have_all_columns_version_and_time():
    batch = pa.record_batch({'na"me': ["a", None], "id": [1, 2], "x": ["b", "c"]})
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC)
    (block,) = record_lines(batch, stream="s t", version=7, extracted_at=moment)
    assert [json.loads(line) for line in bytes(block).splitlines()] == [
        {
            "type": "RECORD",
            "stream": "s t",
            "record": record,
            "version": 7,
            "time_extracted": "2026-01-02T03:04:05.000006Z",
        }
        for record in ({'na"me': "a", "id": 1, "x": "b"}, {'na"me': None, "id": 2, "x": "c"})
    ]


def test_many_rows_come_in_blocks_of_whole_lines_in_order():
    batch = pa.record_batch({"id": pa.array(range(20_000)), "name": [f"row {n}" for n in range(20_000)]})
    blocks = [bytes(block) for block in record_lines(batch, stream="s")]
    assert len(blocks) == 3
    assert all(block.endswith(b"\n") for block in blocks)
    records = [json.loads(line)["record"] for line in b"".join(blocks).splitlines()]
    assert records == [{"id": n, "name": f"row {n}"} for n in range(20_000)]


def test_slices_are_escaped_by_their_own_rows():
    array = pa.array(["a\n", 'b"', "c", "d\\"])
    assert escaped(array.slice(1, 2)).to_pylist() == ['b\\"', "c"]


def test_batch_without_columns_makes_empty_records():
    batch = pa.RecordBatch.from_struct_array(pa.array([{}, {}], pa.struct([])))
    assert b"".join(bytes(block) for block in record_lines(batch, stream="s")).count(b'"record":{}') == 2


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        pytest.param(pa.array([1.0, None, float("nan")]), [False, False, True], id="nan"),
        pytest.param(pa.array([float("-inf"), 1.0]), [True, False], id="infinity"),
        pytest.param(pa.array([[1.0], [float("nan")]]), [False, True], id="in-a-list"),
        pytest.param(pa.array([{"a": float("inf")}, None]), [True, False], id="in-a-struct"),
        pytest.param(pa.array([1.0, 2.0]), None, id="none"),
        pytest.param(pa.array([1, 2]), None, id="integers"),
    ],
)
def test_values_without_a_json_form_are_found(array, expected):
    mask = without_json_form(array)
    assert (mask if mask is None else mask.to_pylist()) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param(["short", "x" * 1000], None, id="short"),
        pytest.param(["x" * (MAX_LINE_BYTES // 5)], None, id="long-but-fits"),
        pytest.param(
            ["\x00" * (MAX_LINE_BYTES // 6 + 10), "x"], [True, False], id="escapes-make-it-too-long"
        ),
        pytest.param(["x", "x" * MAX_LINE_BYTES], [False, True], id="too-long"),
    ],
)
def test_lines_beyond_meltanos_limit_are_found(values, expected):
    mask = too_long(pa.record_batch({"v": values}))
    assert (mask if mask is None else mask.to_pylist()) == expected
