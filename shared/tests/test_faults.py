"""Faults from outside: which pass, how long to wait, and what a person is told."""

import errno
import sqlite3
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
import requests
from pyiceberg import exceptions as iceberg
from sqlalchemy.exc import OperationalError, ProgrammingError

from icetap import faults
from icetap.errors import ConfigurationError, RetriableError, StateError
from icetap.patience import Patience

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def of_server(code=None, text="", *, kind=OperationalError):
    """An error of PostgreSQL's driver as SQLAlchemy wraps it."""
    original = Exception(text)
    original.pgcode = code
    return kind("SELECT 1", {}, original)


def of_sqlite(text):
    return OperationalError("UPDATE", {}, sqlite3.OperationalError(text))


def of_s3(code, detail=""):
    return OSError(
        f"When uploading part for key 'k' in bucket 'b': AWS Error {code} during UploadPart operation: {detail}"
    )


CASES = {
    "sqlite locked": (of_sqlite("database is locked"), True, RetriableError, "locked by another process"),
    "sqlite made by another": (of_sqlite("table t already exists"), True, RetriableError, "already exists"),
    "sqlite readonly": (
        of_sqlite("attempt to write a readonly database"),
        False,
        ConfigurationError,
        "rights",
    ),
    "postgres shutting down": (of_server("57P01"), True, RetriableError, "code 57P01"),
    "postgres unreachable": (of_server(text="Connection refused"), True, RetriableError, "cannot be reached"),
    "postgres wrong password": (
        of_server(text='FATAL:  password authentication failed for user "x"'),
        False,
        ConfigurationError,
        "refused the sign-in",
    ),
    "postgres no database": (of_server("3D000"), False, ConfigurationError, "does not exist on its server"),
    "postgres no right": (
        of_server("42501", kind=ProgrammingError),
        False,
        ConfigurationError,
        "Grant it SELECT",
    ),
    "rest 503": (iceberg.ServiceUnavailableError(), True, RetriableError, "did not answer as expected"),
    "rest unknown": (iceberg.CommitStateUnknownException(), True, RetriableError, "did not answer"),
    "rest 400": (iceberg.BadRequestError(), False, RetriableError, "BadRequestError"),
    "rest 401": (iceberg.UnauthorizedError(), False, ConfigurationError, "refused access"),
    "rest 403": (iceberg.ForbiddenError(), False, ConfigurationError, "refused access"),
    "token refused": (iceberg.OAuthError(), False, ConfigurationError, "'credential'"),
    "connection cut": (requests.ConnectionError(), True, RetriableError, "'uri'"),
    "no answer in time": (requests.ReadTimeout(), True, RetriableError, "'timeout_seconds'"),
    "unknown host": (
        requests.ConnectionError("[Errno -2] Name or service not known"),
        False,
        ConfigurationError,
        "its name",
    ),
    "wrong certificate": (requests.exceptions.SSLError(), False, ConfigurationError, "certificate"),
    "s3 unreachable": (of_s3("NETWORK_CONNECTION"), True, RetriableError, "'s3.endpoint'"),
    "s3 overloaded": (of_s3("SLOW_DOWN"), True, RetriableError, "SLOW_DOWN"),
    "s3 500": (of_s3("UNKNOWN (HTTP status 500)"), True, RetriableError, "(500)"),
    "s3 refused": (of_s3("ACCESS_DENIED"), False, ConfigurationError, "'s3.access-key-id'"),
    "s3 refused by a name that is not Amazon's": (
        of_s3("UNKNOWN (HTTP status 404)", "Unable to parse ExceptionName: XAdminUserNotFound Message: x"),
        False,
        ConfigurationError,
        "'s3.access-key-id'",
    ),
    "s3 no bucket": (of_s3("NO_SUCH_BUCKET"), False, ConfigurationError, "does not know the bucket"),
    "disk full": (OSError(errno.ENOSPC, "No space left"), False, RetriableError, "the disk is full"),
    "no right": (OSError(errno.EACCES, "Permission denied"), False, ConfigurationError, "cannot be written"),
}


@pytest.mark.parametrize(("error", "passes", "kind", "words"), CASES.values(), ids=CASES)
def test_a_fault_passes_or_not_and_is_told_in_plain_words(error, passes, kind, words):
    assert faults.is_passing(error) is passes
    told = faults.explained(error)
    assert type(told) is kind
    assert words in str(told)


@pytest.mark.parametrize(("error", "passes", "kind", "words"), CASES.values(), ids=CASES)
def test_a_fault_is_known_behind_another_error(error, passes, kind, words):
    outer = RuntimeError("the commit failed")
    outer.__cause__ = error
    assert faults.is_passing(outer) is passes
    assert type(faults.explained(outer)) is kind


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("x")], ids=["ValueError", "KeyError"])
def test_a_bug_is_no_fault_from_outside(error):
    assert faults.explained(error) is None
    assert not faults.is_passing(error)


def test_what_explains_itself_is_neither_explained_nor_repeated():
    error = StateError("elsewhere")
    error.__cause__ = iceberg.ServiceUnavailableError()
    assert faults.explained(error) is None
    assert not faults.is_passing(error)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param("30", 30.0, id="seconds"),
        pytest.param("Sat, 21 Nov 2026 12:00:10 GMT", 10.0, id="http-date"),
        pytest.param("Sat, 21 Nov 2026 11:00:00 GMT", 0.0, id="past"),
        pytest.param("soon", None, id="unreadable"),
        pytest.param(None, None, id="missing"),
    ],
)
def test_retry_after_is_read_as_seconds(header, seconds):
    error = requests.HTTPError()
    error.response = SimpleNamespace(headers={"Retry-After": header} if header else {}, status_code=503)
    outer = iceberg.ServiceUnavailableError()
    outer.__cause__ = error
    assert faults.retry_after_seconds(outer, now=NOON) == seconds


def test_calls_are_repeated_as_often_as_set_and_no_more(monkeypatch):
    waits, calls = [], []
    monkeypatch.setattr("icetap.patience.time.sleep", waits.append)

    def fails():
        calls.append(1)
        raise iceberg.ServiceUnavailableError

    with pytest.raises(iceberg.ServiceUnavailableError):
        Patience(8).call(fails, what="a call")
    assert len(calls) == 9
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_a_fault_that_does_not_pass_is_not_repeated():
    calls = []

    def fails():
        calls.append(1)
        raise iceberg.ForbiddenError

    with pytest.raises(iceberg.ForbiddenError):
        Patience(5).call(fails, what="a call")
    assert len(calls) == 1
