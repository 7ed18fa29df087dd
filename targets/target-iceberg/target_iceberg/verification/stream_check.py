"""One stream beside its table: rows come as the loader would stage them, and are compared instead."""

from __future__ import annotations

import datetime as dt
import sys
import time
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import override

from icetap.errors import DataError
from icetap.tables import read_table
from icetap.types import schema_from_iceberg
from target_iceberg.contracts import metadata
from target_iceberg.contracts.conform import cast_exactly
from target_iceberg.contracts.metadata import IS_CURRENT, VALIDITY
from target_iceberg.decoding.decode import DELETED_AT
from target_iceberg.decoding.json_text import parse_json
from target_iceberg.methods.equality import RUN_COLUMNS
from target_iceberg.methods.stream import StreamLoad
from target_iceberg.positions import bookmarks
from target_iceberg.positions.boundary import as_value, column_of
from target_iceberg.verification.comparison import Comparison
from target_iceberg.verification.differences import Findings, examples_of
from target_iceberg.verification.fingerprints import Filter, Fingerprints

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb
    from pyiceberg.table import Table

    from target_iceberg.contracts.evolution import Evolution
    from target_iceberg.run import Run
    from target_iceberg.settings import StreamSettings

_OF_THE_RUN = RUN_COLUMNS | {field.name for field in metadata.FIELDS}
# Where in the source's change log a row came from: a full read has no such place.
_OF_THE_LOG = frozenset({"_sdc_lsn", "_sdc_log_file", "_sdc_log_pos"})
_KEY_NUMBER = "\x00key"  # beside columns of any name that a source may have
_KEPT_ROWS = 10_000
_KEPT_BYTES = 32 * 2**20
_PROGRESS_SECONDS = 10.0


class Progress:
    """Says on stderr now and then how far a long comparison is; short ones say nothing."""

    def __init__(self) -> None:
        self._told_at = time.monotonic()

    def tell(self, text: str) -> None:
        """Say it, unless something was said a short time ago."""
        if time.monotonic() - self._told_at >= _PROGRESS_SECONDS:
            self._told_at = time.monotonic()
            sys.stderr.write(f"verify: {text}\n")


class Bench:
    """What the comparisons of all streams share: their engine, and one filter of bounded size."""

    def __init__(self, engine: duckdb.DuckDBPyConnection, *, limit: int) -> None:
        self.engine = engine
        self.limit = limit
        self.known = Filter()
        self.progress = Progress()
        self._streams = 0

    def number(self) -> int:
        """Return the number of the next stream."""
        self._streams += 1
        return self._streams


class StreamCheck(StreamLoad):
    """Compares the rows of one stream with its table, as the table is at the first of them."""

    def __init__(
        self,
        name: str,
        table: Table,
        *,
        keys: tuple[str, ...],
        settings: StreamSettings,
        run: Run,
        bench: Bench,
    ) -> None:
        super().__init__(name, table, keys=keys, settings=settings, run=run)
        self._bench = bench
        self._number = bench.number()
        self._keys = () if self.only_appends else keys
        self._comparison = Comparison(bench.engine, self._number, has_keys=bool(self._keys))
        self._columns: list[pa.Field] | None = None
        self._sent: dict[str, pa.Field] = {}
        self._kept: list[pa.RecordBatch] = []
        self._kept_rows = self._kept_bytes = 0
        self.findings = Findings(name, self.target.name)
        self._cut = self._bookmark()

    # --- what is compared ------------------------------------------------------------------------

    def learn(self, evolution: Evolution) -> None:
        """Take note of the columns that the source fills."""
        names = {*evolution.mapping.values(), *evolution.overflow.values()}
        doubles = {name for name in names if pa.types.is_floating(evolution.schema.field(name).type)}
        # Integers that their double column cannot hold stand in a column of their own.
        names |= {
            variant
            for variant, base in evolution.names.get("variants", {}).items()
            if base in doubles and pa.types.is_integer(evolution.schema.field(variant).type)
        }
        self._sent = {name: evolution.schema.field(name) for name in names}
        stored = {field.name for field in self.table.schema().fields}
        self.findings.absent_columns = sorted(name for name in names - stored if name not in _OF_THE_RUN)

    def _begin_comparison(self) -> list[pa.Field]:
        """Read the table, once, when the columns of the source are known."""
        if self._columns is not None:
            return self._columns
        stored = [field.name for field in self.table.schema().fields]
        own = set(VALIDITY.names) if self._is_history else set()
        aside = _OF_THE_RUN | own | ({DELETED_AT} if not self.only_appends else set())
        places = [name for name in stored if name in _OF_THE_LOG]
        if places:
            aside |= _OF_THE_LOG
            self.findings.notes.append(
                f"not compared, as only the change log tells them: {', '.join(places)}"
            )
        self._columns = [
            self._sent[name].with_nullable(nullable=True)
            for name in stored
            if name in self._sent and name not in aside
        ]
        self.findings.uncompared_columns = [
            name for name in stored if name not in self._sent and name not in aside | {DELETED_AT}
        ]
        self._prints = Fingerprints(self._bench.engine, self._columns, keys=self._keys)
        rows = 0
        for batch in self._stored_rows():
            numbers = self._prints.of(batch)
            self._comparison.add_table(numbers)
            self._bench.known.add(self._marked_numbers(numbers))
            rows += batch.num_rows
            self._bench.progress.tell(f"{self.name}: {rows:,} rows of the table read")
        return self._columns

    @property
    def _is_history(self) -> bool:
        return set(VALIDITY.names) <= {field.name for field in self.table.schema().fields}

    def _stored_rows(self, *, is_counted: bool = True) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the table that are to equal the source's, in the columns that are compared."""
        columns = self._columns or []
        stored = schema_from_iceberg(self.table.schema())
        beside = [name for name in (IS_CURRENT,) if self._is_history]
        beside += [name for name in (DELETED_AT,) if name in stored.names and not self.only_appends]
        wanted = [*(field.name for field in columns), *beside]
        for batch in read_table(self.table, snapshot_id=self.target.head, columns=wanted):
            rows = self._without_past(batch, is_counted=is_counted)
            arrays = [cast_exactly(rows.column(one.name), stored.field(one.name), to=one) for one in columns]
            yield pa.RecordBatch.from_arrays(arrays, schema=pa.schema(columns))

    def _without_past(self, batch: pa.RecordBatch, *, is_counted: bool) -> pa.RecordBatch:
        rows = batch
        if self._is_history:
            rows = rows.filter(pc.fill_null(rows.column(IS_CURRENT), False))
            self.findings.past_versions += (batch.num_rows - rows.num_rows) * is_counted
        if DELETED_AT in batch.schema.names and not self.only_appends:
            live = rows.filter(pc.is_null(rows.column(DELETED_AT)))
            self.findings.marked_deleted += (rows.num_rows - live.num_rows) * is_counted
            return live
        return rows

    def _marked_numbers(self, numbers: pa.Table) -> pa.ChunkedArray:
        """The rows' numbers, told apart from those of other streams."""
        return pc.bit_wise_xor(
            numbers.column("h"), pa.scalar(self._number * 0x9E3779B97F4A7C15 % 2**64, pa.uint64())
        )

    # --- the bookmark ----------------------------------------------------------------------------

    def _bookmark(self) -> tuple[str, pa.Scalar] | None:
        """The column and the value up to which an incremental stream has been loaded."""
        text = self.target.position.bookmark
        others = bookmarks.other_pipelines(self.table.metadata, self.job.run.pipeline)
        if text is None and len(others) == 1:
            text = bookmarks.read_position(self.table.metadata, others[0]).bookmark
        elif others:
            self.findings.notes.append(f"other pipelines load into this table too: {', '.join(others)}")
        part = parse_json(text) if text else None
        if not isinstance(part, dict) or part.get("replication_key_value") is None:
            return None
        column = column_of(self.table, part.get("replication_key"))
        if column is None:
            return None
        kind = schema_from_iceberg(self.table.schema()).field(column).type
        if pa.types.is_string(kind):
            self.findings.notes.append(
                f"{column} is text, whose order only the source knows: rows beyond the bookmark count as missing"
            )
            return None
        value = as_value(part["replication_key_value"], kind)
        if value is None:
            return None
        self.findings.bookmark = f"{column} up to {part['replication_key_value']}"
        return column, value

    def _late(self, batch: pa.RecordBatch) -> pa.Array | None:
        if self._cut is None or self._cut[0] not in batch.schema.names:
            return None
        column, value = self._cut
        values = batch.column(column)
        values = values.storage if isinstance(values, pa.ExtensionArray) else values
        return pc.fill_null(pc.greater(values, value), False)

    # --- rows in ---------------------------------------------------------------------------------

    @override
    def write(
        self, batch: pa.RecordBatch, *, deleted: pa.BooleanArray | None, version: int | None, input_bytes: int
    ) -> None:
        columns = self._begin_comparison()
        self.counts.read += batch.num_rows
        rows = self._comparable(batch, columns)
        numbers = self._prints.of(rows)
        late = self._late(batch)
        self._comparison.add_source(numbers, late=late, deleted=deleted)
        unknown = pc.invert(self._bench.known.knows(self._marked_numbers(numbers)))
        for flags in (late, deleted):
            unknown = unknown if flags is None else pc.and_not(unknown, flags)
        self._keep(rows, numbers, unknown)
        self._bench.progress.tell(f"{self.name}: {self.counts.read:,} rows of the source read")

    def _comparable(self, batch: pa.RecordBatch, columns: list[pa.Field]) -> pa.RecordBatch:
        try:
            arrays = [
                cast_exactly(batch.column(one.name), batch.schema.field(one.name), to=one) for one in columns
            ]
        except pa.ArrowInvalid as error:
            raise DataError(
                f"stream '{self.name}': the type of a column has changed while the source was read. Run verify again."
            ) from error
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(columns))

    def _keep(self, rows: pa.RecordBatch, numbers: pa.Table, unknown: pa.ChunkedArray) -> None:
        """Keep some of the rows that the table does not have as they are, to show how they differ."""
        room = min(_KEPT_ROWS - self._kept_rows, self._bench.limit * 10)
        if room <= 0 or self._kept_bytes >= _KEPT_BYTES:
            return
        places = pc.indices_nonzero(unknown)[:room]
        if not len(places):
            return
        key = numbers.column("k").combine_chunks().take(places)
        kept = rows.take(places).append_column(_KEY_NUMBER, key)
        self._kept.append(kept)
        self._kept_rows += kept.num_rows
        self._kept_bytes += kept.nbytes

    @override
    def activate(self, version: str) -> None:
        pass

    @override
    def state_came(self) -> None:
        pass

    @property
    @override
    def is_due(self) -> bool:
        return False

    @override
    def commit(self, *, at_end: bool) -> None:
        pass

    @override
    def discard(self) -> None:
        pass

    # --- the end ---------------------------------------------------------------------------------

    def conclude(self) -> Findings:
        """Compare what came with what is there."""
        columns = self._begin_comparison()
        found = self.findings
        found.counts = self._comparison.run()
        found.refused = self.counts.rejected
        snapshot = self.table.metadata.current_snapshot()
        if snapshot is not None:
            made = dt.datetime.fromtimestamp(snapshot.timestamp_ms / 1000, tz=dt.UTC)
            found.snapshot = (snapshot.snapshot_id, made.isoformat(timespec="seconds"))
        for column, count in sorted(self.counts.lossy.items()):
            found.notes.append(
                f"{count:,} values of {column} lose digits that its type cannot hold, as declared"
            )
        for column in sorted(self.counts.discarded):
            found.notes.append(
                f"column {column} is left out by 'schema_policy: discard', and was not compared"
            )
        schema = pa.schema([*columns, pa.field(_KEY_NUMBER, pa.uint64())])
        source = pa.Table.from_batches(self._kept, schema=schema)
        wanted = self._comparison.examples(
            self._bench.limit, at_hand=source.column(_KEY_NUMBER).combine_chunks()
        )
        table = self._rows_of([number for number, kind in wanted.items() if kind != "missing"], schema=schema)
        found.examples = examples_of(wanted, source=source, table=table, keys=self._keys)
        return found

    def _rows_of(self, numbers: list[int], *, schema: pa.Schema) -> pa.Table:
        """The rows of the table whose keys have these numbers."""
        wanted = pa.array(numbers, pa.uint64())
        found = []
        for batch in self._stored_rows(is_counted=False) if numbers else ():
            key = self._prints.of(batch).column("k").combine_chunks()
            places = pc.indices_nonzero(pc.is_in(key, value_set=wanted))
            if len(places):
                found.append(batch.take(places).append_column(_KEY_NUMBER, key.take(places)))
        return pa.Table.from_batches(found, schema=schema)
