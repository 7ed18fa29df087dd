"""Numerics of PostgreSQL's binary format: digits of base 10,000, exact as decimals or as texts.

A value is the number of its digits, the weight of the first one, the sign, the decimals that are shown, and the digits,
each in two bytes; zeros at both ends are left out.
https://github.com/postgres/postgres/blob/REL_17_STABLE/src/backend/utils/adt/numeric.c (numeric_send, read 2026-11-22)
"""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    import numpy.typing as npt

    from icetap.sql.row_bytes import RowBytes, Values
    from tap_postgres.binary_rows import Reader

    Numbers = npt.NDArray[np.int64]

_HEAD = 8
_DIGITS = 4
"""Decimal digits in one of base 10,000."""
_BASE = 10**_DIGITS
_NEGATIVE = 0x4000
_WORDS = {0xC000: "nan", 0xD000: "inf", 0xF000: "-inf"}
_FITS = 18
"""So many decimal digits fit in 64 bits."""
_LIMB = 4
"""Digits of base 10,000 in one part of a number that 64 bits do not hold."""
_WIDE = 76

_POWERS = np.array([_BASE**power for power in range(_LIMB + 1)], np.int64)


def decimals(kind: pa.Decimal128Type) -> Reader:
    """Return a reader of numerics with this precision and scale; texts, where a value is no such decimal."""

    def read(wire: RowBytes, values: Values) -> pa.Array:
        found = _Digits(wire, values)
        made = None
        if not found.has_words and len(values):
            groups = -(-kind.scale // _DIGITS)
            is_short = kind.precision - kind.scale + _DIGITS * groups <= _FITS
            made = (_short if is_short else _long)(found, kind, groups)
        return texts(wire, values) if made is None else made

    return read


class _Digits:
    """The digits of all values of a column."""

    def __init__(self, wire: RowBytes, values: Values) -> None:
        self._wire = wire
        self._last = np.int64(len(wire.octets) - 2)
        self.values = values
        head = wire.at(">i8", values.begins)
        if values.is_null is not None:
            head[values.is_null] = 0
        self.counts = (head >> 48) & 0xFFFF
        self.weights = np.where(self.counts > 0, (head << 16) >> 48, -1)
        sign = (head >> 16) & 0xFFFF
        self.is_negative = sign == _NEGATIVE
        self.has_words = bool((sign > _NEGATIVE).any())
        self.most = int(self.counts.max(initial=0))

    def digit(self, number: int) -> tuple[Numbers, npt.NDArray[np.bool_]]:
        """Return the digits of this number, 0 where there is none, and where there is one."""
        has = self.counts > number
        place = np.minimum(self.values.begins + (_HEAD + 2 * number), self._last)
        digits: Numbers = self._wire.at(">i2", place).astype(np.int64)
        digits *= has
        return digits, has


def _short(found: _Digits, kind: pa.Decimal128Type, groups: int) -> pa.Array | None:
    """Numbers of 64 bits, which the digits make up from the first to the last."""
    if _DIGITS * (int(found.weights.max()) + 1) > max(kind.precision - kind.scale + _DIGITS - 1, 0):
        return None
    top, beyond = divmod(kind.precision - kind.scale, _DIGITS)
    first, _ = found.digit(0)
    if (first[found.weights == top] >= 10**beyond).any():
        return None  # 64 bits might not hold it
    total = np.zeros(len(found.values), np.int64)
    for number in range(found.most):
        digits, has = found.digit(number)
        total = np.where(has, total * _BASE + digits, total)
    rest = np.where(found.counts > 0, found.weights - found.counts + 1 + groups, 0)
    if rest.min() < 0 or rest.max() > _LIMB:
        return None  # more decimals than the type has
    total *= _POWERS[rest]
    if unused := _DIGITS * groups - kind.scale:
        whole = total // 10**unused
        if (whole * 10**unused != total).any():
            return None
        total = whole
    if np.abs(total).max() >= 10**kind.precision:
        return None
    total = np.where(found.is_negative, -total, total)
    halves = np.empty((len(total), 2), np.int64)
    halves[:, 0], halves[:, 1] = total, total >> 63
    return pa.Array.from_buffers(kind, len(total), [found.values.validity(), pa.py_buffer(halves)])


def _long(found: _Digits, kind: pa.Decimal128Type, groups: int) -> pa.Array | None:
    """Numbers of more bits: parts of 16 decimal digits, put together by Arrow."""
    parts = -(-(kind.precision - kind.scale + _DIGITS * groups) // (_LIMB * _DIGITS))
    limbs = np.zeros((parts, len(found.values)), np.int64)
    for number in range(found.most):
        digits, has = found.digit(number)
        power = found.weights - number + groups
        if ((power < 0) & has).any() or ((power >= parts * _LIMB) & has).any():
            return None
        power = np.where(has, power, 0)
        scaled = digits * _POWERS[power % _LIMB]
        for part in range(parts):
            limbs[part] += np.where(power // _LIMB == part, scaled, 0)
    limbs = np.where(found.is_negative, -limbs, limbs)
    total: Any = None
    for part in range(parts):
        factor = pa.scalar(Decimal(10) ** (_LIMB * _DIGITS * part), pa.decimal256(16 * part + 1, 0))
        each = pc.multiply(pa.array(limbs[part]).cast(pa.decimal256(19, 0)), factor)
        total = each if total is None else pc.add(total, each)
    wide = pa.Array.from_buffers(
        pa.decimal256(_WIDE, _DIGITS * groups), len(total), [found.values.validity(), total.buffers()[1]]
    )
    try:
        return wide.cast(kind)
    except pa.ArrowInvalid:
        return None


# --- as texts ------------------------------------------------------------------------------------------

_head = struct.Struct(">HhHh").unpack_from


def texts(wire: RowBytes, values: Values) -> pa.Array:
    """Numerics as PostgreSQL writes them, one by one; `nan`, `inf` and `-inf` for what is no number."""
    content = bytes(wire.octets)
    nulls = values.is_null if values.is_null is not None else np.zeros(len(values), np.bool_)
    return pa.array(
        [
            None if is_null else _text(content, begin)
            for begin, is_null in zip(values.begins.tolist(), nulls.tolist(), strict=True)
        ],
        pa.string(),
    )


def _text(content: bytes, begin: int) -> str:
    count, weight, sign, shown = _head(content, begin)
    if sign in _WORDS:
        return _WORDS[sign]
    digits = "".join([f"{digit:04}" for digit in struct.unpack_from(f">{count}h", content, begin + _HEAD)])
    point = _DIGITS * (weight + 1)
    whole = digits[: max(point, 0)].ljust(point, "0").lstrip("0") or "0"
    text = f"{whole}.{'0' * -point}{digits[max(point, 0) :]}".ljust(len(whole) + 1 + shown, "0")
    text = text[: len(whole) + 1 + shown] if shown else whole
    return f"-{text}" if sign == _NEGATIVE else text
