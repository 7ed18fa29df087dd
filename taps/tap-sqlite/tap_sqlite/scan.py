"""`type_scan`: types that hold what is stored, not only what is declared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tap_sqlite.connection import quoted
from tap_sqlite.types import EXACT_INTEGERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_sqlite.catalogue import Promises
    from tap_sqlite.connection import Connection

_DATE = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
_HAS_ZONE = "({0} GLOB '*Z' OR substr({0}, 11) GLOB '*[+-][0-9][0-9]:[0-9][0-9]')"
_COLUMNS_AT_ONCE = 100


def scanned(
    connection: Connection, source: str, columns: Sequence[tuple[str, str, str]], *, is_table: bool
) -> Promises:
    """Return, for each column, a promise that all its values keep.

    One pass over the table for every hundred columns. What is declared stays where it holds;
    `is_table` says whether an unknown declared type was applied when the values were stored.

    Args:
        connection: The open file.
        source: The quoted FROM item.
        columns: Name, declared type and promise of each column.
        is_table: False for views and queries.
    """
    promises: Promises = {}
    for start in range(0, len(columns), _COLUMNS_AT_ONCE):
        some = columns[start : start + _COLUMNS_AT_ONCE]
        items = [item for name, _, _ in some for item in _aggregates(quoted(name))]
        (row,) = connection.rows(
            f"SELECT {', '.join(f'{item} AS a{n}' for n, item in enumerate(items))} FROM {source}"
        )
        width = len(items) // len(some)
        for number, (name, _, promise) in enumerate(some):
            facts = [bool(value) for value in row[number * width : (number + 1) * width]]
            promises[name] = _widened(promise, *facts)
    return promises


def _aggregates(read: str) -> list[str]:
    """Return the questions, each answered 1 if it is so for any value."""
    zone = _HAS_ZONE.format(read)
    is_instant = f"(substr({read}, 1, 10) GLOB '{_DATE}' AND length({read}) <> 11)"
    return [
        f"max(typeof({read}) = 'integer')",
        f"max(typeof({read}) = 'real')",
        f"max(typeof({read}) = 'text')",
        f"max(typeof({read}) = 'blob')",
        f"max(typeof({read}) = 'integer' AND {read} NOT {EXACT_INTEGERS})",
        f"max(typeof({read}) = 'integer' AND {read} NOT IN (0, 1))",
        f"max(typeof({read}) = 'text' AND NOT {is_instant})",
        f"max(typeof({read}) = 'text' AND length({read}) > 10 AND {is_instant})",
        f"max(typeof({read}) = 'text' AND {is_instant} AND {zone})",
        f"max(typeof({read}) = 'text' AND NOT {zone})",
        f"max(CASE typeof({read}) WHEN 'text' THEN NOT json_valid({read}) WHEN 'blob' THEN NOT json_valid({read}, 8) END)",
    ]


def _widened(
    promise: str,
    has_integer: bool,
    has_real: bool,
    has_text: bool,
    has_blob: bool,
    has_large: bool,
    has_other_than_bits: bool,
    has_other_text: bool,
    has_time: bool,
    has_zone: bool,
    has_zoneless: bool,
    has_other_than_json: bool,
) -> str:
    if promise == "json" and not has_other_than_json:
        return promise
    if promise == "boolean" and not (has_real or has_text or has_blob or has_other_than_bits):
        return promise
    if promise in {"date", "timestamp", "timestamptz"} and has_text:
        if not (has_integer or has_real or has_blob or has_other_text or (has_zone and has_zoneless)):
            if has_zone:
                return "timestamptz"
            return (
                promise if promise != "timestamptz" and not (promise == "date" and has_time) else "timestamp"
            )
    if promise == "time" and has_text and not (has_integer or has_real or has_blob):
        return promise
    if has_blob:
        return "binary" if not (has_integer or has_real or has_text) else promise
    if has_text:
        return "text" if not (has_integer or has_real) else "any"
    if has_real:
        if has_large:
            return "any"
        return promise if promise in {"real", "number"} or promise.startswith("decimal") else "number"
    if has_integer:
        if promise in {"real", "number"} and not has_large:
            return promise
        return promise if promise.startswith("decimal") else "integer"
    return promise
