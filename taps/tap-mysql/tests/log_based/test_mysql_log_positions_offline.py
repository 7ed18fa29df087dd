"""Positions without a server: MariaDB's lists, MySQL's sets, files; and MySQL's dump command by its documentation."""

from __future__ import annotations

import pytest

from icetap.errors import ConfigurationError, StateError
from tap_mysql.log_based.log_server import LogServer, begins_before, server_id
from tap_mysql.log_based.positions import (
    Coordinates,
    MariaGtid,
    Mark,
    MySQLGtid,
    position_from_text,
)

ONE, TWO = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "4e11fa47-71ca-11e1-9e33-c80aa9429562"
HERE = Coordinates("binlog.000003", 500)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        pytest.param("1-2-5,0-1-13", "0-1-13,1-2-5", id="mariadb"),
        pytest.param("", "", id="mariadb-beginning"),
        pytest.param(f"{TWO}:7,\n{ONE.upper()}:1-3:4-5:9", f"{ONE}:1-5:9,{TWO}:7", id="mysql"),
        pytest.param("binlog.000003:1234", "binlog.000003:1234", id="file"),
        pytest.param("mysql-bin.1000000:4", "mysql-bin.1000000:4", id="file-with-seven-digits"),
    ],
)
def test_text_of_a_position_comes_back(text, canonical):
    assert position_from_text(text).text == canonical


@pytest.mark.parametrize("text", ["yesterday", "0-1", "binlog:4", f"{ONE}", f"{ONE}:tag:1-3", "0-1-2;0-1-3"])
def test_text_that_is_no_position_is_refused(text):
    with pytest.raises(StateError, match="--full-refresh"):
        position_from_text(text)


@pytest.mark.parametrize(
    ("position", "mark", "is_covered"),
    [
        pytest.param("0-1-13", Mark(HERE, MariaGtid(0, 2, 13)), True, id="mariadb-equal"),
        pytest.param("0-1-13", Mark(HERE, MariaGtid(0, 1, 14)), False, id="mariadb-next"),
        pytest.param("0-1-13", Mark(HERE, MariaGtid(7, 1, 1)), False, id="mariadb-other-domain"),
        pytest.param(f"{ONE}:1-5:7", Mark(HERE, MySQLGtid(ONE, 7)), True, id="mysql-in-the-set"),
        pytest.param(f"{ONE}:1-5:7", Mark(HERE, MySQLGtid(ONE, 6)), False, id="mysql-in-a-hole"),
        pytest.param(f"{ONE}:1-5", Mark(HERE, MySQLGtid(TWO, 1)), False, id="mysql-other-server"),
        pytest.param("binlog.000003:500", Mark(HERE), True, id="file-equal"),
        pytest.param("binlog.000003:499", Mark(HERE), False, id="file-before"),
        pytest.param("binlog.000004:4", Mark(HERE), True, id="file-next"),
        pytest.param(
            "binlog.999999:4", Mark(Coordinates("binlog.1000000", 9)), False, id="file-with-more-digits"
        ),
    ],
)
def test_position_covers_what_was_read(position, mark, is_covered):
    assert position_from_text(position).covers(mark) is is_covered
    if not is_covered:
        assert position_from_text(position).after(mark).covers(mark)


def test_numbers_that_go_back_are_refused():
    with pytest.raises(StateError, match=r"goes back from 13 to 12 in the GTID domain 0.*log_position: file"):
        position_from_text("0-1-13").after(Mark(HERE, MariaGtid(0, 2, 12)))


@pytest.mark.parametrize("text", ["0-1-13", f"{ONE}:1-5"])
def test_transaction_without_gtid_is_refused_where_positions_are_gtids(text):
    with pytest.raises(StateError, match="has no GTID"):
        position_from_text(text).after(Mark(HERE))


@pytest.mark.parametrize(
    ("left", "right", "lower"),
    [
        pytest.param("0-1-13,1-1-4", "0-2-10,1-1-9", "0-2-10,1-1-4", id="mariadb"),
        pytest.param("0-1-13,1-1-4", "0-1-20", "0-1-13", id="mariadb-domain-in-one"),
        pytest.param(f"{ONE}:1-10,{TWO}:1-3", f"{ONE}:2-5:8-20", f"{ONE}:2-5:8-10", id="mysql"),
        pytest.param("binlog.000003:9", "binlog.000002:99", "binlog.000002:99", id="file"),
    ],
)
def test_reading_begins_where_no_stream_loses_anything(left, right, lower):
    both = [position_from_text(left), position_from_text(right)]
    lowest = both[0].lower(both[1])

    assert lowest.text == lower
    assert all(begins_before(lowest, one) for one in both)
    assert not begins_before(both[0], lowest) or both[0].text == lower


def test_dump_by_gtids_is_written_as_mysql_documents_it():
    """https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_binlog_dump_gtid.html (read 2026-11-21)."""
    command = position_from_text(f"{ONE}:1-5:7").dump_command(flags=1, server_id=9)

    assert command.hex() == (
        "1e"  # COM_BINLOG_DUMP_GTID
        "0500"  # BINLOG_DUMP_NON_BLOCK, BINLOG_THROUGH_GTID
        "09000000"  # server id
        "00000000"  # no file name
        "0400000000000000"  # from its beginning
        "40000000"  # bytes that follow
        "0100000000000000"  # one server
        "3e11fa4771ca11e19e33c80aa9429562"
        "0200000000000000"  # two intervals, whose ends do not belong to them
        "01000000000000000600000000000000"
        "07000000000000000800000000000000"
    )


def test_server_id_stays_the_same_and_is_never_the_servers():
    server = LogServer({"server_id": "1"})
    number = server_id(None, seed="tap-mysql dev host:3306", server=server)

    assert number == server_id(None, seed="tap-mysql dev host:3306", server=server)
    assert number != server_id(None, seed="tap-mysql prod host:3306", server=server)
    assert 2**31 <= number < 2**32
    assert server_id(7, seed="", server=server) == 7
    with pytest.raises(ConfigurationError, match="'server_id' is 1"):
        server_id(1, seed="", server=server)


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        pytest.param({"log_bin": "OFF"}, "writes no binary log", id="no-log"),
        pytest.param(
            {"binlog_row_value_options": "PARTIAL_JSON"},
            "SET GLOBAL binlog_row_value_options = ''",
            id="json",
        ),
        pytest.param({"binlog_format": "STATEMENT"}, "SET GLOBAL binlog_format = 'ROW'", id="statements"),
        pytest.param({"binlog_row_image": "NOBLOB"}, "SET GLOBAL binlog_row_image = 'FULL'", id="image"),
        pytest.param({}, None, id="none"),
    ],
)
def test_variables_tell_whether_rows_are_logged_whole(variables, problem):
    server = LogServer({"version": "8.4.0", "log_bin": "ON", "binlog_format": "ROW", **variables})
    found = list(server.problems())

    assert [problem in each for each in found] == ([True] if problem else []) if problem else not found
