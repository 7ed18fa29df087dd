"""What breaks around a slot while it is read: a half of a connection, the disk under it. Nothing is lost, nothing silent."""

from __future__ import annotations

import contextlib
import os
import subprocess

import pytest

from icetap.errors import RetriableError
from icetap.testing.databases import postgres
from icetap.testing.relays import LossyProxy
from icetap.testing.servers import NotAvailableError, real_server

WHOLE = {"*": {"replication_method": "LOG_BASED"}}
ROWS = 5_000


class OneSidedProxy(LossyProxy):
    """Cuts a connection for the client alone; the server goes on as if somebody listened."""

    def _questions(self, client, server):
        while block := _received(client):
            server.sendall(block)

    def _answers(self, server, client):
        brought = 0
        while block := _received(server):
            brought += len(block)
            if brought >= self._after_bytes and self._takes_one():
                client.close()
            with contextlib.suppress(OSError):
                client.sendall(block)


def _received(source):
    with contextlib.suppress(OSError):
        return source.recv(65_536)
    return b""


def test_a_slot_that_a_lost_connection_still_holds_is_taken_back(log, monkeypatch, caplog):
    monkeypatch.setattr("icetap.waiting.FIRST_WAIT_SECONDS", 0.05)
    monkeypatch.setattr("tap_postgres.log_based.change_log.FREE_SECONDS", 0.2)
    source = log("CREATE TABLE t (id int PRIMARY KEY, pad text)")
    source.run()
    source.execute(f"INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, {ROWS}) AS i")
    with OneSidedProxy(source.database.server.port, after_bytes=300_000) as proxy:
        output = source.run(port=proxy.port)

    assert proxy.left == 0
    assert "attempt 2 of" in caplog.text
    assert {record["id"] for record in output.records()} == set(range(1, ROWS + 1))


@pytest.fixture
def small_disk(source_of):
    """A database of a server whose slots lie on a disk of 1 MB."""
    with (
        real_server("PostgreSQL with a small disk"),
        postgres(options={"logical_decoding_work_mem": "64kB", "max_slot_wal_keep_size": "1GB"}) as server,
    ):
        slots = server.process.data / "pg_replslot"
        owner = slots.stat()
        server.process.stop()
        options = f"size=1m,mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
        if os.geteuid() != 0 or not _mounted("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(slots)):
            raise NotAvailableError("only root may mount a disk, and not in every container")
        try:
            server.process.start()
            yield source_of(server, server.new_database()), slots
        finally:
            server.process.stop()
            _mounted("umount", str(slots))


def _mounted(*command):
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_full_disk_under_the_slot_is_told_and_the_next_run_goes_on(small_disk, sync, monkeypatch, caplog):
    monkeypatch.setattr("icetap.waiting.FIRST_WAIT_SECONDS", 0.05)
    source, slots = small_disk
    source.execute("CREATE TABLE t (id int PRIMARY KEY, pad text)")
    run = {"replication_slot_name": "small", "streams": WHOLE}
    filler = slots / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))

    with pytest.raises(RetriableError, match=r"No space left on device.*53100.*disk is full"):
        sync(source, max_retries=1, **run)
    filler.unlink()
    state = sync(source, **run).state
    source.execute(f"INSERT INTO t SELECT i, repeat('x', 500) FROM generate_series(1, {ROWS}) AS i")
    with pytest.raises(RetriableError, match=r"No space left on device.*53100.*disk is full"):
        sync(source, state=state, max_retries=1, **run)
    assert "attempt 2 of 2" in caplog.text

    _mounted("mount", "-o", "remount,size=64m", str(slots))
    assert len(sync(source, state=state, **run).records()) == ROWS
