"""PostgreSQL's types, value by value, through `meltano run` in both lanes, read back by DuckDB."""

import importlib.util
from pathlib import Path

import pytest

from . import lake
from .project import BIN, new_project

TABLE = Path(__file__).parents[2] / "taps" / "tap-postgres" / "tests" / "types_table.py"
LANES = {"tap-postgres": "records", "tap-postgres-arrow": "arrow"}


def types_table():
    spec = importlib.util.spec_from_file_location("postgres_types_table", TABLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TYPES = types_table()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory, template, postgres_server):
    """The table after a run in each lane: {lane: {column: [value, null]}}."""
    server = postgres_server
    database = server.new_database()
    native = ", ".join(f'"{name}" {row[0]}' for name, row in TYPES.ROWS.items())
    values = ", ".join(row[1] for row in TYPES.ROWS.values())
    for statement in (
        *TYPES.SETUP,
        f"CREATE TABLE every_type (id int PRIMARY KEY, {native})",
        f"INSERT INTO every_type VALUES (1, {values})".replace(":", "\\:"),
        "INSERT INTO every_type (id) VALUES (2)",
    ):
        server.execute(database, statement)
    config = {"host": server.host, "port": server.port, "user": server.user, "password": server.password}
    project = new_project(tmp_path_factory.mktemp("postgres") / "project", template)
    capabilities = ["catalog", "discover", "state"]
    tap = project.plugin("tap-postgres", config={**config, "database": database}, capabilities=capabilities)
    arrow = {"batch_config": {"encoding": {"format": "arrow"}}}
    twin = {"name": "tap-postgres-arrow", "inherit_from": "tap-postgres", "config": arrow}
    found = {}
    for name, namespace in LANES.items():
        project.configure(target={"namespace": namespace}, extractors=[tap, twin])
        project.run(name, "target-iceberg")
        found[name] = read(project.warehouse, namespace)
    return found


def read(warehouse, namespace):
    location = lake.metadata_location(warehouse, "public_every_type", namespace)
    names = ["id", *TYPES.ROWS]
    with lake.duckdb_reader() as connection:
        rows = connection.execute(f"FROM iceberg_scan('{location}') ORDER BY id").fetchall()
        described = [column[0] for column in connection.description]
    assert described == names
    return dict(zip(names, zip(*rows, strict=True), strict=True))


@pytest.mark.parametrize("name", TYPES.ROWS)
@pytest.mark.parametrize("lane", LANES)
def test_a_value_arrives_as_it_is(loaded, lane, name):
    assert (BIN / "tap-postgres").exists()
    assert list(loaded[lane][name]) == [TYPES.ROWS[name][3], None]
