"""Spark reads what was loaded, and rewrites it: the next run goes on where it was."""

import pytest

from icetap.testing.engines import start_spark
from icetap.testing.servers import real_server

from . import lake
from .sources import execute, rows
from .test_runs import METADATA, equal, report
from .test_types import loaded, place  # noqa: F401 - the fixture
from .types_table import KINDS, REFUSED, is_same

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]


def spark_on(warehouse):
    return start_spark({"uri": f"sqlite:///{warehouse}/catalog.db", "warehouse": f"file://{warehouse}"})


def test_spark_reads_every_value_as_it_was(loaded):  # noqa: F811
    with real_server("Spark with Iceberg"):
        spark = spark_on(loaded.project.warehouse)
    wrong = []
    try:
        for name, kind in KINDS.items():
            if not kind.for_spark:
                continue
            value = "CAST(v AS STRING)" if kind.as_text else "v"
            found = {
                row["id"]: row["v"] for row in spark.sql(f"SELECT id, {value} AS v FROM icetap.raw.{name}")
            }
            for case, (_, expected) in kind.values.items():
                number = place(name, case)
                if expected is REFUSED:
                    if number in found:
                        wrong.append(f"{name}-{case}: found {found[number]!r}")
                elif number not in found or not is_same(expected, found[number], as_text=kind.as_text):
                    wrong.append(
                        f"{name}-{case}: {str(found.get(number, 'no row'))[:80]!r}, not {str(expected)[:80]!r}"
                    )
    finally:
        spark.close()
    assert wrong == []


def test_after_compaction_and_expiry_by_spark_the_next_run_goes_on(project, database):
    path = str(project.folder / "report.json")
    project.configure(
        {"database": str(database)}, {"report_path": path, "pipeline": "shop"}, metadata=METADATA
    )
    for number in (1, 2, 3):
        project.run("tap-sqlite", "target-iceberg")
        execute(
            database,
            f"INSERT INTO orders SELECT max(id) + 1, 'new', 0, '2024-01-01 00:0{number}:00' FROM orders",
            f"INSERT INTO clicks VALUES ({1000 + number}, 'page'), ({1000 + number}, 'page')",
        )
    with real_server("Spark with Iceberg"):
        spark = spark_on(project.warehouse)
    try:
        for table in METADATA:
            spark.sql(
                f"CALL icetap.system.rewrite_data_files(table => 'raw.{table}', options => map('rewrite-all', 'true'))"
            )
            spark.sql(
                f"CALL icetap.system.expire_snapshots(table => 'raw.{table}', retain_last => 1, "
                "older_than => TIMESTAMP '2100-01-01 00:00:00')"
            )
            assert len(lake.snapshots(project.warehouse, table)) == 1
    finally:
        spark.close()
    project.run("tap-sqlite", "target-iceberg")
    equal(project, database)
    assert report(project)["clicks"]["rows_inserted"] == 2
    assert report(project)["orders"]["rows_inserted"] == 1
    before = {table: lake.snapshots(project.warehouse, table) for table in METADATA}
    project.run("tap-sqlite", "target-iceberg")
    assert {table: lake.snapshots(project.warehouse, table) for table in METADATA} == before
    assert rows(database, "SELECT count(*) FROM clicks") == lake.query(
        project.warehouse, "clicks", "SELECT count(*) FROM t"
    )
