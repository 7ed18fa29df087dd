"""Columns of Arrow and Parquet files -> columns of the declared types, by the rules of RECORD lines.

A column whose type can only differ in width is cast as a whole. Every other column, and one with a value
that does not fit, takes the way of the JSON text that a tap would have sent: what text stands for a date,
or which number is an integer, is decided in one place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from icetap.columnar.json_text import is_quoted, json_text, quoted, without_json_form
from icetap.columnar.lines import record_lines
from icetap.types import MAX_PRECISION, TIMESTAMPTZ, infer_field, json_field, kind_of
from target_iceberg.contracts.conform import cast_exactly
from target_iceberg.decoding.json_lane import JsonLane, Unfit
from target_iceberg.decoding.row_lane import RowLane
from target_iceberg.decoding.scalars import Typed, outside_years
from target_iceberg.decoding.values import UndeclaredField, settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_iceberg.decoding.columnar_files import Piece

DELETED_AT = "_sdc_deleted_at"
"""Set on a row that stands for a deleted one; never a column of the batch."""
_YEAR = "a year outside 1 to 9999"
_DAY_MICROSECONDS = 86_400_000_000


class UndeclaredMember(Exception):  # noqa: N818 - a finding that makes the decoder look again, not an error
    """A column holds objects with a field that its declared type does not have; `lines` show them."""

    def __init__(self, lines: bytes) -> None:
        super().__init__("an undeclared field")
        self.lines = lines


def fit(piece: Piece, fields: Sequence[pa.Field]) -> list[Typed]:
    """Return the piece's values for these columns; a column that it lacks is null.

    Raises:
        UndeclaredMember: When an object holds a field that a struct does not have.
    """
    columns = []
    for one in fields:
        place = piece.batch.schema.get_field_index(one.name)
        if place < 0:
            columns.append(Typed(pa.nulls(piece.batch.num_rows, settled(one).type)))
            continue
        typed = _fitted(piece.batch.column(place), piece.batch.schema.field(place), to=one)
        unreadable = dict.fromkeys(piece.unreadable.get(one.name, ()), "text that is not UTF-8")
        columns.append(Typed(typed.array, typed.lossy + piece.lossy.get(one.name, 0), unreadable | typed.bad))
    return columns


def found_field(one: pa.Field) -> pa.Field:
    """Return the column that a file's undeclared column becomes: of its own type, objects and lists as JSON text."""
    kind = one.type
    if pa.types.is_nested(kind) or kind_of(one) == "json":
        return json_field(one.name)
    if pa.types.is_integer(kind):
        kind = pa.decimal128(20, 0) if pa.types.is_uint64(kind) else pa.int64()
    elif pa.types.is_float32(kind):
        kind = pa.float64()
    elif pa.types.is_fixed_size_binary(kind) and kind != pa.uuid():
        kind = pa.binary()
    elif pa.types.is_decimal(kind) and not 0 <= kind.scale <= kind.precision <= MAX_PRECISION:
        return infer_field(
            one.name, 2**64
        )  # as for a number that no number type holds: text with all its digits
    return pa.field(one.name, kind)


def row_text(batch: pa.RecordBatch, row: int) -> str:
    """Return a row of plain types as the JSON object that a tap would have sent."""
    line = b"".join(bytes(part) for part in record_lines(sendable(batch[row : row + 1]), stream=""))
    return bytes(msgspec.json.decode(line, type=_RecordOnly).record).decode()


class _RecordOnly(msgspec.Struct):
    record: msgspec.Raw


def sendable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return rows of plain types as RECORD lines can have them: NaN and Infinity become null."""
    for place, (one, column) in enumerate(zip(batch.schema, batch.columns, strict=True)):
        if pa.types.is_null(one.type):
            batch = batch.set_column(place, one.with_type(pa.string()), column.cast(pa.string()))
        elif pa.types.is_fixed_size_binary(one.type) and one.type != pa.uuid():
            batch = batch.set_column(place, one.with_type(pa.binary()), column.cast(pa.binary()))
        elif pa.types.is_timestamp(one.type) and outside_years(column):
            text = pc.replace_substring(column.cast(pa.string()), " ", "T")
            batch = batch.set_column(place, one.with_type(pa.string()), text)
        elif (mask := without_json_form(column)) is not None:
            batch = batch.set_column(place, one, pc.if_else(mask, pa.scalar(None, one.type), column))
    return batch


def deletes_of(
    piece: Piece, *, kept: pa.BooleanArray | None
) -> tuple[pa.BooleanArray | None, pa.TimestampArray | None]:
    """Return which rows stand for deleted ones, and since when; None for both when there are none.

    Args:
        piece: Rows with or without the column `_sdc_deleted_at`; any value in it marks a delete.
        kept: The rows that are wanted, None for all.
    """
    place = piece.batch.schema.get_field_index(DELETED_AT)
    if place < 0 or piece.batch.column(place).null_count == piece.batch.num_rows:
        return None, None
    source, column = piece.batch.schema.field(place), piece.batch.column(place)
    # A moment that cannot be read is null; the row is deleted all the same.
    moments = _fitted(column, source, to=pa.field(DELETED_AT, TIMESTAMPTZ)).array
    marks = column.is_valid()
    if kept is not None:
        marks, moments = marks.filter(kept), moments.filter(kept)
    return (marks, moments) if marks.true_count else (None, None)


# --- one column -----------------------------------------------------------------------------------------


def _fitted(array: pa.Array, source: pa.Field, *, to: pa.Field) -> Typed:
    known = settled(to)
    if pa.types.is_null(source.type) or array.null_count == len(array):
        return Typed(pa.nulls(len(array), known.type))
    if _same_family(source, known):
        try:
            return _within_bounds(_cast(array, source, to=known))
        except pa.ArrowInvalid:
            pass  # one value or more does not fit: the slower way finds them
    return _through_json(array, source, to=to)


def _cast(array: pa.Array, source: pa.Field, *, to: pa.Field) -> pa.Array:
    if to.type == pa.uuid() and source.type != to.type:
        return pa.ExtensionArray.from_storage(to.type, array.cast(pa.binary(16)))
    return cast_exactly(array, source, to=to)


def _within_bounds(array: pa.Array) -> Typed:
    """Refuse the instants and days outside of Iceberg's years, and times outside of a day."""
    bad = dict.fromkeys(_beyond_years(array), _YEAR)
    if pa.types.is_time(array.type):
        numbers = array.view(pa.int64())
        beyond = pc.or_(pc.less(numbers, 0), pc.greater_equal(numbers, _DAY_MICROSECONDS))
        bad = dict.fromkeys(pc.indices_nonzero(beyond).to_pylist(), "expected a time of one day")
    if not bad:
        return Typed(array)
    mask = pa.array([row in bad for row in range(len(array))], pa.bool_())
    return Typed(pc.if_else(mask, pa.scalar(None, array.type), array), bad=bad)


def _beyond_years(array: pa.Array) -> list[int]:
    """Return the rows that hold an instant or a day outside of Iceberg's years, at any depth."""
    if not pa.types.is_nested(array.type):
        return outside_years(array)
    if not _holds_beyond(array):
        return []
    return [row for row in range(len(array)) if _holds_beyond(array[row : row + 1])]


def _holds_beyond(array: pa.Array) -> bool:
    kind = array.type
    if pa.types.is_struct(kind):
        return any(_holds_beyond(child) for child in array.flatten())
    if pa.types.is_map(kind):
        own = pa.concat_arrays(
            [array, array[:0]]
        )  # whose items are its own, not those of the array it was cut from
        return _holds_beyond(own.items)
    if pa.types.is_list(kind):
        return _holds_beyond(array.flatten())
    return bool(outside_years(array))


def _same_family(source: pa.Field, to: pa.Field) -> bool:
    """Say whether a cast between the types can only change the width of values, not their meaning."""
    found, wanted = source.type, to.type
    if kind_of(to) is not None and kind_of(source) != kind_of(to):
        # JSON text and the text of any scalar have rules of their own; hexadecimal is a matter of text only.
        return kind_of(to) == "hex" and bool(pa.types.is_binary(found))
    if pa.types.is_struct(wanted):
        members = {child.name: child for child in wanted}
        return pa.types.is_struct(found) and all(
            child.name in members and _same_family(child, members[child.name]) for child in found
        )
    if pa.types.is_map(wanted):
        return (
            bool(pa.types.is_map(found))
            and found.key_type == wanted.key_type
            and _same_family(found.item_field, wanted.item_field)
        )
    if pa.types.is_list(wanted):
        return bool(pa.types.is_list(found)) and _same_family(found.value_field, wanted.value_field)
    if pa.types.is_timestamp(wanted):
        # Without a zone is read as UTC; with one it is no local time.
        return bool(pa.types.is_timestamp(found)) and (bool(wanted.tz) or not found.tz)
    if wanted == pa.uuid():
        return bool(found == wanted or pa.types.is_binary(found) or found == pa.binary(16))
    if pa.types.is_integer(found) and (pa.types.is_float64(wanted) or pa.types.is_decimal(wanted)):
        return True
    return any(is_one(found) and is_one(wanted) for is_one in _FAMILIES)


_FAMILIES = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_string,
    lambda kind: pa.types.is_binary(kind) or (pa.types.is_fixed_size_binary(kind) and kind != pa.uuid()),
)


def _through_json(array: pa.Array, source: pa.Field, *, to: pa.Field) -> Typed:
    bad: dict[int, str] = {}
    lossy = 0
    if pa.types.is_fixed_size_binary(source.type) and source.type != pa.uuid():
        array, source = array.cast(pa.binary()), source.with_type(pa.binary())
    if (mask := without_json_form(array)) is not None:
        rows = pc.indices_nonzero(mask).to_pylist()
        if kind_of(to) == "json":
            lossy = len(rows)
        else:
            bad = dict.fromkeys(rows, "NaN or Infinity, which this column cannot hold")
        array = pc.if_else(mask, pa.scalar(None, array.type), array)
    array, unreadable = _parsable(array, source)
    bad |= unreadable
    lines = _lines(array, source, name=to.name)
    typed = _decoded(lines, to.with_nullable(True), count=len(array))
    return Typed(typed.array, typed.lossy + lossy, bad | typed.bad)


def _parsable(array: pa.Array, source: pa.Field) -> tuple[pa.Array, dict[int, str]]:
    """Refuse JSON text that is none, and instants beyond the years that a text has."""
    bad: dict[int, str] = {}
    if kind_of(source) == "json":
        for row, text in enumerate(array.to_pylist()):
            try:
                if text is not None:
                    msgspec.json.decode(text, type=msgspec.Raw)
            except msgspec.MsgspecError:
                bad[row] = "text that is not JSON"
    else:
        bad = dict.fromkeys(_beyond_years(array), _YEAR)
    if bad:
        mask = pa.array([row in bad for row in range(len(array))], pa.bool_())
        array = pc.if_else(mask, pa.scalar(None, array.type), array)
    return array, bad


def _lines(array: pa.Array, source: pa.Field, *, name: str) -> bytes:
    """Return a RECORD line for each value, with this column alone."""
    if kind_of(source) == "json":
        text, mark = pc.replace_substring_regex(array, r"[\r\n]", " "), ""
    else:
        text, mark = json_text(array, source), '"' if is_quoted(source) else ""
    if mark:
        text = pc.binary_join_element_wise(mark, text, mark, "")
    text = pc.fill_null(text, "null")
    lines = pc.binary_join_element_wise('{"record":{' + quoted(name) + ":", text, "}}\n", "")
    buffer = lines.buffers()[2]  # whole, as the array was just made
    return buffer.to_pybytes() if buffer is not None else b""


def _decoded(lines: bytes, to: pa.Field, *, count: int) -> Typed:
    lane = JsonLane([to])
    if lane.usable:
        try:
            return lane.decode(lines, count=count)[0][0]
        except Unfit:
            pass
    return _decoded_exactly(lines, to)


def _decoded_exactly(lines: bytes, to: pa.Field) -> Typed:
    try:
        rows = RowLane([to]).decode(lines, line_of=lambda row: row + 1)
    except UndeclaredField:
        raise UndeclaredMember(lines) from None
    (column,) = rows.columns
    return Typed(column.array, column.lossy, column.bad | rows.refused)
