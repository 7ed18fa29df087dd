"""`icetap query`: SQL over the loaded tables, in DuckDB, reading only."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from pyiceberg.exceptions import NoSuchTableError

from icetap.cli.rendering import rows_of
from icetap.cli.views import IcebergDataset, create_view
from icetap.errors import ConfigurationError, DataError
from icetap.records.names import distinct_names
from icetap.scratch_folders import ScratchFolder
from icetap.settings import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyiceberg.catalog import Catalog

BATCH_ROWS = 10_000
_READING = frozenset({duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN})
_EXPLAIN = re.compile(r"^\s*EXPLAIN(\s+ANALYZE)?(\s*\([^)]*\))?", re.IGNORECASE)
_OWN_SCHEMAS = frozenset({"information_schema", "pg_catalog"})  # DuckDB's
_NAMESPACE_AND_TABLE = 2  # parts of a name
_LISTED = 20  # table names in a message


@dataclass(frozen=True, slots=True)
class LoadedTable:
    """A line of the list of tables."""

    namespace: str
    name: str
    rows: int | None
    """Rows by the newest snapshot's summary; None when it does not say."""

    committed_at: int | None
    """When the newest snapshot was made, in milliseconds since 1970-01-01 UTC; None without one."""


def _reading_connection(spills: ScratchFolder) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory that can open no file, load no extension and write nothing but its spill folder.

    The folder has to be its own: two processes that spill into one overwrite each other's files, and crash
    (DuckDB 1.5.5, tried on 2026-11-22).
    """
    connection = duckdb.connect(
        config={"enable_external_access": "false", "temp_directory": str(spills.path)}
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET python_enable_replacements = false")
    return connection


@dataclass
class Lake:
    """A catalog's tables behind one DuckDB connection, opened as queries name them."""

    catalog: Catalog
    datasets: dict[str, IcebergDataset] = field(default_factory=dict)
    """The tables opened so far, by `namespace.table`."""

    _spills: ScratchFolder = field(default_factory=lambda: ScratchFolder("query"))
    _connection: duckdb.DuckDBPyConnection = field(init=False)

    def __post_init__(self) -> None:
        self._connection = _reading_connection(self._spills)

    def rows(self, sql: str) -> tuple[list[str], Iterator[list[Any]]]:
        """Run one SELECT as `query` does; the rows come as Python values, a batch in memory."""
        reader = self.query(sql)
        return distinct_names(reader.schema.names), rows_of(_batches(reader))

    def query(self, sql: str) -> pa.RecordBatchReader:
        """Run one SELECT; the result comes in batches as it is computed.

        Args:
            sql: One statement that reads. Tables are `namespace.table`; the namespace may be left out when
                only one has a table of that name.

        Raises:
            ConfigurationError: When this is not one reading statement, or a table or a column is unknown.
            DataError: When DuckDB cannot run it.
        """
        with _duckdb_errors():
            statements = self._connection.extract_statements(sql)
            if len(statements) != 1 or statements[0].type not in _READING:
                raise ConfigurationError(
                    "`icetap query` takes one statement that reads (SELECT, FROM, WITH, VALUES, DESCRIBE, "
                    "SUMMARIZE, EXPLAIN). Tables are written by the loader."
                )
            self._make_views(self._tables_named_in(sql))
            return self._connection.execute(statements[0]).to_arrow_reader(BATCH_ROWS)

    def tables(self) -> list[LoadedTable]:
        """List every table with its size; opens each table's metadata."""
        found = []
        for identifier in sorted(self._identifiers()):
            snapshot = self.catalog.load_table(identifier).current_snapshot()
            rows = snapshot.summary.get("total-records") if snapshot and snapshot.summary else None
            found.append(
                LoadedTable(
                    ".".join(identifier[:-1]),
                    identifier[-1],
                    rows=int(rows) if rows is not None else (None if snapshot else 0),
                    committed_at=snapshot.timestamp_ms if snapshot else None,
                )
            )
        return found

    def _tables_named_in(self, sql: str) -> set[tuple[str, ...]]:
        """The tables of a statement as DuckDB's parser sees them, without the names that `WITH` makes."""
        row = self._connection.execute("SELECT json_serialize_sql(?)", [_EXPLAIN.sub("", sql)]).fetchone()
        tree = json.loads(row[0]) if row else {}
        if tree.get("error"):
            raise ConfigurationError(f"This statement cannot be taken apart: {tree.get('error_message')}.")
        return {name for name in _base_tables(tree, frozenset()) if not _is_duckdbs_own(name)}

    def _make_views(self, wanted: set[tuple[str, ...]]) -> None:
        if not wanted:
            return
        known = self._identifiers()
        for parts in sorted(wanted):
            identifier = _resolve(parts, known)
            dataset = self._dataset(identifier)
            create_view(
                self._connection,
                dataset,
                source=f"icetap_dataset_{list(self.datasets).index('.'.join(identifier))}",
                namespace=".".join(parts[:-1]) or None,
                name=parts[-1],
            )

    def _dataset(self, identifier: tuple[str, ...]) -> IcebergDataset:
        name = ".".join(identifier)
        if name not in self.datasets:
            try:
                self.datasets[name] = IcebergDataset(self.catalog.load_table(identifier))
            except NoSuchTableError as error:
                raise ConfigurationError(
                    f"The table {name} has just been dropped. Run the query again."
                ) from error
        return self.datasets[name]

    def _identifiers(self) -> list[tuple[str, ...]]:
        namespaces = list(self.catalog.list_namespaces())
        for namespace in namespaces:  # grows while nested ones are found
            deeper = self.catalog.list_namespaces(namespace)
            namespaces.extend(one for one in deeper if len(one) > len(namespace) and one not in namespaces)
        return [table for namespace in namespaces for table in self.catalog.list_tables(namespace)]


@contextmanager
def _duckdb_errors() -> Iterator[None]:
    try:
        yield
    except (
        duckdb.ParserException,
        duckdb.SyntaxException,
        duckdb.BinderException,
        duckdb.CatalogException,
    ) as error:
        # What is asked is wrong, not what is stored.
        raise ConfigurationError(str(error).strip()) from error
    except duckdb.Error as error:
        raise DataError(str(error).strip()) from error


def _batches(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """The batches; errors of a query come up here too, because it runs while it is read."""
    try:
        yield from reader
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise DataError(str(error).strip()) from error


def _base_tables(node: Any, made_by_with: frozenset[str]) -> Iterator[tuple[str, ...]]:
    """Yield the names, as tuples of their parts, of the tables in DuckDB's parse tree.

    A name that `WITH` makes is one from the next query of the `WITH` on; in its own query it still means a
    table, but for a recursive one.
    """
    if isinstance(node, list):
        for each in node:
            yield from _base_tables(each, made_by_with)
        return
    if not isinstance(node, dict):
        return
    if node.get("type") == "RECURSIVE_CTE_NODE":
        made_by_with |= {node["cte_name"].casefold()}
    for entry in (node.get("cte_map") or {}).get("map", ()):
        yield from _base_tables(entry["value"], made_by_with)
        made_by_with |= {entry["key"].casefold()}
    if node.get("type") == "BASE_TABLE" and "table_name" in node:
        parts = tuple(filter(None, (node["catalog_name"], node["schema_name"], node["table_name"])))
        if len(parts) > 1 or parts[0].casefold() not in made_by_with:
            yield parts
    for name, child in node.items():
        if name != "cte_map":
            yield from _base_tables(child, made_by_with)


def _is_duckdbs_own(parts: tuple[str, ...]) -> bool:
    *schema, name = (part.casefold() for part in parts)
    return schema[-1] in _OWN_SCHEMAS if schema else name.startswith(("duckdb_", "sqlite_"))


def _resolve(parts: tuple[str, ...], known: list[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the table that a name in a query means; names are compared without case, as DuckDB does.

    Raises:
        ConfigurationError: When there is none, or there are several.
    """
    if len(parts) > _NAMESPACE_AND_TABLE:
        *inner, table = parts
        raise ConfigurationError(
            f'Write the namespace of {".".join(parts)} in quotes: "{".".join(inner)}".{table}.'
        )
    *schema, name = (part.casefold() for part in parts)
    namespace = ".".join(schema)
    matching = [
        identifier
        for identifier in known
        if identifier[-1].casefold() == name
        and (not namespace or ".".join(identifier[:-1]).casefold() == namespace)
    ]
    exact = [identifier for identifier in matching if identifier[-1] == parts[-1]]
    matching = exact if len(exact) == 1 else matching
    if len(matching) == 1:
        return matching[0]
    written = ".".join(parts)
    if matching:
        choices = " or ".join(".".join(identifier) for identifier in sorted(matching))
        raise ConfigurationError(f"There are several tables called '{written}'. Write {choices}.")
    full = [".".join(identifier) for identifier in known]
    hint = did_you_mean(written, full if namespace else [*full, *(each[-1] for each in known)]) or "."
    raise ConfigurationError(f"There is no table '{written}'{hint} {_list_of(full)}")


def _list_of(names: list[str]) -> str:
    if not names:
        return "Nothing has been loaded yet."
    more = f" and {len(names) - _LISTED} more (`icetap query` lists them)" if len(names) > _LISTED else ""
    return f"There are: {', '.join(sorted(names)[:_LISTED])}{more}."
