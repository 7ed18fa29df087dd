"""One table of types, four notations: Singer's JSON Schema, Arrow, Iceberg, and DuckDB through Arrow.

A column is a `pyarrow.Field`. Three kinds of column need more than their Arrow type says; the kind
stands in the field's metadata under `icetap.kind`, in nested fields too:

- `json`: a string that holds JSON text. Its numbers keep their digits, a bare string is quoted.
- `text`: a string that holds the plain text of a scalar of any type.
- `hex`: binary that travels as hexadecimal text (`contentEncoding: base16`), not as base64.

Strings and binaries are `pa.string()` and `pa.binary()`, instants are in microseconds, list elements
are named `element`. Iceberg's types: https://iceberg.apache.org/spec/#primitive-types (read 2026-11-21).
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import MAX_PREC, Context, Decimal
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from icetap.errors import ConfigurationError

if TYPE_CHECKING:
    from pyiceberg.schema import Schema as IcebergSchema
    from pyiceberg.types import IcebergType, NestedField

Kind = Literal["json", "text", "hex"]

KIND = b"icetap.kind"
FIELD_ID = b"PARQUET:field_id"
JSON_DOC = "JSON text"
"""The Iceberg doc of a column of kind `json`: how a table remembers it."""

MAX_PRECISION = 38
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

TIMESTAMP = pa.timestamp("us")
TIMESTAMPTZ = pa.timestamp("us", tz="UTC")
TIME = pa.time64("us")

_ANY_PRECISION = Context(prec=MAX_PREC)  # the default context would round to 28 digits
_DECIMAL_FORMATS = frozenset({"singer.decimal", "x-singer.decimal"})
_DECIMAL_DATATYPES = frozenset({"decimal", "numeric"})
_NUMBER_AS_DECIMAL = re.compile(r"decimal\((\d{1,2}),\s*(\d{1,2})\)")


def kind_of(field: pa.Field) -> Kind | None:
    """Return what a field's Arrow type does not say, or None for an ordinary column."""
    kind = (field.metadata or {}).get(KIND)
    return kind.decode() if kind else None


def _field(name: str, arrow_type: pa.DataType, kind: Kind | None = None) -> pa.Field:
    return pa.field(name, arrow_type, metadata={KIND: kind.encode()} if kind else None)


def json_field(name: str) -> pa.Field:
    """A nullable column of JSON text."""
    return _field(name, pa.string(), "json")


# --- Singer -> Arrow -------------------------------------------------------------------------------


def schema_from_singer(
    schema: Mapping[str, Any], *, key_properties: Sequence[str] = (), number_as: str = "double"
) -> pa.Schema:
    """Return the columns that a Singer SCHEMA declares; only keys are not nullable."""
    return pa.schema(
        field_from_singer(name, declared, number_as=number_as).with_nullable(name not in key_properties)
        for name, declared in schema.get("properties", {}).items()
    )


def field_from_singer(name: str, schema: Mapping[str, Any] | bool, *, number_as: str = "double") -> pa.Field:
    """Return the nullable column for one JSON Schema.

    Args:
        name: The column's name.
        schema: The property's JSON Schema; `True` and `{}` allow anything.
        number_as: What a `number` without precision becomes: `double`, `decimal(p,s)` or `string`.
    """
    if isinstance(schema, bool):
        return json_field(name)
    fields = [_from_alternative(name, one, number_as) for one in _alternatives(schema)]
    if not fields:
        return json_field(name)
    first = fields[0]
    if all(other.equals(first, check_metadata=True) for other in fields[1:]):
        return first
    return _union(name, fields)


def _alternatives(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Split a schema into alternatives of one type each, leaving `null` out."""
    for word in ("anyOf", "oneOf"):
        if word in schema:
            for alternative in schema[word]:
                if isinstance(alternative, Mapping):
                    yield from _alternatives(alternative)
                else:
                    yield {}
            return
    declared = schema.get("type")
    if declared is None:
        yield {**schema, "type": _type_of_enum(schema)}
        return
    for one in [declared] if isinstance(declared, str) else declared:
        if one != "null":
            yield {**schema, "type": one}


def _type_of_enum(schema: Mapping[str, Any]) -> str | None:
    values = [value for value in schema.get("enum", ()) if value is not None]
    if values and all(isinstance(value, str) for value in values):
        return "string"
    return "object" if schema.get("properties") else None


def _union(name: str, fields: Sequence[pa.Field]) -> pa.Field:
    types = {field.type for field in fields}
    if any(pa.types.is_nested(kind) for kind in types) or any(kind_of(f) == "json" for f in fields):
        return json_field(name)
    if types <= {pa.int32(), pa.int64()}:
        return _field(name, pa.int64())
    if any(_travels_as_string(field) for field in fields):
        return _field(name, pa.string(), "text")
    numbers = {kind for kind in types if kind not in {pa.int32(), pa.int64()}}
    if len(numbers) == 1 and (pa.types.is_float64(only := next(iter(numbers))) or pa.types.is_decimal(only)):
        return _field(name, only)
    return json_field(name)


def _travels_as_string(field: pa.Field) -> bool:
    kind = field.type
    return not (
        pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
    ) and not (pa.types.is_decimal(kind) or pa.types.is_nested(kind))


def _from_alternative(name: str, schema: Mapping[str, Any], number_as: str) -> pa.Field:
    match schema["type"]:
        case "boolean":
            return _field(name, pa.bool_())
        case "integer":
            return _field(name, _integer(schema))
        case "number":
            return _number(name, schema, number_as)
        case "string":
            return _string(name, schema)
        case "object":
            return _object(name, schema, number_as)
        case "array":
            return _array(name, schema, number_as)
        case _:
            return json_field(name)


def _integer(schema: Mapping[str, Any]) -> pa.DataType:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None and low >= INT32_MIN and high <= INT32_MAX:
        return pa.int32()
    return pa.int64()


def _declared_decimal(properties: Mapping[str, Any]) -> pa.DataType | None:
    """Return the decimal type of `precision` and `scale`, or None when Iceberg cannot hold it."""
    precision, scale = properties.get("precision"), properties.get("scale", 0)
    if precision is None or not 1 <= precision <= MAX_PRECISION or not 0 <= scale <= precision:
        return None
    return pa.decimal128(precision, scale)


def _is_decimal_datatype(schema: Mapping[str, Any]) -> bool:
    return str(schema.get("x-sql-datatype", "")).lower() in _DECIMAL_DATATYPES


def _number(name: str, schema: Mapping[str, Any], number_as: str) -> pa.Field:
    if _is_decimal_datatype(schema):
        exact = _declared_decimal(schema.get("x-sql-datatype-properties", {}))
        # More digits than a decimal holds, or none declared: the text keeps every one of them.
        return _field(name, exact) if exact else _field(name, pa.string(), "text")
    if number_as == "double":
        return _field(name, pa.float64())
    if number_as == "string":
        return _field(name, pa.string(), "text")
    if match := _NUMBER_AS_DECIMAL.fullmatch(number_as):
        exact = _declared_decimal({"precision": int(match[1]), "scale": int(match[2])})
        if exact:
            return _field(name, exact)
    raise ConfigurationError(
        f"setting 'number_as' is '{number_as}'; expected 'double', 'string' or 'decimal(p,s)' with p up to 38"
    )


def _string(name: str, schema: Mapping[str, Any]) -> pa.Field:
    declared_format = schema.get("format")
    if declared_format in _DECIMAL_FORMATS:
        return _field(name, _declared_decimal(schema) or pa.string())
    match schema.get("contentEncoding"):
        case "base64":
            return _field(name, pa.binary())
        case "base16":
            return _field(name, pa.binary(), "hex")
    match declared_format:
        case "date":
            return _field(name, pa.date32())
        case "date-time":
            zoneless = str(schema.get("x-sql-datatype", "")).lower() == "timestamp"
            return _field(name, TIMESTAMP if zoneless else TIMESTAMPTZ)
        case "time":
            return _field(name, TIME)
        case "uuid":
            return _field(name, pa.uuid())
        case _:
            return _field(name, pa.string())


def _object(name: str, schema: Mapping[str, Any], number_as: str) -> pa.Field:
    if properties := schema.get("properties"):
        children = [
            field_from_singer(child, declared, number_as=number_as) for child, declared in properties.items()
        ]
        return _field(name, pa.struct(children))
    values = schema.get("additionalProperties")
    if isinstance(values, Mapping) and values:
        value = field_from_singer("value", values, number_as=number_as)
        return _field(name, pa.map_(pa.field("key", pa.string(), nullable=False), value))
    return json_field(name)


def _array(name: str, schema: Mapping[str, Any], number_as: str) -> pa.Field:
    items = schema.get("items")
    if isinstance(items, Mapping) and items:
        return _field(name, pa.list_(field_from_singer("element", items, number_as=number_as)))
    return json_field(name)


# --- Arrow -> Singer -------------------------------------------------------------------------------


def singer_from_schema(schema: pa.Schema) -> dict[str, Any]:
    """Return the JSON Schema of a SCHEMA message for these columns."""
    return {"type": "object", "properties": {field.name: singer_from_field(field) for field in schema}}


def singer_from_field(field: pa.Field) -> dict[str, Any]:
    """Return the JSON Schema of one column, with `null` allowed where the field is nullable.

    JSON text travels as a string (`contentMediaType: application/json`), so that every target keeps
    its digits.
    """
    schema = _singer_type(field)
    if field.nullable:
        schema["type"] = [schema["type"], "null"]
    return schema


def _singer_type(field: pa.Field) -> dict[str, Any]:
    kind = field.type
    if pa.types.is_nested(kind):
        return _singer_nested(kind)
    if pa.types.is_decimal(kind):
        return {
            "type": "number",
            "x-sql-datatype": "decimal",
            "x-sql-datatype-properties": {"precision": kind.precision, "scale": kind.scale},
        }
    if pa.types.is_timestamp(kind):
        zoneless = {} if kind.tz else {"x-sql-datatype": "timestamp"}
        return {"type": "string", "format": "date-time", **zoneless}
    if pa.types.is_int32(kind):
        return {"type": "integer", "minimum": INT32_MIN, "maximum": INT32_MAX}
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return {"type": "string", "contentEncoding": "base16" if kind_of(field) == "hex" else "base64"}
    if kind_of(field) == "json":
        return {"type": "string", "contentMediaType": "application/json"}
    for matches, schema in _SINGER_SCALARS:
        if matches(kind):
            return dict(schema)
    raise TypeError(f"column '{field.name}' has the Arrow type {kind}, which no Singer type stands for")


_SINGER_SCALARS = (
    (pa.types.is_boolean, {"type": "boolean"}),
    (pa.types.is_integer, {"type": "integer"}),
    (pa.types.is_floating, {"type": "number"}),
    (pa.types.is_date, {"type": "string", "format": "date"}),
    (pa.types.is_time, {"type": "string", "format": "time"}),
    (lambda kind: kind == pa.uuid(), {"type": "string", "format": "uuid"}),
    (pa.types.is_string, {"type": "string"}),
    (pa.types.is_large_string, {"type": "string"}),
)


def _singer_nested(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_struct(kind):
        return {"type": "object", "properties": {child.name: singer_from_field(child) for child in kind}}
    if pa.types.is_map(kind):
        return {"type": "object", "additionalProperties": singer_from_field(kind.item_field)}
    return {"type": "array", "items": singer_from_field(kind.value_field)}


# --- values without a declared type ----------------------------------------------------------------


def infer_field(name: str, value: object) -> pa.Field:
    """Return the column for a JSON value that no SCHEMA declared.

    Args:
        name: The column's name.
        value: The value as parsed, with `Decimal` for numbers that have a fraction or an exponent.

    Objects and arrays become JSON text: one value does not say what the next will hold. Null and
    integers beyond 64 bits become text.
    """
    if isinstance(value, bool):
        return _field(name, pa.bool_())
    if isinstance(value, int):
        inside = INT64_MIN <= value <= INT64_MAX
        return _field(name, pa.int64()) if inside else _field(name, pa.string(), "text")
    if isinstance(value, float | Decimal):
        return _field(name, pa.float64())
    if isinstance(value, str):
        return _field(name, pa.string())
    return json_field(name)


def canonical_json(text: str) -> str:
    """Return JSON text with sorted keys and no white space; numbers compare by value.

    Text that is not JSON is returned as it is.
    """
    try:
        value = json.loads(text, parse_float=Decimal)
    except ValueError:
        return text
    return json.dumps(_comparable(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _comparable(value: object) -> object:
    if isinstance(value, dict):
        return {key: _comparable(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_comparable(child) for child in value]
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        # A marker that no JSON string of the source can be: 1.0 and 1 are one number.
        return {"\x00number": str(Decimal(value).normalize(_ANY_PRECISION))}
    return value


# --- changes of a column's type --------------------------------------------------------------------


def promotion(old: pa.DataType, new: pa.DataType) -> pa.DataType | None:
    """Return the type that Iceberg lets `old` become so that it also holds `new`, or None.

    https://iceberg.apache.org/spec/#schema-evolution (read 2026-11-21)
    """
    if old == new:
        return old
    if pa.types.is_integer(old) and pa.types.is_integer(new):
        return max(old, new, key=lambda kind: kind.bit_width)
    if pa.types.is_floating(old) and pa.types.is_floating(new):
        return max(old, new, key=lambda kind: kind.bit_width)
    if pa.types.is_decimal(old) and pa.types.is_decimal(new) and old.scale == new.scale:
        return max(old, new, key=lambda kind: kind.precision)
    return None


def variant_suffix(arrow_type: pa.DataType) -> str:
    """Return the word for a type in the name of a variant column: `amount__decimal`."""
    if pa.types.is_timestamp(arrow_type):
        return "timestamptz" if arrow_type.tz else "timestamp"
    for matches, word in _SUFFIXES:
        if matches(arrow_type):
            return word
    raise TypeError(f"no column can have the Arrow type {arrow_type}")


_SUFFIXES = (
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_int32, "int"),
    (pa.types.is_integer, "long"),
    (pa.types.is_float32, "float"),
    (pa.types.is_floating, "double"),
    (pa.types.is_decimal, "decimal"),
    (pa.types.is_date, "date"),
    (pa.types.is_time, "time"),
    (lambda kind: kind == pa.uuid(), "uuid"),
    (pa.types.is_string, "string"),
    (pa.types.is_binary, "binary"),
    (pa.types.is_fixed_size_binary, "binary"),
    (pa.types.is_struct, "struct"),
    (pa.types.is_map, "map"),
    (pa.types.is_list, "list"),
)


# --- Arrow <-> Iceberg -----------------------------------------------------------------------------


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
