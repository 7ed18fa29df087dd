"""A table follows an account that changes while it is read; the long form loads Iceberg tables (tests/end_to_end)."""

from pathlib import Path

import pytest

from icetap.connectors import connector_named, find_connectors
from icetap.testing.api import followed
from icetap.testing.samples import load_sample
from tap_stripe.tap import TapStripe

SAMPLE = load_sample(connector_named("tap-stripe", find_connectors(Path(__file__).parent)))


@pytest.mark.parametrize("hydrated", [True, False], ids=["asked for anew", "the event's copy"])
def test_a_table_equals_an_account_that_changes_while_it_is_read(hydrated):
    """Stripe's clock is behind, seconds are shared, events come late or never, and half of the runs are killed."""
    source = SAMPLE.MovingAccount(11)
    config = {**SAMPLE.settings(source.fake), "hydrate_events": hydrated}

    loaded = followed(TapStripe, config, source.unrest, streams=source.STREAMS, runs=10)

    for stream, columns in source.STREAMS.items():
        assert loaded.values(stream, *columns) == source.expected(stream), stream
    source.fake.api.close()
