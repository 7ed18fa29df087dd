"""The demo: real data from SQLite into Iceberg, a second run without news, a third one with 1,500 changes, a question."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flights_database import build, change

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "demo"
DATABASE = DEMO / "flights.db"
WAREHOUSE = DEMO / "warehouse"
PIPELINE = ["tap-sqlite", "target-iceberg"]
CHANGED, ADDED = 1_000, 500
QUESTION = """
select a.name as airline, count(*) as flights,
       round(avg(f.dep_delay) filter (where w.precip > 0), 1) as minutes_late_in_rain,
       round(avg(f.dep_delay) filter (where w.precip = 0), 1) as minutes_late_when_dry
from flights f
join weather w on w.origin = f.origin and w.time_hour = f.time_hour
join airlines a on a.carrier = f.carrier
group by a.name having count(*) > 10000 order by minutes_late_in_rain desc
"""

took: list[tuple[str, float]] = []


class DemoError(Exception):
    """A part of the demo did not do what it should."""


@contextmanager
def part(title: str) -> Iterator[None]:
    """Name a part before it starts, and remember how long it took."""
    print(f"\n== {title}", flush=True)
    start = time.monotonic()
    yield
    took.append((title, time.monotonic() - start))


def command(*words: str, log: str, environment: dict[str, str] | None = None) -> Path:
    """Run a command of the project's environment with one line of progress; its output goes to a log.

    Returns:
        The log.

    Raises:
        DemoError: When the command fails; with the end of its log.
    """
    shown = " ".join(word if " " not in word else f'"{word}"' for word in words)
    path = DEMO / log
    start = time.monotonic()
    with path.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [Path(sys.executable).with_name(words[0]), *words[1:]],
            cwd=ROOT, env={**os.environ, "NO_COLOR": "1", **(environment or {})},
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        while process.poll() is None:
            progress(f"$ {shown}   {time.monotonic() - start:3.0f} s, {written():.1f} MB in the warehouse")
            time.sleep(0.2)
    progress("")
    print(f"$ {shown}   {time.monotonic() - start:.1f} s", flush=True)
    if process.returncode:
        tail = "\n".join(path.read_text(encoding="utf-8").splitlines()[-25:])
        raise DemoError(f"{words[0]} ended with exit code {process.returncode}. The end of {path}:\n{tail}")
    return path


def progress(line: str) -> None:
    """Rewrite the line of progress; says nothing where nobody watches."""
    if sys.stdout.isatty():
        print(f"\r\x1b[2K{line}", end="", flush=True)


def written() -> float:
    """Megabytes of Parquet in the warehouse."""
    return sum(file.stat().st_size for file in WAREHOUSE.rglob("*.parquet") if file.exists()) / 1e6


def load(number: int) -> dict[str, dict[str, int]]:
    """Run the pipeline; print the loader's report; return it by stream."""
    path = DEMO / f"report-{number}.json"
    log = command(
        "meltano",
        "run",
        *PIPELINE,
        log=f"run-{number}.log",
        environment={"TARGET_ICEBERG_REPORT_PATH": str(path)},
    )
    print_report(log)
    report = json.loads(path.read_text(encoding="utf-8"))
    return report["streams"]


def print_report(log: Path) -> None:
    """Show what the loader said of its run, without what Meltano puts before each line."""
    raise NotImplementedError


def query(sql: str) -> list[dict[str, object]]:
    """Ask the loaded tables; rows as JSON."""
    done = subprocess.run(
        [Path(sys.executable).with_name("icetap"), "query", sql, "--format", "json"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(done.stdout)
