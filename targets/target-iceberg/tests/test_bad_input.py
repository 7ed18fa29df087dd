"""Broken input and broken surroundings: a clear message, an honest exit code, no good row lost, no state too far."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess

import pytest

from icetap.errors import ConfigurationError, DataError, RetriableError


def good(singer, ids=(1, 2)):
    return [singer.state(s=0), singer.schema(), *singer.records(ids), singer.state(s=max(ids))]


STOPS = {
    "not-json": b"Traceback (most recent call last):\n",
    "half-a-line": b'{"type": "RECORD", "stream": "s", "record": {"id": 3, "na',
    "a-list": b"[1, 2]\n",
    "no-type": b'{"stream": "s"}\n',
    "record-before-schema": b'{"type": "RECORD", "stream": "t", "record": {"id": 3}}\n',
    "marker-before-schema": b'{"type": "ACTIVATE_VERSION", "stream": "t", "version": 1}\n',
    "no-properties": b'{"type": "SCHEMA", "stream": "t", "schema": {"type": "object"}, "key_properties": []}\n',
    "key-not-in-schema": b'{"type": "SCHEMA", "stream": "t", "schema": {"properties": {"a": {"type": "string"}}}, "key_properties": ["id"]}\n',
    "key-is-an-object": b'{"type": "SCHEMA", "stream": "t", "schema": {"properties": {"id": {"type": "object"}}}, "key_properties": ["id"]}\n',
    "another-key": b'{"type": "SCHEMA", "stream": "s", "schema": {"properties": {"id": {"type": "integer"}, "name": {"type": "string"}}}, "key_properties": ["name"]}\n',
    "batch-outside": b'{"type": "BATCH", "stream": "s", "encoding": {"format": "arrow"}, "manifest": ["file:///etc/passwd"]}\n',
    "record-without-record": b'{"type": "RECORD", "stream": "s"}\n',
}


@pytest.mark.parametrize("bad", STOPS.values(), ids=STOPS)
def test_what_came_before_a_broken_message_is_kept_and_the_run_fails(lake, singer, bad):
    path = lake.file(good(singer))
    outcome = lake.load(
        *(line for line in path.read_bytes().splitlines()), *bad.splitlines(), singer.records([9])
    )
    if outcome.error is None:
        assert bad == STOPS["record-without-record"]
        assert outcome.stream()["rows_rejected"] == 1
        return
    assert isinstance(outcome.error, DataError)
    assert outcome.error.exit_code == 3
    assert "line 6" in str(outcome.error) or "'t'" in str(outcome.error)
    assert lake.ids() == [1, 2]
    assert outcome.last_state == singer.state(s=2)["value"]


@pytest.mark.parametrize("bad", ["not-json", "half-a-line"])
def test_the_command_fails_without_a_traceback(lake, singer, bad):
    done = lake.run(lake.file(good(singer)).read_bytes() + STOPS[bad])
    assert done.returncode == 3
    assert b"Traceback" not in done.stderr
    assert b"target-iceberg: " in done.stderr
    assert json.loads(done.stdout) == singer.state(s=2)["value"]


ROWS = {
    "wrong-type": {"id": 3, "name": "x", "n": "five"},
    "boolean": {"id": 3, "n": True},
    "too-big": '{"type": "RECORD", "stream": "s", "record": {"id": 3, "n": 9223372036854775808}}',
    "nan": '{"type": "RECORD", "stream": "s", "record": {"id": 3, "n": NaN}}',
    "infinity": '{"type": "RECORD", "stream": "s", "record": {"id": 3, "n": -Infinity}}',
    "null-key": {"id": None, "n": 1},
    "missing-key": {"n": 1},
    "invalid-utf-8": b'{"type": "RECORD", "stream": "s", "record": {"id": 3, "name": "\xff\xfe"}}',
    "half-a-surrogate": '{"type": "RECORD", "stream": "s", "record": {"id": 3, "name": "\\ud800"}}',
}


def with_bad_rows(singer, *bad):
    properties = {
        "id": {"type": "integer"},
        "name": {"type": ["null", "string"]},
        "n": {"type": ["null", "integer"]},
    }
    rows = [singer.record(one) if isinstance(one, dict) and "type" not in one else one for one in bad]
    return [
        singer.state(s=0),
        singer.schema(properties=properties),
        *singer.records([1]),
        *rows,
        *singer.records([2]),
        singer.state(s=2),
    ]


@pytest.mark.parametrize("bad", ROWS.values(), ids=ROWS)
def test_a_row_that_does_not_fit_goes_to_quarantine(lake, singer, bad):
    outcome = lake.ok(with_bad_rows(singer, bad))
    assert lake.ids() == [1, 2]
    assert outcome.stream()["rows_rejected"] == 1
    assert outcome.last_state == singer.state(s=2)["value"]
    (kept,) = lake.table("s__rejected").scan().to_arrow().to_pylist()
    assert kept["line"] == 4
    assert kept["stream"] == "s"
    assert kept["reason"]
    assert kept["run_id"] == lake.property()["run_id"]


def test_with_fail_the_run_stops_at_the_row_and_the_state_stays_before_it(lake, singer):
    outcome = lake.load(good(singer), with_bad_rows(singer, ROWS["wrong-type"])[1:], on_rejected="fail")
    assert isinstance(outcome.error, DataError)
    assert "on_rejected" in str(outcome.error)
    assert "five" not in str(outcome.error)
    assert outcome.last_state == singer.state(s=2)["value"]
    assert lake.property()["bookmark"] == json.dumps(singer.at(2))


def test_with_skip_the_row_is_counted_only(lake, singer):
    outcome = lake.ok(with_bad_rows(singer, ROWS["wrong-type"]), on_rejected="skip")
    assert outcome.stream()["rows_rejected"] == 1
    assert ("raw", "s__rejected") not in lake.catalog.list_tables("raw")


def test_more_bad_rows_than_allowed_fail_the_run_but_lose_nothing(lake, singer):
    outcome = lake.load(with_bad_rows(singer, ROWS["wrong-type"], ROWS["boolean"]), max_rejected=1)
    assert "max_rejected" in str(outcome.error)
    assert lake.ids() == [1, 2]
    assert lake.table("s__rejected").scan().to_arrow().num_rows == 2
    assert lake.load(with_bad_rows(singer, ROWS["wrong-type"]), max_rejected=1).error is None


def test_refused_rows_are_kept_before_the_state_moves_past_them(lake, singer, monkeypatch):
    from target_iceberg.tables import loaded_table as module

    def broken(table, change, *, stage):
        raise RuntimeError("killed")

    monkeypatch.setattr(module, "commit_change", broken)
    with pytest.raises(RuntimeError):
        lake.load(with_bad_rows(singer, ROWS["wrong-type"]))
    assert lake.table("s__rejected").scan().to_arrow().num_rows == 1


def test_refused_rows_are_kept_also_when_a_version_ends_before_the_state(lake, singer):
    rows = with_bad_rows(singer, ROWS["wrong-type"])
    lake.ok(singer.schema(), singer.records([7], version=1))
    seen = []
    from target_iceberg.tables import loaded_table as module

    original = module.commit_change

    def commit(table, change, *, stage):
        names = [name for _, name in lake.catalog.list_tables("raw")]
        seen.append("s__rejected" in names)
        return original(table, change, stage=stage)

    module.commit_change = commit
    try:
        lake.ok(
            [
                one | {"version": 1} if isinstance(one, dict) and one["type"] == "RECORD" else one
                for one in rows
            ],
            singer.records([8], version=2),
        )
    finally:
        module.commit_change = original
    assert seen
    assert all(seen)


def test_unknown_columns_are_added(lake, singer):
    lake.ok(singer.schema(), singer.record({"id": 1, "more": 1.5, "deep": {"a": [1]}}))
    (row,) = lake.rows()
    assert row["more"] == 1.5
    assert (
        json.loads(row["deep"]) == {"a": [1]} if isinstance(row["deep"], str) else row["deep"] == {"a": [1]}
    )


def test_a_line_of_20_mb(lake, singer):
    long = "é😀\u0000" * 2_500_000
    lake.ok(singer.schema(), singer.records([1]), singer.record({"id": 2, "name": long}), singer.records([3]))
    assert lake.names()[2] == long
    assert lake.ids() == [1, 2, 3]


def test_a_byte_order_mark_and_empty_lines_are_nothing(lake, singer):
    data = b"\xef\xbb\xbf" + lake.file(good(singer)).read_bytes().replace(b"\n", b"\r\n\n")
    assert lake.run(data).returncode == 0
    assert lake.ids() == [1, 2]


def test_an_empty_input_is_no_error(lake):
    done = lake.run(b"")
    assert (done.returncode, done.stdout) == (0, b"")


# --- surroundings ---------------------------------------------------------------------------------------


def test_a_locked_catalog_ends_in_a_message(lake, singer, monkeypatch):
    lake.ok(good(singer))
    lake.config["catalog"] = {
        "type": "sql",
        "uri": f"sqlite:///{lake.folder}/warehouse/catalog.db?timeout=0.2",
        "warehouse": f"file://{lake.folder}/warehouse",
    }
    with sqlite3.connect(lake.folder / "warehouse" / "catalog.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        outcome = lake.load(singer.state(s=2), singer.schema(), singer.records([3]), singer.state(s=3))
        other.execute("ROLLBACK")
    other.close()
    assert isinstance(outcome.error, RetriableError)
    assert "locked" in str(outcome.error)
    assert outcome.lines == []
    assert lake.ids() == [1, 2]
    lake.ok(singer.state(s=2), singer.schema(), singer.records([3]), singer.state(s=3))
    assert lake.ids() == [1, 2, 3]


def test_a_warehouse_that_is_no_folder_is_a_matter_of_configuration(lake, singer):
    (lake.folder / "file").write_text("x")
    with pytest.raises(ConfigurationError, match="warehouse"):
        lake.load(good(singer), warehouse=str(lake.folder / "file" / "warehouse"))


def test_a_data_folder_that_cannot_be_written_ends_in_a_message(lake, singer):
    """A file in the place of the folder stops root too, as missing rights stop others."""
    lake.ok(good(singer))
    data = lake.folder / "warehouse" / "raw" / "s" / "data"
    data.rename(data.with_name("kept"))
    data.write_text("x")
    outcome = lake.load(
        singer.state(s=2),
        singer.schema(keys=["id"]),
        singer.records([3]),
        singer.state(s=3),
        load_method="append-only",
    )
    data.unlink()
    data.with_name("kept").rename(data)
    assert outcome.error is not None
    assert outcome.lines == []
    assert lake.ids() == [1, 2]


def test_a_catalog_that_cannot_be_reached_may_be_back_with_the_next_run(lake, singer):
    away = {"type": "rest", "uri": "http://127.0.0.1:9/"}
    with pytest.raises(RetriableError, match="catalog"):
        lake.load(good(singer), catalog=away, max_retries=1)


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.getuid() == 0 and (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
        == 0
    )
    if not mounted:
        pytest.skip("FULL DISK NOT TESTED: a small tmpfs can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_full_disk_ends_in_a_message_and_loses_nothing(lake, singer, small_disk):
    lake.config["warehouse"] = str(small_disk / "warehouse")
    lake.ok(good(singer))
    noise = [os.urandom(3000).hex() for _ in range(1500)]
    rows = [singer.record({"id": 10 + number, "name": one}) for number, one in enumerate(noise)]
    outcome = lake.load(singer.state(s=2), singer.schema(), rows, singer.state(s=900))
    assert isinstance(outcome.error, RetriableError)
    assert "full" in str(outcome.error)
    assert outcome.lines == []
    assert lake.ids() == [1, 2]
    lake.ok(singer.state(s=2), singer.schema(), singer.records([3]), singer.state(s=3))
    assert lake.ids() == [1, 2, 3]


@pytest.fixture
def read_only_disk(tmp_path):
    """Yield a function that makes a folder read-only, for root too."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("READ-ONLY WAREHOUSE NOT TESTED: needs root to mount one")

    def switch(mode):
        subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True)

    yield folder, switch
    subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_read_only_warehouse_ends_in_a_message(lake, singer, read_only_disk):
    """In processes of their own: an open catalog file would keep the disk from becoming read-only."""
    folder, switch = read_only_disk
    lake.config["warehouse"] = str(folder / "warehouse")
    assert lake.run(good(singer)).returncode == 0
    switch("ro")
    done = lake.run([singer.state(s=2), singer.schema(), *singer.records([3]), singer.state(s=3)])
    new = lake.run([singer.schema("t"), *singer.records([3], "t")])
    switch("rw")
    for one in (done, new):
        assert one.returncode == 2, one.stderr
        assert b"Traceback" not in one.stderr
        assert b"warehouse" in one.stderr
        assert one.stdout == b""
    assert lake.ids() == [1, 2]
