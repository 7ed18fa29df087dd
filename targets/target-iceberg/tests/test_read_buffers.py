"""Memory into which files are read is used again, but never while something looks at what was read."""

from __future__ import annotations

import io

import pyarrow as pa
import pytest

from target_iceberg.decoding.columnar_files import read_columns
from target_iceberg.decoding.read_buffers import IDLE_BYTES, LARGE_BYTES, BufferedFile, ReadBuffers

ROWS = LARGE_BYTES // 4


def file_of(*numbers):
    """Return an Arrow file with a record batch of 2 MB for each number."""
    sink = io.BytesIO()
    batches = [
        pa.RecordBatch.from_arrays([pa.repeat(pa.scalar(number, pa.int64()), ROWS)], names=["n"])
        for number in numbers
    ]
    with pa.ipc.new_file(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return io.BytesIO(sink.getvalue())


def numbers_in(piece):
    return set(piece.batch.column("n").to_pylist())


def test_what_was_read_stays_while_it_is_held():
    buffers = ReadBuffers()
    held = list(read_columns(file_of(1, 2, 3), encoding="arrow", buffers=buffers))
    part = held.pop().batch.column("n")[5:10]
    others = list(read_columns(file_of(4, 5, 6), encoding="arrow", buffers=buffers))

    assert [numbers_in(piece) for piece in held] == [{1}, {2}]
    assert part.to_pylist() == [3] * 5
    assert [numbers_in(piece) for piece in others] == [{4}, {5}, {6}]


def test_memory_that_nobody_looks_at_is_used_again():
    buffers = ReadBuffers()
    addresses = {
        piece.batch.column("n").buffers()[1].address
        for number in range(4)
        for piece in read_columns(file_of(number), encoding="arrow", buffers=buffers)
    }

    assert len(addresses) <= 2  # the last piece is held while the next one is read


def test_idle_memory_is_bounded_and_can_be_given_back():
    buffers = ReadBuffers()
    views = [buffers.take(IDLE_BYTES // 4) for _ in range(8)]
    views.clear()
    assert sum(map(len, buffers._idle)) == IDLE_BYTES

    buffers.release()

    assert not buffers._idle


@pytest.mark.parametrize("size", [-1, 10, LARGE_BYTES, 2 * LARGE_BYTES, 2**60], ids=str)
def test_reads_return_what_the_file_has(size):
    data = bytes(range(256)) * (LARGE_BYTES // 128)
    file = BufferedFile(io.BytesIO(data), ReadBuffers())
    file.seek(3)

    # Like any file: no more than there is, whatever a damaged one says of its size.
    assert bytes(file.read(size)) == data[3:][: size if size >= 0 else None]


class Slow(io.BytesIO):
    """Gives a few bytes at a time, as a store does."""

    def readinto(self, target, /):
        return super().readinto(memoryview(target)[:300_000])


def test_a_file_that_gives_a_few_bytes_at_a_time_is_read_whole():
    data = bytes(range(256)) * (LARGE_BYTES // 128)

    assert bytes(BufferedFile(Slow(data), ReadBuffers()).read(2 * LARGE_BYTES)) == data


class Cut(io.BytesIO):
    """Has lost its end since it was opened."""

    def readinto(self, target, /):
        return super().readinto(memoryview(target)[: max(0, 300_000 - self.tell())])


def test_nothing_of_an_earlier_file_is_taken_for_the_end_of_one_that_was_cut():
    buffers = ReadBuffers()
    BufferedFile(io.BytesIO(b"\1" * LARGE_BYTES), buffers).read(LARGE_BYTES)

    assert bytes(BufferedFile(Cut(b"\2" * LARGE_BYTES), buffers).read(LARGE_BYTES)) == b"\2" * 300_000
