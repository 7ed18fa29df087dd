"""The folder of batch files: private, swept, and never ahead of the loader by much."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time

import pyarrow as pa
import pytest

from icetap.columnar import batches
from icetap.columnar.batches import BATCH_FILE, BatchFolder, batch_root, default_batch_root
from icetap.errors import ConfigurationError

BATCH = pa.record_batch({"id": [1, 2]})


def write_one(folder):
    file = folder.new_file(BATCH.schema)
    file.write(BATCH)
    return file.close()


def test_file_is_one_whole_ipc_file_with_a_name_that_tells_its_run(tmp_path):
    folder = BatchFolder(tmp_path / "b")
    url = write_one(folder)
    (path,) = (tmp_path / "b").iterdir()
    assert url == path.as_uri()
    match = BATCH_FILE.fullmatch(path.name)
    assert (int(match["pid"]), int(match["number"])) == (os.getpid(), 1)
    with pa.OSFile(str(path)) as source:
        assert pa.ipc.open_file(source).read_all() == pa.Table.from_batches([BATCH])


def test_folder_and_files_are_the_owners_alone(tmp_path):
    root = tmp_path / "b"
    root.mkdir(mode=0o755)
    write_one(BatchFolder(root))
    (path,) = root.iterdir()
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_file_has_its_name_only_when_it_is_whole(tmp_path):
    folder = BatchFolder(tmp_path)
    file = folder.new_file(BATCH.schema)
    file.write(BATCH)
    assert not [path for path in tmp_path.iterdir() if BATCH_FILE.fullmatch(path.name)]
    file.discard()
    assert list(tmp_path.iterdir()) == []


def test_tap_waits_while_too_many_files_are_unread(tmp_path):
    folder = BatchFolder(tmp_path)
    for _ in range(batches.FILES_AHEAD):
        write_one(folder)
    writer = threading.Thread(target=write_one, args=[folder], daemon=True)
    writer.start()
    time.sleep(0.2)
    assert len(list(tmp_path.iterdir())) == batches.FILES_AHEAD
    next(tmp_path.iterdir()).unlink()
    writer.join(timeout=5)
    assert not writer.is_alive()


def test_tap_stops_waiting_when_the_loader_takes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "STALL_SECONDS", 0.1)
    folder = BatchFolder(tmp_path)
    for _ in range(batches.FILES_AHEAD + 1):
        write_one(folder)
    assert len(list(tmp_path.iterdir())) == batches.FILES_AHEAD + 1


def test_tap_waits_again_once_the_loader_takes_something(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "STALL_SECONDS", 0.2)
    folder = BatchFolder(tmp_path)

    def seconds_of_one():
        begun = time.monotonic()
        write_one(folder)
        return time.monotonic() - begun

    for _ in range(batches.FILES_AHEAD):
        write_one(folder)
    first, *others = [seconds_of_one() for _ in range(5)]
    for path in list(tmp_path.iterdir())[:5]:
        path.unlink()
    after = seconds_of_one()

    assert max(others) < 0.2 <= min(first, after)


def test_tap_ends_when_the_loader_is_gone(tmp_path):
    folder = BatchFolder(tmp_path, is_reader_gone=lambda: True)
    for _ in range(batches.FILES_AHEAD):
        write_one(folder)
    with pytest.raises(BrokenPipeError):
        write_one(folder)


def dead_pid():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        return process.pid


@pytest.mark.parametrize(
    ("name", "age", "stays"),
    [
        pytest.param("icetap-0123456789ab-{dead}-1.arrow", 7200, False, id="old-of-a-dead-tap"),
        pytest.param("icetap-0123456789ab-{dead}-1.arrow.part", 7200, False, id="unfinished-of-a-dead-tap"),
        pytest.param("icetap-0123456789ab-{dead}-1.arrow", 60, True, id="its-loader-may-still-read"),
        pytest.param("icetap-0123456789ab-{alive}-1.arrow", 7200, True, id="of-a-living-tap"),
        pytest.param("mine.arrow", 7200, True, id="not-ours"),
    ],
)
def test_sweep_deletes_what_dead_taps_left(tmp_path, name, age, stays):
    path = tmp_path / name.format(dead=dead_pid(), alive=os.getpid())
    path.touch()
    os.utime(path, (time.time() - age, time.time() - age))
    assert BatchFolder(tmp_path).sweep() == (not stays)
    assert path.exists() == stays


def test_default_folder_is_the_projects_or_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("MELTANO_PROJECT_ROOT", str(tmp_path))
    assert default_batch_root() == tmp_path / ".meltano" / "run" / "icetap-batches"
    monkeypatch.delenv("MELTANO_PROJECT_ROOT")
    assert default_batch_root().name == f"icetap-batches-{os.getuid()}"


@pytest.mark.parametrize("root", ["/a b/c", "file:///a%20b/c", "file://localhost/a%20b/c"])
def test_root_is_a_path_or_a_file_url(root):
    assert str(batch_root({"encoding": {"format": "arrow"}, "storage": {"root": root}})) == "/a b/c"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param({"encoding": {"format": "jsonl"}}, "'jsonl'", id="other-format"),
        pytest.param({"storage": {"root": "s3://bucket/x"}}, "'s3'", id="other-machine"),
    ],
)
def test_other_batches_are_refused_by_name(config, message):
    with pytest.raises(ConfigurationError, match=message):
        batch_root(config)


def test_folder_that_cannot_be_made_names_the_setting(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"batch_config\.storage\.root"):
        BatchFolder(tmp_path / "file" / "b")
