"""BATCH manifests are input from outside; files are read batch by batch, exactly or not at all."""

import os
import socket
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pytest

from icetap.columnar.batches import BATCH_FILE
from icetap.errors import ConfigurationError, DataError
from icetap.types import schema_from_singer
from target_iceberg.arrow_lane import BatchFiles
from target_iceberg.decode import StreamDecoder

NAME = "icetap-0123456789ab-42-1.arrow"
INSTANT = pa.timestamp("us", tz="UTC")
PROPERTIES = {
    "id": {"type": "integer"},
    "u": {"type": "string", "format": "uuid"},
    "d": {
        "type": "number",
        "x-sql-datatype": "decimal",
        "x-sql-datatype-properties": {"precision": 10, "scale": 2},
    },
    "t": {"type": "string", "format": "date-time"},
    "o": {"type": "object", "properties": {"a": {"type": "integer"}}},
}


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "batches"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def decoder() -> StreamDecoder:
    return StreamDecoder("s", schema_from_singer({"properties": PROPERTIES}, key_properties=["id"]))


def manifest(*urls: object, encoding: str = "arrow") -> dict:
    return {"type": "BATCH", "stream": "s", "encoding": {"format": encoding}, "manifest": list(urls)}


def write(path: Path, *batches: pa.RecordBatch) -> Path:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write(batch)
    return path


def batch_of(**columns) -> pa.RecordBatch:
    return pa.record_batch(columns)


def decode_file(decoder: StreamDecoder, path: Path, **options) -> list:
    with path.open("rb") as file:
        return list(decoder.decode_batch_file(file, **options))


def test_the_name_used_here_is_that_of_a_batch_file():
    assert BATCH_FILE.fullmatch(NAME)


def test_a_file_of_ours_in_the_folder_is_taken(root):
    path = write(root / NAME, batch_of(id=[1]))

    files = BatchFiles(root)
    (found,) = files.paths(manifest(path.as_uri()), line=3)

    assert found == path
    with files.open(found) as file:
        assert file.read(6) == b"ARROW1"


def test_the_folder_itself_may_be_reached_through_a_link(root, tmp_path):
    write(root / NAME, batch_of(id=[1]))
    link = tmp_path / "link"
    link.symlink_to(root)

    assert BatchFiles(link).paths(manifest((link / NAME).as_uri()), line=1) == [root / NAME]
    assert BatchFiles(link).paths(manifest(f"file://localhost{root / NAME}"), line=1) == [root / NAME]


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
            BatchFiles(root).paths(manifest(entry), line=9)

    assert "outside/" not in str(raised.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_refused(root):
    path = write(root / NAME, batch_of(id=[1]))
    os.chown(path, 12345, 12345)

    with pytest.raises(DataError, match="not a regular file of this user"):
        BatchFiles(root).paths(manifest(path.as_uri()), line=1)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_that_others_may_write_to_is_refused(mode, root):
    path = write(root / NAME, batch_of(id=[1]))
    root.chmod(mode)

    with pytest.raises(ConfigurationError, match="batch_root"):
        BatchFiles(root).paths(manifest(path.as_uri()), line=1)


def test_a_missing_folder_names_the_setting(tmp_path):
    with pytest.raises(ConfigurationError, match=r"'batch_root'.*cannot be opened"):
        BatchFiles(tmp_path / "none").paths(manifest(f"file://{tmp_path}/none/{NAME}"), line=1)


def test_a_file_that_was_replaced_after_the_manifest_is_refused(root, tmp_path):
    path = write(root / NAME, batch_of(id=[1]))
    files = BatchFiles(root)
    (found,) = files.paths(manifest(path.as_uri()), line=1)
    path.rename(tmp_path / "kept")
    path.symlink_to(tmp_path / "kept")

    with pytest.raises(DataError, match="symbolic link"):
        files.open(found)


def test_another_encoding_names_the_setting(root):
    with pytest.raises(ConfigurationError, match=r"'jsonl'.*batch_config"):
        BatchFiles(root).paths(manifest(encoding="jsonl"), line=1)


def test_a_file_is_given_batch_by_batch_in_the_declared_types(root, decoder):
    first = batch_of(
        id=pa.array([1, 2], pa.int32()),
        u=pa.array([UUID(int=1).bytes, None], pa.binary(16)),
        d=pa.array([Decimal("1.1"), None], pa.decimal128(5, 1)),
        t=pa.array([datetime(2024, 1, 1, tzinfo=UTC), None], pa.timestamp("ms", tz="Europe/Berlin")),
        o=pa.array([{"a": 1}, None], pa.struct([("a", pa.int64())])),
    )
    second = first[1:].set_column(0, "id", pa.array([3], pa.int32()))
    write(root / NAME, first, second)

    decoded = decode_file(decoder, root / NAME, version=7)

    assert [one.batch.num_rows for one in decoded] == [2, 1]
    assert {one.version for one in decoded} == {7}
    assert all(one.batch.schema == decoder.schema for one in decoded)
    assert decoded[0].batch.to_pylist()[0] == {
        "id": 1, "u": UUID(int=1), "d": Decimal("1.10"), "t": datetime(2024, 1, 1, tzinfo=UTC), "o": {"a": 1},
    }  # fmt: skip
    assert decoded[1].batch.to_pylist() == [{"id": 3, "u": None, "d": None, "t": None, "o": None}]
    assert decoded[0].deleted is None


def test_deletes_are_marked_and_missing_columns_are_null(root, decoder):
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    write(root / NAME, batch_of(id=[1, 2], _sdc_deleted_at=pa.array([None, moment], INSTANT)))

    (decoded,) = decode_file(decoder, root / NAME)

    assert decoded.batch.column("o").null_count == 2
    assert decoded.deleted.to_pylist() == [False, True]


def test_rows_that_no_table_can_hold_are_refused_by_their_number(root, decoder):
    instants = pa.array([0, 253_402_300_800_000_000, 0, -62_135_596_800_000_001], pa.int64()).view(INSTANT)
    write(
        root / NAME,
        batch_of(id=[1, 2, None, 4], t=instants),
        batch_of(id=[None, 6], t=instants[:1].take([0, 0])),
    )

    decoded = decode_file(decoder, root / NAME)

    assert [one.batch.column("id").to_pylist() for one in decoded] == [[1], [6]]
    refused = [(one.line, one.column, one.reason) for part in decoded for one in part.rejected]
    assert refused == [
        (2, "t", "a year outside 1 to 9999"),
        (3, "id", "a key that is missing or null"),
        (4, "t", "a year outside 1 to 9999"),
        (5, "id", "a key that is missing or null"),
    ]
    assert '"t": 253402300800000000' in decoded[0].rejected[0].raw


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        pytest.param({"id": ["1"]}, "column 'id'.*is string; SCHEMA declares int64", id="string-for-integer"),
        pytest.param({"id": [1], "d": [1.5]}, "column 'd'.*is double", id="double-for-decimal"),
        pytest.param({"id": [1], "t": pa.array([0], pa.timestamp("us"))}, "column 't'", id="no-zone"),
        pytest.param(
            {"id": [1], "t": pa.array([1], pa.timestamp("ns", tz="UTC"))}, "column 't'.*do not fit", id="ns"
        ),
        pytest.param({"id": pa.array([2**63], pa.uint64())}, "column 'id'.*do not fit", id="beyond-64-bits"),
        pytest.param({"id": [1], "d": [Decimal("1.123")]}, "column 'd'.*do not fit", id="scale"),
        pytest.param(
            {"id": [1], "x": [1]}, "column 'x', which the stream's SCHEMA does not declare", id="undeclared"
        ),
        pytest.param({"id": [1], "o": [{"b": 1}]}, "column 'o'", id="undeclared-member"),
        pytest.param({"id": [1], "u": ["x"]}, "column 'u'", id="text-for-uuid"),
    ],
)
def test_a_file_of_other_types_is_refused_with_the_column(columns, words, root, decoder):
    write(root / NAME, batch_of(**columns))

    with pytest.raises(DataError, match=words):
        decode_file(decoder, root / NAME)


@pytest.mark.parametrize(
    "content", [b"", b"ARROW1", b"not arrow at all", None], ids=["empty", "magic", "text", "cut"]
)
def test_a_damaged_file_is_refused_and_does_not_end_the_process(content, root, decoder):
    path = write(root / NAME, batch_of(id=list(range(10_000))))
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)

    with pytest.raises(DataError, match="not a readable Arrow file"):
        decode_file(decoder, path)


def test_damage_inside_a_file_is_found_before_it_is_used(root):
    decoder = StreamDecoder("s", schema_from_singer({"properties": {"s": {"type": "string"}}}))
    path = write(root / NAME, batch_of(s=["valid text here"]))
    path.write_bytes(path.read_bytes().replace(b"valid", b"v\xff\xfe\xfdd"))

    with pytest.raises(DataError, match="not a readable Arrow file"):
        decode_file(decoder, path)
