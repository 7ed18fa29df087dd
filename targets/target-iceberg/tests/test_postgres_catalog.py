"""The SQL catalog on PostgreSQL: loads at once, the commands that look at it, and what is said when it refuses."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from icetap.catalogs import open_catalog
from icetap.errors import ConfigurationError, RetriableError

BIN = Path(sys.executable).parent


@pytest.fixture
def on_postgres(lake, postgres_server):
    lake.config["catalog"] = {"type": "sql", "uri": postgres_server.url(postgres_server.new_database())}
    return lake


def secrets_in(text, password):
    return [form for form in (password, quote(password, safe=""), quote_plus(password)) if form in text]


def test_two_loads_at_once_into_a_new_catalog_both_arrive(on_postgres, singer):
    """Both find no catalog, no namespace and no tables; one makes them, the other waits."""
    lake = on_postgres
    processes = [lake.spawn(pipeline=name) for name in ("one", "two")]
    for number, process in enumerate(processes):
        own, shared = f"own{number}", "shared"
        ids = range(number * 100, number * 100 + 50)
        messages = [
            singer.schema(own),
            *singer.records(ids, own),
            singer.schema(shared),
            *singer.records(ids, shared),
            singer.state(**{own: 1, shared: 1}),
        ]
        process.stdin.write(b"".join(json.dumps(one).encode() + b"\n" for one in messages))
        process.stdin.close()
    told = [process.stderr.read().decode() for process in processes]
    assert [process.wait(60) for process in processes] == [0, 0], told
    assert lake.ids("own0") == list(range(50))
    assert lake.ids("own1") == list(range(100, 150))
    assert lake.ids("shared") == [*range(50), *range(100, 150)]


def test_the_commands_work_on_it_and_tell_no_secret(on_postgres, singer, postgres_server):
    lake = on_postgres
    lake.ok(singer.schema(), singer.records([1, 2]), singer.state(s=2))
    settings = {f"TARGET_ICEBERG_{name.upper()}": value for name, value in lake.config.items()}
    settings["TARGET_ICEBERG_CATALOG"] = json.dumps(lake.config["catalog"])
    # Without PYTHONPATH, were it set, the commands would still be those of this environment.
    environ = {**os.environ, **settings, "PATH": f"{BIN}:{os.environ['PATH']}"}

    def said(*command):
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=lake.folder, env=environ, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert secrets_in(done.stdout + done.stderr, postgres_server.password) == []
        return done.stdout

    assert "raw.s  (stream s, key id)" in said(str(BIN / "target-iceberg"), "inspect")
    state = said(str(BIN / "target-iceberg"), "--config=ENV", "--read-state")
    assert json.loads(state) == singer.state(s=2)["value"]
    query = said(str(BIN / "icetap"), "query", "--json", "select count(*) as n from s")
    assert json.loads(query) == [{"n": 2}]


def test_a_wrong_password_is_told_by_setting_and_no_password_is_told(lake, singer, postgres_server):
    uri = postgres_server.url("postgres", password="wr0ng-pa55")
    done = lake.run([singer.schema(), *singer.records([1])], catalog={"type": "sql", "uri": uri})
    told = done.stderr.decode() + done.stdout.decode()
    assert done.returncode == 2, told
    assert "refused the sign-in. Check user and password in 'uri' of setting 'catalog'" in told
    assert "Traceback" not in told
    assert [secrets_in(told, password) for password in (postgres_server.password, "wr0ng-pa55")] == [[], []]


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        pytest.param(
            {"database": "nowhere"}, ConfigurationError, "does not exist on its server", id="database"
        ),
        pytest.param({"port": 1}, RetriableError, "failed or cannot be reached", id="port"),
    ],
)
def test_a_database_that_is_not_there_is_told_by_setting(postgres_server, spoil, kind, words):
    uri = postgres_server.url(**{"database": "postgres", **spoil})
    with pytest.raises(kind, match=words) as caught:
        open_catalog({"catalog": {"type": "sql", "uri": uri}, "max_retries": 0})
    assert "setting 'catalog'" in str(caught.value)
    assert secrets_in(str(caught.value), postgres_server.password) == []


def test_a_server_that_takes_the_connection_and_says_nothing_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"postgresql+psycopg2://x:y@127.0.0.1:{silent.getsockname()[1]}/z?connect_timeout=2"
        began = time.monotonic()
        with pytest.raises(RetriableError, match="failed or cannot be reached"):
            open_catalog({"catalog": {"type": "sql", "uri": uri}, "max_retries": 0})
        assert time.monotonic() - began < 20


def test_a_database_that_starts_again_between_commits_is_connected_to_again(
    on_postgres, singer, postgres_server
):
    """The pool of connections holds one that the server has closed."""
    lake = on_postgres
    lake.ok(singer.schema(), singer.records([1]), singer.state(s=1))
    catalog = open_catalog(lake.config)
    catalog.list_namespaces()
    postgres_server.execute(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        "AND backend_type = 'client backend'",
    )
    assert catalog.list_namespaces() == [("raw",)]
