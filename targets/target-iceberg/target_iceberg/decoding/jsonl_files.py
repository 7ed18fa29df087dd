"""Files of JSON lines -> runs of RECORD lines, which go through the same decoder as those of the tap.

Taps say `compression: none` and compress all the same (the Singer SDK 0.54.9 always does), so the first
bytes of a file say how it is packed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa

from icetap.errors import DataError
from target_iceberg.decoding.json_text import parse_json
from target_iceberg.decoding.reader import BOM, Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_LINE_BYTES = 64 * 2**20
_BLOCK_BYTES = 1 << 20
_PACKED = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bz2"))
_OTHERS = ((b"PAR1", "a Parquet file"), (b"ARROW1", "an Arrow file"), (b"PK\x03\x04", "a zip archive"))
_HEAD = b'{"record":'
_WHITE = b" \t\r\n"
_MAYBE_BLANK = (b"\n\n", b"\n\r", b"\n ", b"\n\t")


def read_runs(file: BinaryIO, *, stream: str, version: int | None) -> Iterator[Run]:
    """Yield the file's lines as RECORD lines of the stream; line numbers are those of the file, from 1.

    Args:
        file: Objects in JSON, one a line, packed or not.
        stream: The stream's name.
        version: The version of its rows.

    Raises:
        DataError: When the file is damaged, cut off or something else, or has a line beyond `MAX_LINE_BYTES`.
    """
    lines = _Lines(stream, version)
    try:
        for block in _blocks(file):
            yield from lines.feed(block)
    except OSError as error:
        if error.errno is not None:
            raise
        raise DataError(
            f"a BATCH file is damaged or was cut off: it cannot be unpacked beyond its line {lines.next_line}"
        ) from error
    yield from lines.end()


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    head = file.read(6)
    file.seek(0)
    for magic, found in _OTHERS:
        if head.startswith(magic):
            raise DataError(f"a BATCH file is {found}, but its message says 'jsonl'")
    packed = next((name for magic, name in _PACKED if head.startswith(magic)), None)
    if packed is None:
        while block := file.read(_BLOCK_BYTES):
            yield block
        return
    with pa.CompressedInputStream(pa.PythonFile(file, mode="r"), packed) as unpacked:
        while block := unpacked.read(_BLOCK_BYTES):
            yield block


class _Lines:
    """Cuts blocks into lines and makes RECORD lines of them; holds one block and one line."""

    def __init__(self, stream: str, version: int | None) -> None:
        self._stream = stream
        self._tail = _tail(version)
        self._partial: list[bytes] = []
        self._partial_bytes = 0
        self.next_line = 1

    def feed(self, block: bytes) -> Iterator[Run]:
        """Take a block; yield the lines that are whole."""
        end = block.rfind(b"\n") + 1
        if end:
            whole = b"".join([*self._partial, memoryview(block)[:end]])
            self._partial, self._partial_bytes = [block[end:]], len(block) - end
            yield from self._run(whole)
            return
        self._partial.append(block)
        self._partial_bytes += len(block)
        if self._partial_bytes > MAX_LINE_BYTES:
            raise DataError(
                f"line {self.next_line} of a BATCH file is longer than {MAX_LINE_BYTES // 2**20} MB, which no record should be"
            )

    def end(self) -> Iterator[Run]:
        """Take the end of the file; a last line without line feed counts when it is complete."""
        rest = b"".join(self._partial)
        if not rest.removeprefix(BOM).strip(_WHITE):
            return
        try:
            parse_json(rest.removeprefix(BOM).decode(errors="surrogateescape"))
        except (ValueError, RecursionError):
            raise DataError(
                f"a BATCH file was cut off in the middle of its line {self.next_line}: the tap stopped while it wrote"
            ) from None
        yield from self._run(rest + b"\n")

    def _run(self, whole: bytes) -> Iterator[Run]:
        first_line = self.next_line
        if first_line == 1:
            whole = whole.removeprefix(BOM)
        size = len(whole)
        if b"\r\n" in whole:
            whole = whole.replace(b"\r\n", b"\n")
        count = whole.count(b"\n")
        self.next_line += count
        numbers: Sequence[int] = range(first_line, first_line + count)
        if whole[:1] in _WHITE or any(white in whole for white in _MAYBE_BLANK):
            lines = whole.split(b"\n")[:-1]
            numbers = [number for number, line in enumerate(lines, start=first_line) if line.strip(_WHITE)]
            whole = b"".join(lines[number - first_line] + b"\n" for number in numbers)
        if not numbers:
            return
        body = whole[:-1].replace(b"\n", self._tail + _HEAD)
        text = b"".join((_HEAD, body, self._tail))
        stripped = size - len(text)
        yield Run(self._stream, text, len(numbers), numbers[0], _segments(numbers), stripped)


def _tail(version: int | None) -> bytes:
    return b"}\n" if version is None else b',"version":%d}\n' % version


def _segments(numbers: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return where the numbering jumps, as `Run.segments` says it."""
    if isinstance(numbers, range):
        return ()
    jumps = tuple(
        (place, number)
        for place, number in enumerate(numbers)
        if not place or number != numbers[place - 1] + 1
    )
    return jumps if len(jumps) > 1 else ()


def without_broken_lines(run: Run, *, version: int | None) -> tuple[Run, list[tuple[int, str]]]:
    """Return the run with the lines that are JSON objects, and number and text of the others."""
    tail = len(_tail(version)) - 1
    good: list[bytes] = []
    rows: list[int] = []
    broken: list[tuple[int, str]] = []
    for row, line in enumerate(run.lines.split(b"\n")[:-1]):
        text = line.decode(errors="surrogateescape")
        try:
            is_object = isinstance(parse_json(text).get("record"), dict)
        except (ValueError, RecursionError):
            is_object = False
        if is_object:
            good.append(line + b"\n")
            rows.append(row)
        else:
            raw = line[len(_HEAD) : -tail]
            broken.append((run.line_of(row), raw.decode(errors="backslashreplace")))
    numbers = [run.line_of(row) for row in rows]
    lines = b"".join(good)
    first = numbers[0] if numbers else run.first_line
    stripped = run.input_bytes - len(lines)
    return Run(run.stream, lines, len(rows), first, _segments(numbers), stripped), broken
