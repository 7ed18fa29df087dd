"""An API that changes while it is read, tap and loader killed at random: the Iceberg table equals the source.

The short form, with a table in memory, is in `shared/tests/test_rest_streams.py`.
"""

import random
import signal

import pytest

from icetap.testing.api import FakeApi, MovingSource

from . import lake
from .pipes import BIN, Kill, Pipe

CONNECTOR = """
version: 1
id: moving
base_url: "{config.base_url}"
parameters: {base_url: {required: true}}
streams:
  things:
    primary_key: id
    request: {path: /things}
    response: {records: "$.data[*]"}
    pagination: PAGINATION
    incremental: {replication_key: at, order: ORDER, start: {in: query, name: since}, lookback: PT1M}
    schema:
      properties:
        id: {type: integer}
        at: {type: string, format: date-time}
        created: {type: integer}
        n: {type: integer}
"""
STYLES = {
    "page": ("asc", "{type: page, page: {in: query, name: page}, size: {in: query, name: size, value: 5}}"),
    "cursor": (
        "none",
        "{type: cursor, token: {in: query, name: after}, next: {last_record: id}, has_more: $.has_more}",
    ),
}


def changing(folder, style, *, runs, kill_every):
    order, pagination = STYLES[style]
    folder.mkdir(parents=True, exist_ok=True)
    connector = folder / "moving.yaml"
    connector.write_text(CONNECTOR.replace("PAGINATION", pagination).replace("ORDER", order))
    rng = random.Random(5)
    with FakeApi() as api:
        source = MovingSource(api, 5, style=style)
        pipe = Pipe(
            folder / "pipe",
            {"connector": str(connector), "base_url": api.url},
            {"flush_seconds": 1},
            tap_command=(str(BIN / "tap-rest"),),
        )
        for number in range(runs):
            kill = None
            if number and number % kill_every == 0:
                kill = Kill(
                    rng.choice(["tap", "target", "both"]),
                    signal.SIGKILL,
                    rng.randrange(2, 12),
                    rng.random() / 5,
                )
            ran = pipe.run(kill=kill)
            assert ran.is_good or kill is not None, ran.log[-3000:]
            for _ in range(10):
                source.change()
        source.is_still = True
        pipe.run().require()
        found = lake.query(pipe.warehouse, "things", "SELECT id, n, created FROM t")
    expected = [(row["id"], row["n"], row["created"]) for row in source.table.records.values()]
    assert not lake.differences(expected, found)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("style", STYLES)
def test_a_table_equals_a_changing_api_after_50_runs_with_kills(tmp_path, style):
    changing(tmp_path, style, runs=50, kill_every=3)
