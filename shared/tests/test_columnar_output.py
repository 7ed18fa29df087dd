"""Standard output: whole lines, in order, flushed at each STATE."""

from __future__ import annotations

import json
import os
import sys
from decimal import Decimal

import pytest

from icetap.columnar.output import LineWriter, MessageWriter


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            continue


def seen(descriptor):
    try:
        return os.read(descriptor, 1 << 20)
    except BlockingIOError:
        return b""


def test_messages_wait_for_the_next_state(pipe):
    reading, writing = pipe
    messages = MessageWriter(LineWriter(writing))
    messages.write_message({"type": "SCHEMA", "stream": "s"})
    assert seen(reading) == b""
    messages.write_message({"type": "STATE", "value": {}})
    assert [json.loads(line)["type"] for line in seen(reading).splitlines()] == ["SCHEMA", "STATE"]


def test_messages_wait_no_longer_than_a_second(pipe, monkeypatch):
    reading, writing = pipe
    lines = LineWriter(writing)
    lines.write(b"1\n")
    assert seen(reading) == b""
    monkeypatch.setattr("icetap.columnar.output.FLUSH_SECONDS", 0.0)
    lines.write(b"2\n")
    assert seen(reading) == b"1\n2\n"


def test_blocks_keep_their_place_among_messages(pipe):
    reading, writing = pipe
    lines = LineWriter(writing)
    lines.write(b"before\n")
    lines.write_block(b"block\n")
    lines.write(b"after\n")
    lines.flush()
    assert seen(reading) == b"before\nblock\nafter\n"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere pipes have one size")
def test_a_block_larger_than_a_pipe_of_64_kb_is_written_without_waiting_for_the_reader(pipe):
    reading, writing = pipe
    os.set_blocking(writing, False)
    LineWriter(writing).write_block(b"x" * 999_999 + b"\n")
    assert len(seen(reading)) == 1_000_000


def test_numbers_in_state_keep_their_digits(pipe):
    reading, writing = pipe
    value = {"bookmarks": {"s": {"v": Decimal("1.10"), "n": 2**70, "f": 0.1}}}
    MessageWriter(LineWriter(writing)).write_message({"type": "STATE", "value": value})
    assert b'{"v":1.10,"n":1180591620717411303424,"f":0.1}' in seen(reading)


def test_a_reader_that_is_gone_is_noticed_without_writing(pipe):
    reading, writing = pipe
    lines = LineWriter(writing)
    assert not lines.is_broken()
    os.close(reading)
    assert lines.is_broken()
    with pytest.raises(BrokenPipeError):
        lines.write_block(b"x\n")
