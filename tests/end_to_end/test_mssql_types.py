"""SQL Server's types, value by value, through `meltano run` in both lanes, read back by DuckDB.

Without `ICETAP_TEST_MSSQL_URL` the server is our own, which speaks the protocol and keeps the rows in SQLite.
"""

import importlib.util
from pathlib import Path

import pytest

from icetap.testing.mssql import mssql_database

from . import lake
from .project import new_project

TABLE = Path(__file__).parents[2] / "taps" / "tap-mssql" / "tests" / "mssql_types_table.py"
LANES = {"tap-mssql": "records", "tap-mssql-arrow": "arrow"}


def types_table():
    spec = importlib.util.spec_from_file_location("mssql_types_table", TABLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TYPES = types_table()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory, template):
    """The table after a run in each lane: {lane: [[value, null] of each case]}."""
    columns = ", ".join(f"v{number} {case.values[0]}" for number, case in enumerate(TYPES.CASES))
    literals = ", ".join(case.values[1] for case in TYPES.CASES)
    found = {}
    with mssql_database() as database:
        database.execute(
            f"CREATE TABLE dbo.every_type (id int PRIMARY KEY, {columns})",
            f"INSERT INTO dbo.every_type VALUES (1, {literals})",
            "INSERT INTO dbo.every_type (id) VALUES (2)",
        )
        project = new_project(tmp_path_factory.mktemp("mssql") / "project", template)
        tap = project.plugin(
            "tap-mssql", config=database.config, capabilities=["catalog", "discover", "state"]
        )
        arrow = {"batch_config": {"encoding": {"format": "arrow"}}}
        twin = {"name": "tap-mssql-arrow", "inherit_from": "tap-mssql", "config": arrow}
        for name, namespace in LANES.items():
            project.configure(target={"namespace": namespace}, extractors=[tap, twin])
            project.run(name, "target-iceberg")
            location = lake.metadata_location(project.warehouse, "dbo_every_type", namespace)
            with lake.duckdb_reader() as connection:
                rows = connection.execute(f"FROM iceberg_scan('{location}') ORDER BY id").fetchall()
            found[name] = list(zip(*rows, strict=True))[1:]
    return found


@pytest.mark.parametrize(
    "number", [pytest.param(number, id=case.id) for number, case in enumerate(TYPES.CASES)]
)
@pytest.mark.parametrize("lane", LANES)
def test_a_value_arrives_as_it_is(loaded, lane, number):
    _, _, _, record, arrow = TYPES.CASES[number].values
    assert list(loaded[lane][number]) == [record if arrow is TYPES.SAME else arrow, None]
