"""The table of types: each row in every notation, and what becomes of values and columns that change."""

import pyarrow as pa
import pytest

from icetap.errors import ConfigurationError
from icetap.types import (
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    canonical_json,
    field_from_singer,
    iceberg_schema,
    infer_field,
    json_field,
    kind_of,
    promotion,
    schema_from_iceberg,
    schema_from_singer,
    singer_from_field,
    variant_suffix,
)

DECIMAL = {"x-sql-datatype": "decimal", "x-sql-datatype-properties": {"precision": 12, "scale": 2}}

SINGER_TO_ARROW = {
    "boolean": ({"type": "boolean"}, pa.bool_(), None),
    "integer": ({"type": "integer"}, pa.int64(), None),
    "integer-in-32-bits": ({"type": "integer", "minimum": 0, "maximum": 100}, pa.int32(), None),
    "integer-beyond-32-bits": ({"type": "integer", "minimum": 0, "maximum": 2**31}, pa.int64(), None),
    "integer-one-bound": ({"type": "integer", "minimum": 0}, pa.int64(), None),
    "number": ({"type": "number"}, pa.float64(), None),
    "number-with-precision": ({"type": "number", **DECIMAL}, pa.decimal128(12, 2), None),
    "number-beyond-38-digits": (
        {
            "type": "number",
            "x-sql-datatype": "DECIMAL",
            "x-sql-datatype-properties": {"precision": 65, "scale": 30},
        },
        pa.string(),
        "text",
    ),
    "singer-decimal": (
        {"type": "string", "format": "singer.decimal", "precision": 38, "scale": 9},
        pa.decimal128(38, 9),
        None,
    ),
    "x-singer-decimal": (
        {"type": "string", "format": "x-singer.decimal", "precision": 5, "scale": 0},
        pa.decimal128(5, 0),
        None,
    ),
    "singer-decimal-unsized": ({"type": "string", "format": "singer.decimal"}, pa.string(), None),
    "date": ({"type": "string", "format": "date"}, pa.date32(), None),
    "date-time": ({"type": "string", "format": "date-time"}, TIMESTAMPTZ, None),
    "date-time-without-zone": (
        {"type": "string", "format": "date-time", "x-sql-datatype": "timestamp"},
        TIMESTAMP,
        None,
    ),
    "time": ({"type": "string", "format": "time"}, TIME, None),
    "uuid": ({"type": "string", "format": "uuid"}, pa.uuid(), None),
    "base64": ({"type": "string", "contentEncoding": "base64"}, pa.binary(), None),
    "hex": ({"type": "string", "contentEncoding": "base16"}, pa.binary(), "hex"),
    "string": ({"type": "string", "maxLength": 3}, pa.string(), None),
    "json-as-text": ({"type": "string", "contentMediaType": "application/json"}, pa.string(), None),
    "enum-of-strings": ({"enum": ["a", "b", None]}, pa.string(), None),
    "anything": ({}, pa.string(), "json"),
    "anything-true": (True, pa.string(), "json"),
    "only-null": ({"type": "null"}, pa.string(), "json"),
    "object-without-properties": ({"type": "object"}, pa.string(), "json"),
    "object-of-anything": ({"type": "object", "additionalProperties": True}, pa.string(), "json"),
    "array-without-items": ({"type": "array"}, pa.string(), "json"),
    "array-of-anything": ({"type": "array", "items": {}}, pa.string(), "json"),
    "map": (
        {"type": "object", "additionalProperties": {"type": "integer"}},
        pa.map_(pa.string(), pa.int64()),
        None,
    ),
    "list": (
        {"type": "array", "items": {"type": "string"}},
        pa.list_(pa.field("element", pa.string())),
        None,
    ),
    "struct": (
        {"type": "object", "properties": {"a": {"type": ["null", "integer"]}}},
        pa.struct([("a", pa.int64())]),
        None,
    ),
    "string-or-integer": ({"type": ["string", "integer"]}, pa.string(), "text"),
    "date-time-or-string": (
        {"anyOf": [{"type": "string", "format": "date-time"}, {"type": ["string", "null"]}]},
        pa.string(),
        "text",
    ),
    "date-or-date-time": (
        {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}]},
        pa.string(),
        "text",
    ),
    "same-type-twice": ({"anyOf": [{"type": "integer"}, {"type": ["null", "integer"]}]}, pa.int64(), None),
    "integer-or-number": ({"type": ["integer", "number"]}, pa.float64(), None),
    "integer-or-decimal": (
        {"anyOf": [{"type": "integer"}, {"type": "number", **DECIMAL}]},
        pa.decimal128(12, 2),
        None,
    ),
    "boolean-or-integer": ({"type": ["boolean", "integer"]}, pa.string(), "json"),
    "string-or-object": ({"type": ["string", "object"]}, pa.string(), "json"),
    "one-of-null-and-date": (
        {"oneOf": [{"type": "null"}, {"type": "string", "format": "date"}]},
        pa.date32(),
        None,
    ),
}


@pytest.mark.parametrize(("schema", "arrow", "kind"), SINGER_TO_ARROW.values(), ids=SINGER_TO_ARROW)
def test_a_singer_type_has_one_arrow_type(schema, arrow, kind):
    field = field_from_singer("column", schema)

    assert (field.type, kind_of(field)) == (arrow, kind)
    assert field.nullable


@pytest.mark.parametrize(
    ("number_as", "arrow"),
    [("double", pa.float64()), ("string", pa.string()), ("decimal(38,9)", pa.decimal128(38, 9))],
)
def test_bare_numbers_become_what_the_setting_says(number_as, arrow):
    assert field_from_singer("n", {"type": ["null", "number"]}, number_as=number_as).type == arrow


@pytest.mark.parametrize("number_as", ["float", "decimal", "decimal(39,2)", "decimal(5,6)", ""])
def test_an_unknown_form_of_numbers_is_a_configuration_error_that_names_the_setting(number_as):
    with pytest.raises(ConfigurationError, match="number_as"):
        field_from_singer("n", {"type": "number"}, number_as=number_as)


def test_only_keys_are_required():
    schema = schema_from_singer(
        {"properties": {"id": {"type": "integer"}, "name": {"type": "string"}}}, key_properties=["id"]
    )

    assert [field.nullable for field in schema] == [False, True]


ARROW_COLUMNS = [
    pa.field("boolean", pa.bool_()),
    pa.field("int", pa.int32()),
    pa.field("long", pa.int64(), nullable=False),
    pa.field("double", pa.float64()),
    pa.field("decimal", pa.decimal128(38, 10)),
    pa.field("date", pa.date32()),
    pa.field("time", TIME),
    pa.field("timestamp", TIMESTAMP),
    pa.field("timestamptz", TIMESTAMPTZ),
    pa.field("string", pa.string()),
    pa.field("uuid", pa.uuid()),
    pa.field("binary", pa.binary()),
    pa.field("hex", pa.binary(), metadata={b"icetap.kind": b"hex"}),
    pa.field("list", pa.list_(pa.field("element", pa.decimal128(5, 2)))),
    pa.field("map", pa.map_(pa.field("key", pa.string(), nullable=False), pa.field("value", pa.date32()))),
    pa.field(
        "struct",
        pa.struct([pa.field("a", TIMESTAMP), pa.field("b", pa.list_(pa.field("element", pa.uuid())))]),
    ),
]


@pytest.mark.parametrize("field", ARROW_COLUMNS, ids=[field.name for field in ARROW_COLUMNS])
def test_a_column_of_ours_survives_the_way_through_a_schema_message(field):
    declared = singer_from_field(field)

    there_and_back = field_from_singer(field.name, declared).with_nullable(field.nullable)
    assert there_and_back.equals(field, check_metadata=True)
    assert ("null" in declared["type"]) == field.nullable


@pytest.mark.parametrize("field", [*ARROW_COLUMNS, json_field("json")], ids=lambda field: field.name)
def test_a_column_survives_the_way_through_an_iceberg_schema(field):
    (back,) = schema_from_iceberg(iceberg_schema([field]))

    assert (back.type, back.nullable) == (field.type, field.nullable)
    assert (kind_of(back) == "json") == (kind_of(field) == "json")


def test_nested_fields_get_ids_of_their_own():
    schema = iceberg_schema(ARROW_COLUMNS)

    assert len(schema.field_ids) == len(set(schema.field_ids)) > len(ARROW_COLUMNS)


@pytest.mark.parametrize(
    ("value", "arrow", "kind"),
    [
        (True, pa.bool_(), None),
        (7, pa.int64(), None),
        (2**63, pa.string(), "text"),
        (1.5, pa.float64(), None),
        ("x", pa.string(), None),
        (None, pa.string(), "json"),
        ({"a": 1}, pa.string(), "json"),
        ([1], pa.string(), "json"),
    ],
    ids=repr,
)
def test_an_undeclared_value_has_a_type(value, arrow, kind):
    field = infer_field("column", value)

    assert (field.type, kind_of(field)) == (arrow, kind)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param('{"a":1,"b":2}', '{"b": 2, "a": 1}', True, id="order-and-white-space"),
        pytest.param("1.0", "1", True, id="numbers-by-value"),
        pytest.param("1e2", "100", True, id="exponent"),
        pytest.param(
            "12345678901234567890.123456789012345678901",
            "12345678901234567890.1234567890123456789010",
            True,
            id="long",
        ),
        pytest.param(
            "12345678901234567890.123456789012345678901",
            "12345678901234567890.123456789012345678902",
            False,
            id="last-digit",
        ),
        pytest.param('"1"', "1", False, id="text-is-not-a-number"),
        pytest.param("true", "1", False, id="true-is-not-one"),
        pytest.param("[1,2]", "[2,1]", False, id="arrays-keep-their-order"),
        pytest.param("not json", "not json", True, id="not-json-as-it-is"),
    ],
)
def test_json_text_compares_in_canonical_form(one, other, same):
    assert (canonical_json(one) == canonical_json(other)) is same


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.int64(), pa.int32(), pa.int64()),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.decimal128(10, 2), pa.decimal128(12, 2), pa.decimal128(12, 2)),
        (pa.decimal128(10, 2), pa.decimal128(12, 3), None),
        (pa.int64(), pa.float64(), None),
        (pa.string(), pa.int64(), None),
        (TIMESTAMP, TIMESTAMPTZ, None),
        (pa.date32(), TIMESTAMP, None),
    ],
    ids=str,
)
def test_only_what_iceberg_allows_is_a_promotion(old, new, expected):
    assert promotion(old, new) == expected


def test_every_type_of_the_table_has_a_word_for_variant_columns():
    words = [variant_suffix(field.type) for field in ARROW_COLUMNS]

    assert words == [field.name.replace("hex", "binary") for field in ARROW_COLUMNS]
