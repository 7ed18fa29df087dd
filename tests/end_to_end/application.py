"""An application that changes a database at random until it is told to settle; each database has statements of its own."""

import random
import threading
import time
from abc import ABC, abstractmethod
from typing import Any

SESSIONS = 3
OPEN_SECONDS = 6.0
"""A transaction stays open for so long at most: what INCREMENTAL can see is within its lookback."""


class Session(ABC):
    """One session and its transaction."""

    is_broken = False
    """Whether its transaction can only be ended."""

    def __init__(self, connection: Any, rng: random.Random) -> None:
        self.connection = connection
        self._open_since: float | None = None
        self._seconds = 0.0
        self._rng = rng

    @property
    def is_old(self) -> bool:
        return self._open_since is not None and time.monotonic() - self._open_since >= self._seconds

    def begin(self) -> None:
        if self._open_since is None:
            self.execute("BEGIN")
            self._open_since = time.monotonic()
            self._seconds = self._rng.random() * OPEN_SECONDS

    def end(self, how: str) -> None:
        if self._open_since is not None:
            self.execute(how)
            self._open_since = None

    @abstractmethod
    def execute(self, statement: str) -> None:
        """Run a statement; a lock that another session holds or a key that is taken is no error."""


class Application(threading.Thread, ABC):
    """Changes tables from several sessions, in transactions that end late, or not at all."""

    def __init__(self, *, seed: str, size: int, truncates: bool) -> None:
        super().__init__(name="writer", daemon=True)
        self._rng = random.Random(f"writer {seed}")
        self._stopped = threading.Event()
        self._truncates = truncates
        self._next = size
        self.statements = 0
        self.error: Exception | None = None

    def settle(self) -> None:
        """Stop writing, with every transaction ended."""
        self._stopped.set()
        if self.ident is not None:
            self.join()
        if self.error is not None:
            raise self.error

    @abstractmethod
    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""

    # --- in the thread ------------------------------------------------------------------------------

    @abstractmethod
    def _session(self) -> Session:
        """Open a session."""

    @abstractmethod
    def _statement(self, *, some: int, new: int) -> str:
        """Choose a statement about a key that may be there, or a new one."""

    def run(self) -> None:
        try:
            sessions = [self._session() for _ in range(SESSIONS)]
            while not self._stopped.is_set():
                self._step(self._rng.choice(sessions))
                time.sleep(self._rng.choice([0, 0.002, 0.01, 0.03]))
            for session in sessions:
                session.end(self._rng.choice(["COMMIT", "COMMIT", "ROLLBACK"]))
                session.connection.close()
        except Exception as error:  # noqa: BLE001 - raised where the writer is settled
            self.error = error

    def _step(self, session: Session) -> None:
        session.begin()
        for _ in range(self._rng.randrange(1, 5)):
            some = self._rng.randrange(1, self._next + 1)
            self._next += 1
            session.execute(self._statement(some=some, new=self._next))
            self.statements += 1
        if session.is_broken or session.is_old or (chance := self._rng.random()) < 0.7:
            session.end("COMMIT")
        elif chance < 0.8:
            session.end("ROLLBACK")
