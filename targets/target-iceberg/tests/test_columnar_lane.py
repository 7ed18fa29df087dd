"""Columns of Arrow and Parquet files from any producer: exactly what a RECORD line would have become."""

import io
import json
import math
import subprocess
import sys
from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from icetap.errors import DataError
from icetap.types import schema_from_singer
from target_iceberg.decoding import columnar_files
from target_iceberg.decoding.columnar_files import read_columns
from target_iceberg.decoding.decode import StreamDecoder
from target_iceberg.decoding.reader import Run

UTC_MICROSECONDS = pa.timestamp("us", tz="UTC")
DECIMAL = {
    "type": "number",
    "x-sql-datatype": "decimal",
    "x-sql-datatype-properties": {"precision": 10, "scale": 2},
}
INSTANT = {"type": "string", "format": "date-time"}
LOCAL = {**INSTANT, "x-sql-datatype": "timestamp"}
PROPERTIES = {
    "id": {"type": "integer"},
    "u": {"type": "string", "format": "uuid"},
    "d": DECIMAL,
    "t": INSTANT,
    "o": {"type": "object", "properties": {"a": {"type": "integer"}}},
}


def decoder_of(properties: dict, *, keys=("id",)) -> StreamDecoder:
    return StreamDecoder("s", schema_from_singer({"properties": properties}, key_properties=keys))


@pytest.fixture
def decoder() -> StreamDecoder:
    return decoder_of(PROPERTIES)


def written(table: pa.Table | pa.RecordBatch, encoding: str, **options) -> io.BytesIO:
    table = pa.Table.from_batches([table]) if isinstance(table, pa.RecordBatch) else table
    file = io.BytesIO()
    if encoding == "parquet":
        pq.write_table(table, file, **options)
    else:
        with pa.ipc.new_file(file, table.schema, **options) as writer:
            writer.write_table(table)
    file.seek(0)
    return file


def decode(decoder: StreamDecoder, file: io.BytesIO, encoding: str, **options) -> list:
    return list(decoder.decode_columns(read_columns(file, encoding=encoding), **options))


def one_column(values: pa.Array, declared: dict, encoding: str, **options):
    """Decode a column `c`; return its values, how many lost digits, and why rows were refused."""
    decoder = decoder_of({"c": declared}, keys=())
    (found,) = decode(decoder, written(pa.table({"c": values}), encoding, **options), encoding)
    return (
        found.batch.column("c").to_pylist(),
        found.lossy.get("c", 0),
        [(row.line, row.reason) for row in found.rejected],
    )


def local(*parts: int) -> datetime:
    """A moment without a zone, which is meant here."""
    return datetime(*parts)  # noqa: DTZ001


both = pytest.mark.parametrize("encoding", ["arrow", "parquet"])


@both
def test_a_file_is_given_piece_by_piece_in_the_declared_types(encoding, decoder):
    first = pa.record_batch(
        {
            "id": pa.array([1, 2], pa.int32()),
            "u": pa.array([UUID(int=1).bytes, None], pa.binary(16)),
            "d": pa.array([Decimal("1.1"), None], pa.decimal128(5, 1)),
            "t": pa.array([datetime(2024, 1, 1, tzinfo=UTC), None], pa.timestamp("ms", tz="Europe/Berlin")),
            "o": pa.array([{"a": 1}, None], pa.struct([("a", pa.int64())])),
        }
    )
    second = first[1:].set_column(0, "id", pa.array([3], pa.int32()))

    decoded = decode(decoder, written(pa.Table.from_batches([first, second]), encoding), encoding, version=7)

    assert [one.batch.num_rows for one in decoded] == ([2, 1] if encoding == "arrow" else [3])
    assert {one.version for one in decoded} == {7}
    assert all(one.batch.schema == decoder.schema for one in decoded)
    assert decoded[0].batch.to_pylist()[0] == {
        "id": 1, "u": UUID(int=1), "d": Decimal("1.10"), "t": datetime(2024, 1, 1, tzinfo=UTC), "o": {"a": 1},
    }  # fmt: skip
    last = {"id": 3, "u": None, "d": None, "t": None, "o": None}
    assert decoded[-1].batch.to_pylist()[-1] == last
    assert decoded[0].deleted is None


@both
@pytest.mark.parametrize(
    "marks",
    [
        pa.array([None, datetime(2024, 1, 1, tzinfo=UTC)], UTC_MICROSECONDS),
        pa.array([None, "2024-01-01T00:00:00Z"]),
    ],
    ids=["instant", "text"],
)
def test_deletes_are_marked_and_missing_columns_are_null(marks, encoding, decoder):
    file = written(pa.table({"id": [1, 2], "_sdc_deleted_at": marks}), encoding)

    (decoded,) = decode(decoder, file, encoding)

    assert decoded.batch.column("o").null_count == 2
    assert decoded.deleted.to_pylist() == [False, True]
    assert decoded.deleted_at.to_pylist() == [None, datetime(2024, 1, 1, tzinfo=UTC)]
    assert "_sdc_deleted_at" not in decoded.batch.schema.names


@both
def test_rows_that_no_table_can_hold_are_refused_by_their_number(encoding, decoder):
    instants = pa.array([0, 253_402_300_800_000_000, 0, -62_135_596_800_000_001], pa.int64()).view(
        UTC_MICROSECONDS
    )
    table = pa.table({"id": pa.array([1, 2, None, 4]), "t": instants})

    (decoded,) = decode(decoder, written(table, encoding), encoding)

    assert decoded.batch.column("id").to_pylist() == [1]
    assert [(one.line, one.column, one.reason) for one in decoded.rejected] == [
        (2, "t", "a year outside 1 to 9999"),
        (3, "id", "a key that is missing or null"),
        (4, "t", "a year outside 1 to 9999"),
    ]
    assert json.loads(decoded.rejected[0].raw) == {"id": 2, "t": "10000-01-01T00:00:00.000000Z"}


FOREIGN = [
    # name, values, declared, wanted, lossy, refused rows
    ("wide-integer", pa.array([1, 2**63], pa.uint64()), {"type": "integer"}, [1], 0, [2]),
    ("small-unsigned", pa.array([0, 255], pa.uint8()), {"type": "integer"}, [0, 255], 0, []),
    ("whole-doubles", pa.array([1.0, -0.0, 2.5]), {"type": "integer"}, [1, 0], 0, [3]),
    ("text-for-integer", pa.array(["1"]), {"type": "integer"}, [], 0, [1]),
    ("integer-for-double", pa.array([1, 2**53 + 1]), {"type": "number"}, [1.0, float(2**53)], 1, []),
    ("half-and-single", pa.array([1.5], pa.float16()), {"type": "number"}, [1.5], 0, []),
    ("decimal-for-double", pa.array([Decimal("1.10")]), {"type": "number"}, [1.1], 0, []),
    ("double-for-decimal", pa.array([1.1, 1.125]), DECIMAL, [Decimal("1.10")], 0, [2]),
    ("scale-that-fits", pa.array([Decimal("1.1000"), Decimal("1.1234")]), DECIMAL, [Decimal("1.10")], 0, [2]),
    ("integer-for-decimal", pa.array([7, 10**9]), DECIMAL, [Decimal("7.00")], 0, [2]),
    ("too-many-digits", pa.array([Decimal(10**8)], pa.decimal128(38, 0)), DECIMAL, [], 0, [1]),
    (
        "small-decimal",
        pa.array([Decimal("1.5")]).cast(pa.decimal32(5, 1)),
        DECIMAL,
        [Decimal("1.50")],
        0,
        [],
    ),
    (
        "wide-decimal",
        pa.array([Decimal(1), Decimal(10**40)], pa.decimal256(50, 0)),
        DECIMAL,
        [Decimal(1)],
        0,
        [2],
    ),
    (
        "nanoseconds",
        pa.array([1_000, 1_999, -1], pa.timestamp("ns", "UTC")),
        INSTANT,
        [
            datetime(1970, 1, 1, 0, 0, 0, 1, UTC),
            datetime(1970, 1, 1, 0, 0, 0, 1, UTC),
            datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
        ],
        2,
        [],
    ),
    (
        "no-zone-is-utc",
        pa.array([local(2024, 1, 1)], pa.timestamp("ms")),
        INSTANT,
        [datetime(2024, 1, 1, tzinfo=UTC)],
        0,
        [],
    ),
    ("zone-for-local", pa.array([0], UTC_MICROSECONDS), LOCAL, [], 0, [1]),
    (
        "local-for-local",
        pa.array([local(2024, 1, 1)], pa.timestamp("s")),
        LOCAL,
        [local(2024, 1, 1)],
        0,
        [],
    ),
    (
        "seconds-beyond",
        pa.array([0, 2**62], pa.timestamp("s", "UTC")),
        INSTANT,
        [datetime(1970, 1, 1, tzinfo=UTC)],
        0,
        [2],
    ),
    (
        "text-for-instant",
        pa.array(["2024-01-01T02:00:00+02:00", "soon"]),
        INSTANT,
        [datetime(2024, 1, 1, tzinfo=UTC)],
        0,
        [2],
    ),
    (
        "text-for-date",
        pa.array(["2024-02-29", "2023-02-29"]),
        {"type": "string", "format": "date"},
        [date(2024, 2, 29)],
        0,
        [2],
    ),
    (
        "time-of-nanoseconds",
        pa.array([1_001], pa.time64("ns")),
        {"type": "string", "format": "time"},
        [time(0, 0, 0, 1)],
        1,
        [],
    ),
    ("seconds-of-a-day", pa.array([1], pa.time32("s")), {"type": "string", "format": "time"}, [time(0, 0, 1)], 0, []),
    ("milliseconds-date", pa.array([86_400_000], pa.date64()), {"type": "string", "format": "date"}, [date(1970, 1, 2)], 0, []),
    ("dictionary", pa.array(["a", None, "a"]).dictionary_encode(), {"type": "string"}, ["a", None, "a"], 0, []),
    ("large-text", pa.array(["ü"], pa.large_string()), {"type": "string"}, ["ü"], 0, []),
    ("text-view", pa.array(["x" * 20], pa.string_view()), {"type": "string"}, ["x" * 20], 0, []),
    ("number-for-text", pa.array([1]), {"type": "string"}, [], 0, [1]),
    ("number-or-text", pa.array([1.5]), {"type": ["string", "number"]}, ["1.5"], 0, []),
    ("uuid-text", pa.array([str(UUID(int=7)), "x"]), {"type": "string", "format": "uuid"}, [UUID(int=7)], 0, [2]),
    ("uuid-bytes", pa.array([UUID(int=7).bytes]), {"type": "string", "format": "uuid"}, [UUID(int=7)], 0, []),
    ("bytes", pa.array([b"\0\xff"], pa.binary(2)), {"type": "string", "contentEncoding": "base64"}, [b"\0\xff"], 0, []),
    ("bytes-in-base64", pa.array(["AP8=", "?"]), {"type": "string", "contentEncoding": "base64"}, [b"\0\xff"], 0, [2]),
    ("object-as-json", pa.array([{"a": [1, None]}]), {"type": "object"}, ['{"a":[1,null]}'], 0, []),
    ("nan-as-json", pa.array([math.nan, 1.0]), {}, [None, "1"], 1, []),
    ("nan-for-integer", pa.array([math.nan]), {"type": "integer"}, [], 0, [1]),
    ("infinity-for-double", pa.array([math.inf]), {"type": "number"}, [math.inf], 0, []),
    ("large-list", pa.array([[1], None], pa.large_list(pa.int8())), {"type": "array", "items": {"type": "integer"}}, [[1], None], 0, []),
    ("list-of-doubles", pa.array([[1.0], [1.5]]), {"type": "array", "items": {"type": "integer"}}, [[1]], 0, [2]),
    ("fixed-list", pa.array([[1, 2]], pa.list_(pa.int64(), 2)), {"type": "array", "items": {"type": "integer"}}, [[1, 2]], 0, []),
    ("map", pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())), {"type": "object", "additionalProperties": {"type": "integer"}}, [[("k", 1)]], 0, []),
    ("struct-for-map", pa.array([{"k": 1}]), {"type": "object", "additionalProperties": {"type": "integer"}}, [[("k", 1)]], 0, []),
    ("nothing-but-null", pa.nulls(2), {"type": "integer"}, [None, None], 0, []),
]  # fmt: skip


@both
@pytest.mark.parametrize(
    ("values", "declared", "wanted", "lossy", "refused"), [case[1:] for case in FOREIGN], ids=[case[0] for case in FOREIGN]
)  # fmt: skip
def test_a_column_of_another_producer_becomes_what_it_says(
    values, declared, wanted, lossy, refused, encoding
):
    if encoding == "parquet":
        values = _writable(values)
        if pa.types.is_timestamp(values.type) and values.type.unit == "s" and refused == [2]:
            pytest.skip("Parquet has no seconds, and its writer no place for so many milliseconds")

    found, lost, rejected = one_column(values, declared, encoding)

    assert (found, lost, [line for line, _ in rejected]) == (wanted, lossy, refused)


def _writable(values: pa.Array) -> pa.Array:
    """Parquet has no half doubles of its own, small decimals or views in pyarrow's writer."""
    for kind, other in ((pa.types.is_string_view, pa.string()), (pa.types.is_decimal32, pa.decimal128(5, 1))):
        if kind(values.type):
            return values.cast(other)
    return values


@pytest.mark.parametrize(
    ("values", "wanted", "lossy"),
    [
        ([local(2024, 1, 1, 0, 0, 0, 1)], [datetime(2024, 1, 1, 0, 0, 0, 1, UTC)], 0),
        ([local(9999, 12, 31)], [datetime(9999, 12, 31, tzinfo=UTC)], 0),
        ([local(1, 1, 1), local(2024, 1, 1)], [datetime(1, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)], 0),
    ],
    ids=["microsecond", "far-future", "far-past"],
)  # fmt: skip
def test_instants_in_int96_are_exact_over_all_years(values, wanted, lossy):
    column = pa.array(values, pa.timestamp("us"))
    assert one_column(column, INSTANT, "parquet", use_deprecated_int96_timestamps=True) == (wanted, lossy, [])


def test_nanoseconds_in_int96_are_counted():
    column = pa.array([1_500, 2_000], pa.timestamp("ns"))
    _, lossy, _ = one_column(column, INSTANT, "parquet", use_deprecated_int96_timestamps=True)
    assert lossy == 1


@both
def test_an_undeclared_column_is_found_with_its_own_type_and_widens_as_files_differ(encoding):
    decoder = decoder_of({"id": {"type": "integer"}})
    files = [
        {"id": [1], "x": pa.array([1], pa.int8()), "at": pa.array([0], UTC_MICROSECONDS), "n": pa.nulls(1)},
        {"id": [2], "x": [1.5], "at": pa.array([0], pa.timestamp("ns", "UTC")), "o": [{"a": 1}]},
        {"id": [3], "x": ["t"], "n": [True]},
    ]

    found = [decode(decoder, written(pa.table(columns), encoding), encoding)[0] for columns in files]

    assert [[one.name for one in each.new_fields] for each in found] == [["x", "at"], ["x", "o"], ["x", "n"]]
    assert [each.batch.schema.field("x").type for each in found] == [pa.int64(), pa.float64(), pa.string()]
    assert found[2].batch.column("x").to_pylist() == ["t"]
    assert found[1].batch.schema.field("at").type == UTC_MICROSECONDS
    assert found[1].batch.column("o").to_pylist() == ['{"a":1}']


@both
def test_a_member_that_nobody_declared_is_found_in_objects(encoding, decoder):
    table = pa.table({"id": [1, 2], "o": [{"a": 1, "b": {"c": "x"}}, None]})

    (found,) = decode(decoder, written(table, encoding), encoding)

    assert [one.name for one in found.new_fields] == ["o"]
    ((one, nothing),) = [found.batch.column("o").to_pylist()]
    assert (one["a"], json.loads(one["b"]), nothing) == (1, {"c": "x"}, None)


@both
def test_text_that_is_not_utf8_costs_its_row_only(encoding):
    decoder = decoder_of({"id": {"type": "integer"}, "s": {"type": "string"}})
    texts = pa.array(["fine", "VALID", "good"])
    options = {"compression": "none", "write_statistics": False} if encoding == "parquet" else {}
    file = written(pa.table({"id": [1, 2, 3], "s": texts}), encoding, **options)
    spoiled = io.BytesIO(file.getvalue().replace(b"VALID", b"V\xff\xfe\xfdD"))

    (found,) = decode(decoder, spoiled, encoding)

    assert found.batch.column("id").to_pylist() == [1, 3]
    assert [(one.line, one.column, one.reason) for one in found.rejected] == [
        (2, "s", "text that is not UTF-8")
    ]


@pytest.mark.parametrize(
    "content", [b"", b"ARROW1", b"PAR1", b"not a file of columns", None], ids=["empty", "magic", "parquet-magic", "text", "cut"]
)  # fmt: skip
@both
def test_a_damaged_file_is_refused_and_does_not_end_the_process(content, encoding, decoder):
    whole = written(pa.table({"id": list(range(10_000))}), encoding).getvalue()

    with pytest.raises(DataError, match="BATCH file is"):
        decode(decoder, io.BytesIO(whole[:-200] if content is None else content), encoding)


@both
def test_damage_anywhere_in_a_file_is_an_error_or_other_values_but_never_a_crash(encoding):
    """Each spoiled file is read in a process of its own, so that a crash would be seen."""
    program = f"""
import io, random, sys
sys.path.insert(0, {str(__import__("pathlib").Path(__file__).parent)!r})
from test_columnar_lane import *
table = pa.table({{"id": list(range(2000)), "s": [str(i % 7) for i in range(2000)]}})
whole = bytearray(written(table, "{encoding}").getvalue())
rng = random.Random(4)
for _ in range(150):
    spoiled = bytearray(whole)
    for _ in range(3):
        spoiled[rng.randrange(len(spoiled))] = rng.randrange(256)
    try:
        decode(decoder_of({{"id": {{"type": "integer"}}, "s": {{"type": "string"}}}}), io.BytesIO(bytes(spoiled)), "{encoding}")
    except DataError:
        pass
print("alive")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "alive", done.stderr[-2000:]


def test_a_file_that_is_something_else_is_named():
    arrow, parquet = (written(pa.table({"id": [1]}), encoding) for encoding in ("arrow", "parquet"))
    with pytest.raises(DataError, match="an Arrow file, but its message says 'parquet'"):
        list(read_columns(arrow, encoding="parquet"))
    with pytest.raises(DataError, match="Parquet, but its message says 'arrow'"):
        list(read_columns(parquet, encoding="arrow"))
    with pytest.raises(DataError, match="a gzip file, but its message says 'parquet'"):
        list(read_columns(io.BytesIO(b"\x1f\x8b\x08" + b"\0" * 20), encoding="parquet"))


def test_an_arrow_stream_is_read_like_an_arrow_file(decoder):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, pa.schema([("id", pa.int64())])) as writer:
        writer.write_table(pa.table({"id": [1, 2]}))
    sink.seek(0)
    (found,) = decode(decoder, sink, "arrow")
    assert found.batch.column("id").to_pylist() == [1, 2]


def test_a_type_that_no_column_holds_is_named(decoder):
    file = written(pa.table({"id": [1], "x": pa.array([1], pa.duration("us"))}), "arrow")
    with pytest.raises(DataError, match=r"column 'x' of a BATCH file is duration\[us\]"):
        decode(decoder, file, "arrow")


def test_a_column_twice_is_refused(decoder):
    batch = pa.record_batch([pa.array([1]), pa.array([2])], names=["id", "id"])
    with pytest.raises(DataError, match="column 'id' twice"):
        decode(decoder, written(batch, "arrow"), "arrow")


def test_pieces_stay_small_however_often_a_text_is_repeated(decoder):
    text = "x" * 100_000
    table = pa.table({"id": list(range(600)), "s": pa.array([text] * 600).dictionary_encode()})
    file = written(table, "parquet")
    assert len(file.getvalue()) < 200_000

    pieces = list(read_columns(file, encoding="parquet"))

    assert sum(piece.batch.num_rows for piece in pieces) == 600
    assert max(piece.batch.nbytes for piece in pieces) <= 1.1 * columnar_files.PIECE_BYTES


def test_a_small_file_that_unpacks_to_gigabytes_is_refused(decoder, monkeypatch):
    monkeypatch.setattr(columnar_files, "_SUSPICIOUS_BYTES", 2**20)
    table = pa.table({"id": [1], "s": ["a" * 2**24]})
    with pytest.raises(
        DataError, match=r"column 's' of a BATCH file unpacks from [\d,]+ to 16,777,\d+ bytes"
    ):
        list(
            read_columns(
                written(table, "parquet", compression="zstd", use_dictionary=False), encoding="parquet"
            )
        )


def test_a_list_that_repeats_one_value_a_billion_times_is_refused(decoder, monkeypatch):
    monkeypatch.setattr(columnar_files, "_SUSPICIOUS_BYTES", 2**20)
    table = pa.table({"id": [1], "l": pa.array([[7] * 1_000_000])})
    with pytest.raises(DataError, match=r"column 'l\.list\.element' of a BATCH file unpacks"):
        list(read_columns(written(table, "parquet"), encoding="parquet"))


def test_both_lanes_agree_on_every_value():
    """A file's rows and the same rows as RECORD lines become the same batch."""
    properties = {"id": {"type": "integer"}, "n": {"type": "number"}, "t": INSTANT, "j": {}, "d": DECIMAL}
    rows = [
        {"id": 1, "n": 0.1, "t": "2024-01-01T00:00:00Z", "j": {"a": 1.25}, "d": 3.5},
        {"id": 2, "n": None, "t": None, "j": None, "d": None},
        {"id": 3, "n": 1e300, "t": "1969-12-31T23:59:59.999999+00:00", "j": {"a": 2.0}, "d": 0.01},
    ]
    lines = b"".join(json.dumps({"record": row}).encode() + b"\n" for row in rows)
    (sent,) = decoder_of(properties).decode(Run("s", lines, len(rows), 1))

    (filed,) = decode(decoder_of(properties), written(pa.Table.from_pylist(rows), "parquet"), "parquet")

    assert filed.batch.drop_columns(["j"]).equals(sent.batch.drop_columns(["j"]))
    assert [json.loads(one) for one in filed.batch.column("j").drop_null().to_pylist()] == [
        {"a": 1.25},
        {"a": 2},
    ]
