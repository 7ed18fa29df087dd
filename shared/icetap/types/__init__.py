"""One table of types, four notations: Singer's JSON Schema, Arrow, Iceberg, and DuckDB through Arrow.

A column is a `pyarrow.Field`. Three kinds of column need more than their Arrow type says; the kind
stands in the field's metadata under `icetap.kind`, in nested fields too:

- `json`: a string that holds JSON text. Its numbers keep their digits, a bare string is quoted.
- `text`: a string that holds the plain text of a scalar of any type.
- `hex`: binary that travels as hexadecimal text (`contentEncoding: base16`), not as base64.

Strings and binaries are `pa.string()` and `pa.binary()`, instants are in microseconds, list elements
are named `element`. Iceberg's types: https://iceberg.apache.org/spec/#primitive-types (read 2026-11-21).
"""

from icetap.types.columns import (
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    KIND,
    MAX_PRECISION,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    Kind,
    canonical_json,
    infer_field,
    json_field,
    kind_of,
    promotion,
    variant_suffix,
)
from icetap.types.decimals import (
    DECIMAL_TEXT,
    decimal_from_text,
    decimals_from_texts,
    fitted_decimal,
    within_precision,
)
from icetap.types.iceberg import (
    FIELD_ID,
    JSON_DOC,
    iceberg_schema,
    iceberg_type,
    schema_from_iceberg,
)
from icetap.types.singer import (
    field_from_singer,
    schema_from_singer,
    singer_from_field,
    singer_from_schema,
)

__all__ = [
    "DECIMAL_TEXT",
    "FIELD_ID",
    "INT32_MAX",
    "INT32_MIN",
    "INT64_MAX",
    "INT64_MIN",
    "JSON_DOC",
    "KIND",
    "MAX_PRECISION",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMPTZ",
    "Kind",
    "canonical_json",
    "decimal_from_text",
    "decimals_from_texts",
    "field_from_singer",
    "fitted_decimal",
    "iceberg_schema",
    "iceberg_type",
    "infer_field",
    "json_field",
    "kind_of",
    "promotion",
    "schema_from_iceberg",
    "schema_from_singer",
    "singer_from_field",
    "singer_from_schema",
    "variant_suffix",
    "within_precision",
]
