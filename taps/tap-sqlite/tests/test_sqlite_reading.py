"""Full reads, incremental reads, queries and options: what is sent, and what STATE says about it."""

from __future__ import annotations

import pytest

from icetap.errors import ConfigurationError, DataError, SkippableError, StateError

ORDERS = "CREATE TABLE orders (id INTEGER PRIMARY KEY, total REAL, updated_at DATETIME); CREATE INDEX u ON orders (updated_at)"
INCREMENTAL = {"orders": {"replication_method": "INCREMENTAL", "replication_key": "updated_at"}}


def ids(out, stream="orders"):
    return [record["id"] for record in out.records(stream)]


def day(number):
    return f"2026-01-{number:02} 00:00:00"


def orders(*days):
    return [(number + 1, 1.5, None if one is None else day(one)) for number, one in enumerate(days)]


# --- full ---------------------------------------------------------------------------------------------


def test_first_message_is_a_state_that_says_where_the_run_starts(database, sync):
    path = database(ORDERS)
    assert sync(path).messages[0] == {"type": "STATE", "value": {"bookmarks": {}}}
    state = {"bookmarks": {"other": {"replication_key_value": 1.5}}}
    assert sync(path, state=state).messages[0] == {"type": "STATE", "value": state}


def test_full_read_is_numbered_and_marked_complete_after_its_last_record(database, sync):
    out = sync(database(ORDERS, {"orders": orders(1, 2)}))
    versions = {message["version"] for message in out.of("RECORD")}
    (marker,) = out.of("ACTIVATE_VERSION")
    assert versions == {marker["version"]}
    assert out.types == ["STATE", "SCHEMA", "RECORD", "RECORD", "STATE", "ACTIVATE_VERSION", "STATE"]
    assert out.state == {"bookmarks": {"orders": {"version": marker["version"]}}}


def test_full_read_of_no_rows_is_marked_twice(database, sync):
    assert sync(database(ORDERS)).types == [
        "STATE",
        "SCHEMA",
        "ACTIVATE_VERSION",
        "ACTIVATE_VERSION",
        "STATE",
    ]


def test_each_full_read_has_a_larger_version(database, sync):
    path = database(ORDERS, {"orders": orders(1)})
    first = sync(path)
    later = {"bookmarks": {"orders": {"version": first.state["bookmarks"]["orders"]["version"] + 10**9}}}
    second = sync(path, state=later)
    assert second.of("ACTIVATE_VERSION")[0]["version"] == later["bookmarks"]["orders"]["version"] + 1


RESUMABLE = [
    pytest.param("CREATE TABLE t (id INTEGER PRIMARY KEY)", id="integer-key"),
    pytest.param("CREATE TABLE t (id INT)", id="rowid"),
    pytest.param("CREATE TABLE t (id INT PRIMARY KEY) WITHOUT ROWID", id="without-rowid"),
    pytest.param(
        "CREATE TABLE t (id INT, x TEXT DEFAULT 'a', PRIMARY KEY (x, id)) WITHOUT ROWID", id="two-columns"
    ),
]


@pytest.mark.parametrize("script", RESUMABLE)
def test_interrupted_full_read_goes_on_at_its_position_and_proves_nothing_by_absence(
    database, sync, execute, script
):
    path = database(script)
    execute(
        path,
        "INSERT INTO t(id) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10) SELECT i FROM n",
    )
    whole = sync(path, batch_size=4)
    first_state = whole.of("STATE")[1]["value"]
    sent = [record["id"] for record in whole.records()][
        : 4 if "position" in first_state["bookmarks"]["t"] else 0
    ]
    resumed = sync(path, state=first_state)
    assert {message["version"] for message in resumed.of("RECORD")} == {
        first_state["bookmarks"]["t"]["version"]
    }
    rest = [record["id"] for record in resumed.records()]
    assert len(rest) < 10
    assert sorted({*rest, *range(1, 11 - len(rest))}) == list(range(1, 11))
    assert not set(rest) & set(sent[: 10 - len(rest)])
    assert resumed.of("ACTIVATE_VERSION") == []
    assert "position" not in resumed.state["bookmarks"]["t"]


def test_run_after_a_resumed_one_reads_everything_again(database, sync):
    path = database(ORDERS, {"orders": orders(1, 2, 3)})
    resumed = sync(path, state={"bookmarks": {"orders": {"version": 5, "position": {"id": 2}}}})
    assert ids(resumed) == [3]
    assert ids(sync(path, state=resumed.state)) == [1, 2, 3]


# --- incremental --------------------------------------------------------------------------------------


def test_second_run_emits_what_changed_and_what_stands_at_the_bookmark(database, sync, execute):
    path = database(ORDERS, {"orders": orders(1, 5, 9)})
    first = sync(path, streams=INCREMENTAL)
    assert first.of("SCHEMA")[0]["bookmark_properties"] == ["updated_at"]
    assert first.state["bookmarks"]["orders"] == {
        "replication_key": "updated_at",
        "replication_key_value": "2026-01-09T00:00:00.000000",
        "storage_class": "text",
    }
    assert ids(sync(path, state=first.state, streams=INCREMENTAL)) == [3]
    execute(
        path,
        f"UPDATE orders SET updated_at = '{day(10)}' WHERE id = 1",
        f"INSERT INTO orders VALUES (4, 0, '{day(11)}')",
    )
    assert ids(sync(path, state=first.state, streams=INCREMENTAL)) == [3, 1, 4]


def test_incremental_records_have_no_version_and_no_marker(database, sync):
    out = sync(database(ORDERS, {"orders": orders(1)}), streams=INCREMENTAL)
    assert "version" not in out.of("RECORD")[0]
    assert out.of("ACTIVATE_VERSION") == []


def test_killed_incremental_run_resumes_where_its_last_state_says(database, sync):
    path = database(ORDERS, {"orders": orders(*reversed(range(1, 11)))})
    out = sync(path, streams=INCREMENTAL, batch_size=3)
    middle = out.of("STATE")[2]["value"]
    assert ids(
        sync(path, state=middle, streams={"orders": {**INCREMENTAL["orders"], "lookback_seconds": 0}})
    ) == [6, 5, 4, 3, 2, 1]


def test_ties_are_read_again(database, sync):
    path = database(ORDERS, {"orders": orders(1, 2, 2, 2)})
    out = sync(path, streams=INCREMENTAL, batch_size=3)
    state = out.of("STATE")[1]["value"]
    assert state["bookmarks"]["orders"]["replication_key_value"].startswith("2026-01-02")
    assert ids(sync(path, state=state, streams=INCREMENTAL)) == [2, 3, 4]


@pytest.mark.parametrize(
    ("policy", "first", "second"),
    [("first_run", [2, 1, 3], [3]), ("always", [2, 1, 3], [2, 3]), ("never", [1, 3], [3])],
)
def test_rows_without_a_cursor(database, sync, caplog, policy, first, second):
    path = database(ORDERS, {"orders": orders(1, None, 2)})
    options = {"orders": {**INCREMENTAL["orders"], "null_cursor": policy}}
    out = sync(path, streams=options)
    assert ids(out) == first
    assert ids(sync(path, state=out.state, streams=options)) == second
    assert ("1 rows have no value in the replication key" in caplog.text) == (policy != "always")


def test_lookback_asks_earlier_and_the_bookmark_never_moves_back(database, sync):
    rows = [(1, 0, "2026-01-01 00:00:00"), (2, 0, "2026-01-01 00:04:00"), (3, 0, "2026-01-01 00:08:00")]
    path = database(ORDERS, {"orders": rows})
    first = sync(path, streams=INCREMENTAL)
    again = sync(path, state=first.state, streams=INCREMENTAL, batch_size=1)
    assert ids(again) == [2, 3]
    values = {state["value"]["bookmarks"]["orders"]["replication_key_value"] for state in again.of("STATE")}
    assert values == {"2026-01-01T00:08:00.000000"}


def test_streams_without_a_key_do_not_look_back(database, sync):
    path = database(
        "CREATE TABLE log (at DATETIME, n INT)",
        {"log": [("2026-01-01 00:00:00", 1), ("2026-01-01 00:01:00", 2)]},
    )
    options = {"log": {"replication_method": "INCREMENTAL", "replication_key": "at"}}
    first = sync(path, streams=options)
    assert [record["n"] for record in sync(path, state=first.state, streams=options).records()] == [2]
    with pytest.raises(ConfigurationError, match="lookback_seconds"):
        sync(path, state=first.state, streams={"log": {**options["log"], "lookback_seconds": 60}})


def test_rows_that_come_during_a_run_belong_to_the_next(database, sync, execute, monkeypatch):
    from tap_sqlite.dialect import SQLiteDialect

    path = database(ORDERS, {"orders": orders(1)})
    execute(path, "PRAGMA journal_mode = WAL")
    read_range = SQLiteDialect.cursor_range

    def and_write(self, *arguments, **keywords):
        found = read_range(self, *arguments, **keywords)
        execute(
            path,
            f"INSERT INTO orders VALUES (2, 0, '{day(1)}')",
            f"INSERT INTO orders VALUES (3, 0, '{day(3)}')",
        )
        return found

    monkeypatch.setattr(SQLiteDialect, "cursor_range", and_write)
    first = sync(path, streams=INCREMENTAL)
    monkeypatch.undo()
    assert ids(first) == [1]
    assert ids(sync(path, state=first.state, streams=INCREMENTAL)) == [1, 2, 3]


CURSORS = [
    pytest.param("INTEGER", [1, 5, 3], [3, 2], 5, id="integer"),
    pytest.param("REAL", [0.1, 0.30000000000000004, 0.3], [3, 2], 0.30000000000000004, id="real"),
    pytest.param("TEXT", ["a", "c", "b"], [3, 2], "c", id="text"),
    pytest.param("DATE", ["2026-01-01", "2026-01-03", "2026-01-02"], [3, 2], "2026-01-03", id="date"),
    pytest.param("DATETIME", ["2026-01-01T10:00:00", "2026-01-03T10:00:00.500", "2026-01-02T10:00:00"], [3, 2], "2026-01-03T10:00:00.500000", id="iso-with-t"),
    pytest.param("TIMESTAMPTZ", ["2026-01-01 10:00:00Z", "2026-01-03 10:00:00Z", "2026-01-02 10:00:00Z"], [3, 2], "2026-01-03T10:00:00.000000Z", id="utc"),
]  # fmt: skip


@pytest.mark.parametrize(("declared", "values", "order", "bookmark"), CURSORS)
def test_bookmark_is_lossless_and_finds_its_own_row_again(database, sync, declared, values, order, bookmark):
    path = database(
        f"CREATE TABLE t (id INTEGER PRIMARY KEY, c {declared})",
        {"t": [(number + 1, value) for number, value in enumerate(values)]},
    )
    options = {"t": {"replication_method": "INCREMENTAL", "replication_key": "c", "lookback_seconds": 0}}
    first = sync(path, streams=options)
    assert ids(first, "t")[1:] == order
    value = first.state["bookmarks"]["t"]["replication_key_value"]
    assert (value if isinstance(bookmark, str) else float(value)) == bookmark
    assert ids(sync(path, state=first.state, streams=options), "t") == [2]


def test_equal_times_written_differently_are_all_found(database, sync):
    rows = [
        (1, 0, "2026-01-01 00:00:00.5"),
        (2, 0, "2026-01-01 00:00:00.500"),
        (3, 0, "2026-01-01 00:00:00.500000"),
    ]
    path = database(ORDERS, {"orders": rows})
    options = {"orders": {**INCREMENTAL["orders"], "lookback_seconds": 0}}
    assert ids(sync(path, state=sync(path, streams=options).state, streams=options)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("declared", "values", "reason"),
    [
        pytest.param("DATETIME", ["2026-01-01 00:00:00", 5], "number and text", id="number-and-text"),
        pytest.param("", [b"x", b"y"], "no declared type", id="no-type"),
        pytest.param("BLOB", [b"x", b"y"], "blobs", id="blobs"),
        pytest.param(
            "DATETIME", ["2026-01-01 00:00:00", "2026-01-01T00:00:00"], "with a space", id="space-and-t"
        ),
        pytest.param(
            "TIMESTAMPTZ", ["2026-01-01 00:00:00+02:00", "2026-01-01 00:00:00+01:00"], "offsets", id="offsets"
        ),
    ],
)
def test_cursor_that_sqlite_cannot_order_is_refused(database, sync, declared, values, reason):
    path = database(
        f"CREATE TABLE t (id INTEGER PRIMARY KEY, c {declared})",
        {"t": [(number, value) for number, value in enumerate(values)]},
    )
    with pytest.raises((DataError, ConfigurationError), match=reason):
        sync(path, streams={"t": {"replication_method": "INCREMENTAL", "replication_key": "c"}})


def test_cursor_that_changed_its_storage_class_is_refused(database, sync, execute):
    path = database("CREATE TABLE t (id INTEGER PRIMARY KEY, c NUMERIC)", {"t": [(1, 5)]})
    options = {"t": {"replication_method": "INCREMENTAL", "replication_key": "c"}}
    state = sync(path, streams=options).state
    execute(path, "UPDATE t SET c = 'five'")
    with pytest.raises(StateError, match="held number values"):
        sync(path, state=state, streams=options)


def test_cursor_without_an_index_is_said(database, sync, caplog):
    path = database("CREATE TABLE t (id INTEGER PRIMARY KEY, c INT)", {"t": [(1, 5)]})
    sync(path, streams={"t": {"replication_method": "INCREMENTAL", "replication_key": "c"}})
    assert "'c' has no index" in caplog.text


def test_incremental_without_a_replication_key_names_the_setting(database, sync):
    with pytest.raises(SkippableError, match="replication key"):
        sync(database(ORDERS), streams={"orders": {"replication_method": "INCREMENTAL"}})


# --- queries ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [":bookmark", ":last_pull"])
def test_query_gets_its_bookmark_bound(database, sync, execute, name):
    path = database(ORDERS, {"orders": orders(1, 5)})
    query = {
        "name": "big",
        "sql": f"SELECT id, 'no :bookmark here' AS note, updated_at FROM orders WHERE updated_at > {name} -- :nor here\n;",
        "key_properties": ["id"],
        "replication_key": "updated_at",
        "initial_value": day(2),
    }
    first = sync(path, queries=[query])
    assert first.records("big") == [
        {"id": 2, "note": "no :bookmark here", "updated_at": "2026-01-05T00:00:00.000000"}
    ]
    execute(path, f"INSERT INTO orders VALUES (3, 0, '{day(6)}')")
    assert ids(sync(path, state=first.state, queries=[query]), "big") == [2, 3]


def test_query_with_a_replication_key_alone_is_filtered_around_it(database, sync):
    path = database(ORDERS, {"orders": orders(1, 5)})
    query = {"name": "q", "sql": "SELECT id, updated_at FROM orders", "replication_key": "updated_at"}
    first = sync(path, queries=[query])
    assert ids(first, "q") == [1, 2]
    assert ids(sync(path, state=first.state, queries=[query]), "q") == [2]


def test_query_columns_are_described_by_the_server(database, sync):
    path = database(ORDERS)
    sql = "SELECT id, CAST(total AS INTEGER) AS whole, count(*) OVER () AS n FROM orders"
    out = sync(path, queries=[{"name": "q", "sql": sql}])
    assert {name: schema["type"] for name, schema in out.schema("q").items()} == {
        "id": ["integer", "null"],
        "whole": ["integer", "null"],
        "n": ["string", "null"],
    }


@pytest.mark.parametrize(
    ("query", "message"),
    [
        pytest.param({"name": "q", "sql": "SELECT :other"}, "':other'", id="other-parameter"),
        pytest.param({"name": "q", "sql": "SELECT :bookmark"}, "replication_key", id="no-replication-key"),
        pytest.param(
            {"name": "q", "sql": "SELECT :bookmark AS a", "replication_key": "a"},
            "initial_value",
            id="no-start",
        ),
        pytest.param({"name": "q", "sql": "DELETE FROM orders"}, "syntax", id="no-select"),
        pytest.param({"name": "q", "sql": "SELECT 1; DROP TABLE orders"}, "q", id="two-statements"),
        pytest.param({"name": "q", "sql": "SELECT nix FROM orders"}, "no such column", id="unknown-column"),
        pytest.param(
            {"name": "q", "sql": "SELECT 1", "key_property": ["a"]},
            "did you mean 'key_properties'",
            id="unknown-option",
        ),
        pytest.param({"name": "orders", "sql": "SELECT 1"}, "two streams", id="name-of-a-table"),
    ],
)
def test_wrong_query_is_a_configuration_error(database, sync, query, message):
    with pytest.raises(ConfigurationError, match=message):
        sync(database(ORDERS, {"orders": orders(1)}), queries=[query])


# --- options of streams -------------------------------------------------------------------------------


def test_where_filters_rows(database, sync):
    path = database(ORDERS, {"orders": orders(1, 2, 3)})
    assert ids(sync(path, streams={"orders": {"where": "id = 1 OR id = 3"}})) == [1, 3]
    options = {"orders": {**INCREMENTAL["orders"], "where": "id = 1 OR id = 3"}}
    assert ids(sync(path, streams=options)) == [1, 3]


def test_rename_stream_name_and_key(database, sync):
    path = database(ORDERS, {"orders": orders(1)})
    out = sync(
        path,
        streams={
            "orders": {
                "rename": {"id": "order_id", "updated_at": "changed"},
                "stream_name": "shop_orders",
                "key_properties": ["id"],
                "replication_method": "INCREMENTAL",
                "replication_key": "updated_at",
            }
        },
    )
    (schema,) = out.of("SCHEMA", "shop_orders")
    assert (schema["key_properties"], schema["bookmark_properties"]) == (["order_id"], ["changed"])
    assert out.records("shop_orders")[0]["order_id"] == 1
    assert out.state["bookmarks"]["shop_orders"]["replication_key"] == "changed"


def test_exact_name_beats_glob_and_the_later_glob_wins(database, sync):
    path = database(ORDERS, {"orders": orders(1, 2, 3)})
    streams = {
        "orders": {"stream_name": "exact"},
        "ord*": {"where": "id = 1", "stream_name": "glob"},
        "*": {"where": "id > 1"},
    }
    assert ids(sync(path, streams=streams), "exact") == [2, 3]


@pytest.mark.parametrize(
    ("streams", "message"),
    [
        pytest.param({"order": {"where": "1"}}, "did you mean 'orders'", id="stream"),
        pytest.param({"orders": {"wher": "1"}}, "did you mean 'where'", id="option"),
        pytest.param({"orders": {"rename": {"idd": "x"}}}, "did you mean 'id'", id="column"),
        pytest.param({"orders": {"rename": {"id": "total"}}}, "'total' has already", id="names-meet"),
        pytest.param({"orders": {"key_properties": ["nr"]}}, "'nr'", id="key"),
        pytest.param({"orders": {"where": "nix = 1"}}, "no such column", id="where"),
    ],
)
def test_wrong_option_is_a_configuration_error(database, sync, streams, message):
    with pytest.raises(ConfigurationError, match=message):
        sync(database(ORDERS, {"orders": orders(1)}), streams=streams)


# --- catalog ------------------------------------------------------------------------------------------


def catalog_of(path, **config):
    from tap_sqlite.tap import TapSQLite

    return TapSQLite(config={"database": str(path), **config}).catalog_dict


def metadata_of(stream, *breadcrumb):
    return next(entry["metadata"] for entry in stream["metadata"] if entry["breadcrumb"] == list(breadcrumb))


def test_deselected_columns_are_not_even_read(database, sync):
    path = database("CREATE TABLE t (id INTEGER PRIMARY KEY, bad INTEGER, good TEXT)", {"t": [(1, "x", "y")]})
    catalog = catalog_of(path)
    metadata_of(catalog["streams"][0], "properties", "bad")["selected"] = False
    metadata_of(catalog["streams"][0], "properties", "id")["selected"] = False
    out = sync(path, catalog=catalog)
    assert out.records() == [{"id": 1, "good": "y"}]
    assert list(out.schema("t")) == ["id", "good"]


def test_deselected_streams_are_not_read(database, sync):
    path = database("CREATE TABLE a (x INT); CREATE TABLE b (x INT)")
    catalog = catalog_of(path)
    metadata_of(catalog["streams"][0])["selected"] = False
    assert {message["stream"] for message in sync(path, catalog=catalog).of("SCHEMA")} == {"b"}


def test_what_cannot_be_read_is_told_of_selected_tables_alone(database, sync, caplog):
    path = database("CREATE TABLE a (x INT); CREATE VIEW broken AS SELECT * FROM nowhere")
    catalog = catalog_of(path)
    assert "'broken' is left out" in caplog.text
    caplog.clear()

    sync(path, catalog=catalog)

    assert "left out" not in caplog.text


def test_a_replication_key_of_all_tables_need_not_be_in_those_that_are_not_selected(database, sync):
    path = database("CREATE TABLE a (x INT); CREATE TABLE b (y INT)")
    catalog = catalog_of(path)
    for entry in catalog["streams"]:
        entry |= {"replication_method": "INCREMENTAL", "replication_key": "y"}  # as Meltano does it

    with pytest.raises(
        SkippableError, match=r"1 stream could not be read.*'a' is INCREMENTAL but.*the column 'y'"
    ):
        sync(path, catalog=catalog)
    metadata_of(catalog["streams"][0])["selected"] = False

    assert {message["stream"] for message in sync(path, catalog=catalog).of("SCHEMA")} == {"b"}


def test_metadata_of_meltano_beats_the_options(database, sync):
    path = database(ORDERS, {"orders": orders(1)})
    options = {"orders": {"replication_method": "FULL_TABLE", "key_properties": ["total"]}}
    catalog = catalog_of(path, streams=options)
    # As Meltano does it: the words with underscores at the stream, those with hyphens in the metadata.
    catalog["streams"][0] |= {"replication_method": "INCREMENTAL", "replication_key": "updated_at"}
    metadata_of(catalog["streams"][0]).update(
        {"replication-key": "updated_at", "table-key-properties": ["id"]}
    )
    out = sync(path, catalog=catalog, streams=options)
    (schema,) = out.of("SCHEMA")
    assert (schema["key_properties"], schema["bookmark_properties"]) == (["id"], ["updated_at"])


def test_columns_that_the_catalog_does_not_know_are_left_out(database, sync, execute):
    path = database(ORDERS, {"orders": orders(1)})
    catalog = catalog_of(path)
    execute(path, "ALTER TABLE orders ADD COLUMN note TEXT")
    assert "note" not in sync(path, catalog=catalog).schema("orders")
    assert "note" in sync(path).schema("orders")
