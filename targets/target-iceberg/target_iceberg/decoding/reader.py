"""Raw bytes from a tap -> runs of RECORD lines per stream, and all other messages, in order.

Lines of one stream share their first bytes (`{"type": "RECORD", "stream": "orders", `). Once that head is
known, a block of such lines is recognised, and stripped of its heads, as a whole: a RECORD costs no Python.
Lines of another shape are parsed one by one; any key order and white space is accepted.
"""

from __future__ import annotations

import logging
import os
import re
import select
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from icetap import pipes
from icetap.errors import DataError
from target_iceberg.decoding.json_text import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN_BYTES = 2 << 20
"""A run is handed on when the open runs of all streams hold this much: with 8 MB, which no cache holds,
a million lines take a fifth longer and 60 MB more."""
READ_BYTES = 1 << 20
BOM = b"\xef\xbb\xbf"
_MAX_HEADS = 10_000

_LOGGER = logging.getLogger(__name__)
_WHITE = b" \t\r\n"
_HEAD = re.compile(
    rb'[ \t]*\{[ \t]*(?:"type"[ \t]*:[ \t]*"RECORD"[ \t]*,[ \t]*"stream"[ \t]*:[ \t]*"(?P<stream>[^"\\]*)"'
    rb'|"stream"[ \t]*:[ \t]*"(?P<first>[^"\\]*)"[ \t]*,[ \t]*"type"[ \t]*:[ \t]*"RECORD")[ \t]*,'
)


@dataclass(frozen=True, slots=True)
class Run:
    """RECORD lines of one stream, in arrival order, about 2 MB at most (more for one longer line)."""

    stream: str
    lines: bytes
    """Whole lines, each ended by a line feed; none is empty. Where a line began with its type and stream,
    these two members are gone: the run says them once."""
    count: int
    first_line: int
    segments: tuple[tuple[int, int], ...] = ()
    """Pairs (row, line number) where the numbering jumps, because other messages stood between."""
    stripped: int = 0
    """Bytes that `lines` lacks of what the tap wrote."""

    @property
    def input_bytes(self) -> int:
        """How much the tap wrote."""
        return len(self.lines) + self.stripped

    def line_of(self, row: int) -> int:
        """Return the number in the input, from 1, of the run's line at `row`, from 0."""
        start, number = 0, self.first_line
        for first_row, line in self.segments:
            if first_row > row:
                break
            start, number = first_row, line
        return number + row - start


@dataclass(frozen=True, slots=True)
class Message:
    """A SCHEMA, STATE, ACTIVATE_VERSION or BATCH message of the right shape."""

    type: str
    value: dict[str, Any]
    """The whole message. Numbers keep their text (see `json_text`)."""
    line: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing was handed on for `tick_seconds`: the moment to flush by time."""


def messages(fd: int, *, tick_seconds: float) -> Iterator[Run | Message | Tick]:
    """Yield what a tap writes; holds the open runs (about `RUN_BYTES`) and one line.

    RECORDs of several streams may be interleaved; each stream's run goes on until another kind of
    message comes, so rows move past rows of other streams but never past a SCHEMA, STATE,
    ACTIVATE_VERSION or BATCH. An exception of a signal handler passes through.

    Args:
        fd: File descriptor of a pipe, a socket or a file, in blocking mode.
        tick_seconds: How long to be silent at most, also while the tap is.

    Raises:
        DataError: For a line that is not JSON, that is cut off by the end of input, or that is not
            a Singer message; everything before it has been yielded by then.
    """
    pipes.widen(fd)
    lines = _Lines()
    yielded = time.monotonic()
    while True:
        wait = max(0.0, yielded + tick_seconds - time.monotonic())
        ready, _, _ = select.select([fd], [], [], wait)
        if ready:
            block = os.read(fd, READ_BYTES)
            if not block:
                yield from lines.end()
                return
            for item in lines.feed(block):
                yield item
                yielded = time.monotonic()
        if time.monotonic() - yielded >= tick_seconds:
            yield from lines.close_runs()
            yield Tick()
            yielded = time.monotonic()


@dataclass(slots=True)
class _OpenRun:
    stream: str
    parts: list[bytes | memoryview] = field(default_factory=list)
    count: int = 0
    segments: list[tuple[int, int]] = field(default_factory=list)
    stripped: int = 0

    def add(self, block: bytes | memoryview, *, count: int, line: int, stripped: int) -> None:
        if not self.segments or self.segments[-1][1] + self.count - self.segments[-1][0] != line:
            self.segments.append((self.count, line))
        self.parts.append(block)
        self.count += count
        self.stripped += stripped

    def run(self) -> Run:
        return Run(
            stream=self.stream,
            lines=b"".join(self.parts),
            count=self.count,
            first_line=self.segments[0][1],
            segments=tuple(self.segments) if len(self.segments) > 1 else (),
            stripped=self.stripped,
        )


@dataclass(frozen=True, slots=True)
class _Head:
    """The first bytes of a RECORD line, which name its stream."""

    stream: str
    boundary: re.Pattern[bytes]
    """Matches the line feed before the first line that begins otherwise."""

    @classmethod
    def of(cls, match: re.Match[bytes], *, line: int) -> _Head:
        name = match["stream"] if match["stream"] is not None else match["first"]
        try:
            stream = name.decode()
        except UnicodeDecodeError:
            raise DataError(f"line {line} of the input names a stream in bytes that are not UTF-8") from None
        boundary = re.compile(rb"\n(?!" + re.escape(match[0]) + rb")")
        return cls(stream, boundary)


class _Envelope(msgspec.Struct):
    type: str
    stream: str | None = None


class _Lines:
    """Cuts blocks into lines and sorts them; knows the line number and the heads seen."""

    def __init__(self) -> None:
        self._partial: list[bytes] = []  # pieces of a line whose end has not come
        self._line = 1
        self._open: dict[str, _OpenRun] = {}
        self._open_bytes = 0
        self._heads: dict[bytes, _Head] = {}
        self._unknown_types: set[str] = set()
        self._envelope = msgspec.json.Decoder(_Envelope)

    def feed(self, block: bytes) -> Iterator[Run | Message]:
        """Take a block of any size; yield what is complete."""
        end = block.rfind(b"\n") + 1
        if not end:
            self._partial.append(block)
            return
        whole = b"".join([*self._partial, memoryview(block)[:end]])
        self._partial = [block[end:]] if end < len(block) else []
        yield from self._whole_lines(whole)
        if self._open_bytes >= RUN_BYTES:
            yield from self.close_runs()

    def end(self) -> Iterator[Run | Message]:
        """Take the end of input: a last line without line feed counts when it is complete JSON."""
        rest = b"".join(self._partial)
        self._partial = []
        if rest.removeprefix(BOM).strip(_WHITE):
            if not _is_json(rest.removeprefix(BOM)):
                yield from self.close_runs()
                raise DataError(
                    f"input ended in the middle of line {self._line}: the tap stopped while it wrote. "
                    "What came before is kept; run the pipeline again"
                )
            yield from self._whole_lines(rest + b"\n")
        yield from self.close_runs()

    def close_runs(self) -> Iterator[Run]:
        """Yield the open runs, in the order of their first lines."""
        runs, self._open, self._open_bytes = list(self._open.values()), {}, 0
        for run in runs:
            yield run.run()

    def _whole_lines(self, block: bytes) -> Iterator[Run | Message]:
        if self._line == 1:
            block = block.removeprefix(BOM)
        position = 0
        try:
            while position < len(block):
                if match := _HEAD.match(block, position):
                    position = self._same_heads(block, position, match=match)
                    continue
                end = block.index(b"\n", position) + 1
                line = block[position:end]
                position = end
                if not line.strip(_WHITE):
                    self._line += 1
                    continue
                yield from self._single(line)
        except DataError:
            yield from self.close_runs()
            raise

    def _same_heads(self, block: bytes, position: int, *, match: re.Match[bytes]) -> int:
        """Add the lines from `position` on that begin alike to their run; return where they end."""
        head = self._heads.get(match[0])
        if head is None:
            if len(self._heads) > _MAX_HEADS:
                self._heads.clear()
            head = self._heads[match[0]] = _Head.of(match, line=self._line)
        after_head = b"\n" + match[0]
        saved = len(match[0]) - 1
        end = len(block)
        # Nearly always all lines of a block begin alike: taking the heads away tells, and counts them.
        # Only once per block: where streams alternate, it would cost the block's size for every line.
        rest = block.replace(after_head, b"\n{") if not position else b""
        count = (len(block) - len(rest)) // saved + 1
        if position or count != block.count(b"\n"):
            found = head.boundary.search(block, position)
            end = found.end() if found else end
            rest = block[position:end].replace(after_head, b"\n{")
            count = (end - position - len(rest)) // saved + 1
        self._add(head.stream, b"{", count=0)
        self._add(head.stream, memoryview(rest)[len(match[0]) :], count=count, stripped=count * saved)
        return end

    def _add(self, stream: str, lines: bytes | memoryview, *, count: int, stripped: int = 0) -> None:
        run = self._open.get(stream)
        if run is None:
            run = self._open[stream] = _OpenRun(stream)
        run.add(lines, count=count, line=self._line, stripped=stripped)
        self._open_bytes += len(lines) + stripped
        self._line += count

    def _single(self, line: bytes) -> Iterator[Run | Message]:
        """Handle one line whose head says nothing."""
        message: dict[str, Any] | None = None
        kind: Any
        try:
            envelope = self._envelope.decode(line)
            kind, stream = envelope.type, envelope.stream
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            # Not JSON to the letter (NaN, a broken character) may still be a RECORD: then only its row is refused.
            message = _parsed(line, number=self._line)
            kind, stream = message.get("type"), message.get("stream")
        if kind == "RECORD" and isinstance(stream, str):
            self._add(stream, line, count=1)
            return
        message = message or _parsed(line, number=self._line)
        _check(message, line, number=self._line)
        yield from self.close_runs()
        if kind in _REQUIRED:
            yield Message(kind, message, self._line)
        elif kind not in self._unknown_types:
            self._unknown_types.add(str(kind))
            _LOGGER.warning("line %d: messages of type '%s' are not known here; left out", self._line, kind)
        self._line += 1


def _is_json(line: bytes) -> bool:
    try:
        parse_json(line.decode(errors="surrogateescape"))
    except (ValueError, RecursionError):
        return False
    return True


def _parsed(line: bytes, *, number: int) -> dict[str, Any]:
    """Return a line's JSON object; bytes that are not UTF-8 become lone surrogates."""
    try:
        message = parse_json(line.decode(errors="surrogateescape"))
    except (ValueError, RecursionError):
        raise DataError(
            f"line {number} of the input is not JSON: expected one Singer message. "
            "Something other than a tap's messages was written to its standard output"
        ) from None
    if not isinstance(message, dict):
        raise DataError(
            f"line {number} of the input is a JSON {type(message).__name__}: expected an object with a 'type'"
        )
    return message


_REQUIRED: dict[str, dict[str, type]] = {
    "RECORD": {"stream": str, "record": dict},
    "SCHEMA": {"stream": str, "schema": dict},
    "STATE": {"value": dict},
    "ACTIVATE_VERSION": {"stream": str, "version": int},
    "BATCH": {"stream": str, "encoding": dict, "manifest": list},
}


def _check(message: dict[str, Any], line: bytes, *, number: int) -> None:
    """Refuse a message whose parts are not what Singer says."""
    kind = message.get("type")
    if not isinstance(kind, str):
        raise DataError(f"line {number} of the input has no 'type': expected SCHEMA, RECORD, STATE and so on")
    for name, expected in _REQUIRED.get(kind, {}).items():
        if not isinstance(message.get(name), expected):
            raise DataError(
                f"line {number} of the input is a {kind} message whose '{name}' is missing or not of type "
                f"{expected.__name__}: the tap does not speak Singer here"
            )
    try:
        line.decode()
    except UnicodeDecodeError:
        raise DataError(
            f"line {number} of the input, a {kind} message, is not UTF-8: the tap must write UTF-8"
        ) from None
