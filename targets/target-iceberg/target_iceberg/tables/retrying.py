"""Trying again when another writer's commit came first."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from icetap.errors import StateError
from target_iceberg.tables.commit import TableMovedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyiceberg.table import Table

COMMIT_ATTEMPTS = 12
LONGEST_WAIT_SECONDS = 2.0

Result = TypeVar("Result")


def until_settled(table: Table, commit: Callable[[], Result]) -> Result:
    """Call `commit` until no other writer has come in between; the table is refreshed before each further try.

    A file that is gone counts as that too, when the table has changed since: an expiry took it.

    Raises:
        StateError: When others commit each time.
    """
    for attempt in range(COMMIT_ATTEMPTS):
        try:
            return commit()
        except TableMovedError:
            table.refresh()
            time.sleep(min(0.05 * 2**attempt, LONGEST_WAIT_SECONDS))
        except FileNotFoundError:
            if not has_moved(table):
                raise
    raise StateError(
        f"other writers committed to {'.'.join(table.name())} each time this was tried. "
        "Run the command again when they are done."
    )


def has_moved(table: Table) -> bool:
    """Refresh the table; whether it is another one than before."""
    before = table.metadata_location
    table.refresh()
    return table.metadata_location != before
