"""Tables, views and queries as streams: full reads that resume, incremental reads that lose nothing."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import override

from icetap.columnar.stream import ColumnarStream, Page
from icetap.errors import ConfigurationError, DataError, about_stream
from icetap.settings import did_you_mean
from icetap.sql.ahead import SMALL_BYTES
from icetap.sql.chunks import MEMORY_LIMIT_MB, Rows
from icetap.sql.dialect import Column, RefusedValueError, Selection, Table, Value
from icetap.sql.full_read import FullRead
from icetap.sql.incremental import IncrementalRead
from icetap.sql.options import QueryOptions, renamed
from icetap.sql.prefetch import prefetched
from icetap.sql.queries import without_semicolon
from icetap.sql.retries import Retries
from icetap.sql.shared_options import LOG_BASED, SharedOptions
from icetap.types import singer_from_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from singer_sdk.singerlib import Catalog, CatalogEntry

    from icetap.sql.dialect import Connection, Dialect
    from icetap.sql.tap import SQLTap

BATCH_BYTES = 16 * 1024 * 1024


class SQLStream(ColumnarStream):
    """One table, view or query.

    FULL_TABLE reads in the order of the table's position and resumes there. INCREMENTAL reads from the
    bookmark on (`>=`), up to the largest value at its start, sorted by the replication key, so that a
    killed run resumes; rows with equal values are read again.

    Options that name columns hold only where there are such columns, unless they are given to just this stream.

    Args:
        tap: Gives settings and connections.
        table: What is read.
        options: Those of this stream, whoever gave them.
        own: Those of them that were given under its very name.
        query: The user's own, when the table is one.
    """

    row_limit: int | None = None

    def __init__(
        self,
        tap: SQLTap,
        table: Table,
        *,
        options: Mapping[str, Any],
        own: Mapping[str, Any] | None = None,
        query: QueryOptions | None = None,
    ) -> None:
        self._sql_tap = tap
        self.table = table
        self.query = query
        self.options = options
        self.shared = SharedOptions(options, own or {})
        self._new_names: dict[str, str] = {}
        self.columns_by_name = self.renamed_columns(table.columns)
        keys = self._named_columns("key_properties") or [self._new_names[name] for name in table.key]
        schema = pa.schema(
            column.field.with_name(name).with_nullable(name not in keys)
            for name, column in self.columns_by_name.items()
        )
        super().__init__(
            tap, schema=singer_from_schema(schema), name=options.get("stream_name") or table.stream
        )
        self.primary_keys = keys
        self.replication_key = next(iter(self._named_columns("replication_key")), None)
        self.forced_replication_method = options.get("replication_method")
        self._final_bookmark: dict[str, Any] = {}
        self._batch_rows: int | None = None

    def _named_columns(self, option: str) -> list[str]:
        names = self.shared.columns(option, known=self._known_names)
        return [self._new_name(name, option=option) for name in names]

    def renamed_columns(self, columns: Sequence[Column]) -> dict[str, Column]:
        """Take these for the table's columns; return those that can be read, by their names in the stream."""
        supported = [column for column in columns if column.unsupported is None]
        names = [column.name for column in supported]
        self._new_names = renamed(names, self.shared.renames(names), stream=self.table.stream)
        return {self._new_names[column.name]: column for column in supported}

    @property
    def _known_names(self) -> Collection[str]:
        """The names by which columns may be given: the old and the new ones."""
        return self._new_names.keys() | self.columns_by_name.keys()

    def _new_name(self, name: str, *, option: str) -> str:
        """Return a column's name in the stream; it may be given by its old or its new name."""
        if name in self._new_names:
            return self._new_names[name]
        if name in self.columns_by_name:
            return name
        raise ConfigurationError(
            f"option '{option}' of stream '{self.table.stream}' names the column '{name}', "
            f"which does not exist{did_you_mean(name, self._new_names) or '.'} Give it only to streams that have it, "
            "or deselect this one in Meltano's `select`"
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
        if entry is None or not entry.metadata.resolve_selection()[()]:
            return  # what `metadata` says of all tables need not hold for those that are not read
        root = entry.metadata.root
        method = _changed(self.replication_method, root.forced_replication_method, entry.replication_method)
        keys = _changed(list(self.primary_keys), root.table_key_properties, entry.key_properties)
        replication_key = _changed(self.replication_key, root.replication_key, entry.replication_key)
        self.primary_keys = [self._new_name(name, option="table-key-properties") for name in keys]
        if method != self.replication_method or self.asked_method != LOG_BASED:
            self.forced_replication_method = method
        if (
            replication_key and self.replication_method != LOG_BASED
        ):  # people name columns that only a log has
            # Nobody can say whether a catalog's metadata was given to this stream alone.
            holds = self.shared.holds("replication_key", [replication_key], known=self._known_names)
            self.replication_key = (
                self._new_name(replication_key, option="replication-key") if holds else None
            )
        self._input_schema = entry.schema.to_dict()
        self._tell_of_lost_columns(entry)

    @property
    @override
    def replication_method(self) -> str:
        if self.asked_method != LOG_BASED or self._may_follow:
            return self.asked_method
        return "INCREMENTAL" if self.replication_key else "FULL_TABLE"

    @property
    def asked_method(self) -> str:
        """The replication method that options or the catalog ask for."""
        return super().replication_method

    @functools.cached_property
    def _may_follow(self) -> bool:
        """Whether a change log has this stream, or is asked for it by name and will say that it has not."""
        log = self.dialect.change_log()
        return log is None or self.table.kind in log.table_kinds or self.shared.insists_on_log

    def _tell_of_lost_columns(self, entry: CatalogEntry) -> None:
        """Warn of columns that the catalog selects and the source has no more: nothing is read in their place."""
        selection = entry.metadata.resolve_selection()
        lost = sorted(
            breadcrumb[1]
            for breadcrumb in entry.metadata
            if len(breadcrumb) == len(("properties", "name"))
            and breadcrumb[1] not in self.columns_by_name
            and selection[breadcrumb]
        )
        if selection[()] and lost:
            self.logger.warning(
                "Stream %s: the catalog selects columns that the source does not have: %s. "
                "Deselect them, or discover again",
                self.name,
                ", ".join(lost),
            )

    @property
    def selected_columns(self) -> dict[str, Column]:
        """The columns to read, by their names in the stream; keys and cursor always."""
        always = {*self.primary_keys, self.replication_key}
        declared = (self._input_schema or {}).get("properties")
        return {
            name: column
            for name, column in self.columns_by_name.items()
            if name in always
            or (self.mask["properties", name] and (declared is None or name in declared or self._takes_new))
        }

    @property
    def _takes_new(self) -> bool:
        """Whether columns that came after discovery are read: in a log they come at once, unless some are deselected."""
        declared = (self._input_schema or {}).get("properties") or {}
        return self.shares_reader and all(self.mask["properties", name] for name in declared)

    @property
    @override
    def columns(self) -> pa.Schema:
        return pa.schema(
            column.field.with_name(name).with_nullable(name not in self.primary_keys)
            for name, column in self.selected_columns.items()
        )

    @property
    @override
    def hidden_sources(self) -> frozenset[str]:
        return frozenset(
            self.columns_by_name[name].name if name in self.columns_by_name else name
            for name in self.masked_names
        )

    @override
    def final_bookmark(self) -> dict[str, Any]:
        return self._final_bookmark

    # --- reading ------------------------------------------------------------------------------------

    @property
    @override
    def shares_reader(self) -> bool:
        return self.replication_method == LOG_BASED and self.dialect.change_log() is not None

    @override
    def pages(self) -> Iterator[Page]:
        if self.table.unsupported:
            raise ConfigurationError(
                f"stream '{self.name}' cannot be read: {self.table.unsupported}. Deselect it, or repair it."
            )
        for remark in self.shared.remarks(self):
            self.logger.warning("Stream %s: %s", self.name, remark)
        ahead = self._sql_tap.ahead
        try:
            yield from ahead.pages(self) if ahead is not None and ahead.has(self) else self.read_pages()
        except ConfigurationError as error:
            # What the database says about a condition or a query names the file only.
            error.args = (about_stream(self.name, str(error)),)
            raise

    def read_pages(self) -> Iterator[Page]:
        """Read what the replication method asks for."""
        if self.replication_method == "INCREMENTAL":
            yield from self._incremental_pages()
        elif self.replication_method == "FULL_TABLE" or self.shares_reader:
            yield from self.full_pages()
        else:
            raise ConfigurationError(
                f"stream '{self.name}' has the replication method {self.replication_method}; "
                f"{self.tap_name} has FULL_TABLE and INCREMENTAL"
            )

    def full_pages(
        self,
        connect: Callable[[], Connection] | None = None,
        *,
        given: Mapping[str, Any] | None = None,
    ) -> Iterator[Page]:
        """Read everything, from where an interrupted read stopped.

        Args:
            connect: Opens connections that see the snapshot to be read; by default, the read takes its own. Called
                for each of several readers, which close what they got.
            given: The bookmark of the interrupted read; by default, the stream's.
        """
        read = FullRead(self, given=self.bookmark() if given is None else given, connect=connect)
        self.version = read.version
        self._final_bookmark = {"version": read.version}
        yield from read.pages()
        self.is_complete = read.is_complete

    def _incremental_pages(self) -> Iterator[Page]:
        """Read what came since the bookmark; a lost connection is made anew, and the read goes on at its bookmark.

        Without a key, rows that come again could not be recognised: then it goes on only while nothing was sent,
        and the next run, whose loader knows the rows at the bookmark, does the rest.
        """
        retries = self.retries()
        bookmark: dict[str, Any] | None = None
        sent = 0
        is_done = False
        while not is_done:
            try:
                with self.session() as connection:
                    read = IncrementalRead(self, connection, bookmark=bookmark)
                    bookmark = self._final_bookmark = read.bookmark
                    for page in read.pages():
                        bookmark = self._final_bookmark = read.bookmark
                        sent += page.batch.num_rows
                        retries.progressed()
                        yield page
                    self._final_bookmark = read.bookmark
                is_done = True
            except Exception as error:
                if not self.dialect.transient(error) or (sent and not self.primary_keys):
                    raise
                retries.wait_after(error)

    def session(self) -> AbstractContextManager[Connection]:
        """Lend a connection that sees a snapshot of its own."""
        return self._sql_tap.sessions.lend()

    def retries(self, check: Callable[[], None] | None = None) -> Retries:
        """Return what waits between attempts to reach the source."""
        return Retries(
            int(self.config.get("max_retries", 0)),
            what=f"stream '{self.name}'",
            check=check or self.check_interrupted,
        )

    def check_interrupted(self) -> None:
        """Raise `Interrupted` when a signal came."""
        self._icetap.check_interrupted()

    @property
    def max_parallel(self) -> int:
        """How many connections may read at once."""
        return int(self.config.get("max_parallel", 1))

    @property
    def is_small(self) -> bool:
        """Whether it may be read whole before it is its turn."""
        size = self.table.estimated_bytes
        return size is not None and size < SMALL_BYTES and not self.shares_reader

    @property
    def memory_bytes(self) -> int:
        """How much of the source's rows may wait."""
        return int(self.config.get("memory_limit_mb", MEMORY_LIMIT_MB)) * 1024 * 1024

    @property
    def dialect(self) -> Dialect:
        """The database this stream reads."""
        return self._sql_tap.dialect

    @property
    def where(self) -> tuple[str, ...]:
        """The owner's own condition, if there is one."""
        where = self.options.get("where")
        # A comment at its end must not take the parenthesis with it.
        return (f"({without_semicolon(where)}\n)",) if where else ()

    @property
    def _is_guarded(self) -> bool:
        return self.config.get("on_rejected") == "skip"

    def selection(
        self,
        table: Table,
        *,
        conditions: Sequence[str] = (),
        parameters: Sequence[Value] = (),
        extras: Sequence[str] = (),
        order: Sequence[str] = (),
    ) -> Selection:
        """Return the SELECT of this stream's columns; parameters come after the table's own."""
        return Selection(
            table=table,
            columns=tuple(self.selected_columns.values()),
            extras=tuple(extras),
            conditions=(*self.where, *conditions),
            parameters=(*table.parameters, *parameters),
            order=tuple(order),
            limit=self.row_limit,
            guarded=self._is_guarded,
        )

    # --- batches ------------------------------------------------------------------------------------

    def read(
        self, connection: Connection, selection: Selection
    ) -> Iterator[tuple[pa.RecordBatch, list[Value]]]:
        """Yield decoded batches, each with the extras of its last row."""
        schema = self.columns
        batches = prefetched(
            connection.read(selection, batch_rows=self.batch_rows(connection, selection)),
            cancel=connection.cancel,
            check=self._icetap.check_interrupted,
        )
        try:
            for raw in batches:
                extras = [array[-1].as_py() for array in raw.columns[-1 - len(selection.extras) : -1]]
                yield self._decoded(raw, selection, schema, counts=self.rejected), extras
        except RefusedValueError:
            batches.close()
            self.refuse(connection, selection)
        finally:
            batches.close()

    def read_here(self, connection: Connection, selection: Selection) -> Iterator[Rows]:
        """Yield decoded batches, all in the thread that asks.

        Raises:
            RefusedValueError: When a value has another type than its column's.
        """
        schema = self.columns
        for raw in connection.read(selection, batch_rows=self.batch_rows(connection, selection)):
            counts: dict[str, int] = {}
            yield Rows(self._decoded(raw, selection, schema, counts=counts), counts)

    def batch_rows(self, connection: Connection, selection: Selection) -> int:
        """Return how many rows a batch has, so that wide ones stay small; looked up once."""
        if self._batch_rows is None:
            row_bytes = self.dialect.row_bytes(connection, selection.table, selection.columns)
            self._batch_rows = max(1, min(int(self.config["batch_size"]), BATCH_BYTES // max(1, row_bytes)))
        return self._batch_rows

    def _decoded(
        self, raw: pa.RecordBatch, selection: Selection, schema: pa.Schema, *, counts: dict[str, int]
    ) -> pa.RecordBatch:
        arrays, reasons = [], []
        columns = raw.columns  # makes them all anew whenever it is asked for
        start = 0
        for column in selection.columns:
            end = start + len(column.expressions)
            decoded = column.decode(columns[start:end])
            start = end
            arrays.append(decoded.array)
            if decoded.refused is not None:
                reasons.append((f"column '{column.name}' ({column.native_type})", decoded.refused))
        is_refused = pc.cast(columns[-1], pa.bool_())  # some databases have no booleans
        if pc.any(is_refused).as_py():
            if not selection.guarded:
                raise RefusedValueError
            reasons.append(("a value of another type than its column's", is_refused))
        reasons += [
            (f"key column '{field.name}', which are NULL,", array.is_null())
            for field, array in zip(schema, arrays, strict=True)
            if not field.nullable and array.null_count
        ]
        return self.without_refused(pa.RecordBatch.from_arrays(arrays, schema=schema), reasons, counts=counts)

    def without_refused(
        self,
        batch: pa.RecordBatch,
        reasons: Sequence[tuple[str, pa.Array]],
        *,
        counts: dict[str, int] | None = None,
    ) -> pa.RecordBatch:
        """Return the rows under none of the masks; each says what does not fit in its rows.

        Raises:
            DataError: With `on_rejected: fail`, the default, when there are such rows.
        """
        counts = self.rejected if counts is None else counts
        kept = pa.repeat(pa.scalar(True), batch.num_rows)
        for where, mask in reasons:
            count = pc.sum(pc.and_(kept, mask)).as_py() or 0
            if count and not self._is_guarded:
                raise DataError(
                    f"stream '{self.name}': {count} of the last {batch.num_rows} values of {where} do not fit its type "
                    f"in the catalog. {self._sql_tap.refusal_advice}"
                )
            if count:
                counts[where] = counts.get(where, 0) + count
            kept = pc.and_not(kept, pc.fill_null(mask, False))
        return batch.filter(kept) if reasons else batch

    def refuse(self, connection: Connection, selection: Selection) -> None:
        """Say which columns hold values of other types.

        Raises:
            DataError: Always.
        """
        findings = self.dialect.refused_values(connection, selection)
        # A place is a key as well, and a mask may hide it; before the first rows some are not known yet.
        is_told = not self.masks_by_sample and self.hidden_sources.isdisjoint(self.table.position)
        parts = [
            f"column '{column.name}' ({column.native_type or 'no declared type'}) holds {count} {found} values"
            + (f", the first at {where}" if where and is_told else "")
            for column, count, found, where in findings
        ]
        found = "; ".join(parts) or "a value has another type than its column's"
        raise DataError(f"stream '{self.name}': {found}. {self._sql_tap.refusal_advice}")


def _changed(discovered: Any, *given: Any) -> Any:
    """Return the first given value that is there and is not the discovered one, else that."""
    return next((value for value in given if value and value != discovered), discovered)
