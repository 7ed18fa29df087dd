"""What becomes of refused rows when they are loaded again: each is compared with the contract and the table of today."""

from __future__ import annotations

import enum
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from icetap.errors import DataError
from icetap.tables import read_table
from icetap.types import schema_from_iceberg, schema_from_singer
from target_iceberg.contracts.evolution import conform, plan_evolution, with_overflow
from target_iceberg.decoding.decode import StreamDecoder
from target_iceberg.decoding.reader import Run
from target_iceberg.decoding.row_lane import UnfitLineError, parse_record
from target_iceberg.methods.joins import as_key, engine, joinable, key_names, numbered, reader
from target_iceberg.methods.key_ranges import KeyRanges
from target_iceberg.positions.boundary import NAMES
from target_iceberg.tables.loaded_table import DELETED_AT, FULL_READ

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from pyiceberg.table import Table

    from target_iceberg.settings import StreamSettings

_RECEIVED_AT = "_sdc_received_at"


class Fate(enum.Enum):
    """What becomes of a refused row."""

    LOAD = "loaded"
    NEWER = "left out, as the table has a newer row of its key"
    OUT_OF_DATE = "left out, as a complete read has replaced the table since"
    REPEATED = "left out, as another run had refused the same row before"
    CONFLICT = "kept, as nothing tells whether the table has a newer row, or a delete, of its key (see --on-conflict)"
    REFUSED = "kept, as it still does not fit"


GOES = frozenset({Fate.LOAD, Fate.NEWER, Fate.OUT_OF_DATE, Fate.REPEATED})
"""The fates of rows that leave the quarantine."""


@dataclass(frozen=True)
class Verdict:
    """The fate of one row, and why it is refused."""

    fate: Fate
    column: str | None = None
    reason: str = ""
    cursor: Any = None
    """The value of the replication key, by which rows of one key are put in order."""


@dataclass(frozen=True)
class StoredRow:
    """The newest stored row of a key, as far as the table tells."""

    cursor: Any
    received_at: datetime | None


class Repetitions:
    """Which run was the first to refuse a row; holds a hash of each row that was asked about."""

    def __init__(self) -> None:
        self._first: dict[bytes, str] = {}

    def has(self, record: str, run_id: str) -> bool:
        """Whether another run came before with the same row."""
        row = hashlib.blake2b(record.encode(errors="backslashreplace"), digest_size=12).digest()
        return self._first.setdefault(row, run_id) != run_id


def record_line(record: str) -> bytes:
    """Return a RECORD line of a refused record; what was refused for its bytes is as it was shown."""
    return b'{"type": "RECORD", "record": ' + record.encode(errors="backslashreplace") + b"}\n"


class Examiner:
    """Finds the fate of rows of one stream.

    Args:
        table: The stream's table, as loaded when the rows are examined.
        message: The stream's SCHEMA.
        settings: The stream's settings.
        on_conflict: `keep`, `load` or `drop` rows that may be older than what the table has.
        repetitions: Load a row once that several runs have refused; None loads each.
    """

    def __init__(
        self,
        table: Table,
        message: Mapping[str, Any],
        *,
        settings: StreamSettings,
        on_conflict: str = "keep",
        repetitions: Repetitions | None = None,
    ) -> None:
        self._repetitions = repetitions
        self._table = table
        self._message = message
        self._settings = settings
        self._on_conflict = {"keep": Fate.CONFLICT, "load": Fate.LOAD, "drop": Fate.NEWER}[on_conflict]
        self._keys = tuple(settings.key_properties or message.get("key_properties") or ())
        self._cursor = next(iter(message.get("bookmark_properties") or ()), None)
        self._deleted_at = float(table.properties.get(DELETED_AT, 0))
        full_read = json.loads(table.properties.get(FULL_READ, "null"))
        self._full_read: Mapping[str, Any] = full_read or {}

    @property
    def compares(self) -> bool:
        """Whether rows replace others of their key; a history finds each its place by the replication key."""
        method = self._settings.load_method
        is_placed = method == "append-only" or (method == "history" and self._cursor is not None)
        return bool(self._keys) and not is_placed

    def examine(self, rows: pa.Table) -> list[Verdict]:
        """Return the verdict on each row.

        Args:
            rows: Rows of the quarantine table.

        Raises:
            DataError: When the stream as a whole does not fit its table.
        """
        verdicts: list[Verdict | None] = [
            Verdict(Fate.OUT_OF_DATE) if self._is_out_of_date(run_id, at) else None
            for run_id, at in zip(
                rows.column("run_id").to_pylist(), rows.column("rejected_at").to_pylist(), strict=True
            )
        ]
        records = rows.column("record").to_pylist()
        places, lines = [], []
        for place, record in enumerate(records):
            if verdicts[place] is not None:
                continue
            line = _readable(record)
            if line is None:
                verdicts[place] = Verdict(Fate.REFUSED, None, "no longer readable as JSON")
            else:
                places.append(place)
                lines.append(line)
        if lines:
            moments = rows.column("rejected_at").take(pa.array(places)).to_pylist()
            for place, verdict in zip(places, self._of_lines(lines, moments), strict=True):
                verdicts[place] = verdict
        found = [verdict for verdict in verdicts if verdict is not None]
        if self._repetitions is None:
            return found
        runs = rows.column("run_id").to_pylist()
        return [
            Verdict(Fate.REPEATED)
            if verdict.fate is Fate.LOAD and self._repetitions.has(record, run_id)
            else verdict
            for verdict, record, run_id in zip(found, records, runs, strict=True)
        ]

    def _is_out_of_date(self, run_id: str, at: datetime) -> bool:
        return (
            bool(self._full_read)
            and run_id != self._full_read["run_id"]
            and at.timestamp() < self._full_read["at"]
        )

    def _of_lines(self, lines: Sequence[bytes], moments: Sequence[datetime]) -> Iterator[Verdict]:
        settings = self._settings
        columns = schema_from_singer(
            self._message["schema"], key_properties=self._keys, number_as=settings.number_as
        )
        decoder = StreamDecoder(self._message["stream"], columns, rules=settings.rules)
        run = Run(self._message["stream"], b"".join(lines), len(lines), first_line=0)
        (decoded,) = decoder.decode(run)
        refused = {one.line: Verdict(Fate.REFUSED, one.column, one.reason) for one in decoded.rejected}
        fitting = [number for number in range(len(lines)) if number not in refused]
        deletes = [False] * len(fitting) if decoded.deleted is None else decoded.deleted.to_pylist()
        fits = iter(self._of_fitting(decoded.batch, [moments[number] for number in fitting], deletes))
        for number in range(len(lines)):
            yield refused[number] if number in refused else next(fits)

    def _of_fitting(
        self, batch: pa.RecordBatch, moments: Sequence[datetime], deletes: Sequence[bool]
    ) -> Iterator[Verdict]:
        batch, mapping = self._conformed(batch)
        cursor = mapping.get(self._cursor or "")
        cursors: list[Any] = [None] * batch.num_rows
        if cursor:
            column = batch.column(cursor)
            cursors = as_key(column, joinable(column.type)).to_pylist()
        stored: Mapping[int, StoredRow] = {}
        if self.compares and batch.num_rows:
            stored = newest_stored(
                self._table, batch, keys=[mapping[key] for key in self._keys], cursor=cursor
            )
        for number, (value, moment) in enumerate(zip(cursors, moments, strict=True)):
            fate = Fate.LOAD
            if number in stored:
                fate = self._against(stored[number], value, moment)
            elif self.compares and not deletes[number] and moment.timestamp() < self._deleted_at:
                fate = self._on_conflict  # its key may have been deleted since
            yield Verdict(fate, cursor=value)

    def _conformed(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, str]]:
        """Return the rows with the columns that the table will have, and which column went where."""
        rules = self._settings.rules
        evolution = plan_evolution(
            schema_from_iceberg(self._table.schema()),
            batch.schema,
            rules=rules,
            names=json.loads(self._table.properties.get(NAMES, "{}")),
            identifier_case=self._settings.identifier_case,
        )
        evolution = with_overflow(evolution, batch, rules=rules)
        if evolution.violations:
            differences = "\n  ".join(evolution.violations)
            raise DataError(
                f"stream '{self._message['stream']}' does not fit its table:\n  {differences}\n"
                "Nothing was loaded. Mend the settings, or load the stream anew so that its SCHEMA is known."
            )
        return conform(batch, evolution), evolution.mapping

    def _against(self, stored: StoredRow, cursor: Any, moment: datetime) -> Fate:
        """Compare with the stored row: by the source's own order, else by the time that the loader noted."""
        if cursor is not None and stored.cursor is not None and cursor != stored.cursor:
            return Fate.LOAD if cursor > stored.cursor else Fate.NEWER
        if stored.received_at is not None:
            return Fate.NEWER if stored.received_at > moment else Fate.LOAD
        return self._on_conflict


def _readable(record: str | None) -> bytes | None:
    """Return the record's line, None when it is no JSON object."""
    line = record_line(record or "")
    try:
        parse_record(line[:-1], number=0)
    except UnfitLineError:
        return line
    except DataError:
        return None
    return None if b"\n" in line[:-1] else line


def newest_stored(
    table: Table, batch: pa.RecordBatch, *, keys: Sequence[str], cursor: str | None
) -> dict[int, StoredRow]:
    """Return, by the number of an incoming row, what the table has of its key.

    Args:
        table: A table.
        batch: Incoming rows with the table's columns.
        keys: The key columns.
        cursor: The column of the replication key, if there is one.
    """
    present = schema_from_iceberg(table.schema())
    others = [name for name in (cursor or "", _RECEIVED_AT) if name in present.names and name not in keys]
    kinds = [present.field(key).type for key in keys]
    schema, incoming = numbered([batch], keys=keys, extra="n", kinds=kinds)
    if schema is None or table.metadata.current_snapshot_id is None:
        return {}
    fields = [*schema][:-1] + [
        pa.field(f"o{i}", joinable(present.field(name).type)) for i, name in enumerate(others)
    ]
    ranges = KeyRanges([batch.select(keys)], keys=keys, kinds=kinds)

    def stored() -> Iterator[pa.RecordBatch]:
        for rows in read_table(table, columns=[*keys, *others], row_filter=ranges.filter):
            arrays = [as_key(column, one.type) for column, one in zip(rows.columns, fields, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))

    equal = " AND ".join(f"s.{name} = i.{name}" for name in key_names(keys))
    newest = "".join(f", max(s.o{i})" for i in range(len(others)))
    with engine() as database:
        database.register("incoming", pa.Table.from_batches(incoming, schema))
        database.register("stored", reader(stored(), pa.schema(fields)))
        found = database.execute(
            f"SELECT i.n{newest} FROM stored s JOIN incoming i ON {equal} GROUP BY i.n"
        ).to_arrow_table()
    return {
        int(number): StoredRow(
            cursor=values[others.index(cursor)] if cursor in others else None,
            received_at=values[others.index(_RECEIVED_AT)] if _RECEIVED_AT in others else None,
        )
        for number, *values in zip(*(column.to_pylist() for column in found.columns), strict=True)
    }
