"""Secrets stay out of what the process says."""

import base64
import io
import json
import logging
import sys
import threading
import time
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from icetap.secrets import redaction
from icetap.secrets.redaction import MASK, Redactor, install

SECRET = "s3cr3t/with space"


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote(SECRET),
        quote(SECRET, safe="").lower(),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
    ],
    ids=["plain", "percent-encoded", "slash-kept", "lower-case", "base64", "base64url"],
)
def test_every_form_of_a_secret_is_hidden(form):
    redactor = Redactor()
    redactor.add(SECRET)

    assert redactor.redact(f"before {form} after") == f"before {MASK} after"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("postgresql://u:p%40ss:wo!rd@h/db", "p%40ss:wo!rd"),
        ("postgresql://u:p%40ss:wo!rd@h/db", "p@ss:wo!rd"),
        ("postgresql://u@h/db?sslmode=require&password=hun%20ter22", "hun%20ter22"),
        ("postgresql://u@h/db?sslmode=require&password=hun%20ter22", "hun ter22"),
    ],
    ids=["as-written", "decoded", "parameter", "parameter-decoded"],
)
def test_a_password_in_an_address_is_hidden_as_it_is_written_and_as_it_is(address, told):
    redactor = Redactor()
    redactor.add(address)

    assert redactor.redact(f"user 'u', {told}: require") == f"user 'u', {MASK}: require"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("Server=db;Uid=u;Pwd=hunter22;Encrypt=yes", "hunter22"),
        ("DRIVER={ODBC 18};PWD={hun;t}}er=22};SERVER=db", "{hun;t}}er=22}"),
        ("DRIVER={ODBC 18};PWD={hun;t}}er=22};SERVER=db", "hun;t}}er=22"),
        ("DRIVER={ODBC 18};PWD={hun;t}}er=22};SERVER=db", "hun;t}er=22"),
        ("Server=db;Password='hun;ter22'", "hun;ter22"),
        ('Server=db;Password="hun""ter22"', 'hun"ter22'),
        ("host=db password=hunter22 user=u", "hunter22"),
        (r"host=db password='hun\'ter 22' user=u", "hun'ter 22"),
        ("jdbc:sqlserver://db;user=u;password={hun;ter}}22};encrypt=true", "hun;ter}22"),
        ("mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BPWD%3D%7Bhun%3Bter%7D%7D22%7D%3B", "hun;ter}22"),
        ("AccountName=a;AccountKey=aGVsbG8gd29ybGQ=;Suffix=x", "aGVsbG8gd29ybGQ="),
    ],
)
def test_a_password_among_keywords_is_hidden_as_it_is_written_and_as_it_is(address, told):
    redactor = Redactor()
    redactor.add(address)

    assert redactor.redact(f"login of 'u' to db with {told} failed, Encrypt=yes") == (
        f"login of 'u' to db with {MASK} failed, Encrypt=yes"
    )


@pytest.mark.parametrize("written", ["PWD={a}}b;c'd};", "PASSWORD 'a}b;c''d'"])
def test_a_password_is_hidden_as_a_connection_string_and_sql_have_it(written):
    redactor = Redactor()
    redactor.add("a}b;c'd")

    assert MASK in redactor.redact(written)


def test_a_secret_of_the_wrong_type_is_hidden_where_it_is_refused():
    redactor = Redactor()
    redactor.add_settings(
        {"password": {"a": "hunter22", "b": ["hunter33"]}},
        {"properties": {"password": {"type": ["string", "null"], "secret": True}}},
    )

    assert redactor.redact("{'a': 'hunter22', 'b': ['hunter33']} is no string").count(MASK) == 2


@pytest.mark.parametrize("user", ["u", "us", "use", "user", "users", "userss"])
@pytest.mark.parametrize("secret", ["pa55word!", "pa55word", "pa55wordé?", "日本語のパスワード"])
def test_a_password_in_a_basic_header_is_hidden_whatever_stands_around_it(user, secret):
    redactor = Redactor()
    redactor.add(secret)
    for behind in ("", ":more"):
        header = base64.b64encode(f"{user}:{secret}{behind}".encode()).decode()

        told = redactor.redact(header)

        of_others = len(base64.b64encode(f"{user}:{behind}".encode()))
        assert MASK in told
        assert len(told) - len(MASK) <= of_others + 4, "more is left than what stands around it"


@pytest.mark.parametrize("written", [json.dumps, repr, lambda text: json.dumps(text, ensure_ascii=False)])
def test_escapes_do_not_uncover_a_secret(written):
    secret = 'quote " back \\ slash\nsecond line of it é'
    redactor = Redactor()
    redactor.add(secret)

    assert redactor.redact(written(secret))[1:-1] == MASK
    assert redactor.redact("error at: second line of it é") == f"error at: {MASK}"


@pytest.mark.parametrize(
    ("secret", "part"),
    [
        ("postgresql://app:pa%40ss@db.example.com/x", "pa@ss"),
        ('{"type": "service_account", "private_key": "-----KEY-----abc"}', "-----KEY-----abc"),
    ],
    ids=["address", "json"],
)
def test_the_secret_inside_of_a_secret_is_hidden_alone_too(secret, part):
    redactor = Redactor()
    redactor.add(secret)

    assert redactor.redact(f"refused: {part}") == f"refused: {MASK}"


def test_uncaught_errors_of_threads_and_destructors_are_redacted(capsys, monkeypatch):
    redactor = Redactor()
    redactor.add(SECRET)
    monkeypatch.setattr(redaction, "REDACTOR", redactor)
    for name in ("excepthook", "unraisablehook"):
        monkeypatch.setattr(threading if name == "excepthook" else sys, name, None)
    install()

    error = ValueError(SECRET)
    threading.excepthook(threading.ExceptHookArgs((ValueError, error, None, None)))
    sys.unraisablehook(SimpleNamespace(exc_type=ValueError, exc_value=error, exc_traceback=None))

    assert capsys.readouterr().err.count(MASK) == 2


def test_where_values_are_hidden_no_message_of_an_error_is_told(capsys, monkeypatch):
    redactor = Redactor()
    redactor.hides_values = True
    monkeypatch.setattr(redaction, "REDACTOR", redactor)
    stream = io.StringIO()
    logger = logging.getLogger("icetap-test-hidden-values")
    logger.addHandler(logging.StreamHandler(stream))
    install()

    try:
        try:
            int("ana@example.com")
        except ValueError as cause:
            raise KeyError("ana@example.com") from cause
    except KeyError as error:
        logger.exception("Could not read")
        threading.excepthook(threading.ExceptHookArgs((KeyError, error, error.__traceback__, None)))

    for told in (stream.getvalue(), capsys.readouterr().err):
        assert "ana@example.com" not in told.replace('"ana@example.com"', ""), (
            "the source's own line is no value"
        )
        assert "ValueError: (its message is not shown" in told
        assert "KeyError: (its message is not shown" in told


def test_ten_thousand_log_lines_cost_little():
    redactor = Redactor()
    for number in range(10):
        redactor.add(f"a secret of usual length {number}/é+")
    line = "tap-x | INFO | Stream orders: 1200 records in 12 pages, and a text of usual length" * 2

    started = time.process_time()
    for _ in range(10_000):
        redactor.redact(line)

    assert time.process_time() - started < 2


def test_a_text_too_short_to_be_a_secret_is_left_alone():
    redactor = Redactor()
    redactor.add("abc")

    assert redactor.redact("abcdef") == "abcdef"


def test_only_secret_settings_are_hidden():
    redactor = Redactor()
    redactor.add_settings(
        {"password": "hunter2!", "host": "db.example.com"},
        {"properties": {"password": {"secret": True}, "host": {}}},
    )

    assert redactor.redact("hunter2! db.example.com") == f"{MASK} db.example.com"


def test_of_a_secret_object_the_credentials_are_hidden_and_ordinary_words_stay():
    redactor = Redactor()
    redactor.add_settings(
        {
            "catalog": {
                "type": "rest",
                "uri": "https://user:pa55word@catalog.example.com",
                "credential": "id:sesame",
                "s3.secret-access-key": "AKIA-zzz",
            }
        },
        {"properties": {"catalog": {"secret": True}}},
    )

    told = redactor.redact("the rest of https://user:pa55word@catalog.example.com id:sesame AKIA-zzz")
    assert told == f"the rest of https://user:{MASK}@catalog.example.com {MASK} {MASK}"


def test_logged_messages_arguments_and_tracebacks_are_redacted(monkeypatch):
    redactor = Redactor()
    redactor.add(SECRET)
    monkeypatch.setattr(redaction, "REDACTOR", redactor)
    stream = io.StringIO()
    logger = logging.getLogger("icetap-test-redaction")
    logger.addHandler(logging.StreamHandler(stream))
    install()

    try:
        int(SECRET)
    except ValueError:
        logger.exception("failed with %s", SECRET)

    assert SECRET not in stream.getvalue()
    assert stream.getvalue().count(MASK) >= 2


def test_the_secret_of_a_clients_credential_is_hidden_alone_too():
    redactor = Redactor()
    schema = {"properties": {"catalog": {"secret": True}}}
    redactor.add_settings({"catalog": {"type": "rest", "credential": "loader:s3cr3t-part"}}, schema)

    assert redactor.redact("client loader, secret s3cr3t-part") == f"client loader, secret {MASK}"


def test_of_an_error_of_the_operating_system_the_systems_own_words_are_told():
    error = OSError(28, "No space left on device", "/data/ana@example.com")

    assert redaction.traceback_without_messages(error).endswith("OSError: No space left on device")


def test_a_logged_message_does_not_quote_the_error_that_it_is_logged_with(monkeypatch):
    """As the SDK does for errors that nobody catches."""
    monkeypatch.setattr(redaction.REDACTOR, "hides_values", True)
    stream = io.StringIO()
    logger = logging.getLogger("icetap-test-quoted-error")
    logger.addHandler(logging.StreamHandler(stream))
    install()

    error = RuntimeError("404 for /people/ana@example.com/orders")
    logger.error("%s", error.args[0], exc_info=error)
    logger.warning("Trying again after %s with %r", error, {"email": "ana@example.com"})

    assert "ana@example.com" not in stream.getvalue()
    assert "with '{email}'" in stream.getvalue()
