"""Singer's JSON Schema <-> Arrow columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from icetap.errors import ConfigurationError
from icetap.types.columns import (
    INT32_MAX,
    INT32_MIN,
    MAX_PRECISION,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    json_field,
    kind_of,
    new_field,
)

_DECIMAL_FORMATS = frozenset({"singer.decimal", "x-singer.decimal"})
_DECIMAL_DATATYPES = frozenset({"decimal", "numeric"})
_NUMBER_AS_DECIMAL = re.compile(r"decimal\((\d{1,2}),\s*(\d{1,2})\)")


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
        return new_field(name, pa.int64())
    if any(_travels_as_string(field) for field in fields):
        return new_field(name, pa.string(), "text")
    numbers = {kind for kind in types if kind not in {pa.int32(), pa.int64()}}
    if len(numbers) == 1 and (pa.types.is_float64(only := next(iter(numbers))) or pa.types.is_decimal(only)):
        return new_field(name, only)
    return json_field(name)


def _travels_as_string(field: pa.Field) -> bool:
    kind = field.type
    return not (
        pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
    ) and not (pa.types.is_decimal(kind) or pa.types.is_nested(kind))


def _from_alternative(name: str, schema: Mapping[str, Any], number_as: str) -> pa.Field:
    match schema["type"]:
        case "boolean":
            return new_field(name, pa.bool_())
        case "integer":
            return new_field(name, _integer(schema))
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
        return new_field(name, exact) if exact else new_field(name, pa.string(), "text")
    if number_as == "double":
        return new_field(name, pa.float64())
    if number_as == "string":
        return new_field(name, pa.string(), "text")
    if match := _NUMBER_AS_DECIMAL.fullmatch(number_as):
        exact = _declared_decimal({"precision": int(match[1]), "scale": int(match[2])})
        if exact:
            return new_field(name, exact)
    raise ConfigurationError(
        f"setting 'number_as' is '{number_as}'; expected 'double', 'string' or 'decimal(p,s)' with p up to 38"
    )


def _string(name: str, schema: Mapping[str, Any]) -> pa.Field:
    declared_format = schema.get("format")
    if declared_format in _DECIMAL_FORMATS:
        return new_field(name, _declared_decimal(schema) or pa.string())
    match schema.get("contentEncoding"):
        case "base64":
            return new_field(name, pa.binary())
        case "base16":
            return new_field(name, pa.binary(), "hex")
    match declared_format:
        case "date":
            return new_field(name, pa.date32())
        case "date-time":
            zoneless = str(schema.get("x-sql-datatype", "")).lower() == "timestamp"
            return new_field(name, TIMESTAMP if zoneless else TIMESTAMPTZ)
        case "time":
            return new_field(name, TIME)
        case "uuid":
            return new_field(name, pa.uuid())
        case _:
            return new_field(name, pa.string())


def _object(name: str, schema: Mapping[str, Any], number_as: str) -> pa.Field:
    if properties := schema.get("properties"):
        children = [
            field_from_singer(child, declared, number_as=number_as) for child, declared in properties.items()
        ]
        return new_field(name, pa.struct(children))
    values = schema.get("additionalProperties")
    if isinstance(values, Mapping) and values:
        value = field_from_singer("value", values, number_as=number_as)
        return new_field(name, pa.map_(pa.field("key", pa.string(), nullable=False), value))
    return json_field(name)


def _array(name: str, schema: Mapping[str, Any], number_as: str) -> pa.Field:
    items = schema.get("items")
    if isinstance(items, Mapping) and items:
        return new_field(name, pa.list_(field_from_singer("element", items, number_as=number_as)))
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
