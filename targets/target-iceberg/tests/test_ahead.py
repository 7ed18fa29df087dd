"""Decoding in advance changes when things happen, never what comes when."""

from __future__ import annotations

import pytest

from icetap.errors import DataError
from target_iceberg.decoding.ahead import RUNS_AHEAD, in_advance
from target_iceberg.decoding.reader import Message, Run, Tick


def run(number):
    return Run("s", b"{}\n", 1, number)


def test_items_come_in_their_order_and_runs_are_begun_earlier():
    many = [run(number) for number in range(10, 20)]
    items = [*many, Message("STATE", {}, 20), run(21), Tick(), run(22)]
    begun = []
    seen = [(item, len(begun)) for item in in_advance(iter(items), begun.append) if isinstance(item, Run)]
    assert [item for item, _ in seen] == begun
    assert list(in_advance(iter(items), begun.append)) == items
    assert seen[0][1] == 1 + RUNS_AHEAD


@pytest.mark.parametrize("last", [Message("STATE", {}, 3), Tick()])
def test_a_message_or_a_tick_lets_no_run_wait(last):
    def source():
        yield run(1)
        yield run(2)
        yield last
        raise AssertionError("read on before what waits was handed on")

    taken = in_advance(source(), lambda _: None)
    assert [next(taken) for _ in range(3)] == [run(1), run(2), last]


def test_what_came_before_a_broken_line_is_handed_on_before_the_error():
    def source():
        yield run(1)
        raise DataError("line 2 is not JSON")

    taken = in_advance(source(), lambda _: None)
    assert next(taken) == run(1)
    with pytest.raises(DataError):
        next(taken)
