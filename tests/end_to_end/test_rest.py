"""One YAML file is one Meltano plug-in: an API loaded twice, the second time only what changed."""

import json
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from icetap.testing.api import FakeApi, Reply, Table

from . import lake
from .pipes import BIN

CONNECTOR = """
version: 1
id: shop
base_url: "{config.base_url}"
parameters:
  base_url: {required: true}
  api_key: {required: true, secret: true}
auth: {type: api_key, in: header, name: X-Key, value: "{config.api_key}"}
streams:
  orders:
    primary_key: id
    request: {path: /orders}
    response: {records: "$.data[*]"}
    pagination: {type: page, page: {in: query, name: page}, size: {in: query, name: size, value: 40}}
    incremental: {replication_key: updated_at, order: asc, start: {in: query, name: since}}
    child_context: {order_id: $.id}
    schema:
      properties:
        id: {type: integer}
        total: {type: ["number", "null"], x-sql-datatype: decimal, x-sql-datatype-properties: {precision: 12, scale: 2}}
        customer: {type: [object, "null"], properties: {name: {type: [string, "null"]}, vip: {type: [boolean, "null"]}}}
        raw: {type: [object, "null"]}
        updated_at: {type: string, format: date-time}
  lines:
    parent_stream: orders
    follow_parent: true
    primary_key: [order_id, id]
    request: {path: "/orders/{order_id}/lines"}
    pagination: {type: none}
    schema: infer
"""
START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds):
    return (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def order(number, *, total=None, seconds=None):
    return {
        "id": number,
        "total": total or f"{number}.10",
        "customer": {"name": f"Ada {number}", "vip": number % 2 == 0},
        "raw": {"n": number},
        "updated_at": at(number if seconds is None else seconds),
    }


@pytest.fixture
def shop():
    with FakeApi() as api:
        orders = Table((order(number) for number in range(100)), order="updated_at")

        def listed(call):
            keep = orders.since(call, param="since", field="updated_at")
            page = orders.page(int(call.param("page")), int(call.param("size")), keep)
            # As text, so that no float of the test's own takes digits away.
            text = json.dumps({"data": page})
            for record in page:
                text = text.replace(json.dumps(record["total"]), record["total"], 1)
            return Reply(text.encode())

        api.route("GET", "/orders", listed)
        api.route("GET", "/orders/{id}/lines", lambda call: [{"id": 1, "sku": f"sku {call.groups['id']}"}])
        api.orders = orders
        yield api


def configured(project, shop, **settings):
    path = project.folder / "shop.yaml"
    path.write_text(CONNECTOR)
    printed = subprocess.run(
        [BIN / "tap-rest", "meltano", path], capture_output=True, text=True, check=True
    ).stdout
    (plugin,) = yaml.safe_load(printed)
    plugin["config"] |= {"base_url": shop.url, "api_key": "key/1", **settings}
    base = project.plugin(
        "tap-rest", capabilities=["catalog", "discover", "state"], settings=[{"name": "connector"}]
    )
    return project.configure(
        target={"report_path": str(project.folder / "report.json")}, extractors=[base, plugin]
    )


def report(project):
    streams = json.loads((project.folder / "report.json").read_text())["streams"]
    return {stream["stream"]: stream for stream in streams}


def test_an_api_is_loaded_and_the_second_run_asks_for_and_writes_only_what_changed(project, shop):
    configured(project, shop)
    project.run("tap-shop", "target-iceberg")

    found = lake.query(
        project.warehouse, "orders", "SELECT id, CAST(total AS VARCHAR), customer.name, raw FROM t"
    )
    assert sorted(found)[:2] == [(0, "0.10", "Ada 0", '{"n":0}'), (1, "1.10", "Ada 1", '{"n":1}')]
    assert len(found) == 100
    assert len(lake.query(project.warehouse, "lines")) == 100

    shop.orders.put(order(3, total="7.25", seconds=200))
    shop.orders.put(order(100, seconds=201))
    before = len(shop.calls)
    project.run("tap-shop", "target-iceberg")

    second = report(project)
    assert (second["orders"]["rows_updated"], second["orders"]["rows_inserted"]) == (1, 1)
    assert second["lines"]["rows_inserted"] == 1
    totals = dict(lake.query(project.warehouse, "orders", "SELECT id, CAST(total AS VARCHAR) FROM t"))
    assert (totals[3], totals[100], len(totals)) == ("7.25", "100.10", 101)
    asked = [call.path for call in shop.calls[before:] if call.path.endswith("/lines")]
    # Besides what changed: the record at the bookmark, and the sample of Meltano's discovery.
    assert set(asked) <= {f"/orders/{number}/lines" for number in (3, 100, 99, 0)}
