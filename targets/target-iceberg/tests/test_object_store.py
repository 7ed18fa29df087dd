"""Tables in S3, with a catalog that is a file here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from icetap.testing.lakes import s3_for_anybody

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with s3_for_anybody(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def on_s3(lake, store):
    uri = f"sqlite:///{lake.folder / 'catalog.db'}"
    lake.config = {"warehouse": store.warehouse, "catalog": {"type": "sql", "uri": uri, **store.properties()}}
    return lake


def query(lake, sql, **more):
    """Ask with `icetap query`."""
    settings = lake.folder / "settings.json"
    settings.write_text(json.dumps(lake.config | more))
    command = [str(BIN / "icetap"), "query", "--config", str(settings), "--json", sql]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_rows_are_loaded_changed_and_asked_for(on_s3, singer, store):
    on_s3.ok(singer.schema(), singer.records([1, 2, 3]), singer.state(s=3))
    changed = [singer.record({"id": 2, "name": "b2"}), singer.record({"id": 4, "name": "b4"})]
    on_s3.ok(singer.schema(), changed, singer.state(s=4))
    assert on_s3.names() == {1: "a1", 2: "b2", 3: "a3", 4: "b4"}
    assert any(path.startswith("lake/warehouse/raw/s/data/") for path in store.files("warehouse/raw"))
    done = query(on_s3, "select sum(id) as n from raw.s")
    assert json.loads(done.stdout) == [{"n": 10}], done.stderr


def test_a_query_tells_of_a_store_that_cannot_be_reached(on_s3, singer):
    on_s3.ok(singer.schema("other"), singer.records([1], "other"))
    catalog = on_s3.config["catalog"] | {"s3.endpoint": "http://127.0.0.1:1"}
    done = query(on_s3, "from other", catalog=catalog, max_retries=0)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "'s3.endpoint' in setting 'catalog'" in done.stderr


def test_a_bucket_that_is_not_there_is_told_by_setting(on_s3, singer):
    on_s3.config["warehouse"] = "s3://no-such-bucket/warehouse"
    outcome = on_s3.load(singer.schema(), singer.records([1]))
    assert "does not know the bucket" in str(outcome.error)
    assert "'warehouse'" in str(outcome.error)


def test_a_store_that_cannot_be_reached_is_told_by_setting(on_s3, singer, store):
    on_s3.config["catalog"] |= {"s3.endpoint": "http://127.0.0.1:1", "s3.connect-timeout": "1"}
    outcome = on_s3.load(singer.schema(), singer.records([1]), max_retries=0)
    assert "the object store failed or cannot be reached" in str(outcome.error)
    assert "'s3.endpoint'" in str(outcome.error)
