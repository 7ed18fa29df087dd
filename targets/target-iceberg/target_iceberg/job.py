"""What the ways of loading a stream share."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from target_iceberg.layout import Layout
from target_iceberg.loaded_table import LoadedTable
from target_iceberg.run import Counts
from target_iceberg.staging import ArrangedStage, DirectStage, Spool
from target_iceberg.writer import WriterOptions

if TYPE_CHECKING:
    from pyiceberg.table import Table

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
    failure: str | None = None
    """Why the table is not as the input wants it."""

    def __post_init__(self) -> None:
        self.target = LoadedTable(self.table, stream=self.name, run=self.run, counts=self.counts)

    def new_stage(self, *, keys: tuple[str, ...] = (), splits: bool = False) -> DirectStage:
        """Return a stage whose files may be listed as they are.

        With `keys`, it keeps the newest row of each; with `splits`, it can be cut in two at a mark.
        """
        schema, table = self.target.schema_stage.schema, self.target.table
        if Layout.of(table).is_plain or not (keys or splits):
            return DirectStage(table, schema=schema, keys=keys, options=self.options)
        memory = self._share(SPOOL_MEMORY_SHARE)
        return ArrangedStage(table, schema=schema, keys=keys, options=self.options, memory_bytes=memory)

    def new_spool(self) -> Spool:
        """Return a place for rows that are to be merged."""
        return Spool(keys=self.keys, memory_bytes=self._share(SPOOL_MEMORY_SHARE))

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
