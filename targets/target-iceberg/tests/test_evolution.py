"""Columns that change while rows are on their way."""

from __future__ import annotations

from decimal import Decimal

import pytest

from icetap.errors import DataError

TEXT = {"type": ["null", "string"]}
SMALL = {"type": ["null", "integer"], "minimum": -100, "maximum": 100}
LONG = {"type": ["null", "integer"]}


def decimal(precision):
    return {
        "type": ["null", "number"],
        "x-sql-datatype": "decimal",
        "x-sql-datatype-properties": {"precision": precision, "scale": 2},
    }


@pytest.fixture(params=["key-less", "keyed-first", "keyed-merge", "aside"])
def lane(request, lake, singer):
    """Load messages of stream s through each way that rows can take; the table may have a row 0."""

    def load(*steps):
        keys = [] if request.param == "key-less" else ["id"]
        if request.param in {"keyed-merge", "aside"}:
            lake.ok(
                singer.schema(properties={"id": {"type": "integer"}}), singer.record({"id": 0}, version=1)
            )
        version = 2 if request.param == "aside" else (1 if request.param == "keyed-merge" else None)
        messages = []
        for properties, rows in steps:
            messages.append(singer.schema(properties={"id": {"type": "integer"}, **properties}, keys=keys))
            messages += [singer.record(row, version=version) for row in rows]
        if request.param == "aside":
            messages.append(singer.activate(2))
        outcome = lake.ok(messages)
        return outcome, [row for row in lake.rows() if row["id"] > 0]

    return load


def test_a_column_that_comes_in_the_middle_is_null_before(lane):
    _, rows = lane(({}, [{"id": 1}]), ({"v": TEXT}, [{"id": 2, "v": "x"}]))
    assert [row["v"] for row in rows] == [None, "x"]


def test_a_column_that_leaves_is_null_from_then_on(lane):
    _, rows = lane(
        ({"v": TEXT, "w": TEXT}, [{"id": 1, "v": "x", "w": "y"}]), ({"w": TEXT}, [{"id": 2, "w": "z"}])
    )
    assert [(row["v"], row["w"]) for row in rows] == [("x", "y"), (None, "z")]


def test_an_integer_grows_while_rows_are_staged(lane):
    _, rows = lane(({"v": SMALL}, [{"id": 1, "v": 7}]), ({"v": LONG}, [{"id": 2, "v": 2**40}]))
    assert [row["v"] for row in rows] == [7, 2**40]


def test_a_decimal_gains_digits_while_rows_are_staged(lane):
    _, rows = lane(
        ({"v": decimal(5)}, [{"id": 1, "v": 1.25}]), ({"v": decimal(30)}, [{"id": 2, "v": 12345678.25}])
    )
    assert [row["v"] for row in rows] == [Decimal("1.25"), Decimal("12345678.25")]


def test_another_type_goes_to_a_column_of_its_own(lane):
    outcome, rows = lane(({"v": LONG}, [{"id": 1, "v": 7}]), ({"v": TEXT}, [{"id": 2, "v": "x"}]))
    assert [(row["v"], row["v__string"]) for row in rows] == [(7, None), (None, "x")]
    assert "v__string" in " ".join(outcome.stream()["evolved"])


def test_a_string_column_takes_the_text_of_scalars(lane):
    _, rows = lane(({"v": TEXT}, [{"id": 1, "v": "x"}]), ({"v": LONG}, [{"id": 2, "v": 7}]))
    assert [row["v"] for row in rows] == ["x", "7"]


def test_a_nested_field_comes_in_the_middle(lane):
    def of(*names):
        item = {"type": ["null", "object"], "properties": dict.fromkeys(names, LONG)}
        return {"o": item, "l": {"type": ["null", "array"], "items": item}}

    _, rows = lane(
        (of("a"), [{"id": 1, "o": {"a": 1}, "l": [{"a": 1}, None]}, {"id": 2, "o": None, "l": None}]),
        (of("a", "b"), [{"id": 3, "o": {"a": 1, "b": 2}, "l": [{"b": 2}]}]),
    )
    assert [row["o"] for row in rows] == [{"a": 1, "b": None}, None, {"a": 1, "b": 2}]
    assert [row["l"] for row in rows] == [[{"a": 1, "b": None}, None], None, [{"a": None, "b": 2}]]


def test_fields_that_nobody_declared_become_columns(lane):
    _, rows = lane(({}, [{"id": 1}, {"id": 2, "v": 1.5}, {"id": 3, "w": True}]))
    assert [(row["v"], row["w"]) for row in rows] == [(None, None), (1.5, None), (None, True)]


def test_the_same_schema_again_changes_nothing(lane):
    _, rows = lane(({"v": TEXT}, [{"id": 1, "v": "x"}]), ({"v": TEXT}, [{"id": 2, "v": "y"}]))
    assert len(rows) == 2


def test_schema_data_and_bookmark_are_one_transaction(lake, singer):
    lake.ok(singer.schema(properties={"id": LONG | {"type": "integer"}}), singer.record({"id": 1}))
    before = lake.table().metadata
    lake.ok(singer.schema(), singer.records([2]), singer.state(s=2))
    after = lake.table().metadata
    assert len(after.metadata_log) == len(before.metadata_log) + 1
    assert len(after.snapshots) == len(before.snapshots) + 1
    assert after.current_snapshot().schema_id == after.current_schema_id


def test_a_run_that_failed_leaves_the_columns_as_they_were(lake, singer, monkeypatch):
    from target_iceberg.tables import loaded_table as module

    lake.ok(singer.schema(properties={"id": {"type": "integer"}}), singer.record({"id": 1}))

    def broken(table, change, *, stage):
        raise RuntimeError("killed")

    monkeypatch.setattr(module, "commit_change", broken)
    with pytest.raises(RuntimeError):
        lake.load(singer.schema(), singer.records([2]))
    assert [field.name for field in lake.table().schema().fields] == ["id"]


def test_new_columns_without_rows_are_added_too(lake, singer):
    lake.ok(singer.schema(properties={"id": {"type": "integer"}}), singer.record({"id": 1}))
    lake.ok(singer.schema())
    assert [field.name for field in lake.table().schema().fields] == ["id", "name"]
    assert lake.snapshots() == 1


def test_a_schema_without_rows_makes_an_empty_table(lake, singer):
    lake.ok(singer.schema())
    assert lake.rows() == []
    assert lake.table().schema().identifier_field_names() == {"id"}


@pytest.mark.parametrize("where", ["schema", "record"])
def test_freeze_stops_with_the_differences_and_keeps_what_came_before(lake, singer, where):
    lake.ok(singer.schema(), singer.records([1]))
    wide = singer.schema(properties={"id": {"type": "integer"}, "name": TEXT, "v": TEXT})
    last = (
        [wide, singer.record({"id": 3, "v": "x"})]
        if where == "schema"
        else [singer.record({"id": 3, "v": "x"})]
    )
    outcome = lake.load(
        singer.state(s=1),
        singer.schema(),
        singer.records([2]),
        singer.state(s=2),
        *last,
        schema_policy="freeze",
    )
    assert isinstance(outcome.error, DataError)
    assert "'v'" in str(outcome.error)
    assert "evolve" in str(outcome.error)
    assert outcome.last_state == singer.state(s=2)["value"]
    assert lake.ids() == [1, 2]


def test_the_key_of_a_table_does_not_change(lake, singer):
    lake.ok(singer.schema(), singer.records([1]))
    outcome = lake.load(
        singer.schema(keys=["name"], properties={"id": {"type": "integer"}, "name": {"type": "string"}}),
        singer.records([2]),
    )
    assert isinstance(outcome.error, DataError)
    assert "key_properties" in str(outcome.error)
    assert lake.ids() == [1]
