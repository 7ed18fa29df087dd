"""Where runs begin and end in the log: the snapshot joined to it, states that go on, logs that are gone."""

from __future__ import annotations

import threading
import time

import pytest

from icetap.errors import ConfigurationError, StateError
from tap_mysql.log_based.binary_log import BinaryLog
from tap_mysql.log_based.snapshot import SnapshotConnections, snapshot_coordinates

pytestmark = pytest.mark.servers


def test_position_is_the_list_of_gtids_and_does_not_move_without_transactions(items):
    before = items.execute("SELECT @@gtid_binlog_pos")[0][0]
    items.run()
    assert items.bookmark()["log_position"] == before
    assert items.bookmark()["log_source"] == "gtid"

    items.run("UPDATE items SET name = 'x'", "UPDATE items SET name = 'y'")
    assert items.bookmark()["log_position"] == items.execute("SELECT @@gtid_binlog_pos")[0][0]


def test_position_moves_over_changes_of_other_tables(items):
    items.execute("CREATE TABLE other (id INT)")
    items.settings["streams"] = {items.database.stream("items"): {"replication_method": "LOG_BASED"}}
    items.run("INSERT INTO other VALUES (1)")

    assert items.bookmark()["log_position"] == items.execute("SELECT @@gtid_binlog_pos")[0][0]


def test_positions_by_file_go_on_over_rotated_files(items):
    items.settings["log_position"] = "file"
    items.state = None
    items.run()
    assert items.bookmark()["log_position"].startswith("binlog.")

    assert items.records(
        "INSERT INTO items VALUES (3, 'a')", "FLUSH BINARY LOGS", "INSERT INTO items VALUES (4, 'b')"
    ) == [{"id": 3, "name": "a"}, {"id": 4, "name": "b"}]
    assert items.records("INSERT INTO items VALUES (5, 'c')", "FLUSH BINARY LOGS") == [{"id": 5, "name": "c"}]
    assert items.records() == []


def test_positions_of_the_other_kind_are_refused(items):
    with pytest.raises(StateError, match="--full-refresh"):
        items.run(log_position="file")


def test_each_stream_goes_on_from_its_own_position(items):
    items.execute("CREATE TABLE other (id INT PRIMARY KEY)")
    items.run()
    early = items.bookmark("other")
    items.run("INSERT INTO items VALUES (3, 'a')", "INSERT INTO other VALUES (1)")
    items.state["bookmarks"][items.database.stream("other")] = early

    found = items.records("INSERT INTO items VALUES (4, 'b')")
    assert sorted(record["id"] for record in found) == [1, 4], "row 3 was read before"


def test_purged_log_ends_the_run_with_the_next_step(items):
    items.execute("INSERT INTO items VALUES (3, 'a')", "FLUSH BINARY LOGS", "FLUSH BINARY LOGS")
    newest = items.execute("SHOW BINARY LOGS")[-1][0]
    deadline = time.monotonic() + 20
    while len(items.execute("SHOW BINARY LOGS")) > 1 and time.monotonic() < deadline:
        items.execute(f"PURGE BINARY LOGS TO '{newest}'")
        time.sleep(0.1)  # the server keeps a file for as long as a reader of it is about to leave

    with pytest.raises(StateError, match=r"binary log begins after .*is needed from.*--full-refresh"):
        items.run()


def test_file_that_is_gone_ends_the_run_with_the_next_step(items):
    items.settings["log_position"] = "file"
    items.state = None
    items.run()
    items.bookmark()["log_position"] = "binlog.999999:4"

    with pytest.raises(StateError, match=r"no longer has the file binlog\.999999.*--full-refresh"):
        items.run()


def test_position_that_the_server_never_wrote_is_refused(items):
    items.bookmark()["log_position"] = "0-1-99999999"

    with pytest.raises(StateError, match="has not written what the position 0-1-99999999 counts as read"):
        items.run()


def test_position_that_is_none_is_refused(items):
    items.bookmark()["log_position"] = "yesterday"

    with pytest.raises(StateError, match="'yesterday' in the state is no list of GTIDs"):
        items.run()


def test_snapshot_is_joined_to_the_log_while_others_write(log):
    """A writer that never rests: each row comes once, in the snapshot or from the log."""
    log.execute("CREATE TABLE t (id INT PRIMARY KEY, n INT)", "INSERT INTO t VALUES (0, 0)")
    stop = threading.Event()

    def write() -> None:
        connection = log.database.server.connect(log.database.name)
        with connection.cursor() as cursor:
            number = 0
            while not stop.is_set():
                number += 1
                cursor.execute("INSERT INTO t VALUES (%s, 0)", [number])
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        deadline = time.monotonic() + 10
        while log.execute("SELECT count(*) FROM t")[0][0] < 50 and time.monotonic() < deadline:
            time.sleep(0.05)
        first = [record["id"] for record in log.records()]
        time.sleep(0.3)
    finally:
        stop.set()
        writer.join()
    second = [record["id"] for record in log.records()]

    last = log.execute("SELECT max(id) FROM t")[0][0]
    assert first + second == list(range(last + 1))


def test_transactions_are_whole_and_end_the_run_when_its_time_is_up(items):
    output = items.run(
        "BEGIN",
        "INSERT INTO items SELECT seq, 'x' FROM seq_10_to_3000",
        "COMMIT",
        max_run_seconds=1,
    )
    states = [place for place, message in enumerate(output.messages) if message["type"] == "STATE"]
    records = [place for place, message in enumerate(output.messages) if message["type"] == "RECORD"]
    assert len(records) == 2991
    assert not [place for place in states if records[0] < place < records[-1]]


def test_run_that_waits_ends_after_a_quiet_time(items):
    changed = threading.Timer(
        0.5, items.database.server.execute, [items.database.name, "INSERT INTO items VALUES (3, 'late')"]
    )
    changed.start()
    began = time.monotonic()
    found = items.records(idle_exit_seconds=2)
    changed.join()

    assert found == [{"id": 3, "name": "late"}]
    assert 2 <= time.monotonic() - began < 20
    assert items.records() == []


def test_second_reader_with_the_same_number_drives_the_first_one_out(items):
    from tap_mysql.log_based.protocol import EventStream

    items.settings["server_id"] = 424_242
    server = items.tap().dialect.server
    thieves = []

    def steal() -> None:
        connection = server.open()
        stream = EventStream(connection, server_id=424_242, is_blocking=True)
        stream.begin(position_of(items))
        thieves.append(connection)

    thief = threading.Timer(1, steal)
    thief.start()
    with pytest.raises(ConfigurationError, match="another reader of the binary log has this one's number"):
        items.run(idle_exit_seconds=10)
    thief.join()
    for connection in thieves:
        connection.close()


def position_of(log):
    from tap_mysql.log_based.positions import position_from_text

    return position_from_text(log.bookmark()["log_position"])


def test_own_number_of_the_server_is_refused(items):
    with pytest.raises(ConfigurationError, match="'server_id' is 1, which is the server's own"):
        items.run(server_id=1)


def test_lost_connection_is_opened_again_and_nothing_comes_twice(items, monkeypatch):
    original = BinaryLog.changes
    killed = []

    def changes(self, positions, *, until):
        for event in original(self, positions, until=until):
            yield event
            if not killed and type(event).__name__ == "Change" and event.new and event.new[0] == 500:
                killed.append(1)
                for number, command in items.execute(
                    "SELECT id, command FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'"
                ):
                    assert command
                    items.execute(f"KILL {number}")

    monkeypatch.setattr(BinaryLog, "changes", changes)
    rows = [f"INSERT INTO items VALUES ({number}, repeat('x', 20))" for number in (100, 200)]
    big = ["BEGIN", "INSERT INTO items SELECT seq, repeat('y', 20) FROM seq_300_to_60000", "COMMIT"]

    found = [record["id"] for record in items.records(*rows, *big, max_retries=3)]
    assert found == [100, 200, *range(300, 60_001)]
    assert killed
    assert items.records() == []


def test_first_read_is_shared_by_several_connections(log, monkeypatch):
    monkeypatch.setattr("tap_mysql.dialect.LARGE_BYTES", 0)
    monkeypatch.setattr("tap_mysql.chunks.CHUNK_BYTES", 100_000)
    log.execute(
        "CREATE TABLE t (id INT PRIMARY KEY, n VARCHAR(200))",
        "CREATE TABLE u (id INT PRIMARY KEY, n VARCHAR(200))",
        "INSERT INTO t SELECT seq, repeat('x', 150) FROM seq_1_to_8000",
        "INSERT INTO u SELECT seq, repeat('y', 150) FROM seq_1_to_8000",
        "ANALYZE TABLE t, u",
    )
    lent = []
    original = SnapshotConnections.lend

    def lend(self):
        lent.append(1)
        return original(self)

    monkeypatch.setattr(SnapshotConnections, "lend", lend)
    output = log.run(max_parallel=3)
    for table in ("t", "u"):
        found = [record["id"] for record in output.records(log.database.stream(table))]
        assert found == list(range(1, 8001))
    assert len(lent) >= 8, "each table is read by three connections beside the first"
    assert log.records("UPDATE t SET n = 'z' WHERE id = 5", max_parallel=3) == [{"id": 5, "n": "z"}]


def test_snapshot_and_its_position_are_of_one_moment(items, monkeypatch):
    """What is committed after the snapshot and before its place is asked for belongs to the log."""
    log = items.tap().dialect.change_log()
    before = log.end()

    def late(connection):
        items.execute("INSERT INTO items VALUES (3, 'later')")
        return snapshot_coordinates(connection)

    monkeypatch.setattr("tap_mysql.log_based.binary_log.snapshot_coordinates", late)
    try:
        with log.snapshot() as snapshot:
            connection = snapshot.connect()
            assert len(connection.rows(f"SELECT id FROM {items.database.name}.items")) == 2
            assert snapshot.position == before
        assert log.end() != before
    finally:
        log.close()
