"""Masks on Arrow columns: what repeats is computed once, what can be is computed in compiled code."""

from __future__ import annotations

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
        texts = _hex_texts(hashed.digests(_bytes(array.drop_null(), column)))
        return (
            texts
            if not array.null_count
            else pc.replace_with_mask(pa.nulls(len(array), pa.string()), array.is_valid(), texts)
        )
    encoded = pc.dictionary_encode(_storage(array))
    digests = hashed.digests(_bytes(encoded.dictionary, column))
    return pa.DictionaryArray.from_arrays(encoded.indices, _hex_texts(digests)).dictionary_decode()


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


def _hex_texts(digests: list[bytes]) -> pa.Array:
    """Return the first half of each digest as hexadecimal text."""
    count, width = len(digests), 2 * HASH_BYTES  # a digest's bytes, and the characters of its half
    whole = pa.Array.from_buffers(pa.binary(width), count, [None, pa.py_buffer(b"".join(digests))])
    halves = memoryview(pc.binary_slice(whole, 0, HASH_BYTES).buffers()[1])[: count * HASH_BYTES]
    offsets = pa.py_buffer(memoryview(_offsets(count, width)))
    return pa.Array.from_buffers(pa.string(), count, [None, offsets, pa.py_buffer(halves.hex().encode())])


def _offsets(count: int, width: int) -> Any:
    from array import array  # noqa: PLC0415 - its name is that of every argument here

    return array("i", range(0, (count + 1) * width, width))


# --- partial ----------------------------------------------------------------------------------------


def _partial(array: pa.Array, column: pa.Field) -> pa.Array:
    if not pa.types.is_string(column.type):
        return _by_distinct(array, lambda value: partial(plain_text(value)))
    lengths = pc.utf8_length(array)
    hidden = pc.max_element_wise(pc.subtract(lengths, SHOWN_CHARACTERS), 0, skip_nulls=False)
    is_short = pc.equal(hidden, 0)
    stars = pc.binary_repeat(HIDDEN, pc.if_else(is_short, lengths, hidden))
    tail = pc.if_else(is_short, "", pc.utf8_slice_codeunits(array, -SHOWN_CHARACTERS, 2**31 - 1))
    found = pc.binary_join_element_wise(stars, tail, "")
    if not _has_at(array):
        return found
    is_email = pc.match_substring_regex(array, _EMAIL)
    halves = pc.split_pattern(pc.filter(array, is_email), "@", max_splits=1)
    local, domain = pc.list_element(halves, 0), pc.list_element(halves, 1)
    emails = pc.binary_join_element_wise(pc.binary_repeat(HIDDEN, pc.utf8_length(local)), domain, "@")
    return pc.replace_with_mask(found, pc.fill_null(is_email, False), emails)


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
