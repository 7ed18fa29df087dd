"""The merge benchmark: 100,000 rows into tables of one and of ten million, against `Table.upsert` and Spark."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import BenchError, Usage, run
from project import TARGET, WORK, plugin_program

from icetap.testing.engines import start_spark
from icetap.testing.servers import NotAvailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from icetap.testing.engines import Spark

SIDES = Path(__file__).parent / "peers" / "merge_sides.py"
KINDS = {"integer": "integers in order", "uuid": "random UUIDs", "pair": "two columns"}
KEYS = {"integer": ("id",), "uuid": ("id",), "pair": ("order_id", "line")}
HEAD = (
    "rows, keys",
    "ours: the merge",
    "ours: whole run",
    "most memory",
    "`Table.upsert`",
    "Spark `MERGE INTO`",
    "ratios",
)
CHANGED, NEW = 90_000, 10_000
SECONDS = "300"
"""How long `Table.upsert` may take."""
MODES = ("merge-on-read", "copy-on-write")


@dataclass
class Side:
    """What one side needed: seconds, or why there are none."""

    seconds: float | None
    text: str


class Merges:
    """Builds the tables and measures each side on a copy of its own; files of the table are shared."""

    def __init__(self, *, repeat: int, say: Callable[[str], None]) -> None:
        self._repeat = repeat
        self._say = say
        self._folder = WORK / "merge"
        self._warehouse = self._folder / "warehouse"
        self._python = plugin_program("loaders", "target-iceberg", "python")
        self._spark_session: Spark | None = None

    def measure(self, sizes: Sequence[int]) -> list[tuple[str, ...]]:
        """Return the lines of the table: one for each size and kind of key."""
        for rows in sizes:
            for kind in KINDS:
                self._build(rows, kind)
        try:
            return [self._line(rows, kind) for rows in sizes for kind in KINDS]
        finally:
            self._end_spark()

    def _session(self) -> Spark:
        if self._spark_session is None:
            place = self._warehouse
            catalog = {"uri": f"sqlite:///{place}/catalog.db", "warehouse": f"file://{place}"}
            self._spark_session = start_spark(catalog)
        return self._spark_session

    def _end_spark(self) -> None:
        if self._spark_session is not None:
            self._spark_session.close()
            self._spark_session = None

    def _side(self, *words: str, limit: str | None = None) -> tuple[dict[str, Any], Usage]:
        start = ["timeout", limit] if limit else []
        usage = run([*start, self._python, SIDES, *words])
        return json.loads(usage.output), usage

    def _build(self, rows: int, kind: str) -> None:
        done = self._folder / f"{kind}_{rows}.built"
        if done.exists():
            return
        self._say(f"building {rows:,} rows, {KINDS[kind]}")
        self._warehouse.mkdir(parents=True, exist_ok=True)
        found, _ = self._side("build", str(self._warehouse), kind, str(rows), self._changes(rows, kind))
        done.write_text(json.dumps(found), encoding="utf-8")

    def _changes(self, rows: int, kind: str) -> str:
        return str(self._folder / f"{kind}_{rows}_changes")

    def _copy(self, rows: int, kind: str, name: str) -> str:
        self._side("copy", str(self._warehouse), kind, str(rows), name)
        return name

    def _line(self, rows: int, kind: str) -> tuple[str, ...]:
        found = []
        for _ in range(self._repeat):
            name = self._copy(rows, kind, "ours")
            answer, usage = self._side(
                "ours", str(self._warehouse), name, kind, self._changes(rows, kind), "auto"
            )
            check(answer["rows"], rows)
            found.append((answer, usage))
        merge, _ = min(found, key=lambda one: float(one[0]["seconds"]))
        whole = self._whole(rows, kind)
        peak = max(usage.peak_mb for usage in (*(usage for _, usage in found), whole))
        upsert, spark_side = self._upsert(rows, kind), self._spark(rows, kind)
        phases = ", ".join(f"{name} {merge[name]:.2f}" for name in ("plan", "write", "commit"))
        ratios = [
            f"{name} {other.seconds / merge['seconds']:.0f} times ours"
            for name, other in (("`Table.upsert`", upsert), ("Spark", spark_side))
            if other.seconds is not None
        ]
        line = (
            f"{rows:,}, {KINDS[kind]}",
            f"{merge['seconds']:.2f} s ({phases})",
            f"{whole.wall:.2f} s",
            f"{peak:.0f} MB",
            upsert.text,
            spark_side.text,
            ", ".join(ratios),
        )
        self._say(" | ".join(line))
        self._sweep(rows, kind)
        return line

    def _sweep(self, rows: int, kind: str) -> None:
        """Remove what the sides wrote beside the table's own files."""
        built = (self._folder / f"{kind}_{rows}.built").stat().st_mtime
        for file in (self._warehouse / "raw" / f"{kind}_{rows}").rglob("*.parquet"):
            if file.stat().st_mtime > built:
                file.unlink()

    def _whole(self, rows: int, kind: str) -> Usage:
        """The loader as a program, with the rows as RECORD lines."""
        config = self._folder / "target.json"
        best: Usage | None = None
        for _ in range(self._repeat):
            name = self._copy(rows, kind, "whole")
            config.write_text(
                json.dumps({"warehouse": str(self._warehouse), "table_name": name, "load_method": "upsert"}),
                encoding="utf-8",
            )
            usage = run([TARGET, "--config", config], stdin=Path(f"{self._changes(rows, kind)}.singer"))
            best = usage if best is None or usage.wall < best.wall else best
        assert best is not None
        return best

    def _upsert(self, rows: int, kind: str) -> Side:
        name = self._copy(rows, kind, "peer")
        try:
            answer, usage = self._side(
                "upsert", str(self._warehouse), name, kind, self._changes(rows, kind), limit=SECONDS
            )
        except BenchError as problem:
            return Side(None, why(str(problem)))
        check(answer["rows"], rows)
        return Side(answer["seconds"], f"{answer['seconds']:.1f} s, {usage.peak_mb:.0f} MB")

    def _spark(self, rows: int, kind: str) -> Side:
        """Both of Spark's ways; the faster one counts."""
        found: dict[str, float | None] = {}
        for mode in MODES:
            try:
                found[mode] = self._spark_merge(self._session(), rows, kind, mode)
            except NotAvailableError as problem:
                self._say(f"no Spark: {problem}")
                return Side(None, "not here")
            except RuntimeError as problem:
                self._say(f"Spark: {problem}")
                self._end_spark()
                found[mode] = None
        told = {mode: "not done" if took is None else f"{took:.1f} s" for mode, took in found.items()}
        done = [took for took in found.values() if took is not None]
        return Side(min(done, default=None), ", ".join(f"{took} {mode}" for mode, took in told.items()))

    def _spark_merge(self, spark: Spark, rows: int, kind: str, mode: str) -> float:
        table = f"{spark.catalog}.raw.{self._copy(rows, kind, 'spark')}"
        spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('write.merge.mode' = '{mode}')")
        spark.sql(f"SELECT count(*) FROM {table}")
        equal = " AND ".join(f"t.{key} = s.{key}" for key in KEYS[kind])
        started = time.monotonic()
        spark.sql(
            f"MERGE INTO {table} t USING parquet.`{self._changes(rows, kind)}.parquet` s ON {equal} "
            "WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
        )
        took = time.monotonic() - started
        check(int(spark.sql(f"SELECT count(*) AS n FROM {table}")[0]["n"]), rows)
        return took


def check(found: int, rows: int) -> None:
    """Refuse a side whose table is wrong."""
    if found != rows + NEW:
        raise BenchError(f"a merge left {found:,} rows, not {rows + NEW:,}")


def why(problem: str) -> str:
    """Say in a few words why there is no result."""
    if "exit code 124" in problem:
        return f"not done after {SECONDS} s"
    if "exit code -" in problem or "exit code 139" in problem:
        return "crashed"
    return f"fails: {problem.strip().splitlines()[-1][:60]}"
