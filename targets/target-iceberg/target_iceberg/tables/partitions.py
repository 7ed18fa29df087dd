"""Partition values: which partition of a table's spec each row belongs to.

Values are computed by pyiceberg's transforms (Iceberg's own implementation in Rust) and kept as Iceberg
stores them: days, microseconds, bytes. Rows are told apart bit by bit: 0.0 and -0.0 are two partitions,
because engines take an identity column's value from the partition.
https://iceberg.apache.org/spec/#partition-transforms (read 2026-11-21)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.transforms import IdentityTransform, UnknownTransform, VoidTransform
from pyiceberg.typedef import Record

from icetap.errors import DataError

if TYPE_CHECKING:
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.transforms import Transform
    from pyiceberg.types import IcebergType, StructType

MOST_PARTITIONS = 50_000
"""Partitions that one commit may touch: each is a file of its own, and what is known of it is held in memory."""

LONGEST_FOLDER = 160
"""Bytes of a partition's folder name; file systems allow 255."""


@dataclass(frozen=True)
class Partition:
    """One partition: its values in the order of the spec's fields, as Iceberg stores them."""

    spec: PartitionSpec
    schema: Schema
    values: tuple[Any, ...] = ()

    @cached_property
    def record(self) -> Record:
        """The values as data files carry them."""
        return Record(*self.values)

    def to_path(self) -> str:
        """Return the folder for files of this partition; for people, no reader takes values from it."""
        types = self.spec.partition_type(self.schema).fields
        return "/".join(
            _folder(field.name, _text(field, kind.field_type, value))
            for field, kind, value in zip(self.spec.fields, types, self.values, strict=True)
        )


def _text(field: PartitionField, kind: IcebergType, value: Any) -> str:
    try:
        return str(field.transform.to_human_string(kind, value))
    except (TypeError, ValueError, OverflowError):
        return str(value)


def _folder(name: str, value: str) -> str:
    folder = f"{quote_plus(name, safe='')}={quote_plus(value, safe='')}"
    if len(folder) <= LONGEST_FOLDER:
        return folder
    return f"{folder[: LONGEST_FOLDER - 17]}-{hashlib.sha256(folder.encode()).hexdigest()[:16]}"


class Partitioner:
    """Gives each row the number of its partition; numbers follow the order of appearance."""

    def __init__(self, spec: PartitionSpec, schema: Schema) -> None:
        """Bind a spec to columns.

        Raises:
            DataError: When the spec has a transform that this loader does not know.
        """
        self._spec = spec
        self._schema = schema
        self._columns = [DerivedColumn(field.source_id, field.transform, schema) for field in spec.fields]
        self._numbers: dict[tuple[Any, ...], int] = {}
        self.partitions: list[Partition] = []
        """The partitions seen so far, by number."""

    def numbers(self, batch: pa.RecordBatch) -> pa.Int32Array:
        """Return the number of each row's partition."""
        groups: pa.Array = pa.repeat(pa.scalar(0, pa.int64()), batch.num_rows)
        found: list[tuple[tuple[Any, ...], tuple[Any, ...]]] = [((), ())]
        for column in self._columns:
            field = _Distinct.of(column.stored(batch))
            # Groups are numbered anew after each field, so that many fields stay within 64 bits.
            size = len(field.keys)
            encoded = pc.add(pc.multiply(groups, max(size, 1)), field.codes).dictionary_encode()
            groups = encoded.indices.cast(pa.int64())
            pairs = [divmod(both, size) for both in encoded.dictionary.to_pylist()]
            found = [
                ((*found[group][0], field.keys[code]), (*found[group][1], field.values[code]))
                for group, code in pairs
            ]
        return pa.array([self._number(*one) for one in found], pa.int32()).take(groups)

    def _number(self, key: tuple[Any, ...], values: tuple[Any, ...]) -> int:
        if key not in self._numbers:
            if len(self.partitions) >= MOST_PARTITIONS:
                raise DataError(
                    f"the rows of one commit fall into more than {MOST_PARTITIONS:,} partitions "
                    f"({', '.join(field.name for field in self._spec.fields)}), each with a file of its own. "
                    "Choose a coarser 'partition_by', such as month(…) or bucket(64, …), or a smaller 'batch_size_mb'."
                )
            self._numbers[key] = len(self.partitions)
            self.partitions.append(Partition(self._spec, self._schema, values))
        return self._numbers[key]


@dataclass(frozen=True)
class _Distinct:
    """The distinct values of a column: a code for each row, and for each code its value and its exact bits."""

    codes: pa.Int64Array
    keys: list[Any]
    values: list[Any]

    @classmethod
    def of(cls, column: pa.Array) -> _Distinct:
        if not pa.types.is_floating(column.type):
            encoded = column.dictionary_encode(null_encoding="encode")
            values = encoded.dictionary.to_pylist()
            return cls(encoded.indices.cast(pa.int64()), values, values)
        bits = column.view(pa.int32() if pa.types.is_float32(column.type) else pa.int64())
        exact = cls.of(bits)
        return cls(exact.codes, exact.keys, pa.array(exact.keys, bits.type).view(column.type).to_pylist())


class DerivedColumn:
    """A transform of a column, computed batch by batch."""

    def __init__(self, source_id: int, transform: Transform[Any, Any], schema: Schema) -> None:
        """Bind a transform to a column of any depth in structs.

        Raises:
            DataError: When this loader does not know the transform.
        """
        self._path = path_to(source_id, schema.as_struct())
        self._kind = schema.find_type(source_id) if self._path else None
        self._transform = transform
        if isinstance(transform, UnknownTransform):
            name = schema.find_column_name(source_id) or f"with the id {source_id}"
            raise DataError(
                f"the table is partitioned by a transform of the column {name} that this loader does not know. "
                "Load the stream into another table, or set 'partition_by' for the files to come."
            )

    def stored(self, batch: pa.RecordBatch) -> pa.Array:
        """Return the transformed values as Iceberg stores them: dates as days, times as microseconds."""
        if isinstance(self._transform, VoidTransform) or not self._path or self._kind is None:
            return pa.nulls(batch.num_rows, pa.int32())
        column = batch.column(self._path[0])
        for name in self._path[1:]:
            column = pc.struct_field(column, name)
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        if not isinstance(self._transform, IdentityTransform):
            column = self._transform.pyarrow_transform(self._kind)(column)
        return as_stored(column)


def as_stored(column: pa.Array) -> pa.Array:
    """Return dates, times and instants as the numbers that Iceberg keeps, uuids as bytes."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_date32(column.type):
        return column.view(pa.int32())
    if pa.types.is_time64(column.type) or pa.types.is_timestamp(column.type):
        return column.view(pa.int64())
    return column


def path_to(field_id: int, struct: StructType) -> list[str]:
    """Return the names that lead to a field, empty when there is none outside of lists and maps."""
    for field in struct.fields:
        if field.field_id == field_id:
            return [field.name]
        if field.field_type.is_struct:
            below = path_to(field_id, cast("StructType", field.field_type))
            if below:
                return [field.name, *below]
    return []
