"""Names of tables that cannot be, or that engines could not tell apart."""

from __future__ import annotations

import pytest

from icetap.errors import ConfigurationError


def test_a_name_that_is_too_long_is_refused_with_the_way_out(lake, singer):
    long = "s" * 300
    outcome = lake.load(singer.schema(long), singer.records([1], long))
    assert isinstance(outcome.error, ConfigurationError)
    assert "table_name" in str(outcome.error)
    lake.ok(singer.schema(long), singer.records([1], long), streams={long: {"table_name": "short"}})
    assert lake.ids("short") == [1]


def test_the_longest_name_holds_a_quarantine_too(lake, singer):
    long = "s" * 240
    lake.ok(singer.schema(long), singer.records([1], long), singer.record({"id": "x"}, long))
    assert lake.ids(long) == [1]
    assert lake.table(long + "__rejected").scan().to_arrow().num_rows == 1


@pytest.mark.parametrize("runs", ["one-run", "two-runs"])
def test_names_that_differ_in_case_only_are_refused(lake, singer, runs):
    first = [singer.schema("orders"), *singer.records([1], "orders")]
    second = [singer.schema("Orders"), *singer.records([2], "Orders")]
    if runs == "two-runs":
        lake.ok(first)
        first = []
    outcome = lake.load(first, second)
    assert isinstance(outcome.error, ConfigurationError)
    assert "raw.orders" in str(outcome.error)
    assert "streams.Orders.table_name" in str(outcome.error)
    lake.ok(second, streams={"Orders": {"table_name": "orders_2"}})
    assert lake.ids("orders_2") == [2]
