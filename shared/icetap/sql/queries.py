"""Parameters in SQL that a user wrote."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

BOOKMARK_NAMES = frozenset({"bookmark", "last_pull"})
"""`:bookmark` and its alias."""

# What may hold a colon without being a parameter comes first: texts, identifiers, comments, casts.
_TOKEN = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\]
      | --[^\n]* | /\*.*?\*/ | :: | :(?P<name>[A-Za-z_][A-Za-z_0-9]*)""",
    re.VERBOSE | re.DOTALL,
)

_TOKEN_OR_PARENTHESIS = re.compile(rf"{_TOKEN.pattern} | [()]", _TOKEN.flags)


def parameters_in(sql: str) -> set[str]:
    """Return the names of the parameters, without their colons."""
    return {match["name"] for match in _TOKEN.finditer(sql) if match["name"]}


def replace_bookmark(sql: str, replacement: str) -> str:
    """Put a placeholder or a literal where `:bookmark` or `:last_pull` stands."""
    return _replace(sql, lambda name: replacement if name in BOOKMARK_NAMES else f":{name}")


def _replace(sql: str, text_for: Callable[[str], str]) -> str:
    return _TOKEN.sub(lambda match: text_for(match["name"]) if match["name"] else match[0], sql)


def is_one_condition(sql: str) -> bool:
    """Say whether a condition stays one in parentheses: none of its own closes those around it."""
    depth = 0
    for match in _TOKEN_OR_PARENTHESIS.finditer(sql):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth < 0:
            return False
    return depth == 0


def without_semicolon(sql: str) -> str:
    """Return the query without white space and semicolons at its end, so that it fits in parentheses."""
    return sql.strip().rstrip("; \t\r\n")
