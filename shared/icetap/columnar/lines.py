"""Record batches as RECORD lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from icetap.columnar.json_text import is_quoted, json_text, quoted

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

ROWS_AT_ONCE = 8192
"""Rows joined in one go: their text stays in the processor's cache, three times faster than 65,536."""

MAX_LINE_BYTES = 50 * 1024 * 1024 - 1024
"""Meltano ends a run at a line of 50 MiB (elt.buffer_size of 4.4.1, read 2026-11-21)."""


def record_lines(
    batch: pa.RecordBatch, *, stream: str, version: int | None = None, extracted_at: dt.datetime | None = None
) -> Iterator[pa.Buffer]:
    r"""Yield whole RECORD lines, each ended by "\n", as one buffer per `ROWS_AT_ONCE` rows.

    Args:
        batch: The records. Values that JSON cannot hold must be gone (`without_json_form`).
        stream: The stream's name.
        version: The number of the full read, in milliseconds since the epoch.
        extracted_at: When the source was read, in UTC; the same for all rows of the batch.
    """
    opening = f'{{"type":"RECORD","stream":{quoted(stream)},"record":{{'
    closing = "}"
    if version is not None:
        closing += f',"version":{version}'
    if extracted_at is not None:
        closing += f',"time_extracted":"{extracted_at:%Y-%m-%dT%H:%M:%S.%fZ}"'
    closing += "}\n"
    for start in range(0, batch.num_rows, ROWS_AT_ONCE):
        yield _joined(batch.slice(start, ROWS_AT_ONCE), opening, closing)


def _joined(batch: pa.RecordBatch, opening: str, closing: str) -> pa.Buffer:
    """Join literals and columns; quotation marks go into the literals around columns without null."""
    parts: list[str | pa.Array] = []
    literal = opening
    for number, (field, array) in enumerate(zip(batch.schema, batch.columns, strict=True)):
        literal += ("," if number else "") + quoted(field.name) + ":"
        text = json_text(array, field)
        mark = ""
        if is_quoted(field):
            if array.null_count:
                text = pc.binary_join_element_wise('"', text, '"', "")
            else:
                mark = '"'
        if array.null_count:
            text = pc.fill_null(text, "null")
        parts += [literal + mark, text]
        literal = mark
    parts.append(literal + closing)
    if batch.num_columns == 0:
        return pa.py_buffer((literal + closing).encode() * batch.num_rows)
    lines = pc.binary_join_element_wise(*parts, "")
    return lines.buffers()[2]


def too_long(batch: pa.RecordBatch) -> pa.Array | None:
    """Return a mask of the records whose line exceeds `MAX_LINE_BYTES`, or None when there are none.

    An upper bound is cheap and nearly always enough; only records above it are written out to see.
    """
    bound = _longest_lengths(batch)
    if isinstance(bound, int):
        return None
    suspects = pc.indices_nonzero(pc.greater(bound, MAX_LINE_BYTES)).to_pylist()
    found = {row for row in suspects if _line_bytes(batch.slice(row, 1)) > MAX_LINE_BYTES}
    return pa.array([row in found for row in range(batch.num_rows)], pa.bool_()) if found else None


def _longest_lengths(batch: pa.RecordBatch) -> pa.Array | int:
    """Return an upper bound of each line: an escape takes six bytes for one, short columns 64 KiB in all."""
    total: pa.Array | int = 65_536
    for array in batch.columns:
        if pa.types.is_string(array.type) or pa.types.is_binary(array.type):
            length = pc.cast(pc.fill_null(pc.binary_length(array), 0), pa.int64())
            total = pc.add(total, pc.multiply(length, 6))
        elif pa.types.is_nested(array.type):
            total = pc.add(total, pa.repeat(pa.scalar(array.nbytes * 6, pa.int64()), len(array)))
    return total


def _line_bytes(record: pa.RecordBatch) -> int:
    return sum(block.size for block in record_lines(record, stream=""))
