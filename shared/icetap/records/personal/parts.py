"""The parts of nested columns and JSON documents, by the paths that masks are given for."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST_PARTS = 500
"""Parts that are looked at: documents whose names are data have any number of them."""


def parts(path: str, type_name: str, values: Sequence[Any]) -> Iterator[tuple[str, str, list[Any]]]:
    """Yield a column, or its parts when its values are objects and arrays: path, type, values.

    Args:
        path: The column's name.
        type_name: Its Arrow type as text.
        values: A sample, as parsed JSON or as pyarrow gives it; JSON documents as text.
    """
    parsed = [_document(value) if isinstance(value, str) else value for value in values]
    if not any(isinstance(value, dict | list) for value in parsed):
        yield path, type_name, list(values)
        return
    found: dict[str, list[Any]] = {}
    is_map = type_name.startswith("map<")
    for value in parsed:
        for inner, scalar in _scalars(path, _of_map(value) if is_map else value):
            if inner in found or len(found) < MOST_PARTS:
                found.setdefault(inner, []).append(scalar)
    for inner, scalars in found.items():
        yield inner, _type_of(scalars), scalars


def _of_map(value: Any) -> Any:
    """Return a map's values under the one name that masks have for all of them."""
    items = value.items() if isinstance(value, dict) else value or ()
    return {"*": [item for _, item in items]}


def _document(text: str) -> Any:
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        return text


def _scalars(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, child in value.items():
            if name == "*" and isinstance(child, list):  # of a map
                for each in child:
                    yield from _scalars(f"{path}.*", each)
            else:
                yield from _scalars(f"{path}.{name}", child)
    elif isinstance(value, list):
        for child in value:
            yield from _scalars(f"{path}[]", child)
    elif value is not None:
        yield path, value


def _type_of(values: Sequence[Any]) -> str:
    if all(isinstance(value, bool) for value in values):
        return "bool"
    if all(isinstance(value, int) for value in values):
        return "int64"
    return "double" if all(isinstance(value, Decimal | float) for value in values) else "string"
