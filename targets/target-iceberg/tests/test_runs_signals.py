"""SIGTERM and SIGINT: no new work, but a commit that runs is finished and its STATE printed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

SIGNALS = pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "INT"]
)

SLOW_COMMIT = """
import pathlib, time
from target_iceberg.tables import loaded_table
original = loaded_table.commit_change
def commit(table, change, *, stage):
    pathlib.Path(r"{folder}", "committing").touch()
    time.sleep(0.7)
    return original(table, change, stage=stage)
loaded_table.commit_change = commit
"""


IN_A_DESTRUCTOR = """
import os, signal, time
from target_iceberg.signals import Terminated, Termination

class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)

signal.signal(signal.SIGTERM, Termination().handle)
try:
    Last()
    time.sleep(20)
except Terminated as ended:
    raise SystemExit(ended.exit_code)
"""


def wait_for(found, what):
    for _ in range(600):
        if found():
            return
        time.sleep(0.05)
    raise AssertionError(what)


def feed(process, messages):
    process.stdin.write(b"".join(json.dumps(one).encode() + b"\n" for one in messages))
    process.stdin.flush()


@SIGNALS
def test_during_a_load_nothing_more_is_committed(lake, singer, signum, code):
    process = lake.spawn(flush_seconds=1)
    feed(process, [singer.state(), singer.schema(), *singer.records([1]), singer.state(s=1)])
    line = process.stdout.readline()
    assert json.loads(line) == singer.state(s=1)["value"]
    feed(process, [*singer.records([2, 3]), singer.state(s=3)])
    time.sleep(0.3)
    process.send_signal(signum)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert b"Traceback" not in err
    assert lake.ids() == ([1] if not out else [1, 2, 3])


@SIGNALS
def test_during_a_commit_it_is_finished_and_its_state_printed(lake, singer, signum, code):
    process = lake.spawn(prelude=SLOW_COMMIT.format(folder=lake.folder), batch_size_rows=1)
    feed(process, [singer.state(), singer.schema(), *singer.records([1, 2]), singer.state(s=2)])
    wait_for((lake.folder / "committing").exists, "no commit began")
    process.send_signal(signum)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert b"Traceback" not in err
    committed = lake.ids()
    assert committed == [1, 2]
    told = json.loads(lake.property()["bookmark"]) if lake.property()["bookmark"] else None
    assert [json.loads(line) for line in out.splitlines()] == ([{"bookmarks": {"s": told}}] if told else [])


def test_the_run_after_a_signal_goes_on(lake, singer):
    process = lake.spawn(flush_seconds=1)
    feed(
        process,
        [singer.state(), singer.schema(keys=[], cursor="id"), *singer.records([1]), singer.state(s=1)],
    )
    assert process.stdout.readline()
    feed(process, singer.records([2, 3]))
    process.terminate()
    process.communicate(timeout=60)
    lake.ok(
        singer.state(s=1), singer.schema(keys=[], cursor="id"), singer.records([1, 2, 3]), singer.state(s=3)
    )
    assert lake.ids() == [1, 2, 3]


def test_a_signal_whose_exception_python_drops_ends_the_process_all_the_same():
    done = subprocess.run(
        [sys.executable, "-c", IN_A_DESTRUCTOR], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 143, done.stderr
    assert done.stderr == b""
