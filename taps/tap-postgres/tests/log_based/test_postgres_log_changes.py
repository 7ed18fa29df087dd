"""What comes of each kind of change."""

from __future__ import annotations

import json

BIG = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 400) AS i)"
"""Text that PostgreSQL keeps outside of the row, even compressed."""


def test_the_first_run_reads_the_table_and_the_second_what_changed(items, short):
    first = items.run()
    items.execute(
        "INSERT INTO items VALUES (3, 'three')",
        "UPDATE items SET name = 'deux' WHERE id = 2",
        "DELETE FROM items WHERE id = 1",
    )
    second = items.run()

    assert short(first) == [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]
    assert len(first.of("ACTIVATE_VERSION")) == 1
    assert short(second) == [
        {"id": 3, "name": "three"},
        {"id": 2, "name": "deux"},
        {"id": 1, "name": None, "gone": True},
    ]
    assert second.of("ACTIVATE_VERSION") == []
    assert {message["version"] for message in second.of("RECORD")} == {first.of("RECORD")[0]["version"]}


def test_runs_without_changes_send_none(items):
    items.run()

    assert items.run().records() == []
    assert items.run().records() == []


def test_a_changed_key_is_a_delete_and_an_insert(items, short):
    items.run()
    items.execute("UPDATE items SET id = 9 WHERE id = 1")

    assert short(items.run()) == [{"id": 1, "name": None, "gone": True}, {"id": 9, "name": "one"}]


def test_changes_have_the_place_of_their_commit_and_their_number_in_it(items):
    items.run()
    items.in_one_transaction("UPDATE items SET name = 'a'", "UPDATE items SET id = 9 WHERE id = 1")
    items.execute("DELETE FROM items")
    records = items.run().records()

    first, second = records[:4], records[4:]
    assert [record["_sdc_sequence"] for record in first] == [1, 2, 3, 4]
    assert [record["_sdc_sequence"] for record in second] == [1, 2]
    assert {record["_sdc_lsn"] for record in first} < {record["_sdc_lsn"] for record in records}
    assert max(record["_sdc_lsn"] for record in first) < min(record["_sdc_lsn"] for record in second)
    assert second[0]["_sdc_deleted_at"].startswith("20")


def test_what_was_rolled_back_is_never_sent(items, short):
    items.run()
    with items.database.connect() as session:
        session.execute("BEGIN")
        session.execute("INSERT INTO items VALUES (7, 'no')")
        session.execute("ROLLBACK")
        session.execute("BEGIN")
        session.execute("INSERT INTO items VALUES (8, 'yes')")
        session.execute("SAVEPOINT s")
        session.execute("DELETE FROM items")
        session.execute("ROLLBACK TO SAVEPOINT s")
        session.execute("COMMIT")

    assert short(items.run()) == [{"id": 8, "name": "yes"}]


def test_a_transaction_that_commits_late_comes_in_the_run_after_its_commit(items, short):
    items.run()
    with items.database.connect() as session:
        session.execute("BEGIN")
        session.execute("INSERT INTO items VALUES (7, 'late')")
        items.execute("INSERT INTO items VALUES (8, 'early')")
        while_open = items.run()
        session.execute("COMMIT")

    assert short(while_open) == [{"id": 8, "name": "early"}]
    assert short(items.run()) == [{"id": 7, "name": "late"}]


# --- values that the log leaves out -----------------------------------------------------------------------


def test_a_large_value_that_did_not_change_is_read_again_by_key(log, short):
    source = log(
        "CREATE TABLE docs (id int, part text, big text, n int, PRIMARY KEY (id, part))",
        "ALTER TABLE docs ALTER big SET STORAGE EXTERNAL",
        f"INSERT INTO docs SELECT i, 'it''s ' || i, {BIG} || i, 0 FROM generate_series(1, 3) AS i",
    )
    big = source.execute(f"SELECT {BIG}")[0][0]
    source.run()
    source.execute("UPDATE docs SET n = 5 WHERE id = 1", "UPDATE docs SET id = 7, n = 6 WHERE id = 2")

    assert short(source.run()) == [
        {"id": 1, "part": "it's 1", "big": f"{big}1", "n": 5},
        {"id": 2, "part": "it's 2", "big": None, "n": None, "gone": True},
        {"id": 7, "part": "it's 2", "big": f"{big}2", "n": 6},
    ]


def test_a_row_that_is_gone_before_its_large_value_is_read_comes_as_its_delete_alone(log, short):
    source = log(
        "CREATE TABLE docs (id int PRIMARY KEY, big text, n int)",
        "ALTER TABLE docs ALTER big SET STORAGE EXTERNAL",
        f"INSERT INTO docs SELECT i, {BIG}, 0 FROM generate_series(1, 2) AS i",
    )
    source.run()
    source.execute(
        "UPDATE docs SET n = 1 WHERE id = 1",
        "UPDATE docs SET n = 2 WHERE id = 1",
        "DELETE FROM docs WHERE id = 1",
    )
    source.execute("UPDATE docs SET id = 5 WHERE id = 2", "UPDATE docs SET id = 6 WHERE id = 5")
    records = [(record["id"], "gone" in record) for record in short(source.run())]

    assert records == [(1, True), (2, True), (5, True), (6, False)]


def test_a_large_value_comes_from_the_old_row_where_the_log_has_it(log, short):
    source = log(
        "CREATE TABLE docs (big text, n int)",
        "ALTER TABLE docs ALTER big SET STORAGE EXTERNAL",
        "ALTER TABLE docs REPLICA IDENTITY FULL",
        f"INSERT INTO docs VALUES ({BIG}, 0)",
    )
    big = source.execute(f"SELECT {BIG}")[0][0]
    source.run()
    source.execute("UPDATE docs SET n = 5")

    assert short(source.run()) == [{"big": big, "n": 0, "gone": True}, {"big": big, "n": 5}]


def test_generated_columns_and_values_that_have_no_exact_text_are_read_by_key(log, short):
    source = log(
        "CREATE TYPE pair AS (a int, b text)",
        "CREATE TABLE t (id int PRIMARY KEY, p pair, m money, twice int GENERATED ALWAYS AS (id * 2) STORED)",
        "INSERT INTO t VALUES (1, ROW(1, 'x'), 1.5)",
    )
    source.run()
    source.execute("INSERT INTO t VALUES (2, ROW(2, 'y'), 2.25)", "UPDATE t SET m = 3 WHERE id = 1")
    found = short(source.run())

    assert [(each["id"], json.loads(each["p"]), float(each["m"]), each["twice"]) for each in found] == [
        (2, {"a": 2, "b": "y"}, 2.25, 4),
        (1, {"a": 1, "b": "x"}, 3.0, 2),
    ]


# --- tables without a key, with another key, in parts -----------------------------------------------------


def test_without_a_key_an_update_is_the_old_row_deleted_and_the_new_one_inserted(log, short):
    source = log(
        "CREATE TABLE notes (a int, b text)",
        "ALTER TABLE notes REPLICA IDENTITY FULL",
        "INSERT INTO notes VALUES (1, 'x'), (1, 'x')",
    )
    first = source.run()
    source.execute("UPDATE notes SET b = 'y' WHERE ctid = '(0,1)'", "DELETE FROM notes WHERE b = 'x'")

    assert short(first) == [{"a": 1, "b": "x"}, {"a": 1, "b": "x"}]
    assert short(source.run()) == [
        {"a": 1, "b": "x", "gone": True},
        {"a": 1, "b": "y"},
        {"a": 1, "b": "x", "gone": True},
    ]


def test_a_key_of_the_users_own_follows_by_the_whole_row(log, short):
    source = log(
        "CREATE TABLE t (id int PRIMARY KEY, code text NOT NULL, n int)",
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "INSERT INTO t VALUES (1, 'a', 0)",
    )
    options = {"streams": {"*": {"replication_method": "LOG_BASED", "key_properties": ["code"]}}}
    source.run(**options)
    source.execute("UPDATE t SET n = 1", "UPDATE t SET code = 'b'")

    assert short(source.run(**options)) == [
        {"id": 1, "code": "a", "n": 1},
        {"id": 1, "code": "a", "n": 1, "gone": True},
        {"id": 1, "code": "b", "n": 1},
    ]


def test_a_partitioned_table_is_one_stream(log, short):
    source = log(
        "CREATE TABLE p (id int, n int, PRIMARY KEY (id)) PARTITION BY RANGE (id)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE p2 (n int, id int NOT NULL)",
        "ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20)",
        "INSERT INTO p VALUES (1, 1), (11, 11)",
    )
    first = source.run()
    source.execute("UPDATE p SET n = 5", "UPDATE p SET id = 12 WHERE id = 1", "DELETE FROM p WHERE id = 11")

    assert short(first) == [{"id": 1, "n": 1}, {"id": 11, "n": 11}]
    assert short(source.run()) == [
        {"id": 1, "n": 5},
        {"id": 11, "n": 5},
        {"id": 1, "n": None, "gone": True},
        {"id": 12, "n": 5},
        {"id": 11, "n": None, "gone": True},
    ]


# --- TRUNCATE ---------------------------------------------------------------------------------------------


def test_truncate_begins_a_version_that_its_rows_activate(items, short):
    old = items.run().of("RECORD")[0]["version"]
    items.execute(
        "INSERT INTO items VALUES (3, 'last')", "TRUNCATE items", "INSERT INTO items VALUES (4, 'new')"
    )
    output = items.run()

    assert [(message["record"]["id"], message["version"] > old) for message in output.of("RECORD")] == [
        (3, False),
        (4, True),
    ]
    kinds = [
        message["type"] for message in output.messages if message["type"] in {"RECORD", "ACTIVATE_VERSION"}
    ]
    assert kinds == ["RECORD", "RECORD", "ACTIVATE_VERSION"]
    assert "is_unannounced" not in items.state["bookmarks"]["public-items"]


def test_a_table_that_stays_empty_is_activated_twice_and_again_with_its_first_row(items, short):
    items.run()
    items.execute("TRUNCATE items")
    emptied = items.run()
    items.execute("INSERT INTO items VALUES (4, 'new')")
    filled = items.run()

    versions = [message["version"] for message in emptied.of("ACTIVATE_VERSION")]
    assert len(versions) == 2
    assert versions[0] == versions[1]
    assert [message["version"] for message in filled.of("ACTIVATE_VERSION")] == versions[:1]
    assert filled.of("RECORD")[0]["version"] == versions[0]
    assert items.run().of("ACTIVATE_VERSION") == []


def test_each_of_several_versions_in_a_run_is_activated(items):
    items.run()
    for number in range(10, 13):
        items.execute(f"INSERT INTO items VALUES ({number}, 'x')", "TRUNCATE items")
    output = items.run()

    shown = [
        (m["type"], m["version"]) for m in output.messages if m["type"] in {"RECORD", "ACTIVATE_VERSION"}
    ]
    versions = sorted({version for _, version in shown})
    first, second, third, last = versions
    assert shown == [
        ("RECORD", first),
        ("RECORD", second),
        ("ACTIVATE_VERSION", second),
        ("RECORD", third),
        ("ACTIVATE_VERSION", third),
        ("ACTIVATE_VERSION", last),
        ("ACTIVATE_VERSION", last),
    ]
