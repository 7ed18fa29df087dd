"""Masks on Arrow columns: what repeats is computed once, what can be is computed in compiled code."""

from __future__ import annotations

from binascii import hexlify
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from icetap.records.masks.documents import document_bytes, masked_document
from icetap.records.masks.plan import ELEMENT, VALUE, Node, Plan, masked_field
from icetap.records.masks.rules import Mask
from icetap.records.masks.values import (
    HASH_BYTES,
    HIDDEN,
    SHOWN_CHARACTERS,
    KeyedHash,
    hash_bytes,
    partial,
    plain_text,
)
from icetap.types import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

LOOKED_AT, MOST_DISTINCT = 4096, 0.9
"""Of so many rows at the begin of a batch, how many may be distinct before all are hashed one by one."""

AT_ONCE = 4096
"""So many values are hashed before their digests are joined, so that all of them stay in the processor's cache."""

_SHOWN = pa.scalar(SHOWN_CHARACTERS, pa.int32())
_EMAIL = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"


def masked_batch(batch: pa.RecordBatch, plan: Plan, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch with its masks applied.

    Args:
        batch: The rows as read.
        plan: What happens to its columns.
        schema: What `plan.schema` gave for the batch's own schema.
    """
    arrays = []
    for column, array in zip(batch.schema, batch.columns, strict=True):
        node = plan.columns.get(column.name)
        if node is None:
            arrays.append(array)
        elif node.mask is not Mask.DROP and masked_field(column, node) is not None:
            arrays.append(_masked(array, column, node, plan.hashed))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _masked(array: pa.Array, column: pa.Field, node: Node, hashed: KeyedHash | None) -> pa.Array:
    match node.mask:
        case Mask.HASH:
            if hashed is None:
                raise TypeError("a hash without its key")  # the settings were checked for it
            return _hashed(array, column, hashed)
        case Mask.PARTIAL:
            return _partial(array, column)
        case Mask.REDACT:
            return pa.nulls(len(array), column.type)
        case Mask.YEAR:
            return pc.cast(pc.floor_temporal(array, unit="year"), column.type)
    if node.document is not None:
        document = node.document
        return _by_distinct(array, lambda text: masked_document(text, document, hashed))
    return _nested(array, column, node, hashed)


# --- hash -------------------------------------------------------------------------------------------


def _hashed(array: pa.Array, column: pa.Field, hashed: KeyedHash) -> pa.Array:
    """Hash each distinct value once; a column whose values repeat costs next to nothing."""
    if _has_few_repeats(array):
        texts = _hex_texts(array.drop_null(), column, hashed)
        return (
            texts
            if not array.null_count
            else pc.replace_with_mask(pa.nulls(len(array), pa.string()), array.is_valid(), texts)
        )
    encoded = pc.dictionary_encode(_storage(array))
    texts = _hex_texts(encoded.dictionary, column, hashed)
    return pa.DictionaryArray.from_arrays(encoded.indices, texts).dictionary_decode()


def _has_few_repeats(array: pa.Array) -> bool:
    """Say whether looking for repeated values would cost more than it saves, by the first rows."""
    if not pa.types.is_string(array.type) and not pa.types.is_integer(array.type):
        return False
    first = array[:LOOKED_AT].drop_null()
    return bool(len(first)) and pc.count_distinct(first).as_py() > MOST_DISTINCT * len(first)


def _storage(array: pa.Array) -> pa.Array:
    return array.storage if array.type == pa.uuid() else array


def _bytes(values: pa.Array, column: pa.Field) -> list[bytes]:
    kind = column.type
    if kind_of(column) == "json":
        return [document_bytes(text) for text in values.to_pylist()]
    if pa.types.is_integer(kind):
        values = pc.cast(values, pa.string())
    if pa.types.is_string(values.type) or pa.types.is_binary(kind):
        found: list[bytes] = pc.cast(values, pa.binary()).to_pylist()
        return found
    if kind == pa.uuid():
        return [hash_bytes(value.as_py()) for value in pa.ExtensionArray.from_storage(pa.uuid(), values)]
    return [hash_bytes(value) for value in values.to_pylist()]


def _hex_texts(values: pa.Array, column: pa.Field, hashed: KeyedHash) -> pa.Array:
    """Return the hash of each of some values, none of them null, as hexadecimal text."""
    parts = (values.slice(begin, AT_ONCE) for begin in range(0, len(values), AT_ONCE))
    digests = b"".join([b"".join(hashed.digests(_bytes(part, column))) for part in parts])
    halves = pc.binary_slice(_fixed(digests, 2 * HASH_BYTES), 0, HASH_BYTES)
    return _fixed(hexlify(halves.buffers()[1]), 2 * HASH_BYTES).cast(pa.string())


def _fixed(data: bytes, width: int) -> pa.Array:
    """Return bytes as an array of values that have so many each."""
    return pa.Array.from_buffers(pa.binary(width), len(data) // width, [None, pa.py_buffer(data)])


# --- partial ----------------------------------------------------------------------------------------


def _partial(array: pa.Array, column: pa.Field) -> pa.Array:
    if not pa.types.is_string(column.type):
        return _by_distinct(array, lambda value: partial(plain_text(value)))
    lengths = pc.utf8_length(array)
    is_short = pc.less_equal(lengths, SHOWN_CHARACTERS)
    hidden = pc.if_else(is_short, lengths, pc.subtract(lengths, _SHOWN))
    # Counts from the end alone; a slice walks the whole text.
    tail = pc.utf8_replace_slice(array, 0, -SHOWN_CHARACTERS, "")
    found = pc.binary_join_element_wise(_stars(hidden), pc.if_else(is_short, "", tail), "")
    if not _has_at(array):
        return found
    is_email = pc.match_substring_regex(array, _EMAIL)
    halves = pc.split_pattern(pc.filter(array, is_email), "@", max_splits=1)
    local, domain = pc.list_element(halves, 0), pc.list_element(halves, 1)
    emails = pc.binary_join_element_wise(_stars(pc.utf8_length(local)), domain, "@")
    return pc.replace_with_mask(found, pc.fill_null(is_email, False), emails)


def _stars(counts: pa.Array) -> pa.Array:
    """Return texts of so many stars, none for null: one run of them all, cut by offsets."""
    ends = pc.cumulative_sum(pc.fill_null(counts, 0))
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    stars = HIDDEN.encode() * offsets[-1].as_py()
    return pa.Array.from_buffers(pa.string(), len(counts), [None, offsets.buffers()[1], pa.py_buffer(stars)])


def _has_at(array: pa.Array) -> bool:
    """Say whether a text may hold an `@`; the bytes of a slice's neighbours count too, which costs time alone."""
    texts = array.buffers()[2]
    return texts is not None and b"@" in texts.to_pybytes()


def _by_distinct(array: pa.Array, mask: Callable[[Any], str | None]) -> pa.Array:
    """Apply a function to each distinct value once; null stays null."""
    encoded = pc.dictionary_encode(_storage(array))
    values = encoded.dictionary
    if array.type == pa.uuid():
        values = pa.ExtensionArray.from_storage(pa.uuid(), values)
    masked = pa.array((mask(value.as_py()) for value in values), pa.string(), size=len(values))
    return pc.take(masked, encoded.indices)


# --- nested -----------------------------------------------------------------------------------------


def _nested(array: pa.Array, column: pa.Field, node: Node, hashed: KeyedHash | None) -> pa.Array:
    kind = column.type
    new = masked_field(column, node)
    if new is None:
        raise TypeError(f"'{column.name}' is dropped whole")  # its caller leaves it out
    if pa.types.is_struct(kind):
        return _struct(array, new.type, node, hashed)
    part = ELEMENT if pa.types.is_list(kind) else VALUE
    validity, offsets = array.buffers()[:2]
    if part == ELEMENT:
        children = [_masked(array.values, kind.value_field, node.parts[part], hashed)]
    else:
        items = _masked(array.items, kind.item_field, node.parts[part], hashed)
        fields = [new.type.key_field, new.type.item_field]
        children = [pa.StructArray.from_arrays([array.keys, items], fields=fields)]
    return pa.Array.from_buffers(
        new.type, len(array), [validity, offsets], offset=array.offset, children=children
    )


def _struct(array: pa.Array, kind: pa.DataType, node: Node, hashed: KeyedHash | None) -> pa.Array:
    children = []
    for number, child in enumerate(array.type):
        part = node.parts.get(child.name)
        if part is None:
            children.append(array.field(number))
        elif masked_field(child, part) is not None:
            children.append(_masked(array.field(number), child, part, hashed))
    mask = array.is_null() if array.null_count else None
    return pa.StructArray.from_arrays(children, fields=list(kind), mask=mask)
