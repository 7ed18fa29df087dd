"""What only MySQL writes, from bytes built by its documentation: no MySQL server runs here."""

from __future__ import annotations

import struct
import zlib
from decimal import Decimal

import pyarrow as pa
import pytest

from icetap.errors import ConfigurationError, DataError, RetriableError, StateError
from tap_mysql.log_based import protocol
from tap_mysql.log_based.binary_json import json_text
from tap_mysql.log_based.cells import decimals
from tap_mysql.log_based.positions import Coordinates, MySQLGtid
from tap_mysql.log_based.protocol import Event, EventStream
from tap_mysql.log_based.row_events import RowDecoder
from tap_mysql.log_based.transactions import LoggedRows, TransactionReader, Waiting

SOURCE = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
VERSION = b"\x04\x00" + b"8.4.0".ljust(50, b"\0")


def event(kind, body=b"", *, end=0):
    return Event(kind, 1_700_000_000, 1, end, 0, body)


def gtid(number):
    return event(protocol.GTID, b"\x01" + bytes.fromhex(SOURCE.replace("-", "")) + struct.pack("<Q", number))


def query(text):
    return event(protocol.QUERY, struct.pack("<IIBHH", 1, 0, 2, 0, 0) + b"db\0" + text.encode(), end=900)


TABLE = event(
    protocol.TABLE_MAP,
    # number 7, database `db`, table `t`: INT, VARCHAR(20), BIGINT; unsigned ones, names
    b"\x07\0\0\0\0\0\x01\0\x02db\0\x01t\0\x03\x03\x0f\x08\x02\x50\x00\x06"
    b"\x01\x01\x40\x02\x01\x2d\x04\x07\x02id\x01v\x01n",
)
WRITE = event(
    30, b"\x07\0\0\0\0\0\x01\0\x02\0\x03\x07" + b"\0\x05\0\0\0\x02hi" + struct.pack("<Q", 2**64 - 1)
)
UPDATE = event(
    31,
    b"\x07\0\0\0\0\0\x01\0\x02\0\x03\x07\x07"
    + (b"\0\x05\0\0\0\x02hi" + bytes(8))
    + (b"\x02\x05\0\0\0" + struct.pack("<Q", 9)),
)


def read(*events):
    reader = TransactionReader(
        Coordinates("binlog.000001", 4), is_wanted=lambda *_: True, is_affected=lambda _: True
    )
    found = []
    for transaction in reader.transactions([event(protocol.FORMAT_DESCRIPTION, VERSION), *events]):
        if isinstance(transaction, Waiting):
            continue
        rows = []
        for part in transaction.buffer.parts():
            if isinstance(part, LoggedRows):
                decoder = RowDecoder(part.table, [0, 1, 2], key=[0], absent="absent", may_lack=())
                rows += decoder.changes(part.kind, part.body)
            else:
                rows.append(part.effect.value)
        found.append((transaction.mark.gtid, transaction.mark.end.offset, rows))
    return found


def test_transaction_of_mysql_is_put_together():
    xid = event(protocol.XID, bytes(8), end=1000)

    assert read(gtid(23), query("BEGIN"), TABLE, WRITE, UPDATE, xid) == [
        (
            MySQLGtid(SOURCE, 23),
            1000,
            [(None, [5, b"hi", 2**64 - 1]), (None, [5, None, 9])],
        )
    ]


def test_definitions_are_transactions_of_their_own():
    assert read(gtid(1), query("ALTER TABLE t ADD a INT"), gtid(2), query("TRUNCATE t")) == [
        (MySQLGtid(SOURCE, 1), 900, ["altered"]),
        (MySQLGtid(SOURCE, 2), 900, ["emptied"]),
    ]


def test_table_made_by_a_select_is_one_transaction():
    """MySQL ends the statement with START TRANSACTION, and the rows follow."""
    found = read(
        gtid(1),
        query("CREATE TABLE t (a INT) START TRANSACTION"),
        TABLE,
        WRITE,
        event(protocol.XID, bytes(8)),
    )
    assert [rows for _, _, rows in found] == [["created", (None, [5, b"hi", 2**64 - 1])]]


def test_transaction_whose_server_died_did_not_happen():
    restarted = event(protocol.FORMAT_DESCRIPTION, VERSION)
    xid = event(protocol.XID, bytes(8))

    found = read(gtid(1), query("BEGIN"), TABLE, WRITE, restarted, gtid(2), query("BEGIN"), xid)
    assert [(gtid_.number, rows) for gtid_, _, rows in found] == [(2, [])]


def test_compressed_transaction_is_read():
    inner = b"".join(
        struct.pack("<IBIIIH", 1, each.kind, 1, 19 + len(each.body), 0, 0) + each.body
        for each in (query("BEGIN"), TABLE, WRITE, event(protocol.XID, bytes(8)))
    )
    packed = pa.Codec("zstd").compress(inner, asbytes=True)
    size = struct.pack("<H", len(inner))
    fields = (
        b"\x02\x01\x00" + b"\x03\x03\xfc" + size + b"\x01\x03\xfc" + struct.pack("<H", len(packed)) + b"\x00"
    )

    assert read(gtid(5), event(protocol.PAYLOAD, fields + packed, end=777)) == [
        (MySQLGtid(SOURCE, 5), 777, [(None, [5, b"hi", 2**64 - 1])])
    ]


def test_parts_of_json_documents_are_refused():
    with pytest.raises(ConfigurationError, match="PARTIAL_JSON"):
        read(gtid(1), query("BEGIN"), TABLE, event(protocol.PARTIAL_UPDATE, TABLE.body[:8]))


def test_lost_events_are_told():
    with pytest.raises(StateError, match="lacks events"):
        read(event(protocol.INCIDENT))


# --- JSON ------------------------------------------------------------------------------------------


def text(value):
    return bytes([len(value.encode())]) + value.encode()


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param(b"", "null", id="empty"),
        pytest.param(b"\x04\x00", "null", id="null"),
        pytest.param(b"\x04\x01", "true", id="true"),
        pytest.param(b"\x05\xff\xff", "-1", id="int16"),
        pytest.param(b"\x0a" + struct.pack("<Q", 2**64 - 1), "18446744073709551615", id="uint64"),
        pytest.param(b"\x0b" + struct.pack("<d", 0.1), "0.1", id="double"),
        pytest.param(b"\x0b" + struct.pack("<d", 1.0), "1.0", id="whole-double"),
        pytest.param(b"\x0c" + text('é "q"\n'), '"é \\"q\\"\\n"', id="string"),
        pytest.param(b"\x0c\xac\x02" + b"x" * 300, '"' + "x" * 300 + '"', id="long-string"),
        pytest.param(b"\x00\x02\x00", None, id="cut"),
        pytest.param(
            b"\x00\x02\x00\x22\x00\x12\x00\x01\x00\x13\x00\x01\x00\x05\x01\x00\x02\x14\x00ab"
            b"\x02\x00\x0e\x00\x04\x01\x00\x0c\x0a\x00\x01x",
            '{"a": 1, "b": [true, "x"]}',
            id="object",
        ),
        pytest.param(b"\x0f\xf6\x04\x04\x02\x8c\x22", "12.34", id="decimal"),
        pytest.param(
            b"\x0f\x0c\x08" + struct.pack("<q", ((2024 * 13 + 2) << 22 | 29 << 17 | 23 << 12 | 59 << 6 | 58) << 24 | 5),
            '"2024-02-29 23:59:58.000005"',
            id="datetime",
        ),
        pytest.param(
            b"\x0f\x0a\x08" + struct.pack("<q", ((2024 * 13 + 2) << 22 | 29 << 17) << 24), '"2024-02-29"', id="date"
        ),
        pytest.param(b"\x0f\x0b\x08" + struct.pack("<q", -((1 << 12) << 24)), '"-01:00:00.000000"', id="time"),
        pytest.param(b"\x0f\xfc\x02\xff\x00", '"base64:type252:/wA="', id="bytes"),
    ],
)  # fmt: skip
def test_binary_json_is_the_servers_text(document, expected):
    if expected is None:
        with pytest.raises(DataError, match="not in MySQL's binary form"):
            json_text(document)
        return
    assert json_text(document) == expected


# --- wire ------------------------------------------------------------------------------------------


class Wire:
    """Packets as they come from PyMySQL."""

    def __init__(self, *packets):
        self._packets = list(packets)

    def _read_packet(self):
        from pymysql.protocol import MysqlPacket

        return MysqlPacket(self._packets.pop(0), "utf8")


def packet(body, *, checksum=None, kind=protocol.XID):
    whole = (
        struct.pack("<IBIIIH", 1, kind, 1, 19 + len(body) + (4 if checksum is not None else 0), 500, 0) + body
    )
    return b"\0" + whole + (b"" if checksum is None else struct.pack("<I", zlib.crc32(whole) + checksum))


DESCRIPTION = packet(VERSION + bytes(50) + b"\x01" + bytes(4), kind=protocol.FORMAT_DESCRIPTION)
END = b"\xfe\0\0\x02\0"


def stream(*packets):
    return EventStream(Wire(*packets), server_id=2, is_blocking=False)


def test_checksums_are_taken_off():
    assert [each.body for each in stream(DESCRIPTION, packet(b"12345678", checksum=0), END)][1] == b"12345678"


def test_damaged_event_ends_the_run():
    with pytest.raises(DataError, match="does not fit its checksum"):
        list(stream(DESCRIPTION, packet(b"12345678", checksum=1), END))


def test_something_else_than_an_event_is_a_lost_connection():
    with pytest.raises(RetriableError, match="something else"):
        list(stream(b"\x01\x02\x03\x04"))


def test_decimals_are_made_of_their_digits():
    found = decimals([12345, None, -1, 10**37], pa.decimal128(38, 2))

    assert found.to_pylist() == [Decimal("123.45"), None, Decimal("-0.01"), Decimal(10**35)]
