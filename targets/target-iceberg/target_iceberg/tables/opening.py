"""Which table a stream goes to, opened or made."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from pyiceberg.exceptions import (
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)

from icetap.errors import ConfigurationError, DataError
from icetap.records.names import plain_identifier
from icetap.types import iceberg_schema, kind_of
from target_iceberg.positions.boundary import NAMES
from target_iceberg.settings import VALID_FROM
from target_iceberg.tables.layout import LayoutWish
from target_iceberg.tables.layout_terms import Columns
from target_iceberg.tables.loaded_table import KEYS, STREAM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyiceberg.catalog import Catalog
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table

    from target_iceberg.settings import StreamSettings

FORMAT_VERSION = 2

LONGEST_NAME_BYTES = 240
"""Catalogs and file systems take 255 bytes, and the quarantine's name is longer by `__rejected`."""

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
    known = _words(stream, pipeline=pipeline)
    namespace = _filled("namespace", settings.namespace, known)
    name = plain_identifier(_filled("table_name", settings.table_name, known))
    if len(name.encode()) > LONGEST_NAME_BYTES:
        raise ConfigurationError(
            f"stream '{stream}' would be loaded into a table whose name has {len(name.encode())} bytes; at most "
            f"{LONGEST_NAME_BYTES} are sure to fit. Give it a shorter one: 'table_name' under 'streams'."
        )
    return (*(plain_identifier(part) for part in namespace.split(".")), name)


def _words(stream: str, *, pipeline: str) -> dict[str, str]:
    """Return what templates may name."""
    schema, _, _ = stream.rpartition("-")
    return {
        "pipeline": pipeline,
        "stream": stream,
        "schema": schema or "default",
        "environment": os.environ.get("MELTANO_ENVIRONMENT") or "default",
    }


def table_location(
    identifier: tuple[str, ...], *, stream: str, settings: StreamSettings, pipeline: str
) -> str | None:
    """Return where a new table is made, from the setting `location`; None for the catalog's choice.

    Raises:
        ConfigurationError: When the template names something that there is not, or would put tables into one folder.
    """
    template = settings.location
    if not template:
        return None
    known = _words(stream, pipeline=pipeline)
    known |= {"namespace": "/".join(identifier[:-1]), "table": identifier[-1]}
    location = _filled("location", template, known)
    if not ("{table}" in template or "{stream}" in template):
        raise ConfigurationError(
            f"setting 'location' is '{template}', which would put several tables into one folder; "
            "expected a template with {table}"
        )
    if "://" not in location and not Path(location).is_absolute():
        raise ConfigurationError(
            f"setting 'location' is '{template}'; expected a URI, as in s3://lake/{{namespace}}/{{table}}, "
            "or an absolute path"
        )
    location = location.rstrip("/")
    return location if "://" in location else f"file://{location}"


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
    layout: NewLayout | None = None,
) -> Table:
    """Return the table of a stream, made with these columns when it is missing.

    Args:
        catalog: The catalog.
        identifier: Namespace and name.
        fields: Columns for a new table.
        keys: Columns of the stream's key, under the names they have in the table.
        stream: The stream's name.
        names: What a new table remembers of its columns' names.
        layout: How a new table is laid out; default plain, where the catalog puts it.

    Raises:
        ConfigurationError: When the layout does not fit the columns.
    """
    try:
        return catalog.load_table(identifier)
    except NoSuchTableError:
        _refuse_twin(catalog, identifier, stream=stream)
        properties = {STREAM: stream, KEYS: ",".join(keys), NAMES: names}
        required = [field.name for field in fields if field.name in keys and _may_identify(field)]
        schema = iceberg_schema(field.with_nullable(field.name not in required) for field in fields)
        return _create(
            catalog, identifier, schema=schema, properties=properties, layout=layout or NewLayout(stream)
        )


@dataclass(frozen=True)
class NewLayout:
    """How a table is laid out when it is made.

    `mapping` has the stream's names of columns and the table's.
    """

    stream: str
    wish: LayoutWish = field(default_factory=LayoutWish)
    mapping: Mapping[str, str] = field(default_factory=dict)
    location: str | None = None


def make_namespace(catalog: Catalog, namespace: tuple[str, ...]) -> None:
    """Make a namespace and those around it, where they are missing; others may do so at the same moment."""
    for depth in range(1, len(namespace) + 1):
        try:
            catalog.create_namespace(namespace[:depth])
        except NamespaceAlreadyExistsError:
            continue
        except Exception:
            # An SQL catalog (pyiceberg 0.12) tells of a race by its database's error.
            if not catalog.namespace_exists(namespace[:depth]):
                raise


def _create(
    catalog: Catalog,
    identifier: tuple[str, ...],
    *,
    schema: Schema,
    properties: Mapping[str, str],
    layout: NewLayout,
) -> Table:
    columns = Columns(schema, mapping=layout.mapping, stream=layout.stream)
    spec, order = layout.wish.of_new_table(columns)
    make_namespace(catalog, identifier[:-1])
    try:
        return catalog.create_table(
            identifier,
            schema=schema,
            location=layout.location,
            partition_spec=spec,
            sort_order=order,
            properties={**TABLE_PROPERTIES, **(layout.wish.properties or {}), **properties},
        )
    except TableAlreadyExistsError:
        return catalog.load_table(identifier)


def _refuse_twin(catalog: Catalog, identifier: tuple[str, ...], *, stream: str) -> None:
    """Refuse a new table whose name another one has in other letters: to most engines they are one.

    Raises:
        ConfigurationError: Naming the other one.
    """
    try:
        others = catalog.list_tables(identifier[:-1])
    except NoSuchNamespaceError:
        return
    for other in others:
        if other[-1].casefold() == identifier[-1].casefold() and tuple(other) != identifier:
            raise ConfigurationError(
                f"stream '{stream}' would be loaded into {'.'.join(identifier)}, which most engines cannot tell from "
                f"{'.'.join(other)}. Give it another table: 'streams.{stream}.table_name'."
            )


def _may_identify(field: pa.Field) -> bool:
    """Whether Iceberg allows the column among the identifier fields: floats and doubles it does not."""
    return not pa.types.is_floating(field.type)


def check_table(table: Table, *, keys: tuple[str, ...], stream: str) -> None:
    """Refuse a table that this stream cannot be loaded into.

    Raises:
        DataError: When the table has another key, or a format version that cannot be written.
        ConfigurationError: When another stream is loaded into it.
    """
    name = ".".join(table.name())
    if table.format_version > FORMAT_VERSION:
        raise DataError(
            f"table {name} has format version {table.format_version}; this loader writes version {FORMAT_VERSION}. "
            "Load the stream into another table with 'table_name'."
        )
    stored = table.properties.get(KEYS)
    if stored is not None and set(stored.split(",")) != set(",".join(keys).split(",")):
        raise _other_key(name, tuple(filter(None, stored.split(","))), keys, stream=stream)
    other = table.properties.get(STREAM)
    if other is not None and other != stream:
        raise ConfigurationError(
            f"streams '{other}' and '{stream}' would both be loaded into table {name}. "
            f"Give one of them another table: 'streams.{stream}.table_name'."
        )


def _other_key(table: str, stored: tuple[str, ...], keys: tuple[str, ...], *, stream: str) -> DataError:
    """Return the error of a stream whose key is not its table's, with the ways out."""
    own_table = "load into another table with 'table_name'"
    if (VALID_FROM in stored) != (VALID_FROM in keys):
        is_history = "is a history" if VALID_FROM in stored else "is no history"
        return DataError(
            f"stream '{stream}': table {table} {is_history}, and 'load_method' would have it otherwise. A history has a "
            f"row for each version of a key: give 'load_method' its old value, or {own_table}."
        )
    old, new = (", ".join(one for one in some if one != VALID_FROM) or "none" for some in (stored, keys))
    rekey = f"`target-iceberg rekey {shlex.quote(stream)} --keys {shlex.quote(','.join(keys))}`"
    ways = "" if VALID_FROM in stored else f"Change the table's key with {rekey}, s"
    return DataError(
        f"stream '{stream}' has the key ({new}), but table {table} was loaded with the key ({old}). "
        f"{ways or 'S'}et 'streams.{stream}.key_properties' to the table's key, or {own_table}."
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
