"""A Meltano project for the benchmarks: plug-ins in environments of their own, as a user has them."""

from __future__ import annotations

import shutil
import sys
import zlib
from pathlib import Path

from measure import Usage, run

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "bench"
"""Data, warehouses and plug-ins; kept between runs, ignored by git."""
PROJECT = WORK / "project"
MELTANO = Path(sys.executable).parent / "meltano"
MEMBERS = ("shared", "taps/tap-sqlite", "targets/target-iceberg")

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
    config:
      database: $BENCH_DATABASE
  - name: tap-sqlite-arrow
    inherit_from: tap-sqlite
    config:
      batch_config:
        encoding:
          format: arrow
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


def install() -> None:
    """Make the project and install its plug-ins, unless that has been done with these dependencies."""
    manifests = [ROOT / "constraints.txt", *(ROOT / f"{part}/pyproject.toml" for part in MEMBERS)]
    wanted = MELTANO_YML + "".join(
        f"# {file.relative_to(ROOT)} {zlib.crc32(file.read_bytes()):08x}\n" for file in manifests
    )
    file = PROJECT / "meltano.yml"
    if file.exists() and file.read_text(encoding="utf-8") == wanted and TAP.exists() and TARGET.exists():
        return
    PROJECT.mkdir(parents=True, exist_ok=True)
    file.write_text(wanted, encoding="utf-8")
    run([MELTANO, "install", "tap-sqlite", "tap-sqlite-arrow", "target-iceberg"], cwd=PROJECT)


def meltano_run(tap: str, *, database: Path) -> Usage:
    """Load a database into an empty warehouse through `meltano run`."""
    variables = {"BENCH_DATABASE": str(database), "BENCH_WAREHOUSE": str(warehouse("meltano"))}
    words = ["run", "--no-state-update", "--full-refresh", tap, "target-iceberg"]
    return run([MELTANO, *words], cwd=PROJECT, env=variables)


def warehouse(name: str, *, keep: bool = False) -> Path:
    """Return a folder for a warehouse, emptied unless it is kept."""
    folder = WORK / "warehouses" / name
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
