"""Position delete files: rows that are deleted without their file being written again.

One delete file for each data file, which names all the positions deleted by files of that kind so far: so a
data file has at most one of them, and it leaves with its data file.
https://iceberg.apache.org/spec/#position-delete-files (read 2026-11-21)
"""

from __future__ import annotations

import itertools
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat

from icetap.tables import positions_in
from icetap.types import FIELD_ID
from target_iceberg.tables.internals import PATH_ID, referenced_data_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyiceberg.table import FileScanTask, Table

    from target_iceberg.tables.writer import WriterOptions

POSITION_ID = 2147483545

ROWS = pa.schema(
    [
        pa.field("file_path", pa.string(), nullable=False, metadata={FIELD_ID: str(PATH_ID).encode()}),
        pa.field("pos", pa.int64(), nullable=False, metadata={FIELD_ID: str(POSITION_ID).encode()}),
    ]
)
"""The columns of a delete file, with the ids that the specification reserves for them."""

ROW_GROUP_ROWS = 131_072
WRITERS = 4  # delete files are small: on an object store, each is a wait for an answer

_COUNTER = itertools.count(1)


def write_position_deletes(
    table: Table, deletes: Sequence[tuple[FileScanTask, pa.Int64Array]], *, options: WriterOptions
) -> tuple[list[DataFile], frozenset[str]]:
    """Write a delete file for each of these data files.

    Args:
        table: The table.
        deletes: Data files as planned, each with the positions that are to be deleted, sorted.
        options: How files are named and compressed.

    Returns:
        The delete files, and the paths of those which they take the place of.
    """

    def write(task: FileScanTask, positions: pa.Int64Array) -> tuple[DataFile, list[str]]:
        own = [one for one in task.delete_files if referenced_data_file(one) == task.file.file_path]
        if own:
            before = positions_in(table.io, own, path=task.file.file_path)
            both = pc.unique(pa.concat_arrays([before, positions]))
            positions = both.take(pc.sort_indices(both))
        return _write(table, task.file, positions, options=options), [one.file_path for one in own]

    with ThreadPoolExecutor(min(WRITERS, len(deletes)) or 1, thread_name_prefix="deletes") as pool:
        written = list(pool.map(write, *zip(*deletes, strict=True))) if deletes else []
    return [one for one, _ in written], frozenset(path for _, paths in written for path in paths)


def _write(
    table: Table, data_file: DataFile, positions: pa.Int64Array, *, options: WriterOptions
) -> DataFile:
    name = f"icetap-{options.run_id}-{next(_COUNTER):06d}-deletes.parquet"
    path = table.location_provider().new_data_location(name)
    with table.io.new_output(path).create(overwrite=True) as sink:
        with pq.ParquetWriter(sink, ROWS, compression=options.compression, store_schema=False) as writer:
            for start in range(0, len(positions), ROW_GROUP_ROWS):
                part = positions.slice(start, ROW_GROUP_ROWS)
                paths = pa.repeat(pa.scalar(data_file.file_path), len(part))
                writer.write_table(pa.Table.from_arrays([paths, part], schema=ROWS))
        size = sink.tell()
    return _listed(data_file, positions, path=path, size=size)


def _listed(data_file: DataFile, positions: pa.Int64Array, *, path: str, size: int) -> DataFile:
    """Describe a delete file: equal bounds of the path say that it belongs to this data file alone."""
    referenced = data_file.file_path.encode()
    low, high = (struct.pack("<q", positions[place].as_py()) for place in (0, -1))
    count = len(positions)
    listed = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=data_file.partition,
        record_count=count,
        file_size_in_bytes=size,
        column_sizes={},
        value_counts={PATH_ID: count, POSITION_ID: count},
        null_value_counts={PATH_ID: 0, POSITION_ID: 0},
        nan_value_counts={},
        lower_bounds={PATH_ID: referenced, POSITION_ID: low},
        upper_bounds={PATH_ID: referenced, POSITION_ID: high},
        key_metadata=None,
        split_offsets=None,
        equality_ids=None,
        sort_order_id=None,
    )
    listed.spec_id = data_file.spec_id
    return listed
