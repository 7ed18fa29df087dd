"""Statements for the driver: one SELECT whose first row fixes the types of its columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator

    from icetap.sql.dialect import Column, Selection

SENTINEL_MARK = 2
"""Stands in `is_refused` of the first row, where rows of the table have 0 or 1."""

_SENTINELS = {"int64": "0", "double": "0.0", "string": "''", "binary": "x''"}


@dataclass(frozen=True, slots=True)
class Physical:
    """How the driver sees a column.

    `types` are the driver's types, one per expression. `check` is an SQL condition for values that the
    driver would turn into another type in silence; the rest it refuses by itself.
    """

    types: tuple[str, ...]
    check: str | None = None


def physical(column: Column) -> Physical:
    """Return the driver's view of one of our columns."""
    hint: Physical = column.hint
    return hint


def expected_types(selection: Selection) -> list[pa.DataType | None]:
    """Return the driver's type of each result column; None where any will do."""
    columns: list[pa.DataType | None] = []
    for column in selection.columns:
        columns += [_ARROW[name] for name in physical(column).types]
    return [*columns, *(None for _ in selection.extras), pa.int64()]


_ARROW = {"int64": pa.int64(), "double": pa.float64(), "string": pa.string(), "binary": pa.binary()}


def select_sql(selection: Selection) -> str:
    """Return the statement: the sentinel row, then the rows of the selection."""
    sentinels: list[str] = []
    for column in selection.columns:
        sentinels += [_SENTINELS[name] for name in physical(column).types]
    sentinels += ["NULL" for _ in selection.extras] + [str(SENTINEL_MARK)]
    row = ", ".join(f"{value} AS c{number}" for number, value in enumerate(sentinels))
    return f"SELECT {row} UNION ALL {_rows_sql(selection)}"


def _rows_sql(selection: Selection) -> str:
    items = [*_values(selection), *selection.extras, _refused(selection)]
    sql = f"SELECT {', '.join(items)} FROM {selection.table.source}"
    if selection.conditions:
        sql += " WHERE " + " AND ".join(selection.conditions)
    if selection.order or selection.limit is not None:
        # Only a subquery with a LIMIT keeps its order inside a UNION ALL; -1 limits nothing.
        order = f" ORDER BY {', '.join(selection.order)}" if selection.order else ""
        limit = -1 if selection.limit is None else selection.limit
        sql = f"SELECT * FROM ({sql}{order} LIMIT {limit})"
    return sql


def _values(selection: Selection) -> Iterator[str]:
    for column in selection.columns:
        for expression in column.expressions:
            if selection.guarded and column.refusal:
                yield f"CASE WHEN {column.refusal} THEN NULL ELSE {expression} END"
            else:
                yield expression


def _refused(selection: Selection) -> str:
    if selection.guarded:
        conditions = [column.refusal for column in selection.columns if column.refusal]
    else:
        conditions = [check for column in selection.columns if (check := physical(column).check)]
    if not conditions:
        return "0"
    # One WHEN each: a chain of ORs is a tree that SQLite refuses to go down for more than 1,000 columns.
    return f"CASE {' '.join(f'WHEN {condition} THEN 1' for condition in conditions)} ELSE 0 END"
