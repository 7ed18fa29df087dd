"""Statements: one SELECT for a selection, queries of the user's own as derived tables, numbered parameters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from icetap.errors import ConfigurationError
from tap_mssql.types import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icetap.sql.dialect import Selection, Table, Value

PLACEHOLDER = "@icetap"
"""Begins the placeholders of numbered parameters; the drivers know question marks only."""

# What may hold a placeholder or a word without meaning it comes first: texts, identifiers, comments.
_TOKEN = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | \[(?:[^\]]|\]\])*\] | --[^\n]* | /\*.*?\*/
      | @icetap(?P<number>\d+) | (?P<bracket>[()]) | (?P<word>[A-Za-z_@\#][\w@\#$]*)""",
    re.VERBOSE | re.DOTALL,
)


def placeholder(number: int) -> str:
    """Return the text for the parameter of this number, from 1; it may be used several times."""
    return f"{PLACEHOLDER}{number}"


def positional(sql: str, parameters: Sequence[Value]) -> tuple[str, list[Value]]:
    """Return the statement with a question mark for each placeholder, and the value of each."""
    values: list[Value] = []

    def mark(match: re.Match[str]) -> str:
        if match["number"] is None:
            return match[0]
        values.append(parameters[int(match["number"]) - 1])
        return "?"

    return _TOKEN.sub(mark, sql), values


def select_sql(selection: Selection) -> str:
    """Return the statement for a selection: what the columns ask for, then the extras."""
    items = [expression for column in selection.columns for expression in column.expressions]
    items += selection.extras
    prefix, source = from_item(selection.table)
    top = "" if selection.limit is None else f"TOP ({selection.limit}) "
    sql = f"{prefix}SELECT {top}{', '.join(items) or '1'} FROM {source}"
    if selection.conditions:
        sql += " WHERE " + " AND ".join(selection.conditions)
    if selection.order:
        # An expression that comes twice in ORDER BY is an error (169).
        sql += " ORDER BY " + ", ".join(dict.fromkeys(selection.order))
    return sql


def from_item(table: Table) -> tuple[str, str]:
    """Return what stands before the SELECT (a query's WITH) and what it reads from."""
    if table.kind != "query":
        return "", table.source
    sql = table.source[1:-1].strip()
    head, body = split_with(sql)
    return (f"{head}\n" if head else ""), f"({body}\n) AS {quoted('q')}"


def split_with(sql: str) -> tuple[str, str]:
    """Cut a leading WITH off a query: SQL Server takes no WITH inside of parentheses.

    Raises:
        ConfigurationError: When no SELECT follows the WITH.
    """
    depth = 0
    is_first = True
    for match in _TOKEN.finditer(sql):
        if match["bracket"]:
            if is_first:
                return "", sql
            depth += 1 if match["bracket"] == "(" else -1
            continue
        word = (match["word"] or "").upper()
        if not word:
            continue
        if is_first and word != "WITH":
            return "", sql
        is_first = False
        if depth == 0 and word == "SELECT":
            return sql[: match.start()].strip(), sql[match.start() :]
    if is_first:
        return "", sql
    raise ConfigurationError("the query begins with WITH but has no SELECT after it; expected one SELECT")
