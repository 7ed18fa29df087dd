"""`icetap query`: right answers, and no more read than they need."""

import datetime as dt
import decimal
import json
import math
import subprocess
import sys
import uuid

import click.testing
import duckdb
import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from icetap.catalogs import open_catalog
from icetap.cli.command import icetap
from icetap.cli.query import Lake
from icetap.errors import ConfigurationError, DataError
from icetap.tables import read_table
from icetap.types import iceberg_schema

COLUMNS = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("small", pa.int32()),
        pa.field("flag", pa.bool_()),
        pa.field("ratio", pa.float64()),
        pa.field("price", pa.decimal128(20, 4)),
        pa.field("name", pa.string()),
        pa.field("day", pa.date32()),
        pa.field("at", pa.timestamp("us", tz="UTC")),
        pa.field("local", pa.timestamp("us")),
        pa.field("clock", pa.time64("us")),
        pa.field("key", pa.uuid()),
        pa.field("raw", pa.binary()),
        pa.field("place", pa.struct([("city", pa.string()), ("zip", pa.int64()), ("score", pa.float64())])),
        pa.field("tags", pa.list_(pa.field("element", pa.struct([pa.field("k", pa.string())])))),
    ]
)
NAMES = ["", "a", "A", "ä", "b", "zebra", "𝄞", "a" * 40, None]
RATIOS = [0.0, -0.0, 1.5, -1.5, math.nan, math.inf, -math.inf, 1e300, None]


def row(number):
    """A row whose columns hold nulls at different numbers, so that every filter meets them."""

    def unless(divisor, value):
        return None if number % divisor == 0 else value

    moment = dt.datetime(2026, 1, 1) + dt.timedelta(hours=number)  # noqa: DTZ001
    return {
        "id": number,
        "small": unless(5, number % 50 - 25),
        "flag": unless(7, number % 2 == 0),
        "ratio": RATIOS[number % 9],
        "price": unless(4, decimal.Decimal(number - 150) / 8),
        "name": NAMES[number % 9],
        "day": unless(6, moment.date()),
        "at": unless(8, moment.replace(tzinfo=dt.UTC)),
        "local": unless(9, moment),
        "clock": unless(3, moment.time()),
        "key": unless(10, uuid.UUID(int=number).bytes),
        "raw": unless(11, bytes([number % 256])),
        "place": unless(
            4, {"city": NAMES[number % 9], "zip": unless(3, number), "score": RATIOS[number % 9]}
        ),
        "tags": unless(5, [{"k": unless(2, str(number))}, None][: number % 3]),
    }


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    """`raw.events`: 300 rows in three files by id; `raw.empty`; `crm.people` and `sales.people`."""
    folder = tmp_path_factory.mktemp("warehouse")
    catalog = open_catalog({"warehouse": str(folder)})
    for namespace in ("raw", "crm", "sales"):
        catalog.create_namespace(namespace)
    table = catalog.create_table("raw.events", iceberg_schema(COLUMNS))
    for first in (0, 100, 200):
        table.append(pa.Table.from_pylist([row(n) for n in range(first, first + 100)], schema=COLUMNS))
    catalog.create_table("raw.empty", iceberg_schema(COLUMNS))
    for namespace in ("crm", "sales"):
        people = catalog.create_table(f"{namespace}.people", iceberg_schema(COLUMNS))
        people.append(pa.Table.from_pylist([row(1)], schema=COLUMNS))
    return folder


@pytest.fixture
def lake(warehouse):
    return Lake(open_catalog({"warehouse": str(warehouse)}, create=False))


@pytest.fixture(scope="module")
def whole_table(warehouse):
    """DuckDB with all rows of `events` in a table of its own: nothing is pushed anywhere."""
    catalog = open_catalog({"warehouse": str(warehouse)}, create=False)
    events = pa.Table.from_batches(read_table(catalog.load_table("raw.events")))  # noqa: F841 -- DuckDB finds it
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("CREATE TABLE events AS SELECT * FROM events")
    return connection


FILTERS = [
    "id = 150",
    "id <> 150",
    "id >= 100 AND id < 103",
    "id IN (5, 105, 205)",
    "id NOT IN (5, 105)",
    "id BETWEEN 98 AND 101 OR id = 299",
    "small > 20",
    "small <= -24 OR small IS NULL",
    "small IS NOT NULL",
    "small IS DISTINCT FROM 3",
    "small + 1 = 4",
    "flag",
    "NOT flag",
    "flag IS NULL",
    "ratio > 1",
    "ratio >= 'inf'",
    "ratio = 'nan'",
    "ratio <> 'nan'",
    "ratio < 0",
    "ratio = 0",
    "ratio = -0.0",
    "ratio IN (0, 1.5, 'nan')",
    "ratio IS NULL",
    "ratio BETWEEN -2 AND 2",
    "isnan(ratio)",
    "price = 0.125",
    "price > 6.25",
    "price < -18.5 OR price > 18.5",
    "price::INTEGER = 3",
    "name = ''",
    "name = 'a'",
    "name > 'a'",
    "name >= 'zebra'",
    "name LIKE 'a%'",
    "name ILIKE 'A'",
    "name IN ('ä', '𝄞')",
    "name IS NULL AND id > 250",
    "starts_with(name, 'aaa')",
    "name <> 'b' AND name IS NOT NULL",
    "day = DATE '2026-01-05'",
    "day > '2026-01-12'",
    "at >= '2026-01-09 12:00:00+02'",
    "at < TIMESTAMPTZ '2026-01-01 03:30:00+00'",
    "at IS NULL",
    "local BETWEEN '2026-01-02' AND '2026-01-02 05:00:00'",
    "clock > '22:30:00'",
    "clock = TIME '00:00:00'",
    "key = '00000000-0000-0000-0000-000000000097'",
    "raw = '\\x07'::BLOB",
    "raw > '\\xF0'::BLOB",
    "place.city = 'a'",
    "place.zip > 290",
    "place.score > 1",
    "place IS NULL",
    "tags IS NULL",
    "len(tags) = 0",
    "tags[1].k IS NULL",
    "id > 100 AND ratio > 1 AND name >= 'a'",
    "id > (SELECT max(id) - 3 FROM raw.events)",
    "id = 1e0",
    "id = 99999999999999999999",
    "small = 3.5",
    "FALSE",
]


def comparable(table):
    """Rows as text, so that NaN equals NaN and -0.0 differs from 0.0."""
    return sorted(repr(row) for row in table.to_pylist())


@pytest.mark.parametrize("where", FILTERS)
def test_a_filter_gives_the_same_rows_as_duckdb_on_a_table_of_its_own(lake, whole_table, where):
    where = where.replace(" at ", ' "at" ').replace("at ", '"at" ', 1) if where.startswith("at ") else where
    expected = whole_table.sql(
        f"SELECT * FROM events WHERE {where.replace('raw.events', 'events')}"
    ).to_arrow_table()

    found = lake.query(f"SELECT * FROM raw.events WHERE {where}").read_all()

    assert comparable(found) == comparable(expected)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM {}",
        "SELECT name, count(*), sum(price), min(ratio), max(ratio) FROM {} GROUP BY name",
        "SELECT a.id, b.small FROM {} a JOIN {} b ON a.id = b.small WHERE b.name > 'a'",
        "SELECT id, ratio FROM {} ORDER BY ratio DESC NULLS LAST, id LIMIT 7",
        "WITH last AS (SELECT max(id) AS id FROM {}) SELECT name FROM {} JOIN last USING (id)",
        "SELECT id FROM {} WHERE id IN (SELECT small FROM {} WHERE flag)",
        "SELECT sum(id) FROM {} WHERE ratio > 1",
    ],
)
def test_a_query_gives_the_same_answer_as_duckdb_on_a_table_of_its_own(lake, whole_table, sql):
    expected = whole_table.sql(sql.replace("{}", "events")).to_arrow_table()

    assert comparable(lake.query(sql.replace("{}", "raw.events")).read_all()) == comparable(expected)


@pytest.mark.parametrize(
    ("where", "files"),
    [
        ("id = 150", 1),
        ("id >= 199", 2),
        ("id IN (5, 205)", 2),
        ("\"at\" > '2026-01-09'", 2),
        ("id > 1000", 0),
        ("ratio > 1", 3),
    ],
)
def test_files_that_cannot_match_are_not_opened(lake, where, files):
    lake.query(f"SELECT count(*) FROM raw.events WHERE {where}").read_all()

    assert len(lake.datasets["raw.events"].files_read) == files


def test_only_columns_that_the_query_names_are_read(lake, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "icetap.cli.views.read_task",
        lambda table, task, *, columns, **_: asked.append(columns) or iter(()),
    )

    lake.query("SELECT name FROM raw.events WHERE small > 1").read_all()

    assert [sorted(columns) for columns in asked] == [["name", "small"]] * 3


def test_only_tables_that_the_query_names_are_opened(lake):
    lake.query("SELECT count(*) FROM raw.events").read_all()

    assert list(lake.datasets) == ["raw.events"]


@pytest.mark.parametrize("name", ["raw.events", "events", "EVENTS", '"raw"."events"', "Raw.Events"])
def test_a_table_is_found_with_and_without_its_namespace_in_any_case(lake, name):
    assert lake.query(f"SELECT count(*) FROM {name}").read_all().to_pylist() == [{"count_star()": 300}]


def test_one_query_may_name_a_table_in_several_ways(lake):
    sql = "SELECT count(*) AS n FROM events a JOIN raw.events b USING (id) JOIN crm.people c USING (id)"

    assert lake.query(sql).read_all().to_pylist() == [{"n": 1}]


def test_a_name_that_two_namespaces_have_must_be_written_in_full(lake):
    with pytest.raises(ConfigurationError, match=r"Write crm\.people or sales\.people"):
        lake.query("SELECT * FROM people")


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("WITH events AS (SELECT * FROM events WHERE id < 2) SELECT count(*) FROM events", 2),
        (
            "WITH RECURSIVE empty AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM empty WHERE n < 3) SELECT count(*) FROM empty",
            3,
        ),
        ("WITH a AS (SELECT 1), events AS (SELECT * FROM a) SELECT count(*) FROM events", 1),
    ],
)
def test_a_name_made_by_with_hides_a_table_only_where_sql_says_so(lake, sql, rows):
    assert lake.query(sql).read_all().columns[0].to_pylist() == [rows]


@pytest.mark.parametrize(
    "sql", ["DESCRIBE raw.events", "SUMMARIZE raw.empty", "EXPLAIN SELECT * FROM events", "FROM events"]
)
def test_statements_that_describe_work_too(lake, sql):
    assert lake.query(sql).read_all().num_rows > 0


def test_an_unknown_table_is_told_with_the_nearest_one_and_the_list(lake):
    with pytest.raises(
        ConfigurationError, match=r"no table 'evnts'; did you mean 'events'\? There are: crm\.people"
    ):
        lake.query("SELECT * FROM evnts")


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM raw.events",
        "CREATE TABLE t AS SELECT 1",
        "ATTACH 'other.db'",
        "COPY (SELECT 1) TO 'out.csv'",
        "SET memory_limit = '1GB'",
        "SELECT 1; SELECT 2",
        "",
    ],
)
def test_what_does_not_read_is_refused(lake, sql):
    with pytest.raises(ConfigurationError, match="one statement that reads"):
        lake.query(sql)


@pytest.mark.parametrize(
    "sql", ["SELECT * FROM read_text('/etc/hosts')", "SELECT * FROM '/etc/hosts'", "SELEC 1"]
)
def test_files_of_the_machine_cannot_be_read_and_bad_sql_is_told(lake, sql):
    with pytest.raises((DataError, ConfigurationError)):
        lake.query(sql).read_all()


def test_an_error_while_rows_are_read_is_told_as_one(lake, monkeypatch):
    def fail(*_, **__):
        raise DataError("orders.parquet: column n is string in the file")
        yield

    monkeypatch.setattr("icetap.cli.views.read_task", fail)

    with pytest.raises(DataError, match="column n is string in the file"):
        list(lake.rows("SELECT * FROM raw.events")[1])


def test_bounds_written_before_a_column_was_widened_still_prune(tmp_path):
    catalog = SqlCatalog("icetap", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
    catalog.create_namespace("raw")
    narrow = pa.schema([pa.field("n", pa.int32()), pa.field("d", pa.decimal128(4, 2))])
    table = catalog.create_table("raw.t", iceberg_schema(narrow))
    table.append(pa.Table.from_pylist([{"n": 1, "d": decimal.Decimal("1.25")}], schema=narrow))
    wide = iceberg_schema(pa.schema([pa.field("n", pa.int64()), pa.field("d", pa.decimal128(38, 2))]))
    table.update_schema().union_by_name(wide).commit()
    table.append(
        pa.Table.from_pylist([{"n": 2**40, "d": decimal.Decimal("99999.5")}]).cast(table.schema().as_arrow())
    )
    lake = Lake(catalog)

    found = lake.query("SELECT n, d FROM t WHERE n > 5 AND d > 5").read_all().to_pylist()

    assert found == [{"n": 2**40, "d": decimal.Decimal("99999.50")}]
    assert len(lake.datasets["raw.t"].files_read) == 1


# --- the command ------------------------------------------------------------------------------------


@pytest.fixture
def run(warehouse, monkeypatch, tmp_path):
    """Run `icetap query …` in an empty folder with the warehouse named by an environment variable."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TARGET_ICEBERG_WAREHOUSE", str(warehouse))

    def invoke(*arguments):
        return click.testing.CliRunner().invoke(icetap, ["query", *arguments])

    return invoke


def test_json_keeps_every_digit_and_says_null(run):
    done = run(
        "SELECT price, name, ratio, 2::DECIMAL(38,9) AS big FROM raw.events WHERE id IN (4, 8, 13) ORDER BY id",
        "--json",
    )

    assert done.exit_code == 0
    assert '"big":2.000000000' in done.stdout
    assert json.loads(done.stdout, parse_float=decimal.Decimal) == [
        {"price": None, "name": "b", "ratio": "nan", "big": decimal.Decimal("2.000000000")},
        {"price": None, "name": None, "ratio": None, "big": decimal.Decimal("2.000000000")},
        {
            "price": decimal.Decimal("-17.1250"),
            "name": "b",
            "ratio": "nan",
            "big": decimal.Decimal("2.000000000"),
        },
    ]


def test_an_empty_result_is_still_json(run):
    assert run("SELECT id FROM raw.empty", "--json").stdout == "[]\n"


def test_csv_has_a_header_and_quotes_what_must_be(run):
    done = run("SELECT id, 'a,\"b\"' AS t, NULL AS n FROM raw.events WHERE id < 2 ORDER BY id", "--csv")

    assert done.stdout == 'id,t,n\n0,"a,""b""",\n1,"a,""b""",\n'


def test_a_table_on_the_screen_says_when_there_is_more(run):
    done = run("SELECT id FROM raw.events ORDER BY id", "--limit", "2")

    assert done.stdout.split() == ["id", "──", "0", "1"]
    assert "first 2 rows" in done.stderr


def test_without_sql_the_tables_are_listed_with_their_rows(run):
    listed = json.loads(run("--json").stdout)

    assert [(each["namespace"], each["table"], each["rows"]) for each in listed] == [
        ("crm", "people", 1),
        ("raw", "empty", 0),
        ("raw", "events", 300),
        ("sales", "people", 1),
    ]


def test_a_mistake_ends_with_one_line_and_exit_code_2(run):
    done = run("SELECT * FROM evnts")

    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("icetap: There is no table 'evnts'")
    assert done.stderr.count("\n") == 1


def test_a_missing_warehouse_is_told_with_the_next_step(run, monkeypatch, tmp_path):
    monkeypatch.setenv("TARGET_ICEBERG_WAREHOUSE", str(tmp_path / "nothing"))

    done = run("SELECT 1")

    assert done.exit_code == 2
    assert "Load something first" in done.stderr
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("attempt", range(3))
def test_a_query_that_needs_only_the_first_rows_ends_cleanly(tmp_path, attempt):
    """A thread that still read ahead while the interpreter ended would abort it, though not each time."""
    catalog = open_catalog({"warehouse": str(tmp_path)})
    catalog.create_namespace("raw")
    table = catalog.create_table(
        "raw.long", iceberg_schema(COLUMNS.empty_table().select(["id", "name"]).schema)
    )
    rows = pa.table({"id": pa.array(range(300_000), pa.int64()), "name": ["x" * 20] * 300_000})
    for _ in range(3):
        table.append(rows.cast(pa.schema([COLUMNS.field("id"), COLUMNS.field("name")])))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"warehouse": str(tmp_path)}), encoding="utf-8")
    command = [sys.executable, "-c", "from icetap.cli import main; main()", "query", "--config", str(config)]
    done = subprocess.run(
        [*command, "select * from long limit 2"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 4


@pytest.mark.parametrize(
    "sql", ["SELEC 1", "SELECT nothing FROM raw.events", "SELECT no_such_function(1)", "SELECT FROM WHERE"]
)
def test_a_question_that_is_wrong_is_not_the_datas_fault(lake, sql):
    with pytest.raises(ConfigurationError):
        lake.query(sql).read_all()


def test_each_query_spills_into_a_folder_of_its_own():
    """Two processes that spill into one folder crash (DuckDB 1.5.5)."""
    lakes = [Lake(SqlCatalog(name, uri="sqlite://")) for name in ("one", "two")]
    spills = [next(lake.rows("SELECT current_setting('temp_directory')")[1])[0] for lake in lakes]
    assert spills == [str(lake._spills.path) for lake in lakes]
    assert spills[0] != spills[1]
