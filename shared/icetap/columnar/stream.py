"""A stream that yields Arrow batches and bookmarks; lanes and STATE are the same for all of them."""

from __future__ import annotations

import abc
import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from singer_sdk import Stream
from singer_sdk.mapper import RemoveRecordTransform, SameRecordTransform
from typing_extensions import override

from icetap.columnar.batches import BatchFolder, batch_root
from icetap.columnar.json_text import without_json_form
from icetap.columnar.lanes import ArrowLane, Lane, MappedLane, RecordLane
from icetap.columnar.lines import record_lines, too_long
from icetap.columnar.masking import Masking
from icetap.columnar.sender import Sender
from icetap.errors import ConfigurationError, DataError
from icetap.records.masks.streams import stream_plan
from icetap.records.personal.unmasked import report, unmasked_personal
from icetap.types import singer_from_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from singer_sdk.helpers.types import Context, Record

    from icetap.tap import IcetapTap


PERSONAL_COLUMNS = "personal_columns"
"""In a bookmark: what `mask_new_personal_columns` has found, by path."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some records, and the stream's bookmark once the target has them and all before them.

    `bookmark` is None where the stream could not go on from here.
    """

    batch: pa.RecordBatch
    bookmark: dict[str, Any] | None


class ColumnarStream(Stream, abc.ABC):
    """Base of streams whose source speaks Arrow.

    A subclass gives `columns` and `pages`; before its first page it sets `version` when the read is a
    full one, and after its last one `is_complete` when that read began at its start.
    """

    version: int | None = None
    is_complete: bool = False

    def __init__(self, tap: IcetapTap, **kwargs: Any) -> None:
        super().__init__(tap, **kwargs)
        self._icetap: IcetapTap = tap
        self.rejected: dict[str, int] = {}
        self.records = 0
        self.masked_names: frozenset[str] = frozenset()
        self.personal: set[str] = set()

    @property
    @abc.abstractmethod
    def columns(self) -> pa.Schema:
        """The columns that are sent, with their exact Arrow types."""

    @property
    def shares_reader(self) -> bool:
        """Whether the tap reads this stream together with others, by `IcetapTap.read_together`."""
        return False

    @abc.abstractmethod
    def pages(self) -> Iterator[Page]:
        """Yield the records in the order of the source; holds one batch at a time."""

    @abc.abstractmethod
    def final_bookmark(self) -> dict[str, Any]:
        """Return the bookmark after the last page."""

    @override
    def get_records(self, context: Context | None) -> Iterable[Record]:
        """Yield what RECORD lines hold, for callers that want dicts (the SDK's own tests)."""
        masking = self.masking(self.columns)
        for page in self.pages():
            for block in record_lines(masking.apply(page.batch), stream=self.name):
                for line in block.to_pybytes().splitlines():
                    yield json.loads(line, parse_float=Decimal)["record"]

    @property
    def masks_by_sample(self) -> bool:
        """Whether rows are needed to say which columns are masked."""
        return self._icetap.masks.new_personal is not None and not self._is_mapped

    def masking(self, schema: pa.Schema, *, sample: pa.RecordBatch | None = None) -> Masking:
        """Return the masks for batches of these columns; what they hide stays out of bookmarks from now on.

        Args:
            schema: The columns.
            sample: Rows of them, in which personal data is looked for; what was found stays in the bookmark, so that
                later runs mask the same columns.
        """
        masks = self._icetap.masks
        if not masks.is_given:
            return Masking.of(None, schema)
        found = unmasked_personal(masks, schema, stream=self.name, sample=sample)
        if self.masks_by_sample:
            report(found, masks, stream=self.name)
            self.personal |= found.keys()
        if masks.new_personal is not None:
            self.personal |= set(self.bookmark().get(PERSONAL_COLUMNS, ()))
        masking = Masking.of(
            stream_plan(self._icetap, self, schema, personal={*found, *self.personal}), schema
        )
        self.masked_names |= masking.names
        return masking

    def report_personal(self, sample: pa.RecordBatch) -> None:
        """Say which columns look personal and have no mask, where nothing else says so."""
        masks = self._icetap.masks
        if masks.is_given and not self.masks_by_sample:
            found = unmasked_personal(masks, sample.schema, stream=self.name, sample=sample)
            # The SCHEMA of a mapped stream is made before its rows are seen: what they tell comes too late for a mask.
            late = (
                {}
                if masks.new_personal is None
                else {
                    path: found.pop(path)
                    for path in found.keys()
                    - unmasked_personal(masks, sample.schema, stream=self.name)
                    - self.personal
                }
            )
            report(found, masks, stream=self.name)
            report(late, masks, stream=self.name, are_masked=False)

    # --- sync -------------------------------------------------------------------------------------

    def emit(self) -> None:
        """Write SCHEMA, the records, their STATEs, and the end marker of a complete full read."""
        sender = Sender(self)
        sender.declare(self.columns)
        pending: dict[str, Any] | None = None
        try:
            with self.get_record_counter() as counter, self.get_sync_timer():
                for page in self.pages():
                    self._icetap.check_interrupted()
                    before = self.records
                    announced = sender.write(page.batch)
                    counter.increment(self.records - before)
                    pending = page.bookmark or pending
                    if announced and pending is not None:
                        self.write_bookmark(pending)
                        pending = None
                sender.finish()
                if pending is not None:
                    self.write_bookmark(pending)
        except BaseException:
            sender.abandon()
            raise
        self._finish()

    def _finish(self) -> None:
        """Mark the end: ACTIVATE_VERSION only after a read that began at its start and ended by itself."""
        if self.version is not None and self.is_complete:
            self.activate_version(has_rows=bool(self.records))
        self.write_bookmark(self.final_bookmark())
        for reason, count in sorted(self.rejected.items()):
            self.logger.warning("Stream %s: %d records left out: %s", self.name, count, reason)

    def activate_version(self, *, has_rows: bool) -> None:
        """Announce that rows of other versions are no longer true; twice when the version has no rows."""
        if self.version is None:
            raise RuntimeError("a stream without a version has none to activate")
        for _ in range(1 if has_rows else 2):
            self._write_activate_version_message(self.version)

    def set_bookmark(self, bookmark: dict[str, Any]) -> None:
        """Let the next STATE have this bookmark of the stream.

        The position of an unfinished read that a mask hides stays out of it: such a read begins again.
        """
        if self._tells_hidden(bookmark):
            self.forget_hidden_position()
            return
        found = {PERSONAL_COLUMNS: sorted(self.personal)} if self.personal else {}
        self.tap_state.setdefault("bookmarks", {})[self.name] = copy.deepcopy({**bookmark, **found})

    def forget_hidden_position(self) -> None:
        """Take the position of a key that is masked by now out of the bookmark of an earlier run: its read begins again.

        Before the first STATE, by which the loader knows that nothing is left out.
        """
        given = self.tap_state.get("bookmarks", {}).get(self.name) or {}
        if self._tells_hidden(given):
            kept = {name: given[name] for name in ("version", PERSONAL_COLUMNS) if name in given}
            self.tap_state["bookmarks"][self.name] = kept

    def _tells_hidden(self, bookmark: Mapping[str, Any]) -> bool:
        position = bookmark.get("position")
        return isinstance(position, Mapping) and not self.hidden_sources.isdisjoint(position)

    @property
    def hidden_sources(self) -> frozenset[str]:
        """The masked columns by the names that the source has for them."""
        return self.masked_names

    def write_bookmark(self, bookmark: dict[str, Any]) -> None:
        """Write a STATE in which this stream's bookmark is the given one."""
        self.set_bookmark(bookmark)
        self._icetap.write_state()

    def bookmark(self) -> dict[str, Any]:
        """Return the bookmark that this run was given, empty when there was none; numbers as Python's."""
        found = self.tap_state.get("bookmarks", {}).get(self.name)
        return _plain_numbers(found) if found else {}

    # --- lanes ------------------------------------------------------------------------------------

    @property
    def _is_mapped(self) -> bool:
        return any(
            not isinstance(stream_map, SameRecordTransform) or stream_map.flattening_enabled
            for stream_map in self.stream_maps
        )

    def new_lane(self, schema: pa.Schema) -> Lane:
        """Choose the lane; the version is known once the first page is there."""
        messages = self._icetap.messages
        folder = self._icetap.batch_folder
        if folder is not None:
            return ArrowLane(messages, folder=folder, stream=self.name, schema=schema, version=self.version)
        if self._is_mapped:
            return MappedLane(messages, maps=self.stream_maps, version=self.version)
        return RecordLane(messages, stream=self.name, version=self.version)

    def write_schema(self, schema: pa.Schema) -> None:
        """Write the SCHEMA message for these columns."""
        if self._is_mapped:
            if self._icetap.batch_folder is not None:
                raise ConfigurationError(
                    f"stream '{self.name}' is changed by 'stream_maps' or flattening, which work on records; "
                    "the Arrow lane ('batch_config') cannot apply them. Remove one of the two settings."
                )
            if self.shares_reader or self.personal:  # what discovery did not know, or the state does of masks
                self._map_anew(schema)
            self._write_schema_message()
            return
        message = {
            "type": "SCHEMA",
            "stream": self.name,
            "schema": singer_from_schema(schema),
            "key_properties": list(self.primary_keys),
        }
        if self.replication_key and self.replication_method == "INCREMENTAL":
            message["bookmark_properties"] = [self.replication_key]
        self._icetap.messages.write_message(message)

    def _map_anew(self, schema: pa.Schema) -> None:
        """Let the stream maps know columns that discovery did not have."""
        self._icetap.mapper.register_raw_stream_schema(
            self.name, singer_from_schema(schema), list(self.primary_keys)
        )
        self._stream_maps = self._icetap.mapper.stream_maps[self.name]

    @override
    def _write_activate_version_message(self, full_table_version: int) -> None:
        for stream_map in self.stream_maps:
            if not isinstance(stream_map, RemoveRecordTransform):
                self._icetap.messages.write_message(
                    {
                        "type": "ACTIVATE_VERSION",
                        "stream": stream_map.stream_alias,
                        "version": full_table_version,
                    }
                )

    # --- what a lane cannot carry -----------------------------------------------------------------

    def sendable(self, batch: pa.RecordBatch, lane: Lane) -> pa.RecordBatch:
        """Refuse, or leave out, records that have no JSON form or whose line would be too long."""
        if isinstance(lane, ArrowLane):
            return batch
        for field, array in zip(batch.schema, batch.columns, strict=True):
            mask = without_json_form(array)
            if mask is not None:
                batch = self.leave_out(
                    batch,
                    mask,
                    reason=f"column '{field.name}' holds NaN or Infinity, which JSON cannot hold",
                    advice="The Arrow lane ('batch_config') keeps them.",
                )
                return self.sendable(batch, lane)
        mask = too_long(batch)
        if mask is None:
            return batch
        return self.leave_out(
            batch,
            mask,
            reason="the record's line is longer than 50 MiB, Meltano's limit",
            advice="The Arrow lane ('batch_config') has no such limit.",
        )

    def leave_out(self, batch: pa.RecordBatch, mask: pa.Array, *, reason: str, advice: str) -> pa.RecordBatch:
        """Return the batch without the rows under the mask, counted, or refuse it, as `on_rejected` says.

        Raises:
            DataError: With `on_rejected: fail`, the default.
        """
        count = pc.sum(mask).as_py()
        if self.config.get("on_rejected", "fail") != "skip":
            raise DataError(
                f"stream '{self.name}': {count} of the last {batch.num_rows} records do not fit: {reason}. "
                f"{advice} Or leave such records out, counted, with 'on_rejected: skip'."
            )
        self.rejected[reason] = self.rejected.get(reason, 0) + count
        return batch.filter(pc.invert(mask))


def open_batch_folder(tap: IcetapTap) -> BatchFolder | None:
    """Return the folder of the Arrow lane when `batch_config` asks for it, swept of dead taps' files."""
    batch_config = tap.config.get("batch_config")
    if not batch_config:
        return None

    def is_reader_gone() -> bool:
        tap.check_interrupted()
        return tap.messages.lines.is_broken()

    folder = BatchFolder(batch_root(batch_config), is_reader_gone=is_reader_gone)
    if swept := folder.sweep():
        tap.logger.info("Deleted %d batch files that earlier runs left behind", swept)
    return folder


def _plain_numbers(value: Any) -> Any:
    """Return a bookmark with doubles for the decimals that keep its digits on the way through."""
    if isinstance(value, Mapping):
        return {key: _plain_numbers(child) for key, child in value.items()}
    return float(value) if isinstance(value, Decimal) else value
