"""One transaction of any size: it passes through the tap without being held, and in seconds."""

import json
import subprocess
import time
import uuid
from pathlib import Path

import pyarrow as pa
import pytest

from .pipes import BIN, measured

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

COLUMNS = """id bigint PRIMARY KEY, a text, b text, at timestamptz, d date, n numeric(12,2), f float8, is_new boolean,
    u uuid, i int, j jsonb, s text"""
ROWS = """SELECT i, 'text ' || i, md5(i::text), now(), '2024-01-01'::date + i %% 1000, i / 7.0, i / 3.0, i %% 2 = 0,
    gen_random_uuid(), i %% 1000, '{"a": 1}', 'short' FROM generate_series(1, %d) AS i"""
PEAK_MB = 512
CHANGES_A_SECOND = 5_000
"""what a very busy machine of two cores does; a quiet one ten times as many."""


@pytest.mark.parametrize("lane", ["record", "arrow"])
@pytest.mark.parametrize("changes", [300_000, 2_000_000])
def test_a_transaction_is_never_held_as_a_whole(lane, changes, postgres_server, tmp_path):
    name = postgres_server.new_database()
    postgres_server.execute(name, f"CREATE TABLE t ({COLUMNS})")
    config = {
        "host": postgres_server.host,
        "port": postgres_server.port,
        "user": postgres_server.user,
        "password": postgres_server.password,
        "database": name,
        "replication_slot_name": f"volume_{uuid.uuid4().hex[:12]}",
        "streams": {"*": {"replication_method": "LOG_BASED"}},
    }
    if lane == "arrow":
        config["batch_config"] = {
            "encoding": {"format": "arrow"},
            "storage": {"root": str(tmp_path / "files")},
        }
    try:
        state, _, _ = run(tmp_path, config, state={})
        postgres_server.execute(name, f"INSERT INTO t {ROWS % changes}")
        began = time.monotonic()
        _, rows, peak = run(tmp_path, config, state=state)
        seconds = time.monotonic() - began
    finally:
        postgres_server.execute(name, f"SELECT pg_drop_replication_slot('{config['replication_slot_name']}')")

    print(f"{changes} changes, {lane}: {seconds:.1f} s, {peak} MB")
    assert rows == changes
    assert peak < PEAK_MB
    assert changes / seconds > CHANGES_A_SECOND


def run(folder, config, *, state):
    """Run the tap; return its last STATE, how many rows came, and its peak of memory in MB."""
    for name, value in {"config": config, "state": state}.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    tap = [
        str(BIN / "tap-postgres"),
        "--config",
        str(folder / "config.json"),
        "--state",
        str(folder / "state.json"),
    ]
    rows = 0
    with subprocess.Popen(measured(tap, into=folder / "peak"), stdout=subprocess.PIPE) as process:
        for line in process.stdout:
            if line.startswith(b'{"type":"RECORD"'):
                rows += 1
            elif line.startswith(b'{"type":"BATCH"'):
                rows += take(json.loads(line)["manifest"])
            elif line.startswith(b'{"type":"STATE"'):
                state = json.loads(line)["value"]
    assert process.returncode == 0
    return state, rows, int((folder / "peak").read_text())


def take(urls):
    """Count the rows of Arrow files and delete them, as the loader does."""
    rows = 0
    for url in urls:
        path = url.removeprefix("file://")
        with pa.memory_map(path) as file:
            reader = pa.ipc.open_file(file)
            rows += sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches))
        Path(path).unlink()
    return rows
