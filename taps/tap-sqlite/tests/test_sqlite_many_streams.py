"""What is said of many streams at once, and what a run that ends early says of those it did not read."""

from __future__ import annotations

import pytest

from icetap.errors import ConfigurationError, DataError, SkippableError
from icetap.testing.in_process import read
from tap_sqlite.tap import TapSQLite

TABLES = """
    CREATE TABLE dated (id INTEGER PRIMARY KEY, changed TEXT);
    CREATE TABLE undated (id INTEGER PRIMARY KEY, name TEXT);
    INSERT INTO dated VALUES (1, '2026-01-01');
    INSERT INTO undated VALUES (2, 'x');
"""


def run(path, *, may_end_with=(), **config):
    return read(TapSQLite(config={"database": str(path), **config}), may_end_with=may_end_with)


# --- options of many streams ------------------------------------------------------------------------------


def test_a_table_without_the_replication_key_of_all_is_read_in_full_and_told(database, caplog):
    path = database(TABLES)
    out = run(path, streams={"*": {"replication_key": "changed"}})

    assert out.bookmark("dated")["replication_key_value"] == "2026-01-01"
    assert out.records("undated") == [{"id": 2, "name": "x"}]
    assert out.of("ACTIVATE_VERSION", "undated")
    assert "Stream undated: it has no column 'changed'" in caplog.text
    assert "Stream dated: it has" not in caplog.text


def test_a_table_that_is_said_to_be_read_in_full_is_not_told_of(database, caplog):
    streams = {"*": {"replication_key": "changed"}, "undated": {"replication_method": "FULL_TABLE"}}

    out = run(database(TABLES), streams=streams)

    assert len(out.records("undated")) == 1
    assert "it has no column" not in caplog.text


def test_a_table_without_the_replication_key_of_all_fails_alone_when_all_are_to_be_incremental(database):
    path = database(TABLES)
    options = {"replication_key": "changed", "replication_method": "INCREMENTAL"}

    out = run(path, streams={"*": options}, may_end_with=(SkippableError,))

    assert len(out.records("dated")) == 1
    assert "'undated' is INCREMENTAL but does not have the column 'changed'" in str(out.error)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"replication_key": "changed"}, id="replication-key"),
        pytest.param({"key_properties": ["changed"]}, id="key"),
        pytest.param({"rename": {"changed": "x"}}, id="rename"),
    ],
)
def test_a_column_that_is_named_for_one_stream_has_to_be_there(database, options):
    with pytest.raises(ConfigurationError, match="'changed', which does not exist"):
        run(database(TABLES), streams={"undated": options})


def test_keys_and_names_of_many_streams_hold_where_the_columns_are(database, caplog):
    options = {"key_properties": ["changed"], "rename": {"changed": "changed_at"}}

    out = run(database(TABLES), streams={"*": options})

    keys = {message["stream"]: message["key_properties"] for message in out.of("SCHEMA")}
    assert keys == {"dated": ["changed_at"], "undated": ["id"]}
    assert "Stream undated: it has no column 'changed', which 'key_properties' names" in caplog.text


# --- a run that ends early ----------------------------------------------------------------------------------


def test_a_run_that_ends_early_names_what_it_did_not_read(database, caplog):
    path = database(
        "".join(f"CREATE TABLE {name} (x INT); INSERT INTO {name} VALUES (1);" for name in "abcd")
    )
    streams = {"a": {"replication_method": "INCREMENTAL"}}
    with_text = database("INSERT INTO c VALUES ('no number')")
    assert with_text == path

    out = run(path, streams=streams, may_end_with=(DataError,))

    assert "stream 'c'" in str(out.error)
    assert "ends early; stopped in 'c'; left out 'a'; not reached 'd'. " in caplog.text


def test_a_run_that_fails_in_its_only_stream_says_it_once(database, caplog):
    path = database("CREATE TABLE c (x INT); INSERT INTO c VALUES ('no number')")

    run(path, may_end_with=(DataError,))

    assert "ends early" not in caplog.text
