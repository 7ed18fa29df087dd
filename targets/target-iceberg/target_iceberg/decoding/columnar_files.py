"""Arrow and Parquet files -> record batches of plain types, a few megabytes at a time."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from icetap.errors import DataError
from target_iceberg.decoding.mapped_reads import MappedReads
from target_iceberg.decoding.plain_columns import plain, plain_field

if TYPE_CHECKING:
    from collections.abc import Iterator

PARQUET = b"PAR1"
ARROW = b"ARROW1"
_ENCRYPTED = b"PARE"
_STREAM = b"\xff\xff\xff\xff"
PIECE_BYTES = 16 * 2**20
"""About what a record batch holds, once its dictionaries are written out."""
MAX_ROW_BYTES = 256 * 2**20
_ROWS = 65_536
_BUFFER_BYTES = 1 << 20
_SUSPICIOUS_BYTES = 2**30
_SUSPICIOUS_RATIO = 1_000


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of a file, in plain types."""

    batch: pa.RecordBatch
    lossy: dict[str, int] = field(default_factory=dict)
    """Per column: values that lost digits behind the microsecond."""
    unreadable: dict[str, list[int]] = field(default_factory=dict)
    """Per column: rows whose text is not UTF-8; it is null in `batch`."""


def read_columns(file: BinaryIO, *, encoding: str, is_settled: bool = False) -> Iterator[Piece]:
    """Yield the rows of an Arrow or Parquet file; one record batch or piece of a row group is in memory.

    Args:
        file: The file.
        encoding: `arrow` or `parquet`, as the manifest says.
        is_settled: Whether nobody changes the file any more, so that the rows of an Arrow file need not be copied.

    Raises:
        DataError: When the file is damaged, cut off or something else, or unpacks to far more than it should.
    """
    head = file.read(6)
    file.seek(0)
    batches = _arrow(file, head, is_settled=is_settled) if encoding == "arrow" else _parquet(file, head)
    try:
        for batch in batches:
            for part in _cut(batch):
                yield _plain_piece(part)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        name = encoding.capitalize()
        raise DataError(
            f"a BATCH file is not a readable {name} file: it was cut off, or something other than a tap wrote it"
        ) from error


# --- Arrow ----------------------------------------------------------------------------------------------


def _arrow(file: BinaryIO, head: bytes, *, is_settled: bool) -> Iterator[pa.RecordBatch]:
    if head.startswith(PARQUET):
        raise DataError("a BATCH file is Parquet, but its message says 'arrow'")
    # What a store opens is no buffered file.
    opened = MappedReads(file) if is_settled and isinstance(file, io.BufferedReader) else file
    source = pa.PythonFile(opened, mode="r")
    if head.startswith(_STREAM):
        with pa.ipc.open_stream(source) as reader:
            yield from _checked(reader.schema, reader)
        return
    with pa.ipc.open_file(source) as reader:
        yield from _checked(
            reader.schema, (reader.get_batch(number) for number in range(reader.num_record_batches))
        )


def _checked(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    _check_names(schema)
    for batch in batches:
        batch.validate()
        yield batch


def _check_names(schema: pa.Schema) -> None:
    twice = [name for name, count in Counter(schema.names).items() if count > 1]
    if twice:
        raise DataError(f"a BATCH file has the column '{twice[0]}' twice")


# --- Parquet --------------------------------------------------------------------------------------------


def _parquet(file: BinaryIO, head: bytes) -> Iterator[pa.RecordBatch]:
    for magic, found in ((ARROW, "an Arrow file"), (b"\x1f\x8b", "a gzip file"), (_ENCRYPTED, "encrypted")):
        if head.startswith(magic):
            raise DataError(
                f"a BATCH file is {found}, but its message says 'parquet': write plain Parquet, whose pages may be compressed"
            )
    metadata = pq.read_metadata(pa.PythonFile(file, mode="r"))
    schema = metadata.schema.to_arrow_schema()
    _check_names(schema)
    _check_sizes(metadata)
    texts = [one.name for one in schema if pa.types.is_string(one.type) or pa.types.is_binary(one.type)]
    rows = _rows_at_once(metadata, schema)
    wide = _reader(file, texts, unit="us").iter_batches(batch_size=rows)
    old = _old_instants(metadata)
    if not old:
        yield from wide
        return
    fine = _reader(file, texts, unit="ns").iter_batches(batch_size=rows, columns=old)
    for batch, exact in zip(wide, fine, strict=True):
        yield _with_nanoseconds(batch, exact)


def _reader(file: BinaryIO, texts: list[str], *, unit: str) -> pq.ParquetFile:
    return pq.ParquetFile(
        pa.PythonFile(file, mode="r"),
        read_dictionary=texts,  # a text that a million rows repeat is in memory once
        buffer_size=_BUFFER_BYTES,
        pre_buffer=False,
        coerce_int96_timestamp_unit=unit,
        page_checksum_verification=True,
    )


def _old_instants(metadata: pq.FileMetaData) -> list[str]:
    """Return the columns in INT96: days and nanoseconds, of which 64 bits hold only one or the other."""
    columns = (metadata.schema.column(i) for i in range(metadata.num_columns))
    return [one.path for one in columns if one.physical_type == "INT96" and "." not in one.path]


def _with_nanoseconds(batch: pa.RecordBatch, exact: pa.RecordBatch) -> pa.RecordBatch:
    """Take the columns that nanoseconds hold as such, so that what they lose is counted."""
    for name in exact.schema.names:
        nanoseconds, microseconds = exact.column(name), batch.column(name)
        cut, _ = plain(nanoseconds)
        if pc.all(pc.equal(cut, microseconds)).as_py() is not False:
            place = batch.schema.get_field_index(name)
            batch = batch.set_column(place, exact.schema.field(name), nanoseconds)
    return batch


def _check_sizes(metadata: pq.FileMetaData) -> None:
    """Refuse a small file that says of itself that it unpacks to gigabytes."""
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for place in range(row_group.num_columns):
            column = row_group.column(place)
            # Repeated values take no space in the file, but eight bytes each in memory.
            nested = column.num_values * 8 if column.num_values > row_group.num_rows else 0
            size = max(column.total_uncompressed_size, nested)
            if size > _SUSPICIOUS_BYTES and size > column.total_compressed_size * _SUSPICIOUS_RATIO:
                raise DataError(
                    f"column '{column.path_in_schema}' of a BATCH file unpacks from {column.total_compressed_size:,} "
                    f"to {size:,} bytes, which looks like an attack rather than data"
                )


def _rows_at_once(metadata: pq.FileMetaData, schema: pa.Schema) -> int:
    """Return how many rows of the largest group make a piece."""
    rows = _ROWS
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        if row_group.num_rows:
            values = sum(row_group.column(i).num_values for i in range(row_group.num_columns))
            size = max(row_group.total_byte_size, values * 8, row_group.num_rows * len(schema) * 8)
            rows = min(rows, PIECE_BYTES * row_group.num_rows // size)
    return max(1, rows)


# --- pieces ---------------------------------------------------------------------------------------------


def _cut(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield the rows in slices of about `PIECE_BYTES`, as they will be without dictionaries.

    Raises:
        DataError: When one row alone is larger than `MAX_ROW_BYTES`.
    """
    size = sum(_written_out(column) for column in batch.columns)
    if size <= PIECE_BYTES or (batch.num_rows <= 1 and size <= MAX_ROW_BYTES):
        yield batch
    elif batch.num_rows <= 1:
        raise DataError(f"a row of a BATCH file is larger than {MAX_ROW_BYTES // 2**20} MB")
    else:
        half = batch.num_rows // 2
        yield from _cut(batch[:half])
        yield from _cut(batch[half:])


def _written_out(column: pa.Array) -> int:
    """Return about how many bytes a column takes without its dictionary."""
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    values = column.dictionary
    if not (pa.types.is_string(values.type) or pa.types.is_binary(values.type)):
        return len(column) * 16
    lengths = pc.cast(pc.binary_length(values), pa.int64())
    return pc.sum(lengths.take(column.indices)).as_py() or 0


def _plain_piece(batch: pa.RecordBatch) -> Piece:
    fields = [plain_field(one) for one in batch.schema]
    arrays: list[pa.Array] = []
    lossy: dict[str, int] = {}
    unreadable: dict[str, list[int]] = {}
    for one, column in zip(batch.schema, batch.columns, strict=True):
        readable, rows = _readable(column)
        if rows:
            unreadable[one.name] = rows
        array, lost = plain(readable)
        if lost:
            lossy[one.name] = lost
        arrays.append(array)
    return Piece(pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields)), lossy, unreadable)


def _readable(array: pa.Array) -> tuple[pa.Array, list[int]]:
    """Return the array without texts that are no UTF-8, and their rows; no reader looks at that.

    Raises:
        pa.ArrowInvalid: When the array is damaged otherwise.
    """
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        data = _bytes_of_text(array)
        if data is None:
            raise
    else:
        return array, []
    bad = {row for row, value in enumerate(data.to_pylist()) if value is not None and not _is_utf8(value)}
    mask = pa.array([row in bad for row in range(len(data))], pa.bool_())
    return pc.if_else(mask, pa.scalar(None, pa.binary()), data).cast(pa.string()), sorted(bad)


def _bytes_of_text(array: pa.Array) -> pa.BinaryArray | None:
    """Return the bytes of a text column, of a dictionary too; None for another column."""
    kind = array.type
    if pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type):
        values = _bytes_of_text(array.dictionary)
        return values.take(array.indices) if values is not None else None
    if not pa.types.is_string(kind):
        return None
    data = array.view(pa.binary())
    data.validate(full=True)
    return data


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
