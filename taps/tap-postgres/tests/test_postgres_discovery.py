"""What becomes a stream, with which key, and what does not and why."""

from __future__ import annotations

import json
import logging
import time
from decimal import Decimal

import pytest

from tap_postgres.tap import TapPostgres

from .conftest import TRANSPORTS, Database

LONG = "n" * 63
SCHEMA = (
    "CREATE TABLE plain (id int PRIMARY KEY, name text)",
    "CREATE TABLE keyless (a int, b text)",
    "CREATE TABLE pair (b int, a int, c text, PRIMARY KEY (a, b))",
    "CREATE TABLE by_unique (a int NOT NULL, b text NOT NULL, c int NOT NULL UNIQUE, UNIQUE (a, b))",
    "CREATE TABLE null_unique (a int UNIQUE, b text)",
    "CREATE TABLE partial_unique (a int NOT NULL, b boolean)",
    "CREATE UNIQUE INDEX ON partial_unique (a) WHERE b",
    "CREATE TABLE expression_unique (a text NOT NULL)",
    "CREATE UNIQUE INDEX ON expression_unique (lower(a))",
    "CREATE TABLE by_identity (a int NOT NULL UNIQUE, b int NOT NULL)",
    "CREATE UNIQUE INDEX identity_of_b ON by_identity (b) INCLUDE (a)",
    "ALTER TABLE by_identity REPLICA IDENTITY USING INDEX identity_of_b",
    "CREATE TABLE none ()",
    "CREATE TABLE whole (id int, day date, note text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
    "CREATE TABLE whole_2026 PARTITION OF whole FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
    "CREATE TABLE whole_rest PARTITION OF whole DEFAULT",
    "INSERT INTO whole VALUES (1, '2026-05-05', 'a'), (2, '2027-05-05', 'b')",
    "CREATE VIEW a_view AS SELECT id, upper(name) AS name FROM plain",
    "CREATE MATERIALIZED VIEW a_matview AS SELECT id FROM plain",
    'CREATE TABLE "Mixed Case" ("Id" int PRIMARY KEY, "a ""quoted"" name" text, "ünïcödé" text, "select" int)',
    """INSERT INTO "Mixed Case" VALUES (1, 'q', 'u', 5)""",
    f'CREATE TABLE "{LONG}" ("{LONG}" int PRIMARY KEY)',
    f'INSERT INTO "{LONG}" VALUES (7)',
    "CREATE SCHEMA sales",
    "CREATE TABLE sales.plain (id int PRIMARY KEY)",
    "CREATE TABLE dropped (a int PRIMARY KEY, b text, c int GENERATED ALWAYS AS (a * 2) STORED)",
    "ALTER TABLE dropped DROP COLUMN b",
    "INSERT INTO dropped VALUES (4)",
)


@pytest.fixture(scope="module")
def source(database):
    return database(*SCHEMA)


@pytest.fixture(scope="module")
def streams(source):
    return TapPostgres(config=source.config).streams


def test_tables_and_views_become_streams(streams):
    assert set(streams) == {
        "public-plain",
        "public-keyless",
        "public-pair",
        "public-by_unique",
        "public-null_unique",
        "public-partial_unique",
        "public-expression_unique",
        "public-by_identity",
        "public-whole",
        "public-a_view",
        "public-a_matview",
        "public-Mixed Case",
        f"public-{LONG}",
        "public-dropped",
        "sales-plain",
    }


@pytest.mark.parametrize(
    ("stream", "key"),
    [
        ("plain", ["id"]),
        ("keyless", []),
        ("pair", ["a", "b"]),
        ("by_unique", ["c"]),
        ("null_unique", []),
        ("partial_unique", []),
        ("expression_unique", []),
        ("by_identity", ["b"]),
        ("whole", ["id", "day"]),
        ("a_view", []),
        ("Mixed Case", ["Id"]),
    ],
)
def test_the_key_is_unique_and_never_null(streams, stream, key):
    assert list(streams[f"public-{stream}"].primary_keys) == key


@pytest.mark.parametrize(
    ("stream", "rows"),
    [
        ("public-Mixed Case", [{"Id": 1, 'a "quoted" name': "q", "ünïcödé": "u", "select": 5}]),
        (f"public-{LONG}", [{LONG: 7}]),
        ("public-dropped", [{"a": 4, "c": 8}]),
        ("public-a_view", []),
        ("public-a_matview", []),
    ],
)
def test_names_of_any_kind_are_read(streams, stream, rows):
    assert [row for page in streams[stream].pages() for row in page.batch.to_pylist()] == rows


def test_a_partitioned_table_is_read_as_a_whole(streams):
    rows = [row for page in streams["public-whole"].pages() for row in page.batch.to_pylist()]

    assert sorted(row["id"] for row in rows) == [1, 2]


def test_partitions_can_be_streams_of_their_own(source):
    streams = TapPostgres(config={**source.config, "include_partitions": True}).streams

    assert {"public-whole", "public-whole_2026", "public-whole_rest"} <= set(streams)


def test_filter_schemas_leaves_others_out(source):
    assert list(TapPostgres(config={**source.config, "filter_schemas": ["sales"]}).streams) == ["sales-plain"]


def test_a_table_without_columns_is_left_out_with_a_warning(source, caplog):
    with caplog.at_level(logging.WARNING):
        assert "public-none" not in TapPostgres(config=source.config).streams

    assert "'public-none' is left out: it has no columns" in caplog.text


def test_a_parent_holds_its_childrens_rows_and_promises_no_key(scratch):
    source = scratch(
        "CREATE TABLE parent (id int PRIMARY KEY, v text)",
        "CREATE TABLE child (more int) INHERITS (parent)",
        "INSERT INTO parent VALUES (1, 'p')",
        "INSERT INTO child VALUES (1, 'c', 5)",
    )
    streams = TapPostgres(config=source.config).streams

    rows = [row for page in streams["public-parent"].pages() for row in page.batch.to_pylist()]

    assert rows == [{"id": 1, "v": "p"}, {"id": 1, "v": "c"}]
    assert list(streams["public-parent"].primary_keys) == []
    assert [page.batch.num_rows for page in streams["public-child"].pages()] == [1]


def test_a_foreign_table_is_read(scratch):
    source = scratch(
        "CREATE TABLE local (id int PRIMARY KEY, v numeric(5, 2))", "INSERT INTO local VALUES (1, 2.5)"
    )
    if not source.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'postgres_fdw'"):
        pytest.skip("this server comes without postgres_fdw")
    config = source.config
    source.execute(
        "CREATE EXTENSION postgres_fdw",
        "CREATE SERVER itself FOREIGN DATA WRAPPER postgres_fdw "
        f"OPTIONS (host '{config['host']}', port '{config['port']}', dbname '{config['database']}')",
        f"CREATE USER MAPPING FOR CURRENT_USER SERVER itself OPTIONS (user '{config['user']}', "
        f"password '{config['password']}')",
        "CREATE FOREIGN TABLE far (id int, v numeric(5, 2)) SERVER itself OPTIONS (table_name 'local')",
    )

    stream = TapPostgres(config=config).streams["public-far"]

    assert [row for page in stream.pages() for row in page.batch.to_pylist()] == [{"id": 1, "v": 2.5}]


def test_a_table_of_two_hundred_columns_is_read(scratch):
    columns = ", ".join(f"c{number} {'text' if number % 2 else 'numeric(9,3)'}" for number in range(200))
    values = ", ".join(f"'{number}.125'" for number in range(200))
    source = scratch(
        f"CREATE TABLE wide (id int PRIMARY KEY, {columns})", f"INSERT INTO wide VALUES (1, {values})"
    )

    (batch,) = [page.batch for page in TapPostgres(config=source.config).streams["public-wide"].pages()]

    row = batch.to_pylist()[0]
    assert all(float(row[f"c{number}"]) == number + 0.125 for number in range(200))


@pytest.mark.parametrize(("encoding", "is_whole"), [("LATIN1", True), ("SQL_ASCII", False)])
def test_texts_of_databases_in_another_encoding(tls_server, encoding, is_whole):
    name = f"in_{encoding.lower()}_{time.monotonic_ns()}"
    tls_server.execute(
        "postgres", f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
    )
    made = Database(tls_server, name)
    made.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        r"INSERT INTO t VALUES (1, 'plain'), (2, convert_from('\xe9'::bytea, 'LATIN1'))"
        if is_whole
        else r"INSERT INTO t VALUES (1, 'plain'), (2, encode('\xe9'::bytea, 'escape')), (3, E'\xe9')",
    )
    for transport in TRANSPORTS.values():
        tap = TapPostgres(config={**made.config, **transport, "on_rejected": "skip"})
        stream = tap.streams["public-t"]
        rows = [row["v"] for page in stream.pages() for row in page.batch.to_pylist()]

        assert rows == (["plain", "é"] if is_whole else ["plain", "\\351"])
        assert sum(stream.rejected.values()) == (0 if is_whole else 1)


# --- rights -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reader(database):
    """A database in which a role may see some tables, some columns and some rows."""
    made = database(
        "CREATE TABLE open (id int PRIMARY KEY, note text)",
        "INSERT INTO open VALUES (1, 'seen')",
        "CREATE TABLE closed (id int PRIMARY KEY)",
        "CREATE TABLE half (id int PRIMARY KEY, seen text, hidden text)",
        "INSERT INTO half VALUES (1, 'yes', 'no')",
        "CREATE TABLE keyless_half (id int PRIMARY KEY, seen text)",
        "CREATE TABLE filtered (id int PRIMARY KEY, owner text)",
        "INSERT INTO filtered VALUES (1, 'me'), (2, 'you')",
        "ALTER TABLE filtered ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY mine ON filtered USING (owner = 'me')",
        "CREATE SCHEMA locked",
        "CREATE TABLE locked.t (id int PRIMARY KEY)",
    )
    role = f"reader_{made.name}"
    made.execute(
        f"CREATE ROLE {role} LOGIN PASSWORD 'read only'",
        f"GRANT SELECT ON open, filtered TO {role}",
        f"GRANT SELECT (id, seen) ON half TO {role}",
        f"GRANT SELECT (seen) ON keyless_half TO {role}",
        f"GRANT SELECT ON locked.t TO {role}",
    )
    return made, {**made.config, "user": role, "password": "read only"}


def test_only_what_may_be_read_is_discovered(reader):
    streams = TapPostgres(config=reader[1]).streams

    assert {name: list(stream.columns.names) for name, stream in streams.items()} == {
        "public-filtered": ["id", "owner"],
        "public-half": ["id", "seen"],
        "public-keyless_half": ["seen"],
        "public-open": ["id", "note"],
    }
    assert list(streams["public-keyless_half"].primary_keys) == []


def test_row_level_security_is_warned_of(reader, caplog):
    with caplog.at_level(logging.WARNING):
        streams = TapPostgres(config=reader[1]).streams

    assert "Stream public-filtered has row-level security" in caplog.text
    assert [page.batch.to_pylist() for page in streams["public-filtered"].pages()] == [
        [{"id": 1, "owner": "me"}]
    ]


def test_one_stream_without_rights_does_not_stop_the_others(reader, sync):
    made, config = reader
    catalog = TapPostgres(config=config).catalog_dict
    role = config["user"]
    made.execute(f"REVOKE SELECT ON open FROM {role}")
    try:
        done = sync(made, catalog=catalog, may_fail=True, user=role, password=config["password"])
    finally:
        made.execute(f"GRANT SELECT ON open TO {role}")

    assert [record["seen"] for record in done.records("public-half")] == ["yes"]
    assert "public-open" in str(done.error)
    assert done.error.exit_code == 1


def test_a_right_that_is_lost_after_discovery_is_told_with_the_way_out(reader, sync):
    made, config = reader
    role = config["user"]
    tap = TapPostgres(config=config)
    made.execute(f"REVOKE SELECT ON open FROM {role}")
    try:
        with pytest.raises(Exception, match=r"42501.*Grant the user SELECT"):
            list(tap.streams["public-open"].pages())
    finally:
        made.execute(f"GRANT SELECT ON open TO {role}")


def test_the_test_names_each_stream(reader, command):
    done = command("--test", **reader[1])

    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    assert "stream 'public-half': readable" in said


# --- browse, preview, size ----------------------------------------------------------------------------------


def test_browse_tells_estimates_without_counting(source, command):
    source.execute("INSERT INTO keyless SELECT i, 'x' FROM generate_series(1, 1000) AS i", "ANALYZE keyless")

    done = command("--browse", **source.config)

    tables = {table["stream"]: table for table in json.loads(done.stdout)["tables"]}
    assert tables["public-keyless"]["estimated_rows"] == 1000
    assert tables["public-keyless"]["size_bytes"] >= 8192
    assert tables["public-plain"]["estimated_rows"] is None  # never analysed
    assert tables["public-a_view"]["size_bytes"] is None
    assert tables["public-whole"]["kind"] == "partitioned table"
    assert tables["public-whole"]["size_bytes"] >= 16384
    assert tables["public-pair"]["columns"][0] == {
        "name": "b",
        "type": "int32",
        "native_type": "integer",
        "nullable": False,
        "key": True,
    }


def test_a_preview_of_a_big_table_reads_few_rows(source):
    source.execute("INSERT INTO plain SELECT i, 'x' FROM generate_series(1, 20000) AS i")
    tap = TapPostgres(config={**source.config, "statement_timeout_seconds": 5})

    shown = tap.preview("public-plain", sql=None, limit=3)

    assert [row["id"] for row in shown["rows"]] == [1, 2, 3]
    assert shown["more"] is True


def test_a_preview_shows_what_json_cannot_hold(source):
    tap = TapPostgres(config=source.config)

    shown = tap.preview(
        None, sql="SELECT 'NaN'::float8 AS a, ARRAY['Infinity'::float8, 1] AS b, 1.5::real AS c", limit=3
    )

    assert shown["rows"] == [{"a": "nan", "b": "[inf, 1.0]", "c": Decimal("1.5")}]


@pytest.mark.soak
def test_five_thousand_tables_are_discovered_within_ten_seconds(database):
    made = database()
    for start in range(0, 5000, 500):
        made.execute(
            f"DO $$ BEGIN FOR i IN {start}..{start + 499} LOOP EXECUTE format('CREATE TABLE many_%s (id bigint PRIMARY "
            "KEY, a text, b numeric(10, 2), c timestamptz, d date, e uuid, f jsonb, g int, h text, j boolean)', i); "
            "END LOOP; END $$"
        )
    start = time.monotonic()

    found = TapPostgres(config=made.config).catalog_dict

    assert len(found["streams"]) == 5000
    assert time.monotonic() - start < 10
