"""What a run is, and what it counts of a stream."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from target_iceberg.states import StateLedger


@dataclass(frozen=True)
class Run:
    """What all streams of a run share."""

    run_id: str
    pipeline: str
    ledger: StateLedger
    memory_limit_mb: int = 512


@dataclass
class Counts:
    """What the report tells of a stream."""

    read: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    repeated: int = 0
    rejected: int = 0
    input_bytes: int = 0
    commits: int = 0
    files: int = 0
    lossy: dict[str, int] = field(default_factory=dict)
    discarded: Counter[str] = field(default_factory=Counter)
    """Per column of the source: values that its table has no place for, by `schema_policy: discard`."""
    nulled: Counter[str] = field(default_factory=Counter)
    """Per column of the source: values that did not fit and are null in the table."""
    snapshot_id: int | None = None
    announcements: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
