"""Rows in the log: WRITE, UPDATE and DELETE events, in the versions of MySQL and MariaDB.

An event holds bitmaps of the columns that its rows have, then the rows: a bitmap of the nulls, then the values
that are there, one after the other.
https://dev.mysql.com/doc/dev/mysql-server/latest/classbinary__log_1_1Rows__event.html,
https://mariadb.com/kb/en/rows_event_v1v2-rows_compressed_event_v1/ (read 2026-11-21)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from icetap.errors import ConfigurationError
from tap_mysql.log_based.events import packed_integer, uncompressed
from tap_mysql.log_based.readers import reader_of, width_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from tap_mysql.log_based.readers import Reader
    from tap_mysql.log_based.table_map import TableMap

WRITES, UPDATES, DELETES = (
    frozenset({23, 30, 166, 169}),
    frozenset({24, 31, 167, 170}),
    frozenset({25, 32, 168, 171}),
)
ROW_EVENTS = WRITES | UPDATES | DELETES
_WITH_EXTRA = frozenset({30, 31, 32, 169, 170, 171})
_COMPRESSED = frozenset(range(166, 172))
_OLDEST = frozenset({20, 21, 22})
"""Row events of MySQL 5.1.5 to 5.1.15, which no server of today writes."""

Cells = list[Any]


class RowDecoder:
    """Reads the rows of one table's events.

    Args:
        table: What the log says of the table.
        wanted: The places of the columns to read, in the order of the cells.
        key: Which of those are the key, as places among the cells; without any, whole old rows come.
        absent: What stands in a new row for a column that the log does not have; null in an old one.
        may_lack: Places of columns that may be missing in the rows: those that are computed.
    """

    def __init__(
        self,
        table: TableMap,
        wanted: Sequence[int],
        *,
        key: Sequence[int],
        absent: Any,
        may_lack: Collection[int],
    ) -> None:
        self._table = table
        self._count = len(table.columns)
        self._readers = [reader_of(column) for column in table.columns]
        self._wanted = wanted
        self._key = list(key)
        self._absent = absent
        self._may_lack = may_lack
        self._plans: dict[tuple[bytes, bool, bool], _Image] = {}

    def changes(self, kind: int, body: bytes) -> Iterator[tuple[Cells | None, Cells | None]]:
        """Yield (old, new) for each row; the old of an update is None when its key is the new one's.

        Raises:
            ConfigurationError: When the rows are not whole (`binlog_row_image`).
        """
        position = 8
        if kind in _WITH_EXTRA:
            position += int.from_bytes(body[8:10], "little")
        _, position = packed_integer(body, position)
        bitmap_bytes = (self._count + 7) // 8
        first = body[position : position + bitmap_bytes]
        position += bitmap_bytes
        second = first
        if kind in UPDATES:
            second = body[position : position + bitmap_bytes]
            position += bitmap_bytes
        data = body
        if kind in _COMPRESSED:
            data, position = uncompressed(body[position:]), 0
        if kind in UPDATES:
            yield from self._updates(data, position, first=first, second=second)
            return
        is_write = kind in WRITES
        image = self._image(first, is_old=not is_write, is_key=False)
        size = len(data)
        while position < size:
            cells, position = image.cells(data, position)
            yield (None, cells) if is_write else (cells, None)

    def _updates(
        self, data: bytes, position: int, *, first: bytes, second: bytes
    ) -> Iterator[tuple[Cells | None, Cells | None]]:
        """With a key, only the key of the old row is read, and left out when it did not change."""
        key, size = self._key, len(data)
        before = self._image(first, is_old=True, is_key=bool(key))
        after = self._image(second, is_old=False, is_key=False)
        while position < size:
            old, position = before.cells(data, position)
            new, position = after.cells(data, position)
            if key and all(old[place] == new[place] for place in key):
                yield None, new
            else:
                yield old, new

    def _image(self, present: bytes, *, is_old: bool, is_key: bool) -> _Image:
        found = self._plans.get((present, is_old, is_key))
        if found is None:
            found = self._new_image(present, absent=None if is_old else self._absent, is_key=is_key)
            self._plans[present, is_old, is_key] = found
        return found

    def _new_image(self, present: bytes, *, absent: Any, is_key: bool) -> _Image:
        bits = int.from_bytes(present, "little")
        there = [place for place in range(self._count) if bits >> place & 1]
        cells = self._key if is_key else range(len(self._wanted))
        places = {self._wanted[number]: number for number in cells}
        missing = [place for place in places if not bits >> place & 1]
        if lost := [place for place in missing if place not in self._may_lack]:
            raise self._lost_columns(lost)
        empty: Cells = [None] * len(self._wanted)
        for place in missing:
            empty[places[place]] = absent
        steps = [
            _Step(self._readers[place], places.get(place), width_of(self._table.columns[place]))
            for place in there
        ]
        return _Image(steps, empty)

    def _lost_columns(self, places: Sequence[int]) -> ConfigurationError:
        names = ", ".join(self._table.columns[place].name or f"number {place + 1}" for place in places[:5])
        return ConfigurationError(
            f"the binary log holds rows of {self._table.database}.{self._table.table} without the columns "
            f"{names}: they were written with binlog_row_image other than FULL. Set it to FULL, globally and in "
            "every session that sets it, then run once with --full-refresh."
        )


@dataclass(frozen=True, slots=True)
class _Step:
    """A column of a row: what reads it, the cell that it fills (None: it is skipped), its width if that is fixed."""

    read: Reader
    cell: int | None
    width: int | None


class _Image:
    """Rows of one selection of columns.

    Most rows have no nulls: for them, columns of fixed width that nobody asked for are skipped together.
    """

    __slots__ = ("_empty", "_null_bytes", "_steps", "_without_nulls")

    def __init__(self, steps: Sequence[_Step], empty: Cells) -> None:
        unused = len(empty)
        self._empty: Cells = [*empty, None]
        self._null_bytes = (len(steps) + 7) // 8
        self._steps = [(step.read, unused if step.cell is None else step.cell) for step in steps]
        self._without_nulls: list[tuple[Reader, int]] = []
        skipped = 0
        for step, whole in zip(steps, self._steps, strict=True):
            if step.cell is None and step.width is not None:
                skipped += step.width
                continue
            if skipped:
                self._without_nulls.append((_skip(skipped), unused))
                skipped = 0
            self._without_nulls.append(whole)
        if skipped:
            self._without_nulls.append((_skip(skipped), unused))

    def cells(self, data: bytes, position: int) -> tuple[Cells, int]:
        """Return the cells of the row at a position, and what comes after it."""
        start = position + self._null_bytes
        nulls = int.from_bytes(data[position:start], "little")
        position = start
        cells = self._empty.copy()
        if not nulls:
            for read, cell in self._without_nulls:
                cells[cell], position = read(data, position)
        else:
            for number, (read, cell) in enumerate(self._steps):
                if not nulls >> number & 1:
                    cells[cell], position = read(data, position)
        cells.pop()  # what was read only to be skipped
        return cells, position


def _skip(width: int) -> Reader:
    def skip(data: bytes, position: int) -> tuple[None, int]:  # noqa: ARG001 - as all readers
        return None, position + width

    return skip
