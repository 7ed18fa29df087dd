"""Meltano itself is killed: with SIGTERM its plug-ins end in order, with SIGKILL its own record of the run stays."""

import random
import signal
import time

import pytest

from . import lake
from .pipes import SECONDS
from .sources import COLUMNS, Source

STREAM = {"rows": {"replication-method": "INCREMENTAL", "replication-key": "seen_at"}}
FULL = {"rows": {"replication-method": "FULL_TABLE"}}
SEED = 20261121


def files(project):
    return sum(1 for path in project.warehouse.glob("raw/*/*/*") if path.is_file())


def killed(project, tap, signum, *, new_files):
    """Start a run, and kill Meltano once the loader has written some files; its children end by themselves."""
    before = files(project)
    process = project.start("run", "--force", tap, "target-iceberg")
    end = time.monotonic() + SECONDS
    try:
        while process.poll() is None and time.monotonic() < end and files(project) < before + new_files:
            time.sleep(0.01)
        hit = process.poll() is None
        process.send_signal(signum)
    finally:
        said, _ = process.communicate(timeout=SECONDS)  # the pipe closes when the last child has ended
    return hit, process.returncode, said


def equal(project, source):
    found = lake.query(project.warehouse, "rows", f"SELECT {COLUMNS} FROM t")
    return lake.differences(source.rows(), found)


@pytest.mark.parametrize(
    ("tap", "keyed"),
    [("tap-sqlite", True), ("tap-sqlite-arrow", False)],
    ids=["records into upsert", "Arrow files into append without keys"],
)
def test_after_meltano_was_killed_the_next_run_completes_the_table(project, tmp_path, tap, keyed):
    source = Source(tmp_path / "s.db", keyed=keyed, incremental=True, rng=random.Random(SEED), size=3000)
    config = {"database": str(source.path), "batch_size": 100}
    project.configure(config, {"batch_size_rows": 100, "flush_seconds": 1}, metadata=STREAM)
    story = []
    for signum in (signal.SIGKILL, signal.SIGTERM):
        hit, code, said = killed(project, tap, signum, new_files=2)
        story.append(f"{signum.name}: {'hit' if hit else 'too late'}, exit {code}")
        assert hit, [*story, said[-3000:]]
        if signum == signal.SIGKILL and keyed:
            refused = project.run(tap, "target-iceberg", code=1)
            assert "already running" in refused, "Meltano keeps the record of the run that was killed"
        source.change()
    project.run("--force", tap, "target-iceberg")
    difference = equal(project, source)
    assert not difference, [*story, difference, said[-3000:]]
