"""`icetap verify`: which streams are read, how the two processes are joined, and what is believed of them."""

import json
import os
import subprocess
import sys

import pytest

from icetap.cli.project import find_project
from icetap.cli.selection import selected_catalog
from icetap.errors import ConfigurationError

FAKE_TAP = """\
#!{python}
import json, os, sys
arguments = sys.argv[1:]
config = json.load(open(arguments[arguments.index("--config") + 1]))
if "--discover" in arguments:
    columns = {{"id": {{"type": "integer"}}, "note": {{"type": "string"}}}}
    streams = [
        {{"tap_stream_id": name, "stream": name, "schema": {{"properties": columns}}, "metadata": []}}
        for name in ("orders", "clicks")
    ]
    print(json.dumps({{"streams": streams}}))
    sys.exit(0)
catalog = json.load(open(arguments[arguments.index("--catalog") + 1]))
for stream in catalog["streams"]:
    metadata = {{tuple(one["breadcrumb"]): one["metadata"] for one in stream["metadata"]}}
    if metadata[()]["selected"]:
        print(json.dumps({{"stream": stream["stream"], "columns": [
            path[1] for path, one in metadata.items() if path and one["selected"]
        ], "method": metadata[()].get("replication-method"), "state": "--state" in arguments}}), flush=True)
if config.get("breaks"):
    print("the connection was lost", file=sys.stderr)
    sys.exit(5)
"""

FAKE_TARGET = """\
#!{python}
import json, os, sys
assert sys.argv[1] == "verify", sys.argv
config = json.load(open(sys.argv[sys.argv.index("--config") + 1]))
if config.get("breaks"):
    print("target-fake: the catalog is away", file=sys.stderr)
    sys.exit(config["breaks"])
read = [json.loads(line) for line in sys.stdin]
named = {{name: os.environ.get(name) for name in ("MELTANO_EXTRACTOR_NAME", "MELTANO_ENVIRONMENT")}}
print(json.dumps({{"read": read, "options": sys.argv[2:], **named}}))
sys.exit(config.get("code", 0))
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A Meltano project with a tap and a loader that are scripts; the test may change its definitions."""
    for name in ("MELTANO_ENVIRONMENT", "MELTANO_PROJECT_ROOT"):
        monkeypatch.delenv(name, raising=False)
    for name, text in (("tap-fake", FAKE_TAP), ("target-fake", FAKE_TARGET)):
        command = tmp_path / name
        command.write_text(text.format(python=sys.executable))
        command.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return configured(tmp_path)


def configured(folder, *, tap=None, target=None):
    plugins = {
        "extractors": [{"name": "tap-fake", "executable": str(folder / "tap-fake"), **(tap or {})}],
        "loaders": [{"name": "target-fake", "executable": str(folder / "target-fake"), **(target or {})}],
    }
    content = {"default_environment": "dev", "environments": [{"name": "dev"}], "plugins": plugins}
    (folder / "meltano.yml").write_text(json.dumps(content))
    return folder


def verify(*arguments):
    command = [
        sys.executable,
        "-c",
        "from icetap.cli import main; main()",
        "verify",
        "tap-fake",
        "target-fake",
    ]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, env={**os.environ}
    )


# --- processes ------------------------------------------------------------------------------------------


def test_the_tap_is_read_from_its_start_into_the_loaders_comparison(project):
    configured(project, tap={"select": ["orders.*", "!orders.note"]}, target={"config": {"code": 1}})

    done = verify("--limit", "3", "--show-values", "--json")

    said = json.loads(done.stdout)
    assert done.returncode == 1
    assert said["read"] == [{"stream": "orders", "columns": ["id"], "method": None, "state": False}]
    assert said["options"][2:] == ["--limit=3", "--show-values", "--json"]
    assert (said["MELTANO_EXTRACTOR_NAME"], said["MELTANO_ENVIRONMENT"]) == ("tap-fake", "dev")


def test_equal_is_exit_code_0(project):
    assert verify("orders").returncode == 0


@pytest.mark.parametrize("code", [0, 1], ids=["equal", "differs"])
def test_nothing_is_said_of_a_source_that_was_not_read_to_its_end(project, code):
    configured(project, tap={"config": {"breaks": True}}, target={"config": {"code": code}})

    done = verify()

    assert (done.returncode, done.stdout) == (5, "")
    assert "the source was not read to its end, so nothing is proved" in done.stderr


@pytest.mark.parametrize("code", [1, 2, 3], ids=["error", "settings", "data"])
def test_a_loader_that_fails_is_no_difference(project, code):
    configured(project, target={"config": {"breaks": code}})

    done = verify()

    assert (done.returncode, done.stdout) == (code, "")
    assert "target-fake verify ended with exit code" in done.stderr


def test_an_unknown_stream_is_told_before_anything_is_read(project):
    done = verify("order")

    assert done.returncode == 2
    assert "The tap has no stream 'order'; did you mean 'orders'?" in done.stderr


# --- what is read ---------------------------------------------------------------------------------------


def catalog():
    properties = {"id": {"type": "integer"}, "note": {"type": "string"}, "meta": {"type": "object"}}
    streams = [
        {"tap_stream_id": name, "schema": {"properties": dict(properties)}, "metadata": []}
        for name in ("orders", "order_lines", "clicks")
    ]
    parsed: dict = json.loads(json.dumps({"streams": streams}))
    return parsed


def selected(select, *, streams=()):
    found = {}
    for entry in selected_catalog(catalog(), {"select": select}, streams=streams)["streams"]:
        metadata = {tuple(one["breadcrumb"]): one["metadata"] for one in entry["metadata"]}
        if metadata[()]["selected"]:
            found[entry["tap_stream_id"]] = [
                path[1] for path, one in metadata.items() if path and one["selected"]
            ]
    return found


ALL = ["id", "note", "meta"]


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        pytest.param([], {"orders": ALL, "order_lines": ALL, "clicks": ALL}, id="default"),
        pytest.param(["orders.*"], {"orders": ALL}, id="one"),
        pytest.param(["orders"], {"orders": ALL}, id="stream-alone"),
        pytest.param(["order*.*", "!orders.*"], {"order_lines": ALL}, id="glob-and-exclusion"),
        pytest.param(["orders.id", "orders.note"], {"orders": ["id", "note"]}, id="columns"),
        pytest.param(["!orders.note", "orders.*"], {"orders": ["id", "meta"]}, id="exclusions-win"),
        pytest.param(["orders.meta.a"], {"orders": ["meta"]}, id="inside-an-object"),
        pytest.param(["orders.*", "!orders.meta.a"], {"orders": ALL}, id="left-out-inside-an-object"),
    ],
)
def test_streams_and_columns_are_chosen_as_meltano_does(select, expected):
    assert selected(select) == expected


def test_streams_that_were_named_are_chosen_of_those_selected():
    assert selected(["orders.*", "clicks.*"], streams=["order*"]) == {"orders": ALL}


def test_no_stream_at_all_is_an_error():
    with pytest.raises(ConfigurationError, match="No stream is selected"):
        selected(["orders.*"], streams=["clicks"])


def test_metadata_and_schema_are_changed_as_meltano_does():
    extras = {
        "metadata": {"order*": {"replication-method": "INCREMENTAL", "id": {"is-replication-key": True}}},
        "schema": {"orders": {"note": {"format": "date-time"}}},
    }

    orders, lines, clicks = selected_catalog(catalog(), extras)["streams"]

    def root(entry):
        return next(one["metadata"] for one in entry["metadata"] if one["breadcrumb"] == [])

    assert [root(entry).get("replication-method") for entry in (orders, lines, clicks)] == [
        "INCREMENTAL",
        "INCREMENTAL",
        None,
    ]
    assert {
        "breadcrumb": ["properties", "id"],
        "metadata": {"selected": True, "is-replication-key": True},
    } in orders["metadata"]
    assert orders["schema"]["properties"]["note"] == {"type": "string", "format": "date-time"}
    assert lines["schema"]["properties"]["note"] == {"type": "string"}


def test_extras_come_from_every_level_that_meltano_knows(tmp_path):
    environment = {
        "name": "dev",
        "config": {"plugins": {"extractors": [{"name": "tap-b", "select": ["b.*"]}]}},
    }
    content = {
        "default_environment": "dev",
        "environments": [environment],
        "plugins": {
            "extractors": [
                {"name": "tap-a", "select": ["a.*"], "metadata": {"a": {"x": "$NAMED"}}},
                {"name": "tap-b", "inherit_from": "tap-a"},
                {"name": "tap-c", "inherit_from": "tap-a", "config": {"_select": ["c.*"]}},
            ]
        },
    }
    (tmp_path / "meltano.yml").write_text(json.dumps(content))
    variables = {"TAP_C__METADATA": '{"c": {"y": 1}}', "NAMED": "z"}
    project = find_project(tmp_path, environ=variables)

    assert project.extras("tap-a") == {"select": ["a.*"], "metadata": {"a": {"x": "z"}}}
    assert project.extras("tap-b") == {"select": ["b.*"], "metadata": {"a": {"x": "z"}}}
    assert project.extras("tap-c") == {"select": ["c.*"], "metadata": {"c": {"y": 1}}}
