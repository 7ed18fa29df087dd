"""Measure Icetap against peers, both sides in one run on the same data, and write the tables of bench/README.md.

python bench/run.py                   everything but the 10 million rows (about 40 minutes)
python bench/run.py --large           memory at 1 and at 10 million rows (about 10 minutes, 5 GB of disk)
python bench/run.py --rows 100000     a smaller table; the README is left alone
python bench/run.py --only loader     one part: loader, loader-parts, pipeline, memory, masks, rest, upsert, merge, peers, layouts,
                                      databases (PostgreSQL and MariaDB; `--server postgres` for one of them)
python bench/run.py --only databases --large    their memory at 1 and at 20 million rows (12 GB of disk)
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import databases
import layouts
import masks
import merge
import project
import report
import rest
import side_by_side
from data import TABLE, build, change
from measure import BenchError, Series, Usage, environment_line, pipe, run
from project import TAP, TARGET, WORK, meltano_run, plugin_program, warehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PEERS = Path(__file__).parent / "peers"
FULL_ROWS, LARGE_ROWS = 1_000_000, 10_000_000
LANES = {"RECORD": {}, "Arrow": {"batch_config": {"encoding": {"format": "arrow"}}}}


class Bench:
    """The data and the sizes of a run."""

    def __init__(self, rows: int, *, repeat: int, peer_rows: int) -> None:
        self.rows, self.repeat, self.peer_rows = rows, repeat, min(rows, peer_rows)

    def database(self, rows: int) -> Path:
        """Return the table of so many rows, built if need be."""
        file = WORK / f"orders-{rows}.db"
        if not file.exists():
            say(f"building {file.name}")
            WORK.mkdir(parents=True, exist_ok=True)
            build(file, rows)
        return file

    def lines(self, name: str, config: Mapping[str, object], *, first: int | None = None) -> Path:
        """Return the messages that the tap writes with a configuration, or the first of them."""
        file = WORK / f"{name}.singer"
        if not file.exists():
            say(f"writing {file.name}")
            partial = file.with_suffix(".part")
            run([TAP, "--config", settings("lines", config)], stdout=partial)
            if first is not None:
                with partial.open("rb") as source:
                    partial.write_bytes(b"".join(itertools.islice(source, first)))
            partial.rename(file)
        return file

    def interleaved(self, sides: Mapping[str, Callable[[], Usage]]) -> dict[str, Series]:
        """Measure each side in turn, as often as asked."""
        series = {name: Series() for name in sides}
        for number in range(self.repeat):
            for name, measure in sides.items():
                usage = measure()
                series[name].runs.append(usage)
                say(f"{number + 1}/{self.repeat} {name}: {usage.wall:.2f} s, {usage.cpu:.2f} s of processor")
        return series

    # --- the parts ----------------------------------------------------------------------------------

    def loader(self) -> list[report.Row]:
        """Loader alone on RECORD lines, against the SDK's own target that drops everything."""
        whole = self.lines(f"orders-{self.rows}", {"database": str(self.database(self.rows))})
        part = self.lines(
            f"orders-{self.rows}-first-{self.peer_rows}",
            {"database": str(self.database(self.rows))},
            first=self.peer_rows + 2,  # a STATE and the SCHEMA come first
        )
        empty = self.lines("orders-0", {"database": str(self.database(0))})
        peer = [plugin_program("loaders", "target-iceberg", "python"), PEERS / "drop_target.py"]
        found = self.interleaved(
            {
                "target-iceberg": lambda: self._load(whole),
                "target-iceberg, no rows": lambda: self._load(empty),
                "SDK target": lambda: run(peer, stdin=part),
                "SDK target, no rows": lambda: run(peer, stdin=empty),
            }
        )
        return report.loader(found, rows=self.rows, peer_rows=self.peer_rows, size=whole.stat().st_size)

    def loader_parts(self) -> list[report.Row]:
        """What the loader's processor time goes to, by a run that is timed from inside."""
        whole = self.lines(f"orders-{self.rows}", {"database": str(self.database(self.rows))})
        config = settings("target", {"warehouse": str(warehouse("loader"))})
        program = [plugin_program("loaders", "target-iceberg", "python"), PEERS / "loader_parts.py", config]
        return report.loader_parts(json.loads(run(program, stdin=whole).output))

    def _load(self, lines: Path, *, into: str = "loader", keep: bool = False, **options: object) -> Usage:
        config = {"warehouse": str(warehouse(into, keep=keep)), **options}
        return run([TARGET, "--config", settings("target", config)], stdin=lines)

    def pipeline(self) -> list[report.Row]:
        """`meltano run` in both lanes, against ADBC's driver and pyarrow's Parquet writer."""
        database, empty = self.database(self.rows), self.database(0)
        output = WORK / "peer.parquet"
        peer = [plugin_program("extractors", "tap-sqlite", "python"), PEERS / "adbc_parquet.py"]
        found = self.interleaved(
            {
                "Arrow lane": lambda: meltano_run("tap-sqlite-arrow", database=database),
                "ADBC to Parquet": lambda: run([*peer, database, TABLE, output]),
                "RECORD lane": lambda: meltano_run("tap-sqlite", database=database),
                "Arrow lane, no rows": lambda: meltano_run("tap-sqlite-arrow", database=empty),
                "RECORD lane, no rows": lambda: meltano_run("tap-sqlite", database=empty),
                "ADBC to Parquet, no rows": lambda: run([*peer, empty, TABLE, output]),
            }
        )
        return report.pipeline(found, rows=self.rows)

    def memory(self, sizes: tuple[int, ...]) -> list[report.Row]:
        """Peak memory of tap and loader, joined by a pipe, in both lanes."""
        used: dict[tuple[str, int], tuple[Usage, Usage]] = {}
        for size, (lane, config) in itertools.product(sizes, LANES.items()):
            database = self.database(size)
            tap = [TAP, "--config", settings("tap", {"database": str(database), **config})]
            into = settings("target", {"warehouse": str(warehouse("memory"))})
            used[lane, size] = both = pipe(tap, [TARGET, "--config", into])
            say(f"{size:,} rows, {lane} lane: {both[0].peak_mb:.0f} and {both[1].peak_mb:.0f} MB")
        warehouse("memory")
        return report.memory(used)

    def masks(self) -> list[report.Row]:
        """What masks cost in the Arrow lane."""
        found = self.interleaved(masks.sides(self.database(self.rows), settings))
        return masks.lines(found, rows=self.rows)

    def rest(self) -> list[report.Row]:
        """What a record of an API costs."""
        return rest.measured(self.rows)

    def peers(self, *, environment: str) -> None:
        """The tools that people use instead, each in an environment of its own."""
        say("peers")
        lines = side_by_side.measure(
            self.database(self.rows), TABLE, rows=self.rows, repeat=self.repeat, say=say
        )
        print(report.lines_table(side_by_side.HEAD, lines))
        if self.rows == FULL_ROWS:
            report.keep_lines("peers", side_by_side.HEAD, lines, environment=environment)

    def layouts(self, *, environment: str) -> None:
        """Partitioned and sorted tables: the rows of 400 days, and those of all."""
        say("layouts")
        database = {"database": str(self.database(self.rows))}
        where = {TABLE: {"where": layouts.FIRST_400_DAYS}}
        some = self.lines(f"orders-{self.rows}-400-days", {**database, "streams": where})
        inputs = {"400 days": some, "all days": self.lines(f"orders-{self.rows}", database)}
        lines = layouts.measure(self._load, inputs, say=say)
        print(report.lines_table(layouts.HEAD, lines))
        if self.rows == FULL_ROWS:
            report.keep_lines("layouts", layouts.HEAD, lines, environment=environment)

    def merges(self, *, environment: str) -> None:
        """100,000 rows into one and into ten million, against `Table.upsert` and Spark; builds 4 GB of tables."""
        say("merge")
        sizes = (FULL_ROWS, LARGE_ROWS) if self.rows == FULL_ROWS else (self.rows,)
        lines = merge.Merges(repeat=self.repeat, say=say).measure(sizes)
        print(report.lines_table(merge.HEAD, lines))
        if self.rows == FULL_ROWS:
            report.keep_lines("merge", merge.HEAD, lines, environment=environment)

    def databases(self, names: Sequence[str], *, is_large: bool, environment: str) -> None:
        """Taps of real servers beside other tools; or their memory at two sizes."""
        for name in names:
            say(name)
            sizes = databases.LARGE_SIZES if is_large else (0, self.rows, self.peer_rows)
            with databases.SERVERS[name](sorted({*sizes})) as server:
                project.install([server.tap])
                if is_large:
                    rows = databases.memory(server, sizes, say=say)
                else:
                    sides = databases.Sides(
                        server, rows=self.rows, peer_rows=self.peer_rows, repeat=self.repeat, say=say
                    )
                    rows = [*sides.measure(), *databases.memory(server, (self.rows,), say=say)]
            print(report.table(rows))
            if self.rows == FULL_ROWS:
                report.keep(f"{name}-large" if is_large else name, rows, environment=environment)

    def upsert(self) -> list[report.Row]:
        """A tenth of the rows changed, all over the table; and everything again, unchanged."""
        base = self.lines(f"orders-{self.rows}", {"database": str(self.database(self.rows))})
        changed_database = WORK / f"orders-{self.rows}-changed.db"
        if not changed_database.exists():
            build(changed_database, self.rows)
            change(changed_database, self.rows // 10)
        where = {TABLE: {"where": "updated_at >= '2026-01-01'"}}
        changed = self.lines(
            f"orders-{self.rows}-changed", {"database": str(changed_database), "streams": where}
        )
        method = {"load_method": "upsert"}
        found = {name: Series() for name in ("first load", "unchanged", "changed", "pyiceberg")}
        peer = [plugin_program("loaders", "target-iceberg", "python"), PEERS / "pyiceberg_upsert.py"]
        for _ in range(self.repeat):
            for name, lines in (("first load", base), ("unchanged", base), ("changed", changed)):
                is_first = name == "first load"
                found[name].runs.append(self._load(lines, into="upsert", keep=not is_first, **method))
                say(f"{name}: {found[name].runs[-1].wall:.2f} s")
            files = sorted(
                warehouse("upsert", keep=True).rglob("*.parquet"), key=lambda file: file.stat().st_mtime
            )
            usage = run([*peer, warehouse("upsert-peer"), files[0], "10"])
            seconds = float(usage.output.split()[0])
            found["pyiceberg"].runs.append(Usage(seconds, usage.cpu, usage.peak_mb))
            say(f"pyiceberg's upsert: {seconds:.2f} s")
        return report.upsert(found, rows=self.rows)


def settings(name: str, config: Mapping[str, object]) -> Path:
    """Write a configuration file and return it."""
    file = WORK / f"{name}.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    return file


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=FULL_ROWS, help="rows of the table")
    parser.add_argument("--repeat", type=int, default=5, help="how often each side is measured")
    parser.add_argument(
        "--peer-rows", type=int, default=100_000, help="rows for the SDK's target, which is slow"
    )
    parser.add_argument(
        "--large", action="store_true", help="memory at 1 and at 10 million rows, and nothing else"
    )
    parser.add_argument(
        "--only",
        nargs="*",
        choices=[
            "loader",
            "loader-parts",
            "pipeline",
            "memory",
            "masks",
            "rest",
            "upsert",
            "merge",
            "peers",
            "layouts",
            "databases",
        ],
    )
    parser.add_argument(
        "--server",
        nargs="*",
        choices=list(databases.SERVERS),
        default=list(databases.SERVERS),
        help="for databases",
    )
    return parser.parse_args()


def main() -> None:
    """Measure what was asked for."""
    options = arguments()
    project.install()
    bench = Bench(options.rows, repeat=options.repeat, peer_rows=options.peer_rows)
    before = environment_line()
    if "databases" in (options.only or ["databases"]) and not (options.large and not options.only):
        bench.databases(options.server, is_large=options.large, environment=before)
    if options.only == ["databases"]:
        return
    if options.large:
        parts = {"memory-large": lambda: bench.memory((FULL_ROWS, LARGE_ROWS))}
    else:
        parts = {
            "loader": bench.loader,
            "loader-parts": bench.loader_parts,
            "pipeline": bench.pipeline,
            "memory": lambda: bench.memory((options.rows,)),
            "masks": bench.masks,
            "rest": bench.rest,
            "upsert": bench.upsert,
        }
    if not options.large and (not options.only or "peers" in options.only):
        bench.peers(environment=before)
    if not options.large and (not options.only or "layouts" in options.only):
        bench.layouts(environment=before)
    if not options.large and (not options.only or "merge" in options.only):
        bench.merges(environment=before)
    for name, measure in parts.items():
        if options.only and name not in options.only:
            continue
        say(name)
        rows = measure()
        print(report.table(rows))
        if options.rows == FULL_ROWS:
            report.keep(name, rows, environment=before)


if __name__ == "__main__":
    try:
        main()
    except BenchError as problem:
        sys.exit(f"The benchmark stopped: {problem}")
