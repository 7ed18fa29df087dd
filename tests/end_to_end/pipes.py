"""A tap and a loader as processes with a pipe between them, and what happens when one of them is killed.

The pump moves lines as Meltano does, so a kill can be aimed at the moment when a certain line has passed. The state
that is kept is what Meltano would keep: the last line that the loader printed.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
SECONDS = 120
START_SECONDS = 30
READY = "| target-iceberg"  # the first thing that the loader says, once its imports are done
PEAK = """
import os, resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024))
sys.exit(code)
"""


def measured(command: Sequence[str], *, into: Path) -> list[str]:
    """The command, run by a parent that writes the most memory it held into a file, in megabytes."""
    return [sys.executable, "-c", PEAK, str(into), *command]


@dataclass(frozen=True)
class Kill:
    """A signal for `whom` (`tap`, `target` or `both`), `delay` seconds after line `line` has passed."""

    whom: str
    signum: int
    line: int
    delay: float
    every: int = 25
    pause: float = 0.001
    """A tap that takes its time: after each so many lines, so many seconds. Kills find it reading then."""

    def __str__(self):
        name = signal.Signals(self.signum).name
        return f"{name} to {self.whom} {self.delay:.3f} s after line {self.line}"


@dataclass
class Ran:
    """How a run ended."""

    tap: int
    target: int
    states: list[dict[str, Any]]
    lines: int
    killed: bool
    log: str

    @property
    def is_good(self):
        return self.tap == 0 and self.target == 0

    def require(self):
        """Return the run, which must have gone well."""
        assert self.is_good, f"tap {self.tap}, target {self.target}\n{self.log[-4000:]}"
        return self


@dataclass
class Pipe:
    """One pipeline: a tap's command, a loader's configuration, and the state between runs."""

    folder: Path
    tap: dict[str, Any]
    target: dict[str, Any]
    environ: dict[str, str] = field(default_factory=dict)
    tap_command: Sequence[str] = (str(BIN / "tap-sqlite"),)
    target_command: Sequence[str] = (str(BIN / "target-iceberg"),)
    state: dict[str, Any] = field(default_factory=dict)
    launch: Callable[..., Any] = subprocess.Popen

    def __post_init__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        if Path(self.target_command[0]).name == "target-iceberg":
            self.target = {"warehouse": str(self.folder / "warehouse"), **self.target}

    @property
    def warehouse(self):
        return Path(self.target["warehouse"])

    def run(self, *, kill: Kill | None = None, **target: Any) -> Ran:
        """Run once from the kept state, and keep the last state that the loader prints."""
        state = self._file("state.json", self.state)
        tap = [*self.tap_command, "--config", self._file("tap.json", self.tap), "--state", state]
        loader = [*self.target_command, "--config", self._file("target.json", {**self.target, **target})]
        ran = run_processes(
            tap, loader, folder=self.folder, environ=self.environ, kill=kill, launch=self.launch
        )
        if ran.states:
            self.state = ran.states[-1]
        return ran

    def _file(self, name: str, value: Any) -> str:
        path = self.folder / name
        path.write_text(json.dumps(value))
        return str(path)


def run_processes(
    tap: Sequence[str],
    target: Sequence[str],
    *,
    folder: Path,
    environ: Mapping[str, str] | None = None,
    kill: Kill | None = None,
    launch: Callable[..., Any] = subprocess.Popen,
) -> Ran:
    """Run a tap into a target; at the end of either, the other one ends as under Meltano."""
    log = folder / "log.txt"
    with log.open("wb") as errors:
        options: dict[str, Any] = {
            "cwd": folder,
            "stderr": errors,
            "env": {**os.environ, "MELTANO_PROJECT_ROOT": str(folder), **(environ or {})},
        }
        loader = launch(target, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
        if kill is not None:
            fcntl.fcntl(loader.stdin, fcntl.F_SETPIPE_SZ, SMALL_PIPE)
        source = launch(tap, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **options)
        printed: list[bytes] = []
        reader = threading.Thread(target=lambda: printed.extend(loader.stdout), daemon=True)
        reader.start()
        threading.Thread(target=_end_with, args=(source, loader), daemon=True).start()
        shot = _Shot(kill, log, tap=source, target=loader)
        watchdog = threading.Timer(SECONDS, lambda: [process.kill() for process in (source, loader)])
        watchdog.start()
        lines = _pump(source, loader, shot)
        codes = source.wait(), loader.wait()
        shot.cancel()
        watchdog.cancel()
        reader.join()
    states = [json.loads(line) for line in printed if line.strip().startswith(b"{")]
    return Ran(*codes, states, lines, shot.hit, log.read_text("utf-8", "replace"))


def _end_with(source: subprocess.Popen[bytes], loader: subprocess.Popen[bytes]) -> None:
    """End the tap when the loader fails before it: a tap whose files nobody takes waits, and writes nothing."""
    if loader.wait() != 0 and source.poll() is None:
        source.terminate()


CHUNK = 2**16
SMALL_PIPE = 4096  # bytes: what has passed is what the loader has read, nearly


def _pump(source: subprocess.Popen[bytes], loader: subprocess.Popen[bytes], shot: "_Shot") -> int:
    """Move lines until the tap has ended or the loader is gone; return how many passed."""
    lines = 0
    try:
        # What is to be killed at a line goes line by line; else whatever is there goes at once.
        parts = source.stdout if shot.kill else iter(lambda: source.stdout.read1(CHUNK), b"")
        for part in parts:
            loader.stdin.write(part)
            loader.stdin.flush()
            lines += part.count(b"\n")
            shot.passed(lines)
            shot.pace(lines)
        loader.stdin.close()
    except BrokenPipeError:
        source.stdout.close()
        source.terminate()
        with contextlib.suppress(BrokenPipeError):
            loader.stdin.close()
    return lines


class _Shot:
    """Sends the signal of a kill, once, when its line has passed."""

    def __init__(self, kill: Kill | None, log: Path, **processes: subprocess.Popen[bytes]) -> None:
        self.kill = kill
        self.hit = False
        self._log = log
        self._is_ready = False
        self._processes = processes
        self._timer: threading.Timer | None = None
        if kill is not None and kill.line == 0:
            self._aim(kill.delay)

    def passed(self, lines: int) -> None:
        if self.kill is not None and self._timer is None and lines >= self.kill.line:
            self._aim(self.kill.delay)

    def pace(self, lines: int) -> None:
        """Let the loader begin before the second line passes, and go slowly from there."""
        if self.kill is None or self.kill.line < 2 or lines % self.kill.every:
            return
        end = time.monotonic() + START_SECONDS
        while not self._is_ready and self._processes["target"].poll() is None and time.monotonic() < end:
            self._is_ready = READY in self._log.read_text("utf-8", "replace")
            time.sleep(0.01)
        time.sleep(self.kill.pause)

    def _aim(self, delay: float) -> None:
        self._timer = threading.Timer(delay, self._fire)
        self._timer.start()

    def _fire(self) -> None:
        for name, process in self._processes.items():
            if self.kill.whom in {name, "both"} and process.poll() is None:
                process.send_signal(self.kill.signum)
                self.hit = True

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
