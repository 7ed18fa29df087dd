"""An API that changes while it is read, tap and loader killed at random: the Iceberg table equals the source.

Two of three runs are killed, if they last so long. Clocks differ, times are shared, changes are told of late, rows move
between pages (`icetap.testing.api.Unrest`). The short forms, with tables in memory, lie beside the taps.
"""

import json
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from icetap.connectors import connector_named, find_connectors
from icetap.testing.api import FakeApi, MovingSource, Unrest
from icetap.testing.in_process import discover
from icetap.testing.samples import load_sample
from tap_shopify.tap import TapShopify
from tap_stripe.tap import TapStripe

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
    incremental: {replication_key: at, order: ORDER, start: {in: query, name: since}, lookback: PT5M}
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
RUNS = 50


@dataclass
class Moving:
    """A source, how it is read, and what should be in its tables."""

    unrest: Unrest
    command: list[str]
    settings: Callable[[random.Random], dict]
    streams: dict[str, tuple[str, ...]]
    expected: Callable[[str], list[tuple]]


def rest(folder: Path, style: str) -> Moving:
    order, pagination = STYLES[style]
    connector = folder / "moving.yaml"
    connector.write_text(CONNECTOR.replace("PAGINATION", pagination).replace("ORDER", order))
    api = FakeApi()
    source = MovingSource(api, 5, style=style)
    return Moving(
        source.unrest,
        [str(BIN / "tap-rest")],
        lambda _: {"connector": str(connector), "base_url": api.url},
        {"things": ("id", "n", "created")},
        lambda _: [(row["id"], row["n"], row["created"]) for row in source.table.records.values()],
    )


def _sample(name):
    return load_sample(connector_named(name, find_connectors(Path(__file__).parent)))


def _only(folder: Path, tap_class, config, streams) -> list[str]:
    """The command that reads some streams."""
    catalog = discover(tap_class, config, select=False)
    catalog["streams"] = [one for one in catalog["streams"] if one["tap_stream_id"] in streams]
    file = folder / "catalog.json"
    file.write_text(json.dumps(catalog))
    return [str(BIN / tap_class.name), "--catalog", str(file)]


def stripe(folder: Path) -> Moving:
    sample = _sample("tap-stripe")
    source = sample.MovingAccount(5)
    config = sample.settings(source.fake)
    command = _only(folder, TapStripe, config, source.STREAMS)
    return Moving(source.unrest, command, lambda _: config, source.STREAMS, source.expected)


def shopify(folder: Path) -> Moving:
    source = _sample("tap-shopify").MovingShop(5)
    command = _only(folder, TapShopify, source.settings(), source.STREAMS)

    def settings(some: random.Random) -> dict:
        return source.settings(bulk_operations=some.choice(["always", "never"]))

    return Moving(source.unrest, command, settings, source.STREAMS, source.expected)


def shopify_rest(folder: Path) -> Moving:
    source = _sample("tap-shopify").MovingShop(5)
    config = source.settings(api="rest")
    command = _only(folder, TapShopify, config, ["orders"])
    streams = {"orders": source.STREAMS["orders"]}
    return Moving(source.unrest, command, lambda _: config, streams, source.expected)


SOURCES = {
    "tap-rest by pages": lambda folder: rest(folder, "page"),
    "tap-rest by cursors": lambda folder: rest(folder, "cursor"),
    "tap-stripe": stripe,
    "tap-shopify": shopify,
    "tap-shopify by REST": shopify_rest,
}


def random_kill(some: random.Random) -> Kill:
    # Some runs are short: a late kill finds nobody.
    line = some.choice([some.randrange(1, 5), some.randrange(1, 12), some.randrange(2, 60)])
    delay = some.choice([0, some.random() / 4])
    return Kill(some.choice(["tap", "target", "both"]), signal.SIGKILL, line, delay, every=5)


def changing(source: Moving, folder: Path, *, runs: int) -> int:
    """Read a source so many times, two of three runs killed if they last, and once more when it is still; return the kills."""
    some = random.Random(5)
    pipe = Pipe(folder / "pipe", {}, {"flush_seconds": 1}, tap_command=source.command)
    kills = 0
    for number in range(runs):
        pipe.tap = source.settings(some)
        ran = pipe.run(kill=random_kill(some) if number % 3 < 2 else None)
        assert ran.is_good or ran.killed, ran.log[-3000:]
        kills += ran.killed
        source.unrest.between_runs()
    source.unrest.stop()
    pipe.run().require()
    for stream, columns in source.streams.items():
        found = lake.query(pipe.warehouse, stream, f"SELECT {', '.join(columns)} FROM t")
        assert not lake.differences(source.expected(stream), found), stream
    return kills


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SOURCES)
def test_a_table_equals_a_changing_api_after_50_runs_with_kills(tmp_path, name):
    kills = changing(SOURCES[name](tmp_path), tmp_path, runs=RUNS)

    print(f"{name}: the tables equal the source after {RUNS} runs, {kills} of them killed")
    assert kills >= RUNS // 5
