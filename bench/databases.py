"""tap-postgres and tap-mysql beside others: one table of a real server into Iceberg, measured alike, in one run.

What a tool needs to start and to end is measured on an empty table of the same columns, shown, and left out of the ratios.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import report
import server_data
from measure import BenchError, Series, Usage, pipe, run
from peer_tools import DLT, PEER_TAPS, Peer, iceberg
from project import CONNECTIONS, TARGET, WORK, meltano_load, plugin_program, warehouse
from report import Row, seconds
from server_data import TABLE

from icetap.testing.databases import postgres
from icetap.testing.mariadb import mariadb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PEERS = Path(__file__).parent / "peers"
LARGE_SIZES = (1_000_000, 20_000_000)
READER = "reader"
"""User and password of everybody who reads."""


@dataclass(frozen=True)
class Server:
    """A running server with the table in several sizes, each in a database of its own."""

    name: str
    tap: str
    floor: str
    floor_script: str
    url: Callable[[int], str]
    tap_url: Callable[[int], str]
    sqlalchemy_url: Callable[[int], str]
    table: str


@contextlib.contextmanager
def postgres_with(sizes: Sequence[int]) -> Iterator[Server]:
    """Start PostgreSQL and make the tables."""
    with _or_bench_error(), postgres(options={"shared_buffers": "512MB", "max_wal_size": "1GB"}) as server:
        server.execute("postgres", f"CREATE ROLE {READER} LOGIN PASSWORD '{READER}' IN ROLE pg_read_all_data")
        for size in sizes:
            server.execute("postgres", f"CREATE DATABASE bench_{size}")
            for statement in server_data.postgres_statements(size):
                server.execute(f"bench_{size}", statement)

        def url(size: int) -> str:
            return f"postgresql://{READER}:{READER}@{server.host}:{server.port}/bench_{size}"

        yield Server(
            name=f"PostgreSQL {server.execute('postgres', 'SHOW server_version')[0][0]}",
            tap="tap-postgres",
            floor="ADBC",
            floor_script="adbc_postgres_parquet.py",
            url=url,
            tap_url=url,
            sqlalchemy_url=lambda size: url(size).replace("postgresql:", "postgresql+psycopg2:"),
            table=f"public_{TABLE}",
        )


@contextlib.contextmanager
def mariadb_with(sizes: Sequence[int]) -> Iterator[Server]:
    """Start MariaDB and make the tables."""
    with (
        _or_bench_error(),
        mariadb(["--innodb-buffer-pool-size=512M", "--innodb-log-file-size=512M"]) as server,
    ):
        server.execute(
            "",
            f"CREATE USER {READER} IDENTIFIED BY '{READER}'",
            f"GRANT SELECT, RELOAD, BINLOG MONITOR, REPLICATION SLAVE ON *.* TO {READER}",
        )
        for size in sizes:
            server.execute("", f"CREATE DATABASE bench_{size} CHARACTER SET utf8mb4")
            server.execute(f"bench_{size}", *server_data.mariadb_statements(size))

        def url(size: int) -> str:
            return f"mysql://{READER}:{READER}@{server.host}:{server.port}/bench_{size}"

        yield Server(
            name=f"MariaDB {server.execute('', 'SELECT VERSION()')[0][0]}",
            tap="tap-mysql",
            floor="connectorx",
            floor_script="connectorx_parquet.py",
            url=url,
            # Without TLS as the others: this server's costs more than the query.
            tap_url=lambda size: f"{url(size)}?ssl_mode=DISABLED",
            sqlalchemy_url=lambda size: url(size).replace("mysql:", "mysql+pymysql:"),
            table=TABLE,
        )


SERVERS = {"postgres": postgres_with, "mariadb": mariadb_with}


@contextlib.contextmanager
def _or_bench_error() -> Iterator[None]:
    try:
        yield
    except pytest.skip.Exception as skipped:
        raise BenchError(f"no server: {skipped}") from None


class Sides:
    """What is measured of one server.

    Args:
        server: Has the sizes 0, `rows` and `peer_rows`.
        rows: Of the table.
        peer_rows: Of the table that slow taps read.
        repeat: How often each side is measured.
        say: Tells how far it is.
    """

    def __init__(
        self, server: Server, *, rows: int, peer_rows: int, repeat: int, say: Callable[[str], None]
    ) -> None:
        self._server = server
        self._rows, self._peer_rows, self._repeat, self._say = rows, peer_rows, repeat, say
        self._found: dict[tuple[str, int], Series] = {}
        self._problems: dict[str, str] = {}

    def measure(self) -> list[Row]:
        """Measure every side in turn, with its empty table, and return the lines of the table."""
        sides: dict[str, tuple[int, Callable[[int], Usage]]] = {
            "pipeline": (self._rows, self._pipeline),
            "floor": (self._rows, self._floor),
            "dlt": (self._rows, self._dlt),
            "Arrow lane": (self._rows, partial(self._tap_alone, {"batch_config": _ARROW})),
            "RECORD lane": (self._rows, partial(self._tap_alone, {})),
            "peer tap": (self._peer_rows, self._peer_tap),
        }
        for number in range(self._repeat):
            for name, (rows, side) in sides.items():
                for size, counts in ((0, False), (rows, True), (0, True)):
                    if name not in self._problems:
                        what = f"{number + 1}/{self._repeat} {name}"
                        self._once(what, name, size=size, side=side, counts=counts)
        return [Row(self._server.name, "on this machine"), *self._report()]

    def _once(self, what: str, name: str, *, size: int, side: Callable[[int], Usage], counts: bool) -> None:
        """Run a side; one that does not count brings back what its programs read from the disk when they start."""
        try:
            usage = side(size)
        except BenchError as problem:
            self._problems[name] = str(problem).strip().splitlines()[-1][:200].replace("|", "/")
            self._say(f"{what} failed: {problem}")
            return
        if not counts:
            return
        self._found.setdefault((name, size), Series()).runs.append(usage)
        self._say(
            f"{what}, {size:,} rows: {usage.wall:.2f} s, {usage.cpu:.2f} s of processor, {usage.peak_mb:.0f} MB"
        )

    # --- the sides ----------------------------------------------------------------------------------

    def _pipeline(self, size: int) -> Usage:
        usage = meltano_load(f"{self._server.tap}-arrow", url=self._server.tap_url(size))
        _refuse_unless(_rows_in(WORK / "warehouses" / "meltano", self._server.table), size)
        return usage

    def _floor(self, size: int) -> Usage:
        return run(
            [
                DLT.installed() / "python",
                PEERS / self._server.floor_script,
                self._server.url(size),
                TABLE,
                WORK / "peer.parquet",
            ]
        )

    def _dlt(self, size: int) -> Usage:
        folder = WORK / "warehouses" / "peer"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        usage = DLT.load(DLT.installed(), self._server.sqlalchemy_url(size), TABLE, folder)
        _refuse_unless(_rows_in(folder, TABLE) if size else 0, size)
        return usage

    def _peer_tap(self, size: int) -> Usage:
        peer: Peer = PEER_TAPS[self._server.tap]
        usage = peer.load(peer.installed(), self._server.sqlalchemy_url(size), TABLE, WORK)
        _refuse_unless(min(int(usage.output), size), size)  # there are other messages beside the rows
        return usage

    def _tap_alone(self, config: dict[str, object], size: int) -> Usage:
        taker = [plugin_program("extractors", self._server.tap, "python"), PEERS / "take_batches.py"]
        tap, taken = pipe(tap_command(self._server, size, {"max_parallel": CONNECTIONS, **config}), taker)
        if not config:
            _refuse_unless(min(int(taken.output), size), size)
        return tap

    # --- the table ----------------------------------------------------------------------------------

    def _rows_of(self, name: str) -> int:
        return self._peer_rows if name == "peer tap" else self._rows

    def _ratio(self, above: str, below: str, *, measure: str) -> float:
        """Return how much more a row costs on one side than on the other: `best` for seconds, `cpu` for the processor's."""
        costs: list[float] = []
        for name in (above, below):
            rows = self._rows_of(name)
            whole, fixed = (getattr(self._found[name, size], measure) for size in (rows, 0))
            costs.append((whole - fixed) / rows)
        return costs[0] / costs[1]

    def _report(self) -> Iterator[Row]:
        server = self._server
        titles = {
            "pipeline": f"`meltano run {server.tap}-arrow target-iceberg`",
            "floor": f"{server.floor} into Parquet zstd with pyarrow",
            "dlt": "dlt, connectorx into Iceberg",
            "Arrow lane": f"{server.tap} alone, Arrow lane",
            "RECORD lane": f"{server.tap} alone, RECORD lane",
            "peer tap": f"{PEER_TAPS[server.tap].name} alone",
        }
        for name, title in titles.items():
            if name in self._problems:
                yield Row(title, self._problems[name])
                continue
            size = self._rows_of(name)
            yield Row(f"{title}, {size:,} rows", _with_memory(self._found[name, size]))
            yield Row("its fixed part: an empty table", seconds(self._found[name, 0]))
        yield from self._ratios(set(titles) - set(self._problems))

    def _ratios(self, measured: set[str]) -> Iterator[Row]:
        peer = PEER_TAPS[self._server.tap].name
        for what, above, below, sign, goal in (
            (f"pipeline to {self._server.floor} into Parquet", "pipeline", "floor", "≤", 1.6),
            ("dlt to pipeline", "dlt", "pipeline", "≥", 2.5),
            (f"{peer} to pipeline, per row", "peer tap", "pipeline", "≥", 20),
            ("RECORD lane to Arrow lane, the taps alone", "RECORD lane", "Arrow lane", "≤", 3),
        ):
            if {above, below} <= measured:
                ratio, cpu_ratio = (self._ratio(above, below, measure=measure) for measure in ("best", "cpu"))
                yield Row(
                    what,
                    f"{ratio:.2f} (processor time {cpu_ratio:.2f})",
                    f"{sign} {goal}",
                    ratio <= goal if sign == "≤" else ratio >= goal,
                )


_ARROW = {"encoding": {"format": "arrow"}}
LANES: dict[str, dict[str, object]] = {"RECORD": {}, "Arrow": {"batch_config": _ARROW}}


def tap_command(server: Server, size: int, config: dict[str, object]) -> list[str | Path]:
    """Return the tap's command for a table of so many rows."""
    file = WORK / f"{server.tap}.json"
    file.write_text(json.dumps({"sqlalchemy_url": server.tap_url(size), **config}), encoding="utf-8")
    return [plugin_program("extractors", server.tap, server.tap), "--config", file]


def memory(server: Server, sizes: Sequence[int], *, say: Callable[[str], None]) -> list[Row]:
    """Peak memory of tap and loader, joined by a pipe, in both lanes; and how it grows."""
    used: dict[tuple[str, int], tuple[Usage, Usage]] = {}
    for size in sizes:
        for lane, config in LANES.items():
            into = WORK / "target.json"
            into.write_text(json.dumps({"warehouse": str(warehouse("memory"))}), encoding="utf-8")
            used[lane, size] = both = pipe(tap_command(server, size, config), [TARGET, "--config", into])
            say(f"{size:,} rows, {lane} lane: {both[0].peak_mb:.0f} and {both[1].peak_mb:.0f} MB")
    warehouse("memory")
    return report.memory(used)


def _rows_in(folder: Path, table: str) -> int:
    """Count the rows of an Iceberg table by an engine that nobody here wrote it with."""
    # In a process of its own: what this one holds would count as the least that every program after it held.
    return int(run([sys.executable, "-c", _COUNT, iceberg(folder, table)]).output)


_COUNT = """
import sys
from icetap.testing.engines import duckdb_reader
with duckdb_reader() as connection:
    print(connection.execute(f"SELECT count(*) FROM {sys.argv[1]}").fetchone()[0])
"""


def _refuse_unless(found: int, expected: int) -> None:
    if found != expected:
        raise BenchError(f"brought {found:,} of {expected:,} rows")


def _with_memory(series: Series) -> str:
    return f"{seconds(series)}, {series.peak_mb:.0f} MB"
