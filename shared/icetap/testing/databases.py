"""Databases as real servers on this machine: PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

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

    from icetap.testing.certificates import Certificates

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
    process: PostgresProcess | None = field(default=None, repr=False)
    """The server itself, when it is our own."""

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


@dataclass
class PostgresProcess:
    """A server of our own, which can be stopped and started again on the same port with the same data."""

    programs: Path
    folder: Path
    user: str | None
    port: int
    options: Mapping[str, str]
    _running: ExitStack = field(default_factory=ExitStack, repr=False)

    @property
    def data(self) -> Path:
        """The folder of the data."""
        return self.folder / "data"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [str(self.programs / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            **_LOGICAL_LOG,
            **self.options,
        }
        self._running.enter_context(
            started(
                [*command, *(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))],
                answers=lambda: accepts_connections(self.port) and _is_ready(self.data),
                folder=self.folder,
                user=self.user,
                stop_signal=signal.SIGQUIT,  # at once: nobody needs the data again
            )
        )

    def stop(self) -> None:
        """Stop it at once, as a crash does: the next start repairs what it left."""
        self._running.close()

    def run(self, program: str, *arguments: str, environ: Mapping[str, str] | None = None) -> str:
        """Run one of PostgreSQL's programs as the server's user; return what it said.

        Raises:
            NotAvailableError: When it fails.
        """
        made = subprocess.run(
            [str(self.programs / program), *arguments],
            capture_output=True,
            text=True,
            user=self.user,
            cwd=self.folder,
            env={**os.environ, **(environ or {})},
            check=False,
        )
        if made.returncode != 0:
            raise NotAvailableError(f"{program} failed and said: {made.stderr.strip()[-200:]}")
        return made.stdout


@contextmanager
def postgres(
    *, options: Mapping[str, str] | None = None, certificates: Certificates | None = None
) -> Iterator[Postgres]:
    """Start PostgreSQL with a logical log, or skip the test; it ends with the block.

    `ICETAP_TEST_POSTGRES_URL` names a server of somebody else's, with a user who may make databases and
    read the log.

    Args:
        options: Settings of the server, such as `max_connections`; a server with options is always our own.
        certificates: Lets the server speak TLS, and the user `certified` sign in by a certificate alone.
    """
    with real_server("PostgreSQL with TLS" if certificates else "PostgreSQL") as answers:
        is_any = options is None and certificates is None
        if is_any and (address := address_from_environment("postgres")):
            parts = urlsplit(address)
            answers("an address in the environment")
            yield Postgres(
                parts.hostname or "",
                parts.port or 5432,
                unquote(parts.username or ""),
                unquote(parts.password or ""),
            )
            return
        with _own_process(options or {}, certificates) as (process, how):
            _make_data(process)
            process.start()
            server = Postgres("127.0.0.1", process.port, USER, PASSWORD, process)
            version = server.execute("postgres", "SHOW server_version")[0][0]
            answers(f"{version}, {how}")
            yield server


@contextmanager
def postgres_replica(primary: Postgres, *, options: Mapping[str, str] | None = None) -> Iterator[Postgres]:
    """Start a read replica of a server of our own, or skip the test."""
    with real_server("PostgreSQL, a read replica") as answers:
        if primary.process is None:
            raise NotAvailableError("the server is somebody else's")
        with _own_process(options or {}, None) as (process, how):
            copy = ["-D", str(process.data), "-R", "-X", "stream", "-c", "fast", "--no-sync"]
            place = ["-h", primary.host, "-p", str(primary.port), "-U", primary.user]
            process.run("pg_basebackup", *copy, *place, environ={"PGPASSWORD": primary.password})
            process.start()
            answers(how)
            yield Postgres("127.0.0.1", process.port, primary.user, primary.password, process)


@contextmanager
def _own_process(
    options: Mapping[str, str], certificates: Certificates | None
) -> Iterator[tuple[PostgresProcess, str]]:
    programs, how = _programs()
    folder = Path(tempfile.mkdtemp(prefix="icetap-postgres-"))
    try:
        user = _other_user()
        if user:
            programs = _readable_for(user, programs, folder)
            shutil.chown(folder, user)
        tls = _tls_options(certificates, folder, user) if certificates else {}
        process = PostgresProcess(programs, folder, user, free_port(), {**tls, **options})
        try:
            yield process, how
        finally:
            process.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_data(process: PostgresProcess) -> None:
    secret = process.folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)  # in a folder of mode 0700
    process.run(
        "initdb",
        *("-D", str(process.data), "-U", USER, "-A", "scram-sha-256", "-E", "UTF8"),
        *(f"--pwfile={secret}", "--no-sync", "--locale=C"),
    )
    if "ssl" in process.options:
        rules = process.data / "pg_hba.conf"
        rules.write_text(f"hostssl all certified 127.0.0.1/32 cert\n{rules.read_text()}")


def _tls_options(certificates: Certificates, folder: Path, user: str | None) -> dict[str, str]:
    options = {"ssl": "on"}
    given = {"ssl_cert_file": certificates.server, "ssl_key_file": certificates.server_key}
    for name, source in {**given, "ssl_ca_file": certificates.authority}.items():
        copy = folder / source.name
        shutil.copyfile(source, copy)
        copy.chmod(0o600)
        if user:
            shutil.chown(copy, user)
        options[name] = str(copy)
    return options


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


def _is_ready(data: Path) -> bool:
    state = data / "postmaster.pid"
    return state.exists() and state.read_text().rstrip().endswith("ready")


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
