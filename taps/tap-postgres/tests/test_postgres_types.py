"""Every row of the type table: value by value, by both transports and from the change log's texts."""

from __future__ import annotations

import datetime as dt
import logging
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest

from icetap.errors import ConfigurationError, DataError
from tap_postgres.catalogue import read_types
from tap_postgres.tap import TapPostgres
from tap_postgres.types import TEXT_FORMS, TypeOptions

from .conftest import TRANSPORTS, Database
from .types_table import ROWS, SETUP

UTC = dt.UTC
FIRST, LAST = (ROWS[f"timestamp_{end}"][3] for end in ("first", "last"))


@pytest.fixture(scope="module")
def typed(tls_server):
    """A table with one column per row of the table above: a row of values, and one of nulls."""
    native = ", ".join(f'"{name}" {row[0]}' for name, row in ROWS.items())
    values = ", ".join(row[1] for row in ROWS.values())
    made = Database(tls_server, tls_server.new_database())
    made.execute(
        *SETUP,
        f"CREATE TABLE every_type (id int PRIMARY KEY, {native})",
        f"INSERT INTO every_type VALUES (1, {values})",
        "INSERT INTO every_type (id) VALUES (2)",
    )
    return made


@pytest.fixture(scope="module")
def batches(typed):
    """What comes of the table by each transport."""
    found = {}
    for transport, config in TRANSPORTS.items():
        tap = TapPostgres(config={**typed.config, **config})
        found[transport] = next(tap.streams["public-every_type"].pages()).batch
    return found


@pytest.fixture(scope="module")
def logged(typed):
    """Each column, and the server's texts of its values."""
    columns = TapPostgres(config=typed.config).streams["public-every_type"].table.columns
    with typed.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET TimeZone = 'UTC'; SET IntervalStyle = 'iso_8601'; SET extra_float_digits = 3")
        cursor.execute("SELECT * FROM every_type ORDER BY id")
        result = cursor.pgresult
        cells = [[result.get_value(row, number) for row in range(2)] for number in range(result.nfields)]
    return {
        column.name: (column, [None if cell is None else cell.decode() for cell in texts])
        for column, texts in zip(columns, cells, strict=True)
    }


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_value_arrives_as_it_is(batches, transport, name):
    _, _, arrow_type, expected = ROWS[name]

    column = batches[transport].column(name)

    assert column.type == arrow_type
    assert column.to_pylist() == [expected, None]


@pytest.mark.parametrize("name", ROWS)
def test_the_text_of_a_change_log_gives_the_same_value(logged, batches, name):
    column, texts = logged[name]

    if column.decode_log is None:
        assert ROWS[name][0] in {"money", "pair"}  # the engine reads these again by key
    else:
        decoded = column.decode_log(texts)
        assert decoded.refused is None
        assert decoded.array.equals(batches["plain"].column(name))


def test_the_table_names_every_type_of_the_server(scratch):
    """It fails with a version of PostgreSQL that has a type which nobody has looked at."""
    source = scratch()
    if _has_extensions(source):
        source.execute(*(f"CREATE EXTENSION {name}" for name in ("hstore", "citext", "ltree")))
    dialect = TapPostgres(config=source.config).dialect
    connection = dialect.connect()
    try:
        oids = [
            oid
            for (oid,) in connection.rows(
                "SELECT t.oid::int8 FROM pg_type AS t LEFT JOIN pg_class AS c ON c.oid = t.typrelid "
                "WHERE (t.typrelid = 0 OR c.relkind = 'c') AND t.typname NOT LIKE '\\_pg\\_%'"
            )
        ]
        types = read_types(connection, oids, TypeOptions())
        unknown = sorted(types._infos[oid].name for oid in oids if not types.is_known(oid))
    finally:
        connection.close()

    assert len(oids) > 150
    assert unknown == []
    assert "inet" in TEXT_FORMS


def _has_extensions(source) -> bool:
    found = source.execute(
        "SELECT count(*) FROM pg_available_extensions WHERE name IN ('hstore', 'citext', 'ltree')"
    )
    return found == [(3,)]


def test_types_of_extensions_arrive(scratch):
    source = scratch()
    if not _has_extensions(source):
        pytest.skip("this server comes without hstore, citext and ltree")
    source.execute(
        *(f"CREATE EXTENSION {name}" for name in ("hstore", "citext", "ltree")),
        "CREATE TABLE t (id int PRIMARY KEY, h hstore, c citext, l ltree)",
        "INSERT INTO t VALUES (1, 'a=>1, b=>NULL, \"c\\\"d\"=>\"x y\"', 'Ab', 'x.y')",
    )

    batch = next(TapPostgres(config=source.config).streams["public-t"].pages()).batch

    assert batch.column("h").to_pylist() == [[("a", "1"), ("b", None), ('c"d', "x y")]]
    assert batch.column("c").to_pylist() == ["Ab"]
    assert batch.column("l").to_pylist() == ["x.y"]


def test_xml_arrives_as_its_text(scratch):
    source = scratch("CREATE TABLE t (id int PRIMARY KEY, x xml)")
    try:
        source.execute("INSERT INTO t VALUES (1, '<a>1</a>')")
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this server was built without libxml")

    tap = TapPostgres(config=source.config)
    assert next(tap.streams["public-t"].pages()).batch.column("x").to_pylist() == ["<a>1</a>"]


def test_vectors_arrive_as_lists(scratch):
    source = scratch()
    if not source.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'"):
        pytest.skip("this server comes without pgvector")
    source.execute(
        "CREATE EXTENSION vector",
        "CREATE TABLE t (id int PRIMARY KEY, v vector(3), a vector(1)[])",
        "INSERT INTO t VALUES (1, '[1,2.5,0.1]', ARRAY['[1]'::vector])",
    )

    batch = next(TapPostgres(config=source.config).streams["public-t"].pages()).batch

    assert batch.column("v").to_pylist() == [[1.0, 2.5, 0.10000000149011612]]
    assert batch.column("a").to_pylist() == [[[1.0]]]


def test_wide_scales_of_numeric_are_kept(scratch):
    source = scratch("SELECT 1")
    if source.execute("SHOW server_version_num") < [("150000",)]:
        pytest.skip("scales beyond the precision exist since PostgreSQL 15")
    source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, hundreds numeric(5, -2), small numeric(3, 5))",
        "INSERT INTO t VALUES (1, 9999900, 0.00999)",
    )

    batch = next(TapPostgres(config=source.config).streams["public-t"].pages()).batch

    assert batch.schema.field("hundreds").type == pa.decimal128(7, 0)
    assert batch.schema.field("small").type == pa.decimal128(5, 5)
    assert batch.to_pylist() == [{"id": 1, "hundreds": Decimal(9999900), "small": Decimal("0.00999")}]


# --- what no lakehouse can hold -----------------------------------------------------------------------------

OUTSIDE = {
    "date": ["infinity", "-infinity", "0044-03-15 BC", "10000-01-01", "5874897-12-31"],
    "timestamp": [
        "infinity",
        "-infinity",
        "4713-01-01 00:00:00 BC",
        "10000-01-01",
        "294276-12-31 23:59:59.999999",
    ],
    "timestamptz": [
        "infinity",
        "-infinity",
        "0001-12-31 23:59:59 BC",
        "10000-01-01 00:00:00+00",
        "294276-12-31+00",
    ],
    "time": ["24:00:00"],
}
LATE = {"infinity", "10000-01-01", "10000-01-01 00:00:00+00", "5874897-12-31", "294276-12-31 23:59:59.999999",
        "294276-12-31+00", "24:00:00"}  # fmt: skip
ENDS = {
    "date": (dt.date.min, dt.date.max),
    "timestamp": (FIRST, LAST),
    "timestamptz": (FIRST.replace(tzinfo=UTC), LAST.replace(tzinfo=UTC)),
    "time": (dt.time.min, dt.time.max),
}


@pytest.fixture(scope="module")
def outside(database):
    """Tables with values that PostgreSQL has and Iceberg has not, beside ordinary ones."""
    return database(
        *(
            statement
            for native, values in OUTSIDE.items()
            for statement in (
                f'CREATE TABLE "{native}" (id int PRIMARY KEY, v {native}, l {native}[])',
                *(
                    f"INSERT INTO \"{native}\" VALUES ({number}, '{value}', ARRAY['{value}'::{native}])"
                    for number, value in enumerate(values)
                ),
                f'INSERT INTO "{native}" VALUES (99, NULL, NULL)',
            )
        )
    )


@pytest.mark.parametrize("native", OUTSIDE)
def test_a_time_out_of_range_is_refused(outside, native):
    tap = TapPostgres(config=outside.config)

    with pytest.raises(DataError, match=f"{len(OUTSIDE[native])} of the last .* values of column 'v'"):
        list(tap.streams[f"public-{native}"].pages())


@pytest.mark.parametrize("native", OUTSIDE)
def test_a_time_out_of_range_can_be_left_out(outside, native):
    tap = TapPostgres(config={**outside.config, "on_rejected": "skip"})
    stream = tap.streams[f"public-{native}"]

    assert [page.batch.to_pylist() for page in stream.pages()] == [[{"id": 99, "v": None, "l": None}]]
    assert sum(stream.rejected.values()) == len(OUTSIDE[native])


@pytest.mark.parametrize("native", OUTSIDE)
def test_a_time_out_of_range_can_be_clamped(outside, native):
    tap = TapPostgres(config={**outside.config, "temporal_overflow": "clamp"})

    rows = [row for page in tap.streams[f"public-{native}"].pages() for row in page.batch.to_pylist()]

    first, last = ENDS[native]
    expected = [last if value in LATE else first for value in OUTSIDE[native]]
    assert [row["v"] for row in rows] == [*expected, None]
    assert [row["l"] for row in rows] == [*([value] for value in expected), None]


@pytest.mark.parametrize("native", OUTSIDE)
def test_a_time_out_of_range_can_become_null_and_is_counted(outside, native, caplog):
    tap = TapPostgres(config={**outside.config, "temporal_overflow": "null"})

    rows = [row for page in tap.streams[f"public-{native}"].pages() for row in page.batch.to_pylist()]

    assert {row["v"] for row in rows} == {None}
    with caplog.at_level(logging.WARNING):
        tap.report_overflows()
    assert (
        f"public-{native}.v: {len(OUTSIDE[native])} dates and times out of range became null" in caplog.text
    )


@pytest.mark.parametrize("native", OUTSIDE)
def test_all_times_can_be_texts(outside, native):
    tap = TapPostgres(config={**outside.config, "temporal_overflow": "string"})
    stream = tap.streams[f"public-{native}"]

    rows = [row for page in stream.pages() for row in page.batch.to_pylist()]

    assert stream.columns.field("v").type == pa.string()
    assert rows[0]["v"] == OUTSIDE[native][0]
    assert rows[0]["l"] == [OUTSIDE[native][0]]


REFUSED = {
    "numeric_nan": ("numeric(5,2)", "'NaN'"),
    "numeric_of_two_dimensions": ("numeric(5,2)[]", "'{{1,2},{3,4}}'"),
    "int_of_two_dimensions": ("int[]", "'{{1,2},{3,4}}'"),
    "text_of_two_dimensions": ("text[]", "'{{a,b},{c,d}}'"),
    "inet_of_two_dimensions": ("inet[]", "'{{1.2.3.4},{1.2.3.4}}'"),
    "nan_in_a_list": ("numeric(5,2)[]", "'{1,NaN}'"),
    "xid8_of_64_bits": ("xid8", "'18446744073709551615'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_value_that_does_not_fit_is_refused_and_its_neighbours_are_not(scratch, name):
    native, value = REFUSED[name]
    source = scratch(
        f"CREATE TABLE t (id int PRIMARY KEY, v {native})",
        "INSERT INTO t VALUES (1, NULL)",
        f"INSERT INTO t VALUES (2, {value})",
        "INSERT INTO t VALUES (3, NULL)",
    )

    with pytest.raises(DataError, match="1 of the last 3 values of column 'v'"):
        list(TapPostgres(config=source.config).streams["public-t"].pages())

    tap = TapPostgres(config={**source.config, "on_rejected": "skip"})
    assert next(tap.streams["public-t"].pages()).batch.column("id").to_pylist() == [1, 3]


def test_arrays_of_any_dimensions_can_be_json(scratch):
    source = scratch(
        "CREATE TABLE t (id int PRIMARY KEY, v numeric[])", "INSERT INTO t VALUES (1, '{{1.10,2},{3,4}}')"
    )
    tap = TapPostgres(config={**source.config, "array_as": "json"})

    assert next(tap.streams["public-t"].pages()).batch.column("v").to_pylist() == ["[[1.10,2],[3,4]]"]


@pytest.mark.parametrize("kind", ["decimal(0,0)", "decimal(5,10)"])
def test_a_decimal_that_cannot_be_is_refused_at_the_start(kind):
    with pytest.raises(ConfigurationError, match=r"'number_as'.*from 0 to p"):
        TypeOptions(number_as=kind)


def test_numbers_of_any_size_can_be_decimals(scratch):
    source = scratch(
        "CREATE TABLE t (id int PRIMARY KEY, v numeric)",
        "INSERT INTO t VALUES (1, 1.5), (2, 1e20), (3, 0.0000000001)",
    )

    tap = TapPostgres(config={**source.config, "number_as": "decimal(38,9)", "on_rejected": "skip"})

    batch = next(tap.streams["public-t"].pages()).batch
    assert batch.schema.field("v").type == pa.decimal128(38, 9)
    assert batch.column("v").to_pylist() == [Decimal("1.5"), Decimal(10**20)]
