"""Arrow files whose rows are read where they lie: the rows stay while they are held, and damage is an error, no crash."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from icetap.errors import DataError
from target_iceberg.decoding import mapped_reads
from target_iceberg.decoding.columnar_files import read_columns


def arrow_file(path: Path, *numbers: int) -> Path:
    """Write a record batch of 1,000 rows for each number."""
    batches = [
        pa.record_batch({"n": [number] * 1_000, "s": [f"text {number}"] * 1_000}) for number in numbers
    ]
    with pa.ipc.new_file(path, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return path


def pieces_of(path: Path) -> list[pa.RecordBatch]:
    with path.open("rb") as file:
        return [piece.batch for piece in read_columns(file, encoding="arrow", is_settled=True)]


def spoil_and_read(path: Path, *, seed: int, times: int) -> None:
    """Read a file with three wrong bytes, again and again."""
    mapped_reads.LARGE_BYTES = 500
    whole = arrow_file(path, 1, 2).read_bytes()
    chance = random.Random(seed)
    for _ in range(times):
        spoiled = bytearray(whole)
        for _ in range(3):
            spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
        path.write_bytes(spoiled)
        try:
            for batch in pieces_of(path):
                batch.to_pylist()
        except DataError:
            pass


@pytest.fixture
def _all_is_large(monkeypatch):
    monkeypatch.setattr(mapped_reads, "LARGE_BYTES", 500)


@pytest.mark.usefixtures("_all_is_large")
def test_rows_stay_after_their_file_is_closed_and_deleted_and_a_part_of_them_too(tmp_path):
    path = arrow_file(tmp_path / "f.arrow", 1, 2, 3)
    held = pieces_of(path)
    part = held.pop()[5:10]
    path.unlink()
    arrow_file(tmp_path / "f.arrow", 4, 5, 6)

    assert [set(batch.column("n").to_pylist()) for batch in held] == [{1}, {2}]
    assert part.to_pylist() == [{"n": 3, "s": "text 3"}] * 5


@pytest.mark.skipif(sys.platform != "linux", reason="the system's list of mapped files is Linux's")
def test_large_record_batches_lie_in_the_file_and_only_as_long_as_they_are_held(tmp_path):
    path = tmp_path / "f.arrow"
    rows = mapped_reads.LARGE_BYTES // 4
    large, small = (pa.record_batch({"n": range(count)}) for count in (rows, 10))
    with pa.ipc.new_file(path, large.schema) as writer:
        for batch in (large, small, large, large):
            writer.write_batch(batch)

    held = pieces_of(path)

    assert [batch.num_rows for batch in held] == [rows, 10, rows, rows]
    assert [batch.column("n").equals(large.column("n")) for batch in held] == [True, False, True, True]
    assert mapped_bytes(path) == pytest.approx(3 * 8 * rows, rel=0.01)
    del held[2:]
    assert mapped_bytes(path) == pytest.approx(8 * rows, rel=0.01)
    held.clear()
    assert mapped_bytes(path) == 0


def mapped_bytes(path: Path) -> int:
    """Return how much of a file is mapped into this process."""
    lines = [
        line for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines() if str(path) in line
    ]
    ends = [tuple(int(end, 16) for end in line.split()[0].split("-")) for line in lines]
    return sum(end - start for start, end in ends)


def test_an_open_file_of_a_store_is_read_as_well(tmp_path):
    content = io.BytesIO(arrow_file(tmp_path / "f.arrow", 7).read_bytes())

    (piece,) = read_columns(content, encoding="arrow", is_settled=True)

    assert piece.batch.column("n")[0].as_py() == 7


@pytest.mark.usefixtures("_all_is_large")
@pytest.mark.parametrize("content", [b"", b"ARROW1", b"not a file of columns", None], ids=["empty", "magic", "text", "cut"])  # fmt: skip
def test_a_damaged_file_is_refused(content, tmp_path):
    path = arrow_file(tmp_path / "f.arrow", 1)
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)

    with pytest.raises(DataError, match="BATCH file is"):
        pieces_of(path)


def test_damage_anywhere_is_an_error_or_other_values_but_never_a_crash(tmp_path):
    """The spoiled files are read in a process of its own, so that a crash would be seen."""
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from pathlib import Path; "
        f"from test_mapped_files import spoil_and_read; spoil_and_read(Path({str(tmp_path / 'f.arrow')!r}), seed=4, "
        "times=200); print('alive')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "alive", done.stderr[-2000:]
