"""Every file that a table's metadata names, in eight bytes each.

Paths are kept as digests: two that happen to share one make a file look needed that is not. Nothing that
is needed can look needless.
"""

from __future__ import annotations

import bisect
import hashlib
from array import array
from typing import TYPE_CHECKING

from target_iceberg.upkeep.storage import spellings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyiceberg.io import FileIO
    from pyiceberg.manifest import ManifestFile
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot

VERSION_HINT = "version-hint.text"
MERGED_AT = 200_000  # digests that wait in a set, at some sixty bytes each


class References:
    """A set of locations."""

    def __init__(self, locations: Iterable[str] = ()) -> None:
        self._sorted = array("Q")
        self._fresh: set[int] = set()
        for location in locations:
            self.add(location)

    def add(self, location: str) -> None:
        """Put a location in, however it is spelled."""
        self._fresh.update(_digest(path) for path in spellings(location))
        if len(self._fresh) >= MERGED_AT:
            self._sorted.extend(self._fresh)
            self._sorted = array("Q", sorted(self._sorted))
            self._fresh = set()

    def __contains__(self, location: str) -> bool:
        """Whether a location was put in (or, very rarely, another one with the same digest)."""
        return any(self._holds(_digest(path)) for path in spellings(location))

    def _holds(self, digest: int) -> bool:
        if digest in self._fresh:
            return True
        index = bisect.bisect_left(self._sorted, digest)
        return index < len(self._sorted) and self._sorted[index] == digest


def _digest(path: str) -> int:
    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest())


def manifests_of(snapshots: Iterable[Snapshot], io: FileIO) -> dict[str, ManifestFile]:
    """Return the manifests of these snapshots by path, each once."""
    return {one.manifest_path: one for snapshot in snapshots for one in snapshot.manifests(io)}


def listed_files(manifests: Iterable[ManifestFile], io: FileIO) -> Iterator[str]:
    """Yield the locations of the live files that these manifests list."""
    for manifest in manifests:
        for entry in manifest.fetch_manifest_entry(io, discard_deleted=True):
            yield entry.data_file.file_path


def metadata_files(table: Table) -> Iterator[str]:
    """Yield the locations of the table's metadata files that are needed: present and logged ones, statistics."""
    metadata = table.metadata
    yield table.metadata_location
    yield f"{table.metadata_location.rpartition('/')[0]}/{VERSION_HINT}"
    yield from (entry.metadata_file for entry in metadata.metadata_log)
    yield from (one.statistics_path for one in (*metadata.statistics, *metadata.partition_statistics))
    yield from manifest_lists(metadata)


def manifest_lists(metadata: TableMetadata) -> Iterator[str]:
    """Yield the locations of the lists of manifests, one a snapshot."""
    yield from (snapshot.manifest_list for snapshot in metadata.snapshots)


def every_reference(table: Table) -> References:
    """Return everything that any snapshot of the table needs."""
    found = References(metadata_files(table))
    manifests = manifests_of(table.metadata.snapshots, table.io)
    for path in manifests:
        found.add(path)
    for path in listed_files(manifests.values(), table.io):
        found.add(path)
    return found
