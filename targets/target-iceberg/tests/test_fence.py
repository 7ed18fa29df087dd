"""Two runs at once: of one pipeline, of two pipelines into one table, of two into two."""

from __future__ import annotations

import json
import random
import subprocess

import pytest

from target_iceberg.methods import stream
from target_iceberg.tables import loaded_table as module
from target_iceberg.tables.loaded_table import FenceError

PLAIN = {"keys": [], "cursor": "id"}


@pytest.fixture
def meanwhile(monkeypatch):
    """Run something when the loader is about to commit for the n-th time, between its plan and its commit."""

    def install(action, *, at=1):
        original = module.commit_change
        calls = []

        def commit(table, change, *, stage):
            calls.append(1)
            if len(calls) == at:
                monkeypatch.setattr(module, "commit_change", original)
                action()
                monkeypatch.setattr(module, "commit_change", commit)
            return original(table, change, stage=stage)

        monkeypatch.setattr(module, "commit_change", commit)

    return install


@pytest.mark.parametrize("keys", [["id"], []], ids=["keyed", "key-less"])
@pytest.mark.parametrize("loaded_before", [True, False], ids=["full", "new"])
def test_of_two_runs_of_one_pipeline_one_loads_and_the_other_is_refused(
    lake, singer, meanwhile, keys, loaded_before
):
    start = {"n": 0}
    if loaded_before:
        lake.ok(singer.state(), singer.schema(keys=keys), singer.records([1]), singer.state(s={"n": 0}))
    messages = [
        singer.state(s=start) if loaded_before else singer.state(),
        singer.schema(keys=keys),
        singer.records([2, 3]),
        singer.state(s={"n": 3}),
    ]
    outcomes = []
    meanwhile(lambda: outcomes.append(lake.ok(*messages)))
    refused = lake.load(*messages)
    assert isinstance(refused.error, FenceError)
    assert "another run of this pipeline is loading this table" in str(refused.error)
    assert refused.lines == []
    assert outcomes[0].last_state == {"bookmarks": {"s": {"n": 3}}}
    assert lake.ids() == ([1, 2, 3] if loaded_before else [2, 3])


def test_an_old_process_that_comes_back_is_refused_also_when_the_bookmark_is_the_same(
    lake, singer, meanwhile
):
    lake.ok(singer.state(), singer.schema(), singer.records([1]), singer.state(s=1))
    meanwhile(
        lambda: lake.ok(singer.state(s=1), singer.schema(), singer.records([1], name="b"), singer.state(s=1))
    )
    late = lake.load(singer.state(s=1), singer.schema(), singer.records([1], name="old"), singer.state(s=1))
    assert isinstance(late.error, FenceError)
    assert lake.names() == {1: "b1"}


def test_two_pipelines_into_one_keyed_table_lose_and_double_nothing(lake, singer, meanwhile):
    lake.ok(singer.schema(), singer.records([1, 2]), singer.state(s=2), pipeline="one")
    meanwhile(
        lambda: lake.ok(
            singer.schema(), singer.records([2, 3, 4], name="two"), singer.state(s=4), pipeline="two"
        )
    )
    lake.ok(
        singer.state(s=2),
        singer.schema(),
        singer.records([3, 5], name="one"),
        singer.state(s=5),
        pipeline="one",
    )
    assert lake.names() == {1: "a1", 2: "two2", 3: "one3", 4: "two4", 5: "one5"}
    assert lake.property(pipeline="two")["bookmark"] == json.dumps(singer.at(4))


def test_the_first_loads_of_two_pipelines_into_one_new_table(lake, singer, meanwhile):
    """The later one wrote its rows in the hope of an empty table."""
    meanwhile(lambda: lake.ok(singer.schema(), singer.records([1, 2], name="two"), pipeline="two"))
    gone = singer.record({"id": 1, "_sdc_deleted_at": "2024-01-01T00:00:00Z"})
    lake.ok(
        singer.schema(),
        singer.records([3, 3, 3]),
        gone,
        singer.records([4]),
        singer.records([5]),
        singer.record({"id": 4, "_sdc_deleted_at": "2024-01-01T00:00:00Z"}),
        singer.records([4], name="again"),
        pipeline="one",
    )
    assert lake.names() == {2: "two2", 3: "a3", 4: "again4", 5: "a5"}


def test_only_deletes_in_the_hope_of_an_empty_table(lake, singer, meanwhile):
    """They meet a table that another pipeline has filled since."""
    gone = singer.record({"id": 1, "_sdc_deleted_at": "2024-01-01T00:00:00Z"})
    original = stream.StreamLoad.commit
    done = []

    def commit(self, *, at_end):
        if not done:
            done.append(1)
            lake.ok(singer.schema(), singer.records([1, 2]), pipeline="two")
        return original(self, at_end=at_end)

    stream.StreamLoad.commit = commit
    try:
        lake.ok(singer.schema(), gone, pipeline="one")
    finally:
        stream.StreamLoad.commit = original
    assert lake.ids() == [2]


def test_a_new_column_survives_a_conflict(lake, singer, meanwhile):
    wide = {
        "id": {"type": "integer"},
        "name": {"type": ["null", "string"]},
        "more": {"type": ["null", "string"]},
    }
    lake.ok(singer.schema(), singer.records([1, 2]), pipeline="one")
    meanwhile(lambda: lake.ok(singer.schema(), singer.records([2], name="two"), pipeline="two"))
    lake.ok(singer.schema(properties=wide), singer.record({"id": 1, "more": "x"}), pipeline="one")
    assert lake.rows() == [{"id": 1, "name": None, "more": "x"}, {"id": 2, "name": "two2", "more": None}]


def test_a_column_that_another_writer_added_meanwhile_ends_in_a_message(lake, singer, meanwhile):
    def wide(name):
        return {
            "id": {"type": "integer"},
            "name": {"type": ["null", "string"]},
            name: {"type": ["null", "string"]},
        }

    lake.ok(singer.schema(), singer.records([1, 2]), pipeline="one")
    meanwhile(
        lambda: lake.ok(
            singer.schema(properties=wide("b")), singer.record({"id": 2, "b": "x"}), pipeline="two"
        )
    )
    messages = [
        singer.state(),
        singer.schema(properties=wide("c")),
        singer.record({"id": 1, "c": "y"}),
        singer.state(s=2),
    ]
    outcome = lake.load(*messages, pipeline="one")
    assert "run the pipeline again" in str(outcome.error)
    assert outcome.lines == []
    lake.ok(*messages, pipeline="one")
    assert lake.rows()[0] == {"id": 1, "name": None, "b": None, "c": "y"}


def test_a_column_that_another_writer_added_before_the_commit_ends_in_a_message(lake, singer, monkeypatch):
    """Files with the field ids of the plan are written already; they would mean other columns now."""

    def wide(name):
        return {
            "id": {"type": "integer"},
            "name": {"type": ["null", "string"]},
            name: {"type": ["null", "string"]},
        }

    lake.ok(singer.schema(), singer.records([1]), pipeline="one")
    original = stream.StreamLoad.commit

    def commit(self, *, at_end):
        monkeypatch.setattr(stream.StreamLoad, "commit", original)
        lake.ok(singer.schema(properties=wide("b")), singer.record({"id": 2, "b": "x"}), pipeline="two")
        return original(self, at_end=at_end)

    monkeypatch.setattr(stream.StreamLoad, "commit", commit)
    outcome = lake.load(
        singer.schema(properties=wide("c")), singer.record({"id": 1, "c": "y"}), pipeline="one"
    )
    assert "run the pipeline again" in str(outcome.error)
    assert [field.name for field in lake.table().schema().fields] == ["id", "name", "b"]
    assert lake.rows()[0] == {"id": 1, "name": "a1", "b": None}


def test_an_append_of_another_pipeline_meanwhile_is_no_conflict_without_keys(lake, singer, meanwhile):
    lake.ok(singer.schema(**PLAIN), singer.records([1]), singer.state(s=1), pipeline="one")
    meanwhile(lambda: lake.ok(singer.schema(**PLAIN), singer.records([8]), singer.state(s=8), pipeline="two"))
    lake.ok(singer.state(s=1), singer.schema(**PLAIN), singer.records([2]), singer.state(s=2), pipeline="one")
    assert lake.ids() == [1, 2, 8]


def test_the_table_moved_each_time_ends_in_a_message(lake, singer, monkeypatch):
    from target_iceberg.tables.commit import TableMovedError

    def commit(table, change, *, stage):
        raise TableMovedError("another commit to the table came first")

    monkeypatch.setattr(module, "commit_change", commit)
    monkeypatch.setattr(module, "COMMIT_ATTEMPTS", 2)
    outcome = lake.load(singer.schema(), singer.records([1]), singer.state(s=1))
    assert "other writers committed" in str(outcome.error)
    assert outcome.lines == []


def test_processes_at_once(lake, singer):
    """Two pipelines into one keyed table and one into a table of its own, as processes of their own."""
    lake.ok(singer.schema(), singer.records([0]), pipeline="zero")
    runs = []
    for pipeline, table in (("one", "s"), ("two", "s"), ("three", "t")):
        process = lake.spawn(pipeline=pipeline, table_name=table, batch_size_rows=1)
        ids = random.Random(pipeline).sample(range(100), 40)
        messages = [singer.schema()]
        for number in range(0, 40, 10):
            messages += [*singer.records(ids[number : number + 10], name=pipeline), singer.state(s=number)]
        runs.append((process, ids, b"".join(json.dumps(one).encode() + b"\n" for one in messages)))
    for process, _, data in runs:
        process.stdin.write(data)
        process.stdin.close()
    for process, _, _ in runs:
        assert process.wait(120) == 0, process.stderr.read()
    one, two, three = (set(ids) for _, ids, _ in runs)
    assert set(lake.names()) == one | two | {0}
    assert set(lake.names("t")) == three


def test_two_processes_of_one_pipeline_end_with_one_right_table(lake, singer):
    messages = [singer.state(), singer.schema(**PLAIN), *singer.records(range(5)), singer.state(s=4)]
    data = b"".join(json.dumps(one).encode() + b"\n" for one in messages)
    processes = [lake.spawn(prelude=BARRIER.format(folder=lake.folder, me=me)) for me in (0, 1)]
    for process in processes:
        process.stdin.write(data)
        process.stdin.close()
    codes = sorted(process.wait(60) for process in processes)
    told = b"".join(process.stderr.read() for process in processes)
    assert codes == [0, 4], told
    assert b"another run of this pipeline is loading this table" in told
    assert lake.ids() == list(range(5))


BARRIER = """
import pathlib, time
from target_iceberg.tables import loaded_table
original = loaded_table.commit_change
def commit(table, change, *, stage):
    here = pathlib.Path(r"{folder}")
    (here / "ready-{me}").touch()
    for _ in range(600):
        if all((here / f"ready-{{n}}").exists() for n in (0, 1)): break
        time.sleep(0.05)
    return original(table, change, stage=stage)
loaded_table.commit_change = commit
"""


def test_read_state_of_a_pipeline_that_never_ran_is_empty(lake, singer):
    lake.ok(singer.schema(), singer.records([1]), singer.state(s=1), pipeline="one")
    command = [*lake.command(pipeline="two"), "--read-state"]
    printed = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
    assert json.loads(printed) == {"bookmarks": {}}
