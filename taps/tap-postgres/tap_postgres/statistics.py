"""Sizes of tables and rows, from the server's statistics and a few pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tap_postgres.types import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icetap.sql.dialect import Column, Table

_SAMPLE_PAGES = 32
_SAMPLE_ROWS = 2_000
_COMPRESSED = 4
_UNKNOWN_ROW_BYTES = 1024

_SIZES = """
SELECT c.oid::int8,
       CASE WHEN c.relkind = 'p' THEN p.rows WHEN c.relkind IN ('r', 'm', 'f') THEN c.reltuples END::int8,
       CASE WHEN c.relkind = 'p' THEN p.size WHEN c.relkind IN ('r', 'm') THEN pg_table_size(c.oid) END::int8
FROM pg_class AS c LEFT JOIN LATERAL (
    SELECT sum(nullif(l.reltuples, -1)) AS rows, sum(pg_table_size(l.oid)) AS size
    FROM pg_partition_tree(c.oid) AS t JOIN pg_class AS l ON l.oid = t.relid WHERE t.isleaf
) AS p ON c.relkind = 'p'
WHERE c.relkind IN ('r', 'p', 'm', 'f')
"""


def sizes(connection: Any) -> dict[int, tuple[int | None, int | None]]:
    """Return estimated rows and bytes of every table, by OID; rows are None for what was never analysed."""
    return {
        oid: (None if rows is None or rows < 0 else rows, size) for oid, rows, size in connection.rows(_SIZES)
    }


def row_bytes(connection: Any, table: Table, columns: Sequence[Column], *, has_blocks: bool) -> int:
    """Estimate the bytes of a row as Arrow holds it; looks at the rows of a few pages of a table.

    The length of a value that is stored apart or compressed is known without reading it.
    """
    readable = [column for column in columns if column.unsupported is None]
    fixed = int(sum(_fixed_bytes(column.field.type) for column in readable)) + 1
    long = [column for column in readable if _is_long(column.field.type)]
    if not long:
        return fixed
    if not has_blocks:
        return max(_UNKNOWN_ROW_BYTES, fixed)
    name = table.source.replace("'", "''")
    ((found,),) = connection.rows(
        f"SELECT avg({' + '.join(map(_length, long))})::float8 FROM (SELECT "
        f"{', '.join(quoted(column.name) for column in long)} FROM {table.source} TABLESAMPLE SYSTEM (("
        f"SELECT least(100, 100.0 * {_SAMPLE_PAGES} / greatest(1, pg_relation_size('{name}'::regclass) "
        f"/ current_setting('block_size')::int8)))) LIMIT {_SAMPLE_ROWS}) AS sample"
    )
    return fixed + int(_UNKNOWN_ROW_BYTES if found is None else found)


_IS_TEXT = re.compile(r"text|character varying(?:\(\d+\))?")
_HAS_LENGTH = re.compile(r"bytea|character(?:\(\d+\))?")


def _is_long(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_nested(kind))


def _length(column: Column) -> str:
    """Return the length of a text, which is known without reading it, or a guess from what is stored of a value."""
    read = quoted(column.name)
    if _IS_TEXT.fullmatch(column.native_type):
        # Whatever it is by now: that its type changed is said by name where it is read.
        return f"coalesce(octet_length({read}::text), 0)"
    if _HAS_LENGTH.fullmatch(column.native_type):
        return f"coalesce(octet_length({read}), 0)"
    return f"coalesce({_COMPRESSED} * pg_column_size({read}), 0)"


def _fixed_bytes(kind: pa.DataType) -> int:
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:
        return 16 if kind == pa.uuid() else 8
