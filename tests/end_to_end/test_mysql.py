"""MariaDB into Iceberg through `meltano run`, in both lanes, read back by DuckDB."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from decimal import Decimal

import pytest

from . import lake
from .project import new_project

pytestmark = pytest.mark.servers

# declared type, SQL literal, what DuckDB reads in the loaded table
VALUES = [
    ("TINYINT UNSIGNED", "255", 255),
    ("INT UNSIGNED", "4294967295", 2**32 - 1),
    ("BIGINT", "-9223372036854775808", -(2**63)),
    ("BIGINT UNSIGNED", "18446744073709551615", Decimal(2**64 - 1)),
    ("DECIMAL(38,10)", "9999999999999999999999999999.9999999999", Decimal("9999999999999999999999999999.9999999999")),
    ("DECIMAL(65,30)", "-1.000000000000000000000000000001", "-1.000000000000000000000000000001"),
    ("FLOAT", "16777216", 16777216.0),
    ("DOUBLE", "0.30000000000000004", 0.30000000000000004),
    ("BIT(1)", "b'1'", True),
    ("BIT(64)", "0xffffffffffffffff", Decimal(2**64 - 1)),
    ("YEAR", "2155", 2155),
    ("VARCHAR(20)", "'😀 \"\\\\ \\n'", '😀 "\\ \n'),
    ("VARCHAR(20) CHARACTER SET latin1", "'€é'", "€é"),
    ("LONGTEXT", "repeat('é', 100000)", "é" * 100_000),
    ("VARBINARY(9)", "x'fbfcfdfeff00'", b"\xfb\xfc\xfd\xfe\xff\0"),
    ("BLOB", "x''", b""),
    ("ENUM('a','b')", "'b'", "b"),
    ("SET('x','y','z')", "'z,x'", ["x", "z"]),
    ("DATE", "'1000-01-01'", dt.date(1000, 1, 1)),
    ("DATETIME(6)", "'9999-12-31 23:59:59.999999'", dt.datetime.fromisoformat("9999-12-31T23:59:59.999999")),
    ("TIMESTAMP(6) NULL", "'2038-01-19 03:14:07.999999'", dt.datetime.fromisoformat("2038-01-19T03:14:07.999999+00:00")),
    ("TIME(6)", "'-838:59:58.000001'", "-838:59:58.000001"),
    ("JSON", "'{\"a\": 12345678901234567890.10}'", '{"a": 12345678901234567890.10}'),
    ("POINT", "POINT(1, 2)", bytes.fromhex("000000000101000000000000000000f03f0000000000000040")),
    ("UUID", "'123e4567-e89b-12d3-a456-426655440000'", uuid.UUID("123e4567-e89b-12d3-a456-426655440000")),
    ("INET6", "'2001:db8::ff'", "2001:db8::ff"),
]  # fmt: skip


@pytest.fixture
def source(mariadb_server):
    """A database of the test's own, and the settings to read it."""
    name = mariadb_server.new_database()
    config = {
        "host": mariadb_server.host,
        "port": mariadb_server.port,
        "user": mariadb_server.user,
        "password": mariadb_server.password,
        "database": name,
        "streams": {"*": {"stream_name": "rows"}},
    }
    yield name, config
    mariadb_server.execute("", f"DROP DATABASE {name}")


def project_of(folder, template, config, *, arrow):
    lane = {"batch_config": {"encoding": {"format": "arrow"}}} if arrow else {}
    made = new_project(folder, template)
    plugin = made.plugin(
        "tap-mysql", config={**config, **lane}, capabilities=["catalog", "discover", "state"]
    )
    return made.configure(extractors=[plugin])


@pytest.mark.parametrize("arrow", [pytest.param(False, id="record"), pytest.param(True, id="arrow")])
def test_every_value_arrives_and_a_second_run_changes_nothing(
    mariadb_server, source, tmp_path, template, arrow
):
    name, config = source
    columns = ", ".join(f"c{number} {declared}" for number, (declared, _, _) in enumerate(VALUES))
    mariadb_server.execute(
        name,
        "SET time_zone = '+00:00'",
        f"CREATE TABLE t (id INT PRIMARY KEY, {columns})",
        f"INSERT INTO t VALUES (1, {', '.join(literal for _, literal, _ in VALUES)})",
        "INSERT INTO t (id) VALUES (2)",
    )
    project = project_of(tmp_path / "project", template, config, arrow=arrow)
    project.run("tap-mysql", "target-iceberg")
    first, second = sorted(lake.query(project.warehouse, "rows"), key=lambda row: row[0])

    assert first == (1, *(expected for _, _, expected in VALUES))
    assert second == (2, *[None] * len(VALUES))
    before = lake.snapshots(project.warehouse, "rows")
    project.run("tap-mysql", "target-iceberg")
    assert lake.query(project.warehouse, "rows", "SELECT count(*) FROM t") == [(2,)]
    assert len(lake.snapshots(project.warehouse, "rows")) <= len(before) + 1


def test_a_table_follows_its_source_through_incremental_runs(mariadb_server, source, tmp_path, template):
    """Inserts, updates and late commits between runs; the loaded table equals the source after each."""
    name, config = source
    config["streams"]["*"] |= {"replication_method": "INCREMENTAL", "replication_key": "at"}
    mariadb_server.execute(
        name,
        "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, n INT, at TIMESTAMP NOT NULL DEFAULT now() "
        "ON UPDATE now(), KEY (at))",
        "INSERT INTO t (n) SELECT seq FROM seq_1_to_500",
    )
    project = project_of(tmp_path / "project", template, config, arrow=True)
    chance = random.Random(5)
    for _ in range(3):
        mariadb_server.execute(name, f"UPDATE t SET n = n + 1 WHERE id % 7 = {chance.randrange(7)}")
        late = mariadb_server.connect(name, autocommit=False)
        with late, late.cursor() as cursor:
            cursor.execute("INSERT INTO t (n) VALUES (-1)")
            mariadb_server.execute(name, "INSERT INTO t (n) VALUES (-2)")
            project.run("tap-mysql", "target-iceberg")
            late.commit()
    project.run("tap-mysql", "target-iceberg")
    loaded = lake.query(project.warehouse, "rows", "SELECT id, n FROM t ORDER BY id")

    assert loaded == list(mariadb_server.execute(name, "SELECT id, n FROM t ORDER BY id"))
