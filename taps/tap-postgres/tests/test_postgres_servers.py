"""Servers as they are met: with TLS, restarted, behind a pool, as a read replica."""

from __future__ import annotations

import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from icetap.errors import ConfigurationError
from icetap.testing import processes
from icetap.testing.certificates import make_certificates
from icetap.testing.databases import postgres, postgres_replica
from icetap.testing.servers import accepts_connections, free_port, program, real_server, started
from tap_postgres import chunks
from tap_postgres.tap import TapPostgres


def config_of(server, database, **more):
    where = {"host": server.host, "port": server.port, "user": server.user, "password": server.password}
    return {**where, "database": database, "connect_timeout_seconds": 5, "max_retries": 0, **more}


def rows_of(config, stream="public-t"):
    return [
        row for page in TapPostgres(config=config).streams[stream].pages() for row in page.batch.to_pylist()
    ]


# --- TLS ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls(tls_server, certificates, tmp_path_factory):
    """A server that speaks TLS, its certificates, and those of somebody else."""
    others = make_certificates(tmp_path_factory.mktemp("others"))
    database = tls_server.new_database()
    for statement in (
        "CREATE TABLE t (id int PRIMARY KEY)",
        "INSERT INTO t VALUES (1)",
        "CREATE ROLE certified LOGIN",
        "GRANT SELECT ON t TO certified",
        "CREATE VIEW how AS SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    ):
        tls_server.execute(database, statement)
    return tls_server, database, certificates, others


@pytest.mark.parametrize(("mode", "is_encrypted"), [("disable", False), ("prefer", True), ("require", True)])
def test_the_connection_is_encrypted_as_asked_for(tls, mode, is_encrypted):
    server, database, _, _ = tls

    assert rows_of(config_of(server, database, sslmode=mode), "public-how") == [{"ssl": is_encrypted}]


@pytest.mark.parametrize("form", ["path", "text", "one line"])
def test_the_certificate_is_checked_against_the_authority_that_is_given(tls, form):
    server, database, certificates, _ = tls
    text = certificates.authority.read_text()
    authority = {"path": str(certificates.authority), "text": text, "one line": text.replace("\n", "\\n")}[
        form
    ]

    config = config_of(server, database, sslmode="verify-full", ssl_certificate_authority=authority)

    assert rows_of(config) == [{"id": 1}]


def test_a_certificate_of_somebody_else_is_refused(tls):
    server, database, _, others = tls
    config = config_of(server, database, sslmode="verify-ca", ssl_certificate_authority=str(others.authority))

    with pytest.raises(ConfigurationError, match="certificate verify failed"):
        TapPostgres(config=config).streams  # noqa: B018 - it connects


def test_a_host_that_the_certificate_does_not_name_is_refused(tls):
    server, database, certificates, _ = tls
    config = config_of(
        server, database, sslmode="verify-full", ssl_certificate_authority=str(certificates.authority)
    )

    with pytest.raises(ConfigurationError, match="does not match host name"):
        TapPostgres(config={**config, "host": "localhost"}).streams  # noqa: B018 - it connects


def test_a_client_signs_in_by_its_certificate(tls):
    server, database, certificates, _ = tls
    config = config_of(
        server, database, sslmode="require", ssl_client_certificate=certificates.client.read_text()
    )
    config |= {"user": "certified", "password": None}

    assert rows_of({**config, "ssl_client_private_key": certificates.client_key.read_text()}) == [{"id": 1}]


def test_a_wrong_password_fails_once_and_is_not_told(tls):
    server, database, _, _ = tls
    config = config_of(server, database, password="not/this 0ne", max_retries=50)
    began = time.monotonic()

    with pytest.raises(ConfigurationError, match=r"password authentication failed.*Check") as raised:
        TapPostgres(config=config).streams  # noqa: B018 - it connects

    assert time.monotonic() - began < 10
    assert "0ne" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    ["postgresql://{u}:{p}@{h}:{o}/{d}", "postgres://{u}:{p}@{h}:{o}/{d}?sslmode=prefer&application_name=x"],
)
def test_an_address_in_one_text_is_understood(scratch, url):
    source = scratch("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    server = source.server
    user, password = quote(server.user, safe=""), quote(server.password, safe="")
    parts = {"u": user, "p": password, "h": server.host, "o": server.port, "d": source.name}

    assert rows_of({"dsn": url.format(**parts)}) == [{"id": 1}]


# --- signals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGTERM, 143, id="SIGTERM"),
        pytest.param(signal.SIGKILL, -signal.SIGKILL, id="SIGKILL", marks=pytest.mark.servers),
    ],
)
@pytest.mark.parametrize("mode", ["disable", "require"])
def test_a_signal_ends_the_statement_in_the_server_too(tls_server, tmp_path, number, code, mode):
    server, database = tls_server, "postgres"
    mark = f"{mode}-{number}"
    query = {"name": "slow", "sql": "SELECT pg_sleep(300)::text AS x"}
    url = server.url(database).replace("+psycopg2", "") + f"?application_name={mark}&sslmode={mode}"
    config = {"dsn": url, "queries": [query], "filter_schemas": ["none"]}
    sleeping = (
        f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{mark}' AND wait_event = 'PgSleep'"
    )
    with processes.start("tap-postgres", config=config, folder=tmp_path) as process:
        try:
            _until(lambda: server.execute(database, sleeping)[0][0] == 1)
            process.send_signal(number)
            process.communicate(timeout=30)
        finally:
            process.kill()

    assert process.returncode == code
    _until(lambda: server.execute(database, sleeping)[0][0] == 0)


@pytest.mark.parametrize("asked", [["--discover"], ["--test"], ["--browse"], []])
def test_a_signal_ends_the_wait_for_a_server_that_does_not_answer(tmp_path, asked):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = {"host": "127.0.0.1", "port": silent.getsockname()[1], "user": "u", "password": "p"}
        config = {**where, "database": "d", "connect_timeout_seconds": 60}
        tap = processes.start("tap-postgres", *asked, config=config, folder=tmp_path)
        with tap, silent.accept()[0] as connection:
            assert connection.recv(1)
            tap.send_signal(signal.SIGTERM)
            _, log = tap.communicate(timeout=20)

    assert tap.returncode == 143
    assert b"Traceback" not in log


def _until(holds):
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, "it did not come true within 30 s"
        time.sleep(0.1)


# --- restarts, replicas, pools ------------------------------------------------------------------------------


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 128 * 1024)
    monkeypatch.setattr("icetap.waiting.FIRST_WAIT_SECONDS", 0.1)


FILL = "INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 20000) AS i"


def test_a_server_that_restarts_in_the_middle_loses_no_row(small_chunks):
    with postgres(options={}) as server:
        database = server.new_database()
        server.execute(database, "CREATE TABLE t (id int PRIMARY KEY, note text)")
        server.execute(database, FILL)
        stream = TapPostgres(config=config_of(server, database, max_retries=10, max_parallel=1)).streams[
            "public-t"
        ]
        reading = stream.pages()
        ids = next(reading).batch.column("id").to_pylist()

        server.process.stop()
        server.process.start()
        for page in reading:
            ids += page.batch.column("id").to_pylist()

    assert set(ids) == set(range(1, 20001))


@pytest.mark.servers
def test_a_replica_that_ends_the_read_for_its_own_recovery_loses_no_row(small_chunks):
    with postgres() as primary:
        if primary.process is None:
            pytest.skip("the server is somebody else's")
        database = primary.new_database()
        primary.execute(database, "CREATE TABLE t (id int PRIMARY KEY, note text)")
        primary.execute(database, FILL)
        with postgres_replica(primary, options={"max_standby_streaming_delay": "0"}) as replica:
            config = config_of(replica, database, max_retries=10, max_parallel=2)
            tap = TapPostgres(config=config)
            assert "a read replica" in tap.dialect.version(tap.dialect.connect())
            reading = tap.streams["public-t"].pages()
            ids = next(reading).batch.column("id").to_pylist()

            primary.execute(database, "DELETE FROM t WHERE id > 15000")
            primary.execute(database, "VACUUM t")
            _wait_for(replica, database, primary.execute("postgres", "SELECT pg_current_wal_lsn()")[0][0])
            for page in reading:
                ids += page.batch.column("id").to_pylist()

    assert set(range(1, 15001)) <= set(ids)


def _wait_for(replica, database, position):
    for _ in range(100):
        try:
            if replica.execute(database, f"SELECT pg_last_wal_replay_lsn() >= '{position}'") == [(True,)]:
                return
        except Exception:  # noqa: BLE001 - the replica ends sessions that are in its way
            continue
        finally:
            time.sleep(0.1)
    raise AssertionError("the replica does not follow")


@pytest.mark.servers
def test_a_pool_by_transactions_serves_discovery_and_parallel_reads(small_chunks):
    # Not in tmp_path: another user runs it, and may not go there.
    with (
        real_server("PgBouncer") as answers,
        postgres() as server,
        tempfile.TemporaryDirectory(prefix="icetap-pool-") as name,
    ):
        folder = Path(name)
        database = server.new_database()
        server.execute(database, "CREATE TABLE t (id int PRIMARY KEY, note text)")
        server.execute(database, FILL)
        port = free_port()
        ini = _pool(folder, server, database, port)
        with started(
            [program("pgbouncer"), str(ini)],
            answers=lambda: accepts_connections(port),
            folder=folder,
            user="nobody",
        ):
            answers("a program on this machine")
            config = config_of(server, database, port=port, max_parallel=3, sslmode="disable")
            ids = [row["id"] for row in rows_of(config)]

    assert ids == list(range(1, 20001))


def _pool(folder: Path, server, database: str, port: int) -> Path:
    """A pool whose sessions are other people's: each transaction may come to another one."""
    users, ini = folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text(f'"{server.user}" "{server.password}"\n')
    ini.write_text(
        f"[databases]\n{database} = host={server.host} port={server.port} dbname={database} user={server.user} "
        f"password='{server.password}'\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = trust\nauth_file = {users}\n"
        "pool_mode = transaction\ndefault_pool_size = 8\nserver_round_robin = 1\nmin_pool_size = 4\n"
        "unix_socket_dir =\n"
    )
    for path in (users, ini, folder):
        shutil.chown(path, "nobody")
    return ini
