"""The `icetap` command as a person meets it; connectors are run as processes, never imported."""

import json
import os
import stat
import subprocess
import sys
import textwrap

import click.testing
import pytest

from icetap.cli.command import icetap

FAKE_TAP = """\
#!{python}
import json, os, sys
arguments = sys.argv[1:]
config = {{}}
for option, value in zip(arguments, arguments[1:]):
    if option == "--config" and value != "ENV":
        config = json.load(open(value))
        print("mode", oct(os.stat(value).st_mode)[-3:], "in", os.getcwd(), file=sys.stderr)
if "--discover" in arguments:
    if os.environ.get("TAP_FAKE_DOWN"):
        sys.exit(1)
    print(json.dumps({{"streams": [
        {{"tap_stream_id": name, "schema": {{"properties": {{"id": {{}}}}}}, "metadata": []}} for name in ("orders", "other")
    ]}}))
elif "--test" in arguments:
    print("ok    connected")
    for option, value in zip(arguments, arguments[1:]):
        if option == "--catalog":
            for stream in json.load(open(value))["streams"]:
                print("ok   ", stream["tap_stream_id"], *[
                    each["metadata"] for each in stream["metadata"] if each["breadcrumb"] == []
                ])
    print("FAIL  orders: permission denied")
    sys.exit(1)
elif "--preview" in arguments or "--sql" in arguments:
    if config.get("password") == "wrong":
        print("tap-fake | the password was refused", file=sys.stderr)
        sys.exit(2)
    rows = [{{"id": 1, "price": 12345678901234567.10, "note": None}}]
    text = json.dumps({{"stream": "orders", "columns": [{{"name": n}} for n in rows[0]], "rows": rows, "more": True}})
    print(text.replace("1.2345678901234568e+16", "12345678901234567.10"))
elif "--broken" in config:
    print("not json")
else:
    columns = [{{"name": "id", "type": "int64", "native_type": "INTEGER", "nullable": False, "key": True}}]
    table = {{"schema": "main", "name": "orders", "stream": "orders", "kind": "table", "estimated_rows": 12,
             "size_bytes": 4096, "supported": True, "columns": columns}}
    asked = [a for a in arguments if a.startswith("--browse=")]
    print(json.dumps({{"source": "x", "version": "1", "tables": [table] if asked else [table, table | {{"name": "b"}}]}}))
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A checkout with the connector `tap-fake`, a Meltano project around it, and its command on PATH."""
    for name in ("MELTANO_ENVIRONMENT", "MELTANO_PROJECT_ROOT"):
        monkeypatch.delenv(name, raising=False)
    command = tmp_path / "bin" / "tap-fake"
    command.parent.mkdir()
    command.write_text(FAKE_TAP.format(python=sys.executable))
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")
    folder = tmp_path / "taps" / "tap-fake"
    folder.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("")
    (folder / "pyproject.toml").write_text(
        textwrap.dedent(
            """
            [project]
            name = "icetap-tap-fake"
            version = "1.2.3"
            [project.scripts]
            tap-fake = "tap_fake.tap:TapFake.cli"
            [tool.icetap.connector]
            title = "Fake"
            kind = "tap"
            category = "api"
            replication_methods = ["FULL_TABLE"]
            """
        )
    )
    (tmp_path / "meltano.yml").write_text(
        "plugins: {extractors: [{name: tap-fake, namespace: tap_fake, config: {password: hunter2}}]}"
    )
    monkeypatch.chdir(folder)
    return tmp_path


def run(*arguments):
    return click.testing.CliRunner().invoke(icetap, list(arguments))


def run_as_process(*arguments):
    command = [sys.executable, "-c", "from icetap.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_connectors_are_found_by_their_manifests(project):
    listed = json.loads(run("connectors", "--json").stdout)

    assert [(each["name"], each["title"], each["version"], each["kind"]) for each in listed] == [
        ("tap-fake", "Fake", "1.2.3", "tap")
    ]
    assert "tap-fake" in run("connectors").stdout


def test_a_manifest_without_a_command_is_told(project):
    path = project / "taps" / "tap-fake" / "pyproject.toml"
    path.write_text(path.read_text().replace("tap-fake =", "tap-other ="))

    done = run("connectors")

    assert done.exit_code == 2
    assert "has no command of that name" in done.stderr


def test_preview_keeps_every_digit_and_says_when_there_is_more(project):
    done = run_as_process("preview", "tap-fake", "orders", "--json")

    assert json.loads(done.stdout, parse_float=str)["rows"] == [
        {"id": 1, "price": "12345678901234567.10", "note": None}
    ]
    shown = run_as_process("preview", "tap-fake", "orders")
    assert shown.stdout.split()[:3] == ["id", "price", "note"]
    assert "12345678901234567.10" in shown.stdout
    assert "--limit gives more" in shown.stderr


def test_settings_travel_in_a_private_file_that_is_gone_afterwards(project):
    done = run_as_process("preview", "tap-fake", "orders")

    assert f"mode 600 in {project}" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_the_connectors_failure_is_told_with_its_own_words_and_exit_code(project, tmp_path):
    (tmp_path / "c.json").write_text('{"password": "wrong"}')

    done = run_as_process("preview", "tap-fake", "orders", "--config", str(tmp_path / "c.json"))

    assert done.returncode == 2
    assert "the password was refused" in done.stderr
    assert "tap-fake ended with exit code 2" in done.stderr
    assert "Traceback" not in done.stderr


def test_preview_takes_a_stream_or_a_query(project):
    assert run("preview", "tap-fake").exit_code == 2
    assert run("preview", "tap-fake", "orders", "--sql", "select 1").exit_code == 2


def test_test_prints_the_findings_and_fails_when_one_does(project):
    done = run_as_process("test", "tap-fake")

    assert done.returncode == 1
    assert done.stdout == "ok    connected\nFAIL  orders: permission denied\n"
    assert json.loads(run_as_process("test", "tap-fake", "--json").stdout) == [
        {"ok": True, "finding": "connected"},
        {"ok": False, "finding": "orders: permission denied"},
    ]


def test_test_asks_for_what_the_project_selects(project, monkeypatch):
    (project / "meltano.yml").write_text(
        "plugins: {extractors: [{name: tap-fake, namespace: tap_fake, select: [orders.*], "
        "metadata: {orders: {replication-method: LOG_BASED}}}]}"
    )

    told = run_as_process("test", "tap-fake").stdout.splitlines()
    monkeypatch.setenv("TAP_FAKE_DOWN", "yes")
    cannot_discover = run_as_process("test", "tap-fake").stdout.splitlines()

    assert told[0] == cannot_discover[0] == "ok    connected"
    assert "'selected': True" in told[1]
    assert "'replication-method': 'LOG_BASED'" in told[1]
    assert "'selected': True" not in told[2]
    assert cannot_discover[1:] == told[3:] == ["FAIL  orders: permission denied"]


def test_browse_lists_tables_and_the_columns_of_one(project):
    tables, columns = run_as_process("browse", "tap-fake"), run_as_process("browse", "tap-fake", "orders")

    assert "4.1 kB" in tables.stdout
    assert "INTEGER" in columns.stdout
    assert "INTEGER" not in tables.stdout


def test_what_is_not_json_is_told_without_being_printed(project, tmp_path):
    (tmp_path / "c.json").write_text('{"--broken": 1}')

    done = run_as_process("browse", "tap-fake", "--config", str(tmp_path / "c.json"))

    assert done.returncode == 1
    assert "printed 9 bytes that are not JSON" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["preview", "tap-fak", "orders"], "did you mean 'tap-fake'?"),
        (["qurey", "select 1"], "did you mean 'query'?"),
    ],
)
def test_a_misspelt_name_is_met_with_the_nearest_one(project, arguments, words):
    done = run(*arguments)

    assert done.exit_code == 2
    assert words in done.stderr


def test_a_command_that_is_not_installed_is_told_with_the_next_step(project, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")

    done = run("browse", "tap-fake")

    assert done.exit_code == 2
    assert "meltano install tap-fake" in done.stderr


def test_help_is_fast_because_nothing_heavy_is_imported():
    code = "import sys, icetap.cli.command; print([m for m in ('pyarrow', 'duckdb', 'pyiceberg', 'singer_sdk') if m in sys.modules])"

    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def test_a_reader_that_has_enough_ends_the_command_quietly(project):
    command = f"{sys.executable} -c 'from icetap.cli import main; main()' query 'select range from range(2000000)' --csv | head -1"

    warehouse = {"TARGET_ICEBERG_CATALOG": json.dumps({"type": "in-memory", "warehouse": str(project)})}
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **warehouse},
    )

    assert done.stdout == "range\n"
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["Ünïcode", "a b", "-x", "", "a--b", "9lives"])
def test_a_name_that_cannot_be_a_command_is_refused(project, name):
    assert run("new", "tap", "--", name).exit_code == 2


def test_new_tap_writes_a_folder_once(project):
    first, second = run("new", "tap", "help-desk"), run("new", "tap", "tap-help-desk")

    assert first.exit_code == 0
    assert "make docs" in first.stdout
    assert second.exit_code == 2
    assert "is there already" in second.stderr
    assert stat.S_ISDIR((project / "taps" / "tap-help-desk" / "tap_help_desk").stat().st_mode)


def test_new_tap_outside_a_checkout_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert "not inside a checkout" in run("new", "tap", "x").stderr
