"""The masks of one stream's columns, applied batch by batch before any lane sees a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from icetap.records.masks.arrow import masked_batch

if TYPE_CHECKING:
    import pyarrow as pa

    from icetap.records.masks import Plan


@dataclass(frozen=True, slots=True)
class Masking:
    """What becomes of batches of one schema; without a plan they stay as they are."""

    plan: Plan | None
    schema: pa.Schema
    """The columns after masking."""

    @classmethod
    def of(cls, plan: Plan | None, schema: pa.Schema) -> Masking:
        """Return the masking for batches of a schema."""
        return cls(plan, schema if plan is None else plan.schema(schema))

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with its masks applied."""
        return batch if self.plan is None else masked_batch(batch, self.plan, self.schema)

    @property
    def names(self) -> frozenset[str]:
        """The columns of which something is masked."""
        return frozenset() if self.plan is None else self.plan.names
