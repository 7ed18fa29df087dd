"""Text that stands for a date, an instant, a time, bytes or a UUID -> Arrow values, a column at a time.

Every function takes a `pa.StringArray` and either returns all its values exactly, or raises
`pa.ArrowInvalid` for the whole array; `isolate` then finds the values that are to blame.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from icetap.types import TIME, TIMESTAMP, TIMESTAMPTZ, kind_of
from target_iceberg.decoding.json_text import NumberText

if TYPE_CHECKING:
    from collections.abc import Callable

    Cast = Callable[[pa.StringArray], "Typed"]

_FIRST_MICROSECOND = -62_135_596_800_000_000  # 0001-01-01T00:00:00
_LAST_MICROSECOND = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999
_FIRST_DAY = -719_162  # 0001-01-01
_LAST_DAY = 2_932_896  # 9999-12-31
_OFFSET = r"^\d{4}-\d\d-\d\d[T ].*(?:Z|[+-]\d\d(?::?\d\d)?)$"
_NANOSECONDS = r"(\.\d{6})\d+"
_LOST_DIGITS = r"\.\d{6}\d*[1-9]"
_TIME = r"^\d\d:\d\d:\d\d(?:\.\d+)?$"
_UUID_LENGTH = 36
_UUID_DASHES = (8, 13, 18, 23)


@dataclass(frozen=True, slots=True)
class Typed:
    """Values of one column: null where `bad` says why a value was refused."""

    array: pa.Array
    lossy: int = 0
    """How many values lost something that the types' table declares."""
    bad: dict[int, str] = field(default_factory=dict)


def travels_as_string(field: pa.Field) -> bool:
    """Say whether a JSON value of this column is a string."""
    kind = field.type
    return (
        pa.types.is_temporal(kind)
        or pa.types.is_binary(kind)
        or kind == pa.uuid()
        or (pa.types.is_string(kind) and kind_of(field) is None)
    )


def cast_text(text: pa.StringArray, field: pa.Field) -> Typed:
    """Return the typed values of a column that travels as strings.

    Raises:
        pa.ArrowInvalid: When one of the values does not stand for one of the column's type.
    """
    kind = field.type
    if pa.types.is_string(kind):
        return Typed(text)
    if pa.types.is_timestamp(kind):
        return _instants(text) if kind.tz else _local_timestamps(text)
    if pa.types.is_date(kind):
        return Typed(_within(text.cast(pa.date32()), _FIRST_DAY, last=_LAST_DAY))
    if pa.types.is_time(kind):
        return _times(text)
    if kind == pa.uuid():
        return Typed(_uuids(text))
    return Typed(_hex(text) if kind_of(field) == "hex" else _base64(text))


def refusal(field: pa.Field) -> str:
    """Return what a string in this column should have been."""
    kind = field.type
    if pa.types.is_timestamp(kind):
        zone = "" if kind.tz else " without an offset"
        return f"expected a date-time{zone} of the years 1 to 9999"
    for matches, expected in (
        (pa.types.is_date, "a date (YYYY-MM-DD) of the years 1 to 9999"),
        (pa.types.is_time, "a time (HH:MM:SS) of one day, without an offset"),
        (lambda one: one == pa.uuid(), "a UUID"),
        (pa.types.is_binary, "hexadecimal text" if kind_of(field) == "hex" else "base64"),
    ):
        if matches(kind):
            return f"expected {expected}"
    return "expected a string"


def finite(doubles: pa.Array) -> pa.Array:
    """Return the doubles; Arrow reads the bare words NaN and Infinity, which are not JSON."""
    if pc.all(pc.is_finite(doubles)).as_py() is False:
        raise pa.ArrowInvalid("NaN or Infinity")
    return doubles


def lossy_doubles(texts: pa.StringArray, doubles: pa.DoubleArray) -> int:
    """Count the doubles whose shortest text is another number than the text they came from."""
    differs = pc.not_equal(texts, doubles.cast(pa.string()))
    suspects = pc.filter(texts, differs), pc.filter(doubles, differs)
    return sum(
        NumberText(text).exact() != Decimal(repr(double))
        for text, double in zip(*(array.to_pylist() for array in suspects), strict=True)
        if double is not None
    )


def isolate(text: pa.StringArray, cast: Cast, *, reason: str) -> Typed:
    """Cast what can be cast: halves an array that fails until the bad values stand alone."""
    try:
        return cast(text)
    except pa.ArrowInvalid:
        if len(text) == 1:
            return Typed(cast(pa.nulls(1, text.type)).array, bad={0: reason})
    middle = len(text) // 2
    left = isolate(text[:middle], cast, reason=reason)
    right = isolate(text[middle:], cast, reason=reason)
    return Typed(
        pa.concat_arrays([left.array, right.array]),
        left.lossy + right.lossy,
        left.bad | {row + middle: why for row, why in right.bad.items()},
    )


def _within(values: pa.Array, first: int, *, last: int) -> pa.Array:
    low, high = _bounds(values)
    if low is not None and high is not None and (low < first or high > last):
        raise pa.ArrowInvalid("a year outside 1 to 9999")
    return values


def _numbers(values: pa.Array) -> pa.Array:
    return values.view(pa.int32() if pa.types.is_date32(values.type) else pa.int64())


def _bounds(values: pa.Array) -> tuple[int | None, int | None]:
    bounds = pc.min_max(_numbers(values))
    return bounds["min"].as_py(), bounds["max"].as_py()


def outside_years(values: pa.Array) -> list[int]:
    """Return the rows of a date or timestamp (microseconds) column outside the years 1 to 9999."""
    if pa.types.is_date32(values.type):
        first, last = _FIRST_DAY, _LAST_DAY
    elif pa.types.is_timestamp(values.type):
        first, last = _FIRST_MICROSECOND, _LAST_MICROSECOND
    else:
        return []
    low, high = _bounds(values)
    if low is None or high is None or (low >= first and high <= last):
        return []
    numbers = _numbers(values)
    beyond = pc.or_(pc.less(numbers, first), pc.greater(numbers, last))
    return [row for row, is_beyond in enumerate(beyond.to_pylist()) if is_beyond]


def _cut_to_microseconds(text: pa.StringArray) -> tuple[pa.StringArray, int]:
    """Drop the digits after the sixth; the count is of values that were not zero there."""
    lost = pc.sum(pc.match_substring_regex(text, _LOST_DIGITS)).as_py() or 0
    return pc.replace_substring_regex(text, _NANOSECONDS, r"\1"), lost


def _instants(text: pa.StringArray) -> Typed:
    """Offsets are honoured; a value without one is read as UTC."""
    try:
        return Typed(_within(text.cast(TIMESTAMPTZ), _FIRST_MICROSECOND, last=_LAST_MICROSECOND))
    except pa.ArrowInvalid:
        text, lost = _cut_to_microseconds(pc.ascii_upper(text))
    zoned = pc.match_substring_regex(text, _OFFSET)
    nothing = pa.scalar(None, pa.string())
    with_offset = pc.if_else(zoned, text, nothing).cast(TIMESTAMPTZ)
    without = pc.if_else(zoned, nothing, text).cast(TIMESTAMP).cast(TIMESTAMPTZ)
    values = pc.coalesce(with_offset, without)
    return Typed(_within(values, _FIRST_MICROSECOND, last=_LAST_MICROSECOND), lost)


def _local_timestamps(text: pa.StringArray) -> Typed:
    try:
        return Typed(_within(text.cast(TIMESTAMP), _FIRST_MICROSECOND, last=_LAST_MICROSECOND))
    except pa.ArrowInvalid:
        text, lost = _cut_to_microseconds(pc.ascii_upper(text))
    return Typed(_within(text.cast(TIMESTAMP), _FIRST_MICROSECOND, last=_LAST_MICROSECOND), lost)


def _times(text: pa.StringArray) -> Typed:
    """Arrow has no cast from text to a time of day: a moment of the first day of its epoch is one."""
    text, lost = _cut_to_microseconds(text)
    if pc.all(pc.match_substring_regex(text, _TIME)).as_py() is False:
        raise pa.ArrowInvalid("not a time of day")
    moments = pc.binary_join_element_wise("1970-01-01T", text, "").cast(TIMESTAMP)
    return Typed(moments.cast(TIME), lost)


def _uuids(text: pa.StringArray) -> pa.Array:
    """UUIDs of the usual 36 characters, in either case, all converted at once."""
    present = text.drop_null() if text.null_count else text
    storage = pa.Array.from_buffers(pa.binary(16), len(present), [None, pa.py_buffer(_uuid_bytes(present))])
    if text.null_count:
        places = pc.cumulative_sum(pc.cast(text.is_valid(), pa.int32()))
        storage = storage.take(
            pc.if_else(text.is_valid(), pc.subtract(places, 1), pa.scalar(None, pa.int32()))
        )
    return pa.ExtensionArray.from_storage(pa.uuid(), storage)


def _uuid_bytes(text: pa.StringArray) -> bytes:
    """Return the 16 bytes of each; the text has no nulls."""
    lengths = pc.min_max(pc.binary_length(text))
    if any(one.is_valid and one.as_py() != _UUID_LENGTH for one in (lengths["min"], lengths["max"])):
        raise pa.ArrowInvalid("not a UUID")
    count, (_, offsets, data) = len(text), text.buffers()
    if not count:
        return b""
    start = pa.Array.from_buffers(pa.int32(), 1, [None, offsets], offset=text.offset)[0].as_py()
    digits = data[start : start + count * _UUID_LENGTH].to_pybytes()
    dashes = all(digits[place::_UUID_LENGTH] == b"-" * count for place in _UUID_DASHES)
    try:
        found = bytes.fromhex(digits.decode().replace("-", "")) if dashes else b""
    except ValueError as error:
        raise pa.ArrowInvalid("not a UUID") from error
    if len(found) != count * 16:  # fromhex skips white space
        raise pa.ArrowInvalid("not a UUID")
    return found


def _base64(text: pa.StringArray) -> pa.Array:
    """RFC 4648, padded; line breaks (MIME) are allowed."""
    try:
        return pa.array(
            [
                None
                if one is None
                else binascii.a2b_base64(one.replace("\r\n", "").replace("\n", ""), strict_mode=True)
                for one in text.to_pylist()
            ],
            pa.binary(),
        )
    except ValueError as error:
        raise pa.ArrowInvalid("not base64") from error


def _hex(text: pa.StringArray) -> pa.Array:
    try:
        return pa.array(
            [None if one is None else binascii.unhexlify(one) for one in text.to_pylist()], pa.binary()
        )
    except ValueError as error:
        raise pa.ArrowInvalid("not hexadecimal") from error
