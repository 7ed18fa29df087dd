"""Columns of a Parquet file as columns of an Iceberg table, matched by field id at every depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.types import ListType, MapType, NestedField, StructType

from icetap.errors import DataError
from icetap.types import FIELD_ID, promotion, schema_from_iceberg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pyiceberg.schema import Schema
    from pyiceberg.table.name_mapping import NameMapping

    Projector: TypeAlias = Callable[[pa.Array], pa.Array]


class FileColumns:
    """How one file's columns become the table's.

    Attributes:
        names_in_file: The file's top-level columns to read.
        same_names_and_types: Whether each column of the table that the file has bears the same name and type
            in the file, and no other column of the file bears a column's name.
    """

    def __init__(
        self,
        in_file: pa.Schema,
        schema: Schema,
        *,
        columns: Sequence[str] | None,
        name_mapping: NameMapping | None,
        constants: Mapping[int, Any],
        path: str,
    ) -> None:
        """Match the columns.

        Args:
            in_file: The file's Arrow schema, with field ids in its metadata.
            schema: The table's schema.
            columns: The table's columns wanted, in this order; None for all.
            name_mapping: Ids of columns by name, for files without ids.
            constants: Field id to value, for columns that the file does not have.
            path: The file's location, for messages.
        """
        self._path = path
        self._mapping = name_mapping if not _has_ids(in_file) else None
        by_id = self._by_id(in_file, ())
        if not by_id and len(in_file):
            raise DataError(
                f"{path} has no field ids, and the table has no name mapping for it. "
                "Set the table property 'schema.name-mapping.default', or rewrite the file."
            )
        targets = schema_from_iceberg(schema)
        chosen = [schema.find_field(name) for name in columns] if columns is not None else list(schema.fields)
        self._schema = pa.schema([targets.field(field.name) for field in chosen])
        self._sources = [by_id.get(field.field_id) for field in chosen]
        self._projectors = [
            self._column(source, field, target)
            for source, field, target in zip(self._sources, chosen, self._schema, strict=True)
        ]
        self._constants = [constants.get(field.field_id, field.initial_default) for field in chosen]
        self.names_in_file = [source.name for source in self._sources if source is not None]
        self.same_names_and_types = _same_names_and_types(in_file, by_id, schema, targets)

    def project(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return a batch of the file, which has the columns `names_in_file`, as a batch of the table."""
        return pa.RecordBatch.from_arrays(
            [
                _constant(value, target.type, batch.num_rows)
                if source is None
                else _apply(projector, batch.column(source.name))
                for source, projector, value, target in zip(
                    self._sources, self._projectors, self._constants, self._schema, strict=True
                )
            ],
            schema=self._schema,
        )

    def _by_id(self, fields: Iterable[pa.Field], parents: tuple[str, ...]) -> dict[int, pa.Field]:
        pairs = ((self._id_of(field, (*parents, field.name)), field) for field in fields)
        return {field_id: field for field_id, field in pairs if field_id is not None}

    def _id_of(self, field: pa.Field, names: tuple[str, ...]) -> int | None:
        if self._mapping is None:
            found = (field.metadata or {}).get(FIELD_ID)
            return int(found) if found else None
        level = self._mapping.root
        mapped = None
        for name in names:
            mapped = next((one for one in level if name in one.names), None)
            if mapped is None:  # a column that the mapping does not name is not a column of the table
                return None
            level = mapped.fields
        return None if mapped is None else mapped.field_id

    def _column(self, source: pa.Field | None, field: NestedField, target: pa.Field) -> Projector | None:
        return None if source is None else self._projector(source, field, target, names=(source.name,))

    def _projector(
        self, source: pa.Field, field: NestedField, target: pa.Field, *, names: tuple[str, ...]
    ) -> Projector | None:
        """The function that turns an array of the file into one of the table; None when nothing is to do."""
        match field.field_type:
            case StructType() if pa.types.is_struct(source.type):
                return self._struct(source.type, field.field_type, target.type, names=names)
            case ListType() if pa.types.is_list(source.type) or pa.types.is_large_list(source.type):
                element = source.type.value_field
                inner = self._projector(
                    element,
                    field.field_type.element_field,
                    target.type.value_field,
                    names=(*names, "element"),
                )
                return None if inner is None and source.type == target.type else _list(inner, target.type)
            case MapType() if pa.types.is_map(source.type):
                return self._map(source.type, field.field_type, target.type, names=names)
            case _:
                return self._scalar(source, target, names)

    def _struct(
        self, source: pa.StructType, kind: StructType, target: pa.StructType, *, names: tuple[str, ...]
    ) -> Projector | None:
        by_id = self._by_id(source, names)
        found = [by_id.get(child.field_id) for child in kind.fields]
        indexes = [None if one is None else source.get_field_index(one.name) for one in found]
        inner = [
            None
            if one is None
            else self._projector(one, child, target.field(index), names=(*names, one.name))
            for index, (one, child) in enumerate(zip(found, kind.fields, strict=True))
        ]
        if source == target and indexes == list(range(len(source))) and not any(inner):
            return None
        defaults = [child.initial_default for child in kind.fields]

        def project(array: pa.Array) -> pa.Array:
            children = [
                _constant(defaults[place], target.field(place).type, len(array))
                if index is None
                else _apply(inner[place], array.field(index))
                for place, index in enumerate(indexes)
            ]
            return pa.StructArray.from_arrays(children, fields=list(target), mask=array.is_null())

        return project

    def _map(
        self, source: pa.MapType, kind: MapType, target: pa.MapType, *, names: tuple[str, ...]
    ) -> Projector | None:
        key = self._projector(source.key_field, kind.key_field, target.key_field, names=(*names, "key"))
        value = self._projector(
            source.item_field, kind.value_field, target.item_field, names=(*names, "value")
        )
        if key is None and value is None and source == target:
            return None

        def project(array: pa.Array) -> pa.Array:
            offsets, first, length = _own_offsets(array)
            return pa.MapArray.from_arrays(
                offsets,
                _apply(key, array.keys.slice(first, length)),
                _apply(value, array.items.slice(first, length)),
                type=target,
                mask=array.is_null(),
            )

        return project

    def _scalar(self, source: pa.Field, target: pa.Field, names: tuple[str, ...]) -> Projector | None:
        if source.type == target.type:
            return None
        stored = source.type.value_type if pa.types.is_dictionary(source.type) else source.type
        if not _is_readable_as(stored, target.type):
            raise DataError(
                f"{self._path}: column {'.'.join(names)} is {source.type} in the file and {target.type} in the "
                "table, which is not a change of type that Iceberg allows. The file was written wrongly."
            )
        if target.type == pa.uuid():
            return lambda array: pa.ExtensionArray.from_storage(pa.uuid(), array.cast(pa.binary(16)))
        return lambda array: array.cast(target.type)


def _apply(projector: Projector | None, array: pa.Array) -> pa.Array:
    return array if projector is None else projector(array)


def _constant(value: Any, kind: pa.DataType, length: int) -> pa.Array:
    return pa.nulls(length, kind) if value is None else pa.repeat(pa.scalar(value, kind), length)


def _list(inner: Projector | None, target: pa.DataType) -> Projector:
    def project(array: pa.Array) -> pa.Array:
        offsets, first, length = _own_offsets(array)
        values = _apply(inner, array.values.slice(first, length))
        return pa.ListArray.from_arrays(offsets.cast(pa.int32()), values, type=target, mask=array.is_null())

    return project


def _own_offsets(array: pa.Array) -> tuple[pa.Array, int, int]:
    """Return (offsets from 0, first child, number of children) of a list or map that may be a slice."""
    first = array.offsets[0].as_py()
    # A copy: Arrow refuses a null mask together with offsets that are themselves a slice.
    return pc.subtract(array.offsets, first), first, array.offsets[-1].as_py() - first


def _is_readable_as(stored: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a stored type is another physical form of the wanted one, or one that Iceberg may promote."""
    if stored == wanted or promotion(stored, wanted) == wanted:
        return True
    readable = False
    if pa.types.is_string(wanted):
        readable = pa.types.is_large_string(stored) or pa.types.is_string_view(stored)
    elif pa.types.is_timestamp(wanted):
        readable = pa.types.is_timestamp(stored) and (stored.tz is None) == (wanted.tz is None)
    elif pa.types.is_time(wanted):
        readable = pa.types.is_time(stored)
    elif wanted == pa.uuid():
        readable = stored == pa.binary(16)
    elif pa.types.is_binary(wanted):
        readable = pa.types.is_large_binary(stored) or pa.types.is_binary_view(stored)
    return readable


def _has_ids(fields: Iterable[pa.Field]) -> bool:
    return any(FIELD_ID in (field.metadata or {}) for field in fields)


def _same_names_and_types(
    in_file: pa.Schema, by_id: Mapping[int, pa.Field], schema: Schema, targets: pa.Schema
) -> bool:
    names = set(in_file.names)
    for field, target in zip(schema.fields, targets, strict=True):
        source = by_id.get(field.field_id)
        if source is None and field.name in names:
            return False
        if source is not None and (source.name != field.name or source.type != target.type):
            return False
    return True
