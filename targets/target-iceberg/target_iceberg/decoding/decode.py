"""A run of RECORD lines, or a file's columns -> record batches of the declared types; refused rows apart."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from icetap.types import TIMESTAMPTZ
from target_iceberg.contracts.column_rules import NULL, ColumnRules, stricter
from target_iceberg.contracts.lenient import whole_or_null
from target_iceberg.decoding import columnar_lane
from target_iceberg.decoding.columnar_lane import UndeclaredMember, deletes_of, fit, found_field, row_text
from target_iceberg.decoding.json_lane import JsonLane, Unfit
from target_iceberg.decoding.reader import Run
from target_iceberg.decoding.row_lane import RowLane, UnfitLineError, parse_record
from target_iceberg.decoding.scalars import Typed, cast_text, isolate
from target_iceberg.decoding.undeclared import Learned
from target_iceberg.decoding.values import UndeclaredField, settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Executor, Future

    from target_iceberg.decoding.columnar_files import Piece

DELETED_AT = columnar_lane.DELETED_AT
"""Set on a RECORD that stands for a deleted row; never a column of the batch."""
_NO_KEY = "a key that is missing or null"
_NO_OBJECT = "expected a JSON object"
_PIECE_BYTES = 1 << 20
_REST_RUNS = 16
"""After a run in which no piece went through the fast lane, this many runs do not try it."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that does not fit."""

    line: int
    """Number in `place`, from 1; in an Arrow or Parquet file the number of the row."""
    column: str | None
    """The column that refused it, None when the whole line is refused."""
    reason: str
    """What was expected; never holds data."""
    raw: str
    """The record as the tap sent it, as JSON."""
    consequence: str = "quarantine"
    """What becomes of it: a word of `on_rejected`."""
    place: str = "the input"
    """Where the line is, for people."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Rows of one version, in arrival order."""

    batch: pa.RecordBatch
    """The declared columns, then those found in the data."""
    version: int | None = None
    deleted: pa.BooleanArray | None = None
    """True where `_sdc_deleted_at` was set; None when no row is a delete."""
    deleted_at: pa.Array | None = None
    """What it was set to (timestamp in UTC, null if it is no date-time); None when no row is a delete."""
    times: pa.Array | None = None
    """When the tap extracted each row (timestamp in UTC, null if it did not say); None unless asked for."""
    rejected: list[Rejected] = field(default_factory=list)
    lossy: dict[str, int] = field(default_factory=dict)
    """Per column: values that lost digits that a double, or microseconds, cannot hold."""
    nulled: dict[str, int] = field(default_factory=dict)
    """Per column: values that did not fit and are null, as the contract asks."""
    new_fields: list[pa.Field] = field(default_factory=list)
    """Columns that nobody declared, and columns with such fields inside, new since the last rows."""


@dataclass(slots=True)
class _Part:
    """Some lines of a run, decoded."""

    columns: list[Typed]
    versions: pa.Array
    times: pa.Array
    count: int
    refused: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that is being decoded in another thread, for one set of columns."""

    lane: JsonLane
    part: Future[_Part | None]
    """None when the run has something that only the slower lane can decode."""


@dataclass(slots=True)
class _Findings:
    """What a run has besides rows."""

    rejected: list[Rejected] = field(default_factory=list)
    lossy: Counter[str] = field(default_factory=Counter)
    nulled: Counter[str] = field(default_factory=Counter)
    new_fields: list[pa.Field] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Fault:
    """Why a row is refused."""

    column: str | None
    reason: str
    consequence: str


class StreamDecoder:
    """Decodes the rows of one stream; knows its columns and learns those that nobody declared.

    Args:
        stream: The stream's name.
        schema: The declared columns (`icetap.types.schema_from_singer`); keys are not nullable.
        record_metadata: Whether `Decoded.times` is wanted.
        rules: What becomes of values that do not fit, column by column.
    """

    def __init__(
        self,
        stream: str,
        schema: pa.Schema,
        *,
        record_metadata: bool = False,
        rules: ColumnRules | None = None,
    ) -> None:
        self.stream = stream
        self._rules = rules or ColumnRules()
        self._record_metadata = record_metadata
        self._learned = Learned()
        self._resting = 0
        self._declared = [one for one in schema if one.name != DELETED_AT]
        self._declared_names = [one.name for one in self._declared]
        self._set_fields(self._declared)
        self._shown = self.schema

    def _set_fields(self, fields: Sequence[pa.Field]) -> None:
        self._fields = list(fields)
        self.schema = pa.schema([settled(one) for one in fields if not pa.types.is_null(one.type)])
        """The columns of the next batch: the declared ones, then those found."""
        deleted = pa.field(DELETED_AT, pa.string())
        self._fast = JsonLane([*fields, deleted])
        self._exact = RowLane([*fields, deleted.with_metadata({"icetap.kind": "text"})])

    def begin(self, run: Run, *, pool: Executor) -> Begun | None:
        """Begin to decode a run in another thread; give `decode` what this returns.

        Runs may come in between that change the columns: then `decode` begins anew.
        """
        if not run.count or not self._fast.usable or self._resting:
            return None
        return Begun(self._fast, pool.submit(_fast_part, self._fast, run.lines, run.count))

    def decode(self, run: Run, *, begun: Begun | None = None) -> Iterator[Decoded]:
        """Yield the rows of a run; several times when it holds several versions.

        What the run rejected, lost and found stands in the first one only.

        Raises:
            DataError: For a line that is not a RECORD message; a value that does not fit is `Rejected`.
        """
        if not run.count:
            return
        while True:
            try:
                parts = self._parts(run, begun)
                break
            except UndeclaredField:
                self._learn(run)
        new = [one for one in self.schema if not _has(self._shown, one)]
        for decoded in self._assembled(run, parts, new=new):
            if decoded.batch.num_rows:
                self._shown = self.schema
            yield decoded

    def decode_columns(self, pieces: Iterable[Piece], *, version: int | None = None) -> Iterator[Decoded]:
        """Yield the rows of an Arrow or Parquet file, piece by piece.

        Line numbers in `Decoded.rejected` count the file's rows.
        """
        first_row = 1
        for piece in pieces:
            columns = self._fitted(piece)
            nulled: Counter[str] = Counter()
            bad: dict[int, _Fault] = {}
            arrays = [
                self._settle(one, column, bad, nulled)
                for one, column in zip(self._fields, columns, strict=True)
            ]
            rejected = [
                Rejected(
                    first_row + row, fault.column, fault.reason, row_text(piece.batch, row), fault.consequence
                )
                for row, fault in sorted(bad.items())
            ]
            count = piece.batch.num_rows
            first_row += count
            kept = pa.array([i not in bad for i in range(count)], pa.bool_()) if bad else None
            rows = self._known(arrays)
            rows = rows if kept is None else rows.filter(kept)
            deleted, deleted_at = deletes_of(piece, kept=kept)
            new = [one for one in self.schema if not _has(self._shown, one)]
            if rows.num_rows:
                self._shown = self.schema
            yield Decoded(
                batch=rows,
                version=version,
                deleted=deleted,
                deleted_at=deleted_at,
                times=pa.nulls(len(rows), TIMESTAMPTZ) if self._record_metadata else None,
                rejected=rejected,
                lossy={
                    one.name: column.lossy
                    for one, column in zip(self._fields, columns, strict=True)
                    if column.lossy
                },
                nulled=dict(+nulled),
                new_fields=new,
            )

    def refused(self, lines: Iterable[tuple[int, str]]) -> Decoded:
        """Return lines of a file, by number and text, that are no JSON objects, as rejected rows."""
        consequence = self._rules.refusal(None)
        rejected = [Rejected(number, None, _NO_OBJECT, text, consequence) for number, text in lines]
        return Decoded(batch=pa.RecordBatch.from_pylist([], schema=self.schema), rejected=rejected)

    def _fitted(self, piece: Piece) -> list[Typed]:
        """Give a piece's values the declared types; what nobody declared becomes a column first."""
        known = {one.name: one for one in self._fields}
        for one in piece.batch.schema:
            if one.name != DELETED_AT and not pa.types.is_null(one.type):
                known[one.name] = self._learned.widen_column(known.get(one.name), found_field(one))
        if not _same(list(known.values()), self._fields):
            self._set_fields(list(known.values()))
        while True:
            try:
                return fit(piece, self._fields)
            except UndeclaredMember as found:
                self._learn(Run(self.stream, found.lines, found.lines.count(b"\n"), 1))

    def _known(self, arrays: Sequence[pa.Array]) -> pa.RecordBatch:
        """Return columns as a batch, without those of which nothing but null has been seen."""
        present = [
            array for one, array in zip(self._fields, arrays, strict=True) if not pa.types.is_null(one.type)
        ]
        return pa.RecordBatch.from_arrays(present, schema=self.schema)

    def _parts(self, run: Run, begun: Begun | None) -> list[_Part]:
        fast = self._fast.usable and not self._resting
        if fast:
            if begun is not None and begun.lane is self._fast:
                part = begun.part.result()
            else:
                part = _fast_part(self._fast, run.lines, run.count)
            if part is not None:
                return [part]
        self._resting = max(0, self._resting - 1)
        # One bad row must not send its whole run to the slower lane: try again in small pieces.
        again = fast and len(run.lines) > _PIECE_BYTES
        parts: list[_Part] = []
        row = missed = 0
        for piece, count in _pieces(run.lines):
            part = _fast_part(self._fast, piece, count) if again else None
            if part is None:
                missed += 1
                part = self._exact_part(piece, functools.partial(_line_of, run, row))
            parts.append(part)
            row += count
        if again and missed == len(parts):
            self._resting = _REST_RUNS
        return parts

    def _exact_part(self, lines: bytes, line_of: Callable[[int], int]) -> _Part:
        rows = self._exact.decode(lines, line_of=line_of)
        for one, column in zip(self._fields, rows.columns, strict=False):
            if column.bad and self._learned.touches(one.name) and self._would_learn(lines):
                raise UndeclaredField
        versions = pa.array(rows.versions, pa.int64())
        return _Part(rows.columns, versions, pa.array(rows.times, pa.string()), len(versions), rows.refused)

    # --- undeclared fields ---

    def _widened(self, lines: bytes) -> list[pa.Field]:
        record = pa.field("record", pa.struct(self._fields))
        for line in lines.split(b"\n")[:-1]:
            try:
                value = parse_record(line, number=0)["record"]
            except UnfitLineError:
                continue
            value.pop(DELETED_AT, None)
            record = self._learned.widen(record, value)
        return list(record.type)

    def _would_learn(self, lines: bytes) -> bool:
        """Say whether a found column's type is too narrow, rather than the value at fault."""
        return not _same(self._widened(lines), self._fields)

    def _learn(self, run: Run) -> None:
        fields = self._widened(run.lines)
        if _same(fields, self._fields):
            raise AssertionError(f"stream '{self.stream}': an undeclared field was seen and not found again")
        self._set_fields(fields)

    # --- from parts to batches ---

    def _assembled(self, run: Run, parts: Sequence[_Part], *, new: list[pa.Field]) -> Iterator[Decoded]:
        findings = _Findings(new_fields=new)
        batches: list[pa.RecordBatch] = []
        row = 0
        for part in parts:
            bad: dict[int, _Fault] = {}
            arrays = [
                self._settle(one, column, bad, findings.nulled)
                for one, column in zip(self._fields, part.columns, strict=False)
            ]
            for line, reason in part.refused.items():
                bad[line] = _Fault(None, reason, self._rules.refusal(None))
            findings.rejected += _rejections(run, bad, offset=row)
            for one, column in zip(self._fields, part.columns, strict=False):
                findings.lossy[one.name] += column.lossy
            batch = self._batch(part, arrays)
            batches.append(
                batch.filter(pa.array([i not in bad for i in range(part.count)], pa.bool_()))
                if bad
                else batch
            )
            row += part.count
        whole = pa.concat_batches(batches) if len(batches) > 1 else batches[0]
        yield from self._by_version(whole, findings)

    def _batch(self, part: _Part, arrays: Sequence[pa.Array]) -> pa.RecordBatch:
        """Return the columns of `schema` and behind them version, time and deletion."""
        arrays = [
            array for one, array in zip(self._fields, arrays, strict=False) if not pa.types.is_null(one.type)
        ]
        hidden = [pa.field("", pa.int64()), pa.field("", pa.string()), pa.field("", pa.string())]
        return pa.RecordBatch.from_arrays(
            [*arrays, part.versions, part.times, part.columns[-1].array],
            schema=pa.schema([*self.schema, *hidden]),
        )

    def _settle(self, one: pa.Field, column: Typed, bad: dict[int, _Fault], nulled: Counter[str]) -> pa.Array:
        """Do with the values that do not fit what the contract says, and return the column.

        Args:
            one: The column.
            column: Its values.
            bad: Takes the rows that are refused.
            nulled: Takes the number of values that are null instead.
        """
        is_key = not one.nullable
        consequence = self._rules.refusal(one.name, is_key=is_key)
        if consequence == NULL:
            nulled[one.name] += len(column.bad)
            return whole_or_null(column.array, list(column.bad)) if column.bad else column.array
        faults = column.bad | {
            row: _NO_KEY for row in _missing_keys(one, column.array) if row not in column.bad
        }
        for row, reason in faults.items():
            if row not in bad or stricter(consequence, bad[row].consequence):
                bad[row] = _Fault(one.name, reason, consequence)
        return column.array

    def _by_version(self, whole: pa.RecordBatch, findings: _Findings) -> Iterator[Decoded]:
        """Cut where the version changes; the findings go with the first piece, even if it has no rows."""
        versions, times, deleted_at = whole.columns[-3:]
        instants = _instants(times) if self._record_metadata else None
        batch = pa.RecordBatch.from_arrays(whole.columns[:-3], schema=self.schema)
        start = 0
        for end in [*_changes(versions), len(versions)]:
            deletes = deleted_at[start:end].is_valid()
            yield Decoded(
                batch=batch[start:end],
                version=versions[start].as_py() if start < end else None,
                deleted=deletes if deletes.true_count else None,
                deleted_at=_instants(deleted_at[start:end]) if deletes.true_count else None,
                times=None if instants is None else instants[start:end],
                rejected=findings.rejected,
                lossy=dict(+findings.lossy),
                nulled=dict(+findings.nulled),
                new_fields=findings.new_fields,
            )
            findings = _Findings()
            start = end


def _same(some: Sequence[pa.Field], others: Sequence[pa.Field]) -> bool:
    """Compare fields with their kinds: plain text and JSON text are one Arrow type."""
    return bool(pa.schema(some).equals(pa.schema(others), check_metadata=True))


def _has(schema: pa.Schema, one: pa.Field) -> bool:
    place = schema.get_field_index(one.name)
    return place >= 0 and bool(schema.field(place).equals(one, check_metadata=True))


def _fast_part(lane: JsonLane, lines: bytes, count: int) -> _Part | None:
    try:
        columns, versions, times = lane.decode(lines, count=count)
    except Unfit:
        return None
    return _Part(columns, versions, times, count)


def _missing_keys(one: pa.Field, array: pa.Array) -> list[int]:
    if one.nullable or not array.null_count:
        return []
    rows: list[int] = pc.indices_nonzero(array.is_null()).to_pylist()
    return rows


def _line_of(run: Run, offset: int, row: int, /) -> int:
    return run.line_of(offset + row)


def _pieces(lines: bytes) -> Iterator[tuple[bytes, int]]:
    """Cut lines into pieces of about `_PIECE_BYTES`, with the number of lines in each."""
    start = 0
    while start < len(lines):
        end = lines.find(b"\n", start + _PIECE_BYTES) + 1 or len(lines)
        piece = lines[start:end]
        yield piece, piece.count(b"\n")
        start = end


def _changes(versions: pa.Array) -> list[int]:
    """Return the rows at which another version begins."""
    if versions.null_count == len(versions):
        return []
    bounds = pc.min_max(versions)
    if not versions.null_count and bounds["min"].as_py() == bounds["max"].as_py():
        return []
    values = versions.to_pylist()
    return [i for i in range(1, len(values)) if values[i] != values[i - 1]]


def _instants(text: pa.StringArray) -> pa.Array:
    """Times of extraction are a courtesy: one that cannot be read is null, the row stays."""
    if not len(text):
        return pa.nulls(0, TIMESTAMPTZ)
    column = pa.field("time_extracted", TIMESTAMPTZ)
    return isolate(text, lambda part: cast_text(part, column), reason="").array


class _RecordOnly(msgspec.Struct):
    record: msgspec.Raw


def _rejections(run: Run, bad: dict[int, _Fault], *, offset: int) -> Iterator[Rejected]:
    if not bad:
        return
    lines = run.lines.split(b"\n")
    for row, fault in sorted(bad.items()):
        line = lines[offset + row]
        try:
            raw = bytes(msgspec.json.decode(line, type=_RecordOnly).record)
        except (msgspec.MsgspecError, RecursionError):
            raw = line
        text = raw.decode(errors="backslashreplace")
        yield Rejected(run.line_of(offset + row), fault.column, fault.reason, text, fault.consequence)
