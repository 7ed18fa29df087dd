"""Files of JSON lines: read like the lines of a pipe, however they are packed, whatever they claim."""

import bz2
import gzip
import io
import json
import subprocess
import sys

import pyarrow as pa
import pytest

from icetap.errors import DataError
from target_iceberg.decoding import jsonl_files
from target_iceberg.decoding.jsonl_files import read_runs, without_broken_lines

ROWS = [{"id": number, "name": f"ü{number}"} for number in range(1, 6)]
PLAIN = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def runs(data: bytes, *, version: int | None = None) -> list:
    return list(read_runs(io.BytesIO(data), stream="s", version=version))


def records(found) -> list[dict]:
    return [json.loads(line)["record"] for run in found for line in run.lines.splitlines()]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(PLAIN, id="plain"),
        pytest.param(gzip.compress(PLAIN), id="gzip"),
        pytest.param(gzip.compress(PLAIN[:40]) + gzip.compress(PLAIN[40:]), id="gzip-of-two-members"),
        pytest.param(bz2.compress(PLAIN), id="bz2"),
        pytest.param(pa.compress(PLAIN, codec="zstd", asbytes=True), id="zstd"),
        pytest.param(PLAIN[:-1], id="no-line-feed-at-the-end"),
        pytest.param(b"\xef\xbb\xbf" + PLAIN, id="byte-order-mark"),
        pytest.param(PLAIN.replace(b"\n", b"\r\n"), id="carriage-returns"),
    ],
)
def test_rows_are_the_same_however_the_file_is_packed(data):
    assert records(runs(data)) == ROWS


def test_empty_lines_count_as_lines_and_are_no_rows():
    data = b"\n \r\n" + PLAIN.replace(b"\n", b"\n\n\t\n", 1) + b"\n  "
    (run,) = runs(data)
    assert records([run]) == ROWS
    assert [run.line_of(row) for row in range(run.count)] == [3, 6, 7, 8, 9]


@pytest.mark.parametrize(
    "data", [b"", b"\n\n", b"  \n", gzip.compress(b"")], ids=["no", "feeds", "white", "gzip"]
)
def test_a_file_without_rows_has_none(data):
    assert runs(data) == []


def test_lines_are_cut_anywhere_and_numbered_through(monkeypatch):
    monkeypatch.setattr(jsonl_files, "_BLOCK_BYTES", 7)
    found = runs(PLAIN)
    assert records(found) == ROWS
    assert [run.line_of(row) for run in found for row in range(run.count)] == [1, 2, 3, 4, 5]
    assert sum(run.input_bytes for run in found) == len(PLAIN)


def test_the_version_of_the_message_is_that_of_its_rows():
    (run,) = runs(PLAIN, version=-7)
    assert {json.loads(line)["version"] for line in run.lines.splitlines()} == {-7}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(gzip.compress(PLAIN)[:-9], "damaged or was cut off", id="gzip-cut"),
        pytest.param(gzip.compress(PLAIN)[:-8] + b"\0" * 8, "damaged or was cut off", id="gzip-checksum"),
        pytest.param(gzip.compress(PLAIN) + b"rest", "damaged or was cut off", id="gzip-and-more"),
        pytest.param(b"\x1f\x8b\x08nothing", "damaged or was cut off", id="gzip-head-alone"),
        pytest.param(PLAIN[:-3], "cut off in the middle of its line 5", id="plain-cut"),
        pytest.param(b"PAR1" + PLAIN, "is a Parquet file, but its message says 'jsonl'", id="parquet"),
        pytest.param(b"ARROW1\0\0", "is an Arrow file", id="arrow"),
        pytest.param(b"PK\x03\x04", "is a zip archive", id="zip"),
    ],
)
def test_a_file_that_is_damaged_or_something_else_is_named(data, words):
    with pytest.raises(DataError, match=words):
        runs(data)


def test_a_line_without_end_is_refused_before_it_fills_the_memory(monkeypatch):
    monkeypatch.setattr(jsonl_files, "MAX_LINE_BYTES", 3 * 2**20)
    bomb = gzip.compress(b'{"a": "' + b"0" * (50 * 2**20))
    with pytest.raises(DataError, match="line 1 of a BATCH file is longer than 3 MB"):
        runs(bomb)


def test_memory_is_bounded_whatever_the_file_unpacks_to():
    """120 MB of lines in 1 MB."""
    program = """
import gzip, io
from icetap.allocator import peak_memory_bytes
from target_iceberg.decoding.jsonl_files import read_runs
line = b'{"id": 1, "text": "' + b"x" * 10_000 + b'"}\\n'
packed = gzip.compress(line * 1_000) * 12
before = peak_memory_bytes()
rows = sum(run.count for run in read_runs(io.BytesIO(packed), stream="s", version=None))
print(rows, (peak_memory_bytes() - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    rows, grown_kb = map(int, done.stdout.split())
    assert rows == 12_000
    assert grown_kb < 60 * 1024


def test_broken_lines_are_told_apart_with_their_numbers_and_texts():
    data = b'{"id": 1}\n{"id": \n[1]\n{"id": 2} {"id": 3}\n\n{"version": 7}\n\xff\n{"id": 4}\n'
    (run,) = runs(data, version=3)
    good, broken = without_broken_lines(run, version=3)
    assert records([good]) == [{"id": 1}, {"version": 7}, {"id": 4}]
    assert [good.line_of(row) for row in range(good.count)] == [1, 6, 8]
    assert broken == [(2, '{"id": '), (3, "[1]"), (4, '{"id": 2} {"id": 3}'), (7, "\\xff")]
