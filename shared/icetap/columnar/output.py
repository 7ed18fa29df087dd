"""Standard output as the Singer channel: whole lines, buffered, flushed at each STATE."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import simplejson  # type: ignore[import-untyped]
from singer_sdk.singerlib.encoding.base import GenericSingerWriter
from typing_extensions import override

from icetap import pipes
from icetap.errors import IcetapError

if TYPE_CHECKING:
    from typing_extensions import Buffer

FLUSH_BYTES = 256 * 1024
FLUSH_SECONDS = 1.0


class LineWriter:
    """Collects whole lines and writes them to a file descriptor.

    Small messages wait for the next STATE, for a second, or for 256 KiB; blocks of RECORD lines go
    straight through. The destination always holds whole lines, unless the process is killed.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = descriptor
        self._pending = bytearray()
        self._flushed_at = time.monotonic()
        self._is_wide = False

    @property
    def descriptor(self) -> int:
        """The file descriptor, which is looked up late so that tests may replace stdout.

        Raises:
            IcetapError: When the program was started without a standard output.
        """
        if self._descriptor is not None:
            return self._descriptor
        if sys.stdout is None:
            raise IcetapError("standard output is closed: there is nowhere to write records to")
        return sys.stdout.fileno()

    def write(self, line: bytes) -> None:
        """Add one line, or several, each ended by a line feed."""
        self._pending += line
        due = time.monotonic() - self._flushed_at >= FLUSH_SECONDS
        if due or len(self._pending) >= FLUSH_BYTES:
            self.flush()

    def write_block(self, lines: Buffer) -> None:
        """Write a block of whole lines at once, after what waits.

        Raises:
            BrokenPipeError: When nobody reads any more.
        """
        self.flush()
        if not self._is_wide:
            pipes.widen(self.descriptor)
            self._is_wide = True
        self._write_all(memoryview(lines).cast("B"))

    def flush(self) -> None:
        """Write what waits.

        Raises:
            BrokenPipeError: When nobody reads any more.
        """
        self._flushed_at = time.monotonic()
        if self._pending:
            pending, self._pending = self._pending, bytearray()
            self._write_all(memoryview(pending))

    def _write_all(self, data: memoryview) -> None:
        descriptor = self.descriptor
        while data:
            data = data[os.write(descriptor, data) :]

    def is_broken(self) -> bool:
        """Say whether the reader is gone, without writing anything."""
        poll = select.poll()
        poll.register(self.descriptor, 0)
        return any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))


class MessageWriter(GenericSingerWriter[bytes, Any]):
    """The Singer messages of the SDK, through a `LineWriter`."""

    def __init__(self, lines: LineWriter | None = None) -> None:
        super().__init__()
        self.lines = lines or LineWriter()
        self.before_message: Callable[[], None] | None = None

    @override
    def serialize_message(self, message: Any) -> bytes:
        """Serialize a message, given as the SDK's object or as a mapping; decimals keep their digits."""
        body = message if isinstance(message, Mapping) else message.to_dict()
        text: str = simplejson.dumps(
            body, use_decimal=True, default=_default, separators=(",", ":"), ensure_ascii=False
        )
        return text.encode("utf-8") + b"\n"

    @override
    def write_message(self, message: Any) -> None:
        if self.before_message is not None:
            self.before_message()
        self.lines.write(self.serialize_message(message))
        kind = message["type"] if isinstance(message, Mapping) else message.type
        if kind == "STATE":
            self.lines.flush()


def _default(value: object) -> str:
    isoformat = getattr(value, "isoformat", None)
    return str(isoformat()) if isoformat else str(value)
