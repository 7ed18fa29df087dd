"""What a record of an API costs tap-rest itself, in what memory, and what parallel requests bring.

The API is a process of its own whose answers are text made beforehand, so that the tap's share is what is measured.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import BenchError, run
from report import Row, table

from icetap.testing.api import FakeApi, Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measure import Usage

TAP = Path(sys.executable).parent / "tap-rest"
PAGE = 100
FEW_ROWS = 100_000
LATENCY_SECONDS, SLOW_REQUESTS = 0.1, 400
GOAL_MICROSECONDS, GOAL_GROWTH_MB, GOAL_TIMES = 60, 20, 5

RECORD = json.dumps(
    {
        "id": -1,
        "created": 1_700_000_000,
        "updated_at": "2026-01-01T00:00:00Z",
        "name": "Ada Lovelace",
        "email": "ada@example.org",
        "amount": 120.5,
        "currency": "eur",
        "paid": True,
        "address": {"city": "Porto", "zip": "4000-001", "lat": 41.12},
        "tags": ["a", "b"],
        "note": None,
        "status": "succeeded",
        "score": 4,
        "reference": "ABC-1",
        "metadata": {"order": "6735"},
    }
).replace("-1", "%d", 1)

CONNECTOR = """
version: 1
id: bench
base_url: "{config.base_url}"
parameters: {base_url: {required: true}}
streams:
  things:
    primary_key: id
    request: {path: /things}
    response: {records: "$.data[*]"}
    pagination: {type: page, page: {in: query, name: page}, size: {in: query, name: size, value: 100}, total: $.total}
    incremental: {replication_key: updated_at, start: {in: query, name: since}}
    schema: infer
"""


def _serve(rows: int, latency: float) -> None:
    """Answer until the process is ended; the address is the first line of standard output."""
    api = FakeApi(latency=latency)

    def page(call: Any) -> Reply:
        first = (int(call.param("page")) - 1) * PAGE
        records = ",".join([RECORD % number for number in range(first, min(first + PAGE, rows))])
        return Reply(f'{{"data":[{records}],"total":{rows}}}'.encode())

    api.route("GET", "/things", page)
    print(api.url, flush=True)
    sys.stdin.read()


@contextlib.contextmanager
def _api(rows: int, *, latency: float = 0.0) -> Iterator[str]:
    command = [sys.executable, __file__, "serve", str(rows), str(latency)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            url = server.stdout.readline().strip()
            if not url:
                raise BenchError("the API has not started")
            yield url
        finally:
            server.stdin.close()
            server.wait(10)


def read(rows: int, *, latency: float = 0.0, max_parallel: int = 1) -> Usage:
    """Measure tap-rest while it reads so many records, 100 in an answer that takes `latency` seconds."""
    with _api(rows, latency=latency) as url, tempfile.TemporaryDirectory() as folder:
        connector, config = Path(folder) / "bench.yaml", Path(folder) / "config.json"
        connector.write_text(CONNECTOR)
        settings = {"connector": str(connector), "base_url": url, "max_parallel": max_parallel}
        config.write_text(json.dumps(settings))
        return run([TAP, "--config", config], stdout=Path("/dev/null"))


def measured(rows: int) -> list[Row]:
    """Return the table's lines; start and end of the tap count everywhere."""
    few, many = read(min(FEW_ROWS, rows)), read(rows)
    one, eight = (
        read(SLOW_REQUESTS * PAGE, latency=LATENCY_SECONDS, max_parallel=number).wall for number in (1, 8)
    )
    cost, growth = many.cpu / rows * 1e6, many.peak_mb - few.peak_mb
    return [
        Row(
            f"processor time of the tap a record, {rows:,} records in {rows // PAGE:,} requests",
            f"{cost:.1f} µs",
            f"≤ {GOAL_MICROSECONDS} µs",
            cost <= GOAL_MICROSECONDS,
        ),
        Row(f"most memory, {min(FEW_ROWS, rows):,} records", f"{few.peak_mb:.0f} MB"),
        Row(
            f"most memory, {rows:,} records",
            f"{many.peak_mb:.0f} MB",
            f"≤ {GOAL_GROWTH_MB} MB more",
            growth <= GOAL_GROWTH_MB,
        ),
        Row(
            f"{SLOW_REQUESTS} requests, each {LATENCY_SECONDS * 1000:.0f} ms away, one at once",
            f"{one:.1f} s",
        ),
        Row(
            "the same, eight at once",
            f"{eight:.1f} s, {one / eight:.1f} times as fast",
            f"≥ {GOAL_TIMES} times",
            one / eight >= GOAL_TIMES,
        ),
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        _serve(int(sys.argv[2]), float(sys.argv[3]))
    else:
        print(table(measured(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)))
