"""BATCH messages of foreign taps end to end: the same table as from RECORD lines, whatever the encoding."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from icetap.errors import ConfigurationError, DataError

TAP = Path(__file__).parent / "batch_tap.py"
JSONL = {"encoding": {"format": "jsonl", "compression": "gzip"}}
SAYS_NONE = {"encoding": {"format": "jsonl", "compression": "none"}}
PARQUET = {"encoding": {"format": "parquet"}}
PARQUET_GZIP = {"encoding": {"format": "parquet", "compression": "gzip"}}


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "batches"
    path.mkdir(mode=0o700)
    return path


def tap_output(folder: Path, *, batches: dict | None = None, rows: int = 25, size: int = 10) -> bytes:
    """Run the tap as a command; what it writes to standard output."""
    config: dict = {"rows": rows}
    if batches:
        config["batch_config"] = {**batches, "storage": {"root": str(folder)}, "batch_size": size}
    path = folder.parent / "tap.json"
    path.write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, str(TAP), "--config", str(path)], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout


@pytest.mark.parametrize(
    "batches",
    [JSONL, SAYS_NONE, PARQUET, PARQUET_GZIP],
    ids=["jsonl", "says-none", "parquet", "parquet-gzip"],
)
def test_a_tap_of_the_sdk_loads_the_same_table_in_batches_as_in_records(batches, lake, singer, folder):
    lake.ok(tap_output(folder), namespace="records")

    outcome = lake.ok(tap_output(folder, batches=batches), batch_root=str(folder))

    assert outcome.stream("orders")["rows_inserted"] == 25
    assert (
        outcome.last_state["bookmarks"]["orders"]["replication_key_value"]
        == "2024-01-01T00:00:25.000025+00:00"
    )
    sent = lake.catalog.load_table(("records", "orders")).scan().to_arrow().sort_by("id")
    filed = lake.table("orders").scan().to_arrow().sort_by("id")
    assert filed.schema.names == sent.schema.names
    assert filed.drop_columns(["extra"]).equals(sent.drop_columns(["extra"]))
    assert [json.loads(one) for one in filed["extra"].to_pylist()] == [
        json.loads(one) for one in sent["extra"].to_pylist()
    ]
    assert list(folder.iterdir()) == []


def batch(*paths: Path, encoding: str = "jsonl", stream: str = "s", **more) -> dict:
    encoded = {"format": encoding, "compression": "none"}
    urls = [path.as_uri() for path in paths]
    return {"type": "BATCH", "stream": stream, "encoding": encoded, "manifest": urls, **more}


def jsonl(path: Path, *lines: bytes | dict, packed: bool = False) -> Path:
    data = b"".join(
        (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines
    )
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


@pytest.fixture
def rooted(lake, folder):
    lake.config["batch_root"] = str(folder)
    return lake


def test_one_bad_line_goes_to_quarantine_with_its_number_and_the_others_are_loaded(rooted, singer, folder):
    file = jsonl(
        folder / "any.jsonl",
        {"id": 1, "name": "a"},
        {"id": "two", "name": "b"},
        b'{"id": 3, "name": "c"',
        b"[4]",
        {"id": 5, "name": None},
        {"name": "no key"},
    )

    outcome = rooted.ok(singer.schema(), batch(file), singer.state(s=5))

    assert rooted.ids() == [1, 5]
    assert outcome.stream()["rows_rejected"] == 4
    kept = rooted.table("s__rejected").scan().to_arrow().to_pylist()
    assert {(row["line"], row["column"]) for row in kept} == {(2, "id"), (3, None), (4, None), (6, "id")}
    assert {row["line"]: row["record"] for row in kept}[3] == '{"id": 3, "name": "c"'


def test_the_contract_names_file_and_line_when_it_stops(rooted, singer, folder):
    file = jsonl(folder / "any.jsonl", {"id": 1}, {"id": "two"})
    outcome = rooted.load(singer.schema(), batch(file), on_rejected="fail")
    assert isinstance(outcome.error, DataError)
    assert "line 2" in str(outcome.error)
    assert "BATCH" in str(outcome.error)


def test_an_undeclared_field_becomes_a_column_and_a_frozen_table_refuses_it(rooted, singer, folder):
    lines = jsonl(folder / "a.jsonl", {"id": 1, "more": 1.5})
    table = folder / "b.parquet"
    pq.write_table(pa.table({"id": [2], "price": pa.array([1], pa.int16())}), table)

    rooted.ok(singer.schema(), batch(lines), batch(table, encoding="parquet"), singer.state(s=2))

    assert rooted.rows() == [
        {"id": 1, "name": None, "more": 1.5, "price": None},
        {"id": 2, "name": None, "more": None, "price": 1},
    ]
    again = folder / "c.parquet"
    pq.write_table(pa.table({"id": [3], "another": ["x"]}), again)
    outcome = rooted.load(singer.schema(), batch(again, encoding="parquet"), schema_policy="freeze")
    assert "column 'another'" in str(outcome.error)


@pytest.mark.parametrize("encoding", ["jsonl", "parquet"])
def test_what_has_no_place_is_discarded_and_counted(encoding, rooted, singer, folder):
    rooted.ok(singer.schema(), singer.records([1]))
    rows = [{"id": 2, "name": 5, "more": "x"}, {"id": 3, "name": 6, "more": None}]
    file = folder / "d"
    if encoding == "jsonl":
        jsonl(file, *rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), file)

    outcome = rooted.ok(singer.schema(), batch(file, encoding=encoding), schema_policy="discard")

    assert rooted.names() == {1: "a1", 2: None, 3: None}
    assert outcome.stream()["discarded_values"] == {"more": 1}
    assert outcome.stream()["nulled_values"] == {"name": 2}


def test_versions_in_the_message_complete_a_full_read(rooted, singer, folder):
    rooted.ok(singer.schema(), singer.records([1, 2, 3], version=1), singer.activate(1))
    file = jsonl(folder / "v.jsonl", {"id": 2, "name": "b"}, packed=True)

    rooted.ok(singer.schema(), batch(file, version=2), singer.activate(2), singer.state(s=2))

    assert rooted.ids() == [2]


def test_deletes_come_in_batches_too(rooted, singer, folder):
    rooted.ok(singer.schema(), singer.records([1, 2, 3]), singer.state(s=3))
    lines = jsonl(folder / "d.jsonl", {"id": 1, "_sdc_deleted_at": "2024-01-01T00:00:00Z"})
    table = folder / "d.parquet"
    pq.write_table(pa.table({"id": [2], "_sdc_deleted_at": ["2024-01-01T00:00:00Z"]}), table)

    rooted.ok(singer.schema(), batch(lines), batch(table, encoding="parquet"), singer.state(s=3))

    assert rooted.ids() == [3]


@pytest.mark.parametrize("encoding", ["jsonl", "parquet"])
def test_stream_maps_hold_for_batches(encoding, rooted, singer, folder):
    rows = [{"id": 1, "name": "secret"}, {"id": 2, "name": "x"}]
    if encoding == "jsonl":
        file = jsonl(folder / "m.jsonl", rows[0], b"broken", rows[1])
    else:
        file = folder / "m.parquet"
        pq.write_table(pa.Table.from_pylist(rows), file)
    maps = {"s": {"name": "md5(name)", "__filter__": "record['id'] < 2"}}

    outcome = rooted.ok(singer.schema(), batch(file, encoding=encoding), singer.state(s=2), stream_maps=maps)

    assert rooted.rows() == [{"id": 1, "name": "5ebe2294ecd0e0f08eab7690d2a6ee69"}]
    assert outcome.stream()["rows_rejected"] == (1 if encoding == "jsonl" else 0)


NAMED = "tap-x--s-0b9c7f6e-5d4c-4b3a-8291-70605f4e3d2c"


def test_a_file_of_the_sdk_is_deleted_after_the_commit_and_one_of_somebody_never(rooted, singer, folder):
    other = jsonl(folder / "orders.jsonl", {"id": 2, "name": "b"})
    named = jsonl(folder / f"{NAMED}-2.json.gz", {"id": 1, "name": "a"}, packed=True)
    rooted.ok(singer.schema("t"), batch(named, stream="t"), batch(other, stream="t"), singer.state(t=1))
    assert named.exists(), "it carries the name of another stream"

    outcome = rooted.ok(singer.schema(), batch(named), batch(other), singer.state(s=1))
    assert not named.exists()
    assert other.exists()
    (warning,) = outcome.stream()["warnings"]
    assert warning.startswith("stream 's' left 1 BATCH files")


def test_files_stay_while_their_rows_are_not_in_the_table(rooted, singer, folder):
    named = jsonl(folder / f"{NAMED}-1.json.gz", {"id": 9, "name": "a"}, packed=True)
    rooted.ok(singer.schema(), singer.records([1], version=1), singer.activate(1))

    outcome = rooted.load(singer.schema(), batch(named, version=2), load_method="overwrite")

    assert "not complete" in str(outcome.error)
    assert named.exists()
    assert rooted.ids() == [1]


def test_a_file_that_is_cut_off_keeps_the_rows_before_it_and_fails_the_run(rooted, singer, folder):
    good = jsonl(folder / "good.jsonl", {"id": 1, "name": "a"})
    cut = folder / "cut.json.gz"
    cut.write_bytes(gzip.compress(b'{"id": 2}\n' * 1000)[:-10])

    outcome = rooted.load(singer.schema(), batch(good), singer.state(s=1), batch(cut), singer.state(s=2))

    assert isinstance(outcome.error, DataError)
    assert "line 4 of the input, a BATCH of stream 's': file 1 of its manifest" in str(outcome.error)
    assert 1 in rooted.ids()
    assert outcome.last_state == singer.state(s=1)["value"]


def test_an_encoding_that_is_not_known_names_the_setting(rooted, singer, folder):
    outcome = rooted.load(singer.schema(), batch(folder / "x", encoding="csv"))
    assert isinstance(outcome.error, ConfigurationError)
    assert "'csv'; the loader reads arrow, parquet, jsonl" in str(outcome.error)
    assert "batch_config" in str(outcome.error)


@pytest.mark.parametrize("version", ["2", 1.5, True])
def test_a_version_that_is_no_integer_is_refused(version, rooted, singer, folder):
    outcome = rooted.load(singer.schema(), batch(jsonl(folder / "x", {"id": 1}), version=version))
    assert "'version' that is not an integer" in str(outcome.error)


def test_a_big_batch_is_committed_in_parts(rooted, singer, folder):
    file = jsonl(folder / "big.jsonl", *({"id": n, "name": "x" * 1000} for n in range(8000)))

    outcome = rooted.ok(singer.schema(), batch(file), singer.state(s=1), batch_size_rows=2000)

    assert outcome.stream()["commits"] >= 3
    assert outcome.stream()["rows_inserted"] == 8000
    assert outcome.stream()["input_bytes"] == file.stat().st_size


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_gigabyte_of_lines_in_one_file_stays_within_the_memory(rooted, singer, folder):
    part = "".join(
        json.dumps({"id": n, "name": f"{n * 2654435761 % 2**64:x}" * 8}) + "\n" for n in range(50_000)
    )
    packed, size = gzip.compress(part.encode(), 1), 0
    path = folder / "big.json.gz"
    with path.open("wb") as file:
        while size < 2**30:
            file.write(packed)
            size += len(part)
    report = folder.parent / "report.json"

    with rooted.file([singer.schema(keys=[]), batch(path), singer.state(s=1)]).open("rb") as source:
        done = subprocess.run(
            rooted.command(report_path=str(report)),
            stdin=source,
            capture_output=True,
            timeout=1700,
            check=False,
        )

    assert done.returncode == 0, done.stderr
    told = json.loads(report.read_text())
    assert told["streams"][0]["input_bytes"] == size
    assert told["peak_memory_mb"] < 512
