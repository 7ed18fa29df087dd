"""Finding rows again by keys as the log gave them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tap_mysql.log_based.cells import inet4_text, inet6_text, uuid_text
from tap_mysql.log_based.readers import decimal_text, moment_text
from tap_mysql.select import placeholder
from tap_mysql.statement import Number
from tap_mysql.types import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icetap.sql.dialect import Column, Value

_LENGTH = re.compile(r"\((\d+)\)")
_MICROSECOND_DIGITS = 6
_NETWORK = {"uuid": uuid_text, "inet4": inet4_text, "inet6": inet6_text}


def key_condition(
    columns: Sequence[Column], keys: Sequence[Sequence[Any]], *, start: int
) -> tuple[str, tuple[Value, ...]]:
    """Return the condition for the rows with these keys, and its parameters, numbered from `start`."""
    names = [quoted(column.name) for column in columns]
    rows: list[str] = []
    parameters: list[Value] = []
    for key in keys:
        same = []
        for name, column, cell in zip(names, columns, key, strict=True):
            same.append(f"{name} = {_placeholder(column, start + len(parameters))}")
            parameters.append(key_value(column, cell))
        rows.append(" AND ".join(same))
    return "(" + " OR ".join(rows) + ")", tuple(parameters)


def _placeholder(column: Column, number: int) -> str:
    """A UUID is compared as one: as a text its dashes and case would count."""
    kind = column.hint.native.data_type
    return f"CAST({placeholder(number)} AS {kind})" if kind in _NETWORK else placeholder(number)


def key_value(column: Column, cell: Any) -> Value:
    """Return what the cell of a key is compared with."""
    native = column.hint.native
    kind = native.data_type
    if kind == "decimal":
        return Number(decimal_text(cell, native.scale))
    if kind in {"date", "datetime", "timestamp"}:
        if isinstance(cell, str):
            return cell
        return moment_text(cell, digits=_MICROSECOND_DIGITS, is_date=kind == "date")
    if kind in _NETWORK:
        return _NETWORK[kind](cell)
    if kind == "binary":
        length = _LENGTH.search(native.column_type)
        return bytes(cell).ljust(int(length[1]) if length else 1, b"\0")
    if isinstance(cell, bytes) and not kind.startswith(("varbinary", "blob")):
        return cell.decode("utf-8", "surrogateescape")
    value: Value = cell
    return value
