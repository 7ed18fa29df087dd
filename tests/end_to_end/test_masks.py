"""Random tables, masked on Arrow and on dict records, through both lanes into Iceberg: the same bytes arrive."""

import json
import subprocess

import pyarrow as pa
import pytest
import simplejson

from icetap.columnar.lines import record_lines
from icetap.testing.engines import duckdb_reader
from icetap.testing.masked_tables import random_table
from icetap.types import singer_from_schema

from . import lake
from .pipes import BIN

TABLES = 16
SOAK_TABLES = 320
LANES = ("arrow", "records", "dicts")


def schema_line(stream, schema):
    message = {"type": "SCHEMA", "stream": stream, "schema": schema, "key_properties": ["id"]}
    return json.dumps(message).encode() + b"\n"


def columnar_lanes(table, folder):
    """SCHEMA and rows as taps of Arrow batches send them: in a file, and as RECORD lines."""
    masked = table.masked()
    file = folder / f"{table.name}.arrow"
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, masked.schema) as writer:
        writer.write_batch(masked)
    schema = singer_from_schema(masked.schema)
    batch = {
        "type": "BATCH",
        "stream": f"{table.name}_arrow",
        "encoding": {"format": "arrow"},
        "manifest": [file.as_uri()],
    }
    yield schema_line(f"{table.name}_arrow", schema)
    yield json.dumps(batch).encode() + b"\n"
    yield schema_line(f"{table.name}_records", schema)
    yield from (block.to_pybytes() for block in record_lines(masked, stream=f"{table.name}_records"))


def dict_lane(table):
    """SCHEMA and rows as taps of dict records send them."""
    schema, records = table.masked_records()
    stream = f"{table.name}_dicts"
    yield schema_line(stream, schema)
    for record in records:
        message = {"type": "RECORD", "stream": stream, "record": record}
        yield (
            simplejson.dumps(message, use_decimal=True, ensure_ascii=False, separators=(",", ":")).encode()
            + b"\n"
        )


def loaded(tables, folder):
    """Load all tables by all lanes in one run, and return where they are."""
    batches = folder / "batches"
    batches.mkdir(mode=0o700)
    lines = [line for table in tables for line in (*columnar_lanes(table, batches), *dict_lane(table))]
    config = folder / "target.json"
    config.write_text(json.dumps({"warehouse": str(folder / "warehouse"), "batch_root": str(batches)}))
    done = subprocess.run(
        [str(BIN / "target-iceberg"), "--config", str(config)],
        input=b"".join(lines),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    return folder / "warehouse"


def stored(warehouse, table):
    """A table's Iceberg columns, and its rows as Arrow by an engine that is not ours."""
    metadata = lake.metadata(warehouse, table)
    (schema,) = (each for each in metadata["schemas"] if each["schema-id"] == metadata["current-schema-id"])
    with duckdb_reader() as connection:
        location = lake.metadata_location(warehouse, table)
        rows = connection.execute(f"FROM iceberg_scan('{location}') ORDER BY id").to_arrow_table()
    return [without_doc(field) for field in schema["fields"]], rows


def without_doc(column):
    """A column without its comment, which tells JSON objects from JSON that came as text."""
    return {name: value for name, value in column.items() if name != "doc"}


def check(seeds, folder):
    tables = [random_table(seed) for seed in seeds]
    warehouse = loaded(tables, folder)
    for table in tables:
        columns, rows = zip(*(stored(warehouse, f"{table.name}_{lane}") for lane in LANES), strict=True)
        assert columns[1:] == columns[:1] * 2, f"{table.name}: other columns"
        for lane, other in zip(LANES[1:], rows[1:], strict=True):
            different = [name for name in rows[0].column_names if not rows[0][name].equals(other[name])]
            assert different == [], f"{table.name}: {lane} and arrow differ, masks {table.masks}"
        assert rows[0].num_rows == len(table.rows)


def test_random_masked_tables_are_the_same_through_every_lane(tmp_path):
    check(range(TABLES), tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_hundreds_of_random_masked_tables_are_the_same_through_every_lane(tmp_path):
    for start in range(1000, 1000 + SOAK_TABLES, TABLES):
        folder = tmp_path / str(start)
        folder.mkdir()
        check(range(start, start + TABLES), folder)
