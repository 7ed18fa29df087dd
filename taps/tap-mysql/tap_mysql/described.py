"""The columns of a query, from what the server says of its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymysql.constants import FIELD_TYPE, FLAG

from tap_mysql.statement import STRINGS
from tap_mysql.types import Native

if TYPE_CHECKING:
    from tap_mysql.statement import Described

_NAMES = {
    FIELD_TYPE.TINY: "tinyint",
    FIELD_TYPE.SHORT: "smallint",
    FIELD_TYPE.INT24: "mediumint",
    FIELD_TYPE.LONG: "int",
    FIELD_TYPE.LONGLONG: "bigint",
    FIELD_TYPE.FLOAT: "float",
    FIELD_TYPE.DOUBLE: "double",
    FIELD_TYPE.DECIMAL: "decimal",
    FIELD_TYPE.NEWDECIMAL: "decimal",
    FIELD_TYPE.YEAR: "year",
    FIELD_TYPE.DATE: "date",
    FIELD_TYPE.NEWDATE: "date",
    FIELD_TYPE.DATETIME: "datetime",
    FIELD_TYPE.TIMESTAMP: "timestamp",
    FIELD_TYPE.TIME: "time",
    FIELD_TYPE.BIT: "bit",
    FIELD_TYPE.JSON: "json",
    FIELD_TYPE.GEOMETRY: "geometry",
    242: "vector",
}
_TEXT_OR_BYTES = STRINGS | {FIELD_TYPE.ENUM, FIELD_TYPE.SET}


def native_type(column: Described) -> Native:
    """Return the type of a result's column; its `data_type` is a number in words when nobody knows it."""
    name = _name(column)
    unsigned = " unsigned" if column.is_unsigned else ""
    if name == "decimal":
        # The sign and the point count: https://dev.mysql.com/doc/c-api/8.4/en/c-api-data-structures.html
        precision = column.length - (0 if column.is_unsigned else 1) - (1 if column.scale else 0)
        spelled = f"decimal({precision},{column.scale}){unsigned}"
        return Native(name, spelled, precision, column.scale, is_unsigned=column.is_unsigned)
    if name == "bit":
        return Native(name, f"bit({column.length})", column.length)
    return Native(name, name + unsigned, is_unsigned=column.is_unsigned)


def _name(column: Described) -> str:
    if column.flags & FLAG.SET:
        return "set"
    if column.type_code in _TEXT_OR_BYTES:
        return "varbinary" if column.is_binary and not column.flags & FLAG.ENUM else "varchar"
    if column.type_code == FIELD_TYPE.NULL:
        return "varchar"
    return _NAMES.get(column.type_code, f"type {column.type_code}")
