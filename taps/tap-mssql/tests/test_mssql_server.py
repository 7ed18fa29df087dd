"""Where the server is, signing in, encryption, errors by number, lost connections, cancelling: the driver's own words."""

from __future__ import annotations

import datetime as dt
import signal
import ssl
import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from icetap.errors import ConfigurationError, IcetapError, RetriableError, SkippableError
from icetap.secrets.redaction import REDACTOR
from icetap.testing import processes
from icetap.testing.mssql import NAME, mssql_database
from icetap.testing.relays import HoldingProxy, LossyProxy
from icetap.testing.servers import LEDGER
from icetap.testing.tds import ServerError
from tap_mssql.address import Address, connection_string
from tap_mssql.drivers import FETCH_BYTES, FetchSize, for_freetds
from tap_mssql.errors import KNOWN, is_transient, known_error, shown, translated
from tap_mssql.tap import TapMSSQL

DEFAULTS = {"encrypt": "mandatory", "auth_method": "password", "connect_timeout_seconds": 5}


def keywords(**config):
    return Address.from_config({"host": "db", "user": "u", "password": "p", **DEFAULTS, **config}).keywords()[
        0
    ]


# --- addresses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("p;w}d", "{p;w}}d}"),
        ("{x", "{{x}"),
        ("a=b", "{a=b}"),
        (" s ", "{ s }"),
        ("", "{}"),
    ],
)
def test_values_cannot_break_out_of_the_connection_string(value, text):
    assert connection_string({"PWD": value}) == f"PWD={text}"


def test_freetds_reads_a_closing_brace_as_it_is():
    assert connection_string({"UID": "u", "PWD": "p;w}d}"}, doubles_braces=False) == "UID=u;PWD={p;w}d}};"
    with pytest.raises(ConfigurationError, match="FreeTDS cannot read"):
        connection_string({"PWD": "canary};"}, doubles_braces=False)


def test_encryption_is_asked_for_and_the_certificate_checked_by_default():
    assert keywords() == {
        "Server": "db,1433",
        "Encrypt": "yes",
        "TrustServerCertificate": "no",
        "UID": "u",
        "PWD": "p",
    }


def test_every_setting_of_the_connection_has_its_keyword():
    found = keywords(
        port=1500, database="shop", encrypt="strict", hostname_in_certificate="x", server_certificate="/c.pem",
        application_intent="read_only", multi_subnet_failover=True,
    )  # fmt: skip
    assert found == {
        "Server": "db,1500", "Database": "shop", "Encrypt": "strict", "TrustServerCertificate": "no", "UID": "u", "PWD": "p",
        "HostnameInCertificate": "x", "ServerCertificate": "/c.pem", "ApplicationIntent": "ReadOnly", "MultiSubnetFailover": "yes",
    }  # fmt: skip


@pytest.mark.parametrize("config", [{"host": "db\\EXPRESS"}, {"instance": "EXPRESS"}])
def test_a_named_instance_has_no_port(config):
    assert keywords(**config)["Server"] == "db\\EXPRESS"


def test_a_url_brings_its_options():
    url = "mssql+pyodbc://u:p%40w@db:1500/shop?driver=ODBC+Driver+18+for+SQL+Server&Encrypt=yes&TrustServerCertificate=yes"
    address = Address.from_config({"sqlalchemy_url": url, **DEFAULTS})
    assert address.odbc_driver == "ODBC Driver 18 for SQL Server"
    assert address.keywords()[0]["TrustServerCertificate"] == "yes"
    assert address.keywords()[0]["PWD"] == "p@w"


def test_an_unknown_option_of_a_url_is_refused_with_the_nearest():
    with pytest.raises(ConfigurationError, match="TrustServerCertificat"):
        Address.from_config({"sqlalchemy_url": "mssql://u:p@db/shop?TrustServerCertificat=yes", **DEFAULTS})


def test_a_certificate_to_match_needs_strict_encryption():
    with pytest.raises(ConfigurationError, match=r"strict.*SSL_CERT_FILE"):
        keywords(server_certificate="/c.pem")


def test_strict_encryption_cannot_trust_any_certificate():
    with pytest.raises(ConfigurationError, match="contradict"):
        keywords(encrypt="strict", trust_server_certificate=True)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("active_directory_password", {"Authentication": "ActiveDirectoryPassword", "UID": "u", "PWD": "p"}),
        (
            "active_directory_service_principal",
            {"Authentication": "ActiveDirectoryServicePrincipal", "UID": "u", "PWD": "p"},
        ),
        ("kerberos", {"Trusted_Connection": "yes"}),
    ],
)
def test_ways_to_sign_in_have_the_drivers_words(method, expected):
    found = keywords(auth_method=method)
    assert {
        name: value
        for name, value in found.items()
        if name in {"Authentication", "UID", "PWD", "Trusted_Connection"}
    } == expected


def test_an_access_token_is_an_attribute_and_never_in_the_connection_string():
    config = {"host": "db", "password": "ab", **DEFAULTS, "auth_method": "access_token"}
    parts, attributes = Address.from_config(config).keywords()
    assert "PWD" not in parts
    assert attributes == {1256: b"\x04\0\0\0a\0b\0"}


def test_through_a_tunnel_the_certificate_is_still_the_servers():
    address = Address.from_config({"host": "db", "user": "u", "password": "p", **DEFAULTS})
    tunnel = SimpleNamespace(open=lambda _host, _port: ("127.0.0.1", 5555))
    found = replace(address, server=replace(address.server, tunnel=tunnel)).keywords()[0]
    assert (found["Server"], found["HostnameInCertificate"]) == ("127.0.0.1,5555", "db")


def test_the_same_tests_run_against_a_server_of_somebody_else(fake, sync, monkeypatch):
    monkeypatch.setitem(LEDGER.used, NAME, LEDGER.used[NAME])  # this one is ours as well
    address = f"reader:{quote(fake.fake.password, safe='')}@127.0.0.1:{fake.listener.port}"
    monkeypatch.setenv("ICETAP_TEST_MSSQL_URL", f"mssql://{address}/?encrypt=optional")
    with mssql_database() as other:
        assert other.fake is None
        other.execute("CREATE TABLE dbo.t (id int PRIMARY KEY, v nvarchar(5))")
        other.insert("dbo.t", [(1, "a"), (2, None)])
        assert sync(other).records() == [{"id": 1, "v": "a"}, {"id": 2, "v": None}]
    assert any(sql.startswith("CREATE DATABASE icetap_") for sql in fake.fake.statements)
    assert any("DROP DATABASE icetap_" in sql for sql in fake.fake.statements)


def test_freetds_gets_its_own_words_and_cannot_check_certificates():
    parts = keywords(trust_server_certificate=True, database="shop")
    assert for_freetds(parts) == {
        "Server": "db", "Port": "1433", "TDS_Version": "7.4", "ClientCharset": "UTF-8", "Encryption": "require",
        "Database": "shop", "UID": "u", "PWD": "p",
    }  # fmt: skip
    with pytest.raises(ConfigurationError, match="cannot check"):
        for_freetds(keywords())


def test_settings_of_other_taps_are_refused_with_what_to_write_instead():
    with pytest.raises(Exception, match=r"driver_type.*driver: mssql-python"):
        TapMSSQL(config={"host": "db", "driver_type": "pymssql"})


# --- signing in, encryption -----------------------------------------------------------------------------


def test_a_wrong_password_names_the_settings_and_no_password(fake, sync):
    with pytest.raises(ConfigurationError, match=r"18456.*'password'") as caught:
        sync(fake, password="wr0ng-canary")
    assert "canary" not in str(caught.value)


def test_the_password_and_the_intent_reach_the_server(fake, sync):
    fake.execute("CREATE TABLE dbo.t (id int PRIMARY KEY)")
    sync(fake, application_intent="read_only")
    assert all(login.is_read_only and login.password == fake.fake.password for login in fake.listener.logins)


def test_a_server_without_encryption_is_told_of(fake, sync):
    with pytest.raises(ConfigurationError, match="encrypt: optional"):
        sync(fake, encrypt="mandatory")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sql.example.com")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("sql.example.com")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(private + pem)
    (folder / "certificate.pem").write_bytes(pem)
    return folder


def test_a_certificate_for_another_name_is_refused(encrypted, sync, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "certificate.pem"))
    with pytest.raises(ConfigurationError, match="hostname_in_certificate"):
        sync(encrypted, encrypt="mandatory", hostname_in_certificate="other.example.com")


@pytest.fixture
def encrypted(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "server.pem")
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # TDS 7.4 shakes hands inside of its own packets
    with mssql_database(tls=context) as database:
        database.execute("CREATE TABLE dbo.t (id int PRIMARY KEY)", "INSERT INTO dbo.t VALUES (1)")
        yield database


def test_an_unknown_certificate_is_refused_with_the_ways_out(encrypted, sync):
    with pytest.raises(ConfigurationError, match=r"SSL_CERT_FILE.*trust_server_certificate"):
        sync(encrypted, encrypt="mandatory")


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"trust_server_certificate": True}, id="trusted"),
        pytest.param({"hostname_in_certificate": "sql.example.com"}, id="checked"),
    ],
)
def test_an_encrypted_connection_carries_rows(encrypted, sync, certificate, monkeypatch, how):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "certificate.pem"))
    assert sync(encrypted, encrypt="mandatory", **how).records() == [{"id": 1}]
    assert all(login.is_encrypted for login in encrypted.listener.logins)


# --- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", KNOWN, ids=[str(known.number) for known in KNOWN])
def test_an_error_is_known_by_its_number_or_its_words(known):
    by_words = f"Driver Error: x; DDBC Error: [Microsoft][SQL Server]Something {known.sign} something."
    assert known_error(by_words).kind is known.kind
    if 0 < known.number < 50_000:
        by_number = f"('42000', \"[42000] [Microsoft][ODBC Driver 18 for SQL Server][SQL Server]Irgendwas ({known.number}) (SQLExecDirectW)\")"
        assert known_error(by_number).number == known.number
    assert is_transient(RuntimeError(by_words)) is known.is_transient
    error = translated(RuntimeError(by_words), where="shop on db:1433")
    assert isinstance(error, known.kind)
    assert known.advice in str(error)


def test_values_in_a_message_of_the_server_are_left_out():
    text = "[Microsoft][SQL Server]Conversion failed when converting the nvarchar value 'canary' to data type int."
    assert "canary" not in shown(text)
    assert "canary" not in shown("Violation of KEY. The duplicate key value is (canary, 1).")


@pytest.mark.parametrize(
    ("said", "is_told"),
    [
        ("no good: canary@example.org (50000) (SQLExecDirectW)", False),
        ("XML parsing: line 1, character 7, illegal name canary (9421) (SQLExecDirectW)", False),
        ("Invalid object name 'canary'. (208) (SQLExecDirectW)", True),
        ("Login failed for user 'canary'. (18456) (SQLDriverConnect)", True),
    ],
    ids=["thrown", "xml", "object", "login"],
)
def test_where_masks_hide_values_only_words_made_of_names_are_told(said, is_told, monkeypatch):
    monkeypatch.setattr(REDACTOR, "hides_values", True)

    told = str(translated(RuntimeError(f"[42000] [Microsoft][SQL Server]{said}"), where="shop"))

    assert ("canary" in told) is is_told
    assert ("its words are not told" in told) is not is_told


@pytest.mark.parametrize(
    ("number", "message", "kind"),
    [
        (
            229,
            "The SELECT permission was denied on the object 'orders', database 'shop', schema 'dbo'.",
            IcetapError,
        ),
        (245, "Conversion failed when converting the nvarchar value 'x' to data type int.", SkippableError),
        (4060, 'Cannot open database "shop" requested by the login. The login failed.', ConfigurationError),
    ],
)
def test_errors_of_the_wire_become_ours(fake, sync, number, message, kind):
    fake.execute("CREATE TABLE dbo.t (id int PRIMARY KEY)")
    fake.fake.fail["FROM [dbo].[t]"] = [ServerError(number, message)]
    with pytest.raises(kind):
        sync(fake, streams={"dbo-t": {}})


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("icetap.waiting.FIRST_WAIT_SECONDS", 0.01)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (1205, "Transaction (Process ID 51) was deadlocked on lock resources with another process and has been chosen as the deadlock victim. Rerun the transaction."),
        (1222, "Lock request time out period exceeded."),
        (3961, "Snapshot isolation transaction failed because the object has been modified by a DDL statement in another concurrent transaction since the start of this transaction."),
        (40501, "The service is currently busy. Retry the request after 10 seconds."),
    ],
)  # fmt: skip
def test_passing_errors_are_tried_again(fake, sync, impatient, number, message):
    fake.execute("CREATE TABLE dbo.t (id int PRIMARY KEY)", "INSERT INTO dbo.t VALUES (1)")
    fake.fake.fail["FROM [dbo].[t]"] = [ServerError(number, message)]
    assert sync(fake).records() == [{"id": 1}]


def test_a_connection_that_is_cut_is_made_anew_and_goes_on_after_the_last_position(fake, sync, impatient):
    fake.execute("CREATE TABLE dbo.t (id int PRIMARY KEY, v nvarchar(100))")
    fake.insert("dbo.t", [(number, "x" * 100) for number in range(400)])
    fake.fake.cut_after["FROM [dbo].[t]"] = 250
    out = sync(fake, batch_size=50)
    assert sorted({record["id"] for record in out.records()}) == list(range(400))
    reads = [sql for sql in fake.fake.statements if "FROM [dbo].[t]" in sql]
    assert len(reads) == 2
    assert "[id] > CAST(" in reads[1]


def test_a_connection_that_stays_lost_is_no_end_of_the_stream(fake, sync, impatient):
    fake.execute("CREATE TABLE dbo.t (id int PRIMARY KEY)")
    gone = "Database 'shop' on server 'x' is not currently available.  Please retry the connection later."
    fake.fake.refuse_logins = [ServerError(40613, gone) for _ in range(40)]
    with pytest.raises(RetriableError, match="40613"):
        sync(fake, max_retries=1, connect_timeout_seconds=5)


def test_a_handshake_that_is_broken_off_is_tried_again(fake, sync, impatient):
    fake.execute("CREATE TABLE dbo.t (id int PRIMARY KEY)", "INSERT INTO dbo.t VALUES (1)")
    with LossyProxy(fake.config["port"], after_bytes=1) as proxy:
        assert sync(fake, port=proxy.port).records() == [{"id": 1}]
    assert proxy.left == 0


@pytest.mark.parametrize("connection", [1, 2], ids=["discovery", "run"])
def test_a_signal_in_the_middle_of_a_handshake_is_no_failure(fake, tmp_path, connection):
    """The driver calls a wait that a signal interrupts an error of the server's."""
    fake.execute("CREATE TABLE dbo.t (id int PRIMARY KEY)")
    with HoldingProxy(fake.config["port"], connection=connection) as proxy:
        config = {**fake.config, "port": proxy.port}
        with processes.start("tap-mssql", config=config, folder=tmp_path) as process:
            assert proxy.is_holding.wait(30)
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=30)

    assert process.returncode == 143
    assert b"ERROR" not in log


def test_a_running_statement_is_cancelled_from_another_thread(fake):
    tap = TapMSSQL(config=fake.config)
    connection = tap.dialect.open()
    errors = []

    def wait() -> None:
        try:
            connection.rows("WAITFOR DELAY '00:00:20'; SELECT 1")
        except Exception as error:  # noqa: BLE001 - the drivers differ
            errors.append(error)

    thread = threading.Thread(target=wait)
    began = time.monotonic()
    thread.start()
    time.sleep(0.3)
    connection.cancel()
    thread.join(10)
    connection.close()
    assert time.monotonic() - began < 8
    assert fake.listener.attentions == 1


def test_a_statement_that_takes_too_long_ends_with_the_setting_that_says_so(fake):
    tap = TapMSSQL(config={**fake.config, "query_timeout_seconds": 1})
    connection = tap.dialect.open()
    with pytest.raises(RetriableError, match="query_timeout_seconds"):
        connection.rows("WAITFOR DELAY '00:00:20'; SELECT 1")
    connection.close()


def test_a_session_speaks_english_and_reads_one_snapshot(fake, sync):
    fake.execute("CREATE TABLE dbo.t (id int PRIMARY KEY)")
    sync(fake, lock_timeout_seconds=7)
    (setup, *_) = [sql for sql in fake.fake.statements if "SET LANGUAGE us_english" in sql]
    assert "SET LOCK_TIMEOUT 7000" in setup
    assert "SET TRANSACTION ISOLATION LEVEL SNAPSHOT" in fake.fake.statements
    called = fake.listener.called
    assert called, "statements with parameters are called"
    assert not [sql for sql in called if sql.startswith(("SET", "BEGIN"))]
    fake.fake.statements.clear()
    sync(fake, isolation_level="read_committed")
    assert "BEGIN TRANSACTION" not in fake.fake.statements


def test_many_small_tables_share_a_few_connections(fake, sync):
    fake.execute(*(f"CREATE TABLE dbo.t{number} (id int PRIMARY KEY)" for number in range(12)))
    fake.execute(*(f"INSERT INTO dbo.t{number} VALUES ({number})" for number in range(12)))
    fake.listener.logins.clear()
    out = sync(fake)
    assert sorted(record["id"] for record in out.records()) == list(range(12))
    assert len(fake.listener.logins) <= 5
    assert fake.fake.statements.count("COMMIT TRANSACTION") >= 8


def test_fetches_stay_small_whatever_the_columns_are():
    assert FetchSize([8, 8], most=65_536).rows == 65_536
    assert FetchSize([8_000] * 10, most=65_536).rows == FETCH_BYTES // (8_008 * 10)
    long = FetchSize([8, None], most=65_536)
    assert long.rows == 64
    long.learn(1_000)
    assert long.rows == 128
    long.learn(FETCH_BYTES * 8)
    assert long.rows == 16
