"""Tables, views and queries as streams: full reads that resume, incremental reads that lose nothing."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import override

from icetap.columnar.stream import ColumnarStream, Page
from icetap.errors import ConfigurationError, DataError, StateError
from icetap.settings import did_you_mean
from icetap.sql.bookmarks import canonical, is_before, is_timestamp
from icetap.sql.dialect import Column, RefusedValueError, Selection, Table, Value
from icetap.sql.options import QueryOptions, renamed
from icetap.sql.prefetch import prefetched
from icetap.sql.queries import replace_bookmark
from icetap.types import singer_from_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from singer_sdk.singerlib import Catalog

    from icetap.sql.dialect import Connection, CursorRange
    from icetap.sql.tap import SQLTap

DEFAULT_LOOKBACK_SECONDS = 300
BATCH_BYTES = 16 * 1024 * 1024


class SQLStream(ColumnarStream):
    """One table, view or query.

    FULL_TABLE reads in the order of the table's position and resumes there. INCREMENTAL reads from the
    bookmark on (`>=`), up to the largest value at its start, sorted by the replication key, so that a
    killed run resumes; rows with equal values are read again.
    """

    row_limit: int | None = None

    def __init__(
        self, tap: SQLTap, table: Table, *, options: Mapping[str, Any], query: QueryOptions | None = None
    ) -> None:
        self._sql_tap = tap
        self.table = table
        self.query = query
        self.options = options
        supported = [column for column in table.columns if column.unsupported is None]
        self._new_names = renamed(
            [column.name for column in supported], options.get("rename") or {}, stream=table.stream
        )
        self.columns_by_name = {self._new_names[column.name]: column for column in supported}
        keys = self._key_names(options, query)
        schema = pa.schema(
            column.field.with_name(name).with_nullable(name not in keys)
            for name, column in self.columns_by_name.items()
        )
        super().__init__(
            tap, schema=singer_from_schema(schema), name=options.get("stream_name") or table.stream
        )
        self.primary_keys = keys
        replication_key = (query.replication_key if query else None) or options.get("replication_key")
        if replication_key:
            self.replication_key = self._new_name(replication_key, option="replication_key")
        self.forced_replication_method = options.get("replication_method")
        self._final_bookmark: dict[str, Any] = {}

    def _key_names(self, options: Mapping[str, Any], query: QueryOptions | None) -> list[str]:
        given = (query.key_properties if query else ()) or options.get("key_properties")
        return [self._new_name(name, option="key_properties") for name in given or self.table.key]

    def _new_name(self, name: str, *, option: str) -> str:
        """Return a column's name in the stream; it may be given by its old or its new name."""
        if name in self._new_names:
            return self._new_names[name]
        if name in self.columns_by_name:
            return name
        raise ConfigurationError(
            f"option '{option}' of stream '{self.table.stream}' names the column '{name}', "
            f"which does not exist{did_you_mean(name, self._new_names)}"
        )

    # --- catalog ------------------------------------------------------------------------------------

    @override
    def apply_catalog(self, catalog: Catalog) -> None:
        """Take selection, keys and replication from a catalog.

        Meltano writes a changed key into the metadata and leaves the entry's own field as it was
        discovered, so of the two the one that differs from discovery counts.
        """
        self._tap_input_catalog = catalog
        entry = catalog.get_stream(self.name)
        if entry is None:
            return
        root = entry.metadata.root
        method = _changed(self.replication_method, root.forced_replication_method, entry.replication_method)
        keys = _changed(list(self.primary_keys), root.table_key_properties, entry.key_properties)
        replication_key = _changed(self.replication_key, root.replication_key, entry.replication_key)
        self.primary_keys = [self._new_name(name, option="table-key-properties") for name in keys]
        if replication_key:
            self.replication_key = self._new_name(replication_key, option="replication-key")
        self.forced_replication_method = method
        self._input_schema = entry.schema.to_dict()

    @property
    def _selected(self) -> dict[str, Column]:
        """The columns to read, by their names in the stream; keys and cursor always."""
        always = {*self.primary_keys, self.replication_key}
        declared = (self._input_schema or {}).get("properties")
        return {
            name: column
            for name, column in self.columns_by_name.items()
            if name in always or (self.mask["properties", name] and (declared is None or name in declared))
        }

    @property
    @override
    def columns(self) -> pa.Schema:
        return pa.schema(
            column.field.with_name(name).with_nullable(name not in self.primary_keys)
            for name, column in self._selected.items()
        )

    @override
    def final_bookmark(self) -> dict[str, Any]:
        return self._final_bookmark

    # --- reading ------------------------------------------------------------------------------------

    @override
    def pages(self) -> Iterator[Page]:
        if self.table.unsupported:
            raise ConfigurationError(
                f"stream '{self.name}' cannot be read: {self.table.unsupported}. Deselect it, or repair it."
            )
        connection = self._sql_tap.dialect.connect()
        try:
            if self.replication_method == "INCREMENTAL":
                yield from self._incremental_pages(connection)
            elif self.replication_method == "FULL_TABLE":
                yield from self._full_pages(connection)
            else:
                raise ConfigurationError(
                    f"stream '{self.name}' has the replication method {self.replication_method}; "
                    f"{self.tap_name} has FULL_TABLE and INCREMENTAL"
                )
        finally:
            connection.close()

    def _full_pages(self, connection: Connection) -> Iterator[Page]:
        """Read everything, in the order of the position if there is one."""
        given = self.bookmark()
        position = dict(self.table.position)
        resumed = self._resume_position(given, position)
        now = time.time_ns() // 1_000_000
        self.version = given["version"] if resumed else max(now, int(given.get("version") or 0) + 1)
        self._final_bookmark = {"version": self.version}
        conditions, parameters = self._base_conditions()
        if resumed:
            conditions += (self._sql_tap.dialect.after(list(position.values()), start=len(parameters) + 1),)
            parameters += tuple(resumed)
        selection = Selection(
            table=self.table,
            columns=tuple(self._selected.values()),
            extras=tuple(position.values()),
            conditions=conditions,
            parameters=parameters,
            order=tuple(position.values()),
            limit=self.row_limit,
            guarded=self._is_guarded,
        )
        for batch, extras in self._read(connection, selection):
            last = dict(zip(position, extras, strict=True))
            can_resume = bool(last) and all(isinstance(value, int | float | str) for value in last.values())
            yield Page(batch, {"version": self.version, "position": last} if can_resume else None)
        self.is_complete = not resumed and self.row_limit is None

    def _resume_position(self, given: Mapping[str, Any], position: Mapping[str, str]) -> list[Value]:
        """Return where an interrupted full read stopped, or nothing when it cannot go on there."""
        found = given.get("position")
        if not position or not isinstance(found, dict) or not given.get("version"):
            return []
        if set(found) != set(position):
            self.logger.info(
                "Stream %s: the key is another one than before; reading from the start", self.name
            )
            return []
        self.logger.info("Stream %s: going on where the last run stopped", self.name)
        return [found[name] for name in position]

    @property
    def _is_guarded(self) -> bool:
        return self.config.get("on_rejected") == "skip"

    def _base_conditions(self) -> tuple[tuple[str, ...], tuple[Value, ...]]:
        where = self.options.get("where")
        return ((f"({where})",) if where else (), self.table.parameters)

    # --- incremental --------------------------------------------------------------------------------

    def _incremental_pages(self, connection: Connection) -> Iterator[Page]:
        column = self._cursor_column()
        dialect = self._sql_tap.dialect
        given = self._given_bookmark()
        table, self.table = self.table, self._with_bound_query(given, None, column)
        conditions, _ = self._base_conditions()
        current = dialect.cursor_range(connection, self.table, column, conditions=conditions)
        if current.problem:
            raise DataError(
                f"stream '{self.name}': column '{column.name}' cannot be the replication key: "
                f"{current.problem}. Clean the column up, or choose another one, or FULL_TABLE."
            )
        self._check_storage_class(given, current)
        start = self._start(given, column, current)
        self.table = self._with_bound_query(given, start, column, table=table)
        self._final_bookmark = given
        yield from self._null_pages(connection, column, current, is_first=not given)
        if current.upper is not None:
            yield from self._cursor_pages(connection, column, current, given=given, start=start)

    def _cursor_column(self) -> Column:
        if not self.replication_key:
            raise ConfigurationError(
                f"stream '{self.name}' is INCREMENTAL but has no replication key. "
                "Set 'replication-key' in its metadata, or 'streams.<name>.replication_key'."
            )
        column = self.columns_by_name[self.replication_key]
        if len(column.expressions) != 1 or pa.types.is_nested(column.field.type):
            raise ConfigurationError(
                f"stream '{self.name}': column '{column.name}' has no declared type that can be compared, so it "
                "cannot be the replication key. Use a column with a declared type, or a query with CAST."
            )
        return column

    def _given_bookmark(self) -> dict[str, Any]:
        """Return the bookmark if it is one of this replication key."""
        given = self.bookmark()
        if given.get("replication_key_value") is None:
            return {}
        if given.get("replication_key") != self.replication_key:
            self.logger.warning(
                "Stream %s: the bookmark is of another replication key; reading from the start", self.name
            )
            return {}
        return given

    def _check_storage_class(self, given: Mapping[str, Any], current: CursorRange) -> None:
        before = given.get("storage_class")
        if before and current.upper is not None and before != current.storage_class:
            raise StateError(
                f"stream '{self.name}': the replication key held {before} values when the bookmark was made and "
                f"holds {current.storage_class} now; the two cannot be compared. "
                "Run once with --full-refresh, or remove this stream's bookmark."
            )

    def _lookback(self, column: Column) -> int:
        configured = self.options.get("lookback_seconds")
        if not self.primary_keys:
            if configured:
                raise ConfigurationError(
                    f"option 'lookback_seconds' of stream '{self.name}' is {configured}, but the stream has no "
                    "key by which repeated rows could be recognised. Set it to 0, or give 'key_properties'."
                )
            return 0
        if configured is not None:
            return int(configured)
        return DEFAULT_LOOKBACK_SECONDS if is_timestamp(column.field.type) else 0

    def _start(self, given: Mapping[str, Any], column: Column, current: CursorRange) -> Value:
        """Return the value from which to ask, in the source's own form; None for the first run."""
        if not given:
            return None
        dialect = self._sql_tap.dialect
        value = dialect.cursor_from_bookmark(given["replication_key_value"], column, current=current)
        amount = self._lookback(column)
        return dialect.cursor_before(value, column, amount=amount) if amount else value

    def _with_bound_query(
        self, given: Mapping[str, Any], start: Value, column: Column, *, table: Table | None = None
    ) -> Table:
        """Return the table with the bookmark bound, where the query itself asks for it."""
        table = table or self.table
        if self.query is None or not self.query.asks_for_bookmark:
            return table
        value: Value = self.query.initial_value if not given else start
        if given and start is None:
            value = given["replication_key_value"]
        placeholder = self._sql_tap.dialect.placeholder(1)
        return dataclasses.replace(
            table, source=f"({replace_bookmark(self.query.sql, placeholder)}\n)", parameters=(value,)
        )

    def _null_pages(
        self, connection: Connection, column: Column, current: CursorRange, *, is_first: bool
    ) -> Iterator[Page]:
        """Read the rows that have no cursor, if it is their turn, else say how many there are."""
        policy = self.options.get("null_cursor", "first_run")
        if not current.nulls:
            return
        if policy == "always" or (policy == "first_run" and is_first):
            conditions, parameters = self._base_conditions()
            selection = Selection(
                table=self.table,
                columns=tuple(self._selected.values()),
                conditions=(*conditions, f"{column.expressions[0]} IS NULL"),
                parameters=parameters,
                order=tuple(self.table.position.values()),
                limit=self.row_limit,
                guarded=self._is_guarded,
            )
            for batch, _ in self._read(connection, selection):
                yield Page(batch, None)
            return
        self.logger.warning(
            "Stream %s: %d rows have no value in the replication key and are not read (null_cursor: %s)",
            self.name,
            current.nulls,
            policy,
        )

    def _cursor_pages(
        self,
        connection: Connection,
        column: Column,
        current: CursorRange,
        *,
        given: dict[str, Any],
        start: Value,
    ) -> Iterator[Page]:
        if not current.has_index and self.query is None:
            self.logger.warning(
                "Stream %s: the replication key '%s' has no index, so each run reads and sorts the whole table",
                self.name,
                column.name,
            )
        dialect = self._sql_tap.dialect
        cursor = column.expressions[0]
        conditions, parameters = self._base_conditions()
        if start is not None and not (self.query and self.query.asks_for_bookmark):
            parameters += (start,)
            conditions += (f"{cursor} >= {dialect.placeholder(len(parameters))}",)
        parameters += (current.upper,)
        conditions += (f"{cursor} <= {dialect.placeholder(len(parameters))}",)
        selection = Selection(
            table=self.table,
            columns=tuple(self._selected.values()),
            conditions=conditions,
            parameters=parameters,
            order=(cursor, *self.table.position.values()),
            limit=self.row_limit,
            guarded=self._is_guarded,
        )
        number = list(self._selected).index(str(self.replication_key))
        for batch, _ in self._read(connection, selection):
            bookmark = self._advanced(given, batch.column(number), current)
            if bookmark is not None:
                given = self._final_bookmark = bookmark
            yield Page(batch, bookmark)

    def _advanced(
        self, given: Mapping[str, Any], cursors: pa.Array, current: CursorRange
    ) -> dict[str, Any] | None:
        """Return the bookmark of the largest cursor that was emitted; it never moves back."""
        if len(cursors) == 0:
            return None
        seen = canonical(cursors.slice(len(cursors) - 1))
        before = given.get("replication_key_value")
        if before is not None and is_before(seen, before):
            return None
        return {
            "replication_key": self.replication_key,
            "replication_key_value": seen,
            "storage_class": current.storage_class,
        }

    # --- batches ------------------------------------------------------------------------------------

    def _read(
        self, connection: Connection, selection: Selection
    ) -> Iterator[tuple[pa.RecordBatch, list[Value]]]:
        """Yield decoded batches, each with the extras of its last row."""
        row_bytes = self._sql_tap.dialect.row_bytes(connection, self.table, selection.columns)
        batch_rows = max(1, min(int(self.config["batch_size"]), BATCH_BYTES // max(1, row_bytes)))
        schema = self.columns
        batches = prefetched(
            connection.read(selection, batch_rows=batch_rows),
            cancel=connection.cancel,
            check=self._icetap.check_interrupted,
        )
        try:
            for raw in batches:
                extras = [array[-1].as_py() for array in raw.columns[-1 - len(selection.extras) : -1]]
                yield self._decoded(raw, selection, schema), extras
        except RefusedValueError:
            batches.close()
            self._refuse(connection, selection)
        finally:
            batches.close()

    def _decoded(self, raw: pa.RecordBatch, selection: Selection, schema: pa.Schema) -> pa.RecordBatch:
        arrays, reasons = [], []
        start = 0
        for column in selection.columns:
            end = start + len(column.expressions)
            decoded = column.decode(raw.columns[start:end])
            start = end
            arrays.append(decoded.array)
            if decoded.refused is not None:
                reasons.append((f"column '{column.name}' ({column.native_type})", decoded.refused))
        is_refused = pc.cast(raw.columns[-1], pa.bool_())  # some databases have no booleans
        if pc.any(is_refused).as_py():
            if not selection.guarded:
                raise RefusedValueError
            reasons.append(("a value of another type than its column's", is_refused))
        reasons += [
            (f"key column '{field.name}', which are NULL,", array.is_null())
            for field, array in zip(schema, arrays, strict=True)
            if not field.nullable and array.null_count
        ]
        return self._without_refused(pa.RecordBatch.from_arrays(arrays, schema=schema), reasons)

    def _without_refused(
        self, batch: pa.RecordBatch, reasons: Sequence[tuple[str, pa.Array]]
    ) -> pa.RecordBatch:
        kept = pa.repeat(pa.scalar(True), batch.num_rows)
        for where, mask in reasons:
            count = pc.sum(pc.and_(kept, mask)).as_py() or 0
            if count and not self._is_guarded:
                raise DataError(
                    f"stream '{self.name}': {count} of the last {batch.num_rows} values of {where} do not fit its type "
                    f"in the catalog. {self._sql_tap.refusal_advice}"
                )
            if count:
                self.rejected[where] = self.rejected.get(where, 0) + count
            kept = pc.and_not(kept, pc.fill_null(mask, False))
        return batch.filter(kept) if reasons else batch

    def _refuse(self, connection: Connection, selection: Selection) -> None:
        """Say which columns hold values of other types.

        Raises:
            DataError: Always.
        """
        findings = self._sql_tap.dialect.refused_values(connection, selection)
        parts = [
            f"column '{column.name}' ({column.native_type or 'no declared type'}) holds {count} {found} values"
            + (f", the first at {where}" if where else "")
            for column, count, found, where in findings
        ]
        found = "; ".join(parts) or "a value has another type than its column's"
        raise DataError(f"stream '{self.name}': {found}. {self._sql_tap.refusal_advice}")


def _changed(discovered: Any, *given: Any) -> Any:
    """Return the first given value that is there and is not the discovered one, else that."""
    return next((value for value in given if value and value != discovered), discovered)
