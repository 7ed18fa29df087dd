"""Small parts of the REST engine without a network: templates, paths, times, schemas."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from icetap.errors import ConfigurationError
from icetap.rest import JSONPath, dates
from icetap.rest.inference import Fitness, infer, pruned, widened
from icetap.rest.jsonpath import lists_of_objects
from icetap.rest.templates import Template, misspelt_roots, render, render_path

SCOPE = {
    "config": {"n": 5, "site": "acme", "list": ["a", "b"], "null": None, "odd": "a/b?c"},
    "cursor": {"start": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)},
    "parent": {"id": "x y"},
}
NULL = ["null"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("{config.n}", 5, id="a lone placeholder keeps its type"),
        pytest.param("v{config.n}", "v5", id="in a longer text it is text"),
        pytest.param("{config.list}", ["a", "b"], id="a list"),
        pytest.param("{config.list[1]}", "b", id="an element"),
        pytest.param("{config['site']}", "acme", id="a quoted name"),
        pytest.param("{config.missing}", None, id="nothing"),
        pytest.param("x{config.null}", None, id="nothing in a longer text"),
        pytest.param("{config.missing|default:all}", "all", id="a default"),
        pytest.param("{config.list|join:;}", "a;b", id="join"),
        pytest.param("{config.site|upper}", "ACME", id="upper"),
        pytest.param("{config.site|base64}", "YWNtZQ==", id="base64"),
        pytest.param("{config.odd|urlencode}", "a%2Fb%3Fc", id="urlencode"),
        pytest.param("{cursor.start|date:%Y-%m-%d}", "2026-01-02", id="a date"),
        pytest.param("{cursor.start|date:timestamp}", 1767323045, id="a Unix time"),
        pytest.param("{cursor.start}", "2026-01-02T03:04:05.000000Z", id="a time"),
        pytest.param("query { user(id: 1) { id } }", "query { user(id: 1) { id } }", id="GraphQL is text"),
        pytest.param(
            "{client_id} {0.__class__} {a}", "{client_id} {0.__class__} {a}", id="other braces are text"
        ),
        pytest.param("{{config.n}}", "{config.n}", id="a literal placeholder"),
        pytest.param("{config.n.__class__}", None, id="no attributes"),
    ],
)
def test_templates_are_look_ups(text, value):
    assert Template(text).render(SCOPE) == value


def test_a_leaf_without_a_value_is_left_out_and_a_written_null_stays():
    given = {"a": "{config.missing}", "b": None, "c": {"d": "{config.null}"}, "e": ["{config.missing}", 1]}

    assert render(given, SCOPE) == {"b": None, "c": {}, "e": [1]}


def test_values_in_a_path_are_encoded_and_all_needed():
    assert render_path("/c/{id}/{config.odd}", SCOPE, SCOPE["parent"], where="x") == "/c/x%20y/a%2Fb%3Fc"
    with pytest.raises(ConfigurationError, match=r"needs a value for '\{other\}'; there are: id"):
        render_path("/c/{other}", SCOPE, SCOPE["parent"], where="x")


def test_a_misspelt_root_is_advised_of():
    assert misspelt_roots("{confg.x} {user.id}") == [
        "'{confg.x}' has the root 'confg'; did you mean 'config'?"
    ]


def test_hostile_templates_take_linear_time():
    Template("{" * 60_000)
    Template("{config" + ".a" * 30_000)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", [{"a": {"b": [{"c": 1}, {"c": 2}]}, "@x.y": 3, "e": []}]),
        ("$.a.b[*].c", [1, 2]),
        ("$.a.b[-1].c", [2]),
        ("$['@x.y']", [3]),
        ("$.a.*[0].c", [1]),
        ("$.nothing.b", []),
    ],
)
def test_paths_lead_to_values(path, found):
    document = {"a": {"b": [{"c": 1}, {"c": 2}]}, "@x.y": 3, "e": []}

    assert list(JSONPath(path).values(document)) == found


def test_a_list_and_its_elements_are_the_same_records():
    document = {"data": [{"id": 1}, {"id": 2}]}

    assert JSONPath("$.data").records(document) == JSONPath("$.data[*]").records(document) == document["data"]
    assert JSONPath("$.data[*]").leads_somewhere({"data": []})
    assert not JSONPath("$.data[*]").leads_somewhere({"other": []})
    assert list(lists_of_objects({"meta": {"n": 1}, "odd name": [{"id": 1}]})) == ["$['odd name'][*]"]


@pytest.mark.parametrize(
    ("value", "formats", "instant"),
    [
        ("2026-01-02T04:04:05+01:00", ["iso8601"], "2026-01-02T03:04:05.000000Z"),
        ("2026-01-02T03:04:05", ["iso8601"], "2026-01-02T03:04:05.000000Z"),
        ("2026-01-02", ["date"], "2026-01-02T00:00:00.000000Z"),
        (Decimal("1767323045.25"), ["timestamp"], "2026-01-02T03:04:05.250000Z"),
        ("1767323045", ["timestamp"], "2026-01-02T03:04:05.000000Z"),
        (1767323045250, ["timestamp_ms"], "2026-01-02T03:04:05.250000Z"),
        ("02.01.2026 03:04", ["iso8601", "%d.%m.%Y %H:%M"], "2026-01-02T03:04:00.000000Z"),
    ],
)
def test_times_are_read_exactly(value, formats, instant):
    assert dates.iso(dates.read(value, formats)) == instant


@pytest.mark.parametrize("value", [True, None, "soon", 12, {}])
def test_what_is_no_time_is_refused(value):
    with pytest.raises(ValueError, match="iso8601"):
        dates.read(value, ["iso8601"])


@pytest.mark.parametrize(
    ("records", "properties"),
    [
        pytest.param(
            [{"a": 1}, {"a": Decimal("1.5")}], {"a": {"type": ["number", *NULL]}}, id="integer and fraction"
        ),
        pytest.param([{"a": None}], {}, id="null alone says nothing"),
        pytest.param([{"a": 1}, {"a": "x"}], {"a": {"type": ["integer", "string", *NULL]}}, id="two kinds"),
        pytest.param(
            [{"a": "2026-01-01"}, {"a": "2026-01-01T00:00:00Z"}],
            {"a": {"type": ["string", *NULL]}},
            id="two formats",
        ),
        pytest.param(
            [{"a": {"x": 1}}, {"a": {"y": True}}],
            {
                "a": {
                    "type": ["object", *NULL],
                    "properties": {"x": {"type": ["integer", *NULL]}, "y": {"type": ["boolean", *NULL]}},
                }
            },
            id="an object",
        ),
        pytest.param(
            [{"a": {}}, {"b": []}],
            {"a": {"type": ["object", *NULL]}, "b": {"type": ["array", *NULL]}},
            id="empty",
        ),
        pytest.param(
            [{"a": {f"k{n}": n for n in range(99)}}],
            {"a": {"type": ["object", *NULL]}},
            id="a map of data is no struct",
        ),
    ],
)
def test_schemas_hold_every_record_of_the_sample(records, properties):
    assert infer(records) == properties


def test_widening_only_grows_and_what_fits_changes_nothing():
    properties = infer([{"a": 1, "o": {"x": 1}, "l": [{"n": 1}], "at": "2026-01-01T00:00:00Z"}])
    same = {"a": 2, "o": {"x": None}, "l": [], "at": None}
    other = {"a": "x", "o": {"x": 1, "z": 1}, "l": [{"n": "x"}], "at": "tomorrow"}

    assert Fitness(properties).fits(same)
    assert widened(properties, same) == properties
    assert not Fitness(properties).fits(other)
    assert Fitness(widened(properties, other)).fits(other)
    assert Fitness(widened(properties, other)).fits({"a": 1, "at": "2026-01-01T00:00:00Z"})


def test_nulls_that_no_column_waits_for_are_left_out():
    properties = infer([{"a": 1, "o": {"x": 1}, "l": [{"n": 1}]}])

    assert pruned(
        {"a": None, "b": None, "o": {"x": None, "y": None}, "l": [{"n": 1, "m": None}]}, properties
    ) == {
        "a": None,
        "o": {"x": None},
        "l": [{"n": 1}],
    }
