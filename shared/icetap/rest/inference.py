"""Schemas from records: tallied over a sample, remembered, and widened when a later record needs more.

A schema here is plain JSON Schema. Widening is monotone: integer becomes number, a date becomes text, two kinds become a
union (which the loader keeps as text or JSON text), objects and arrays grow. Null says nothing about a type, so a field
that was only ever null has no column yet.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MAX_PROPERTIES = 60
"""An object with more names than this in a sample is a map of data, and becomes JSON text."""

MAX_DEPTH = 6
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_NAMES: dict[type, str] = {
    bool: "boolean",
    int: "integer",
    Decimal: "number",
    float: "number",
    str: "string",
    dict: "object",
    list: "array",
}


def infer(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the properties that hold all records; none is required, null is allowed everywhere."""
    properties: dict[str, Any] = {}
    for record in records:
        properties = widened(properties, record)
    return {name: _settled(schema, 1) for name, schema in properties.items()}


def widened(properties: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties, changed as little as makes them hold one more record."""
    wider = dict(properties)
    for name, value in record.items():
        if value is not None:
            wider[name] = _holding(wider.get(name), value)
    return wider


def _holding(schema: Mapping[str, Any] | None, value: Any) -> dict[str, Any]:
    """Return a schema that also holds a value."""
    kind = _NAMES[type(value)]
    if not schema:
        return _schema_of(kind, value)
    kinds = kinds_of(schema)
    changed = dict(schema)
    if kind not in kinds and not (kind == "integer" and "number" in kinds):
        kinds = [known for known in kinds if not (kind == "number" and known == "integer")] + [kind]
        changed["type"] = [*kinds, "null"]
        changed.pop("format", None)
        if kind in {"object", "array"}:
            changed |= {key: part for key, part in _schema_of(kind, value).items() if key != "type"}
        return changed
    if kind == "string" and "format" in schema and not _is_of_format(schema["format"], value):
        del changed["format"]
    elif kind == "object" and "properties" in schema:
        changed["properties"] = widened(schema["properties"], value)
    elif kind == "array" and "items" in schema:
        items: dict[str, Any] | None = schema["items"]
        for element in value:
            items = items if element is None else _holding(items, element)
        changed["items"] = items
    return changed


def _schema_of(kind: str, value: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": [kind, "null"]}
    if kind == "string":
        if _DATE_TIME.fullmatch(value) and _is_of_format("date-time", value):
            schema["format"] = "date-time"
        elif _DATE.fullmatch(value) and _is_of_format("date", value):
            schema["format"] = "date"
    elif kind == "object":
        schema["properties"] = widened({}, value)
    elif kind == "array":
        items: dict[str, Any] = {}
        for element in value:
            items = items if element is None else _holding(items, element)
        schema["items"] = items
    return schema


def kinds_of(schema: Mapping[str, Any]) -> list[str]:
    """Return the JSON types that a schema allows, without null; empty when it allows any."""
    given = schema.get("type", [])
    return [kind for kind in ([given] if isinstance(given, str) else given) if kind != "null"]


def _settled(schema: dict[str, Any], depth: int) -> dict[str, Any]:
    """Take what a sample cannot know out of a schema: empty objects and arrays, maps, what is too deep."""
    settled = dict(schema)
    if "properties" in settled:
        names = settled["properties"]
        if not names or len(names) > MAX_PROPERTIES or depth >= MAX_DEPTH:
            del settled["properties"]
        else:
            settled["properties"] = {name: _settled(child, depth + 1) for name, child in names.items()}
    if "items" in settled:
        if not settled["items"] or depth >= MAX_DEPTH:
            del settled["items"]
        else:
            settled["items"] = _settled(settled["items"], depth + 1)
    return settled


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties of two schemas of one stream, the first one's where they differ in more than being there."""
    found = dict(one)
    for name, schema in other.items():
        found[name] = _merged(found[name], schema) if name in found else schema
    return found


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    kinds = kinds_of(one)
    added = [kind for kind in kinds_of(other) if kind not in kinds]
    changed = dict(one)
    if added and kinds:
        if "number" in added:
            kinds = [kind for kind in kinds if kind != "integer"]
        changed["type"] = [
            *kinds,
            *(kind for kind in added if not (kind == "integer" and "number" in kinds)),
            "null",
        ]
    if one.get("format") != other.get("format"):
        changed.pop("format", None)
    if "properties" in one and "properties" in other:
        changed["properties"] = merged(one["properties"], other["properties"])
    if one.get("items") and other.get("items"):
        changed["items"] = _merged(one["items"], other["items"])
    return changed


# --- does a record fit? -----------------------------------------------------------------------------


def _is_of_format(name: str, value: str) -> bool:
    try:
        if name == "date-time":
            datetime.fromisoformat(value)
        elif name == "date":
            date.fromisoformat(value)
    except ValueError:
        return False
    return True


Check = Any
"""Whether a value fits: a set of types, or a function."""

_TYPES: dict[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, Decimal, float),
    "string": (str,),
    "object": (dict,),
    "array": (list,),
}


class Fitness:
    """Tells quickly whether records fit a schema's properties; compiled once for each schema.

    A value that does not say whether it is right, because its schema says too little, is right.
    """

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self._checks = {name: _check(schema) for name, schema in properties.items()}

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Say whether every field of a record has a column, and every value fits it."""
        checks = self._checks
        for name, value in record.items():
            check = checks.get(name)
            if check is None:
                return False
            if value is None:
                continue
            if type(check) is frozenset:
                if type(value) not in check:
                    return False
            elif check is not True and not check(value):
                return False
        return True

    def misfits(self, record: Mapping[str, Any]) -> list[str]:
        """Return the names of fields that have no column or do not fit it."""
        return [name for name in record if not self.fits({name: record[name]})]


def _check(schema: Mapping[str, Any] | bool) -> Check:
    """Return True where anything fits, a set of types where that decides, else a function."""
    if isinstance(schema, bool) or "anyOf" in schema or "oneOf" in schema or not kinds_of(schema):
        return True
    kinds = kinds_of(schema)
    types = frozenset(each for kind in kinds for each in _TYPES[kind])
    if len(kinds) == 1:
        if (
            kinds == ["string"]
            and schema.get("format") in {"date-time", "date"}
            and "x-sql-datatype" not in schema
        ):
            return _format_check(schema["format"])
        if kinds == ["object"] and schema.get("properties"):
            inner = Fitness(schema["properties"]).fits
            return lambda value: type(value) is dict and inner(value)
        if kinds == ["array"] and schema.get("items"):
            return _items_check(_check(schema["items"]))
    return types


def _format_check(name: str) -> Callable[[Any], bool]:
    parse = datetime.fromisoformat if name == "date-time" else date.fromisoformat

    def check(value: Any) -> bool:
        if type(value) is not str:
            return False
        try:
            parse(value)
        except ValueError:
            return False
        return True

    return check


def _items_check(check: Check) -> Callable[[Any], bool]:
    if check is True:
        return lambda value: type(value) is list
    if type(check) is frozenset:
        return lambda value: (
            type(value) is list and all(each is None or type(each) in check for each in value)
        )
    return lambda value: type(value) is list and all(each is None or check(each) for each in value)


def pruned(record: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without nulls that no column waits for, in nested objects too: absent is stored as null."""
    kept: dict[str, Any] = {}
    for name, value in record.items():
        schema = properties.get(name)
        if value is None and schema is None:
            continue
        if type(value) is dict and schema is not None and schema.get("properties"):
            kept[name] = pruned(value, schema["properties"])
        elif type(value) is list and schema is not None and (schema.get("items") or {}).get("properties"):
            inner = schema["items"]["properties"]
            kept[name] = [pruned(each, inner) if type(each) is dict else each for each in value]
        else:
            kept[name] = value
    return kept
