"""Stripe loaded twice by Meltano, the second time only what changed; and once more with flat columns."""

import json
from pathlib import Path

import pytest

from icetap.connectors import connector_named, find_connectors
from icetap.testing.samples import load_sample
from icetap.testing.subject import SECRET_CANARY

from . import lake

SAMPLE = load_sample(connector_named("tap-stripe", find_connectors(Path(__file__).parent)))
CHARGES = 120


@pytest.fixture
def stripe():
    fake = SAMPLE.FakeStripe()
    for number in range(CHARGES):
        fake.put(
            "charge",
            f"ch_{number}",
            created=SAMPLE.START + number,
            amount=2000 + number,
            billing_details={"email": None, "name": "Ada", "address": {"city": "Graz"}},
            metadata={"order": str(number)},
        )
    fake.put("customer", "cus_1", created=SAMPLE.START, email="ada@example.org")
    fake.put("invoice", "in_1", created=SAMPLE.START)
    fake.give_children("invoice", "in_1", 25)
    yield fake
    fake.api.close()


def configured(project, stripe, **settings):
    selected = ["charges.*", "customers.*", "invoices.*", "invoice_line_items.*"]
    config = {
        "api_key": SECRET_CANARY,
        "base_url": stripe.api.url,
        "requests_per_second": 1000,
        **settings,
    }
    plugin = project.plugin("tap-stripe", config=config, capabilities=["catalog", "discover", "state"])
    return project.configure(
        target={"report_path": str(project.folder / "report.json")},
        extractors=[{**plugin, "select": selected}],
    )


def report(project):
    streams = json.loads((project.folder / "report.json").read_text())["streams"]
    return {stream["stream"]: stream for stream in streams}


def test_the_second_run_writes_only_what_changed_and_what_was_deleted(project, stripe):
    configured(project, stripe)
    project.run("tap-stripe", "target-iceberg")
    found = lake.query(
        project.warehouse, "charges", "SELECT id, amount, billing_details.address.city, metadata FROM t"
    )
    assert min(found) == ("ch_0", 2000, "Graz", '{"order":"0"}')
    assert len(found) == CHARGES
    assert len(lake.query(project.warehouse, "invoice_line_items")) == 25

    stripe.put("charge", "ch_7", event="charge.refunded", amount_refunded=5)
    stripe.put("charge", "ch_new", event="charge.succeeded", amount=1)
    stripe.delete("customer", "cus_1", event="customer.deleted")
    before = len(stripe.api.calls)
    project.run("tap-stripe", "target-iceberg")

    second = report(project)
    assert (second["charges"]["rows_updated"], second["charges"]["rows_inserted"]) == (1, 1)
    asked = [call.path for call in stripe.api.calls[before:] if call.path.startswith("/v1/charges")]
    assert asked == ["/v1/charges", "/v1/charges/ch_7"]
    deleted = lake.query(project.warehouse, "customers", "SELECT id FROM t WHERE _sdc_deleted_at IS NULL")
    assert deleted == []


def test_flattening_makes_columns_of_structs(project, stripe):
    configured(project, stripe, flattening_enabled=True, flattening_max_depth=2)
    project.run("tap-stripe", "target-iceberg")

    found = lake.query(project.warehouse, "charges", "SELECT DISTINCT billing_details__address__city FROM t")

    assert found == [("Graz",)]
