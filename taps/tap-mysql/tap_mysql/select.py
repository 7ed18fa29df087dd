"""SELECT statements, and the values that are bound to them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tap_mysql.types import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icetap.sql.dialect import Selection, Table, Value

_PLACEHOLDER = re.compile(r":icetap_(\d+):")


def placeholder(number: int) -> str:
    """Return what stands for a value until the statement is complete; the server's `?` has no numbers."""
    return f":icetap_{number}:"


def bound(sql: str, parameters: Sequence[Value]) -> tuple[str, list[Value]]:
    """Return the statement with `?` for its values, and the values in the order of those."""
    values = [parameters[int(number) - 1] for number in _PLACEHOLDER.findall(sql)]
    return _PLACEHOLDER.sub("?", sql), values


def from_item(table: Table) -> str:
    """Return what follows FROM; a query needs a name there."""
    return f"{table.source} AS icetap_query" if table.kind == "query" else table.source


def select_sql(selection: Selection) -> str:
    """Return the statement of a selection, its placeholders still numbered."""
    items = [
        column.hint.select if isinstance(column.hint, Reading) else column.expressions[0]
        for column in selection.columns
    ]
    sql = f"SELECT {', '.join([*items, *selection.extras]) or '1'} FROM {from_item(selection.table)}"
    if selection.conditions:
        sql += " WHERE " + " AND ".join(f"({condition})" for condition in selection.conditions)
    if selection.order:
        sql += " ORDER BY " + ", ".join(selection.order)
    if selection.limit is not None:
        sql += f" LIMIT {selection.limit}"
    return sql
