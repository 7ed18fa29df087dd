"""The table of types: each kind of column with JSON values as a tap prints them, and what must be in the table."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any


class Refused:
    """The row must be in quarantine."""

    def __repr__(self):
        return "refused"


REFUSED = Refused()


@dataclass(frozen=True)
class Kind:
    """A kind of column: its schema, its values, and how engines are asked for it."""

    schema: dict[str, Any]
    values: dict[str, tuple[str, Any]]
    """By name: the JSON text that the tap prints, and the value in the table."""
    as_text: bool = False
    """Ask engines for the text of the value: years 1 and 9999 do not fit each driver's own types."""
    for_spark: bool = True


def decimal(precision: int, scale: int) -> dict[str, Any]:
    return {
        "type": ["number", "null"],
        "x-sql-datatype": "decimal",
        "x-sql-datatype-properties": {"precision": precision, "scale": scale},
    }


def text(name: str, **more: Any) -> dict[str, Any]:
    return {"type": ["string", "null"], "format": name, **more}


INTEGER = {"type": ["integer", "null"]}
NESTED = {
    "type": ["object", "null"],
    "properties": {"a": INTEGER, "b": {"type": ["array", "null"], "items": decimal(38, 10)}},
}
NULL = {"null": ("null", None)}
LONG_TEXT = "long ☃ " * 150_000
BIG = "99999999999999999999999999999999999999"

KINDS: dict[str, Kind] = {
    "boolean": Kind(
        {"type": ["boolean", "null"]},
        NULL | {
            "true": ("true", True), "false": ("false", False),
            "number": ("1", REFUSED), "text": ('"true"', REFUSED),
        },
    ),
    "long": Kind(
        INTEGER,
        NULL | {
            "zero": ("0", 0), "beyond-doubles": ("9007199254740993", 2**53 + 1),
            "largest": ("9223372036854775807", 2**63 - 1), "smallest": ("-9223372036854775808", -(2**63)),
            "point-zero": ("1.0", 1), "exponent": ("1e3", 1000),
            "fraction": ("1.5", REFUSED), "text": ('"5"', REFUSED), "true": ("true", REFUSED),
            "2^63": ("9223372036854775808", REFUSED), "39-digits": ("1" + "0" * 38, REFUSED),
        },
    ),
    "int": Kind(
        {"type": ["integer", "null"], "minimum": -(2**31), "maximum": 2**31 - 1},
        NULL | {"largest": ("2147483647", 2**31 - 1), "smallest": ("-2147483648", -(2**31))},
    ),
    "double": Kind(
        {"type": ["number", "null"]},
        NULL | {
            "tenth": ("0.1", 0.1), "1e-38": ("1e-38", 1e-38), "17-digits": ("0.30000000000000004", 0.30000000000000004),
            "largest": ("1.7976931348623157e308", 1.7976931348623157e308), "smallest": ("5e-324", 5e-324),
            "integer": ("7", 7.0), "lossy": ("0.1234567890123456789", 0.12345678901234568),
            "beyond": ("1e400", REFUSED), "text": ('"1"', REFUSED), "true": ("true", REFUSED),
        },
    ),
    "decimal_38_0": Kind(
        decimal(38, 0),
        NULL | {
            "largest": (BIG, Decimal(BIG)), "smallest": ("-" + BIG, Decimal("-" + BIG)),
            "39-digits": ("1" + "0" * 38, REFUSED), "fraction": ("0.5", REFUSED),
        },
    ),
    "decimal_38_38": Kind(
        decimal(38, 38),
        NULL | {
            "1e-38": ("1e-38", Decimal("1e-38")), "nines": (f"0.{BIG}", Decimal(f"0.{BIG}")),
            "1e-39": ("1e-39", REFUSED), "one": ("1", REFUSED),
        },
    ),
    "decimal_16_2": Kind(
        decimal(16, 2),
        NULL | {
            "no-float": ("99999999999999.01", Decimal("99999999999999.01")), "zeros": ("1.1000", Decimal("1.10")),
            "exponent": ("12e2", Decimal(1200)), "third-digit": ("1.234", REFUSED), "true": ("true", REFUSED),
        },
    ),
    "singer_decimal": Kind(
        text("singer.decimal", precision=38, scale=9),
        NULL | {
            "38-digits": ('"12345678901234567890123456789.123456789"', Decimal("12345678901234567890123456789.123456789")),
            "words": ('"much"', REFUSED),
        },
    ),
    "date": Kind(
        text("date"),
        NULL | {
            "year-1": ('"0001-01-01"', "0001-01-01"), "year-9999": ('"9999-12-31"', "9999-12-31"),
            "leap-day": ('"2024-02-29"', "2024-02-29"), "before-1970": ('"1969-12-31"', "1969-12-31"),
            "no-leap-day": ('"2023-02-29"', REFUSED), "year-10000": ('"10000-01-01"', REFUSED),
            "year-0": ('"0000-01-01"', REFUSED), "infinity": ('"infinity"', REFUSED),
        },
        as_text=True,
    ),
    "timestamptz": Kind(
        text("date-time"),
        NULL | {
            "year-1": ('"0001-01-01T00:00:00Z"', "0001-01-01 00:00:00"),
            "year-9999": ('"9999-12-31T23:59:59.999999Z"', "9999-12-31 23:59:59.999999"),
            "leap-day": ('"2024-02-29T12:00:00.123456+05:30"', "2024-02-29 06:30:00.123456"),
            "negative-offset": ('"2023-12-31T23:30:00-01:00"', "2024-01-01 00:30:00"),
            "no-offset": ('"2024-01-01T00:00:00"', "2024-01-01 00:00:00"),
            "before-1970": ('"1969-12-31T23:59:59.999999Z"', "1969-12-31 23:59:59.999999"),
            "nanoseconds": ('"2024-01-01T00:00:00.123456789Z"', "2024-01-01 00:00:00.123456"),
            "year-10000-in-utc": ('"9999-12-31T23:59:59-05:00"', REFUSED),
            "year-0-in-utc": ('"0001-01-01T00:00:00+05:00"', REFUSED),
            "hour-24": ('"2024-01-01T24:00:00Z"', REFUSED), "infinity": ('"infinity"', REFUSED),
            "number": ("1700000000", REFUSED),
        },
        as_text=True,
    ),
    "timestamp": Kind(
        text("date-time", **{"x-sql-datatype": "timestamp"}),
        NULL | {
            "year-1": ('"0001-01-01T00:00:00"', "0001-01-01 00:00:00"),
            "year-9999": ('"9999-12-31 23:59:59.999999"', "9999-12-31 23:59:59.999999"),
            "microseconds": ('"2024-02-29T01:02:03.000001"', "2024-02-29 01:02:03.000001"),
            "zone": ('"2024-01-01T00:00:00Z"', REFUSED), "offset": ('"2024-01-01T00:00:00+01:00"', REFUSED),
        },
        as_text=True,
    ),
    "time": Kind(
        text("time"),
        NULL | {
            "midnight": ('"00:00:00"', "00:00:00"), "last": ('"23:59:59.999999"', "23:59:59.999999"),
            "24-hours": ('"24:00:00"', REFUSED), "zone": ('"12:00:00Z"', REFUSED),
        },
        as_text=True,
        for_spark=False,  # Spark 4.0 has no such type
    ),
    "uuid": Kind(
        text("uuid"),
        NULL | {
            "zero": ('"00000000-0000-0000-0000-000000000000"', "00000000-0000-0000-0000-000000000000"),
            "upper-case": ('"0E35AE7E-3DAC-8628-30EC-5F2550501AFA"', "0e35ae7e-3dac-8628-30ec-5f2550501afa"),
            "words": ('"none"', REFUSED),
        },
        as_text=True,
    ),
    "binary": Kind(
        {"type": ["string", "null"], "contentEncoding": "base64"},
        NULL | {"bytes": ('"AP8="', b"\x00\xff"), "empty": ('""', b""), "words": ('"%%%"', REFUSED)},
    ),
    "string": Kind(
        {"type": ["string", "null"]},
        NULL | {
            "empty": ('""', ""), "nul": ('"a\\u0000b"', "a\0b"), "astral": ('"😀"', "😀"),
            "astral-escaped": ('"\\ud83d\\ude00"', "😀"), "escapes": ('"\\t\\"\\\\/\\n"', '\t"\\/\n'),
            "long": (f'"{LONG_TEXT}"', LONG_TEXT), "null-word": ('"null"', "null"), "spaces": ('"  "', "  "),
            "number": ("5", REFUSED), "true": ("true", REFUSED), "half-astral": ('"\\ud83d"', REFUSED),
        },
    ),
    "struct": Kind(
        NESTED,
        NULL | {
            "nulls": ('{"a": null, "b": null}', {"a": None, "b": None}), "empty": ("{}", {"a": None, "b": None}),
            "empty-list": ('{"a": 1, "b": []}', {"a": 1, "b": []}),
            "full": ('{"a": 1, "b": [null, 0.0000000001]}', {"a": 1, "b": [None, Decimal("0.0000000001")]}),
            "bad-inside": ('{"a": "1"}', REFUSED), "number": ("5", REFUSED),
        },
    ),
    "list": Kind(
        {"type": ["array", "null"], "items": INTEGER},
        NULL | {"empty": ("[]", []), "null-inside": ("[1, null]", [1, None]), "bad-inside": ('["1"]', REFUSED)},
    ),
    "list_of_list": Kind(
        {"type": ["array", "null"], "items": {"type": ["array", "null"], "items": {"type": ["string", "null"]}}},
        NULL | {"empty": ("[]", []), "mixed": ('[[], null, [null], ["x"]]', [[], None, [None], ["x"]])},
    ),
    "list_of_struct": Kind(
        {"type": ["array", "null"], "items": NESTED},
        NULL | {
            "empty": ("[]", []), "null-inside": ("[null]", [None]),
            "mixed": (
                '[{"a": 1, "b": [1.5]}, null, {}]',
                [{"a": 1, "b": [Decimal("1.5000000000")]}, None, {"a": None, "b": None}],
            ),
        },
    ),
    "map": Kind(
        {"type": ["object", "null"], "additionalProperties": INTEGER},
        NULL | {"empty": ("{}", {}), "null-inside": ('{"k": null, "": 1}', {"k": None, "": 1}), "bad-inside": ('{"k": "1"}', REFUSED)},
    ),
    "map_of_struct": Kind(
        {"type": ["object", "null"], "additionalProperties": NESTED},
        NULL | {
            "empty": ("{}", {}), "null-inside": ('{"k": null}', {"k": None}),
            "full": ('{"k": {"a": 1, "b": null}}', {"k": {"a": 1, "b": None}}),
        },
    ),
    "struct_of_lists": Kind(
        {"type": ["object", "null"], "properties": {"l": {"type": ["array", "null"], "items": NESTED}}},
        NULL | {"null-list": ('{"l": null}', {"l": None}), "empty-list": ('{"l": []}', {"l": []})},
    ),
    "json": Kind(
        {"type": ["object", "null"]},
        NULL | {
            "digits": (f'{{"z": 1, "a": [{BIG}{BIG}.10, 1e-400]}}', f'{{"z": 1, "a": [{BIG}{BIG}.10, 1e-400]}}'),
            "deep": ('{"a": {"b": [{"c": null}]}}', '{"a": {"b": [{"c": null}]}}'),
        },
    ),
    "anything": Kind(
        {},
        NULL | {
            "text": ('"x"', '"x"'), "number": ("1.50", "1.50"), "true": ("true", "true"), "list": ("[1, {}]", "[1, {}]"),
        },
    ),
    "scalars": Kind(
        {"type": ["string", "integer", "number", "boolean", "null"]},
        NULL | {"text": ('"x"', "x"), "number": ("1.50", "1.50"), "true": ("true", "true"), "long": (BIG, BIG)},
    ),
    "date_or_text": Kind(
        {"anyOf": [{"type": "string", "format": "date-time"}, {"type": ["string", "null"]}]},
        NULL | {"text": ('"x"', "x"), "date": ('"2024-01-01T00:00:00Z"', "2024-01-01T00:00:00Z")},
    ),
    "integer_or_number": Kind({"type": ["integer", "number", "null"]}, NULL | {"both": ("5", 5.0), "half": ("0.5", 0.5)}),
    "boolean_or_integer": Kind({"type": ["boolean", "integer", "null"]}, NULL | {"true": ("true", "true"), "five": ("5", "5")}),
}  # fmt: skip

CASES = [(kind, value) for kind, table in KINDS.items() for value in table.values]


def messages() -> list[str]:
    """What the tap prints: a stream for each kind, its rows numbered from 1; row 0 is there to be changed."""
    import json

    lines = []
    for name, kind in KINDS.items():
        schema = {
            "type": "object",
            "properties": {"id": {"type": "integer"}, "note": {"type": "string"}, "v": kind.schema},
        }
        lines.append(
            json.dumps({"type": "SCHEMA", "stream": name, "schema": schema, "key_properties": ["id"]})
        )
        lines.append(row_zero(name, "first"))
        lines += [
            f'{{"type": "RECORD", "stream": "{name}", "record": {{"id": {number}, "v": {raw}}}}}'
            for number, (raw, _) in enumerate(kind.values.values(), 1)
        ]
    return lines


def row_zero(name: str, note: str) -> str:
    return f'{{"type": "RECORD", "stream": "{name}", "record": {{"id": 0, "note": "{note}", "v": null}}}}'


def is_same(expected: Any, found: Any, *, as_text: bool) -> bool:
    """Equality that knows types, the sign of zero, and the engines' ways to write a moment in UTC."""
    if as_text and isinstance(found, str):
        return expected == found.removesuffix("+00")
    if isinstance(found, bytearray | memoryview):
        found = bytes(found)
    return repr(expected) == repr(found) if isinstance(expected, float) else expected == found
