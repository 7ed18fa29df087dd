"""Rows in binary form against what another client of the same server says, value by value, and what nobody may see."""

from __future__ import annotations

import datetime as dt
import json
import random
import struct
import uuid
from decimal import Decimal

import pyarrow as pa
import pytest

from icetap.errors import DataError, SkippableError
from tap_postgres import binary_rows, wire_types
from tap_postgres.copy_out import copy_out
from tap_postgres.decode import decimal as decimal_decoder
from tap_postgres.tap import TapPostgres

from .conftest import TRANSPORTS, Database

UTC = dt.UTC


@pytest.fixture(scope="module")
def source(tls_server):
    """A database that speaks both transports."""
    return Database(tls_server, tls_server.new_database())


@pytest.fixture(scope="module")
def session(source):
    """A session of that database."""
    with source.connect() as connection:
        yield connection


def raw(session, sql, *kinds):
    """Return the columns of a query as they are read, before they become what the catalog says."""
    wire = session.pgconn
    wire.prepare(b"", sql.encode())
    described = wire.describe_prepared(b"")
    types = [(described.ftype(number), described.fmod(number)) for number in range(described.nfields)]
    readers = wire_types.readers(types, kinds)
    copy = copy_out(wire, f"COPY ({sql}) TO STDOUT (FORMAT BINARY)", columns=len(readers))
    blocks = [binary_rows.columns(block, readers) for block in copy.blocks(1 << 20)]
    return [pa.concat_arrays(parts) for parts in zip(*blocks, strict=True)]


# --- tables of all types -------------------------------------------------------------------------------

CHARACTERS = "abd\\\"'{},; \t\n\r\x01\x7fé\u0301ßж漢\u200b\ufeff𝄞\U0010ffff"


def a_text(luck):
    return "".join(luck.choices(CHARACTERS, k=luck.choice([0, 1, 5, 40, 400])))


def an_instant(luck):
    first = dt.datetime.min.replace(tzinfo=UTC).replace(tzinfo=None)
    return first + dt.timedelta(microseconds=luck.randrange(9998 * 365 * 86_400_000_000))


def a_number(precision, scale):
    def make(luck):
        digits = luck.choice([1, precision, luck.randint(1, precision)])
        unscaled = luck.choice([0, 10 ** (digits - 1), 10**digits - 1, luck.randrange(10**digits)])
        return f"{luck.choice(['', '-'])}{unscaled}e{-scale}"

    return make


def one_of(*values):
    return lambda luck: luck.choice(values)


def whole(bits):
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return lambda luck: str(luck.choice([low, high, 0, -1, luck.randint(low, high)]))


def floating(kind, size):
    def make(luck):
        (number,) = struct.unpack(kind, luck.randbytes(size))
        return repr(luck.choice([number, 0.0, -0.0, float("nan"), float("inf"), -float("inf"), 1.5]))

    return make


SCALARS = {
    "bool": one_of("t", "f"),
    "int2": whole(16),
    "int4": whole(32),
    "int8": whole(64),
    "float4": floating(">f", 4),
    "float8": floating(">d", 8),
    "text": a_text,
    "varchar(500)": a_text,
    "char(7)": lambda luck: a_text(luck)[:7],
    "bytea": lambda luck: "\\x" + luck.randbytes(luck.choice([0, 1, 7, 300])).hex(),
    "json": lambda luck: json.dumps({"d": a_text(luck), "n": [1.10]}, indent=luck.choice([None, 3])),
    "jsonb": lambda luck: json.dumps([a_text(luck).replace("\0", ""), None]),
    "uuid": lambda luck: str(uuid.UUID(bytes=luck.randbytes(16))),
    "date": lambda luck: an_instant(luck).date().isoformat(),
    "time": lambda luck: an_instant(luck).time().isoformat(),
    "timestamp": lambda luck: an_instant(luck).isoformat(),
    "timestamptz": lambda luck: an_instant(luck).isoformat() + "+00",
    "numeric": lambda luck: luck.choice(["NaN", "Infinity", "0.00", a_number(60, luck.randint(-30, 70))(luck)]),
    "numeric(12,3)": a_number(12, 3),
    "numeric(18,0)": a_number(18, 0),
    "numeric(18,18)": a_number(18, 18),
    "numeric(38,0)": a_number(38, 0),
    "numeric(38,19)": a_number(38, 19),
    "numeric(38,38)": a_number(38, 38),
    "numeric(5,-3)": a_number(5, -3),
    "numeric(3,6)": a_number(3, 6),
}  # fmt: skip
INFINITE = ("date", "timestamp", "timestamptz")
AS_TEXT = ("json", "jsonb", "numeric")


def an_array(make):
    def quoted(value):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def array(luck):
        size = luck.choice([0, 1, 2, 3, 30])
        same = make(luck)
        values = [
            "NULL" if luck.random() < 0.2 else quoted(luck.choice([same, make(luck)])) for _ in range(size)
        ]
        bounds = f"[{luck.choice([-5, 0, 7])}:]=" if size and luck.random() < 0.3 else ""
        bounds = bounds.replace(":]", f":{int(bounds[1:-3]) + size - 1}]") if bounds else ""
        return f"{bounds}{{{','.join(values)}}}"

    return array


COLUMNS = {
    **SCALARS,
    **{f"{native}[]": an_array(make) for native, make in SCALARS.items()},
}


def expected_expression(native):
    scalar, brackets = native.removesuffix("[]"), "[]" if native.endswith("[]") else ""
    if scalar in AS_TEXT:
        return f'"{native}"::text{brackets}'
    if scalar == "float4":
        return f'"{native}"::float8{brackets}'
    return f'CASE WHEN isfinite("{native}") THEN "{native}" END' if native in INFINITE else f'"{native}"'


def plain(value):
    """Return a text that tells values apart that are equal, such as both zeros."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return repr(value.astimezone(UTC))
    return repr(value)


@pytest.mark.parametrize(
    ("seed", "rows"), [(1, 500), (2, 500), (3, 1), (4, 0)], ids=["1", "2", "one_row", "no_rows"]
)
def test_random_tables_arrive_as_another_client_reads_them(source, seed, rows):
    luck = random.Random(seed)
    table = f"random_{seed}"
    declared = ", ".join(f'"{native}" {native}' for native in COLUMNS)
    source.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, {declared})")
    with source.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET TimeZone = 'UTC'")
        with cursor.copy(f"COPY {table} FROM STDIN") as copy:
            for number in range(rows):
                nulls = luck.choice([0.05, 0.9])
                row = [
                    None if luck.random() < nulls
                    else luck.choice(["infinity", "-infinity"]) if native in INFINITE and luck.random() < 0.1
                    else make(luck)
                    for native, make in COLUMNS.items()
                ]  # fmt: skip
                copy.write_row([number, *row])
        items = ", ".join(expected_expression(native) for native in COLUMNS)
        expected = cursor.execute(f"SELECT {items} FROM {table} ORDER BY id").fetchall()

    for transport in TRANSPORTS.values():
        tap = TapPostgres(config={**source.config, **transport, "temporal_overflow": "null"})
        batches = [page.batch for page in tap.streams[f"public-{table}"].pages()]
        found = pa.Table.from_batches(batches).sort_by("id") if batches else None
        for number, native in enumerate(COLUMNS):
            values = found.column(native).to_pylist() if found else []
            assert [plain(row[number]) for row in expected] == [plain(value) for value in values], native
        for batch in batches:
            batch.validate(full=True)


# --- arrays --------------------------------------------------------------------------------------------

ARRAYS = {
    "two_dimensions": ("ARRAY[[1,2,3],[4,NULL,6]]", [1, 2, 3, 4, None, 6]),
    "six_dimensions": ("ARRAY[[[[[[7],[8]]]]]]", [7, 8]),
    "two_dimensions_of_texts": ("ARRAY[['a',NULL],['','dd']]", ["a", None, "", "dd"]),
    "nothing_but_nulls": ("ARRAY[NULL,NULL]::int8[]", [None, None]),
    "lengths_whose_mean_is_one_of_them": ("ARRAY['bb','a','bb','ccc']", ["bb", "a", "bb", "ccc"]),
    "lengths_that_look_alike": (
        "ARRAY['\\x0000000400000004'::bytea, '\\x', '\\x00000004000000040000000400000004']",
        [bytes.fromhex("0000000400000004"), b"", bytes.fromhex("00000004" * 4)],
    ),
    "bounds": ("'[-3:-1]={1,2,3}'::int2[]", [1, 2, 3]),
    "empty": ("'{}'::uuid[]", []),
    "null": ("NULL::text[]", None),
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
def test_the_elements_of_an_array_arrive_in_order(session, name):
    sql, expected = ARRAYS[name]

    (found,) = raw(session, f"SELECT {sql} FROM generate_series(1, 3)")

    assert found.to_pylist() == [expected] * 3


def test_long_arrays_arrive_whole(session):
    numbers, texts, few = raw(
        session,
        "SELECT array_agg(n), array_agg(repeat('x', n % 7)), array_agg(n) FILTER (WHERE n < g) "
        "FROM generate_series(1, 100000) n, generate_series(1, 2) g GROUP BY g ORDER BY g",
    )

    assert numbers.to_pylist() == [list(range(1, 100_001))] * 2
    assert texts.to_pylist() == [["x" * (n % 7) for n in range(1, 100_001)]] * 2
    assert few.to_pylist() == [None, [1]]


# --- what nobody may see -------------------------------------------------------------------------------

BEHIND_NULL = ["int8", "int4", "float8", "uuid", "date", "timestamptz", "numeric(12,2)", "numeric(38,4)", "bool",
               "text", "bytea", "jsonb", "int8[]", "text[]", "numeric(38,4)[]"]  # fmt: skip

COUNTED = ("date", "timestamptz")
"""From another epoch than Arrow's, which is added to nulls as well."""


@pytest.mark.parametrize("native", BEHIND_NULL)
def test_a_null_holds_nothing_of_its_neighbours(session, native):
    """Beside each null stand bytes of a value that a mask may hide."""
    secret = "secretsecret" * 3

    _, found, _ = raw(
        session,
        f"SELECT '{secret}'::text, NULL::{native}, '{secret}'::text FROM generate_series(1, 50)",
        pa.string(),
        pa.decimal128(38, 4) if native.endswith("[]") else pa.null(),
    )

    assert found.null_count == 50
    storage = found.storage if isinstance(found, pa.ExtensionArray) else found
    for buffer in storage.buffers():
        assert buffer is None or b"secr" not in buffer.to_pybytes()
        assert buffer is None or native in COUNTED or not buffer.to_pybytes().strip(b"\0")


# --- numerics ------------------------------------------------------------------------------------------

PRECISIONS = (1, 2, 3, 4, 5, 8, 9, 12, 15, 16, 17, 18, 19, 20, 22, 27, 28, 31, 32, 33, 36, 37, 38)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_decimals_are_exact_at_the_ends_of_every_scale(session, precision):
    luck = random.Random(precision)
    scales = range(precision + 1)
    rows = []
    for digits in range(precision + 1):
        number = luck.randrange(10**digits)
        rows += [10**digits - 1, 10**digits // 10, number, -number, -(10**digits - 1)]
    items = [f"(n::numeric * 1e-{scale})::numeric({precision},{scale})" for scale in scales]
    kinds = [pa.decimal128(precision, scale) for scale in scales]

    found = raw(
        session,
        f"SELECT {', '.join(items)} FROM unnest('{{NULL,{','.join(map(str, rows))}}}'::numeric[]) n",
        *kinds,
    )

    for scale, kind, array in zip(scales, kinds, found, strict=True):
        assert array.type == kind
        array.validate(full=True)
        assert array.to_pylist() == [None, *(Decimal(f"{row}e-{scale}") for row in rows)]


UNBOUNDED = [
    "0", "0.000", "-0.00001", "10000", "99999999", "100000000", "1e-20", "1e30", "0.0001", "9999.9999", "10000.00010000",
    "123456789012345678", "1000000000000000000", "999999999999999999999", "18446744073709551616",
    "18446744073709551617.0000", "-18446744073709551615", "36893488147419103232", "184467440737095516160000",
    "340282366920938463463374607431768211456", "1e38", "1e40", "1e76", "1e100", "1e131071", "-1e131071", "1e-16383",
    "1e131071 + 1e-16383", "3402823669209384634633746074317682114560000000000", "1.5000000000000000000000000000000000000",
    "'NaN'::numeric", "'Infinity'::numeric", "'-Infinity'::numeric",
]  # fmt: skip
KINDS = [
    pa.decimal128(*each) for each in ((38, 10), (38, 0), (38, 38), (18, 0), (18, 1), (18, 4), (16, 2), (4, 4))
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_numeric_without_precision_is_exact_or_does_not_fit(session, kind):
    """One by one, as a value that does not fit decides for all that come with it."""
    texts = [
        text
        for (text,) in session.execute("SELECT n::text FROM unnest(ARRAY[" + ",".join(UNBOUNDED) + "]) n")
    ]
    for number, text in enumerate(texts):
        value = Decimal(text)
        fits = value.is_finite() and value.adjusted() < kind.precision - kind.scale
        fits = (fits or value == 0) and not text.partition(".")[2][kind.scale :].strip("0")
        (array,) = raw(session, f"SELECT {UNBOUNDED[number]}::numeric", kind)

        decoded = decimal_decoder(kind)(array)

        assert decoded.array.to_pylist() == [value if fits else None], text
        assert (decoded.refused is None) == fits, text
        assert array.type == (kind if fits else pa.string()) or (fits and array.to_pylist() == [text])


def test_a_number_too_long_for_python_to_print_is_a_text(session):
    """Numerics in an array without precision have no cast to text in the server in front of them."""
    (found,) = raw(session, "SELECT ARRAY[1e131071 + 1e-16383, -1e-16383, 0.000, 1e5000]")
    ((expected,),) = session.execute("SELECT ARRAY[1e131071 + 1e-16383, -1e-16383, 0.000, 1e5000]::text[]")

    assert found.to_pylist() == [expected]


# --- since discovery -----------------------------------------------------------------------------------

REFUSED = {
    "int4_to_int8": ("int4", "7", "int8"),
    "int4_to_text": ("int4", "7", "text"),
    "text_to_int4": ("text", "'7'", "int4 USING 7"),
    "varchar_to_jsonb": ("varchar(9)", "'7'", "jsonb USING '7'"),
    "timestamp_to_int8": ("timestamp", "'2020-01-01'", "int8 USING 5"),
    "timestamps_to_int8s": ("timestamp[]", "'{2020-01-01}'", "int8[] USING '{5}'"),
    "int8_to_timestamp": ("int8", "7", "timestamp USING '2020-01-01'"),
    "int4_to_date": ("int4", "7", "date USING '2020-01-01'"),
    "bool_to_int4": ("bool", "true", "int4 USING 5"),
    "jsonb_to_text": ("jsonb", "'{}'", "text USING 'no json'"),
    "decimal_to_double": ("numeric(10,2)", "1.25", "float8 USING 1.2345"),
    "decimals_to_ints": ("numeric(10,2)[]", "'{1.25}'", "int4[] USING '{1}'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_column_of_another_type_than_at_discovery_is_refused(scratch, name):
    before, value, after = REFUSED[name]
    source = scratch(f"CREATE TABLE t (id int PRIMARY KEY, c {before})", f"INSERT INTO t VALUES (1, {value})")
    tap = TapPostgres(config=source.config)
    catalog, stream = tap.catalog_dict, tap.streams["public-t"]
    source.execute(f"ALTER TABLE t ALTER c TYPE {after}")

    with pytest.raises(SkippableError, match=r"column 'c' was .* at discovery, and is .* now\. Run again"):
        list(stream.pages())

    # As it says; a catalog of before is no hindrance.
    again = TapPostgres(config=source.config, catalog=catalog).streams["public-t"]
    assert [page.batch.num_rows for page in again.pages()] == [1]


@pytest.mark.parametrize(("before", "after"), [("text", "bytea USING 'x'"), ("int4", "bool USING true")])
def test_a_replication_key_of_another_type_than_at_discovery_is_told(scratch, before, after):
    source = scratch(f"CREATE TABLE t (id int PRIMARY KEY, c {before})", "INSERT INTO t VALUES (1, '7')")
    options = {"replication_method": "INCREMENTAL", "replication_key": "c"}
    tap = TapPostgres(config={**source.config, "streams": {"public-t": options}})
    source.execute(f"ALTER TABLE t ALTER c TYPE {after}")

    with pytest.raises(SkippableError, match="Run again if the type of a column changed"):
        list(tap.streams["public-t"].pages())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_decimal_that_grew_arrives_exactly_or_is_refused(source, transport):
    source.execute(
        "DROP TABLE IF EXISTS grown",
        "CREATE TABLE grown (id int PRIMARY KEY, c numeric(10,2))",
        "INSERT INTO grown VALUES (1, 1.25)",
    )
    stream = TapPostgres(config={**source.config, **TRANSPORTS[transport]}).streams["public-grown"]
    source.execute("ALTER TABLE grown ALTER c TYPE numeric(12,4)")

    assert [row for page in stream.pages() for row in page.batch.column("c").to_pylist()] == [Decimal("1.25")]

    source.execute("UPDATE grown SET c = 1.2345")
    with pytest.raises(DataError, match="1 of the last 1 values of column 'c'"):
        list(stream.pages())


def test_a_column_that_is_gone_since_discovery_is_told(scratch):
    source = scratch("CREATE TABLE t (id int PRIMARY KEY, c int)", "INSERT INTO t VALUES (1, 2)")
    stream = TapPostgres(config=source.config).streams["public-t"]
    source.execute("ALTER TABLE t DROP c")

    with pytest.raises(SkippableError, match="gone since discovery"):
        list(stream.pages())


@pytest.mark.parametrize("array_as", ["list", "json"])
def test_the_length_of_rows_is_estimated_for_every_type(scratch, array_as):
    scalars = ("text", "bytea", "varchar", "varchar(5)", "char(5)")
    types = [f"{native}{array}" for native in scalars for array in ("", "[]")]
    columns = ", ".join(f"c{number} {native}" for number, native in enumerate(types))
    source = scratch(f"CREATE TABLE t (id int PRIMARY KEY, {columns})", "INSERT INTO t VALUES (1)")

    pages = list(TapPostgres(config={**source.config, "array_as": array_as}).streams["public-t"].pages())

    assert [page.batch.num_rows for page in pages] == [1]


# --- in order ------------------------------------------------------------------------------------------

ORDERED = {
    "numeric": ("numeric", ["9", "10", "100"], ["99", "101", "1000"], ["100", "101", "1000"]),
    "enum": ("mood", ["zero", "one", "two"], ["one", "a_three"], ["two", "a_three"]),
}


def ordered_by_k(source):
    """The catalog of one table, with its replication key."""
    catalog = TapPostgres(config=source.config).catalog_dict
    catalog["streams"] = [entry for entry in catalog["streams"] if entry["tap_stream_id"] == "public-ordered"]
    (root,) = [each["metadata"] for each in catalog["streams"][0]["metadata"] if not each["breadcrumb"]]
    catalog["streams"][0]["replication_method"] = "INCREMENTAL"
    root |= {"selected": True, "replication-method": "INCREMENTAL", "replication-key": "k"}
    catalog["streams"][0]["replication_key"] = "k"
    return catalog


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", ORDERED)
def test_a_replication_key_that_is_read_as_text_keeps_its_own_order(source, sync, name, transport):
    native, first, second, expected = ORDERED[name]
    source.execute(
        "DROP TABLE IF EXISTS ordered",
        "DROP TYPE IF EXISTS mood",
        "CREATE TYPE mood AS ENUM ('zero', 'one', 'two', 'a_three')",
        f"CREATE TABLE ordered (id serial, k {native})",
        *(f"INSERT INTO ordered (k) VALUES ('{key}')" for key in reversed(first)),
    )
    config = {**TRANSPORTS[transport], "catalog": ordered_by_k(source), "lookback_seconds": 0}

    before = sync(source, **config)
    source.execute(*(f"INSERT INTO ordered (k) VALUES ('{key}')" for key in reversed(second)))
    after = sync(source, state=before.state, **config)

    assert [record["k"] for record in before.records()] == first
    assert [record["k"] for record in after.records()] == expected
