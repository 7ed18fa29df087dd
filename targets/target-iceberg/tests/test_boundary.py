"""Rows at the bookmark come again; a table without keys must not take them twice."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

WHEN = {"type": ["null", "string"], "format": "date-time"}
MONEY = {
    "type": ["null", "number"],
    "x-sql-datatype": "decimal",
    "x-sql-datatype-properties": {"precision": 20, "scale": 4},
}

KINDS = {
    "integer": ({"type": "integer"}, 5, 5, 6),
    "double": ({"type": "number"}, 0.1, 0.1, 0.2),
    "string": ({"type": "string"}, "b\u0000é😀", "b\u0000é😀", "c"),
    "date": ({"type": "string", "format": "date"}, "2024-02-29", "2024-02-29", "2024-03-01"),
    "timestamptz": (
        WHEN,
        "2024-02-29T12:00:00.123456Z",
        "2024-02-29T12:00:00.123456+00:00",
        "2024-03-01T00:00:00Z",
    ),
    "timestamptz-offset": (WHEN, "2024-02-29T12:00:00+02:00", "2024-02-29T10:00:00Z", "2024-03-01T00:00:00Z"),
    "nanoseconds": (
        WHEN,
        "2024-02-29T12:00:00.123456789Z",
        "2024-02-29T12:00:00.123456789Z",
        "2024-03-01T00:00:00Z",
    ),
    "no-offset": (WHEN, "2024-02-29T12:00:00", "2024-02-29T12:00:00", "2024-03-01T00:00:00"),
    "timestamp": (
        WHEN | {"x-sql-datatype": "timestamp"},
        "2024-02-29T12:00:00.5",
        "2024-02-29T12:00:00.500000",
        "2024-03-01T00:00:00",
    ),
    "decimal": (MONEY, 1234567890.5678, "1234567890.5678", 1234567891.0),
    "uuid": (
        {"type": "string", "format": "uuid"},
        "6f1c3c56-8f0e-4a4f-9a55-8a4d1e6b2f10",
        "6f1c3c56-8f0e-4a4f-9a55-8a4d1e6b2f10",
        "7f1c3c56-8f0e-4a4f-9a55-8a4d1e6b2f10",
    ),
}


def row(at, number):
    return {"at": at, "n": number}


def load(lake, singer, kind, start, rows, end, **config):
    properties = {"at": kind, "n": {"type": "integer"}}
    return lake.ok(
        singer.state() if start is None else singer.state(s=singer.at(start, "at")),
        singer.schema(properties=properties, keys=[], cursor="at"),
        [singer.record(one) for one in rows],
        singer.state(s=singer.at(end, "at")),
        **config,
    )


@pytest.mark.parametrize(("kind", "value", "bookmark", "later"), KINDS.values(), ids=KINDS)
def test_rows_at_the_bookmark_are_known_again(lake, singer, kind, value, bookmark, later):
    load(lake, singer, kind, None, [row(value, 1), row(value, 2)], bookmark)
    outcome = load(
        lake, singer, kind, bookmark, [row(value, 1), row(value, 2), row(value, 3), row(later, 4)], later
    )
    assert [one["n"] for one in lake.rows(by="n")] == [1, 2, 3, 4]
    assert outcome.stream()["rows_repeated"] == 2


def test_equal_rows_are_counted_not_merged(lake, singer):
    kind = {"type": "integer"}
    load(lake, singer, kind, None, [row(1, 7), row(1, 7)], 1)
    load(lake, singer, kind, 1, [row(1, 7), row(1, 7), row(1, 7)], 1)
    assert [one["n"] for one in lake.rows(by="n")] == [7, 7, 7]
    load(lake, singer, kind, 1, [row(1, 7)], 1)
    assert [one["n"] for one in lake.rows(by="n")] == [7, 7, 7]


def test_a_changed_row_at_the_bookmark_is_another_row(lake, singer):
    kind = {"type": "integer"}
    load(lake, singer, kind, None, [row(1, 7)], 1)
    load(lake, singer, kind, 1, [row(1, 8)], 1)
    assert [one["n"] for one in lake.rows(by="n")] == [7, 8]


def test_equal_rows_beyond_the_bookmark_are_new(lake, singer):
    kind = {"type": "integer"}
    load(lake, singer, kind, None, [row(1, 7), row(2, 7)], 2)
    load(lake, singer, kind, 2, [row(2, 7), row(3, 7), row(3, 7)], 3)
    assert [one["at"] for one in lake.rows(by="at")] == [1, 2, 3, 3]


def test_a_renamed_column_is_found_by_its_source_name(lake, singer):
    properties = {"updatedAt": {"type": "integer"}}
    for start, rows, end in ((None, [1, 2], 2), (2, [2, 3], 3)):
        lake.ok(
            singer.state() if start is None else singer.state(s=singer.at(start, "updatedAt")),
            singer.schema(properties=properties, keys=[], cursor="updatedAt"),
            [singer.record({"updatedAt": one}) for one in rows],
            singer.state(s=singer.at(end, "updatedAt")),
            identifier_case="snake",
        )
    assert [one["updated_at"] for one in lake.rows(by="updated_at")] == [1, 2, 3]


def test_a_column_that_is_new_does_not_make_old_rows_different(lake, singer):
    kind = {"type": "integer"}
    load(lake, singer, kind, None, [row(1, 7)], 1)
    lake.ok(
        singer.state(s=singer.at(1, "at")),
        singer.schema(
            properties={"at": kind, "n": kind, "more": {"type": ["null", "string"]}}, keys=[], cursor="at"
        ),
        singer.record({"at": 1, "n": 7, "more": None}),
        singer.record({"at": 2, "n": 8, "more": "x"}),
        singer.state(s=singer.at(2, "at")),
    )
    assert [one["n"] for one in lake.rows(by="n")] == [7, 8]


def test_rows_of_every_type_are_compared(lake, singer):
    properties = {
        "id": {"type": "integer"},
        "f": {"type": ["null", "number"]},
        "d": MONEY,
        "t": WHEN,
        "day": {"type": ["null", "string"], "format": "date"},
        "o": {"type": ["null", "object"], "properties": {"a": {"type": ["null", "integer"]}}},
        "l": {"type": ["null", "array"], "items": {"type": "string"}},
        "j": {},
        "b": {"type": ["null", "string"], "contentEncoding": "base64"},
    }
    one = {
        "id": 1,
        "f": -0.0,
        "d": 1.5,
        "t": "2024-01-01T00:00:00Z",
        "day": "2024-01-01",
        "o": {"a": 1},
        "l": ["x"],
        "j": {"k": [1]},
        "b": "AAE=",
    }
    two = {"id": 1}
    for start in (None, 1):
        lake.ok(
            singer.state() if start is None else singer.state(s=start),
            singer.schema(properties=properties, keys=[], cursor="id"),
            singer.record(one),
            singer.record(two),
            singer.state(s=1),
        )
    found = lake.rows()
    assert len(found) == 2
    full = next(row for row in found if row["day"])
    assert full["d"] == Decimal("1.5000")
    assert full["t"] == datetime(2024, 1, 1, tzinfo=UTC)
    assert full["day"] == date(2024, 1, 1)
