"""Full reads of a table block by block, which resume in another snapshot and lose nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from icetap.sql.dialect import CHUNK_BYTES, Chunk
from tap_postgres.statistics import row_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from icetap.sql.dialect import Table, Value

_XIDS = 2**32
_OLDEST = 2**31
_LEAST_BLOCKS = 16

_NOW = """
SELECT pg_relation_size({oid}::oid) / current_setting('block_size')::int8, pg_table_size({oid}::oid),
       coalesce(pg_relation_filenode({oid}::oid)::int8, 0),
       txid_snapshot_xmin(txid_current_snapshot()), txid_snapshot_xmax(txid_current_snapshot()),
       current_setting('server_version_num')::int8,
       (SELECT CASE WHEN c.reltuples > 0 AND c.relpages > 0 THEN c.reltuples / c.relpages ELSE 0 END::float8
        FROM pg_class AS c WHERE c.oid = {oid})
"""
_TID_RANGE_SCAN = 140_000
"""The first version that reads a range of blocks without reading all."""


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
    ((blocks, size, file, xmin, xmax, version, density),) = connection.rows(_NOW.format(oid=oid))
    if version < _TID_RANGE_SCAN:
        return [Chunk("true")]
    # Long values may be compressed, or stored apart, so that a block stands for much more than its own size.
    in_a_block = density * row_bytes(connection, table, table.columns, has_blocks=True)
    step = _blocks_at_once(blocks, max(size, int(blocks * in_a_block)))
    first, oldest = 0, int(xmin)
    if after is not None and _is_of_file(after, file) and xmax - int(after["xmin"]) < _OLDEST:  # type: ignore[arg-type]
        first, oldest = int(after["ctid"]), int(after["xmin"])  # type: ignore[arg-type]
    found = []
    for low, high in _ranges(first, blocks, step):
        end = {"ctid": blocks if high is None else high, "tableoid": file, "xmin": oldest}
        found.append(Chunk(_between(low, high), end=end if can_resume else None))
    if first:
        newer = f"(xmin::text::int8 - {oldest % _XIDS} + {_XIDS}) % {_XIDS} < {xmax - oldest}"
        found += [
            Chunk(f"{_between(low, high)} AND {newer}")
            for low, high in _ranges(0, first, step, is_open=False)
        ]
    return found


def _is_of_file(after: Mapping[str, Value], file: int) -> bool:
    return (
        all(isinstance(after.get(name), int) for name in ("ctid", "tableoid", "xmin"))
        and after["tableoid"] == file
    )


def _blocks_at_once(blocks: int, size: int) -> int:
    if not blocks:
        return _LEAST_BLOCKS
    return max(1, min(blocks, CHUNK_BYTES * blocks // max(size, 1)))


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
