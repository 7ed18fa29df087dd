"""Columns that lie beside a tap's code, as JSON files."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from icetap.errors import ConfigurationError


def load_properties(package: str, name: str) -> dict[str, Any]:
    """Return the properties of `schemas/<name>.json` of a package: a JSON Schema of an object.

    Raises:
        ConfigurationError: When the file is missing or is none.
    """
    file = resources.files(package) / "schemas" / f"{name}.json"
    try:
        found = json.loads(file.read_text("utf-8"))["properties"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{package}/schemas/{name}.json is no JSON Schema with properties"
        ) from error
    properties: dict[str, Any] = found
    return properties
