"""JSONPath for finding values in answers: names, indexes and wildcards, compiled once.

`$.a.b`, `$['odd name']`, `$.list[0]`, `$.list[*].id`. Filters, slices and `..` are refused at once instead of matching
nothing in silence: some parsers take `$.@odata.nextLink` for a path that no document has.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from icetap.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

_STEP = re.compile(
    r"""\.(?P<name>[^\W\d][\w-]*|\*)        # .name or .*
      | \[(?P<index>-?\d+|\*)\]             # [0] or [*]
      | \['(?P<single>[^']*)'\]             # ['any text']
      | \["(?P<double>[^"]*)"\]             # ["any text"]
    """,
    re.VERBOSE,
)
WILDCARD = object()
"""The step `[*]` or `.*`."""


class JSONPath:
    """A path into a JSON document.

    Args:
        text: The path; it begins with `$`, the document itself.

    Raises:
        ConfigurationError: When the text is no path of this kind; it says from where on.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        if not text.startswith("$"):
            raise ConfigurationError(
                f"'{text}' is no JSONPath: it has to begin with '$', such as '$.data[*]'"
            )
        self.steps: list[Any] = []
        """Names, indexes and `WILDCARD`."""

        position = 1
        while position < len(text):
            match = _STEP.match(text, position)
            if match is None:
                raise ConfigurationError(_refusal(text, position))
            self.steps.append(_step(match))
            position = match.end()

    def __repr__(self) -> str:
        return f"JSONPath({self.text!r})"

    @property
    def simple_name(self) -> str | None:
        """The name, when the path is a single one such as `$.id`."""
        return self.steps[0] if len(self.steps) == 1 and isinstance(self.steps[0], str) else None

    @property
    def column_path(self) -> str:
        """The path as masks name a part of a column: `emails[].address`; a name may hold anything."""
        steps = (f".{step}" if isinstance(step, str) else "[]" for step in self.steps)
        return "".join(steps).removeprefix(".")

    def values(self, document: Any) -> Iterator[Any]:
        """Yield what the path leads to, in the document's order; nothing where it leads nowhere."""
        return _walk(document, self.steps, 0)

    def first(self, document: Any, default: Any = None) -> Any:
        """Return the first value that the path leads to."""
        return next(self.values(document), default)

    def leads_somewhere(self, document: Any) -> bool:
        """Say whether the document has the list or object that the path ends in, be it empty."""
        steps = self.steps
        while steps and steps[-1] is WILDCARD:
            steps = steps[:-1]
        last_wildcard = max((number for number, step in enumerate(steps) if step is WILDCARD), default=-1)
        return any(True for _ in _walk(document, steps[:last_wildcard] if last_wildcard >= 0 else steps, 0))

    def records(self, document: Any) -> list[Any]:
        """Return the records that the path leads to: `$.data` and `$.data[*]` mean the same."""
        found = list(self.values(document))
        if len(found) == 1 and isinstance(found[0], list):
            return found[0]
        return found


def _step(match: re.Match[str]) -> Any:
    name, index = match["name"], match["index"]
    if "*" in {name, index}:
        return WILDCARD
    if index is not None:
        return int(index)
    return next(text for text in (name, match["single"], match["double"]) if text is not None)


def _refusal(text: str, position: int) -> str:
    rest = text[position:]
    advice = "expected '.name', '[0]', '[*]' or \"['any name']\""
    name = re.match(r"\.([^.\[\]]+(?:\.[^.\[\]]+)?)", rest)
    if rest.startswith(".."):
        advice = "'..' is not supported: name the way, step by step"
    elif rest.startswith("[?"):
        advice = "filters are not supported: use `record.filter`"
    elif name:
        advice = f"write it as \"['{name[1]}']\""
    return f"the JSONPath '{text}' cannot be read from '{rest}' on: {advice}"


def _walk(value: Any, steps: list[Any], number: int) -> Iterator[Any]:
    for position in range(number, len(steps)):
        step = steps[position]
        if step is WILDCARD:
            children = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
            for child in children:
                yield from _walk(child, steps, position + 1)
            return
        if isinstance(step, int):
            if not isinstance(value, list) or not -len(value) <= step < len(value):
                return
            value = value[step]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            return
    yield value


def lists_of_objects(document: Any, *, prefix: str = "$", depth: int = 3) -> Iterator[str]:
    """Yield the paths at which a document has lists of objects, the outermost first: where records may be."""
    if isinstance(document, list):
        if document and all(isinstance(each, dict) for each in document):
            yield f"{prefix}[*]"
        return
    if isinstance(document, dict) and depth:
        for name, value in document.items():
            step = f".{name}" if re.fullmatch(r"[^\W\d][\w-]*", name) else f"['{name}']"
            yield from lists_of_objects(value, prefix=prefix + step, depth=depth - 1)
