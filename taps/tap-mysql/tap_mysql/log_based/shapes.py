"""What the columns of the log's rows are for the streams: by the names in the log, or by their places in the catalogue."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from icetap.sql.change_log import UNCHANGED, Shape
from tap_mysql.log_based import table_map as kinds
from tap_mysql.log_based.cells import with_log_decoder
from tap_mysql.log_based.row_events import RowDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from icetap.sql.change_log import Followed
    from icetap.sql.dialect import Column, Table
    from tap_mysql.log_based.charsets import Charsets
    from tap_mysql.log_based.log_server import Query
    from tap_mysql.log_based.table_map import LoggedColumn, TableMap

TableName = tuple[str, str]
"""Database and name: how events name a table."""

_STRINGS = frozenset({kinds.VARCHAR, kinds.VAR_STRING, kinds.COMPRESSED_VARCHAR})
_BLOBS = frozenset({kinds.BLOB, kinds.COMPRESSED_BLOB})
_KINDS: dict[str, frozenset[int]] = {
    "tinyint": frozenset({kinds.TINY}),
    "smallint": frozenset({kinds.SHORT}),
    "mediumint": frozenset({kinds.INT24}),
    "int": frozenset({kinds.LONG}),
    "bigint": frozenset({kinds.LONGLONG}),
    "decimal": frozenset({kinds.DECIMAL}),
    "float": frozenset({kinds.FLOAT}),
    "double": frozenset({kinds.DOUBLE}),
    "bit": frozenset({kinds.BIT}),
    "year": frozenset({kinds.YEAR}),
    "date": frozenset({kinds.DATE, kinds.NEWDATE}),
    "datetime": frozenset({kinds.DATETIME, kinds.OLD_DATETIME}),
    "timestamp": frozenset({kinds.TIMESTAMP, kinds.OLD_TIMESTAMP}),
    "time": frozenset({kinds.TIME, kinds.OLD_TIME}),
    "enum": frozenset({kinds.ENUM}),
    "set": frozenset({kinds.SET}),
    "json": frozenset({kinds.JSON}),
    "vector": frozenset({kinds.VECTOR}) | _STRINGS,
    **dict.fromkeys(("char", "binary", "uuid", "inet4", "inet6"), frozenset({kinds.STRING})),
    **dict.fromkeys(("varchar", "varbinary"), _STRINGS),
    **dict.fromkeys(("tinytext", "text", "mediumtext", "longtext"), _BLOBS),
    **dict.fromkeys(("tinyblob", "blob", "mediumblob", "longblob"), _BLOBS),
}
"""The log's numbers of the catalogue's types; of geometries the log has one."""
_OLD_WITH_FRACTION = frozenset({kinds.OLD_DATETIME, kinds.OLD_TIMESTAMP, kinds.OLD_TIME})
_FRACTION = re.compile(r"\w+\([1-6]\)")


@dataclass(frozen=True, slots=True)
class CatalogueColumn:
    """What else the catalogue says of a column, at its place in the table.

    `is_computed` is true for columns that are not stored, which the log may leave out.
    """

    name: str
    charset: str
    is_computed: bool


@dataclass(frozen=True, slots=True)
class ReadTable:
    """How the rows under one TABLE_MAP event are read; `has_absent`: some cells are never in the log."""

    table_id: TableName
    shape: Shape
    decoder: RowDecoder
    has_absent: bool


@dataclass(frozen=True, slots=True)
class Drift:
    """Rows that cannot be read as the catalogue is now; `reason` says why."""

    table_id: TableName
    reason: str


def catalogue_columns(query: Query, table: TableName) -> list[CatalogueColumn]:
    """Return the columns of a table in their order, invisible ones too."""
    schema, name = (part.replace("\\", "\\\\").replace("'", "''") for part in table)
    found = query(
        "SELECT column_name, character_set_name, extra FROM information_schema.columns "
        f"WHERE table_schema = '{schema}' AND table_name = '{name}' ORDER BY ordinal_position"
    )
    return [
        CatalogueColumn(str(column), str(charset or "binary"), "VIRTUAL GENERATED" in str(extra).upper())
        for column, charset, extra in found
    ]


class TableShapes:
    """Knows how to read the rows of the followed tables.

    Args:
        followed: The tables, as discovered.
        query: Asks the catalogue.
        describe: Returns a table as it is now; None when it is gone.
        charsets: Converts texts.
    """

    def __init__(
        self,
        followed: Mapping[TableName, Followed],
        *,
        query: Query,
        describe: Callable[[Table], Table | None],
        charsets: Charsets,
    ) -> None:
        self._followed = followed
        self._query = query
        self._describe = describe
        self._charsets = charsets
        self._tables = {name: each.table for name, each in followed.items()}
        self._catalogue: dict[TableName, list[CatalogueColumn]] = {}
        self._read: dict[int, tuple[TableMap, ReadTable | Drift]] = {}
        self._without_names: set[TableName] = set()

    def altered(self, name: TableName) -> None:
        """Forget what the catalogue said of a table: it is another one now."""
        self._catalogue.pop(name, None)
        self._read = {
            key: (logged, read) for key, (logged, read) in self._read.items() if read.table_id != name
        }
        now = self._describe(self._tables[name])
        if now is not None:
            self._tables[name] = now

    def is_read_by_place(self, name: TableName) -> bool:
        """Say whether rows of a table were read that the log had no names for."""
        return name in self._without_names

    def of(self, logged: TableMap) -> ReadTable | Drift:
        """Return how the rows under a TABLE_MAP event are read; the same object for the same event."""
        known = self._read.get(id(logged))
        if known is None or known[0] is not logged:
            known = self._read[id(logged)] = (logged, self._new(logged))
        return known[1]

    def _new(self, logged: TableMap) -> ReadTable | Drift:
        name = (logged.database, logged.table)
        if name not in self._catalogue:
            self._catalogue[name] = catalogue_columns(self._query, name)
        names = self._names(name, logged)
        if names is None:
            return Drift(
                name, "the log has rows with other columns than the table has now, and no names of them"
            )
        if unknown := [each for each in names if self._tables[name].column(each) is None]:
            self._refresh_for(name, unknown)
        places = self._wanted(name, names)
        for place in places:
            column = self._tables[name].column(names[place])
            if column is not None and not fits(column, logged.columns[place]):
                return Drift(
                    name, f"the log has rows in which column '{column.name}' has another type than now"
                )
        return self._read_table(name, logged, names, places)

    def _names(self, name: TableName, logged: TableMap) -> list[str] | None:
        """Return the names of the columns in the log, or None when nothing tells them."""
        if logged.has_names:
            return [str(column.name) for column in logged.columns]
        self._without_names.add(name)
        catalogue = self._catalogue[name]
        if len(catalogue) != len(logged.columns):
            return None
        return [column.name for column in catalogue]

    def _refresh_for(self, name: TableName, unknown: Sequence[str]) -> None:
        """Look for columns that came after discovery; those that are gone again stay unknown."""
        if {column.name for column in self._catalogue[name]}.issuperset(unknown):
            self.altered(name)
            self._catalogue[name] = catalogue_columns(self._query, name)

    def _wanted(self, name: TableName, names: Sequence[str]) -> list[int]:
        """Return the places of the stream's columns, and of those that discovery did not know."""
        followed = self._followed[name]
        selected = {column.name for column in followed.columns} | set(followed.key)
        discovered = {column.name for column in followed.table.columns}
        return [
            place
            for place, each in enumerate(names)
            if (column := self._tables[name].column(each)) is not None
            and column.unsupported is None
            and (each in selected or each not in discovered)
        ]

    def _read_table(
        self, name: TableName, logged: TableMap, names: Sequence[str], places: Sequence[int]
    ) -> ReadTable:
        catalogue = {column.name: column for column in self._catalogue[name]}
        columns = []
        for place in places:
            column = self._tables[name].column(names[place])
            assert column is not None  # noqa: S101 - `places` has no others
            charset = self._charset(logged.columns[place], catalogue.get(column.name))
            columns.append(with_log_decoder(column, logged.columns[place], charset, self._charsets))
        key = [number for number, place in enumerate(places) if names[place] in self._followed[name].key]
        computed = [
            place for place, each in enumerate(names) if each in catalogue and catalogue[each].is_computed
        ]
        signed = _with_signs(logged, names, self._tables[name])
        decoder = RowDecoder(signed, places, key=key, absent=UNCHANGED, may_lack=computed)
        has_absent = not set(computed).isdisjoint(places)
        return ReadTable(name, Shape(name, tuple(columns)), decoder, has_absent=has_absent)

    def _charset(self, logged: LoggedColumn, known: CatalogueColumn | None) -> str:
        if logged.collation is not None:
            found = self._charsets.by_collation.get(logged.collation)
            if found is not None:
                return found
        return known.charset if known else "utf8mb4"


def _with_signs(logged: TableMap, names: Sequence[str], table: Table) -> TableMap:
    """Return the event with the signs of its numbers, from the catalogue where the log has none."""
    columns = []
    for each, name in zip(logged.columns, names, strict=True):
        column = table.column(name)
        if each.is_unsigned is None and column is not None and column.hint is not None:
            columns.append(dataclasses.replace(each, is_unsigned=column.hint.native.is_unsigned))
        else:
            columns.append(each)
    return dataclasses.replace(logged, columns=tuple(columns))


def fits(column: Column, logged: LoggedColumn) -> bool:
    """Say whether the values in the log are of the type that the catalogue names."""
    native = column.hint.native
    allowed = _KINDS.get(native.data_type, frozenset({kinds.GEOMETRY}))
    if logged.kind not in allowed:
        return False
    if logged.kind == kinds.DECIMAL:
        return bool(logged.metadata == native.precision << 8 | native.scale)
    if logged.is_unsigned is not None and column.hint is not None and logged.kind in _SIGNED:
        return bool(logged.is_unsigned == native.is_unsigned)
    return not (logged.kind in _OLD_WITH_FRACTION and _FRACTION.match(native.column_type))


_SIGNED = frozenset({kinds.TINY, kinds.SHORT, kinds.INT24, kinds.LONG, kinds.LONGLONG})
