"""Another key for a table: looked at row by row, then changed in one commit with the columns that it needs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.table.snapshots import Operation
from typing_extensions import override

from icetap.errors import ConfigurationError, DataError
from icetap.settings import did_you_mean
from icetap.tables import plan_files, position_deletes, read_task
from icetap.types import kind_of, schema_from_iceberg
from target_iceberg.methods.joins import as_key, engine, joinable, key_names, reader
from target_iceberg.settings import VALID_FROM
from target_iceberg.tables.commit import Change, SchemaStage, TableMovedError, commit_change, new_run_id
from target_iceberg.tables.loaded_table import KEYS, STREAM, keys_and_names
from target_iceberg.tables.retrying import until_settled
from target_iceberg.tables.writer import DataFileWriter, WriterOptions, delete_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import FileScanTask, Table

EXAMPLES = 10


@dataclass
class KeyReport:
    """What stands in the way of a key, and what was done.

    Attributes:
        table, stream: What it is about.
        old, new: Columns of the table.
        rows: Rows of the table.
        nulls: Per column: rows without a value.
        repeated_keys, repeated_rows: Keys that several rows have, and how many rows those are.
        examples: Some of these keys, with the number of their rows.
        removed: Rows that were (or would be) removed.
        is_done: Whether the key was changed.
    """

    table: str
    stream: str
    old: tuple[str, ...]
    new: tuple[str, ...]
    rows: int = 0
    nulls: dict[str, int] = field(default_factory=dict)
    repeated_keys: int = 0
    repeated_rows: int = 0
    examples: list[tuple[dict[str, Any], int]] = field(default_factory=list)
    removed: int = 0
    is_done: bool = False

    @property
    def is_clean(self) -> bool:
        """Whether every row has the key, and no two the same."""
        return not self.nulls and not self.repeated_keys


class KeyStage(SchemaStage):
    """Columns with another key: its columns become required and identify rows, those of the old one need not be."""

    @override
    def __init__(self, table: Table, keys: Sequence[str]) -> None:
        super().__init__(table)
        identifying = [
            key for key in keys if not pa.types.is_floating(self.columns.field(key).type)
        ]  # floats must not
        with self._transaction.update_schema(allow_incompatible_changes=True) as update:
            for name in self.schema.identifier_field_names() - set(identifying):
                update.make_column_optional(name)
            for name in identifying:
                update.update_column(name, required=True)
            update.set_identifier_fields(*identifying)
        self.schema = self._transaction.table_metadata.schema()
        self.columns = schema_from_iceberg(self.schema)


@dataclass(frozen=True)
class RowsToRemove:
    """Which rows leave, so that the rest has the key.

    Attributes:
        without_key: Rows that lack a value in a key column.
        latest_by: Of rows with the same key the one with the largest value of this column stays; None keeps all.
    """

    without_key: bool = False
    latest_by: str | None = None


class Rekeying:
    """Gives a table another key.

    Args:
        table: The table.
        keys: The new key, by names of the table or of the source; none for no key.
        removes: Rows that may be removed for it.
    """

    def __init__(self, table: Table, keys: Sequence[str], *, removes: RowsToRemove | None = None) -> None:
        self._table = table
        self._removes = removes or RowsToRemove()
        stored, self._names = keys_and_names(table)
        old = tuple(key for key in (stored or "").split(",") if key)
        if VALID_FROM in old:
            raise ConfigurationError(
                f"table {'.'.join(table.name())} is a history: its rows are the versions of the key ({', '.join(old)}). "
                "Load the stream anew into another table ('table_name') with the new key."
            )
        new = tuple(dict.fromkeys(self._column(key) for key in keys))
        for key in new:
            self._check(key)
        if self._removes.latest_by is not None:
            column = self._column(self._removes.latest_by)
            self._removes = RowsToRemove(self._removes.without_key, column)
        self._blank = KeyReport(".".join(table.name()), table.properties.get(STREAM, ""), old, new)

    def _column(self, name: str) -> str:
        """Return the table's column for a name of the table or of the source."""
        present = [one.name for one in self._table.schema().fields]
        if name in present:
            return name
        found = self._names.get(name)
        if found in present:
            return str(found)
        raise ConfigurationError(
            f"table {'.'.join(self._table.name())} has no column '{name}'{did_you_mean(name, present) or '.'}"
        )

    def _check(self, key: str) -> None:
        one = schema_from_iceberg(self._table.schema()).field(key)
        if pa.types.is_nested(one.type) or kind_of(one) == "json":
            raise ConfigurationError(
                f"column '{key}' is an object or an array, which cannot be compared: it cannot be a key"
            )

    # --- the change -----------------------------------------------------------------------------------

    def run(self, *, is_dry_run: bool = False) -> KeyReport:
        """Change the key, or only look.

        Returns:
            What was found. It is not done when rows stand in the way that may not be removed.

        Raises:
            StateError: When other writers commit each time.
        """
        return until_settled(self._table, lambda: self._attempt(is_dry_run=is_dry_run))

    def _attempt(self, *, is_dry_run: bool) -> KeyReport:
        head = self._table.metadata.current_snapshot_id
        tasks = plan_files(self._table) if head is not None else []
        report, leaving = self._survey(tasks)
        if is_dry_run or not self._may_change(report):
            return report
        stage = KeyStage(self._table, report.new)
        run_id = new_run_id()
        removed, added = self._without(tasks, leaving, stage=stage, run_id=run_id)
        change = Change(
            added=added,
            removed=removed,
            parent=head,
            # Without rows to take away it is a snapshot too: a load that has read this head must not commit on it.
            operation=None if removed else Operation.REPLACE,
            has_snapshot=head is not None,
            summary={"icetap.run-id": run_id},
            properties=lambda _snapshot_id, _number: {KEYS: ",".join(report.new)},
        )
        try:
            commit_change(self._table, change, stage=stage)
        except TableMovedError:
            # After any other fault the commit may still land: its files are left, for the sweep if it does not.
            delete_files(self._table, added)
            raise
        report.is_done = True
        return report

    def _may_change(self, report: KeyReport) -> bool:
        """Whether every row that stays has the key, and each another one."""
        nulls_leave = not report.nulls or self._removes.without_key
        return nulls_leave and (not report.repeated_keys or self._removes.latest_by is not None)

    # --- looking --------------------------------------------------------------------------------------

    def _survey(self, tasks: Sequence[FileScanTask]) -> tuple[KeyReport, pa.Int64Array]:
        """Return what was found, and the numbers of the rows that leave, in the order of the files."""
        blank = self._blank
        report = KeyReport(blank.table, blank.stream, blank.old, blank.new)
        nobody = pa.array([], pa.int64())
        if not blank.new or not tasks:
            return report, nobody
        with engine() as database:
            database.register("rows", self._numbered(tasks))
            database.execute("CREATE TEMP TABLE stored AS SELECT * FROM rows")
            self._count(database, report)
            numbers = self._leaving(database)
        report.removed = len(numbers)
        return report, pa.concat_arrays([nobody, *numbers.chunks])

    def _count(self, database: duckdb.DuckDBPyConnection, report: KeyReport) -> None:
        """Count the rows without a key, and those whose key is another's too."""
        names = key_names(report.new)
        key = ", ".join(names)
        counts = ", ".join(f"count(*) - count({name})" for name in names)
        report.rows, *nulls = database.execute(f"SELECT count(*), {counts} FROM stored").fetchone() or (0,)
        report.nulls = {name: count for name, count in zip(report.new, nulls, strict=False) if count}
        database.execute(
            f"CREATE TEMP TABLE repeated AS SELECT {key}, count(*) AS c FROM stored WHERE {_complete(names)} "
            f"GROUP BY {key} HAVING count(*) > 1"
        )
        found = database.execute("SELECT count(*), coalesce(sum(c), 0) FROM repeated").fetchone() or (0, 0)
        report.repeated_keys, report.repeated_rows = int(found[0]), int(found[1])
        examples = database.execute(f"SELECT * FROM repeated ORDER BY c DESC, {key} LIMIT {EXAMPLES}")
        report.examples = [
            (dict(zip(report.new, values, strict=True)), int(count)) for *values, count in examples.fetchall()
        ]

    def _leaving(self, database: duckdb.DuckDBPyConnection) -> pa.ChunkedArray:
        """Return the numbers of the rows that leave, sorted."""
        names = key_names(self._blank.new)
        found = []
        if self._removes.without_key:
            found.append(f"SELECT n FROM stored WHERE NOT ({_complete(names)})")
        if self._removes.latest_by is not None:
            found.append(
                f"SELECT n FROM stored WHERE {_complete(names)} QUALIFY row_number() OVER "
                f"(PARTITION BY {', '.join(names)} ORDER BY o DESC NULLS LAST, n DESC) > 1"
            )
        if not found:
            return pa.chunked_array([], pa.int64())
        numbers = database.execute(f"SELECT n FROM ({' UNION ALL '.join(found)}) ORDER BY n")
        return numbers.to_arrow_table().column(0).cast(pa.int64())

    def _numbered(self, tasks: Sequence[FileScanTask]) -> pa.RecordBatchReader:
        """Return the keys as k0, k1, …, what decides between rows of one key as o, and the row's number as n."""
        columns = list(self._blank.new)
        present = schema_from_iceberg(self._table.schema())
        by = self._removes.latest_by
        read = list(dict.fromkeys([*columns, *([by] if by else [])]))
        kinds = [joinable(present.field(name).type) for name in columns]
        order = joinable(present.field(by).type) if by else pa.null()
        schema = pa.schema([*zip(key_names(columns), kinds, strict=True), ("o", order), ("n", pa.int64())])

        def generate() -> Iterator[pa.RecordBatch]:
            number = 0
            for task in tasks:
                for batch in read_task(self._table, task, columns=read):
                    arrays = [
                        as_key(batch.column(name), kind) for name, kind in zip(columns, kinds, strict=True)
                    ]
                    arrays.append(as_key(batch.column(by), order) if by else pa.nulls(batch.num_rows, order))
                    arrays.append(pa.arange(number, number + batch.num_rows))
                    number += batch.num_rows
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)

        return reader(generate(), schema)

    # --- removing -------------------------------------------------------------------------------------

    def _without(
        self, tasks: Sequence[FileScanTask], leaving: pa.Int64Array, *, stage: SchemaStage, run_id: str
    ) -> tuple[frozenset[str], list[DataFile]]:
        """Write the files that hold rows which leave again without them; return their paths and the new files."""
        removed: set[str] = set()
        added: list[DataFile] = []
        first = 0
        for task in tasks:
            rows = task.file.record_count - len(position_deletes(self._table.io, task))
            inside = leaving.filter(pc.and_(pc.greater_equal(leaving, first), pc.less(leaving, first + rows)))
            if len(inside):
                removed.add(task.file.file_path)
                added += self._rewritten(task, pc.subtract(inside, first), stage=stage, run_id=run_id)
            first += rows
        return frozenset(removed), added

    def _rewritten(
        self, task: FileScanTask, leaving: pa.Int64Array, *, stage: SchemaStage, run_id: str
    ) -> list[DataFile]:
        writer = DataFileWriter(self._table, schema=stage.schema, options=WriterOptions(run_id))
        number = 0
        for batch in read_task(self._table, task):
            numbers = pa.arange(number, number + batch.num_rows)
            number += batch.num_rows
            kept = batch.filter(pc.invert(pc.is_in(numbers, value_set=leaving)))
            if kept.num_rows:
                writer.write(pa.RecordBatch.from_arrays(kept.columns, schema=stage.columns))
        return writer.close()


def _complete(names: Sequence[str]) -> str:
    return " AND ".join(f"{name} IS NOT NULL" for name in names)


# --- reports ------------------------------------------------------------------------------------------------


def refusal(report: KeyReport) -> DataError:
    """Return the error of a key that rows stand in the way of; it holds no values."""
    found = [f"{count:,} rows have no value in '{name}'" for name, count in report.nulls.items()]
    if report.repeated_keys:
        found.append(
            f"{report.repeated_keys:,} keys stand in more than one row ({report.repeated_rows:,} rows)"
        )
    ways = [
        "--drop-null-keys removes rows without a key" if report.nulls else "",
        "--latest-by COLUMN keeps one row of each key" if report.repeated_keys else "",
    ]
    return DataError(
        f"({', '.join(report.new)}) is no key of {report.table}: {'; '.join(found)}. "
        f"Nothing was changed. {', '.join(way for way in ways if way)}."
    )


def as_json(report: KeyReport) -> dict[str, Any]:
    """Return a report for programs."""
    return {
        "table": report.table,
        "stream": report.stream,
        "old_key": list(report.old),
        "new_key": list(report.new),
        "rows": report.rows,
        "rows_without_key": report.nulls,
        "repeated_keys": report.repeated_keys,
        "repeated_rows": report.repeated_rows,
        "examples": [
            {"key": json.loads(json.dumps(key, default=str)), "rows": count} for key, count in report.examples
        ],
        "rows_removed": report.removed,
        "is_done": report.is_done,
    }


def as_text(report: KeyReport) -> str:
    """Return a report for people, with what is left to do."""
    named = ", ".join(report.new) or "none"
    lines = [
        f"{report.stream} -> {report.table}: {report.rows:,} rows, key ({', '.join(report.old) or 'none'})"
    ]
    lines += [f"  {count:,} rows have no value in '{name}'" for name, count in report.nulls.items()]
    if report.repeated_keys:
        lines.append(
            f"  {report.repeated_keys:,} keys ({named}) stand in {report.repeated_rows:,} rows, such as:"
        )
        lines += [
            f"    {', '.join(f'{name} = {value}' for name, value in key.items())}: {count:,} rows"
            for key, count in report.examples
        ]
    if report.is_done:
        if report.removed:
            lines.append(
                f"  {report.removed:,} rows were removed; older snapshots have them until they expire"
            )
        lines.append(f"The key is ({named}) now. Loads must name it: if the tap does not, set")
        lines.append(f"  streams.{report.stream}.key_properties: [{', '.join(report.new)}]")
    elif report.is_clean or report.removed:
        lines.append(
            f"  ({named}) can be the key"
            + (f"; {report.removed:,} rows would be removed" if report.removed else "")
        )
    return "\n".join(lines)
