"""What is true of every tap of an HTTP API: found by itself, since its manifest asks for `icetap[rest]`.

Each trap of `icetap.testing.api` is set for all streams of a tap. The fake API is the one of the tap's own
`conformance_sample.py` (`Sample.api`); runs are made in this process, because there are many.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from typing_extensions import override

from icetap.errors import ConfigurationError, IcetapError
from icetap.testing.api import PAGE_TRAPS, TRAPS, FakeApi, Reply, Trap
from icetap.testing.in_process import TapRun, discover, run_tap, settings_findings, signals_kept
from icetap.testing.subject import SECRET_CANARY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from icetap.rest import ClientOptions
    from icetap.tap import IcetapTap
    from icetap.testing.api import Call
    from icetap.testing.subject import Subject

SLOW_TIMEOUT_SECONDS = 1
A_DAY = "86400"
PAGED_REQUESTS = 3
"""So many requests for each record are more than the smallest pages need, and fewer than an endless loop makes."""


class RestSubject:
    """A REST tap, its sample and its fake API."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.sample = subject.sample
        if self.sample.api is None:
            raise AssertionError(
                f"{subject.connector.name}: `make` of tests/conformance_sample.py gives no `api`, so no trap can be set"
            )
        self.api: FakeApi = self.sample.api
        self.tap_class: type[IcetapTap] = subject.plugin_class
        self.quick_class = quick(self.tap_class)
        self.catalog = discover(self.tap_class, self.sample.config)
        with signals_kept():
            tap: Any = self.tap_class(config=dict(self.sample.config), catalog=dict(self.catalog))
        self.is_renewable: bool = tap.client.auth.is_renewable

    def run(
        self, trap: Trap | None = None, *, state: Mapping[str, Any] | None = None, **settings: Any
    ) -> tuple[TapRun, list[Call]]:
        """Run over all streams with a trap set; return the run and the requests that it made."""
        before = len(self.api.calls)
        if trap is not None:
            # Counted from the run's first request.
            trap = replace(trap, on=[before + number for number in trap.on], spoiled=trap.spoiled)
        self.api.trap = trap
        try:
            done = run_tap(
                self.quick_class, {**self.sample.config, **settings}, catalog=self.catalog, state=state
            )
        finally:
            self.api.trap = None
        return done, self.api.calls[before:]


def quick(tap_class: type[Any]) -> type[IcetapTap]:
    """Return a tap that hardly waits before it repeats a request of its own accord; what servers ask for, it waits."""

    class Quick(tap_class):  # type: ignore[misc] # each of them is a RestTap
        @override
        def client_options(self) -> ClientOptions:
            options: ClientOptions = super().client_options()
            return replace(options, retry=replace(options.retry, first_wait=0.001))

    return Quick


_subjects: dict[str, RestSubject] = {}


@pytest.fixture
def rest(rest_tap: Subject) -> RestSubject:
    """Each REST tap."""
    name = rest_tap.connector.name
    if name not in _subjects:
        _subjects[name] = RestSubject(rest_tap)
    return _subjects[name]


def leaks(done: TapRun) -> Iterator[str]:
    for place, text in {"stdout": done.stdout, "the log": done.log}.items():
        if SECRET_CANARY in text:
            yield f"{place} holds a secret"


def lost_or_doubled(rest: RestSubject, done: TapRun) -> Iterator[str]:
    """What differs from the source, one sentence per stream."""
    for stream, wanted in rest.sample.rows.items():
        schema = next(message for message in done.of("SCHEMA") if message["stream"] == stream)
        keys = schema["key_properties"]
        found = Counter(tuple(record[key] for key in keys) for record in done.records(stream))
        doubled = sum(count - 1 for count in found.values())
        if len(found) != wanted or doubled:
            yield f"stream {stream}: {len(found)} of {wanted} records came, {doubled} of them twice"


def missing(rest: RestSubject, *runs: TapRun) -> Iterator[str]:
    """Which streams lack records after some runs, one sentence per stream."""
    for stream, wanted in rest.sample.rows.items():
        found = {
            tuple(message["record"][key] for key in keys)
            for run in runs
            for keys in [run.of("SCHEMA", stream)[0]["key_properties"] if run.of("SCHEMA", stream) else []]
            for message in run.of("RECORD", stream)
        }
        if len(found) != wanted:
            yield f"stream {stream}: {len(found)} of {wanted} records came"


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_costs_no_record_and_doubles_none(rest: RestSubject, name: str) -> None:
    trap = TRAPS[name]()
    slow: dict[str, Any] = {"timeout_seconds": SLOW_TIMEOUT_SECONDS} if name == "a slow answer" else {}

    done, calls = rest.run(trap, **slow)

    assert list(lost_or_doubled(rest, done.good())) == []
    assert trap.spoiled, "the trap was never reached"
    assert list(leaks(done)) == []
    # What may not be repeated blindly costs a question besides: whether it was started.
    assert len(calls) <= _plain_requests(rest) + 2 * len(trap.spoiled), (
        "more was asked than the trap explains"
    )


@pytest.mark.parametrize("name", PAGE_TRAPS)
def test_pages_that_go_wrong_cost_no_record(rest: RestSubject, name: str) -> None:
    """All records come; or the run says what is wrong, and the next one brings what is lacking."""
    assert name in rest.sample.page_traps, f"the sample has no `page_traps[{name!r}]`"

    with rest.sample.page_traps[name]() as settings:
        done, calls = rest.run(**settings)
    runs = [done]
    if done.error is not None:
        again, _ = rest.run(state=done.state, **settings)
        runs.append(again.good())

    assert list(missing(rest, *runs)) == []
    assert len(calls) <= _plain_requests(rest) + PAGED_REQUESTS * sum(rest.sample.rows.values())
    assert [finding for run in runs for finding in leaks(run)] == []


def _plain_requests(rest: RestSubject) -> int:
    assert rest.sample.requests is not None, "the sample does not say how many requests a run makes"
    return rest.sample.requests[0]


def test_a_second_run_asks_only_for_what_is_new(rest: RestSubject) -> None:
    assert rest.sample.requests is not None, "the sample does not say how many requests a run makes"

    first, asked_first = rest.run()
    _, asked_again = rest.run(state=first.good().state)

    assert (len(asked_first), len(asked_again)) == rest.sample.requests


def test_a_test_of_the_settings_asks_once_for_each_stream(rest: RestSubject) -> None:
    before = len(rest.api.calls)

    findings = settings_findings(rest.tap_class, rest.sample.config)

    assert [finding for is_good, finding in findings if not is_good] == []
    assert len(findings) == len(rest.sample.rows)
    assert len(rest.api.calls) - before <= len(findings)


def test_schemas_and_states_do_not_flood(rest: RestSubject) -> None:
    """One SCHEMA a stream, however many parents there are; STATEs by the stream, not by the record."""
    done, calls = rest.run()

    schemas = Counter(message["stream"] for message in done.good().of("SCHEMA"))
    assert set(schemas.values()) == {1}
    assert len(done.of("STATE")) <= 1 + len(schemas) + len(calls)


def test_credentials_do_not_follow_a_redirect_to_another_host(rest: RestSubject) -> None:
    with FakeApi() as stranger:
        stranger.route("*", ".*", lambda _: {})

        done, _ = rest.run(
            _always(lambda call: Reply(b"", status=302, headers={"Location": stranger.url + call.path}))
        )

        assert done.error is not None
        assert "127.0.0.1" in str(done.error)
        assert "allowed_hosts" in str(done.error)
        assert stranger.calls == []


def test_refused_credentials_fail_once_and_name_the_setting(rest: RestSubject) -> None:
    done, calls = rest.run(_always(lambda _: Reply({"error": "no"}, status=401)))

    assert isinstance(done.error, ConfigurationError)
    secrets = [name for name, schema in rest.subject.settings.items() if schema.get("secret")]
    named = [name for name in {*secrets, *rest.sample.config} if f"'{name}'" in str(done.error)]
    assert named, f"the message names no setting: {done.error}"
    assert len(calls) <= 4, "401 was asked for again and again"
    assert list(leaks(done)) == []


def test_a_token_that_expires_in_mid_run_is_renewed_where_it_can_be(rest: RestSubject) -> None:
    """A way to sign in that can renew itself costs no record; any other ends the run and names the setting."""
    trap = Trap(
        "an expired token", lambda _api, _call, _reply: Reply({"error": "expired"}, status=401), on=(2,)
    )

    done, _ = rest.run(trap)

    if rest.is_renewable:
        assert list(lost_or_doubled(rest, done.good())) == []
    else:
        assert isinstance(done.error, ConfigurationError)
    assert list(leaks(done)) == []


def test_a_stream_without_access_is_left_out_by_choice(rest: RestSubject) -> None:
    """Only the first path is refused; the rest of the tap is read."""
    first, calls = rest.run()
    assert first.error is None
    refused = calls[0].path

    done, _ = rest.run(
        _when(lambda call: call.path == refused, Reply({"error": "no"}, status=403)), on_no_access="skip"
    )

    if done.error is None:
        assert "is left out" in done.log
    else:
        assert "none of the selected streams" in str(done.error)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        pytest.param(Reply({"e": 1}, status=500), "status 500", id="500 for ever"),
        pytest.param(
            Reply(b"<html>maintenance</html>", media_type="text/html"), "an HTML page", id="HTML for ever"
        ),
    ],
)
def test_a_server_that_does_not_recover_ends_the_run(rest: RestSubject, reply: Reply, says: str) -> None:
    done, calls = rest.run(_always(lambda _: reply), max_retries=1)

    assert isinstance(done.error, IcetapError)
    assert says in str(done.error)
    assert done.error.exit_code == 1
    assert len(calls) <= 4
    assert done.state.get("bookmarks", {}) == {}, "a bookmark moved although nothing was read"


def test_a_wait_of_a_day_ends_the_run(rest: RestSubject) -> None:
    done, calls = rest.run(_always(lambda _: Reply(b"", status=429, headers={"Retry-After": A_DAY})))

    assert done.error is not None
    assert A_DAY in str(done.error)
    assert len(calls) == 1


def _always(answer: Callable[[Call], Reply]) -> Trap:
    return Trap("always", lambda _api, call, _reply: answer(call), always=True)


def _when(fits: Callable[[Call], bool], reply: Reply) -> Trap:
    return Trap(
        "sometimes", lambda _api, call, given: reply if fits(call) else given, always=True, is_before=False
    )
