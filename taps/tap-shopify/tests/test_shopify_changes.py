"""A table follows a shop that changes while it is read; the long form loads Iceberg tables (tests/end_to_end)."""

from pathlib import Path

import pytest

from icetap.connectors import connector_named, find_connectors
from icetap.testing.api import followed
from icetap.testing.samples import load_sample
from tap_shopify.tap import TapShopify

SAMPLE = load_sample(connector_named("tap-shopify", find_connectors(Path(__file__).parent)))


@pytest.mark.parametrize(
    ("settings", "streams"),
    [
        pytest.param({"bulk_operations": "never"}, list(SAMPLE.MovingShop.STREAMS), id="pages"),
        pytest.param({"bulk_operations": "always"}, list(SAMPLE.MovingShop.STREAMS), id="bulk operations"),
        pytest.param({"api": "rest"}, ["orders"], id="REST"),
    ],
)
def test_a_table_equals_a_shop_that_changes_while_it_is_read(settings, streams):
    """Shopify's clock is behind, seconds are shared, the search is late, and half of the runs are killed."""
    source = SAMPLE.MovingShop(11)

    loaded = followed(TapShopify, source.settings(**settings), source.unrest, streams=streams, runs=10)

    for stream in streams:
        assert loaded.values(stream, *source.STREAMS[stream]) == source.expected(stream), stream
    source.fake.close()
