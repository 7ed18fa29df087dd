"""Exact decimals from texts and other decimals, whatever their size.

Arrow's casts (26, 2026-11-22) do not look at the precision, and multiply in 128 bits without a word: `7` becomes
0.194… in a decimal(38,38), and what is divided by more than 10**38 becomes 0.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal, Inexact, InvalidOperation

import pyarrow as pa
import pyarrow.compute as pc

DECIMAL_TEXT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,6})?", re.ASCII)
_LONGEST = 38
"""A text of so many characters, without an exponent, has no digit that Arrow divides away."""
_EXACT = Context(prec=38, traps=[Inexact, InvalidOperation])


def within_precision(decimals: pa.Array, kind: pa.DataType | None = None) -> pa.Array:
    """Return the decimals if a type has enough digits before the point for them: their own, or another one.

    Raises:
        pa.ArrowInvalid: When it has not.
    """
    kind = kind or decimals.type
    bounds = pc.min_max(decimals)
    limit = Decimal(10) ** (kind.precision - kind.scale)
    if any(one.is_valid and abs(one.as_py()) >= limit for one in (bounds["min"], bounds["max"])):
        raise pa.ArrowInvalid("more digits than the column has")
    return decimals


def decimals_from_texts(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return the numbers of texts; null for a text that is none, or has more digits than the type."""
    try:
        if _is_short(texts, kind):
            return within_precision(pc.cast(texts, kind))
    except pa.ArrowInvalid:
        pass  # one of them or more do not fit: found one by one
    return pa.array([decimal_from_text(text, kind) for text in texts.to_pylist()], kind)


def _is_short(texts: pa.Array, kind: pa.DataType) -> bool:
    """Say whether Arrow's numbers stay within 128 bits.

    Raises:
        pa.ArrowInvalid: When a text is no number.
    """
    longest = pc.max(pc.binary_length(texts)).as_py() or 0
    if longest > _LONGEST:
        return False
    data = bytes(texts.buffers()[2] or b"")  # with what lies around a slice, which costs time at worst
    if b"e" in data or b"E" in data:
        return False
    if longest + kind.scale <= _LONGEST:  # also with as many zeros as Arrow appends
        return True
    bounds = pc.min_max(pc.cast(texts, pa.float64()))
    return all(
        not one.is_valid or abs(one.as_py()) < 10.0 ** (_LONGEST - kind.scale) for one in bounds.values()
    )


def decimal_from_text(text: str | None, kind: pa.DataType) -> Decimal | None:
    """Return the number of a text with the scale of the type, or null; zeros may be added or cut, nothing else."""
    if text is None or not DECIMAL_TEXT.fullmatch(text):
        return None
    return fitted_decimal(Decimal(text), kind)


def fitted_decimal(number: Decimal, kind: pa.DataType) -> Decimal | None:
    """Return a finite number with the scale of the type, or null when it has more digits."""
    try:
        scaled = number.quantize(Decimal(1).scaleb(-kind.scale), context=_EXACT)
    except (Inexact, InvalidOperation):
        return None
    return scaled if scaled.is_zero() or scaled.adjusted() < kind.precision - kind.scale else None
