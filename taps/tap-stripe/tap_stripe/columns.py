"""Columns from the vendor's OpenAPI file: `python -m tap_stripe.columns spec3.json` writes `schemas/` anew.

The file is https://github.com/stripe/openapi (MIT licence); `schemas/` are of version 2026-08-26.dahlia, read 2026-11-21.
Times are date-times, amounts integers in the currency's smallest unit, decimals texts with all of their digits. An object
keeps its fields down to the second level; deeper ones, and those whose fields depend on the account's data, stay JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

OBJECTS = (
    "application_fee",
    "balance_transaction",
    "charge",
    "checkout.session",
    "coupon",
    "credit_note",
    "credit_note_line_item",
    "customer",
    "dispute",
    "event",
    "file",
    "file_link",
    "invoice",
    "invoice_payment",
    "invoiceitem",
    "item",
    "line_item",
    "payment_intent",
    "payout",
    "plan",
    "price",
    "product",
    "promotion_code",
    "radar.early_fraud_warning",
    "refund",
    "review",
    "setup_intent",
    "shipping_rate",
    "subscription",
    "subscription_item",
    "subscription_schedule",
    "tax_rate",
    "topup",
    "transfer",
    "transfer_reversal",
    "account",
)
MAX_FIELDS = 40
"""An object of more fields stays JSON, as those do that have a part for each way of paying."""

_MAX_LEVEL = 2
_NULL = "null"


def columns(name: str, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of an object's records, `id` not null."""
    found = {
        field: _column(given, schemas, level=1)
        for field, given in sorted(schemas[name]["properties"].items())
    }
    # Fields that a key does not always see are left out by the API, so only the key is sure to come.
    return {"properties": {**found, "id": {"type": "string"}}}


def _column(given: dict[str, Any], schemas: dict[str, Any], *, level: int) -> dict[str, Any]:
    if "x-expansionResources" in given:
        return {"type": ["string", _NULL]}
    if "$ref" in given:
        return _column(schemas[given["$ref"].rpartition("/")[2]], schemas, level=level)
    if "anyOf" in given:
        choices = [one for one in given["anyOf"] if one.get("enum") != [""]]
        return _column(choices[0], schemas, level=level) if len(choices) == 1 else {}
    kind = given.get("type")
    if kind == "object":
        return _object(given, schemas, level=level)
    if kind == "array":
        items = _column(given["items"], schemas, level=level + 1)
        return {"type": ["array", _NULL], "items": items} if items else {"type": ["array", _NULL]}
    if given.get("format") == "unix-time":
        return {"type": ["string", _NULL], "format": "date-time"}
    return {"type": [kind, _NULL]} if kind else {}


def _object(given: dict[str, Any], schemas: dict[str, Any], *, level: int) -> dict[str, Any]:
    fields = given.get("properties") or {}
    is_list = {"data", "has_more", "url"} <= set(fields)
    if is_list or not fields or level > _MAX_LEVEL or len(fields) > MAX_FIELDS:
        return {"type": ["object", _NULL]}
    inner = {name: _column(one, schemas, level=level + 1) for name, one in sorted(fields.items())}
    return {"type": ["object", _NULL], "properties": inner}


def write(spec: Path, folder: Path) -> None:
    """Write one file for each object, one column a line."""
    schemas = json.loads(spec.read_text("utf-8"))["components"]["schemas"]
    for name in OBJECTS:
        found = columns(name, schemas)["properties"]
        lines = ",\n".join(f"{json.dumps(field)}: {json.dumps(schema)}" for field, schema in found.items())
        (folder / f"{name}.json").write_text('{"properties": {\n' + lines + "\n}}\n", "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(__file__).parent / "schemas")
