"""The block `job`: what it takes, and what is said of one that cannot work."""

from pathlib import Path

import pytest

from icetap.errors import ConfigurationError
from icetap.testing.api import FakeApi, Reply
from icetap.testing.in_process import run_tap
from tap_rest.definition import define
from tap_rest.documents import parse_document
from tap_rest.linting import lint
from tap_rest.tap import TapRest

REPORTS = """\
version: 1
id: acme
base_url: "{config.url}"
parameters:
  url: {required: true}
  api_key: {required: true, secret: true}
auth: {type: bearer, token: "{config.api_key}"}
defaults:
  job:
    status: {path: $.state, done: [READY], failed: [ERROR, EXPIRED]}
    every: PT0.01S
    timeout: PT30M
streams:
  sales:
    primary_key: id
    job:
      create:
        path: /reports
        method: POST
        headers: {Idempotency-Key: "{job.key}"}
        body: {json: {from: "{cursor.start|date:%Y-%m-%d}"}}
      id: $.id
      poll: {path: "/reports/{job.id}"}
      download: {url: $.file_url}
      abort: {path: "/reports/{job.id}", method: DELETE}
    response: {format: csv}
    incremental: {replication_key: at, initial: "2026-01-01"}
    schema:
      properties: {id: {type: string}, at: {type: [string, "null"], format: date-time}}
"""


def findings(text):
    try:
        return lint(define(parse_document(text, name="acme.yaml", folder=Path())))
    except ConfigurationError as error:
        return [(True, line) for line in str(error).splitlines()]


def changed(old, new):
    assert REPORTS.count(old) == 1
    return REPORTS.replace(old, new)


def test_a_report_is_created_waited_for_and_read(tmp_path):
    assert findings(REPORTS) == []
    states = ["QUEUED", "READY"]
    path = tmp_path / "acme.yaml"
    path.write_text(REPORTS)
    with FakeApi() as api:
        api.route("POST", "/reports", lambda call: {"id": "r/1"})
        api.route("GET", "/reports/r%2F1", lambda call: {"state": states.pop(0), "file_url": "/files/1.csv"})
        api.route(
            "GET",
            "/files/1.csv",
            lambda call: Reply(b"id,at\n1,2026-01-02T00:00:00Z\n", media_type="text/csv"),
        )

        run = run_tap(TapRest, {"connector": str(path), "url": api.url, "api_key": "key-of-mine"}).good()

    assert run.records("sales") == [{"id": "1", "at": "2026-01-02T00:00:00Z"}]
    assert api.calls[0].json == {"from": "2026-01-01"}
    assert len(api.calls[0].headers["idempotency-key"]) == 32
    assert [call.headers["authorization"] for call in api.calls] == ["Bearer key-of-mine"] * 4
    assert run.state["bookmarks"]["sales"]["replication_key_value"] == "2026-01-02T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(
            "      poll: {", "      pol: {", "acme.yaml:16: job needs 'poll'.", id="a missing request"
        ),
        pytest.param(
            "file_url}", "file_url, uri: $.x}", "unknown key 'uri'; did you mean 'url'?", id="a misspelt key"
        ),
        pytest.param(
            "      id: $.id\n",
            "",
            "acme.yaml:22: '{job.id}' has no value here; of a job there are: key. Declare `job.id`, the JSONPath to it.",
            id="a name that is nowhere",
        ),
        pytest.param(
            "{job.key}",
            "{job.id}",
            "acme.yaml:20: '{job.id}' has no value here; of a job there are: key.",
            id="the name before there is one",
        ),
        pytest.param(
            'poll: {path: "/reports/{job.id}"}',
            'poll: {path: "/reports/{job.id}", params: {key: "{config.api_key}"}}',
            "acme.yaml:23: `params` holds the secret 'api_key'",
            id="a secret in a URL",
        ),
        pytest.param(
            "    response: {format: csv}",
            "    request: {path: /reports}\n    response: {format: csv}",
            "acme.yaml:26: a stream has a `request` or a `job`: what creates the job is `job.create`.",
            id="a request beside the job",
        ),
        pytest.param(
            '{path: "/reports/{job.id}", method: DELETE}',
            '{path: "/reports/{jobs.id}", method: DELETE}',
            "acme.yaml:25: '{jobs.id}' has the root 'jobs'; did you mean 'job'?",
            id="a misspelt root",
        ),
        pytest.param(
            'poll: {path: "/reports/{job.id}"}',
            'poll: {path: "/reports/{job.id}", method: DELETE}',
            "acme.yaml:23: method is 'DELETE', but this request only reads. Expected one of GET, POST.",
            id="a request that deletes",
        ),
        pytest.param("PT30M", "30m", "acme.yaml:12: timeout is '30m'", id="no duration"),
    ],
)
def test_what_is_wrong_with_a_job_is_said_with_its_line(old, new, expected):
    found = findings(changed(old, new))

    assert any(is_error and expected in line for is_error, line in found), found


def test_a_job_that_fails_is_named_with_its_stream_and_line(tmp_path):
    path = tmp_path / "acme.yaml"
    path.write_text(REPORTS)
    with FakeApi() as api:
        api.route("POST", "/reports", lambda call: {"id": 1})
        api.route("GET", "/reports/1", lambda call: {"state": "EXPIRED"})
        api.route("DELETE", "/reports/1", lambda call: {})

        run = run_tap(TapRest, {"connector": str(path), "url": api.url, "api_key": "key-of-mine"})

    assert str(run.error) == f"{path}:14: stream 'sales': the job has ended as 'EXPIRED'"
    assert api.calls[-1].method == "DELETE"
