"""Which streams and columns of a tap are read: Meltano's `select`, `metadata` and `schema` on a catalog.

The rules are Meltano's (4.4.1, `meltano.core.plugin.singer.catalog`, read 2026-11-21): without `select` all is
selected, exclusions (`!orders.note`) beat inclusions, names may be globs.
"""

from __future__ import annotations

import copy
import fnmatch
import re
from typing import TYPE_CHECKING, Any

from icetap.errors import ConfigurationError
from icetap.settings import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_DOT = re.compile(r"(?<!\\)\.")
_EVERYTHING = ("*.*",)


def selected_catalog(
    discovered: Mapping[str, Any], extras: Mapping[str, Any], *, streams: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the catalog with which Meltano would run the tap.

    Args:
        discovered: What the tap printed for `--discover`.
        extras: The plug-in's `select`, `metadata` and `schema`.
        streams: Names or globs; of the selected streams only these stay selected. None means all.

    Raises:
        ConfigurationError: When a name fits no stream, or none is selected.
    """
    catalog = copy.deepcopy(dict(discovered))
    entries = catalog.get("streams") or []
    patterns = list(extras.get("select") or _EVERYTHING)
    for entry in entries:
        _select(entry, patterns)
        for pattern, rules in (extras.get("metadata") or {}).items():
            if fnmatch.fnmatch(_name(entry), pattern):
                _add_metadata(entry, rules)
        for pattern, rules in (extras.get("schema") or {}).items():
            if fnmatch.fnmatch(_name(entry), pattern):
                _change_schema(entry, rules)
    _keep_only(entries, streams)
    if not any(_metadata(entry, ()).get("selected") for entry in entries):
        raise ConfigurationError(
            "No stream is selected. `select` in meltano.yml chooses streams, as in `select: [orders.*]`."
        )
    return catalog


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("tap_stream_id") or entry.get("stream"))


def _keep_only(entries: Iterable[dict[str, Any]], streams: Sequence[str]) -> None:
    names = [_name(entry) for entry in entries]
    for pattern in streams:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            raise ConfigurationError(
                f"The tap has no stream '{pattern}'{did_you_mean(pattern, names) or '.'} "
                "`icetap browse` lists what there is."
            )
    for entry in entries:
        if streams and not any(fnmatch.fnmatchcase(_name(entry), pattern) for pattern in streams):
            _metadata(entry, ())["selected"] = False


def _select(entry: dict[str, Any], patterns: Iterable[str]) -> None:
    """Set `selected` of a stream and its columns; a property of an object is chosen with its column."""
    included, excluded = False, False
    chosen: dict[str, bool] = {}
    columns = list((entry.get("schema") or {}).get("properties") or {})
    for stream, column, is_included in sorted(map(_parsed, patterns), key=lambda one: not one[2]):
        if not fnmatch.fnmatch(_name(entry), stream):
            continue
        included = included or is_included
        excluded = excluded or (not is_included and column == "*")
        chosen |= {name: is_included for name in columns if fnmatch.fnmatch(name, column)}
    _metadata(entry, ())["selected"] = included and not excluded
    for name in columns:
        _metadata(entry, ("properties", name))["selected"] = chosen.get(name, False)


def _parsed(pattern: str) -> tuple[str, str, bool]:
    """Return (stream, column, whether it includes) of a pattern such as `!orders.note`."""
    text = pattern.removeprefix("!")
    stream, _, rest = _split(text)
    is_included = not pattern.startswith("!")
    # A pattern that leaves out a property of an object leaves its column alone.
    column, dot, _inner = rest.partition(".") if rest else ("*", "", "")
    return stream, column if is_included or not dot else "", is_included


def _split(text: str) -> tuple[str, str, str]:
    found = _DOT.search(text)
    if found is None:
        return text.replace(r"\.", "."), "", ""
    return text[: found.start()].replace(r"\.", "."), ".", text[found.end() :]


def _metadata(entry: dict[str, Any], breadcrumb: Sequence[str]) -> dict[str, Any]:
    """Return the metadata at a breadcrumb, made when it is missing."""
    listed: list[dict[str, Any]] = entry.setdefault("metadata", [])
    for one in listed:
        if list(one.get("breadcrumb") or ()) == list(breadcrumb):
            found: dict[str, Any] = one.setdefault("metadata", {})
            return found
    listed.append({"breadcrumb": list(breadcrumb), "metadata": {}})
    made: dict[str, Any] = listed[-1]["metadata"]
    return made


def _add_metadata(entry: dict[str, Any], rules: Mapping[str, Any]) -> None:
    for key, value in rules.items():
        if not isinstance(value, dict):
            _metadata(entry, ())[key] = value
            continue
        for column in _columns(entry, key):
            _metadata(entry, ("properties", column)).update(value)


def _change_schema(entry: dict[str, Any], rules: Mapping[str, Any]) -> None:
    properties = entry.setdefault("schema", {}).setdefault("properties", {})
    for pattern, payload in rules.items():
        for column in list(_columns(entry, pattern)) or [pattern]:
            properties.setdefault(column, {}).update(payload)


def _columns(entry: Mapping[str, Any], pattern: str) -> Iterator[str]:
    for name in (entry.get("schema") or {}).get("properties") or {}:
        if fnmatch.fnmatch(name, pattern):
            yield name
