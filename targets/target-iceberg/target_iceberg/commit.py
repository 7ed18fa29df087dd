"""One transaction: schema change, data files and bookmark become visible together, or not at all.

This is the one module that leans on internals of pyiceberg 0.12 (`_SnapshotProducer`, `Transaction`,
`Catalog.commit_table`). pyiceberg's own commit loop puts a stale append on top of whatever came in
between; a merge that was planned on an older snapshot must not be repeated blindly. So nothing here
tries again: a commit whose head has moved raises `TableMovedError`, and the caller plans anew.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException
from pyiceberg.manifest import DataFileContent, ManifestContent, ManifestEntry, ManifestEntryStatus
from pyiceberg.table import Transaction
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update import (
    AddSchemaUpdate,
    AssertCurrentSchemaId,
    AssertLastAssignedFieldId,
    AssertRefSnapshotId,
    AssertTableUUID,
    SetCurrentSchemaUpdate,
    SetPropertiesUpdate,
    TableRequirement,
    TableUpdate,
)
from pyiceberg.table.update.snapshot import _SnapshotProducer
from typing_extensions import override

from icetap.errors import IcetapError
from icetap.types import iceberg_schema, schema_from_iceberg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pyarrow as pa
    from pyiceberg.manifest import DataFile, ManifestFile
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata


class TableMovedError(IcetapError):
    """Another commit came first: what was planned on the older snapshot is void."""


class SchemaStage:
    """Columns that are planned for a table but not committed yet, with their final field ids."""

    def __init__(self, table: Table) -> None:
        self._base = table.metadata
        self._transaction = Transaction(table, autocommit=False)
        self.schema: Schema = table.schema()
        """The table's columns as they will be after the next commit."""
        self.columns: pa.Schema = schema_from_iceberg(self.schema)
        """The same as Arrow fields."""

    @property
    def is_changed(self) -> bool:
        """Whether the next commit changes the table's columns."""
        return bool(self._transaction._updates)  # noqa: SLF001 - pyiceberg has no public reader

    def widen(self, fields: Iterable[pa.Field]) -> None:
        """Add columns that are new by name, nested ones too, and promote those whose type grew."""
        with self._transaction.update_schema() as update:
            update.union_by_name(iceberg_schema(fields))
        self.schema = self._transaction.table_metadata.schema()
        self.columns = schema_from_iceberg(self.schema)

    def fits(self, table: Table) -> bool:
        """Whether the table still has the columns on which the change was planned."""
        current = table.metadata
        return (
            current.current_schema_id == self._base.current_schema_id
            and current.last_column_id == self._base.last_column_id
        )

    def stage(self, table: Table) -> tuple[tuple[TableUpdate, ...], tuple[TableRequirement, ...]]:
        """Return the schema change for the table's present metadata.

        Raises:
            TableMovedError: When another writer has changed the columns meanwhile: the field ids in
                files that are written already would be wrong.
        """
        if not self.is_changed:
            return (), ()
        current = table.metadata
        if not self.fits(table):
            raise TableMovedError("another writer changed the table's columns during this load")
        return (
            (AddSchemaUpdate(schema=self.schema), SetCurrentSchemaUpdate.model_validate({"schema-id": -1})),
            (
                AssertCurrentSchemaId.model_validate({"current-schema-id": current.current_schema_id}),
                AssertLastAssignedFieldId.model_validate({"last-assigned-field-id": current.last_column_id}),
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Change:
    """What one commit does to a table.

    Attributes:
        added: Data files to list, all of the table's present partition spec.
        removed: Paths of data files that leave the table.
        parent: The snapshot to build on: the head, an older one (a rewind), or None for an empty table.
        replaces_all: Nothing of the parent's content stays.
        summary: Entries for the snapshot's summary.
        properties: Table properties as a function of the new snapshot's id and sequence number
            (those of the head when no snapshot is made).
        has_snapshot: False for a change of properties or columns alone.
    """

    added: Sequence[DataFile] = ()
    removed: frozenset[str] = frozenset()
    parent: int | None = None
    replaces_all: bool = False
    summary: Mapping[str, str] = field(default_factory=dict)
    properties: Callable[[int | None, int], Mapping[str, str]]
    has_snapshot: bool = True


class _LoadSnapshot(_SnapshotProducer["_LoadSnapshot"]):
    """A snapshot with exactly the files of a `Change`, on exactly the parent that it names."""

    def __init__(self, transaction: Transaction, change: Change) -> None:
        operation = Operation.OVERWRITE if change.removed or change.replaces_all else Operation.APPEND
        io = transaction._table.io  # noqa: SLF001 - pyiceberg has no public reader
        super().__init__(operation, transaction, io, snapshot_properties=dict(change.summary))
        self._parent_snapshot_id = change.parent
        self._change = change
        self._kept: list[ManifestFile] = []
        self._dropped: list[ManifestEntry] = []
        for data_file in change.added:
            self.append_data_file(data_file)
        self._plan()

    def _plan(self) -> None:
        """Sort the parent's manifests into those that stay, are rewritten, or go."""
        if self._parent_snapshot_id is None:
            return
        parent = self._transaction.table_metadata.snapshot_by_id(self._parent_snapshot_id)
        for manifest in parent.manifests(io=self._io) if parent else []:
            if self._change.replaces_all:
                self._drop(manifest.fetch_manifest_entry(self._io, discard_deleted=True))
            elif manifest.content != ManifestContent.DATA or not self._change.removed:
                self._kept.append(manifest)
            else:
                self._split(manifest)

    def _split(self, manifest: ManifestFile) -> None:
        entries = manifest.fetch_manifest_entry(self._io, discard_deleted=True)
        gone = [entry for entry in entries if entry.data_file.file_path in self._change.removed]
        if not gone:
            if entries:
                self._kept.append(manifest)
            return
        self._drop(gone)
        staying = [entry for entry in entries if entry.data_file.file_path not in self._change.removed]
        if staying:
            with self.new_manifest_writer(self.spec(manifest.partition_spec_id)) as writer:
                for entry in staying:
                    writer.add_entry(_with_status(entry, ManifestEntryStatus.EXISTING, entry.snapshot_id))
            self._kept.append(writer.to_manifest_file())

    def _drop(self, entries: Iterable[ManifestEntry]) -> None:
        for entry in entries:
            self._deleted_data_files.add(entry.data_file)
            # A dropped delete file is simply not listed again; only data files leave a trace.
            if entry.data_file.content == DataFileContent.DATA:
                self._dropped.append(_with_status(entry, ManifestEntryStatus.DELETED, self._snapshot_id))

    @override
    def _existing_manifests(self) -> list[ManifestFile]:
        return self._kept

    @override
    def _deleted_entries(self) -> list[ManifestEntry]:
        return self._dropped

    @override
    def _build_delete_files_partition_predicate(self) -> None:
        """Not needed: manifests were sorted by path, not by predicate."""

    def updates(self) -> tuple[tuple[TableUpdate, ...], tuple[TableRequirement, ...]]:
        """Write the manifests and return what the catalog has to apply."""
        return self._commit()

    def discard(self) -> None:
        """Delete the manifests of a commit that did not happen."""
        self._clean_all_uncommitted()


def _with_status(entry: ManifestEntry, status: ManifestEntryStatus, snapshot_id: int | None) -> ManifestEntry:
    return ManifestEntry.from_args(
        status=status,
        snapshot_id=snapshot_id,
        sequence_number=entry.sequence_number,
        file_sequence_number=entry.file_sequence_number,
        data_file=entry.data_file,
    )


def commit_change(table: Table, change: Change, *, stage: SchemaStage) -> int | None:
    """Commit once, on the table's metadata as loaded; `table` is fresh afterwards.

    Returns:
        The id of the new snapshot, or of the head when the change makes none.

    Raises:
        TableMovedError: When the catalog's table is no longer the one that was loaded.
    """
    transaction = Transaction(table, autocommit=False)
    schema_updates, schema_requirements = stage.stage(table)
    transaction._stage(schema_updates, schema_requirements)  # noqa: SLF001
    metadata = table.metadata
    producer = _LoadSnapshot(transaction, change) if change.has_snapshot else None
    if producer:
        updates, requirements = producer.updates()
        snapshot_id: int | None = producer.snapshot_id
        sequence_number = metadata.next_sequence_number()
    else:
        updates, requirements = (), (_head_is(metadata),)
        snapshot_id, sequence_number = metadata.current_snapshot_id, metadata.next_sequence_number() - 1
    properties = dict(change.properties(snapshot_id, sequence_number))
    if properties:
        updates = (*updates, SetPropertiesUpdate(updates=properties))
    everything = (*schema_updates, *updates)
    if not everything:
        return snapshot_id
    requirements = (AssertTableUUID(uuid=metadata.table_uuid), *schema_requirements, *requirements)
    try:
        _apply(table, everything, requirements, properties=properties, snapshot_id=snapshot_id)
    except TableMovedError:
        if producer:
            producer.discard()
        raise
    return snapshot_id


def _head_is(metadata: TableMetadata) -> AssertRefSnapshotId:
    return AssertRefSnapshotId.model_validate(
        {"ref": MAIN_BRANCH, "snapshot-id": metadata.current_snapshot_id}
    )


def _apply(
    table: Table,
    updates: tuple[TableUpdate, ...],
    requirements: tuple[TableRequirement, ...],
    *,
    properties: Mapping[str, str],
    snapshot_id: int | None,
) -> None:
    try:
        table._do_commit(updates, requirements)  # noqa: SLF001 - the public way tries again by itself
    except CommitFailedException as error:
        table.refresh()
        raise TableMovedError("another commit to the table came first") from error
    except (CommitStateUnknownException, ConnectionError, TimeoutError):
        # The answer was lost, not necessarily the commit: the table itself knows.
        table.refresh()
        landed = table.metadata.snapshot_by_id(snapshot_id) if snapshot_id is not None else None
        same = all(table.properties.get(name) == value for name, value in properties.items())
        if landed is None or not same:
            raise


def new_run_id() -> str:
    """Return the name of this run: 12 hexadecimal digits, in file names and snapshots."""
    return uuid.uuid4().hex[:12]


def snapshot_summary(table: Table, snapshot_id: int | None) -> Mapping[str, Any]:
    """Return a snapshot's summary entries, empty for a snapshot that is no longer known."""
    snapshot = table.metadata.snapshot_by_id(snapshot_id) if snapshot_id is not None else None
    return snapshot.summary.additional_properties if snapshot and snapshot.summary else {}
