"""What the fast lane and the row lane must agree on, and what happens around the rows."""

import json
import random
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from icetap.types import canonical_json, schema_from_singer
from target_iceberg.decoding import decode
from target_iceberg.decoding.decode import StreamDecoder
from target_iceberg.decoding.reader import Run
from target_iceberg.decoding.undeclared import Learned

INTEGER = {"type": ["integer", "null"]}
STRING = {"type": ["string", "null"]}
NUMBER = {"type": ["number", "null"]}
INSTANT = {"type": ["string", "null"], "format": "date-time"}
SCALARS = {
    "i": INTEGER,
    "n": NUMBER,
    "s": STRING,
    "b": {"type": "boolean"},
    "d": {
        "type": "number",
        "x-sql-datatype": "decimal",
        "x-sql-datatype-properties": {"precision": 12, "scale": 3},
    },
    "t": INSTANT,
    "l": {**INSTANT, "x-sql-datatype": "timestamp"},
    "a": {"type": "string", "format": "date"},
    "c": {"type": "string", "format": "time"},
    "u": {"type": "string", "format": "uuid"},
    "x": {"type": "string", "contentEncoding": "base64"},
}
PLAIN = {
    **SCALARS,
    "o": {"type": "object", "properties": SCALARS},
    "r": {"type": "array", "items": {"type": "object", "properties": SCALARS}},
    "ln": {"type": "array", "items": {"type": "array", "items": NUMBER}},
}
GOOD = {
    "i": ["0", "-1", "9223372036854775807", "-9223372036854775808"],
    "n": ["0", "1.5", "-0.0", "1e300", "0.1", "12345678901234567", "0.30000000000000004", "5e-324", "9007199254740993"],
    "s": ['""', '"a"', '"\\u0000"', '"😀"', '"\\ud83d\\ude00"', '"\\"type\\": \\"RECORD\\""', '"\\\\"'],
    "b": ["true", "false"],
    "d": ["1", "1.234", "-999999999.999", "1e3", "0.0000", '"7.5"'],
    "t": ['"2024-02-29T12:00:00Z"', '"0001-01-01T00:00:00Z"', '"2024-01-01T00:00:00.123456+02:00"',
          '"2024-01-01T00:00:00"', '"2024-01-01T00:00:00.123456789Z"'],
    "l": ['"2024-02-29T12:00:00"', '"2024-02-29 12:00:00.5"'],
    "a": ['"2024-02-29"', '"9999-12-31"'],
    "c": ['"00:00:00"', '"23:59:59.999999"'],
    "u": ['"0e35ae7e-3dac-8628-30ec-5f2550501afa"', '"0E35AE7E-3DAC-8628-30EC-5F2550501AFB"'],
    "x": ['""', '"AA=="', '"AP8="'],
}  # fmt: skip
BAD = [
    "1.5",
    '"x"',
    "true",
    "NaN",
    "[]",
    "{}",
    "9223372036854775808",
    '"\\ud800"',
    '"2024-13-01"',
    "1e400",
    '"24:00:00"',
]


def object_text(random_: random.Random, *, bad: float) -> str:
    members = []
    for name, values in GOOD.items():
        kind = random_.random()
        if kind < 0.1:
            continue
        text = "null" if kind < 0.2 else random_.choice(BAD if random_.random() < bad else values)
        members.append(f'"{name}": {text}')
    random_.shuffle(members)
    return "{" + ", ".join(members) + "}"


def record_text(random_: random.Random, number: int, *, bad: float) -> str:
    text = object_text(random_, bad=bad)[1:-1]
    children = ", ".join(
        random_.choice(["null", "{}", object_text(random_, bad=bad)]) for _ in range(random_.randrange(3))
    )
    more = [
        f'"id": {number}',
        f'"o": {random_.choice(["null", "{}", object_text(random_, bad=bad)])}',
        f'"r": {random_.choice(["null", "[" + children + "]"])}',
        f'"ln": {random_.choice(["null", "[]", "[[], null, [1.5, null]]", "[[0.1]]"])}',
    ]
    return "{" + ", ".join([text, *more] if text else more) + "}"


def run_of(*records: str, envelope: str = "", first_line: int = 1) -> Run:
    lines = "".join(f'{{"type": "RECORD", "stream": "s", "record": {one}{envelope}}}\n' for one in records)
    return Run("s", lines.encode(), len(records), first_line)


def only(decoded):
    (one,) = decoded
    return one


def schema_of(properties: dict, *keys: str) -> pa.Schema:
    return schema_from_singer({"properties": properties}, key_properties=keys)


def outcome(decoder: StreamDecoder, run: Run) -> tuple:
    decoded = only(decoder.decode(run))
    decoded.batch.validate(full=True)
    rejected = [(one.line, one.column, one.reason, one.raw) for one in decoded.rejected]
    return repr(decoded.batch.to_pylist()), rejected, decoded.lossy, decoded.batch.schema


def without_fast_lane(decoder: StreamDecoder) -> StreamDecoder:
    decoder._fast.usable = False
    return decoder


def counting_fast_lane(decoder: StreamDecoder, monkeypatch) -> list[int]:
    """The rows that each successful call of the fast lane gave."""
    calls: list[int] = []
    original = decoder._fast.decode

    def decode_block(lines, *, count):
        result = original(lines, count=count)
        calls.append(count)
        return result

    monkeypatch.setattr(decoder._fast, "decode", decode_block)
    return calls


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("bad", [0.0, 0.01], ids=["good", "some-bad"])
def test_both_lanes_give_the_same_rows_refusals_and_counts(seed, bad, monkeypatch):
    monkeypatch.setattr(decode, "_PIECE_BYTES", 4_000)
    random_ = random.Random(seed)
    run = run_of(*(record_text(random_, i, bad=bad) for i in range(60)), first_line=100)
    schema = schema_of({"id": INTEGER, **PLAIN}, "id")

    fast = outcome(StreamDecoder("s", schema), run)
    exact = outcome(without_fast_lane(StreamDecoder("s", schema)), run)

    assert fast == exact
    if not bad:
        assert fast[1] == []


def test_the_fast_lane_takes_good_rows_alone_and_pieces_around_a_bad_one(monkeypatch):
    monkeypatch.setattr(decode, "_PIECE_BYTES", 1_000)
    schema = schema_of(PLAIN)
    random_ = random.Random(1)
    good = [f'{{"i": {i}, "s": "x", "t": "2024-01-01T00:00:00Z"}}' for i in range(100)]

    decoder = StreamDecoder("s", schema)
    calls = counting_fast_lane(decoder, monkeypatch)
    only(decoder.decode(run_of(*good)))
    assert calls == [100]

    calls.clear()
    random_.shuffle(good)
    decoded = only(decoder.decode(run_of(*good[:50], '{"i": "bad"}', *good[50:])))
    assert decoded.batch.num_rows == 100
    assert 80 < sum(calls) < 100


def test_a_stream_that_never_fits_the_fast_lane_stops_trying_for_a_while(monkeypatch):
    monkeypatch.setattr(decode, "_PIECE_BYTES", 200)
    decoder = StreamDecoder("s", schema_of({"i": INTEGER}))
    tried = []
    original = decoder._fast.decode
    monkeypatch.setattr(
        decoder._fast, "decode", lambda lines, *, count: tried.append(count) or original(lines, count=count)
    )

    for _ in range(10):
        decoded = only(decoder.decode(run_of(*['{"i": 1.0}'] * 20)))
        assert decoded.batch.column("i").to_pylist() == [1] * 20

    assert len(tried) < 10


def test_a_line_longer_than_a_block_goes_through(monkeypatch):
    text = "y" * (3 << 20)
    decoder = StreamDecoder("s", schema_of({"s": STRING}))
    calls = counting_fast_lane(decoder, monkeypatch)

    decoded = only(decoder.decode(run_of('{"s": "a"}', f'{{"s": "{text}"}}', '{"s": "b"}')))

    assert [len(one) for one in decoded.batch.column("s").to_pylist()] == [1, 3 << 20, 1]
    assert calls == [3]


# --- fields that nobody declared -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "field"),
    [
        pytest.param(["1", "2"], pa.field("v", pa.int64()), id="integers"),
        pytest.param(["1", "2.5"], pa.field("v", pa.float64()), id="integer-then-double"),
        pytest.param(["true", "null"], pa.field("v", pa.bool_()), id="boolean"),
        pytest.param(['"a"', '"2024-01-01"'], pa.field("v", pa.string()), id="strings-stay-strings"),
        pytest.param(["null", "7"], pa.field("v", pa.int64()), id="null-then-integer"),
    ],
)
def test_an_undeclared_field_becomes_a_column_of_its_values_type(values, field):
    decoder = StreamDecoder("s", schema_of({"id": INTEGER}))

    decoded = only(decoder.decode(run_of('{"id": 0}', *(f'{{"id": 1, "v": {one}}}' for one in values))))

    assert decoded.new_fields == [field]
    assert decoded.batch.schema == pa.schema([pa.field("id", pa.int64()), field])
    assert decoded.batch.column("v").to_pylist() == [None, *(json.loads(one) for one in values)]
    assert decoded.rejected == []


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        pytest.param(["1", '"a"'], ["1", "a"], id="scalars-with-string-are-plain-text"),
        pytest.param(["1.10", '"a"', "true"], ["1.10", "a", "true"], id="text-keeps-digits"),
        pytest.param(["true", "1"], ["true", "1"], id="boolean-and-integer-are-text"),
        pytest.param(["1", '{"b": 1.10}'], ["1", '{"b": 1.10}'], id="objects-are-json"),
        pytest.param(['"a"', "[1]"], ['"a"', "[1]"], id="arrays-are-json-and-strings-quoted"),
        pytest.param(["18446744073709551616"], ["18446744073709551616"], id="beyond-64-bits"),
    ],
)
def test_undeclared_values_of_several_types_lose_nothing(values, texts):
    decoder = StreamDecoder("s", schema_of({"id": INTEGER}))

    decoded = only(decoder.decode(run_of(*(f'{{"id": 1, "v": {one}}}' for one in values))))

    assert [canonical_json(one) for one in decoded.batch.column("v").to_pylist()] == [
        canonical_json(t) for t in texts
    ]


def test_an_undeclared_field_is_learned_once_and_then_decoded_fast(monkeypatch):
    decoder = StreamDecoder("s", schema_of({"id": INTEGER}))
    run = run_of(*['{"id": 1, "v": 5, "w": null}'] * 10)

    first = only(decoder.decode(run))
    calls = counting_fast_lane(decoder, monkeypatch)
    second = only(decoder.decode(run))

    assert [one.name for one in first.new_fields] == ["v"]
    assert second.new_fields == []
    assert second.batch == first.batch
    assert calls == [10]


def test_a_field_found_in_a_refused_row_is_new_with_the_first_row_that_is_kept():
    decoder = StreamDecoder("s", schema_of({"id": INTEGER}, "id"))

    refused = only(decoder.decode(run_of('{"id": null, "v": 1}')))
    kept = only(decoder.decode(run_of('{"id": 1}')))
    after = only(decoder.decode(run_of('{"id": 1}')))

    assert (refused.batch.num_rows, [one.name for one in refused.new_fields]) == (0, ["v"])
    assert [one.name for one in kept.new_fields] == ["v"]
    assert after.new_fields == []


def test_a_learned_column_widens_when_a_later_value_does_not_fit():
    decoder = StreamDecoder("s", schema_of({"id": INTEGER}))

    assert only(decoder.decode(run_of('{"v": 1}'))).batch.column("v").to_pylist() == [1]
    second = only(decoder.decode(run_of('{"v": 2.5}')))
    third = only(decoder.decode(run_of('{"v": "x"}', '{"v": 3}')))

    assert (second.new_fields, second.rejected) == ([pa.field("v", pa.float64())], [])
    assert third.batch.column("v").to_pylist() == ["x", "3"]
    assert third.rejected == []


@pytest.mark.parametrize(("value", "text"), [("5", "5"), ('{"a": 1}', '{"a": 1}')], ids=["number", "object"])
def test_a_learned_text_column_says_so_when_it_takes_other_values(value, text):
    """Text, text of any scalar and JSON text are one Arrow type, and yet three kinds of column."""
    decoder = StreamDecoder("s", schema_of({"id": INTEGER}))
    only(decoder.decode(run_of('{"v": "x"}')))

    second = only(decoder.decode(run_of(f'{{"v": {value}}}')))

    assert (second.batch.column("v").to_pylist(), second.rejected) == ([text], [])
    assert [one.name for one in second.new_fields] == ["v"]
    assert second.new_fields[0].metadata


def test_a_value_that_no_type_holds_is_refused_in_a_learned_column_too():
    decoder = StreamDecoder("s", schema_of({"id": INTEGER}))

    decoded = only(decoder.decode(run_of('{"v": 1.5}', '{"v": NaN}', '{"v": 1e400}')))

    assert decoded.batch.column("v").to_pylist() == [1.5]
    assert [one.column for one in decoded.rejected] == ["v", "v"]


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        pytest.param({"type": "object", "properties": {"a": INTEGER}}, '{"a": 1, "b": "x"}', {"a": 1, "b": "x"}, id="struct"),
        pytest.param({"type": "array", "items": {"type": "object", "properties": {"a": INTEGER}}},
                     '[{"a": 1}, {"b": true}]', [{"a": 1, "b": None}, {"a": None, "b": True}], id="list"),
        pytest.param({"type": "object", "additionalProperties": {"type": "object", "properties": {"a": INTEGER}}},
                     '{"k": {"b": 2}}', [("k", {"a": None, "b": 2})], id="map"),
        pytest.param({"type": "object", "properties": {"a": {"type": "object", "properties": {"c": INTEGER}}}},
                     '{"a": {"d": [1.10]}}', {"a": {"c": None, "d": "[1.10]"}}, id="struct-in-struct"),
    ],
)  # fmt: skip
def test_an_undeclared_nested_field_widens_its_column_and_is_never_lost(schema, text, value):
    decoder = StreamDecoder("s", schema_of({"v": schema}))

    decoded = only(decoder.decode(run_of("{}", f'{{"v": {text}}}')))

    assert decoded.batch.column("v").to_pylist() == [None, value]
    assert [one.name for one in decoded.new_fields] == ["v"]
    assert decoded.new_fields[0] == decoded.batch.schema.field("v")


def test_a_nested_field_that_is_only_null_makes_no_column_yet():
    decoder = StreamDecoder("s", schema_of({"v": {"type": "object", "properties": {"a": INTEGER}}}))

    for _ in range(2):  # the second time through the fast lane
        decoded = only(decoder.decode(run_of('{"v": {"a": 1, "b": null}, "w": null}', "{}")))
        assert decoded.batch.to_pylist() == [{"v": {"a": 1}}, {"v": None}]
        assert decoded.new_fields == []


def test_learned_types_do_not_depend_on_the_order_of_values():
    texts = ["1", "2.5", '"a"', "true", "null"]
    found = set()
    for seed in range(20):
        shuffled = random.Random(seed).sample(texts, len(texts))
        learned, field = Learned(), pa.field("record", pa.struct([]))
        for one in shuffled:
            field = learned.widen(field, {"v": json.loads(one)})
        found.add((field.type.field(0).type, (field.type.field(0).metadata or {}).get(b"icetap.kind")))
    assert len(found) == 1


# --- the envelope ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", ["fast", "exact"])
def test_each_version_comes_by_itself_in_arrival_order(lane):
    lines = "".join(
        f'{{"type": "RECORD", "stream": "s", "record": {{"i": {i}}}{version}}}\n'
        for i, version in enumerate(
            ["", ', "version": 1', ', "version": 1', ', "version": 2', ', "version": null']
        )
    )
    decoder = StreamDecoder("s", schema_of({"i": INTEGER}))
    if lane == "exact":
        without_fast_lane(decoder)

    decoded = list(decoder.decode(Run("s", lines.encode(), 5, 1)))

    assert [(one.version, one.batch.column("i").to_pylist()) for one in decoded] == [
        (None, [0]), (1, [1, 2]), (2, [3]), (None, [4]),
    ]  # fmt: skip


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "undeclared"])
@pytest.mark.parametrize("mark", ['"2024-01-01T00:00:00Z"', "1700000000"])
def test_deletes_are_marked_and_their_mark_is_no_column(mark, declared):
    properties = {"id": INTEGER, "v": STRING, "_sdc_sequence": INTEGER}
    if declared:
        properties["_sdc_deleted_at"] = INSTANT
    decoder = StreamDecoder("s", schema_of(properties, "id"))

    decoded = only(
        decoder.decode(
            run_of(
                '{"id": 1, "v": "a", "_sdc_deleted_at": null}',
                f'{{"id": 2, "_sdc_deleted_at": {mark}}}',
                '{"id": 3}',
            )
        )
    )

    assert decoded.batch.schema.names == ["id", "v", "_sdc_sequence"]
    assert decoded.deleted.to_pylist() == [False, True, False]
    assert only(decoder.decode(run_of('{"id": 1}'))).deleted is None


def test_times_of_extraction_are_given_when_asked_for_and_never_refuse_a_row():
    decoder = StreamDecoder("s", schema_of({"i": INTEGER}), record_metadata=True)
    lines = (
        '{"type":"RECORD","stream":"s","record":{"i":1},"time_extracted":"2024-01-01T00:00:00+01:00"}\n'
        '{"type":"RECORD","stream":"s","record":{"i":2},"time_extracted":"soon"}\n'
        '{"type":"RECORD","stream":"s","record":{"i":3}}\n'
    )

    decoded = only(decoder.decode(Run("s", lines.encode(), 3, 1)))

    assert decoded.times.to_pylist() == [datetime(2023, 12, 31, 23, tzinfo=UTC), None, None]
    assert decoded.rejected == []
    assert (
        only(StreamDecoder("s", schema_of({"i": INTEGER})).decode(Run("s", lines.encode(), 3, 1))).times
        is None
    )


def test_an_unknown_part_of_the_envelope_is_no_column():
    decoder = StreamDecoder("s", schema_of({"i": INTEGER}))

    decoded = only(decoder.decode(run_of('{"i": 1}', envelope=', "sequence": 5')))

    assert decoded.batch.to_pylist() == [{"i": 1}]


def test_line_numbers_of_refused_rows_are_those_of_the_input():
    lines = run_of(*['{"i": "x"}'] * 4).lines
    run = Run("s", lines, 4, 10, segments=((0, 10), (2, 50)))

    decoded = only(StreamDecoder("s", schema_of({"i": INTEGER})).decode(run))

    assert [one.line for one in decoded.rejected] == [10, 11, 50, 51]


@pytest.mark.parametrize(
    "name", ["a.b", "with space", 'quo"te', "ünï", "", "c0", "class", "日本", "a\\b", "record"]
)
def test_any_name_may_name_a_column_in_both_lanes(name):
    schema = schema_of({name: NUMBER, "other": INTEGER})
    key, escaped = json.dumps(name, ensure_ascii=False), json.dumps(name)
    run = run_of(f"{{{key}: 9007199254740993}}", f"{{{escaped}: 1.5}}")

    fast = outcome(StreamDecoder("s", schema), run)
    exact = outcome(without_fast_lane(StreamDecoder("s", schema)), run)

    assert fast == exact
    assert fast[2] == {name: 1}


def test_a_stream_without_declared_columns_shows_what_its_rows_hold():
    decoded = only(StreamDecoder("s", pa.schema([])).decode(run_of('{"a": 1}', '{"b": "x"}')))

    assert decoded.batch.to_pylist() == [{"a": 1, "b": None}, {"a": None, "b": "x"}]
