"""What a run is, and what it counts of a stream."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from icetap.errors import StateError
from target_iceberg.tables.memory import MemoryBudget

if TYPE_CHECKING:
    from target_iceberg.positions.states import StateLedger


WAITING_ROWS_SHARE = 5  # of the process's memory; decoding, joins and the program itself need theirs


class MovedDuringReplayError(StateError):
    """The table moved after it was decided which rows of a replay may be loaded."""


@dataclass
class Replay:
    """Refused rows that are loaded again, in the place of a tap.

    It moves no bookmark and commits on exactly the snapshot on which its rows were compared with the table's.
    """

    replay_id: str
    head: int | None
    """That snapshot, then those of its own commits; None for an empty table."""

    def check(self, head: int | None) -> None:
        """Refuse any other head.

        Raises:
            MovedDuringReplayError: When somebody else has committed.
        """
        if head != self.head:
            raise MovedDuringReplayError("the table was written to while refused rows were compared with it")


@dataclass(frozen=True)
class Run:
    """What all streams of a run share."""

    run_id: str
    pipeline: str
    ledger: StateLedger
    memory_limit_mb: int = 512
    replay: Replay | None = None

    @cached_property
    def memory(self) -> MemoryBudget:
        """What the rows that wait may hold, those of all streams together."""
        return MemoryBudget(self.memory_limit_mb * 2**20 // WAITING_ROWS_SHARE)


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
