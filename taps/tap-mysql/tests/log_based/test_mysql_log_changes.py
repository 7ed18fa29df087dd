"""What applications do to rows, as the log tells it: only what was committed, whole, in order."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.servers


def test_inserts_updates_and_deletes_come_in_their_order(items):
    assert items.records(
        "INSERT INTO items VALUES (3, 'three')",
        "UPDATE items SET name = 'ONE' WHERE id = 1",
        "DELETE FROM items WHERE id = 2",
    ) == [
        {"id": 3, "name": "three"},
        {"id": 1, "name": "ONE"},
        {"id": 2, "name": "two", "gone": True},
    ]
    assert items.records() == [], "a run without changes sends no records"


def test_changed_key_is_a_delete_and_an_insert(items):
    assert items.records("UPDATE items SET id = 9, name = 'nine' WHERE id = 1") == [
        {"id": 1, "name": None, "gone": True},
        {"id": 9, "name": "nine"},
    ]


def test_key_that_changes_its_case_is_another_one(log):
    log.execute("CREATE TABLE t (k VARCHAR(9) PRIMARY KEY, n INT)", "INSERT INTO t VALUES ('a', 1)")
    log.run()

    assert log.records("UPDATE t SET k = 'A'") == [
        {"k": "a", "n": None, "gone": True},
        {"k": "A", "n": 1},
    ]


def test_table_without_key_gets_each_row_as_it_was_and_as_it_is(log):
    log.execute("CREATE TABLE t (a INT, b VARCHAR(9))", "INSERT INTO t VALUES (1, 'x'), (1, 'x')")
    log.run()

    assert log.records("UPDATE t SET b = 'y' LIMIT 1", "DELETE FROM t WHERE b = 'x'") == [
        {"a": 1, "b": "x", "gone": True},
        {"a": 1, "b": "y"},
        {"a": 1, "b": "x", "gone": True},
    ]


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param(("BEGIN", "INSERT INTO items VALUES (3, 'x')", "ROLLBACK"), id="rolled-back"),
        pytest.param(
            (
                "BEGIN",
                "INSERT INTO items VALUES (3, 'x')",
                "CREATE TEMPORARY TABLE scratch (a INT)",
                "ROLLBACK",
            ),
            id="rolled-back-and-written-to-the-log",
        ),
        pytest.param(
            (
                "BEGIN",
                "SAVEPOINT one",
                "INSERT INTO items VALUES (3, 'x')",
                "ROLLBACK TO SAVEPOINT one",
                "COMMIT",
            ),
            id="rolled-back-to-a-savepoint",
        ),
        pytest.param(
            (
                "CREATE TABLE m (a INT) ENGINE=MyISAM",
                "BEGIN",
                "INSERT INTO m VALUES (1)",
                "SAVEPOINT `a b`",
                "INSERT INTO items VALUES (3, 'x')",
                "SAVEPOINT two",
                "UPDATE items SET name = 'y'",
                "ROLLBACK TO SAVEPOINT `a b`",
                "COMMIT",
            ),
            id="savepoints-in-the-log",
        ),
        pytest.param(
            (
                "XA START 'x', 'y'",
                "INSERT INTO items VALUES (3, 'x')",
                "XA END 'x', 'y'",
                "XA PREPARE 'x', 'y'",
                "XA ROLLBACK 'x', 'y'",
            ),
            id="prepared-and-rolled-back",
        ),
    ],
)
def test_what_was_not_committed_does_not_come(items, statements):
    assert items.records(*statements, "INSERT INTO items VALUES (4, 'four')") == [{"id": 4, "name": "four"}]


def test_prepared_transaction_comes_when_it_is_committed_and_is_waited_for(items):
    connection = items.database.server.connect(items.database.name)
    end = "ROLLBACK"  # a prepared transaction outlives its connection, and holds the table
    with connection, connection.cursor() as cursor:
        for statement in (
            "XA START 'branch'",
            "INSERT INTO items VALUES (3, 'prepared')",
            "XA END 'branch'",
            "XA PREPARE 'branch'",
        ):
            cursor.execute(statement)
        try:
            before = items.bookmark()["log_position"]
            found = items.records("INSERT INTO items VALUES (4, 'after')")
            position = items.bookmark()["log_position"]
            end = "COMMIT"
        finally:
            cursor.execute(f"XA {end} 'branch'")

    assert found == [{"id": 4, "name": "after"}]
    assert position == before, "the position must not pass it"
    assert items.records() == [{"id": 4, "name": "after"}, {"id": 3, "name": "prepared"}]
    assert items.records() == []


def test_large_transaction_waits_in_a_file(items, monkeypatch):
    monkeypatch.setattr("tap_mysql.log_based.transactions.MEMORY_BYTES", 20_000)
    found = items.records(
        "CREATE TABLE m (a INT) ENGINE=MyISAM",
        "BEGIN",
        "INSERT INTO m VALUES (1)",
        "INSERT INTO items SELECT seq, concat('row ', seq) FROM seq_10_to_5000",
        "SAVEPOINT late",
        "UPDATE items SET name = 'never' WHERE id > 10",
        "ROLLBACK TO SAVEPOINT late",
        "UPDATE items SET name = 'last' WHERE id = 5000",
        "COMMIT",
    )
    assert len(found) == 4992
    assert found[:2] == [{"id": 10, "name": "row 10"}, {"id": 11, "name": "row 11"}]
    assert found[-1] == {"id": 5000, "name": "last"}


def test_changes_carry_their_place_in_the_log(items):
    records = items.run("BEGIN", "INSERT INTO items VALUES (3, 'a'), (4, 'b')", "COMMIT").records()

    assert [record["_sdc_sequence"] for record in records] == [1, 2]
    assert len({(record["_sdc_log_file"], record["_sdc_log_pos"]) for record in records}) == 1
    assert records[0]["_sdc_log_file"].startswith("binlog.")
    assert records[0]["_sdc_log_pos"] > 0


def test_changes_of_tables_without_transactions_come_too(log):
    log.execute("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=MyISAM")
    log.run()

    assert log.records("INSERT INTO t VALUES (1)", "DELETE FROM t") == [{"id": 1}, {"id": 1, "gone": True}]


def test_values_of_columns_that_are_computed_when_read_are_read_by_key(log):
    log.execute(
        "CREATE TABLE t (k VARCHAR(9) CHARACTER SET latin1, n INT, twice INT AS (n * 2) VIRTUAL, "
        "thrice INT AS (n * 3) STORED, PRIMARY KEY (k, n))"
    )
    log.run()

    assert log.records("INSERT INTO t (k, n) VALUES ('é', 1)", "INSERT INTO t (k, n) VALUES ('b', 2)") == [
        {"k": "é", "n": 1, "twice": 2, "thrice": 3},
        {"k": "b", "n": 2, "twice": 4, "thrice": 6},
    ]


def test_compressed_events_are_read(items, set_global):
    set_global(log_bin_compress=1, log_bin_compress_min_len=10)

    assert items.records(
        "INSERT INTO items VALUES (3, repeat('x', 20))",
        "UPDATE items SET name = repeat('y', 20) WHERE id = 3",
        "DELETE FROM items WHERE id = 3",
    ) == [
        {"id": 3, "name": "x" * 20},
        {"id": 3, "name": "y" * 20},
        {"id": 3, "name": "y" * 20, "gone": True},
    ]


def test_rows_of_a_table_that_is_made_by_a_select_come(items):
    items.execute("CREATE TABLE other (id INT PRIMARY KEY)")
    items.run()

    assert items.records(
        "DROP TABLE other", "CREATE TABLE other (PRIMARY KEY (id)) SELECT id FROM items"
    ) == [
        {"id": 1},
        {"id": 2},
    ]


def test_only_selected_columns_are_read(items):
    items.execute("ALTER TABLE items ADD COLUMN note TEXT", "UPDATE items SET note = 'n'")
    catalog = items.tap().catalog_dict
    for entry in catalog["streams"]:
        for each in entry["metadata"]:
            if each["breadcrumb"] == ["properties", "name"]:
                each["metadata"]["selected"] = False
    tap_catalog = catalog

    original = items.tap

    def with_catalog(**config):
        from tap_mysql.tap import TapMySQL

        tap = original(**config)
        return TapMySQL(config=dict(tap.config), state=items.state, catalog=tap_catalog)

    items.tap = with_catalog
    items.state = None
    items.run()
    assert items.records("UPDATE items SET name = 'x', note = 'm' WHERE id = 1") == [{"id": 1, "note": "m"}]


def test_what_a_foreign_key_deletes_is_not_in_the_log(log):
    """The documentation says so; when this fails, the server has learnt it."""
    log.execute(
        "CREATE TABLE p (id INT PRIMARY KEY)",
        "CREATE TABLE c (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE)",
        "INSERT INTO p VALUES (1)",
        "INSERT INTO c VALUES (10, 1)",
    )
    log.run()

    assert log.records("DELETE FROM p") == [{"id": 1, "gone": True}]
