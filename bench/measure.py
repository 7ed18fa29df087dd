"""Processes, measured from outside: seconds of wall and of processor, and the most memory they held."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Command = Sequence[str | Path]


_LAUNCHER = """
import json, os, sys
report, *command = sys.argv[1:]
child = os.fork()
if not child:
    os.close(int(report))
    os.execvp(command[0], command)
_, status, used = os.wait4(child, 0)
with open(int(report), "w") as file:
    json.dump([os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024], file)
"""
"""Starts a program and reports what it used.

Between the two, because Linux counts what the process that starts a program holds as memory of that program.
"""


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
    with (
        _files(stdin) as (source, output, errors),
        stdout.open("wb") if stdout else contextlib.nullcontext(output) as sink,
    ):
        running = _Running(command, stdin=source, stdout=sink, stderr=errors, cwd=cwd, env=env)
        return running.ended(output=output)


def pipe(tap: Command, target: Command, *, env: Mapping[str, str] | None = None) -> tuple[Usage, Usage]:
    """Run `tap | target`; the wall of both counts from the start of the pipe.

    Raises:
        BenchError: When one of them fails.
    """
    with _files(None) as (nothing, output, tap_errors), _files(None) as (_, _, target_errors):
        first = _Running(tap, stdin=nothing, stdout=subprocess.PIPE, stderr=tap_errors, env=env)
        second = _Running(target, stdin=first.process.stdout, stdout=output, stderr=target_errors, env=env)
        second.started = first.started
        assert first.process.stdout is not None
        first.process.stdout.close()
        return first.ended(), second.ended(output=output)


class _Running:
    """A process that is measured, from its start on."""

    def __init__(
        self,
        command: Command,
        *,
        stdin: IO[bytes] | None,
        stdout: IO[bytes] | int,
        stderr: IO[bytes],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.started = time.monotonic()
        self._command, self._errors = command, stderr
        self._report = tempfile.TemporaryFile()  # noqa: SIM115 -- `ended` closes it
        report = self._report.fileno()
        words = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(report), *(str(word) for word in command)]
        self.process = subprocess.Popen(
            words,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd,
            env=environment(env),
            pass_fds=(report,),
        )

    def ended(self, *, output: IO[bytes] | None = None) -> Usage:
        """Wait for its end.

        Raises:
            BenchError: When it fails; with the end of what it said.
        """
        with self._report:
            self.process.wait()
            wall = time.monotonic() - self.started
            self._report.seek(0)
            code, cpu, peak_mb = json.load(self._report)
            if code:
                self._errors.seek(0)
                tail = self._errors.read()[-3000:].decode(errors="replace")
                raise BenchError(f"{self._command[0]} ended with exit code {code}:\n{tail}")
        text = ""
        if output is not None:
            output.seek(0)
            text = output.read().decode(errors="replace")
        return Usage(wall, cpu, peak_mb, text)


@contextlib.contextmanager
def _files(stdin: Path | None) -> Iterator[tuple[IO[bytes], IO[bytes], IO[bytes]]]:
    with (
        (stdin or Path(os.devnull)).open("rb") as source,
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
    ):
        yield source, output, errors
