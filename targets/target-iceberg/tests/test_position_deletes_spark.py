"""Spark applies our position deletes, and we respect and outlive Spark's."""

from __future__ import annotations

import pytest

from icetap.catalogs import catalog_settings
from icetap.testing.engines import spark_session
from icetap.testing.soundness import agreed_rows, assert_sound, delete_files

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]

TABLE = "icetap.raw.s"
MARK = {"merge_mode": "merge-on-read"}
REWRITE = {"merge_mode": "copy-on-write"}
MARKED = "'write.delete.mode' = 'merge-on-read', 'write.update.mode' = 'merge-on-read', 'write.merge.mode' = 'merge-on-read'"


def names_in(spark):
    return {row["id"]: row["name"] for row in spark.sql(f"SELECT id, name FROM {TABLE}")}


def names_for_all(lake, spark, *, without=()):
    """The rows, once Spark and the other readers agree."""
    table = lake.table()
    names = {row["id"]: row["name"] for row in agreed_rows(table, without=without)}
    assert names_in(spark) == names
    return names


@pytest.mark.parametrize("granularity", ["file", "partition"])
def test_merges_of_both_sides_take_turns(lake, singer, granularity):
    """Over two partition specs; Spark's delete files are of one data file, or of a whole partition."""
    lake.ok(singer.schema(), singer.records(range(1, 31)))
    lake.ok(singer.schema(), singer.records([1, 2, 40], name="b"), **MARK)
    with lake.table().update_spec() as spec:
        spec.add_field("id", "bucket[2]", "part")
    lake.ok(singer.schema(), singer.records(range(51, 71)))
    lake.ok(singer.schema(), singer.records([3, 51, 52, 80], name="c"), **MARK)
    # Polars 2.1 refuses delete files of several data files.
    without = ("Polars",) if granularity == "partition" else ()
    with spark_session(catalog_settings(lake.config).properties) as spark:
        expected = names_for_all(lake, spark)
        assert (len(expected), expected[1], expected[51]) == (52, "b1", "c51")
        spark.sql(
            f"ALTER TABLE {TABLE} SET TBLPROPERTIES ({MARKED}, 'write.delete.granularity' = '{granularity}')"
        )
        spark.sql(f"DELETE FROM {TABLE} WHERE id IN (4, 53, 80)")
        spark.sql(f"UPDATE {TABLE} SET name = 'spark' WHERE id IN (1, 5, 54)")
        assert delete_files(lake.table())
        for number, mode in enumerate((MARK, REWRITE, MARK)):
            name = f"n{number}"
            told = lake.ok(
                singer.schema(), singer.records([4, 5, 6 + number, 55 + number], name=name), **mode
            )
            # Key 4, which Spark deleted, is new once.
            assert told.stream()["rows_inserted"] == (1 if number == 0 else 0)
            names = names_for_all(lake, spark, without=without)
            assert {one: names[one] for one in (4, 5, 54)} == {4: f"{name}4", 5: f"{name}5", 54: "spark"}
            assert len(names) == 50
        spark.sql(
            "CALL icetap.system.rewrite_position_delete_files(table => 'raw.s', options => map('rewrite-all', 'true'))"
        )
        assert names_for_all(lake, spark, without=without) == names
        lake.ok(singer.schema(), singer.records([1, 9], name="last"), **MARK)
        spark.sql(
            "CALL icetap.system.rewrite_data_files(table => 'raw.s', options => map('rewrite-all', 'true'))"
        )
        lake.ok(singer.schema(), singer.records([9, 52], name="end"), **MARK)
        names = names_for_all(lake, spark, without=without)
        assert (names[1], names[9], names[52], len(names)) == ("last1", "end9", "end52", 50)


def test_spark_merges_into_what_we_have_marked_and_leaves_nothing_dangling(lake, singer):
    lake.ok(singer.schema(), singer.records(range(1, 31)))
    lake.ok(singer.schema(), singer.records(range(1, 6), name="b"), **MARK)
    with spark_session(catalog_settings(lake.config).properties) as spark:
        spark.sql(f"ALTER TABLE {TABLE} SET TBLPROPERTIES ({MARKED})")
        spark.sql(
            f"MERGE INTO {TABLE} t USING (SELECT * FROM VALUES (2L, 'spark'), (7L, 'spark'), (99L, 'spark') AS v(id, name)) s "
            "ON t.id = s.id WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
        )
        names = names_for_all(lake, spark)
        assert (names[2], names[7], names[99], names[1], len(names)) == ("spark", "spark", "spark", "b1", 31)
        lake.ok(singer.schema(), singer.records([2, 7, 8, 99], name="c"), **REWRITE)
        names = names_for_all(lake, spark)
        assert (names[2], names[8], names[99], len(names)) == ("c2", "c8", "c99", 31)
        assert_sound(lake.table())
