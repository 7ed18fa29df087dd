"""What `verify` found in one stream: for people as text, for programs as JSON."""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from target_iceberg.methods.equality import unequal_rows
from target_iceberg.verification.comparison import KINDS, LATE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from target_iceberg.verification.comparison import Counts

_TITLES = {
    "missing": "missing in the table",
    "extra": "extra in the table",
    "different": "with other values",
    "doubled": "too many copies in the table",
}


@dataclass
class Example:
    """One difference: its key, the columns that differ, and the values, which are shown on demand only."""

    kind: str
    key: dict[str, Any] | None = None
    columns: list[str] = field(default_factory=list)
    source: dict[str, Any] | None = None
    table: dict[str, Any] | None = None


@dataclass
class Findings:
    """What is known of one stream and its table."""

    stream: str
    table: str
    counts: Counts | None = None
    """None when there is no such table."""
    snapshot: tuple[int, str] | None = None
    """The snapshot that was read: its id, and when it was made."""
    bookmark: str | None = None
    """Column and value up to which an incremental stream was compared."""
    refused: int = 0
    """Rows of the source that the contract refuses."""
    marked_deleted: int = 0
    """Rows of the table that are kept although the source has deleted them."""
    past_versions: int = 0
    """Rows of the table that hold what was true before."""
    absent_columns: list[str] = field(default_factory=list)
    """Columns of the source that the table does not have."""
    uncompared_columns: list[str] = field(default_factory=list)
    """Columns of the table that the source does not declare."""
    notes: list[str] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        """Whether the table holds what the source holds, up to the bookmark."""
        return (
            self.counts is not None
            and not any(self.counts.found.get(kind) for kind in KINDS)
            and not self.refused
            and not self.absent_columns
        )

    def number_of(self, kind: str) -> int:
        """Return how many rows differ in this way."""
        return self.counts.found.get(kind, 0) if self.counts else 0


def examples_of(
    wanted: Mapping[int, str], *, source: pa.Table, table: pa.Table, keys: Sequence[str]
) -> list[Example]:
    """Describe differences by the rows that are at hand.

    Args:
        wanted: The numbers of the rows' keys, with the kind of difference.
        source: Rows of the source, with a column of the numbers last; the newest of a key is its last.
        table: Rows of the table, likewise.
        keys: The key columns.
    """
    stored, arrived = (
        {number: place for place, number in enumerate(side.column(side.num_columns - 1).to_pylist())}
        for side in (table, source)
    )
    both = [number for number in wanted if number in stored and number in arrived]
    names = source.schema.names[:-1]
    unequal = _unequal_columns(
        source.take(pa.array([arrived[number] for number in both], pa.int64())).select(names),
        table.take(pa.array([stored[number] for number in both], pa.int64())).select(names),
    )
    columns = dict(zip(both, unequal, strict=True))
    found = []
    for number, kind in wanted.items():
        one = Example(kind, columns=columns.get(number, []))
        if number in arrived and kind != "extra":
            one.source = _row(source, arrived[number])
        if number in stored and kind != "missing":
            one.table = _row(table, stored[number])
        row = one.source or one.table
        one.key = {key: row[key] for key in keys} if row and keys else None
        found.append(one)
    return found


def _unequal_columns(source: pa.Table, table: pa.Table) -> list[list[str]]:
    """Return the names of the columns that differ, row by row."""
    found: list[list[str]] = [[] for _ in range(source.num_rows)]
    for name in source.schema.names if source.num_rows else ():
        differs = unequal_rows(table.select([name]), source.select([name]))
        for place in pc.indices_nonzero(differs).to_pylist():
            found[place].append(name)
    return found


def _row(rows: pa.Table, place: int) -> dict[str, Any]:
    (row,) = rows.slice(place, 1).to_pylist()
    return {name: row[name] for name in rows.schema.names[:-1]}


# --- for programs ---------------------------------------------------------------------------------------


def as_json(findings: Sequence[Findings], *, show_values: bool) -> dict[str, Any]:
    """Return the findings as JSON values; what JSON cannot hold exactly is a text."""
    return {
        "equal": all(one.is_equal for one in findings),
        "streams": [_stream_json(one, show_values=show_values) for one in findings],
    }


def _stream_json(one: Findings, *, show_values: bool) -> dict[str, Any]:
    counts = one.counts
    return {
        "stream": one.stream,
        "table": one.table,
        "equal": one.is_equal,
        "table_exists": counts is not None,
        "snapshot_id": one.snapshot[0] if one.snapshot else None,
        "compared_up_to": one.bookmark,
        "source_rows": counts.source if counts else None,
        "table_rows": counts.table if counts else 0,
        **{kind: one.number_of(kind) for kind in (*KINDS, LATE)},
        "refused": one.refused,
        "repeated_in_source": counts.repeated if counts else 0,
        "marked_deleted": one.marked_deleted,
        "past_versions": one.past_versions,
        "absent_columns": one.absent_columns,
        "uncompared_columns": one.uncompared_columns,
        "notes": one.notes,
        "examples": [_example_json(example, show_values=show_values) for example in one.examples],
    }


def _example_json(example: Example, *, show_values: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kind": example.kind,
        "key": _plain(example.key),
        "columns": example.columns,
    }
    for name, row in (("source", example.source), ("table", example.table)):
        if show_values and row is not None:
            found[name] = {
                column: _plain(value)
                for column, value in row.items()
                if not example.columns or column in example.columns
            }
    return found


def _plain(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case bytes():
            return base64.b64encode(value).decode()
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case dict():
            return {str(name): _plain(part) for name, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
        case Decimal():
            return format(value, "f")
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)


# --- for people -----------------------------------------------------------------------------------------


def as_text(findings: Sequence[Findings], *, show_values: bool) -> str:
    """Return the findings as people read them: keys always, values on demand."""
    return "\n".join(line for one in findings for line in _lines(one, show_values=show_values))


def _lines(one: Findings, *, show_values: bool) -> Iterator[str]:
    if one.counts is None:
        yield f"{one.stream}: DIFFERS. There is no table {one.table}: nothing of this stream was loaded."
        return
    read = f" (snapshot {one.snapshot[0]} of {one.snapshot[1]})" if one.snapshot else ""
    verdict = "equal" if one.is_equal else "DIFFERS"
    yield (
        f"{one.stream}: {verdict}. {one.counts.source:,} rows in the source, "
        f"{one.counts.table:,} in {one.table}{read}."
    )
    for kind in KINDS:
        if one.number_of(kind):
            yield f"  {one.number_of(kind):,} {_TITLES[kind]}{_columns_text(one, kind)}"
    yield from (f"  {line}" for line in _remarks(one))
    for example in one.examples:
        yield "    " + _example_text(example, show_values=show_values)
    left = sum(one.number_of(kind) for kind in KINDS) - len(one.examples)
    if one.examples and left > 0:
        yield f"    … and {left:,} more; --limit shows more of them"


def _columns_text(one: Findings, kind: str) -> str:
    counted = Counter(
        column for example in one.examples if example.kind == kind for column in example.columns
    )
    return f": {', '.join(f'{name} ({count:,})' for name, count in counted.most_common())}" if counted else ""


def _remarks(one: Findings) -> Iterator[str]:
    if one.refused:
        yield f"{one.refused:,} rows of the source that the contract refuses, so the table does not have them"
    if one.absent_columns:
        yield f"columns that the table does not have: {', '.join(one.absent_columns)}"
    if one.number_of(LATE):
        yield f"{one.number_of(LATE):,} beyond the bookmark ({one.bookmark}): not loaded yet, no difference"
    if one.counts and one.counts.repeated:
        yield f"{one.counts.repeated:,} rows of the source came before another one of the same key, which counts"
    if one.marked_deleted:
        yield f"{one.marked_deleted:,} rows of the table are marked as deleted and were left out"
    if one.past_versions:
        yield f"{one.past_versions:,} rows of the table are of the past and were left out"
    if one.uncompared_columns:
        yield f"not compared, as the source does not declare them: {', '.join(one.uncompared_columns)}"
    yield from one.notes


def _example_text(example: Example, *, show_values: bool) -> str:
    key = ", ".join(f"{name}={_word(value)}" for name, value in (example.key or {}).items())
    parts = [f"{example.kind:<10}{key or 'a row'}"]
    if not show_values:
        return ": ".join([*parts, ", ".join(example.columns)] if example.columns else parts)
    if example.columns and example.source and example.table:
        parts += [
            f"{name} is {_word(example.source[name])} in the source, {_word(example.table[name])} in the table"
            for name in example.columns
        ]
        return parts[0] + ": " + "; ".join(parts[1:])
    row = example.source or example.table or {}
    values = ", ".join(
        f"{name}={_word(value)}" for name, value in row.items() if name not in (example.key or {})
    )
    return f"{parts[0]}: {values}" if values else parts[0]


def _word(value: Any) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    return json.dumps(_plain(value), ensure_ascii=False)
