"""Other people's taps into the loader, the many ways to write Singer messages, and our tap into other people's loaders.

Taps and targets come from PyPI into environments of their own, in the cache folder of the test servers.
"""

import http.server
import json
import sqlite3
import subprocess
import threading
from contextlib import closing
from functools import partial

import duckdb
import pytest

from icetap.testing.servers import python_environment, real_server

from . import lake
from .pipes import BIN, Pipe, run_processes
from .sources import execute, rows

ITEMS = [{"id": number, "name": f"name {number}", "score": number / 4} for number in range(25)]


def foreign(name, *requirements):
    """The path of a command from PyPI; the test is skipped, loudly, when it cannot be had."""
    with real_server(name) as answers:
        python = python_environment(f"singer-{name}", requirements)
        answers(f"PyPI, {', '.join(requirements)}")
    return python.with_name(name)


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """A small HTTP API that gives all items at once."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "items.json").write_text(json.dumps(ITEMS))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            """Say nothing: pytest shows what matters."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def load(tmp_path, command, config=None, *arguments):
    """Run a tap into the loader."""
    if config is not None:
        (tmp_path / "tap.json").write_text(json.dumps(config))
        arguments = ("--config", str(tmp_path / "tap.json"), *arguments)
    (tmp_path / "target.json").write_text(json.dumps({"warehouse": str(tmp_path / "warehouse")}))
    target = [str(BIN / "target-iceberg"), "--config", str(tmp_path / "target.json")]
    return run_processes([str(command), *map(str, arguments)], target, folder=tmp_path)


def loaded(tmp_path, stream, columns="id, name, score"):
    return sorted(lake.query(tmp_path / "warehouse", stream, f"SELECT {columns} FROM t"))


EVERY_ITEM = [(item["id"], item["name"], item["score"]) for item in ITEMS]


def test_a_tap_of_the_sdk_of_2022_loads_and_loads_again(tmp_path):
    tap = foreign("tap-singer-jsonl", "tap-singer-jsonl==0.1.0", "setuptools<81")
    schema = {
        "properties": {"id": {"type": "integer"}, "name": {"type": "string"}, "score": {"type": "number"}}
    }
    lines = [{"type": "SCHEMA", "stream": "items", "schema": schema, "key_properties": ["id"]}]
    lines += [{"type": "RECORD", "stream": "items", "record": item} for item in ITEMS]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "items.singer").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = {"source": "local", "local": {"folders": [str(tmp_path / "in")]}, "add_record_metadata": False}
    for _ in range(2):
        load(tmp_path, tap, config).require()
        assert loaded(tmp_path, "items") == EVERY_ITEM
    assert len(lake.snapshots(tmp_path / "warehouse", "items")) == 1


ITEMS_STREAM = {
    "name": "items",
    "path": "/items.json",
    "primary_keys": ["id"],
    "records_path": "$[*]",
    "num_inference_records": 25,
}
"""The stream as `tap-rest-api-msdk` wants it described."""


def test_a_tap_of_the_sdk_of_2024_loads_and_loads_again(tmp_path, api):
    tap = foreign("tap-rest-api-msdk", "tap-rest-api-msdk==1.4.2", "setuptools<81")
    for _ in range(2):
        load(tmp_path, tap, {"api_url": api, "streams": [ITEMS_STREAM]}).require()
        assert loaded(tmp_path, "items") == EVERY_ITEM
    assert len(lake.snapshots(tmp_path / "warehouse", "items")) == 1


def test_batches_of_a_tap_of_the_sdk_of_2024_are_loaded_and_deleted(tmp_path, api):
    tap = foreign("tap-rest-api-msdk", "tap-rest-api-msdk==1.4.2", "setuptools<81")
    root = tmp_path / ".meltano" / "run" / "icetap-batches"  # the loader's default, in a project
    root.mkdir(parents=True, mode=0o700)
    batches = {"encoding": {"format": "jsonl", "compression": "gzip"}, "storage": {"root": root.as_uri()}}
    done = load(
        tmp_path,
        tap,
        {"api_url": api, "streams": [ITEMS_STREAM], "batch_config": {**batches, "batch_size": 10}},
    )
    done.require()
    assert done.lines < len(ITEMS)
    assert loaded(tmp_path, "items") == EVERY_ITEM
    assert list(root.iterdir()) == []


def test_a_classic_tap_without_keys_loads_every_row_and_keeps_its_state(tmp_path, api):
    """It sends `currently_syncing`, a bookmark of its own shape, and no key."""
    tap = foreign("tap-rest-api", "tap-rest-api==0.2.22")
    config = {
        "url": f"{api}/items.json", "streams": "items", "schema": "items", "auth_method": "no_auth",
        "schema_dir": str(tmp_path / "schema"), "catalog_dir": str(tmp_path / "catalog"), "record_list_level": "",
        "items_per_page": 25, "max_page": 1, "index_key": "id", "start_index": 0, "end_index": 1000, "assume_sorted": True,
    }  # fmt: skip
    for folder in ("schema", "catalog"):
        (tmp_path / folder).mkdir()
    (tmp_path / "infer.json").write_text(json.dumps(config))
    subprocess.run(
        [tap, "--config", tmp_path / "infer.json", "--infer_schema"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    ran = load(tmp_path, tap, config, "--catalog", tmp_path / "catalog" / "catalog.json").require()
    assert loaded(tmp_path, "items") == EVERY_ITEM
    assert ran.states[-1]["bookmarks"]["items"]["last_update"] == 24


# --- ways to write messages ------------------------------------------------------------------------


def schema(stream, *keys, **properties):
    properties = {"id": {"type": "integer"}, **properties}
    return {
        "type": "SCHEMA",
        "stream": stream,
        "schema": {"properties": properties},
        "key_properties": list(keys),
    }


def record(stream, identity, version=None, **values):
    more = {} if version is None else {"version": version}
    return {"type": "RECORD", "stream": stream, "record": {"id": identity, **values}, **more}


def activate(stream, version):
    return {"type": "ACTIVATE_VERSION", "stream": stream, "version": version}


def versions(stream, keys, first, last, version, identities):
    """A full read with ACTIVATE_VERSION at the places where this kind of tap sends it."""
    return [
        schema(stream, *keys),
        *([activate(stream, version)] if first else []),
        *(record(stream, identity, version) for identity in identities),
        *([activate(stream, version)] if last else []),
    ]


VERSIONED = {
    # stream: (keys, ACTIVATE_VERSION first, last, the version of the second run, ids in the table then)
    "at_the_end": (["id"], False, True, 2, [2, 3]),
    "at_both_ends": (["id"], True, True, 2, [2, 3]),
    "at_the_start": (["id"], True, False, 2, [1, 2, 3]),
    "never": (["id"], False, False, 2, [1, 2, 3]),
    "one_version_for_ever": (["id"], True, False, 1, [1, 2, 3]),
    "without_keys_at_the_end": ([], False, True, 2, [2, 3]),
    "without_keys_at_both_ends": ([], True, True, 2, [2, 3]),
    "without_keys_at_the_start": ([], True, False, 2, [1, 2]),
}


def print_messages(tmp_path, messages):
    path = tmp_path / "lines.jsonl"
    path.write_text("".join((m if isinstance(m, str) else json.dumps(m)) + "\n" for m in messages))
    return load(tmp_path, "cat", None, path)


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """Two full reads in every style: rows 1 and 2, then rows 2 and 3."""
    folder = tmp_path_factory.mktemp("versions")
    ran = []
    for number, identities in ((1, [1, 2]), (2, [2, 3])):
        messages = []
        for stream, (keys, first, last, second, _) in VERSIONED.items():
            messages += versions(stream, keys, first, last, 1 if number == 1 else second, identities)
        ran.append(print_messages(folder, messages))
    return folder, ran


@pytest.mark.parametrize("style", VERSIONED)
def test_full_reads_replace_only_what_is_proved_complete(twice, style):
    folder, _ = twice
    found = [identity for (identity,) in loaded(folder, style, "id")]
    assert found == VERSIONED[style][-1]


def test_an_incomplete_full_read_without_keys_fails_the_run_and_names_the_way_out(twice):
    _, (first, second) = twice
    first.require()
    assert second.target != 0
    assert "full_table_completion" in second.log


@pytest.fixture(scope="module")
def styles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("styles")
    number = {"type": "number"}
    return folder, print_messages(
        folder,
        [
            '{"bookmarks": {}, "type": "STATE", "value": {}}',
            json.dumps(schema("order", "id"), sort_keys=True),
            '{"record": {"id": 1}, "stream": "order", "type": "RECORD"}',
            '{"stream": "order", "time_extracted": "2024-01-01T00:00:00Z", "record": {"id": 2}, "version": null, "type": "RECORD"}',
            "",
            '  { "type" :\t"RECORD" , "stream":  "order", "record" : { "id" : 3 } }  ',
            '{"type":"RECORD","stream":"order","record":{"id":4}}\r',
            schema("twice", "id"),
            record("twice", 1),
            schema("twice", "id"),
            record("twice", 2),
            schema("changed", "id"),
            record("changed", 1),
            schema("changed", "id", score=number),
            record("changed", 2, score=0.5),
            schema("left", "id"),
            schema("right", "id"),
            *(record(stream, identity) for identity in range(100) for stream in ("left", "right")),
            schema("empty", "id"),
            '{"type": "STATE", "value": {"bookmarks": {"order": {"at": 1700000000.1234567890123, "n": 1e-7}}, "currently_syncing": null}}',
        ],
    )


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param("order", [(1,), (2,), (3,), (4,)], id="keys out of order, white space, empty lines"),
        pytest.param("twice", [(1,), (2,)], id="schema twice"),
        pytest.param("left", [(number,) for number in range(100)], id="interleaved streams"),
        pytest.param("right", [(number,) for number in range(100)], id="interleaved streams, the other one"),
        pytest.param("empty", [], id="schema without records"),
    ],
)
def test_messages_are_taken_however_they_are_written(styles, stream, expected):
    folder, ran = styles
    ran.require()
    assert loaded(folder, stream, "id") == expected


def test_a_schema_may_change_in_the_middle(styles):
    assert loaded(styles[0], "changed", "id, score") == [(1, None), (2, 0.5)]


def test_floats_in_a_state_keep_their_value(styles):
    assert styles[1].states[-1]["bookmarks"]["order"] == {"at": 1700000000.1234567890123, "n": 1e-7}


def test_a_record_before_its_schema_is_the_taps_fault_and_is_named(tmp_path):
    ran = print_messages(tmp_path, [record("orders", 1)])
    assert ran.target not in {0, 1}
    assert "line 1 of the input speaks of stream 'orders' before its SCHEMA" in ran.log


# --- our tap into other loaders --------------------------------------------------------------------


@pytest.fixture
def shop(tmp_path):
    path = tmp_path / "shop.db"
    execute(
        path,
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, name TEXT, amount REAL, large INTEGER)",
        "INSERT INTO orders VALUES (1, 'a \"quoted\" name', 0.1, 9007199254740993), (2, NULL, NULL, 0), (3, '😀', -1e-38, -1)",
    )
    return path


def test_tap_sqlite_into_target_jsonl(tmp_path, shop):
    target = foreign("target-jsonl", "target-jsonl==0.1.4")
    (tmp_path / "out").mkdir()
    config = {"destination_path": str(tmp_path / "out"), "do_timestamp_file": False}
    pipe = Pipe(tmp_path / "pipe", {"database": str(shop)}, config, target_command=[str(target)])
    ran = pipe.run().require()
    found = [json.loads(line) for line in (tmp_path / "out" / "orders.jsonl").read_text().splitlines()]
    assert [tuple(row.values()) for row in found] == rows(shop, "SELECT id, name, amount, large FROM orders")
    assert ran.states[-1]["bookmarks"]["orders"]["version"]


def test_tap_sqlite_into_target_duckdb(tmp_path, shop):
    target = foreign("target-duckdb", "target-duckdb==0.8.0", f"duckdb=={duckdb.__version__}")
    path = tmp_path / "out.duckdb"
    config = {"path": str(path), "default_target_schema": "main"}
    pipe = Pipe(tmp_path / "pipe", {"database": str(shop)}, config, target_command=[str(target)])
    pipe.run().require()
    with closing(sqlite3.connect(shop)) as database:
        database.execute("INSERT INTO orders VALUES (4, 'new', 1, 1)")
        database.commit()
    pipe.run().require()
    with duckdb.connect(str(path), read_only=True) as read:
        found = read.execute("SELECT id, name, amount, large FROM orders ORDER BY id").fetchall()
    assert found == rows(shop, "SELECT id, name, amount, large FROM orders")
