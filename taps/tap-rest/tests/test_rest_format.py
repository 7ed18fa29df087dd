"""Definitions: what is refused, with file and line; what the commands print."""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from icetap.testing.api import FakeApi, Reply
from icetap.testing.in_process import run_tap
from tap_rest.commands import COMMANDS
from tap_rest.definition import define, format_schema
from tap_rest.documents import parse_document
from tap_rest.linting import lint
from tap_rest.tap import TapRest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.yaml"))

GOOD = """\
version: 1
id: acme
base_url: "{config.url}"
parameters:
  url: {required: true}
  api_key: {required: true, secret: true}
auth: {type: bearer, token: "{config.api_key}"}
streams:
  items:
    primary_key: id
    request: {path: /items}
    response: {records: "$.data[*]"}
    pagination: {type: none}
    child_context: {item_id: $.id}
  parts:
    parent_stream: items
    request: {path: "/items/{item_id}/parts"}
    pagination: {type: none}
"""


@pytest.fixture
def api():
    with FakeApi() as server:
        yield server


def findings(text):
    """What lint says of a text, as the command does."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "acme.yaml"
        path.write_text(text)
        done = CliRunner().invoke(COMMANDS, ["lint", str(path)])
    return done.exit_code, done.output


def changed(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_fit_the_format_and_have_no_finding(path):
    done = CliRunner().invoke(COMMANDS, ["lint", str(path)])

    assert (done.exit_code, done.output) == (0, f"ok       {path}\n")
    jsonschema.validate(yaml.safe_load(path.read_text().replace("2020-01-01", "20200101x")), format_schema())


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        pytest.param(
            "primary_key: id", "primary_keys: id", 10, "did you mean 'primary_key'", id="a misspelt key"
        ),
        pytest.param("token:", "tokn:", 7, "did you mean 'token'", id="a misspelt key of auth"),
        pytest.param("type: none", "type: pages", 13, "did you mean 'page'", id="a misspelt choice"),
        pytest.param(
            "{type: none}", "{type: page, page: {in: query}}", 13, "needs 'name'", id="a missing key"
        ),
        pytest.param(
            "{config.api_key}", "{confg.api_key}", 7, "did you mean 'config'", id="an unknown template root"
        ),
        pytest.param(
            "{config.api_key}", "{config.api_kye}", 7, "did you mean 'api_key'", id="an unknown parameter"
        ),
        pytest.param(
            "/items}",
            "/items, params: {a: '{cursor.start}'}}",
            11,
            "no `incremental`",
            id="a root without a value",
        ),
        pytest.param(
            "/items}",
            "/items, params: {a: '{config.url|dat:x}'}}",
            11,
            "did you mean 'date'",
            id="an unknown filter",
        ),
        pytest.param(
            "/items}",
            "'/items?key={config.api_key}'}",
            11,
            "holds the secret 'api_key'",
            id="a secret in a path",
        ),
        pytest.param(
            "/items}",
            "/items, params: {key: '{config.api_key}'}}",
            11,
            "Use `auth`",
            id="a secret in a parameter",
        ),
        pytest.param(
            '"{config.url}"',
            "https://me:pass@x.org",
            3,
            "holds credentials",
            id="credentials in the base URL",
        ),
        pytest.param(
            '"{config.api_key}"', "sk_live_0123456789", 7, "written into the file", id="a literal credential"
        ),
        pytest.param("$.data[*]", "$..data", 12, "'..' is not supported", id="an unsupported path"),
        pytest.param(
            "$.data[*]", "$.@odata.value", 12, "['@odata.value']", id="a path that could match nothing"
        ),
        pytest.param(
            "parent_stream: items", "parent_stream: item", 16, "did you mean 'items'", id="an unknown parent"
        ),
        pytest.param("{item_id}", "{id}", 17, "no parent hands down", id="a path without its value"),
        pytest.param("version: 1", "version: 2", 1, "expected '1'", id="another version"),
        pytest.param("id: acme", "id: acme\nid: other", 3, "given twice", id="a key given twice"),
        pytest.param(
            "{type: none}\n    child", "{type: none\n    child", 14, "no valid YAML", id="no YAML at all"
        ),
    ],
)
def test_mistakes_are_named_with_file_and_line(old, new, line, says):
    code, output = findings(changed(old, new))

    assert code == 1
    assert says in output
    assert f"acme.yaml:{line}:" in output


def test_what_only_looks_wrong_is_a_warning():
    code, output = findings(changed(", secret: true", ""))

    assert code == 0
    assert output.startswith("warning ")
    assert "acme.yaml:7:" in output


def test_a_run_refuses_what_lint_refuses(tmp_path):
    path = tmp_path / "acme.yaml"
    path.write_text(changed("{item_id}", "{id}"))

    run = run_tap(TapRest, {"connector": str(path), "url": "http://127.0.0.1:1", "api_key": "key-of-mine"})

    assert run.error is not None
    assert run.error.exit_code == 2
    assert f"{path}:17:" in str(run.error)


@pytest.mark.parametrize(
    ("answer", "pagination", "says"),
    [
        pytest.param({"result": [{"id": 1}]}, "{type: none}", "'$.result[*]'", id="records at another place"),
        pytest.param(
            {"data": [{"id": 1}], "next": "x"},
            "{type: cursor, token: {in: query, name: after}, next: $.next}",
            "next token repeats",
            id="a next token that repeats",
        ),
        pytest.param(
            {"data": [{"id": 1}], "has_more": True},
            None,
            "says that there is more",
            id="no pagination, and more",
        ),
    ],
)
def test_mistakes_that_show_at_run_time_are_named_with_file_and_line(api, tmp_path, answer, pagination, says):
    path = tmp_path / "acme.yaml"
    without = GOOD.replace("    pagination: {type: none}\n    child", "    child")
    path.write_text(
        GOOD.replace("{type: none}\n    child", f"{pagination}\n    child") if pagination else without
    )
    api.route("GET", "/items", lambda _: answer)
    api.route("GET", "/items/{id}/parts", lambda _: [])

    run = run_tap(TapRest, {"connector": str(path), "url": api.url, "api_key": "key-of-mine"})

    assert says in str(run.error)
    assert f"{path}:9: stream 'items'" in str(run.error)
    assert len(api.calls) <= 6


def test_defaults_merge_maps_replace_lists_and_null_removes():
    text = """
version: 1
id: acme
base_url: https://api.example.com
defaults:
  request: {headers: {A: "1"}, params: {x: 1}}
  pagination: {type: page, page: {in: query, name: page}, max_pages: 5}
streams:
  one: {request: {path: /one, headers: {B: "2"}}}
  two: {request: {path: /two, params: null}, pagination: {type: link}}
  three: {pagination: null}
"""
    streams = define(parse_document(text, name="x", folder=Path())).streams

    assert streams["one"]["request"] == {"headers": {"A": "1", "B": "2"}, "params": {"x": 1}, "path": "/one"}
    assert streams["two"] == {
        "request": {"headers": {"A": "1"}, "path": "/two"},
        "pagination": {"type": "link"},
    }
    assert "pagination" not in streams["three"]


def test_dates_and_country_codes_stay_texts():
    document = parse_document("{a: 2024-01-01, b: no, c: on, d: true, e: 00123}", name="x", folder=Path())

    assert document.data == {"a": "2024-01-01", "b": "no", "c": "on", "d": True, "e": 83}


@pytest.mark.parametrize(
    ("value", "works"),
    [("acme", True), ("evil.example.com/x", False), ("a@b", False)],
)
def test_a_setting_in_the_hosts_name_cannot_lead_elsewhere(tmp_path, value, works):
    path = tmp_path / "acme.yaml"
    path.write_text(GOOD.replace('"{config.url}"', '"https://{config.url}.invalid/v1"'))

    run = run_tap(TapRest, {"connector": str(path), "url": value, "api_key": "key-of-mine", "max_retries": 0})

    assert run.error is not None
    assert ("part of the host's name" in str(run.error)) is not works


@pytest.mark.parametrize(
    ("auth", "signed"),
    [
        pytest.param("{type: none}", lambda call: "authorization" not in call.headers, id="none"),
        pytest.param(
            "{type: api_key, in: query, name: key, value: '{config.api_key}'}",
            lambda call: call.param("key") == "key-of-mine",
            id="api_key in the query",
        ),
        pytest.param(
            "{type: basic, username: '{config.api_key}'}",
            lambda call: call.headers["authorization"] == "Basic a2V5LW9mLW1pbmU6",
            id="basic with a blank password",
        ),
        pytest.param(
            "{type: bearer, token: '{config.api_key}', prefix: Token}",
            lambda call: call.headers["authorization"] == "Token key-of-mine",
            id="bearer with a prefix",
        ),
        pytest.param(
            "[{type: headers, headers: {X-App: '1'}}, {type: api_key, in: header, name: X-Key, value: '{config.api_key}'}]",
            lambda call: (call.headers["x-app"], call.headers["x-key"]) == ("1", "key-of-mine"),
            id="two at once",
        ),
        pytest.param(
            "{type: oauth2, token_url: /token, grant: client_credentials, client_id: me, client_secret: '{config.api_key}'}",
            lambda call: call.headers["authorization"] == "Bearer key-of-mine of client_credentials",
            id="oauth2",
        ),
        pytest.param(
            "{type: session, login: {path: /login, method: POST, body: {json: {pass: '{config.api_key}'}}}, token: $.sid, "
            "send: {type: api_key, in: header, name: X-Session, value: '{auth.token}'}}",
            lambda call: call.headers["x-session"] == "session of key-of-mine",
            id="session",
        ),
        pytest.param(
            "{type: choice, from: '{config.how}', options: {token: {type: bearer, token: '{config.api_key}'}, no: {type: none}}}",
            lambda call: call.headers["authorization"] == "Bearer key-of-mine",
            id="choice",
        ),
    ],
)
def test_each_way_to_sign_in_signs(api, tmp_path, auth, signed):
    text = GOOD.replace('auth: {type: bearer, token: "{config.api_key}"}', f"auth: {auth}")
    text = text.replace("  url: {required: true}", "  url: {required: true}\n  how: {default: token}")
    (tmp_path / "acme.yaml").write_text(text[: text.index("  parts:")])
    api.route("GET", "/items", lambda _: {"data": []})
    api.route("POST", "/login", lambda call: {"sid": f"session of {call.json['pass']}"})
    api.route(
        "POST",
        "/token",
        lambda call: {"access_token": f"{call.form['client_secret']} of {call.form['grant_type']}"},
    )

    run = run_tap(
        TapRest, {"connector": str(tmp_path / "acme.yaml"), "url": api.url, "api_key": "key-of-mine"}
    ).good()

    assert signed(api.calls[-1])
    assert "key-of-mine" not in run.log


# --- commands ---------------------------------------------------------------------------------------


def invoke(*arguments, **options):
    done = CliRunner().invoke(COMMANDS, [str(argument) for argument in arguments], **options)
    assert done.exit_code == 0, done.output
    return done.output


def test_new_writes_what_lint_accepts(tmp_path):
    invoke("new", "tap-acme", "--folder", tmp_path)

    assert invoke("lint", tmp_path / "acme.yaml") == f"ok       {tmp_path / 'acme.yaml'}\n"


def test_a_misspelt_command_is_told_the_nearest():
    done = CliRunner().invoke(TapRest.cli, ["lnt", "acme.yaml"])

    assert done.exit_code != 0
    assert "did you mean 'lint'" in done.output


def test_preview_shows_records_and_asks_nobody_twice(api, tmp_path):
    (tmp_path / "acme.yaml").write_text(GOOD)
    api.route("GET", "/items", lambda _: {"data": [{"id": n, "total": 1.25} for n in range(5)]})
    arguments = [
        "preview",
        tmp_path / "acme.yaml",
        "--set",
        f"url={api.url}",
        "--set",
        "api_key=key-of-mine",
        "--limit",
        2,
    ]

    shown = json.loads(invoke(*arguments, "--cached"))
    asked = len(api.calls)
    again = json.loads(invoke(*arguments, "--cached"))

    assert shown["rows"] == [{"id": 0, "total": 1.25}, {"id": 1, "total": 1.25}]
    assert shown["more"] is True
    assert again == shown
    assert len(api.calls) == asked


@pytest.mark.parametrize(
    "sample",
    [
        pytest.param({"id": 1, "at": "2026-01-01T00:00:00Z"}, id="one record"),
        pytest.param([{"id": 1, "at": None}, {"id": 2, "at": "2026-01-01T00:00:00Z"}], id="a list"),
        pytest.param({"calls": [{"id": 1, "at": "2026-01-01T00:00:00Z"}], "total": 1}, id="a whole answer"),
    ],
)
def test_infer_prints_the_schema_of_a_sample(sample):
    printed = invoke("infer", "-", input=json.dumps(sample))

    properties = json.loads(printed[printed.index("{") :])["properties"]
    assert properties == {
        "id": {"type": ["integer", "null"]},
        "at": {"type": ["string", "null"], "format": "date-time"},
    }


def test_meltano_prints_a_plugin_with_sensitive_secrets(tmp_path):
    (tmp_path / "acme.yaml").write_text(GOOD)

    (plugin,) = yaml.safe_load(invoke("meltano", tmp_path / "acme.yaml"))

    assert (plugin["name"], plugin["inherit_from"]) == ("tap-acme", "tap-rest")
    assert {setting["name"]: setting.get("sensitive", False) for setting in plugin["settings"]} == {
        "url": False,
        "api_key": True,
    }


def test_graphql_pages_by_a_variable_of_the_body(api, tmp_path):
    (tmp_path / "acme.yaml").write_text("""
version: 1
id: acme
base_url: "{config.url}"
parameters: {url: {required: true}}
streams:
  orders:
    primary_key: id
    request:
      path: /graphql
      body: {graphql: {query: "query ($after: String) { orders(after: $after) { nodes { id } } }"}}
    response: {records: "$.data.orders.nodes[*]"}
    pagination:
      type: cursor
      token: {in: body, name: variables.after}
      next: $.data.orders.pageInfo.endCursor
      has_more: $.data.orders.pageInfo.hasNextPage
    errors: [{when: {body: {path: $.errors, exists: true}}, action: fail, message: the query is wrong}]
    schema: infer
""")

    def answer(call):
        after = call.json["variables"].get("after")
        assert call.json["query"] == "query ($after: String) { orders(after: $after) { nodes { id } } }"
        page = {"hasNextPage": after is None, "endCursor": "c1" if after is None else None}
        return {"data": {"orders": {"nodes": [{"id": 1 if after is None else 2}], "pageInfo": page}}}

    api.route("POST", "/graphql", answer)
    config = {"connector": str(tmp_path / "acme.yaml"), "url": api.url}

    assert [record["id"] for record in run_tap(TapRest, config).good().records("orders")] == [1, 2]
    api.route("POST", "/graphql", lambda _: Reply({"errors": [{"message": "x"}], "data": None}))
    assert "the query is wrong" in str(run_tap(TapRest, config).error)


def test_settings_and_parameters_may_come_from_the_environment(api, tmp_path):
    (tmp_path / "acme.yaml").write_text(GOOD)
    api.route("GET", "/items", lambda _: {"data": [{"id": 1}]})
    api.route("GET", "/items/{id}/parts", lambda _: [])
    given = {"CONNECTOR": str(tmp_path / "acme.yaml"), "URL": api.url, "API_KEY": "key-of-mine"}
    environ = {**os.environ, **{f"TAP_REST_{name}": value for name, value in given.items()}}

    done = subprocess.run(
        [Path(sys.executable).parent / "tap-rest", "--config=ENV", "--test"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.splitlines() == [
        "ok    stream items: readable",
        "ok    stream parts: readable, and empty now",
    ]


def test_a_definition_may_be_given_inline(api):
    api.route("GET", "/items", lambda _: [{"id": 1}])
    definition = {
        "version": 1,
        "id": "acme",
        "base_url": api.url,
        "streams": {"items": {"primary_key": "id", "request": {"path": "/items"}}},
    }

    assert run_tap(TapRest, {"connector": definition}).good().records("items") == [{"id": 1}]
    assert lint(define(parse_document(json.dumps(definition), name="x", folder=Path()))) == []
