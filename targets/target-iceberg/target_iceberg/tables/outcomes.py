"""What became of a commit: it is sent until the catalog or the table itself says so.

An answer that is lost says nothing about the commit, and a guess either way loses rows or doubles them. So the table
is read: its snapshots tell whether this one is among them. If it is not, the same request is sent again, as it was. It
names the snapshot that it builds on, so a catalog applies it once at most, even when the first one was only late.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pyiceberg.exceptions import CommitFailedException

from icetap import faults
from icetap.errors import RetriableError
from icetap.patience import Patience
from target_iceberg.tables.internals import send_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyiceberg.table import Table
    from pyiceberg.table.update import TableRequirement, TableUpdate

LOGGER = logging.getLogger("target-iceberg")


class UnknownOutcomeError(RetriableError):
    """Neither the catalog nor the table could be asked whether a commit was made."""


def send_commit(
    table: Table,
    updates: tuple[TableUpdate, ...],
    requirements: tuple[TableRequirement, ...],
    *,
    has_landed: Callable[[Table], bool],
) -> bool:
    """Commit once; `table` is fresh afterwards.

    Args:
        table: As it was loaded when the commit was planned.
        updates: What to change.
        requirements: What must still hold, the head of the main branch among it.
        has_landed: Whether a table, freshly loaded, shows this very commit.

    Returns:
        Whether it was made; false when another commit came first, so that this one was not and will not be made.

    Raises:
        UnknownOutcomeError: When it may have been made, and nobody can be asked any more.
    """
    patience = Patience.of(table.catalog)
    head = table.metadata.current_snapshot_id
    attempt, is_unknown = 0, False
    while True:
        try:
            send_once(table, updates, requirements)
        except CommitFailedException as error:
            failure: Exception = error
        except Exception as error:
            if not (faults.is_passing(error) or _is_garbled(error)):
                raise
            failure, is_unknown = error, True
        else:
            return True
        landed = _look(table, has_landed)
        if landed:
            LOGGER.warning("table %s: the answer to a commit was lost; the commit is there", _name(table))
            return True
        is_refused = landed is False and isinstance(failure, CommitFailedException)
        if is_refused and (not is_unknown or table.metadata.current_snapshot_id != head):
            return False
        if landed is None or attempt >= patience.max_retries:
            raise _given_up(table, failure, landed=landed) from failure
        patience.wait(failure, attempt=attempt, what=f"commit to {_name(table)}")
        attempt += 1


def _look(table: Table, has_landed: Callable[[Table], bool]) -> bool | None:
    """Ask the table; None when it cannot be asked either (a catalog of ours has asked several times by then)."""
    try:
        table.refresh()
    except Exception as error:
        if not faults.is_passing(error):
            raise
        return None
    return has_landed(table)


def _is_garbled(error: Exception) -> bool:
    """Whether the catalog's answer was not what an Iceberg catalog says, as from a gateway in between."""
    return type(error).__module__.startswith("pydantic")


def _given_up(table: Table, failure: Exception, *, landed: bool | None) -> Exception:
    if landed is False and not isinstance(failure, CommitFailedException):
        # As the table stands, it was not made. A request that is still on its way may change that: its files stay.
        return faults.explained(failure) or failure
    return UnknownOutcomeError(
        f"the catalog did not say whether the last commit to {_name(table)} was made ({faults.kind_of_fault(failure)}), "
        "and the table cannot be read now. No STATE was printed for it. Run the pipeline again when the catalog is "
        "back: the bookmark in the table tells the next run."
    )


def _name(table: Table) -> str:
    return ".".join(table.name())
