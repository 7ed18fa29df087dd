"""`icetap pii`: what looks personal in a stream, as a proposal for the setting `masks`; never a value."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from icetap.records.masks.rules import Mask, Masks
from icetap.records.personal import Finding, find_personal
from icetap.records.personal.parts import parts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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
    rules = Masks.from_config({"masks": masks, "mask_key": "of no use, nothing is hashed"}).of_stream(stream)
    found = []
    for column in preview["columns"]:
        values = [row.get(column["name"]) for row in preview["rows"]]
        for path, type_name, part in parts(column["name"], column["type"], values):
            finding = find_personal(path, type_name=type_name, stream=stream, values=part)
            if finding is None or any(rule.fits(path) for rule in rules):
                continue
            found.append(_proposal(path, finding, is_key=bool(column.get("key"))))
    return found


def _proposal(path: str, finding: Finding, *, is_key: bool) -> Proposal:
    if is_key:
        return Proposal(path, Mask.HASH, f"{finding.reason}; it is a key, so only `hash` keeps rows apart")
    return Proposal(path, finding.mask, finding.reason)


def as_yaml(stream: str, found: Sequence[Proposal]) -> str:
    """Return the proposals as a block for `meltano.yml`, with a reason behind each line."""
    width = max(len(json.dumps(each.column)) + len(each.mask) for each in found) + 3
    lines = [
        f"{json.dumps(each.column, ensure_ascii=False)}: {each.mask}".ljust(width) + f"# {each.reason}"
        for each in found
    ]
    header = ["masks:", f"  {json.dumps(stream, ensure_ascii=False)}:"]
    return "\n".join([*header, *(f"    {line}" for line in lines)])
