"""Catalogs, states and conditions that people write by hand: honoured, or refused with a clear line."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from icetap.errors import ConfigurationError, StateError
from tap_sqlite.tap import TapSQLite

ORDERS = "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT, updated_at TIMESTAMP)"
ROWS = {"orders": [(1, "a", "2026-01-01 00:00:00"), (2, "b", "2026-01-02 00:00:00"), (3, "c", None)]}


def last_line(done):
    return done.stderr.decode().splitlines()[-1]


@pytest.mark.parametrize(
    ("catalog", "said"),
    [
        ({"streams": [1]}, "stream 1 is a number"),
        ({"streams": {}}, "'streams' is an object"),
        ({"stream": []}, "'streams' is nothing"),
        ({"streams": [{"stream": "orders"}]}, "'tap_stream_id' of stream 1 is nothing"),
        ({"streams": [{"tap_stream_id": "orders", "metadata": [3]}]}, "metadata 1 of stream 'orders' is a number"),
        (
            {"streams": [{"tap_stream_id": "orders", "metadata": [{"breadcrumb": [], "metadata": []}]}]},
            "'metadata' in metadata 1 of stream 'orders' is a list",
        ),
        ({"streams": [{"tap_stream_id": "orders", "schema": "x"}]}, "'schema' of stream 'orders' is a text"),
    ],
    ids=["number", "object", "misspelt", "no-name", "metadata", "list-of-metadata", "schema"],
)  # fmt: skip
def test_a_catalog_of_another_shape_is_refused_with_its_place(command, database, tmp_path, catalog, said):
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(catalog))
    done = command("--catalog", str(path), database=str(database(ORDERS)))
    assert done.returncode == 2
    assert said in last_line(done)
    assert b"Traceback" not in done.stderr


def test_replication_chosen_in_the_root_metadata_counts(command, database, tmp_path):
    database = database(ORDERS, ROWS)
    catalog = TapSQLite(config={"database": str(database)}).catalog_dict
    (root,) = (one["metadata"] for one in catalog["streams"][0]["metadata"] if one["breadcrumb"] in ([], ()))
    root |= {"replication-method": "INCREMENTAL", "replication-key": "updated_at"}
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(catalog))
    done = command("--catalog", str(path), database=str(database))
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    (schema,) = (message for message in messages if message["type"] == "SCHEMA")
    assert schema["bookmark_properties"] == ["updated_at"]
    assert messages[-1]["value"]["bookmarks"]["orders"]["replication_key"] == "updated_at"


def test_a_selected_column_that_is_gone_is_told(database, execute, sync, caplog):
    path = database(ORDERS, ROWS)
    catalog = TapSQLite(config={"database": str(path)}).catalog_dict
    execute(path, "ALTER TABLE orders DROP COLUMN note")
    out = sync(path, catalog=catalog)
    assert [row["id"] for row in out.records()] == [1, 2, 3]
    assert "columns that the source does not have: note" in caplog.text


def test_a_column_that_is_gone_and_was_not_selected_is_not_told(database, execute, sync, caplog):
    path = database(ORDERS, ROWS)
    catalog = TapSQLite(config={"database": str(path)}).catalog_dict
    for one in catalog["streams"][0]["metadata"]:
        if tuple(one["breadcrumb"]) == ("properties", "note"):
            one["metadata"]["selected"] = False
    execute(path, "ALTER TABLE orders DROP COLUMN note")
    sync(path, catalog=catalog)
    assert "does not have" not in caplog.text


@pytest.mark.parametrize("value", [[1], {"a": 1}, True, Decimal("1E+400"), "abc"], ids=repr)
def test_a_bookmark_of_another_type_stops_the_run(database, sync, value):
    path = database(ORDERS, ROWS)
    options = {"orders": {"replication_method": "INCREMENTAL", "replication_key": "id"}}
    bookmark = {"replication_key": "id", "replication_key_value": value}
    with pytest.raises(StateError, match="no value of the replication key"):
        sync(path, state={"bookmarks": {"orders": bookmark}}, streams=options)


@pytest.mark.parametrize(
    ("script", "position"),
    [
        pytest.param(ORDERS, {"id": "abc"}, id="text-for-a-number"),
        pytest.param("CREATE TABLE orders (id TEXT PRIMARY KEY) WITHOUT ROWID", {"id": 5}, id="number-for-a-text"),
    ],
)  # fmt: skip
def test_a_position_of_another_type_stops_the_run(database, sync, script, position):
    path = database(script)
    state = {"bookmarks": {"orders": {"version": 5, "position": position}}}
    with pytest.raises(StateError, match="position"):
        sync(path, state=state)


@pytest.mark.parametrize("where", ["1=1) or (1=1", "(id = 1", "id = 1)", "id in (1, 2))"])
def test_a_condition_that_leaves_its_parentheses_is_refused(database, sync, where):
    with pytest.raises(ConfigurationError, match="'where'"):
        sync(database(ORDERS, ROWS), streams={"orders": {"where": where}})


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("(id = 1) or (id = 2)", [1, 2]),
        ("note <> ')' -- a comment with )", [1, 2, 3]),
        ("note <> '(' /* ( */ and id < 3", [1, 2]),
        ('"id" in (1, (3))', [1, 3]),
    ],
)
def test_parentheses_in_texts_and_comments_do_not_count(database, sync, where, ids):
    out = sync(database(ORDERS, ROWS), streams={"orders": {"where": where}})
    assert [row["id"] for row in out.records()] == ids
