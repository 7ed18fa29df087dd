"""The streams read like a table: short declarations, of which one more is a copy of five lines."""

import inspect
from pathlib import Path

import pytest

from icetap.connectors import connector_named, find_connectors
from icetap.testing.in_process import run_tap
from icetap.testing.samples import load_sample
from tap_shopify import legacy_streams, streams
from tap_shopify.tap import TapShopify

SAMPLE = load_sample(connector_named("tap-shopify", find_connectors(Path(__file__).parent)))
MOST_LINES = 15
FIVE_LINES = """
class DraftOrderMetafields(ShopifyStream):
    name = "draft_order_metafields"
    root = "draftOrders"
    object_name = "MetafieldOwnerRef"
    each, owner = "metafields", "draft_order"
    scope_name = "read_draft_orders"
"""


@pytest.mark.parametrize(
    "stream",
    [*streams.STREAMS, *legacy_streams.STREAMS],
    ids=lambda stream: f"{stream.__module__[12:]}.{stream.name}",
)
def test_a_declaration_is_short_and_has_its_key_and_its_cursor_among_its_columns(stream):
    lines = [line for line in inspect.getsource(stream).splitlines() if line.strip()]

    assert len(lines) <= MOST_LINES
    assert set(stream.primary_keys) <= set(stream.properties)
    if stream.incremental:
        assert stream.properties[stream.incremental.replication_key]["format"] == "date-time"


@pytest.mark.parametrize("bulk", ["always", "never"])
def test_five_lines_are_a_stream(bulk):
    added = {}
    exec(FIVE_LINES, {"ShopifyStream": streams.ShopifyStream}, added)

    class WithOneMore(TapShopify):
        def declared_streams(self):
            return [added["DraftOrderMetafields"](self)]

    shop = SAMPLE.Shop()
    field = {"id": SAMPLE.gid("Metafield", 5), "key": "care", "value": "cold"}
    shop.roots["draftOrders"] = [
        {"id": SAMPLE.gid("DraftOrder", 1), "updatedAt": SAMPLE.at(0), "metafields": [field]}
    ]

    done = run_tap(WithOneMore, SAMPLE.settings(shop, bulk_operations=bulk)).good()

    (record,) = done.records("draft_order_metafields")
    assert (record["id"], record["draft_order_id"], record["value"]) == (5, 1, "cold")
    shop.close()
