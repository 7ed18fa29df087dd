"""The streams read like a table: short declarations, of which one more is a copy of five lines."""

import inspect
from pathlib import Path

import pytest

from icetap.connectors import connector_named, find_connectors
from icetap.testing.in_process import run_tap
from icetap.testing.samples import load_sample
from tap_stripe import streams
from tap_stripe.tap import TapStripe

SAMPLE = load_sample(connector_named("tap-stripe", find_connectors(Path(__file__).parent)))
MOST_LINES = 15
FIVE_LINES = """
class TaxCodes(StripeStream):
    name = "tax_codes"
    object_name = "tax_code"
    path = "/v1/tax_codes"
    incremental = None
"""


@pytest.mark.parametrize("stream", streams.STREAMS, ids=lambda stream: stream.name)
def test_a_declaration_is_short_and_has_its_columns(stream):
    lines = [line for line in inspect.getsource(stream).splitlines() if line.strip()]

    assert len(lines) <= MOST_LINES
    assert "id" in stream.properties


def test_five_lines_are_a_stream():
    """Its columns are found in a page of it; `python -m tap_stripe.columns` would declare them."""
    added = {}
    exec(FIVE_LINES, {"StripeStream": streams.StripeStream}, added)

    class WithOneMore(TapStripe):
        stream_types = (added["TaxCodes"],)

    fake = SAMPLE.FakeStripe()
    fake.serve("tax_code", "tax_codes")
    for number in range(3):
        fake.put("tax_code", f"txcd_{number}", name=f"Code {number}")

    done = run_tap(WithOneMore, SAMPLE.settings(fake)).good()

    assert [record["name"] for record in done.records("tax_codes")] == ["Code 2", "Code 1", "Code 0"]
    assert done.schema("tax_codes")["name"]["type"] == ["string", "null"]
    fake.api.close()
