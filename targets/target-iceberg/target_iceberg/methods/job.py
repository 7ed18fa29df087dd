"""What the ways of loading a stream share."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from icetap.types import TIMESTAMPTZ
from target_iceberg.contracts.metadata import is_time
from target_iceberg.decoding.decode import DELETED_AT
from target_iceberg.methods.staging import ArrangedStage, DirectStage, Spool
from target_iceberg.positions.bookmarks import head_is_open
from target_iceberg.positions.states import same_bookmark
from target_iceberg.run import Counts
from target_iceberg.settings import VALID_FROM, keeps_deleted
from target_iceberg.tables.layout import Layout
from target_iceberg.tables.loaded_table import LoadedTable
from target_iceberg.tables.writer import WriterOptions

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from target_iceberg.methods.distinct_keys import DistinctKeys
    from target_iceberg.run import Run
    from target_iceberg.settings import StreamSettings

LOGGER = logging.getLogger("target-iceberg")

SPOOL_MEMORY_SHARE = 10  # a tenth of the process's memory
ARRANGEMENT_MEMORY_SHARE = 16  # rows are held twice while they are put in order


@dataclass
class Job:
    """One stream that is loaded into one table."""

    name: str
    table: Table
    keys: tuple[str, ...]
    settings: StreamSettings
    run: Run
    counts: Counts = field(default_factory=Counts)
    is_incremental: bool = False
    """Whether the stream has a replication key."""
    is_cut_short: bool = False
    """Whether the input broke off: then its end proves nothing."""
    cursor: str | None = None
    """The table's column of the replication key."""
    load_time: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When the load of the stream began."""
    failure: str | None = None
    """Why the table is not as the input wants it."""

    def __post_init__(self) -> None:
        self.target = LoadedTable(self.table, stream=self.name, run=self.run, counts=self.counts)
        self.known_bookmark = self.target.position.bookmark
        """The bookmark that the table had before this run."""
        self.was_open = head_is_open(self.table.metadata, self.run.pipeline)
        """Whether the table had rows before this run that no bookmark covers."""

    @property
    def goes_by_arrival(self) -> bool:
        """Whether nothing in a row tells which version of its key it is: neither a time nor an order."""
        fields = self.target.schema_stage.columns
        has_times = self.cursor in fields.names and is_time(fields.field(self.cursor).type)
        return self.keeps_history and self.order is None and not has_times

    @property
    def may_repeat_versions(self) -> bool:
        """Whether changes may come again that a history has already: the tap began elsewhere than the table was."""
        start = self.run.ledger.start_of(self.name)
        if not self.goes_by_arrival or not start.is_stated:
            return False
        is_known = self.known_bookmark is not None
        return self.was_open or (is_known and not same_bookmark(start.bookmark, self.known_bookmark))

    def new_stage(
        self, *, keys: tuple[str, ...] = (), splits: bool = False, seen: DistinctKeys | None = None
    ) -> DirectStage:
        """Return a stage whose files may be listed as they are.

        With `keys`, it keeps the newest row of each, and `seen` knows those of the stages before; with `splits`, it
        can be cut in two at a mark.
        """
        schema, table = self.target.schema_stage.schema, self.target.table
        if Layout.of(table).is_plain or not (keys or splits):
            return DirectStage(table, schema=schema, keys=keys, options=self.options, seen=seen)
        memory = self._share(SPOOL_MEMORY_SHARE)
        return ArrangedStage(
            table, schema=schema, keys=keys, options=self.options, memory_bytes=memory, seen=seen
        )

    def new_spool(self, *, keys: tuple[str, ...] | None = None) -> Spool:
        """Return a place for rows that are to be merged, by the stream's keys or by others."""
        memory = self._share(SPOOL_MEMORY_SHARE)
        return Spool(keys=keys or self.keys, memory_bytes=memory, budget=self.run.memory)

    @property
    def keeps_history(self) -> bool:
        """Whether each version of a key is a row."""
        return self.settings.load_method == "history"

    @property
    def keeps_deleted(self) -> bool:
        """Whether deleted rows stay and are marked."""
        return self.settings.delete_mode == "soft" and keeps_deleted(self.settings.load_method, self.keys)

    @property
    def compares_full_reads(self) -> bool:
        """Whether a complete full read changes single rows, rather than replacing all of them."""
        return self.keeps_history or self.keeps_deleted or self.settings.load_method == "snapshot-diff"

    @property
    def delete_columns(self) -> tuple[str, ...]:
        """What must be kept of a row that is a delete."""
        if self.keeps_history:
            return (*self.keys, VALID_FROM)
        return (*self.keys, DELETED_AT) if self.keeps_deleted else self.keys

    @property
    def load_microseconds(self) -> int:
        """When the load of the stream began, since the epoch."""
        return int(pa.scalar(self.load_time, TIMESTAMPTZ).value)

    @property
    def order(self) -> str | None:
        """The replication key's column, where its values have an order but are no times."""
        fields = self.target.schema_stage.columns
        if self.cursor is None or self.cursor not in fields.names:
            return None
        kind = fields.field(self.cursor).type
        ordered = (pa.types.is_integer, pa.types.is_decimal, pa.types.is_floating)
        return self.cursor if any(matches(kind) for matches in ordered) else None

    def _share(self, parts: int) -> int:
        """Return one of so many parts of the process's memory, in bytes."""
        return self.run.memory_limit_mb * 2**20 // parts

    @property
    def options(self) -> WriterOptions:
        """How data files are written."""
        return WriterOptions(
            self.run.run_id,
            self.settings.target_file_size_mb * 2**20,
            self.settings.compression,
            memory_bytes=self._share(ARRANGEMENT_MEMORY_SHARE),
            budget=self.run.memory,
        )

    def warn(self, text: str) -> None:
        """Tell the log and the report what the owner should know."""
        message = f"stream '{self.name}' {text}"
        self.counts.warnings.append(message)
        LOGGER.warning("%s", message)

    def announce(self, text: str) -> None:
        """Tell the report of a change to the table's columns, or of something that was ignored; once."""
        if text not in self.counts.announcements:
            self.counts.announcements.append(text)
