"""An application that changes MariaDB at random: long transactions, rollbacks in whole and to savepoints, new keys."""

import contextlib
import random
from typing import Any

import pymysql

from icetap.testing.mariadb import MariaDB

from .application import Application, Session

TABLES = (
    "CREATE TABLE `rows` (id BIGINT PRIMARY KEY, name VARCHAR(50), amount DECIMAL(12,3), seen_at DATETIME(6), big TEXT, n INT)",
    "CREATE TABLE notes (a INT, b VARCHAR(50))",
    "CREATE TABLE marks (id BIGINT PRIMARY KEY, note TEXT, updated_at TIMESTAMP(6) NOT NULL, KEY (updated_at))",
)
SESSION = ("SET innodb_lock_wait_timeout = 0", "SET lock_wait_timeout = 0", "SET time_zone = '+00:00'")


class RandomMySQLWriter(Application):
    """Changes three tables from several sessions until `settle`; read LOG_BASED are `rows` and `notes`."""

    ROWS = (
        "SELECT id, name, CAST(amount AS CHAR), TIMESTAMPDIFF(MICROSECOND, '1970-01-01', seen_at), md5(big), n FROM `rows`",
        "SELECT id, name, amount::VARCHAR, epoch_us(seen_at), md5(big), n FROM t",
    )
    """The same rows as MariaDB and as DuckDB tell them."""
    NOTES = ("SELECT a, b FROM notes", "SELECT a, b, _sdc_deleted_at IS NOT NULL FROM t")
    MARKS = ("SELECT id, note FROM marks", "SELECT id, note FROM t")

    def __init__(self, server: MariaDB, database: str, *, seed: str, size: int, truncates: bool) -> None:
        super().__init__(seed=seed, size=size, truncates=truncates)
        self._server, self._database = server, database
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

    def _session(self) -> "_Session":
        return _Session(self._server.connect(self._database), self._rng)

    def _statement(self, *, some: int, new: int) -> str:
        rng = self._rng
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


class _Session(Session):
    def __init__(self, connection: Any, rng: random.Random) -> None:
        super().__init__(connection, rng)
        for statement in SESSION:
            self.execute(statement)

    def execute(self, statement: str) -> None:
        # A lock that another session holds, a key that is taken, a savepoint that was not made.
        with contextlib.suppress(pymysql.Error), self.connection.cursor() as cursor:
            cursor.execute(statement)
