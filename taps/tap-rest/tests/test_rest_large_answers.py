"""`response.stream` and `compression: zip`: answers that are saved and read record by record."""

import io
import zipfile
from pathlib import Path

import pytest

from icetap.errors import ConfigurationError
from icetap.testing.api import FakeApi, Reply
from icetap.testing.in_process import run_tap
from tap_rest.definition import define
from tap_rest.documents import parse_document
from tap_rest.linting import lint
from tap_rest.tap import TapRest

EXPORT = """\
version: 1
id: acme
base_url: "{config.url}"
parameters:
  url: {required: true}
streams:
  items:
    primary_key: id
    request: {path: /export}
    response: {records: "$.data[*]", stream: true}
    pagination: {type: none}
    record: {rename: {n: number}}
"""


def findings(text):
    return lint(define(parse_document(text, name="acme.yaml", folder=Path())))


def changed(old, new):
    assert old in EXPORT
    return EXPORT.replace(old, new)


def read(api, folder, text):
    path = folder / "acme.yaml"
    path.write_text(text)
    return run_tap(TapRest, {"connector": str(path), "url": api.url})


def test_a_large_answer_is_read_with_the_rules_of_its_stream(tmp_path):
    assert findings(EXPORT) == []
    with FakeApi() as api:
        api.route("GET", "/export", lambda call: {"data": [{"id": n, "n": n} for n in range(1200)]})

        run = read(api, tmp_path, EXPORT).good()

    assert run.records("items")[-1] == {"id": 1199, "number": 1199}
    assert len(run.records("items")) == 1200


def test_tables_in_a_zip_follow_each_other(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", "id;n\n1;a\n")
        archive.writestr("b.csv", "id;n\n2;b\n")
    text = changed('records: "$.data[*]", stream: true', 'format: csv, delimiter: ";", compression: zip')
    with FakeApi() as api:
        api.route("GET", "/export", lambda call: Reply(file.getvalue(), media_type="application/zip"))

        run = read(api, tmp_path, text).good()

    assert run.records("items") == [{"id": "1", "number": "a"}, {"id": "2", "number": "b"}]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(
            "{type: none}",
            "{type: link}",
            "acme.yaml:11: `stream: true` reads one answer that is saved as a file, which cannot be one of several pages. "
            "Take one of the two away.",
            id="pages",
        ),
        pytest.param(
            "$.data[*]",
            "$.data[0].rows[*]",
            "acme.yaml:10: a body that is read as a stream has its records at a path of names with one '[*]', such as "
            "'$.data[*]'; '$.data[0].rows[*]' is another.",
            id="a path with a number",
        ),
        pytest.param(
            "{rename: {n: number}}",
            '{add: {at: "{response.meta.at}"}}',
            "acme.yaml:12: '{response.…}' has no value with `stream: true`: the answer is never held whole.",
            id="the answer as a value",
        ),
        pytest.param(
            "stream: true",
            "strema: true",
            "acme.yaml:10: unknown key 'strema'; did you mean 'stream'?",
            id="a misspelt key",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_with_its_line(old, new, expected):
    try:
        found = findings(changed(old, new))
    except ConfigurationError as error:  # the format's own refusals are raised
        found = [(True, str(error))]

    assert found == [(True, expected)]
