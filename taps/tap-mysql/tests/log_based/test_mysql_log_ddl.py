"""DDL in the middle of the log: columns that come and go, tables that are emptied, replaced, altered silently."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.servers


def test_column_that_is_added_comes_with_a_new_schema(items):
    output = items.run(
        "INSERT INTO items VALUES (3, 'before')",
        "ALTER TABLE items ADD COLUMN n INT",
        "INSERT INTO items VALUES (4, 'after', 7)",
    )
    schemas = [sorted(message["schema"]["properties"]) for message in output.of("SCHEMA")]
    assert [[name for name in names if not name.startswith("_sdc")] for names in schemas] == [
        ["id", "name"],
        ["id", "n", "name"],
    ]
    assert output.records()[-1]["n"] == 7
    assert items.records() == [], "an empty new column needs no new read"
    assert items.records("INSERT INTO items VALUES (5, 'later', 8)") == [{"id": 5, "name": "later", "n": 8}]


def test_column_that_was_added_before_the_run_has_no_value_in_earlier_records(items):
    items.execute(
        "INSERT INTO items VALUES (3, 'before')",
        "ALTER TABLE items ADD COLUMN n INT FIRST",
        "INSERT INTO items VALUES (7, 4, 'after')",
    )
    assert items.records() == [
        {"n": None, "id": 3, "name": "before"},
        {"n": 7, "id": 4, "name": "after"},
    ]


def test_column_that_is_dropped_is_null_from_then_on(items):
    assert items.records(
        "INSERT INTO items VALUES (3, 'before')",
        "ALTER TABLE items DROP COLUMN name",
        "INSERT INTO items VALUES (4)",
    )[1:] == [{"id": 4, "name": None}]
    assert items.records("INSERT INTO items VALUES (5)") == [{"id": 5}]


@pytest.mark.parametrize(
    ("statements", "records"),
    [
        pytest.param(
            ["ALTER TABLE items ADD COLUMN n INT DEFAULT 5"],
            [{"id": 1, "name": "one", "n": 5}, {"id": 2, "name": "two", "n": 5}],
            id="added-with-a-default",
        ),
        pytest.param(
            ["ALTER TABLE items ADD COLUMN n INT NOT NULL"],
            [{"id": 1, "name": "one", "n": 0}, {"id": 2, "name": "two", "n": 0}],
            id="added-not-null",
        ),
        pytest.param(
            ["ALTER TABLE items CHANGE name title VARCHAR(20)"],
            [{"id": 1, "title": "one"}, {"id": 2, "title": "two"}],
            id="renamed",
        ),
        pytest.param(
            ["ALTER TABLE items RENAME COLUMN name TO title, ADD KEY (title)"],
            [{"id": 1, "title": "one"}, {"id": 2, "title": "two"}],
            id="renamed-among-other-actions",
        ),
        pytest.param(
            ["ALTER TABLE items MODIFY name VARBINARY(20)"],
            [{"id": 1, "name": "b25l"}, {"id": 2, "name": "dHdv"}],
            id="another-type",
        ),
        pytest.param(
            [
                "SET sql_mode = ''",
                "ALTER TABLE `items` /* shorter */ MODIFY COLUMN name VARCHAR(2)",
            ],
            [{"id": 1, "name": "on"}, {"id": 2, "name": "tw"}],
            id="values-cut",
        ),
        pytest.param(
            [
                "CREATE TABLE shadow (id INT PRIMARY KEY, name VARCHAR(30))",
                "INSERT INTO shadow SELECT id, upper(name) FROM items",
                "RENAME TABLE items TO old, shadow TO items",
                "DROP TABLE old",
            ],
            [{"id": 1, "name": "ONE"}, {"id": 2, "name": "TWO"}],
            id="swapped-for-another-table",
        ),
        pytest.param(
            [
                "ALTER TABLE items PARTITION BY HASH (id) PARTITIONS 2",
                "ALTER TABLE items TRUNCATE PARTITION p1",
            ],
            [{"id": 2, "name": "two"}],
            id="partition-emptied",
        ),
    ],
)
@pytest.mark.parametrize("is_before_run", [True, False], ids=["before-the-run", "during-the-run"])
def test_table_is_read_again_when_rows_changed_that_the_log_does_not_tell_of(
    items, statements, records, is_before_run
):
    if is_before_run:
        items.execute(*statements)
        items.run()
    else:
        items.run(*statements)
    items.run()

    assert items.live() == records


def test_full_read_after_a_silent_change_replaces_the_rows(items):
    first = items.bookmark()["version"]
    items.run("ALTER TABLE items MODIFY name VARCHAR(50)")
    assert "log_position" not in items.bookmark()

    output = items.run()
    assert [message["version"] for message in output.of("ACTIVATE_VERSION")] == [items.bookmark()["version"]]
    assert items.bookmark()["version"] > first


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("ALTER TABLE items ADD KEY (name), COMMENT = 'a, b'", id="index"),
        pytest.param("ALTER TABLE items ENGINE = InnoDB", id="rebuilt"),
        pytest.param("ALTER TABLE items ADD COLUMN note TEXT NULL AFTER id", id="empty-column"),
        pytest.param("CREATE TABLE IF NOT EXISTS items (a INT)", id="made-if-not-there"),
        pytest.param("OPTIMIZE TABLE items", id="optimized"),
        pytest.param("CREATE TABLE `modify` (items INT)", id="another-table"),
    ],
)
def test_harmless_statements_read_nothing_again(items, statement):
    assert items.records(statement, table="items") == []
    assert "log_position" in items.bookmark()
    assert items.records(table="items") == []


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param(["TRUNCATE TABLE items"], id="truncated"),
        pytest.param(["TRUNCATE items"], id="truncated-shortly"),
        pytest.param(
            ["DROP TABLE items", "CREATE TABLE items (id INT PRIMARY KEY, name VARCHAR(20))"], id="made-anew"
        ),
        pytest.param(["CREATE OR REPLACE TABLE items (id INT PRIMARY KEY, name VARCHAR(20))"], id="replaced"),
    ],
)
def test_emptied_table_begins_a_new_version(items, statements):
    first = items.bookmark()["version"]
    output = items.run(
        "INSERT INTO items VALUES (3, 'before')",
        *statements,
        "INSERT INTO items VALUES (4, 'after')",
    )
    versions = {message["record"]["id"]: message["version"] for message in output.of("RECORD")}
    assert versions[3] == first < versions[4]
    assert [message["version"] for message in output.of("ACTIVATE_VERSION")] == [versions[4]]
    assert items.live() == [{"id": 4, "name": "after"}]


def test_without_names_in_the_log_columns_are_known_by_their_places(items, set_global):
    set_global(binlog_row_metadata="NO_LOG")

    assert items.records("INSERT INTO items VALUES (3, 'three')") == [{"id": 3, "name": "three"}]


def test_without_names_in_the_log_an_altered_table_is_read_again(items, set_global):
    set_global(binlog_row_metadata="NO_LOG")
    items.execute(
        "INSERT INTO items VALUES (3, 'three')",
        "ALTER TABLE items DROP COLUMN name, ADD COLUMN other VARCHAR(20)",
        "INSERT INTO items VALUES (4, 'four')",
    )
    items.run()
    items.run()

    assert items.live() == [
        {"id": 1, "other": None},
        {"id": 2, "other": None},
        {"id": 3, "other": None},
        {"id": 4, "other": "four"},
    ]
