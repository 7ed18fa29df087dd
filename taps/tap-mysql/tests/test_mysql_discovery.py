"""What discovery finds, and what it leaves out."""

from __future__ import annotations

import time

import pytest

from icetap.errors import ConfigurationError
from tap_mysql.tap import TapMySQL

pytestmark = pytest.mark.servers


def test_streams_are_called_database_table(database, discovered):
    database.execute(
        "CREATE TABLE `a``b c` (`x``y` INT PRIMARY KEY, `ü` INT)",
        "CREATE TABLE t (id INT)",
        "CREATE VIEW v AS SELECT 1 AS one",
        "CREATE SEQUENCE s",
    )
    found = discovered()

    assert sorted(found) == sorted(database.stream(name) for name in ("a`b c", "t", "v"))
    assert list(found[database.stream("a`b c")]["schema"]["properties"]) == ["x`y", "ü"]


def test_names_with_backticks_are_read(database, sync):
    database.execute(
        "CREATE TABLE `a``b` (`x``y` INT PRIMARY KEY, `select` INT, `?` INT, `:icetap_1` INT)",
        "INSERT INTO `a``b` VALUES (1, 2, 3, 4)",
    )

    assert sync().records() == [{"x`y": 1, "select": 2, "?": 3, ":icetap_1": 4}]


KEYS = [
    pytest.param("a INT, b INT, PRIMARY KEY (b, a)", ["b", "a"], id="primary"),
    pytest.param("a INT NOT NULL UNIQUE, b INT", ["a"], id="unique"),
    pytest.param("a INT UNIQUE, b INT", [], id="unique-with-nulls"),
    pytest.param("a VARCHAR(99) NOT NULL, b INT, UNIQUE (a(5))", [], id="unique-on-a-prefix"),
    pytest.param("a INT NOT NULL, b INT NOT NULL, c INT NOT NULL, UNIQUE z (c), UNIQUE y (a, b)", ["c"], id="shortest"),
    pytest.param("a INT, b INT, KEY (a)", [], id="not-unique"),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "key"), KEYS)
def test_keys_identify_rows(database, discovered, columns, key):
    database.execute(f"CREATE TABLE t ({columns})")

    assert discovered()[database.stream("t")]["key_properties"] == key


def test_invisible_and_generated_columns_are_read(database, sync):
    database.execute(
        "CREATE TABLE t (id INT PRIMARY KEY, hidden INT INVISIBLE DEFAULT 7, twice INT AS (id * 2) VIRTUAL, "
        "stored INT AS (id * 3) STORED)",
        "INSERT INTO t (id) VALUES (1)",
    )

    assert sync().records() == [{"id": 1, "hidden": 7, "twice": 2, "stored": 3}]


def test_a_system_versioned_table_is_read_as_of_now(database, sync):
    database.execute(
        "CREATE TABLE t (id INT PRIMARY KEY, a INT) WITH SYSTEM VERSIONING",
        "INSERT INTO t VALUES (1, 1)",
        "UPDATE t SET a = 2",
    )

    assert sync().records() == [{"id": 1, "a": 2}]


def test_partitions_are_one_table(database, sync):
    database.execute(
        "CREATE TABLE t (id INT PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 4",
        "INSERT INTO t VALUES (3), (1), (2)",
    )

    assert [record["id"] for record in sync().records()] == [1, 2, 3]


def test_a_broken_view_is_left_out(database, discovered, caplog):
    database.execute(
        "CREATE TABLE t (id INT)",
        "CREATE VIEW v AS SELECT id FROM t",
        "CREATE TABLE u (id INT)",
        "DROP TABLE t",
    )

    assert list(discovered()) == [database.stream("u")]
    assert f"'{database.stream('v')}' is left out" in caplog.text


@pytest.fixture
def reader(database):
    """A user who may read one column of one table, and all of another one."""
    name = f"u{database.name[-12:]}"
    database.execute(
        "CREATE TABLE t (id INT PRIMARY KEY, secret INT, shown INT)",
        "INSERT INTO t VALUES (1, 2, 3)",
        "CREATE TABLE hidden (id INT)",
        f"CREATE USER {name}@'%' IDENTIFIED BY 'pw'",
        f"GRANT SELECT (id, shown), INSERT (secret) ON {database.name}.t TO {name}@'%'",
    )
    yield {"user": name, "password": "pw"}
    database.execute(f"DROP USER {name}@'%'")


def test_what_the_user_may_not_read_is_left_out(database, sync, reader, caplog):
    assert sync(**reader).records() == [{"id": 1, "shown": 3}]
    assert "Column 'secret'" in caplog.text


def test_only_listed_databases_are_read(database, new_database, discovered):
    other = new_database()
    for each in (database, other):
        each.execute("CREATE TABLE t (id INT)")
    both = {database.stream("t"), other.stream("t")}

    assert set(discovered()) == {database.stream("t")}
    assert set(discovered(filter_schemas=[database.name, other.name])) == both
    assert set(discovered(filter_dbs=f"{database.name}, {other.name}")) == both
    everything = set(discovered(database=None))
    assert both <= everything
    assert not any(name.startswith(("mysql-", "sys-", "information_schema-")) for name in everything)
    other.execute(f"DROP DATABASE {other.name}")


def test_two_names_for_one_setting_are_refused(database):
    with pytest.raises(ConfigurationError, match="are one"):
        TapMySQL(config={**database.config, "filter_dbs": "a", "filter_schemas": ["b"]})


@pytest.mark.soak
def test_five_thousand_tables_take_less_than_ten_seconds(database, discovered):
    columns = ", ".join(f"c{number} VARCHAR(20)" for number in range(10))
    for start in range(0, 5000, 100):
        database.execute(
            *(
                f"CREATE TABLE t{n} (id INT PRIMARY KEY, {columns}) ENGINE=MyISAM"
                for n in range(start, start + 100)
            )
        )
    began = time.monotonic()
    found = discovered()

    assert len(found) == 5000
    assert time.monotonic() - began < 10
