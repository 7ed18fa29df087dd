"""One row for each version of a key (slowly changing dimension, type 2), from what came and what is stored.

Each key has a line of time. On it lie the beginnings of its versions, stored and incoming, and its deletes. A
version ends where the next point of the line begins, so that it does not matter in what order rows arrive: one
that comes late takes its place between those before and after it, and one that comes again is there already.

Rows that bring no time of their own are put behind everything else in the order of their arrival, at the time
of the load; such a row makes a version only when it differs from the one before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from icetap.types import TIMESTAMPTZ, schema_from_iceberg
from target_iceberg.contracts.metadata import IS_CURRENT, VALID_TO, VALIDITY
from target_iceberg.methods.equality import unequal_rows
from target_iceberg.methods.joins import as_key, engine, joinable, key_names, reader
from target_iceberg.methods.stored_rows import files_with_keys, key_types, live_keys, rows_at
from target_iceberg.settings import VALID_FROM

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table

    from target_iceberg.methods.staging import Spool

_ROWS_AT_ONCE = 16_384


@dataclass(frozen=True)
class Rules:
    """How rows become versions.

    Attributes:
        load_time: When the load began, in microseconds since the epoch: the time of rows that bring none.
        order: The replication key, where it has an order but is no time. A row with a smaller value than a version
            that is stored comes too late to have a place.
        is_truth: Whether the rows are what a complete full read differs in: then a row is current, whatever its time.
        comes_again: Whether the tap began before the table's bookmark, so that changes may be stored already.
    """

    load_time: int
    order: str | None = None
    is_truth: bool = False
    comes_again: bool = False


@dataclass(frozen=True)
class VersionCounts:
    """What became of the incoming rows, beside new versions.

    Attributes:
        closed: Current rows that a delete has ended.
        unchanged: Rows that are as the version before.
        late: Rows that came too late, or a second time for one moment.
    """

    closed: int
    unchanged: int
    late: int


def spool_versions(
    table: Table, spool: Spool, versions: Spool, *, schema: Schema, rules: Rules
) -> VersionCounts:
    """Turn incoming rows into what a merge must do with the versions of their keys.

    Args:
        table: The table, freshly loaded.
        spool: The incoming rows, with the columns of `VALIDITY` as if each were the only one of its key.
        versions: Gets rows to be merged by key and `_valid_from`: new versions, and stored ones that end elsewhere now.
        schema: The table's columns as they will be.
        rules: See there.
    """
    with engine() as database:
        line = _Line(database, table, spool, schema=schema, rules=rules)
        line.gather()
        line.leave_out_late_rows()
        line.give_times()
        line.leave_out_rows_that_came_again()
        line.leave_out_unchanged_rows()
        line.draw()
        line.write(versions)
        return line.counts()


class _Line:
    """The lines of time of all keys that came, as tables in DuckDB; times are microseconds since the epoch."""

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        table: Table,
        spool: Spool,
        *,
        schema: Schema,
        rules: Rules,
    ) -> None:
        self._database = database
        self._table = table
        self._spool = spool
        self._schema = schema
        self._fields = schema_from_iceberg(schema)
        self._rules = rules
        self._tasks = files_with_keys(table, spool, schema=schema)

    def _run(self, sql: str) -> None:
        self._database.execute(sql)

    def _number(self, sql: str) -> int:
        row = self._database.execute(sql).fetchone()
        return int(row[0]) if row else 0

    def _ask(self, sql: str) -> pa.RecordBatchReader:
        return self._database.execute(sql).to_arrow_reader(_ROWS_AT_ONCE)

    # --- what there is ---

    def gather(self) -> None:
        """Make the tables `events` (what came) and `versions` (what is stored of the same keys)."""
        spool, order = self._spool, self._rules.order
        names = ", ".join(key_names(spool.keys))
        equal = " AND ".join(f"a.{name} = k.{name}" for name in key_names(spool.keys))
        arrived = self._arrived()
        self._database.register("arrived_once", arrived)
        self._run("CREATE TEMP TABLE arrived AS FROM arrived_once")
        self._run(
            f"CREATE TEMP TABLE keys AS SELECT row_number() OVER () AS kid, {names} FROM (SELECT DISTINCT {names} "
            "FROM arrived)"
        )
        self._run(
            "CREATE TEMP TABLE events AS SELECT k.kid, a.t, a.o, a.is_delete, a.n FROM arrived AS a "
            f"JOIN keys AS k ON {equal}"
        )
        self._run("DROP TABLE arrived")
        stored = live_keys(
            self._table,
            self._tasks,
            schema=self._schema,
            keys=spool.keys,
            times=(VALID_FROM, VALID_TO),
            others=(order,) if order else (),
        )
        self._database.register("stored", stored)
        self._run(
            f"CREATE TEMP TABLE versions AS SELECT k.kid, a.t0 AS f, a.t1 AS e, {'a.o0' if order else 'NULL'} AS o, "
            f"a.file, a.pos FROM stored AS a JOIN keys AS k ON {equal}"
        )

    def _arrived(self) -> pa.RecordBatchReader:
        keys = self._spool.keys
        kinds = [joinable(kind) for kind in key_types(self._schema, keys)]
        order = self._rules.order
        order_kind = self._fields.field(order).type if order else pa.int64()
        schema = pa.schema(
            [
                *zip(key_names(keys), kinds, strict=True),
                ("t", pa.int64()),
                ("o", order_kind),
                ("is_delete", pa.bool_()),
                ("n", pa.int64()),
            ]
        )

        def generate() -> Iterator[pa.RecordBatch]:
            number = 0
            flags = self._spool.deletes
            for batch in self._spool.batches():
                rows = batch.num_rows
                columns = [
                    *(as_key(batch.column(key), kind) for key, kind in zip(keys, kinds, strict=True)),
                    _column(batch, VALID_FROM, TIMESTAMPTZ).cast(pa.int64()),
                    _column(batch, order, order_kind),
                    flags.slice(number, rows).combine_chunks(),
                    pa.arange(number, number + rows),
                ]
                yield pa.RecordBatch.from_arrays([_one(column) for column in columns], schema=schema)
                number += rows

        return reader(generate(), schema)

    # --- which rows count, and when ---

    def leave_out_late_rows(self) -> None:
        """Forget rows whose replication key lies before one that came or is stored: they have no time to go to."""
        before = self._number("SELECT count(*) FROM events")
        if self._rules.order and not self._rules.is_truth:
            self._run(
                "CREATE TEMP TABLE kept AS SELECT kid, t, o, is_delete, n FROM (SELECT e.*, greatest(s.most, max(e.o) "
                "OVER (PARTITION BY e.kid ORDER BY e.n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS most "
                "FROM events AS e LEFT JOIN (SELECT kid, max(o) AS most FROM versions GROUP BY kid) AS s "
                "ON e.kid = s.kid) WHERE NOT coalesce(o < most, false)"
            )
            self._run("DROP TABLE events")
            self._run("ALTER TABLE kept RENAME TO events")
        self._late = before - self._number("SELECT count(*) FROM events")

    def give_times(self) -> None:
        """Make the table `timed`; rows that float have no time of their own and lie behind everything else."""
        load_time, is_truth = self._rules.load_time, self._rules.is_truth
        self._run(
            f"""CREATE TEMP TABLE timed AS
            WITH last AS (SELECT kid, max(greatest(f, e)) AS base FROM versions GROUP BY kid),
            marked AS (SELECT e.kid, e.n, e.o, e.is_delete, e.t, l.base,
                              e.t IS NULL OR e.t = {load_time} OR ({is_truth} AND coalesce(e.t <= l.base, false)) AS floats
                       FROM events AS e LEFT JOIN last AS l ON e.kid = l.kid),
            placed AS (SELECT *, greatest({load_time}, base + 1,
                                          1 + max(t) FILTER (NOT floats) OVER (PARTITION BY kid)) AS first,
                              row_number() OVER (PARTITION BY kid, floats ORDER BY n) - 1 AS place
                       FROM marked)
            SELECT kid, n, o, is_delete, floats, CASE WHEN floats THEN first + place ELSE t END AS t FROM placed"""
        )
        self._run("DROP TABLE events")

    def leave_out_rows_that_came_again(self) -> None:
        """Forget what a key went through until it was as the table has it: that is stored already."""
        if not self._rules.comes_again:
            return
        self._run(
            "CREATE TEMP TABLE present AS SELECT * FROM versions "
            "QUALIFY row_number() OVER (PARTITION BY kid ORDER BY f DESC) = 1"
        )
        self._run(
            """CREATE TEMP TABLE pairs AS SELECT t.n, v.file, v.pos, -2 AS before
            FROM timed AS t JOIN present AS v ON t.kid = v.kid WHERE NOT t.is_delete AND v.e IS NULL"""
        )
        self._database.register("known", self._equal_pairs())
        self._run(
            """CREATE TEMP TABLE reached AS SELECT kid, max(n) AS n FROM (
                SELECT t.kid, t.n FROM timed AS t JOIN known AS k ON t.n = k.n UNION ALL
                SELECT t.kid, t.n FROM timed AS t JOIN present AS v ON t.kid = v.kid
                WHERE t.is_delete AND v.e IS NOT NULL) GROUP BY kid"""
        )
        before = self._number("SELECT count(*) FROM timed")
        self._run("DELETE FROM timed AS t USING reached AS r WHERE t.kid = r.kid AND t.n <= r.n")
        self._run("DROP TABLE pairs")
        self._late += before - self._number("SELECT count(*) FROM timed")

    def leave_out_unchanged_rows(self) -> None:
        """Forget rows without a time of their own that are as the version before them."""
        self._run("CREATE TEMP TABLE dropped (n BIGINT)")
        if self._number("SELECT count(*) FROM timed WHERE floats AND NOT is_delete"):
            self._run(
                """CREATE TEMP TABLE pairs AS
                WITH points AS (
                    SELECT kid, f AS t, -2 AS n, false AS floats, false AS is_end, file, pos FROM versions
                    UNION ALL SELECT kid, e, -1, false, true, NULL, NULL FROM versions AS v WHERE e IS NOT NULL
                        AND NOT EXISTS (SELECT 1 FROM versions AS w WHERE w.kid = v.kid AND w.f = v.e)
                    UNION ALL SELECT kid, t, n, floats, is_delete, NULL, NULL FROM timed)
                SELECT n, floats AND NOT is_end AS is_asked, lag(is_end) OVER line AS is_behind_end,
                       lag(file) OVER line AS file, lag(pos) OVER line AS pos, lag(n) OVER line AS before
                FROM points WINDOW line AS (PARTITION BY kid ORDER BY t, n)
                QUALIFY is_asked AND before IS NOT NULL AND NOT is_behind_end"""
            )
            self._pair_with_closed_versions()
            self._database.register("same", self._equal_pairs())
            self._run("INSERT INTO dropped FROM same")
            self._run("DELETE FROM timed WHERE n IN (FROM dropped)")

    def _pair_with_closed_versions(self) -> None:
        """Pair rows with a closed version of the same replication key, that an earlier run has loaded and closed."""
        if not self._rules.order or self._rules.is_truth:
            return
        self._run(
            f"""INSERT INTO pairs
            WITH newest AS (SELECT * FROM versions QUALIFY row_number() OVER (PARTITION BY kid ORDER BY f DESC) = 1),
            first AS (SELECT * FROM timed QUALIFY row_number() OVER (PARTITION BY kid ORDER BY n) = 1)
            SELECT t.n, true, false, v.file, v.pos, -2 FROM first AS t JOIN newest AS v ON t.kid = v.kid AND t.o = v.o
            WHERE NOT t.is_delete AND v.e < {self._rules.load_time}"""
        )

    def _equal_pairs(self) -> pa.Table:
        """Return the numbers of the rows in the table `pairs` that equal the row that they stand beside."""
        columns = [field.name for field in self._fields if field.name not in VALIDITY.names]
        fields = pa.schema([self._fields.field(name) for name in columns])
        same: list[pa.Array] = []
        places = self._ask("SELECT file, pos, n FROM pairs WHERE file IS NOT NULL ORDER BY file, pos")
        for old, beside in rows_at(
            self._table, self._tasks, schema=self._schema, places=places, columns=columns
        ):
            same.append(self._equal_ones(pa.Table.from_batches([old]), beside.column("n"), fields=fields))
        for pair in self._ask("SELECT before, n FROM pairs WHERE file IS NULL ORDER BY before"):
            old_rows = self._spool.take(pair.column("before"), fields)
            same.append(self._equal_ones(old_rows, pair.column("n"), fields=fields))
        return pa.table({"n": pa.chunked_array(same, pa.int64())})

    def _equal_ones(self, old: pa.Table, numbers: pa.Int64Array, *, fields: pa.Schema) -> pa.Array:
        return numbers.filter(pc.invert(unequal_rows(old, self._spool.take(numbers, fields))))

    # --- the lines of time, drawn anew ---

    def draw(self) -> None:
        """Make the tables `began` (incoming versions) and `ended` (stored ones that end elsewhere now)."""
        self._run(
            """CREATE TEMP TABLE starts AS SELECT kid, t AS f, n FROM timed WHERE NOT is_delete
            QUALIFY row_number() OVER (PARTITION BY kid, t ORDER BY n DESC) = 1"""
        )
        self._run(
            """CREATE TEMP TABLE stops AS SELECT kid, t, max(n) AS n FROM timed WHERE is_delete GROUP BY kid, t"""
        )
        self._run(
            """CREATE TEMP TABLE line AS
            SELECT kid, t, lead(t) OVER (PARTITION BY kid ORDER BY t) AS next FROM (
                SELECT kid, f AS t FROM starts UNION SELECT kid, f FROM versions UNION SELECT kid, t FROM stops
                UNION SELECT kid, e FROM versions WHERE e IS NOT NULL)"""
        )
        self._run(
            """CREATE TEMP TABLE began AS
            SELECT s.n, s.kid, s.f, CASE WHEN d.n > s.n THEN s.f ELSE l.next END AS e
            FROM starts AS s LEFT JOIN line AS l ON s.kid = l.kid AND s.f = l.t
            LEFT JOIN stops AS d ON s.kid = d.kid AND s.f = d.t"""
        )
        self._run(
            """CREATE TEMP TABLE ended AS SELECT file, pos, kid, e FROM (
                SELECT v.file, v.pos, v.kid, v.e AS e_before,
                       CASE WHEN v.e = v.f OR d.n IS NOT NULL THEN v.f ELSE l.next END AS e
                FROM versions AS v LEFT JOIN line AS l ON v.kid = l.kid AND v.f = l.t
                LEFT JOIN stops AS d ON v.kid = d.kid AND v.f = d.t
                WHERE NOT EXISTS (SELECT 1 FROM starts AS s WHERE s.kid = v.kid AND s.f = v.f))
            WHERE e IS DISTINCT FROM e_before"""
        )

    def write(self, versions: Spool) -> None:
        """Put the changed versions into a spool."""
        for batch in self._ask("SELECT n, f, e FROM began ORDER BY n"):
            done = 0
            for rows in self._spool.rows_of(batch.column("n"), self._fields):
                piece = batch.slice(done, rows.num_rows)
                versions.write(_with_validity(rows, starts=piece.column("f"), ends=piece.column("e")))
                done += rows.num_rows
        places = self._ask("SELECT file, pos, e FROM ended ORDER BY file, pos")
        for rows, beside in rows_at(self._table, self._tasks, schema=self._schema, places=places):
            versions.write(_with_validity(rows, starts=None, ends=beside.column("e")))

    def counts(self) -> VersionCounts:
        """Return what became of the rows."""
        closed = "SELECT count(*) FROM ended AS v JOIN stops AS d ON v.kid = d.kid AND v.e = d.t"
        repeated = "SELECT (SELECT count(*) FROM timed WHERE NOT is_delete) - (SELECT count(*) FROM starts)"
        return VersionCounts(
            closed=self._number(closed),
            unchanged=self._number("SELECT count(*) FROM dropped"),
            late=self._late + self._number(repeated),
        )


def _column(batch: pa.RecordBatch, name: str | None, kind: pa.DataType) -> pa.Array:
    """Return a column in this type; nulls when the batch does not have it."""
    if name is None or name not in batch.schema.names:
        return pa.nulls(batch.num_rows, kind)
    return batch.column(name).cast(kind)


def _one(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column


def _with_validity(
    rows: pa.RecordBatch, *, starts: pa.Int64Array | None, ends: pa.Int64Array
) -> pa.RecordBatch:
    """Return versions that begin (as they did, when no `starts` are given) and end at these times."""
    columns: list[tuple[str, pa.Array]] = [
        (VALID_TO, ends.cast(pa.int64()).cast(TIMESTAMPTZ)),
        (IS_CURRENT, ends.is_null()),
    ]
    if starts is not None:
        columns.append((VALID_FROM, starts.cast(pa.int64()).cast(TIMESTAMPTZ)))
    for name, column in columns:
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, rows.schema.field(place), column)
    return rows
