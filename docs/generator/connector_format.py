"""The page of the reference about the format of connectors for tap-rest, from its JSON Schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pages import WRITTEN, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECTIONS = {
    "parameter": "A parameter",
    "stream": "A stream",
    "request": "A request",
    "job": "A job",
    "pagination_none": "Pagination: none",
    "pagination_page": "Pagination: page",
    "pagination_offset": "Pagination: offset",
    "pagination_cursor": "Pagination: cursor",
    "pagination_link": "Pagination: link",
    "incremental": "Incremental",
    "error_rule": "An error rule",
    "match": "A condition",
    "auth_api_key": "Auth: api_key",
    "auth_basic": "Auth: basic",
    "auth_bearer": "Auth: bearer",
    "auth_headers": "Auth: headers",
    "auth_oauth2": "Auth: oauth2",
    "auth_session": "Auth: session",
    "auth_choice": "Auth: choice",
    "rate": "A rate",
    "retry": "Retry",
}
"""Definitions with a section of their own, in the order of a reader's need."""

WORDS = {
    "template": "text with templates",
    "jsonpath": "JSONPath",
    "duration": "duration, such as PT1H or P30D",
    "format": "`iso8601`, `date`, `timestamp`, `timestamp_ms`, `integer`, `string` or a pattern of strftime",
    "scalar": "value",
    "source": "JSONPath, `{header: …}` or `{last_record: …}`",
    "auth": "way to sign in, or a list of them",
    "auth_one": "way to sign in",
    "pagination": "way through the pages",
    "place": "`{in: query, header, body or path, name: …}`",
}
TYPES = {
    "string": "text",
    "integer": "whole number",
    "boolean": "true or false",
    "array": "list",
    "null": "nothing",
}


def format_page(schema_file: Path) -> str:
    """The page: a table of keys for each part of a connector."""
    schema = json.loads(schema_file.read_text(encoding="utf-8"))
    page = (
        f"{WRITTEN}# The format of connectors\n\n"
        "What a YAML file for [tap-rest](tap-rest.md) may hold. [How to describe an API](../how-to/describe-a-rest-api.md) shows it by\n"
        "examples; `tap-rest schema` prints the JSON Schema for editors. Unknown keys are errors.\n\n## The connector\n\n"
    )
    page += keys_table(schema)
    for name, title in SECTIONS.items():
        definition = schema["definitions"][name]
        page += f"\n## {title}\n\n"
        if "description" in definition:
            page += f"{definition['description']}\n\n"
        page += keys_table(definition)
    return page


def keys_table(schema: dict[str, Any]) -> str:
    """The keys of an object as a table."""
    return table(["Key", "Takes", "Default", "What it is"], list(rows(schema, "")))


def rows(schema: dict[str, Any], prefix: str) -> Iterator[list[str]]:
    """Yield a row for each key, and for the keys of objects that have no section of their own."""
    required = schema.get("required", [])
    for name, given in schema.get("properties", {}).items():
        default = given.get("default")
        shown = "" if default is None else f"`{json.dumps(default).strip(chr(34))}`"
        is_needed = name in required and not prefix
        yield [
            f"`{prefix}{name}`",
            takes(given),
            "**required**" if is_needed else shown,
            given.get("description", ""),
        ]
        if "properties" in given and not is_place(given):
            yield from rows(given, f"{prefix}{name}.")
        inner = given.get("items")
        if isinstance(inner, dict) and "properties" in inner:
            yield from rows(inner, f"{prefix}{name}[].")


def is_place(schema: dict[str, Any]) -> bool:
    """Whether an object says where a value goes, perhaps with a key more."""
    return {"in", "name"} <= set(schema.get("properties", {}))


def takes(schema: dict[str, Any]) -> str:
    """Say in words what a key takes."""
    if "$ref" in schema:
        return referred(schema["$ref"].rpartition("/")[2])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"])
    if "if" in schema:
        first, second = takes(schema["then"]), takes(schema["else"])
        if first == f"list of {second}":
            return f"{second}, or a list of them"
        return first if first == second else f"{first} or {second}"
    if is_place(schema):
        more = [name for name in schema["properties"] if name not in {"in", "name"}]
        return WORDS["place"].replace("name: …}", ", ".join(f"{name}: …" for name in ["name", *more]) + "}")
    return of_type(schema)


def referred(name: str) -> str:
    """Say what a definition is, or lead to its section."""
    if name in SECTIONS:
        title = SECTIONS[name]
        anchor = title.lower().replace(" ", "-").replace(":", "")
        return f"[{title[0].lower()}{title[1:]}](#{anchor})"
    return WORDS[name]


def of_type(schema: dict[str, Any]) -> str:
    """Say what a type is: of an object what its values are, of a list what is in it."""
    given = schema.get("type", [])
    names = [given] if isinstance(given, str) else given
    inner = schema.get("items")
    if names == ["array"] and isinstance(inner, dict) and ("$ref" in inner or "type" in inner):
        return f"list of {takes(inner)}" if "properties" not in inner else "list of objects"
    values = schema.get("additionalProperties")
    if names == ["object"] and isinstance(values, dict):
        return f"name -> {takes(values)}"
    return " or ".join(TYPES.get(name, name) for name in names) or "any value"
