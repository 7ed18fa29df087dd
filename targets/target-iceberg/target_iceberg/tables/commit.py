"""One transaction: schema change, data files and bookmark become visible together, or not at all.

pyiceberg's own commit loop puts a stale append on top of whatever came in between; a merge that was planned on an
older snapshot must not be repeated blindly. So nothing here tries again: a commit whose head has moved raises
`TableMovedError`, and the caller plans anew.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from pyiceberg.table.refs import MAIN_BRANCH
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

from icetap.types import iceberg_schema, schema_from_iceberg
from target_iceberg.tables.change import Change, TableMovedError
from target_iceberg.tables.internals import LoadSnapshot, Staging
from target_iceberg.tables.outcomes import send_commit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pyarrow as pa
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata


__all__ = ["Change", "SchemaStage", "TableMovedError", "commit_change", "new_run_id", "snapshot_summary"]


class SchemaStage:
    """Columns that are planned for a table but not committed yet, with their final field ids."""

    def __init__(self, table: Table) -> None:
        self._base = table.metadata
        self._transaction = Staging(table, autocommit=False)
        self.schema: Schema = table.schema()
        """The table's columns as they will be after the next commit."""
        self.columns: pa.Schema = schema_from_iceberg(self.schema)
        """The same as Arrow fields."""

    @property
    def is_changed(self) -> bool:
        """Whether the next commit changes the table's columns."""
        return bool(self._transaction.updates)

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


def commit_change(table: Table, change: Change, *, stage: SchemaStage) -> int | None:
    """Commit once, on the table's metadata as loaded; `table` is fresh afterwards.

    Returns:
        The id of the new snapshot, or of the head when the change makes none.

    Raises:
        TableMovedError: When the catalog's table is no longer the one that was loaded.
    """
    metadata = table.metadata
    if change.has_snapshot and not change.is_rewound and change.parent != metadata.current_snapshot_id:
        raise TableMovedError("the table has moved since this was planned")
    transaction = Staging(table, autocommit=False)
    schema_updates, schema_requirements = stage.stage(table)
    transaction.stage(schema_updates, schema_requirements)
    producer = LoadSnapshot(transaction, change) if change.has_snapshot else None
    try:
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
    makes_snapshot = snapshot_id is not None and table.metadata.snapshot_by_id(snapshot_id) is None

    def has_landed(fresh: Table) -> bool:
        if makes_snapshot and snapshot_id is not None:
            return fresh.metadata.snapshot_by_id(snapshot_id) is not None
        return bool(properties) and all(
            fresh.properties.get(name) == value for name, value in properties.items()
        )

    if not send_commit(table, updates, requirements, has_landed=has_landed):
        raise TableMovedError("another commit to the table came first")


def new_run_id() -> str:
    """Return the name of this run: 12 hexadecimal digits, in file names and snapshots."""
    return uuid.uuid4().hex[:12]


def snapshot_summary(table: Table, snapshot_id: int | None) -> Mapping[str, Any]:
    """Return a snapshot's summary entries, empty for a snapshot that is no longer known."""
    snapshot = table.metadata.snapshot_by_id(snapshot_id) if snapshot_id is not None else None
    return snapshot.summary.additional_properties if snapshot and snapshot.summary else {}
