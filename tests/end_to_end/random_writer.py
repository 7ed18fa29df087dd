"""An application that changes PostgreSQL at random: long transactions that commit late, rollbacks, deadlocks even."""

import contextlib
import random
import threading
import time

import psycopg

from icetap.testing.databases import Postgres

TABLES = (
    "CREATE TABLE rows (id bigint PRIMARY KEY, name text, amount numeric(12,3), seen_at timestamptz, big text, n int)",
    "ALTER TABLE rows ALTER big SET STORAGE EXTERNAL",
    "CREATE TABLE notes (a int, b text)",
    "ALTER TABLE notes REPLICA IDENTITY FULL",
    "CREATE TABLE marks (id bigint PRIMARY KEY, note text, updated_at timestamptz NOT NULL)",
    "CREATE INDEX ON marks (updated_at)",
)
OPEN_SECONDS = 6.0
"""A transaction stays open for so long at most: what INCREMENTAL can see is within its lookback."""


class RandomWriter(threading.Thread):
    """Changes three tables from several sessions until `settle`; read LOG_BASED are `rows` and `notes`."""

    ROWS = (
        "SELECT id, name, amount::text, (extract(epoch FROM seen_at) * 1000000)::bigint, md5(big), n FROM rows",
        "SELECT id, name, amount::VARCHAR, epoch_us(seen_at), md5(big), n FROM t",
    )
    """The same rows as PostgreSQL and as DuckDB tell them."""
    NOTES = ("SELECT a, b FROM notes", "SELECT a, b, _sdc_deleted_at IS NOT NULL FROM t")
    MARKS = ("SELECT id, note FROM marks", "SELECT id, note FROM t")

    def __init__(self, server: Postgres, database: str, *, seed: str, size: int, truncates: bool) -> None:
        super().__init__(name="writer", daemon=True)
        self._rng = random.Random(f"writer {seed}")
        self._address = {
            "host": server.host,
            "port": server.port,
            "user": server.user,
            "password": server.password,
            "dbname": database,
        }
        self._stopped = threading.Event()
        self._truncates = truncates
        self._next = size
        self.statements = 0
        self.error: Exception | None = None
        with self.connect() as session:
            for statement in TABLES:
                session.execute(statement)
            session.execute(
                "INSERT INTO rows SELECT i, 'name ' || i, i / 8.0, now(), repeat(md5(i::text), 100), 0 "
                f"FROM generate_series(1, {size}) AS i"
            )
            session.execute(f"INSERT INTO notes SELECT i / 3, 'note' FROM generate_series(1, {size}) AS i")
            session.execute(f"INSERT INTO marks SELECT i, 'mark', now() FROM generate_series(1, {size}) AS i")

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(**self._address, autocommit=True, options="-c lock_timeout=100")

    def rows(self, query: str) -> list[tuple]:
        with self.connect() as session:
            return session.execute(query).fetchall()

    def settle(self) -> None:
        """Stop writing, with every transaction ended."""
        self._stopped.set()
        self.join()
        if self.error is not None:
            raise self.error

    # --- in the thread ------------------------------------------------------------------------------

    def run(self) -> None:
        try:
            with contextlib.ExitStack() as stack:
                sessions = [_Session(stack.enter_context(self.connect()), self._rng) for _ in range(3)]
                while not self._stopped.is_set():
                    self._step(self._rng.choice(sessions))
                    time.sleep(self._rng.choice([0, 0.002, 0.01, 0.03]))
                for session in sessions:
                    session.end(self._rng.choice(["COMMIT", "COMMIT", "ROLLBACK"]))
        except Exception as error:  # noqa: BLE001 - raised where the writer is settled
            self.error = error

    def _step(self, session: "_Session") -> None:
        session.begin()
        with contextlib.suppress(psycopg.Error):  # a lock that another session holds, a key that is taken
            for _ in range(self._rng.randrange(1, 5)):
                session.execute(self._statement())
                self.statements += 1
        if session.is_broken or session.is_old or (chance := self._rng.random()) < 0.7:
            session.end("COMMIT")
        elif chance < 0.8:
            session.end("ROLLBACK")

    def _statement(self) -> str:
        rng = self._rng
        some = rng.randrange(1, self._next + 1)
        self._next += 1
        new = self._next
        if self._truncates and rng.random() < 0.004:
            return rng.choice(["TRUNCATE rows", "TRUNCATE notes"])
        return rng.choice(
            [
                f"INSERT INTO rows VALUES ({new}, 'it''s {new}', {new} / 7.0, clock_timestamp(), NULL, 0)",
                f"INSERT INTO rows VALUES ({new}, NULL, NULL, NULL, repeat(md5('{new}'), 100), 1)",
                f"UPDATE rows SET n = n + 1 WHERE id BETWEEN {some} AND {some} + 3",
                f"UPDATE rows SET n = n + 1 WHERE id BETWEEN {some} AND {some} + 3",
                f"UPDATE rows SET big = repeat(md5('{new}'), 90), name = 'big' WHERE id = {some}",
                f"UPDATE rows SET id = {new} WHERE id = {some}",
                f"DELETE FROM rows WHERE id = {some}",
                f"INSERT INTO notes VALUES ({new}, 'new'), ({new}, 'new')",
                f"UPDATE notes SET b = 'b{new}' WHERE a = {some}",
                f"DELETE FROM notes WHERE a = {some}",
                f"INSERT INTO marks VALUES ({new}, 'new', clock_timestamp())",
                f"UPDATE marks SET note = 'n{new}', updated_at = clock_timestamp() WHERE id = {some}",
            ]
        )


class _Session:
    """One session and its transaction."""

    def __init__(self, connection: psycopg.Connection, rng: random.Random) -> None:
        self._connection = connection
        self._open_since: float | None = None
        self._seconds = rng.random() * OPEN_SECONDS
        self._rng = rng

    @property
    def is_old(self) -> bool:
        return self._open_since is not None and time.monotonic() - self._open_since >= self._seconds

    @property
    def is_broken(self) -> bool:
        return self._connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR

    def begin(self) -> None:
        if self._open_since is None:
            self._connection.execute("BEGIN")
            self._open_since = time.monotonic()
            self._seconds = self._rng.random() * OPEN_SECONDS

    def execute(self, statement: str) -> None:
        self._connection.execute(statement)

    def end(self, how: str) -> None:
        if self._open_since is not None:
            self._connection.execute(how)
            self._open_since = None
