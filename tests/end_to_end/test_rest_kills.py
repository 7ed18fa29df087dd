"""Whatever is killed over a REST catalog, and however its connection fails: the table equals the source in the end."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from icetap.testing.engines import spark_session
from icetap.testing.lakes import rest_catalog
from icetap.testing.proxies import Fault, HttpProxy, lose_answer, lose_request, refuse

from . import lake
from .sources import COLUMNS
from .test_kills import LANES, MODES, SEED, Chain, chain

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]

KILLS = 2  # in each chain
CHAINS = [(mode, list(LANES)[number % 2]) for number, mode in enumerate(MODES)]
"""Every mode, the lanes in turn."""
COMMIT = r"/namespaces/raw/tables/rows$"
FAULTS = (lose_answer, lose_request, refuse(500, after_the_fact=True), refuse(503))


class Unreliable(HttpProxy):
    """Spoils one commit in four, as a seed decides."""

    def __init__(self, port: int, rng: random.Random) -> None:
        super().__init__(port)
        self.fault = self.add(Fault("POST", COMMIT, self._does, times=10**6))
        self.spoiled = 0
        self._rng = rng

    def _does(self, request, forward):
        if self._rng.random() > 0.25:
            return forward()
        self.spoiled += 1
        return self._rng.choice(FAULTS)(request, forward)


@contextmanager
def on_rest(one: Chain, *, seed: str):
    """Let a chain load into a REST catalog of its own, over a connection that fails now and then."""
    with ExitStack() as stack:
        server = stack.enter_context(rest_catalog(one.pipe.folder))
        proxy = stack.enter_context(Unreliable(server.port, random.Random(f"proxy {seed}")))
        one.pipe.target["catalog"] = {"type": "rest", "uri": proxy.url}
        lake.REST[one.pipe.warehouse] = server
        try:
            yield server, proxy
        finally:
            del lake.REST[one.pipe.warehouse]


def killed(one: Chain, *, kills: int) -> None:
    """Kill a chain this often, then let it finish, and compare."""
    if one.mode.begins_full:
        one.complete()
    for number in range(8 * kills):
        if one.kills >= kills:
            break
        one.source.change()
        one.one_kill(is_first=number == 0 and not one.mode.begins_full)
    assert one.kills >= kills, one.told("most kills came too late")
    one.complete()


PAIRS = [CHAINS[place : place + 2] for place in range(0, len(CHAINS), 2)]


@pytest.mark.parametrize("pair", PAIRS, ids=[" and ".join(mode for mode, _ in pair) for pair in PAIRS])
def test_no_row_is_lost_and_none_comes_twice_over_rest(pair, tmp_path):
    def go(which):
        mode, lane = which
        seed = f"{SEED} rest {mode} {lane}"
        one = chain(tmp_path / mode.replace(" ", "-"), mode, lane, seed=seed)
        with on_rest(one, seed=seed) as (_, proxy):
            killed(one, kills=KILLS)
            print(
                one.told(
                    f"the table equals the source; {proxy.spoiled} of {proxy.fault.hits} commits spoiled"
                )
            )
        return proxy.spoiled

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(go, pair))


def test_spark_reads_over_rest_what_was_loaded_between_kills(tmp_path):
    seed = f"{SEED} rest spark"
    one = chain(tmp_path / "chain", "upsert, merge-on-read", "record", seed=seed)
    with on_rest(one, seed=seed) as (server, _):
        killed(one, kills=1)
        with spark_session({"type": "rest", "uri": server.url}) as spark:
            found = spark.sql("SELECT id, name, amount FROM icetap.raw.rows")
    columns = [row[:3] for row in one.source.rows()]
    assert Counter((row["id"], row["name"], row["amount"]) for row in found) == Counter(columns)
    assert COLUMNS.startswith("id, name, amount")
