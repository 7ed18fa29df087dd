"""Connections that break, servers that wait: the read goes on, or fails by name; it never ends in silence."""

from __future__ import annotations

import collections
import contextlib
import socket
import sys
import threading
import time

import pytest

from icetap.errors import ConfigurationError, RetriableError, SkippableError
from icetap.testing.relays import LossyProxy
from tap_postgres.tap import TapPostgres

ROWS = 12_000
TABLE = "CREATE TABLE orders (id int PRIMARY KEY, moment timestamptz, note text)"
FILL = (
    "INSERT INTO orders SELECT g, timestamptz '2026-01-01 00:00:00Z' + g * interval '1 second', repeat('x', 100) || g "
    f"FROM generate_series(1, {ROWS}) AS g"
)
IDS = list(range(1, ROWS + 1))


@pytest.fixture(autouse=True)
def _small_chunks_and_short_waits(monkeypatch):
    """Some twelve chunks of a small table."""
    monkeypatch.setattr("tap_postgres.chunks.CHUNK_BYTES", 128 * 1024)
    monkeypatch.setattr("icetap.waiting.FIRST_WAIT_SECONDS", 0.05)


@pytest.fixture(scope="module")
def orders(database):
    return database(TABLE, FILL, "VACUUM ANALYZE orders")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        pytest.param("Temporary failure in name resolution", RetriableError, id="name-server-down"),
        pytest.param("Name or service not known", ConfigurationError, id="no-such-name"),
    ],
)
def test_a_name_that_cannot_be_looked_up_now_is_tried_again(monkeypatch, said, kind):
    def refuses(*_, **__):
        raise socket.gaierror(-3, said)

    monkeypatch.setattr(socket, "getaddrinfo", refuses)
    dialect = TapPostgres(
        config={"host": "db.example.org", "database": "shop", "user": "reader"}, setup_mapper=False
    ).dialect

    with pytest.raises(kind, match=rf"'shop': failed to resolve host 'db.example.org': .*{said}\. Check"):
        dialect.connect()


def ids_of(output, stream="public-orders"):
    return [record["id"] for record in output.records(stream)]


# --- full reads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [1, 3])
def test_a_cut_connection_among_several_is_made_anew_in_the_same_snapshot(orders, sync, cuts):
    with LossyProxy(orders.server.port, after_bytes=300_000, times=cuts) as proxy:
        output = sync(orders, port=proxy.port, max_parallel=2)

    assert proxy.left == 0
    assert sorted(ids_of(output)) == IDS
    assert len(output.of("ACTIVATE_VERSION")) == 1  # one snapshot: what did not come is not there


def test_rows_come_once_in_the_arrow_lane_too(orders, sync, tmp_path):
    lane = {"batch_config": {"encoding": {"format": "arrow"}, "storage": {"root": str(tmp_path / "b")}}}
    with LossyProxy(orders.server.port, after_bytes=300_000, times=2) as proxy:
        output = sync(orders, port=proxy.port, max_parallel=2, **lane)

    assert sorted(output.table()["id"].to_pylist()) == IDS
    assert len(output.of("ACTIVATE_VERSION")) == 1


def test_when_the_snapshot_is_lost_the_read_goes_on_and_proves_nothing_by_absence(orders, sync, caplog):
    with LossyProxy(orders.server.port, after_bytes=600_000) as proxy:
        output = sync(orders, port=proxy.port, max_parallel=1)

    assert proxy.left == 0
    assert sorted(ids_of(output)) == IDS
    assert len({message["version"] for message in output.of("RECORD")}) == 1
    assert output.of("ACTIVATE_VERSION") == []
    assert "does not show which rows are gone" in caplog.text


def test_rows_that_change_while_the_connection_is_lost_come_as_they_are(database, sync):
    source = database(TABLE, FILL, "VACUUM ANALYZE orders")
    changed = "UPDATE orders SET note = 'changed' WHERE id % 1000 = 0"
    with _gate(source.server.port, after_bytes=900_000, act=lambda: source.execute(changed)) as port:
        output = sync(source, port=port, max_parallel=1)

    last = {record["id"]: record["note"] for record in output.records()}
    assert sorted(last) == IDS
    assert {number for number, note in last.items() if note == "changed"} == set(range(1000, ROWS + 1, 1000))


def test_a_read_that_was_given_up_is_finished_by_the_next_run(orders, sync):
    with LossyProxy(orders.server.port, after_bytes=600_000) as proxy:
        first = sync(orders, port=proxy.port, max_parallel=1, max_retries=0, may_fail=True)
    second = sync(orders, state=first.state)

    error = first.error
    assert isinstance(error, RetriableError)
    assert first.error.exit_code == 1
    assert 0 < len(ids_of(first)) < ROWS
    assert first.of("ACTIVATE_VERSION") == []
    assert set(ids_of(first)) | set(ids_of(second)) == set(IDS)
    assert {m["version"] for m in second.of("RECORD")} == {m["version"] for m in first.of("RECORD")}


def test_a_view_that_was_sent_in_part_fails(database, sync):
    source = database(TABLE, FILL, "CREATE VIEW recent AS SELECT * FROM orders")
    with LossyProxy(source.server.port, after_bytes=1_400_000) as proxy:
        output = sync(
            source, port=proxy.port, catalog=_only(source, "public-recent"), batch_size=200, may_fail=True
        )

    error = output.error
    assert isinstance(error, RetriableError)
    assert 0 < len(output.records("public-recent")) < ROWS
    assert output.of("ACTIVATE_VERSION") == []


def test_a_view_of_which_nothing_was_sent_is_read_again(database, sync):
    source = database(TABLE, FILL, "CREATE VIEW recent AS SELECT * FROM orders")
    with LossyProxy(source.server.port, after_bytes=100_000) as proxy:
        output = sync(source, port=proxy.port, catalog=_only(source, "public-recent"))

    assert proxy.left == 0
    assert sorted(ids_of(output, "public-recent")) == IDS
    assert len(output.of("ACTIVATE_VERSION")) == 1


def test_a_server_that_stays_away_is_given_up_with_its_name(orders, sync):
    with _gate(orders.server.port, after_bytes=300_000, vanishes=True) as port:
        output = sync(orders, port=port, max_parallel=2, max_retries=2, may_fail=True)

    error = output.error
    assert isinstance(error, RetriableError)
    assert f"127.0.0.1:{port}" in str(error)
    assert output.of("ACTIVATE_VERSION") == []


# --- incremental reads --------------------------------------------------------------------------------------

BY_MOMENT = {"replication_method": "INCREMENTAL", "replication_key": "moment"}


def test_an_incremental_read_goes_on_at_its_bookmark(orders, sync):
    streams = {"public-orders": BY_MOMENT}
    with LossyProxy(orders.server.port, after_bytes=900_000) as proxy:
        output = sync(orders, port=proxy.port, streams=streams, batch_size=1000)

    assert proxy.left == 0
    assert set(ids_of(output)) == set(IDS)
    bookmark = output.state["bookmarks"]["public-orders"]
    assert bookmark["replication_key_value"] == "2026-01-01T03:20:00.000000Z"


def test_an_incremental_read_without_a_key_leaves_the_rest_to_the_next_run(database, sync):
    source = database(TABLE.replace(" PRIMARY KEY", ""), FILL, "VACUUM ANALYZE orders")
    streams = {"public-orders": BY_MOMENT}
    with LossyProxy(source.server.port, after_bytes=900_000) as proxy:
        first = sync(source, port=proxy.port, streams=streams, batch_size=1000, may_fail=True)
    second = sync(source, streams=streams, state=first.state)

    error = first.error
    assert isinstance(error, RetriableError)
    counts = collections.Counter(ids_of(first) + ids_of(second))
    # The rows at the bookmark come again: the loader knows them.
    assert set(counts) == set(IDS)
    assert sum(counts.values()) == ROWS + 1


# --- servers that wait --------------------------------------------------------------------------------------


def test_a_lock_that_is_let_go_in_time_is_waited_for(database, sync):
    source = database(TABLE, FILL)
    with _locked(source, "LOCK orders IN ACCESS EXCLUSIVE MODE", seconds=1.6):
        output = sync(source, lock_timeout_seconds=1)

    assert sorted(ids_of(output)) == IDS


def test_a_lock_that_stays_is_named(database, sync):
    source = database(TABLE, FILL)
    with _locked(source, "LOCK orders IN ACCESS EXCLUSIVE MODE", seconds=8):
        output = sync(source, lock_timeout_seconds=1, max_retries=0, may_fail=True)

    error = output.error
    assert isinstance(error, SkippableError)
    assert "lock" in str(output.error)


def test_the_victim_of_a_deadlock_reads_again(database, sync):
    source = database(
        TABLE, FILL, "CREATE TABLE other (id int)", "CREATE VIEW joined AS SELECT o.* FROM orders o, other"
    )
    source.execute("INSERT INTO other VALUES (1)")
    with source.connect() as session, session.transaction():
        session.execute("LOCK other IN ACCESS EXCLUSIVE MODE")

        def cross():
            with contextlib.suppress(Exception):
                session.execute("LOCK orders IN ACCESS EXCLUSIVE MODE")
            session.execute("ROLLBACK")

        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'other'::regclass"
        watch = _once(lambda: source.execute(waiting) != [(0,)], cross)
        output = sync(source, catalog=_only(source, "public-joined"))
        watch.join()

    assert sorted(ids_of(output, "public-joined")) == IDS


def test_a_session_that_an_administrator_ends_is_made_anew(orders, sync, caplog):
    end = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE application_name LIKE 'icetap%' AND datname = current_database()"
    )
    with _gate(orders.server.port, after_bytes=400_000, act=lambda: orders.execute(end), cuts=False) as port:
        output = sync(orders, port=port, max_parallel=1)

    assert "attempt 2 of 6 follows" in caplog.text
    assert set(ids_of(output)) == set(IDS)


# --- signing in ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_command", [True, False], ids=["asked for again", "fixed"])
def test_a_password_that_changes_in_the_middle(database, sync, tmp_path, has_command):
    source = database(
        TABLE, FILL, "VACUUM ANALYZE orders", "DROP ROLE IF EXISTS temp", "CREATE ROLE temp LOGIN"
    )
    source.execute("ALTER ROLE temp PASSWORD 'first-one'", "GRANT SELECT ON orders TO temp")
    file = tmp_path / "password"
    file.write_text("first-one")
    command = f"{sys.executable} -c \"print(open('{file}').read())\""
    sign_in = {"password_command": command, "password": None} if has_command else {"password": "first-one"}

    def change():
        source.execute("ALTER ROLE temp PASSWORD 'second-one'")
        file.write_text("second-one")

    with _gate(source.server.port, after_bytes=700_000, act=change) as port:
        output = sync(source, port=port, user="temp", **sign_in, max_parallel=1, may_fail=True)
    source.execute("DROP OWNED BY temp", "DROP ROLE temp")

    if has_command:
        assert sorted(ids_of(output)) == IDS
    else:
        error = output.error
        assert isinstance(error, ConfigurationError)
        assert "'password'" in str(output.error)
        assert "first-one" not in str(output.error)


# --- one stream of several ----------------------------------------------------------------------------------


def test_a_table_that_is_gone_fails_the_run_after_the_others_were_read(database, sync):
    source = database("CREATE TABLE a (id int)", "CREATE TABLE b (id int)", "CREATE TABLE c (id int)")
    source.execute(*(f"INSERT INTO {name} VALUES (1)" for name in "abc"))
    catalog = _only(source, "public-a", "public-b", "public-c")
    source.execute("DROP TABLE b")

    output = sync(source, catalog=catalog, may_fail=True)

    error = output.error
    assert isinstance(error, SkippableError)
    assert "'public-b'" in str(output.error)
    assert [len(output.records(f"public-{name}")) for name in "ac"] == [1, 1]
    assert len(output.of("ACTIVATE_VERSION")) == 2


def test_a_view_whose_table_is_closed_to_its_owner_fails_the_run_after_the_others_were_read(database, sync):
    source = database(
        "CREATE TABLE hidden (id int)", "CREATE TABLE plain (id int)", "DROP ROLE IF EXISTS owner1"
    )
    source.execute(
        "CREATE ROLE owner1",
        "GRANT CREATE, USAGE ON SCHEMA public TO owner1",
        "CREATE VIEW broken AS SELECT * FROM hidden",
        "ALTER VIEW broken OWNER TO owner1",
        "INSERT INTO plain VALUES (1)",
    )
    try:
        output = sync(source, catalog=_only(source, "public-broken", "public-plain"), may_fail=True)
    finally:
        source.execute("DROP OWNED BY owner1", "DROP ROLE owner1")

    error = output.error
    assert isinstance(error, SkippableError)
    assert "permission denied" in str(output.error)
    assert len(output.records("public-plain")) == 1


# --- what the tests do --------------------------------------------------------------------------------------


def _only(source, *streams):
    """The catalog with these streams selected."""
    from tap_postgres.tap import TapPostgres

    catalog = TapPostgres(config=source.config).catalog_dict
    for stream in catalog["streams"]:
        for entry in stream["metadata"]:
            if entry["breadcrumb"] in ((), []):
                entry["metadata"]["selected"] = stream["tap_stream_id"] in streams
    return catalog


def _once(is_time, act):
    """Wait in a thread until it is time, then act."""

    def run():
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if is_time():
                act()
                return
            time.sleep(0.005)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


@contextlib.contextmanager
def _locked(source, statement, *, seconds):
    """Hold a lock, for so long or for as long as the block lasts."""
    is_over = threading.Event()
    is_held = threading.Event()

    def hold():
        with source.connect() as session, session.transaction():
            session.execute(statement)
            is_held.set()
            is_over.wait(seconds)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    is_held.wait(10)
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@contextlib.contextmanager
def _gate(port, *, after_bytes, act=lambda: None, cuts=True, vanishes=False):
    """Do something once a connection has brought so many bytes, and then cut it, or all and for ever."""

    class Proxy(LossyProxy):
        def _takes_one(self):
            is_one = super()._takes_one()
            if is_one:
                act()
                if vanishes:
                    self.vanish()
            return is_one and cuts

    with Proxy(port, after_bytes=after_bytes) as proxy:
        yield proxy.port
        assert proxy.left == 0
