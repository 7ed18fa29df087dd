"""Statements as whole texts: COPY, by which rows are read, takes no parameters."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from icetap.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icetap.sql.dialect import Selection, Value

_RUN = secrets.token_hex(8)
_PLACEHOLDER = re.compile(rf"\$\[{_RUN}:(\d+)\]")


def placeholder(number: int) -> str:
    """Return the mark that stands for a parameter; nobody's own SQL can hold it."""
    return f"$[{_RUN}:{number}]"


def with_literals(sql: str, parameters: Sequence[Value]) -> str:
    """Put the parameters where their marks stand, as literals that take the type of what they meet."""
    return _PLACEHOLDER.sub(lambda mark: literal(parameters[int(mark[1]) - 1]), sql)


def literal(value: Value) -> str:
    r"""Return a value as SQL, for sessions with `standard_conforming_strings`.

    A text in quotation marks has no type yet, so that PostgreSQL reads it as what it is compared with.
    https://www.postgresql.org/docs/current/sql-syntax-lexical.html (read 2026-11-21)

    Raises:
        ConfigurationError: For a text that PostgreSQL cannot hold.
    """
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'"
    given = str(value) if isinstance(value, str) else repr(value)
    if "\0" in given:
        raise ConfigurationError("a value for a statement holds the character NUL, which PostgreSQL has not")
    return "'" + given.replace("'", "''") + "'"


def select_sql(selection: Selection) -> str:
    """Return the SELECT of a selection: the columns, then the extras."""
    items = [expression for column in selection.columns for expression in column.expressions]
    # Under names of their own: one that is cast to text would stand for the column in ORDER BY.
    items = [f'{item} AS "icetap {number}"' for number, item in enumerate([*items, *selection.extras])]
    source = selection.table.source
    if selection.table.kind == "query":
        source += " AS icetap_query"
    sql = f"SELECT {', '.join(items)} FROM {source}"
    if selection.conditions:
        sql += " WHERE " + " AND ".join(selection.conditions)
    if selection.order:
        sql += f" ORDER BY {', '.join(selection.order)}"
    if selection.limit is not None:
        sql += f" LIMIT {selection.limit}"
    return with_literals(sql, selection.parameters)
