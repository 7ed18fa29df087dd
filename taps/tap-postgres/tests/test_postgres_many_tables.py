"""Many small tables: read ahead on few connections, in their order, each with its own fate."""

from __future__ import annotations

import threading

import pytest

from icetap.errors import SkippableError
from icetap.sql import ahead
from icetap.testing.relays import LossyProxy

TABLES = 60


@pytest.fixture(scope="module")
def shop(database):
    statements = [
        f"CREATE TABLE t{number:02d} (id int PRIMARY KEY); INSERT INTO t{number:02d} VALUES ({number})"
        for number in range(TABLES)
    ]
    return database(*statements, "ANALYZE")


def streams_in_order(output, kind):
    seen = dict.fromkeys(message["stream"] for message in output.of(kind))
    return list(seen)


@pytest.mark.parametrize("max_parallel", [1, 2, 5])
def test_tables_come_in_their_order_on_few_connections(shop, sync, max_parallel):
    with LossyProxy(shop.server.port, after_bytes=2**40) as proxy:
        output = sync(shop, port=proxy.port, max_parallel=max_parallel)

    names = [f"public-t{number:02d}" for number in range(TABLES)]
    assert streams_in_order(output, "RECORD") == names
    assert streams_in_order(output, "ACTIVATE_VERSION") == names
    assert [record["id"] for record in output.records()] == list(range(TABLES))
    assert proxy.connections <= max_parallel + 2  # that of discovery, and one to spare


def test_a_table_that_cannot_be_read_does_not_stop_those_read_ahead_with_it(shop, sync):
    from tap_postgres.tap import TapPostgres

    catalog = TapPostgres(config=shop.config).catalog_dict
    shop.execute("ALTER TABLE t30 RENAME TO elsewhere")
    try:
        output = sync(shop, catalog=catalog, may_fail=True)
    finally:
        shop.execute("ALTER TABLE elsewhere RENAME TO t30")

    error = output.error
    assert isinstance(error, SkippableError)
    assert [record["id"] for record in output.records()] == [n for n in range(TABLES) if n != 30]


def test_a_table_that_grew_since_the_statistics_is_not_held_whole(database, sync, monkeypatch):
    monkeypatch.setattr(ahead, "MOST_BYTES", 50_000)
    source = database(
        "CREATE TABLE a (id int PRIMARY KEY)", "CREATE TABLE b (id int PRIMARY KEY, note text)", "ANALYZE"
    )
    source.execute(
        "INSERT INTO a VALUES (1)",
        "INSERT INTO b SELECT g, repeat('x', 50) FROM generate_series(1, 20000) AS g",
    )
    held = []
    fill = ahead.TablesAhead._fill

    def watched(self, read, pages):
        fill(self, read, pages)
        held.append(sum(page.batch.num_rows for page in read.pages))

    monkeypatch.setattr(ahead.TablesAhead, "_fill", watched)
    output = sync(source, batch_size=500, max_parallel=2)

    assert [len(output.records(f"public-{name}")) for name in "ab"] == [1, 20_000]
    assert max(held) < 20_000
    assert len(output.of("ACTIVATE_VERSION")) == 2


def test_a_connection_that_waits_for_its_next_table_holds_no_lock(database, sync, monkeypatch):
    source = database("CREATE TABLE a (id int)", "CREATE TABLE b (id int)", "ANALYZE")
    locks = []

    from tap_postgres.dialect import PostgresDialect

    release = PostgresDialect.release

    def watched(self, connection):
        done = release(self, connection)
        locks.append(
            source.execute(
                "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation "
                "WHERE c.relname IN ('a', 'b') AND l.pid <> pg_backend_pid()"
            )[0][0]
        )
        return done

    monkeypatch.setattr(PostgresDialect, "release", watched)
    sync(source, max_parallel=1)

    assert locks == [0, 0]


def test_no_thread_is_left_behind(shop, sync):
    before = set(threading.enumerate())
    sync(shop, max_parallel=4)

    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=30)
    assert set(threading.enumerate()) <= before
