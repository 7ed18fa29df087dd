"""Cutting a table into ranges of its key that hold about equally many rows.

The server estimates how many rows lie in a range by two looks into the index, whatever its size, so ranges are
halved until they are small, many of them in one statement: it may be far away.
https://dev.mysql.com/doc/refman/8.4/en/range-optimization.html (read 2026-11-21)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from icetap.sql.dialect import CHUNK_BYTES, Chunk
from tap_mysql.select import placeholder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from icetap.sql.dialect import Table, Value
    from tap_mysql.connection import MySQLConnection

MOST_ESTIMATES = 20_000
AT_ONCE = 64
"""So many questions in one statement."""
_FIRST_RANGES = 16
_UNION = " UNION ALL "
T = TypeVar("T")
_FEWEST_CHUNKS = 2


def leads_with_integer(table: Table) -> bool:
    """Say whether the key's first column is an integer, whose ranges can be halved."""
    first = next(iter(table.position), None)
    column = table.column(first) if first is not None else None
    return column is not None and (
        pa.types.is_integer(column.field.type) or column.hint.native.data_type == "bigint"
    )


class Cutter:
    """Cuts one table.

    Args:
        connection: Sees the snapshot.
        table: A table whose position begins with an integer.
        row_bytes: The size of a row, by the server's statistics.
        positions: What the SELECT list asks for to have the values of the position.
    """

    def __init__(
        self, connection: MySQLConnection, table: Table, *, row_bytes: int, positions: Sequence[str]
    ) -> None:
        self._connection = connection
        self._table = table
        self._rows = max(1, CHUNK_BYTES // max(1, row_bytes))
        self._positions = positions
        self._name, self._read = next(iter(table.position.items()))
        self._estimates = 0

    def chunks(
        self, *, after: Mapping[str, Value] | None, after_condition: Callable[[int], str]
    ) -> list[Chunk]:
        """Return the chunks, none when the table is small.

        Args:
            after: The position after which to begin.
            after_condition: Its condition, by the number of its first parameter.
        """
        ((low, high),) = self._connection.rows(
            f"SELECT min({self._read}), max({self._read}) FROM {self._table.source}"
        )
        if low is None:
            return []
        start = int(low) if after is None else max(int(low), int(after[self._name]))  # type: ignore[arg-type]
        bounds = list(self._bounds(start, int(high) + 1))
        if len(bounds) < _FEWEST_CHUNKS - 1:
            return []
        ends = [*self._ends(bounds), None]
        return [
            self._chunk(n, [None, *bounds, None], ends[n], after, after_condition)
            for n in range(len(bounds) + 1)
        ]

    def _chunk(
        self,
        number: int,
        bounds: Sequence[int | None],
        end: Mapping[str, Value] | None,
        after: Mapping[str, Value] | None,
        after_condition: Callable[[int], str],
    ) -> Chunk:
        """Return the rows from one bound up to the next; the first has those after the position, too."""
        low, high = bounds[number], bounds[number + 1]
        conditions: list[str] = []
        parameters: list[Value] = []
        if low is not None:
            parameters.append(low)
            conditions.append(f"{self._read} >= {placeholder(1)}")
        if high is not None:
            parameters.append(high)
            conditions.append(f"{self._read} < {placeholder(len(parameters))}")
        if low is None and after is not None:
            conditions.append(f"({after_condition(len(parameters) + 1)})")
            parameters += [after[name] for name in self._table.position]
        return Chunk(" AND ".join(conditions) or "TRUE", tuple(parameters), end)

    def _ends(self, bounds: Sequence[int]) -> Iterator[dict[str, Value] | None]:
        """Yield the position of the last row before each bound."""
        descending = ", ".join(f"{read} DESC" for read in self._table.position.values())
        for some in _slices(bounds):
            last_rows = [
                f"(SELECT {number} AS number, {', '.join(self._positions)} FROM {self._table.source} "
                f"WHERE {self._read} < {placeholder(number + 1)} ORDER BY {descending} LIMIT 1)"
                for number in range(len(some))
            ]
            found: dict[int, list[Any]] = {
                number: values for number, *values in self._connection.rows(_UNION.join(last_rows), some)
            }
            for number in range(len(some)):
                values = found.get(number)
                yield None if values is None else dict(zip(self._table.position, values, strict=True))

    # --- halving ------------------------------------------------------------------------------------

    def _bounds(self, low: int, high: int) -> Iterator[int]:
        """Yield the inner bounds of ranges with about as many rows as a chunk has, from left to right."""
        filled = 0
        for begin, rows in self._parts(low, high):
            if filled and filled + rows > self._rows:
                yield begin
                filled = 0
            filled += rows

    def _parts(self, low: int, high: int) -> list[tuple[int, int]]:
        """Return small ranges, from left to right: where each begins, and how many rows it may have."""
        width = -(-(high - low) // _FIRST_RANGES)
        waiting = [(begin, min(begin + width, high)) for begin in range(low, high, width)]
        small: list[tuple[int, int]] = []
        while waiting and self._estimates < MOST_ESTIMATES:
            halves: list[tuple[int, int]] = []
            for (begin, end), rows in zip(waiting, self._estimated(waiting), strict=True):
                middle = begin + (end - begin) // 2
                if rows > self._rows and middle > begin:
                    halves += [(begin, middle), (middle, end)]
                elif rows:
                    small.append((begin, rows))
            waiting = halves
        return sorted(small + [(begin, self._rows) for begin, _ in waiting])

    def _estimated(self, ranges: Sequence[tuple[int, int]]) -> Iterator[int]:
        """Yield how many rows each range may have."""
        for some in _slices(ranges):
            self._estimates += len(some)
            selects = [
                f"SELECT {self._read} FROM {self._table.source} "
                f"WHERE {self._read} >= {placeholder(number)} AND {self._read} < {placeholder(number + 1)}"
                for number in range(1, 2 * len(some), 2)
            ]
            bounds = [bound for each in some for bound in each]
            for line in self._connection.records(f"EXPLAIN {_UNION.join(selects)}", bounds)[: len(some)]:
                yield int(line.get("rows") or 0)


def _slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield `AT_ONCE` of them at once."""
    for first in range(0, len(items), AT_ONCE):
        yield items[first : first + AT_ONCE]
