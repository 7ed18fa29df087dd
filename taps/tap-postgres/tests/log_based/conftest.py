"""Databases whose tables are read LOG_BASED."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from icetap.testing.databases import postgres
from tap_postgres.tap import TapPostgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from icetap.testing.databases import Postgres


class Log:
    """A database whose tables are read LOG_BASED, by a slot of its own."""

    def __init__(self, database: Any, sync: Any, slot: str) -> None:
        self.database, self._sync, self.slot = database, sync, slot
        self.state: dict[str, Any] | None = None

    def settings(self, **config: Any) -> dict[str, Any]:
        return {
            "replication_slot_name": self.slot,
            "streams": {"*": {"replication_method": "LOG_BASED"}},
            **config,
        }

    def discover(self, **config: Any) -> dict[str, Any]:
        """Return the catalog as Meltano gets it."""
        return TapPostgres(config={**self.database.config, **self.settings(**config)}).catalog_dict

    def run(self, **config: Any) -> Any:
        """Run the tap from where the last run came to."""
        given = None if self.state is None else json.loads(json.dumps(self.state))
        output = self._sync(self.database, state=given, **self.settings(**config))
        if output.error is None:
            self.state = output.state
        return output

    def run_with(self, *statements: str, **config: Any) -> Any:
        """Run the tap, and the statements once it follows the log."""
        writer = threading.Thread(target=self._execute_when_followed, args=statements)
        writer.start()
        output = self.run(idle_exit_seconds=2, **config)
        writer.join()
        return output

    def _execute_when_followed(self, *statements: str) -> None:
        with self.database.connect() as session:
            while not session.execute(
                "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s AND active_pid IS NOT NULL",
                [self.slot],
            ).fetchall():
                time.sleep(0.02)
            for statement in statements:
                session.execute(statement)

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        return self.database.execute(*statements)

    def in_one_transaction(self, *statements: str) -> None:
        with self.database.connect() as session, session.transaction():
            for statement in statements:
                session.execute(statement)

    def confirmed(self) -> str:
        return self.execute(
            f"SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '{self.slot}'"
        )[0][0]


def drop_slots(execute: Callable[[str], Any], condition: str) -> None:
    """Drop slots; the server lets go of one a moment after its reader has left."""
    for attempt in range(50):
        try:
            execute(f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE {condition}")
        except Exception as error:
            if "is active for PID" not in str(error) or attempt == 49:
                raise
            time.sleep(0.1)
        else:
            return


@pytest.fixture
def log(database: Callable[..., Any], sync: Any) -> Iterator[Callable[..., Log]]:
    """Make a database from statements, and drop its slot afterwards."""
    made: list[Log] = []

    def make(*statements: str) -> Log:
        source = database(*statements)
        made.append(Log(source, sync, f"{source.name}_{len(made)}"))
        return made[-1]

    yield make
    for each in made:
        drop_slots(each.execute, f"slot_name = '{each.slot}'")


@pytest.fixture
def items(log: Callable[..., Log]) -> Log:
    """A table of two rows."""
    return log(
        "CREATE TABLE items (id int PRIMARY KEY, name text)",
        "INSERT INTO items VALUES (1, 'one'), (2, 'two')",
    )


@pytest.fixture
def short() -> Callable[..., list[dict[str, Any]]]:
    """A run's records without the columns of the log; deleted ones with `gone`."""

    def shortened(output: Any, stream: str | None = None) -> list[dict[str, Any]]:
        return [
            {name: value for name, value in record.items() if not name.startswith("_sdc_")}
            | ({"gone": True} if record["_sdc_deleted_at"] else {})
            for record in output.records(stream)
        ]

    return shortened


class Source:
    """A database of a server of the test's own."""

    def __init__(self, server: Postgres, name: str) -> None:
        self.server, self.name = server, name
        self.config = {
            "host": server.host,
            "port": server.port,
            "user": server.user,
            "password": server.password,
            "database": name,
        }

    def execute(self, *statements: str) -> None:
        for statement in statements:
            self.server.execute(self.name, statement)


@pytest.fixture(scope="session")
def source_of() -> type[Source]:
    return Source


@pytest.fixture(scope="session")
def _tight_server() -> Iterator[Postgres]:
    options = {"max_slot_wal_keep_size": "1MB", "max_replication_slots": "2"}
    with postgres(options={**options, "min_wal_size": "32MB", "max_wal_size": "32MB"}) as server:
        yield server


@pytest.fixture
def tight_server(_tight_server: Postgres) -> Iterator[Callable[..., Source]]:
    """Make databases on a server that keeps little of its log, and has room for two slots."""
    made: list[Source] = []

    def make(*statements: str) -> Source:
        made.append(Source(_tight_server, _tight_server.new_database()))
        made[-1].execute(*statements)
        return made[-1]

    yield make
    for source in made:
        drop_slots(source.execute, "true")
