"""Keys that come about in their order are proved to come once; a repeated one is never taken for new."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from target_iceberg.methods import distinct_keys
from target_iceberg.methods.distinct_keys import DistinctKeys

LARGEST, SMALLEST = 2**63 - 1, -(2**63)


def batch(values, kind=None):
    return pa.RecordBatch.from_arrays([pa.array(values, kind)], names=["k"])


def seen(*batches, kind=None):
    keys = DistinctKeys(["k"])
    for values in batches:
        keys.see(batch(values, kind))
    return keys


@pytest.mark.parametrize(
    ("batches", "distinct"),
    [
        ([[1, 2, 3]], True),
        ([[1, 2], [3]], True),
        ([[1], [1]], False),
        ([[1, 1]], False),
        ([[2, 1]], True),
        ([[2, 1, 2]], False),
        ([[1, 3], [2]], True),
        ([[1, 3], [2], [2]], False),
        ([[1, 2, 3, 9], [4, 8], [5, 6, 7]], True),
        ([[1, 2, 3, 9], [4, 8], [5, 3, 7]], False),
        ([[1], [], [2]], True),
        ([[1, None], [2]], False),
        ([[LARGEST, SMALLEST], [0]], True),
        ([[LARGEST, SMALLEST], [LARGEST]], False),
        ([[LARGEST, SMALLEST], [SMALLEST]], False),
        ([[LARGEST], [SMALLEST, LARGEST]], False),
        ([[LARGEST], [SMALLEST]], True),
        ([["a", "b"], ["c"]], True),
        ([["a"], ["a"]], False),
        ([["b"], ["a"]], False),
        ([["a\u0000", "a\u0000b"], ["a\u0001"]], True),
        ([[0.1, 0.2]], False),
    ],
    ids=str,
)
def test_keys_are_told_to_be_distinct_where_that_is_proved(batches, distinct):
    kind = pa.array([value for values in batches for value in values]).type

    assert seen(*batches, kind=kind).are_distinct is distinct


def test_a_key_of_two_columns_is_never_proved_distinct():
    assert not DistinctKeys(["a", "b"]).are_distinct


def test_wider_keys_go_on_where_narrow_ones_ended():
    keys = DistinctKeys(["k"])
    keys.see(batch([1, 2], pa.int32()))
    keys.see(batch([3, 2**40], pa.int64()))
    assert keys.are_distinct

    keys.see(batch([2], pa.int64()))

    assert not keys.are_distinct


def test_keys_that_become_texts_are_not_distinct_from_the_numbers_before():
    keys = seen([1, 2])

    keys.see(batch(["3"]))

    assert not keys.are_distinct


def test_each_part_has_its_own_smallest_and_largest_key():
    keys = seen([5, 9], [1])
    assert (keys.low.as_py(), keys.high.as_py()) == (1, 9)

    keys.begin_part()
    keys.see(batch([7, 6]))

    assert (keys.low.as_py(), keys.high.as_py()) == (6, 7)


def _keys(chance, shape):
    """Return integers, all different, in an order that a table may be read in."""
    count = chance.randrange(1, 400)
    match shape:
        case "dense":
            keys = list(range(count))
        case "with gaps":
            keys = sorted(chance.sample(range(count * 2), count))
        case "far apart":
            keys = sorted({chance.randint(SMALLEST, LARGEST) for _ in range(count)})
        case "at random":
            return list({chance.randint(SMALLEST, LARGEST) for _ in range(count)})
        case "in steps":
            keys = list(range(0, count * 7, 7))
    for _ in range(chance.randrange(6)):  # pages that are read late
        start = chance.randrange(count)
        late = keys[start : start + chance.randrange(1, 30)]
        del keys[start : start + len(late)]
        place = chance.randrange(len(keys) + 1)
        keys[place:place] = late
    return keys


SHAPES = ("dense", "with gaps", "far apart", "at random", "in steps")


@pytest.mark.parametrize("most_spans", [2, 10, 1000])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(8))
def test_a_repeated_key_is_never_overlooked(monkeypatch, seed, shape, most_spans):
    monkeypatch.setattr(distinct_keys, "MOST_SPANS", most_spans)
    chance = random.Random(f"{seed} {shape}")
    for _ in range(20):
        keys = _keys(chance, shape)
        if has_repeated := chance.random() < 0.5:
            keys.insert(chance.randrange(len(keys) + 1), chance.choice(keys))
        cuts = sorted(chance.randrange(len(keys) + 1) for _ in range(chance.randrange(8)))
        parts = [keys[a:b] for a, b in zip([0, *cuts], [*cuts, len(keys)], strict=True)]

        proved = seen(*parts, kind=pa.int64())

        assert len(set(keys)) == len(keys) - has_repeated
        assert not (proved.are_distinct and has_repeated)
        if most_spans > len(keys) and not has_repeated:
            assert proved.are_distinct
        if proved.are_distinct:
            assert (proved.low.as_py(), proved.high.as_py()) == (min(keys), max(keys))


@pytest.mark.parametrize("distance", [1, 7, 2**22], ids=str)
@pytest.mark.parametrize("deleted", [0, 0.3], ids=["all", "some deleted"])
def test_a_table_read_as_it_lies_on_disk_needs_no_search(monkeypatch, distance, deleted):
    """Pages of 30 rows of which some come later, 20 at most, in pieces of 3000 rows."""
    monkeypatch.setattr(distinct_keys, "MOST_SPANS", 1000)
    chance = random.Random(f"{distance} {deleted}")
    pages = [
        [number * distance for number in range(page * 30, page * 30 + 30) if chance.random() >= deleted]
        for page in range(2000)
    ]
    order = sorted(range(len(pages)), key=lambda page: page + (chance.random() < 0.05) * chance.randrange(20))
    keys = [key for page in order for key in pages[page]]

    proved = seen(*(keys[start : start + 3000] for start in range(0, len(keys), 3000)))

    assert proved.are_distinct


def test_spans_do_not_grow_with_the_keys(monkeypatch):
    monkeypatch.setattr(distinct_keys, "MOST_SPANS", 1000)
    keys, key, most = DistinctKeys(["k"]), 0, 0
    chance = random.Random(0)
    for _ in range(20):
        steps = [chance.randrange(2, 1000) for _ in range(2000)]
        keys.see(batch([key := key + step for step in steps]))
        most = max(most, len(keys._seen._starts))

    assert keys.are_distinct
    assert most <= 1000 + 2 * 2000
