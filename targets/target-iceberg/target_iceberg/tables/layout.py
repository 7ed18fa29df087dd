"""How a table's data files are laid out: its partition spec and its sort order, and changes to them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyiceberg.partitioning import (
    PARTITION_FIELD_ID_START,
    PartitionField,
    PartitionSpec,
)
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER, SortDirection, SortField, SortOrder
from pyiceberg.table.update import AssertCurrentSchemaId, AssertTableUUID
from pyiceberg.transforms import (
    BucketTransform,
    IdentityTransform,
    TruncateTransform,
    UnknownTransform,
    VoidTransform,
)

from target_iceberg.positions.boundary import NAMES
from target_iceberg.tables.commit import Change, TableMovedError
from target_iceberg.tables.internals import Staging
from target_iceberg.tables.layout_terms import Columns, describe, partition_terms, sort_terms
from target_iceberg.tables.outcomes import send_commit
from target_iceberg.tables.partitions import Partitioner
from target_iceberg.tables.retrying import until_settled

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from pyiceberg.schema import Schema
    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.update import TableRequirement, TableUpdate
    from pyiceberg.transforms import Transform

    from target_iceberg.tables.layout_terms import PartitionTerm, SortTerm
    from target_iceberg.tables.loaded_table import LoadedTable


@dataclass(frozen=True)
class Layout:
    """What new data files of a table follow."""

    spec: PartitionSpec
    order: SortOrder

    @classmethod
    def of(cls, table: Table) -> Layout:
        """Return the table's present layout; an order that this loader cannot follow counts as none."""
        order = table.sort_order()
        if any(isinstance(field.transform, UnknownTransform) for field in order.fields):
            order = UNSORTED_SORT_ORDER
        return cls(table.spec(), order)

    @property
    def is_plain(self) -> bool:
        """Whether rows are written in the order in which they come."""
        return not self.spec.fields and not self.order.fields


@dataclass(frozen=True)
class LayoutWish:
    """What the settings ask of a stream's table; None leaves the table what it has."""

    partition_by: tuple[str, ...] | None = None
    sort_by: tuple[str, ...] | None = None
    properties: Mapping[str, str] | None = None

    def of_new_table(self, columns: Columns) -> tuple[PartitionSpec, SortOrder]:
        """Return the layout of a table that is made with these columns.

        Raises:
            ConfigurationError: When an entry does not fit them.
        """
        numbers = itertools.count(PARTITION_FIELD_ID_START)
        terms = partition_terms(self.partition_by or (), columns)
        names = _partition_names(terms, columns.schema, taken=())
        fields = [
            PartitionField(term.source_id, next(numbers), term.transform, name)
            for term, name in zip(terms, names, strict=True)
        ]
        order = _sort_fields(sort_terms(self.sort_by or (), columns))
        return PartitionSpec(*fields), SortOrder(*order) if order else UNSORTED_SORT_ORDER


@dataclass(frozen=True)
class LayoutChange:
    """What has to be told to the catalog for a table to follow the settings."""

    updates: tuple[TableUpdate, ...]
    requirements: tuple[TableRequirement, ...]
    announcements: tuple[str, ...]


def plan_change(table: Table, wish: LayoutWish, columns: Columns) -> LayoutChange | None:
    """Return what to change for the table, as it was last loaded, to follow the settings; None for nothing.

    Files that are there already stay as they are, in any case. Only settings are compared, not the order of the
    partition fields among each other.

    Raises:
        ConfigurationError: When an entry does not fit the table's columns.
    """
    transaction = Staging(table, autocommit=False)
    said: list[str] = []
    if wish.partition_by is not None:
        said += _evolve_spec(transaction, table, partition_terms(wish.partition_by, columns))
    if wish.sort_by is not None:
        said += _evolve_order(transaction, table, sort_terms(wish.sort_by, columns))
    changed = {
        name: value for name, value in (wish.properties or {}).items() if table.properties.get(name) != value
    }
    if changed:
        transaction.set_properties(changed)
        said.append(f"table properties set: {', '.join(sorted(changed))}")
    updates = transaction.updates
    if not updates:
        return None
    metadata = table.metadata
    own = (
        AssertTableUUID(uuid=metadata.table_uuid),
        AssertCurrentSchemaId.model_validate({"current-schema-id": metadata.current_schema_id}),
    )
    asked = tuple(one for one in transaction.requirements if one not in own)
    return LayoutChange(updates, (*own, *asked), tuple(said))


def follow_settings(
    target: LoadedTable,
    wish: LayoutWish,
    *,
    mapping: Mapping[str, str],
    stream: str,
    announce: Callable[[str], None],
) -> None:
    """Bring a table's layout and properties to what the settings ask, in a commit of its own without rows.

    Another writer may commit at the same time: rows that it has staged by the former layout stay valid, since
    each data file names the spec by which it was written.

    Raises:
        ConfigurationError: When the settings do not fit the stream's columns.
        DataError: When the table is partitioned in a way that this loader does not know.
        StateError: When other writers commit each time.
    """
    coming = Columns(target.schema_stage.schema, mapping=mapping, stream=stream)
    wanted = {term.source_id for term in partition_terms(wish.partition_by or (), coming)}
    wanted |= {term.source_id for term in sort_terms(wish.sort_by or (), coming)}
    if any(target.table.schema().find_column_name(one) is None for one in wanted):
        # A layout can only name columns that the table has: they come first, and without rows.
        names = {NAMES: target.names}
        target.commit(lambda: Change(has_snapshot=False, properties=lambda *_: names))

    def plan(table: Table) -> LayoutChange | None:
        return plan_change(table, wish, Columns(table.schema(), mapping=mapping, stream=stream))

    def commit() -> None:
        change = plan(target.table)
        if change is None:
            return
        landed = send_commit(
            target.table, change.updates, change.requirements, has_landed=lambda fresh: plan(fresh) is None
        )
        if not landed:
            raise TableMovedError("another commit to the table came first")
        for text in change.announcements:
            announce(text)

    if plan(target.table) is not None:
        until_settled(target.table, commit)
        target.refresh()
    Partitioner(target.table.spec(), target.table.schema())  # refuses what it cannot compute


def _evolve_spec(transaction: Transaction, table: Table, terms: Sequence[PartitionTerm]) -> Iterator[str]:
    live = [field for field in table.spec().fields if not isinstance(field.transform, VoidTransform)]
    present = {(field.source_id, str(field.transform)) for field in live}
    voids = {(field.source_id, str(field.transform)) for field in table.spec().fields if field not in live}
    wanted = {(term.source_id, str(term.transform)) for term in terms}
    if wanted - voids == present:
        return
    added = [term for term in terms if (term.source_id, str(term.transform)) not in present | voids]
    kept = [field.name for field in table.spec().fields if (field.source_id, str(field.transform)) in wanted]
    with transaction.update_spec() as update:
        for field in live:
            if (field.source_id, str(field.transform)) not in wanted:
                update.remove_field(field.name)
        for term, name in zip(added, _partition_names(added, table.schema(), taken=kept), strict=True):
            update.add_field(term.column, term.transform, _earlier_name(table, term) or name)
    by = ", ".join(map(str, terms))
    yield (f"new files are partitioned by {by}" if by else "new files are not partitioned") + _BUT_OLD


_BUT_OLD = "; files that are there already stay as they are"


def _earlier_name(table: Table, term: PartitionTerm) -> str | None:
    """Return the name of the same field in an earlier spec: it gets its number back then."""
    for spec in table.specs().values():
        for field in spec.fields:
            if field.source_id == term.source_id and field.transform == term.transform:
                return field.name
    return None


def _evolve_order(transaction: Transaction, table: Table, terms: Sequence[SortTerm]) -> Iterator[str]:
    fields = _sort_fields(terms)
    if fields == list(table.sort_order().fields):
        return
    with transaction.update_sort_order() as update:
        for field, term in zip(fields, terms, strict=True):
            add = update.asc if field.direction == SortDirection.ASC else update.desc
            add(term.column, field.transform, field.null_order)
    by = ", ".join(map(str, terms))
    yield (f"new files are sorted by {by}" if by else "new files are not sorted") + _BUT_OLD


def _sort_fields(terms: Sequence[SortTerm]) -> list[SortField]:
    return [
        SortField(
            source_id=term.source_id,
            transform=IdentityTransform(),
            direction=term.direction,
            null_order=term.null_order,
        )
        for term in terms
    ]


def _partition_names(terms: Sequence[PartitionTerm], schema: Schema, *, taken: Collection[str]) -> list[str]:
    """Return names for partition fields, as Iceberg's own writers choose them, where those are free."""
    used = {field.name: field.field_id for field in schema.fields}
    names: list[str] = []
    for term in terms:
        base = name = f"{term.column}{_suffix(term.transform)}"
        number = 1
        while (
            name in taken
            or name in names
            or used.get(name, term.source_id) != term.source_id
            or (name in used and not isinstance(term.transform, IdentityTransform))
        ):
            number += 1
            name = f"{base}_{number}"
        names.append(name)
    return names


def _suffix(transform: Transform[Any, Any]) -> str:
    match transform:
        case IdentityTransform():
            return ""
        case BucketTransform():
            return f"_bucket_{transform.num_buckets}"
        case TruncateTransform():
            return f"_trunc_{transform.width}"
        case VoidTransform():
            return "_null"
    return f"_{transform}"


def described(spec: PartitionSpec, schema: Schema) -> str:
    """Return a partition spec as `partition_by` writes it."""
    return ", ".join(
        describe(field.transform, schema.find_column_name(field.source_id) or f"field {field.source_id}")
        for field in spec.fields
    )
