"""Two numbers for each row, by which two sides are compared: one of its key, one of all its values.

The numbers are taken of values in the table's types and follow `equality`: rows that are equal there have the
same numbers here. Each has 64 bits: that two different rows share one has a chance of 1 in 18 quintillion.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from icetap.types import canonical_json, kind_of
from target_iceberg.methods.equality import comparable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import duckdb

_FILTER_BITS = 2**29  # 64 MiB


class Fingerprints:
    """Computes the numbers of the rows of one table.

    Args:
        engine: Computes them.
        columns: The columns that are compared, in the table's types.
        keys: Those of the key; without any, a row's values are its key.
    """

    def __init__(
        self, engine: duckdb.DuckDBPyConnection, columns: Sequence[pa.Field], *, keys: Sequence[str]
    ) -> None:
        self._engine = engine
        self._columns = list(columns)
        places = {field.name: f"c{place}" for place, field in enumerate(columns)}
        # A first argument that is never 0: DuckDB's hash of 0 is 0, and would leave no trace.
        everything = _hash_of("row", places.values())
        key = _hash_of("key", (places[name] for name in keys)) if keys else everything
        self._sql = f"SELECT {key} AS k, {everything} AS h FROM batch"

    def of(self, batch: pa.RecordBatch) -> pa.Table:
        """Return the columns `k` and `h` (uint64): a row of them for each row of the batch."""
        arrays = [hashable(batch.column(field.name), field) for field in self._columns]
        names = [f"c{place}" for place in range(len(arrays))]
        table = pa.Table.from_arrays([*arrays, pa.nulls(batch.num_rows, pa.bool_())], names=[*names, "rows"])
        self._engine.register("batch", table)
        try:
            return self._engine.execute(self._sql).to_arrow_table()
        finally:
            self._engine.unregister("batch")


def _hash_of(seed: str, columns: Iterable[str]) -> str:
    return f"hash({', '.join((repr(seed), *columns))})"


def hashable(array: pa.Array, field: pa.Field) -> pa.Array:
    """Return values whose hash is that of all values that equal them, and of no others.

    JSON text becomes its canonical form. Lists, maps and structs become text: DuckDB's hash does not tell
    `[]` from `[null]`, and knows nothing of the order in a map.
    """
    if pa.types.is_nested(field.type):
        values = (_text(value, field) for value in array.to_pylist())
        return pa.array(values, pa.string())
    if kind_of(field) == "json":
        return pa.array(
            (None if text is None else canonical_json(text) for text in array.to_pylist()), pa.string()
        )
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _text(value: Any, field: pa.Field) -> str | None:
    if value is None:
        return None
    return json.dumps(comparable(value, field), sort_keys=True, separators=(",", ":"), default=repr)


class Filter:
    """Remembers numbers in 64 MiB, whatever their count: what it does not know was never added.

    It takes one in a thousand strangers for a known one when it holds ten million rows, one in ten at a hundred
    million (a Bloom filter with two places for each number).
    """

    def __init__(self) -> None:
        self._bits = bytearray(_FILTER_BITS // 8)
        self._known = pa.Array.from_buffers(pa.bool_(), _FILTER_BITS, [None, pa.py_buffer(self._bits)])

    def add(self, numbers: pa.ChunkedArray) -> None:
        """Remember these numbers (uint64)."""
        bits = self._bits
        for places in _places(numbers):
            bytes_ = pc.shift_right(places, 3).to_pylist()
            masks = pc.shift_left(pa.scalar(1, pa.uint64()), pc.bit_wise_and(places, 7)).to_pylist()
            for byte, mask in zip(bytes_, masks, strict=True):
                bits[byte] |= mask

    def knows(self, numbers: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return for each number whether it may have been added."""
        first, second = (pc.take(self._known, places) for places in _places(numbers))
        return pc.and_(first, second)


def _places(numbers: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Two places in the filter, of different bits of a number."""
    low = pc.bit_wise_and(numbers, pa.scalar(_FILTER_BITS - 1, pa.uint64()))
    return low, pc.shift_right(numbers, pa.scalar(64 - (_FILTER_BITS.bit_length() - 1), pa.uint64()))
