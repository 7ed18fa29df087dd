"""The messages of a COPY, however they are cut, whatever is between them, and however they end."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import termios
import threading
import time
from types import SimpleNamespace

import pyarrow as pa
import pytest

from icetap.errors import RetriableError, SkippableError
from icetap.sql.dialect import Selection, Table
from tap_postgres import binary_rows, wire_types
from tap_postgres.binary_rows import numbers, octets
from tap_postgres.copy_out import CopyError, copy_out
from tap_postgres.tap import TapPostgres

from .conftest import TRANSPORTS, Database

INT, BYTES = numbers(">i4", pa.int32()), octets(pa.binary())


@pytest.fixture(scope="module")
def source(tls_server):
    """A database that speaks both transports."""
    made = Database(tls_server, tls_server.new_database())
    made.execute(
        "CREATE FUNCTION shout(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'd %', n; RETURN n; END $$"
    )
    return made


@pytest.fixture(params=TRANSPORTS)
def connection(source, request):
    """A connection of the tap's."""
    made = TapPostgres(config={**source.config, **TRANSPORTS[request.param]}).dialect.connect()
    yield made
    made.close()


def selection(item, source):
    """One column, named `x`, of a query."""
    table = Table(
        stream="q",
        schema="",
        name="q",
        kind="query",
        source=f"(SELECT {item} AS x FROM {source})",
        columns=(),
    )
    return Selection(table=table, columns=(), extras=("x",))


def read(connection, item, source, *, batch_rows=100_000):
    """Return the values of that column."""
    batches = connection.read(selection(item, source), batch_rows=batch_rows)
    return [value for batch in batches for value in batch.column(0).to_pylist()]


# --- recorded messages, cut anywhere -------------------------------------------------------------------


def recorded(source, sql):
    """Return what the server sends for a COPY of a query."""
    with source.connect() as session:
        wire = session.pgconn
        assert not wire.ssl_in_use
        query = f"COPY ({sql}) TO STDOUT (FORMAT BINARY)".encode() + b"\0"
        os.write(wire.socket, b"Q" + struct.pack(">I", 4 + len(query)) + query)
        content = b""
        while content[-6:-1] != b"Z\0\0\0\x05":
            select.select([wire.socket], [], [])
            content += os.read(wire.socket, 1 << 20)
        return content


def fed(parts, *, columns, size, ends=False):
    """Yield the blocks of messages that arrive in these parts, each after the one before has been taken."""
    near, far = socket.socketpair()
    near.setblocking(False)

    def write():
        for part in parts:
            while struct.unpack("i", fcntl.ioctl(near, termios.FIONREAD, b"\0" * 4))[0]:
                time.sleep(0)
            far.sendall(part)
        if ends:
            far.shutdown(socket.SHUT_WR)

    with near, far:
        session = SimpleNamespace(ssl_in_use=False, used_gssapi=False, socket=near.fileno())
        copy = copy_out(session, "COPY", columns=columns)
        writer = threading.Thread(target=write)
        writer.start()
        try:
            yield from copy.blocks(size)
            assert copy.is_over
            assert not select.select([near], [], [], 0)[0]
        finally:
            writer.join()


def values_of(blocks, *readers):
    """Return the rows of blocks."""
    return [
        row
        for block in blocks
        for row in zip(*(array.to_pylist() for array in binary_rows.columns(block, readers)), strict=True)
    ]


LOOKALIKES = [
    b"",
    None,
    b"d" + struct.pack(">IH", 30, 2),
    b"d" + struct.pack(">IH", 0, 2),
    b"d" + struct.pack(">IH", 2**32 - 1, 2) * 2,
    (b"d" + struct.pack(">IH", 6, 2)) * 5,  # each leads to the next one
    b"x" + (b"d" + struct.pack(">IH", 6, 2)) * 3 + b"d" + struct.pack(">IH", 6 + 14, 2),
    b"d" + struct.pack(">IH", 6, 2),  # leads to the row behind it
    b"Z\0\0\0\x05I",
    b"Z\0\0\0\x05" * 9,
    b"d\0\0\0\x06\xff\xff",
    b"PGCOPY\n\xff\r\n\0",
    b"dddddd",
]


@pytest.fixture(scope="module")
def lookalikes(database):
    """What a server sends of values that look like messages, between notices; and the rows."""
    cells = ",".join("NULL" if value is None else f"'\\x{value.hex()}'" for value in LOOKALIKES)
    source = database(
        "CREATE FUNCTION shout(n int) RETURNS int LANGUAGE plpgsql AS $$ "
        "BEGIN IF n = 4 THEN RAISE NOTICE 'Z and d'; END IF; RETURN n; END $$"
    )
    sql = f"SELECT shout(n::int), v FROM unnest(ARRAY[{cells}]::bytea[]) WITH ORDINALITY AS u (v, n)"
    return recorded(source, sql), list(enumerate(LOOKALIKES, 1))


@pytest.mark.parametrize("size", [16, 64, 1 << 16])
def test_messages_that_are_cut_anywhere_are_the_same_rows(lookalikes, size):
    content, rows = lookalikes

    for cut in range(1, len(content)):
        blocks = fed([content[:cut], content[cut:]], columns=2, size=size)
        assert values_of(blocks, INT, BYTES) == rows, cut


def test_a_row_may_end_where_the_buffer_ends(lookalikes):
    content, rows = lookalikes

    for size in range(1, len(content) + 20):
        assert values_of(fed([content], columns=2, size=size), INT, BYTES) == rows, size


def test_octet_by_octet(lookalikes):
    content, rows = lookalikes

    parts = [content[place : place + 1] for place in range(len(content))]

    assert values_of(fed(parts, columns=2, size=100), INT, BYTES) == rows


LATER = b"S" + struct.pack(">I", 4 + 20) + b"TimeZone\0Asia/Tokyo\0"


def test_what_comes_behind_the_end_is_taken_too(lookalikes):
    """A setting that changed while nobody read: what is left of it would be taken for the next answer."""
    content, rows = lookalikes

    for cut in range(len(content), len(content) + len(LATER) + 1):
        whole = content + LATER
        parts = [part for part in (whole[:cut], whole[cut:]) if part]
        if cut == len(content):
            parts = [whole]
        assert values_of(fed(parts, columns=2, size=1 << 16), INT, BYTES) == rows, cut


def test_an_end_in_the_middle_is_an_error_everywhere(lookalikes):
    content, _ = lookalikes

    for cut in range(1, len(content)):
        with pytest.raises(CopyError, match="server closed the connection"):
            list(fed([content[:cut]], columns=2, size=1 << 16, ends=True))


# --- rows of a server ----------------------------------------------------------------------------------


def test_rows_are_longer_than_the_buffer(connection, source):
    copy = copy_out(
        connection._psycopg.pgconn,
        "COPY (SELECT repeat(chr(96 + n), 1000000 + n) FROM generate_series(1, 5) n) TO STDOUT (FORMAT BINARY)",
        columns=1,
    )

    found = values_of(copy.blocks(1000), wire_types.TEXT)

    assert found == [(chr(96 + n) * (1_000_000 + n),) for n in range(1, 6)]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_as_many_columns_as_a_table_can_have(connection, count):
    items = ", ".join(f"n + {number}" for number in range(1600))
    sql = f"COPY (SELECT {items} FROM generate_series(1, {count}) n) TO STDOUT (FORMAT BINARY)"

    blocks = copy_out(connection._psycopg.pgconn, sql, columns=1600).blocks(1 << 16)

    assert values_of(blocks, *[INT] * 1600) == [tuple(range(n, n + 1600)) for n in range(1, count + 1)]


def test_notices_between_all_rows_cost_little(connection):
    began = time.process_time()

    assert read(connection, "shout(n)", "generate_series(1, 20000) n") == list(range(1, 20_001))
    assert time.process_time() - began < 3


def test_settings_that_change_in_between_are_taken(connection):
    """The server reports them."""
    item = "set_config('application_name', 'n' || n, false)"

    assert read(connection, item, "generate_series(1, 3) n") == ["n1", "n2", "n3"]
    assert connection.rows("SELECT 5") == [(5,)]


def test_a_slow_first_row_does_not_keep_the_processor_busy(connection):
    began = time.thread_time()

    assert read(connection, "n", "generate_series(1, 2) n, pg_sleep(0.5)") == [1, 2]
    assert time.thread_time() - began < 0.1


# --- ends ----------------------------------------------------------------------------------------------

FAILING = {
    "planned": ("1 / 0", "generate_series(1, 2)"),
    "at_the_first_row": ("1 / (n - 1)", "generate_series(1, 2) n"),
    "among_the_rows": ("1 / (n - 50000)", "generate_series(1, 100000) n"),
    "at_the_last_row": ("1 / (n - 100000)", "generate_series(1, 100000) n"),
}


@pytest.mark.parametrize("where", FAILING)
def test_a_session_reads_on_after_an_error(connection, where):
    for _ in range(2):
        with pytest.raises(SkippableError, match="division by zero"):
            read(connection, *FAILING[where], batch_rows=1000)
        connection.release()
        connection.renew()

    assert read(connection, "n", "generate_series(1, 3) n") == [1, 2, 3]
    assert connection.rows("SELECT 5") == [(5,)]


def test_a_statement_may_take_too_long_among_its_rows(connection):
    connection.rows("SELECT set_config('statement_timeout', '200', true)")

    with pytest.raises(SkippableError, match="statement timeout"):
        read(connection, "repeat('x', 1000) || pg_sleep(n * 0.001)", "generate_series(1, 1000) n")

    connection.release()
    connection.renew()
    assert connection.rows("SELECT 5") == [(5,)]


def test_a_session_that_is_ended_among_its_rows_is_lost(connection):
    item = "CASE WHEN n = 50000 THEN pg_terminate_backend(pg_backend_pid()) ELSE true END"

    with pytest.raises(RetriableError, match=r"administrator|lost"):
        read(connection, item, "generate_series(1, 100000) n")

    with pytest.raises(RetriableError):
        connection.rows("SELECT 5")


def test_what_is_not_read_to_its_end_ends_in_the_server(connection, source):
    ((process,),) = connection.rows("SELECT pg_backend_pid()")
    batches = connection.read(
        selection("repeat('x', 1000)", "generate_series(1, 10000000) n"), batch_rows=100
    )
    next(batches)
    batches.close()

    with pytest.raises(RetriableError):
        connection.rows("SELECT 5")
    for _ in range(100):
        if not source.execute(f"SELECT FROM pg_stat_activity WHERE pid = {process}"):
            break
        time.sleep(0.05)
    else:
        pytest.fail("the statement still runs")


def test_what_has_come_whole_leaves_the_session_as_it_was(source):
    connection = TapPostgres(config={**source.config, **TRANSPORTS["plain"]}).dialect.connect()
    batches = connection.read(selection("n", "generate_series(1, 3) n"), batch_rows=100)
    next(batches)
    batches.close()

    assert connection.rows("SELECT 5") == [(5,)]
    connection.close()
