"""The order of rows within data files, as the table's sort order declares it.

Arrow sorts what fits in memory; DuckDB sorts only keys, numbers and bytes computed here, so that no
value of a row ever becomes DuckDB's. Floats sort as the Iceberg specification asks (-0.0 before 0.0,
NaN last), strings by their UTF-8 bytes. https://iceberg.apache.org/spec/#sorting (read 2026-11-21)
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.table.sorting import NullOrder, SortDirection

from icetap.scratch_folders import ScratchFolder
from target_iceberg.tables.partitions import DerivedColumn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyiceberg.schema import Schema
    from pyiceberg.table.sorting import SortOrder

DUCKDB_MEMORY_MB = 96


class SortKeys:
    """Computes what rows are compared by: their partition, then the fields of a sort order."""

    def __init__(self, order: SortOrder, schema: Schema) -> None:
        self._fields = order.fields
        self._columns = [DerivedColumn(field.source_id, field.transform, schema) for field in order.fields]
        directions = [
            "descending" if f.direction == SortDirection.DESC else "ascending" for f in self._fields
        ]
        self.by = [("partition", "ascending")]
        """Names and directions of the key columns: for each field, whether it is null, then its value."""
        for number, direction in enumerate(directions):
            self.by += [(f"null{number}", "ascending"), (f"key{number}", direction)]

    @property
    def is_needed(self) -> bool:
        """Whether the order has any field."""
        return bool(self._fields)

    def order(self, rows: pa.Table, partitions: pa.Int32Array) -> pa.Int64Array:
        """Return the numbers of the rows in order; equal ones stay in the order they came."""
        batch = rows.to_batches()[0]
        keys = pa.table(self._keys(batch, partitions), names=[name for name, _ in self.by])
        return pc.sort_indices(keys, sort_keys=self.by)

    def columns(
        self, batch: pa.RecordBatch, partitions: pa.Int32Array, *, run: int, first: int
    ) -> pa.RecordBatch:
        """Return the keys of a run's rows, with the run's number and the rows'."""
        runs = pa.repeat(pa.scalar(run, pa.int32()), batch.num_rows)
        rows = pa.arange(first, first + batch.num_rows)
        names = [*(name for name, _ in self.by), "run", "n"]
        return pa.RecordBatch.from_arrays([*self._keys(batch, partitions), runs, rows], names=names)

    def _keys(self, batch: pa.RecordBatch, partitions: pa.Int32Array) -> list[pa.Array]:
        keys = [partitions]
        for field, column in zip(self._fields, self._columns, strict=True):
            values = column.stored(batch)
            nulls_first = field.null_order == NullOrder.NULLS_FIRST
            is_late = values.is_valid() if nulls_first else values.is_null()
            keys += [is_late.cast(pa.int8()), _comparable(values)]
        return keys


def _comparable(values: pa.Array) -> pa.Array:
    """Return the values as integers, decimals or bytes that compare as the values do; nulls as any value."""
    kind = values.type
    if pa.types.is_floating(kind):
        return _ordered_bits(values)
    if pa.types.is_boolean(kind):
        return values.cast(pa.int8()).fill_null(0)
    if pa.types.is_string(kind) or pa.types.is_fixed_size_binary(kind):
        values = values.cast(pa.binary())
    if pa.types.is_binary(values.type):
        return values.fill_null(b"")
    zero = Decimal(0) if pa.types.is_decimal(kind) else 0
    return values.fill_null(pa.scalar(zero, kind))


def _ordered_bits(values: pa.Array) -> pa.Array:
    """Return integers that compare as the floats do, -0.0 before 0.0 and NaN after everything."""
    integer, most = (pa.int32(), 2**31 - 1) if pa.types.is_float32(values.type) else (pa.int64(), 2**63 - 1)
    canonical = pc.if_else(pc.is_nan(values), pa.scalar(float("nan"), values.type), values)
    bits = canonical.view(integer).fill_null(0)
    return pc.if_else(pc.less(bits, 0), pc.bit_wise_xor(bits, pa.scalar(most, integer)), bits)


def merged_order(sort: SortKeys, keys: Iterable[pa.RecordBatch], *, rows: int) -> Iterator[pa.Int32Array]:
    """Yield, batch by batch of about `rows`, from which run each row of the merged order comes.

    DuckDB sorts in bounded memory, and spills into a private folder.
    """
    import duckdb  # noqa: PLC0415 - loads that fit in memory do without it

    source = iter(keys)
    first = next(source)
    reader = pa.RecordBatchReader.from_batches(first.schema, _chained(first, source))
    order = ", ".join(f"{name} {'DESC' if way == 'descending' else 'ASC'}" for name, way in sort.by)
    with ScratchFolder("sort") as folder:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{DUCKDB_MEMORY_MB}MB",
            "temp_directory": str(folder.path),
            "threads": 2,
        }
        connection = duckdb.connect(config=config)
        try:
            connection.register("keys", reader)
            found = connection.execute(f"SELECT run FROM keys ORDER BY {order}, run, n")
            for batch in found.to_arrow_reader(rows):
                yield batch.column(0)
        finally:
            connection.close()


def _chained(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest
