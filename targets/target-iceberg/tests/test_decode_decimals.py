"""Decimals of every size: both lanes give the number that was sent, or refuse it."""

from decimal import Decimal, localcontext

import pyarrow as pa
import pytest

from icetap.types import schema_from_singer
from target_iceberg.contracts.conform import cast_exactly
from target_iceberg.decoding.decode import StreamDecoder
from target_iceberg.decoding.reader import Run

NUMBERS = (
    "7",
    "0.5",
    "-11",
    "9999999999",
    "860129040479666972",
    "99900000000000000000000000000000000",
    "12345678901234567890123456789012345678",
    "123456789012345678901234567890123456789",
    "1" + "0" * 60,
    "0." + "0" * 60 + "1",
    "1.5" + "0" * 60,
    "0.00000000000000000000000000000000000001",
    "1e30",
    "1E-38",
    "15e-45",
    "1e5000",
)
KINDS = ((38, 38), (38, 30), (38, 10), (38, 0), (18, 4), (10, 2))


def declared(precision, scale):
    digits = {"precision": precision, "scale": scale}
    return {"type": ["number", "null"], "x-sql-datatype": "decimal", "x-sql-datatype-properties": digits}


def expected(number, precision, scale):
    """The number, or None when the column does not hold it."""
    with localcontext(prec=6000):
        scaled = Decimal(number).scaleb(scale)
        fits = abs(scaled) < Decimal(10) ** precision and scaled == scaled.to_integral_value()
        return Decimal(number) if fits else None


@pytest.mark.parametrize("quote", ["", '"'], ids=["numbers", "texts"])
@pytest.mark.parametrize("form", ["{}", '{{"o": {}}}', "[{}]"], ids=["plain", "object", "list"])
@pytest.mark.parametrize(("precision", "scale"), KINDS)
def test_a_decimal_arrives_as_it_was_sent_or_is_refused(precision, scale, form, quote):
    leaf = declared(precision, scale)
    types = {
        "{}": leaf,
        '{{"o": {}}}': {"type": "object", "properties": {"o": leaf}},
        "[{}]": {"type": "array", "items": leaf},
    }
    decoder = StreamDecoder("s", schema_from_singer({"properties": {"d": types[form]}}, key_properties=[]))

    for number in NUMBERS:
        value = form.format(f"{quote}{number}{quote}")
        line = f'{{"type": "RECORD", "stream": "s", "record": {{"d": {value}}}}}\n'
        (decoded,) = decoder.decode(Run("s", line.encode(), 1, 1))
        exact = expected(number, precision, scale)

        assert len(decoded.rejected) == (exact is None), number
        if exact is not None:
            (found,) = decoded.batch.column("d").to_pylist()
            found = found["o"] if isinstance(found, dict) else found[0] if isinstance(found, list) else found
            assert found == exact


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("d", '"d": "+{}"'),
        ("d", '"d" : "{}"'),
        ("d", r'"\u0064": {}'),
        ("d", r'"d": "\u0039{}"'),
        ("a/b", r'"a\/b": {}'),
        ("é", r'"\u00E9": {}'),
    ],
)
def test_no_spelling_hides_a_number_that_does_not_fit(name, member):
    decoder = StreamDecoder(
        "s", schema_from_singer({"properties": {name: declared(38, 10)}}, key_properties=[])
    )
    line = f'{{"type": "RECORD", "stream": "s", "record": {{{member.format("999" + "0" * 32)}}}}}\n'

    (decoded,) = decoder.decode(Run("s", line.encode(), 1, 1))

    assert len(decoded.rejected) == 1


def test_columns_of_arrow_are_no_other_numbers_in_a_wider_scale():
    narrow = pa.array([Decimal(11)], pa.decimal128(2, 0))

    with pytest.raises(pa.ArrowInvalid, match="digits"):
        cast_exactly(narrow, pa.field("d", narrow.type), to=pa.field("d", pa.decimal128(38, 38)))
