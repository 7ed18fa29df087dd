"""What fails in one stream stops no other, and fails the run at its end."""

from __future__ import annotations

import pytest

from icetap.errors import SkippableError
from icetap.testing.in_process import read
from tap_mysql.tap import TapMySQL

GOOD = (
    "CREATE TABLE a_good (id INT PRIMARY KEY)",
    "INSERT INTO a_good VALUES (1)",
    "CREATE TABLE z_good AS SELECT * FROM a_good",
)

SIGNAL = "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not today'"


def run(database, **config):
    done = read(TapMySQL(config={**database.config, **config}), may_end_with=(SkippableError,))
    for name in ("a_good", "z_good"):
        assert len(done.records(database.stream(name))) == 1
    return str(done.error)


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        pytest.param(
            ["CREATE VIEW middle AS SELECT id - 9223372036854775808 - id AS x FROM a_good"], "1690", id="out-of-range"
        ),
        pytest.param(
            [f"CREATE FUNCTION refuse() RETURNS INT NO SQL BEGIN {SIGNAL}; RETURN 1; END",
             "CREATE VIEW middle AS SELECT refuse() AS x"], "not today", id="raised-by-a-function"),
        pytest.param(
            ["CREATE VIEW middle AS SELECT SLEEP(30) AS x"], "time limit", id="time-limit"
        ),
    ],
)  # fmt: skip
def test_what_a_server_cannot_compute_stops_no_other_stream(database, statements, told):
    database.execute(*GOOD, *statements)

    error = run(database, session_sqls=["SET SESSION max_statement_time = 2"])

    assert told in error


def test_a_table_that_stays_locked_stops_no_other_stream(database):
    database.execute(*GOOD, "CREATE TABLE middle (x INT)")
    with database.server.connect(database.name) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLES middle WRITE")

        error = run(database, session_sqls=["SET SESSION lock_wait_timeout = 1"])

    assert database.stream("middle") in error
    assert "A lock was held by others" in error
