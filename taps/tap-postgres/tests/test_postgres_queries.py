"""Queries of the user's own: described by the server, one statement, nothing is written."""

from __future__ import annotations

import pyarrow as pa
import pytest

from icetap.errors import ConfigurationError, IcetapError
from tap_postgres.tap import TapPostgres


@pytest.fixture(scope="module")
def source(database):
    return database(
        "CREATE TABLE orders (id int PRIMARY KEY, total numeric(10, 2), at timestamptz, note text)",
        "INSERT INTO orders SELECT i, i / 3.0, timestamptz '2026-01-01 00:00:00.123456+00' + i * interval '1 day', "
        "'n' FROM generate_series(1, 10) AS i",
        "CREATE SEQUENCE counted",
    )


def of(source, sql, **more):
    tap = TapPostgres(config={**source.config, "queries": [{"name": "q", "sql": sql, **more}]})
    return tap.streams["q"]


def rows(stream):
    return [row for page in stream.pages() for row in page.batch.to_pylist()]


def test_a_query_has_the_types_that_the_server_tells(source):
    stream = of(
        source,
        "SELECT total, at, 1.5::numeric(5,1) AS x, NULL::uuid AS u, count(*) OVER () AS n FROM orders;",
    )

    assert stream.columns.types == [
        pa.decimal128(10, 2),
        pa.timestamp("us", "UTC"),
        pa.decimal128(5, 1),
        pa.uuid(),
        pa.int64(),
    ]
    assert len(rows(stream)) == 10


@pytest.mark.parametrize(
    "sql", ["SELECT 1 AS a -- a comment", "WITH x AS (SELECT 1 AS a) SELECT * FROM x", "VALUES (1)"]
)
def test_queries_of_any_shape_are_read(source, sql):
    assert [list(row.values()) for row in rows(of(source, sql))] == [[1]]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT 1; SELECT 2", "42601"),
        ("SELECT 1) TO STDOUT; DROP TABLE orders; --", "42601"),
        ("SELECT nothing FROM orders", "42703"),
        ("SELECT * FROM nowhere", "42P01"),
        ("DELETE FROM orders", "no columns"),
        ("SELECT 1 AS a, 2 AS a", "two columns"),
    ],
)
def test_what_is_no_query_is_refused_at_discovery_by_name(source, sql, said):
    with pytest.raises(ConfigurationError, match=f"(?s)'q'.*{said}"):
        of(source, sql)


def test_a_description_leaves_the_transaction_as_it_was(source):
    """Neither its end, when the query is refused, nor a lock that an ALTER TABLE would wait for."""
    dialect = TapPostgres(config=source.config).dialect
    connection = dialect.connect()
    try:
        with pytest.raises(ConfigurationError, match="42P01"):
            dialect.describe(connection, name="q", sql="SELECT * FROM nowhere")
        table = dialect.describe(connection, name="q", sql="SELECT total FROM orders")
        held = connection.rows(
            "SELECT 1 FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'orders'::regclass"
        )
    finally:
        connection.close()

    assert [column.name for column in table.columns] == ["total"]
    assert held == []


def test_nothing_is_written(source):
    tap = TapPostgres(
        config={
            **source.config,
            "queries": [{"name": "q", "sql": "SELECT nextval('counted') AS n"}],
        }
    )

    with pytest.raises(IcetapError, match="25006"):
        rows(tap.streams["q"])


def test_the_bookmark_is_bound_as_a_value(source, sync):
    query = {
        "name": "q",
        "sql": "SELECT id, at FROM orders WHERE at >= :bookmark AND note <> ':bookmark'",
        "replication_key": "at",
        "key_properties": ["id"],
        "initial_value": "2026-01-09",
    }
    config = {"queries": [query], "streams": {"q": {"replication_method": "INCREMENTAL", "lookback_seconds": 0}},
              "filter_schemas": ["nothing"]}  # fmt: skip

    first = sync(source, **config)
    second = sync(source, state=first.state, **config)

    assert [record["id"] for record in first.records("q")] == [8, 9, 10]
    assert first.state["bookmarks"]["q"]["replication_key_value"] == "2026-01-11T00:00:00.123456Z"
    assert [record["id"] for record in second.records("q")] == [10]


def test_a_value_in_an_error_is_not_told(source):
    stream = of(source, "SELECT note::int AS x FROM orders")

    with pytest.raises(IcetapError, match="22P02") as raised:
        rows(stream)

    assert '"n"' not in str(raised.value)
