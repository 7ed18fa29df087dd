"""An application that changes PostgreSQL at random: long transactions that commit late, rollbacks, deadlocks even."""

import contextlib

import psycopg

from icetap.testing.databases import Postgres

from .application import Application, Session

TABLES = (
    "CREATE TABLE rows (id bigint PRIMARY KEY, name text, amount numeric(12,3), seen_at timestamptz, big text, n int)",
    "ALTER TABLE rows ALTER big SET STORAGE EXTERNAL",
    "CREATE TABLE notes (a int, b text)",
    "ALTER TABLE notes REPLICA IDENTITY FULL",
    "CREATE TABLE marks (id bigint PRIMARY KEY, note text, updated_at timestamptz NOT NULL)",
    "CREATE INDEX ON marks (updated_at)",
)


class RandomWriter(Application):
    """Changes three tables from several sessions until `settle`; read LOG_BASED are `rows` and `notes`."""

    ROWS = (
        "SELECT id, name, amount::text, (extract(epoch FROM seen_at) * 1000000)::bigint, md5(big), n FROM rows",
        "SELECT id, name, amount::VARCHAR, epoch_us(seen_at), md5(big), n FROM t",
    )
    """The same rows as PostgreSQL and as DuckDB tell them."""
    NOTES = ("SELECT a, b FROM notes", "SELECT a, b, _sdc_deleted_at IS NOT NULL FROM t")
    MARKS = ("SELECT id, note FROM marks", "SELECT id, note FROM t")

    def __init__(self, server: Postgres, database: str, *, seed: str, size: int, truncates: bool) -> None:
        super().__init__(seed=seed, size=size, truncates=truncates)
        self._address = {
            "host": server.host,
            "port": server.port,
            "user": server.user,
            "password": server.password,
            "dbname": database,
        }
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

    def _session(self) -> "_Session":
        return _Session(self.connect(), self._rng)

    def _statement(self, *, some: int, new: int) -> str:
        rng = self._rng
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


class _Session(Session):
    @property
    def is_broken(self) -> bool:
        return self.connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR

    def execute(self, statement: str) -> None:
        with contextlib.suppress(psycopg.Error):  # a lock that another session holds, a key that is taken
            self.connection.execute(statement)
        assert not self.connection.closed
