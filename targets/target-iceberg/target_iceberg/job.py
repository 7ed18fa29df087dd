"""What the ways of loading a stream share."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from target_iceberg.loaded_table import LoadedTable
from target_iceberg.run import Counts
from target_iceberg.staging import DirectStage, Spool
from target_iceberg.writer import WriterOptions

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from target_iceberg.run import Run
    from target_iceberg.settings import StreamSettings

LOGGER = logging.getLogger("target-iceberg")

SPOOL_MEMORY_SHARE = 10  # a tenth of the process's memory


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

    def new_stage(self, *, keys: tuple[str, ...] = ()) -> DirectStage:
        """Return a stage whose files may be listed as they are."""
        schema = self.target.schema_stage.schema
        return DirectStage(self.target.table, schema=schema, keys=keys, options=self.options)

    def new_spool(self) -> Spool:
        """Return a place for rows that are to be merged."""
        memory = self.run.memory_limit_mb * 2**20 // SPOOL_MEMORY_SHARE
        return Spool(keys=self.keys, memory_bytes=memory)

    @property
    def options(self) -> WriterOptions:
        """How data files are written."""
        return WriterOptions(
            self.run.run_id, self.settings.target_file_size_mb * 2**20, self.settings.compression
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
