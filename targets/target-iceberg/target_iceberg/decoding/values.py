"""Parsed JSON values -> Arrow columns, one value at a time, with a reason for each that is refused.

This is the exact and slow half of decoding; it meets values in three forms: what `json_text` parses,
what msgspec makes of a typed column (`float`, `Decimal`), and `msgspec.Raw` for columns without a
simpler form.
"""

from __future__ import annotations

import bisect
import functools
import itertools
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from icetap.types import (
    DECIMAL_TEXT,
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    decimals_from_texts,
    kind_of,
)
from target_iceberg.decoding.json_text import NumberText, dump_json, parse_json
from target_iceberg.decoding.scalars import (
    Typed,
    cast_text,
    finite,
    isolate,
    lossy_doubles,
    refusal,
    travels_as_string,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_EXACT_INTEGERS = 2**53


class UndeclaredField(Exception):  # noqa: N818 - a finding that makes the decoder look again, not an error
    """A record holds a field that the columns do not have."""


class _RefusedError(ValueError):
    """Why a value does not fit its column; never holds the value."""


def build(field: pa.Field, values: Sequence[Any]) -> Typed:
    """Return the column for these values; missing and null are null.

    Raises:
        UndeclaredField: When an object holds a key that its struct does not have.
    """
    kind = field.type
    match kind_of(field):
        case "json":
            sent = _as_sent(values)
            return Typed(sent) if sent is not None else _each(pa.string(), values, convert=_json_of)
        case "text":
            sent = _as_sent(values)
            if sent is not None and not pc.any(pc.match_substring_regex(sent, r'^["{[]')).as_py():
                return Typed(sent)
            return _each(pa.string(), values, convert=_text_of)
    if pa.types.is_nested(kind):
        return _nested(field, [_parsed(value) for value in values])
    if pa.types.is_null(kind):
        if any(value is not None for value in values):
            raise UndeclaredField
        return Typed(pa.nulls(len(values)))
    if travels_as_string(field):
        return _strings(field, values)
    return _scalars(kind, values)


def _as_sent(values: Sequence[Any]) -> pa.StringArray | None:
    """Return the JSON text of raw values, null for null; None when some have been parsed."""
    if set(map(type, values)) != {msgspec.Raw}:
        return None
    text = pa.array([bytes(value) for value in values], pa.binary()).cast(pa.string())
    return pc.if_else(pc.equal(text, "null"), pa.scalar(None, pa.string()), text)


def settled(field: pa.Field) -> pa.Field:
    """Return the field without members of which nothing but null has been seen yet."""
    kind = field.type
    if pa.types.is_struct(kind):
        members = [settled(child) for child in kind if not pa.types.is_null(child.type)]
        return field.with_type(pa.struct(members))
    if pa.types.is_map(kind):
        return field.with_type(pa.map_(kind.key_field, settled(kind.item_field)))
    if pa.types.is_list(kind):
        return field.with_type(pa.list_(settled(kind.value_field)))
    return field


def _parsed(value: Any) -> Any:
    return parse_json(bytes(value).decode()) if isinstance(value, msgspec.Raw) else value


def _found(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float | Decimal):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an object" if isinstance(value, dict) else "an array"


def _each(kind: pa.DataType, values: Sequence[Any], *, convert: Callable[[Any], Any]) -> Typed:
    converted: list[Any] = []
    bad = {}
    for row, value in enumerate(values):
        try:
            converted.append(None if value is None else convert(value))
        except _RefusedError as refused:
            converted.append(None)
            bad[row] = str(refused)
        except RecursionError:
            converted.append(None)
            bad[row] = "nested too deeply"
    return Typed(pa.array(converted, kind), bad=bad)


# --- strings and what travels in them ------------------------------------------------------------------


def _strings(field: pa.Field, values: Sequence[Any]) -> Typed:
    try:
        text = Typed(pa.array(values, pa.string()))
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
        expected = refusal(field)
        text = _each(pa.string(), values, convert=functools.partial(_plain_string, expected=expected))
    typed = isolate(text.array, lambda part: cast_text(part, field), reason=refusal(field))
    return Typed(typed.array, typed.lossy, text.bad | typed.bad)


def _plain_string(value: Any, *, expected: str) -> str:
    if not isinstance(value, str):
        raise _RefusedError(f"{expected}, found {_found(value)}")
    return _utf8(value)


def _utf8(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _RefusedError("a lone surrogate, which no UTF-8 text can hold") from None
    return text


def _json_of(value: Any) -> str | None:
    """JSON text: as it was sent, or (from a line that is odd elsewhere) written again."""
    if isinstance(value, msgspec.Raw):
        text = bytes(value).decode()
        return None if text == "null" else text
    text = _utf8(dump_json(value, ascii_only=False))
    if "NaN" in text or "Infinity" in text:
        try:
            msgspec.json.decode(text)
        except msgspec.DecodeError:
            raise _RefusedError("NaN or Infinity, which JSON does not have") from None
    return text


def _text_of(value: Any) -> str | None:
    """Plain text of any scalar, numbers with the digits that were sent."""
    if isinstance(value, msgspec.Raw):
        text = bytes(value).decode()
        if text[0] not in '"{[':
            return None if text == "null" else text
        value = msgspec.json.decode(text)
    if isinstance(value, dict | list):
        raise _RefusedError(f"expected a single value, found {_found(value)}")
    if isinstance(value, NumberText):
        _finite(value)
    return _utf8(value) if isinstance(value, str) else dump_json(value)


# --- numbers and booleans -------------------------------------------------------------------------------


def _scalars(kind: pa.DataType, values: Sequence[Any]) -> Typed:
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _numbers(kind, values)
    if pa.types.is_boolean(kind):
        accepted: type = bool
        convert: Callable[[Any], Any] = _boolean
    else:
        accepted = int
        convert = functools.partial(_integer, narrow=kind == pa.int32())
    if set(map(type, values)) <= {accepted, type(None)}:
        try:
            return Typed(pa.array(values, kind))
        except (pa.ArrowInvalid, OverflowError):
            pass  # one of them is out of range; find it
    return _each(kind, values, convert=convert)


def _numbers(kind: pa.DataType, values: Sequence[Any]) -> Typed:
    """Doubles and decimals: from their text all at once, or one by one to find the one that is refused."""
    kinds = set(map(type, values))
    if kinds == {msgspec.Raw}:
        try:
            return _from_text(
                kind, pa.array([bytes(value) for value in values], pa.binary()).cast(pa.string())
            )
        except pa.ArrowInvalid:
            pass  # one of them does not fit; find it
    elif pa.types.is_floating(kind) and kinds <= {float, type(None)}:
        return Typed(pa.array(values, kind))
    values = [_parsed(value) for value in values]
    if pa.types.is_decimal(kind):
        convert = functools.partial(_decimal, precision=kind.precision, scale=kind.scale)
        return _each(kind, values, convert=convert)
    losses: list[int] = []
    typed = _each(kind, values, convert=functools.partial(_double, losses=losses))
    return Typed(typed.array, len(losses), typed.bad)


def _from_text(kind: pa.DataType, text: pa.StringArray) -> Typed:
    if pa.types.is_decimal(kind):
        unquoted = pc.replace_substring_regex(text, f'^"({DECIMAL_TEXT.pattern})"$', r"\1")
        exact = decimals_from_texts(unquoted, kind)
        if exact.null_count > text.null_count:
            raise pa.ArrowInvalid("a number does not fit")
        return Typed(exact)
    doubles = finite(text.cast(kind))
    return Typed(doubles, lossy_doubles(text, doubles))


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _RefusedError(f"expected true or false, found {_found(value)}")
    return value


def _integer(value: Any, *, narrow: bool) -> int:
    if isinstance(value, bool) or not isinstance(value, int | NumberText):
        raise _RefusedError(f"expected an integer, found {_found(value)}")
    low, high = (INT32_MIN, INT32_MAX) if narrow else (INT64_MIN, INT64_MAX)
    beyond = _RefusedError(f"an integer beyond {32 if narrow else 64} bits")
    if isinstance(value, NumberText):
        exact = _finite(value)
        # Compared before the conversion: 1e999999 as an int would fill the memory.
        if not low <= exact <= high:
            raise beyond
        if exact != exact.to_integral_value():
            raise _RefusedError("expected an integer, found a number with a fraction")
        value = int(exact)
    if not low <= value <= high:
        raise beyond
    return int(value)


def _finite(value: NumberText) -> Decimal:
    exact = value.exact()
    if not exact.is_finite():
        raise _RefusedError("NaN or Infinity, which JSON does not have")
    return exact


def _decimal(value: Any, *, precision: int, scale: int) -> Decimal:
    """An exact decimal from a number or from decimal text; zeros may be added or cut, nothing else."""
    if isinstance(value, NumberText):
        exact = _finite(value)
    elif isinstance(value, bool | dict | list) or (
        isinstance(value, str) and not DECIMAL_TEXT.fullmatch(value)
    ):
        raise _RefusedError(f"expected a decimal number, found {_found(value)}")
    else:
        exact = Decimal(value)
    if not exact.is_finite():
        raise _RefusedError("expected a decimal number, found a string")
    sign, digits, exponent = exact.as_tuple()
    if not any(digits):
        return Decimal(0)
    text = "".join(map(str, digits))
    cut = text.rstrip("0")
    exponent = int(exponent) + len(text) - len(cut)
    if -exponent > scale or len(cut) + exponent > precision - scale:
        raise _RefusedError(f"does not fit decimal({precision},{scale}): too many digits")
    # As an integer of the column's last place, so that Arrow needs neither rounding nor exponents.
    return Decimal((sign, tuple(map(int, cut + "0" * (exponent + scale))), -scale))


def _double(value: Any, *, losses: list[int]) -> float:
    """Return the nearest double; `losses` grows when its shortest text is another number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _RefusedError(f"expected a number, found {_found(value)}")
    if isinstance(value, int) and -_EXACT_INTEGERS <= value <= _EXACT_INTEGERS:
        return float(value)
    text = NumberText(str(value)) if isinstance(value, int) else value
    if not isinstance(text, NumberText):
        return float(text)
    exact, double = _finite(text), float(text)
    if double in {float("inf"), float("-inf")}:
        raise _RefusedError("a number beyond the range of a double")
    if Decimal(repr(double)) != exact:
        losses.append(1)
    return double


# --- structs, lists and maps ----------------------------------------------------------------------------


def _nested(field: pa.Field, values: Sequence[Any]) -> Typed:
    kind = field.type
    expected = list if pa.types.is_list(kind) else dict
    bad = {}
    fitting = list(values)
    for row, value in enumerate(values):
        if value is not None and type(value) is not expected:
            bad[row] = f"expected {_found(expected())}, found {_found(value)}"
            fitting[row] = None
    if pa.types.is_struct(kind):
        typed = _struct(kind, fitting)
    elif pa.types.is_map(kind):
        typed = _map(kind, fitting)
    else:
        typed = _list(kind, fitting)
    return Typed(typed.array, typed.lossy, typed.bad | bad)


def _struct(kind: pa.StructType, values: Sequence[dict[str, Any] | None]) -> Typed:
    names = {child.name for child in kind}
    if any(value is not None and not value.keys() <= names for value in values):
        raise UndeclaredField
    children = [
        (child, build(child, [None if value is None else value.get(child.name) for value in values]))
        for child in kind
    ]
    children = [(child, typed) for child, typed in children if not pa.types.is_null(child.type)]
    bad: dict[int, str] = {}
    for child, typed in reversed(children):
        bad |= {row: f"{child.name}: {reason}" for row, reason in typed.bad.items()}
    array = pa.StructArray.from_arrays(
        [typed.array for _, typed in children],
        fields=[settled(child) for child, _ in children],
        mask=_absent(values),
    )
    return Typed(array, sum(typed.lossy for _, typed in children), bad)


def _absent(values: Sequence[Any]) -> pa.BooleanArray:
    return pa.array([value is None for value in values], pa.bool_())


def _offsets(values: Sequence[Any]) -> list[int]:
    return [0, *itertools.accumulate(0 if value is None else len(value) for value in values)]


def _rows_of(bad: dict[int, str], offsets: list[int]) -> dict[int, str]:
    """Turn places among all elements into the rows that hold them."""
    return {bisect.bisect_right(offsets, place) - 1: reason for place, reason in bad.items()}


def _list(kind: pa.ListType, values: Sequence[list[Any] | None]) -> Typed:
    offsets = _offsets(values)
    elements = build(kind.value_field, [one for value in values if value is not None for one in value])
    array = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()),
        elements.array,
        type=pa.list_(settled(kind.value_field)),
        mask=_absent(values),
    )
    return Typed(array, elements.lossy, _rows_of(elements.bad, offsets))


def _map(kind: pa.MapType, values: Sequence[dict[str, Any] | None]) -> Typed:
    offsets = _offsets(values)
    present = [value for value in values if value is not None]
    keys = build(kind.key_field, [key for value in present for key in value])
    # The row with a key that is refused is refused; until then Arrow has no map with a null key.
    names = keys.array.fill_null("") if keys.bad else keys.array
    items = build(kind.item_field, [item for value in present for item in value.values()])
    array = pa.MapArray.from_arrays(
        pa.array(offsets, pa.int32()),
        names,
        items.array,
        type=pa.map_(kind.key_field, settled(kind.item_field)),
        mask=_absent(values),
    )
    return Typed(array, items.lossy, _rows_of(items.bad | keys.bad, offsets))
