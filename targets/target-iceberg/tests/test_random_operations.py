"""Any sequence of loads, changes of schema and layout, upkeep and rollbacks equals a model in DuckDB, row by row.

The model is a DuckDB table that gets the same operations as SQL. After each operation DuckDB's Iceberg reader,
Polars and pyiceberg (and Spark, where servers may be used) must show the model's rows, and the table must be sound.
A failure prints the seed and what was done.
"""

from __future__ import annotations

import datetime as dt
import os

import pytest

from icetap.testing.engines import polars_rows, start_spark
from icetap.testing.servers import real_server

from .random_world import World


def readers_of(lake):
    def read(table, *, by: str = "id") -> dict[str, list[dict]]:
        return {
            "pyiceberg": table.scan().to_arrow().to_pylist(),
            "DuckDB": lake.rows(table.name()[-1], by=by),
            "Polars": polars_rows(table),
        }

    return read


OPERATIONS = {
    "insert": 4,
    "update": 4,
    "send_again": 1,
    "delete": 3,
    "mixed": 4,
    "full_read": 1,
    "add_column": 1,
    "widen_column": 1,
    "turn_column": 1,
    "drop_or_restore_column": 1,
    "change_partitions": 2,
    "change_order": 1,
    "rename_column": 1,
    "append": 2,
    "append_again": 2,
    "compact": 2,
    "expire": 1,
    "rewind": 2,
}


def play(world: World, *, count: int, readers, others=None) -> None:
    """Do so many operations and compare after each; what was done is told on failure.

    Args:
        world: What is played with.
        count: So many.
        readers: Gives the rows of a table as each reader sees them.
        others: More operations, by name.
    """
    known = {name: getattr(world, name) for name in OPERATIONS} | (others or {})
    weights = [OPERATIONS.get(name, 3) for name in known]
    try:
        world.done.append("insert: " + world.insert())
        world.check(readers=readers)
        for _ in range(count - 1):
            (name,) = world.rng.choices(list(known), weights=weights)
            world.done.append(name)
            world.done[-1] += f": {known[name]()}"
            world.check(readers=readers)
    except BaseException:
        print("\n".join(f"{number}. {one}" for number, one in enumerate(world.done, start=1)))
        raise


SEED = int(os.environ.get("ICETAP_SEED", "7"))
"""Another one may be given, to see a failure of the long form again."""
COUNT = int(os.environ.get("ICETAP_OPERATIONS", "25"))


@pytest.mark.parametrize("seed", [SEED])
def test_any_sequence_of_operations_equals_the_model_in_every_reader(seed, lake):
    play(World(lake, seed=seed), count=COUNT, readers=readers_of(lake))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(100, 104))
def test_five_hundred_operations_equal_the_model_in_every_reader(seed, lake):
    play(World(lake, seed=seed), count=500, readers=readers_of(lake))


def with_zone(value):
    """Spark's instants come without a zone, in UTC."""
    return value.replace(tzinfo=dt.UTC) if isinstance(value, dt.datetime) else value


@pytest.mark.servers
@pytest.mark.timeout(900)
def test_spark_agrees_after_every_operation_and_does_some_itself(lake):
    """Spark has a catalog of its own on the same database; it deletes rows and writes files again."""
    warehouse = lake.folder / "warehouse"
    world = World(lake, seed=SEED)
    world.insert()
    with real_server("Spark with Iceberg"):
        spark = start_spark({"uri": f"sqlite:///{warehouse}/catalog.db", "warehouse": f"file://{warehouse}"})

    def read(table, *, by: str = "id") -> dict[str, list[dict]]:
        found = spark.sql(f"SELECT * FROM icetap.raw.{table.name()[-1]}")
        rows = [{name: with_zone(value) for name, value in row.items()} for row in found]
        return {**readers_of(lake)(table, by=by), "Spark": rows}

    def compact_by_spark() -> str:
        options = "map('min-input-files', '2', 'rewrite-all', 'true')"
        found = spark.sql(f"CALL icetap.system.rewrite_data_files(table => 'raw.s', options => {options})")
        return str(found)

    def delete_by_spark() -> str:
        rest = f"id % 6 = {world.rng.randrange(6)}"
        spark.sql(f"DELETE FROM icetap.raw.s WHERE {rest}")
        world.model.execute(f"DELETE FROM model WHERE {rest}")
        return rest

    try:
        others = {"compact_by_spark": compact_by_spark, "delete_by_spark": delete_by_spark}
        play(world, count=30, readers=read, others=others)
    finally:
        spark.close()
