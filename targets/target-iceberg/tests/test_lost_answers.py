"""A connection that dies in the middle of a commit: whether it was made is read from the table, never guessed."""

import logging

import pytest

from icetap.catalogs import open_catalog
from icetap.errors import RetriableError
from icetap.testing.relays import TcpProxy
from target_iceberg.tables.outcomes import UnknownOutcomeError

CUTS = {"the request is lost": False, "the answer is lost": True}
KEYS = {"with keys": ["id"], "without keys": []}


class Spoiled:
    """A lake on PostgreSQL whose connections can be cut at the COMMIT of an Iceberg commit."""

    def __init__(self, lake, server):
        self.lake, self.server = lake, server
        self.database = server.new_database()
        self.warehouse = {"warehouse": str(lake.folder / "warehouse")}
        lake.config = {**self.warehouse, "catalog": self.catalog()}

    def catalog(self, port=None):
        return {"type": "sql", "uri": self.server.url(self.database, port=port)}

    def cut(self, **options):
        return TcpProxy(
            self.server.port,
            after=b"UPDATE iceberg_tables",
            at=b"COMMIT",
            **options,
        )


@pytest.fixture
def spoiled(lake, postgres_server):
    return Spoiled(lake, postgres_server)


def messages(singer, ids, keys):
    ids = list(ids)
    schema = singer.schema(keys=keys, cursor="id")
    return [schema, *singer.records(ids), singer.state(s=ids[-1])]


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("answer_only", CUTS.values(), ids=CUTS)
def test_a_commit_that_was_cut_off_is_there_once(spoiled, singer, caplog, answer_only, keys):
    lake = spoiled.lake
    lake.ok(singer.state(), messages(singer, [1, 2], keys))
    with spoiled.cut(answer_only=answer_only) as proxy, caplog.at_level(logging.WARNING):
        outcome = lake.ok(
            singer.state(s=2), messages(singer, [3, 4], keys), catalog=spoiled.catalog(proxy.port)
        )
        assert proxy.left == 0
    assert outcome.last_state == singer.state(s=4)["value"]
    assert lake.ids() == [1, 2, 3, 4]
    assert lake.snapshots() == 2
    told = "the answer to a commit was lost; the commit is there" if answer_only else "attempt 2 of 6 follows"
    assert told in caplog.text
    lake.ok(singer.state(s=4), messages(singer, [5], keys))
    assert lake.ids() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_a_connection_that_dies_each_time_ends_the_run_and_the_next_one_loads_everything(
    spoiled, singer, keys
):
    lake = spoiled.lake
    lake.ok(singer.state(), messages(singer, [1, 2], keys))
    with spoiled.cut(answer_only=False, times=100) as proxy:
        outcome = lake.load(
            singer.state(s=2),
            messages(singer, [3, 4], keys),
            catalog=spoiled.catalog(proxy.port),
            max_retries=1,
        )
    assert isinstance(outcome.error, RetriableError)
    assert outcome.lines == []
    assert lake.ids() == [1, 2]
    lake.ok(singer.state(s=2), messages(singer, [3, 4], keys))
    assert lake.ids() == [1, 2, 3, 4]


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_a_commit_of_unknown_outcome_prints_no_state_and_the_next_run_doubles_nothing(spoiled, singer, keys):
    lake = spoiled.lake
    lake.ok(singer.state(), messages(singer, [1, 2], keys))
    with spoiled.cut(answer_only=True, vanishes=True) as proxy:
        outcome = lake.load(
            singer.state(s=2),
            messages(singer, [3, 4], keys),
            catalog=spoiled.catalog(proxy.port),
            max_retries=1,
        )
    assert isinstance(outcome.error, UnknownOutcomeError)
    assert "did not say whether the last commit to raw.s was made" in str(outcome.error)
    assert outcome.lines == []
    assert lake.ids() == [1, 2, 3, 4]
    lake.ok(singer.state(s=2), messages(singer, [3, 4, 5], keys))
    assert lake.ids() == [1, 2, 3, 4, 5]


WAYS = {
    "upsert, copy-on-write": {"merge_mode": "copy-on-write"},
    "upsert, merge-on-read": {"merge_mode": "merge-on-read"},
    "overwrite": {"load_method": "overwrite"},
    "snapshot-diff": {"load_method": "snapshot-diff"},
    "history": {"load_method": "history"},
}


@pytest.mark.parametrize("answer_only", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_whatever_a_commit_of_unknown_outcome_was_its_table_stays_whole(spoiled, singer, way, answer_only):
    """No file is removed that a commit may list; run again, the table is as if nothing had happened."""

    def full_read(version, name):
        rows = singer.records([1, 2, 3], name=name, version=version)
        return [singer.schema(), *rows, singer.activate(version), singer.state(s={"version": version})]

    def names():
        rows = spoiled.lake.table().scan().to_arrow().to_pylist()
        return sorted(row["name"] for row in rows if row.get("_is_current", True))

    lake = spoiled.lake
    lake.ok(full_read(1, "a"), **way)
    with spoiled.cut(answer_only=answer_only, vanishes=True) as proxy:
        outcome = lake.load(full_read(2, "b"), catalog=spoiled.catalog(proxy.port), max_retries=0, **way)
    assert isinstance(outcome.error, RetriableError)
    assert outcome.lines == []
    assert names() == (["b1", "b2", "b3"] if answer_only else ["a1", "a2", "a3"])
    lake.ok(full_read(3, "b"), **way)
    assert names() == ["b1", "b2", "b3"]


def test_files_of_a_commit_that_was_made_are_never_removed(spoiled, singer):
    """A duplicate of the request that arrives late finds the head moved; the files stay listed and readable."""
    lake = spoiled.lake
    lake.ok(singer.state(), messages(singer, [1, 2], ["id"]))
    with spoiled.cut(answer_only=True) as proxy:
        changed = [singer.schema(cursor="id"), *singer.records([1, 2], name="b"), singer.state(s=2)]
        lake.ok(singer.state(s=2), changed, catalog=spoiled.catalog(proxy.port))
    assert [row["name"] for row in lake.rows()] == ["b1", "b2"]


def test_a_catalog_of_pyicebergs_own_making_is_asked_again_too(spoiled, singer):
    """Whoever opened the catalog: the loader's patience has a default."""
    from icetap.patience import DEFAULT_RETRIES, Patience

    spoiled.lake.ok(singer.state(), messages(singer, [1], ["id"]))
    catalog = open_catalog(spoiled.lake.config | {"max_retries": 3})
    assert Patience.of(catalog).max_retries == 3
    del catalog.properties["icetap.max-retries"]
    assert Patience.of(catalog).max_retries == DEFAULT_RETRIES
