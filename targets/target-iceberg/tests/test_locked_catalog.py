"""A catalog's SQLite file that another process holds: waited for, said in the log, and in the end an error."""

import contextlib
import logging
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest
from pyiceberg.exceptions import NamespaceAlreadyExistsError

from icetap.catalogs import open_catalog
from icetap.errors import RetriableError


@pytest.fixture
def impatient(lake):
    """A lake on SQLite that waits for a lock hardly at all by itself."""
    folder = lake.folder / "warehouse"
    folder.mkdir()
    lake.file_ = folder / "catalog.db"
    lake.config["catalog"] = {"type": "sql", "uri": f"sqlite:///{lake.file_}?timeout=0.05"}
    return lake


@contextmanager
def locked(path, *, seconds=None):
    """Hold the file: for a while, or as long as the block runs."""
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    with closing(connection):
        connection.execute("BEGIN EXCLUSIVE")
        if seconds is not None:
            threading.Timer(seconds, lambda: connection.execute("ROLLBACK")).start()
        yield
        if seconds is not None:
            time.sleep(0.05)


def lock_at_the_commit(monkeypatch, path, *, seconds):
    """Take the lock when the loader is about to commit, and keep it for a while."""
    from target_iceberg.tables import commit

    send, held = commit.send_commit, []

    def send_commit(*arguments, **options):
        if not held:
            held.append(locked(path, seconds=seconds))
            held[0].__enter__()
        return send(*arguments, **options)

    monkeypatch.setattr(commit, "send_commit", send_commit)


def test_a_lock_at_the_commit_is_waited_for(impatient, singer, monkeypatch, caplog):
    impatient.ok(singer.schema(), singer.records([1]), singer.state(s=1))
    lock_at_the_commit(monkeypatch, impatient.file_, seconds=0.8)
    with caplog.at_level(logging.WARNING):
        impatient.ok(singer.schema(), singer.records([2]), singer.state(s=2))
    assert impatient.ids() == [1, 2]
    assert impatient.snapshots() == 2
    assert "the catalog's database is locked; attempt 2 of 6 follows in 0.5 s" in caplog.text


def test_a_lock_that_stays_at_the_commit_is_an_error_and_the_next_run_loads_everything(
    impatient, singer, monkeypatch
):
    impatient.ok(singer.schema(), singer.records([1]), singer.state(s=1))
    with monkeypatch.context() as patched:
        lock_at_the_commit(patched, impatient.file_, seconds=2.5)
        outcome = impatient.load(singer.schema(), singer.records([2]), singer.state(s=2), max_retries=1)
    assert isinstance(outcome.error, RetriableError)
    assert outcome.lines == []
    time.sleep(1.5)
    impatient.ok(singer.schema(), singer.records([2]), singer.state(s=2))
    assert impatient.ids() == [1, 2]


def test_opening_waits_for_a_lock(impatient, singer, caplog):
    impatient.ok(singer.schema(), singer.records([1]), singer.state(s=1))
    with caplog.at_level(logging.WARNING), locked(impatient.file_, seconds=0.4):
        assert open_catalog(impatient.config).list_namespaces() == [("raw",)]
    assert "the catalog's database is locked" in caplog.text


def test_opening_a_catalog_that_stays_locked_says_so(impatient, singer):
    impatient.ok(singer.schema(), singer.records([1]), singer.state(s=1))
    with (
        locked(impatient.file_),
        pytest.raises(RetriableError, match="the catalog's database is locked by another process"),
    ):
        open_catalog(impatient.config | {"max_retries": 1})


def test_many_may_begin_at_once_where_nothing_is_yet(tmp_path):
    """All of them find no catalog and no namespace, and make them; one is the first."""
    for number in range(4):
        settings = {"warehouse": str(tmp_path / f"lake{number}")}
        barrier = threading.Barrier(4)

        def begun(_, settings=settings, barrier=barrier):
            barrier.wait()
            catalog = open_catalog(settings)
            barrier.wait()
            with contextlib.suppress(NamespaceAlreadyExistsError):
                catalog.create_namespace("raw")
            return catalog.list_namespaces()

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(begun, range(4))) == [[("raw",)]] * 4
