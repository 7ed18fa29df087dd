"""A shop loaded twice, the second time only what changed, and what was deleted leaves the table."""

import importlib.util
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from . import lake

ROOT = Path(__file__).parents[2]

_spec = importlib.util.spec_from_file_location(
    "shopify_fake", ROOT / "taps/tap-shopify/tests/conformance_sample.py"
)
fake = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fake)
SELECTED = ["orders.*", "products.*", "locations.*"]


@pytest.fixture
def shop():
    made = fake.Shop()
    made.roots["orders"] = [fake.order(i, seconds=i) for i in range(1, 41)]
    made.roots["products"] = [fake.product(i) for i in range(1, 4)]
    yield made
    made.close()


def configured(project, shop, **more):
    settings = fake.settings(shop, **more)
    plugin = project.plugin(
        "tap-shopify",
        config=settings,
        capabilities=["catalog", "discover", "state"],
        settings=[{"name": name} for name in settings],
    )
    return project.configure(
        target={"report_path": str(project.folder / "report.json")},
        extractors=[{**plugin, "select": SELECTED}],
    )


def test_a_shop_is_loaded_and_the_second_run_asks_for_and_writes_only_what_changed(project, shop):
    configured(project, shop)
    project.run("tap-shopify", "target-iceberg")
    sums = "SELECT id, CAST(total_price AS VARCHAR), line_items[1].sku, len(line_items) FROM t"
    found = {row[0]: row[1:] for row in lake.query(project.warehouse, "orders", sums)}
    assert len(found) == 40
    assert found[1] == ("120.50000000", None, 2)

    now = (datetime.now(UTC) - fake.START).total_seconds()
    shop.roots["orders"][2] = fake.order(3, seconds=now, total="7.25")
    shop.roots["products"].pop()
    event = {"id": "gid://shopify/BasicEvent/1", "action": "destroy", "createdAt": fake.at(now)}
    event |= {"subjectId": "gid://shopify/Product/3", "subjectType": "PRODUCT", "updatedAt": fake.at(now)}
    shop.roots["events"] = [event]
    before = len(shop.api.calls)
    project.run("tap-shopify", "target-iceberg")

    report = {
        each["stream"]: each for each in json.loads((project.folder / "report.json").read_text())["streams"]
    }
    assert (report["orders"]["rows_updated"], report["orders"]["rows_inserted"]) == (1, 0)
    # Scopes; deletions and one page of orders, the same of products; and locations, which cannot be filtered.
    assert len(shop.api.calls) - before == 6
    totals = dict(lake.query(project.warehouse, "orders", "SELECT id, CAST(total_price AS VARCHAR) FROM t"))
    assert (totals[3], len(totals)) == ("7.25000000", 40)
    assert sorted(lake.query(project.warehouse, "products", "SELECT id FROM t")) == [(1,), (2,)]


def test_flattening_makes_columns_of_structs(project, shop):
    configured(project, shop, flattening_enabled=True, flattening_max_depth=2)
    project.run("tap-shopify", "target-iceberg")

    columns = "total_price, total_price_set__shop_money__currency_code, line_items"
    found = lake.query(project.warehouse, "orders", f"SELECT DISTINCT {columns} FROM t WHERE id = 1")

    ((total, currency, lines),) = found
    assert (str(total), currency) == ("120.50000000", "EUR")
    assert '"sku":null' in lines, "lists stay whole, as JSON"
