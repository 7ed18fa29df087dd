"""Arrow values cast to the types of a table's columns: exactly, or not at all (then null, by `lenient`)."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from icetap.types import kind_of, within_precision
from target_iceberg.contracts.lenient import Losses, cast_leniently, from_start

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

_EXACT = 2**53
_SAFE_ROUND_TRIP = 2**62


def conform_columns(
    batch: pa.RecordBatch,
    schema: pa.Schema,
    *,
    mapping: Mapping[str, str],
    overflow: Mapping[str, str],
    nulling: AbstractSet[str],
    losses: Losses,
) -> pa.RecordBatch:
    """Return the batch with the columns of `schema`.

    Args:
        batch: Rows with their own columns.
        schema: The columns wanted.
        mapping: Own column -> wanted column; wanted columns without a source are null.
        overflow: Own integer column -> wanted column for what its double column cannot hold.
        nulling: Own columns whose values become null where they do not fit.
        losses: Takes the count of those values.

    Raises:
        pa.ArrowInvalid: When a value does not fit its column exactly.
        ValueError: When a column of the batch has no place: nothing is dropped in silence.
    """
    if homeless := [name for name in batch.schema.names if name not in mapping]:
        raise ValueError(f"the columns {homeless} are not part of the evolution that was planned")
    arrays: dict[str, pa.Array] = {}
    for own, wanted in mapping.items():
        if own not in batch.schema.names:
            continue
        array, source = batch.column(own), batch.schema.field(own)
        if own in overflow:
            inexact = inexact_in_double(array)
            beyond = pc.if_else(inexact, array, pa.scalar(None, array.type))
            arrays[overflow[own]] = cast_exactly(beyond, source, to=schema.field(overflow[own]))
            array = pc.if_else(inexact, pa.scalar(None, array.type), array)
        if own in nulling:
            arrays[wanted] = cast_leniently(array, source, to=schema.field(wanted), path=own, losses=losses)
        else:
            arrays[wanted] = cast_exactly(array, source, to=schema.field(wanted))
    columns = [
        arrays[one.name] if one.name in arrays else pa.nulls(batch.num_rows, one.type) for one in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def inexact_in_double(integers: pa.Array) -> pa.BooleanArray:
    """Mark the integers that no double equals; null is not one."""
    bounds = pc.min_max(integers)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if low is None or (low >= -_EXACT and high <= _EXACT):
        return pa.repeat(pa.scalar(value=False), len(integers))
    return pa.array([one is not None and int(float(one)) != one for one in integers.to_pylist()], pa.bool_())


def cast_exactly(array: pa.Array, source: pa.Field, *, to: pa.Field) -> pa.Array:
    """Return the values in the wanted column's type; scalars become text where it is a string.

    Raises:
        pa.ArrowInvalid: When a value does not fit exactly.
    """
    old, new = source.type, to.type
    if pa.types.is_string(new) and kind_of(to) == "json" and kind_of(source) != "json":
        return _json_text(array, source)
    if old.equals(new, check_metadata=True):
        return array
    if pa.types.is_string(new):
        return _text(array, source)
    if pa.types.is_struct(new):
        return _cast_struct(array, old, to=new)
    if pa.types.is_map(new):
        array = from_start(array)
        items = cast_exactly(array.items, old.item_field, to=new.item_field)
        return pa.MapArray.from_arrays(array.offsets, array.keys, items, type=new, mask=array.is_null())
    if pa.types.is_list(new):
        array = from_start(array)
        values = cast_exactly(array.values, old.value_field, to=new.value_field)
        return pa.ListArray.from_arrays(array.offsets, values, type=new, mask=array.is_null())
    if pa.types.is_integer(old) and pa.types.is_float64(new):
        # Arrow's own check refuses every integer above 2^53, also those that a double holds.
        if inexact_in_double(array).true_count:
            raise pa.ArrowInvalid("an integer that no double equals")
        return array.cast(new, safe=False)
    if pa.types.is_decimal(old) and pa.types.is_decimal(new):
        return within_precision(array, new).cast(new)
    cast = array.cast(new)
    return within_precision(cast) if pa.types.is_decimal(new) else cast


def _cast_struct(array: pa.StructArray, old: pa.StructType, *, to: pa.StructType) -> pa.Array:
    own = {child.name: (i, child) for i, child in enumerate(old)}
    members = []
    for child in to:
        if child.name in own:
            place, source = own[child.name]
            members.append(cast_exactly(array.field(place), source, to=child))
        else:
            members.append(pa.nulls(len(array), child.type))
    return pa.StructArray.from_arrays(members, fields=list(to), mask=array.is_null())


# --- text of scalars ------------------------------------------------------------------------------------


def _text(array: pa.Array, source: pa.Field) -> pa.StringArray:
    """Return plain text: numbers with all digits, instants as ISO 8601 in UTC, bytes as base64 (or hex)."""
    kind = source.type
    if pa.types.is_timestamp(kind):
        return pc.replace_substring(array.cast(pa.string()), " ", "T")
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_temporal(kind):
        return array.cast(pa.string())
    return pa.array([None if one is None else _word(one, source) for one in array.to_pylist()], pa.string())


def _word(value: Any, source: pa.Field) -> str:
    if isinstance(value, bytes):
        return value.hex() if kind_of(source) == "hex" else base64.b64encode(value).decode()
    if pa.types.is_decimal(source.type):
        return format(value, "f")
    return str(value)


def _json_text(array: pa.Array, source: pa.Field) -> pa.StringArray:
    """Return JSON text of scalars; text and what has no JSON form of its own is quoted."""
    text = _text(array, source) if not pa.types.is_string(source.type) else array
    kind = source.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return text
    if pa.types.is_floating(kind):
        return text
    quoted = [None if one is None else json.dumps(one, ensure_ascii=False) for one in text.to_pylist()]
    return pa.array(quoted, pa.string())
