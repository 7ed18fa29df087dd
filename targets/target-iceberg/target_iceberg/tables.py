"""Which table a stream goes to, opened or made."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pyarrow as pa
from pyiceberg.exceptions import NamespaceAlreadyExistsError, NoSuchTableError, TableAlreadyExistsError

from icetap.errors import ConfigurationError, DataError
from icetap.records.names import plain_identifier
from icetap.types import iceberg_schema, kind_of
from target_iceberg.boundary import NAMES
from target_iceberg.loaded_table import KEYS, STREAM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

    from target_iceberg.settings import StreamSettings

FORMAT_VERSION = 2

TABLE_PROPERTIES = {
    "format-version": str(FORMAT_VERSION),
    # Each commit writes a metadata file; without this they would pile up for ever.
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "100",
}


def table_identifier(stream: str, *, settings: StreamSettings, pipeline: str) -> tuple[str, ...]:
    """Return namespace and name of a stream's table, from the naming templates.

    Raises:
        ConfigurationError: When a template names something that there is not.
    """
    schema, _, _ = stream.rpartition("-")
    known = {
        "pipeline": pipeline,
        "stream": stream,
        "schema": schema or "default",
        "environment": os.environ.get("MELTANO_ENVIRONMENT") or "default",
    }
    namespace = _filled("namespace", settings.namespace, known)
    name = plain_identifier(_filled("table_name", settings.table_name, known))
    return (*(plain_identifier(part) for part in namespace.split(".")), name)


def _filled(setting: str, template: str, known: dict[str, str]) -> str:
    try:
        return template.format(**known)
    except (KeyError, IndexError, ValueError):
        words = ", ".join(f"{{{word}}}" for word in known)
        raise ConfigurationError(
            f"setting '{setting}' is '{template}'; it may hold {words} and plain text"
        ) from None


def open_table(
    catalog: Catalog,
    identifier: tuple[str, ...],
    *,
    fields: Sequence[pa.Field],
    keys: tuple[str, ...],
    stream: str,
    names: str,
) -> Table:
    """Return the table of a stream, made with these columns when it is missing.

    Args:
        catalog: The catalog.
        identifier: Namespace and name.
        fields: Columns for a new table.
        keys: Columns of the stream's key, under the names they have in the table.
        stream: The stream's name.
        names: What a new table remembers of its columns' names.
    """
    try:
        return catalog.load_table(identifier)
    except NoSuchTableError:
        return _create(catalog, identifier, fields=fields, keys=keys, stream=stream, names=names)


def _create(
    catalog: Catalog,
    identifier: tuple[str, ...],
    *,
    fields: Sequence[pa.Field],
    keys: tuple[str, ...],
    stream: str,
    names: str,
) -> Table:
    namespace = identifier[:-1]
    for depth in range(1, len(namespace) + 1):
        try:
            catalog.create_namespace(namespace[:depth])
        except NamespaceAlreadyExistsError:
            continue
    columns = [field.with_nullable(field.name not in keys or not _may_identify(field)) for field in fields]
    properties = {**TABLE_PROPERTIES, STREAM: stream, KEYS: ",".join(keys), NAMES: names}
    try:
        return catalog.create_table(identifier, schema=iceberg_schema(columns), properties=properties)
    except TableAlreadyExistsError:
        return catalog.load_table(identifier)


def _may_identify(field: pa.Field) -> bool:
    """Whether Iceberg allows the column among the identifier fields: floats and doubles it does not."""
    return not pa.types.is_floating(field.type)


def check_table(table: Table, *, keys: tuple[str, ...], stream: str) -> None:
    """Refuse a table that this stream cannot be loaded into.

    Raises:
        DataError: When the table has another key, is partitioned, or has a format version that cannot be written.
        ConfigurationError: When another stream is loaded into it.
    """
    name = ".".join(table.name())
    if table.format_version > FORMAT_VERSION:
        raise DataError(
            f"table {name} has format version {table.format_version}; this loader writes version {FORMAT_VERSION}. "
            "Load the stream into another table with 'table_name'."
        )
    if table.spec().fields:
        raise DataError(
            f"table {name} is partitioned, which this version cannot write. Load the stream into another table."
        )
    stored = table.properties.get(KEYS)
    if stored is not None and stored != ",".join(keys):
        raise DataError(
            f"stream '{stream}' has the key ({', '.join(keys)}), but table {name} was loaded with the key ({stored}). "
            f"Set 'streams.{stream}.key_properties' to the table's key, or load into another table with 'table_name'."
        )
    other = table.properties.get(STREAM)
    if other is not None and other != stream:
        raise ConfigurationError(
            f"streams '{other}' and '{stream}' would both be loaded into table {name}. "
            f"Give one of them another table: 'streams.{stream}.table_name'."
        )


def check_keys(fields: pa.Schema, keys: tuple[str, ...], *, stream: str) -> None:
    """Refuse keys that no column can be: missing ones, objects and arrays.

    Raises:
        DataError: Naming the key and what is wrong with it.
    """
    for key in keys:
        if key not in fields.names:
            raise DataError(f"stream '{stream}' names the key '{key}', but its SCHEMA has no such property")
        field = fields.field(key)
        if pa.types.is_nested(field.type) or kind_of(field) == "json":
            raise DataError(
                f"stream '{stream}': the key '{key}' is an object or an array, which cannot be compared"
            )
