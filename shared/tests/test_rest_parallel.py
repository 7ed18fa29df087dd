"""Several requests at once: how many are under way is counted, since clocks tell little on a machine that is busy."""

import threading
from functools import partial

import pytest

from icetap.rest import PagePaging, Size, in_order, query
from icetap.testing.api import FakeApi, Reply

from .rest_tap import read, things

AT_ONCE = 8
PATIENCE_SECONDS = 20
"""How long a party waits for the others before it fails."""


@pytest.fixture
def api():
    with FakeApi() as api:
        yield api


class Together(Reply):
    """An answer that goes out when as many are asked for at once as wait for each other."""

    together: threading.Barrier

    @property
    def content(self) -> bytes:
        self.together.wait(PATIENCE_SECONDS)
        return super().content


def test_eight_pages_are_always_under_way(api):
    """41 answers in 6 rounds: one by one, then eight at once. With equal answers that is 6.8 times as fast as one."""
    Together.together = threading.Barrier(AT_ONCE)

    def answer(call):
        number = int(call.param("page"))
        kind = Reply if number == 1 else Together
        return kind({"data": [{"id": number}], "total": 1 + 5 * AT_ONCE})

    api.route("GET", "/things", answer)
    paging = PagePaging(page=query("page"), size=Size(query("size"), 1), total="$.total")

    run = read(api, things(paging), max_parallel=AT_ONCE).good()

    assert [record["id"] for record in run.records("things")] == list(range(1, 42))
    assert len(api.calls) == 41


def test_a_slow_task_does_not_hold_up_the_next_ones():
    """The first task waits for one that could not begin if only as many as there are workers were begun."""
    last_began = threading.Event()

    def task(number):
        if number == 0:
            yield last_began.wait(PATIENCE_SECONDS)
        if number == 2 * AT_ONCE - 1:
            last_began.set()
        yield number

    tasks = [partial(task, number) for number in range(2 * AT_ONCE)]

    assert list(in_order(tasks, workers=AT_ONCE)) == [True, *range(2 * AT_ONCE)]


def test_tasks_are_begun_only_so_far_ahead():
    begun = []

    def task(number):
        begun.append(number)
        yield number

    tasks = (partial(task, number) for number in range(100))
    first = next(in_order(tasks, workers=2))

    assert first == 0
    assert max(begun) < 4


def test_an_error_is_raised_in_its_turn_and_ends_the_threads():
    def task(number):
        if number == 2:
            raise ValueError(number)
        yield number

    before = threading.active_count()
    taken = []
    with pytest.raises(ValueError, match="2"):
        taken.extend(in_order([partial(task, number) for number in range(9)], workers=4))
    for thread in threading.enumerate():
        if thread.name == "icetap-rest":
            thread.join(PATIENCE_SECONDS)

    assert threading.active_count() <= before
