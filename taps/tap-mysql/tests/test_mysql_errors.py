"""Errors by number: which of ours, and the next step."""

from __future__ import annotations

import socket
import ssl

import pymysql
import pytest

from icetap.errors import ConfigurationError, IcetapError, RetriableError, SkippableError
from tap_mysql.errors import translated
from tap_mysql.packets import CutOffError

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
    pytest.param(1205, RetriableError, "lock was held", id="lock-time-out"),
    pytest.param(1213, RetriableError, "lock was held", id="deadlock"),
    pytest.param(1317, RetriableError, "Run again", id="killed"),
    pytest.param(2003, RetriableError, "Check 'host' and 'port'", id="nobody-answers"),
    pytest.param(2013, RetriableError, "Run again", id="lost"),
    pytest.param(1053, RetriableError, "Run again", id="shutdown"),
    pytest.param(3024, RetriableError, "time limit", id="statement-time-out"),
    pytest.param(1412, RetriableError, "altered", id="table-altered"),
    pytest.param(9999, IcetapError, "what it said", id="unknown"),
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
