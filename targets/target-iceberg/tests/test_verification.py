"""`verify` in one process: what counts as a difference between a tap's messages and their table."""

import datetime as dt
import json
import math
from decimal import Decimal

import pyarrow as pa
import pytest

from icetap.types import json_field
from target_iceberg.methods.equality import unequal_rows
from target_iceberg.signals import Termination
from target_iceberg.verification import verify as verification
from target_iceberg.verification.comparison import KINDS, Comparison, comparing
from target_iceberg.verification.differences import as_json, as_text
from target_iceberg.verification.fingerprints import Filter, Fingerprints

NAMED = {"id": {"type": "integer"}, "name": {"type": ["null", "string"]}, "at": {"type": ["null", "integer"]}}


def verify(lake, *messages, limit=20, streams=(), **config):
    flat = [one for part in messages for one in (part if isinstance(part, list) else [part])]
    with lake.file(flat).open("rb") as source:
        return verification.verify(
            source,
            catalog=lake.catalog,
            config={**lake.config, **config},
            pipeline="default",
            termination=Termination(),
            streams=streams,
            limit=limit,
        )


def only(findings):
    (one,) = findings
    return one


def found(one):
    """The differences of one stream: kind, key, columns."""
    return sorted((each.kind, (each.key or {}).get("id"), each.columns) for each in one.examples)


def counted(one):
    return {kind: one.number_of(kind) for kind in KINDS if one.number_of(kind)}


# --- rows -----------------------------------------------------------------------------------------------


def test_what_was_just_loaded_is_equal(lake, singer):
    messages = [singer.schema(), *singer.records(range(1000))]
    lake.ok(messages)

    one = only(verify(lake, messages))

    assert one.is_equal
    assert (one.counts.source, one.counts.table, one.counts.ranges) == (1000, 1000, 0)
    assert one.snapshot[0] == lake.table().metadata.current_snapshot_id


def test_each_kind_of_difference_is_found_and_named(lake, singer):
    lake.ok([singer.schema(), *singer.records(range(100))])
    table = lake.table()
    rows = table.scan().to_arrow()
    table.append(rows.filter(pa.compute.field("id") == 9))

    source = [one for one in singer.records(range(101)) if one["record"]["id"] != 5]
    source[7] = singer.record({"id": 8, "name": ""})
    one = only(verify(lake, [singer.schema(), *source]))

    assert found(one) == [
        ("different", 8, ["name"]),
        ("doubled", 9, []),
        ("extra", 5, []),
        ("missing", 100, []),
    ]
    assert counted(one) == dict.fromkeys(KINDS, 1)
    assert not one.is_equal


def test_columns_with_the_names_of_the_comparison_s_own_are_compared(lake, singer):
    names = {name: {"type": "string"} for name in ("k", "h", "c0", "rows", "is_late")}
    schema = singer.schema(properties={"id": {"type": "integer"}, **names})
    row = {"id": 1, **dict.fromkeys(names, "a")}
    lake.ok([schema, singer.record(row)])

    assert only(verify(lake, schema, singer.record(row))).is_equal
    assert found(only(verify(lake, schema, singer.record({**row, "k": "b"})))) == [("different", 1, ["k"])]


def test_without_keys_rows_are_compared_with_their_number(lake, singer):
    schema = singer.schema(keys=[])
    rows = [singer.record({"id": number % 10, "name": "x"}) for number in range(30)]
    lake.ok([schema, *rows])

    assert only(verify(lake, [schema, *reversed(rows)])).is_equal
    one = only(verify(lake, [schema, *rows[2:], singer.record({"id": 77, "name": "y"})]))

    assert counted(one) == {"doubled": 2, "missing": 1}
    assert [example.source for example in one.examples if example.kind == "missing"] == [
        {"id": 77, "name": "y"}
    ]


def test_of_rows_with_one_key_the_last_one_counts(lake, singer):
    messages = [singer.schema(), *singer.records([1, 2]), *singer.records([1], name="newer")]
    lake.ok(messages)

    one = only(verify(lake, messages))

    assert one.is_equal
    assert one.counts.repeated == 1
    assert "came before another one of the same key" in as_text([one], show_values=False)


def test_a_key_that_the_table_has_twice_is_found_even_when_the_source_has_it_twice(lake, singer):
    messages = [singer.schema(), *singer.records([1, 2]), *singer.records([1])]
    lake.ok(messages)
    table = lake.table()
    table.append(table.scan(row_filter="id = 1").to_arrow())

    assert counted(only(verify(lake, messages))) == {"doubled": 1}


def test_a_stream_without_a_table_differs(lake, singer):
    one = only(verify(lake, [singer.schema(), *singer.records([1])]))

    assert not one.is_equal
    assert "There is no table raw.s" in as_text([one], show_values=False)
    assert as_json([one], show_values=False)["streams"][0]["table_exists"] is False


def test_an_empty_source_and_an_empty_table_are_equal(lake, singer):
    lake.ok([singer.schema()])

    assert only(verify(lake, [singer.schema()])).is_equal


def test_only_the_streams_asked_for_are_compared(lake, singer):
    messages = [singer.schema("a"), singer.schema("b"), *singer.records([1], "b")]

    assert [one.stream for one in verify(lake, messages, streams=["a*"])] == ["a"]


def test_nothing_is_written(lake, singer):
    lake.ok([singer.schema(), *singer.records([1, 2])])
    before = lake.table().metadata_location

    verify(lake, [singer.schema(), *singer.records([2, 3]), singer.record({"id": "no"})])

    assert lake.table().metadata_location == before
    assert lake.catalog.list_tables("raw") == [("raw", "s")]


def test_rows_that_the_contract_refuses_are_a_difference_of_their_own(lake, singer):
    messages = [singer.schema(), *singer.records([1]), singer.record({"id": 2, "name": 5})]
    lake.ok(messages)

    one = only(verify(lake, messages))

    assert not one.is_equal
    assert (one.refused, counted(one)) == (1, {})


# --- columns --------------------------------------------------------------------------------------------


def test_renamed_columns_are_found_under_their_names_in_the_table(lake, singer):
    properties = {"id": {"type": "integer"}, "UserName": {"type": "string"}, "username": {"type": "string"}}
    messages = [
        singer.schema(properties=properties),
        singer.record({"id": 1, "UserName": "a", "username": "b"}),
    ]
    lake.ok(messages, identifier_case="snake")
    assert {field.name for field in lake.table().schema().fields} == {"id", "user_name", "username"}

    assert only(verify(lake, messages, identifier_case="snake")).is_equal
    messages[1] = singer.record({"id": 1, "UserName": "b", "username": "b"})
    assert found(only(verify(lake, messages, identifier_case="snake"))) == [("different", 1, ["user_name"])]


def test_a_column_that_the_table_lacks_is_a_difference(lake, singer):
    lake.ok([singer.schema(), *singer.records([1])])

    one = only(verify(lake, [singer.schema(properties=NAMED), *singer.records([1])]))

    assert not one.is_equal
    assert (one.absent_columns, counted(one)) == (["at"], {})


def test_a_column_that_left_the_source_is_told_and_not_compared(lake, singer):
    lake.ok([singer.schema(properties=NAMED), singer.record({"id": 1, "name": "a1", "at": 5})])

    one = only(verify(lake, [singer.schema(), *singer.records([1])]))

    assert one.is_equal
    assert one.uncompared_columns == ["at"]


def test_columns_of_the_run_are_not_compared(lake, singer):
    messages = [singer.schema(), *singer.records([1])]
    lake.ok(messages, add_record_metadata=True)

    one = only(verify(lake, messages, add_record_metadata=True))

    assert one.is_equal
    assert one.uncompared_columns == []


def test_places_in_a_change_log_are_told_and_not_compared(lake, singer):
    lsn = {"id": {"type": "integer"}, "_sdc_lsn": {"type": ["null", "integer"]}}
    schema = singer.schema(properties=lsn)
    lake.ok([schema, singer.record({"id": 1, "_sdc_lsn": 77})])

    one = only(verify(lake, schema, singer.record({"id": 1, "_sdc_lsn": None})))

    assert one.is_equal
    assert one.notes == ["not compared, as only the change log tells them: _sdc_lsn"]


def test_integers_beyond_a_double_column_are_compared_in_their_own(lake, singer):
    number, integer = ({"id": {"type": "integer"}, "v": {"type": kind}} for kind in ("number", "integer"))
    lake.ok([singer.schema(properties=number), singer.record({"id": 1, "v": 1.5})])
    messages = [singer.schema(properties=integer), singer.record({"id": 1, "v": 2**53 + 1})]
    lake.ok(messages)

    assert only(verify(lake, messages)).is_equal
    messages[1] = singer.record({"id": 1, "v": 2**53 + 3})
    assert found(only(verify(lake, messages))) == [("different", 1, ["v__long"])]


# --- what the table keeps beside the present -------------------------------------------------------------


def test_rows_marked_as_deleted_are_left_out(lake, singer):
    deletes = singer.record({"id": 2, "name": "a2", "_sdc_deleted_at": "2026-01-01T00:00:00Z"})
    lake.ok([singer.schema(), *singer.records([1, 2]), deletes], delete_mode="soft")

    one = only(verify(lake, [singer.schema(), *singer.records([1])], delete_mode="soft"))
    assert one.is_equal
    assert (one.marked_deleted, one.counts.table, one.uncompared_columns) == (1, 1, [])

    both = only(verify(lake, [singer.schema(), *singer.records([1, 2])], delete_mode="soft"))
    assert found(both) == [("missing", 2, [])]


def test_of_a_history_the_present_is_compared(lake, singer):
    lake.ok([singer.schema(), *singer.records([1, 2])], load_method="history")
    lake.ok([singer.schema(), *singer.records([1], name="newer")], load_method="history")

    now = [singer.schema(), *singer.records([1], name="newer"), *singer.records([2])]
    one = only(verify(lake, now, load_method="history"))
    assert one.is_equal
    assert (one.past_versions, one.counts.table, one.uncompared_columns) == (1, 2, [])

    before = [singer.schema(), *singer.records([1, 2])]
    assert found(only(verify(lake, before, load_method="history"))) == [("different", 1, ["name"])]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"merge_mode": "merge-on-read"}, id="merge-on-read"),
        pytest.param({"partition_by": ["bucket(4, id)"]}, id="partitioned"),
        pytest.param({"partition_by": ["bucket(4, id)"], "merge_mode": "merge-on-read"}, id="both"),
        pytest.param({"load_method": "snapshot-diff", "full_table_completion": "end_of_input"}, id="diff"),
    ],
)
def test_tables_of_every_form_are_compared(lake, singer, settings):
    lake.ok([singer.schema(), *singer.records(range(200))], **settings)
    now = [
        singer.schema(),
        *singer.records(range(0, 200, 7), name="b"),
        *singer.records(sorted(set(range(200)) - set(range(0, 200, 7)))),
    ]
    lake.ok(now, **settings)

    assert only(verify(lake, now, **settings)).is_equal
    one = only(verify(lake, now[:-1], **settings))
    assert found(one) == [("extra", 199, [])]


def test_columns_that_the_contract_leaves_out_are_no_difference(lake, singer):
    lake.ok([singer.schema(), *singer.records([1])])
    messages = [singer.schema(properties=NAMED), singer.record({"id": 1, "name": "a1", "at": 5})]

    one = only(verify(lake, messages, schema_policy="discard"))

    assert one.is_equal
    assert one.notes == ["column at is left out by 'schema_policy: discard', and was not compared"]


def test_settings_that_would_change_the_table_change_nothing(lake, singer):
    messages = [singer.schema(), *singer.records([1])]
    lake.ok(messages)
    before = lake.table().metadata_location

    wishes = {"partition_by": ["bucket(4, id)"], "sort_by": ["name"], "max_rejected": 0}
    verify(lake, [*messages, singer.record({"id": "no"})], **wishes)

    assert lake.table().metadata_location == before


# --- the bookmark ---------------------------------------------------------------------------------------


def loaded_up_to_ten(lake, singer):
    schema = singer.schema(properties=NAMED, cursor="at")
    rows = [singer.record({"id": number, "name": "a", "at": number}) for number in range(1, 11)]
    lake.ok([schema, *rows, {"type": "STATE", "value": {"bookmarks": {"s": singer.at(10, "at")}}}])
    return schema, rows


def test_rows_beyond_the_bookmark_are_no_difference(lake, singer):
    schema, rows = loaded_up_to_ten(lake, singer)
    rows[2] = singer.record({"id": 3, "name": "changed since", "at": 12})
    rows.append(singer.record({"id": 11, "name": "new", "at": 11}))

    one = only(verify(lake, [schema, *rows]))

    assert one.is_equal
    assert one.number_of("not_loaded") == 2
    assert one.bookmark == "at up to 10"
    assert "2 beyond the bookmark (at up to 10): not loaded yet" in as_text([one], show_values=False)


def test_up_to_the_bookmark_deletes_and_changes_are_differences(lake, singer):
    schema, rows = loaded_up_to_ten(lake, singer)
    rows[2] = singer.record({"id": 3, "name": "changed without its cursor", "at": 3})
    del rows[5]

    assert found(only(verify(lake, [schema, *rows]))) == [("different", 3, ["name"]), ("extra", 6, [])]


# --- values ---------------------------------------------------------------------------------------------

JSON = json_field("v")
PAIRS = [
    pytest.param(pa.field("v", pa.float64()), 0.0, -0.0, True, id="zeros"),
    pytest.param(pa.field("v", pa.float64()), math.nan, -math.nan, True, id="nan"),
    pytest.param(pa.field("v", pa.float64()), 0.1, 0.1 + 2**-56, False, id="last-bit-of-a-double"),
    pytest.param(pa.field("v", pa.int64()), 0, None, False, id="zero-and-null"),
    pytest.param(pa.field("v", pa.bool_()), False, None, False, id="false-and-null"),
    pytest.param(pa.field("v", pa.string()), "", None, False, id="empty-text-and-null"),
    pytest.param(pa.field("v", pa.string()), "a", "a ", False, id="trailing-space"),
    pytest.param(pa.field("v", pa.string()), "a", "a\0", False, id="trailing-nul"),
    pytest.param(pa.field("v", pa.string()), "é", "e\u0301", False, id="unicode-forms"),
    pytest.param(pa.field("v", pa.binary()), b"", None, False, id="empty-binary-and-null"),
    pytest.param(
        pa.field("v", pa.decimal128(38, 10)), Decimal("1.0000000001"), Decimal(1), False, id="last-digit"
    ),
    pytest.param(
        pa.field("v", pa.timestamp("us", "UTC")),
        dt.datetime(2024, 1, 1, microsecond=1, tzinfo=dt.UTC),
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        False,
        id="microsecond",
    ),
    pytest.param(JSON, '{"a": 1, "b": [1.0]}', '{"b":[1],"a":1.00}', True, id="json-forms"),
    pytest.param(JSON, '{"a": [1, 2]}', '{"a": [2, 1]}', False, id="json-order-of-a-list"),
    pytest.param(JSON, f'{{"a": {"9" * 40}1}}', f'{{"a": {"9" * 40}2}}', False, id="json-digits"),
    pytest.param(JSON, "null", None, False, id="json-null-and-null"),
    pytest.param(pa.field("v", pa.list_(pa.int64())), [], None, False, id="empty-list-and-null"),
    pytest.param(pa.field("v", pa.list_(pa.int64())), [], [None], False, id="empty-list-and-list-of-null"),
    pytest.param(pa.field("v", pa.list_(pa.int64())), [0], [0, 0], False, id="zeros-in-a-list"),
    pytest.param(pa.field("v", pa.list_(pa.float64())), [0.0, math.nan], [-0.0, math.nan], True, id="list"),
    pytest.param(
        pa.field("v", pa.map_(pa.string(), pa.int64())),
        [("a", 1), ("b", 2)],
        [("b", 2), ("a", 1)],
        True,
        id="map",
    ),
    pytest.param(
        pa.field("v", pa.struct([("a", pa.int64()), ("b", pa.list_(pa.int64()))])),
        {"a": None, "b": None},
        {"a": None, "b": []},
        False,
        id="struct",
    ),
]


@pytest.mark.parametrize(("field", "one", "other", "same"), PAIRS)
def test_values_have_the_same_number_when_they_are_equal(field, one, other, same):
    schema = pa.schema([pa.field("id", pa.int64()), field])
    left, right = (
        pa.RecordBatch.from_arrays([pa.array([1]), pa.array([value], field.type)], schema=schema)
        for value in (one, other)
    )
    with comparing() as engine:
        prints = Fingerprints(engine, list(schema), keys=["id"])
        numbers = [prints.of(batch).to_pylist()[0] for batch in (left, right)]

    is_unequal = unequal_rows(*(pa.Table.from_batches([batch]) for batch in (left, right)))[0].as_py()

    assert (numbers[0]["h"] == numbers[1]["h"]) is same
    assert is_unequal is not same
    assert numbers[0]["k"] == numbers[1]["k"]


def test_values_that_changed_places_are_noticed():
    schema = pa.schema([("id", pa.int64()), ("a", pa.int64()), ("b", pa.int64())])
    batch = pa.record_batch([[1, 1, 1], [0, 5, None], [5, 0, 5]], schema=schema)
    with comparing() as engine:
        numbers = Fingerprints(engine, list(schema), keys=["id"]).of(batch).column("h").to_pylist()

    assert len(set(numbers)) == 3


def test_the_filter_forgets_nothing():
    numbers = pa.chunked_array([pa.array([0, 1, 2**29, 2**63, 2**64 - 1], pa.uint64())])
    strangers = pa.chunked_array([pa.array([2, 2**40, 2**62], pa.uint64())])
    known = Filter()
    known.add(numbers)

    assert known.knows(numbers).to_pylist() == [True] * 5
    assert known.knows(strangers).to_pylist() == [False] * 3


def test_ranges_that_are_equal_are_looked_at_no_further():
    numbers = [(number << 52) + number for number in range(4096)]
    rows = pa.table({"k": pa.array(numbers, pa.uint64()), "h": pa.array(numbers, pa.uint64())})
    with comparing() as engine:
        comparison = Comparison(engine, 1, has_keys=True)
        comparison.add_table(rows)
        comparison.add_source(rows.slice(0, 4095), late=None, deleted=None)
        counts = comparison.run()

    assert (counts.ranges, counts.found) == (1, {"extra": 1})


# --- what is said ---------------------------------------------------------------------------------------


def test_values_are_shown_on_demand_only(lake, singer):
    lake.ok([singer.schema(), *singer.records([1, 2])])
    one = only(verify(lake, [singer.schema(), *singer.records([1], name="secret"), *singer.records([3])]))

    hidden, shown = (as_text([one], show_values=flag) for flag in (False, True))
    plain = json.dumps(as_json([one], show_values=False))

    assert "id=1: name" in hidden
    assert not {"secret1", "a1", "a3"} & set(hidden.replace('"', " ").split())
    assert "secret" not in plain
    assert 'name is "secret1" in the source, "a1" in the table' in shown
    assert json.loads(json.dumps(as_json([one], show_values=True)))["streams"][0]["examples"][0] == {
        "kind": "different",
        "key": {"id": 1},
        "columns": ["name"],
        "source": {"name": "secret1"},
        "table": {"name": "a1"},
    }


def test_the_limit_bounds_the_examples_and_not_the_counts(lake, singer):
    lake.ok([singer.schema(), *singer.records(range(100))])

    one = only(verify(lake, [singer.schema(), *singer.records(range(100), name="b")], limit=3))

    assert counted(one) == {"different": 100}
    assert [example.columns for example in one.examples] == [["name"]] * 3
    assert "and 97 more" in as_text([one], show_values=False)
