"""From the driver's arrays to the exact ones, with the values that do not fit marked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from icetap.sql.dialect import Decoded
from icetap.types import decimals_from_texts

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

LARGEST_EXACT = 9007199254740992.0
"""2 ** 53: above it, a double no longer tells neighbouring integers apart."""

_TIMESTAMP = r"^\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6}0*)?)?)?$"
_TIMESTAMPTZ = r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,6}0*)?)? ?(Z|[+-]\d\d:?\d\d)$"
_DATE = r"^\d{4}-\d\d-\d\d$"
_TIME = r"^\d\d:\d\d(:\d\d(\.\d{1,6}0*)?)?$"
_EXCESS_ZEROS = r"(\.\d{6})0+"
_MICROSECONDS_OF = re.compile(r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6})0*)?)?")


def as_is(arrays: Sequence[pa.Array]) -> Decoded:
    """Take the driver's array."""
    return Decoded(arrays[0])


def boolean(arrays: Sequence[pa.Array]) -> Decoded:
    """0 and 1."""
    numbers = arrays[0]
    array = pc.equal(numbers, 1)
    refused = pc.fill_null(pc.and_(pc.not_equal(numbers, 0), pc.not_equal(numbers, 1)), False)
    return Decoded(array, _if_any(refused))


def text(arrays: Sequence[pa.Array]) -> Decoded:
    """Texts; the driver passes bytes that are not UTF-8 on unseen."""
    return Decoded.utf8(arrays[0].view(pa.binary()))


def any_scalar(arrays: Sequence[pa.Array]) -> Decoded:
    """The plain text of a text, an integer or a double."""
    texts = text(arrays[:1])
    integers, doubles = (pc.cast(array, pa.string()) for array in arrays[1:])
    return Decoded(pc.coalesce(texts.array, integers, doubles), texts.refused)


def decimal(arrays: Sequence[pa.Array], *, kind: pa.DataType) -> Decoded:
    """Integers, and doubles whose shortest text has no more digits than the type holds."""
    integers, doubles = arrays
    texts = pc.coalesce(pc.cast(integers, pa.string()), pc.cast(doubles, pa.string()))
    exact = pc.if_else(pc.less_equal(pc.abs(pc.fill_null(doubles, 0.0)), LARGEST_EXACT), texts, None)
    return Decoded.of(decimals_from_texts(exact, kind), texts)


def instant(arrays: Sequence[pa.Array], *, kind: pa.DataType) -> Decoded:
    """ISO 8601 texts of one kind: dates, times, timestamps without or with an offset.

    Accepts what SQLite's own date functions write and read, up to microseconds; a timestamp without a
    time of day is midnight, as it is to SQLite. Everything else does not fit, numbers included.
    """
    given = arrays[0]
    if pa.types.is_date(kind):
        return _cast_or_mark(_matching(given, _DATE), kind, given=given)
    if pa.types.is_time(kind):
        return _time(given)
    # The cheap way first: texts of one ordinary form need no regular expression.
    plain = _plain_timestamps(given, kind)
    if plain is not None:
        return Decoded(plain)
    texts = _matching(given, _TIMESTAMPTZ if kind.tz else _TIMESTAMP)
    texts = pc.replace_substring_regex(texts, _EXCESS_ZEROS, r"\1")
    if kind.tz:
        texts = pc.replace_substring(texts, " +", "+")
        texts = pc.replace_substring(pc.replace_substring(texts, " -", "-"), " Z", "Z")
    return _cast_or_mark(texts, kind, given=given)


_PLAIN_LENGTHS = pa.array([10, 19, 21, 22, 23, 24, 25, 26], pa.int32())


def _plain_timestamps(given: pa.Array, kind: pa.DataType) -> pa.Array | None:
    """Return the timestamps when all have an ordinary length; pyarrow's parser refuses bad digits."""
    if kind.tz:
        return None
    lengths = pc.fill_null(pc.binary_length(given), 10)
    if not pc.all(pc.is_in(lengths, value_set=_PLAIN_LENGTHS)).as_py():
        return None
    try:
        return pc.cast(given, kind)
    except pa.ArrowInvalid:
        return None


def _time(given: pa.Array) -> Decoded:
    """Times of day, as microseconds since midnight; pyarrow has no such cast."""
    micros = [_microseconds(value) for value in _matching(given, _TIME).to_pylist()]
    array = pa.array(micros, pa.int64()).cast(pa.time64("us"))
    return Decoded.of(array, given)


def _microseconds(value: str | None) -> int | None:
    match = _MICROSECONDS_OF.fullmatch(value) if value else None
    if match is None:
        return None
    hours, minutes, seconds = int(match[1]), int(match[2]), int(match[3] or 0)
    if hours > 23 or minutes > 59 or seconds > 59:
        return None
    return ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + int((match[4] or "0").ljust(6, "0"))


def _matching(texts: pa.Array, pattern: str) -> pa.Array:
    return pc.if_else(pc.match_substring_regex(texts, pattern), texts, None)


def _cast_or_mark(
    texts: pa.Array,
    kind: pa.DataType,
    *,
    given: pa.Array,
) -> Decoded:
    """Cast all at once; when that fails, one by one, to find which do not fit."""
    try:
        array = pc.cast(texts, kind)
    except pa.ArrowInvalid:
        array = pa.array([_cast_one(value, kind) for value in texts.to_pylist()], kind)
    return Decoded.of(array, given)


def _cast_one(value: str | None, kind: pa.DataType) -> dt.date | None:
    try:
        result: dt.date | None = pa.scalar(value, pa.string()).cast(kind).as_py()
    except pa.ArrowInvalid:
        return None
    return result


def _if_any(mask: pa.Array) -> pa.Array | None:
    return mask if pc.any(mask).as_py() else None
