"""`icetap pii`: what looks personal in a stream, as a proposal for the setting `masks`; never a value."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from icetap.records.masks.rules import Mask, Masks, fits_column
from icetap.records.personal import Finding, find_personal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MOST_PARTS = 500
"""Parts of nested columns that are looked at: documents whose names are data have any number of them."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A column, or a part of one, that looks personal and has no mask yet."""

    column: str
    mask: Mask
    reason: str


def proposals(preview: Mapping[str, Any], *, masks: Mapping[str, Any] | None = None) -> list[Proposal]:
    """Look at a preview's columns and at the parts of its nested ones.

    Args:
        preview: What a tap's `--preview` prints.
        masks: The setting `masks` as it is now; what it names is left out.
    """
    stream = preview["stream"]
    rules = Masks.from_config({"masks": masks, "mask_key": "not used here"}).of_stream(stream)
    found = []
    for column in preview["columns"]:
        values = [row.get(column["name"]) for row in preview["rows"]]
        for path, type_name, part in _parts(column["name"], column["type"], values):
            finding = find_personal(path, type_name=type_name, stream=stream, values=part)
            if finding is None or any(fits_column(rule.column, path) for rule in rules):
                continue
            found.append(_proposal(path, finding, is_key=bool(column.get("key"))))
    return found


def _proposal(path: str, finding: Finding, *, is_key: bool) -> Proposal:
    if is_key:
        return Proposal(path, Mask.HASH, f"{finding.reason}; it is a key, so only `hash` keeps rows apart")
    return Proposal(path, finding.mask, finding.reason)


def _parts(path: str, type_name: str, values: Sequence[Any]) -> Iterator[tuple[str, str, list[Any]]]:
    """Yield a column, or its parts when its values are objects and arrays: path, type, values."""
    parsed = [_document(value) if isinstance(value, str) else value for value in values]
    is_nested = any(isinstance(value, dict | list) for value in parsed)
    if not is_nested:
        yield path, type_name, list(values)
        return
    parts: dict[str, list[Any]] = {}
    for value in parsed:
        for inner, scalar in _scalars(path, value):
            if inner in parts or len(parts) < MOST_PARTS:
                parts.setdefault(inner, []).append(scalar)
    for inner, scalars in parts.items():
        yield inner, _type_of(scalars), scalars


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
    return "double" if all(isinstance(value, Decimal) for value in values) else "string"


def as_yaml(stream: str, found: Sequence[Proposal]) -> str:
    """Return the proposals as a block for `meltano.yml`, with a reason behind each line."""
    width = max(len(json.dumps(each.column)) + len(each.mask) for each in found) + 3
    lines = [
        f"{json.dumps(each.column, ensure_ascii=False)}: {each.mask}".ljust(width) + f"# {each.reason}"
        for each in found
    ]
    header = ["masks:", f"  {json.dumps(stream, ensure_ascii=False)}:"]
    return "\n".join([*header, *(f"    {line}" for line in lines)])
