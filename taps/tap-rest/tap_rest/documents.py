"""YAML and JSON files whose every value knows its line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from icetap.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

Position = tuple[str | int, ...]
"""The way to a value: keys and indexes."""


class _Loader(yaml.CSafeLoader):
    """YAML without dates: `2024-01-01` is a text, as it is in every other setting."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for letter, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
# YAML 1.1 takes `on`, `no` and `y` for booleans; a country's code or a parameter's name is none.
for _letter in "oOyYnN":
    _Loader.yaml_implicit_resolvers[_letter] = [
        (tag, pattern)
        for tag, pattern in _Loader.yaml_implicit_resolvers.get(_letter, [])
        if tag != "tag:yaml.org,2002:bool"
    ]


@dataclass(frozen=True)
class Document:
    """What a file holds, and where."""

    data: Any
    name: str
    """What messages call the file."""

    folder: Path
    """What paths in it are relative to."""

    lines: dict[Position, int] = field(default_factory=dict)

    def where(self, position: Position) -> str:
        """Return `file:line` of a value, of the nearest one around it when it has no line of its own."""
        while position and position not in self.lines:
            position = position[:-1]
        line = self.lines.get(position)
        return self.name if line is None else f"{self.name}:{line}"


def read_document(path: Path) -> Document:
    """Read a YAML or JSON file.

    Raises:
        ConfigurationError: When it cannot be read; names the line.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigurationError(f"the connector {path} cannot be read: {reason}.") from error
    return parse_document(text, name=str(path), folder=path.parent)


def parse_document(text: str, *, name: str, folder: Path) -> Document:
    """Read a YAML or JSON text.

    Raises:
        ConfigurationError: When it is neither; names the line.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            raise ConfigurationError(f"{name} is empty; expected a connector (`tap-rest new` writes one).")
        lines: dict[Position, int] = {}
        _note_lines(node, (), lines, name)
        return Document(loader.construct_document(node), name, folder, lines)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = name if mark is None else f"{name}:{mark.line + 1}"
        problem = re.sub(r"\s+", " ", str(getattr(error, "problem", None) or "it cannot be parsed"))
        raise ConfigurationError(f"{where}: this is no valid YAML: {problem}.") from error
    finally:
        loader.dispose()


def _note_lines(node: Any, position: Position, lines: dict[Position, int], name: str) -> None:
    lines.setdefault(position, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            text = str(key.value)
            if text in seen:
                raise ConfigurationError(
                    f"{name}:{key.start_mark.line + 1}: the key '{text}' is given twice; only one would count."
                )
            seen.add(text)
            lines[(*position, text)] = key.start_mark.line + 1
            _note_lines(value, (*position, text), lines, name)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_lines(value, (*position, index), lines, name)
