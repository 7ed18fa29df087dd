"""The exact lane: RECORD lines one by one, for free-form columns and to find the row that does not fit.

msgspec decodes a line into typed fields; a line that it refuses is parsed in Python, which says why.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from icetap.errors import DataError
from target_iceberg.decoding.json_lane import LongNumbers, is_nameable
from target_iceberg.decoding.json_text import parse_json
from target_iceberg.decoding.scalars import Typed, travels_as_string
from target_iceberg.decoding.values import UndeclaredField, build

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_NULL = msgspec.Raw(b"null")


@dataclass(slots=True)
class Rows:
    """Decoded lines, column by column; rows in `refused` are null in every column."""

    columns: list[Typed]
    versions: list[int | None]
    times: list[str | None]
    refused: dict[int, str] = field(default_factory=dict)
    """Lines that are refused as a whole, with the reason."""


class RowLane:
    """Decodes RECORD lines of one stream, for one set of columns."""

    def __init__(self, fields: Sequence[pa.Field]) -> None:
        self._fields = list(fields)
        self._names = [one.name for one in fields]
        self._long = LongNumbers(fields)
        self._nameable = all(is_nameable(one.name) for one in fields)
        if self._nameable:
            self._short_decoder = _line_decoder(fields, double=float | None)
            self._long_decoder = _line_decoder(fields, double=msgspec.Raw)

    def decode(self, lines: bytes, *, line_of: Callable[[int], int]) -> Rows:
        """Return the rows of these lines.

        Args:
            lines: Whole lines, none of them empty.
            line_of: Gives the number in the input of a line, for messages.

        Raises:
            DataError: For a line that is not JSON or has no record.
            UndeclaredField: When a record holds a field that the columns do not have.
        """
        refused: dict[int, str] = {}
        found = self._strict(lines)
        # msgspec takes two messages on one line; then rows and lines would not agree.
        if found is None or len(found) != lines.count(b"\n"):
            found, refused = self._one_by_one(lines, line_of)
        records, versions, times = zip(*found, strict=True)
        columns = [
            build(one, values) for one, values in zip(self._fields, zip(*records, strict=True), strict=True)
        ]
        return Rows(columns, list(versions), list(times), refused)

    def _strict(self, lines: bytes) -> list[tuple[Any, ...]] | None:
        """Decode all lines in one go; None when one of them is odd."""
        if not self._nameable:
            return None
        try:
            if not lines.isascii():
                lines.decode()
            # Only the text of a long double tells whether the double holds all of it.
            decoder = self._long_decoder if self._long.may_be_in(lines) else self._short_decoder
            decoded: list[Any] = decoder.decode_lines(lines)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        values = msgspec.structs.astuple
        return [(values(line.record), line.version, line.time_extracted) for line in decoded]

    def _one_by_one(
        self, lines: bytes, line_of: Callable[[int], int]
    ) -> tuple[list[tuple[Any, ...]], dict[int, str]]:
        found: list[tuple[Any, ...]] = []
        refused = {}
        for row, line in enumerate(lines.split(b"\n")[:-1]):
            one = self._strict(line)
            if one is not None and len(one) == 1:
                found += one
                continue
            try:
                message = parse_record(line, number=line_of(row))
            except UnfitLineError as unfit:
                refused[row] = str(unfit)
                message = {"record": {}}
            record = message["record"]
            if not record.keys() <= set(self._names):
                raise UndeclaredField
            extracted = message.get("time_extracted")
            found.append(
                (
                    tuple(record.get(name) for name in self._names),
                    message.get("version"),
                    extracted if isinstance(extracted, str) else None,
                )
            )
        return found, refused


class UnfitLineError(ValueError):
    """A line that is a RECORD, but no row can be made of it."""


def parse_record(line: bytes, *, number: int) -> dict[str, Any]:
    """Return a RECORD message, parsed in Python, with numbers that keep their text.

    Raises:
        DataError: When the line is not JSON, has no record, or a version that is not an integer.
        UnfitLineError: When the line is a RECORD, but its text is not UTF-8 or nested too deeply.
    """
    try:
        message = parse_json(line.decode(errors="surrogateescape"))
    except RecursionError:
        raise UnfitLineError("nested too deeply") from None
    except ValueError:
        raise DataError(
            f"line {number} of the input begins like a RECORD but is not JSON: the tap stopped in the "
            "middle of a line, or two processes wrote to one pipe"
        ) from None
    if not isinstance(message, dict) or not isinstance(message.get("record"), dict):
        raise DataError(f"line {number} of the input is a RECORD message without an object 'record'")
    version = message.get("version")
    if version is not None and type(version) is not int:
        raise DataError(f"line {number} of the input is a RECORD whose 'version' is not an integer")
    try:
        line.decode()
    except UnicodeDecodeError:
        raise UnfitLineError("not UTF-8") from None
    return message


def _line_decoder(fields: Sequence[pa.Field], *, double: Any) -> msgspec.json.Decoder[Any]:
    """Return a decoder of RECORD messages that refuses what the columns do not have.

    Args:
        fields: The record's columns.
        double: The type in which doubles are read: `float`, or `Raw` for their text.
    """
    names = {f"c{i}": one.name for i, one in enumerate(fields)}
    record = msgspec.defstruct(
        "Record",
        [(f"c{i}", *_member(one, double)) for i, one in enumerate(fields)],
        rename=names.get,
        forbid_unknown_fields=True,
        gc=False,
    )
    message = msgspec.defstruct(
        "Line",
        [("record", record), ("version", int | None, None), ("time_extracted", str | None, None)],
        gc=False,
    )
    return msgspec.json.Decoder(message)


def _member(one: pa.Field, double: Any) -> tuple[Any, Any]:
    """Return how msgspec reads a column, and what stands for a missing field."""
    kind = one.type
    if pa.types.is_null(kind):
        return None, None
    if pa.types.is_boolean(kind):
        return bool | None, None
    if pa.types.is_integer(kind):
        return int | None, None
    if travels_as_string(one):
        return str | None, None
    if pa.types.is_floating(kind) and double is not msgspec.Raw:
        return double, None
    return msgspec.Raw, _NULL
