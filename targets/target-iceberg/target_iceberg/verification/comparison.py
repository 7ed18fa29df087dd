"""Source and table side by side, by the numbers of their rows: first by range of keys, then row by row.

Both sides are kept as numbers alone, 17 bytes a row, in DuckDB, which puts what its share of the memory does not
hold into a private folder. A range of keys is a 4096th of all keys by their number; where a range has as many
rows on both sides, with the same sum of their numbers, it is equal, and its rows are looked at no further.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from icetap.scratch_folders import ScratchFolder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import duckdb

MEMORY_MB = 96
SLICES = 16
"""Ranges are looked into in so many turns, to bound the memory of each."""

KINDS = ("missing", "extra", "different", "doubled")
"""What a difference is: a row of the source that the table lacks, a row of the table that the source lacks, one
with other values, one that the table has more often than the source."""

LATE = "not_loaded"
"""Rows beyond the table's bookmark that the table does not have yet: no difference."""


@contextlib.contextmanager
def comparing() -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the engine in which sides are compared."""
    import duckdb  # noqa: PLC0415 - loads do without it

    with ScratchFolder("verify") as folder:
        engine = duckdb.connect(
            config={"memory_limit": f"{MEMORY_MB}MB", "temp_directory": str(folder.path), "threads": 2}
        )
        try:
            yield engine
        finally:
            engine.close()


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows there are, and how many of them differ."""

    source: int
    table: int
    repeated: int
    """Rows of the source that a later row of the same key takes the place of."""
    found: Mapping[str, int]
    """Rows by kind of difference, and the late ones."""
    ranges: int
    """Ranges of keys that had to be looked into."""


class Comparison:
    """The two sides of one stream.

    Args:
        engine: See `comparing`.
        number: Tells this stream from the others in the same engine.
        has_keys: Without keys, sides are compared as multisets of rows.
    """

    def __init__(self, engine: duckdb.DuckDBPyConnection, number: int, *, has_keys: bool) -> None:
        self._engine = engine
        self._source = f"source_{number}"
        self._table = f"table_{number}"
        self._ranges = f"ranges_{number}"
        self._found = f"found_{number}"
        self._has_keys = has_keys
        for name in (self._source, self._table):
            engine.execute(
                f"CREATE TEMP TABLE {name} (k UBIGINT, h UBIGINT, is_late BOOLEAN, is_deleted BOOLEAN)"
            )

    def add_source(self, numbers: pa.Table, *, late: pa.Array | None, deleted: pa.Array | None) -> None:
        """Take rows of the source, in order.

        Args:
            numbers: Columns `k` and `h`.
            late: True for rows beyond the table's bookmark.
            deleted: True for rows that delete.
        """
        self._add(self._source, numbers, late=late, deleted=deleted)

    def add_table(self, numbers: pa.Table) -> None:
        """Take rows of the table."""
        self._add(self._table, numbers, late=None, deleted=None)

    def _add(self, name: str, numbers: pa.Table, *, late: pa.Array | None, deleted: pa.Array | None) -> None:
        no = pa.repeat(pa.scalar(value=False), numbers.num_rows)
        flags = [no if one is None else one for one in (late, deleted)]
        batch = pa.Table.from_arrays([*numbers.columns, *flags], names=["k", "h", "is_late", "is_deleted"])
        self._engine.register("batch", batch)
        self._engine.execute(f"INSERT INTO {name} SELECT k, h, is_late, is_deleted FROM batch")
        self._engine.unregister("batch")

    def run(self) -> Counts:
        """Compare; nothing may be added any more."""
        self._find_ranges()
        self._engine.execute(
            f"CREATE TEMP TABLE {self._found} (k UBIGINT, kind VARCHAR, amount BIGINT, repeated BIGINT)"
        )
        look = self._by_key if self._has_keys else self._by_row
        for number in range(SLICES):
            self._engine.execute(f"INSERT INTO {self._found} {look()}", [number])
        listed = self._engine.execute(
            f"SELECT kind, sum(amount)::BIGINT FROM {self._found} WHERE kind IS NOT NULL GROUP BY kind"
        ).fetchall()
        return Counts(
            source=self._number(f"SELECT count(*) FROM {self._source} WHERE NOT is_deleted"),
            table=self._number(f"SELECT count(*) FROM {self._table}"),
            repeated=self._number(f"SELECT coalesce(sum(repeated), 0) FROM {self._found}"),
            found=dict(listed),
            ranges=self._number(f"SELECT count(*) FROM {self._ranges}"),
        )

    def _number(self, sql: str) -> int:
        row = self._engine.execute(sql).fetchone()
        return int(row[0]) if row else 0

    def _find_ranges(self) -> None:
        """Keep the ranges whose rows must be looked at: the sums differ, or sums cannot tell."""
        sums = "SELECT k >> 52 AS r, count(*) AS n, sum(h) AS total FROM {side} GROUP BY r"
        self._engine.execute(
            f"CREATE TEMP TABLE {self._ranges} AS SELECT r FROM ({sums.format(side=self._source)}) AS s "
            f"FULL JOIN ({sums.format(side=self._table)}) AS t USING (r) "
            "WHERE s.n IS DISTINCT FROM t.n OR s.total IS DISTINCT FROM t.total "
            f"UNION SELECT k >> 52 FROM {self._source} WHERE is_late OR is_deleted"
        )
        if not self._has_keys:
            return
        for number in range(SLICES):  # a key that both sides have twice would leave the sums equal
            self._engine.execute(
                f"INSERT INTO {self._ranges} SELECT DISTINCT r FROM (SELECT k >> 52 AS r FROM {self._table} "
                f"WHERE k >> 60 = ? GROUP BY k HAVING count(*) > 1) WHERE r NOT IN (FROM {self._ranges})",
                [number],
            )

    def _within(self, side: str) -> str:
        return f"{side} WHERE k >> 60 = $1 AND k >> 52 IN (FROM {self._ranges})"

    def _by_key(self) -> str:
        """Of rows with one key, the source's last one counts."""
        return f"""
            WITH s AS (SELECT k, arg_max(h, rowid) AS h, arg_max(is_late, rowid) AS is_late,
                              arg_max(is_deleted, rowid) AS is_deleted, count(*) AS n
                       FROM {self._within(self._source)} GROUP BY k),
                 t AS (SELECT k, any_value(h) AS h, count(*) AS n FROM {self._within(self._table)} GROUP BY k)
            SELECT k,
                   CASE WHEN coalesce(s.is_deleted, true) THEN CASE WHEN t.n > 0 THEN 'extra' END
                        WHEN t.n > 1 THEN 'doubled'
                        WHEN t.n = 1 AND t.h = s.h THEN NULL
                        WHEN s.is_late THEN '{LATE}'
                        WHEN t.n = 1 THEN 'different'
                        ELSE 'missing' END AS kind,
                   CASE kind WHEN 'doubled' THEN t.n - 1 WHEN 'extra' THEN t.n ELSE 1 END,
                   coalesce(s.n, 1) - 1 AS repeated
            FROM s FULL JOIN t USING (k) WHERE kind IS NOT NULL OR repeated > 0"""

    def _by_row(self) -> str:
        """Rows that are equal are counted: what one side has more often is too much there."""
        return f"""
            WITH s AS (SELECT k, count(*) FILTER (NOT is_late) AS n, count(*) FILTER (is_late) AS late
                       FROM {self._within(self._source)} AND NOT is_deleted GROUP BY k),
                 t AS (SELECT k, count(*) AS n FROM {self._within(self._table)} GROUP BY k),
                 both_sides AS (SELECT k, coalesce(s.n, 0) AS s, coalesce(s.late, 0) AS late, coalesce(t.n, 0) AS t
                                FROM s FULL JOIN t USING (k)),
                 kinds AS (SELECT k, 'missing' AS kind, s - t AS amount FROM both_sides
                           UNION ALL SELECT k, '{LATE}', late - greatest(t - s, 0) FROM both_sides
                           UNION ALL SELECT k, CASE WHEN s + late > 0 THEN 'doubled' ELSE 'extra' END, t - s - late
                           FROM both_sides)
            SELECT k, kind, amount, 0 FROM kinds WHERE amount > 0"""

    def examples(self, limit: int, *, at_hand: pa.Array) -> dict[int, str]:
        """Return numbers of keys with their kind of difference, at most `limit` of each kind.

        Args:
            limit: How many.
            at_hand: Numbers of the keys whose source rows are known; these come first.
        """
        self._engine.register("at_hand", pa.table({"k": at_hand}))
        rows = self._engine.execute(
            f"SELECT k, kind FROM {self._found} WHERE kind IS NOT NULL AND kind != '{LATE}' "
            "QUALIFY row_number() OVER (PARTITION BY kind ORDER BY k NOT IN (FROM at_hand), k) <= ? ORDER BY kind, k",
            [limit],
        ).fetchall()
        self._engine.unregister("at_hand")
        return dict(rows)
