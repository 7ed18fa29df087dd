"""An application that changes MariaDB at random: long transactions, rollbacks in whole and to savepoints, new keys."""

import contextlib
import random
import threading
import time
from typing import Any

import pymysql

from icetap.testing.mariadb import MariaDB

TABLES = (
    "CREATE TABLE `rows` (id BIGINT PRIMARY KEY, name VARCHAR(50), amount DECIMAL(12,3), seen_at DATETIME(6), big TEXT, n INT)",
    "CREATE TABLE notes (a INT, b VARCHAR(50))",
    "CREATE TABLE marks (id BIGINT PRIMARY KEY, note TEXT, updated_at TIMESTAMP(6) NOT NULL, KEY (updated_at))",
)
SESSION = ("SET innodb_lock_wait_timeout = 0", "SET lock_wait_timeout = 0", "SET time_zone = '+00:00'")
OPEN_SECONDS = 6.0
"""A transaction stays open for so long at most: what INCREMENTAL can see is within its lookback."""


class RandomMySQLWriter(threading.Thread):
    """Changes three tables from several sessions until `settle`; read LOG_BASED are `rows` and `notes`."""

    ROWS = (
        "SELECT id, name, CAST(amount AS CHAR), TIMESTAMPDIFF(MICROSECOND, '1970-01-01', seen_at), md5(big), n FROM `rows`",
        "SELECT id, name, amount::VARCHAR, epoch_us(seen_at), md5(big), n FROM t",
    )
    """The same rows as MariaDB and as DuckDB tell them."""
    NOTES = ("SELECT a, b FROM notes", "SELECT a, b, _sdc_deleted_at IS NOT NULL FROM t")
    MARKS = ("SELECT id, note FROM marks", "SELECT id, note FROM t")

    def __init__(self, server: MariaDB, database: str, *, seed: str, size: int, truncates: bool) -> None:
        super().__init__(name="writer", daemon=True)
        self._rng = random.Random(f"writer {seed}")
        self._server, self._database = server, database
        self._stopped = threading.Event()
        self._truncates = truncates
        self._next = size
        self.statements = 0
        self.error: Exception | None = None
        server.execute(
            database,
            *TABLES,
            "INSERT INTO `rows` SELECT seq, concat('name ', seq), seq / 8, now(6), repeat(md5(seq), 100), 0 "
            f"FROM seq_1_to_{size}",
            f"INSERT INTO notes SELECT seq DIV 3, 'note' FROM seq_1_to_{size}",
            f"INSERT INTO marks SELECT seq, 'mark', now(6) FROM seq_1_to_{size}",
        )

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._server.execute(self._database, query)

    def settle(self) -> None:
        """Stop writing, with every transaction ended."""
        self._stopped.set()
        if self.ident is not None:
            self.join()
        if self.error is not None:
            raise self.error

    # --- in the thread ------------------------------------------------------------------------------

    def run(self) -> None:
        try:
            sessions = [_Session(self._server.connect(self._database), self._rng) for _ in range(3)]
            while not self._stopped.is_set():
                self._step(self._rng.choice(sessions))
                time.sleep(self._rng.choice([0, 0.002, 0.01, 0.03]))
            for session in sessions:
                session.end(self._rng.choice(["COMMIT", "COMMIT", "ROLLBACK"]))
                session.connection.close()
        except Exception as error:  # noqa: BLE001 - raised where the writer is settled
            self.error = error

    def _step(self, session: "_Session") -> None:
        session.begin()
        for _ in range(self._rng.randrange(1, 5)):
            session.execute(self._statement())
            self.statements += 1
        if session.is_old or (chance := self._rng.random()) < 0.7:
            session.end("COMMIT")
        elif chance < 0.8:
            session.end("ROLLBACK")

    def _statement(self) -> str:
        rng = self._rng
        some = rng.randrange(1, self._next + 1)
        self._next += 1
        new = self._next
        if self._truncates and rng.random() < 0.004:
            return rng.choice(["TRUNCATE `rows`", "TRUNCATE notes", "FLUSH BINARY LOGS"])
        return rng.choice(
            [
                f"INSERT INTO `rows` VALUES ({new}, 'it''s {new} €', {new} / 7.0, sysdate(6), NULL, 0)",
                f"INSERT INTO `rows` VALUES ({new}, NULL, NULL, NULL, repeat(md5('{new}'), 100), 1)",
                f"UPDATE `rows` SET n = n + 1 WHERE id BETWEEN {some} AND {some} + 3",
                f"UPDATE `rows` SET n = n + 1 WHERE id BETWEEN {some} AND {some} + 3",
                f"UPDATE `rows` SET big = repeat(md5('{new}'), 90), name = 'big' WHERE id = {some}",
                f"UPDATE `rows` SET id = {new} WHERE id = {some}",
                f"DELETE FROM `rows` WHERE id = {some}",
                f"INSERT INTO notes VALUES ({new}, 'new'), ({new}, 'new')",
                f"UPDATE notes SET b = 'b{new}' WHERE a = {some}",
                f"DELETE FROM notes WHERE a = {some}",
                f"INSERT INTO marks VALUES ({new}, 'new', sysdate(6))",
                f"UPDATE marks SET note = 'n{new}', updated_at = sysdate(6) WHERE id = {some}",
                "SAVEPOINT s",
                "ROLLBACK TO SAVEPOINT s",
                # Afterwards even what is rolled back stands in the log.
                f"CREATE TEMPORARY TABLE IF NOT EXISTS scratch{rng.randrange(3)} (a INT)",
            ]
        )


class _Session:
    """One session and its transaction."""

    def __init__(self, connection: Any, rng: random.Random) -> None:
        self.connection = connection
        self._open_since: float | None = None
        self._seconds = 0.0
        self._rng = rng
        for statement in SESSION:
            self.execute(statement)

    @property
    def is_old(self) -> bool:
        return self._open_since is not None and time.monotonic() - self._open_since >= self._seconds

    def begin(self) -> None:
        if self._open_since is None:
            self.execute("BEGIN")
            self._open_since = time.monotonic()
            self._seconds = self._rng.random() * OPEN_SECONDS

    def execute(self, statement: str) -> None:
        # A lock that another session holds, a key that is taken, a savepoint that was not made.
        with contextlib.suppress(pymysql.Error), self.connection.cursor() as cursor:
            cursor.execute(statement)

    def end(self, how: str) -> None:
        if self._open_since is not None:
            self.execute(how)
            self._open_since = None
