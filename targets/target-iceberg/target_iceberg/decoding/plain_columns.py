"""Arrow arrays of any producer -> the few types that the loader works with.

Dictionaries, views, large and fixed-size forms are written out, instants and times of day become
microseconds (digits behind the sixth are cut, and counted), small decimals 128 bits wide. Integers,
doubles and decimals keep their width: `conform.cast_exactly` looks at their values.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from icetap.errors import DataError
from icetap.types import KIND, TIME, TIMESTAMP, TIMESTAMPTZ

BEYOND = 2**63 - 1
"""Stands for an instant that microseconds of 64 bits cannot hold: a year far outside 1 to 9999."""
_BEYOND_DAY = 2**31 - 1
_MILLISECONDS_A_DAY = 86_400_000
_FACTORS = {"s": 1_000_000, "ms": 1_000}


def plain_field(field: pa.Field) -> pa.Field:
    """Return the field with the type that `plain` gives its values.

    Raises:
        DataError: For a type that no column of a table can hold.
    """
    kind = field.type
    if isinstance(kind, pa.ExtensionType | pa.BaseExtensionType) and kind != pa.uuid():
        is_json = getattr(kind, "extension_name", "") == "arrow.json"
        inner = plain_field(pa.field(field.name, kind.storage_type, field.nullable))
        return inner.with_metadata({KIND: "json"}) if is_json else inner
    return pa.field(field.name, _plain_type(kind, column=field.name), field.nullable)


def _plain_type(kind: pa.DataType, *, column: str) -> pa.DataType:
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _plain_type(kind.value_type, column=column)
    if pa.types.is_struct(kind):
        return pa.struct([plain_field(child) for child in kind])
    if pa.types.is_map(kind):
        item = plain_field(kind.item_field)
        return pa.map_(_plain_type(kind.key_type, column=column), item)
    if _is_list(kind):
        return pa.list_(plain_field(kind.value_field).with_name("element"))
    if pa.types.is_timestamp(kind):
        return TIMESTAMPTZ if kind.tz else TIMESTAMP
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    for is_one, plain_one in _PLAIN:
        if is_one(kind):
            return plain_one if plain_one is not None else kind
    raise DataError(f"column '{column}' of a BATCH file is {kind}, which no column of a table can hold")


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


_PLAIN = (
    (pa.types.is_null, None),
    (pa.types.is_boolean, None),
    (pa.types.is_integer, None),
    (pa.types.is_float16, pa.float32()),
    (pa.types.is_floating, None),
    (pa.types.is_decimal, None),
    (pa.types.is_date, pa.date32()),
    (pa.types.is_time, TIME),
    (lambda kind: kind == pa.uuid(), None),
    (pa.types.is_string, None),
    (pa.types.is_large_string, pa.string()),
    (pa.types.is_string_view, pa.string()),
    (pa.types.is_fixed_size_binary, None),
    (pa.types.is_binary, None),
    (pa.types.is_large_binary, pa.binary()),
    (pa.types.is_binary_view, pa.binary()),
)


def plain(array: pa.Array) -> tuple[pa.Array, int]:
    """Return the values in their plain type, and how many of them lost digits behind the microsecond."""
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return (array, 0) if kind == pa.uuid() else plain(array.storage)
    if pa.types.is_dictionary(kind):
        return plain(array.dictionary_decode())
    if pa.types.is_run_end_encoded(kind):
        return plain(pc.run_end_decode(array))
    if pa.types.is_struct(kind):
        return _struct(array)
    if pa.types.is_map(kind):
        array = _from_start(array)
        (keys, _), (items, lossy) = plain(array.keys), plain(array.items)
        wanted = _plain_type(kind, column="")
        return pa.MapArray.from_arrays(array.offsets, keys, items, type=wanted, mask=array.is_null()), lossy
    if _is_list(kind):
        return _list(array)
    if pa.types.is_timestamp(kind):
        return _instants(array)
    if pa.types.is_date64(kind):
        return _days(array)
    if pa.types.is_time64(kind) and kind.unit == "ns":
        return _microseconds(array, to=TIME)
    wanted = _plain_type(kind, column="")
    return (array if wanted == kind else array.cast(wanted)), 0


def _from_start(array: pa.Array) -> pa.Array:
    """Return a slice as an array of its own: offsets and children then begin at its first value."""
    return pa.concat_arrays([array, array[:0]]) if array.offset else array


def _struct(array: pa.StructArray) -> tuple[pa.Array, int]:
    children = [plain(array.field(i)) for i in range(array.type.num_fields)]
    fields = [plain_field(child) for child in array.type]
    if all(before.type == after.type for before, after in zip(array.type, fields, strict=True)):
        return array, 0
    found = pa.StructArray.from_arrays(
        [child for child, _ in children], fields=fields, mask=array.is_null() if array.null_count else None
    )
    return found, sum(lossy for _, lossy in children)


def _list(array: pa.Array) -> tuple[pa.Array, int]:
    wanted = _plain_type(array.type, column="")
    if not pa.types.is_list(array.type):
        array = array.cast(pa.list_(array.type.value_field))
    if array.type.value_type == wanted.value_type:
        return (array if array.type == wanted else array.cast(wanted)), 0
    array = _from_start(array)
    values, lossy = plain(array.values)
    return pa.ListArray.from_arrays(array.offsets, values, type=wanted, mask=array.is_null()), lossy


def _instants(array: pa.Array) -> tuple[pa.Array, int]:
    kind, wanted = array.type, TIMESTAMPTZ if array.type.tz else TIMESTAMP
    if kind.unit == "us":
        return (array if kind == wanted else array.cast(wanted)), 0
    if kind.unit == "ns":
        return _microseconds(array, to=wanted)
    factor = _FACTORS[kind.unit]
    return _scaled(array.view(pa.int64()), factor).view(wanted), 0


def _scaled(numbers: pa.Int64Array, factor: int) -> pa.Int64Array:
    """Multiply; what overflows becomes `BEYOND`."""
    try:
        return pc.multiply_checked(numbers, factor)
    except pa.ArrowInvalid:
        limit = BEYOND // factor
        fits = pc.and_(pc.less_equal(numbers, limit), pc.greater_equal(numbers, -limit))
        return pc.if_else(fits, pc.multiply(numbers, factor), BEYOND)


def _microseconds(array: pa.Array, *, to: pa.DataType) -> tuple[pa.Array, int]:
    """Cut nanoseconds as their text is cut: towards the past, before 1970 too."""
    numbers = array.view(pa.int64())
    cut = pc.divide(numbers, 1000)
    rest = pc.subtract(numbers, pc.multiply(cut, 1000))
    lossy = pc.sum(pc.not_equal(rest, 0)).as_py() or 0
    if lossy:
        cut = pc.subtract(cut, pc.cast(pc.less(rest, 0), pa.int64()))
    return cut.view(to), lossy


def _days(array: pa.Array) -> tuple[pa.Array, int]:
    numbers = array.view(pa.int64())
    days = pc.divide(numbers, _MILLISECONDS_A_DAY)
    rest = pc.subtract(numbers, pc.multiply(days, _MILLISECONDS_A_DAY))
    days = pc.subtract(days, pc.cast(pc.less(rest, 0), pa.int64()))
    fits = pc.and_(pc.less(days, _BEYOND_DAY), pc.greater(days, -_BEYOND_DAY))
    narrow = pc.if_else(fits, days, _BEYOND_DAY).cast(pa.int32())
    return narrow.view(pa.date32()), pc.sum(pc.not_equal(rest, 0)).as_py() or 0
