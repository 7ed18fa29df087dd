"""What waits in files before a mask is applied, and what a process leaves behind, is of use to nobody."""

import os
import subprocess
import sys
import tempfile

import pytest

from icetap.secrets import scratch
from icetap.secrets.scratch import encrypted_file, file_for_children, file_of

CANARY = b"canary@example.org"


@pytest.fixture
def raw(monkeypatch):
    """The files as the disk has them."""
    made = []
    new = tempfile.TemporaryFile

    def keep(**given):
        made.append(new(**given))
        return made[-1]

    monkeypatch.setattr(scratch.tempfile, "TemporaryFile", keep)
    return made


def on_disk(file):
    return os.pread(file.fileno(), 10**7, 0)


def test_a_file_is_read_as_it_was_written_and_its_bytes_on_the_disk_are_others(raw):
    lines = [b"%d %s\n" % (number, CANARY) for number in range(20_000)]

    with encrypted_file() as file:
        file.writelines(lines)
        file.flush()
        stored = on_disk(raw[0])
        file.seek(0)
        assert list(file) == lines
        file.seek(len(lines[0]))
        assert file.readline() == lines[1]

    assert len(stored) == sum(map(len, lines))
    assert CANARY not in stored
    assert stored.count(stored[:16]) == 1, "no two blocks are encrypted alike"


def test_a_file_is_cut_and_goes_on_anywhere():
    with encrypted_file() as file:
        file.write(b"a" * 1000)
        place = file.tell()
        file.write(b"b" * 777)
        file.seek(place)
        file.truncate()
        file.write(b"c" * 33)
        file.seek(7)
        file.write(b"d")
        file.seek(0)

        assert file.read() == b"a" * 7 + b"d" + b"a" * 992 + b"c" * 33


def test_no_two_files_are_encrypted_alike(raw):
    with encrypted_file() as first, encrypted_file() as second:
        for file in (first, second):
            file.write(CANARY)
            file.flush()

        assert on_disk(raw[0]) != on_disk(raw[1])


def test_a_file_in_memory_is_for_its_owner_alone_and_in_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    path = file_of("text", name="x")

    assert path.read_text() == "text"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == []


def test_a_child_reads_a_file_in_memory_as_often_as_it_likes(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path, descriptor = file_for_children('{"password": "x"}', name="settings")

    done = subprocess.run(
        ["cat", path, path], pass_fds=[descriptor], capture_output=True, text=True, check=True
    )
    os.close(descriptor)

    assert done.stdout == '{"password": "x"}' * 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the call is Linux's")
def test_a_crash_leaves_no_image_of_the_memory(tmp_path):
    """Neither by the limit, nor for a handler that disregards it."""
    program = """
import ctypes, os, resource
from icetap.secrets.redaction import install
install()
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)
os.abort()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.stdout == "(0, 0) 0\n"
    assert done.returncode < 0
    assert list(tmp_path.iterdir()) == []
