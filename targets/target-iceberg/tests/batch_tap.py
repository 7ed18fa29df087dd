"""A tap of the Singer SDK as anybody would write it, whose BATCH files the SDK's own writers make."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from singer_sdk import Stream, Tap
from singer_sdk import typing as th

if TYPE_CHECKING:
    from collections.abc import Iterable

UTC = dt.UTC
EXACT = {"type": ["null", "number"], "x-sql-datatype": "decimal", "x-sql-datatype-properties": {"precision": 20, "scale": 4}}  # fmt: skip


class Orders(Stream):
    """As many rows as the setting says, with a value of each kind that taps have."""

    name = "orders"
    primary_keys = ("id",)
    replication_key = "at"
    is_sorted = True
    schema = {  # noqa: RUF012 - the SDK declares it so
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "at": {"type": "string", "format": "date-time"},
            "name": {"type": ["null", "string"]},
            "amount": EXACT,
            "ratio": {"type": ["null", "number"]},
            "day": {"type": ["null", "string"], "format": "date"},
            "paid": {"type": ["null", "boolean"]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "address": {"type": ["null", "object"], "properties": {"zip": {"type": "string"}}},
            "extra": {"type": ["null", "object"]},
        },
    }

    def get_records(self, context: Any) -> Iterable[dict[str, Any]]:
        """Yield rows as Python values, as taps do."""
        for number in range(1, self.config["rows"] + 1):
            moment = dt.datetime(2024, 1, 1, tzinfo=UTC) + dt.timedelta(seconds=number, microseconds=number)
            yield {
                "id": number,
                "at": moment.isoformat(),
                "name": None if number % 5 == 0 else f"ñ “{number}”\n",
                "amount": float(Decimal(number) / 4),
                "ratio": number / 3,
                "day": f"2024-02-{number % 28 + 1:02}",
                "paid": number % 2 == 0,
                "tags": ["a"] * (number % 3),
                "address": {"zip": f"{number:05}"} if number % 2 else None,
                "extra": {"n": number, "deep": {"list": [number, 0.5]}},
            }


class BatchTap(Tap):
    """Sends RECORDs, or BATCH messages where `batch_config` is set."""

    name = "tap-batches"
    config_jsonschema = th.PropertiesList(th.Property("rows", th.IntegerType, default=10)).to_dict()

    def discover_streams(self) -> list[Stream]:
        """There is one."""
        return [Orders(self)]


if __name__ == "__main__":
    BatchTap.cli()
