"""What the masks make of values, and which of them are refused."""

import datetime as dt
import hashlib
import hmac
import json
from decimal import Decimal

import pyarrow as pa
import pytest

from icetap.columnar.lines import record_lines
from icetap.errors import ConfigurationError
from icetap.records.masks import Masks, Plan
from icetap.records.masks.arrow import masked_batch
from icetap.records.masks.checking import refuse_unmatched
from icetap.records.masks.values import KeyedHash, hash_bytes, partial
from icetap.testing.masked_tables import random_table
from icetap.types import KIND, kind_of, singer_from_schema

KEY = "pepper for tests"
COLUMNS = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("email", pa.string()),
        pa.field("born", pa.date32()),
        pa.field("changed_at", pa.timestamp("us", tz="UTC")),
        pa.field("address", pa.struct([pa.field("street", pa.string()), pa.field("zip", pa.int32())])),
        pa.field("items", pa.list_(pa.field("element", pa.struct([pa.field("sku", pa.string())])))),
        pa.field("labels", pa.map_(pa.string(), pa.field("value", pa.string()))),
        pa.field("profile", pa.string(), metadata={KIND: b"json"}),
        pa.field("photo", pa.binary()),
    ]
)


def plan(masks, *, keys=("id",), cursor=None, stream="people", **config):
    settings = Masks.from_config({"masks": {"people": masks}, "mask_key": KEY, **config})
    return Plan.of(settings, COLUMNS, stream=stream, keys=keys, cursor=cursor)


def after(column, mask, values):
    """The values of one column after a mask, and its type."""
    made = plan({column: mask}, keys=())
    name = column.partition(".")[0].partition("[")[0]
    batch = pa.RecordBatch.from_pylist([{"id": 1, name: value} for value in values], COLUMNS)
    masked = masked_batch(batch, made, made.schema(COLUMNS))
    return masked.column(name).to_pylist(), masked.schema.field(name).type


def hashed(text):
    return hmac.new(KEY.encode(), text.encode(), hashlib.sha256).hexdigest()[:32]


@pytest.mark.parametrize("key", ["k", KEY, "x" * 64, "é" * 100], ids=["short", "usual", "a-block", "longer"])
def test_a_hash_is_hmac_sha256_of_128_bits(key):
    expected = hmac.new(key.encode(), b"value", hashlib.sha256).hexdigest()[:32]

    assert KeyedHash(key).text(b"value") == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(42, "42", id="number-and-text"),
        pytest.param(42, 42.0, id="integer-and-double"),
        pytest.param(Decimal("42.00"), 42, id="decimal"),
        pytest.param(Decimal("1E+3"), 1000, id="exponent"),
        pytest.param(-0.0, 0, id="zero"),
        pytest.param(
            dt.datetime(2024, 1, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))),
            "2024-01-01T00:00:00.000000Z",
            id="instant",
        ),
    ],
)
def test_equal_values_of_other_types_have_equal_hashes(one, other):
    assert hash_bytes(one) == hash_bytes(other)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("4111111111111111", "************1111"),
        ("ana.silva@example.com", "*********@example.com"),
        ("1234", "****"),
        ("", ""),
        ("日本語テキスト", "***テキスト"),
        ("a@b", "***"),
        ("me @x.com", "*****.com"),
    ],
)
def test_partial_shows_the_last_four_characters_or_the_domain(text, masked):
    assert partial(text) == masked
    assert after("email", "partial", [text, None]) == ([masked, None], pa.string())


def test_year_cuts_to_january_1st():
    born, kind = after("born", "year", [dt.date(1969, 12, 31), dt.date(1, 5, 5), None])
    changed, _ = after("changed_at", "year", [dt.datetime(2024, 5, 6, 7, 8, 9, 10, tzinfo=dt.UTC)])

    assert (born, kind) == ([dt.date(1969, 1, 1), dt.date(1, 1, 1), None], pa.date32())
    assert changed == [dt.datetime(2024, 1, 1, tzinfo=dt.UTC)]


@pytest.mark.parametrize(
    ("column", "mask", "value", "expected"),
    [
        pytest.param(
            "address.street",
            "hash",
            {"street": "Rua A", "zip": 1},
            {"street": hashed("Rua A"), "zip": 1},
            id="struct",
        ),
        pytest.param("address.street", "drop", {"street": "Rua A", "zip": 1}, {"zip": 1}, id="part-dropped"),
        pytest.param(
            "address.zip", "redact", {"street": "x", "zip": 1}, {"street": "x", "zip": None}, id="redact"
        ),
        pytest.param(
            "items[].sku",
            "partial",
            [{"sku": "ABC-12345"}, None],
            [{"sku": "*****2345"}, None],
            id="list",
        ),
        pytest.param("labels.*", "hash", [("a", "x")], [("a", hashed("x"))], id="map"),
        pytest.param(
            "profile.contact.email",
            "hash",
            '{"contact": {"email": "a@b.c", "n": 1.50}}',
            f'{{"contact":{{"email":"{hashed("a@b.c")}","n":1.50}}}}',
            id="json",
        ),
        pytest.param(
            "profile.phones[]",
            "partial",
            '{"phones": ["123456", null]}',
            '{"phones":["**3456",null]}',
            id="json-list",
        ),
        pytest.param("profile.x", "drop", "not json: secret", None, id="unreadable-json-is-null"),
    ],
)
def test_parts_of_nested_columns_are_masked(column, mask, value, expected):
    assert after(column, mask, [value, None])[0] == [expected, None]


def test_columns_and_types_follow_the_masks():
    masked = plan({"email": "hash", "born": "redact", "photo": "drop", "id": "hash", "address.*": "drop"})

    schema = masked.schema(COLUMNS)

    assert [field.name for field in schema] == [
        "id",
        "email",
        "born",
        "changed_at",
        "items",
        "labels",
        "profile",
    ]
    assert schema.field("id") == pa.field("id", pa.string(), nullable=False)
    assert schema.field("born") == pa.field("born", pa.date32())


@pytest.mark.parametrize(
    ("masks", "options", "words"),
    [
        pytest.param(
            {"changed_at": "year"},
            {"cursor": "changed_at"},
            ["'masks'", "replication key 'changed_at'", "'people'", "'changed_at: keep'"],
            id="cursor",
        ),
        pytest.param(
            {"*": "hash"},
            {"cursor": "changed_at", "keys": ()},
            ["replication key", "'changed_at: keep'"],
            id="cursor-by-a-pattern",
        ),
        pytest.param({"email": "hsah"}, {}, ["'masks'", "'email'", "did you mean 'hash'"], id="unknown"),
        pytest.param({"id": "partial"}, {}, ["'masks'", "is a key", "Use 'hash'"], id="partial-key"),
        pytest.param({"id": "drop"}, {}, ["is a key", "Use 'hash'"], id="dropped-key"),
        pytest.param({"photo": "partial"}, {}, ["'photo'", "binary", "Use hash"], id="type"),
        pytest.param({"email": "year"}, {}, ["dates and instants"], id="year-of-a-text"),
        pytest.param({"address": "hash"}, {}, ["mask its parts"], id="struct"),
        pytest.param(
            {"email": "hash"}, {"mask_key": None}, ["'mask_key'", "icetap secrets new-key"], id="key"
        ),
        pytest.param({"email": 7}, {}, ["no mask '7'"], id="no-text"),
        pytest.param({"email": {}}, {}, ["'email'", "There are: hash"], id="nothing"),
    ],
)
def test_a_mask_that_does_not_fit_names_the_setting_and_the_way_out(masks, options, words):
    with pytest.raises(ConfigurationError) as caught:
        plan(masks, **options)

    assert [word for word in words if word not in str(caught.value)] == []
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ({"persons": {"email": "redact"}}, ["the stream 'persons'", "There are: people"]),
        ({"people": {"e-mail": "redact"}}, ["column 'e-mail'", "did you mean 'email'"]),
        ({"peo*": {"*phone*": "redact"}}, ["column '*phone*'", "matches no column"]),
        ({"people": {"labels.email": "redact"}}, ["did you mean 'labels.*'"]),
        ({"people": {"items.sku": "redact"}}, ["did you mean 'items[].sku'"]),
    ],
    ids=["stream", "column", "pattern", "map", "list"],
)
def test_a_mask_that_matches_nothing_is_refused(masks, words):
    with pytest.raises(ConfigurationError) as caught:
        refuse_unmatched(Masks.from_config({"masks": masks}), {"people": COLUMNS})

    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    "column",
    ["email", "*mail", "address.street", "items[].sku", "items[]*", "labels.*", "profile.a.b", "profile[].x"],
)
def test_names_patterns_and_paths_match(column):
    refuse_unmatched(
        Masks.from_config({"masks": {"*": {column: "redact"}}}), {"people": COLUMNS, "x": COLUMNS}
    )


def test_a_pattern_leaves_the_columns_alone_that_say_which_rows_are_deleted():
    columns = COLUMNS.append(pa.field("_sdc_deleted_at", pa.timestamp("us", tz="UTC")))
    settings = Masks.from_config({"masks": {"*": {"*": "redact", "id": "keep"}}})

    made = Plan.of(settings, columns, stream="people", keys=("id",))

    assert made is not None
    assert made.names == {*COLUMNS.names} - {"id"}
    named = Masks.from_config({"masks": {"people": {"_sdc_deleted_at": "redact"}}})
    with pytest.raises(ConfigurationError, match=r"'masks'.*'_sdc_deleted_at' tells the loader"):
        Plan.of(named, columns, stream="people")


def test_meltano_takes_points_for_objects_and_we_take_them_back():
    masks = Masks.from_config(
        {"masks": {"people": {"address": {"street": "redact"}, "items[]": {"sku": "drop"}}}}
    )

    assert [rule.column for rule in masks.rules] == ["address.street", "items[].sku"]


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ({"people": {"*mail": "redact", "email": "hash"}}, "hash"),
        ({"people": {"email": "hash", "*mail": "redact"}}, "hash"),
        ({"people": {"*mail": "redact", "em*": "hash"}}, "hash"),
        ({"*": {"email": "redact"}, "people": {"*": "hash", "id": "keep"}}, "hash"),
        ({"people": {"*mail": "redact", "email": "keep"}}, None),
    ],
    ids=["exact", "exact-first", "later", "stream", "keep"],
)
def test_an_exact_name_beats_a_pattern_and_a_later_pattern_an_earlier_one(masks, expected):
    email = COLUMNS.remove_metadata().field("email")
    made = Plan.of(
        Masks.from_config({"masks": masks, "mask_key": KEY}),
        pa.schema([email]),
        stream="people",
        keys=("id",),
    )

    assert (made and made.columns["email"].mask) == expected


@pytest.mark.parametrize("seed", range(60))
def test_both_lanes_make_the_same_of_a_random_table(seed):
    table = random_table(seed)

    columnar = table.masked()
    schema, records = table.masked_records()

    blocks = record_lines(columnar, stream="")
    lines = [line for block in blocks for line in block.to_pybytes().splitlines()]
    expected = [json.loads(line, parse_float=Decimal)["record"] for line in lines]
    documents = [column.name for column in columnar.schema if kind_of(column) == "json"]
    for record in expected:
        record.update(
            {name: json.loads(record[name], parse_float=Decimal) for name in documents if record[name]}
        )
    assert records == expected
    assert list(schema["properties"]) == list(singer_from_schema(columnar.schema)["properties"])
    assert table.masked(cut=7).equals(columnar.slice(7))
