"""A database server that is restarted, and a read replica that has to go on: the table ends as the source is."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from icetap.sql.stream import SQLStream
from icetap.testing.databases import postgres
from icetap.testing.servers import accepts_connections, free_port

from . import lake
from .pipes import BIN, Pipe

ROWS = 60_000
FILL = (
    "INSERT INTO orders SELECT g, repeat(md5(g::text), 28), timestamptz '2026-01-01 00:00:00Z' + g * interval '1 second' "
    f"FROM generate_series(1, {ROWS}) AS g"
)
READING = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'icetap%' AND state = 'active' "
    "AND query LIKE 'COPY%orders%'"
)


@dataclass
class Postmaster:
    """A server that a test stops and starts again."""

    port: int
    user: str
    password: str
    folder: Path
    command: list[str]
    uid: int
    process: subprocess.Popen | None = None

    @classmethod
    def of(cls, server):
        folder = Path(server.execute("postgres", "SHOW data_directory")[0][0])
        pid = int((folder / "postmaster.pid").read_text().split()[0])
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().strip("\0").split("\0")
        uid = Path(f"/proc/{pid}").stat().st_uid
        return cls(server.port, server.user, server.password, folder, command, uid)

    def connect(self, database="postgres"):
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=database,
            autocommit=True,
        )

    def execute(self, statement, database="postgres"):
        with self.connect(database) as connection:
            found = connection.execute(statement)
            return found.fetchall() if found.description else []

    def stop(self, signum=signal.SIGINT):
        """End all sessions at once, in order."""
        pid = self.folder / "postmaster.pid"
        if pid.exists():
            os.kill(int(pid.read_text().split()[0]), signum)
        if self.process is not None:
            self.process.wait(30)
        _wait_until(lambda: not pid.exists())

    def start(self):
        options = {"user": self.uid} if os.geteuid() == 0 else {}
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder, **options
        )
        _wait_until(lambda: accepts_connections(self.port) and self._answers())

    def _answers(self):
        with contextlib.suppress(psycopg.OperationalError):
            return self.execute("SELECT 1") == [(1,)]
        return False

    @property
    def config(self):
        return {"host": "127.0.0.1", "port": self.port, "user": self.user, "password": self.password}


@pytest.fixture(scope="module")
def postmaster():
    with postgres(options={"max_standby_streaming_delay": "50ms", "hot_standby_feedback": "off"}) as server:
        found = Postmaster.of(server)
        yield found
        found.stop(signal.SIGQUIT)


@pytest.mark.parametrize("key", ["PRIMARY KEY", ""], ids=["with a key", "without a key"])
def test_a_server_that_is_restarted_in_the_middle_of_a_read(postmaster, tmp_path, key):
    name = f"restart_{len(key)}"
    postmaster.execute(f"CREATE DATABASE {name}")
    postmaster.execute(f"CREATE TABLE orders (id int {key}, note text, moment timestamptz)", name)
    postmaster.execute(FILL, name)
    postmaster.execute("VACUUM ANALYZE orders", name)
    pipe = Pipe(
        tmp_path / "pipe",
        {**postmaster.config, "database": name},
        {},
        tap_command=[str(BIN / "tap-postgres")],
    )
    with _while_reading(postmaster, lambda: (postmaster.stop(), postmaster.start())) as watch:
        first = pipe.run()
        watch.join(60)

    assert "attempt 2 of 6 follows" in first.log or first.tap == 1, first.log[-2000:]
    if not first.is_good:  # without a key, what was sent cannot be sent again: the next run does it all
        assert "lost" in first.log or "stopped" in first.log
        pipe.run().require()
    found = lake.query(
        pipe.warehouse, "public_orders", "SELECT count(*), count(DISTINCT id), sum(length(note)) FROM t"
    )
    assert found == [(ROWS, ROWS, ROWS * 32 * 28)]


@pytest.fixture
def replica(postmaster, tmp_path_factory):
    """A standby that follows the server, and cancels what stands in the way after a moment."""
    postmaster.execute("CREATE DATABASE shop")
    postmaster.execute("CREATE TABLE orders (id int PRIMARY KEY, note text, moment timestamptz)", "shop")
    postmaster.execute(FILL.replace("28", "4"), "shop")
    postmaster.execute("VACUUM ANALYZE orders", "shop")
    postmaster.stop()
    folder = postmaster.folder.parent / "replica"
    subprocess.run(["cp", "-a", str(postmaster.folder), str(folder)], check=True)
    postmaster.start()
    where = f"host=127.0.0.1 port={postmaster.port} user={postmaster.user} password=''{postmaster.password}''"
    (folder / "standby.signal").touch()
    shutil.chown(folder / "standby.signal", postmaster.uid)
    with (folder / "postgresql.auto.conf").open("a") as file:
        file.write(f"primary_conninfo = '{where}'\n")
    port = free_port()
    command = [part.replace(str(postmaster.folder), str(folder)) for part in postmaster.command]
    command[command.index("-p") + 1] = str(port)
    standby = Postmaster(port, postmaster.user, postmaster.password, folder, command, postmaster.uid)
    standby.start()
    yield standby
    standby.stop(signal.SIGQUIT)


def test_a_read_replica_that_cancels_the_read_is_read_on(postmaster, replica, monkeypatch, caplog):
    from tap_postgres.tap import TapPostgres

    monkeypatch.setattr("tap_postgres.chunks.CHUNK_BYTES", 256 * 1024)
    monkeypatch.setattr(SQLStream, "memory_bytes", 512 * 1024)
    tap = TapPostgres(config={**replica.config, "database": "shop", "max_parallel": 1})
    stream = tap.streams["public-orders"]
    pages = stream.pages()
    read = dict.fromkeys(next(pages).batch.column("id").to_pylist())

    postmaster.execute(f"DELETE FROM orders WHERE id > {ROWS - 10_000}", "shop")
    postmaster.execute("VACUUM orders", "shop")
    _wait_until(lambda: replica.execute("SELECT count(*) FROM orders", "shop") == [(ROWS - 10_000,)])
    _wait_until(lambda: replica.execute("SELECT pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()")[0][0])
    for page in pages:
        read |= dict.fromkeys(page.batch.column("id").to_pylist())

    assert "conflict with recovery" in caplog.text
    assert set(range(1, ROWS - 10_000 + 1)) <= set(read)
    assert not stream.is_complete


@contextlib.contextmanager
def _while_reading(postmaster, act):
    """Do something once the tap reads the table."""

    def run():
        end = time.monotonic() + 60
        watching = postmaster.connect()
        while time.monotonic() < end and not watching.execute(READING).fetchone()[0]:
            time.sleep(0.005)
        watching.close()
        act()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield thread


def _wait_until(is_so, seconds=30):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
