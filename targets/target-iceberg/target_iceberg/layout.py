"""How a table's data files are laid out: its partition spec and its sort order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
from pyiceberg.transforms import UnknownTransform

if TYPE_CHECKING:
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.table import Table
    from pyiceberg.table.sorting import SortOrder


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
