"""Mistakes that a person makes in a first connector: each is told with file and line, at lint or in the run."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from icetap.errors import ConfigurationError
from icetap.testing.api import FakeApi
from icetap.testing.in_process import run_tap
from tap_rest.commands import COMMANDS
from tap_rest.definition import define
from tap_rest.documents import parse_document
from tap_rest.linting import lint
from tap_rest.tap import TapRest

FIRST = """\
version: 1
id: first
base_url: "{config.url}"
parameters:
  url: {required: true}
  key: {secret: true}
streams:
  items:
    primary_key: id
    request: {path: /items, params: {lang: en}}
    response: {records: "$.items[*]"}
"""


@pytest.fixture
def api():
    with FakeApi() as server:
        yield server


def changed(old, new):
    assert old in FIRST
    return FIRST.replace(old, new)


def findings(text):
    return lint(define(parse_document(text, name="first.yaml", folder=Path())))


def run(api, folder, text):
    path = folder / "first.yaml"
    path.write_text(text)
    return run_tap(TapRest, {"connector": str(path), "url": api.url, "max_retries": 0})


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(
            "/items,",
            '"/items/{vendor.id}",',
            (True, "first.yaml:10: '{vendor.id}' is sent as it stands: there is no root"),
            id="an unknown root in a path",
        ),
        pytest.param(
            "{lang: en}",
            '{lang: "{vendor.id}"}',
            (False, "first.yaml:10: '{vendor.id}' is sent as it stands: there is no root"),
            id="an unknown root in a parameter",
        ),
        pytest.param(
            "{lang: en}",
            '{lang: "{config.key}"}',
            (True, "first.yaml:10: `params` holds the secret 'key'"),
            id="a secret in a URL",
        ),
        pytest.param(
            "    request: {path: /items, params: {lang: en}}\n",
            "",
            (False, "first.yaml:8: the stream has no `request`"),
            id="no request",
        ),
        pytest.param(
            "{lang: en}",
            '{lang: "{config.language}"}',
            (False, "first.yaml:10: '{config.language}' names no parameter: what needs it is left out."),
            id="a parameter that nobody declared",
        ),
        pytest.param(
            "{lang: en}",
            '{lang: "{config.kye}"}',
            (True, "first.yaml:10: '{config.kye}' names no parameter; did you mean 'key'?"),
            id="a misspelt parameter",
        ),
    ],
)
def test_lint_says_what_would_surprise(old, new, expected):
    assert findings(FIRST) == []

    (is_error, line), *_ = findings(changed(old, new))

    assert (is_error, line[: len(expected[1])]) == expected


def test_all_that_is_missing_is_told_at_once():
    with pytest.raises(ConfigurationError) as refused:
        findings("id: acme\n")

    for key in ("version", "base_url", "streams"):
        assert str(refused.value).count(f"the connector needs '{key}'.") == 1


def test_a_name_that_does_not_fit_is_told_at_its_line():
    with pytest.raises(ConfigurationError) as refused:
        findings(changed("  items:", "  my-items:"))

    assert str(refused.value) == (
        "first.yaml:8: the name 'my-items' does not fit. Expected letters, digits and underscores."
    )


@pytest.mark.parametrize(
    ("answer", "text", "says"),
    [
        pytest.param(
            {"rows": [{"id": 1}]},
            FIRST,
            "the answer has nothing at '$.items[*]', but records at '$.rows[*]'",
            id="records elsewhere",
        ),
        pytest.param(
            {"rows": [{"id": 1}]},
            changed('    response: {records: "$.items[*]"}\n', ""),
            "the answer has no record at '$', but records at '$.rows[*]'",
            id="no place of records",
        ),
        pytest.param(
            {"items": [{"name": 1}]}, FIRST, "the key 'id' is missing or null", id="records without their key"
        ),
        pytest.param(
            {"items": [{"id": 1}], "next": "x"},
            FIRST + "    pagination: {type: cursor, token: {in: query, name: after}, next: $.next}\n",
            "next token repeats",
            id="a token that repeats",
        ),
        pytest.param(
            {"items": [{"id": 1}], "next": "x"}, FIRST, "the answer says that there is more", id="more pages"
        ),
    ],
)
def test_the_run_says_what_the_api_does_otherwise_and_where_it_is_declared(api, tmp_path, answer, text, says):
    api.route("GET", "/items", lambda call: answer)

    found = run(api, tmp_path, text)

    assert says in str(found.error)
    assert str(found.error).startswith(f"{tmp_path / 'first.yaml'}:8: stream 'items': ")


def test_a_stream_that_cannot_be_sampled_is_asked_for_once_more_only(api, tmp_path):
    api.route("GET", "/items", lambda call: {"rows": [{"id": 1}]})

    found = run(api, tmp_path, FIRST)

    assert len(api.calls) == 2
    assert found.log.count("has no columns yet") == 1


def test_a_preview_names_the_stream_and_the_setting_that_are_wrong(api, tmp_path):
    path = tmp_path / "first.yaml"
    path.write_text(FIRST)

    def previewed(*options):
        return CliRunner().invoke(COMMANDS, ["preview", str(path), *options])

    unknown = previewed("--set", f"url={api.url}", "--stream", "item")
    missing = previewed()

    assert (unknown.exit_code, missing.exit_code) == (2, 2)
    assert f"{path} has no stream 'item'; did you mean 'items'?" in unknown.output
    assert "'url' is a required property" in missing.output
    assert api.calls == []
