"""`state: per_parent`: what it takes, and what it does."""

from pathlib import Path

import pytest

from icetap.testing.api import FakeApi
from icetap.testing.in_process import run_tap
from tap_rest.definition import define
from tap_rest.documents import parse_document
from tap_rest.linting import lint
from tap_rest.tap import TapRest

ORDERS = """\
version: 1
id: acme
base_url: "{config.url}"
parameters:
  url: {required: true}
streams:
  shops:
    primary_key: id
    request: {path: /shops}
    response: {records: "$[*]"}
    child_context: {shop_id: $.id}
  orders:
    primary_key: [shop_id, id]
    parent_stream: shops
    request: {path: "/shops/{shop_id}/orders"}
    response: {records: "$[*]"}
    incremental: {replication_key: at, start: {in: query, name: since}}
    state: per_parent
"""


def findings(text):
    return lint(define(parse_document(text, name="acme.yaml", folder=Path())))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(
            "    incremental: {replication_key: at, start: {in: query, name: since}}\n",
            "",
            "acme.yaml:17: `state: per_parent` is about bookmarks, and only `incremental` streams have some.",
            id="nothing to remember",
        ),
        pytest.param(
            '    parent_stream: shops\n    request: {path: "/shops/{shop_id}/orders"}\n',
            "    request: {path: /orders}\n",
            "acme.yaml:17: `state: per_parent` keeps a bookmark for each parent or partition, and the stream has neither.",
            id="no parent",
        ),
        pytest.param(
            "    primary_key: [shop_id, id]\n",
            "",
            "acme.yaml:17: `state: per_parent` asks for the records at each bookmark again",
            id="no key",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_with_its_line(old, new, expected):
    assert old in ORDERS
    assert findings(ORDERS) == []

    found = findings(ORDERS.replace(old, new))

    assert any(is_error and line.startswith(expected) for is_error, line in found), found


def test_each_parent_is_asked_from_its_own_bookmark_on(tmp_path):
    days = {"a": "2026-01-01T00:00:00Z", "b": "2026-02-02T00:00:00Z"}
    path = tmp_path / "acme.yaml"
    path.write_text(ORDERS)
    with FakeApi() as api:
        api.route("GET", "/shops", lambda call: [{"id": shop} for shop in days])
        api.route("GET", "/shops/{id}/orders", lambda call: [{"id": 1, "at": days[call.groups["id"]]}])
        config = {"connector": str(path), "url": api.url}
        first = run_tap(TapRest, config).good()
        days["c"] = "2025-05-05T00:00:00Z"
        api.calls.clear()

        again = run_tap(TapRest, config, state=first.state).good()

    asked = {
        call.path: call.param("since") for call in api.calls if call.path != "/shops" and call.param("since")
    }
    assert asked == {
        "/shops/a/orders": "2026-01-01T00:00:00Z",
        "/shops/b/orders": "2026-02-02T00:00:00Z",
    }
    assert [order["shop_id"] for order in again.records("orders")] == ["a", "b", "c"]
