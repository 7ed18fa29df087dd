"""Templates: look-ups in plain data, never expressions.

`{config.site}`, `{parent.client_id}`, `{cursor.start|date:%Y-%m-%d}`. Any other brace is plain text, so GraphQL and JSON
need no escaping; `{{config.x}}` writes a literal `{config.x}`. Definitions come from people, documents and the web: a
look-up has no attributes, no calls and no loops that they could abuse.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from icetap.errors import ConfigurationError
from icetap.rest import dates
from icetap.settings import did_you_mean

ROOTS = ("config", "parent", "partition", "cursor", "page", "record", "response", "auth", "job")
"""What a placeholder may begin with; which of them have a value depends on the place."""

STEP = r"(?:\.[A-Za-z_][\w-]*|\[\d+\]|\['[^'\]]*'\])"
"""One step of a look-up's path: `.name`, `[0]` or `['odd name']`."""
_FILTER = r"(?:\|[a-z0-9_]+(?::[^{}|]*)?)"
_BODY = r"(?:" + "|".join(ROOTS) + r")" + STEP + "+" + _FILTER + "*"
_PLACEHOLDER = re.compile(r"\{(?P<literal>\{" + _BODY + r"\})\}|\{(?P<body>" + _BODY + r")\}")
_PIECES = re.compile(r"(?P<root>[a-z]+)(?P<path>" + STEP + r"+)(?P<filters>.*)", re.DOTALL)
_LOOKALIKE = re.compile(r"\{([A-Za-z]+)\.[A-Za-z_][\w.]*\}")
_PATH_NAME = re.compile(r"\{([a-z][a-z0-9_]*)\}")


class Template:
    """A text with placeholders, compiled once."""

    __slots__ = ("_parts", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts: list[str | _Placeholder] = []
        position = 0
        for match in _PLACEHOLDER.finditer(text):
            literal = text[position : match.start()] + (match["literal"] or "")
            self._parts += [literal, _Placeholder(match["body"])] if match["body"] else [literal]
            position = match.end()
        self._parts.append(text[position:])
        self._parts = [part for part in self._parts if part != ""]

    @property
    def placeholders(self) -> list[tuple[str, str]]:
        """Root and whole text of each placeholder, in order."""
        return [(part.root, part.text) for part in self._parts if isinstance(part, _Placeholder)]

    def render(self, scope: Mapping[str, Any]) -> Any:
        """Return the text filled in; a lone placeholder keeps its JSON type, and None means that a part had no value."""
        if len(self._parts) == 1 and isinstance(self._parts[0], _Placeholder):
            value = self._parts[0].value(scope)
            return dates.iso(value) if isinstance(value, datetime) else value
        filled = []
        for part in self._parts:
            value = part if isinstance(part, str) else part.value(scope)
            if value is None:
                return None
            filled.append(value if isinstance(value, str) else as_text(value))
        return "".join(filled)


class _Placeholder:
    __slots__ = ("_filters", "_steps", "root", "text")

    def __init__(self, body: str) -> None:
        match = _PIECES.fullmatch(body)
        if match is None:  # the same pattern has found it
            raise ConfigurationError(f"'{body}' is no placeholder")
        self.root = match["root"]
        self.text = f"{{{body}}}"
        steps = re.findall(r"\.([A-Za-z_][\w-]*)|\[(\d+)\]|\['([^'\]]*)'\]", match["path"])
        self._steps: list[str | int] = [
            int(index) if index else name or quoted for name, index, quoted in steps
        ]
        self._filters = [_filter(text, self.text) for text in match["filters"].split("|")[1:]]

    def value(self, scope: Mapping[str, Any]) -> Any:
        value: Any = scope.get(self.root)
        for step in self._steps:
            if isinstance(value, Mapping):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                value = None
        for apply in self._filters:
            value = apply(value)
        return value


def as_text(value: Any) -> str:
    """Return a value as it stands in a longer text or in a query string."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return dates.iso(value)
    if isinstance(value, list):
        return ",".join(map(as_text, value))
    return str(value)


def _filter(text: str, placeholder: str) -> Callable[[Any], Any]:
    name, _, argument = text.partition(":")
    if name == "default":
        return lambda value: argument if value is None else value
    if name not in _FILTERS:
        raise ConfigurationError(
            f"the placeholder '{placeholder}' has the filter '{name}'{did_you_mean(name, [*_FILTERS, 'default'])} "
            f"There are: {', '.join([*_FILTERS, 'default'])}."
        )
    apply = _FILTERS[name]
    return lambda value: None if value is None else apply(value, argument)


def _join(value: Any, argument: str) -> str:
    return (argument or ",").join(map(as_text, value if isinstance(value, list) else [value]))


_FILTERS: dict[str, Callable[[Any, str], Any]] = {
    "date": lambda value, argument: dates.write(dates.instant(value), argument or "iso8601"),
    "urlencode": lambda value, _: quote(as_text(value), safe=""),
    "base64": lambda value, _: base64.b64encode(as_text(value).encode()).decode(),
    "lower": lambda value, _: as_text(value).lower(),
    "upper": lambda value, _: as_text(value).upper(),
    "join": _join,
}


def render(value: Any, scope: Mapping[str, Any]) -> Any:
    """Return a value with every template in it filled in; a leaf without a value is left out of its object or list."""
    if isinstance(value, str):
        return _compiled(value).render(scope)
    if isinstance(value, Mapping):
        rendered = {key: render(child, scope) for key, child in value.items()}
        return {key: child for key, child in rendered.items() if child is not None or value[key] is None}
    if isinstance(value, list | tuple):
        return [child for child in (render(child, scope) for child in value) if child is not None]
    return value


_CACHE: dict[str, Template] = {}
_CACHE_SIZE = 4096


def _compiled(text: str) -> Template:
    template = _CACHE.get(text)
    if template is None:
        if len(_CACHE) >= _CACHE_SIZE:
            _CACHE.clear()
        template = _CACHE[text] = Template(text)
    return template


def render_path(path: str, scope: Mapping[str, Any], names: Mapping[str, Any], *, where: str) -> str:
    """Return a path filled in, each value percent-encoded with nothing safe.

    Args:
        path: May hold bare names, `{client_id}`, besides placeholders with a root.
        scope: The roots' values.
        names: The values of bare names: the parent's context, the partition.
        where: Begins the error's message.

    Raises:
        ConfigurationError: When a name has no value.
    """

    def filled(match: re.Match[str]) -> str:
        value = names.get(match[1])
        if value is None:
            known = ", ".join(sorted(names)) or "none"
            raise ConfigurationError(
                f"{where}: the path '{path}' needs a value for '{{{match[1]}}}'; there are: {known}. "
                "Add it to the parent's `child_context` or to `partitions`."
            )
        return quote(as_text(value), safe="")

    pieces, position = [], 0
    for match in _PLACEHOLDER.finditer(path):
        if match["body"] is None:
            continue
        pieces.append(_PATH_NAME.sub(filled, path[position : match.start()]))
        value = Template(match[0]).render(scope)
        if value is None:
            raise ConfigurationError(
                f"{where}: the path '{path}' needs a value for '{match[0]}', which has none"
            )
        pieces.append(quote(as_text(value), safe=""))
        position = match.end()
    pieces.append(_PATH_NAME.sub(filled, path[position:]))
    return "".join(pieces)


def misspelt_roots(text: str) -> list[str]:
    """Return what looks like a placeholder and has an unknown root close to a known one, as advice."""
    return [
        f"'{match[0]}' has the root '{match[1]}'{hint}"
        for match in _LOOKALIKE.finditer(text)
        if match[1] not in ROOTS and (hint := did_you_mean(match[1], ROOTS))
    ]
