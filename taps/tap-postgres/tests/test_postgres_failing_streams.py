"""What fails in one stream stops no other, and fails the run at its end."""

from __future__ import annotations

import pytest

from icetap.errors import SkippableError
from icetap.testing.in_process import read
from tap_postgres.tap import TapPostgres

GOOD = (
    "CREATE TABLE a_good (id int PRIMARY KEY)",
    "INSERT INTO a_good VALUES (1)",
    "CREATE TABLE z_good AS TABLE a_good",
)


def run(source, **config):
    done = read(
        TapPostgres(config={**source.config, "max_retries": 1, **config}), may_end_with=(SkippableError,)
    )
    assert len(done.records("public-a_good")) == len(done.records("public-z_good")) == 1
    return str(done.error)


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        pytest.param(
            ["CREATE VIEW middle AS SELECT 1 / (id - 1) AS x FROM a_good"], "division by zero", id="value"
        ),
        pytest.param(
            ["CREATE FUNCTION refuse() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$",
             "CREATE VIEW middle AS SELECT refuse() AS x"], "not today", id="raised-by-a-function"),
        pytest.param(
            ["CREATE VIEW middle AS SELECT pg_sleep(30)::text AS x"], "statement_timeout_seconds", id="time-limit"
        ),
        pytest.param(
            ["CREATE EXTENSION postgres_fdw",
             "CREATE SERVER nowhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '1')",
             "CREATE USER MAPPING FOR PUBLIC SERVER nowhere OPTIONS (user 'x', password 'x')",
             "CREATE FOREIGN TABLE middle (x int) SERVER nowhere"], "could not connect to server", id="foreign-server"),
    ],
)  # fmt: skip
def test_what_a_server_cannot_compute_stops_no_other_stream(scratch, statements, told):
    error = run(scratch(*GOOD, *statements), statement_timeout_seconds=2)

    assert "1 stream could not be read" in error
    assert told in error


def test_a_table_that_stays_locked_stops_no_other_stream(scratch):
    source = scratch(*GOOD, "CREATE TABLE middle (x int)")
    with source.connect() as other, other.transaction():
        other.execute("LOCK TABLE middle")

        error = run(source, lock_timeout_seconds=1)

    assert "'public-middle'" in error
    assert "Somebody holds a lock" in error
