"""`type_scan`: types that hold what is stored, not only what is declared."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tap_sqlite.connection import quoted
from tap_sqlite.types import EXACT_INTEGERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_sqlite.catalogue import Promises
    from tap_sqlite.connection import Connection

_DATE = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
_COLUMNS_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Facts:
    """What is true for any value of a column.

    `large` are integers beyond 53 bits, `other_numbers` integers that are not 0 or 1, `other_texts` ones
    that do not begin with a date.
    """

    integers: bool
    reals: bool
    texts: bool
    blobs: bool
    large: bool
    other_numbers: bool
    other_texts: bool
    times: bool
    zones: bool
    zoneless: bool
    not_json: bool

    @property
    def numbers(self) -> bool:
        """Whether there are integers or reals."""
        return self.integers or self.reals


def _questions(read: str) -> dict[str, str]:
    """Return an SQL expression for each of the facts, true where it is so."""
    is_date = f"(substr({read}, 1, 10) GLOB '{_DATE}' AND length({read}) <> 11)"
    has_zone = f"({read} GLOB '*Z' OR substr({read}, 11) GLOB '*[+-][0-9][0-9]:[0-9][0-9]')"
    is_text = f"typeof({read}) = 'text'"
    return {
        "integers": f"typeof({read}) = 'integer'",
        "reals": f"typeof({read}) = 'real'",
        "texts": is_text,
        "blobs": f"typeof({read}) = 'blob'",
        "large": f"typeof({read}) = 'integer' AND {read} NOT {EXACT_INTEGERS}",
        "other_numbers": f"typeof({read}) = 'integer' AND {read} NOT IN (0, 1)",
        "other_texts": f"{is_text} AND NOT {is_date}",
        "times": f"{is_text} AND length({read}) > 10 AND {is_date}",
        "zones": f"{is_text} AND {is_date} AND {has_zone}",
        "zoneless": f"{is_text} AND NOT {has_zone}",
        "not_json": (
            f"CASE typeof({read}) WHEN 'text' THEN NOT json_valid({read}) "
            f"WHEN 'blob' THEN NOT json_valid({read}, 8) END"
        ),
    }


def scanned(connection: Connection, source: str, promises: Sequence[tuple[str, str]]) -> Promises:
    """Return, for each column, a promise that all its values keep.

    One pass over the table for every hundred columns. What is declared stays where it holds.

    Args:
        connection: The open file.
        source: The quoted FROM item.
        promises: Name and declared promise of each column.
    """
    held: Promises = {}
    width = len(dataclasses.fields(Facts))
    for start in range(0, len(promises), _COLUMNS_AT_ONCE):
        some = promises[start : start + _COLUMNS_AT_ONCE]
        items = [f"max({question})" for name, _ in some for question in _questions(quoted(name)).values()]
        select = ", ".join(f"{item} AS a{number}" for number, item in enumerate(items))
        (row,) = connection.rows(f"SELECT {select} FROM {source}")
        for number, (name, promise) in enumerate(some):
            facts = Facts(*map(bool, row[number * width : (number + 1) * width]))
            held[name] = promise if _holds(promise, facts) else _widened(promise, facts)
    return held


def _holds(promise: str, facts: Facts) -> bool:
    """Say whether all values keep a promise."""
    match promise:
        case "any":
            return False  # what is stored says more than no type
        case "boolean":
            return not (facts.reals or facts.texts or facts.blobs or facts.other_numbers)
        case "integer":
            return not (facts.reals or facts.texts or facts.blobs)
        case "real" | "number":
            return not (facts.texts or facts.blobs or facts.large)
        case "text":
            return not (facts.numbers or facts.blobs)
        case "binary":
            return not (facts.numbers or facts.texts)
        case "json":
            return not facts.not_json
        case "time":
            return not (facts.numbers or facts.blobs)
        case "date":
            return not (facts.numbers or facts.blobs or facts.other_texts or facts.times)
        case "timestamp" | "timestamptz":
            wrong_zone = facts.zones if promise == "timestamp" else facts.zoneless
            return not (facts.numbers or facts.blobs or facts.other_texts or wrong_zone)
        case _:
            return not (facts.texts or facts.blobs)


def _widened(promise: str, facts: Facts) -> str:
    """Return a promise that the values keep, or the old one when no type holds numbers or texts and blobs."""
    is_instant = promise in {"date", "timestamp", "timestamptz"}
    if is_instant and not (
        facts.numbers or facts.blobs or facts.other_texts or (facts.zones and facts.zoneless)
    ):
        return "timestamptz" if facts.zones else "timestamp"
    if facts.blobs:
        return "binary" if not (facts.numbers or facts.texts) else promise
    if facts.texts:
        return "any" if facts.numbers else "text"
    if facts.reals:
        return "any" if facts.large else "number"
    return "integer" if facts.integers else promise
