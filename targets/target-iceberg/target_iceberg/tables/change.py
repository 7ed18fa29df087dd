"""What one commit does to a table, said before it is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyiceberg.table.snapshots import Operation

from icetap.errors import IcetapError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pyiceberg.manifest import DataFile


class TableMovedError(IcetapError):
    """Another commit came first: what was planned on the older snapshot is void."""


def _no_properties(_snapshot_id: int | None, _sequence_number: int) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Change:
    """What one commit does to a table: files that come, files that leave, and what is said of it.

    A delete file that applies to one data file only leaves with it, named or not. One that applies to a whole
    partition stays until it is named, or until every data file is younger.

    Attributes:
        added: Data files to list, each with its `partition` and, assigned after it was made, its `spec_id`: any
            spec of the table; none means the present one.
        added_deletes: Position delete files to list, likewise.
        removed: Paths of data files that leave the table; `parent` must list each of them.
        removed_deletes: Paths of delete files that leave the table; `parent` must list each of them.
        parent: The snapshot to build on: the head that the plan was made on; None for an empty table.
        is_rewound: `parent` is an older snapshot, to which the table goes back; what came after is not kept.
        replaces_all: Nothing of the parent's content stays.
        operation: What the snapshot calls itself; None: append, overwrite or delete, by the files. A compaction,
            which changes no row, says `Operation.REPLACE`.
        sequence_number: The data sequence number of the data files added; None: the new snapshot's. A compaction
            gives that of the snapshot it has read (`Snapshot.sequence_number`), so that an equality delete which
            came meanwhile still meets the rewritten rows.
        summary: Entries for the snapshot's summary.
        properties: Table properties as a function of the new snapshot's id and sequence number
            (those of the head when no snapshot is made).
        has_snapshot: False for a change of properties or columns alone.
        merges_manifests: Small manifests of the parent are written together as few larger ones.
    """

    added: Sequence[DataFile] = ()
    added_deletes: Sequence[DataFile] = ()
    removed: frozenset[str] = frozenset()
    removed_deletes: frozenset[str] = frozenset()
    parent: int | None = None
    is_rewound: bool = False
    replaces_all: bool = False
    operation: Operation | None = None
    sequence_number: int | None = None
    summary: Mapping[str, str] = field(default_factory=dict)
    properties: Callable[[int | None, int], Mapping[str, str]] = _no_properties
    has_snapshot: bool = True
    merges_manifests: bool = False

    @property
    def kind(self) -> Operation:
        """The snapshot's operation."""
        if self.operation is not None:
            return self.operation
        if self.added_deletes and not self.added and not self.removed:
            return Operation.DELETE
        takes_away = self.removed or self.removed_deletes or self.added_deletes or self.replaces_all
        return Operation.OVERWRITE if takes_away else Operation.APPEND
