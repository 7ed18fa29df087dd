"""What the server says of its log, the slot, the publication and the tables, in a few queries."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from tap_postgres.errors import connect_error, statement_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tap_postgres.server import Server

_SERVER = """
SELECT current_setting('server_version_num')::int, current_setting('wal_level'), pg_is_in_recovery(),
       (SELECT system_identifier::text FROM pg_control_system()), current_user::text, current_database()::text,
       (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user),
       EXISTS (SELECT 1 FROM pg_roles WHERE rolname IN ('rds_replication', 'alloydbreplicationrole')
               AND pg_has_role(current_user, oid, 'MEMBER')),
       (SELECT count(*) FROM pg_replication_slots)::int, current_setting('max_replication_slots')::int
"""
_SLOT = """
SELECT plugin::text, slot_type, database::text, active_pid, confirmed_flush_lsn::text, restart_lsn::text,
       wal_status, safe_wal_size
FROM pg_replication_slots WHERE slot_name = %s
"""
_PUBLICATION = "SELECT puballtables, pubviaroot, pubinsert AND pubupdate AND pubdelete AND pubtruncate FROM pg_publication WHERE pubname = %s"
_TABLES = """
SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relreplident::text, c.relkind::text, c.relispartition,
       c.relpersistence::text, row_security_active(c.oid),
       pg_has_role(current_user, c.relowner, 'USAGE'),
       coalesce((SELECT array_agg(a.attname::text) FROM pg_index AS i
                 JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
                 WHERE i.indrelid = c.oid
                   AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END),
                '{}'),
       (SELECT max(attnum)::int FROM pg_attribute WHERE attrelid = c.oid),
       coalesce((SELECT array_agg(attname::text) FROM pg_attribute
                 WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated <> ''), '{}'),
       coalesce((SELECT array_agg(attname::text) FROM pg_attribute
                 WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND (atthasdef OR atthasmissing
                       OR attidentity <> '' OR attnotnull)), '{}'),
       (SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
       (SELECT array_agg(attnum::int ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%s::oid[])
"""
_PUBLISHED = """
SELECT c.oid::int8, {names}, {filter}
FROM pg_publication_tables AS t JOIN pg_namespace AS n ON n.nspname = t.schemaname
JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = t.tablename
WHERE t.pubname = %s
"""
_LISTS_COLUMNS = 150000
"""The first version whose publications can have lists of columns and row filters."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The server and the user."""

    version: int
    wal_level: str
    is_standby: bool
    system_identifier: str
    user: str
    database: str
    may_replicate: bool
    is_member: bool
    slots: int
    max_slots: int


@dataclass(frozen=True, slots=True)
class SlotFacts:
    """A replication slot; LSNs as texts, sizes in bytes."""

    plugin: str | None
    kind: str
    database: str | None
    active_pid: int | None
    confirmed: str | None
    restart: str | None
    wal_status: str | None
    safe_wal_size: int | None


@dataclass(frozen=True, slots=True)
class PublicationFacts:
    """A publication: for all tables or some, and whether it tells all kinds of changes."""

    is_for_all: bool
    is_via_root: bool
    is_complete: bool


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table as far as its log is concerned.

    `identity` is `d` (primary key), `f` (whole row), `i` (an index) or `n` (nothing); `identity_columns` those of
    the key that deletes have. `filling_columns` may have values in rows that no change was told of.
    """

    oid: int
    schema: str
    name: str
    identity: str
    kind: str
    is_partition: bool
    persistence: str
    is_filtered: bool
    is_owned: bool
    identity_columns: list[str]
    last_number: int
    generated: list[str]
    filling_columns: list[str]
    columns: list[str]
    numbers: list[int]

    @property
    def quoted(self) -> str:
        """The table's name in a statement."""
        return ".".join('"' + part.replace('"', '""') + '"' for part in (self.schema, self.name))


@dataclass(frozen=True, slots=True)
class PublishedFacts:
    """A table in a publication; `columns` is None where all are."""

    columns: list[str] | None
    row_filter: str | None


class Administration:
    """A session that asks, and makes what the log needs; each statement is a transaction of its own."""

    def __init__(self, server: Server) -> None:
        self._server = server
        try:
            self._psycopg = psycopg.connect(server.conninfo(), autocommit=True, prepare_threshold=None)
        except psycopg.Error as error:
            raise connect_error(str(error), where=server.name) from error
        # A role that only reads may still make a publication of its own tables.
        self.execute(
            "SELECT set_config('lock_timeout', %s, false), set_config('default_transaction_read_only', 'off', false)",
            str(server.lock_timeout_ms),
        )

    @property
    def is_lost(self) -> bool:
        """Whether the session has ended."""
        return bool(self._psycopg.closed)

    def execute(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run a statement; return its rows."""
        with self._translated():
            cursor = self._psycopg.execute(sql.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """End the session."""
        with contextlib.suppress(psycopg.Error):
            self._psycopg.close()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            said = error.diag.message_primary or str(error)
            raise statement_error(said, error.sqlstate, where=self._server.name) from error

    # --- questions ----------------------------------------------------------------------------------

    def server(self) -> ServerFacts:
        """Ask for the server and the user."""
        return ServerFacts(*self.execute(_SERVER)[0])

    def slot(self, name: str) -> SlotFacts | None:
        """Ask for a slot."""
        found = self.execute(_SLOT, name)
        return SlotFacts(*found[0]) if found else None

    def publication(self, name: str) -> PublicationFacts | None:
        """Ask for a publication."""
        found = self.execute(_PUBLICATION, name)
        return PublicationFacts(*found[0]) if found else None

    def tables(self, oids: Sequence[int]) -> dict[int, TableFacts]:
        """Ask for tables, by OID."""
        return {row[0]: TableFacts(*row) for row in self.execute(_TABLES, list(oids))}

    def published(self, name: str, *, version: int) -> dict[int, PublishedFacts]:
        """Ask for the tables of a publication, by OID."""
        lists = version >= _LISTS_COLUMNS
        sql = _PUBLISHED.format(
            names="t.attnames::text[]" if lists else "NULL", filter="t.rowfilter" if lists else "NULL"
        )
        return {row[0]: PublishedFacts(*row[1:]) for row in self.execute(sql, name)}

    def end(self, *, is_standby: bool) -> str:
        """Ask for the end of the log: what is on disk, or what a standby has applied."""
        function = "pg_last_wal_replay_lsn" if is_standby else "pg_current_wal_flush_lsn"
        return str(self.execute(f"SELECT {function}()::text")[0][0])
