"""Copies of masked columns: what a child stream has from its parent, and what is computed, is masked as the original.

A mask follows by itself where no line of `masks` names the copy.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from icetap.errors import ConfigurationError
from icetap.records.masks.rules import Mask, Rule, fits_column

if TYPE_CHECKING:
    from singer_sdk.streams import Stream

    from icetap.tap import IcetapTap

_FIRST_NUMBER = 884_211_000_000
_FIRST_DAY = dt.datetime(1801, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a copied value comes from."""

    stream: str
    path: str
    """Of the column or of a part of it, as masks name it: `address.street`."""


Copies = Mapping[str, Iterable[Origin]]
"""The columns of a stream that are copies, each with what it is made of."""


def copied_rules(tap: IcetapTap, stream: Stream) -> tuple[Rule, ...]:
    """Return the rules for the columns of a stream that are copies of masked ones, weaker than all written ones.

    Raises:
        ConfigurationError: For a key that would have to be hashed, without a key for it.
    """
    found: list[Rule] = []
    for column, origins in tap.copies(stream).items():
        if any(fits_column(rule.column, column) for rule in tap.masks.of_stream(stream.name)):
            continue
        hidden = _hidden(tap, origins, seen=frozenset({Origin(stream.name, column)}))
        if not hidden:
            continue
        mask = _one_of(hidden)
        if column in (stream.primary_keys or ()) and mask is not Mask.HASH:
            mask = _mask_of_key(tap, stream, column, origin=next(iter(hidden)))
        found.append(Rule(stream.name, column, mask, len(found), is_default=True))
    return tuple(found)


def _mask_of_key(tap: IcetapTap, stream: Stream, column: str, *, origin: Origin) -> Mask:
    if tap.masks.key is None:
        raise ConfigurationError(
            f"stream '{stream.name}': its key column '{column}' is a copy of '{origin.path}' of stream '{origin.stream}', "
            "which 'masks' hides; a key can only be hashed. Give it a mask: 'hash' (with 'mask_key'), or 'keep'."
        )
    return Mask.HASH


def _hidden(tap: IcetapTap, origins: Iterable[Origin], *, seen: frozenset[Origin]) -> dict[Origin, Mask]:
    """Return those of the origins that are hidden, with what hides them."""
    found = {}
    for origin in origins:
        mask = None if origin in seen else _mask_of(tap, origin, seen=seen | {origin})
        if mask is not None:
            found[origin] = mask
    return found


def _one_of(hidden: Mapping[Origin, Mask]) -> Mask:
    return next(iter(hidden.values())) if len(set(hidden.values())) == 1 else Mask.REDACT


def _mask_of(tap: IcetapTap, origin: Origin, *, seen: frozenset[Origin]) -> Mask | None:
    """Return what hides a part of a stream: a rule for it or for what it is in, or the mask of what it copies."""
    rules = tap.masks.of_stream(origin.stream)
    floor: Any = ()
    for path in _prefixes(origin.path):
        rule = next((each for each in rules if fits_column(each.column, path)), None)
        if rule is None or rule.rank <= floor:
            continue
        if rule.mask is Mask.KEEP:
            floor = rule.rank
        elif path == origin.path or rule.mask not in {Mask.PARTIAL, Mask.YEAR}:
            return rule.mask
    stream = tap.streams.get(origin.stream)
    if floor or stream is None:
        return None
    column = next(_prefixes(origin.path))
    if hidden := _hidden(tap, tap.copies(stream).get(column, ()), seen=seen):
        return _one_of(hidden)
    return tap.masks.new_personal if origin.path in tap.personal_by_name(stream) else None


def _prefixes(path: str) -> Iterator[str]:
    """Yield the paths that lead to one, from the column on: `a`, `a[]`, `a[].b`."""
    for end, char in enumerate(path):
        if char == "." or path.startswith("[]", end):
            yield path[:end]
    yield path


# --- streams of the SDK -----------------------------------------------------------------------------


def copies_by_trial(tap: IcetapTap, stream: Stream) -> Copies:
    """Find what a child stream of the SDK has from its ancestors, by handing down a record of marked values.

    Where the stream's own code cannot work with such values, every column that is called as one of its parent's counts
    as its copy.
    """
    parent = _parent(tap, stream)
    if parent is None:
        return {}
    marks: dict[Any, Origin] = {}
    try:
        context = _marked_context(tap, parent, marks)
    except Exception:  # noqa: BLE001 - it is the tap's own code, and may do anything
        columns = set(parent.schema.get("properties", {})) & set(stream.schema.get("properties", {}))
        return {name: (Origin(parent.name, name),) for name in columns}
    record = dict(context)
    with contextlib.suppress(Exception):
        record |= stream.post_process({}, context) or {}
    found = {name: tuple(_origins(value, marks)) for name, value in record.items()}
    return {name: origins for name, origins in found.items() if origins}


def _parent(tap: IcetapTap, stream: Stream) -> Stream | None:
    kind = stream.parent_stream_type
    return None if kind is None else next((each for each in tap.streams.values() if type(each) is kind), None)


def _marked_context(tap: IcetapTap, parent: Stream, marks: dict[Any, Origin]) -> dict[str, Any]:
    """Return what the children of a stream are handed, made of values that tell where they come from."""
    above = _parent(tap, parent)
    context = None if above is None else _marked_context(tap, above, marks)
    record = _marked(parent.schema, parent.name, "", marks)
    handed_down = next(iter(parent.generate_child_contexts(record, context)), None)
    return dict(handed_down or {})


def _marked(schema: Mapping[str, Any], stream: str, path: str, marks: dict[Any, Origin]) -> Any:
    """Return a value of a JSON Schema that is like no other one."""
    types = schema.get("type", "object" if "properties" in schema else "string")
    if "object" in types:
        inner = schema.get("properties", {})
        return {
            name: _marked(child, stream, f"{path}.{name}" if path else name, marks)
            for name, child in inner.items()
        }
    if "array" in types:
        return [_marked(schema.get("items") or {}, stream, f"{path}[]", marks) for _ in range(3)]
    number = len(marks)
    mark: Any = f"icetap-mark-{number}-"
    if schema.get("format") in {"date", "date-time"}:
        mark = (_FIRST_DAY + dt.timedelta(days=number)).isoformat()
    elif "string" not in types:
        mark = _FIRST_NUMBER + number
    marks[mark] = Origin(stream, path)
    return mark


def _origins(value: Any, marks: Mapping[Any, Origin]) -> Iterator[Origin]:
    text = str(value)
    yield from (origin for mark, origin in marks.items() if str(mark) in text)
