"""Copies of masked columns: what a child stream has from its parent, and what is computed, is masked as the original.

A mask follows by itself where no line of `masks` names the copy.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from icetap.errors import ConfigurationError
from icetap.records.masks.rules import Mask, Rule

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


@dataclass(frozen=True, slots=True)
class PartOf:
    """That a stream's records are parts of another one's."""

    origin: Origin
    """Where they are there: `lines.data[]`."""

    own: frozenset[str]
    """The columns that are not from there."""

    renamed: Mapping[str, str]
    """What columns under new names are called there."""

    def original(self, path: str) -> str | None:
        """Return where a part of a record is in the other stream; None for what is not from there."""
        column = next(_prefixes(path))
        if column in self.own:
            return None
        return f"{self.origin.path}.{self.renamed.get(column, column)}{path[len(column) :]}"


def copied_rules(tap: IcetapTap, stream: Stream) -> tuple[Rule, ...]:
    """Return the rules for what is a copy of what is masked, weaker than all written ones, the strongest first.

    Raises:
        ConfigurationError: For a key that would have to be hashed, without a key for it.
    """
    part = tap.part_of(stream)
    return (*column_rules(tap, stream), *(_record_rules(tap, stream, part) if part else ()))


def column_rules(tap: IcetapTap, stream: Stream) -> tuple[Rule, ...]:
    """Return those for columns that are copies.

    Raises:
        ConfigurationError: For a key that would have to be hashed, without a key for it.
    """
    found: list[Rule] = []
    for column, origins in tap.copies(stream).items():
        if any(rule.fits(column) for rule in tap.masks.of_stream(stream.name)):
            continue
        seen = frozenset({Origin(stream.name, column)})
        hidden = _hidden(tap, origins, seen=seen)
        if not hidden:
            found += (rule for origin in origins for rule in _inner_rules(tap, column, origin, seen=seen))
            continue
        mask = _one_of(hidden)
        if column in (stream.primary_keys or ()) and mask is not Mask.HASH:
            mask = _mask_of_key(tap, stream, column, origin=next(iter(hidden)))
        found.append(Rule(stream.name, column, mask, len(found), is_default=True))
    return tuple(found)


def _inner_rules(tap: IcetapTap, column: str, origin: Origin, *, seen: frozenset[Origin]) -> Iterator[Rule]:
    """Yield the rules for parts of a column that is a copy, and not hidden as a whole."""

    def original(path: str) -> str | None:
        return origin.path + path[len(column) :] if column in _prefixes(path) else None

    yield from (replace(rule, is_default=True, original=original) for rule in _rules_inside(tap, origin))
    stream = tap.streams.get(origin.stream)
    if stream is not None and origin not in seen:
        above = next(_prefixes(origin.path))
        for each in tap.copies(stream).get(above, ()):
            further = Origin(each.stream, each.path + origin.path[len(above) :])
            yield from _inner_rules(tap, column, further, seen=seen | {origin})


def _record_rules(tap: IcetapTap, stream: Stream, part: PartOf) -> Iterator[Rule]:
    """Yield the rules for records that are parts of another stream's."""
    mask = _mask_of(tap, part.origin, seen=frozenset())
    rules = [Rule(part.origin.stream, "*", mask, 0)] if mask is not None else _rules_inside(tap, part.origin)
    rules = [replace(rule, is_default=True, original=part.original) for rule in rules]
    for key in stream.primary_keys or ():
        strongest = next(
            (rule for rule in (*tap.masks.of_stream(stream.name), *rules) if rule.fits(key)), None
        )
        if strongest is not None and strongest.original and strongest.mask not in {Mask.HASH, Mask.KEEP}:
            origin = Origin(part.origin.stream, part.original(key) or key)
            hashed = _mask_of_key(tap, stream, key, origin=origin)
            yield Rule(stream.name, key, hashed, len(tap.masks.rules), is_default=True)
    yield from rules


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
    mask, floor = _mask_around(tap, origin)
    stream = tap.streams.get(origin.stream)
    if mask is not None or floor or stream is None:
        return mask
    column = next(_prefixes(origin.path))
    if hidden := _hidden(tap, tap.copies(stream).get(column, ()), seen=seen):
        return _one_of(hidden)
    return tap.masks.new_personal if origin.path in tap.personal_by_name(stream) else None


def _mask_around(tap: IcetapTap, origin: Origin) -> tuple[Mask | None, Any]:
    """Return what a rule for a part of a stream, or for what it is in, makes of it, and the rank up to which it is kept."""
    rules = tap.masks.of_stream(origin.stream)
    floor: Any = ()
    for path in _prefixes(origin.path):
        rule = next((each for each in rules if each.fits(path)), None)
        if rule is None or rule.rank <= floor:
            continue
        if rule.mask is Mask.KEEP:
            floor = rule.rank
        elif path == origin.path or rule.mask not in {Mask.PARTIAL, Mask.YEAR}:
            return rule.mask, floor
    return None, floor


def _rules_inside(tap: IcetapTap, origin: Origin) -> list[Rule]:
    """Return the rules that may hide something inside of a part of a stream, the strongest first."""
    _, floor = _mask_around(tap, origin)
    rules = [rule for rule in tap.masks.of_stream(origin.stream) if rule.rank > floor]
    rules = [rule for rule in rules if rule.may_fit_inside(origin.path)]
    return rules if any(rule.mask is not Mask.KEEP for rule in rules) else []


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
