"""Where a server is and how to sign in: one of two ways, a password of its own for each connection."""

import logging
import stat
import sys
import tempfile

import pytest

from icetap.errors import ConfigurationError
from icetap.secrets.redaction import REDACTOR
from icetap.sql.server import ServerAddress, names_listed
from icetap.sql.tls import pem_file, pem_text

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def address(**config):
    return ServerAddress.from_config(
        {"connect_timeout_seconds": 5, **config}, schemes=("postgresql", "postgres"), default_port=5432
    )


def test_parts_name_a_server():
    found = address(host="db.example.com", user="reader", password="pa55 w@rd", database="shop")

    assert (found.host, found.port, found.user, found.database) == ("db.example.com", 5432, "reader", "shop")
    assert found.password() == "pa55 w@rd"
    assert found.dial() == ("db.example.com", 5432)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param(
            "postgresql://u:p@h:1/d",
            ("h", 1, "u", "p", "d", {}),
            id="everything",
        ),
        pytest.param(
            "postgresql+psycopg2://u%40x:p%2F%23%3F%40@h/d?sslmode=require&application_name=a%20b",
            ("h", 5432, "u@x", "p/#?@", "d", {"sslmode": "require", "application_name": "a b"}),
            id="encoded, with a driver and options",
        ),
        pytest.param("postgres://h", ("h", 5432, None, None, None, {}), id="a host alone"),
        pytest.param("postgresql://u:a@b@h/d", ("h", 5432, "u", "a@b", "d", {}), id="an @ in the password"),
        pytest.param("postgresql://[::1]:6000/d", ("::1", 6000, None, None, "d", {}), id="IPv6"),
        pytest.param(
            "postgresql://u@%2FRun%2Fpg/d", ("/Run/pg", 5432, "u", None, "d", {}), id="the folder of a socket"
        ),
        pytest.param(
            "postgresql:///d?host=/run/pg", ("/run/pg", 5432, None, None, "d", {}), id="a socket as option"
        ),
    ],
)
def test_a_url_names_a_server(url, expected):
    found = address(sqlalchemy_url=url)

    assert (found.host, found.port, found.user, found.password(), found.database, found.options) == expected


@pytest.mark.parametrize(
    ("config", "says"),
    [
        pytest.param({}, "'host' is missing", id="nothing"),
        pytest.param({"database": "shop"}, "'host' is missing", id="a database alone"),
        pytest.param(
            {"sqlalchemy_url": "postgresql://h/d", "user": "u"}, "'sqlalchemy_url' and 'user'", id="both"
        ),
        pytest.param(
            {"sqlalchemy_url": "mysql://u:SECRET@h/d"}, "begins with 'mysql'", id="another database"
        ),
        pytest.param({"sqlalchemy_url": "host=h password=SECRET"}, "no URL", id="keywords"),
        pytest.param({"sqlalchemy_url": "postgresql://u:SEC/RET@h/d"}, "%XX", id="a slash in the password"),
        pytest.param({"sqlalchemy_url": "postgresql://u:SEC#RET@h/d"}, "%", id="a hash in the password"),
        pytest.param({"sqlalchemy_url": "postgresql://h#SECRET"}, "%23", id="a fragment"),
        pytest.param(
            {"host": "h", "password": "SECRET", "password_command": "pass"}, "both given", id="two passwords"
        ),
        pytest.param(
            {"host": "h", "password_command": "pass 'SECRET"}, "never closed", id="an open quotation"
        ),
        pytest.param(
            {"host": "h", "ssh_tunnel": {"host": "x"}}, "'ssh_tunnel.user'", id="a tunnel without user"
        ),
        pytest.param(
            {"host": "h", "ssh_tunnel": {"hostt": "x"}}, "did you mean 'host'", id="an unknown option"
        ),
    ],
)
def test_wrong_settings_are_refused_by_name_without_their_values(config, says):
    with pytest.raises(ConfigurationError) as error:
        address(**config)

    assert says in str(error.value)
    assert "SEC" not in str(error.value)


def test_the_password_does_not_show_in_the_address():
    assert "pa55word" not in repr(address(host="h", password="pa55word"))
    assert "pa55word" not in repr(address(host="h", password_command="echo pa55word"))


def test_the_password_command_is_asked_for_each_connection(tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    program = tmp_path / "token.py"
    program.write_text(
        "import pathlib, sys\n"
        f"file = pathlib.Path({str(counter)!r})\n"
        "number = int(file.read_text()) + 1\n"
        "file.write_text(str(number))\n"
        "print(f'token-{number} {sys.argv[1]}')\n"
    )
    found = address(host="h", password_command=f"{sys.executable} {program} '$HOME; x'")

    assert [found.password(), found.password()] == ["token-1 $HOME; x", "token-2 $HOME; x"]
    assert "token-2" not in REDACTOR.redact("it was token-2 $HOME; x")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        pytest.param("import sys; print('SECRET', file=sys.stderr); sys.exit(3)", "exit code 3", id="fails"),
        pytest.param("", "printed nothing", id="silent"),
        pytest.param("print('a'); print('SECRET')", "several lines", id="talkative"),
    ],
)
def test_a_password_command_that_fails_is_named_without_what_it_said(code, says, caplog):
    caplog.set_level(logging.DEBUG)

    with pytest.raises(ConfigurationError) as error:
        address(host="h", password_command=f'{sys.executable} -c "{code}"').password()

    assert says in str(error.value)
    assert "SECRET" not in str(error.value) + caplog.text


def test_a_missing_password_command_is_named():
    with pytest.raises(ConfigurationError, match="cannot be started: No such file"):
        address(host="h", password_command="/nowhere/token").password()


@pytest.mark.parametrize(
    "text", [PEM, PEM.replace("\n", "\\n"), PEM.strip()], ids=["plain", "escaped", "bare"]
)
def test_pem_text_becomes_a_file_for_its_owner_alone(text):
    path = pem_file(text, setting="ssl_certificate")

    assert path.read_text() == PEM
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_pem_texts_are_in_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    path = pem_file(PEM, setting="x")

    assert path.is_file()
    assert [path.read_text(), path.read_text()] == [PEM, PEM]
    assert list(tmp_path.iterdir()) == []


def test_a_pem_file_is_taken_as_it_is(tmp_path):
    file = tmp_path / "ca.pem"
    file.write_text(PEM)

    assert pem_file(str(file), setting="x") == file
    assert pem_text(str(file), setting="x") == PEM


def test_a_missing_pem_file_is_refused_without_its_text():
    with pytest.raises(ConfigurationError, match="'ssl_key': there is no such file") as error:
        pem_file("MIIB-not-a-path", setting="ssl_key")

    assert "MIIB" not in str(error.value)


def test_a_password_command_does_not_get_the_keys_of_the_store(monkeypatch):
    monkeypatch.setenv("CONNECTOR_ENCRYPTION_KEY", "canary-of-a-key")
    monkeypatch.setenv("CONNECTOR_ENCRYPTION_KEY_FILE", "/canary/key")

    program = "sh -c 'echo pa55$CONNECTOR_ENCRYPTION_KEY$CONNECTOR_ENCRYPTION_KEY_FILE'"

    assert address(host="h", password_command=program).password() == "pa55"


@pytest.mark.parametrize(
    ("given", "names"),
    [
        pytest.param(["public", "Sales, old"], ["public", "Sales, old"], id="list"),
        pytest.param("public, sales", ["public", "sales"], id="commas"),
        pytest.param('["public", "Sales, old"]', ["public", "Sales, old"], id="json"),
        pytest.param("", [], id="empty"),
        pytest.param(None, [], id="none"),
    ],
)
def test_names_are_listed_in_three_ways(given, names):
    assert names_listed(given) == names
