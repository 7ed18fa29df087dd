"""Arrow columns <-> Iceberg schemas: https://iceberg.apache.org/spec/#primitive-types (read 2026-11-21).

pyiceberg is imported inside the functions: only the loader's environment has it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pyarrow as pa

from icetap.errors import ConfigurationError
from icetap.types.columns import KIND, TIME, TIMESTAMP, TIMESTAMPTZ, kind_of, variant_suffix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyiceberg.schema import Schema as IcebergSchema
    from pyiceberg.types import IcebergType, NestedField

FIELD_ID = b"PARQUET:field_id"
JSON_DOC = "JSON text"
"""The Iceberg doc of a column of kind `json`: how a table remembers it."""


def iceberg_schema(fields: Iterable[pa.Field]) -> IcebergSchema:
    """Return an Iceberg schema for these columns.

    Identifier fields are the columns that are not nullable. Field ids are placeholders: the catalog
    or the schema update gives the real ones.
    """
    from pyiceberg.schema import Schema  # noqa: PLC0415 - only the loader has pyiceberg

    ids = itertools.count(1)
    columns = [_iceberg_field(field, ids) for field in fields]
    return Schema(*columns, identifier_field_ids=[column.field_id for column in columns if column.required])


def iceberg_type(field: pa.Field) -> IcebergType:
    """Return the Iceberg type of a column, its nested fields numbered with placeholders."""
    return _iceberg_type(field, itertools.count(1))


def _iceberg_field(field: pa.Field, ids: Iterator[int]) -> NestedField:
    from pyiceberg.types import NestedField  # noqa: PLC0415 - only the loader has pyiceberg

    field_id = next(ids)
    doc = JSON_DOC if kind_of(field) == "json" else None
    return NestedField(field_id, field.name, _iceberg_type(field, ids), required=not field.nullable, doc=doc)


def _iceberg_type(field: pa.Field, ids: Iterator[int]) -> IcebergType:
    from pyiceberg import types as ice  # noqa: PLC0415 - only the loader has pyiceberg

    kind = field.type
    if pa.types.is_struct(kind):
        return ice.StructType(*(_iceberg_field(child, ids) for child in kind))
    if pa.types.is_map(kind):
        key_id, value_id = next(ids), next(ids)
        value = _iceberg_type(kind.item_field, ids)
        return ice.MapType(key_id, _iceberg_type(kind.key_field, ids), value_id, value, value_required=False)
    if pa.types.is_list(kind):
        element_id = next(ids)
        element = _iceberg_type(kind.value_field, ids)
        return ice.ListType(element_id, element, element_required=False)
    if pa.types.is_decimal(kind):
        return ice.DecimalType(kind.precision, kind.scale)
    if pa.types.is_fixed_size_binary(kind) and kind != pa.uuid():
        return ice.FixedType(kind.byte_width)
    return _iceberg_scalars()[variant_suffix(kind)]


def _iceberg_scalars() -> dict[str, IcebergType]:
    from pyiceberg import types as ice  # noqa: PLC0415 - only the loader has pyiceberg

    return {
        "boolean": ice.BooleanType(),
        "int": ice.IntegerType(),
        "long": ice.LongType(),
        "float": ice.FloatType(),
        "double": ice.DoubleType(),
        "date": ice.DateType(),
        "time": ice.TimeType(),
        "timestamp": ice.TimestampType(),
        "timestamptz": ice.TimestamptzType(),
        "uuid": ice.UUIDType(),
        "string": ice.StringType(),
        "binary": ice.BinaryType(),
    }


_ARROW_SCALARS: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "date": pa.date32(),
    "time": TIME,
    "timestamp": TIMESTAMP,
    "timestamptz": TIMESTAMPTZ,
    "uuid": pa.uuid(),
    "string": pa.string(),
    "binary": pa.binary(),
}


def schema_from_iceberg(schema: IcebergSchema, *, with_ids: bool = False) -> pa.Schema:
    """Return a table's columns as Arrow fields.

    Args:
        schema: The Iceberg schema.
        with_ids: Add `PARQUET:field_id` to every field, as a Parquet writer needs it.

    Raises:
        ConfigurationError: For a type of format version 3 that the loader cannot hold.
    """
    return pa.schema(_arrow_field(field, with_ids=with_ids) for field in schema.fields)


def _arrow_field(field: NestedField, *, with_ids: bool) -> pa.Field:
    metadata = {FIELD_ID: str(field.field_id).encode()} if with_ids else {}
    if field.doc == JSON_DOC:
        metadata[KIND] = b"json"
    return pa.field(
        field.name,
        _arrow_type(field.field_type, with_ids=with_ids),
        nullable=not field.required,
        metadata=metadata or None,
    )


def _arrow_type(kind: IcebergType, *, with_ids: bool) -> pa.DataType:
    from pyiceberg import types as ice  # noqa: PLC0415 - only the loader has pyiceberg

    match kind:
        case ice.StructType():
            return pa.struct([_arrow_field(child, with_ids=with_ids) for child in kind.fields])
        case ice.ListType():
            return pa.list_(_arrow_field(kind.element_field, with_ids=with_ids))
        case ice.MapType():
            key = _arrow_field(kind.key_field, with_ids=with_ids)
            return pa.map_(key, _arrow_field(kind.value_field, with_ids=with_ids))
        case ice.DecimalType():
            return pa.decimal128(kind.precision, kind.scale)
        case ice.FixedType():
            return pa.binary(len(kind))
    try:
        return _ARROW_SCALARS[str(kind)]
    except KeyError:
        raise ConfigurationError(
            f"the table has a column of the Iceberg type {kind}, which this version cannot read or write"
        ) from None
