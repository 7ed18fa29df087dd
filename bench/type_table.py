"""How exact a tool is: a SQLite table with a column for each type, loaded by it and read back with DuckDB.

Each column holds values at the edges of its type. Of a column, as it arrived:

- exact: every value is what it was, in a column of its own type;
- as text: every value is there as the text that SQLite gives for it, in a text column;
- changed: a value is another one, null, or missing, or its column is.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

TABLE = "types"
EXACT, AS_TEXT, CHANGED = "exact", "as text", "changed"


def _moments(*texts: str) -> dict[str, dt.datetime]:
    return {text: dt.datetime.fromisoformat(text) for text in texts}


@dataclass(frozen=True)
class Kind:
    """A column: its declared type, and by stored value what must arrive; SQLite's own values stand for themselves."""

    declared: str
    values: Sequence[Any] | Mapping[Any, Any]

    @property
    def pairs(self) -> list[tuple[Any, Any]]:
        """Return (stored, expected) of each value, and of null."""
        listed = self.values.items() if isinstance(self.values, dict) else ((one, one) for one in self.values)
        return [*listed, (None, None)]


KINDS = {
    "v_bigint": Kind("BIGINT", [0, 2**53 + 1, 2**63 - 1, -(2**63)]),
    "v_integer": Kind("INTEGER", [1, -1, 2**31, 2**63 - 1]),
    "v_smallint": Kind("SMALLINT", [32_767, -32_768]),
    "v_boolean": Kind("BOOLEAN", {1: True, 0: False}),
    "v_double": Kind("DOUBLE", [0.1, 1.7976931348623157e308, 5e-324, 0.30000000000000004]),
    "v_decimal": Kind("DECIMAL(16,2)", {0.1: Decimal("0.10"), 99999999999.01: Decimal("99999999999.01")}),
    "v_text": Kind("TEXT", ["", "  spaces  ", "null", "naïve ☃ 😀", 'tab\t"quote" \\ line\n', "x" * 100_000]),
    "v_varchar": Kind("VARCHAR(20)", ["007", "1e3", "true", "2024-01-01"]),
    "v_blob": Kind("BLOB", [b"\x00\xff\x00", b""]),
    "v_date": Kind(
        "DATE",
        {
            text: dt.date.fromisoformat(text)
            for text in ("2024-02-29", "1969-12-31", "0001-01-01", "9999-12-31")
        },
    ),
    "v_timestamp": Kind("TIMESTAMP", _moments("2024-02-29 01:02:03.000001", "1969-12-31 23:59:59.999999")),
    "v_datetime": Kind("DATETIME", _moments("2024-07-01 12:00:00.123456", "9999-12-31 23:59:59.999999")),
    "v_time": Kind("TIME", {text: dt.time.fromisoformat(text) for text in ("00:00:00", "23:59:59.999999")}),
    "v_json": Kind("JSON", ['{"a": [1, 2.50], "b": null}', '{"n": 12345678901234567890.123}']),
}


def build(path: Path, kinds: Mapping[str, Kind] = KINDS) -> None:
    """Write the table: `id` is the key, and each value has a row of its own."""
    path.unlink(missing_ok=True)
    columns = ", ".join(f"{name} {kind.declared}" for name, kind in kinds.items())
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"create table {TABLE} (id integer primary key, {columns})")
        for number in range(_rows()):
            stored = [_at(kind, number)[0] for kind in kinds.values()]
            marks = ", ".join("?" for _ in kinds)
            database.execute(f"insert into {TABLE} values ({number}, {marks})", stored)
        database.commit()


def _rows() -> int:
    return max(len(kind.pairs) for kind in KINDS.values())


def _at(kind: Kind, number: int) -> tuple[Any, Any]:
    pairs = kind.pairs
    return pairs[number] if number < len(pairs) else pairs[-1]


def judge(columns: Mapping[str, Mapping[int, Any]]) -> dict[str, str]:
    """Say of each column how it arrived.

    Args:
        columns: By name, the values by `id`, as DuckDB gives them to Python.
    """
    return {name: _verdict(kind, columns.get(name)) for name, kind in KINDS.items()}


def _verdict(kind: Kind, found: Mapping[int, Any] | None) -> str:
    if found is None or set(found) != set(range(_rows())):
        return CHANGED
    pairs = [(_at(kind, number), value) for number, value in found.items()]
    if all(_is_same(stored, expected, value) for (stored, expected), value in pairs):
        return EXACT
    if all(value is None if stored is None else value == str(stored) for (stored, _), value in pairs):
        return AS_TEXT
    return CHANGED


def _is_same(stored: Any, expected: Any, value: Any) -> bool:
    """Equality that tells types apart: 1 is not true, a time with a zone is none without.

    SQLite keeps decimals as doubles, so that a double is exact too.
    """
    if isinstance(value, bytearray | memoryview):
        value = bytes(value)
    wanted = stored if isinstance(expected, Decimal) and isinstance(value, float) else expected
    return type(value) is type(wanted) and bool(value == wanted)


def summary(verdicts: Mapping[str, str]) -> str:
    """Return one line: how many are exact, and what became of the others."""
    counted = Counter(verdicts.values())
    changed = ", ".join(name.removeprefix("v_") for name, verdict in verdicts.items() if verdict == CHANGED)
    return (
        f"{counted[EXACT]} of {len(verdicts)}"
        + (f", {counted[AS_TEXT]} as text" if counted[AS_TEXT] else "")
        + (f"; changed: {changed}" if changed else "")
    )
