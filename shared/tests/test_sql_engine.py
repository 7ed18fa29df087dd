"""The parts of the SQL engine that know no database: options, parameters, reading ahead, bookmarks."""

from __future__ import annotations

import threading
import time

import pyarrow as pa
import pytest

from icetap.sql.options import StreamOptions
from icetap.sql.prefetch import prefetched
from icetap.sql.queries import parameters_in, replace_bookmark, without_semicolon
from icetap.state.bookmarks import canonical, is_before


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        pytest.param("a > :bookmark", {"bookmark"}, id="plain"),
        pytest.param("a > :last_pull AND b = :other", {"last_pull", "other"}, id="two"),
        pytest.param("':bookmark'", set(), id="in-a-text"),
        pytest.param("'it''s :bookmark'", set(), id="in-a-text-with-a-quote"),
        pytest.param('":bookmark" [:bookmark] `:bookmark`', set(), id="in-identifiers"),
        pytest.param("-- :bookmark\n", set(), id="in-a-comment"),
        pytest.param("/* :bookmark\n */", set(), id="in-a-long-comment"),
        pytest.param("a::date", set(), id="cast"),
        pytest.param("a::date > :bookmark::date", {"bookmark"}, id="cast-parameter"),
        pytest.param("'10:30' /* */ || :bookmark", {"bookmark"}, id="after-a-text"),
    ],
)
def test_parameters_are_found_where_they_are_ones(sql, names):
    assert parameters_in(sql) == names
    assert parameters_in(replace_bookmark(sql, "?1")) == names - {"bookmark", "last_pull"}


def test_both_names_of_the_bookmark_are_replaced():
    assert (
        replace_bookmark("a >= :bookmark OR b >= :last_pull -- :bookmark", "?1")
        == "a >= ?1 OR b >= ?1 -- :bookmark"
    )


def test_semicolons_at_the_end_are_dropped():
    assert without_semicolon(" SELECT ';' ; \n;\n") == "SELECT ';'"


def test_options_come_from_the_exact_entry_then_globs_then_the_setting():
    options = StreamOptions(
        {
            "null_cursor": "always",
            "lookback_seconds": 1,
            "streams": {
                "orders": {"where": "exact"},
                "o*": {"where": "glob", "lookback_seconds": 2},
                "*s": {"lookback_seconds": 3},
            },
        }
    )
    assert options.of("orders") == {"null_cursor": "always", "lookback_seconds": 3, "where": "exact"}
    assert options.of("other") == {"null_cursor": "always", "lookback_seconds": 2, "where": "glob"}
    assert options.unmatched(["other"]) == ["orders", "*s"]


def test_batches_are_read_ahead_in_order_and_not_all_at_once():
    started = []

    def source():
        for number in range(10):
            started.append(number)
            yield number

    items = prefetched(source(), cancel=lambda: None, check=lambda: None)
    assert next(items) == 0
    time.sleep(0.1)
    assert len(started) <= 5
    assert list(items) == list(range(1, 10))


def test_error_of_the_reader_is_raised_where_the_batches_are_used():
    def source():
        yield 1
        raise ValueError("broken")

    items = prefetched(source(), cancel=lambda: None, check=lambda: None)
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken"):
        next(items)


def test_a_consumer_that_stops_cancels_and_closes_the_reader():
    closed, cancelled = threading.Event(), threading.Event()

    def source():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    items = prefetched(source(), cancel=cancelled.set, check=lambda: None)
    next(items)
    items.close()
    assert cancelled.is_set()
    assert closed.wait(timeout=5)


def test_waiting_can_be_ended_by_the_check():
    release = threading.Event()

    def source():
        release.wait(timeout=10)
        yield 1

    def check():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(prefetched(source(), cancel=release.set, check=check))


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        pytest.param(pa.array([2**63 - 1]), 2**63 - 1, id="integer"),
        pytest.param(pa.array([0.1 + 0.2]), 0.30000000000000004, id="double"),
        pytest.param(pa.array(["a\n"]), "a\n", id="text-is-not-escaped"),
        pytest.param(pa.array([0], pa.timestamp("us")), "1970-01-01T00:00:00.000000", id="timestamp"),
        pytest.param(
            pa.array([0], pa.timestamp("us", "UTC")), "1970-01-01T00:00:00.000000Z", id="timestamptz"
        ),
        pytest.param(pa.array([0], pa.date32()), "1970-01-01", id="date"),
    ],
)
def test_bookmark_is_canonical(array, expected):
    assert canonical(array) == expected


@pytest.mark.parametrize(
    ("one", "other", "expected"), [(1, 2.5, True), ("b", "a", False), (1, "2", False), (2, 2, False)]
)
def test_bookmarks_compare_within_their_type(one, other, expected):
    assert is_before(one, other) == expected


@pytest.mark.parametrize(
    ("one", "other", "kind", "expected"),
    [
        pytest.param("9.50", "10.00", pa.decimal128(9, 2), True, id="decimals"),
        pytest.param("10.00", "9.50", pa.decimal128(9, 2), False, id="decimals, the other way"),
        pytest.param("-2", "-1", pa.decimal128(9, 0), True, id="negative decimals"),
        pytest.param("?", "1", pa.decimal128(9, 0), False, id="no decimal"),
        pytest.param(
            "2024-01-01T00:30:00.000000Z",
            "2024-01-01T02:00:00+02:00",
            pa.timestamp("us", "UTC"),
            False,
            id="an instant with an offset, of another tap",
        ),
        pytest.param(
            "2023-12-31T23:59:59.999999Z",
            "2024-01-01T02:00:00+02:00",
            pa.timestamp("us", "UTC"),
            True,
            id="before an instant with an offset",
        ),
    ],
)
def test_bookmarks_compare_by_value_and_not_by_their_text(one, other, kind, expected):
    assert is_before(one, other, arrow_type=kind) == expected
