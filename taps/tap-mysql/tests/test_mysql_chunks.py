"""Large tables in chunks: every row once, in one snapshot, on several connections."""

from __future__ import annotations

import threading

import pytest

from icetap.testing.relays import LossyProxy
from tap_mysql import chunks, dialect
from tap_mysql.tap import TapMySQL

pytestmark = pytest.mark.servers

ROWS = 20_000


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(dialect, "LARGE_BYTES", 0)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 100_000)


def filled(database, columns, select):
    database.execute(
        f"CREATE TABLE t ({columns})",
        f"INSERT INTO t SELECT {select} FROM seq_1_to_{ROWS}",
        "ANALYZE TABLE t",
    )
    return database


def cut(database, after=None):
    """The chunks of the table `t`, and the connection that they were cut with."""
    made = TapMySQL(config=database.config).dialect
    connection = made.connect()
    (table,) = made.tables(connection, is_wanted=lambda _: True)
    return made, connection, made.chunks(connection, table, conditions=(), after=after)


SPREADS = [
    pytest.param("id INT PRIMARY KEY", "seq", id="without-gaps"),
    pytest.param("id BIGINT PRIMARY KEY", "IF(seq > 10, 9223372036854775807 - seq, -9223372036854775807 + CAST(seq AS SIGNED))", id="at-both-ends"),
    pytest.param("id BIGINT UNSIGNED PRIMARY KEY", "18446744073709551615 - seq * seq", id="unsigned"),
    pytest.param("id INT, b INT, PRIMARY KEY (id, b)", "seq DIV 100, seq", id="composite"),
    pytest.param("id INT, b VARCHAR(9), PRIMARY KEY (id, b)", "7, seq", id="all-in-one-value"),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "select"), SPREADS)
def test_every_row_is_in_one_chunk(database, columns, select):
    filled(database, columns, select)
    _, connection, found = cut(database)
    counts = [
        connection.rows(f"SELECT count(*) FROM t WHERE {each.condition}", each.parameters)[0][0]
        for each in found
    ] or [ROWS]

    assert sum(counts) == ROWS
    assert "VARCHAR" in columns or len(found) > 3
    assert "VARCHAR" in columns or max(counts) < ROWS / 2
    connection.close()


@pytest.mark.parametrize(("columns", "select"), SPREADS[:4])
def test_a_chunk_s_end_is_where_the_next_one_begins(database, columns, select):
    filled(database, columns, select)
    made, connection, found = cut(database)
    (table,) = made.tables(connection, is_wanted=lambda _: True)
    counts = [
        connection.rows(f"SELECT count(*) FROM t WHERE {each.condition}", each.parameters)[0][0]
        for each in found
    ]
    after = made.after_position(table, start=1)
    for number, each in enumerate(found[:-1]):
        ((left,),) = connection.rows(f"SELECT count(*) FROM t WHERE {after}", tuple(each.end.values()))
        assert left == sum(counts[number + 1 :])
    connection.close()


def test_a_read_in_chunks_is_complete_and_in_order(database, sync):
    filled(database, "id INT PRIMARY KEY, a VARCHAR(20)", "seq, concat('row ', seq)")
    found = sync(max_parallel=3)

    assert [record["id"] for record in found.records()] == list(range(1, ROWS + 1))
    assert len(found.of("ACTIVATE_VERSION")) == 1


def test_a_read_goes_on_after_a_chunk(database, sync):
    filled(database, "id INT PRIMARY KEY", "seq")
    whole = sync(max_parallel=2)
    positions = [
        found["position"]
        for message in whole.of("STATE")
        if "position" in (found := message["value"]["bookmarks"].get(database.stream("t"), {}))
    ]
    middle = positions[len(positions) // 2]
    state = {"bookmarks": {database.stream("t"): {"version": 5, "position": middle}}}

    assert len(positions) > 2
    assert [r["id"] for r in sync(state=state, max_parallel=2).records()] == list(
        range(middle["id"] + 1, ROWS + 1)
    )


def test_all_connections_see_one_moment(database, sync):
    """A writer moves one unit from row to row all the time: the sum is the same in every snapshot."""
    filled(database, "id INT PRIMARY KEY, n INT NOT NULL", "seq, 10")
    stop = threading.Event()

    def move():
        connection = database.server.connect(database.name, autocommit=False)
        with connection, connection.cursor() as cursor:
            number = 0
            while not stop.is_set():
                number = (number * 7919 + 13) % ROWS
                cursor.execute("UPDATE t SET n = n - 1 WHERE id = %s", (number + 1,))
                cursor.execute("UPDATE t SET n = n + 1 WHERE id = %s", (ROWS - number,))
                connection.commit()

    writer = threading.Thread(target=move)
    writer.start()
    try:
        sums = [sum(r["n"] for r in sync(max_parallel=3).records()) for _ in range(3)]
    finally:
        stop.set()
        writer.join()

    assert sums == [10 * ROWS] * 3


def test_a_snapshot_is_shared_only_while_nobody_commits_in_between(database, monkeypatch):
    filled(database, "id INT PRIMARY KEY", "seq")
    made, connection, _ = cut(database)
    name = connection.export_snapshot()
    other = made.connect(name)
    database.execute("DELETE FROM t WHERE id > 5")

    assert connection.rows("SELECT count(*) FROM t") == other.rows("SELECT count(*) FROM t") == [(ROWS,)]
    other.close()
    connection.close()


def test_a_lost_connection_among_several_is_survived(database, sync):
    filled(database, "id INT PRIMARY KEY, a VARCHAR(200)", "seq, repeat('x', 200)")
    with LossyProxy(database.server.port, after_bytes=1_000_000, times=2) as proxy:
        found = sync(port=proxy.port, ssl_mode="DISABLED", max_parallel=2, max_retries=5)

    assert {record["id"] for record in found.records()} == set(range(1, ROWS + 1))
    assert found.of("ACTIVATE_VERSION") == []


def test_small_tables_are_read_as_one(database, monkeypatch):
    monkeypatch.setattr(dialect, "LARGE_BYTES", 2**30)
    filled(database, "id INT PRIMARY KEY", "seq")
    _, connection, found = cut(database)

    assert list(found) == []
    connection.close()
