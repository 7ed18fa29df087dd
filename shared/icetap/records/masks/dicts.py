"""Masks on dict records and on the JSON Schema of their stream."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from icetap.records.masks.documents import DROPPED, document_bytes, json_text, masked_document, masked_value
from icetap.records.masks.plan import ELEMENT, VALUE, Node, Plan
from icetap.records.masks.rules import Mask
from icetap.records.masks.values import (
    KeyedHash,
    arrow_value,
    first_of_year,
    hash_bytes,
    instant_text,
    partial,
    plain_text,
)
from icetap.types import kind_of

JSON_TEXT = b"icetap.json_text"
"""Metadata of a column whose JSON documents are texts in a record already, not objects."""

# --- records ----------------------------------------------------------------------------------------


def masked_record(record: Mapping[str, Any], plan: Plan, schema: pa.Schema) -> dict[str, Any]:
    """Return a record with its masks applied; the given one is left as it is.

    Args:
        record: Values as JSON has them, or dates and decimals as Python does.
        plan: What happens to its columns.
        schema: The columns as they are before masking.
    """
    masked = dict(record)
    for name, node in plan.columns.items():
        if name not in masked:
            continue
        value = _masked(masked[name], schema.field(name), node, plan.hashed)
        if value is DROPPED:
            del masked[name]
        else:
            masked[name] = value
    return masked


def _masked(value: Any, column: pa.Field, node: Node, hashed: KeyedHash | None) -> Any:
    if node.mask is Mask.DROP:
        return DROPPED
    if node.mask is Mask.REDACT or value is None:
        return None
    if node.mask is not None:
        return _masked_scalar(value, column, node.mask, hashed)
    if node.document is not None:
        if _is_json_text(value, column):
            return masked_document(value, node.document, hashed)
        found = masked_value(value, node.document, node.document.path, hashed)
        return None if found is DROPPED else found
    return _nested(value, column, node, hashed)


def _masked_scalar(value: Any, column: pa.Field, mask: Mask, hashed: KeyedHash | None) -> Any:
    if mask is Mask.YEAR:
        return _year(value, column)
    if kind_of(column) == "json":
        data = document_bytes(value if _is_json_text(value, column) else json_text(value))
    else:
        typed = arrow_value(value, column)
        if mask is Mask.PARTIAL:
            return partial(plain_text(typed))
        data = hash_bytes(typed)
    if hashed is None:
        raise TypeError("a hash without its key")  # the settings were checked for it
    return hashed.text(data)


def _is_json_text(value: Any, column: pa.Field) -> bool:
    return isinstance(value, str) and JSON_TEXT in (column.metadata or {})


def _year(value: Any, column: pa.Field) -> str | None:
    typed = arrow_value(value, column) if isinstance(value, str) else value
    if not isinstance(typed, dt.date):
        return None  # what is no date cannot be cut, and must not be told
    cut = first_of_year(typed)
    return instant_text(cut) if isinstance(cut, dt.datetime) else cut.isoformat()


def _nested(value: Any, column: pa.Field, node: Node, hashed: KeyedHash | None) -> Any:
    """Mask the parts of an object or an array; null for a value of another shape, of which nothing is known."""
    kind = column.type
    if pa.types.is_list(kind):
        if not isinstance(value, list):
            return None
        return [_masked(each, kind.value_field, node.parts[ELEMENT], hashed) for each in value]
    if not isinstance(value, Mapping):
        return None
    if pa.types.is_map(kind):
        part = node.parts[VALUE]
        return {name: _masked(child, kind.item_field, part, hashed) for name, child in value.items()}
    masked = dict(value)
    for name, part in node.parts.items():
        if name not in masked:
            continue
        found = _masked(masked[name], kind.field(name), part, hashed)
        if found is DROPPED:
            del masked[name]
        else:
            masked[name] = found
    return masked


# --- the schema -------------------------------------------------------------------------------------


def masked_jsonschema(schema: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """Return a stream's JSON Schema as its records are after masking; other properties stay as declared."""
    return _with_parts(schema, Node(parts=plan.columns))


def _with_parts(schema: Mapping[str, Any], node: Node) -> dict[str, Any]:
    new = dict(schema)
    for word in ("anyOf", "oneOf"):
        if word in new:
            new[word] = [_with_parts(each, node) if isinstance(each, Mapping) else each for each in new[word]]
    if isinstance(new.get("properties"), Mapping):
        properties = {name: _property(each, node.parts.get(name)) for name, each in new["properties"].items()}
        new["properties"] = {name: each for name, each in properties.items() if each is not None}
        if "required" in new:
            new["required"] = [name for name in new["required"] if name in new["properties"]]
    for word, part in (("items", ELEMENT), ("additionalProperties", VALUE)):
        if part in node.parts and isinstance(new.get(word), Mapping):
            new[word] = _property(new[word], node.parts[part])
    return new


def _property(schema: Any, node: Node | None) -> Any:
    """Return a property's schema after masking; None when it is dropped."""
    if node is None or not isinstance(schema, Mapping):
        return schema
    described = {"description": schema["description"]} if "description" in schema else {}
    match node.mask:
        case Mask.DROP:
            return None
        case Mask.HASH | Mask.PARTIAL:
            return {"type": ["string", "null"] if _allows_null(schema) else "string", **described}
        case Mask.REDACT:
            return _nullable(schema)
        case Mask.YEAR:
            return dict(schema)
    return dict(schema) if node.document is not None else _with_parts(schema, node)


def _allows_null(schema: Mapping[str, Any]) -> bool:
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return any(_allows_null(each) for each in schema[word] if isinstance(each, Mapping))
    declared = schema.get("type", "null")
    return "null" in ([declared] if isinstance(declared, str) else declared)


def _nullable(schema: Mapping[str, Any]) -> dict[str, Any]:
    if _allows_null(schema):
        return dict(schema)
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return {**schema, word: [*schema[word], {"type": "null"}]}
    declared = schema["type"]
    types = [declared] if isinstance(declared, str) else list(declared)
    return {**schema, "type": [*types, "null"]}
