"""Servers that others made of Stripe's API.

stripe-mock, which Stripe makes, checks every parameter against its OpenAPI file, and answers in today's shape. localstripe keeps
objects and events, but refuses `created` in most lists: it shows pages and events, not windows.
"""

import json
import urllib.parse
import urllib.request

import pytest

from icetap.testing.in_process import discover, run_tap
from icetap.testing.servers import (
    accepts_connections,
    free_port,
    go_program,
    python_environment,
    real_server,
    started,
)
from tap_stripe.streams import STREAMS
from tap_stripe.tap import TapStripe

pytestmark = pytest.mark.servers

NAMES = [stream.name for stream in STREAMS]


@pytest.fixture(scope="module")
def stripe_mock(tmp_path_factory):
    with real_server("stripe-mock") as answers:
        program = go_program("github.com/stripe/stripe-mock", "v0.203.0")
        port = free_port()
        command = [str(program), "-http-port", str(port)]
        folder = tmp_path_factory.mktemp("stripe-mock")
        with started(command, answers=lambda: accepts_connections(port), folder=folder):
            answers("Go, v0.203.0")
            yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("hydrated", [True, False], ids=["asked for anew", "the event's copy"])
def test_every_request_is_one_that_stripe_knows(stripe_mock, hydrated):
    """The mock refuses unknown parameters with 400, and gives one object for each request."""
    config = {
        "api_key": "sk_test_12345",
        "base_url": stripe_mock,
        "requests_per_second": 1000,
        "hydrate_events": hydrated,
        "start_date": "2026-06-01T00:00:00Z",
    }
    catalog = discover(TapStripe, config)

    first = run_tap(TapStripe, config, catalog=catalog).good()
    second = run_tap(TapStripe, config, catalog=catalog, state=first.state).good()

    assert [name for name in NAMES if not first.records(name)] == []
    assert [name for name in NAMES if not second.records(name)] == []


@pytest.fixture(scope="module")
def localstripe(tmp_path_factory):
    with real_server("localstripe") as answers:
        python = python_environment("localstripe-1.15.10", ["localstripe==1.15.10"])
        port = free_port()
        command = [str(python.parent / "localstripe"), "--port", str(port), "--from-scratch"]
        folder = tmp_path_factory.mktemp("localstripe")
        with started(command, answers=lambda: accepts_connections(port), folder=folder):
            answers("wheel, 1.15.10")
            yield f"http://127.0.0.1:{port}"


def test_pages_and_events_of_a_server_that_keeps_objects(localstripe):
    made = set()
    for number in range(120):
        form = urllib.parse.urlencode({"email": f"ada{number}@example.org"}).encode()
        headers = {"Authorization": "Bearer sk_test_12345"}
        request = urllib.request.Request(f"{localstripe}/v1/customers", data=form, headers=headers)
        with urllib.request.urlopen(request) as answer:
            made.add(json.load(answer)["id"])
    config = {
        "api_key": "sk_test_12345",
        "base_url": localstripe,
        "requests_per_second": 1000,
        "streams": {"customers": {"replication_method": "FULL_TABLE"}},
    }
    catalog = discover(TapStripe, config)
    for entry in catalog["streams"]:
        for one in entry["metadata"]:
            one["metadata"]["selected"] = entry["tap_stream_id"] in {"customers", "events"}

    done = run_tap(TapStripe, config, catalog=catalog).good()

    assert {one["id"] for one in done.records("customers")} == made
    assert {one["data"]["object"]["id"] for one in done.records("events")} == made
