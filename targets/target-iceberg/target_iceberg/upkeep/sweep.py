"""Files under a table's location that no snapshot needs: leftovers of runs and commits that died.

The order makes it safe beside loads. First the storage is listed, then the table's metadata is read: what a
commit has listed by then is known. What is staged for a commit to come is young, or belongs to a run that
still writes young files; both stay.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from icetap.errors import ConfigurationError
from target_iceberg.tables.retrying import until_settled
from target_iceberg.upkeep.references import (
    References,
    every_reference,
    listed_files,
    manifests_of,
    metadata_files,
)
from target_iceberg.upkeep.storage import Storage, plain_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pyiceberg.table import Table

    from target_iceberg.upkeep.storage import StoredFile

SHOWN = 1_000
"""Of the files that a dry run finds, so many are named."""

DELETED_AT_ONCE = 500

_RUN_FILE = re.compile(r"icetap-(?:deletes-)?([0-9a-f]{12})-")


@dataclass
class Swept:
    """What the sweep did, or would do.

    Attributes:
        files: How many files went.
        bytes: Their size.
        paths: The first of them.
        refused: Why nothing was swept, None when it was.
    """

    files: int = 0
    bytes: int = 0
    paths: list[str] = field(default_factory=list)
    refused: str | None = None


def foreign_roots(table: Table, others: Iterable[str]) -> list[str]:
    """Return the locations of other tables that lie inside this one's.

    Args:
        table: The table to be swept.
        others: Locations of every other table of the catalog.

    Raises:
        ConfigurationError: When another table lies in the very same place, or around it.
    """
    root = plain_path(table.location()).rstrip("/")
    inside = []
    for location in others:
        other = plain_path(location).rstrip("/")
        if root == other or root.startswith(other + "/"):
            raise ConfigurationError(
                f"table {'.'.join(table.name())} shares its location with another table ({location}), so it is not swept"
            )
        if other.startswith(root + "/"):
            inside.append(other + "/")
    return inside


def orphans(
    table: Table, *, older_than: timedelta, others: Sequence[str] = (), pause: Callable[[str], None]
) -> list[StoredFile]:
    """Return the files under the table's location that nothing needs and that are old enough.

    Args:
        table: The table; fresh afterwards.
        older_than: Younger files stay, and so do those of a run that wrote one of them.
        others: Plain paths of folders in it that belong to other tables.
        pause: Called with the name of each point at which another writer may come in between.
    """
    until = datetime.now(UTC) - older_than
    old: list[StoredFile] = []
    alive: set[str] = set()
    for file in Storage(table).files():
        if any(file.path.startswith(root) for root in others):
            continue
        if file.modified is not None and file.modified < until:
            old.append(file)
        elif run := run_of(file.path):
            alive.add(run)
    old = [file for file in old if run_of(file.path) not in alive]
    pause("files are listed")
    if not old:
        return []
    table.refresh()
    needed = until_settled(table, lambda: every_reference(table))
    return [file for file in old if file.path not in needed]


def run_of(path: str) -> str | None:
    """Return the run that wrote a file, as its name says."""
    found = _RUN_FILE.match(path.rpartition("/")[2])
    return found.group(1) if found else None


def sweep(
    table: Table, *, older_than: timedelta, others: Sequence[str] = (), pause: Callable[[str], None]
) -> Swept:
    """Delete what `orphans` finds; commits that land meanwhile are looked at before each handful."""
    found = orphans(table, older_than=older_than, others=others, pause=pause)
    done = _counted([])
    storage = Storage(table)
    for start in range(0, len(found), DELETED_AT_ONCE):
        known = {snapshot.snapshot_id for snapshot in table.metadata.snapshots}
        pause("files are about to go")
        table.refresh()
        fresh = until_settled(table, lambda known=known: _references_since(table, known))  # type: ignore[misc]
        gone = [file for file in found[start : start + DELETED_AT_ONCE] if file.path not in fresh]
        storage.delete(file.path for file in gone)
        part = _counted(gone)
        done = Swept(done.files + part.files, done.bytes + part.bytes, [*done.paths, *part.paths][:SHOWN])
    return done


def plan_sweep(table: Table, *, older_than: timedelta, others: Sequence[str] = ()) -> Swept:
    """Return what would be deleted."""
    return _counted(orphans(table, older_than=older_than, others=others, pause=lambda _: None))


def _references_since(table: Table, known: set[int]) -> References:
    """Return what snapshots need that were not known before."""
    fresh = [one for one in table.metadata.snapshots if one.snapshot_id not in known]
    manifests = manifests_of(fresh, table.io)
    found = References(metadata_files(table))
    for path in (*manifests, *listed_files(manifests.values(), table.io)):
        found.add(path)
    return found


def _counted(files: Sequence[StoredFile]) -> Swept:
    return Swept(len(files), sum(file.size for file in files), [file.path for file in files[:SHOWN]])
