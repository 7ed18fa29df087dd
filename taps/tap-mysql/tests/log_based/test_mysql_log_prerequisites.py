"""What has to hold before rows can be read from the log: settings, rights, retention; told by name, with the remedy."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path

import pytest

from icetap.errors import ConfigurationError, RetriableError
from icetap.testing import mariadb as servers
from icetap.testing.in_process import read
from tap_mysql.tap import TapMySQL

pytestmark = pytest.mark.servers


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        pytest.param("binlog_format", "MIXED", "binlog_format is MIXED: SET GLOBAL binlog_format = 'ROW'", id="format"),
        pytest.param(
            "binlog_row_image",
            "MINIMAL",
            "binlog_row_image is MINIMAL: SET GLOBAL binlog_row_image = 'FULL'",
            id="image",
        ),
    ],
)  # fmt: skip
def test_server_that_does_not_log_whole_rows_is_refused(items, set_global, variable, value, message):
    set_global(**{variable: value})

    with pytest.raises(ConfigurationError, match=message):
        items.run()


def test_table_with_system_versioning_is_refused(log):
    log.execute("CREATE TABLE t (id INT PRIMARY KEY) WITH SYSTEM VERSIONING")

    with pytest.raises(ConfigurationError, match=r"-t' is of a table WITH SYSTEM VERSIONING.*FULL_TABLE"):
        log.run()


def test_statement_in_the_log_instead_of_rows_ends_the_run(items):
    with pytest.raises(ConfigurationError, match=r"a statement that wrote to .*items instead of the rows"):
        items.run("SET SESSION binlog_format = 'STATEMENT'", "UPDATE items SET name = 'x'")


def test_statements_about_tables_that_are_not_read_end_nothing(items):
    items.execute("CREATE TABLE other (n INT)")
    items.settings["streams"] = {items.database.stream("items"): {"replication_method": "LOG_BASED"}}

    statements = ("SET SESSION binlog_format = 'STATEMENT'", "INSERT INTO other VALUES (1)")
    assert items.records(*statements, table="items") == []


def test_rows_without_all_columns_end_the_run(items):
    with pytest.raises(ConfigurationError, match=r"rows of .*items without the columns .*binlog_row_image"):
        items.run("SET SESSION binlog_row_image = 'MINIMAL'", "UPDATE items SET name = 'x' WHERE id = 1")


@pytest.fixture
def user(items):
    """A user who may read the tables, and has the rights that the test gives."""
    name = f"u{items.database.name[-12:]}"
    items.execute(
        f"CREATE USER {name} IDENTIFIED BY 'secret'", f"GRANT SELECT ON {items.database.name}.* TO {name}"
    )
    yield name
    items.execute(f"DROP USER {name}")


@pytest.mark.parametrize(
    "rights",
    [
        pytest.param([], id="none"),
        pytest.param(["BINLOG MONITOR"], id="no-replication"),
        pytest.param(["REPLICATION SLAVE"], id="no-monitor"),
    ],
)
def test_missing_right_is_named_with_its_grant(items, user, rights):
    for right in rights:
        items.execute(f"GRANT {right} ON *.* TO {user}")

    with pytest.raises(ConfigurationError, match="GRANT REPLICATION SLAVE, BINLOG MONITOR ON"):
        items.run(user=user, password="secret")


def test_documented_rights_are_enough(items, user):
    items.execute(f"GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO {user}")

    settings = {"user": user, "password": "secret"}
    assert items.records("INSERT INTO items VALUES (3, 'x')", **settings) == [{"id": 3, "name": "x"}]
    items.state = None
    assert len(items.records(**settings)) == 3


def findings(log, **config):
    return list(log.tap(**config).test_findings())


def test_test_tells_of_the_log(items):
    told = findings(items)

    assert all(good for good, _ in told), told
    text = "\n".join(line for _, line in told)
    assert "row binary log, whole rows, positions by GTIDs" in text
    assert "files, " in text
    assert "MiB" in text


@pytest.mark.parametrize(
    ("settings", "good", "expected"),
    [
        pytest.param({"binlog_row_image": "MINIMAL"}, False, "binlog_row_image is MINIMAL", id="image"),
        pytest.param({"binlog_row_metadata": "NO_LOG"}, True, "binlog_row_metadata is not FULL", id="metadata"),
        pytest.param({"binlog_expire_logs_seconds": 3600}, True, "less than three days", id="retention"),
    ],
)  # fmt: skip
def test_test_tells_what_to_change(items, set_global, settings, good, expected):
    set_global(**settings)

    assert [line_good for line_good, line in findings(items) if expected in line] == [good]


def test_test_tells_of_missing_rights(items, user):
    items.execute(f"GRANT BINLOG MONITOR ON *.* TO {user}")

    told = findings(items, user=user, password="secret")
    assert [line for good, line in told if not good] == [
        line for _, line in told if "GRANT REPLICATION SLAVE" in line
    ]


def test_server_without_a_log_is_refused():
    with servers.mariadb(["--skip-log-bin"]) as server:
        name = server.new_database()
        server.execute(name, "CREATE TABLE t (id INT PRIMARY KEY)")
        with pytest.raises(ConfigurationError, match="writes no binary log"):
            run_on(server, name)


def test_server_that_dies_in_the_middle_of_transactions_loses_nothing_that_it_kept():
    """The server is killed while it writes; after its restart the loaded rows are those of the table."""
    programs, _ = servers._programs()
    folder = Path(tempfile.mkdtemp(prefix="icetap-mariadb-"))
    durable = ["--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1", "--innodb-doublewrite=1"]
    try:
        with servers.started_in(folder, programs, durable) as server:
            name = server.new_database()
            server.execute(name, "CREATE TABLE t (id INT PRIMARY KEY, n INT)")
            state = run_on(server, name).state
            writers = [threading.Thread(target=write, args=(server, name, number)) for number in range(3)]
            for writer in writers:
                writer.start()
            output = run_on(server, name, state, max_run_seconds=1, idle_exit_seconds=5)
            seen = {record["id"] for record in output.records()}
            server.process.kill()
            for writer in writers:
                writer.join()
        with servers.started_in(folder, programs, durable) as server:
            rest = run_on(server, name, output.state)
            seen |= {record["id"] for record in rest.records()}
            assert seen == {number for (number,) in server.execute(name, "SELECT id FROM t")}
            assert seen
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write(server, name, number):
    """Write transactions of some rows until the server is gone."""
    import pymysql

    connection = server.connect(name, autocommit=False)
    try:
        with connection.cursor() as cursor:
            for start in range(number, 10**8, 30):
                rows = ", ".join(f"({row}, 1)" for row in range(start, start + 30, 3))
                cursor.execute(f"INSERT INTO t VALUES {rows}")
                connection.commit()
    except (pymysql.Error, OSError):
        return


def run_on(server, name, state=None, **config):
    settings = {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "password": server.password,
        "database": name,
        "streams": {"*": {"replication_method": "LOG_BASED"}},
        **config,
    }
    return read(TapMySQL(config=settings, state=state))


def test_server_that_is_shut_down_is_not_the_end_of_the_log():
    with servers.mariadb(["--slave-net-timeout=60"]) as server:
        name = server.new_database()
        server.execute(name, "CREATE TABLE t (id INT PRIMARY KEY)")
        state = run_on(server, name).state
        stop = threading.Timer(2, server.execute, ["", "SHUTDOWN"])
        stop.start()
        with pytest.raises(RetriableError):
            run_on(server, name, state, idle_exit_seconds=20, max_retries=0)
        stop.join()
