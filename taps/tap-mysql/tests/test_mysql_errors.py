"""Errors by number: which of ours, and the next step."""

from __future__ import annotations

import socket
import ssl

import pymysql
import pytest

from icetap.errors import ConfigurationError, IcetapError, RetriableError, SkippableError
from icetap.secrets.redaction import REDACTOR
from icetap.sql.dialect import TableBusyError
from icetap.testing.in_process import run_tap
from tap_mysql.errors import translated
from tap_mysql.packets import CutOffError
from tap_mysql.tap import TapMySQL

CASES = [
    pytest.param(1045, ConfigurationError, "'user' and 'password'", id="access-denied"),
    pytest.param(1044, ConfigurationError, "'database'", id="database-denied"),
    pytest.param(1049, ConfigurationError, "'database'", id="no-database"),
    pytest.param(1130, ConfigurationError, "from this machine", id="host-refused"),
    pytest.param(3159, ConfigurationError, "'ssl_mode'", id="wants-tls"),
    pytest.param(1142, SkippableError, "GRANT SELECT", id="no-right-on-the-table"),
    pytest.param(1143, SkippableError, "GRANT SELECT", id="no-right-on-the-column"),
    pytest.param(1146, SkippableError, "discover again", id="no-table"),
    pytest.param(1356, SkippableError, "repair it", id="broken-view"),
    pytest.param(1054, ConfigurationError, "'queries' and 'where'", id="no-column"),
    pytest.param(1064, ConfigurationError, "'queries' and 'where'", id="syntax"),
    pytest.param(1040, RetriableError, "'max_parallel'", id="too-many-connections"),
    pytest.param(1205, TableBusyError, "lock was held", id="lock-time-out"),
    pytest.param(1213, TableBusyError, "lock was held", id="deadlock"),
    pytest.param(1317, RetriableError, "Run again", id="killed"),
    pytest.param(2003, RetriableError, "Check 'host' and 'port'", id="nobody-answers"),
    pytest.param(2013, RetriableError, "Run again", id="lost"),
    pytest.param(1053, RetriableError, "Run again", id="shutdown"),
    pytest.param(3024, TableBusyError, "time limit", id="statement-time-out"),
    pytest.param(1412, RetriableError, "altered", id="table-altered"),
    pytest.param(9999, SkippableError, "what it said", id="unknown"),
    pytest.param(2999, IcetapError, "what it said", id="unknown-to-the-client"),
]


@pytest.mark.parametrize(("number", "kind", "advice"), CASES)
def test_a_number_says_whose_turn_it_is(number, kind, advice):
    with pytest.raises(kind, match=rf"db:3306: what it said \({number}\)") as raised, translated("db:3306"):
        raise pymysql.OperationalError(number, "what it said.")

    assert type(raised.value) is kind
    assert advice in str(raised.value)


def test_a_cut_connection_is_tried_again():
    with pytest.raises(RetriableError, match="connection was lost"), translated("db"):
        raise CutOffError("in the middle")


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        pytest.param(socket.EAI_NONAME, ConfigurationError, id="no-such-name"),
        pytest.param(socket.EAI_AGAIN, RetriableError, id="name-server-down"),
    ],
)
def test_a_host_without_an_address_is_waited_for_only_when_it_may_have_one(reason, kind):
    error = pymysql.OperationalError(2003, "Can't connect")
    error.original_exception = socket.gaierror(reason, "no address")

    with pytest.raises(kind, match="Check 'host'") as raised, translated("db"):
        raise error

    assert type(raised.value) is kind


def test_a_bad_certificate_names_the_settings():
    error = pymysql.OperationalError(2003, "Can't connect")
    error.original_exception = ssl.SSLCertVerificationError(1, "certificate verify failed")

    with pytest.raises(ConfigurationError, match="'ssl_ca' and 'ssl_mode'"), translated("db"):
        raise error


def test_a_sign_in_that_needs_a_package_names_it():
    with pytest.raises(ConfigurationError, match="PyNaCl"), translated("db"):
        raise RuntimeError("'pynacl' package is required for ed25519_password auth method")


def test_a_bug_stays_one():
    with pytest.raises(RuntimeError, match="a bug"), translated("db"):
        raise RuntimeError("a bug")


CANARY = "canary@example.org"
SIGNAL = """CREATE FUNCTION checked(given varchar(100)) RETURNS varchar(100) DETERMINISTIC BEGIN
DECLARE said varchar(200) DEFAULT concat('no good: ', given);
SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = said{}; RETURN given; END"""


@pytest.mark.parametrize(
    ("expression", "function"),
    [
        pytest.param("checked(email)", SIGNAL.format(""), id="signalled"),
        pytest.param("checked(email)", SIGNAL.format(", MYSQL_ERRNO = 1146"), id="signalled-as-another"),
        pytest.param("extractvalue('<a/>', concat('~', (SELECT max(email) FROM people)))", None, id="xpath"),
        pytest.param("(SELECT email FROM people UNION SELECT 'b')", None, id="more-rows-than-one"),
    ],
)
def test_where_masks_hide_values_no_words_of_the_server_tell_them(database, capfd, expression, function):
    database.execute(
        "CREATE TABLE people (id int PRIMARY KEY, email varchar(100))",
        f"INSERT INTO people VALUES (1, '{CANARY}')",
        *([function] if function else []),
    )
    query = {"name": "shown", "sql": f"SELECT id, email, {expression} AS made FROM people"}
    masks = {"*": {"email": "redact", "made": "redact"}}

    run = run_tap(TapMySQL, {**database.config, "queries": [query], "masks": masks})

    assert run.error is not None
    assert CANARY not in f"{run.error} {run.log} {run.stdout} {capfd.readouterr()}"
    assert "its words are not told" in str(run.error)


@pytest.mark.parametrize(
    "said",
    [
        "Table 'shop.people' doesn't exist",
        "Unknown column 'email' in 'field list'",
        "SELECT command denied to user 'reader'@'%' for table 'people'",
        "Lock wait timeout exceeded; try restarting transaction",
    ],
)
def test_words_that_are_made_of_names_are_told_with_masks_too(said, monkeypatch):
    monkeypatch.setattr(REDACTOR, "hides_values", True)

    with pytest.raises(IcetapError) as raised, translated("db"):
        raise pymysql.OperationalError(1, said)

    assert said in str(raised.value)
