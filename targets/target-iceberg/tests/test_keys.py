"""Which rows are the newest of their keys."""

from __future__ import annotations

import pyarrow as pa

from target_iceberg.methods.keys import latest_rows, match_keys


def batch(*values, kind=None, name="k"):
    return pa.RecordBatch.from_arrays([pa.array(values, kind)], names=[name])


def test_the_last_row_of_a_key_stays_unless_it_was_deleted_after():
    staged = [batch(1, 2, 1), batch(3, 2)]
    deletes = [(batch(3), 2), (batch(1), 4), (batch(9), 5)]
    assert latest_rows(iter(staged), deletes, keys=["k"]).to_pylist() == [3, 4]


def test_nothing_staged_leaves_nothing():
    assert latest_rows(iter(()), [(batch(1), 0)], keys=["k"]).to_pylist() == []


def test_stored_rows_are_found_by_file_and_position():
    found = match_keys(
        iter([batch(5, 7, 5)]),
        iter([(0, 0, batch(1, 5)), (1, 0, batch(5)), (1, 1, batch(7, 8))]),
        keys=["k"],
        kinds=[pa.int64()],
    )
    assert found.latest.to_pylist() == [1, 2]
    assert [[column.to_pylist() for column in found.in_file(number)] for number in range(3)] == [
        [[1], [2]],
        [[0, 1], [2, 1]],
        [[], []],
    ]


def test_narrow_and_wide_keys_meet():
    found = match_keys(
        iter([batch(1, kind=pa.int32()), batch(2**40, kind=pa.int64())]),
        iter([(0, 0, batch(1, kind=pa.int32()))]),
        keys=["k"],
        kinds=[pa.int64()],
    )
    assert found.latest.to_pylist() == [0, 1]
    assert [column.to_pylist() for column in found.in_file(0)] == [[0], [0]]
