"""The row binary log of MySQL and MariaDB as a change log of the SQL engine."""

from __future__ import annotations

import contextlib
import functools
import os
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pymysql
from typing_extensions import override

from icetap.errors import ConfigurationError, StateError
from icetap.sql.change_log import ChangeLog, Followed, Snapshot
from tap_mysql import wire
from tap_mysql.errors import translated, translation
from tap_mysql.log_based.charsets import Charsets
from tap_mysql.log_based.keys import key_condition
from tap_mysql.log_based.log_server import GRANTS, LogPlace, LogServer, begins_before, server_id
from tap_mysql.log_based.positions import Coordinates, Mark, MySQLGtid, position_from_text
from tap_mysql.log_based.protocol import EventStream
from tap_mysql.log_based.reading import LogReading
from tap_mysql.log_based.shapes import TableName, TableShapes
from tap_mysql.log_based.snapshot import SnapshotConnections, shared_by, snapshot_coordinates

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from icetap.sql.change_log import Event
    from icetap.sql.dialect import Column, Connection, Table, Value
    from tap_mysql.connection import MySQLConnection
    from tap_mysql.log_based.positions import Position
    from tap_mysql.server import Server

HEARTBEAT_SECONDS = 0.5
LOCK_SECONDS = 10
"""A lock on all tables is waited for so long at most: all writers wait behind it."""
RETENTION_SECONDS = 3 * 86_400
"""A log that is kept for less may be gone after a weekend without runs."""
_PIPELINE_VARIABLES = ("MELTANO_EXTRACTOR_NAME", "MELTANO_ENVIRONMENT", "MELTANO_PROJECT_ROOT")
_CANNOT_SEND = 1236
_DENIED = frozenset({1044, 1045, 1227})
_POSITIONS_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Settings of the log: the reader's number, and whether positions are GTIDs or files."""

    server_id: int | None
    position: str
    pipeline: str

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, where: str) -> LogOptions:
        """Read the settings; `where` tells the server from others."""
        pipeline = [os.environ.get(name, "") for name in _PIPELINE_VARIABLES]
        return cls(config.get("server_id"), config.get("log_position", "gtid"), " ".join([*pipeline, where]))


LOG_SETTINGS: dict[str, dict[str, Any]] = {
    "server_id": {
        "type": ["integer", "null"],
        "minimum": 1,
        "maximum": 4_294_967_295,
        "title": "Number of the log's reader",
        "description": "LOG_BASED: the number by which the server knows this reader of its binary log; no server and "
        "no other reader may have it. Empty takes one that is made of the plug-in's name and the server's address.",
        "examples": [4711],
    },
    "log_position": {
        "type": "string",
        "enum": ["gtid", "file"],
        "default": "gtid",
        "title": "Positions in the log",
        "description": "LOG_BASED: `gtid` keeps GTIDs in the state, which hold for every server of a replication "
        "group (MySQL with gtid_mode=OFF has none: then files); `file` keeps file and offset, which hold for one server.",
    },
}
"""Settings of LOG_BASED beside those of every change log."""


class BinaryLog(ChangeLog):
    """The log of one server.

    Args:
        server: Opens connections.
        options: What the settings say.
        connect: Opens a connection for reading, with a new snapshot or a shared one.
        describe: Returns a table as it is now; None when it is gone.
    """

    order_columns = (pa.field("_sdc_log_file", pa.string()), pa.field("_sdc_log_pos", pa.int64()))

    def __init__(
        self,
        server: Server,
        *,
        options: LogOptions,
        connect: Callable[[str | None], MySQLConnection],
        describe: Callable[[Table], Table | None],
    ) -> None:
        self._server = server
        self._connect = connect
        self._options = options
        self._describe = describe
        self._control: Any = None
        self._followed: dict[TableName, Followed] = {}
        self._ends: dict[str, Coordinates] = {}
        self._facts: LogServer | None = None

    # --- connections --------------------------------------------------------------------------------

    def _query(self, statement: str) -> Sequence[tuple[Any, ...]]:
        """Run a statement on a connection that stays open beside the log's, and is opened again when it was lost."""
        if self._control is None or not self._control.open:
            self._control = self._server.open()
            self._control.autocommit(True)
        with self._control.cursor() as cursor:
            cursor.execute(statement)
            found: Sequence[tuple[Any, ...]] = cursor.fetchall()
            return found

    @property
    def _log_server(self) -> LogServer:
        if self._facts is None:
            with translated(self._server.where):
                self._facts = LogServer.of(self._query)
        return self._facts

    @property
    def _by_gtid(self) -> bool:
        return self._options.position == "gtid" and self._log_server.has_gtids

    @property
    def _place(self) -> LogPlace:
        return LogPlace(self._query, self._log_server, by_gtid=self._by_gtid)

    @override
    def close(self) -> None:
        if self._control is not None and self._control.open:
            with contextlib.suppress(pymysql.Error, OSError):
                self._control.close()
        self._control = None

    # --- prerequisites ------------------------------------------------------------------------------

    @override
    def source_id(self) -> str:
        # GTIDs hold for all servers of a group, so that a replica can take over.
        return "gtid" if self._by_gtid else self._log_server.identity

    @override
    def open(self, followed: Sequence[Followed]) -> Mapping[str, str]:
        self._followed = {self.table_id(each.table): each for each in followed}
        problems = [*self._log_server.problems(), *self._replica_problems()]
        if problems:
            raise ConfigurationError(f"{self._server.where}: " + "; ".join(problems))
        with translated(self._server.where):
            self._place.status()
        return self._table_problems(followed)

    def _replica_problems(self) -> Iterator[str]:
        """Yield what is wrong with the log of a replica: without a setting, it lacks what came from its source."""
        variables = self._log_server.variables
        writes = variables.get("log_slave_updates") or variables.get("log_replica_updates") or "ON"
        if writes.upper() == "ON":
            return
        statement = "SHOW SLAVE STATUS" if self._log_server.is_mariadb else "SHOW REPLICA STATUS"
        with contextlib.suppress(pymysql.Error):  # who may not ask is told nothing
            if self._query(statement):
                yield (
                    "the server is a replica and log_slave_updates is OFF, so its binary log lacks what other servers "
                    "wrote: start it with --log-slave-updates, or read from its source"
                )

    def _table_problems(self, followed: Sequence[Followed]) -> dict[str, str]:
        """Return the streams whose log tells of other rows than the table has, and what to do."""
        if not self._log_server.is_mariadb:
            return {}
        found = self._query(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'SYSTEM VERSIONED'"
        )
        versioned = {(str(schema), str(name)) for schema, name in found}
        return {
            each.table.stream: (
                f"stream '{each.table.stream}' is of a table WITH SYSTEM VERSIONING, whose old rows are in the log "
                "like new ones: choose FULL_TABLE or INCREMENTAL for it"
            )
            for each in followed
            if self.table_id(each.table) in versioned
        }

    @override
    def findings(self, followed: Sequence[Followed]) -> Iterator[tuple[bool, str]]:
        server = self._log_server
        problems = [
            *server.problems(),
            *self._replica_problems(),
            *self._table_problems(followed).values(),
        ]
        yield from ((False, f"change log: {problem}") for problem in problems)
        if problems:
            return
        kind = "GTIDs" if self._by_gtid else "file and offset"
        yield True, f"change log: row binary log, whole rows, positions by {kind}"
        try:
            with translated(self._server.where):
                files = self._place.files()
                end = self._place.end().text
                self._register()
        except ConfigurationError as error:
            yield False, f"change log: {error}"
            return
        size = sum(size for _, size in files)
        yield (
            True,
            f"change log: {len(files)} files, {size / 1_048_576:.1f} MiB, from {files[0][0]} on; now at {end}",
        )
        yield self._retention()
        if server.variables.get("binlog_row_metadata", "").upper() != "FULL":
            yield (
                True,
                (
                    "change log: binlog_row_metadata is not FULL, so that a table is read in full again when it was "
                    "altered; with SET GLOBAL binlog_row_metadata = 'FULL' new columns come without that"
                ),
            )
        for each in followed:
            if not each.key:
                yield True, f"change log: table {each.table.schema}.{each.table.name} has no key"

    def _retention(self) -> tuple[bool, str]:
        kept = self._log_server.kept_seconds
        if not kept:
            return True, "change log: kept until somebody purges it"
        text = f"change log: kept for {kept / 86_400:.1f} days"
        if kept < RETENTION_SECONDS:
            text += "; with less than three days, a few missed runs make a full read necessary (binlog_expire_logs_seconds)"
        return True, text

    def _register(self) -> None:
        """Ask for the right to read the log, on a connection of its own.

        Raises:
            ConfigurationError: When it is missing.
        """
        connection = self._server.open()
        try:
            self._stream(connection, is_blocking=False).register()
        except pymysql.Error as error:
            raise self._refusal(error) from error
        finally:
            connection.close()

    # --- positions ----------------------------------------------------------------------------------

    @override
    def table_id(self, table: Table) -> TableName:
        return table.schema, table.name

    @override
    def gone(self, position: str) -> str | None:
        with translated(self._server.where):
            return self._place.gone(_position(position))

    @override
    def confirm(self, positions: Collection[str]) -> None:
        """Do nothing: the server keeps its log for a time, whoever reads it."""

    @override
    def end(self) -> str:
        with translated(self._server.where):
            at, executed = self._place.status()
            text = self._place.at(at, executed=executed).text
        self._ends[text] = at
        return text

    @override
    def is_seen(self, mark: Any, position: str) -> bool:
        return _position(position).covers(mark)

    @override
    def is_reached(self, position: str, *, by: str) -> bool:
        return begins_before(_position(position), _position(by))

    @override
    def sees(self, connection: Connection, mark: Any) -> bool:
        if not isinstance(mark, Mark):
            return True
        if isinstance(mark.gtid, MySQLGtid):
            one = f"{mark.gtid.source}:{mark.gtid.number}"
            ((found,),) = connection.rows(f"SELECT GTID_SUBSET('{one}', @@global.gtid_executed)")
            return bool(found)
        at = snapshot_coordinates(connection)
        return at is None or at.order >= mark.end.order

    # --- snapshot -----------------------------------------------------------------------------------

    @override
    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        with translated(self._server.where):
            found, position = (
                self._maria_snapshot() if self._log_server.is_mariadb else self._mysql_snapshot()
            )
        connections = SnapshotConnections(found)
        try:
            yield Snapshot(position.text, connections.lend)
        finally:
            connections.close()

    def _maria_snapshot(self) -> tuple[list[MySQLConnection], Position]:
        """MariaDB says where in its log a consistent snapshot is."""
        leader = self._connect(None)
        connections = shared_by(leader, self._connect, count=self._server.max_parallel)
        at = snapshot_coordinates(leader)
        if at is None:
            leader.close()
            raise ConfigurationError(
                f"{self._server.where}: the server does not tell a snapshot's place in its log"
            )
        return connections, self._place.at(at)

    def _mysql_snapshot(self) -> tuple[list[MySQLConnection], Position]:
        """MySQL's writers wait for a moment behind a lock; who may not lock gets an earlier position."""
        try:
            self._query(f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}")
            self._query("FLUSH TABLES WITH READ LOCK")
        except pymysql.Error:
            position = self._place.end()
            return [self._connect(None)], position
        try:
            count = self._server.max_parallel
            wanted = count + 1 if count > 1 else 1
            return [self._connect(None) for _ in range(wanted)], self._place.end()
        finally:
            self._query("UNLOCK TABLES")

    # --- changes ------------------------------------------------------------------------------------

    @override
    def changes(self, positions: Mapping[Any, str], *, until: str | None) -> Iterator[Event]:
        start = self._earliest([_position(text) for text in positions.values()])
        shapes = TableShapes(
            self._followed, query=self._query, describe=self._describe, charsets=Charsets(self._charset_rows)
        )
        reading = LogReading(
            positions.keys(),
            shapes,
            start,
            until=None if until is None else (_position(until), self._ends.get(until)),
            folds_names=self._log_server.folds_names,
        )
        with translated(self._server.where):
            connection = self._server.open()
            try:
                stream = self._stream(connection, is_blocking=until is None)
                with self._refusals():
                    stream.begin(start)
                    yield from reading.events(stream)
            finally:
                wire.hang_up(connection)  # it serves the log, and nothing else any more

    def _charset_rows(self, statement: str) -> list[tuple[Any, ...]]:
        return list(self._query(statement))

    def _stream(self, connection: Any, *, is_blocking: bool) -> EventStream:
        number = server_id(self._options.server_id, seed=self._options.pipeline, server=self._log_server)
        return EventStream(
            connection, server_id=number, is_blocking=is_blocking, heartbeat_seconds=HEARTBEAT_SECONDS
        )

    @staticmethod
    def _earliest(positions: Sequence[Position]) -> Position:
        if len({type(position) for position in positions}) > 1:
            raise StateError(
                "some streams' positions in the log are GTIDs and others' are files with offsets, which cannot be "
                "compared. Run once with --full-refresh."
            )
        return functools.reduce(lambda left, right: left.lower(right), positions)

    # --- errors -------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except pymysql.Error as error:
            raise self._refusal(error) from error

    def _refusal(self, error: pymysql.Error) -> Exception:
        """Return the error for what the server says when it does not send its log."""
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        text = str(error.args[1]) if len(error.args) > 1 else str(error)
        where = self._server.where
        if number in _DENIED:
            grant = GRANTS[self._log_server.is_mariadb]
            return ConfigurationError(f"{where}: the user may not read the binary log ({number}): {grant}")
        if "same server_uuid/server_id" in text or "same server id" in text:
            return ConfigurationError(
                f"{where}: another reader of the binary log has this one's number and took its place. Run one at a "
                "time, or give each its own 'server_id'."
            )
        if number == _CANNOT_SEND:
            return StateError(
                f"{where}: the server cannot send its log from where this reader stands: {text.rstrip('. ')}. "
                "If the log is gone, run once with --full-refresh."
            )
        return translation(error, where)

    # --- columns ------------------------------------------------------------------------------------

    @override
    def key_condition(
        self, columns: Sequence[Column], keys: Sequence[Sequence[Any]], *, start: int
    ) -> tuple[str, tuple[Value, ...]]:
        return key_condition(columns, keys, start=start)

    @override
    def column_mark(self, table: Table) -> str:
        return ",".join(f"{zlib.crc32(column.name.encode()):08x}" for column in table.columns)

    @override
    def fills_old_rows(self, table: Table, names: Collection[str], *, since: Value) -> bool:
        known = str(since or "").split(",")
        if since is None or any(f"{zlib.crc32(name.encode()):08x}" in known for name in names):
            return True
        schema, name = (part.replace("\\", "\\\\").replace("'", "''") for part in (table.schema, table.name))
        with translated(self._server.where):
            found = self._query(
                "SELECT column_name FROM information_schema.columns WHERE "
                f"table_schema = '{schema}' AND table_name = '{name}' AND is_nullable = 'YES' "
                "AND (column_default IS NULL OR column_default = 'NULL') AND extra = ''"
            )
        return not set(names) <= {str(column) for (column,) in found}


@functools.lru_cache(maxsize=_POSITIONS_REMEMBERED)
def _position(text: str) -> Position:
    return position_from_text(text)
