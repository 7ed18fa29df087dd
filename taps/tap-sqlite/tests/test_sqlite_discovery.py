"""What discovery finds, and what it makes of keys, views and odd names."""

from __future__ import annotations

import json

import pytest

from icetap.errors import ConfigurationError
from tap_sqlite.tap import TapSQLite


def streams_of(path, **config):
    return TapSQLite(config={"database": str(path), **config}).streams


KEYS = [
    pytest.param("CREATE TABLE t (id INTEGER PRIMARY KEY, v)", ["id"], id="integer-primary-key"),
    pytest.param("CREATE TABLE t (id INT PRIMARY KEY, v)", [], id="int-primary-key-may-be-null"),
    pytest.param("CREATE TABLE t (id INTEGER PRIMARY KEY DESC, v)", [], id="descending-key-is-no-rowid"),
    pytest.param("CREATE TABLE t (id TEXT PRIMARY KEY, v)", [], id="text-key-may-be-null"),
    pytest.param("CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, v)", ["id"], id="text-key-not-null"),
    pytest.param(
        "CREATE TABLE t (v, a INT, b TEXT, PRIMARY KEY (b, a)) WITHOUT ROWID", ["b", "a"], id="without-rowid"
    ),
    pytest.param(
        "CREATE TABLE t (id TEXT PRIMARY KEY, v ANY) STRICT", ["id"], id="strict-keys-are-never-null"
    ),
    pytest.param(
        "CREATE TABLE t (a INT NOT NULL, b INT, PRIMARY KEY (a, b))", [], id="one-of-two-may-be-null"
    ),
    pytest.param("CREATE TABLE t (v UNIQUE)", [], id="unique-is-no-key"),
    pytest.param("CREATE VIEW t AS SELECT 1 AS id", [], id="view"),
]


@pytest.mark.parametrize(("script", "key"), KEYS)
def test_a_key_is_announced_only_when_it_is_never_null(database, script, key):
    assert list(streams_of(database(script))["t"].primary_keys) == key


def test_null_in_a_text_key_is_read_because_it_is_no_key(database, sync):
    path = database("CREATE TABLE t (id TEXT PRIMARY KEY, v INT)", {"t": [(None, 1), (None, 2), ("a", 3)]})
    assert [record["v"] for record in sync(path).records()] == [1, 2, 3]


def test_a_table_without_a_name_is_left_out_with_a_warning(database, caplog):
    path = database('CREATE TABLE "" (id INTEGER PRIMARY KEY); CREATE TABLE t (id INTEGER PRIMARY KEY)')
    assert list(streams_of(path)) == ["t"]
    assert "its name is empty" in caplog.text


def test_the_row_number_can_be_the_key(database, sync):
    path = database("CREATE TABLE t (v TEXT); INSERT INTO t(rowid, v) VALUES (7, 'a')")
    out = sync(path, streams={"t": {"key_properties": ["_rowid_"]}})
    assert out.of("SCHEMA")[0]["key_properties"] == ["_rowid_"]
    assert out.records() == [{"v": "a", "_rowid_": 7}]


def test_catalog_is_the_same_each_time(database, command):
    path = database(
        "CREATE TABLE zebra (id INTEGER PRIMARY KEY); CREATE TABLE ant (b, a); CREATE VIEW middle AS SELECT * FROM ant"
    )
    first, second = (command("--discover", database=str(path)).stdout for _ in range(2))
    assert first == second
    assert [stream["tap_stream_id"] for stream in json.loads(first)["streams"]] == ["ant", "middle", "zebra"]


def test_generated_columns_are_read_and_hidden_ones_are_not(database, sync):
    path = database(
        "CREATE TABLE t (a INT, b INT GENERATED ALWAYS AS (a + 1), c TEXT AS (a || 'x') STORED);"
        "INSERT INTO t(a) VALUES (1); CREATE VIRTUAL TABLE f USING fts5(body); INSERT INTO f VALUES ('words')"
    )
    out = sync(path)
    assert out.records("t") == [{"a": 1, "b": 2, "c": "1x"}]
    assert out.records("f") == [{"body": "words"}]


def test_shadow_tables_and_sqlites_own_are_no_streams(database):
    path = database(
        "CREATE VIRTUAL TABLE f USING fts5(body); CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT)"
    )
    assert sorted(streams_of(path)) == ["f", "t"]


def test_a_broken_view_is_left_out_and_the_rest_is_read(database, caplog, sync):
    path = database(
        "CREATE TABLE t (a INT); INSERT INTO t VALUES (1); CREATE VIEW v AS SELECT * FROM nowhere"
    )
    out = sync(path)
    assert {message["stream"] for message in out.of("SCHEMA")} == {"t"}
    assert "view 'v' is left out: no such table: main.nowhere" in caplog.text


@pytest.mark.parametrize(
    "name", ['we "ird', "sele ct", "☃ émoji", "semi;colon", "per%cent", "[brackets]", "a-b.c"]
)
def test_names_are_taken_as_they_are(database, sync, name):
    quoted = '"' + name.replace('"', '""') + '"'
    path = database(
        f"CREATE TABLE {quoted} ({quoted} INT, \"order\" TEXT); INSERT INTO {quoted} VALUES (1, 'x')"
    )
    out = sync(path)
    assert out.records(name) == [{name: 1, "order": "x"}]


def test_attached_files_have_their_alias_in_front(database, sync):
    path = database("CREATE TABLE t (a INT); INSERT INTO t VALUES (1)")
    other = database("CREATE TABLE t (a INT); INSERT INTO t VALUES (2)", name="b.db")
    out = sync(path, attach={"old": str(other)})
    assert (out.records("t"), out.records("old-t")) == ([{"a": 1}], [{"a": 2}])


def test_an_attached_file_must_exist(database, sync, tmp_path):
    with pytest.raises(ConfigurationError, match=r"attach\.old"):
        sync(database("CREATE TABLE t (a)"), attach={"old": str(tmp_path / "none.db")})
    assert not (tmp_path / "none.db").exists()


def test_view_columns_have_the_types_that_sqlite_tells(database):
    path = database(
        "CREATE TABLE t (a INT, b TEXT);CREATE VIEW v AS SELECT a, b, CAST(b AS REAL) AS c, a + 1 AS d FROM t"
    )
    types = {field.name: str(field.type) for field in streams_of(path)["v"].columns}
    assert types == {"a": "int64", "b": "string", "c": "double", "d": "string"}


def test_an_empty_file_is_an_empty_database(tmp_path, command):
    (tmp_path / "zero.db").touch()
    done = command("--discover", database=str(tmp_path / "zero.db"))
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"streams": []}
