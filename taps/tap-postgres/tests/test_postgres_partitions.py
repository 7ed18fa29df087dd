"""Partitioned tables, read part by part: every row once, also when the parts change between two runs."""

from __future__ import annotations

import uuid

import pytest

from tap_postgres import chunks
from tap_postgres.tap import TapPostgres

ROWS = 9_000
PARTED = (
    "CREATE SCHEMA IF NOT EXISTS old",
    "CREATE TABLE earlier (id int NOT NULL, v int, note text)",
    "INSERT INTO earlier VALUES (-5, 1, 'old')",
    "CREATE TABLE p (id int PRIMARY KEY, v int, note text) PARTITION BY RANGE (id)",
    "CREATE TABLE old.first PARTITION OF p FOR VALUES FROM (0) TO (3001)",
    "CREATE TABLE middle PARTITION OF p FOR VALUES FROM (3001) TO (6001) PARTITION BY LIST (id)",
    "CREATE TABLE middle_rest PARTITION OF middle DEFAULT",
    "CREATE TABLE last (note text, v int, dropped int, id int NOT NULL)",
    "ALTER TABLE last DROP COLUMN dropped",
    "ALTER TABLE p ATTACH PARTITION last DEFAULT",
    f"INSERT INTO p SELECT i, 0, repeat('x', 50) FROM generate_series(1, {ROWS}) AS i",
    "ANALYZE",
)


@pytest.fixture
def parted(scratch, monkeypatch):
    """A table of three parts, at two levels and in two schemas, one with its columns in another order."""
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 128 * 1024)
    yield (source := scratch("DROP SCHEMA IF EXISTS old CASCADE", *PARTED))
    source.execute("DROP SCHEMA old CASCADE")


def read(source, *, state=None, pages=None, **config):
    """Read the table, or some pages of it and die; return the rows, what the bookmark was, and the stream."""
    config = {"filter_schemas": ["public"], "max_parallel": 3 if pages is None else 1, **config}
    stream = TapPostgres(config={**source.config, **config}, state=state).streams["public-p"]
    rows, bookmark = [], None
    reading = stream.pages()
    for number, page in enumerate(reading, start=1):
        rows += page.batch.to_pylist()
        bookmark = page.bookmark or bookmark
        if number == pages:
            break
    reading.close()
    return rows, {"bookmarks": {"public-p": bookmark}}, stream


def selects(stream):
    """The FROM items of the SELECTs that a full read of a stream makes."""
    connection = stream.dialect.connect()
    try:
        made = stream.dialect.chunks(connection, stream.table, conditions=stream.where, after=None)
    finally:
        connection.close()
    return [chunk.table.source for chunk in made]


def test_the_parts_hold_every_row_once(parted):
    rows, _, stream = read(parted)

    assert sorted(row["id"] for row in rows) == list(range(1, ROWS + 1))
    assert {row["note"] for row in rows} == {"x" * 50}
    assert stream.is_complete
    assert set(selects(stream)) == {'"old"."first"', '"public"."middle_rest"', '"public"."last"'}
    assert len(selects(stream)) > 6


def test_a_resumed_read_finds_rows_that_moved_between_parts(parted):
    first, state, _ = read(parted, pages=4)
    known = {row["id"]: row for row in first}
    assert 3000 < max(known) < 6000, "the test's own premise: it stops in the second part"
    parted.execute(
        "DELETE FROM p WHERE id <= 50",
        "UPDATE p SET id = id - 8000, v = 1 WHERE id BETWEEN 8001 AND 8050",  # from an unread part to a read one
        "UPDATE p SET id = id + 20000 WHERE id BETWEEN 100 AND 150",  # and back
        "UPDATE p SET v = 2 WHERE id IN (200, 3500, 5990, 8500)",
        "INSERT INTO p VALUES (-1, 3, 'new'), (30000, 3, 'new')",
    )

    second, _, stream = read(parted, state=state)

    known |= {row["id"]: row for row in second}
    expected = {row[0]: row for row in parted.execute("SELECT id, v, note FROM p")}
    assert {key: tuple(known[key].values()) for key in expected} == expected
    assert known.keys() - expected.keys() == set(range(100, 151))  # gone, which the next complete read proves
    assert len(second) < ROWS
    assert not stream.is_complete


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            ["ALTER TABLE p ATTACH PARTITION earlier FOR VALUES FROM (-10) TO (0)"], id="attached"),
        pytest.param(["ALTER TABLE p DETACH PARTITION middle"], id="detached"),
        pytest.param(["VACUUM FULL old.first"], id="written-anew"),
    ],
)  # fmt: skip
def test_a_table_with_other_parts_than_before_is_read_from_its_start(parted, change):
    _, state, _ = read(parted, pages=4)
    parted.execute(*change)

    rows, _, stream = read(parted, state=state)

    assert sorted(row["id"] for row in rows) == [
        row[0] for row in parted.execute("SELECT id FROM p ORDER BY id")
    ]
    assert stream.version == state["bookmarks"]["public-p"]["version"]


@pytest.fixture
def role(parted):
    name = f"reader_{uuid.uuid4().hex[:8]}"
    parted.execute(
        f"CREATE ROLE {name} LOGIN PASSWORD 'secret'",
        f"GRANT USAGE ON SCHEMA public, old TO {name}",
        f"GRANT SELECT ON p, old.first, middle_rest, last TO {name}",
    )
    yield name
    parted.execute(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


@pytest.mark.parametrize(
    ("change", "ids"),
    [
        pytest.param("REVOKE SELECT ON last FROM {role}", range(1, ROWS + 1), id="no-right-on-a-part"),
        pytest.param(
            "REVOKE USAGE ON SCHEMA old FROM {role}", range(1, ROWS + 1), id="no-right-on-its-schema"
        ),
        pytest.param(
            "ALTER TABLE last ENABLE ROW LEVEL SECURITY", range(1, ROWS + 1), id="policies-of-a-part"
        ),
        pytest.param("ALTER TABLE p ENABLE ROW LEVEL SECURITY", [], id="policies-of-the-whole"),
    ],
)
def test_parts_that_do_not_show_what_the_whole_shows_are_read_through_it(parted, role, change, ids):
    parted.execute(change.format(role=role))

    rows, _, stream = read(parted, user=role, password="secret")

    assert sorted(row["id"] for row in rows) == list(ids)
    assert selects(stream) == []


def test_a_row_filter_is_put_to_the_whole_which_leaves_out_parts(parted):
    rows, _, stream = read(parted, streams={"public-p": {"where": "id > 8990"}})

    assert len(rows) == 10
    assert selects(stream) == []


def test_a_foreign_part_is_read_whole_at_the_end(parted):
    place = parted.config
    parted.execute(
        "CREATE EXTENSION IF NOT EXISTS postgres_fdw",
        "CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw "
        f"OPTIONS (host '{place['host']}', port '{place['port']}', dbname '{place['database']}')",
        f"CREATE USER MAPPING FOR CURRENT_USER SERVER elsewhere OPTIONS (user '{place['user']}', "
        f"password '{place['password']}')",
        "CREATE TABLE remote (id int, v int, note text)",
        "INSERT INTO remote VALUES (-3, 7, 'far away')",
        "ALTER TABLE p DETACH PARTITION last",
        "ALTER TABLE p DROP CONSTRAINT p_pkey",
        "CREATE FOREIGN TABLE far PARTITION OF p FOR VALUES FROM (-10) TO (0) SERVER elsewhere "
        "OPTIONS (table_name 'remote')",
    )

    rows, _, stream = read(parted, streams={"public-p": {"key_properties": ["id"]}})

    assert [row["id"] for row in rows if row["id"] < 0] == [-3]
    assert len(rows) == 6001
    assert selects(stream)[-1] == '"public"."far"'
