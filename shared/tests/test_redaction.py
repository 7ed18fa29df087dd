"""Secrets stay out of what the process says."""

import base64
import io
import logging
from urllib.parse import quote

import pytest

from icetap.secrets import redaction
from icetap.secrets.redaction import MASK, Redactor, install

SECRET = "s3cr3t/with space"


@pytest.mark.parametrize(
    "form",
    [SECRET, quote(SECRET, safe=""), base64.b64encode(SECRET.encode()).decode()],
    ids=["plain", "percent-encoded", "base64"],
)
def test_every_form_of_a_secret_is_hidden(form):
    redactor = Redactor()
    redactor.add(SECRET)

    assert redactor.redact(f"before {form} after") == f"before {MASK} after"


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
