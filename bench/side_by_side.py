"""Icetap beside the tools that people use instead: one table into Iceberg, measured alike, and what became of each type."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import type_table
from measure import BenchError, Series, Usage, pipe
from peer_tools import PEERS, Peer, iceberg
from project import TAP, TARGET, WORK

from icetap.testing.engines import duckdb_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import duckdb

HEAD = ("tool", "writes", "wall", "processor", "memory", "types exact", "version")
LANES = {
    "Icetap, RECORD lane": {},
    "Icetap, Arrow lane": {"batch_config": {"encoding": {"format": "arrow"}}},
}


@dataclass
class Side:
    """One tool: how it loads a table of a database into a folder, and where its table then is."""

    name: str
    writes: str
    version: str
    load: Callable[[Path, str, Path], Usage]
    query: Callable[[Path, str], str]
    problem: str = ""
    types: str = ""


def sides() -> Iterator[Side]:
    """Yield our two lanes, then the peers, installed; a peer that cannot be installed has a problem."""
    for name, config in LANES.items():
        yield Side(name, "Iceberg", "this checkout", _ours(config), iceberg)
    for peer in PEERS:
        side = Side(peer.name, peer.writes, peer.version, _theirs(peer), peer.query)
        try:
            peer.installed()
        except BenchError as problem:
            side.problem = str(problem)
        yield side


def _ours(config: dict[str, object]) -> Callable[[Path, str, Path], Usage]:
    """Tap and loader through a pipe; processor time and memory are those of both together."""

    def load(database: Path, table: str, folder: Path) -> Usage:
        files = {
            "tap": {"database": str(database), **config, "streams": {}},
            "target": {"warehouse": str(folder / "lake")},
        }
        for name, content in files.items():
            (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        tap, target = pipe(
            [TAP, "--config", folder / "tap.json"], [TARGET, "--config", folder / "target.json"]
        )
        return Usage(target.wall, tap.cpu + target.cpu, tap.peak_mb + target.peak_mb, table)

    return load


def _theirs(peer: Peer) -> Callable[[Path, str, Path], Usage]:
    return lambda database, table, folder: peer.load(peer.installed(), database, table, folder)


def measure(
    database: Path, table: str, *, rows: int, repeat: int, say: Callable[[str], None]
) -> list[tuple[str, ...]]:
    """Measure every tool in turn, as often as asked, and return the lines of the table."""
    types = WORK / "types.db"
    known = list(sides())
    series = {side.name: Series() for side in known}
    for number in range(repeat):
        for side in known:
            if side.problem:
                continue
            try:
                usage = _load(side, database, table, rows=rows)
                if not number:
                    side.types = _exactness(side, types)
            except BenchError as problem:
                side.problem = _one_line(problem)
                continue
            series[side.name].runs.append(usage)
            say(
                f"{number + 1}/{repeat} {side.name}: {usage.wall:.2f} s, {usage.cpu:.2f} s of processor; {side.types}"
            )
    return [_line(side, series[side.name]) for side in known]


def _load(side: Side, database: Path, table: str, *, rows: int) -> Usage:
    """Load and see that all rows came."""
    folder = _folder()
    usage = side.load(database, table, folder)
    with duckdb_reader() as connection:
        (found,) = connection.execute(
            f"SELECT count(*) FROM {_opened(connection, side, folder, table)}"
        ).fetchone()
    if found != rows:
        raise BenchError(f"loaded {found:,} of {rows:,} rows")
    return usage


def _exactness(side: Side, types: Path) -> str:
    """Say what became of the types: of all in one table or, when a tool cannot load that, of each in one of its own."""
    try:
        columns = _loaded_columns(side, types, type_table.KINDS)
    except BenchError:
        columns = {}
        for name, kind in type_table.KINDS.items():
            with contextlib.suppress(BenchError):
                columns |= _loaded_columns(side, types.with_name("one-type.db"), {name: kind})
    return type_table.summary(type_table.judge(columns))


def _loaded_columns(
    side: Side, database: Path, kinds: Mapping[str, type_table.Kind]
) -> dict[str, dict[int, object]]:
    """Load a table of these types; by column, the values by id."""
    type_table.build(database, kinds)
    folder = _folder()
    side.load(database, type_table.TABLE, folder)
    with duckdb_reader() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        source = _opened(connection, side, folder, type_table.TABLE)
        return {name: _column(connection, source, name) for name in kinds}


def _column(connection: duckdb.DuckDBPyConnection, source: str, name: str) -> dict[int, object]:
    """The values by id; none when the column cannot be read."""
    try:
        return dict(connection.execute(f"SELECT id, {name} FROM {source}").fetchall())
    except Exception:  # noqa: BLE001 - whatever an engine raises for a column that is not as it should be
        return {}


def _opened(connection: duckdb.DuckDBPyConnection, side: Side, folder: Path, table: str) -> str:
    source = side.query(folder, table)
    if source.startswith("'"):
        file, _, name = source.partition("'.")
        connection.execute(f"ATTACH {file}' AS peer (READ_ONLY)")
        return f"peer.{name}"
    return source


def _folder() -> Path:
    folder = WORK / "warehouses" / "peer"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _one_line(problem: BenchError) -> str:
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    text = lines[0] if len(lines) == 1 else f"fails: {lines[-1]}"
    return text.replace("|", "/").replace(str(WORK), "…")[:200]


def _line(side: Side, series: Series) -> tuple[str, ...]:
    if side.problem or not series.runs:
        return side.name, side.problem or "was not measured", "", "", "", "", side.version
    return (
        side.name,
        side.writes,
        f"{series.best:.2f} s (median {series.median:.2f})",
        f"{series.cpu:.2f} s",
        f"{series.peak_mb:.0f} MB",
        side.types,
        side.version,
    )
