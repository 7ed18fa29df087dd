"""Streams that are read by jobs: created, asked after, fetched; called off or gone on with when a run ends early."""

import itertools
import json
import os
import signal
from dataclasses import replace
from datetime import timedelta

import pytest

from icetap.rest import (
    Asked,
    CursorPaging,
    Format,
    Incremental,
    Job,
    JobError,
    Next,
    UnreadableStreamError,
    body,
    query,
)
from icetap.testing.api import FakeApi, Reply

from .rest_tap import bookmark, read, tap_of, things

JOB = Job(
    id="$.id",
    poll=Asked(path="/jobs/{job.id}"),
    status="$.state",
    done=["READY"],
    failed=["ERROR"],
    every_seconds=0.01,
    urls="$.url",
    abort=Asked(path="/jobs/{job.id}", method="DELETE"),
)
EXPORT = {
    "path": "/jobs",
    "method": "POST",
    "body": {"kind": "things", "key": "{job.key}"},
    "job": JOB,
    "format": Format("jsonl", stream=True),
    "records_jsonpath": "$",
    "paging": None,
}
FOREVER = itertools.repeat("RUNNING")


class Exports:
    """An API with jobs, each of which goes through some states and ends with a file on another host."""

    def __init__(self, api, store, *, states=("QUEUED", "RUNNING", "READY"), rows=1001):
        self.api, self.states = api, states
        self.jobs = {}
        self.aborted = []
        self.result = b"".join(
            b'{"id": %d, "at": "2026-01-0%dT00:00:00Z"}\n' % (n, 1 + n % 9) for n in range(rows)
        )
        store.route("GET", "/files/{id}", lambda call: Reply(self.result, media_type="text/plain"))
        self.url = f"{store.url}/files/{{}}?signature=not-for-logs"
        api.route("POST", "/jobs", self.create)
        api.route("GET", "/jobs/{id}", self.state)
        api.route("DELETE", "/jobs/{id}", self.abort)

    def create(self, call):
        name = f"j{len(self.jobs) + 1}"
        self.jobs[name] = iter(self.states)
        return {"id": name}

    def state(self, call):
        name = call.groups["id"]
        state = next(self.jobs[name], "READY")
        return {"state": state, "url": self.url.format(name) if state == "READY" else None}

    def abort(self, call):
        self.aborted.append(call.groups["id"])
        return {}


@pytest.fixture
def api():
    with FakeApi() as server:
        yield server


@pytest.fixture
def store():
    with FakeApi() as server:
        server.url = server.url.replace("127.0.0.1", "localhost")
        yield server


def paths(api):
    return [f"{call.method} {call.path}" for call in api.calls]


def test_a_job_is_created_asked_after_and_its_result_fetched_without_the_credentials(api, store):
    Exports(api, store)

    run = read(api, things(**EXPORT), token="a-secret-token").good()

    assert len(run.records("things")) == 1001
    assert paths(api) == ["POST /jobs", *["GET /jobs/j1"] * 3]
    assert api.calls[0].json["kind"] == "things"
    assert len(api.calls[0].json["key"]) == 32
    assert all(call.headers["authorization"] == "Bearer a-secret-token" for call in api.calls)
    assert [call.headers.get("authorization") for call in store.calls] == [None]
    assert "not-for-logs" not in run.log.replace("urllib3", "")
    assert "jobs" not in bookmark(run)


def test_discovery_and_tests_begin_no_job(api, store):
    Exports(api, store)
    tap = tap_of(things(**EXPORT, properties=None))(config={"base_url": api.url})

    assert tap.catalog_dict["streams"][0]["schema"]["properties"] == {}
    assert list(tap.test_findings()) == [(True, "stream things: not asked for, since that would begin a job")]
    assert api.calls == []


def test_each_window_has_a_job_of_its_own(api, store):
    exports = Exports(api, store, states=("READY",), rows=1)
    windows = Incremental(
        replication_key="at",
        start=body("from"),
        end=body("until"),
        initial=(api.now() - timedelta(days=15)).isoformat(),
        window=timedelta(days=10),
    )

    read(api, things(**EXPORT, incremental=windows)).good()

    asked = [(call.json["from"], call.json.get("until")) for call in api.calls if call.method == "POST"]
    assert len(exports.jobs) == 2
    assert asked[0][1] == asked[1][0]
    assert asked[1][1] is None


@pytest.mark.parametrize(
    ("declared", "answer", "error", "says"),
    [
        pytest.param({}, {"state": "ERROR"}, JobError, "the job has ended as 'ERROR'", id="failed"),
        pytest.param(
            {"timeout_seconds": 0.05},
            {"state": "RUNNING"},
            JobError,
            "still 'RUNNING' after the 0.05 s",
            id="too long",
        ),
        pytest.param(
            {}, {"status": "READY"}, UnreadableStreamError, r"no status at '$.state'", id="no status"
        ),
        pytest.param(
            {"id": "$.name"},
            {"state": "READY"},
            UnreadableStreamError,
            r"no name of the job at '$.name'",
            id="no name",
        ),
        pytest.param(
            {},
            {"state": "READY"},
            UnreadableStreamError,
            r"no address of its result at '$.url'",
            id="no result",
        ),
    ],
)
def test_a_job_that_does_not_do_is_said_to(api, store, declared, answer, error, says):
    exports = Exports(api, store)
    api.route("GET", "/jobs/{id}", lambda call: answer)

    run = read(api, things(**{**EXPORT, "job": replace(JOB, **declared)}))

    assert isinstance(run.error, error)
    assert str(run.error).startswith("stream 'things': ")
    assert says in str(run.error)
    is_over = answer.get("state") == "READY"
    assert exports.aborted == ([] if is_over else ["j1"])


def test_a_result_that_is_null_has_no_records(api, store):
    Exports(api, store)
    api.route("GET", "/jobs/{id}", lambda call: {"state": "READY", "url": None})

    run = read(api, things(**EXPORT)).good()

    assert run.records("things") == []


def test_a_result_may_be_asked_for_by_name_and_in_pages(api, store):
    Exports(api, store, states=("READY",))
    api.route("GET", "/jobs/{id}", lambda call: {"state": "READY", "file": "f/7"})

    def page(call):
        assert call.groups["file"] == "f/7"
        return {"data": [{"id": 2}]} if call.param("after") else {"data": [{"id": 1}], "next": "x"}

    api.route("GET", "/jobs/j1/results/{file}", page)
    job = replace(JOB, urls=None, download=Asked(path="/jobs/{job.id}/results/{job.response.file}"))
    paging = CursorPaging(token=query("after"), next=Next(path="$.next"))
    declared = {**EXPORT, "job": job, "format": Format(), "paging": paging, "records_jsonpath": "$.data"}

    assert [record["id"] for record in read(api, things(**declared)).good().records("things")] == [1, 2]


def test_an_answer_that_is_lost_is_asked_for_again_with_the_same_key(api, store):
    exports = Exports(api, store)
    first = [True]

    def create(call):
        found = exports.create(call)
        return Reply(found, cut_after=1) if first and first.pop() else found

    api.route("POST", "/jobs", create)

    read(api, things(**EXPORT)).good()

    keys = [call.json["key"] for call in api.calls if call.method == "POST"]
    assert len(keys) == 2
    assert keys[0] == keys[1]


@pytest.mark.parametrize("abort", [True, False], ids=["called off", "no way to call it off"])
def test_a_run_that_is_stopped_calls_its_job_off(api, store, abort):
    exports = Exports(api, store, states=FOREVER)
    polls = []

    def state(call):
        polls.append(call)
        if len(polls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"state": "RUNNING"}

    api.route("GET", "/jobs/{id}", state)
    job = JOB if abort else replace(JOB, abort=None)

    with pytest.raises(BaseException) as stopped:
        read(api, things(**{**EXPORT, "job": job}), max_parallel=2)

    assert type(stopped.value).__name__ == "Interrupted"
    assert exports.aborted == (["j1"] if abort else [])


def test_a_preview_that_gives_up_calls_its_job_off(api, store):
    exports = Exports(api, store, states=FOREVER)
    tap = tap_of(things(**{**EXPORT, "job": replace(JOB, timeout_seconds=0.05)}))(
        config={"base_url": api.url}
    )

    with pytest.raises(JobError):
        tap.preview("things", sql=None, limit=1)

    assert exports.aborted == ["j1"]


def state_of_killed(run):
    """The state with the job that the run had created when it was killed."""
    states = [message["value"] for message in run.messages if message["type"] == "STATE"]
    noted = [state for state in states if state.get("bookmarks", {}).get("things", {}).get("jobs")]
    return json.loads(json.dumps(noted[0]))


def test_the_run_after_a_killed_one_goes_on_with_its_job(api, store):
    exports = Exports(api, store)
    state = state_of_killed(read(api, things(**EXPORT)).good())
    exports.jobs["j1"] = iter(["RUNNING", "READY"])

    again = read(api, things(**EXPORT), state=state).good()

    assert len(again.records("things")) == 1001
    assert list(exports.jobs) == ["j1"]
    assert "jobs" not in bookmark(again)


@pytest.mark.parametrize(
    ("answer", "declared"),
    [
        pytest.param(Reply({}, status=404), {}, id="gone"),
        pytest.param({"state": "ERROR"}, {}, id="failed"),
        pytest.param(None, {"path": "/jobs/"}, id="of another request"),
    ],
)
def test_a_job_of_a_killed_run_that_cannot_be_had_is_created_anew(api, store, answer, declared):
    exports = Exports(api, store)
    state = state_of_killed(read(api, things(**EXPORT)).good())
    if answer is not None:
        api.route("GET", "/jobs/j1", lambda call: answer)
    api.route("POST", "/jobs/", exports.create)

    again = read(api, things(**{**EXPORT, **declared}), state=state).good()

    assert len(again.records("things")) == 1001
    assert list(exports.jobs) == ["j1", "j2"]


def test_a_job_of_an_earlier_run_that_is_too_old_is_created_anew(api, store):
    exports = Exports(api, store)
    state = state_of_killed(read(api, things(**EXPORT)).good())
    for note in state["bookmarks"]["things"]["jobs"].values():
        note["created_at"] = (api.now() - timedelta(hours=2)).isoformat()

    read(api, things(**EXPORT), state=state).good()

    assert list(exports.jobs) == ["j1", "j2"]


def test_the_bookmark_of_a_job_that_was_gone_on_with_is_not_later_than_the_job(api, store):
    exports = Exports(api, store, rows=0)
    declared = {**EXPORT, "incremental": Incremental(start=body("from"))}
    state = state_of_killed(read(api, things(**declared)).good())
    (note,) = state["bookmarks"]["things"]["jobs"].values()
    note["as_of"] = (api.now() - timedelta(minutes=9)).isoformat()
    exports.jobs["j1"] = iter(["READY"])

    again = read(api, things(**declared), state=state).good()

    assert bookmark(again)["replication_key_value"][:16] == note["as_of"][:16]
