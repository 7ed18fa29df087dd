"""The three worked examples, each against a fake of its API."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from icetap.testing.api import FakeApi, Reply, Table
from icetap.testing.api.tables import by_cursor
from icetap.testing.in_process import run_tap
from tap_rest.tap import TapRest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def api():
    with FakeApi() as server:
        yield server


def example(name, api, folder, *, base_url):
    """An example, led to the fake instead of the vendor."""
    text = (EXAMPLES / f"{name}.yaml").read_text()
    assert base_url in text
    path = folder / f"{name}.yaml"
    path.write_text(text.replace(base_url, api.url))
    (folder / "schemas").mkdir(exist_ok=True)
    for schema in (EXAMPLES / "schemas").glob("*.json"):
        (folder / "schemas" / schema.name).write_bytes(schema.read_bytes())
    return str(path)


def test_aircall_reads_pages_and_asks_for_what_is_new_with_an_hour_of_lookback(api, tmp_path):
    calls = Table(
        (
            {"id": n, "direction": "in", "started_at": 1767225600 + n, "duration": n, "user": {"id": 1}}
            for n in range(120)
        ),
        order="started_at",
    )

    def listed(call):
        keep = calls.since(call, param="from", field="started_at", of=int)
        return {"calls": calls.page(int(call.param("page")), int(call.param("per_page")), keep)}

    api.route("GET", "/calls", listed)
    api.route(
        "GET",
        "/users",
        lambda call: {"users": [{"id": 1, "name": "Ada"}] if call.param("page") == "1" else []},
    )
    config = {
        "connector": example("aircall", api, tmp_path, base_url="https://api.aircall.io/v1"),
        "api_id": "id",
        "api_token": "token-of-mine",
    }

    run = run_tap(TapRest, config).good()
    before = len(api.calls)
    calls.put({"id": 120, "direction": "out", "started_at": 1767225900, "duration": 1, "user": None})
    again = run_tap(TapRest, config, state=run.state).good()

    assert len(run.records("calls")) == 120
    assert run.records("calls")[0]["started_at"] == "2026-01-01T00:00:00Z"
    assert run.records("users") == [{"id": 1, "name": "Ada"}]
    first = next(call for call in api.calls if call.path == "/calls")
    assert dict(first.params) == {"order": ["asc"], "page": ["1"], "per_page": ["50"], "from": ["1704067200"]}
    assert first.headers["authorization"].startswith("Basic ")
    asked = next(call for call in api.calls[before:] if call.path == "/calls")
    assert asked.param("from") == str(1767225600 + 119 - 3600)
    assert len(again.records("calls")) == 121


def test_chargebee_goes_on_from_the_offset_that_the_api_says(api, tmp_path):
    rows = [
        {
            "subscription": {"id": f"s{n}", "status": "active", "mrr": n, "updated_at": 1767225600 + n},
            "customer": {"id": n},
        }
        for n in range(5)
    ]

    def listed(call):
        start = {"0": 0, '["x",2]': 2, '["x",4]': 4}[call.param("offset")]
        page = {"list": rows[start : start + 2]}
        return {**page, "next_offset": f'["x",{start + 2}]'} if start + 2 < len(rows) else page

    api.route("GET", "/subscriptions", listed)
    connector = example(
        "chargebee-like", api, tmp_path, base_url="https://{config.site}.chargebee.com/api/v2"
    )

    run = run_tap(TapRest, {"connector": connector, "site": "acme", "api_key": "key-of-mine"}).good()

    assert [record["id"] for record in run.records("subscriptions")] == ["s0", "s1", "s2", "s3", "s4"]
    assert "status[is]" not in api.calls[0].params, "a parameter without a value is left out"
    assert run.state["bookmarks"]["subscriptions"]["replication_key_value"] == "2026-01-01T00:00:04.000000Z"


class Clinic:
    """Clients of two regions behind a cursor, their forms behind links, and a search by POST in windows."""

    def __init__(self, api):
        self.api = api
        self.throttled = 1
        self.searched = []
        self.found = Table({"id": n, "updated_at": at(days=n)} for n in range(0, 100, 10))
        api.route("GET", "/clients", self.clients)
        api.route("GET", "/clients/{id}/medical-forms", self.forms)
        api.route("POST", "/search", self.search)

    def clients(self, call):
        region = call.param("region")
        rows = [{"id": f"{region}/{n}", "clinic": {"code": region.upper()}} for n in range(3)]
        found, more = by_cursor(rows, after=call.param("starting_after") or None, size=2)
        return {"data": found, "has_more": more}

    def forms(self, call):
        client = call.groups["id"]
        if client == "us/2":
            return Reply({"error": {"code": "GONE"}}, status=404)
        if self.throttled:
            self.throttled -= 1
            return {"error": {"code": "THROTTLED"}}
        if call.param("p") == "2":
            return {
                "items": [{"id": 3, "status": "signed"}],
                "links": {"next": None},
                "meta": {"generated_at": "noon"},
            }
        items = [{"id": 1, "status": "signed", "pdf_base64": "…"}, {"id": 2, "status": "draft"}]
        return {
            "items": items,
            "links": {"next": f"{call.path.replace('us/', 'us%2F').replace('eu/', 'eu%2F')}?p=2"},
            "meta": {"generated_at": "noon"},
        }

    def search(self, call):
        body = call.json
        self.searched.append((body["query"], body.get("until"), body["paging"]["offset"]))
        start = body["query"].removeprefix("updated_at >= ")
        found = self.found.rows(
            lambda row: row["updated_at"] >= start and row["updated_at"] < body.get("until", "9")
        )
        offset = body["paging"]["offset"]
        return {"hits": [{"_source": row} for row in found[offset : offset + 2]], "total": len(found)}


def at(**ago):
    return (datetime(2026, 11, 1, tzinfo=UTC) - timedelta(**ago)).isoformat().replace("+00:00", "Z")


def test_the_clinic_reads_partitions_parents_links_and_a_search_in_windows(api, tmp_path):
    clinic = Clinic(api)
    connector = example("clinic", api, tmp_path, base_url="{config.base_url}")

    run = run_tap(TapRest, {"connector": connector, "api_key": "key-of-mine", "base_url": "unused://"}).good()

    assert [record["id"] for record in run.records("clients")] == [
        "us/0",
        "us/1",
        "us/2",
        "eu/0",
        "eu/1",
        "eu/2",
    ]
    forms = run.records("medical_forms")
    assert len(forms) == 10
    assert forms[0] == {"client_id": "us/0", "clinic": "US", "id": 1, "status": "signed", "as_of": "noon"}
    assert "Stream medical_forms: 1 parts skipped: the client is gone" in run.log
    assert api.calls[0].headers["x-api-key"] == "key-of-mine"
    assert len(run.records("search")) == 10
    assert {offset for *_, offset in clinic.searched} == {0, 2}
    untils = [until for _, until, offset in clinic.searched if offset == 0]
    assert untils[-1] is None, "the last window is open"
    assert len(untils) > 80, "2020 until today in windows of 30 days"
    assert run.state["bookmarks"]["search"]["replication_key_value"] == "2026-11-01T00:00:00.000000Z"
