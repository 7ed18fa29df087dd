"""The peers: how each is installed in an environment of its own, run, and where it leaves its table.

All load one table of a SQLite file, or of the database at a URL, into a new folder on the same disk, with their defaults,
as Iceberg where they can.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from measure import BenchError, Usage, environment, pipe, run
from project import WORK

if TYPE_CHECKING:
    from collections.abc import Callable

SCRIPTS = Path(__file__).parent / "peers"
ENVIRONMENTS = WORK / "peers"


@dataclass(frozen=True)
class Peer:
    """A tool and one way to use it.

    Attributes:
        name: As the table of results has it.
        requirements: What is installed, with versions.
        writes: What it makes of the table.
        load: Runs it: the programs of its environment, the database, the table, an empty folder.
        query: Returns DuckDB's source for the table that it left in the folder.
    """

    name: str
    requirements: tuple[str, ...]
    writes: str
    load: Callable[[Path, Path | str, str, Path], Usage]
    query: Callable[[Path, str], str]

    @property
    def version(self) -> str:
        """What is installed, as people write it."""
        return ", ".join(
            re.sub(r"\[.*?\]", "", part).replace("==", " ") for part in self.requirements if "==" in part
        )

    def installed(self) -> Path:
        """Return the folder of its programs, installed if need be.

        Raises:
            BenchError: When it cannot be installed, in one line.
        """
        folder = ENVIRONMENTS / re.split(r"\W", self.requirements[0])[0]
        marker = folder / "installed"
        if marker.exists() and marker.read_text() == "\n".join(self.requirements):
            return folder / "bin"
        shutil.rmtree(folder, ignore_errors=True)
        run([sys.executable, "-m", "venv", folder])
        command = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", *self.requirements]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
        if done.returncode:
            raise BenchError(
                f"cannot be installed: {done.stderr.strip().splitlines()[-1].removeprefix('ERROR: ')}"
            )
        marker.write_text("\n".join(self.requirements))
        return folder / "bin"


def iceberg(folder: Path, table: str) -> str:
    """DuckDB's source for the newest metadata of a table anywhere in a folder."""
    found = [file for file in folder.rglob("*.metadata.json") if file.parent.parent.name.endswith(table)]
    if not found:
        raise BenchError(f"left no Iceberg table {table}")
    return f"iceberg_scan('{max(found, key=lambda file: (file.stat().st_mtime_ns, file.name))}')"


def duckdb_file(folder: Path, table: str) -> str:
    """DuckDB's source for a table in a file of its own format."""
    return f"'{folder}/peer.duckdb'.raw.{table}"


def _dlt(backend: str) -> Callable[[Path, Path, str, Path], Usage]:
    def load(programs: Path, database: Path, table: str, folder: Path) -> Usage:
        return run([programs / "python", SCRIPTS / "dlt_iceberg.py", database, table, folder, backend])

    return load


def _sling(programs: Path, database: Path, table: str, folder: Path) -> Usage:
    (binary,) = programs.parent.glob("lib/python*/site-packages/sling_linux_*/bin/sling-linux-*")
    binary.chmod(0o755)
    (folder / "catalog.db").touch()
    lake = {
        "type": "iceberg",
        "catalog_type": "sql",
        "sql_catalog_conn": "CATALOG",  # the connection of this name, which must exist
        "sql_catalog_init": True,
        "sql_warehouse": f"file://{folder}/lake",
    }
    variables = {
        "HOME": str(folder),
        "CATALOG": f"sqlite://{folder}/catalog.db",
        "SHOP": f"sqlite://{database}",
        "LAKE": json.dumps(lake),
        "SLING_DISABLE_TELEMETRY": "TRUE",
    }
    command = [binary, "run", "--src-conn", "SHOP", "--src-stream", f"main.{table}"]
    return run(
        [*command, "--tgt-conn", "LAKE", "--tgt-object", f"raw.{table}", "--mode", "full-refresh"],
        env=variables,
    )


def _ingestr(programs: Path, database: Path, table: str, folder: Path) -> Usage:
    words = ["ingest", "--yes", "--source-uri", f"sqlite:///{database}", "--source-table", f"main.{table}"]
    into = ["--dest-uri", f"duckdb:///{folder}/peer.duckdb", "--dest-table", f"raw.{table}"]
    variables = {"HOME": str(folder), "DISABLE_TELEMETRY": "true"}
    return run([programs / "ingestr", *words, *into], env=variables, cwd=folder)


def _never(programs: Path, database: Path, table: str, folder: Path) -> Usage:
    raise BenchError(
        f"is installed in {programs}, but nobody has said how to run it on {database} {table} {folder}"
    )


_DLT = (
    "dlt[sql_database,pyiceberg]==1.31.0",
    "pyiceberg[sql-sqlite]==0.12.0",
    "sqlalchemy>=2",
    "connectorx==0.4.6",
    "psycopg2-binary",
    "pymysql",
    "adbc-driver-postgresql==1.13.0",  # for the floor, which is measured with the same environment
)

DLT = Peer("dlt, connectorx backend", _DLT, "Iceberg", _dlt("connectorx"), iceberg)
PEERS = (
    Peer("dlt, pyarrow backend", _DLT, "Iceberg", _dlt("pyarrow"), iceberg),
    DLT,
    Peer("Sling", ("sling-linux-amd64==1.4.11",), "Iceberg", _sling, iceberg),
    Peer(
        "ingestr", ("ingestr==0.14.155",), "a DuckDB file: this version has no Iceberg", _ingestr, duckdb_file
    ),
    Peer("the Singer SDK's `target-iceberg`", ("target-iceberg",), "Iceberg", _never, iceberg),
)


def _meltanolabs_tap(programs: Path, database: Path | str, table: str, folder: Path) -> Usage:
    config = {"sqlalchemy_url": str(database), "filter_schemas": ["public"]}
    return _whole_table(programs / "tap-postgres", config, table, folder)


def _pipelinewise_tap(programs: Path, database: Path | str, table: str, folder: Path) -> Usage:
    parts = urlsplit(str(database))
    config = {
        "host": parts.hostname,
        "port": parts.port,
        "user": parts.username,
        "password": parts.password,
        "filter_dbs": parts.path.strip("/"),
    }
    return _whole_table(programs / "tap-mysql", config, table, folder)


def _whole_table(program: Path, config: dict[str, object], table: str, folder: Path) -> Usage:
    """Run a tap on one table, into a program that counts its lines; only the tap is measured, without its discovery."""
    config_file, catalog_file = folder / "peer-tap.json", folder / "peer-catalog.json"
    config_file.write_text(json.dumps(config), encoding="utf-8")
    catalog = json.loads(run([program, "--config", config_file, "--discover"]).output)
    for stream in catalog["streams"]:
        for entry in stream["metadata"]:
            if not entry["breadcrumb"]:
                is_ours = stream["tap_stream_id"].endswith(table)
                entry["metadata"] |= {"selected": is_ours, "replication-method": "FULL_TABLE"}
    catalog_file.write_text(json.dumps(catalog), encoding="utf-8")
    tap, counter = pipe([program, "--config", config_file, "--catalog", catalog_file], ["wc", "-l"])
    return replace(tap, output=counter.output)


PEER_TAPS = {
    "tap-postgres": Peer(
        "MeltanoLabs tap-postgres",
        ("meltanolabs-tap-postgres==0.10.0",),
        "RECORD lines",
        _meltanolabs_tap,
        iceberg,
    ),
    "tap-mysql": Peer(
        "pipelinewise-tap-mysql", ("pipelinewise-tap-mysql",), "RECORD lines", _pipelinewise_tap, iceberg
    ),
}
"""Taps that only write messages: `folder` takes their configuration, `Usage.output` is the number of lines."""
