"""The base of SQL taps: discovery, the test, the preview and the browser over a dialect."""

from __future__ import annotations

import abc
import functools
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
from typing_extensions import override

from icetap.columnar.json_text import without_json_form
from icetap.columnar.lines import record_lines
from icetap.errors import ConfigurationError, IcetapError, SkippableError, about_stream
from icetap.left_out import LeftOut
from icetap.settings import did_you_mean
from icetap.sql.ahead import TablesAhead
from icetap.sql.change_log_bookmark import forget_other_method
from icetap.sql.change_log_run import LogBasedRun
from icetap.sql.change_log_stream import FollowedStream
from icetap.sql.dialect import TableBusyError
from icetap.sql.options import QueryOptions, StreamOptions, queries_from_config
from icetap.sql.queries import replace_bookmark, without_semicolon
from icetap.sql.retries import Retries
from icetap.sql.server import names_listed
from icetap.sql.sessions import Sessions
from icetap.sql.stream import SQLStream
from icetap.tap import IcetapTap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from icetap.columnar.stream import ColumnarStream
    from icetap.sql.dialect import Connection, Dialect, Table


MOST_NAMES = 20
"""So many streams are named in one message."""


class SQLTap(IcetapTap, abc.ABC):
    """Base of SQL taps; a tap gives its `dialect`."""

    refusal_advice = (
        "Cast the column in a query or a view, or leave such records out with 'on_rejected: skip'."
    )

    goes_on_without_streams: ClassVar[bool] = True
    """Whether streams that the catalog selects and the source does not show stop a run, or only fail it at its end."""

    def __init__(self, **kwargs: Any) -> None:
        self._left_out = LeftOut()
        self._reading: Sequence[str] = ()
        self._finished: set[str] = set()
        self.ahead: TablesAhead | None = None
        super().__init__(**kwargs)

    @functools.cached_property
    def dialect(self) -> Dialect:
        """The database that the settings name."""
        return self.make_dialect()

    @functools.cached_property
    def sessions(self) -> Sessions:
        """The connections that streams borrow."""
        return Sessions(self.dialect)

    @abc.abstractmethod
    def make_dialect(self) -> Dialect:
        """Return the dialect for these settings; nothing is opened yet."""

    @override
    def discover_streams(self) -> Sequence[SQLStream]:
        options = StreamOptions(self.config)
        queries = queries_from_config(self.config)
        retries = Retries(
            int(self.config.get("max_retries", 0)), what="discovery", check=self.check_interrupted
        )
        while True:
            try:
                return self._discovered(options, queries)
            except Exception as error:
                if not self.dialect.transient(error):
                    raise
                retries.wait_after(error)

    def _discovered(self, options: StreamOptions, queries: Sequence[QueryOptions]) -> Sequence[SQLStream]:
        connection = self.dialect.connect()
        try:
            tables = self.dialect.tables(connection, is_wanted=lambda name: self._is_wanted(name, options))
            self._tell_of_empty_schemas(tables)
            streams = [
                SQLStream(
                    self,
                    self.with_options(table, options.of(table.stream)),
                    options=options.of(table.stream),
                    own=options.entries.get(table.stream),
                )
                for table in self._readable(tables, options)
            ]
            streams += [self._query_stream(connection, query, options) for query in queries]
        finally:
            connection.close()
        names = [stream.table.stream for stream in streams]
        options.refuse_unmatched(names, logger=self.logger)
        _refuse_duplicates(streams)
        return streams

    def _tell_of_empty_schemas(self, tables: Sequence[Table]) -> None:
        known = {table.schema for table in tables}
        for name in names_listed(self.config.get("filter_schemas")):
            if name not in known:
                self.logger.warning(
                    "Setting 'filter_schemas' names '%s', in which this user may read no table", name
                )

    def _is_wanted(self, name: str, options: StreamOptions) -> bool:
        """Say whether the catalog selects a stream; without a catalog, all are."""
        if self.input_catalog is None:
            return True
        entry = self.input_catalog.get_stream(options.of(name).get("stream_name") or name)
        return entry is not None and entry.metadata.resolve_selection()[()]

    def with_options(self, table: Table, options: Mapping[str, Any]) -> Table:  # noqa: ARG002 - for dialects
        """Return the table as its options ask for it: where a dialect offers more than the catalogue has."""
        return table

    def _readable(self, tables: Sequence[Table], options: StreamOptions) -> Iterator[Table]:
        for table in tables:
            is_told = self._is_wanted(table.stream, options)
            if table.unsupported:
                if is_told:
                    self.logger.warning(
                        "%s '%s' is left out: %s", table.kind, table.stream, table.unsupported
                    )
                continue
            for column in table.columns if is_told else ():
                if column.unsupported:
                    self.logger.warning(
                        "Column '%s' of '%s' is left out: %s", column.name, table.stream, column.unsupported
                    )
            yield table

    def _query_stream(self, connection: Connection, query: QueryOptions, options: StreamOptions) -> SQLStream:
        sql = replace_bookmark(query.sql, "NULL")
        try:
            described = self.dialect.describe(connection, name=query.name, sql=sql)
        except ConfigurationError as error:
            raise ConfigurationError(f"setting 'queries', '{query.name}': {error}") from error
        own = {**options.entries.get(query.name, {}), **query.options}
        return SQLStream(self, described, options=options.of(query.name) | own, own=own, query=query)

    # --- a run --------------------------------------------------------------------------------------

    @override
    def _run(self) -> None:
        for stream in self._log_based():
            forget_other_method(stream)
        parallel = int(self.config.get("max_parallel", 1))
        self.sessions.kept = parallel
        small = [
            stream
            for stream in self.streams.values()
            if isinstance(stream, SQLStream) and stream.selected and stream.is_small
        ]
        if parallel > 1 and len(small) > 1:
            self.ahead = TablesAhead(small, count=parallel, check=self.check_interrupted)
            self.ahead.start()
        try:
            super()._run()
        except Exception:
            self.check_interrupted()
            self._tell_of_unread()
            raise
        finally:
            if self.ahead is not None:
                self.ahead.stop()
            self.sessions.close()
        self._left_out.refuse(selected=[name for name, stream in self.streams.items() if stream.selected])

    def _tell_of_unread(self) -> None:
        """Name the streams that a run which fails now has not read to their end."""
        unread = [
            name for name, stream in self.streams.items() if stream.selected and name not in self._finished
        ]
        beside = set(unread) - set(self._reading)
        groups = {
            "stopped in": self._reading,
            "left out": self.left_out,
            "not reached": [name for name in unread if name in beside and name not in self._left_out],
        }
        if self._reading and (beside or len(self._reading) > 1):
            self.logger.error(
                "This run ends early; %s. Nothing of them is lost: mend what is said next, or deselect the stream that it "
                "names, and the next run reads them from their bookmarks on",
                "; ".join(f"{what} {_listed(names)}" for what, names in groups.items() if names),
            )

    @override
    def read_alone(self, stream: ColumnarStream) -> None:
        """Read one stream; one that cannot be read by itself alone stops the run only at its end."""
        self._reading = [stream.name]
        try:
            stream.emit()
        except (SkippableError, TableBusyError) as error:
            self.leave_out(stream.name, str(error))
        else:
            self._finished.add(stream.name)

    @override
    def read_together(self) -> None:
        streams = self._log_based()
        log = self.dialect.change_log() if streams else None
        if log is not None:
            self._reading = [stream.name for stream in streams]
            LogBasedRun(self, streams, log).run()

    def _log_based(self) -> list[SQLStream]:
        return [
            stream
            for stream in self.streams.values()
            if isinstance(stream, SQLStream) and stream.selected and stream.shares_reader
        ]

    @property
    def left_out(self) -> Sequence[str]:
        """The selected streams that this run cannot read."""
        return self._left_out.names

    def leave_out(self, name: str, reason: IcetapError | str) -> None:
        """Note that a stream cannot be read: the run goes on, and fails at its end."""
        self.logger.error("Stream %s is left out: %s", name, reason)
        self._left_out.add(name, reason)

    @override
    def _refuse_missing_streams(self) -> None:
        if not self.goes_on_without_streams:
            super()._refuse_missing_streams()
            return
        for name in self._missing_streams():
            self.leave_out(name, "the source does not have it, or the user may not read it")

    # --- what a person asks -------------------------------------------------------------------------

    @override
    def test_findings(self) -> Iterator[tuple[bool, str]]:
        try:
            connection = self.dialect.connect()
        except IcetapError as error:
            yield False, str(error)
            return
        try:
            yield True, f"connected: {self.dialect.version(connection)}"
        finally:
            connection.close()
        selected = [stream for stream in self.streams.values() if stream.selected]
        if not selected:
            yield False, "no stream is selected, or the source holds none"
        for stream in selected:
            if isinstance(stream, SQLStream):
                yield self._readable_finding(stream)
        yield from self._log_findings()

    def _log_findings(self) -> Iterator[tuple[bool, str]]:
        streams = self._log_based()
        log = self.dialect.change_log() if streams else None
        if log is None:
            return
        followed = []
        try:
            for stream in streams:
                try:
                    followed.append(FollowedStream(stream, log).followed())
                except ConfigurationError as error:  # the others have findings of their own
                    yield False, str(error)
            if followed:
                yield from log.findings(followed)
        except IcetapError as error:
            yield False, str(error)
        finally:
            log.close()

    def _readable_finding(self, stream: SQLStream) -> tuple[bool, str]:
        stream.row_limit = 1
        try:
            for _ in stream.pages():
                break
        except IcetapError as error:
            return False, about_stream(stream.name, str(error))
        how = stream.replication_method
        if stream.replication_key and how == "INCREMENTAL":
            how += f" by {stream.replication_key}"
        key = ", ".join(stream.primary_keys) or "none"
        return True, f"stream '{stream.name}': readable, {how}, key: {key}"

    @override
    def preview(self, stream: str | None, *, sql: str | None, limit: int) -> dict[str, Any]:
        chosen = self._preview_stream(stream, sql)
        chosen.row_limit = limit + 1
        lines: list[bytes] = []
        masking = chosen.masking(chosen.columns)
        for page in chosen.pages():
            for block in record_lines(_showable(masking.apply(page.batch)), stream=""):
                lines += block.to_pybytes().splitlines()
            if len(lines) > limit:
                break
        return preview_json(chosen, lines, columns=masking.schema, limit=limit)

    def _preview_stream(self, stream: str | None, sql: str | None) -> SQLStream:
        if (stream is None) == (sql is None):
            raise ConfigurationError("a preview shows either a stream or a query: give one of them")
        if sql is None:
            found = self.streams.get(str(stream))
            if not isinstance(found, SQLStream):
                raise ConfigurationError(
                    f"{self.name} has no stream '{stream}'{did_you_mean(str(stream), self.streams)}"
                )
            found.forced_replication_method = "FULL_TABLE"
            return found
        connection = self.dialect.connect()
        try:
            table = self.dialect.describe(connection, name="query", sql=without_semicolon(sql))
        finally:
            connection.close()
        return SQLStream(self, table, options={})

    @override
    def browse(self, name: str | None) -> dict[str, Any]:
        connection = self.dialect.connect()
        try:
            known = self.dialect.tables(connection, is_wanted=lambda _: True)
            tables = [
                table
                for table in known
                if name in {None, table.stream, table.name, f"{table.schema}.{table.name}"}
            ]
            if name is not None and not tables:
                nearest = did_you_mean(name, [table.stream for table in known])
                raise ConfigurationError(f"there is no table '{name}'{nearest}")
            options = StreamOptions(self.config)
            return {
                "source": self.name,
                "version": self.dialect.version(connection),
                "tables": [
                    self._table_json(
                        connection, table, stream=options.of(table.stream).get("stream_name") or table.stream
                    )
                    for table in tables
                ],
            }
        finally:
            connection.close()

    def _table_json(self, connection: Connection, table: Table, *, stream: str) -> dict[str, Any]:
        rows, size = (None, None) if table.unsupported else self.dialect.statistics(connection, table)
        return {
            "schema": table.schema,
            "name": table.name,
            "stream": stream,
            "kind": table.kind,
            "estimated_rows": rows,
            "size_bytes": size,
            "supported": table.unsupported is None,
            "columns": [
                {
                    "name": column.name,
                    "type": None if column.unsupported else str(column.field.type),
                    "native_type": column.native_type,
                    "nullable": column.field.nullable,
                    "key": column.name in table.key,
                }
                for column in table.columns
            ],
        }


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(f"'{name}'" for name in names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _showable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the batch with columns that hold NaN or Infinity, which JSON cannot, as texts."""
    for place, (field, array) in enumerate(zip(batch.schema, batch.columns, strict=True)):
        if without_json_form(array) is not None:
            texts = array.cast(pa.string()) if pa.types.is_floating(field.type) else _as_texts(array)
            batch = batch.set_column(place, pa.field(field.name, pa.string()), texts)
    return batch


def _as_texts(array: pa.Array) -> pa.Array:
    return pa.array([None if value is None else str(value) for value in array.to_pylist()], pa.string())


def preview_json(
    stream: SQLStream, lines: Sequence[bytes], *, columns: pa.Schema, limit: int
) -> dict[str, Any]:
    """Return the preview's JSON; its shape is told in `IcetapTap.preview`."""
    native = {new: column.native_type for new, column in stream.columns_by_name.items()}
    return {
        "stream": stream.name,
        "columns": [
            {
                "name": field.name,
                "type": str(field.type),
                "native_type": native.get(field.name) or None,
                "key": field.name in stream.primary_keys,
            }
            for field in columns
        ],
        "rows": [json.loads(line, parse_float=Decimal)["record"] for line in lines[:limit]],
        "more": len(lines) > limit,
    }


def _refuse_duplicates(streams: Sequence[SQLStream]) -> None:
    seen: dict[str, SQLStream] = {}
    for stream in streams:
        if stream.name in seen:
            raise ConfigurationError(
                f"two streams have the name '{stream.name}': '{seen[stream.name].table.stream}' and "
                f"'{stream.table.stream}'. Give one of them another 'stream_name'."
            )
        seen[stream.name] = stream
