"""Masks on streams of dict records, without a line in the tap."""

import json
from decimal import Decimal

import pytest
from singer_sdk import Stream
from singer_sdk import typing as th

from icetap.errors import ConfigurationError
from icetap.records.masks.values import KeyedHash
from icetap.records.tap import RecordTap
from icetap.testing.in_process import read

KEY = "pepper for tests"
EMAIL = "canary@example.com"
RECORD = {
    "id": 7,
    "email": EMAIL,
    "amount": Decimal("12.50"),
    "address": {"street": "Rua A", "zip": 123},
    "items": [{"sku": "ABC-12345"}, {"sku": None}],
    "extra": {"contact": {"email": EMAIL}, "n": 1},
    "seen_at": "2024-05-06T07:08:09+02:00",
}


class Orders(Stream):
    name = "orders"
    primary_keys = ("id",)
    schema = {  # noqa: RUF012 - the SDK declares it so
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "email": {"type": "string", "description": "Whose it is."},
            "amount": {"type": ["number", "null"]},
            "address": {
                "type": ["object", "null"],
                "properties": {"street": {"type": "string"}, "zip": {"type": "integer"}},
            },
            "items": {
                "type": "array",
                "items": {"type": "object", "properties": {"sku": {"type": ["string", "null"]}}},
            },
            "extra": {"type": ["object", "null"]},
            "seen_at": {"type": ["string", "null"], "format": "date-time"},
        },
        "required": ["id", "email"],
    }

    def get_records(self, context):
        yield RECORD | ({"email": context["email"]} if context else {})


class Regions(Orders):
    """One bookmark for each e-mail address."""

    name = "regions"
    partitions = [{"email": EMAIL}]  # noqa: RUF012


class TapOrders(RecordTap):
    name = "tap-orders"
    config_jsonschema = th.PropertiesList(th.Property("page_size", th.IntegerType)).to_dict()
    streams_made = (Orders,)

    def discover_streams(self):
        return [made(self) for made in self.streams_made]


def hashed(text):
    return KeyedHash(KEY).text(text.encode())


def tap_of(masks, *streams, **config):
    class Tap(TapOrders):
        streams_made = streams or (Orders,)

    return Tap(config={"masks": masks, "mask_key": KEY, **config})


@pytest.fixture
def sync():
    return lambda *given, **config: read(tap_of(*given, **config)).messages


def of(messages, kind):
    return [message for message in messages if message["type"] == kind]


def test_schema_and_records_are_masked(sync):
    masks = {
        "email": "hash",
        "address.street": "drop",
        "items[].sku": "partial",
        "extra.contact.*": "hash",
        "seen_at": "year",
    }

    messages = sync({"ord*": masks})

    properties = of(messages, "SCHEMA")[0]["schema"]["properties"]
    assert of(messages, "RECORD")[0]["record"] == {
        **RECORD,
        "email": hashed(EMAIL),
        "address": {"zip": 123},
        "items": [{"sku": "*****2345"}, {"sku": None}],
        "extra": {"contact": {"email": hashed(EMAIL)}, "n": 1},
        "seen_at": "2024-01-01T00:00:00.000000Z",
    }
    assert properties["email"] == {"type": "string", "description": "Whose it is."}
    assert list(properties["address"]["properties"]) == ["zip"]
    assert EMAIL not in json.dumps(messages, default=str)


def test_a_dropped_column_is_no_longer_required(sync):
    schema = of(sync({"orders": {"email": "drop", "amount": "redact"}}), "SCHEMA")[0]["schema"]

    assert schema["required"] == ["id"]
    assert "email" not in schema["properties"]


def test_stream_maps_and_flattening_see_masked_records(sync):
    messages = sync(
        {"orders": {"email": "hash", "address.street": "redact"}},
        stream_maps={"orders": {"copy": "email"}},
        flattening_enabled=True,
        flattening_max_depth=1,
    )

    record = of(messages, "RECORD")[0]["record"]
    assert (record["copy"], record["address__street"], record["address__zip"]) == (hashed(EMAIL), None, 123)
    assert EMAIL not in json.dumps(record["copy"])


def test_the_records_of_the_tap_itself_are_left_as_they_are(sync):
    sync({"orders": {"email": "hash", "items[].sku": "redact", "extra.contact.email": "drop"}})

    assert RECORD["email"] == EMAIL
    assert RECORD["items"][0] == {"sku": "ABC-12345"}
    assert RECORD["extra"]["contact"] == {"email": EMAIL}


def test_a_bookmark_by_what_a_mask_hides_is_refused_before_it_is_written():
    done = read(tap_of({"regions": {"email": "hash"}}, Regions), may_end_with=(ConfigurationError,))

    assert "keeps a bookmark for each 'email'" in str(done.error)
    assert EMAIL not in done.stdout


def test_personal_columns_are_masked_by_their_names(sync):
    messages = sync({"orders": {"address.*": "keep"}}, mask_new_personal_columns="redact")

    record = of(messages, "RECORD")[0]["record"]
    assert (record["email"], record["address"]) == (None, RECORD["address"])
    assert of(messages, "SCHEMA")[0]["schema"]["properties"]["email"]["type"] == ["string", "null"]


def test_a_preview_shows_masked_records():
    tap = TapOrders(config={"masks": {"orders": {"email": "hash", "amount": "drop"}}, "mask_key": KEY})

    shown = tap.preview("orders", sql=None, limit=1)

    assert shown["rows"][0]["email"] == hashed(EMAIL)
    assert "amount" not in [column["name"] for column in shown["columns"]]


def test_files_that_the_sdk_would_write_past_the_masks_are_refused(sync):
    batch_config = {"encoding": {"format": "jsonl"}, "storage": {"root": "file://batches"}}

    with pytest.raises(ConfigurationError, match="Remove 'batch_config'"):
        sync({"orders": {"email": "hash"}}, batch_config=batch_config)


def test_a_stream_of_which_nothing_is_left_is_refused(sync):
    class KeyLess(Orders):
        primary_keys = ()

    with pytest.raises(ConfigurationError, match="drops every column of stream 'orders'"):
        sync({"orders": {"*": "drop"}}, KeyLess)
