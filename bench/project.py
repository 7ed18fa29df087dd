"""A Meltano project for the benchmarks: plug-ins in environments of their own, as a user has them."""

from __future__ import annotations

import shutil
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from measure import Usage, run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "bench"
"""Data, warehouses and plug-ins; kept between runs, ignored by git."""
PROJECT = WORK / "project"
MELTANO = Path(sys.executable).parent / "meltano"
MEMBERS = ("shared", "taps/tap-sqlite", "targets/target-iceberg")
DATABASE_TAPS = ("tap-postgres", "tap-mysql")
CONNECTIONS = 1
"""On how many they read. The server shares two cores with tap and loader: a second one only takes time from them."""

_DATABASE_TAP = """
  - name: {tap}
    namespace: {namespace}
    pip_url: -c {root}/constraints.txt -e {root}/shared[sql] -e {root}/taps/{tap}
    executable: {tap}
    capabilities: [catalog, state, discover, batch]
    settings:
    - name: sqlalchemy_url
    - name: max_parallel
      kind: integer
    - name: batch_config
      kind: object
    config:
      sqlalchemy_url: $BENCH_URL
      max_parallel: {parallel}
  - name: {tap}-arrow
    inherit_from: {tap}
    config:
      batch_config:
        encoding:
          format: arrow
"""

MELTANO_YML = f"""
requires_meltano: ">=4.4"
project_id: icetap-bench
send_anonymous_usage_stats: false
default_environment: dev
environments:
- name: dev
plugins:
  extractors:
  - name: tap-sqlite
    namespace: tap_sqlite
    pip_url: -c {ROOT}/constraints.txt -e {ROOT}/shared[sql] -e {ROOT}/taps/tap-sqlite
    executable: tap-sqlite
    capabilities: [catalog, state, discover, batch]
    settings:
    - name: database
    - name: batch_config
      kind: object
    - name: masks
      kind: object
    - name: mask_key
      sensitive: true
    config:
      database: $BENCH_DATABASE
  - name: tap-sqlite-arrow
    inherit_from: tap-sqlite
    config:
      batch_config:
        encoding:
          format: arrow
{"".join(_DATABASE_TAP.format(tap=tap, parallel=CONNECTIONS, namespace=tap.replace("-", "_"), root=ROOT) for tap in DATABASE_TAPS)}
  loaders:
  - name: target-iceberg
    namespace: target_iceberg
    pip_url: -c {ROOT}/constraints.txt -e {ROOT}/shared[iceberg] -e {ROOT}/targets/target-iceberg
    executable: target-iceberg
    settings:
    - name: warehouse
    config:
      warehouse: $BENCH_WAREHOUSE
"""


def plugin_program(kind: str, name: str, program: str) -> Path:
    """Return a program of a plug-in's own environment."""
    return PROJECT / ".meltano" / kind / name / "venv" / "bin" / program


TAP = plugin_program("extractors", "tap-sqlite", "tap-sqlite")
TARGET = plugin_program("loaders", "target-iceberg", "target-iceberg")


def install(more: Sequence[str] = ()) -> None:
    """Make the project and install its plug-ins, unless that has been done with these dependencies.

    Args:
        more: Extractors beside tap-sqlite.
    """
    taps = [f"taps/{name}" for name in more]
    manifests = [ROOT / "constraints.txt", *(ROOT / f"{part}/pyproject.toml" for part in (*MEMBERS, *taps))]
    wanted = MELTANO_YML + "".join(
        f"# {file.relative_to(ROOT)} {zlib.crc32(file.read_bytes()):08x}\n" for file in manifests
    )
    file = PROJECT / "meltano.yml"
    programs = [TAP, TARGET, *(plugin_program("extractors", name, name) for name in more)]
    known = file.read_text(encoding="utf-8") if file.exists() else ""
    # With other extractors there are more lines of manifests, in any order.
    if all(program.exists() for program in programs) and set(wanted.splitlines()) <= set(known.splitlines()):
        return
    PROJECT.mkdir(parents=True, exist_ok=True)
    file.write_text(wanted, encoding="utf-8")
    twins = [f"{name}-arrow" for name in more]
    run([MELTANO, "install", "tap-sqlite", "tap-sqlite-arrow", *more, *twins, "target-iceberg"], cwd=PROJECT)


def meltano_run(tap: str, *, database: Path, settings: Mapping[str, str] | None = None) -> Usage:
    """Load a database into an empty warehouse through `meltano run`.

    Args:
        tap: The extractor.
        database: What it reads.
        settings: More settings of it, as Meltano takes them from the environment.
    """
    prefix = tap.upper().replace("-", "_")
    given = {f"{prefix}_{name.upper()}": value for name, value in (settings or {}).items()}
    return _meltano_run(tap, {"BENCH_DATABASE": str(database), **given})


def meltano_load(tap: str, *, url: str) -> Usage:
    """Load the database at a URL into an empty warehouse through `meltano run`."""
    return _meltano_run(tap, {"BENCH_URL": url})


def _meltano_run(tap: str, source: Mapping[str, str]) -> Usage:
    variables = {**source, "BENCH_WAREHOUSE": str(warehouse("meltano"))}
    words = ["run", "--no-state-update", "--full-refresh", tap, "target-iceberg"]
    return run([MELTANO, *words], cwd=PROJECT, env=variables)


def warehouse(name: str, *, keep: bool = False) -> Path:
    """Return a folder for a warehouse, emptied unless it is kept."""
    folder = WORK / "warehouses" / name
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
