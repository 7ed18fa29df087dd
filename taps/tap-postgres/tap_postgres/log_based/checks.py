"""What LOG_BASED needs of the server, the slot, the publication and the tables, and what a DBA has to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icetap.errors import ConfigurationError, IcetapError, RetriableError
from tap_postgres.log_based.positions import lsn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from icetap.sql.change_log import Followed
    from tap_postgres.log_based.server_state import (
        Administration,
        PublicationFacts,
        PublishedFacts,
        ServerFacts,
        SlotFacts,
        TableFacts,
    )
    from tap_postgres.log_based.settings import LogSettings

_FIRST_VERSION, _STANDBY_VERSION = 130000, 160000
_MEBIBYTE = 2**20


# --- the server -----------------------------------------------------------------------------------------


def require_log(facts: ServerFacts) -> None:
    """Refuse a server whose log does not tell of rows.

    Raises:
        ConfigurationError: With the statement to run.
    """
    problem = log_problem(facts)
    if problem:
        raise ConfigurationError(problem)


def log_problem(facts: ServerFacts) -> str | None:
    """Say why the server's log cannot be read."""
    if facts.version < _FIRST_VERSION:
        return "LOG_BASED works from PostgreSQL 13 on. Choose FULL_TABLE or INCREMENTAL for these streams."
    if facts.wal_level != "logical":
        return (
            f"LOG_BASED needs wal_level = logical, and the server has '{facts.wal_level}'. Run "
            "`ALTER SYSTEM SET wal_level = logical` and restart it (RDS: rds.logical_replication = 1; Cloud SQL: "
            "cloudsql.logical_decoding = on; Azure: wal_level = logical in its parameters)."
        )
    if facts.is_standby and facts.version < _STANDBY_VERSION:
        return "LOG_BASED works on a read replica from PostgreSQL 16 on. Connect to the primary for these streams."
    return None


def replication_problem(facts: ServerFacts) -> str | None:
    """Say why the user may not read the log."""
    if facts.may_replicate or facts.is_member:
        return None
    return (
        f"the user '{facts.user}' may not read the log. Run `ALTER ROLE \"{facts.user}\" REPLICATION` "
        f'(RDS: `GRANT rds_replication TO "{facts.user}"`).'
    )


# --- tables ---------------------------------------------------------------------------------------------


def identity_problem(followed: Followed, facts: TableFacts) -> str | None:
    """Say why a table's log would not be whole."""
    name = followed.table.stream
    if facts.is_partition:
        return (
            f"stream '{name}' is a part of a partitioned table, whose changes are told under the name of the whole. "
            "Select the whole instead."
        )
    if facts.persistence != "p":
        return f"stream '{name}' is an unlogged table: choose FULL_TABLE or INCREMENTAL."
    if facts.is_filtered:
        return (
            f"stream '{name}' has row-level security that hides rows from this user, and the log would show them. "
            "Choose FULL_TABLE or INCREMENTAL, or a user with BYPASSRLS."
        )
    if facts.identity == "f" or (followed.key and set(followed.key) <= set(facts.identity_columns)):
        return None
    found = ", ".join(facts.identity_columns) or "nothing"
    wanted = ", ".join(followed.key) or "no key"
    return (
        f"stream '{name}': the log identifies changed rows by {found}, and the stream has {wanted}. Run "
        f"`ALTER TABLE {facts.quoted} REPLICA IDENTITY FULL`"
        + (" (or give the table a primary key)." if not followed.key else " (or USING INDEX of that key).")
    )


# --- publication ----------------------------------------------------------------------------------------


def publication_advice(name: str, statement: str, reason: str) -> str:
    """Return the error of a publication that lacks tables."""
    return (
        f"the publication '{name}' does not have every selected table ({reason}). A DBA, or the tables' owner, has "
        f"to run: {statement};"
    )


def require_whole(
    found: PublicationFacts | None,
    published: Mapping[int, PublishedFacts],
    *,
    name: str,
    tables: Sequence[TableFacts],
) -> None:
    """Refuse a publication that leaves changes, rows or columns out.

    Raises:
        ConfigurationError: With the statement to run.
    """
    problems = list(publication_problems(found, published, name=name, tables=tables))
    if problems:
        raise ConfigurationError(" ".join(problems))


def publication_problems(
    found: PublicationFacts | None,
    published: Mapping[int, PublishedFacts],
    *,
    name: str,
    tables: Sequence[TableFacts],
) -> Iterator[str]:
    """Yield what a publication leaves out, with the statement to run."""
    if found is None:
        return
    if not found.is_complete:
        yield (
            f"the publication '{name}' does not tell all changes. Run `ALTER PUBLICATION \"{name}\" SET "
            "(publish = 'insert, update, delete, truncate')`."
        )
    for facts in tables:
        if facts.kind == "p" and not found.is_via_root:
            yield (
                f"the publication '{name}' tells the changes of the partitioned table {facts.quoted} under the names of "
                f'its parts. Run `ALTER PUBLICATION "{name}" SET (publish_via_partition_root = true)`.'
            )
        shown = published.get(facts.oid)
        if shown is not None and (problem := _hidden(facts, shown)):
            yield f"the publication '{name}' {problem}"


def _hidden(facts: TableFacts, shown: PublishedFacts) -> str | None:
    """Say which rows or columns of a table a publication does not show."""
    if shown.row_filter is not None:
        return f"filters rows of {facts.quoted}: add the table without WHERE."
    if shown.columns is None:
        return None
    hidden = sorted(set(facts.columns) - set(facts.generated) - set(shown.columns))
    if not hidden:
        return None
    return (
        f"leaves out columns of {facts.quoted}: {', '.join(hidden)}. Add the table without a list of columns."
    )


# --- slot -----------------------------------------------------------------------------------------------


def require_slot(slot: SlotFacts, name: str, *, database: str) -> None:
    """Refuse a slot of somebody else's, or one that is being read.

    Raises:
        ConfigurationError: When it was made for another plug-in or database.
        RetriableError: When another session reads it.
    """
    if slot.plugin != "pgoutput" or slot.database != database:
        raise ConfigurationError(
            f"the replication slot '{name}' was made for the plug-in '{slot.plugin}' in the database "
            f"'{slot.database}'; expected pgoutput in '{database}'. Give another 'replication_slot_name'; if nobody reads "
            f"the old one any more, drop it: SELECT pg_drop_replication_slot('{name}');"
        )
    if slot.active_pid is not None:
        raise RetriableError(
            f"the replication slot '{name}' is being read by the session {slot.active_pid}. Only one run at a time can "
            "read a slot: wait for the other one, or give this pipeline its own 'replication_slot_name'."
        )


def lost(slot: SlotFacts, name: str) -> str | None:
    """Say why a slot no longer has its log."""
    if slot.wal_status != "lost" and slot.restart is not None:
        return None
    return (
        f"the replication slot '{name}' has lost its log: it held more than max_slot_wal_keep_size allows, or was "
        "invalidated. The next full run makes it anew"
    )


def slot_advice(name: str, reason: str) -> str:
    """Return the error of a slot that is not there."""
    return (
        f"the replication slot '{name}' does not exist ({reason}). A user with REPLICATION has to run: "
        f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput');"
    )


def slot_error(error: IcetapError, name: str, facts: ServerFacts) -> IcetapError:
    """Return the error of a slot that could not be made."""
    said = str(error)
    if problem := replication_problem(facts):
        return ConfigurationError(f"{said} {problem[0].upper()}{problem[1:]}")
    if "all replication slots are in use" in said:
        return ConfigurationError(
            f"{said} {facts.slots} of max_replication_slots = {facts.max_slots} are taken; a first read needs one more. "
            "Raise the limit, or drop slots that nobody reads."
        )
    if "lock timeout" in said:
        return RetriableError(
            f"the replication slot '{name}' waits for transactions that were running before it. Look for old ones in "
            "pg_stat_activity, or raise 'lock_timeout_seconds'."
        )
    return error


# --- what a person is told ------------------------------------------------------------------------------


def findings(
    session: Administration,
    settings: LogSettings,
    *,
    facts: ServerFacts,
    followed: Sequence[tuple[Followed, TableFacts]],
) -> Iterator[tuple[bool, str]]:
    """Yield one line per prerequisite."""
    problem = log_problem(facts) or replication_problem(facts)
    yield problem is None, problem or "change log: wal_level is logical, and the user may read it"
    for each, table in followed:
        if problem := identity_problem(each, table):
            yield False, problem
    yield from _publication_findings(session, settings, facts=facts, tables=[table for _, table in followed])
    yield from _slot_findings(session, settings, facts=facts)


def _publication_findings(
    session: Administration, settings: LogSettings, *, facts: ServerFacts, tables: Sequence[TableFacts]
) -> Iterator[tuple[bool, str]]:
    name = settings.publication
    found = session.publication(name)
    published = session.published(name, version=facts.version) if found else {}
    for problem in publication_problems(found, published, name=name, tables=tables):
        yield False, problem
    missing = [table for table in tables if table.oid not in published]
    if found is not None and not missing:
        yield True, f"publication '{name}': has every selected table"
        return
    names = ", ".join(table.quoted for table in missing)
    foreign = [table.quoted for table in missing if not table.is_owned]
    if settings.creates and not foreign:
        yield True, f"publication '{name}': the next run adds {names}"
        return
    statement = f'ALTER PUBLICATION "{name}" ADD TABLE {names}'
    if found is None:
        statement = f'CREATE PUBLICATION "{name}" FOR TABLE {names} WITH (publish_via_partition_root = true)'
    reason = f"the user owns not {', '.join(foreign)}" if foreign else "'create_replication' is false"
    yield False, publication_advice(name, statement, reason)


def _slot_findings(
    session: Administration, settings: LogSettings, *, facts: ServerFacts
) -> Iterator[tuple[bool, str]]:
    name = settings.slot
    slot = session.slot(name)
    if slot is None:
        text = f"replication slot '{name}': the next run makes it"
        yield (
            settings.creates,
            text if settings.creates else slot_advice(name, "'create_replication' is false"),
        )
        return
    try:
        require_slot(slot, name, database=facts.database)
    except ConfigurationError as error:
        yield False, str(error)
        return
    except RetriableError as error:
        yield True, str(error)
    if reason := lost(slot, name):
        yield False, f"{reason}: run once with --full-refresh."
        return
    yield (
        slot.wal_status != "unreserved",
        _slot_health(slot, name, end=session.end(is_standby=facts.is_standby)),
    )


def _slot_health(slot: SlotFacts, name: str, *, end: str) -> str:
    behind = lsn(end) - lsn(slot.confirmed or end)
    held = lsn(end) - lsn(slot.restart or end)
    text = (
        f"replication slot '{name}': {_size(behind)} behind, holds {_size(held)} of the log "
        f"(wal_status {slot.wal_status}"
    )
    if slot.safe_wal_size is not None:
        text += f", lost after {_size(slot.safe_wal_size)} more"
    else:
        text += "; no max_slot_wal_keep_size, so the log grows until the disk is full when nobody runs this pipeline"
    text += ")"
    if slot.wal_status == "unreserved":
        text += ". It is about to be lost: run now, and raise max_slot_wal_keep_size."
    return text


def _size(count: int) -> str:
    return f"{max(count, 0) / _MEBIBYTE:,.1f} MiB"
