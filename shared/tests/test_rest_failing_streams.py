"""A stream that cannot be read: the others are, and the run fails at its end; what concerns all ends it at once."""

import pytest

from icetap.errors import SkippableError
from icetap.rest import CredentialsError, NoPaging, PassingFaultError, PatienceError, RefusedRequestError
from icetap.testing.api import FakeApi, Reply

from .rest_tap import SINCE, read, tap_of, things

PATHS = ("alphas", "betas", "gammas")


@pytest.fixture
def api():
    with FakeApi() as server:
        for path in PATHS:
            server.route("GET", f"/{path}", lambda call: {"data": [{"id": 1, "at": "2026-01-01T00:00:00Z"}]})
        yield server


@pytest.fixture
def tap():
    streams = [things(NoPaging(), name=name, path=f"/{name}", incremental=SINCE) for name in PATHS]
    return tap_of(*streams)


def refuse(api, *paths, reply):
    for path in paths:
        api.route("GET", f"/{path}", lambda call: reply)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        pytest.param(Reply({}, status=404), "status 404", id="404"),
        pytest.param(Reply({}, status=403), "status 403", id="no right to it"),
        pytest.param(Reply({}, status=500), "status 500", id="500 for ever"),
        pytest.param(Reply({"items": [{"id": 1}]}), "records at '$.items[*]'", id="records elsewhere"),
        pytest.param(Reply({"data": [{"id": 1, "at": "soon"}]}), "replication key", id="an unreadable time"),
        pytest.param(
            Reply({}, status=302, headers={"Location": "https://elsewhere.example"}),
            "allowed_hosts",
            id="another host",
        ),
    ],
)
def test_the_others_are_read_and_the_run_fails_at_its_end(api, tap, reply, says):
    refuse(api, "betas", reply=reply)

    run = read(api, tap=tap, max_retries=0)

    assert len(run.records("alphas")) == len(run.records("gammas")) == 1
    assert isinstance(run.error, SkippableError)
    assert str(run.error).startswith("1 stream could not be read, the others were: stream 'betas': ")
    assert says in str(run.error)
    assert set(run.state["bookmarks"]) == {"alphas", "gammas"}


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        pytest.param(Reply({}, status=401), CredentialsError, id="refused credentials"),
        pytest.param(
            Reply({}, status=429, headers={"Retry-After": "9999"}), PatienceError, id="a wait of hours"
        ),
    ],
)
def test_what_concerns_the_whole_source_ends_the_run_at_once(api, tap, reply, error):
    refuse(api, "betas", reply=reply)

    run = read(api, tap=tap, max_retries=0)

    assert isinstance(run.error, error)
    assert [call.path for call in api.calls] == ["/alphas", "/betas"]


def test_a_second_stream_with_a_fault_that_does_not_pass_ends_the_run(api, tap):
    refuse(api, *PATHS, reply=Reply({}, status=503))

    run = read(api, tap=tap, max_retries=0)

    assert isinstance(run.error, PassingFaultError)
    assert [call.path for call in api.calls] == ["/alphas", "/betas"]


def test_the_only_stream_of_a_run_ends_it_with_its_own_error(api):
    refuse(api, "alphas", reply=Reply({}, status=404))

    run = read(api, things(NoPaging(), path="/alphas"))

    assert isinstance(run.error, RefusedRequestError)


def test_a_stream_that_cannot_be_sampled_does_not_keep_the_others_from_being_read(api):
    refuse(api, "alphas", reply=Reply({}, status=404))
    streams = [
        things(NoPaging(), name=name, path=f"/{name}", properties=None) for name in ("alphas", "betas")
    ]

    run = read(api, *streams)

    assert len(run.records("betas")) == 1
    assert "1 stream could not be read" in str(run.error)


def test_children_of_a_stream_that_cannot_be_read_are_named_with_it(api):
    refuse(api, "alphas", reply=Reply({}, status=404))
    parent = things(NoPaging(), name="alphas", path="/alphas", child_context={"alpha_id": "$.id"})
    child = things(NoPaging(), name="parts", path="/alphas/{alpha_id}/parts", parent="alphas")

    run = read(api, tap=tap_of(parent, child, things(NoPaging(), name="betas", path="/betas")))

    assert len(run.records("betas")) == 1
    assert "2 streams could not be read" in str(run.error)
    assert "'parts': it is read with 'alphas'" in str(run.error)
