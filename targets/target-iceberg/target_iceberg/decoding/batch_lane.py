"""BATCH messages: their files, decoded, and deleted once their rows are safe."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from icetap.columnar.lines import record_lines
from icetap.errors import ConfigurationError, DataError
from target_iceberg.decoding.ahead import in_advance
from target_iceberg.decoding.batch_files import carries_run, is_read_once
from target_iceberg.decoding.columnar_files import read_columns
from target_iceberg.decoding.columnar_lane import sendable
from target_iceberg.decoding.jsonl_files import read_runs, without_broken_lines
from target_iceberg.decoding.reader import Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Executor
    from typing import BinaryIO

    from target_iceberg.decoding.batch_files import BatchFiles
    from target_iceberg.decoding.decode import Begun, Decoded, StreamDecoder
    from target_iceberg.decoding.maps import StreamMaps

ENCODINGS = ("arrow", "parquet", "jsonl")


class BatchLane:
    """Decodes the files of BATCH messages.

    Args:
        files: Where they may lie.
        maps: The loader's stream maps, which hold for these rows too.
        pool: Decodes lines ahead.
    """

    def __init__(self, files: BatchFiles, *, maps: StreamMaps, pool: Executor) -> None:
        self._files = files
        self._maps = maps
        self._pool = pool
        self._staged: defaultdict[str, list[str]] = defaultdict(list)
        self.kept: Counter[str] = Counter()
        """Per stream: files that were read and stay, as their names tell of no run."""

    def decoded(
        self, message: Mapping[str, Any], *, decoder: StreamDecoder, line: int
    ) -> Iterator[tuple[Decoded, int]]:
        """Yield the rows of a message's files and the bytes that they took; a file of ours is then deleted.

        Args:
            message: The BATCH message.
            decoder: The stream's decoder.
            line: The number of the message in the input, for errors.

        Raises:
            ConfigurationError: When the encoding is none that the loader reads.
            DataError: When the manifest names something else than a batch file, or a file is damaged.
        """
        stream, encoding = message["stream"], message["encoding"].get("format")
        where = f"line {line} of the input, a BATCH of stream '{stream}'"
        if encoding not in ENCODINGS:
            raise ConfigurationError(
                f"{where}, has the encoding '{encoding}'; the loader reads {', '.join(ENCODINGS)}. "
                "Set 'batch_config.encoding.format' on the tap, or remove 'batch_config'"
            )
        if type(message.get("version")) not in {int, type(None)}:
            raise DataError(f"{where}, has a 'version' that is not an integer")
        names = self._files.names(message, where=where)
        for number, name in enumerate(names, start=1):
            with self._files.open(name) as file:
                rows = self._rows(
                    file, message, encoding=encoding, decoder=decoder, is_ours=is_read_once(name)
                )
                try:
                    for decoded, size in rows:
                        place = f"file {number} of the BATCH in line {line} of the input"
                        decoded.rejected[:] = [replace(one, place=place) for one in decoded.rejected]
                        yield decoded, size
                except DataError as fault:
                    raise DataError(f"{where}: file {number} of its manifest: {fault}") from fault
            self._settle(name, stream)

    def committed(self, stream: str) -> None:
        """Delete what is safe in the stream's table now."""
        for name in self._staged.pop(stream, ()):
            self._files.delete(name)

    def _settle(self, name: str, stream: str) -> None:
        if is_read_once(name):
            # Its rows are staged. After a crash the tap sends them again, in a file of another name.
            self._files.delete(name)
        elif carries_run(name, stream=stream):
            self._staged[stream].append(name)
        else:
            self.kept[stream] += 1

    def _rows(
        self,
        file: BinaryIO,
        message: Mapping[str, Any],
        *,
        encoding: str,
        decoder: StreamDecoder,
        is_ours: bool,
    ) -> Iterator[tuple[Decoded, int]]:
        name, version = message["stream"], message.get("version")
        if encoding == "jsonl":
            runs = read_runs(file, stream=name, version=version)
            read = self._mapped if self._maps.applies_to(name) else self._lines
            yield from read(runs, decoder, version=version)
        elif self._maps.applies_to(name):
            runs = _sent_as_lines(file, message, encoding=encoding)
            yield from self._mapped(runs, decoder, version=version)
        else:
            pieces = read_columns(file, encoding=encoding, is_settled=is_ours)
            for decoded in decoder.decode_columns(pieces, version=version):
                yield decoded, decoded.batch.nbytes

    def _lines(
        self, runs: Iterator[Run], decoder: StreamDecoder, *, version: int | None
    ) -> Iterator[tuple[Decoded, int]]:
        """Decode runs in threads while those before them are staged."""
        begun: deque[Begun | None] = deque()
        for run in in_advance(runs, lambda run: begun.append(decoder.begin(run, pool=self._pool))):
            if isinstance(run, Run):
                yield from _decoded(run, decoder, version=version, begun=begun.popleft())

    def _mapped(
        self, runs: Iterator[Run], decoder: StreamDecoder, *, version: int | None
    ) -> Iterator[tuple[Decoded, int]]:
        for run in runs:
            good, broken = without_broken_lines(run, version=version)
            if broken:
                yield decoder.refused(broken), 0
            if good.count:
                yield from _decoded(self._maps.run(good), decoder, version=version)


def _decoded(
    run: Run, decoder: StreamDecoder, *, version: int | None, begun: Begun | None = None
) -> Iterator[tuple[Decoded, int]]:
    size = run.input_bytes
    try:
        for decoded in decoder.decode(run, begun=begun):
            yield decoded, size
            size = 0
    except DataError:
        # A line is no JSON object. In a file, unlike in a pipe, the lines around it are whole.
        good, broken = without_broken_lines(run, version=version)
        yield decoder.refused(broken), 0
        for decoded in decoder.decode(good):
            yield decoded, size
            size = 0


def _sent_as_lines(file: BinaryIO, message: Mapping[str, Any], *, encoding: str) -> Iterator[Run]:
    """Yield the rows of an Arrow or Parquet file as RECORD lines, for stream maps."""
    row = 1
    for piece in read_columns(file, encoding=encoding):
        if piece.unreadable:
            raise DataError(
                f"column '{next(iter(piece.unreadable))}' of a BATCH file holds text that is not UTF-8, which stream "
                "maps cannot read"
            )
        lines = record_lines(sendable(piece.batch), stream=message["stream"], version=message.get("version"))
        text = b"".join(bytes(part) for part in lines)
        yield Run(message["stream"], text, piece.batch.num_rows, row)
        row += piece.batch.num_rows
