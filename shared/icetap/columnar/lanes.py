"""The ways of a batch to the target: RECORD lines, mapped RECORD lines, or Arrow files."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import override

from icetap.allocator import HEAP
from icetap.columnar.lines import record_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa
    from singer_sdk.mapper import StreamMap

    from icetap.columnar.batches import BatchFile, BatchFolder
    from icetap.columnar.output import MessageWriter


class Lane(Protocol):
    """Takes the batches of one stream, in order."""

    def write(self, batch: pa.RecordBatch) -> bool:
        """Take a batch; say whether everything taken so far has been announced to the target.

        Only then may a STATE follow that counts these rows.
        """

    def finish(self) -> None:
        """Announce what is left."""

    def abandon(self) -> None:
        """Drop what was not announced."""


class RecordLane(Lane):
    """RECORD lines, built column-wise."""

    def __init__(self, messages: MessageWriter, *, stream: str, version: int | None) -> None:
        self._messages = messages
        self._stream = stream
        self._version = version

    @override
    def write(self, batch: pa.RecordBatch) -> bool:
        now = dt.datetime.now(dt.UTC)
        for block in record_lines(batch, stream=self._stream, version=self._version, extracted_at=now):
            self._messages.lines.write_block(block)
            HEAP.passed(block.size)
        return True

    @override
    def finish(self) -> None:
        """Nothing waits in this lane."""

    @override
    def abandon(self) -> None:
        """Nothing waits in this lane."""


class MappedLane(Lane):
    """RECORD lines of a stream that `stream_maps` or flattening change: a dict per row, as in the SDK."""

    def __init__(self, messages: MessageWriter, *, maps: Sequence[StreamMap], version: int | None) -> None:
        self._messages = messages
        self._maps = maps
        self._version = version

    @override
    def write(self, batch: pa.RecordBatch) -> bool:
        now = dt.datetime.now(dt.UTC)
        for line in _lines(record_lines(batch, stream="")):
            record = json.loads(line, parse_float=Decimal)["record"]
            for stream_map in self._maps:
                mapped = stream_map.transform(dict(record))
                if mapped is not None:
                    self._messages.write_message(self._message(stream_map.stream_alias, mapped, now))
        return True

    def _message(self, stream: str, record: dict[str, Any], now: dt.datetime) -> dict[str, Any]:
        version = {} if self._version is None else {"version": self._version}
        return {
            "type": "RECORD",
            "stream": stream,
            "record": record,
            **version,
            "time_extracted": f"{now:%Y-%m-%dT%H:%M:%S.%fZ}",
        }

    @override
    def finish(self) -> None:
        """Nothing waits in this lane."""

    @override
    def abandon(self) -> None:
        """Nothing waits in this lane."""


def _lines(blocks: Iterable[pa.Buffer]) -> Iterable[bytes]:
    for block in blocks:
        yield from block.to_pybytes().splitlines()


class ArrowLane(Lane):
    """Arrow IPC files, announced by BATCH messages once they are whole."""

    def __init__(
        self,
        messages: MessageWriter,
        *,
        folder: BatchFolder,
        stream: str,
        schema: pa.Schema,
        version: int | None,
    ) -> None:
        self._messages = messages
        self._folder = folder
        self._stream = stream
        self._schema = schema
        self._version = version
        self._file: BatchFile | None = None

    @override
    def write(self, batch: pa.RecordBatch) -> bool:
        if self._file is None:
            self._file = self._folder.new_file(self._schema)
        self._file.write(batch)
        if self._file.is_full:
            self.finish()
        return self._file is None

    @override
    def finish(self) -> None:
        if self._file is None:
            return
        file, self._file = self._file, None
        url = file.close()
        version = {} if self._version is None else {"version": self._version}
        message = {
            "type": "BATCH",
            "stream": self._stream,
            "encoding": {"format": "arrow"},
            "manifest": [url],
            **version,
        }
        try:
            self._messages.write_message(message)
        except BaseException:
            file.path.unlink(missing_ok=True)  # nobody will hear of it
            raise

    @override
    def abandon(self) -> None:
        if self._file is not None:
            self._file.discard()
            self._file = None
