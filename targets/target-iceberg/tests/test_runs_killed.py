"""A load that is killed: the next one removes what it had spilled."""

from __future__ import annotations

from icetap.scratch_folders import PREFIX

WAITS_IN_A_SPILL = """
import sys, time
from icetap.scratch_folders import ScratchFolder
made = ScratchFolder.__init__
def make(folder, what):
    made(folder, what)
    (folder.path / "spilled").write_bytes(bytes(1000))
    print(folder.path, flush=True)
    time.sleep(600)
ScratchFolder.__init__ = make
"""


def test_the_next_load_removes_what_a_killed_one_had_spilled(lake, singer, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    repeated = singer.records([2, 1, 3, 1])  # which a join finds
    messages = [singer.state(), singer.schema(), *repeated, singer.state(s=1)]
    with lake.spawn(prelude=WAITS_IN_A_SPILL) as process, lake.file(messages).open("rb") as source:
        process.stdin.write(source.read())
        process.stdin.close()
        spilled = process.stdout.readline().decode().strip()
        process.kill()
    assert PREFIX in spilled
    assert (tmp_path / spilled / "spilled").exists()

    done = lake.run([singer.state(), singer.schema(), *singer.records([1]), singer.state(s=1)])

    assert done.returncode == 0, done.stderr
    assert not (tmp_path / spilled).exists()
    assert b"Removed 1 temporary folders" in done.stderr
    assert lake.ids() == [1]
