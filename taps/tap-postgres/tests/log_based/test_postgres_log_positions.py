"""Where a run begins and ends in the log: nothing missing, nothing twice, nothing told too early."""

from __future__ import annotations

import json
import threading
import time

import pytest

from icetap.columnar.sender import Sender
from icetap.errors import DataError, RetriableError, StateError
from tap_postgres.log_based.replication import ReplicationConnection
from tap_postgres.tap import TapPostgres


def bookmark(output, stream="public-items"):
    return output.state["bookmarks"][stream]


# --- the first read and the log ---------------------------------------------------------------------------


def test_rows_written_during_the_first_read_come_once(log):
    source = log("CREATE TABLE t (id int PRIMARY KEY, n int)")
    source.execute("INSERT INTO t SELECT i, 0 FROM generate_series(1, 20000) AS i")
    stop = threading.Event()

    def write() -> None:
        with source.database.connect() as session:
            number = 20_000
            while not stop.is_set():
                number += 1
                session.execute(f"INSERT INTO t VALUES ({number}, 1)")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        runs = [source.run(), source.run()]
    finally:
        stop.set()
        writer.join()
    runs.append(source.run())
    ids = [record["id"] for run in runs for record in run.records()]

    assert sorted(ids) == [row[0] for row in source.execute("SELECT id FROM t ORDER BY id")]
    assert len(runs[0].records()) > 20_000


def test_a_transaction_that_was_open_when_the_slot_was_made_is_in_the_first_read_or_in_the_log(items, short):
    with items.database.connect() as session:
        session.execute("BEGIN")
        session.execute("INSERT INTO items VALUES (3, 'open')")
        timer = threading.Timer(0.5, lambda: session.execute("COMMIT"))
        timer.start()
        output = items.run()
        timer.join()

    assert sorted(record["id"] for record in short(output)) == [1, 2, 3]


def test_a_stream_that_is_added_later_begins_exactly_where_its_read_ends(items, short):
    items.execute("CREATE PUBLICATION icetap FOR ALL TABLES")
    items.run()
    items.execute(
        "CREATE TABLE late (id int PRIMARY KEY, n int)",
        "INSERT INTO late VALUES (1, 1)",
        "UPDATE late SET n = 2",
        "INSERT INTO items VALUES (3, 'three')",
    )
    second = items.run()
    items.execute("UPDATE late SET n = 3")
    third = items.run()

    assert short(second, "public-late") == [{"id": 1, "n": 2}]
    assert short(second, "public-items") == [{"id": 3, "name": "three"}]
    assert short(third) == [{"id": 1, "n": 3}]


def test_an_interrupted_first_read_goes_on_and_sees_what_changed_before(log, short, monkeypatch):
    """Rows behind the stop are read from a later snapshot; changes to those before it come by the log."""
    monkeypatch.setattr("tap_postgres.chunks.CHUNK_BYTES", 100_000)
    source = log("CREATE TABLE t (id int PRIMARY KEY, n int, pad text)")
    source.execute(
        "INSERT INTO t SELECT i, 0, repeat('x', 100) FROM generate_series(1, 5000) AS i", "ANALYZE t"
    )
    runs = []
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(Sender, "write", failing_after(2, Sender.write))
            runs.append(source.run(may_fail=True, max_retries=0))
        assert isinstance(runs[-1].error, DataError)
        source.state = json.loads(json.dumps(runs[-1].state, default=float))
        assert "position" in bookmark(runs[-1], "public-t")
        source.execute("UPDATE t SET n = n + 1 WHERE id % 100 = 0", "DELETE FROM t WHERE id % 101 = 0")
    runs.append(source.run())

    final = {}
    for record in (record for run in runs for record in short(run)):
        final.pop(record["id"], None)
        if "gone" not in record:
            final[record["id"]] = record["n"]
    assert final == dict(source.execute("SELECT id, n FROM t"))
    assert [len(run.of("ACTIVATE_VERSION")) for run in runs] == [0, 0, 0]
    assert "position" not in bookmark(runs[-1], "public-t")


def test_a_first_read_that_is_tried_again_sees_what_changed_between_its_attempts(log, short, monkeypatch):
    monkeypatch.setattr("tap_postgres.chunks.CHUNK_BYTES", 100_000)
    monkeypatch.setattr("icetap.waiting.FIRST_WAIT_SECONDS", 0.1)
    source = log("CREATE TABLE t (id int PRIMARY KEY, n int, pad text)")
    source.execute(
        "INSERT INTO t SELECT i, 0, repeat('x', 100) FROM generate_series(1, 5000) AS i", "ANALYZE t"
    )
    write, calls = Sender.write, []

    def interrupted(self, batch):
        calls.append(batch.num_rows)
        if len(calls) == 3:
            source.execute("UPDATE t SET n = 1 WHERE id <= 100", "DELETE FROM t WHERE id = 101")
            raise RetriableError("lost")
        return write(self, batch)

    monkeypatch.setattr(Sender, "write", interrupted)
    final = {}
    for record in short(source.run()):
        final.pop(record["id"], None)
        if "gone" not in record:
            final[record["id"]] = record["n"]

    assert len(calls) > 3
    assert final == dict(source.execute("SELECT id, n FROM t"))


def failing_after(count, write):
    def wrapped(self, batch):
        nonlocal count
        count -= 1
        if count < 0:
            raise DataError("stopped by the test")
        return write(self, batch)

    return wrapped


def test_a_stream_that_was_read_by_another_method_is_read_from_its_start(items):
    """A bookmark of INCREMENTAL in the first STATE would tell the loader that the read leaves something out."""
    options = {"replication_method": "INCREMENTAL", "replication_key": "id"}
    items.run(streams={"*": options})
    output = items.run()

    assert output.of("STATE")[0]["value"] == {"bookmarks": {"public-items": {}}}
    assert len(output.records()) == 2
    assert len(output.of("ACTIVATE_VERSION")) == 1


# --- transactions are whole -------------------------------------------------------------------------------


def test_a_state_never_stands_inside_a_transaction(log, monkeypatch):
    monkeypatch.setattr("icetap.sql.change_log_run.STATE_ROWS", 10)
    monkeypatch.setattr("icetap.sql.change_log_run.CHECK_EVERY", 7)
    monkeypatch.setattr("icetap.sql.change_log_run.HELD_BYTES", 2000)
    source = log("CREATE TABLE a (id int PRIMARY KEY)", "CREATE TABLE b (id int PRIMARY KEY)")
    source.run()
    for start in range(0, 300, 100):
        rows = f"SELECT i FROM generate_series({start}, {start + 99}) AS i"
        source.in_one_transaction(f"INSERT INTO a {rows}", f"INSERT INTO b {rows}")
    output = source.run()

    counts, seen = [], {"public-a": 0, "public-b": 0}
    for message in output.messages:
        if message["type"] == "RECORD":
            seen[message["stream"]] += 1
        elif message["type"] == "STATE":
            counts.append(tuple(seen.values()))
    assert seen == {"public-a": 300, "public-b": 300}
    assert set(counts) <= {(0, 0), (100, 100), (200, 200), (300, 300)}
    assert {(100, 100), (200, 200), (300, 300)} <= set(counts)


def test_max_run_seconds_ends_between_two_transactions_and_the_next_run_goes_on(log, monkeypatch):
    source = log("CREATE TABLE a (id int PRIMARY KEY)")
    source.run()
    for start in range(3):
        source.execute(f"INSERT INTO a SELECT i FROM generate_series({start * 10}, {start * 10 + 9}) AS i")
    monkeypatch.setattr("icetap.sql.change_log_run.Limits.is_over", lambda _, __: True)
    first = source.run(max_run_seconds=1)
    monkeypatch.undo()
    second = source.run()

    assert [record["id"] for record in first.records()] in ([], list(range(10)))
    assert [record["id"] for record in first.records() + second.records()] == list(range(30))


def test_idle_exit_seconds_goes_on_until_nothing_comes(items, short):
    items.run()
    began = time.monotonic()
    output = items.run_with("SELECT pg_sleep(0.5)", "INSERT INTO items VALUES (3, 'during')")

    assert short(output) == [{"id": 3, "name": "during"}]
    assert time.monotonic() - began >= 1.5
    places = [message["type"] for message in output.messages]
    assert "STATE" in places[places.index("RECORD") : -1], "a change waits for the end of the run"


# --- what the server is told ------------------------------------------------------------------------------


def test_the_slot_is_confirmed_only_what_came_in_the_incoming_state(items):
    created = None
    items.run()
    created = items.confirmed()
    before = json.loads(json.dumps(items.state))
    items.execute("INSERT INTO items VALUES (3, 'three')")
    items.run()
    after_second = items.confirmed()
    items.state = before  # the loader did not commit what the second run sent
    again = items.run()
    items.run()

    assert after_second == before["bookmarks"]["public-items"]["log_position"] or after_second == created
    assert [record["id"] for record in again.records()] == [3]
    assert items.confirmed() == again.state["bookmarks"]["public-items"]["log_position"]


def test_a_quiet_database_moves_on_with_the_log_of_others(items, database):
    items.run()
    busy = database("CREATE TABLE x (i int)")
    first = bookmark(items.run())["log_position"]
    busy.execute("INSERT INTO x SELECT generate_series(1, 1000)")
    second = bookmark(items.run())["log_position"]
    items.run()

    assert int(second.replace("/", ""), 16) > int(first.replace("/", ""), 16)
    assert items.confirmed() == second


# --- when the log is gone ---------------------------------------------------------------------------------


def test_a_slot_that_is_gone_is_an_error_with_the_next_step(items):
    items.run()
    items.execute(f"SELECT pg_drop_replication_slot('{items.slot}')")

    with pytest.raises(StateError, match=r"slot '.*' is gone.*--full-refresh"):
        items.run()
    assert items.execute("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == [
        (0,)
    ]

    items.state = None
    assert len(items.run().records()) == 2


def test_a_slot_that_was_made_anew_is_noticed(items):
    items.run()
    items.execute(
        f"SELECT pg_drop_replication_slot('{items.slot}')",
        "INSERT INTO items VALUES (3, 'lost')",
        f"SELECT pg_create_logical_replication_slot('{items.slot}', 'pgoutput')",
    )

    with pytest.raises(StateError, match="made anew"):
        items.run()


def test_a_bookmark_of_another_server_is_refused(items):
    items.run()
    items.state["bookmarks"]["public-items"]["log_source"] = "7000000000000000000"

    with pytest.raises(StateError, match="another server"):
        items.run()


def test_a_bookmark_beyond_the_log_is_refused(items):
    items.run()
    items.state["bookmarks"]["public-items"]["log_position"] = "FFFF/0"

    with pytest.raises(StateError, match="beyond the end"):
        items.run()


def test_a_stream_that_was_left_out_while_the_slot_moved_on_is_noticed(items):
    items.execute("CREATE TABLE other (id int PRIMARY KEY)")
    items.run()
    alone = {"public-other": {"replication_method": "LOG_BASED"}}
    kept = items.state["bookmarks"]["public-items"]
    for _ in range(2):
        items.execute("INSERT INTO other SELECT coalesce(max(id), 0) + 1 FROM other")
        del items.state["bookmarks"]["public-items"]
        items.run(streams=alone)
    items.state["bookmarks"]["public-items"] = kept

    with pytest.raises(StateError, match="not selected for a while"):
        items.run()


def test_a_slot_that_another_session_reads_is_not_taken_from_it(items):
    items.run()
    server = TapPostgres(config={**items.database.config, **items.settings()}).dialect.server
    other = ReplicationConnection(server)
    other.stream(items.slot, "icetap", start=0, confirmed=0)
    try:
        with pytest.raises(RetriableError, match="being read by the session"):
            items.run(max_retries=0)
    finally:
        other.close()


# --- lost connections -------------------------------------------------------------------------------------


def test_a_lost_connection_is_made_anew_and_nothing_is_lost(log, monkeypatch):
    monkeypatch.setattr("icetap.sql.change_log_run.CHECK_EVERY", 50)
    monkeypatch.setattr("icetap.waiting.FIRST_WAIT_SECONDS", 0.1)
    source = log("CREATE TABLE t (id int PRIMARY KEY, pad text)")
    source.run()
    for start in range(0, 20_000, 1000):
        source.execute(
            f"INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series({start}, {start + 999}) AS i"
        )
    timer = threading.Timer(
        0.9,
        lambda: source.execute(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots "
            f"WHERE slot_name = '{source.slot}' AND active_pid IS NOT NULL"
        ),
    )
    timer.start()
    output = source.run(idle_exit_seconds=2, max_retries=5)

    assert sorted({record["id"] for record in output.records()}) == list(range(20_000))


def test_changes_that_take_much_memory_are_sent_early(log, monkeypatch):
    """Also those that are small in the log, and large when they are read again by key."""
    monkeypatch.setattr("icetap.sql.change_log_run.HELD_BYTES", 500_000)
    source = log(
        "CREATE TABLE t (id int PRIMARY KEY, big text, n int)",
        "ALTER TABLE t ALTER big SET STORAGE EXTERNAL",
        "INSERT INTO t SELECT i, repeat(md5(i::text), 2000), 0 FROM generate_series(1, 60) AS i",
        "ANALYZE t",
    )
    source.run()
    sizes = []
    monkeypatch.setattr(Sender, "write", recording(sizes, Sender.write))
    source.execute("UPDATE t SET n = 1")
    source.execute("UPDATE t SET big = big || 'x'")
    source.run()

    assert sum(sizes) == 120
    assert max(sizes) <= 12


def recording(sizes, write):
    def wrapped(self, batch):
        sizes.append(batch.num_rows)
        return write(self, batch)

    return wrapped
