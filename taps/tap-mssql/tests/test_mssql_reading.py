"""Full and incremental reads, positions, queries, columns and tables that cannot be read."""

from __future__ import annotations

import pytest

from icetap.errors import ConfigurationError, DataError, IcetapError, StateError
from icetap.testing.tds import ServerError

ORDERS = (
    "CREATE TABLE dbo.orders (id int PRIMARY KEY, note nvarchar(20), at datetime2(7) NOT NULL)",
    "CREATE INDEX orders_at ON dbo.orders (at)",
    "INSERT INTO dbo.orders VALUES (1, N'a', '2024-01-01T10:00:00.1234567'), (2, N'b', '2024-01-02T10:00:00.0000001')",
)


def incremental(key: str, stream: str = "dbo-orders", **options):
    return {
        stream: {
            "replication_method": "INCREMENTAL",
            "replication_key": key,
            "lookback_seconds": 0,
            **options,
        }
    }


def test_a_full_read_ends_with_its_version_and_a_second_one_has_a_later_one(database, sync):
    database.execute(*ORDERS)
    first = sync(database)
    assert [record["id"] for record in first.records()] == [1, 2]
    assert first.types[-2:] == ["ACTIVATE_VERSION", "STATE"]
    second = sync(database, state=first.state)
    assert second.bookmark("dbo-orders")["version"] > first.bookmark("dbo-orders")["version"]


@pytest.mark.parametrize(
    ("declared", "literals", "position"),
    [
        pytest.param("int", ["1", "2", "3"], 2, id="int"),
        pytest.param("bigint", ["-5", "0", "9007199254740993"], 0, id="bigint"),
        pytest.param("decimal(20,2)", ["1.50", "9.00", "10.00"], "9.00", id="decimal"),
        pytest.param("nvarchar(10)", ["N'a'", "N'B'", "N'c'"], "B", id="text-of-a-collation"),
        pytest.param("varchar(10)", ["'a'", "'é'", "'z'"], None, id="text-of-a-code-page"),
        pytest.param("datetime", ["'2024-01-01T00:00:00'", "'2024-01-01T00:00:00.003'", "'2024-01-01T00:00:00.007'"], "2024-01-01 00:00:00.003", id="datetime"),
        pytest.param("datetime2(7)", ["'2024-01-01T00:00:00'", "'2024-01-01T00:00:00.0000001'", "'2024-01-01T00:00:00.0000002'"], "2024-01-01 00:00:00.0000001", id="datetime2"),
        pytest.param("datetimeoffset(3)", ["'2024-01-01 00:00:00 +02:00'", "'2024-01-01 00:00:00 +00:00'", "'2024-01-01 00:00:00 -02:00'"], None, id="datetimeoffset"),
        pytest.param("date", ["'0001-01-01'", "'2024-01-01'", "'9999-12-31'"], "2024-01-01", id="date"),
        pytest.param("binary(2)", ["0x0001", "0x00FF", "0x0100"], "00FF", id="binary"),
        pytest.param("uniqueidentifier", ["'FFFFFFFF-0000-0000-0000-000000000001'", "'EEEEEEEE-0000-0000-0000-000000000002'", "'00000000-0000-0000-0000-000000000003'"], "EEEEEEEE-0000-0000-0000-000000000002", id="uniqueidentifier-sorts-by-its-end"),
    ],
)  # fmt: skip
def test_an_interrupted_full_read_goes_on_after_its_position(database, sync, declared, literals, position):
    database.execute(f"CREATE TABLE dbo.t (k {declared} PRIMARY KEY, n int)")
    database.execute(*(f"INSERT INTO dbo.t VALUES ({literal}, {n})" for n, literal in enumerate(literals)))
    whole = sync(database, batch_size=1)
    bookmarks = [
        message["value"]["bookmarks"]["dbo-t"]
        for message in whole.of("STATE")
        if message["value"].get("bookmarks")
    ]
    after_second = next(one for one in bookmarks[1:] if one.get("position"))
    order = [record["n"] for record in whole.records()]
    if position is not None:
        assert after_second["position"] == {"k": position}
    resumed = sync(database, state={"bookmarks": {"dbo-t": after_second}})
    assert [record["n"] for record in resumed.records()] == order[2:]
    assert resumed.of("ACTIVATE_VERSION") == []


def test_a_key_of_two_columns_resumes_between_its_ties(database, sync):
    database.execute("CREATE TABLE dbo.t (a nvarchar(5), b int, PRIMARY KEY (a, b))")
    database.execute("INSERT INTO dbo.t VALUES (N'w', 9), (N'x', 1), (N'x', 2), (N'y', 1), (N'y', 3)")
    out = sync(database, state={"bookmarks": {"dbo-t": {"version": 5, "position": {"a": "x", "b": 1}}}})
    assert [(record["a"], record["b"]) for record in out.records()] == [("x", 2), ("y", 1), ("y", 3)]


def test_a_second_incremental_run_sends_the_last_rows_again_and_what_is_new(database, sync):
    database.execute(*ORDERS)
    first = sync(database, streams=incremental("at"))
    assert first.bookmark("dbo-orders")["replication_key_value"] == "2024-01-02T10:00:00.000000"
    database.execute("INSERT INTO dbo.orders VALUES (3, N'c', '2024-01-02T10:00:00.0000009')")
    second = sync(database, state=first.state, streams=incremental("at"))
    assert [record["id"] for record in second.records()] == [2, 3]


def test_a_lookback_asks_for_rows_of_before_the_bookmark(database, sync):
    database.execute(*ORDERS)
    first = sync(database, streams=incremental("at"))
    database.execute("INSERT INTO dbo.orders VALUES (3, N'late', '2024-01-02T09:59:00')")
    second = sync(database, state=first.state, streams=incremental("at", lookback_seconds=120))
    assert [record["id"] for record in second.records()] == [3, 2]
    assert second.bookmark("dbo-orders") == first.bookmark("dbo-orders")


def test_datetime_bookmarks_are_thirds_that_are_found_again(database, sync):
    database.execute("CREATE TABLE dbo.t (id int PRIMARY KEY, at datetime)")
    database.execute(
        "INSERT INTO dbo.t VALUES (1, '2024-01-01T00:00:00.003'), (2, '2024-01-01T00:00:00.007')"
    )
    first = sync(database, streams=incremental("at", "dbo-t"))
    assert first.bookmark("dbo-t")["replication_key_value"] == "2024-01-01T00:00:00.007000"
    second = sync(database, state=first.state, streams=incremental("at", "dbo-t"))
    assert [record["id"] for record in second.records()] == [2]


def test_a_rowversion_cursor_stops_before_transactions_that_are_open(fake, sync):
    fake.execute("CREATE TABLE dbo.t (id int PRIMARY KEY, rv rowversion NOT NULL)")
    fake.execute(*(f"INSERT INTO dbo.t (id) VALUES ({number})" for number in (1, 2, 3)))
    versions = {record["id"]: record["rv"] for record in sync(fake).records()}
    fake.fake.held_rowversion = int(versions[2], 16)
    first = sync(fake, streams=incremental("rv", "dbo-t"))
    assert [record["id"] for record in first.records()] == [1]
    assert first.bookmark("dbo-t")["replication_key_value"] == versions[1]
    fake.fake.held_rowversion = None
    second = sync(fake, state=first.state, streams=incremental("rv", "dbo-t"))
    assert [record["id"] for record in second.records()] == [1, 2, 3]
    fake.execute("UPDATE dbo.t SET id = 10 WHERE id = 1")
    third = sync(fake, state=second.state, streams=incremental("rv", "dbo-t"))
    assert [record["id"] for record in third.records()] == [3, 10]


@pytest.mark.parametrize(
    ("declared", "says"),
    [("uniqueidentifier", "do not grow"), ("bit", "two values"), ("varbinary(8)", "only rowversion")],
)
def test_columns_that_do_not_grow_are_no_replication_keys(database, sync, declared, says):
    database.execute(f"CREATE TABLE dbo.t (id int PRIMARY KEY, v {declared})")
    with pytest.raises(DataError, match=says):
        sync(database, streams=incremental("v", "dbo-t"))


def test_xml_cannot_be_a_replication_key(database, sync):
    database.execute("CREATE TABLE dbo.t (id int PRIMARY KEY, v xml)")
    with pytest.raises(ConfigurationError, match="cannot be the replication key"):
        sync(database, streams=incremental("v", "dbo-t"))


def test_a_bookmark_of_another_kind_is_refused(database, sync):
    database.execute(*ORDERS)
    state = {"bookmarks": {"dbo-orders": {"replication_key": "at", "replication_key_value": "not a time"}}}
    with pytest.raises(StateError, match="is no value of the replication key"):
        sync(database, state=state, streams=incremental("at"))


def test_rows_without_a_cursor_come_in_the_first_run(database, sync):
    database.execute("CREATE TABLE dbo.t (id int PRIMARY KEY, at datetime2(3))")
    database.execute("INSERT INTO dbo.t VALUES (1, NULL), (2, '2024-01-01')")
    first = sync(database, streams=incremental("at", "dbo-t"))
    assert [record["id"] for record in first.records()] == [1, 2]
    assert [
        record["id"]
        for record in sync(database, state=first.state, streams=incremental("at", "dbo-t")).records()
    ] == [2]


def test_where_and_column_selection_reach_the_statement(fake, sync):
    fake.execute(*ORDERS)
    catalog = {
        "streams": [
            {
                "tap_stream_id": "dbo-orders",
                "stream": "dbo-orders",
                "schema": {"properties": {"id": {}, "note": {}, "at": {}}},
                "metadata": [
                    {"breadcrumb": [], "metadata": {"selected": True}},
                    {"breadcrumb": ["properties", "note"], "metadata": {"selected": False}},
                ],
            }
        ]
    }
    out = sync(fake, catalog=catalog, streams={"dbo-orders": {"where": "id > 1 -- a comment"}})
    assert [set(record) for record in out.records()] == [{"id", "at"}]
    (statement,) = [sql for sql in fake.fake.statements if "FROM [dbo].[orders]" in sql]
    assert "[note]" not in statement


def test_a_query_with_its_own_with_and_bookmark_is_a_stream(database, sync):
    database.execute(*ORDERS)
    query = {
        "name": "late",
        "sql": "WITH o AS (SELECT id, at FROM dbo.orders WHERE at >= :bookmark) SELECT id, at FROM o;",
        "key_properties": ["id"],
        "replication_key": "at",
        "initial_value": "2024-01-02",
    }
    streams = {"late": {"replication_method": "INCREMENTAL", "lookback_seconds": 0}, "dbo-orders": {}}
    out = sync(database, queries=[query], streams=streams)
    assert [record["id"] for record in out.records("late")] == [2]
    database.execute("INSERT INTO dbo.orders VALUES (3, N'c', '2024-01-03')")
    again = sync(database, queries=[query], streams=streams, state=out.state)
    assert [record["id"] for record in again.records("late")] == [2, 3]


def test_a_query_that_the_server_cannot_describe_says_why(database, sync):
    with pytest.raises(ConfigurationError, match=r"queries.*nope.*208"):
        sync(database, queries=[{"name": "nope", "sql": "SELECT a FROM dbo.nope"}])


def test_a_masked_column_without_the_right_to_unmask_is_told_of(fake, sync, caplog):
    fake.execute(*ORDERS)
    fake.change_catalogue('UPDATE "sys.columns" SET is_masked = 1 WHERE name = ?', "note")
    sync(fake)
    assert "are masked" not in caplog.text
    fake.fake.may_unmask = False
    sync(fake)
    assert "Columns note of 'dbo-orders' are masked and this user has no right to UNMASK" in caplog.text


def test_columns_that_cannot_be_read_are_left_out_with_the_reason(fake, sync, caplog):
    fake.execute(*ORDERS)
    fake.change_catalogue('UPDATE "sys.columns" SET encryption_type = 1 WHERE name = ?', "note")
    out = sync(fake)
    assert [set(record) for record in out.records()] == [{"id", "at"}, {"id", "at"}]
    assert "always encrypted" in caplog.text


def test_a_table_that_may_not_be_read_has_no_columns_and_is_left_out(fake, sync, caplog):
    fake.execute(*ORDERS, "CREATE TABLE dbo.open (id int PRIMARY KEY)", "INSERT INTO dbo.open VALUES (1)")
    fake.fake.catalogue.denied.update({("[dbo].[orders]", None)})
    out = sync(fake)
    assert {message["stream"] for message in out.of("SCHEMA")} == {"dbo-open"}
    assert "no right to SELECT" in caplog.text


def test_views_have_no_key_and_only_wanted_schemas_are_streams(database, sync):
    database.execute(*ORDERS, "CREATE SCHEMA sales", "CREATE TABLE sales.t (id int PRIMARY KEY)")
    database.execute("CREATE VIEW dbo.late AS SELECT id, at FROM dbo.orders")
    out = sync(database, filter_schemas=["dbo"])
    keys = {message["stream"]: message["key_properties"] for message in out.of("SCHEMA")}
    assert keys == {"dbo-orders": ["id"], "dbo-late": []}


def test_a_unique_index_is_a_key_unless_it_has_a_filter_or_nulls(database, sync):
    for number, (column, index) in enumerate(
        [("v int NOT NULL", ""), ("v int NULL", ""), ("v int NOT NULL", " WHERE v > 0")]
    ):
        database.execute(
            f"CREATE TABLE dbo.t{number} ({column})",
            f"CREATE UNIQUE INDEX u{number} ON dbo.t{number} (v){index}",
        )
    keys = [message["key_properties"] for message in sync(database).of("SCHEMA")]
    assert keys == [["v"], [], []]


def test_strange_names_are_quoted(database, sync):
    database.execute("CREATE TABLE dbo.[odd ]]name] ([a b] int PRIMARY KEY, [select] nvarchar(5), [x;y] int)")
    database.execute("INSERT INTO dbo.[odd ]]name] VALUES (1, N'a', 2)")
    assert sync(database).records() == [{"a b": 1, "select": "a", "x;y": 2}]


def test_an_error_in_the_middle_of_a_result_is_no_end_of_the_stream(fake, sync):
    fake.execute(*ORDERS)
    fake.fake.fail["FROM [dbo].[orders]"] = [
        ServerError(824, "SQL Server detected a logical consistency-based I/O error.")
    ]
    with pytest.raises(IcetapError, match="consistency"):
        sync(fake)
