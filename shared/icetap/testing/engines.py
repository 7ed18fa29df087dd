"""Engines other than ours that read (and rewrite) the tables that we write: DuckDB's own reader, and Spark."""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icetap.testing.servers import (
    LEDGER,
    NotAvailableError,
    maven_jars,
    program,
    python_environment,
    real_server,
    stop,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import duckdb
    from pyiceberg.table import Table

PYSPARK = "pyspark==4.0.*"
SPARK_JARS = ("org.apache.iceberg:iceberg-spark-runtime-4.0_2.13:1.11.0", "org.xerial:sqlite-jdbc:3.50.3.0")
SPARK_SECONDS = 300.0
"""How long one statement may take; the first one waits for the session."""


def duckdb_reader() -> duckdb.DuckDBPyConnection:
    """Return a DuckDB with its own Iceberg reader, which shares no code with pyiceberg; in UTC.

    The extensions come from wheels, because `INSTALL` needs the internet.
    """
    import duckdb
    import duckdb_extension_avro
    import duckdb_extension_iceberg

    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    for package, name in ((duckdb_extension_avro, "avro"), (duckdb_extension_iceberg, "iceberg")):
        found = next(
            Path(package.__path__[0]).glob(f"extensions/v{duckdb.__version__}/{name}.duckdb_extension")
        )
        connection.execute(f"LOAD '{found}'")
    connection.execute("SET TimeZone = 'UTC'")
    LEDGER.used["DuckDB's Iceberg reader"] = f"wheel, {duckdb.__version__}"
    return connection


def duckdb_rows(metadata_location: str, sql: str = "SELECT * FROM t") -> list[dict[str, Any]]:
    """Read one table with DuckDB's own Iceberg reader.

    Args:
        metadata_location: The table's metadata file, `table.metadata_location` in pyiceberg.
        sql: A query in which the table is called `t`.

    Returns:
        The rows, as Arrow makes Python values of them.
    """
    with duckdb_reader() as connection:
        connection.execute(
            f"CREATE VIEW t AS FROM iceberg_scan('{metadata_location.removeprefix('file://')}')"
        )
        rows: list[dict[str, Any]] = connection.sql(sql).to_arrow_table().to_pylist()
        return rows


def polars_rows(table: Table) -> list[dict[str, Any]]:
    """Read a table with Polars' own Parquet reader, which applies the deletes too; pyiceberg plans its files."""
    import polars as pl

    os.environ.setdefault("POLARS_ICEBERG_PLANNER", "pyiceberg")
    LEDGER.used["Polars' Iceberg reader"] = f"wheel, {pl.__version__}"
    found: list[dict[str, Any]] = pl.scan_iceberg(table, reader_override="native").collect().to_dicts()
    return found


@dataclass
class Spark:
    """A Spark session with one Iceberg catalog, in a process and a Python environment of its own."""

    process: subprocess.Popen[bytes]
    catalog: str
    """Its name in SQL: tables are `catalog.namespace.table`."""

    version: str = ""

    def sql(self, statement: str) -> list[dict[str, Any]]:
        """Run one statement; return its rows as Python values (instants without a zone are in UTC).

        Raises:
            RuntimeError: When Spark refuses it, with Spark's own words.
        """
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        watchdog = threading.Timer(SPARK_SECONDS, process.kill)
        watchdog.start()
        try:
            process.stdin.write(json.dumps({"sql": statement}).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            watchdog.cancel()
        if not line:
            raise RuntimeError(f"Spark ended or took longer than {SPARK_SECONDS:.0f} s for: {statement}")
        # Our own child wrote it: plain values, packed because JSON has neither decimals nor instants.
        answer: dict[str, Any] = pickle.loads(base64.b64decode(line))  # noqa: S301 -- see above
        if "error" in answer:
            raise RuntimeError(answer["error"])
        rows: list[dict[str, Any]] = answer["rows"]
        return rows

    def close(self) -> None:
        """End the session."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            stop(self.process)


@contextmanager
def spark_session(catalog_properties: Mapping[str, str], *, catalog: str = "icetap") -> Iterator[Spark]:
    """Start Spark as `start_spark` does, or skip the test; the session ends with the block."""
    with real_server("Spark with Iceberg") as answers:
        spark = start_spark(catalog_properties, catalog=catalog)
        answers(f"{spark.version}, from PyPI and Maven")
    try:
        yield spark
    finally:
        spark.close()


def start_spark(catalog_properties: Mapping[str, str], *, catalog: str = "icetap") -> Spark:
    """Start Spark on the catalog that pyiceberg uses.

    Args:
        catalog_properties: pyiceberg's properties of a SQL catalog on SQLite (`uri`, `warehouse`), or of a REST
            catalog (`type`, `uri`).
        catalog: The catalog's name in pyiceberg, which Spark must use too.

    Raises:
        NotAvailableError: When Java, pyspark or the jars cannot be had.
    """
    program("java")
    jars = maven_jars("spark-4.0-iceberg-1.11.0", SPARK_JARS)
    python = python_environment("pyspark-4.0", [PYSPARK])
    settings = _spark_settings(catalog_properties, catalog, jars)
    child = Path(__file__).with_name("spark_child.py")
    process = subprocess.Popen(
        [str(python), str(child), json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if not os.environ.get("ICETAP_TEST_VERBOSE") else sys.stderr,
        env={**os.environ, "TZ": "UTC", "PYSPARK_PYTHON": str(python), "PYTHONPATH": ""},
    )
    session = Spark(process, catalog)
    try:
        session.version = session.sql("SELECT version() AS v")[0]["v"].split()[0]
    except RuntimeError as error:
        stop(process)
        raise NotAvailableError(f"Spark does not start: {error}") from error
    return session


def _spark_settings(properties: Mapping[str, str], catalog: str, jars: list[Path]) -> dict[str, str]:
    prefix = f"spark.sql.catalog.{catalog}"
    return {
        "spark.jars": ",".join(map(str, jars)),
        prefix: "org.apache.iceberg.spark.SparkCatalog",
        **{f"{prefix}.{name}": value for name, value in _spark_catalog(properties).items()},
        f"{prefix}.cache-enabled": "false",
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.driver.memory": "1g",
        "spark.sql.shuffle.partitions": "2",
        # Made even when nothing is put in; by default in the working directory.
        "spark.sql.warehouse.dir": str(Path(tempfile.gettempdir()) / "icetap-spark-warehouse"),
    }


def _spark_catalog(properties: Mapping[str, str]) -> dict[str, str]:
    if properties.get("type") == "rest":
        return {"type": "rest", "uri": properties["uri"]}
    return {
        "type": "jdbc",
        "uri": f"jdbc:sqlite:{properties['uri'].removeprefix('sqlite:///')}",
        "warehouse": properties["warehouse"],
        "jdbc.schema-version": "V1",
        # Else every later commit of pyiceberg fails with "database is locked" (seen 2026-11-21, Iceberg 1.11.0).
        "jdbc.init-catalog-tables": "false",
    }
