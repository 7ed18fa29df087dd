"""Databases as real servers on this machine: PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from icetap.testing.servers import (
    NotAvailableError,
    accepts_connections,
    address_from_environment,
    free_port,
    python_environment,
    real_server,
    started,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

POSTGRES_WHEEL = "pgserver==0.1.4"  # complete programs of PostgreSQL 16
_DEBIAN = Path("/usr/lib/postgresql")
_LOGICAL_LOG = {"wal_level": "logical", "max_wal_senders": "20", "max_replication_slots": "20"}
USER, PASSWORD = "loader", "pa55 w@rd/to?hide"


@dataclass
class Postgres:
    """A PostgreSQL server."""

    host: str
    port: int
    user: str
    password: str

    def url(self, database: str, *, port: int | None = None, password: str | None = None) -> str:
        """Return a database's address as SQLAlchemy takes it.

        Args:
            database: The database's name.
            port: Another port, such as that of a proxy.
            password: Another password.
        """
        from sqlalchemy.engine import URL

        made = URL.create(
            "postgresql+psycopg2",
            username=self.user,
            password=self.password if password is None else password,
            host=self.host,
            port=port or self.port,
            database=database,
        )
        return made.render_as_string(hide_password=False)

    def new_database(self) -> str:
        """Make a database of the test's own; return its name."""
        name = f"icetap_{uuid.uuid4().hex[:12]}"
        self.execute("postgres", f"CREATE DATABASE {name}")
        return name

    def execute(self, database: str, statement: str) -> list[tuple[object, ...]]:
        """Run one statement, outside a transaction; return its rows."""
        from sqlalchemy import create_engine, text

        engine = create_engine(self.url(database), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                found = connection.execute(text(statement))
                return [tuple(row) for row in found] if found.returns_rows else []
        finally:
            engine.dispose()


@contextmanager
def postgres(*, options: Mapping[str, str] | None = None) -> Iterator[Postgres]:
    """Start PostgreSQL with a logical log, or skip the test; it ends with the block.

    `ICETAP_TEST_POSTGRES_URL` names a server of somebody else's, with a user who may make databases and
    read the log.

    Args:
        options: Settings of the server, such as `max_connections`; a server with options is always our own.
    """
    with real_server("PostgreSQL") as answers:
        if options is None and (address := address_from_environment("postgres")):
            parts = urlsplit(address)
            answers("an address in the environment")
            yield Postgres(
                parts.hostname or "", parts.port or 5432, parts.username or "", parts.password or ""
            )
            return
        programs, how = _programs()
        folder = Path(tempfile.mkdtemp(prefix="icetap-postgres-"))
        try:
            with _started(programs, folder, options=options or {}) as server:
                version = server.execute("postgres", "SHOW server_version")[0][0]
                answers(f"{version}, {how}")
                yield server
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _programs() -> tuple[Path, str]:
    """The folder of `initdb` and `postgres`, and how it was had."""
    installed = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    installed += sorted(_DEBIAN.glob("*/bin"), reverse=True)
    for folder in installed:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder, "a program on this machine"
    python = python_environment("pgserver-0.1.4", [POSTGRES_WHEEL])
    found = next(python.parent.parent.glob("lib/python*/site-packages/pgserver/pginstall/bin"), None)
    if found is None:
        raise NotAvailableError(f"{POSTGRES_WHEEL} holds no programs")
    return found, "from PyPI"


@contextmanager
def _started(programs: Path, folder: Path, *, options: Mapping[str, str]) -> Iterator[Postgres]:
    user = _other_user()
    if user:
        programs = _readable_for(user, programs, folder)
        shutil.chown(folder, user)
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)  # in a folder of mode 0700
    data = folder / "data"
    command = [str(programs / "initdb"), "-D", str(data), "-U", USER, "-A", "scram-sha-256", "-E", "UTF8"]
    made = subprocess.run(
        [*command, f"--pwfile={secret}", "--no-sync", "--locale=C"],
        capture_output=True,
        text=True,
        user=user,
        cwd=folder,
        check=False,
    )
    if made.returncode != 0:
        raise NotAvailableError(f"initdb failed and said: {made.stderr.strip()[-200:]}")
    port = free_port()
    always = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(folder), "fsync": "off"}
    settings = {**always, **_LOGICAL_LOG, **options}
    server = [str(programs / "postgres"), "-D", str(data), "-p", str(port)]
    with started(
        [*server, *(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))],
        answers=lambda: accepts_connections(port) and (data / "postmaster.pid").exists() and _is_ready(data),
        folder=folder,
        user=user,
        stop_signal=signal.SIGQUIT,  # at once: nobody needs the data again
    ):
        yield Postgres("127.0.0.1", port, USER, PASSWORD)


def _is_ready(data: Path) -> bool:
    return (data / "postmaster.pid").read_text().rstrip().endswith("ready")


def _other_user() -> str | None:
    """Who runs the server when root runs the tests: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    known = {each.pw_name for each in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in known), None)


def _readable_for(user: str, programs: Path, folder: Path) -> Path:
    """The programs, in a copy where the user may not read them: root's own folders are closed to others."""
    try:
        subprocess.run([str(programs / "initdb"), "--version"], user=user, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        packages = programs.parents[2]
        for part in packages.glob(
            "pgserver*"
        ):  # the programs, and beside them the libraries that they look for
            shutil.copytree(part, folder / "programs" / part.name, symlinks=True)
        return folder / "programs" / programs.relative_to(packages)
    return programs
