"""The way of one stream's batches to the target: SCHEMA messages, and the rows through a lane."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from icetap.columnar.lanes import Lane
    from icetap.columnar.masking import Masking
    from icetap.columnar.stream import ColumnarStream


class Sender:
    """Sends the batches of one stream, in order; holds what its lane holds.

    A new schema, or a new `version` of the stream, begins a new lane: what waited before it is announced first.
    """

    def __init__(self, stream: ColumnarStream) -> None:
        self._stream = stream
        self._schema: pa.Schema | None = None
        self._masking: Masking | None = None
        self._has_rows = False
        self._version: int | None = None
        self._lane: Lane | None = None

    def declare(self, schema: pa.Schema) -> None:
        """Write a SCHEMA, unless the last one was the same.

        Where masks depend on what the columns hold, it waits for the first rows, or for the end.
        """
        if self._schema is not None and schema.equals(self._schema, check_metadata=True):
            return
        self._end_lane()
        self._schema = schema
        self._masking = None
        if not self._stream.masks_by_sample:
            self._mask(None)

    def _mask(self, sample: pa.RecordBatch | None) -> Masking:
        if self._schema is None:
            raise RuntimeError("rows before their SCHEMA")
        self._masking = self._stream.masking(self._schema, sample=sample)
        self._stream.write_schema(self._masking.schema)
        return self._masking

    def write(self, batch: pa.RecordBatch) -> bool:
        """Send rows of the declared schema; say whether all rows so far have been announced."""
        masking = self._masking or self._mask(batch)
        if not self._has_rows:
            self._stream.report_personal(batch)
            self._has_rows = True
        lane = self._lane_for_version(masking)
        sendable = self._stream.sendable(masking.apply(batch), lane)
        self._stream.records += sendable.num_rows
        return lane.write(sendable)

    def finish(self) -> None:
        """Announce what waits."""
        if self._schema is not None and self._masking is None:
            self._mask(None)
        if self._lane is not None:
            self._lane.finish()

    def abandon(self) -> None:
        """Drop what was not announced."""
        if self._lane is not None:
            self._lane.abandon()

    def _lane_for_version(self, masking: Masking) -> Lane:
        if self._lane is not None and self._version != self._stream.version:
            self._end_lane()
        if self._lane is None:
            self._version = self._stream.version
            self._lane = self._stream.new_lane(masking.schema)
        return self._lane

    def _end_lane(self) -> None:
        self.finish()
        self._lane = None
