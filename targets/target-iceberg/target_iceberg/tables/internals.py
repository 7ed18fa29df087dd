"""What is used of pyiceberg beyond its public interface, all of it: nothing else in the loader touches it.

pyiceberg 0.12 writes no delete files, has one partition spec in a commit, and puts a stale append on top of
whatever came in between. `LoadSnapshot` overrides its producer of snapshots, from which the rest follows. A test
compares with what is relied upon here; it fails when a version of pyiceberg changes that.
"""

from __future__ import annotations

from collections import defaultdict
from types import MappingProxyType
from typing import TYPE_CHECKING

from pyiceberg.manifest import (
    DataFileContent,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestWriterV2,
)
from pyiceberg.table import TableProperties, Transaction
from pyiceberg.table.snapshots import (
    Operation,
    SnapshotSummaryCollector,
    Summary,
    update_snapshot_summaries,
)
from pyiceberg.table.update.snapshot import _SnapshotProducer
from typing_extensions import override

from target_iceberg.tables.change import TableMovedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pyiceberg.manifest import DataFile, ManifestFile, ManifestWriter
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.update import TableRequirement, TableUpdate

    from target_iceberg.tables.change import Change

MANIFEST_BYTES = 2 * 2**20
"""Size of manifests that are merged: some ten thousand files, whose statistics fit in memory."""

FEWEST_MANIFESTS = 32
"""So many small manifests are merged, where the table property `commit.manifest.min-count-to-merge` is not set."""

PATH_ID = 2147483546
"""The field id that the Iceberg specification reserves for the path in position delete files."""


class Staging(Transaction):
    """A transaction that works its metadata out once a change: pyiceberg copies all of it at every look."""

    _worked_out: tuple[int, TableMetadata, TableMetadata] | None = None

    @property
    @override
    def table_metadata(self) -> TableMetadata:
        base, changes = self._table.metadata, len(self._updates)
        if not changes:
            return base
        if self._worked_out is None or self._worked_out[0] != changes or self._worked_out[1] is not base:
            self._worked_out = (changes, base, super().table_metadata)
        return self._worked_out[2]

    @property
    def updates(self) -> tuple[TableUpdate, ...]:
        """What was staged so far."""
        return self._updates

    @property
    def requirements(self) -> tuple[TableRequirement, ...]:
        """What must hold for it."""
        return self._requirements

    def stage(self, updates: tuple[TableUpdate, ...], requirements: tuple[TableRequirement, ...]) -> None:
        """Stage changes; the catalog hears nothing of them."""
        self._stage(updates, requirements)


def send_once(
    table: Table, updates: tuple[TableUpdate, ...], requirements: tuple[TableRequirement, ...]
) -> None:
    """Commit once, without pyiceberg's own repetition; `table` is fresh afterwards.

    Raises:
        CommitFailedException: When a requirement does not hold.
    """
    table._do_commit(updates, requirements)  # noqa: SLF001 - the public way tries again by itself


class _DeleteManifestWriter(ManifestWriterV2):
    """Writes a manifest of delete files, which pyiceberg reads but does not write."""

    @override
    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    @override
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


class LoadSnapshot(_SnapshotProducer["LoadSnapshot"]):
    """A snapshot with exactly the files of a `Change`, on exactly the parent that it names."""

    def __init__(self, transaction: Transaction, change: Change) -> None:
        io = transaction._table.io  # noqa: SLF001 - pyiceberg has no public reader
        super().__init__(change.kind, transaction, io, snapshot_properties=dict(change.summary))
        self._parent_snapshot_id = change.parent
        self._change = change
        self._dropped: list[DataFile] = []

    @override
    def _manifests(self) -> list[ManifestFile]:
        """Return the new snapshot's manifests: what comes, what was cut, what stays."""
        added = self._added(ManifestContent.DATA, self._change.added)
        deletes = self._added(ManifestContent.DELETES, self._change.added_deletes)
        return [*added, *deletes, *self._existing_manifests()]

    def _added(self, content: ManifestContent, files: Sequence[DataFile]) -> list[ManifestFile]:
        """Write one manifest for the files of each partition spec."""
        number = self._change.sequence_number if content == ManifestContent.DATA else None
        by_spec: dict[int, list[ManifestEntry]] = defaultdict(list)
        for data_file in files:
            entry = ManifestEntry.from_args(
                status=ManifestEntryStatus.ADDED,
                snapshot_id=self._snapshot_id,
                sequence_number=number,
                file_sequence_number=None,
                data_file=data_file,
            )
            by_spec[self._spec_id_of(data_file)].append(entry)
        return [self._write(content, spec_id, entries) for spec_id, entries in by_spec.items()]

    def _spec_id_of(self, data_file: DataFile) -> int:
        """Return the file's partition spec; a file made by `DataFile.from_args` has none until one is set."""
        default = self._transaction.table_metadata.default_spec_id
        return int(getattr(data_file, "_spec_id", default))

    @override
    def _existing_manifests(self) -> list[ManifestFile]:
        if self._parent_snapshot_id is None:
            return []
        parent = self._transaction.table_metadata.snapshot_by_id(self._parent_snapshot_id)
        if parent is None:
            raise TableMovedError(f"the table does not know snapshot {self._parent_snapshot_id} any more")
        manifests = [one for one in parent.manifests(io=self._io) if _lists_files(one)]
        of_deletes = [one for one in manifests if one.content == ManifestContent.DELETES]
        kept = [
            self._cut(one) if self._change.removed or self._change.replaces_all else one
            for one in manifests
            if one.content == ManifestContent.DATA
        ]
        kept += self._delete_manifests(of_deletes, oldest=self._oldest(kept))
        self._check_dropped()
        return self._merged(kept)

    def _merged(self, manifests: Sequence[ManifestFile]) -> list[ManifestFile]:
        """Write small manifests of one spec and content together; one of them is in memory at a time."""
        merged: list[ManifestFile] = []
        small: dict[tuple[ManifestContent, int], list[ManifestFile]] = defaultdict(list)
        for one in manifests:
            is_small = (
                one.manifest_length < MANIFEST_BYTES // 2 and one.added_snapshot_id != self._snapshot_id
            )
            (small[one.content, one.partition_spec_id] if is_small else merged).append(one)
        for group in small.values():
            joined = group if self._change.merges_manifests else self._worth_merging(group)
            merged += [self._together(part) for part in _parts(joined)]
            merged += group[len(joined) :]
        return merged

    def _worth_merging(self, group: Sequence[ManifestFile]) -> Sequence[ManifestFile]:
        """Return the newest manifests to merge, none while there are few.

        To those of single commits comes the next older one as long as it lists no more than all of them: so
        an entry is written again only a few times, however many commits there are.
        """
        properties = self._transaction.table_metadata.properties
        fewest = int(properties.get(TableProperties.MANIFEST_MIN_MERGE_COUNT, FEWEST_MANIFESTS))
        is_wanted = properties.get(TableProperties.MANIFEST_MERGE_ENABLED, "true").lower() != "false"
        if not is_wanted or len(group) < max(fewest, 2):
            return ()
        count, entries = 0, 0
        for one in group:
            if count >= fewest // 2 and _files_in(one) > entries:
                break
            count, entries = count + 1, entries + _files_in(one)
        return group[:count]

    def _together(self, group: Sequence[ManifestFile]) -> ManifestFile:
        if len(group) == 1:
            return group[0]
        entries = (
            _with_status(entry, ManifestEntryStatus.EXISTING, entry.snapshot_id)
            for one in group
            for entry in one.fetch_manifest_entry(self._io, discard_deleted=True)
        )
        return self._write(group[0].content, group[0].partition_spec_id, entries)

    def _delete_manifests(self, manifests: Sequence[ManifestFile], *, oldest: int) -> list[ManifestFile]:
        """Return the manifests of delete files, without those that leave or are older than every data file."""
        change = self._change
        leaves = bool(change.removed or change.removed_deletes or change.replaces_all)
        return [
            self._cut(one, oldest=oldest) if leaves or one.min_sequence_number < oldest else one
            for one in manifests
        ]

    def _oldest(self, manifests: Iterable[ManifestFile]) -> int:
        """Return the smallest data sequence number that a data file of the new snapshot has."""
        stays = (one.min_sequence_number for one in manifests if _lists_files(one))
        return min(stays, default=self._transaction.table_metadata.next_sequence_number())

    def _cut(self, manifest: ManifestFile, *, oldest: int = 0) -> ManifestFile:
        """Return the manifest without the files that leave: itself when none does."""
        entries = manifest.fetch_manifest_entry(self._io, discard_deleted=True)
        leaving = [self._leaves(entry, oldest=oldest) for entry in entries]
        if not any(leaving):
            return manifest
        written = []
        for entry, leaves in zip(entries, leaving, strict=True):
            if leaves:
                self._dropped.append(entry.data_file)
                written.append(_with_status(entry, ManifestEntryStatus.DELETED, self._snapshot_id))
            else:
                written.append(_with_status(entry, ManifestEntryStatus.EXISTING, entry.snapshot_id))
        return self._write(manifest.content, manifest.partition_spec_id, written)

    def _leaves(self, entry: ManifestEntry, *, oldest: int) -> bool:
        data_file, change = entry.data_file, self._change
        if change.replaces_all:
            return True
        if data_file.content == DataFileContent.DATA:
            return data_file.file_path in change.removed
        return (
            data_file.file_path in change.removed_deletes
            or referenced_data_file(data_file) in change.removed
            or (entry.sequence_number or 0) < oldest
        )

    def _check_dropped(self) -> None:
        listed = {data_file.file_path for data_file in self._dropped}
        missing = (self._change.removed | self._change.removed_deletes) - listed
        if missing and not self._change.replaces_all:
            raise TableMovedError(
                f"the table does not list {min(missing)} any more, which was to be replaced"
            )

    def _write(
        self, content: ManifestContent, spec_id: int, entries: Iterable[ManifestEntry]
    ) -> ManifestFile:
        spec = self.spec(spec_id)
        if content == ManifestContent.DELETES:
            place = self.new_manifest_output()
            writer: ManifestWriter = _DeleteManifestWriter(
                spec, self.schema(), place, self._snapshot_id, self._compression
            )
        else:
            writer = self.new_manifest_writer(spec)
        with writer:
            for entry in entries:
                writer.add_entry(entry)
        return writer.to_manifest_file()

    @override
    def _summary(self, snapshot_properties: Mapping[str, str] = MappingProxyType({})) -> Summary:
        """Count what came and went; pyiceberg counts neither delete files nor files of older specs rightly."""
        metadata = self._transaction.table_metadata
        limit = int(metadata.properties.get(TableProperties.WRITE_PARTITION_SUMMARY_LIMIT, 0))
        collector = SnapshotSummaryCollector(partition_summary_limit=limit)
        specs, schema = metadata.specs(), self.schema()
        for one in (*self._change.added, *self._change.added_deletes):
            collector.add_file(one, schema=schema, partition_spec=specs[self._spec_id_of(one)])
        for one in self._dropped:
            collector.remove_file(one, schema=schema, partition_spec=specs[self._spec_id_of(one)])
        entries = {**collector.build(), **snapshot_properties}
        parent = metadata.snapshot_by_id(self._parent_snapshot_id) if self._parent_snapshot_id else None
        # pyiceberg adds the totals, though not for every operation there is.
        totals = update_snapshot_summaries(
            Summary(operation=Operation.OVERWRITE, **entries), parent.summary if parent else None
        )
        return Summary(operation=self._operation, **totals.additional_properties)

    @override
    def _deleted_entries(self) -> list[ManifestEntry]:
        return []  # they stand in the manifests that were cut

    def updates(self) -> tuple[tuple[TableUpdate, ...], tuple[TableRequirement, ...]]:
        """Write the manifests and return what the catalog has to apply."""
        return self._commit()

    def discard(self) -> None:
        """Delete the manifests of a commit that did not happen."""
        self._clean_all_uncommitted()


def referenced_data_file(delete_file: DataFile) -> str | None:
    """Return the path of the one data file that a position delete file applies to; None for several."""
    low, high = (
        (bounds or {}).get(PATH_ID) for bounds in (delete_file.lower_bounds, delete_file.upper_bounds)
    )
    return low.decode() if low is not None and low == high else None


def _files_in(manifest: ManifestFile) -> int:
    return (manifest.added_files_count or 0) + (manifest.existing_files_count or 0)


def _lists_files(manifest: ManifestFile) -> bool:
    """Whether a manifest lists files that are there, not only ones that left with its snapshot."""
    return manifest.has_added_files() or manifest.has_existing_files()


def _parts(manifests: Sequence[ManifestFile]) -> Iterator[list[ManifestFile]]:
    """Cut manifests into parts, each of which makes one of about `MANIFEST_BYTES`."""
    part: list[ManifestFile] = []
    for one in manifests:
        part.append(one)
        if sum(each.manifest_length for each in part) >= MANIFEST_BYTES:
            yield part
            part = []
    if part:
        yield part


def _with_status(entry: ManifestEntry, status: ManifestEntryStatus, snapshot_id: int | None) -> ManifestEntry:
    return ManifestEntry.from_args(
        status=status,
        snapshot_id=snapshot_id,
        sequence_number=entry.sequence_number,
        file_sequence_number=entry.file_sequence_number,
        data_file=entry.data_file,
    )
