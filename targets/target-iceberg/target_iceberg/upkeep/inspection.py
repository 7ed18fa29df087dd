"""Which tables were loaded, by which pipelines, and the Singer STATE that fits them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyiceberg.exceptions import NoSuchTableError

from icetap.errors import ConfigurationError
from target_iceberg.decoding.json_text import dump_json, parse_json
from target_iceberg.positions import bookmarks
from target_iceberg.tables.loaded_table import KEYS, STREAM

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table


def loaded_tables(catalog: Catalog) -> Iterator[Table]:
    """Yield the tables that a stream was loaded into, by name."""
    return (table for table in every_table(catalog) if STREAM in table.properties)


def every_table(catalog: Catalog) -> Iterator[Table]:
    """Yield all tables of a catalog, by name."""
    for namespace in sorted(_namespaces(catalog)):
        for identifier in sorted(catalog.list_tables(namespace)):
            try:
                yield catalog.load_table(identifier)
            except NoSuchTableError:
                continue


def _namespaces(catalog: Catalog, parent: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for namespace in catalog.list_namespaces(parent):
        yield namespace
        if len(namespace) > len(parent):
            yield from _namespaces(catalog, namespace)


def keys_of(table: Table) -> list[str]:
    """Return the columns of the key that a table was loaded with."""
    return [key for key in table.properties.get(KEYS, "").split(",") if key]


def pipelines_of(table: Table) -> list[str]:
    """Return the pipelines that have loaded into a table."""
    return sorted(
        name.removeprefix(bookmarks.PROPERTY_PREFIX)
        for name in table.properties
        if name.startswith(bookmarks.PROPERTY_PREFIX)
    )


def read_state(catalog: Catalog, pipeline: str | None) -> str:
    """Return the Singer STATE that fits the tables, as one line of JSON.

    Args:
        catalog: The catalog.
        pipeline: The pipeline, None for the only one that there is.

    Raises:
        ConfigurationError: When no pipeline is named and the tables know several.
    """
    tables = list(loaded_tables(catalog))
    known = sorted({name for table in tables for name in pipelines_of(table)})
    if pipeline is None and len(known) > 1:
        raise ConfigurationError(
            f"the tables are loaded by several pipelines: {', '.join(known)}. Name one with the setting 'pipeline' "
            "(or TARGET_ICEBERG_PIPELINE)."
        )
    return _state_of(tables, pipeline or (known[0] if known else ""))


def _state_of(tables: Iterable[Table], pipeline: str) -> str:
    parts: dict[str, Any] = {}
    opaque: Any = None
    for table in tables:
        position = bookmarks.read_position(table.metadata, pipeline)
        if position.bookmark is None:
            continue
        value = parse_json(position.bookmark)
        if position.is_opaque:
            opaque = value
        else:
            parts[table.properties[STREAM]] = value
    return dump_json(opaque if opaque is not None and not parts else {"bookmarks": parts})
