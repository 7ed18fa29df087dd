"""Full reads of tables block by block, which resume in another snapshot and lose nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from icetap.sql.dialect import CHUNK_BYTES, Chunk
from tap_postgres.statistics import row_bytes
from tap_postgres.types import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from icetap.sql.dialect import Table, Value

PARTS_POSITION = ("ctid", "tableoid", "xmin", "cmax")
"""The position of a read of a partitioned table by its parts: the next block, the part, the oldest snapshot's `xmin`,
and a number for all parts and their files. The names are those of system columns, which no column can have."""

_XIDS = 2**32
_OLDEST = 2**31
_LEAST_BLOCKS = 16
_DIGEST_BYTES = 7

_FILE = """
SELECT c.oid::int8, coalesce(pg_relation_size(c.oid) / current_setting('block_size')::int8, 0),
       coalesce(pg_table_size(c.oid), 0), coalesce(pg_relation_filenode(c.oid)::int8, 0),
       CASE WHEN c.reltuples > 0 AND c.relpages > 0 THEN c.reltuples / c.relpages ELSE 0 END::float8,
       txid_snapshot_xmin(txid_current_snapshot()), txid_snapshot_xmax(txid_current_snapshot()),
       current_setting('server_version_num')::int8"""
_TABLE = f"{_FILE} FROM pg_class AS c WHERE c.oid = {{oid}}"
_PARTS = f"""{_FILE}, n.nspname::text, c.relname::text, coalesce(m.amname = 'heap', false),
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
           AND NOT (c.relrowsecurity AND row_security_active(c.oid))
           AND NOT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attgenerated = 'v')
FROM pg_partition_tree({{oid}}) AS t JOIN pg_class AS c ON c.oid = t.relid JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_am AS m ON m.oid = c.relam
WHERE t.isleaf ORDER BY c.oid
"""
_TID_RANGE_SCAN = 140_000
"""The first version that reads a range of blocks without reading all."""


@dataclass(frozen=True, slots=True)
class _File:
    """The blocks of a table, and the snapshot that sees them.

    `size` counts the bytes of long values that are stored apart too; `density` is in rows to a block, 0 if unknown.
    """

    oid: int
    blocks: int
    size: int
    number: int
    density: float
    xmin: int
    xmax: int
    version: int

    def step(self, row_size: int) -> int:
        """Return of how many blocks a chunk should be."""
        if not self.blocks:
            return _LEAST_BLOCKS
        # Long values may be compressed, or stored apart, so that a block stands for much more than its own size.
        size = max(self.size, int(self.blocks * self.density * row_size), 1)
        return max(1, min(self.blocks, CHUNK_BYTES * self.blocks // size))

    def can_resume(self, after: Mapping[str, Value]) -> bool:
        """Say whether `xmin` still tells what is newer than the snapshot in which a read began."""
        return self.xmax - int(after["xmin"]) < _OLDEST  # type: ignore[arg-type]

    def newer(self, oldest: int) -> str:
        """Return the condition for rows written since a snapshot; `xmin` has 32 bits."""
        return f"(xmin::text::int8 - {oldest % _XIDS} + {_XIDS}) % {_XIDS} < {self.xmax - oldest}"


@dataclass(frozen=True, slots=True)
class _Part(_File):
    """A part of a partitioned table; `is_plain` says that it shows its rows by itself as the whole shows them."""

    schema: str
    name: str
    is_heap: bool
    is_plain: bool

    def of(self, whole: Table) -> Table:
        """Return the part, with the columns of the whole."""
        return replace(whole, source=f"{quoted(self.schema)}.{quoted(self.name)}")


def of_heap(
    connection: Any, table: Table, oid: int, *, after: Mapping[str, Value] | None, can_resume: bool
) -> list[Chunk]:
    """Return the chunks of a table, by ranges of blocks.

    A row keeps its place for as long as it does not change, so after an interruption the blocks that were read
    hold nothing new except rows written since: those whose `xmin` is not older than that of the snapshot in which
    the read began. They are read last. Where a row lies is told anew by VACUUM FULL, CLUSTER and TRUNCATE,
    which give the table another file: then all is read again. So is what was interrupted two thousand million
    transactions ago, because `xmin` has 32 bits.
    https://www.postgresql.org/docs/current/routine-vacuuming.html (read 2026-11-21)
    """
    (row,) = connection.rows(_TABLE.format(oid=oid))
    file = _File(*row)
    if file.version < _TID_RANGE_SCAN:
        return [Chunk("true")]
    step = file.step(row_bytes(connection, table, table.columns, has_blocks=True))
    first, oldest = 0, file.xmin
    if (
        after is not None
        and _is_position(after)
        and after["tableoid"] == file.number
        and file.can_resume(after)
    ):
        first, oldest = int(after["ctid"]), int(after["xmin"])  # type: ignore[arg-type]
    rest = {"tableoid": file.number, "xmin": oldest}
    return [
        *_unread(file, first, step=step, end=rest if can_resume else None),
        *_written_since(file, first, step=step, oldest=oldest),
    ]


def of_parts(connection: Any, table: Table, oid: int, *, after: Mapping[str, Value] | None) -> list[Chunk]:
    """Return the chunks of a partitioned table, part by part, in each as in a table of its own.

    None where a part is not to be read by itself, because of rights or row-level security, and none for what is
    small. A read goes on only among the same parts with the same files. Foreign parts have no blocks: they are read
    at the end, and again after an interruption.
    """
    parts = [_Part(*row) for row in connection.rows(_PARTS.format(oid=oid))]
    heaps = [part for part in parts if part.is_heap]
    if not all(part.is_plain for part in parts) or sum(part.size for part in heaps) < CHUNK_BYTES:
        return []
    if heaps[0].version < _TID_RANGE_SCAN:
        return []
    largest = max(heaps, key=lambda part: part.size)
    row_size = row_bytes(connection, largest.of(table), table.columns, has_blocks=True)
    number, oldest = _number_of(parts), largest.xmin
    at = (0, 0)
    if (
        after is not None
        and _is_position(after)
        and after.get("cmax") == number
        and largest.can_resume(after)
    ):
        at, oldest = (int(after["tableoid"]), int(after["ctid"])), int(after["xmin"])  # type: ignore[arg-type]
    unread: list[Chunk] = []
    again: list[Chunk] = []
    for part in heaps:
        of_part, step = part.of(table), part.step(row_size)
        end = {"tableoid": part.oid, "xmin": oldest, "cmax": number} if table.key else None
        first = at[1] if part.oid == at[0] else None if part.oid < at[0] else 0
        if first is not None:
            unread += [replace(each, table=of_part) for each in _unread(part, first, step=step, end=end)]
        again += [
            replace(each, table=of_part) for each in _written_since(part, first, step=step, oldest=oldest)
        ]
    return [*unread, *again, *(Chunk("true", table=part.of(table)) for part in parts if not part.is_heap)]


def _number_of(parts: Sequence[_Part]) -> int:
    known = ",".join(f"{part.oid}:{part.number}" for part in parts)
    return int.from_bytes(hashlib.blake2b(known.encode(), digest_size=_DIGEST_BYTES).digest(), "big")


def _is_position(after: Mapping[str, Value]) -> bool:
    return all(isinstance(after.get(name), int) for name in ("ctid", "tableoid", "xmin"))


def _unread(file: _File, first: int, *, step: int, end: Mapping[str, Value] | None) -> Iterator[Chunk]:
    """Yield the chunks from a block on, with the ends of those that have been read."""
    for low, high in _ranges(first, file.blocks, step):
        reached = file.blocks if high is None else high
        yield Chunk(_between(low, high), end=None if end is None else {"ctid": reached, **end})


def _written_since(file: _File, first: int | None, *, step: int, oldest: int) -> Iterator[Chunk]:
    """Yield chunks of the rows that were written since, in front of a block, or everywhere if it is None."""
    last = file.blocks if first is None else first
    if last or first is None:
        for low, high in _ranges(0, last, step, is_open=first is None):
            yield Chunk(f"{_between(low, high)} AND {file.newer(oldest)}")


def _ranges(first: int, last: int, step: int, *, is_open: bool = True) -> Iterator[tuple[int, int | None]]:
    """Yield ranges of blocks; the last one is open, for blocks that came since the size was told."""
    low = first
    while low + step < last:
        yield low, low + step
        low += step
    if is_open or low < last:
        yield low, None if is_open else last


def _between(low: int, high: int | None) -> str:
    """Return the condition for a range of blocks; offsets of rows count from 1."""
    condition = f"ctid >= '({low},0)'::tid"
    return condition if high is None else f"{condition} AND ctid < '({high},0)'::tid"
