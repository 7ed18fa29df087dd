"""A connector's definition: checked against the format, with the defaults merged into each stream."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema

from icetap.errors import ConfigurationError
from icetap.settings import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tap_rest.documents import Document, Position

SCHEMA_FILE = "rest-connector-1.schema.json"


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or looks wrong, at a place of the file."""

    position: Position
    text: str
    is_error: bool = True


@cache
def format_schema() -> dict[str, Any]:
    """Return the JSON Schema of the format."""
    schema: dict[str, Any] = json.loads((resources.files("tap_rest") / SCHEMA_FILE).read_text("utf-8"))
    return schema


@dataclass(frozen=True)
class Definition:
    """A connector as it is read: every stream whole."""

    document: Document
    data: Mapping[str, Any]
    """The definition with its defaults merged into each stream, and without them."""

    @property
    def streams(self) -> dict[str, dict[str, Any]]:
        """The streams by name."""
        found: dict[str, dict[str, Any]] = self.data["streams"]
        return found

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """What a person fills in."""
        return dict(self.data.get("parameters") or {})

    def where(self, stream: str, *keys: str | int) -> str:
        """Return `file:line` of a part of a stream, which may stand among the defaults."""
        own = ("streams", stream, *keys)
        if own in self.document.lines:
            return self.document.where(own)
        shared = ("defaults", *keys)
        return self.document.where(shared if shared in self.document.lines else own)


def define(document: Document) -> Definition:
    """Check a document and merge its defaults.

    Raises:
        ConfigurationError: With every place that does not fit the format, one line each.
    """
    findings = list(format_findings(document))
    if findings:
        raise ConfigurationError(
            "\n".join(f"{document.where(finding.position)}: {finding.text}" for finding in findings)
        )
    data = {key: value for key, value in document.data.items() if key != "defaults"}
    defaults = document.data.get("defaults") or {}
    data["streams"] = {
        name: merged(defaults, stream or {}) for name, stream in document.data["streams"].items()
    }
    return Definition(document, data)


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return two objects merged: maps merge, lists and scalars replace, null removes.

    Ways to page, to sign and to give a body or a schema are one choice each: another `type` replaces the whole.
    """
    found = copy.deepcopy(dict(one))
    for key, value in other.items():
        known = found.get(key)
        if value is None:
            found.pop(key, None)
        elif isinstance(known, dict) and isinstance(value, dict) and not _is_other_choice(key, known, value):
            found[key] = merged(known, value)
        else:
            found[key] = copy.deepcopy(value)
    return found


def _is_other_choice(key: str, known: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    if key in {"pagination", "auth"}:
        return bool(given.get("type")) and given["type"] != known.get("type")
    return key in {"body", "schema", "partitions", "download"}


# --- findings ---------------------------------------------------------------------------------------


def format_findings(document: Document) -> Iterator[Finding]:
    """Yield what does not fit the format, in the order of the file."""
    validator = jsonschema.Draft7Validator(format_schema())
    errors = [
        inner for error in validator.iter_errors(_without_removals(document.data)) for inner in _leaves(error)
    ]
    errors = [error for error in errors if not _is_for_the_streams_to_complete(error)]
    errors.sort(key=lambda error: document.lines.get(_position(error), 0))
    told: set[Finding] = set()
    for error in errors:
        for finding in _findings(error):
            if finding not in told:
                told.add(finding)
                yield finding


def _is_for_the_streams_to_complete(error: jsonschema.ValidationError) -> bool:
    """What is missing in the defaults may stand in each stream, and is looked for there."""
    return error.validator == "required" and _position(error)[:1] == ("defaults",)


def _without_removals(data: Any) -> Any:
    """A null in a stream removes what the defaults say, so the format is not asked about it."""
    if not isinstance(data, dict) or not isinstance(data.get("streams"), dict):
        return data
    streams = {
        name: _without_nulls(stream) if isinstance(stream, dict) else stream
        for name, stream in data["streams"].items()
    }
    # What the defaults complete is checked with them.
    defaults = data.get("defaults")
    if isinstance(defaults, dict):
        streams = {
            name: merged(defaults, stream) if isinstance(stream, dict) else stream
            for name, stream in streams.items()
        }
    return {**data, "streams": streams}


def _without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_nulls(child) if isinstance(child, dict) and key not in {"json", "properties"} else child
        for key, child in value.items()
        if child is not None
    }


def _leaves(error: jsonschema.ValidationError) -> Iterator[jsonschema.ValidationError]:
    if error.context:
        for inner in error.context:
            yield from _leaves(inner)
    else:
        yield error


def _position(error: jsonschema.ValidationError) -> Position:
    return tuple(error.absolute_path)


def _findings(error: jsonschema.ValidationError) -> Iterator[Finding]:
    position = _position(error)
    name = str(position[-1]) if position else "the connector"
    schema: dict[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    value: Any = error.validator_value
    instance: Any = error.instance
    match error.validator:
        case "additionalProperties":
            known = list(schema.get("properties", {}))
            for key in instance:
                if key not in known:
                    hint = did_you_mean(str(key), known) or f". There are: {', '.join(known)}."
                    yield Finding((*position, key), f"unknown key '{key}'{hint}")
        case "required":
            missing = [key for key in value if key not in instance]
            yield from (Finding(position, f"{name} needs '{key}'.") for key in missing)
        case "enum":
            known = [str(each) for each in value]
            yield Finding(
                position,
                f"{name} is '{instance}'{did_you_mean(str(instance), known) or '.'} "
                f"Expected one of {', '.join(known)}.",
            )
        case "const":
            yield Finding(position, f"{name} is '{instance}'; expected '{value}'.")
        case "pattern" if "propertyNames" in error.absolute_schema_path:
            yield Finding(
                (*position, instance), f"the name '{instance}' does not fit. {schema.get('description', '')}"
            )
        case "pattern":
            about = schema.get("description") or f"expected a text like {value}"
            yield Finding(position, f"{name} is '{instance}', which does not fit. {about}")
        case "type":
            kinds = value
            expected = kinds if isinstance(kinds, str) else " or ".join(kinds)
            yield Finding(position, f"{name} is of another type; expected {expected}.")
        case _:
            yield Finding(position, f"{name}: {error.message}.")
