"""Several readers of one table: order, memory, lost connections, and an end at once."""

from __future__ import annotations

import threading
import time

import pyarrow as pa
import pytest

from icetap.errors import RetriableError
from icetap.sql.chunks import LostPartError, Readers, Rows, in_order
from icetap.sql.dialect import Chunk, SnapshotGoneError
from icetap.sql.retries import Retries

BATCH_ROWS = 1_000
BATCH_BYTES = BATCH_ROWS * 8


class Source:
    """What readers connect to: each chunk holds some batches of its own number."""

    def __init__(self, chunks: int, *, batches: int = 3) -> None:
        self.chunks = [Chunk(str(number), (number,), {"id": number}) for number in range(chunks)]
        self.batches = batches
        self.opened: list[Connection] = []
        self.produced = 0
        self.lock = threading.Lock()
        self.on_batch = lambda chunk, batch, connection: None
        self.on_connect = lambda: None

    def connect(self) -> Connection:
        self.on_connect()
        with self.lock:
            self.opened.append(Connection())
            return self.opened[-1]

    def read(self, connection: Connection, chunk: Chunk):
        for batch in range(self.batches):
            self.on_batch(chunk.parameters[0], batch, connection)
            with self.lock:
                self.produced += 1
            values = pa.repeat(pa.scalar(chunk.parameters[0], pa.int64()), BATCH_ROWS)
            yield Rows(pa.record_batch([values], names=["id"]))

    def readers(self, count: int, *, memory_batches: int = 100, attempts: int | None = 2) -> Readers:
        return Readers(
            count=count,
            connect=self.connect,
            read=self.read,
            memory_bytes=memory_batches * BATCH_BYTES,
            is_transient=lambda error: isinstance(error, RetriableError),
            new_retries=attempts and (lambda check: Retries(attempts, what="test", check=check)),
        )


class Connection:
    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.is_closed = False

    def cancel(self) -> None:
        self.cancelled.set()

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch):
    monkeypatch.setattr("icetap.waiting.FIRST_WAIT_SECONDS", 0.001)


def numbers_of(source: Source, readers: Readers) -> list[int]:
    found = []
    for chunk, rows, is_last in in_order(source.chunks, readers, check=lambda: None):
        assert rows.batch.column(0)[0].as_py() == chunk.parameters[0]
        found.append((chunk.parameters[0], is_last))
    assert [number for number, is_last in found if is_last] == sorted({number for number, _ in found})
    return [number for number, _ in found]


@pytest.mark.parametrize("readers", [1, 2, 7])
def test_rows_come_in_the_order_of_the_chunks_whoever_reads_them(readers):
    source = Source(20)
    source.on_batch = lambda chunk, batch, connection: time.sleep(0.002 * ((chunk * 7) % 3))

    assert numbers_of(source, source.readers(readers)) == [number for number in range(20) for _ in range(3)]
    assert 1 <= len(source.opened) <= readers  # one may be done before the others have begun
    assert all(connection.is_closed for connection in source.opened)


def test_chunks_without_rows_are_passed_over():
    source = Source(6)
    empty = {0, 3, 5}
    read = source.read
    source.read = lambda connection, chunk: (
        iter(()) if chunk.parameters[0] in empty else read(connection, chunk)
    )

    assert numbers_of(source, source.readers(2)) == [1, 1, 1, 2, 2, 2, 4, 4, 4]


@pytest.mark.parametrize("batches", [3, 60], ids=["chunks that fit", "chunks larger than the memory"])
def test_readers_wait_when_memory_is_full(batches):
    source = Source(12, batches=batches)
    readers = source.readers(3, memory_batches=10)
    taken = most = 0

    for _ in in_order(source.chunks, readers, check=lambda: None):
        taken += 1
        time.sleep(0.001)
        most = max(most, source.produced - taken)

    assert taken == 12 * batches
    # What may wait, as much of the chunk whose turn it is, and a batch in the hands of each reader and of ours.
    assert most <= 10 + 10 + 3 + 2


def test_a_reader_whose_connection_is_lost_reads_its_chunk_again():
    source = Source(8)
    lost = []

    def lose(chunk, batch, connection):
        if (chunk, batch) in {(0, 2), (5, 1), (7, 0)} and (chunk, batch) not in lost:
            lost.append((chunk, batch))
            raise RetriableError("the connection is lost")

    source.on_batch = lose

    assert numbers_of(source, source.readers(2)) == [number for number in range(8) for _ in range(3)]
    assert len(lost) == 3
    assert 1 + 3 <= len(source.opened) <= 2 + 3
    assert all(connection.is_closed for connection in source.opened)


def test_a_chunk_that_fits_is_read_again_though_others_have_filled_the_memory():
    source = Source(3, batches=9)
    lost = []

    def lose_the_first_late(chunk, batch, connection):
        if chunk == 0:
            time.sleep(0.02)  # the others have all that may wait by then
            if batch == 8 and not lost:
                lost.append(source.produced)
                raise RetriableError("the connection is lost")

    source.on_batch = lose_the_first_late

    assert numbers_of(source, source.readers(3, memory_batches=10)) == [0] * 9 + [1] * 9 + [2] * 9
    assert lost[0] >= 8 + 2


def test_attempts_are_counted_and_the_last_error_is_told():
    source = Source(3)
    attempts = []

    def lose(chunk, batch, connection):
        if chunk == 1:
            attempts.append(batch)
            raise RetriableError("the connection is lost again")

    source.on_batch = lose

    with pytest.raises(RetriableError, match="lost again"):
        numbers_of(source, source.readers(1))
    assert len(attempts) == 1 + 2


def test_without_retries_the_first_lost_connection_ends_the_reading():
    source = Source(3)

    def lose(chunk, batch, connection):
        raise RetriableError("the connection is lost")

    source.on_batch = lose

    with pytest.raises(RetriableError):
        numbers_of(source, source.readers(1, attempts=None))
    assert len(source.opened) == 1


def test_a_chunk_that_was_passed_on_in_part_is_not_read_again():
    source = Source(2, batches=60)

    def lose(chunk, batch, connection):
        if batch == 40:
            raise RetriableError("the connection is lost")

    source.on_batch = lose

    with pytest.raises(LostPartError) as error:
        numbers_of(source, source.readers(2, memory_batches=10))
    assert isinstance(error.value.__cause__, RetriableError)


def test_a_snapshot_that_is_gone_is_not_asked_for_again():
    source = Source(2)

    def gone():
        raise SnapshotGoneError("the snapshot is gone")

    source.on_connect = gone

    with pytest.raises(SnapshotGoneError):
        numbers_of(source, source.readers(1))


def test_an_error_surfaces_at_once_though_earlier_chunks_are_still_read():
    source = Source(8)
    blocked = threading.Event()

    def fail(chunk, batch, connection):
        if chunk == 0:
            assert not blocked.wait(30) or connection.cancelled.wait(30)
        if chunk == 1:
            raise ZeroDivisionError

    source.on_batch = fail
    started = time.monotonic()
    threading.Timer(1.0, blocked.set).start()

    with pytest.raises(ZeroDivisionError):
        numbers_of(source, source.readers(2))
    assert time.monotonic() - started < 10


def test_a_consumer_that_leaves_cancels_the_readers():
    source = Source(50)

    def slow(chunk, batch, connection):
        if chunk > 2 and connection.cancelled.wait(20):
            raise RetriableError("cancelled")

    source.on_batch = slow
    reading = in_order(source.chunks, source.readers(2), check=lambda: None)
    next(reading)
    started = time.monotonic()

    reading.close()

    assert time.monotonic() - started < 5
    assert len(source.opened) <= 2
    assert all(connection.is_closed for connection in source.opened)


def test_a_signal_ends_the_waiting():
    source = Source(4)
    source.on_batch = lambda chunk, batch, connection: connection.cancelled.wait(20)

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(in_order(source.chunks, source.readers(2), check=interrupted))
    assert all(connection.cancelled.is_set() for connection in source.opened)
