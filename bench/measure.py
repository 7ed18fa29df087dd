"""Processes, measured from outside: seconds of wall and of processor, and the most memory they held."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Command = Sequence[str | Path]


class BenchError(Exception):
    """A process that is measured did not do its work."""


@dataclass(frozen=True)
class Usage:
    """What one process used."""

    wall: float
    """Seconds from its start, or its pipeline's, to its end."""
    cpu: float
    """Seconds of user and system time."""
    peak_mb: float
    """The most memory it held at once (resident set), in megabytes of 2**20 bytes."""
    output: str = ""


@dataclass
class Series:
    """One side of a comparison, measured several times."""

    runs: list[Usage] = field(default_factory=list)

    @property
    def best(self) -> float:
        """Seconds of the fastest run."""
        return min(run.wall for run in self.runs)

    @property
    def median(self) -> float:
        """Seconds of the run in the middle."""
        return statistics.median(run.wall for run in self.runs)

    @property
    def cpu(self) -> float:
        """Processor seconds of the run that used the fewest."""
        return min(run.cpu for run in self.runs)

    @property
    def peak_mb(self) -> float:
        """The most memory that any of the runs held."""
        return max(run.peak_mb for run in self.runs)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of what is measured: programs are compiled once, as `make` and Meltano have it."""
    known = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**known, "UV_COMPILE_BYTECODE": "1", "NO_COLOR": "1", **(extra or {})}


def environment_line() -> str:
    """Say on what machine, with what, when, and beside how much other work this is measured."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in _text("/proc/cpuinfo").splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ("pyarrow", "pyiceberg", "singer-sdk", "meltano", "adbc-driver-sqlite")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return (
        f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}: {os.cpu_count()} cores of {cpu}, {memory:.0f} GB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {versions}; "
        f"load average at the start {os.getloadavg()[0]:.1f}."
    )


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


def run(
    command: Command,
    *,
    stdin: Path | None = None,
    stdout: Path | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Usage:
    """Run a command to its end; what it says goes into a file if one is named, else into `Usage.output`.

    Raises:
        BenchError: When it fails; with the end of what it said.
    """
    with _files(stdin) as (source, output, errors):
        started = time.monotonic()
        with stdout.open("wb") if stdout else contextlib.nullcontext(output) as sink:
            process = _start(command, stdin=source, stdout=sink, stderr=errors, cwd=cwd, env=env)
            return _ended(process, command, started=started, output=output, errors=errors)


def pipe(tap: Command, target: Command, *, env: Mapping[str, str] | None = None) -> tuple[Usage, Usage]:
    """Run `tap | target`; the wall of both counts from the start of the pipe.

    Raises:
        BenchError: When one of them fails.
    """
    with _files(None) as (nothing, output, tap_errors), _files(None) as (_, _, target_errors):
        started = time.monotonic()
        first = _start(tap, stdin=nothing, stdout=subprocess.PIPE, stderr=tap_errors, env=env)
        second = _start(target, stdin=first.stdout, stdout=output, stderr=target_errors, env=env)
        assert first.stdout is not None
        first.stdout.close()
        tap_usage = _ended(first, tap, started=started, errors=tap_errors)
        return tap_usage, _ended(second, target, started=started, output=output, errors=target_errors)


def _start(
    command: Command,
    *,
    stdin: IO[bytes] | None,
    stdout: IO[bytes] | int,
    stderr: IO[bytes],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    words = [str(word) for word in command]
    return subprocess.Popen(words, stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd, env=environment(env))


def _ended(
    process: subprocess.Popen[bytes],
    command: Command,
    *,
    started: float,
    errors: IO[bytes],
    output: IO[bytes] | None = None,
) -> Usage:
    _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        errors.seek(0)
        tail = errors.read()[-3000:].decode(errors="replace")
        raise BenchError(f"{command[0]} ended with exit code {process.returncode}:\n{tail}")
    text = ""
    if output is not None:
        output.seek(0)
        text = output.read().decode(errors="replace")
    return Usage(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, text)


@contextlib.contextmanager
def _files(stdin: Path | None) -> Iterator[tuple[IO[bytes], IO[bytes], IO[bytes]]]:
    with (
        (stdin or Path(os.devnull)).open("rb") as source,
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
    ):
        yield source, output, errors
