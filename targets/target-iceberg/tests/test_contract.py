"""Incoming columns against a table's: evolve finds every value a place, freeze lists what differs."""

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID

import pyarrow as pa
import pytest

from icetap.types import json_field
from target_iceberg.contracts.column_rules import ColumnRules
from target_iceberg.contracts.evolution import Evolution, conform, plan_evolution, with_overflow

INSTANT = pa.timestamp("us", tz="UTC")
LOCAL = pa.timestamp("us")


def text_field(name: str) -> pa.Field:
    return pa.field(name, pa.string(), metadata={"icetap.kind": "text"})


def schema(*fields) -> pa.Schema:
    return pa.schema([pa.field("id", pa.int64(), nullable=False), *fields])


def field(kind) -> pa.Field:
    return kind if isinstance(kind, pa.Field) else pa.field("v", kind)


def plan(table, incoming, **options) -> Evolution:
    return plan_evolution(schema(field(table)), schema(field(incoming)), **options)


def struct(**members) -> pa.DataType:
    return pa.struct(list(members.items()))


def loaded(evolution: Evolution, kind, values: list):
    """The values as they stand in the table, column by column, but for the key."""
    incoming = field(kind)
    batch = pa.RecordBatch.from_arrays(
        [pa.array(range(len(values)), pa.int64()), pa.array(values, incoming.type)], schema=schema(incoming)
    )
    evolution = with_overflow(evolution, batch)
    conformed = conform(batch, evolution)
    conformed.validate(full=True)
    assert conformed.schema == evolution.schema
    return {name: conformed.column(name).to_pylist() for name in conformed.schema.names[1:]}


def test_a_new_table_has_the_columns_of_the_stream_and_its_keys_are_required():
    incoming = schema(("v", pa.string()))

    evolution = plan_evolution(pa.schema([]), incoming)

    assert evolution.add == list(incoming)
    assert evolution.schema == incoming
    assert evolution.announcements == []


def test_equal_columns_change_nothing():
    evolution = plan(pa.int64(), pa.int64())

    assert not evolution.is_change
    assert (evolution.announcements, evolution.violations) == ([], [])
    assert evolution.mapping == {"id": "id", "v": "v"}


@pytest.mark.parametrize("kind", [pa.string(), pa.uuid(), struct(a=pa.int64()), json_field("v")])
def test_an_unknown_column_is_added_as_nullable(kind):
    evolution = plan_evolution(schema(), schema(field(kind).with_nullable(False)))

    assert evolution.add == [field(kind)]
    assert len(evolution.announcements) == 1


def test_a_column_that_left_the_stream_stays_and_is_null():
    evolution = plan_evolution(
        schema(("old", struct(a=pa.int64())), ("u", pa.uuid())), schema(("v", pa.bool_()))
    )

    assert not evolution.promote
    assert loaded(evolution, pa.bool_(), [True]) == {"old": [None], "u": [None], "v": [True]}


@pytest.mark.parametrize(
    ("table", "incoming", "wider"),
    [
        pytest.param(pa.int32(), pa.int64(), pa.int64(), id="int-to-long"),
        pytest.param(pa.float32(), pa.float64(), pa.float64(), id="float-to-double"),
        pytest.param(pa.decimal128(10, 2), pa.decimal128(20, 2), pa.decimal128(20, 2), id="decimal"),
        pytest.param(pa.decimal128(10, 4), pa.decimal128(12, 2), pa.decimal128(14, 4), id="decimal-keeps-scale"),
        pytest.param(struct(a=pa.int32()), struct(a=pa.int64(), b=pa.string()),
                     struct(a=pa.int64(), b=pa.string()), id="struct"),
        pytest.param(pa.list_(pa.field("element", pa.int32())), pa.list_(pa.field("element", pa.int64())),
                     pa.list_(pa.field("element", pa.int64())), id="list"),
        pytest.param(pa.map_(pa.string(), struct(a=pa.int64())), pa.map_(pa.string(), struct(b=pa.int64())),
                     pa.map_(pa.string(), struct(a=pa.int64(), b=pa.int64())), id="map"),
    ],
)  # fmt: skip
def test_a_wider_type_that_iceberg_allows_is_promoted(table, incoming, wider):
    evolution = plan(table, incoming)

    assert evolution.promote == {"v": wider}
    assert evolution.widened == [pa.field("v", wider)]
    assert evolution.add == []
    assert len(evolution.announcements) == 1


@pytest.mark.parametrize(
    ("table", "incoming", "values"),
    [
        pytest.param(pa.int64(), pa.int32(), [1, None], id="int-into-long"),
        pytest.param(pa.float64(), pa.float32(), [1.5], id="float-into-double"),
        pytest.param(pa.decimal128(20, 4), pa.decimal128(10, 2), [Decimal("1.10")], id="decimal"),
        pytest.param(
            struct(a=pa.int64(), b=pa.string()), struct(b=pa.string()), [{"b": "x"}, None], id="struct"
        ),
    ],
)
def test_a_narrower_type_goes_in_as_it_is(table, incoming, values):
    for policy in ("evolve", "freeze"):
        evolution = plan(table, incoming, rules=ColumnRules(policy))

        assert not evolution.is_change
        assert (evolution.announcements, evolution.violations) == ([], [])
    expected = [{"a": None, **one} if isinstance(one, dict) else one for one in values]
    assert loaded(evolution, incoming, values) == {"v": expected}


@pytest.mark.parametrize(
    ("table", "incoming", "name", "kind"),
    [
        pytest.param(pa.int64(), pa.float64(), "v__double", pa.float64(), id="double"),
        pytest.param(pa.bool_(), pa.int64(), "v__long", pa.int64(), id="long"),
        pytest.param(pa.int64(), pa.string(), "v__string", pa.string(), id="string"),
        pytest.param(pa.date32(), INSTANT, "v__timestamptz", INSTANT, id="timestamptz"),
        pytest.param(INSTANT, LOCAL, "v__timestamp", LOCAL, id="timestamp"),
        pytest.param(
            pa.float64(), pa.decimal128(10, 2), "v__decimal", pa.decimal128(38, 2), id="decimal-38-digits"
        ),
        pytest.param(
            pa.decimal128(10, 2), pa.decimal128(10, 4), "v__decimal", pa.decimal128(38, 4), id="wider-scale"
        ),
        pytest.param(
            pa.decimal128(10, 4),
            pa.decimal128(38, 2),
            "v__decimal",
            pa.decimal128(38, 2),
            id="digits-before-point",
        ),
        pytest.param(pa.string(), struct(a=pa.int64()), "v__struct", struct(a=pa.int64()), id="struct"),
        pytest.param(
            struct(a=pa.int64()), struct(a=pa.string()), "v__struct", struct(a=pa.string()), id="other-struct"
        ),
        pytest.param(pa.uuid(), pa.string(), "v__string", pa.string(), id="uuid-column"),
        pytest.param(pa.string(), json_field("v"), "v__string", pa.string(), id="json-into-plain-text"),
    ],
)
def test_any_other_type_gets_a_variant_column_and_keeps_it(table, incoming, name, kind):
    first = plan(table, incoming)

    assert first.mapping["v"] == name
    assert [(one.name, one.type) for one in first.add] == [(name, kind)]
    assert first.promote == {}
    assert name in first.announcements[0]

    for names in (first.names, None):  # also when the table's properties were lost
        again = plan_evolution(first.schema, schema(field(incoming)), names=names)
        assert not again.is_change
        assert again.mapping["v"] == name

    back = plan_evolution(first.schema, schema(field(table)), names=first.names)
    assert back.mapping["v"] == "v"
    assert not back.is_change


def test_a_second_variant_of_a_type_that_cannot_widen_is_numbered():
    first = plan(pa.float64(), pa.decimal128(20, 4))
    second = plan_evolution(first.schema, schema(("v", pa.decimal128(38, 10))), names=first.names)

    assert second.mapping["v"] == "v__decimal_2"
    assert second.schema.field("v__decimal_2").type == pa.decimal128(38, 10)
    for kind, name in ((pa.decimal128(20, 4), "v__decimal"), (pa.decimal128(20, 9), "v__decimal_2")):
        again = plan_evolution(second.schema, schema(("v", kind)), names=second.names)
        assert (again.mapping["v"], again.is_change) == (name, False)


def test_a_variant_never_takes_the_name_of_another_column():
    incoming = schema(("v", pa.int64()), ("v__long", pa.bool_()))

    evolution = plan_evolution(schema(("v", pa.bool_())), incoming)
    later = plan_evolution(evolution.schema, incoming, names=evolution.names)

    assert evolution.mapping == {"id": "id", "v": "v__long_2", "v__long": "v__long"}
    assert later.mapping == evolution.mapping
    assert not later.is_change


def test_a_column_named_like_a_variant_gets_a_name_of_its_own():
    first = plan(pa.bool_(), pa.int64())

    later = plan_evolution(
        first.schema, schema(("v", pa.int64()), ("v__long", pa.int64())), names=first.names
    )

    assert later.mapping == {"id": "id", "v": "v__long", "v__long": "v__long_2"}


@pytest.mark.parametrize(
    ("kind", "values", "texts"),
    [
        pytest.param(pa.int64(), [2**63 - 1, None], [str(2**63 - 1), None], id="long"),
        pytest.param(pa.bool_(), [True, False], ["true", "false"], id="boolean"),
        pytest.param(pa.float64(), [0.1, 1e300], ["0.1", "1e+300"], id="double"),
        pytest.param(pa.decimal128(38, 38), [Decimal("1e-38")], ["0." + "0" * 37 + "1"], id="decimal"),
        pytest.param(
            INSTANT, [datetime(1, 1, 1, tzinfo=UTC)], ["0001-01-01T00:00:00.000000Z"], id="timestamptz"
        ),
        pytest.param(
            LOCAL,
            [datetime.fromisoformat("2024-01-01T00:00:00")],
            ["2024-01-01T00:00:00.000000"],
            id="timestamp",
        ),
        pytest.param(pa.date32(), [date(2024, 2, 29)], ["2024-02-29"], id="date"),
        pytest.param(pa.time64("us"), [time(1, 2, 3)], ["01:02:03.000000"], id="time"),
        pytest.param(pa.uuid(), [UUID(int=1).bytes, None], [str(UUID(int=1)), None], id="uuid"),
        pytest.param(pa.binary(), [b"\x00\xff"], ["AP8="], id="binary"),
        pytest.param(text_field("v"), ["5"], ["5"], id="text-of-any-scalar"),
    ],
)
def test_a_string_column_takes_the_text_of_any_scalar(kind, values, texts):
    evolution = plan(pa.string(), kind)

    assert not evolution.is_change
    assert loaded(evolution, kind, values) == {"v": texts}
    assert len(evolution.announcements) == (0 if isinstance(kind, pa.Field) else 1)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        pytest.param(pa.string(), 'a"b', '"a\\"b"', id="string"),
        pytest.param(pa.int64(), 5, "5", id="long"),
        pytest.param(pa.bool_(), True, "true", id="boolean"),
        pytest.param(pa.decimal128(10, 2), Decimal("1.10"), "1.10", id="decimal"),
        pytest.param(pa.date32(), date(2024, 1, 1), '"2024-01-01"', id="date"),
        pytest.param(json_field("v"), "[1.0]", "[1.0]", id="json"),
    ],
)
def test_a_column_of_json_text_takes_the_json_of_any_scalar(kind, value, text):
    evolution = plan(json_field("v"), kind)

    assert loaded(evolution, kind, [value, None]) == {"v": [text, None]}
    json.loads(text)


def test_a_long_goes_into_a_double_column_while_it_is_exact():
    evolution = plan(pa.float64(), pa.int64())

    assert loaded(evolution, pa.int64(), [1, 2**53, -(2**53), 2**60, None]) == {
        "v": [1.0, 2.0**53, -(2.0**53), 2.0**60, None]
    }
    assert loaded(evolution, pa.int64(), [1, 2**53 + 1, 2**63 - 1, -(2**63), None]) == {
        "v": [1.0, None, None, -(2.0**63), None],
        "v__long": [None, 2**53 + 1, 2**63 - 1, None, None],
    }


def test_the_column_for_inexact_longs_is_announced_once_and_found_again():
    batch = pa.RecordBatch.from_arrays(
        [pa.array([1], pa.int64()), pa.array([2**53 + 1], pa.int64())], schema=schema(("v", pa.int64()))
    )
    first = with_overflow(plan(pa.float64(), pa.int64()), batch)
    later = with_overflow(plan_evolution(first.schema, batch.schema, names=first.names), batch)

    assert [one.name for one in first.add] == ["v__long"]
    assert with_overflow(first, batch) is first
    assert (later.overflow, later.add) == ({"v": "v__long"}, [])
    assert later.mapping["v"] == "v"


def test_freeze_lists_every_difference_and_changes_nothing():
    table = schema(
        ("a", pa.int32()),
        ("b", pa.string()),
        ("c", pa.bool_()),
        ("d", pa.float64()),
        ("e", struct(x=pa.int64())),
    )
    incoming = schema(
        ("a", pa.int64()), ("b", pa.int64()), ("c", pa.int64()), ("d", pa.int64()), ("e", struct(y=pa.int64())), ("f", pa.date32())
    )  # fmt: skip

    evolution = plan_evolution(table, incoming, rules=ColumnRules("freeze"))

    assert len(evolution.violations) == 6
    assert [violation.split("'")[1] for violation in evolution.violations] == ["a", "b", "c", "d", "e", "f"]
    assert evolution.announcements == []


def test_freeze_takes_variants_that_are_there_already_and_creates_new_tables():
    first = plan(pa.bool_(), pa.int64())

    assert (
        plan_evolution(
            first.schema, schema(("v", pa.int64())), rules=ColumnRules("freeze"), names=first.names
        ).violations
        == []
    )
    assert (
        plan_evolution(pa.schema([]), schema(("v", pa.int64())), rules=ColumnRules("freeze")).violations == []
    )


def test_freeze_stops_at_integers_that_a_double_column_cannot_hold():
    frozen = plan(pa.float64(), pa.float64(), rules=ColumnRules("freeze"))
    assert frozen.violations == []
    taken = plan(pa.float64(), pa.int64())
    batch = pa.RecordBatch.from_arrays(
        [pa.array([1], pa.int64()), pa.array([2**53 + 1], pa.int64())], schema=schema(("v", pa.int64()))
    )

    assert len(with_overflow(taken, batch, rules=ColumnRules("freeze")).violations) == 1


@pytest.mark.parametrize("policy", ["evolve", "freeze"])
def test_a_key_never_moves_to_another_column(policy):
    incoming = pa.schema([pa.field("id", pa.string(), nullable=False)])

    evolution = plan_evolution(schema(), incoming, rules=ColumnRules(policy))

    assert len(evolution.violations) == 1
    assert "key 'id'" in evolution.violations[0]


def test_a_key_may_be_promoted():
    table = pa.schema([pa.field("id", pa.int32(), nullable=False)])

    evolution = plan_evolution(table, schema())

    assert evolution.promote == {"id": pa.int64()}
    assert evolution.widened == [pa.field("id", pa.int64(), nullable=False)]


# --- names ------------------------------------------------------------------------------------------------


def columns(*names) -> pa.Schema:
    return pa.schema([(name, pa.int64()) for name in names])


def test_names_that_differ_only_in_case_are_numbered_in_order_and_remembered():
    first = plan_evolution(pa.schema([]), columns("Id", "id", "ID"))
    later = plan_evolution(first.schema, columns("ID", "id"), names=json.loads(json.dumps(first.names)))

    assert first.mapping == {"Id": "Id", "id": "id_2", "ID": "ID_3"}
    assert later.mapping == {"ID": "ID_3", "id": "id_2"}
    assert not later.is_change


def test_a_name_meets_the_tables_column_of_another_case():
    evolution = plan_evolution(columns("ID"), columns("id"))

    assert (evolution.mapping, evolution.is_change) == ({"id": "ID"}, False)


def test_the_exact_name_keeps_its_column_whatever_the_order():
    evolution = plan_evolution(columns("id"), columns("ID", "id"))

    assert evolution.mapping == {"ID": "ID_2", "id": "id"}


def test_keep_keeps_every_character():
    names = ("a.b", "with space", "Ünï", "日本", "1st", "select")

    assert plan_evolution(pa.schema([]), columns(*names)).schema.names == list(names)


def test_snake_makes_plain_names_that_stay_apart():
    evolution = plan_evolution(
        pa.schema([]), columns("orderId", "order-id", "Preço"), identifier_case="snake"
    )

    assert evolution.mapping == {"orderId": "order_id", "order-id": "order_id_2", "Preço": "preco"}


def test_conform_works_on_slices_of_nested_columns():
    old = struct(a=pa.list_(pa.field("element", pa.int32())), m=pa.map_(pa.string(), pa.int32()))
    new = struct(a=pa.list_(pa.field("element", pa.int64())), m=pa.map_(pa.string(), pa.int64()))
    values = [{"a": [i, None], "m": [("k", i)]} if i % 3 else None for i in range(10)]
    batch = pa.RecordBatch.from_arrays(
        [pa.array(range(10), pa.int64()), pa.array(values, old)], schema=schema(("v", old))
    )

    conformed = conform(batch[4:9], plan(new, old))

    conformed.validate(full=True)
    assert conformed.column("v").to_pylist() == values[4:9]
    assert conform(batch[:0], plan(new, old)).num_rows == 0


def test_a_batch_may_lack_columns_and_never_loses_one():
    evolution = plan_evolution(pa.schema([]), columns("a", "b"))

    assert conform(pa.record_batch({"a": [1]}), evolution).to_pylist() == [{"a": 1, "b": None}]
    assert with_overflow(evolution, pa.record_batch({"a": [1]})) is evolution
    with pytest.raises(ValueError, match=r"\['c'\]"):
        conform(pa.record_batch({"a": [1], "c": [2]}), evolution)


def test_a_column_without_a_name_gets_one_that_stays():
    first = plan_evolution(pa.schema([]), pa.schema([pa.field("", pa.int64())]))
    again = plan_evolution(first.schema, pa.schema([pa.field("", pa.int64())]), names=first.names)

    assert first.mapping[""].startswith("column_")
    assert (again.mapping, again.is_change) == (first.mapping, False)
