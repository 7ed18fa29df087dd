"""The fast lane: RECORD lines of plain columns -> Arrow in compiled code (`pyarrow.json`).

All or nothing: a block that holds one value that does not fit, one field that nobody declared or one
line that is not strict JSON raises `Unfit`, and the row lane decodes it, with the same result for the
rows that are good. Tried with pyarrow 26 (2026-11-21): integers, decimals and text come out exact,
duplicate keys, lone surrogates and wrong kinds raise; NaN and Infinity are taken, UTF-8 is not checked
and inferring a deeply nested field overflows the C stack, so this module checks the first two and
never infers.
"""

from __future__ import annotations

import json
import re
import struct
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from icetap.types import kind_of, within_precision
from target_iceberg.decoding.scalars import (
    Typed,
    cast_text,
    finite,
    lossy_doubles,
    travels_as_string,
)
from target_iceberg.decoding.values import settled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_BLOCK_BYTES = 1 << 19  # both cores get work, and a block's text stays in the cache
_LONG_NUMBER = r"-?[0-9.]*(?:[0-9]{16}|[0-9.]{17}|[eE][-+]?[0-9]{3})"
"""A number that a double may not hold: 16 digits, or an exponent of three digits.

Every number of 15 significant digits survives text -> double -> shortest text (IEEE 754, DBL_DIG).
"""


_EXACT_DIGITS = 38
"""A decimal column holds them; of more, or of what becomes more by its scale, `pyarrow.json` makes other numbers."""


_PLAIN_NAME = re.compile(r"[\w -]+", re.ASCII)
"""A name that JSON has in one spelling, but for `_ESCAPED_ASCII`."""
_ESCAPED_ASCII = r"\\u00[2-7]"
"""An escape that may stand for any letter of a name, or digit of a number."""


class Unfit(Exception):  # noqa: N818 - a verdict on a block, caught by its caller, not an error
    """This block cannot be decoded as a whole."""


def wire_type(field: pa.Field) -> pa.DataType | None:
    """Return the type in which `pyarrow.json` reads a column exactly, or None when there is none."""
    kind = field.type
    if travels_as_string(field):
        return pa.string()
    if pa.types.is_struct(kind):
        children = [(child.name, wire_type(child)) for child in kind]
        return None if any(wire is None for _, wire in children) else pa.struct(children)
    if pa.types.is_list(kind):
        element = wire_type(kind.value_field)
        return None if element is None else pa.list_(pa.field("element", element))
    if pa.types.is_map(kind) or kind_of(field) is not None:
        return None
    return kind


class JsonLane:
    """Decodes blocks of RECORD lines of one stream, for one set of columns."""

    def __init__(self, fields: Sequence[pa.Field]) -> None:
        self._fields = list(fields)
        wires = [wire_type(field) for field in fields]
        self.usable = bool(fields) and all(wire is not None for wire in wires)
        """False when a column needs the row lane: free-form JSON, maps."""
        if not self.usable:
            return
        record = pa.struct([(field.name, wire) for field, wire in zip(fields, wires, strict=True)])
        text = pa.string()
        envelope = [("type", text), ("stream", text), ("record", record)]
        self._parse = pj.ParseOptions(
            explicit_schema=pa.schema([*envelope, ("version", pa.int64()), ("time_extracted", text)]),
            unexpected_field_behavior="error",
        )
        self._doubles = _Doubles(fields)
        self._decimals = _too_long_decimals(fields)

    def decode(self, lines: bytes, *, count: int) -> tuple[list[Typed], pa.Array, pa.Array]:
        """Return the columns, the versions (int64) and the times of extraction (text).

        Raises:
            Unfit: When a line of the block is not as it should be; nothing says which.
        """
        if self._decimals is not None and _is_in(lines, self._decimals):
            raise Unfit  # the row lane says which of them fit
        table = self._read(lines, count)
        record = table.column("record").combine_chunks()
        record = record.chunk(0) if isinstance(record, pa.ChunkedArray) else record
        if record.null_count:
            raise Unfit
        try:
            columns = [_typed(record.field(i), field) for i, field in enumerate(self._fields)]
        except pa.ArrowInvalid as error:
            raise Unfit from error
        for place, lossy in self._doubles.lossy(lines, columns):
            columns[place] = Typed(columns[place].array, lossy)
        return columns, *(table.column(name).combine_chunks() for name in ("version", "time_extracted"))

    def _read(self, lines: bytes, count: int) -> pa.Table:
        if not (lines.isascii() or _is_utf8(lines)):
            raise Unfit
        try:
            # All in one block: runs are decoded side by side, and the parts of one need not be joined.
            table = pj.read_json(
                pa.BufferReader(lines),
                read_options=pj.ReadOptions(block_size=len(lines) + 1, use_threads=False),
                parse_options=self._parse,
            )
        except pa.ArrowInvalid as error:
            raise Unfit from error
        if table.num_rows != count:
            raise Unfit  # two messages on one line
        return table


def _one_value(data: bytes) -> pa.Array:
    """Return an array whose only value is `data`, not copied."""
    offsets = pa.py_buffer(struct.pack("=qq", 0, len(data)))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(data)])


def _is_utf8(data: bytes) -> bool:
    try:
        _one_value(data).cast(pa.large_string())
    except pa.ArrowInvalid:
        return False
    return True


def _typed(array: pa.Array, field: pa.Field) -> Typed:
    """Give an array as it was read its real type, at every depth."""
    kind = field.type
    if travels_as_string(field):
        return cast_text(array, field)
    if pa.types.is_floating(kind):
        return Typed(finite(array))
    if pa.types.is_decimal(kind):
        return Typed(within_precision(array))
    if pa.types.is_struct(kind):
        known = [(i, child) for i, child in enumerate(kind) if not pa.types.is_null(child.type)]
        children = [_typed(array.field(i), child) for i, child in known]
        mask = array.is_null() if array.null_count else None
        fields = list(settled(field).type)
        return Typed(
            pa.StructArray.from_arrays([child.array for child in children], fields=fields, mask=mask),
            sum(child.lossy for child in children),
        )
    if pa.types.is_list(kind):
        values = _typed(array.values, kind.value_field)
        buffers, nulls = array.buffers()[:2], array.null_count
        kind = settled(field).type
        return Typed(
            pa.Array.from_buffers(kind, len(array), buffers, nulls, array.offset, children=[values.array]),
            values.lossy,
        )
    return Typed(array)


class _Doubles:
    """Counts the numbers that a double does not hold; free of cost where no number is long."""

    def __init__(self, fields: Sequence[pa.Field]) -> None:
        self._places = [i for i, field in enumerate(fields) if pa.types.is_floating(field.type)]
        self._unfit = any(
            _has_double(field.type) for field in fields if pa.types.is_nested(field.type)
        ) or not all(is_nameable(fields[i].name) for i in self._places)
        self._long = LongNumbers(fields)
        self._searches: list[tuple[int, LongNumbers, re.Pattern[bytes]]] = []
        if self._unfit:
            return
        if not any(pa.types.is_nested(field.type) for field in fields):
            # No key of an object inside can be mistaken for a column's.
            self._searches = [
                (place, LongNumbers([fields[place]]), _long_texts(fields[place].name))
                for place in self._places
            ]
            return
        names = {f"f{i}": fields[i].name for i in self._places}
        members = [(name, msgspec.Raw, msgspec.Raw(b"null")) for name in names]
        record = msgspec.defstruct("Doubles", members, rename=names.get)
        self._decoder = msgspec.json.Decoder(msgspec.defstruct("Line", [("record", record)]))

    def lossy(self, lines: bytes, columns: Sequence[Typed]) -> Iterator[tuple[int, int]]:
        """Yield the places of the columns that lost digits, with the number of values."""
        if not self._long.may_be_in(lines):
            return
        if self._unfit:
            raise Unfit  # the row lane counts them one by one
        if self._searches:
            yield from _lossy_texts(self._searches, lines)
            return
        try:
            decoded: list[Any] = self._decoder.decode_lines(lines)
        except msgspec.MsgspecError as error:
            raise Unfit from error
        for place in self._places:
            name = f"f{place}"
            texts = pa.array([bytes(getattr(line.record, name)) for line in decoded], pa.binary()).cast(
                pa.string()
            )
            if lossy := lossy_doubles(texts, columns[place].array):
                yield place, lossy


def _long_texts(name: str) -> re.Pattern[bytes]:
    """Return a search for the long numbers of one column, three times faster than to parse the lines."""
    spellings = _spellings([name])
    key = b"|".join(re.escape(spelling.encode()) for spelling in sorted(spellings))
    # One spelling stands bare, so that `re` looks for it as a whole.
    key = key if len(spellings) == 1 else b"(?:" + key + b")"
    return re.compile(rb'"' + key + rb'"\s*:\s*([-+0-9.eE]{16,}|[-0-9.]*[eE][-+]?[0-9]{3}[0-9]*)')


def _lossy_texts(
    searches: Sequence[tuple[int, LongNumbers, re.Pattern[bytes]]], lines: bytes
) -> Iterator[tuple[int, int]]:
    for place, long_numbers, search in searches:
        if not long_numbers.may_be_in(lines):
            continue
        texts = pa.array(search.findall(lines), pa.binary()).cast(pa.string())
        try:
            lossy = lossy_doubles(texts, texts.cast(pa.float64()))
        except pa.ArrowInvalid as error:
            raise Unfit from error
        if lossy:
            yield place, lossy


def is_nameable(name: str) -> bool:
    """Say whether msgspec can have a field of this name (0.22: nothing that JSON would escape)."""
    return name.isprintable() and not set(name) & {'"', "\\"}


class LongNumbers:
    """Looks for numbers that the double columns may not hold; a false alarm costs time, not truth."""

    def __init__(self, fields: Sequence[pa.Field]) -> None:
        self._pattern = _long_number_pattern(fields)

    def may_be_in(self, lines: bytes) -> bool:
        """Say whether a double column of these lines may have a number of 16 digits or more."""
        if self._pattern is None:
            return False
        return _is_in(lines, self._pattern)


def _is_in(lines: bytes, pattern: str) -> bool:
    return bool(pc.match_substring_regex(_one_value(lines), pattern)[0].as_py())


def _has_double(kind: pa.DataType) -> bool:
    return any(pa.types.is_floating(leaf) for leaf in _leaves(kind))


def _too_long_decimals(fields: Sequence[pa.Field]) -> str | None:
    """Return a search (RE2) for numbers that decimal columns cannot be read from; None without such columns."""
    scales = [kind.scale for field in fields for kind in _leaves(field.type) if pa.types.is_decimal(kind)]
    if not scales:
        return None
    whole = _EXACT_DIGITS - max(scales)
    number = rf'"?[-+]?(?:0*[1-9][0-9]{{{whole}}}|[0-9.]{{{_EXACT_DIGITS}}}|[0-9.]+[eE][-+]?[0-9]+[\s",\]}}])'
    names = {field.name for field in fields if pa.types.is_decimal(field.type)}
    is_plain = not any(pa.types.is_nested(field.type) for field in fields)
    if is_plain and all(_PLAIN_NAME.fullmatch(name) for name in names):
        place = f'"(?:{"|".join(map(_quoted, sorted(names)))})"' + r"\s*:"
    else:
        place = r"[:\[,]"  # under any name, or under none
    return rf"{place}\s*{number}|{_ESCAPED_ASCII}"


def _leaves(kind: pa.DataType) -> Iterator[pa.DataType]:
    if not pa.types.is_nested(kind):
        yield kind
    for child in _children(kind):
        yield from _leaves(child.type)


def _spellings(names: Iterable[str]) -> set[str]:
    """Return the names as JSON may have them."""
    return {
        spelling
        for name in names
        for spelling in (name, json.dumps(name)[1:-1], json.dumps(name, ensure_ascii=False)[1:-1])
    }


def _children(kind: pa.DataType) -> Iterable[pa.Field]:
    return [kind.field(i) for i in range(kind.num_fields)] if pa.types.is_nested(kind) else []


def _long_number_pattern(fields: Sequence[pa.Field]) -> str | None:
    """Return a search (RE2) for long numbers in the double columns; None without such columns."""
    names: set[str] = set()
    for field in fields:
        for name in _double_names(field):
            if name is None:
                return _LONG_NUMBER
            names |= _spellings([name])
    if not names:
        return None
    return '"(?:' + "|".join(map(_quoted, sorted(names))) + r')"\s*:\s*' + _LONG_NUMBER


def _quoted(name: str) -> str:
    """Escape for RE2, which knows fewer escapes than Python's `re`."""
    return re.sub(r"([^\w])", lambda m: rf"\x{{{ord(m[1]):x}}}", name)


def _double_names(field: pa.Field) -> Iterator[Any]:
    """Yield the keys that stand before doubles in the JSON, None for doubles without a key."""
    kind = field.type
    if pa.types.is_floating(kind):
        yield field.name
    elif pa.types.is_struct(kind):
        for child in kind:
            yield from _double_names(child)
    elif pa.types.is_nested(kind) and _has_double(kind):
        yield None
