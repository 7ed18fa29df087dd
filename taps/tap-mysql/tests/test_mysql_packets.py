"""The wire: packets in any pieces, rows of any shape, and ends that are none."""

from __future__ import annotations

import contextlib
import datetime as dt
import random
import struct

import pyarrow as pa
import pytest

from icetap.sql.row_bytes import RowFormatError
from tap_mysql import packets
from tap_mysql.packets import CutOffError, PacketReader
from tap_mysql.rows import MOMENT, TEXT, columns

END = b"\xfe\x00\x00\x22\x00"


class Pieces:
    """A socket that gives what it has in pieces of given sizes, then hangs up."""

    def __init__(self, data, sizes):
        self._data, self._sizes = data, sizes

    def readinto(self, buffer):
        wanted = min(len(buffer), next(self._sizes))
        piece, self._data = self._data[:wanted], self._data[wanted:]
        buffer[: len(piece)] = piece
        return len(piece)


def sizes_of(number):
    return iter(lambda: number, None)


def framed(payloads, *, first=0):
    """Put headers in front, and cut what is too large for one packet."""
    out, number = b"", first
    for payload in payloads:
        left = payload
        while True:
            part, left = left[: packets.LARGEST_PACKET], left[packets.LARGEST_PACKET :]
            out += struct.pack("<I", len(part) | (number & 0xFF) << 24) + part
            number += 1
            if len(part) < packets.LARGEST_PACKET:
                break
    return out


def counted(octets):
    size = len(octets)
    if size < 251:
        return bytes([size]) + octets
    if size < 2**16:
        return b"\xfc" + struct.pack("<H", size) + octets
    if size < 2**24:
        return b"\xfd" + struct.pack("<I", size)[:3] + octets
    return b"\xfe" + struct.pack("<Q", size) + octets


class Encoded(bytes):
    """A value as it is on the wire."""


def row(*values):
    """Encode a row: None, int as int64, bytes as text, a tuple as a moment's fields."""
    bitmap, body = bytearray((len(values) + 9) // 8), b""
    for number, value in enumerate(values, start=2):
        if value is None:
            bitmap[number // 8] |= 1 << number % 8
        elif isinstance(value, int):
            body += struct.pack("<q", value)
        elif isinstance(value, Encoded):
            body += value
        elif isinstance(value, bytes):
            body += counted(value)
        else:
            body += moment(*value)
    return b"\0" + bytes(bitmap) + body


def moment(*fields):
    layouts = {0: "", 3: "<HBB", 6: "<HBBBBB", 7: "<HBBBBBI"}
    octets = struct.pack(layouts[len(fields)], *fields)
    return bytes([len(octets)]) + octets


def read(data, types, *, piece=10_000, rows=100, size=1 << 20):
    reader = PacketReader(Pieces(data, sizes_of(piece)), number=0)
    found = [columns(block, types) for block in reader.blocks(rows=rows, size=size)]
    return reader, [[value for block in found for value in block[n].to_pylist()] for n in range(len(types))]


@pytest.mark.parametrize("piece", [1, 3, 7, 4096])
def test_rows_come_whole_whatever_the_pieces(piece):
    rows = [row(number, b"x" * number, None if number % 3 else b"") for number in range(300)]
    reader, (numbers, texts, others) = read(
        framed([*rows, END]), [pa.int64(), TEXT, TEXT], piece=piece, rows=7
    )

    assert numbers == list(range(300))
    assert [len(text) for text in texts] == list(range(300))
    assert others == [None if number % 3 else b"" for number in range(300)]
    assert reader.last == END
    assert not reader.is_broken_off


@pytest.mark.parametrize("seed", range(50))
def test_random_rows_in_random_pieces_and_blocks(seed):
    chance = random.Random(seed)
    rows = [b"\0" + chance.randbytes(chance.choice([0, 1, 3, 60, 700])) for _ in range(chance.randrange(80))]
    first = chance.randrange(256)
    data = framed([*rows, END], first=first)
    sizes = iter(lambda: chance.choice([1, 2, 3, 5, 17, 100, 5000]), None)
    is_cut = chance.random() < 0.2
    reader = PacketReader(
        Pieces(data[: chance.randrange(len(data))] if is_cut else data, sizes), number=first
    )

    found = []
    with pytest.raises(CutOffError) if is_cut else contextlib.nullcontext():
        for block in reader.blocks(
            rows=chance.choice([1, 2, 7, 1000]), size=chance.choice([1, 10, 100, 3000])
        ):
            found += [
                bytes(block.octets[begin:end]) for begin, end in zip(block.begins, block.ends, strict=True)
            ]

    assert found == (rows[: len(found)] if is_cut else rows)
    assert reader.last == (None if is_cut else END)


@pytest.mark.parametrize("length", [0, 250, 251, 252, 255, 256, 65_535, 65_536, 1_000_000])
def test_texts_of_any_length(length):
    _, (before, text, after) = read(
        framed([row(1, b"t" * length, 2), row(3, None, 4), END]), [pa.int64(), TEXT, pa.int64()]
    )

    assert (before, [None if t is None else len(t) for t in text], after) == ([1, 3], [length, None], [2, 4])


@pytest.mark.parametrize("length", [2**24 - 20, 2**24 - 12, 2**24 - 11, 2**24, 2 * 2**24 + 5])
def test_rows_larger_than_a_packet_are_put_together(length):
    text = random.Random(1).randbytes(1000) * (length // 1000 + 1)
    text = text[:length]
    _, (numbers, texts, _) = read(
        framed([row(1, b"a", 1), row(2, text, 2), row(3, b"c", 3), END]),
        [pa.int64(), TEXT, pa.int64()],
        piece=1 << 19,
    )

    assert numbers == [1, 2, 3]
    assert texts == [b"a", text, b"c"]


MOMENTS = [
    pytest.param((), None, True, id="nothing-is-the-zero-date"),
    pytest.param((1970, 1, 1), 0, False, id="date"),
    pytest.param((1, 1, 1), -719_162 * 86_400_000_000, False, id="first-day"),
    pytest.param((9999, 12, 31, 23, 59, 59, 999_999), 253_402_300_799_999_999, False, id="last"),
    pytest.param((1969, 12, 31, 23, 59, 59), -1_000_000, False, id="before-the-epoch"),
    pytest.param((2024, 2, 29), 1_709_164_800_000_000, False, id="leap-day"),
    pytest.param((2023, 2, 29), None, True, id="no-leap-day"),
    pytest.param((2024, 0, 10, 10, 0, 0), None, True, id="no-month"),
    pytest.param((0, 0, 0), None, True, id="zeros"),
]


@pytest.mark.parametrize(("fields", "micros", "is_invalid"), MOMENTS)
def test_moments(fields, micros, is_invalid):
    _, (values, after) = read(framed([row(fields, 7), row(None, 8), END]), [MOMENT, pa.int64()])

    assert values == [{"micros": micros or 0, "is_invalid": is_invalid}, None]
    assert after == [7, 8]


def test_moments_of_all_lengths_beside_each_other():
    chance = random.Random(5)

    def fields():
        day = (
            chance.choice([0, 1, 999, 1600, 1900, 2000, 2024, 9999]),
            chance.randrange(14),
            chance.randrange(33),
        )
        time = (chance.randrange(24), chance.randrange(60), chance.randrange(60))
        return chance.choice([None, (), day, (*day, *time), (*day, *time, chance.randrange(1_000_000))])

    def expected(given):
        if given is None:
            return None
        try:
            since = dt.datetime(*given, tzinfo=dt.UTC) - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
        except (TypeError, ValueError):
            return {"micros": 0, "is_invalid": True}
        return {"micros": since // dt.timedelta(microseconds=1), "is_invalid": False}

    given = [fields() for _ in range(5_000)]
    _, (values, after) = read(
        framed([*(row(each, number) for number, each in enumerate(given)), END]), [MOMENT, pa.int64()]
    )

    assert values == [expected(each) for each in given]
    assert after == list(range(len(given)))


NUMBERS = {"int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I"} | {
    "int64": "q", "uint64": "Q", "float": "f", "double": "d"
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_any_width_between_nulls(name):
    octets = random.Random(3).randbytes(8 * 400)
    encoding = struct.Struct("<" + NUMBERS[name])
    given = [
        None if number % 5 == 0 else encoding.unpack_from(octets, 8 * number)[0] for number in range(400)
    ]
    rows = [
        row(None if value is None else Encoded(encoding.pack(value)), number)
        for number, value in enumerate(given)
    ]
    _, (values, after) = read(framed([*rows, END]), [pa.type_for_alias(name), pa.int64()])

    assert [str(value) for value in values] == [str(value) for value in given]  # NaN is not itself
    assert after == list(range(400))


@pytest.mark.parametrize(
    "types", [[TEXT], [TEXT, pa.int64(), pa.int64()], [pa.int64(), TEXT], [MOMENT, MOMENT]]
)
def test_rows_of_other_columns_are_refused(types):
    with pytest.raises(RowFormatError):
        read(framed([row(b"abc", 2), row(b"", 3), END]), types)


def test_a_null_column_takes_no_place():
    _, (nulls, numbers) = read(framed([row(None, 5), END]), [pa.null(), pa.int64()])

    assert (nulls, numbers) == ([None], [5])


def test_random_rows_come_as_they_were():
    chance = random.Random(7)

    def value(kind):
        if chance.random() < 0.2:
            return None
        if kind == "number":
            return chance.randrange(-(2**63), 2**63)
        return chance.randbytes(chance.choice([0, 1, 10, 250, 251, 300, 70_000]))

    kinds = [chance.choice(["number", "text"]) for _ in range(20)]
    rows = [[value(kind) for kind in kinds] for _ in range(200)]
    types = [pa.int64() if kind == "number" else TEXT for kind in kinds]
    _, found = read(framed([*(row(*each) for each in rows), END]), types, piece=5_000, rows=13)

    assert found == [list(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("kept", [0, 2, 4, 10, 25, 26, 29])
def test_a_connection_that_ends_is_never_the_end(kept):
    data = framed([row(1, b"abc"), row(2, b"def"), END])

    with pytest.raises(CutOffError):
        read(data[:kept], [pa.int64(), TEXT])


def test_the_server_s_error_is_not_the_end():
    error = b"\xff\x25\x05#70100Query execution was interrupted"
    reader, (numbers,) = read(framed([row(1), error]), [pa.int64()])

    assert numbers == [1]
    assert reader.is_broken_off


def test_a_missing_packet_is_noticed():
    data = framed([row(1), row(2)]) + framed([row(4), END], first=3)

    with pytest.raises(CutOffError, match="packet 3 came where 2 was expected"):
        read(data, [pa.int64()])


def test_a_missing_part_of_a_large_row_is_noticed():
    data = framed([row(b"x" * 2**24), END])
    second = packets.HEADER + packets.LARGEST_PACKET
    data = data[:second] + framed([b"y" * 100], first=9)

    with pytest.raises(CutOffError, match="packet 9 came where 1 was expected"):
        read(data, [TEXT], piece=1 << 20)


def test_numbers_of_packets_begin_again_after_255():
    _, (numbers,) = read(framed([*(row(n) for n in range(1000)), END]), [pa.int64()], rows=300)

    assert numbers == list(range(1000))
