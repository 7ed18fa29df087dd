"""Decimals from texts: the same numbers as Python's, or none."""

from __future__ import annotations

import itertools
import random
from decimal import Decimal, localcontext

import pyarrow as pa
import pytest

from icetap.types import decimal_from_text, decimals_from_texts, within_precision


def exact(text, kind):
    """What Python makes of it, when the type holds that."""
    with localcontext(prec=500):
        number = Decimal(text)
        scaled = number.scaleb(kind.scale)
        fits = abs(scaled) < Decimal(10) ** kind.precision and scaled == scaled.to_integral_value()
        return number if fits else None


def texts(seed, count):
    """Numbers of any length, with zeros at both ends and exponents."""
    chance = random.Random(seed)

    def digits(lengths):
        return "".join(chance.choice("0123456789") for _ in range(chance.choice(lengths)))

    for _ in range(count):
        whole = "0" * chance.choice([0, 0, 1, 40]) + digits([1, 1, 2, 5, 9, 18, 19, 28, 37, 38, 39, 60])
        fraction = digits([0, 0, 1, 2, 5, 18, 38, 60]) + "0" * chance.choice([0, 0, 1, 40])
        exponent = f"e{chance.randint(-60, 60)}" if chance.random() < 0.15 else ""
        yield chance.choice(["", "-"]) + whole + (f".{fraction}" if fraction else "") + exponent


KINDS = [
    pa.decimal128(p, s) for p, s in ((38, 38), (38, 30), (38, 10), (38, 0), (18, 4), (10, 10), (5, 2), (1, 0))
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_number_arrives_exactly_or_not_at_all(kind):
    given = list(texts(str(kind), 4000))
    expected = [exact(text, kind) for text in given]

    # Alone and in blocks: a block is read at once where all of it is short.
    assert [decimal_from_text(text, kind) for text in given] == expected
    for start in range(0, len(given), 3):
        block = pa.array(given[start : start + 3])
        assert decimals_from_texts(block, kind).to_pylist() == expected[start : start + 3]


def test_short_numbers_are_read_at_once_and_words_are_none():
    kind = pa.decimal128(10, 2)

    assert decimals_from_texts(pa.array(["1.5", None, "-99999999.99"]), kind).to_pylist() == [
        Decimal("1.50"), None, Decimal("-99999999.99")
    ]  # fmt: skip
    for word in ("NaN", "Infinity", "1_000", " 1", "", "0x1", "1e999999999"):
        assert decimals_from_texts(pa.array(["1", word]), kind).to_pylist() == [Decimal("1.00"), None]


@pytest.mark.parametrize("kind", [pa.decimal128(10, 2), pa.decimal128(38, 9), pa.decimal128(3, 3)], ids=str)
def test_every_short_text_of_signs_and_digits_is_read_at_once_as_it_is_alone(kind):
    for length in range(5):
        for letters in itertools.product("01.+- n", repeat=length):
            text = "".join(letters)
            assert decimals_from_texts(pa.array([text]), kind).to_pylist() == [
                decimal_from_text(text, kind)
            ], text


def test_a_decimal_that_another_type_does_not_hold_is_told_before_it_is_cast():
    with pytest.raises(pa.ArrowInvalid, match="digits"):
        within_precision(pa.array([Decimal(11)], pa.decimal128(2, 0)), pa.decimal128(38, 38))
