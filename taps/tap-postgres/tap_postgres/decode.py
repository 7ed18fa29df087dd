"""From what was read in binary form to the exact arrays, column-wise, with the values that do not fit marked.

Instants arrive as they are counted, so that infinity and years that Iceberg cannot hold are recognised in the numbers
themselves, without a cast to text in the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from icetap.sql.dialect import Decoded
from icetap.types import decimals_from_texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tap_postgres.overflow import Overflow

One = "Callable[[pa.Array], Decoded]"


def as_is(array: pa.Array) -> Decoded:
    """Take the array, without its extension type if that is not one of ours."""
    return Decoded(storage(array))


def storage(array: pa.Array) -> pa.Array:
    """Return an array without an extension type; UUIDs keep theirs."""
    if isinstance(array.type, pa.BaseExtensionType) and array.type != pa.uuid():
        return array.storage
    return array


def widened(kind: pa.DataType) -> Callable[[pa.Array], Decoded]:
    """Return a decoder for numbers that another type holds without loss."""
    return lambda array: Decoded(pc.cast(storage(array), kind))


def text(array: pa.Array) -> Decoded:
    """Texts; a database without an encoding (SQL_ASCII) may hold bytes that are no UTF-8: those do not fit."""
    raw = storage(array)
    try:
        raw.validate(full=True)
    except pa.ArrowInvalid:
        return Decoded.utf8(raw.view(pa.binary()))
    return Decoded(raw)


def decimal(kind: pa.DataType) -> Callable[[pa.Array], Decoded]:
    """Return a decoder of decimals and their texts; NaN, Infinity and what has more digits than the type do not fit."""

    def decode(array: pa.Array) -> Decoded:
        given = storage(array)
        if given.type == kind:
            return Decoded(given)
        texts = given if pa.types.is_string(given.type) else pc.cast(given, pa.string())
        return Decoded.of(decimals_from_texts(texts, kind), texts)

    return decode


def unsigned(array: pa.Array) -> Decoded:
    """Numbers of 64 bits, from their text; those of more do not fit."""
    return decimal_integer(storage(array))


def decimal_integer(texts: pa.Array) -> Decoded:
    """Integers from their texts; what has more than 64 bits does not fit."""
    try:
        return Decoded(pc.cast(texts, pa.int64()))
    except pa.ArrowInvalid:
        wide = pc.cast(texts, pa.decimal128(38, 0))
        low, high = (
            pa.scalar(-(2**63)).cast(pa.decimal128(38, 0)),
            pa.scalar(2**63 - 1).cast(pa.decimal128(38, 0)),
        )
        fits = pc.and_(pc.greater_equal(wide, low), pc.less_equal(wide, high))
        exact = pc.cast(pc.if_else(fits, wide, None), pa.int64())
        return Decoded.of(exact, texts)


# --- dates, times, instants -----------------------------------------------------------------------------


def bounded(overflow: Overflow) -> Callable[[pa.Array], Decoded]:
    """Return a decoder of dates, instants and times of day that finds what lies outside of its type."""

    def decode(array: pa.Array) -> Decoded:
        counted = array.view(pa.int32() if pa.types.is_date32(array.type) else pa.int64())
        return overflow.applied(counted)

    return decode


# --- lists ----------------------------------------------------------------------------------------------


def list_of(
    element: pa.Field, decode: Callable[[pa.Array], Decoded]
) -> Callable[[pa.Array, pa.Array], Decoded]:
    """Return a decoder of arrays of one dimension, which gets flat lists and their dimensions.

    Those of several dimensions do not fit.
    """

    def decode_list(array: pa.Array, dimensions: pa.Array) -> Decoded:
        lists = pa.concat_arrays([array]) if array.offset else array
        decoded = assembled(lists, decode(lists.values), element)
        several = pc.fill_null(pc.greater(dimensions, 1), False)
        if not pc.any(several).as_py():
            return decoded
        return Decoded(
            decoded.array, several if decoded.refused is None else pc.or_(decoded.refused, several)
        )

    return decode_list


def assembled(lists: pa.ListArray, values: Decoded, element: pa.Field) -> Decoded:
    """Return lists like these with other values; a list with a value that does not fit does not fit."""
    made = pa.ListArray.from_arrays(
        lists.offsets,
        values.array,
        type=pa.list_(element),
        mask=pc.is_null(lists) if lists.null_count else None,
    )
    if values.refused is None or not pc.any(values.refused).as_py():
        return Decoded(made)
    marks = pa.ListArray.from_arrays(lists.offsets, pc.fill_null(values.refused, False))
    parents = pc.unique(pc.filter(pc.list_parent_indices(marks), pc.list_flatten(marks)))
    return Decoded(made, pc.is_in(pa.array(range(len(lists)), pa.int64()), value_set=parents))


def if_any(mask: pa.Array) -> pa.Array | None:
    """Return a mask, or None when it marks nothing."""
    return mask if pc.any(mask).as_py() else None
