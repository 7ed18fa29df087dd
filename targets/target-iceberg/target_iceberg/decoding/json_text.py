"""JSON in Python whose numbers keep their text.

A bookmark must be printed again exactly as the tap wrote it, and a value that goes to a decimal column
must never pass through a float. `parse_json` and `dump_json` are inverse to each other for every number.
"""

from __future__ import annotations

import json
from decimal import MAX_EMAX, Decimal, InvalidOperation
from typing import Any, Self

from typing_extensions import override

_MAX_INT_DIGITS = 4000
"""Python refuses to parse longer integers from text (sys.set_int_max_str_digits); they stay text."""
_MAX_EXPONENT = MAX_EMAX


class NumberText(float):
    """A JSON number with a fraction or an exponent, or one that Python's int cannot print again.

    It compares by its exact value, not by the nearest float. `text` is what stood in the JSON; `NaN`,
    `Infinity` and `-Infinity` are kept too (Python's own writer produces them).
    """

    text: str

    def __new__(cls, text: str) -> Self:
        """Keep the text beside the nearest float."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    def exact(self) -> Decimal:
        """Return the value with all its digits; infinite or NaN for what JSON does not have.

        An exponent of more than 18 digits becomes the largest or smallest that a Decimal has.
        """
        try:
            return Decimal(self.text)
        except InvalidOperation:
            sign = "-" if self.text.startswith("-") else ""
            return Decimal(
                f"{sign}1E-{_MAX_EXPONENT}" if "-" in self.text[1:] else f"{sign}1E+{_MAX_EXPONENT}"
            )

    @override
    def __eq__(self, other: object) -> bool:
        if isinstance(other, NumberText):
            return self.text == other.text or self.exact() == other.exact()
        if isinstance(other, int | float):
            return self.exact() == Decimal(other)
        return NotImplemented

    @override
    def __ne__(self, other: object) -> bool:
        # float has an inequality of its own, which would answer for the nearest floats.
        return not self == other

    @override
    def __hash__(self) -> int:
        exact = self.exact()
        return hash(self.text) if exact.is_nan() else hash(exact)

    @override
    def __repr__(self) -> str:
        return self.text

    @override
    def __reduce__(self) -> tuple[type[NumberText], tuple[str]]:
        return NumberText, (self.text,)


def _integer(text: str) -> int | NumberText:
    # "-0" is an integer whose sign an int would lose.
    return NumberText(text) if len(text) > _MAX_INT_DIGITS or text == "-0" else int(text)


_DECODER = json.JSONDecoder(parse_float=NumberText, parse_int=_integer, parse_constant=NumberText)


def parse_json(text: str) -> Any:
    """Return a JSON value; integers are `int`, all other numbers `NumberText`.

    Raises:
        ValueError: When the text is not JSON.
        RecursionError: When it is nested deeper than Python's stack.
    """
    return _DECODER.decode(text)


def dump_json(value: object, *, ascii_only: bool = True) -> str:
    """Return JSON text on one line; numbers from `parse_json` are written as they were read."""
    if isinstance(value, NumberText):
        return value.text
    if isinstance(value, dict):
        pairs = (
            f"{json.dumps(key, ensure_ascii=ascii_only)}: {dump_json(child, ascii_only=ascii_only)}"
            for key, child in value.items()
        )
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(dump_json(child, ascii_only=ascii_only) for child in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)
