"""Bookmark arithmetic: thirds, minutes, seven digits, hexadecimal versions."""

from __future__ import annotations

import pytest

from icetap.errors import ConfigurationError, StateError
from tap_mssql.types import Declared, column
from tap_mssql.values import bound_value, earlier, rowversion_text


def of(name: str, **facts):
    return column("c", Declared(name, **{"precision": 18, "scale": 2, **facts}))


BOUND = [
    pytest.param("datetime2", "2024-01-01T10:00:00.123456", "2024-01-01T10:00:00.1234560", id="datetime2"),
    pytest.param("datetime2", "2024-01-01 10:00:00.1234567", "2024-01-01T10:00:00.1234567", id="datetime2-of-seven-digits"),
    pytest.param("datetime2", "2024-01-01T10:00:00Z", "2024-01-01T10:00:00.0000000", id="datetime2-has-no-zone"),
    pytest.param("datetime2", "0001-01-01", "0001-01-01T00:00:00.0000000", id="datetime2-first"),
    pytest.param("datetime", "2024-01-01T10:00:00.003000", "2024-01-01T10:00:00.003", id="datetime-third"),
    pytest.param("datetime", "2024-01-01T10:00:00.006", "2024-01-01T10:00:00.003", id="datetime-down-to-a-third"),
    pytest.param("datetime", "2024-01-01T10:00:00.9999999", "2024-01-01T10:00:00.997", id="datetime-last-third"),
    pytest.param("datetime", "2024-01-01T10:00:00.01", "2024-01-01T10:00:00.010", id="datetime-hundredth"),
    pytest.param("datetime", "1600-01-01", "1753-01-01T00:00:00.000", id="datetime-starts-in-1753"),
    pytest.param("smalldatetime", "2024-01-01T10:00:59.9", "2024-01-01T10:00:00", id="smalldatetime-minute"),
    pytest.param("datetimeoffset", "2024-01-01T10:00:00.123456Z", "2024-01-01T10:00:00.1234560+00:00", id="datetimeoffset"),
    pytest.param("datetimeoffset", "2024-01-01T10:00:00+05:30", "2024-01-01T04:30:00.0000000+00:00", id="datetimeoffset-in-utc"),
    pytest.param("date", "2024-01-01T23:00:00", "2024-01-01", id="date"),
    pytest.param("int", 5, 5, id="int"),
    pytest.param("decimal", "10.50", "10.50", id="decimal"),
    pytest.param("decimal", 7, "7", id="decimal-of-an-integer"),
    pytest.param("float", 1.5, 1.5, id="float"),
    pytest.param("nvarchar", "x", "x", id="text"),
    pytest.param("timestamp", "00000000000007d2", "00000000000007D2", id="rowversion"),
    pytest.param("timestamp", "0x00000000000007D2", "00000000000007D2", id="rowversion-of-other-taps"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "bound"), BOUND)
def test_a_bookmark_is_bound_in_the_grain_of_its_column(name, given, bound):
    assert bound_value(given, of(name)) == bound


@pytest.mark.parametrize(
    ("name", "given"),
    [("int", 2**31), ("int", "5"), ("int", True), ("bigint", 2**63), ("tinyint", -1), ("datetime2", "soon"), ("datetime2", "2024-13-01"), ("decimal", "x"), ("decimal", True), ("float", "1"), ("timestamp", "7D2"), ("nvarchar", 5)],
)  # fmt: skip
def test_what_is_no_value_of_the_column_is_refused(name, given):
    with pytest.raises(StateError, match="is no value of the replication key"):
        bound_value(given, of(name))


@pytest.mark.parametrize(
    ("name", "value", "amount", "before"),
    [
        pytest.param("datetime2", "2024-01-01T00:00:00.1234567", 300, "2023-12-31T23:55:00.1234567", id="datetime2"),
        pytest.param("datetime", "2024-01-01T00:00:00.003", 1, "2023-12-31T23:59:59.003", id="datetime"),
        pytest.param("smalldatetime", "2024-01-01T00:00:00", 90, "2023-12-31T23:58:00", id="smalldatetime"),
        pytest.param("datetime2", "0001-01-01T00:00:01.0000000", 300, "0001-01-01T00:00:00.0000000", id="not-before-the-year-one"),
        pytest.param("datetimeoffset", "2024-01-01T00:00:00.0000000+00:00", 60, "2023-12-31T23:59:00.0000000+00:00", id="datetimeoffset"),
        pytest.param("date", "2024-01-01", 86_400, "2023-12-31", id="date"),
        pytest.param("int", 10, 3, 7, id="int"),
        pytest.param("tinyint", 1, 5, 0, id="tinyint-has-no-sign"),
        pytest.param("decimal", "10.5", 1, "9.5", id="decimal"),
        pytest.param("timestamp", "00000000000007D2", 2, "00000000000007D0", id="rowversion"),
        pytest.param("timestamp", "0000000000000001", 5, "0000000000000000", id="rowversion-not-below-zero"),
    ],
)  # fmt: skip
def test_a_lookback_is_subtracted_exactly(name, value, amount, before):
    assert earlier(value, of(name), amount=amount) == before


def test_nothing_is_subtracted_from_texts():
    with pytest.raises(ConfigurationError, match="cannot be subtracted"):
        earlier("x", of("nvarchar"), amount=1)


def test_rowversions_sort_as_texts_as_they_do_as_numbers():
    numbers = [0, 1, 15, 16, 2**32, 2**63, 2**64 - 1]
    texts = [rowversion_text(number) for number in numbers]
    assert sorted(texts) == texts
    assert {len(text) for text in texts} == {16}
