"""Which columns are copies of others by their declaration, so that what hides one hides the other."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from icetap.records.masks.copies import Copies, Origin, PartOf
from icetap.rest.jsonpath import JSONPath
from icetap.rest.templates import STEP

if TYPE_CHECKING:
    from icetap.rest.stream import RestStream

_LOOKED_UP = re.compile(r"\{(?P<root>record|parent)(?P<path>" + STEP + r"+)")


def declared_copies(stream: RestStream) -> Copies:
    """Return what a stream has from its parents (`child_context`) and what it computes (`record.add`) or fills."""
    handed_down = _handed_down(stream)
    found: dict[str, tuple[Origin, ...]] = {
        _shown(stream, key): (origin,) for key, origin in handed_down.items()
    }
    for column, template in stream.rules.add.items():
        origins = []
        for looked_up in _LOOKED_UP.finditer(json.dumps(template, default=str, ensure_ascii=False)):
            path = JSONPath(f"${looked_up['path']}")
            if looked_up["root"] == "record":
                origins.append(_origin(stream, path))
            elif (key := path.column_path.partition(".")[0]) in handed_down:
                origins.append(handed_down[key])
        shown = _shown(stream, column)
        found[shown] = tuple(origin for origin in origins if origin != Origin(stream.name, shown))
    for column, place in stream.filled_from.items():
        found[_shown(stream, column)] = (_origin(stream, JSONPath(place)),)
    return {column: origins for column, origins in found.items() if origins}


def declared_part(stream: RestStream) -> PartOf | None:
    """Return what says that a stream's records are parts of its parent's (`part_of_parent`)."""
    parent = stream.parent_stream
    if parent is None or stream.part_of_parent is None:
        return None
    fields = {**stream.new_names, **stream.rules.rename}
    return PartOf(
        _origin(parent, JSONPath(stream.part_of_parent)),
        own=frozenset(_shown(stream, key) for key in _handed_down(stream)),
        renamed={_shown(stream, field): field for field in fields},
    )


def _handed_down(stream: RestStream) -> dict[str, Origin]:
    """Return what templates may use as `parent`; of two ancestors with the same name, the nearer one's."""
    parent = stream.parent_stream
    if parent is None:
        return {}
    own = {key: _origin(parent, path) for key, path in parent.context_paths.items()}
    return {**_handed_down(parent), **own}


def _origin(stream: RestStream, path: JSONPath) -> Origin:
    """Return a place in the answers of a stream as its columns have it."""
    column, rest = re.fullmatch(r"([^.\[]*)(.*)", path.column_path, re.DOTALL).groups()  # type: ignore[union-attr]
    return Origin(stream.name, _shown(stream, column) + rest)


def _shown(stream: RestStream, field: str) -> str:
    """Return the column that a field becomes, after the declaration's new names and the setting's."""
    declared = stream.rules.rename.get(field, field)
    return stream.new_names.get(declared, declared)
