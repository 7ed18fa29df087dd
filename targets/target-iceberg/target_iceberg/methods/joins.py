"""DuckDB over keys that come as Arrow batches: joins and groups in bounded memory.

What does not fit in its share of the memory goes to a private folder.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pyarrow as pa

from icetap.scratch_folders import ScratchFolder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import duckdb

DUCKDB_MEMORY_MB = 128


@contextlib.contextmanager
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database that lives as long as the block."""
    import duckdb  # noqa: PLC0415 - loads that need no join do without it

    with ScratchFolder("join") as folder:
        connection = duckdb.connect(
            config={
                "memory_limit": f"{DUCKDB_MEMORY_MB}MB",
                "temp_directory": str(folder.path),
                "threads": 2,
                "preserve_insertion_order": False,
            }
        )
        try:
            # The right side of a join is built, the left one streams: sizes are known here, not there.
            connection.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")
            yield connection
        finally:
            connection.close()


def key_names(keys: Sequence[str]) -> list[str]:
    """Return what the key columns are called here, whatever their names: `k0` and so on."""
    return [f"k{number}" for number in range(len(keys))]


def reader(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatchReader:
    """Return what DuckDB can read once, batch by batch."""
    return pa.RecordBatchReader.from_batches(schema, batches)


def joinable(kind: pa.DataType) -> pa.DataType:
    """Return the type in which DuckDB joins: it cannot push filters on uuids down to Arrow."""
    return pa.binary() if isinstance(kind, pa.BaseExtensionType) else kind


def as_key(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return a column in the type in which it is joined."""
    return (column.storage if isinstance(column, pa.ExtensionArray) else column).cast(kind)


def numbered(
    batches: Iterable[pa.RecordBatch],
    *,
    keys: Sequence[str],
    extra: str,
    kinds: Sequence[pa.DataType] | None = None,
) -> tuple[pa.Schema | None, Iterator[pa.RecordBatch]]:
    """Return key batches as columns k0, k1, … and a running number; the schema comes from the first batch."""
    source = iter(batches)
    first = next(source, None)
    if first is None:
        return None, iter(())
    kinds = [joinable(kind) for kind in kinds or [first.schema.field(key).type for key in keys]]
    schema = pa.schema([*zip(key_names(keys), kinds, strict=True), (extra, pa.int64())])

    def generate() -> Iterator[pa.RecordBatch]:
        number = 0
        batch: pa.RecordBatch | None = first
        while batch is not None:
            columns = [as_key(batch.column(key), kind) for key, kind in zip(keys, kinds, strict=True)]
            numbers = pa.arange(number, number + batch.num_rows)
            yield pa.RecordBatch.from_arrays([*columns, numbers], schema=schema)
            number += batch.num_rows
            batch = next(source, None)

    return schema, generate()
