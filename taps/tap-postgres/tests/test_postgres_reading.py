"""Full reads that resume, incremental reads that lose nothing."""

from __future__ import annotations

import logging

import pytest

from icetap.errors import DataError, StateError
from icetap.sql import dialect as engine
from tap_postgres import chunks
from tap_postgres.tap import TapPostgres

ROWS = 10_000


def catalog_of(source, stream, *, method="INCREMENTAL", key=None):
    catalog = TapPostgres(config=source.config).catalog_dict
    for entry in catalog["streams"]:
        root = next(each["metadata"] for each in entry["metadata"] if not each["breadcrumb"])
        root["selected"] = entry["tap_stream_id"] == stream
        root["replication-method"] = entry["replication_method"] = method
        if key:
            root["replication-key"] = entry["replication_key"] = key
    return catalog


# --- full reads ---------------------------------------------------------------------------------------------


@pytest.fixture
def small_chunks(monkeypatch):
    """Tables of a test in many chunks."""
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 128 * 1024)


@pytest.fixture
def table(scratch):
    """A table with a key whose rows fill many blocks."""
    return scratch(
        "CREATE TABLE t (id int PRIMARY KEY, v int, note text) WITH (autovacuum_enabled = off)",
        f"INSERT INTO t SELECT i, 0, repeat('x', 50) FROM generate_series(1, {ROWS}) AS i",
        "CREATE TABLE keyless (id int, v int, note text)",
        f"INSERT INTO keyless SELECT i, 0, repeat('x', 50) FROM generate_series(1, {ROWS}) AS i",
        "ANALYZE",
    )


def stopped_after(source, pages, *, stream="public-t", state=None, **config):
    """Read some pages and die; return the rows and the state that was written last."""
    tap = TapPostgres(config={**source.config, "max_parallel": 1, **config}, state=state)
    rows, bookmark = [], None
    reading = tap.streams[stream].pages()
    for _ in range(pages):
        page = next(reading)
        rows += page.batch.to_pylist()
        bookmark = page.bookmark or bookmark
    reading.close()
    return rows, {"bookmarks": {stream: bookmark}} if bookmark else {}


def rest(source, state, *, stream="public-t", **config):
    read = TapPostgres(config={**source.config, **config}, state=state).streams[stream]
    rows = [row for page in read.pages() for row in page.batch.to_pylist()]
    return rows, read


@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize("stream", ["public-t", "public-keyless"])
def test_chunks_hold_every_row_once_in_a_fixed_order(table, small_chunks, stream, parallel):
    rows, read = rest(table, None, stream=stream, max_parallel=parallel)

    assert [row["id"] for row in rows] == list(range(1, ROWS + 1))
    assert read.is_complete


def test_a_resumed_read_finds_rows_that_moved_into_blocks_already_read(table, small_chunks):
    """Between the kill and the resume rows of the unread part move to free places in front, and others change."""
    table.execute("DELETE FROM t WHERE id BETWEEN 100 AND 400", "VACUUM t")  # room in front
    first, state = stopped_after(table, 3)
    known = {row["id"]: row for row in first}
    assert 0 < len(known) < ROWS // 2
    table.execute(
        f"UPDATE t SET v = 1 WHERE id > {ROWS - 250}",  # these move into the free places in front
        "UPDATE t SET v = 2 WHERE id < 20",
        "INSERT INTO t VALUES (100, 3, 'new in front')",
        "DELETE FROM t WHERE id = 5000",
    )
    moved = table.execute(
        f"SELECT count(*) FROM t WHERE id > {ROWS - 250} AND ctid < '({state['bookmarks']['public-t']['position']['ctid']},0)'"
    )
    assert moved[0][0] > 100, "the test's own premise: rows moved to the front"

    second, read = rest(table, state)

    for row in second:
        known[row["id"]] = row
    expected = table.execute("SELECT id, v, note FROM t")
    gone = {5000} & known.keys()  # absence is proven by the next complete read only
    assert sorted(
        (row["id"], row["v"], row["note"]) for key, row in known.items() if key not in gone
    ) == sorted(expected)
    assert len(second) < ROWS
    assert not read.is_complete
    assert read.version == state["bookmarks"]["public-t"]["version"]


def test_a_read_that_is_killed_twice_keeps_the_oldest_snapshot(table, small_chunks):
    first, state = stopped_after(table, 2)
    oldest = state["bookmarks"]["public-t"]["position"]["xmin"]
    table.execute("UPDATE t SET v = 1 WHERE id = 1")
    more, again = stopped_after(table, 2, state=state)
    table.execute("UPDATE t SET v = 2 WHERE id = 2")
    last, _ = rest(table, again)

    known = {row["id"]: row["v"] for row in [*first, *more, *last]}

    assert again["bookmarks"]["public-t"]["position"]["xmin"] == oldest
    assert known == dict(table.execute("SELECT id, v FROM t"))


@pytest.mark.parametrize("change", ["VACUUM FULL t", "TRUNCATE t", "CLUSTER t USING t_pkey"])
def test_a_table_that_was_written_anew_is_read_from_its_start(table, small_chunks, change):
    _, state = stopped_after(table, 3)
    table.execute(change)

    rows, read = rest(table, state)

    assert len(rows) == table.execute("SELECT count(*) FROM t")[0][0]
    assert not read.is_complete


def test_a_transaction_that_was_open_at_the_kill_is_not_lost(table, small_chunks):
    """Its number is older than the snapshot, and its rows lie in blocks that have been read."""
    table.execute("DELETE FROM t WHERE id BETWEEN 100 AND 400", "VACUUM t")
    with table.connect() as late:
        late.autocommit = False
        late.execute("INSERT INTO t VALUES (200, 9, 'late')")
        table.execute("INSERT INTO t VALUES (0, 0, 'committed after')")
        first, state = stopped_after(table, 3)
        late.commit()

    second, _ = rest(table, state)

    assert 200 not in {row["id"] for row in first}
    assert [row["v"] for row in second if row["id"] == 200] == [9]


def test_a_read_without_key_begins_anew(table, small_chunks):
    _, state = stopped_after(table, 3, stream="public-keyless")

    assert state == {}


def test_an_old_transaction_number_makes_the_read_begin_anew(table, small_chunks):
    _, state = stopped_after(table, 3)
    position = state["bookmarks"]["public-t"]["position"]
    position["xmin"] -= 2**31

    assert len(rest(table, state)[0]) == ROWS


def test_a_row_filter_reaches_every_chunk(table, small_chunks):
    rows, _ = rest(table, None, streams={"public-t": {"where": "id % 1000 = 0 -- every thousandth"}})

    assert [row["id"] for row in rows] == list(range(1000, ROWS + 1, 1000))


def test_long_values_make_small_chunks(scratch):
    """A block holds pointers to values of a megabyte that are compressed to almost nothing."""
    source = scratch(
        "CREATE TABLE wide (id int PRIMARY KEY, body text)",
        "INSERT INTO wide SELECT i, repeat('y', 1000000) FROM generate_series(1, 200) AS i",
        "CREATE TABLE narrow (id int PRIMARY KEY)",
        "INSERT INTO narrow SELECT generate_series(1, 100000)",
        "ANALYZE",
    )
    tap = TapPostgres(config=source.config)
    connection = tap.dialect.connect()
    try:
        counts = {
            name: len(tap.dialect.chunks(connection, tap.streams[name].table, conditions=(), after=None))
            for name in ("public-wide", "public-narrow")
        }
    finally:
        connection.close()

    assert counts == {"public-wide": 2, "public-narrow": 1}  # two blocks of a hundred megabytes each
    batches = [page.batch for page in tap.streams["public-wide"].pages()]
    assert sum(batch.num_rows for batch in batches) == 200
    assert max(batch.nbytes for batch in batches) <= 2 * engine.CHUNK_BYTES


def test_a_partitioned_table_resumes_by_its_key(scratch):
    source = scratch(
        "CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100)",
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (200)",
        "INSERT INTO p SELECT i, 'x' FROM generate_series(0, 199) AS i",
    )
    first, state = stopped_after(source, 1, stream="public-p", batch_size=50)
    reached = state["bookmarks"]["public-p"]["position"]["id"]

    second, _ = rest(source, state, stream="public-p")

    assert [row["id"] for row in [*first, *second]] == list(range(200))
    assert reached == len(first) - 1


# --- incremental reads --------------------------------------------------------------------------------------

CURSORS = {
    "timestamptz": ("'2026-01-01 00:00:00.000001+00'", "'2026-01-01 00:00:00.000002+00'", "2026-01-01T00:00:00.000002Z"),
    "timestamp": ("'2026-01-01 00:00:00.000001'", "'2026-01-01 00:00:00.000002'", "2026-01-01T00:00:00.000002"),
    "date": ("'2026-01-01'", "'2026-01-02'", "2026-01-02"),
    "bigint": ("1", "9223372036854775807", 2**63 - 1),
    "numeric(20,6)": ("1.000001", "1.000002", "1.000002"),
    "numeric": ("9.5", "10.25", "10.25"),
    "text": ("'B'", "'a'", "a"),
    "uuid": ("'00000000-0000-0000-0000-000000000001'", "'00000000-0000-0000-0000-000000000002'",
             "00000000-0000-0000-0000-000000000002"),
    "double precision": ("0.1", "0.30000000000000004", 0.30000000000000004),
    "time": ("'10:00:00'", "'10:00:00.000001'", "10:00:00.000001"),
}  # fmt: skip


@pytest.fixture(scope="module")
def cursors(database):
    """One table for each type of cursor, with an index."""
    statements = []
    for number, (native, (low, high, _)) in enumerate(CURSORS.items()):
        statements += [
            f"CREATE TABLE c{number} (id int PRIMARY KEY, at {native})",
            f"CREATE INDEX ON c{number} (at)",
            f"INSERT INTO c{number} VALUES (1, {low}), (2, {high}), (3, {high}), (4, NULL)",
        ]
    return database(*statements)


@pytest.mark.parametrize("native", CURSORS)
def test_a_bookmark_is_lossless_and_inclusive(cursors, sync, native):
    stream = f"public-c{list(CURSORS).index(native)}"
    catalog = catalog_of(cursors, stream, key="at")

    first = sync(cursors, catalog=catalog, lookback_seconds=0)
    second = sync(cursors, catalog=catalog, state=first.state, lookback_seconds=0)

    assert [record["id"] for record in first.records()] == [4, 1, 2, 3]
    assert first.state["bookmarks"][stream]["replication_key_value"] == CURSORS[native][2]
    assert [record["id"] for record in second.records()] == [2, 3]


def test_the_index_is_used_and_its_absence_told(scratch, sync, caplog):
    source = scratch(
        "CREATE TABLE t (id int PRIMARY KEY, at timestamptz)",
        "INSERT INTO t SELECT i, timestamptz '2026-01-01' + i * interval '1 second' FROM generate_series(1, 100) AS i",
    )
    catalog = catalog_of(source, "public-t", key="at")
    with caplog.at_level(logging.WARNING):
        sync(source, catalog=catalog)
        assert "the replication key 'at' has no index" in caplog.text
        caplog.clear()
        source.execute("CREATE INDEX ON t (at) WHERE id > 5")
        sync(source, catalog=catalog)
        assert "has no index" in caplog.text, "a partial index does not serve"
        caplog.clear()
        source.execute("CREATE INDEX ON t (at DESC)")
        sync(source, catalog=catalog)
    assert "has no index" not in caplog.text


def test_rows_that_were_committed_late_come_within_the_lookback(scratch, sync):
    source = scratch(
        "CREATE TABLE t (id int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())", "CREATE INDEX ON t (at)"
    )
    catalog = catalog_of(source, "public-t", key="at")
    with source.connect() as late:
        late.autocommit = False
        late.execute("INSERT INTO t (id) VALUES (1)")
        source.execute("INSERT INTO t (id) VALUES (2)")
        first = sync(source, catalog=catalog)
        late.commit()

    second = sync(source, catalog=catalog, state=first.state)

    assert [record["id"] for record in first.records()] == [2]
    assert sorted(record["id"] for record in second.records()) == [1, 2]
    assert second.state == first.state


@pytest.mark.parametrize("value", ["infinity", "-infinity", "10000-01-01"])
def test_a_cursor_that_no_bookmark_can_hold_is_refused(scratch, sync, value):
    source = scratch(
        "CREATE TABLE t (id int PRIMARY KEY, at timestamptz)",
        f"INSERT INTO t VALUES (1, '2026-01-01'), (2, '{value}')",
    )
    catalog = catalog_of(source, "public-t", key="at")

    with pytest.raises(DataError, match="cannot be the replication key: it holds infinity, or years"):
        sync(source, catalog=catalog)

    where = {"public-t": {"where": "at BETWEEN '2000-01-01' AND '9999-12-31'"}}
    assert [record["id"] for record in sync(source, catalog=catalog, streams=where).records()] == [1]


@pytest.mark.parametrize(
    ("native", "value"), [("timestamptz", "yesterday"), ("int", "7; DROP TABLE t"), ("int", 2**70)]
)
def test_a_bookmark_that_is_no_value_is_refused(scratch, sync, native, value):
    source = scratch(f"CREATE TABLE t (id int PRIMARY KEY, at {native})", "INSERT INTO t VALUES (1, NULL)")
    source.execute(f"INSERT INTO t VALUES (2, {'now()' if native != 'int' else 3})")
    state = {"bookmarks": {"public-t": {"replication_key": "at", "replication_key_value": value}}}

    with pytest.raises(StateError, match="the bookmark is no value of the replication key 'at'"):
        sync(source, catalog=catalog_of(source, "public-t", key="at"), state=state)


def test_a_text_bookmark_is_a_value_and_never_sql(scratch, sync):
    source = scratch(
        "CREATE TABLE t (id int PRIMARY KEY, at text)", "INSERT INTO t VALUES (1, 'a'), (2, 'z')"
    )
    state = {"bookmarks": {"public-t": {"replication_key": "at", "replication_key_value": "x' OR '1'='1\\"}}}

    done = sync(source, catalog=catalog_of(source, "public-t", key="at"), state=state)

    assert [record["id"] for record in done.records()] == [2]
