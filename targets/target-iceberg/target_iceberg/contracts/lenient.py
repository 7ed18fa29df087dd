"""Values of another type than their column's: those that fit exactly stay, the others become null and are counted.

For `schema_policy: discard`. Numbers of one kind fit a column of another when they are the same number;
nothing else changes its meaning: no text is read as a number, no time gains or loses a zone.
"""

from __future__ import annotations

import functools
import struct
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from icetap.types import INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, fitted_decimal, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Losses:
    """Values left out, by column of the source (`address.zip` inside objects)."""

    discarded: Counter[str] = field(default_factory=Counter)
    """Values that the table has no place for."""
    nulled: Counter[str] = field(default_factory=Counter)
    """Values that did not fit their column's type."""

    def discard(self, column: str, values: pa.Array) -> None:
        """Count values of a column that is left out; null is not one."""
        self.discarded[column] += len(values) - values.null_count


def cast_leniently(array: pa.Array, source: pa.Field, *, to: pa.Field, path: str, losses: Losses) -> pa.Array:
    """Return the values in the wanted column's type, null where they do not fit it exactly.

    Args:
        array: The values.
        source: Their column.
        to: The column wanted.
        path: The column's name, for the counts.
        losses: Takes what is left out.
    """
    old, new = source.type, to.type
    if old.equals(new) and kind_of(source) in {kind_of(to), "text"} and not pa.types.is_nested(new):
        return array
    into = functools.partial(cast_leniently, losses=losses)
    if pa.types.is_struct(old) and pa.types.is_struct(new):
        return _struct(array, old, to=new, path=path, losses=losses)
    if pa.types.is_list(old) and pa.types.is_list(new):
        array = from_start(array)
        values = into(array.values, old.value_field, to=new.value_field, path=path)
        return pa.ListArray.from_arrays(array.offsets, values, type=new, mask=array.is_null())
    if pa.types.is_map(old) and pa.types.is_map(new) and old.key_type == new.key_type:
        array = from_start(array)
        items = into(array.items, old.item_field, to=new.item_field, path=path)
        return pa.MapArray.from_arrays(array.offsets, array.keys, items, type=new, mask=array.is_null())
    if _is_number(old) and _is_number(new):
        values = [None if one is None else _number(one, new) for one in array.to_pylist()]
        found = pa.array(values, new)
    else:
        found = pa.nulls(len(array), new)
    losses.nulled[path] += found.null_count - array.null_count
    return found


def whole_or_null(array: pa.Array, rows: list[int]) -> pa.Array:
    """Return the array with null in these rows."""
    mask = pc.is_in(pa.arange(0, len(array)), value_set=pa.array(rows, pa.int64()))
    return pc.if_else(mask, pa.scalar(None, array.type), array)


def _struct(
    array: pa.StructArray, old: pa.StructType, *, to: pa.StructType, path: str, losses: Losses
) -> pa.Array:
    own = {child.name: (array.field(place), child) for place, child in enumerate(old)}
    for name, (values, _) in own.items():
        if to.get_field_index(name) < 0:
            losses.discard(f"{path}.{name}", values)
    members = [
        cast_leniently(*own[child.name], to=child, path=f"{path}.{child.name}", losses=losses)
        if child.name in own
        else pa.nulls(len(array), child.type)
        for child in to
    ]
    return pa.StructArray.from_arrays(members, fields=list(to), mask=array.is_null())


def from_start(array: pa.Array) -> pa.Array:
    """Return a slice as an array of its own: offsets and children then begin at its first value."""
    return pa.concat_arrays([array, array[:0]]) if array.offset else array


# --- numbers ----------------------------------------------------------------------------------------------


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _number(value: Any, kind: pa.DataType) -> Any:
    """Return the same number in another type, None when there is none."""
    if isinstance(value, float):
        # The shortest text that is this double: what the source wrote.
        value = Decimal(repr(value))
    exact = Decimal(value)
    return _FORMS[_family(kind)](exact, kind) if exact.is_finite() else None


def _family(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return "decimal"
    return "integer" if pa.types.is_integer(kind) else "float"


def _integer(exact: Decimal, kind: pa.DataType) -> int | None:
    low, high = (INT32_MIN, INT32_MAX) if kind == pa.int32() else (INT64_MIN, INT64_MAX)
    return int(exact) if low <= exact <= high and exact == exact.to_integral_value() else None


def _float(exact: Decimal, kind: pa.DataType) -> float | None:
    double = float(exact)
    if kind == pa.float32():
        try:
            single: float = struct.unpack("f", struct.pack("f", double))[0]
        except OverflowError:
            return None
        return single if single == double else None
    return double if Decimal(repr(double)) == exact else None


_FORMS: dict[str, Callable[[Decimal, pa.DataType], Any]] = {
    "integer": _integer,
    "float": _float,
    "decimal": fitted_decimal,
}
