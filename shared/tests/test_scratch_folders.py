"""Scratch folders: private, gone with their process, and never taken from one that lives."""

import os
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from icetap import scratch_folders
from icetap.scratch_folders import PREFIX, ScratchFolder

SPILLS_AND_WAITS = """
import sys, time
from icetap.scratch_folders import ScratchFolder

folder = ScratchFolder("rows")
(folder.path / "spilled").write_bytes(bytes(1000))
print(folder.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@pytest.fixture
def other():
    """Another process with a folder of its own; the path of the folder."""
    with subprocess.Popen(
        [sys.executable, "-c", SPILLS_AND_WAITS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield process, Path(process.stdout.readline().decode().strip())
        process.kill()


def test_a_folder_is_its_owners_alone_and_ends_with_the_block(temporary):
    with ScratchFolder("rows") as folder:
        (folder.path / "spilled").touch()
        assert folder.path.parent == temporary
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700

    assert list(temporary.iterdir()) == []


def test_a_folder_ends_with_the_object_and_holds_no_descriptor(temporary):
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    for _ in range(10):
        folder = ScratchFolder("rows")
        (folder.path / "spilled").touch()
    del folder

    assert list(temporary.iterdir()) == []
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before


def test_what_a_killed_process_leaves_goes_with_the_next_folder(other):
    process, left = other
    process.kill()
    process.wait()
    assert (left / "spilled").exists()  # else this test shows nothing

    with ScratchFolder("rows"):
        assert not left.exists()


def test_what_a_process_that_lives_has_stays_until_it_ends(other):
    process, held = other

    assert scratch_folders.sweep() == 0
    assert (held / "spilled").exists()

    process.communicate(timeout=30)
    assert not held.exists()


@pytest.mark.parametrize("make", ["link", "file", "strangers"])
def test_only_folders_that_were_made_so_are_swept(temporary, monkeypatch, make):
    kept = temporary / "kept"
    kept.mkdir()
    (kept / "precious").touch()
    found = temporary / f"{PREFIX}rows-1"
    if make == "link":
        found.symlink_to(kept)
    elif make == "file":
        found.touch()
    else:
        found.mkdir()
        monkeypatch.setattr(os, "getuid", lambda: found.stat().st_uid + 1)

    assert scratch_folders.sweep() == 0
    assert found.exists()
    assert (kept / "precious").exists()


def test_where_folders_have_no_locks_nothing_is_swept(monkeypatch):
    def refuses(*_):
        raise OSError(
            9, "Bad file descriptor"
        )  # NFS: an exclusive lock wants a file that is open for writing

    monkeypatch.setattr(scratch_folders.fcntl, "flock", refuses)
    with ScratchFolder("rows") as first, ScratchFolder("rows"):
        assert first.path.exists()


def _made_and_kept(number: int) -> bool:
    with ScratchFolder(f"rows{number}") as folder:
        (folder.path / "spilled").touch()
        scratch_folders.sweep()
        return (folder.path / "spilled").exists()


def test_processes_that_make_and_sweep_at_once_take_nothing_from_each_other(temporary):
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        assert all(pool.map(_made_and_kept, range(2000), chunksize=50))

    assert list(temporary.iterdir()) == []
