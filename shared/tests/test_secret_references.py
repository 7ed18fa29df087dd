"""References in settings become values, in memory alone."""

import json
import multiprocessing
import os
import time

import pytest

from icetap.cli.configuration import read_catalog_settings
from icetap.errors import ConfigurationError
from icetap.secrets import references
from icetap.secrets.keys import KEYS_VARIABLE, new_key
from icetap.secrets.redaction import MASK, REDACTOR
from icetap.secrets.references import resolve
from icetap.secrets.rotating import exchanging
from icetap.secrets.store import STORE_VARIABLE, open_store

SCHEMA = {
    "properties": {
        "host": {"type": "string"},
        "port": {"type": "integer"},
        "password": {"type": "string", "secret": True},
        "folder": {"type": "string"},
        "catalog": {"type": ["object", "string"], "secret": True},
        "ssh_tunnel": {
            "type": "object",
            "properties": {"password": {"type": "string", "secret": True}, "port": {"type": "integer"}},
        },
        "headers": {"type": "array", "items": {"type": "object"}},
    }
}


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv(KEYS_VARIABLE, new_key())
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "vault" / "secrets.json"))
    made = open_store()
    made.set("prod/password", "s3cret-pa55")
    return made


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"password": "secret://prod/password"}, {"password": "s3cret-pa55"}, id="setting"),
        pytest.param(
            {"ssh_tunnel": {"password": "secret://prod/password", "port": 22}},
            {"ssh_tunnel": {"password": "s3cret-pa55", "port": 22}},
            id="nested",
        ),
        pytest.param(
            {"headers": [{"X-Key": "secret://prod/password"}]},
            {"headers": [{"X-Key": "s3cret-pa55"}]},
            id="in-a-list",
        ),
        pytest.param(
            {"catalog": '{"uri": "https://x", "token": "secret://prod/password"}'},
            {"catalog": {"uri": "https://x", "token": "s3cret-pa55"}},
            id="object-as-json-text",
        ),
        pytest.param({"port": "env://SOME_PORT"}, {"port": 5433}, id="typed"),
        pytest.param({"host": "env://SOME_HOST"}, {"host": "db.example.com"}, id="environment"),
        pytest.param({"folder": "file:///data"}, {"folder": "file:///data"}, id="a-place-stays"),
        pytest.param(
            {"catalog": {"warehouse": "file:///data"}},
            {"catalog": {"warehouse": "file:///data"}},
            id="a-nested-place",
        ),
        pytest.param({"host": "https://x.example"}, {"host": "https://x.example"}, id="an-address-stays"),
    ],
)
def test_references_are_replaced(store, monkeypatch, given, expected):
    monkeypatch.setenv("SOME_PORT", "5433")
    monkeypatch.setenv("SOME_HOST", "db.example.com")

    assert resolve(given, SCHEMA).config == expected


def test_a_file_holds_a_secret_setting_and_its_line_end_is_no_part_of_it(tmp_path):
    (tmp_path / "pw").write_text("from-a-file\n")

    found = resolve({"password": f"file://{tmp_path}/pw"}, SCHEMA)

    assert found.config == {"password": "from-a-file"}
    assert found.references == {"password": f"file://{tmp_path}/pw"}
    assert REDACTOR.redact("it is from-a-file") == f"it is {MASK}"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"password": "secret://prod/pasword"},
            ["'password'", "did you mean 'prod/password'", "icetap secrets set"],
        ),
        ({"password": "env://NO_SUCH_THING"}, ["'password'", "NO_SUCH_THING"]),
        ({"password": "file:///no/such/file"}, ["'password'", "cannot be read"]),
        ({"ssh_tunnel": {"port": "env://SOME_WORD"}}, ["'ssh_tunnel.port'", "integer"]),
        ({"password": " secret://prod/password"}, ["'password'", "'secret://'", "without a space"]),
        ({"password": "SECRET://prod/password"}, ["'password'", "'secret://'", "lower case"]),
        ({"password": "secrets://prod/password"}, ["'password'", "'secret://'"]),
    ],
    ids=["no-secret", "no-variable", "no-file", "wrong-type", "a-space", "upper-case", "plural"],
)
def test_a_reference_to_nothing_names_the_setting_and_the_way_out(store, monkeypatch, given, words):
    monkeypatch.setenv("SOME_WORD", "not-a-number")

    with pytest.raises(ConfigurationError) as caught:
        resolve(given, SCHEMA)

    assert [word for word in words if word not in str(caught.value)] == []
    assert "not-a-number" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        pytest.param({"password": "vault://team/db"}, "password", "There are: env://, file://", id="unknown"),
        pytest.param({"password": "secrt://team"}, "password", "did you mean 'secret'", id="near"),
        pytest.param(
            {"ssh_tunnel": {"password": "aws-sm://x"}}, "ssh_tunnel.password", "literal://", id="nested"
        ),
        pytest.param({"catalog": {"token": "op://x/y"}}, "catalog.token", "A package", id="in-an-object"),
    ],
)
def test_an_unknown_scheme_in_a_secret_setting_is_refused_with_those_there_are(given, path, words):
    with pytest.raises(ConfigurationError) as raised:
        resolve(given, SCHEMA)

    assert f"setting '{path}' begins as a reference" in str(raised.value)
    assert words in str(raised.value)
    assert not any(told in str(raised.value) for told in ("vault", "team", "x/y", "op:"))


@pytest.mark.parametrize(
    ("config", "resolved"),
    [
        pytest.param({"password": "literal://vault://x"}, {"password": "vault://x"}, id="escaped"),
        pytest.param({"password": "https://x"}, {"password": "https://x"}, id="web"),
        pytest.param({"password": "pa55://Word?"}, None, id="digits-in-the-scheme"),
        pytest.param({"password": "my pass://word"}, {"password": "my pass://word"}, id="no-scheme"),
        pytest.param({"password": "Pa$$://word"}, {"password": "Pa$$://word"}, id="no-scheme-either"),
        pytest.param(
            {"sqlalchemy_url": "mysql://u:p@h/d"}, {"sqlalchemy_url": "mysql://u:p@h/d"}, id="address"
        ),
        pytest.param({"dest": "ftp://u:p@h"}, {"dest": "ftp://u:p@h"}, id="shown-with-an-address"),
        pytest.param({"folder": "vault://x"}, {"folder": "vault://x"}, id="not-secret"),
        pytest.param(
            {"catalog": {"uri": "postgresql://x"}},
            {"catalog": {"uri": "postgresql://x"}},
            id="uri-of-a-catalog",
        ),
    ],
)
def test_what_may_be_an_address_or_is_escaped_stays(config, resolved):
    schema = {
        "properties": {
            **SCHEMA["properties"],
            "sqlalchemy_url": {"type": "string", "secret": True},
            "dest": {"type": "string", "secret": True, "examples": ["sftp://u:p@h"]},
        }
    }
    if resolved is None:
        with pytest.raises(ConfigurationError, match="literal://"):
            resolve(config, schema)
    else:
        assert resolve(config, schema).config == resolved


def test_other_stores_come_through_entry_points(monkeypatch):
    class Point:
        def load(self):
            return lambda rest: f"value of {rest}"

    monkeypatch.setattr(
        references,
        "entry_points",
        lambda *, group, name: [Point()] if (group, name) == ("icetap.secret_stores", "vault") else [],
    )

    assert resolve({"password": "vault://team/db"}, SCHEMA).config == {"password": "value of team/db"}


@pytest.fixture
def resolved(store):
    return resolve({"password": "secret://prod/password"}, SCHEMA).config["password"]


def test_a_replaced_refresh_token_is_stored_before_the_exchange_ends(store, resolved):
    store.set("prod/password", "replaced by another process")

    with exchanging(resolved) as token:
        assert token.value == "replaced by another process"
        assert token.replace("the next one")
        assert open_store().get("prod/password") == "the next one"
    with exchanging("the next one") as token:
        assert token.replace("the one after")

    assert open_store().get("prod/password") == "the one after"


def test_a_replaced_token_that_is_written_out_is_known_not_to_be_kept():
    with exchanging("written out") as token:
        assert not token.replace("its replacement")

    assert token.value == "its replacement"
    assert REDACTOR.redact("its replacement") == MASK


def test_a_token_that_could_not_be_stored_is_not_exchanged(resolved, monkeypatch):
    monkeypatch.setenv(KEYS_VARIABLE, new_key())

    with pytest.raises(ConfigurationError, match="Add that key"), exchanging(resolved):
        pytest.fail("the old token would be used up")


def test_two_processes_do_not_use_up_each_others_token(store, resolved):
    """A server that takes each refresh token once: with a race, one of twelve exchanges would be refused."""
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()

    def exchange():
        for _ in range(4):
            with exchanging(resolved) as token:
                results.put(token.value)
                token.replace(f"{os.getpid()}-{time.monotonic_ns()}")

    processes = [context.Process(target=exchange) for _ in range(3)]
    for process in processes:
        process.start()
    used = [results.get() for _ in range(12)]
    for process in processes:
        process.join()

    assert len(set(used)) == 12


def test_the_query_command_opens_the_catalog_behind_references(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MELTANO_PROJECT_ROOT", raising=False)
    monkeypatch.setenv("CATALOG_TOKEN", "t0ken-of-the-catalog")
    config = tmp_path / "target.json"
    catalog = {"type": "rest", "uri": "https://x.example", "token": "env://CATALOG_TOKEN"}
    config.write_text(json.dumps({"catalog": catalog, "warehouse": "file:///lake"}))

    settings, _ = read_catalog_settings("target-iceberg", config=config, environment=None)

    assert settings == {"catalog": {**catalog, "token": "t0ken-of-the-catalog"}, "warehouse": "file:///lake"}
