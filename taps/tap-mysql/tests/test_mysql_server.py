"""Connections: how they are protected, what they are told, and how they end."""

from __future__ import annotations

import os
import re
import signal
import threading
import time

import pytest

from icetap.errors import ConfigurationError, IcetapError, RetriableError, SkippableError
from icetap.testing import processes
from icetap.testing.certificates import make_certificates
from icetap.testing.in_process import read
from icetap.testing.relays import LossyProxy
from tap_mysql.connection import MySQLConnection
from tap_mysql.server import Server
from tap_mysql.tap import TapMySQL

pytestmark = pytest.mark.servers


def opened(at, **config):
    return MySQLConnection(Server.from_config({"connect_timeout_seconds": 5, **at.config, **config}))


@pytest.fixture
def certificates(mariadb_server):
    if mariadb_server.certificates is None:
        pytest.skip("a server of somebody else's")
    return mariadb_server.certificates


# --- TLS -------------------------------------------------------------------------------------------


def cipher(database, **config):
    connection = opened(database, **config)
    try:
        return connection.rows("SHOW STATUS LIKE 'Ssl_cipher'")[0][1]
    finally:
        connection.close()


@pytest.mark.parametrize(("mode", "has_tls"), [("DISABLED", False), ("PREFERRED", True), ("REQUIRED", True)])
def test_tls_is_as_asked(database, mode, has_tls):
    assert bool(cipher(database, ssl_mode=mode)) is has_tls


@pytest.mark.parametrize("mode", ["VERIFY_CA", "VERIFY_IDENTITY"])
def test_the_server_s_certificate_is_checked(database, certificates, mode, tmp_path):
    others = make_certificates(tmp_path)

    assert cipher(database, ssl_mode=mode, ssl_ca=str(certificates.authority))
    with pytest.raises(ConfigurationError, match=r"certificate.*Check 'ssl_ca' and 'ssl_mode'"):
        cipher(database, ssl_mode=mode, ssl_ca=str(others.authority))
    with pytest.raises(ConfigurationError, match=r"Check 'ssl_ca'"):
        cipher(database, ssl_mode=mode)


def test_the_name_is_checked_only_when_asked(database, certificates):
    other = {"host": "localhost", "ssl_ca": str(certificates.authority)}

    assert cipher(database, ssl_mode="VERIFY_CA", **other)
    with pytest.raises(ConfigurationError, match="localhost"):
        cipher(database, ssl_mode="VERIFY_IDENTITY", **other)
    assert cipher(database, ssl_mode="VERIFY_IDENTITY", ssl_server_name="db.example.com", **other)


def test_a_certificate_can_be_given_as_text(database, certificates):
    text = certificates.authority.read_text().replace("\n", "\\n")

    assert cipher(database, ssl_mode="VERIFY_IDENTITY", ssl_ca=text)


def test_a_client_shows_its_certificate(database, certificates):
    name = f"x{database.name[-12:]}"
    database.execute(
        f"CREATE USER {name}@'%' IDENTIFIED BY 'pw' REQUIRE X509", f"GRANT SELECT ON *.* TO {name}@'%'"
    )
    who = {"user": name, "password": "pw", "ssl_mode": "REQUIRED"}
    key = {"ssl_cert": str(certificates.client), "ssl_key": str(certificates.client_key)}

    assert cipher(database, **who, **key)
    with pytest.raises(ConfigurationError, match=r"1045.*'user' and 'password'"):
        cipher(database, **who)
    database.execute(f"DROP USER {name}@'%'")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        pytest.param(
            {"ssl_mode": "DISABLED", "ssl_ca": "/etc/passwd"}, "contradict", id="two-that-contradict"
        ),
        pytest.param({"ssl_ca": "/nowhere/ca.pem"}, "'ssl_ca'.*no such file", id="no-file"),
    ],
)
def test_tls_settings_that_cannot_work_are_refused(database, config, said):
    with pytest.raises(ConfigurationError, match=said):
        TapMySQL(config={**database.config, **config})


# --- addresses -------------------------------------------------------------------------------------


def test_a_url_says_the_same_as_the_parts(database, sync, certificates):
    database.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    none = dict.fromkeys(("host", "port", "user", "password", "database"))
    url = f"{database.server.url(database.name)}?ssl_mode=VERIFY_IDENTITY&ssl_ca={certificates.authority}&charset=utf8"

    assert sync(**none, sqlalchemy_url=url).of("SCHEMA")[0]["stream"] == database.stream("t")
    assert sync(**none, dsn=url.replace("mysql+pymysql", "mariadb")).of("SCHEMA")


def test_an_unknown_option_of_a_url_is_refused(database):
    url = f"{database.server.url(database.name)}?ssl_caa=x"

    with pytest.raises(ConfigurationError, match="did you mean 'ssl_ca'"):
        TapMySQL(config={"sqlalchemy_url": url})


def test_a_socket_file(mariadb_server, database):
    if mariadb_server.process is None:
        pytest.skip("a server of somebody else's")
    (found,) = database.execute("SELECT @@socket")
    connection = opened(database, host="localhost", unix_socket=found[0])

    assert connection.rows("SELECT 1") == [(1,)]
    connection.close()


@pytest.mark.parametrize(
    ("config", "error", "said"),
    [
        pytest.param(
            {"password": "wrong"}, ConfigurationError, r"Access denied.*1045.*'password'", id="password"
        ),
        pytest.param({"database": "nowhere"}, ConfigurationError, r"1049.*'database'", id="database"),
        pytest.param({"port": 1}, RetriableError, "2003", id="port"),
    ],
)
def test_errors_say_what_to_do(database, config, error, said):
    with pytest.raises(error, match=said) as raised:
        opened(database, **config)
    assert "pa55" not in str(raised.value)


# --- sessions --------------------------------------------------------------------------------------


def test_sessions_are_in_utc_patient_and_read_only(database):
    database.execute("CREATE TABLE t (id INT)")
    connection = opened(database)
    names = "time_zone, @@net_write_timeout, @@wait_timeout, @@max_statement_time, @@character_set_results"

    assert connection.rows(f"SELECT @@{names}") == [("+00:00", 3600, 28800, 0.0, "utf8mb4")]
    with pytest.raises(IcetapError, match="1792"):
        connection.rows("INSERT INTO t VALUES (1)")
    connection.close()


def test_own_statements_begin_each_session_and_may_fail(database, caplog):
    connection = opened(database, session_sqls=["SET @a = 7", "SET SESSION no_such_thing = 1"])

    assert connection.rows("SELECT @a") == [(7,)]
    assert "refused 'SET SESSION no_such_thing = 1'" in caplog.text
    connection.close()


def test_a_read_sees_one_moment(database):
    database.execute("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    connection = opened(database)
    database.execute("INSERT INTO t VALUES (2)")

    assert connection.rows("SELECT count(*) FROM t") == [(1,)]
    connection.close()


def test_a_table_that_is_locked_is_waited_for_and_then_told_of(database):
    database.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    other = database.server.connect(database.name)
    connection = opened(database, session_sqls=["SET SESSION lock_wait_timeout = 1"])
    with other, other.cursor() as cursor:
        cursor.execute("LOCK TABLES t WRITE")
        with pytest.raises(RetriableError, match=r"1205.*lock was held"):
            connection.rows("SELECT id FROM t")
    connection.close()


def test_a_table_that_was_altered_since_the_snapshot_is_read_again(database):
    database.execute("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    connection = opened(database)
    database.execute("ALTER TABLE t ADD COLUMN a INT, ALGORITHM=COPY")

    with pytest.raises(RetriableError, match=r"1412.*altered"):
        connection.rows("SELECT id FROM t")
    connection.begin()
    assert connection.rows("SELECT id FROM t") == [(1,)]
    connection.close()


def test_a_connection_serves_many_statements(database):
    connection = opened(database)

    for number in range(300):
        assert connection.rows("SELECT :icetap_1:, :icetap_2:, :icetap_1:", (number, None)) == [
            (number, None, number)
        ]
    ((left,),) = connection.rows(
        "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'PREPARED_STMT_COUNT'"
    )
    assert int(left) < 50
    connection.close()


BOUND = [
    pytest.param(2**63 - 1, id="largest-signed"),
    pytest.param(2**64 - 1, id="largest-unsigned"),
    pytest.param(-(2**63), id="smallest"),
    pytest.param(0.1, id="double"),
    pytest.param("é😀'\\\"", id="text"),
    pytest.param("x" * 70_000, id="long-text"),
    pytest.param(None, id="null"),
]


@pytest.mark.parametrize("value", BOUND)
def test_values_are_bound_as_they_are(database, value):
    connection = opened(database)

    assert connection.rows("SELECT :icetap_1:", (value,)) == [(value,)]
    connection.close()


# --- connections that break ------------------------------------------------------------------------


@pytest.fixture
def large(database):
    """100,000 rows of 220 bytes: more than any buffer on the way."""
    database.execute(
        "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(255))",
        "INSERT INTO t SELECT seq, repeat('x', 200) FROM seq_1_to_100000",
    )
    return database


def test_a_cut_connection_is_an_error_and_no_end(large, sync):
    """The proxy cuts in the middle of the rows; without retries the run fails and completes nothing."""
    with (
        LossyProxy(large.server.port, after_bytes=5_000_000, times=99) as proxy,
        pytest.raises(RetriableError, match="connection was lost"),
    ):
        sync(port=proxy.port, ssl_mode="DISABLED")


def test_a_cut_connection_is_made_anew(large, sync):
    with LossyProxy(large.server.port, after_bytes=5_000_000, times=2) as proxy:
        found = sync(port=proxy.port, ssl_mode="DISABLED", max_retries=3, batch_size=1000)

    assert [record["id"] for record in found.records()] == list(range(1, 100_001))
    assert found.of("ACTIVATE_VERSION") == []  # two snapshots show no absence


def test_a_killed_connection_is_made_anew(large, sync):
    """A DBA's KILL comes as an error in the middle of the rows."""
    stop = threading.Event()

    def kill():
        while not stop.is_set():
            for number, query in large.execute("SELECT id, info FROM information_schema.PROCESSLIST"):
                if query and query.startswith("SELECT `id`, `a` FROM") and not stop.is_set():
                    stop.set()
                    large.execute(f"KILL QUERY {number}")

    killer = threading.Thread(target=kill)
    killer.start()
    found = sync(max_retries=3)
    stop.set()
    killer.join()

    assert [record["id"] for record in found.records()] == list(range(1, 100_001))


def test_a_stalled_reader_loses_nothing(large):
    """The server gives up a client that takes nothing for its `net_write_timeout`: that is no end either."""
    connection = opened(large, session_sqls=["SET SESSION net_write_timeout = 1"])
    blocks = connection._blocks(
        "SELECT * FROM t a JOIN (SELECT 1 UNION SELECT 2 UNION SELECT 3) b", (), rows=1000
    )
    count = len(next(blocks)[1][0])
    time.sleep(4)

    with pytest.raises(RetriableError):
        count += sum(len(arrays[0]) for _, arrays in blocks)
    assert count < 300_000


def test_cancel_stops_the_statement_on_the_server(large):
    connection = opened(large)
    number = connection.rows("SELECT CONNECTION_ID()")[0][0]
    blocks = connection._blocks("SELECT a.id FROM t a, t b", (), rows=1000)
    next(blocks)
    connection.cancel()

    with pytest.raises(RetriableError, match="1317"):
        for _ in blocks:
            pass
    assert connection.is_open
    assert connection.rows("SELECT CONNECTION_ID()") == [(number,)]
    connection.close()


def test_a_read_that_is_given_up_hangs_up(large):
    connection = opened(large)
    blocks = connection._blocks("SELECT a.id FROM t a, t b", (), rows=1000)
    next(blocks)
    blocks.close()

    assert not connection.is_open


def test_sigterm_leaves_no_statement_behind(large, tmp_path):
    query = {"name": "q", "sql": "SELECT a.id, a.a FROM t a, t b"}
    config = {**large.config, "queries": [query]}
    process = processes.start("tap-mysql", config=config, folder=tmp_path)
    assert process.stdout is not None
    while b'"q"' not in process.stdout.readline():
        pass
    drain = threading.Thread(target=process.stdout.read)
    os.kill(process.pid, signal.SIGTERM)
    drain.start()

    assert process.wait(20) == 143
    drain.join()
    process.stderr.close()
    running = [info for (info,) in large.execute("SELECT info FROM information_schema.PROCESSLIST") if info]
    assert not any("FROM t a, t b" in info for info in running)


def test_a_table_that_is_gone_does_not_keep_others_from_being_read(database):
    database.execute(
        "CREATE TABLE a (id INT PRIMARY KEY)",
        "CREATE TABLE b (id INT PRIMARY KEY)",
        "INSERT INTO b VALUES (1)",
    )
    tap = TapMySQL(config=database.config)
    _ = tap.streams
    database.execute("DROP TABLE a")

    done = read(tap, may_end_with=(SkippableError,))

    assert re.search(f"{database.stream('a')}.*1146.*discover again", str(done.error))
    assert done.records() == [{"id": 1}]
