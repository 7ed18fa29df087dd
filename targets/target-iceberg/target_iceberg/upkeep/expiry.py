"""Snapshots that are no longer wanted: which they are, and the files that leave with them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.update import AssertRefSnapshotId, AssertTableUUID, RemoveSnapshotsUpdate

from target_iceberg.positions.bookmarks import PROPERTY_PREFIX, needed_for_rewinding
from target_iceberg.tables.commit import TableMovedError
from target_iceberg.tables.outcomes import send_commit
from target_iceberg.tables.retrying import until_settled
from target_iceberg.upkeep.references import References, listed_files, manifests_of
from target_iceberg.upkeep.storage import Storage, delete_locations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyiceberg.io import FileIO
    from pyiceberg.manifest import ManifestFile
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot


@dataclass(frozen=True)
class ExpiryOptions:
    """Which snapshots stay.

    Attributes:
        expire_days: Snapshots younger than this many days stay.
        keep_snapshots: So many of each branch stay, however old.
        keeps_rewinds: Whether those stay that the next run of a pipeline may go back to.
    """

    expire_days: float = 5.0
    keep_snapshots: int = 10
    keeps_rewinds: bool = True


@dataclass
class Expired:
    """What expiry did, or would do.

    Attributes:
        snapshots: How many snapshots went.
        files: How many files went with them.
        bytes: Their size, of data and delete files.
        kept_outside: Files that went out of use but lie elsewhere than under the table's location: they stay.
    """

    snapshots: int = 0
    files: int = 0
    bytes: int = 0
    kept_outside: int = 0


def expired_snapshots(metadata: TableMetadata, options: ExpiryOptions, *, now: datetime) -> list[int]:
    """Return the snapshots that nothing needs any more."""
    oldest = now - timedelta(days=options.expire_days)
    kept: set[int] = set()
    for name, ref in metadata.refs.items():
        kept.add(ref.snapshot_id)
        if ref.snapshot_ref_type == SnapshotRefType.BRANCH:
            least = ref.min_snapshots_to_keep or options.keep_snapshots
            age = ref.max_snapshot_age_ms
            since = now - timedelta(milliseconds=age) if age is not None else oldest
            kept |= _kept_of_line(_line(metadata, name), least=least, since=since)
    if options.keeps_rewinds:
        for name in metadata.properties:
            if name.startswith(PROPERTY_PREFIX):
                kept |= needed_for_rewinding(metadata, name.removeprefix(PROPERTY_PREFIX))
    # A snapshot on no branch is one that is staged, or that was rolled back: its age decides.
    on_branches = {one.snapshot_id for name in metadata.refs for one in _line(metadata, name)}
    return [
        one.snapshot_id
        for one in metadata.snapshots
        if one.snapshot_id not in kept and (one.snapshot_id in on_branches or _time(one) < oldest)
    ]


def _line(metadata: TableMetadata, ref: str) -> Iterator[Snapshot]:
    snapshot = metadata.snapshot_by_name(ref)
    while snapshot is not None:
        yield snapshot
        parent = snapshot.parent_snapshot_id
        snapshot = metadata.snapshot_by_id(parent) if parent is not None else None


def _kept_of_line(line: Iterator[Snapshot], *, least: int, since: datetime) -> set[int]:
    return {one.snapshot_id for number, one in enumerate(line) if number < least or _time(one) >= since}


def _time(snapshot: Snapshot) -> datetime:
    return datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC)


def plan_expiry(table: Table, options: ExpiryOptions) -> Expired:
    """Return how many snapshots would go; their files are not counted."""
    return Expired(snapshots=len(expired_snapshots(table.metadata, options, now=datetime.now(UTC))))


def expire(table: Table, options: ExpiryOptions, *, pause: Callable[[str], None]) -> Expired:
    """Remove what `expired_snapshots` names from the table, then the files that only they needed.

    A process that dies in between leaves files that no snapshot lists: the sweep finds them.

    Args:
        table: The table; fresh afterwards.
        options: Which snapshots stay.
        pause: Called with the name of each point at which another writer may come in between.

    Raises:
        StateError: When other writers commit each time.
    """

    def remove() -> list[Snapshot]:
        gone = set(expired_snapshots(table.metadata, options, now=datetime.now(UTC)))
        snapshots = [one for one in table.metadata.snapshots if one.snapshot_id in gone]
        pause("expiry is planned")
        if gone:
            _remove(table, sorted(gone))
        return snapshots

    statistics = {one.snapshot_id: one.statistics_path for one in table.metadata.statistics}
    snapshots = until_settled(table, remove)
    if not snapshots:
        return Expired()
    pause("snapshots are expired")
    table.refresh()
    done = _delete_unreferenced(table, snapshots)
    left = [path for one in snapshots if (path := statistics.get(one.snapshot_id))]
    done.files += delete_locations(table.io, filter(Storage(table).covers, left))
    return done


def _remove(table: Table, snapshot_ids: list[int]) -> None:
    """Take snapshots out of the table's metadata, while no branch or tag has moved.

    Raises:
        TableMovedError: When one has, or the snapshots are gone already.
    """
    metadata = table.metadata
    requirements = [
        AssertRefSnapshotId.model_validate({"ref": name, "snapshot-id": ref.snapshot_id})
        for name, ref in metadata.refs.items()
    ]
    update = RemoveSnapshotsUpdate.model_validate({"snapshot-ids": snapshot_ids})

    def has_landed(fresh: Table) -> bool:
        return not any(fresh.metadata.snapshot_by_id(one) for one in snapshot_ids)

    try:
        is_made = send_commit(
            table,
            (update,),
            (AssertTableUUID(uuid=metadata.table_uuid), *requirements),
            has_landed=has_landed,
        )
    except ValueError as error:
        # pyiceberg does not know one of them any more: another expiry came first.
        raise TableMovedError("snapshots to be removed are gone") from error
    if not is_made:
        raise TableMovedError("a branch or tag has moved since expiry was planned")


def _delete_unreferenced(table: Table, snapshots: list[Snapshot]) -> Expired:
    """Delete what only these snapshots, which the table no longer has, needed."""
    io, storage = table.io, Storage(table)
    kept, needed = until_settled(table, lambda: _needed(table))
    needless = {path: one for path, one in _manifests(snapshots, io).items() if path not in kept}
    done = Expired(snapshots=len(snapshots))
    for manifest in needless.values():
        sizes = _sizes(manifest, io, needed)
        inside = [path for path in sizes if storage.covers(path)]
        done.kept_outside += len(sizes) - len(inside)
        for path in inside:
            needed.add(path)  # listed twice, it is deleted once
        done.files += delete_locations(io, inside)
        done.bytes += sum(sizes[path] for path in inside)
    lists = [one.manifest_list for one in snapshots]
    done.files += delete_locations(io, filter(storage.covers, [*needless, *lists]))
    return done


def _needed(table: Table) -> tuple[dict[str, ManifestFile], References]:
    """Return the manifests that the table still has, and the files that they list."""
    kept = manifests_of(table.metadata.snapshots, table.io)
    return kept, References(listed_files(kept.values(), table.io))


def _manifests(snapshots: list[Snapshot], io: FileIO) -> dict[str, ManifestFile]:
    """Return the manifests of expired snapshots; what is gone already, another expiry has deleted."""
    found: dict[str, ManifestFile] = {}
    for snapshot in snapshots:
        with contextlib.suppress(FileNotFoundError):
            found |= manifests_of([snapshot], io)
    return found


def _sizes(manifest: ManifestFile, io: FileIO, needed: References) -> dict[str, int]:
    """Return the files that a manifest names and nothing needs, with their sizes."""
    try:
        entries = manifest.fetch_manifest_entry(io, discard_deleted=False)
    except FileNotFoundError:
        return {}
    files = (entry.data_file for entry in entries)
    return {file.file_path: file.file_size_in_bytes for file in files if file.file_path not in needed}
