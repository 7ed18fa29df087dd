"""`icetap secrets` as a person meets it."""

import json
import subprocess
import sys

import click.testing
import pytest

from icetap.cli.command import icetap
from icetap.secrets.keys import KEYS_VARIABLE, key_id, new_key
from icetap.secrets.redaction import MASK

OLD, NEW = new_key(), new_key()
VALUE = "s3cret value with spaces"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A Meltano project, and a key in the environment."""
    for name in ("MELTANO_ENVIRONMENT", "MELTANO_PROJECT_ROOT", "ICETAP_SECRETS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(KEYS_VARIABLE, OLD)
    (tmp_path / "meltano.yml").write_text("version: 1\n")
    folder = tmp_path / "deeper"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return tmp_path


def ask(*arguments, stdin=None):
    return click.testing.CliRunner().invoke(icetap, ["secrets", *arguments], input=stdin)


def test_a_secret_is_set_from_stdin_listed_without_its_value_and_deleted(project):
    done = ask("set", "prod/password", stdin=VALUE + "\n")
    listed = ask("list", "--json")
    deleted = ask("delete", "prod/password")

    assert (done.exit_code, done.output) == (0, "Stored. In settings: secret://prod/password\n")
    (row,) = json.loads(listed.output)
    assert (row["name"], row["value"], row["key_id"]) == ("prod/password", MASK, key_id(OLD))
    assert deleted.exit_code == 0
    assert json.loads(ask("list", "--json").output) == []
    assert (project / ".icetap" / "secrets.json").is_file()


def test_a_value_cannot_be_an_argument(project):
    done = ask("set", "prod/password", VALUE)

    assert done.exit_code == 2
    assert not (project / ".icetap").exists()


def test_rotation_re_encrypts_with_the_first_key(project, monkeypatch):
    ask("set", "a", stdin=VALUE)
    monkeypatch.setenv(KEYS_VARIABLE, f"{NEW},{OLD}")

    done = ask("rotate")

    assert done.output == f"1 secrets are encrypted with key {key_id(NEW)}. The other keys can go.\n"
    monkeypatch.setenv(KEYS_VARIABLE, NEW)
    assert ask("check").exit_code == 0


def test_check_names_references_without_a_secret(project):
    ask("set", "there", stdin=VALUE)
    (project / "meltano.yml").write_text("password: secret://there\ntoken: secret://not/there\n")

    done = ask("check")

    assert done.exit_code == 2
    assert [line[:4] for line in done.output.splitlines()] == ["ok  ", "ok  ", "FAIL"]
    assert "secret://not/there" in done.output
    assert VALUE not in done.output


def test_without_a_key_the_way_out_is_told(project, monkeypatch):
    monkeypatch.delenv(KEYS_VARIABLE)

    done = ask("set", "a", stdin=VALUE)

    assert done.exit_code == 2
    assert "icetap secrets new-key" in done.output


def test_the_key_may_be_in_the_projects_dotenv(project, monkeypatch):
    monkeypatch.delenv(KEYS_VARIABLE)
    (project / ".env").write_text(f"{KEYS_VARIABLE}={OLD}\n")

    assert ask("set", "a", stdin=VALUE).exit_code == 0


def test_a_new_key_is_a_key(project, monkeypatch):
    monkeypatch.setenv(KEYS_VARIABLE, ask("new-key").output.strip())

    assert ask("set", "a", stdin=VALUE).exit_code == 0


def test_help_does_not_wait_for_cryptography():
    program = "import sys, icetap.cli.command; print([m for m in ('cryptography', 'pyarrow', 'yaml') if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
