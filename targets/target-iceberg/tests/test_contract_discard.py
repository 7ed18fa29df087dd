"""`schema_policy: discard`, and the contract of single columns."""

from __future__ import annotations

from decimal import Decimal

import pytest

from icetap.errors import ConfigurationError, DataError
from target_iceberg.reporting import report

ID = {"id": {"type": "integer"}}
TEXT = {"type": ["null", "string"]}
LONG = {"type": ["null", "integer"]}
SMALL = {"type": ["null", "integer"], "minimum": -100, "maximum": 100}
DOUBLE = {"type": ["null", "number"]}
CENTS = {
    "type": ["null", "number"],
    "x-sql-datatype": "decimal",
    "x-sql-datatype-properties": {"precision": 5, "scale": 2},
}
MONEY = {**CENTS, "x-sql-datatype-properties": {"precision": 20, "scale": 6}}


def columns_of(lake, stream="s"):
    return [field.name for field in lake.table(stream).schema().fields]


def load(lake, singer, properties, *rows, keys=("id",), **config):
    schema = singer.schema(properties={**ID, **properties}, keys=list(keys))
    return lake.load(schema, *(singer.record(row) for row in rows), **config)


def test_a_new_table_takes_the_columns_of_the_schema(lake, singer):
    load(lake, singer, {"v": LONG}, {"id": 1, "v": 7}, schema_policy="discard")
    assert columns_of(lake) == ["id", "v"]


@pytest.mark.parametrize("where", ["schema", "record"])
def test_an_unknown_column_is_left_out_and_counted(lake, singer, where):
    load(lake, singer, {"v": LONG}, {"id": 1, "v": 7})
    more = {"more": TEXT} if where == "schema" else {}
    rows = [{"id": 2, "v": 8, "more": "x"}, {"id": 3, "v": 9, "more": None}, {"id": 4, "v": 10}]
    outcome = load(lake, singer, {"v": LONG, **more}, *rows, schema_policy="discard")
    assert outcome.error is None
    assert columns_of(lake) == ["id", "v"]
    assert lake.ids() == [1, 2, 3, 4]
    assert outcome.stream()["discarded_values"] == {"more": 1}
    assert outcome.stream()["nulled_values"] == {}
    assert any("'more'" in text for text in outcome.stream()["evolved"])


def test_a_column_left_out_is_added_once_the_policy_evolves_again(lake, singer):
    load(lake, singer, {"v": LONG}, {"id": 1, "v": 7})
    load(lake, singer, {"v": LONG, "more": TEXT}, {"id": 2, "more": "x"}, schema_policy="discard")
    load(lake, singer, {"v": LONG, "more": TEXT}, {"id": 3, "more": "y"})
    assert [row["more"] for row in lake.rows()] == [None, None, "y"]


@pytest.mark.parametrize(
    ("stored", "sent", "values", "expected"),
    [
        pytest.param(SMALL, LONG, [7, 2**40], [7, None], id="int-long"),
        pytest.param(LONG, DOUBLE, [7, 7.5, 2**53], [7, None, 2**53], id="long-double"),
        pytest.param(DOUBLE, LONG, [7, 2**53 + 1], [7.0, None], id="double-long"),
        pytest.param(CENTS, MONEY, [1.25, 1.255, 12345.5], [Decimal("1.25"), None, None], id="decimal-wider"),
        pytest.param(DOUBLE, MONEY, [1.25], [1.25], id="double-decimal"),
        pytest.param(CENTS, DOUBLE, [0.1, 0.001, 1000.0], [Decimal("0.10"), None, None], id="decimal-double"),
        pytest.param(LONG, TEXT, ["7", "x"], [None, None], id="long-string"),
        pytest.param(TEXT, LONG, [7], ["7"], id="string-takes-scalars"),
        pytest.param(LONG, {"type": ["null", "boolean"]}, [True], [None], id="long-boolean"),
        pytest.param(
            {"type": ["null", "object"], "properties": {"a": SMALL, "b": LONG}},
            {"type": ["null", "object"], "properties": {"a": LONG, "c": TEXT}},
            [{"a": 1, "c": "x"}, {"a": 2**40, "c": None}, None],
            [{"a": 1, "b": None}, {"a": None, "b": None}, None],
            id="object",
        ),
        pytest.param(
            {"type": ["null", "array"], "items": SMALL},
            {"type": ["null", "array"], "items": LONG},
            [[1, 2**40], None, []],
            [[1, None], None, []],
            id="array",
        ),
    ],
)
def test_values_of_another_type_stay_when_they_fit_exactly_and_are_null_else(
    lake, singer, stored, sent, values, expected
):
    load(lake, singer, {"v": stored}, {"id": 0})
    before = lake.table().schema()
    rows = [{"id": 1 + number, "v": value} for number, value in enumerate(values)]
    outcome = load(lake, singer, {"v": sent}, *rows, schema_policy="discard")
    assert outcome.error is None
    assert [row["v"] for row in lake.rows()][1:] == expected
    assert lake.table().schema() == before
    assert outcome.stream()["rows_rejected"] == 0


def test_what_is_left_out_inside_objects_is_counted_by_path(lake, singer):
    load(lake, singer, {"o": {"type": "object", "properties": {"a": SMALL}}}, {"id": 1, "o": {"a": 1}})
    wide = {"o": {"type": "object", "properties": {"a": LONG, "b": TEXT}}}
    outcome = load(
        lake,
        singer,
        wide,
        {"id": 2, "o": {"a": 2**40, "b": "x"}},
        {"id": 3, "o": {"b": "y"}},
        schema_policy="discard",
    )
    assert outcome.stream()["discarded_values"] == {"o.b": 2}
    assert outcome.stream()["nulled_values"] == {"o.a": 1}


@pytest.mark.parametrize("many", [1, 3000], ids=["one-row", "after-a-fast-block"])
def test_an_incompatible_value_is_null_and_counted_and_its_row_stays(lake, singer, many):
    properties = {"v": LONG, "o": {"type": ["null", "object"], "properties": {"a": LONG}}}
    rows = [{"id": number, "v": number, "o": {"a": 1}} for number in range(many)]
    bad = {"id": many, "v": "five", "o": {"a": "x"}}
    outcome = load(lake, singer, properties, *rows, bad, schema_policy="discard")
    assert outcome.error is None
    stream = outcome.stream()
    assert (stream["rows_inserted"], stream["rows_rejected"]) == (many + 1, 0)
    assert stream["nulled_values"] == {"v": 1, "o": 1}
    last = lake.rows()[-1]
    assert (last["v"], last["o"]) == (None, None)
    assert ("raw", "s__rejected") not in lake.catalog.list_tables("raw")


def test_a_row_without_its_key_is_refused_all_the_same(lake, singer):
    outcome = load(
        lake, singer, {"v": LONG}, {"id": None, "v": 1}, {"v": 2}, {"id": 3}, schema_policy="discard"
    )
    assert outcome.stream()["rows_rejected"] == 2
    assert lake.table("s__rejected").scan().to_arrow().num_rows == 2
    assert lake.ids() == [3]


def test_the_report_for_people_tells_what_was_left_out(lake, singer):
    load(lake, singer, {"v": LONG}, {"id": 1, "v": 7})
    properties = {"v": LONG, "w": TEXT}
    outcome = load(lake, singer, properties, {"id": 2, "v": "x", "w": "y"}, schema_policy="discard")
    told = report.for_people(outcome.report)
    assert "column 'w': 1 values left out" in told
    assert "column 'v': 1 values did not fit and are null" in told


@pytest.mark.parametrize("lane", ["key-less", "keyed", "merge-on-read", "aside", "snapshot-diff", "history"])
def test_every_way_of_loading_discards_alike(lake, singer, lane):
    keys = [] if lane == "key-less" else ["id"]
    is_full = lane in {"aside", "snapshot-diff"}
    methods = {"snapshot-diff": {"load_method": lane}, "history": {"load_method": lane}}
    config = methods.get(lane, {"merge_mode": lane} if lane == "merge-on-read" else {})

    def read(version, properties, *rows, **more):
        version = version if is_full else None
        messages = [singer.schema(properties={**ID, **properties}, keys=keys)]
        messages += [singer.record(row, version=version) for row in rows]
        return lake.ok(messages, [singer.activate(version)] if is_full else [], **config, **more)

    first = [{"id": number, "v": number} for number in range(1, 4)]
    read(1, {"v": SMALL}, *first)
    wide = [{"id": 1, "v": 1, "w": "x"}, {"id": 2, "v": 2**40}, {"id": 4, "v": "text", "w": None}]
    outcome = read(2, {"v": LONG, "w": TEXT}, *wide, schema_policy="discard")
    stream = outcome.stream()
    assert (stream["discarded_values"], stream["nulled_values"]) == ({"w": 1}, {"v": 2})
    rows = [row for row in lake.rows() if row.get("_is_current", True)]
    expected = {"key-less": [(1, 1), (1, 1), (2, 2), (2, None), (3, 3), (4, None)]}
    kept = [(1, 1), (2, None), (4, None)] if is_full else [(1, 1), (2, None), (3, 3), (4, None)]
    assert sorted(((row["id"], row["v"]) for row in rows), key=str) == sorted(
        expected.get(lane, kept), key=str
    )
    assert "w" not in columns_of(lake)


# --- single columns -------------------------------------------------------------------------------------


def test_a_column_is_left_out_of_a_new_table_on_purpose(lake, singer):
    streams = {"s": {"columns": {"debug_*": {"schema_policy": "discard"}}}}
    properties = {"v": LONG, "debug_a": TEXT, "debug_b": LONG}
    row = {"id": 1, "v": 1, "debug_a": "x", "debug_b": "not a number"}
    outcome = load(lake, singer, properties, row, {"id": 2, "undeclared": 1}, streams=streams)
    assert outcome.error is None
    assert columns_of(lake) == ["id", "v", "undeclared"]
    assert outcome.stream()["discarded_values"] == {"debug_a": 1, "debug_b": 1}
    assert lake.ids() == [1, 2]


def test_a_frozen_column_in_a_table_that_evolves(lake, singer):
    streams = {"s": {"columns": {"amount": {"schema_policy": "freeze"}}}}
    load(lake, singer, {"amount": SMALL, "v": SMALL}, {"id": 1, "amount": 1, "v": 1}, streams=streams)
    assert (
        load(lake, singer, {"amount": SMALL, "v": LONG}, {"id": 2, "v": 2**40}, streams=streams).error is None
    )
    outcome = load(lake, singer, {"amount": LONG, "v": LONG}, {"id": 3}, streams=streams)
    assert isinstance(outcome.error, DataError)
    assert "'amount'" in str(outcome.error)
    assert "'v'" not in str(outcome.error)
    bad = load(lake, singer, {"amount": SMALL, "v": LONG}, {"id": 3, "amount": "x"}, streams=streams)
    assert isinstance(bad.error, DataError), "a frozen column stops at a value that does not fit"
    assert "amount" in str(bad.error)


def test_an_exact_name_beats_a_pattern_and_a_later_pattern_an_earlier(lake, singer):
    streams = {
        "*": {"columns": {"a*": {"schema_policy": "discard"}, "z": {"schema_policy": "discard"}}},
        "s": {"columns": {"ab*": {"schema_policy": "evolve"}, "abd": {"schema_policy": "discard"}}},
    }
    load(lake, singer, dict.fromkeys(["a", "ab", "abd", "z", "y"], TEXT), {"id": 1}, streams=streams)
    assert columns_of(lake) == ["id", "ab", "y"]


def test_keys_are_never_left_out(lake, singer):
    streams = {"s": {"columns": {"*": {"schema_policy": "discard"}}}}
    outcome = load(lake, singer, {"v": TEXT}, {"id": 1, "v": "x"}, streams=streams)
    assert outcome.error is None
    assert columns_of(lake) == ["id"]
    with pytest.raises(ConfigurationError, match="every column"):
        raise load(
            lake,
            singer,
            {"v": TEXT},
            {"id": 1},
            keys=(),
            streams={"*": streams["s"], "s": {"table_name": "t"}},
        ).error


@pytest.mark.parametrize(
    ("on_rejected", "ids", "kept"),
    [("quarantine", [1, 4], 1), ("skip", [1, 4], 0), ("fail", [], 0)],
)
def test_on_rejected_of_a_column_beats_that_of_its_stream(lake, singer, on_rejected, ids, kept):
    """The column `w` may be null; a row that both columns refuse goes the stricter way."""
    streams = {"s": {"columns": {"w": {"schema_policy": "discard"}, "v": {"on_rejected": on_rejected}}}}
    rows = [{"id": 1, "v": 1, "w": "x"}, {"id": 2, "v": "x"}, {"id": 4}]
    outcome = load(lake, singer, {"v": LONG, "w": LONG}, *rows, streams=streams)
    assert (outcome.error is not None) == (on_rejected == "fail")
    assert lake.ids() == ids
    found = [name for _, name in lake.catalog.list_tables("raw") if name == "s__rejected"]
    assert len(found) == kept


def test_a_row_that_two_columns_refuse_goes_the_stricter_way(lake, singer):
    streams = {"s": {"columns": {"v": {"on_rejected": "skip"}, "w": {"on_rejected": "fail"}}}}
    outcome = load(lake, singer, {"v": LONG, "w": LONG}, {"id": 1, "v": "x", "w": "x"}, streams=streams)
    assert isinstance(outcome.error, DataError)
    assert "'w'" in str(outcome.error)


def test_freeze_stops_at_an_incompatible_value_unless_told_otherwise(lake, singer):
    load(lake, singer, {"v": LONG}, {"id": 1, "v": 1})
    stopped = load(lake, singer, {"v": LONG}, {"id": 2, "v": "x"}, schema_policy="freeze")
    assert isinstance(stopped.error, DataError)
    kept = load(
        lake, singer, {"v": LONG}, {"id": 2, "v": "x"}, schema_policy="freeze", on_rejected="quarantine"
    )
    assert kept.error is None
    assert kept.stream()["rows_rejected"] == 1


@pytest.mark.parametrize(
    ("streams", "said"),
    [
        ({"s": {"columns": {"a": {"schema_polcy": "discard"}}}}, "did you mean 'schema_policy'"),
        ({"s": {"columns": {"a": {"schema_policy": "discrd"}}}}, "did you mean 'discard'"),
        ({"s": {"columns": {"a": "discard"}}}, "streams.s.columns.a"),
        ({"s": {"columns": ["a"]}}, "streams.s.columns"),
        ({"s": {"schema_policy": "freze"}}, "did you mean 'freeze'"),
        ({"s": {"colums": {}}}, "did you mean 'columns'"),
    ],
)
def test_an_unknown_option_of_a_column_is_refused(lake, singer, streams, said):
    outcome = load(lake, singer, {}, {"id": 1}, streams=streams)
    assert isinstance(outcome.error, ConfigurationError)
    assert said in str(outcome.error)


# --- max_rejected ---------------------------------------------------------------------------------------


def test_a_run_stops_where_more_rows_are_refused_than_allowed(lake, singer):
    def block(first, *, bad):
        rows = [singer.record({"id": first + n, "v": "x" if n < bad else n}) for n in range(10)]
        return [*rows, singer.state(s=first + 9)]

    schema = singer.schema(properties={**ID, "v": LONG}, cursor="id")
    first = [singer.state(s=0), schema, *block(0, bad=1)]
    outcome = lake.load(*first, *block(10, bad=2), *block(20, bad=0), max_rejected=2)
    assert isinstance(outcome.error, DataError)
    assert outcome.error.exit_code == 3
    assert "max_rejected" in str(outcome.error)
    assert "raw.s__rejected" in str(outcome.error)
    assert lake.ids() == [n for n in range(20) if n not in {0, 10, 11}]
    assert outcome.last_state == singer.state(s=9)["value"], "the second block's STATE had not come"
    assert lake.table("s__rejected").scan().to_arrow().num_rows == 3
    # Without the limit the next run goes on from there.
    lake.ok(singer.state(s=9), schema, *block(10, bad=0), *block(20, bad=0))
    assert lake.ids() == list(range(1, 30))
