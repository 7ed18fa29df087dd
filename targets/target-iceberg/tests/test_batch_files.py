"""BATCH manifests are input from outside: what they may name, and what is deleted."""

import os
import socket
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.io import load_file_io

from icetap.columnar.batches import BATCH_FILE
from icetap.errors import ConfigurationError, DataError
from target_iceberg.decoding.batch_files import LocalFiles, StoreFiles, batch_files, carries_run, is_read_once

NAME = "icetap-0123456789ab-42-1.arrow"


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "batches"
    folder.mkdir(mode=0o700)
    return folder


def manifest(*urls: object, encoding: str = "arrow") -> dict:
    return {"type": "BATCH", "stream": "s", "encoding": {"format": encoding}, "manifest": list(urls)}


def write(path: Path, *batches: pa.RecordBatch) -> Path:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write(batch)
    return path


def batch_of(**columns) -> pa.RecordBatch:
    return pa.record_batch(columns)


def test_the_name_used_here_is_that_of_a_batch_file():
    assert BATCH_FILE.fullmatch(NAME)


def test_a_file_of_ours_in_the_folder_is_taken(root):
    path = write(root / NAME, batch_of(id=[1]))

    files = LocalFiles(root)
    (found,) = files.names(manifest(path.as_uri()), where="line 3 of the input, a BATCH of stream 's'")

    assert found == str(path)
    with files.open(found) as file:
        assert file.read(6) == b"ARROW1"


def test_the_folder_itself_may_be_reached_through_a_link(root, tmp_path):
    write(root / NAME, batch_of(id=[1]))
    link = tmp_path / "link"
    link.symlink_to(root)

    assert LocalFiles(link).names(
        manifest((link / NAME).as_uri()), where="line 1 of the input, a BATCH of stream 's'"
    ) == [str(root / NAME)]
    assert LocalFiles(link).names(
        manifest(f"file://localhost{root / NAME}"), where="line 1 of the input, a BATCH of stream 's'"
    ) == [str(root / NAME)]


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("file://{outside}/" + NAME, id="outside"),
        pytest.param("file://{root}/../outside/" + NAME, id="dot-dot"),
        pytest.param("file://{root}/%2e%2e/outside/" + NAME, id="escaped-dot-dot"),
        pytest.param("file://{root}-other/" + NAME, id="folder-that-begins-alike"),
        pytest.param("file://{root}/link.arrow", id="wrong-name"),
        pytest.param("file://{root}/icetap-0123456789ab-42-2.arrow", id="link-to-a-file"),
        pytest.param("file://{root}/sub/" + NAME, id="link-to-a-folder"),
        pytest.param("file://{root}/icetap-0123456789ab-42-3.arrow", id="folder"),
        pytest.param("file://{root}/icetap-0123456789ab-42-4.arrow", id="named-pipe"),
        pytest.param("file://{root}/icetap-0123456789ab-42-5.arrow", id="socket"),
        pytest.param("file://{root}/icetap-0123456789ab-42-9.arrow", id="missing"),
        pytest.param("file://{root}", id="the-folder-itself"),
        pytest.param("{root}/" + NAME, id="a-path"),
        pytest.param("http://127.0.0.1{root}/" + NAME, id="http"),
        pytest.param("s3://bucket/" + NAME, id="s3"),
        pytest.param("file://other-host{root}/" + NAME, id="other-host"),
        pytest.param("file://{root}/" + NAME + "?x=1", id="query"),
        pytest.param("file://{root}/" + NAME + "%00", id="nul"),
        pytest.param("file:" + NAME, id="relative"),
        pytest.param("file://[", id="broken-url"),
        pytest.param("", id="empty"),
        pytest.param(7, id="not-text"),
        pytest.param(None, id="null"),
    ],
)
def test_anything_else_in_a_manifest_is_refused(url, root, tmp_path, monkeypatch):
    outside = tmp_path / "outside"
    outside.mkdir()
    write(outside / NAME, batch_of(id=[1]))
    (root / "icetap-0123456789ab-42-2.arrow").symlink_to(outside / NAME)
    (root / "link.arrow").symlink_to(outside / NAME)
    (root / "sub").symlink_to(outside)
    (root / "icetap-0123456789ab-42-3.arrow").mkdir()
    os.mkfifo(root / "icetap-0123456789ab-42-4.arrow")
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("icetap-0123456789ab-42-5.arrow")
        entry = url.format(root=root, outside=outside) if isinstance(url, str) else url

        with pytest.raises(DataError, match="line 9 of the input, a BATCH of stream 's'") as raised:
            LocalFiles(root).names(manifest(entry), where="line 9 of the input, a BATCH of stream 's'")

    assert "outside/" not in str(raised.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_refused(root):
    path = write(root / NAME, batch_of(id=[1]))
    os.chown(path, 12345, 12345)

    with pytest.raises(DataError, match="not a regular file of this user"):
        LocalFiles(root).names(manifest(path.as_uri()), where="line 1 of the input, a BATCH of stream 's'")


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_that_others_may_write_to_is_refused(mode, root):
    path = write(root / NAME, batch_of(id=[1]))
    root.chmod(mode)

    with pytest.raises(ConfigurationError, match="batch_root"):
        LocalFiles(root).names(manifest(path.as_uri()), where="line 1 of the input, a BATCH of stream 's'")


def test_a_missing_folder_names_the_setting(tmp_path):
    with pytest.raises(ConfigurationError, match=r"'batch_root'.*cannot be opened"):
        LocalFiles(tmp_path / "none").names(
            manifest(f"file://{tmp_path}/none/{NAME}"), where="line 1 of the input, a BATCH of stream 's'"
        )


def test_a_file_that_was_replaced_after_the_manifest_is_refused(root, tmp_path):
    path = write(root / NAME, batch_of(id=[1]))
    files = LocalFiles(root)
    (found,) = files.names(manifest(path.as_uri()), where="line 1 of the input, a BATCH of stream 's'")
    path.rename(tmp_path / "kept")
    path.symlink_to(tmp_path / "kept")

    with pytest.raises(DataError, match="symbolic link"):
        files.open(found)


FROM_THE_SDK = "tap-x--s-0b9c7f6e-5d4c-4b3a-8291-70605f4e3d2c"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        pytest.param(f"{FROM_THE_SDK}-1.json.gz", True, id="sdk-jsonl"),
        pytest.param(f"{FROM_THE_SDK}=12.parquet", True, id="sdk-parquet"),
        pytest.param(f"{FROM_THE_SDK}=1.parquet.gz", True, id="sdk-parquet-that-says-gzip"),
        pytest.param(f"prefix-{FROM_THE_SDK}-1.json.gz", True, id="sdk-with-prefix"),
        pytest.param(f"/deep/er/{FROM_THE_SDK}-1.json.gz", True, id="in-a-folder"),
        pytest.param(NAME, True, id="ours"),
        pytest.param(FROM_THE_SDK.replace("--s-", "--other-") + "-1.json.gz", False, id="another-stream"),
        pytest.param("tap-x--s-2024-01-01-1.json.gz", False, id="no-run"),
        pytest.param(f"{FROM_THE_SDK}-1.json.gz.bak", False, id="more-behind"),
        pytest.param("orders.jsonl", False, id="a-file-of-somebody"),
    ],
)
def test_only_a_name_that_tells_of_a_run_is_one_to_delete(name, known):
    assert carries_run(name, stream="s") is known
    assert is_read_once(name) is (name == NAME)


def test_a_name_from_outside_is_no_pattern(root):
    assert not carries_run(FROM_THE_SDK + "-1.json.gz", stream=".")


def test_a_file_is_deleted_by_the_same_rules_and_once(root, tmp_path):
    path = write(root / NAME, batch_of(id=[1]))
    files = LocalFiles(root)
    files.delete(str(path))
    files.delete(str(path))
    assert not path.exists()
    outside = tmp_path / "outside"
    outside.mkdir()
    kept = write(outside / NAME, batch_of(id=[1]))
    (root / "sub").symlink_to(outside)
    files.delete(str(root / "sub" / NAME))
    assert kept.exists()


def test_the_folder_may_be_said_as_a_url_and_files_may_lie_below_it(root):
    (root / "a b").mkdir()
    path = write(root / "a b" / "any name.parquet", batch_of(id=[1]))
    files = batch_files(root.as_uri(), properties={})
    (found,) = files.names(manifest(path.as_uri()), where="here")
    with files.open(found) as file:
        assert file.read(6) == b"ARROW1"


class TestObjectStore:
    """The prefix rules, over a store that pyiceberg reaches; S3 itself is in test_batches_s3.py."""

    @pytest.fixture
    def store(self, root) -> StoreFiles:
        return StoreFiles(f"file://{root}/", io=load_file_io({}, f"file://{root}"))

    def test_an_object_under_the_prefix_is_read_and_deleted(self, store, root):
        path = write(root / NAME, batch_of(id=[1]))
        (found,) = store.names(manifest(path.as_uri()), where="here")
        with store.open(found) as file:
            assert file.read(6) == b"ARROW1"
        store.delete(found)
        store.delete(found)
        assert not path.exists()
        with pytest.raises(DataError, match="not in the object store"):
            store.open(found)

    @pytest.mark.parametrize(
        "url",
        [
            "file://{root}/../x.parquet",
            "file://{root}/%2e%2e/x.parquet",
            "file://{root}//x.parquet",
            "file://{root}/./x.parquet",
            "file://{root}/",
            "file://{root}-other/x.parquet",
            "file://{root}/x.parquet?versionId=1",
            "file://{root}/x\n.parquet",
            "{root}/x.parquet",
            "s3://other/x.parquet",
            7,
        ],
    )
    def test_anything_else_is_refused(self, url, store, root):
        entry = url.format(root=root) if isinstance(url, str) else url
        with pytest.raises(DataError, match=r"here, names as file 1 of its manifest.*batch_root") as raised:
            store.names(manifest(entry), where="here")
        assert "x.parquet" not in str(raised.value)
