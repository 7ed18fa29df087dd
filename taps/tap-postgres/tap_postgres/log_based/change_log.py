"""PostgreSQL's change log for the engine: one slot, one publication, one reader for all streams."""

from __future__ import annotations

import contextlib
import functools
import logging
import secrets
import time
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
from typing_extensions import override

from icetap.errors import ConfigurationError, IcetapError, RetriableError, SkippableError
from icetap.sql.change_log import ChangeLog, Event, Followed, Progress, Snapshot
from tap_postgres.catalogue import read_types
from tap_postgres.log_based import checks
from tap_postgres.log_based.messages import Decoder, LoggedColumn, Mark
from tap_postgres.log_based.positions import lsn, lsn_text
from tap_postgres.log_based.replication import ReplicationConnection
from tap_postgres.log_based.server_state import Administration
from tap_postgres.select import placeholder
from tap_postgres.types import quoted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from icetap.sql.change_log import TableId
    from icetap.sql.dialect import Column, Connection, Table, Value
    from tap_postgres.dialect import PostgresDialect
    from tap_postgres.log_based.replication import LogStream
    from tap_postgres.log_based.server_state import SlotFacts, TableFacts
    from tap_postgres.log_based.settings import LogSettings

LOGGER = logging.getLogger("icetap.sql")

FREE_SECONDS, _POLL_SECONDS = 2.0, 0.02

LSN = pa.field("_sdc_lsn", pa.int64())
"""Where the commit stands in the log, as the number of a byte: the order of transactions."""


class PostgresChangeLog(ChangeLog):
    """Reads a replication slot by the plug-in pgoutput.

    Args:
        dialect: Gives the server, the OIDs of tables and the table of types.
        settings: Names of slot and publication.
    """

    order_columns = (LSN,)
    table_kinds = frozenset({"table", "partitioned table"})

    def __init__(self, dialect: PostgresDialect, settings: LogSettings) -> None:
        self._dialect = dialect
        self._settings = settings
        self._session: Administration | None = None
        self._tables: dict[int, TableFacts] = {}
        self._confirmed = 0
        self._snapshot_holder: ReplicationConnection | None = None
        self._reader: ReplicationConnection | None = None
        self._reader_pid: int | None = None
        """The walsender of the last reader, which outlives it where the network lost the end of a connection."""

    # --- sessions -----------------------------------------------------------------------------------

    @property
    def _administration(self) -> Administration:
        if self._session is None or self._session.is_lost:
            self._session = Administration(self._dialect.server)
        return self._session

    @functools.cached_property
    def _facts(self) -> Any:
        return self._administration.server()

    @override
    def close(self) -> None:
        for each in (self._session, self._snapshot_holder, self._reader):
            if each is not None:
                each.close()
        self._session = self._snapshot_holder = self._reader = None

    def _oid(self, table: Table) -> int:
        relation = self._dialect.relation(table)
        if relation is None:
            raise ConfigurationError(f"'{table.stream}' is no table and has no change log")
        return relation.oid

    @override
    def table_id(self, table: Table) -> TableId:
        return self._oid(table)

    @override
    def identity(self, table: Table) -> str | None:
        return str(self._oid(table))

    @override
    def source_id(self) -> str:
        return str(self._facts.system_identifier)

    # --- prerequisites ------------------------------------------------------------------------------

    @override
    def open(self, followed: Sequence[Followed]) -> Mapping[str, str]:
        session = self._administration
        checks.require_log(self._facts)
        self._tables = session.tables([self._oid(each.table) for each in followed])
        known = [
            (each, facts)
            for each in followed
            if (facts := self._tables.get(self._oid(each.table))) is not None
        ]
        refused = {
            each.table.stream: problem
            for each, facts in known
            if (problem := checks.identity_problem(each, facts))
        }
        whole = [facts for each, facts in known if each.table.stream not in refused]
        if refused and not whole:
            return refused
        self._require_publication(whole)
        slot = session.slot(self._settings.slot)
        if slot is not None:
            checks.require_slot(slot, self._settings.slot, database=self._facts.database)
        return refused

    def _require_publication(self, tables: Sequence[TableFacts]) -> None:
        session, name = self._administration, self._settings.publication
        found = session.publication(name)
        published = session.published(name, version=self._facts.version) if found else {}
        checks.require_whole(found, published, name=name, tables=tables)
        missing = [facts for facts in tables if facts.oid not in published]
        if found is not None and not missing:
            return
        names = ", ".join(facts.quoted for facts in missing)
        if found is None:
            statement = f"CREATE PUBLICATION {quoted(name)} FOR TABLE {names} WITH (publish_via_partition_root = true)"
        else:
            statement = f"ALTER PUBLICATION {quoted(name)} ADD TABLE {names}"
        if not self._settings.creates:
            raise ConfigurationError(
                checks.publication_advice(name, statement, "'create_replication' is false")
            )
        try:
            session.execute(statement)
        except (ConfigurationError, SkippableError) as error:
            said = str(error).partition(" (SQLSTATE")[0]  # the advice behind it is for tables that are read
            raise ConfigurationError(checks.publication_advice(name, statement, said)) from error

    @override
    def findings(self, followed: Sequence[Followed]) -> Iterator[tuple[bool, str]]:
        session = self._administration
        tables = session.tables([self._oid(each.table) for each in followed])
        yield from checks.findings(
            session,
            self._settings,
            facts=self._facts,
            followed=[(each, tables[self._oid(each.table)]) for each in followed],
        )

    # --- positions ----------------------------------------------------------------------------------

    @functools.cached_property
    def _slot(self) -> SlotFacts | None:
        return self._administration.slot(self._settings.slot)

    @override
    def gone(self, position: str) -> str | None:
        wanted, name = lsn(position), self._settings.slot
        slot = self._slot
        if slot is None:
            return f"the replication slot '{name}' is gone, and with it the log since {position}"
        if reason := checks.lost(slot, name):
            return reason
        if slot.confirmed is not None and lsn(slot.confirmed) > wanted:
            return (
                f"the replication slot '{name}' begins at {slot.confirmed}, behind the bookmark's {position}: it was "
                "made anew, or another pipeline reads it too, or the stream was not selected for a while"
            )
        if wanted > lsn(self.end()):
            return (
                f"the bookmark's position {position} lies beyond the end of the log: the server was restored"
            )
        return None

    @override
    def confirm(self, positions: Collection[str]) -> None:
        self._confirmed = min(map(lsn, positions))

    @override
    def end(self) -> str:
        return self._administration.end(is_standby=self._facts.is_standby)

    @override
    def is_seen(self, mark: Mark, position: str) -> bool:
        return mark.commit_lsn < lsn(position)

    @override
    def is_reached(self, position: str, *, by: str) -> bool:
        return lsn(by) >= lsn(position)

    # --- snapshot -----------------------------------------------------------------------------------

    @override
    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Make a slot that exports what its log begins with: the permanent one, or a temporary one beside it.

        https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-CREATE-REPLICATION-SLOT
        (read 2026-11-21)
        """
        holder = self._snapshot_holder = ReplicationConnection(self._dialect.server)
        try:
            position, name = self._create_slot(holder)
            yield Snapshot(position, functools.partial(self._dialect.connect, name))
        finally:
            holder.close()
            self._snapshot_holder = None

    def _create_slot(self, holder: ReplicationConnection) -> tuple[str, str]:
        name = self._settings.slot
        slot = self._administration.slot(name)
        if slot is not None and checks.lost(slot, name):
            # No stream needs what it had: `gone` was asked before.
            self._administration.execute("SELECT pg_drop_replication_slot(%s)", name)
            slot = None
        what, kind = name, ""
        if slot is not None:
            what, kind = f"{name[:40]}_{secrets.token_hex(6)}", "TEMPORARY "
        elif not self._settings.creates:
            raise ConfigurationError(checks.slot_advice(name, "'create_replication' is false"))
        LOGGER.info(
            "Making the replication slot %s, which waits for %s",
            what,
            "the primary to log its running transactions"
            if self._facts.is_standby
            else "the transactions that are running now",
        )
        try:
            ((_, position, snapshot, _),) = holder.command(
                f'CREATE_REPLICATION_SLOT "{what}" {kind}LOGICAL pgoutput EXPORT_SNAPSHOT'
            )
        except (ConfigurationError, SkippableError, RetriableError) as error:
            raise checks.slot_error(error, name, self._facts) from error
        self.__dict__.pop("_slot", None)
        return str(position), str(snapshot)

    # --- changes ------------------------------------------------------------------------------------

    @override
    def changes(self, positions: Mapping[TableId, str], *, until: str | None) -> Iterator[Event]:
        self._end_last_reader()
        slot = self._administration.slot(self._settings.slot)
        if slot is None:
            raise RetriableError(f"the replication slot '{self._settings.slot}' is gone since the run began")
        checks.require_slot(slot, self._settings.slot, database=self._facts.database)
        start = min(map(lsn, positions.values()))
        confirmed = max(self._confirmed, lsn(slot.confirmed) if slot.confirmed else 0)
        if self._reader is not None:
            self._reader.close()
        reader = self._reader = ReplicationConnection(self._dialect.server)
        self._reader_pid = reader.pgconn.backend_pid
        stream = reader.stream(
            self._settings.slot, self._settings.publication, start=start, confirmed=min(confirmed, start)
        )
        stream.start()
        try:
            decoder = Decoder(frozenset(positions), self._columns_of)
            yield from _events(stream, decoder, start=start, until=None if until is None else lsn(until))
        finally:
            stream.stop()
            reader.close()
            self._reader = None
            with contextlib.suppress(IcetapError):  # the server may be away
                self._end_last_reader()

    def _end_last_reader(self) -> None:
        """Wait until the server has let go of the slot, so that it can be read again at once.

        A server that was not told of the end of a connection holds the slot for `wal_sender_timeout`, 60 s by default:
        the session of our own last reader is ended, and no other.
        """
        if self._reader_pid is None:
            return
        session, name = self._administration, self._settings.slot
        for ends_it in (False, True):
            end = time.monotonic() + FREE_SECONDS
            while time.monotonic() < end:
                slot = session.slot(name)
                if slot is None or slot.active_pid != self._reader_pid:
                    self._reader_pid = None
                    return
                if ends_it:
                    session.execute("SELECT pg_terminate_backend(%s)", self._reader_pid)
                time.sleep(_POLL_SECONDS)

    def _columns_of(self, logged: list[LoggedColumn]) -> tuple[Column, ...]:
        """Return the columns of a relation message, by the table of types."""
        session = self._administration
        shown = ", ".join(f"format_type({each.type_oid}, {each.modifier})" for each in logged)
        native = session.execute(f"SELECT {shown}")[0] if logged else ()
        types = read_types(
            cast("Connection", _Rows(session)), {each.type_oid for each in logged}, self._dialect.types
        )
        return tuple(
            types.column(each.name, each.type_oid, each.modifier, native_type=name, nullable=True)
            for each, name in zip(logged, native, strict=True)
        )

    # --- reading again by key -----------------------------------------------------------------------

    @override
    def sees(self, connection: Connection, mark: Mark) -> bool:
        ((snapshot,),) = connection.rows("SELECT txid_current_snapshot()::text")
        return is_visible(str(snapshot), mark.xid)

    @override
    def key_condition(
        self, columns: Sequence[Column], keys: Sequence[Sequence[Any]], *, start: int
    ) -> tuple[str, tuple[Value, ...]]:
        names = ", ".join(quoted(column.name) for column in columns)
        width = len(columns)
        rows = (
            "(" + ", ".join(placeholder(start + width * row + place) for place in range(width)) + ")"
            for row in range(len(keys))
        )
        return f"({names}) IN ({', '.join(rows)})", tuple(cell.decode() for key in keys for cell in key)

    @override
    def unlogged(self, table: Table) -> frozenset[str]:
        facts = self._tables.get(self._oid(table))
        return frozenset(facts.generated if facts else ())

    @override
    def column_mark(self, table: Table) -> Value:
        facts = self._tables.get(self._oid(table))
        return facts.last_number if facts else None

    @override
    def fills_old_rows(self, table: Table, names: Collection[str], *, since: Value) -> bool:
        facts = self._tables.get(self._oid(table))
        if facts is None or not isinstance(since, int):
            return True
        numbers = dict(zip(facts.columns, facts.numbers, strict=True))
        return any(numbers.get(name, 0) <= since or name in facts.filling_columns for name in names)


class _Rows:
    """An administration's session with the method that the catalogue's queries use."""

    def __init__(self, session: Administration) -> None:
        self._session = session

    def rows(self, sql: str, parameters: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        return self._session.execute(sql, *parameters)


def _events(stream: LogStream, decoder: Decoder, *, start: int, until: int | None) -> Iterator[Event]:
    """Yield events of frames; ends behind `until`, between two transactions."""
    reached = start
    for block in stream.blocks():
        for frame in block:
            if isinstance(frame, int):
                reached = max(reached, frame)
                continue
            change = decoder.change(frame)
            if change is not None:
                yield change
                continue
            yield from decoder.decode(frame)
            reached = max(reached, decoder.end_lsn)
            if until is not None and reached >= until and not decoder.is_inside:
                return
        if not decoder.is_inside:
            yield Progress(lsn_text(reached))
            if until is not None and reached >= until:
                return


def is_visible(snapshot: str, xid: int) -> bool:
    """Say whether a snapshot, as `xmin:xmax:running`, shows a transaction, whose number is modulo 2^32."""
    _, maximum, running = snapshot.split(":")
    ahead = (xid - int(maximum)) % 2**32
    if ahead < 2**31:
        return False
    return xid not in {int(each) % 2**32 for each in running.split(",") if each}
