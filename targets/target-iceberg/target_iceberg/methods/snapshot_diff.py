"""A complete full read against the table: what is new, what has changed, what is gone.

Of both sides DuckDB gets the keys and one number for all values of a row (see `fingerprints`), so that memory
does not grow with the table. Only rows that differ are looked at again.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from icetap.tables import plan_files, read_data_file
from icetap.types import schema_from_iceberg
from target_iceberg.contracts.metadata import IS_CURRENT, VALIDITY
from target_iceberg.decoding.decode import DELETED_AT
from target_iceberg.methods.equality import RUN_COLUMNS
from target_iceberg.methods.joins import as_key, engine, joinable, key_names
from target_iceberg.methods.soft_deletes import with_mark
from target_iceberg.methods.stored_rows import PLACE, live_rows, rows_at
from target_iceberg.verification.fingerprints import Fingerprints

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import duckdb
    from pyiceberg.manifest import DataFile
    from pyiceberg.schema import Schema
    from pyiceberg.table import FileScanTask, Table

    from target_iceberg.methods.staging import Spool

_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class Source:
    """A full read, in files.

    Attributes:
        files: Its rows, each key once.
        keys: The key columns.
        schema: The table's columns as they will be.
    """

    files: Sequence[DataFile]
    keys: Sequence[str]
    schema: Schema


@contextlib.contextmanager
def compared(table: Table, source: Source) -> Iterator[Difference]:
    """Compare a full read with the table's newest snapshot.

    Rows that are marked as deleted count as stored, but not as rows that can go; of a history only current
    rows count.
    """
    tasks = plan_files(table) if table.metadata.current_snapshot_id else []
    with engine() as database, engine() as hashing:
        columns = [
            field
            for field in schema_from_iceberg(source.schema)
            if field.name not in RUN_COLUMNS and field.name not in VALIDITY.names
        ]
        sides = _Sides(Fingerprints(hashing, columns, keys=()), source)
        database.register("arrived", sides.incoming(table))
        database.execute("CREATE TEMP TABLE incoming AS FROM arrived")
        database.register("planned", sides.stored(table, tasks))
        database.execute("CREATE TEMP TABLE stored AS FROM planned")
        yield Difference(database, table, tasks, source=source)


class _Sides:
    """The two sides as batches of keys (`k0` and so on), place or number, and the number of the values (`h`)."""

    def __init__(self, prints: Fingerprints, source: Source) -> None:
        self._prints = prints
        self._source = source
        self._fields = schema_from_iceberg(source.schema)
        kinds = [joinable(self._fields.field(key).type) for key in source.keys]
        self._keys = pa.schema(list(zip(key_names(source.keys), kinds, strict=True)))

    def _columns(self, batch: pa.RecordBatch) -> list[pa.Array]:
        keys = [
            as_key(batch.column(key), kind)
            for key, kind in zip(self._source.keys, self._keys.types, strict=True)
        ]
        return [*keys, self._prints.of(batch).column("h").combine_chunks()]

    def incoming(self, table: Table) -> pa.RecordBatchReader:
        schema = pa.schema([*self._keys, ("h", pa.uint64()), ("n", pa.int64())])

        def generate() -> Iterator[pa.RecordBatch]:
            number = 0
            for batch in _rows_of(table, self._source):
                numbers = pa.arange(number, number + batch.num_rows)
                yield pa.RecordBatch.from_arrays([*self._columns(batch), numbers], schema=schema)
                number += batch.num_rows

        return pa.RecordBatchReader.from_batches(schema, generate())

    def stored(self, table: Table, tasks: Sequence[FileScanTask]) -> pa.RecordBatchReader:
        schema = pa.schema([*self._keys, ("h", pa.uint64()), *PLACE, ("may_go", pa.bool_())])

        def generate() -> Iterator[pa.RecordBatch]:
            for places, batch in live_rows(table, tasks, schema=self._source.schema):
                may_go = pa.repeat(pa.scalar(value=True), batch.num_rows)
                if DELETED_AT in batch.schema.names:
                    may_go = batch.column(DELETED_AT).is_null()
                columns = [*self._columns(batch), *places.columns, may_go]
                found = pa.RecordBatch.from_arrays(columns, schema=schema)
                yield found.filter(batch.column(IS_CURRENT)) if IS_CURRENT in batch.schema.names else found

        return pa.RecordBatchReader.from_batches(schema, generate())


class Difference:
    """What a comparison found; it can be asked as long as the comparison is open.

    Attributes:
        stored: Rows of the table that could go.
        gone: Those whose key did not come.
        unchanged: Incoming rows that the table has just so.
    """

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        table: Table,
        tasks: Sequence[FileScanTask],
        *,
        source: Source,
    ) -> None:
        self._database = database
        self._table = table
        self._tasks = tasks
        self._source = source
        equal = " AND ".join(f"s.{name} = i.{name}" for name in key_names(source.keys))
        database.execute(
            "CREATE TEMP TABLE found AS SELECT s.file, s.pos, s.may_go, i.n "
            f"FROM stored AS s FULL JOIN incoming AS i ON {equal} WHERE s.h IS DISTINCT FROM i.h"
        )
        every = self._number("SELECT count(*) FROM incoming")
        new = self._number("SELECT count(*) FROM found WHERE file IS NULL")
        lost = self._number("SELECT count(*) FROM found WHERE n IS NULL")
        if self._number("SELECT count(*) FROM stored") - lost > every - new:
            # A key that is stored twice: the merge leaves one row of it.
            database.execute(
                f"INSERT INTO found SELECT NULL, NULL, false, i.n FROM stored AS s JOIN incoming AS i ON {equal} "
                "GROUP BY i.n HAVING count(*) > 1"
            )
        self.stored = self._number("SELECT count(*) FROM stored WHERE may_go")
        self.gone = self._number("SELECT count(*) FROM found WHERE n IS NULL AND may_go")
        self.unchanged = every - self._number("SELECT count(DISTINCT n) FROM found")

    def _number(self, sql: str) -> int:
        row = self._database.execute(sql).fetchone()
        return int(row[0]) if row else 0

    def spool_into(self, spool: Spool, *, mark: pa.Scalar | None, keeps_gone: bool = False) -> None:
        """Put into a spool what a merge must do for the table to hold the full read.

        Args:
            spool: Gets rows that are new or have changed, and those that are gone as deletes.
            mark: When given, those that are gone are marked as deleted then, instead.
            keeps_gone: Leave alone what is gone.
        """
        numbers = self._ask("SELECT DISTINCT n FROM found WHERE n IS NOT NULL ORDER BY n")
        for batch in _numbered(_rows_of(self._table, self._source), numbers):
            spool.write(batch)
        if keeps_gone:
            return
        places = self._ask("SELECT file, pos FROM found WHERE n IS NULL AND may_go ORDER BY file, pos")
        columns = list(self._source.keys) if mark is None else None
        for batch, _ in rows_at(
            self._table, self._tasks, schema=self._source.schema, places=places, columns=columns
        ):
            if mark is None:
                spool.write(batch, pa.repeat(pa.scalar(value=True), batch.num_rows))
            else:
                spool.write(with_mark(batch, pa.repeat(mark, batch.num_rows)))

    def _ask(self, sql: str) -> pa.RecordBatchReader:
        return self._database.execute(sql).to_arrow_reader(_ROWS_AT_ONCE)


def _rows_of(table: Table, source: Source) -> Iterator[pa.RecordBatch]:
    for data_file in source.files:
        yield from read_data_file(table.io, data_file, source.schema)


def _numbered(rows: Iterable[pa.RecordBatch], numbers: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """Yield the rows with these numbers, which rise; the first row has the number 0."""
    wanted = (batch.column(0) for batch in numbers)
    ahead = next(wanted, None)
    first = 0
    for batch in rows:
        behind = first + batch.num_rows
        while ahead is not None:
            inside = pc.less(ahead, behind).true_count
            if inside:
                yield batch.take(pc.subtract(ahead.slice(0, inside), first))
            if inside < len(ahead):
                ahead = ahead.slice(inside)
                break
            ahead = next(wanted, None)
        if ahead is None:
            return
        first = behind
