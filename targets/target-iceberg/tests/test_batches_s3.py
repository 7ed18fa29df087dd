"""BATCH files in an object store: under one prefix, with the credentials of the catalog."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import S3FileSystem

from icetap.testing.lakes import KEY_ID, REGION, SECRET_KEY, s3_for_anybody

RUN = "tap-x--s-0b9c7f6e-5d4c-4b3a-8291-70605f4e3d2c"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with s3_for_anybody(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def files(store):
    return S3FileSystem(
        access_key=KEY_ID,
        secret_key=SECRET_KEY,
        endpoint_override=f"127.0.0.1:{store.port}",
        scheme="http",
        region=REGION,
    )


def batch(encoding: str, *urls: str) -> dict:
    return {"type": "BATCH", "stream": "s", "encoding": {"format": encoding}, "manifest": list(urls)}


def test_files_under_the_prefix_are_loaded_and_deleted_by_their_names(lake, singer, store, files):
    with files.open_output_stream(f"lake/batches/{RUN}-1.json.gz", compression=None) as out:
        out.write(gzip.compress(b'{"id": 1, "name": "a"}\n'))
    pq.write_table(
        pa.table({"id": [2], "name": ["b"]}), f"lake/batches/deep/{RUN}=1.parquet", filesystem=files
    )
    pq.write_table(pa.table({"id": [3], "name": ["c"]}), "lake/batches/somebodys.parquet", filesystem=files)
    uri = f"sqlite:///{lake.folder / 'catalog.db'}"
    lake.config = {
        "warehouse": store.warehouse,
        "catalog": {"type": "sql", "uri": uri, **store.properties()},
        "batch_root": "s3://lake/batches",
    }

    lake.ok(
        singer.schema(),
        batch("jsonl", f"s3://lake/batches/{RUN}-1.json.gz"),
        batch("parquet", f"s3://lake/batches/deep/{RUN}=1.parquet", "s3://lake/batches/somebodys.parquet"),
        singer.state(s=3),
    )

    assert lake.names() == {1: "a", 2: "b", 3: "c"}
    assert store.files("batches") == ["lake/batches/somebodys.parquet"]

    outside = lake.load(singer.schema(), batch("parquet", "s3://lake/other/x.parquet"))
    assert "under the prefix" in str(outside.error)
    missing = lake.load(singer.schema(), batch("parquet", "s3://lake/batches/x.parquet"))
    assert "not in the object store" in str(missing.error)
    assert SECRET_KEY not in json.dumps(missing.report)
