"""What a run reads: everything, what is new, what is asked for; and where it goes on."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from icetap.errors import ConfigurationError, DataError, StateError
from tap_mysql.tap import TapMySQL

pytestmark = pytest.mark.servers


def incremental(key, **options):
    return {"*": {"replication_method": "INCREMENTAL", "replication_key": key, **options}}


def ids(output):
    return [record["id"] for record in output.records()]


# --- full reads ------------------------------------------------------------------------------------


def test_a_full_read_ends_with_its_version(database, sync):
    database.execute("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (2), (1)")
    found = sync()

    assert ids(found) == [1, 2]
    assert found.types[-2:] == ["ACTIVATE_VERSION", "STATE"]
    assert found.of("ACTIVATE_VERSION")[0]["version"] == found.of("RECORD")[0]["version"]
    assert list(found.bookmark(database.stream("t"))) == ["version"]


def test_an_empty_table_says_so_twice(database, sync):
    database.execute("CREATE TABLE t (id INT PRIMARY KEY)")

    assert [kind for kind in sync().types if kind != "STATE"] == ["SCHEMA", *["ACTIVATE_VERSION"] * 2]


KEYS = [
    pytest.param("a BIGINT UNSIGNED", ["0", "9223372036854775808", "18446744073709551615"], "9223372036854775808", id="bigint-unsigned"),
    pytest.param("a BIGINT", ["-9223372036854775808", "0", "9223372036854775807"], 0, id="bigint"),
    pytest.param("a DECIMAL(30,2)", ["-5", "9.5", "10.25", "99999999999999999999.99"], "10.25", id="decimal"),
    pytest.param("a DECIMAL(65,0)", ["9", "10", "99999999999999999999999999999999999999999999999999999999999"], "10", id="decimal-as-text"),
    pytest.param("a VARCHAR(20) COLLATE utf8mb4_general_ci", ["'a'", "'B'", "'c'", "'É'", "'f'"], "c", id="collation"),
    pytest.param("a VARCHAR(20) CHARACTER SET latin1", ["'a'", "'é'", "'z'"], "é", id="latin1"),
    pytest.param("a VARBINARY(8)", ["x'00'", "x'7f'", "x'80ff'", "x'ff'"], "80FF", id="binary"),
    pytest.param("a DATE", ["'1000-01-01'", "'2024-02-29'", "'9999-12-31'"], "2024-02-29", id="date"),
    pytest.param("a DATETIME(6)", ["'2024-01-01 00:00:00'", "'2024-01-01 00:00:00.000001'", "'2024-01-02'"], "2024-01-01 00:00:00.000001", id="datetime"),
    pytest.param("a TIMESTAMP(3)", ["'2024-03-31 00:59:59.999'", "'2024-03-31 01:00:00'", "'2024-10-27 01:00:00'"], "2024-03-31 01:00:00.000", id="timestamp"),
    pytest.param("a UUID", ["'10000000-0000-1000-8000-000000000000'", "'f0000000-0000-1000-8000-000000000000'"], "10000000-0000-1000-8000-000000000000", id="uuid"),
    pytest.param("a INET6", ["'::1'", "'2001:db8::ff'"], "::1", id="inet6"),
]  # fmt: skip


@pytest.mark.parametrize(("declared", "values", "middle"), KEYS)
def test_a_read_goes_on_after_any_key(database, sync, declared, values, middle):
    """The position is taken from a STATE of the tap's own; then the rows after it come, and no others."""
    database.execute(
        "SET time_zone = '+00:00'",
        f"CREATE TABLE t ({declared} PRIMARY KEY)",
        f"INSERT INTO t VALUES {', '.join(f'({value})' for value in values)}",
    )
    whole = sync(batch_size=1)
    in_order = [record["a"] for record in whole.records()]
    positions = [
        message["value"]["bookmarks"][database.stream("t")]["position"]["a"]
        for message in whole.of("STATE")
        if "position" in message["value"]["bookmarks"].get(database.stream("t"), {})
    ]

    assert middle in positions
    for number, position in enumerate(positions):
        bookmark = {"version": 1_700_000_000_000, "position": {"a": position}}
        found = sync(state={"bookmarks": {database.stream("t"): bookmark}})
        assert [record["a"] for record in found.records()] == in_order[number + 1 :]
        assert found.of("ACTIVATE_VERSION") == []


def test_a_read_goes_on_inside_a_composite_key(database, sync):
    database.execute(
        "CREATE TABLE t (a VARCHAR(5) COLLATE utf8mb4_general_ci, b BIGINT UNSIGNED, c DATE, id INT, PRIMARY KEY (a, b, c))",
        "INSERT INTO t VALUES ('x',1,'2024-01-01',1), ('X',1,'2024-01-02',2), ('x',2,'2023-01-01',3), ('Y',0,'2020-01-01',4)",
    )
    stream = database.stream("t")

    def after(a, b, c):
        bookmark = {"version": 5, "position": {"a": a, "b": b, "c": c}}
        return ids(sync(state={"bookmarks": {stream: bookmark}}))

    assert ids(sync()) == [1, 2, 3, 4]
    assert after("X", "1", "2024-01-01") == [2, 3, 4]
    assert after("x", "1", "2024-01-02") == [3, 4]
    assert after("x", "2", "2023-01-01") == [4]
    assert after("y", "0", "2020-01-01") == []


@pytest.mark.parametrize("declared", ["ENUM('b','a')", "SET('b','a')", "FLOAT", "TIME", "BIT(3)"])
def test_keys_whose_texts_do_not_sort_as_they_do_give_no_position(database, sync, declared):
    value = {"FLOAT": "1.5", "TIME": "'10:00'", "BIT(3)": "2"}.get(declared, "'a'")
    database.execute(f"CREATE TABLE t (a {declared} PRIMARY KEY)", f"INSERT INTO t VALUES ({value})")

    found = sync()

    assert len(found.records()) == 1
    assert not any("position" in json.dumps(message) for message in found.of("STATE"))


def test_a_table_without_a_key_is_read_whole(database, sync):
    database.execute("CREATE TABLE t (a INT)", "INSERT INTO t VALUES (1), (1), (NULL)")
    found = sync()

    assert [record["a"] for record in found.records()] == [1, 1, None]
    assert found.of("SCHEMA")[0]["key_properties"] == []


def test_a_row_of_20_mb(mariadb_server, database, sync):
    """Larger than a packet, and than the server's default for packets."""
    mariadb_server.execute("", "SET GLOBAL max_allowed_packet = 64 * 1024 * 1024")
    database.execute(
        "CREATE TABLE t (id INT PRIMARY KEY, b LONGTEXT)",
        "INSERT INTO t VALUES (1, 'a'), (2, repeat('ab', 10000000)), (3, 'c')",
    )

    assert [len(record["b"]) for record in sync().records()] == [1, 20_000_000, 1]


def test_wide_tables(database, sync):
    columns = ", ".join(f"c{number} INT" for number in range(200))
    database.execute(
        f"CREATE TABLE t (id INT PRIMARY KEY, {columns})",
        "INSERT INTO t (id, c0, c199) VALUES (1, 7, 8), (2, NULL, 9)",
    )
    first, second = sync().records()

    assert (first["c0"], first["c1"], first["c199"]) == (7, None, 8)
    assert (second["c0"], second["c199"]) == (None, 9)


# --- incremental reads -----------------------------------------------------------------------------


@pytest.fixture
def orders(database):
    database.execute(
        "CREATE TABLE orders (id INT PRIMARY KEY, at TIMESTAMP NULL, KEY (at))",
        "SET time_zone = '+00:00'",
        "INSERT INTO orders VALUES (1, '2026-01-01 00:00:01'), (2, '2026-01-01 00:00:02'), "
        "(3, '2026-01-01 00:00:02'), (4, NULL)",
    )
    return database


def test_equal_seconds_are_read_again(orders, sync):
    first = sync(streams=incremental("at", lookback_seconds=0))
    orders.execute("SET time_zone = '+00:00'", "INSERT INTO orders VALUES (5, '2026-01-01 00:00:02')")
    second = sync(state=first.state, streams=incremental("at", lookback_seconds=0))

    assert ids(first) == [4, 1, 2, 3]
    assert first.bookmark(orders.stream("orders"))["replication_key_value"] == "2026-01-01T00:00:02.000000Z"
    assert ids(second) == [2, 3, 5]


def test_late_commits_are_found_by_the_lookback(orders, sync):
    first = sync(streams=incremental("at"))
    orders.execute("SET time_zone = '+00:00'", "INSERT INTO orders VALUES (5, '2025-12-31 23:56:00')")
    second = sync(state=first.state, streams=incremental("at"))

    assert sorted(ids(second)) == [1, 2, 3, 5]
    assert first.bookmark(orders.stream("orders")) == second.bookmark(orders.stream("orders"))


CURSORS = [
    pytest.param("INT", ["1", "9", "10"], 9, id="int"),
    pytest.param("BIGINT UNSIGNED", ["1", "9223372036854775808", "18446744073709551615"], "9223372036854775808", id="bigint-unsigned"),
    pytest.param("DECIMAL(40,2)", ["'10'", "'11'", "'9'"], None, id="decimal-as-text"),
    pytest.param("DECIMAL(12,4)", ["9.5", "9.75", "9.8"], "9.7500", id="decimal"),
    pytest.param("DOUBLE", ["-1e300", "0.1", "0.30000000000000004"], 0.1, id="double"),
    pytest.param("FLOAT", ["-1", "16777216", "33554432"], 16777216, id="float"),
    pytest.param("DATE", ["'2024-01-01'", "'2024-01-02'", "'2024-01-03'"], "2024-01-02", id="date"),
    pytest.param("DATETIME(6)", ["'2024-01-01'", "'2024-01-01 00:00:00.000001'", "'2024-01-01 00:00:00.000002'"], "2024-01-01T00:00:00.000001", id="datetime"),
    pytest.param("VARCHAR(9) COLLATE utf8mb4_general_ci", ["'a'", "'B'", "'c'"], "B", id="text-by-its-collation"),
    pytest.param("YEAR", ["1999", "2000", "2001"], 2000, id="year"),
]  # fmt: skip


@pytest.mark.parametrize(("declared", "values", "middle"), CURSORS)
def test_any_column_that_grows_is_a_replication_key(database, sync, declared, values, middle):
    low, mid, high = values
    database.execute(
        f"CREATE TABLE t (id INT PRIMARY KEY, c {declared}, KEY (c))",
        f"INSERT INTO t VALUES (1, {low}), (2, {mid})",
    )
    options = {"streams": incremental("c", lookback_seconds=0)}
    if middle is None:
        database.execute("TRUNCATE t", f"INSERT INTO t VALUES (1, {low}), (2, {mid})")
    first = sync(**options)
    database.execute(f"INSERT INTO t VALUES (3, {high})")
    second = sync(state=first.state, **options)

    assert ids(first) == [1, 2]
    if middle is not None:
        assert first.bookmark(database.stream("t"))["replication_key_value"] == middle
        assert ids(second) == [2, 3]


def test_a_key_that_cannot_be_compared_is_refused(database, sync):
    database.execute("CREATE TABLE t (id INT PRIMARY KEY, e ENUM('b','a'))")

    with pytest.raises(ConfigurationError, match="cannot be the replication key"):
        sync(streams=incremental("e"))


def test_a_key_without_an_index_is_warned_of(database, sync, caplog):
    database.execute("CREATE TABLE t (id INT PRIMARY KEY, n INT)", "INSERT INTO t VALUES (1, 1)")
    sync(streams=incremental("n"))

    assert "the replication key 'n' has no index" in caplog.text


def test_an_index_is_seen(orders, sync, caplog):
    sync(streams=incremental("at"))

    assert "has no index" not in caplog.text


def test_a_bookmark_of_another_kind_is_refused(orders, sync):
    bookmark = {"replication_key": "at", "replication_key_value": "yesterday"}

    with pytest.raises(StateError, match="no value of the replication key 'at'"):
        sync(state={"bookmarks": {orders.stream("orders"): bookmark}}, streams=incremental("at"))


# --- queries, conditions, selection ----------------------------------------------------------------


def test_a_query_is_described_by_the_server(database, sync):
    database.execute(
        "CREATE TABLE t (id INT UNSIGNED PRIMARY KEY, d DECIMAL(20,4), b BIGINT UNSIGNED, x VARBINARY(3), "
        "s SET('a','b'), f FLOAT, at TIMESTAMP NULL, t TIME(3), j JSON)",
        "SET time_zone = '+00:00'",
        "INSERT INTO t VALUES (1, 12.5, 18446744073709551615, x'ff', 'a,b', 16777216, '2024-01-01', '-10:00:00.5', '{}')",
    )
    found = sync(queries=[{"name": "q", "sql": "SELECT * FROM t -- all", "key_properties": ["id"]}])
    (record,) = found.records("q")

    assert record == {
        "id": 1, "d": Decimal("12.5"), "b": 2**64 - 1, "x": "/w==", "s": ["a", "b"], "f": 16777216,
        "at": "2024-01-01T00:00:00.000000Z", "t": "-10:00:00.500", "j": "{}",
    }  # fmt: skip
    properties = found.schema("q")["d"]["x-sql-datatype-properties"]
    assert properties == {"precision": 20, "scale": 4}


def test_the_bookmark_is_bound_wherever_it_stands(orders, sync):
    query = {
        "name": "q",
        "sql": "WITH w AS (SELECT * FROM orders WHERE at >= :bookmark) SELECT w.*, '? %s :x' AS mark FROM w "
        "WHERE at >= :bookmark OR :last_pull IS NULL",
        "key_properties": ["id"],
        "replication_key": "at",
        "initial_value": "2026-01-01 00:00:02",
    }
    options = {"queries": [query], "streams": {"q": {"lookback_seconds": 0}}}
    catalog = TapMySQL(config={**orders.config, **options}).catalog_dict
    catalog["streams"] = [entry for entry in catalog["streams"] if entry["tap_stream_id"] == "q"]
    catalog["streams"][0]["replication_method"] = "INCREMENTAL"
    first = sync(catalog=catalog, **options)
    orders.execute("SET time_zone = '+00:00'", "INSERT INTO orders VALUES (9, '2026-01-01 00:00:03')")
    second = sync(catalog=catalog, state=first.state, **options)

    assert ids(first) == [2, 3]
    assert {record["mark"] for record in first.records()} == {"? %s :x"}
    assert ids(second) == [2, 3, 9]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        pytest.param("SELECT nothing FROM orders", r"1054.*Check the SQL", id="no-such-column"),
        pytest.param("SELEC 1", r"1064.*Check the SQL", id="syntax"),
        pytest.param("DELETE FROM orders", "1064", id="not-a-select"),
        pytest.param("SELECT 1 AS a, 2 AS a", r"1060.*Check the SQL", id="two-of-a-name"),
        pytest.param("SELECT 1; DELETE FROM orders", "1064", id="two-statements"),
    ],
)
def test_a_query_that_is_none_is_refused(orders, sync, sql, said):
    with pytest.raises(ConfigurationError, match=said):
        sync(queries=[{"name": "q", "sql": sql}])
    assert orders.execute("SELECT count(*) FROM orders") == [(4,)]


def test_a_query_of_a_missing_table_is_refused(orders, sync):
    with pytest.raises(ConfigurationError, match="1146"):
        sync(queries=[{"name": "q", "sql": "SELECT * FROM nothing"}])


def test_only_rows_under_the_condition_are_read(orders, sync):
    found = sync(streams={"*": {"where": "id > 1 OR id IS NULL -- ? %", "rename": {"at": "when"}}})
    assert ids(found) == [2, 3, 4]
    assert "when" in found.schema()


def test_a_column_that_is_not_selected_is_not_asked_for(database, sync):
    """The column cannot be read at all: its function fails."""
    database.execute(
        "CREATE TABLE base (id INT PRIMARY KEY, a INT)",
        "INSERT INTO base VALUES (1, 1)",
        "CREATE VIEW v AS SELECT id, a, (SELECT id FROM base UNION ALL SELECT 2) AS bad FROM base",
    )
    catalog = TapMySQL(config=database.config).catalog_dict
    catalog["streams"] = [e for e in catalog["streams"] if e["tap_stream_id"] == database.stream("v")]
    for entry in catalog["streams"][0]["metadata"]:
        if entry["breadcrumb"] == ["properties", "bad"]:
            entry["metadata"]["selected"] = False

    assert sync(catalog=catalog).records() == [{"id": 1, "a": 1}]


def test_null_in_a_key_that_was_given_is_refused(database, sync):
    database.execute("CREATE TABLE t (id INT)", "INSERT INTO t VALUES (NULL)")

    with pytest.raises(DataError, match="key column 'id'"):
        sync(streams={"*": {"key_properties": ["id"]}})


# --- what a person asks ----------------------------------------------------------------------------


def test_preview_shows_rows_and_says_that_there_are_more(orders, command):
    done = command("--preview", orders.stream("orders"), "--limit", "2")

    shown = json.loads(done.stdout)
    assert ([row["id"] for row in shown["rows"]], shown["more"]) == ([1, 2], True)


def test_preview_of_a_query(orders, command):
    done = command("--sql", "SELECT 1 + 1 AS two;")

    assert json.loads(done.stdout)["rows"] == [{"two": 2}]


def test_browse_tells_sizes_and_types(orders, command):
    orders.execute("ANALYZE TABLE orders")
    shown = json.loads(command("--browse").stdout)
    (table,) = shown["tables"]

    assert (table["stream"], table["kind"], table["estimated_rows"]) == (orders.stream("orders"), "table", 4)
    assert table["size_bytes"] > 0
    assert [column["native_type"] for column in table["columns"]] == ["int(11)", "timestamp"]


def test_test_tells_the_server_and_each_stream(orders, command):
    done = command("--test")

    assert done.returncode == 0
    assert b"MariaDB" in done.stdout
    assert f"stream '{orders.stream('orders')}': readable, FULL_TABLE, key: id".encode() in done.stdout
