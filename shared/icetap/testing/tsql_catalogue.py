"""The catalogue of `icetap.testing.tsql`: what DDL leaves in SQL Server's catalogue views and in SQLite."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from icetap.testing.tds import ServerError
from icetap.testing.tds_types import WireType

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

COLLATION = "SQL_Latin1_General_CP1_CI_AS"

# name: system_type_id, user_type_id, max_length, is_assembly_type
_TYPES = {
    "image": (34, 34, 16, 0), "text": (35, 35, 16, 0), "uniqueidentifier": (36, 36, 16, 0), "date": (40, 40, 3, 0),
    "time": (41, 41, 5, 0), "datetime2": (42, 42, 8, 0), "datetimeoffset": (43, 43, 10, 0), "tinyint": (48, 48, 1, 0),
    "smallint": (52, 52, 2, 0), "int": (56, 56, 4, 0), "smalldatetime": (58, 58, 4, 0), "real": (59, 59, 4, 0),
    "money": (60, 60, 8, 0), "datetime": (61, 61, 8, 0), "float": (62, 62, 8, 0), "sql_variant": (98, 98, 8016, 0),
    "ntext": (99, 99, 16, 0), "bit": (104, 104, 1, 0), "decimal": (106, 106, 17, 0), "numeric": (108, 108, 17, 0),
    "smallmoney": (122, 122, 4, 0), "bigint": (127, 127, 8, 0), "hierarchyid": (240, 128, 892, 1),
    "geometry": (240, 129, -1, 1), "geography": (240, 130, -1, 1), "varbinary": (165, 165, 8000, 0),
    "varchar": (167, 167, 8000, 0), "binary": (173, 173, 8000, 0), "char": (175, 175, 8000, 0),
    "timestamp": (189, 189, 8, 0), "nvarchar": (231, 231, 8000, 0), "sysname": (231, 256, 256, 0),
    "nchar": (239, 239, 8000, 0), "xml": (241, 241, -1, 0), "json": (244, 244, -1, 0), "vector": (255, 255, 8000, 0),
}  # fmt: skip
_COLUMN = re.compile(
    r"\s*(?P<name>\[(?:[^\]]|\]\])+\]|\w+)\s+(?P<type>\[?\w+\]?(?:\s*\(\s*(?:max|\d+)(?:\s*,\s*\d+)?\s*\))?)(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_NAME = r"(?:\[(?:[^\]]|\]\])+\]|\w+)(?:\.(?:\[(?:[^\]]|\]\])+\]|\w+))?"
_CREATE = re.compile(
    r"CREATE TABLE (?P<table>" + _NAME + r")\s*\((?P<body>.*)\)\s*$", re.IGNORECASE | re.DOTALL
)
_VIEW = re.compile(
    r"CREATE VIEW (?P<view>" + _NAME + r")\s+AS\s+(?P<sql>SELECT.*)$", re.IGNORECASE | re.DOTALL
)
_INDEX = re.compile(
    r"CREATE (?P<unique>UNIQUE )?(?:CLUSTERED |NONCLUSTERED )?INDEX (?P<name>\S+) ON (?P<table>"
    + _NAME
    + r")\s*\((?P<columns>[^)]*)\)(?P<where>\s+WHERE.*)?$",
    re.IGNORECASE | re.DOTALL,
)
_TRACK = re.compile(
    r"ALTER TABLE (?P<table>" + _NAME + r") (?P<how>ENABLE|DISABLE) CHANGE_TRACKING", re.IGNORECASE
)
_ADD = re.compile(r"ALTER TABLE (?P<table>" + _NAME + r") ADD (?P<column>.+)$", re.IGNORECASE | re.DOTALL)
_DATABASE = re.compile(
    r"ALTER DATABASE \S+ SET (?P<what>CHANGE_TRACKING|ALLOW_SNAPSHOT_ISOLATION) ?=? ?(?P<on>ON|OFF)",
    re.IGNORECASE,
)
_COLLATIONS = {"decimal": "tds_decimal", "numeric": "tds_decimal", "money": "tds_decimal", "smallmoney": "tds_decimal", "uniqueidentifier": "tds_guid"}  # fmt: skip
_TEXTS = {"char", "varchar", "nchar", "nvarchar", "text", "ntext"}
_SCHEMA = """
CREATE TABLE IF NOT EXISTS "sys.schemas" (schema_id INTEGER, name TEXT);
CREATE TABLE IF NOT EXISTS "sys.objects" (object_id INTEGER, schema_id INTEGER, name TEXT, type TEXT COLLATE tds_text, is_ms_shipped INTEGER);
CREATE TABLE IF NOT EXISTS "sys.tables" (object_id INTEGER, is_memory_optimized INTEGER);
CREATE TABLE IF NOT EXISTS "sys.columns" (object_id INTEGER, column_id INTEGER, name TEXT, system_type_id INTEGER,
  user_type_id INTEGER, max_length INTEGER, precision INTEGER, scale INTEGER, collation_name TEXT, is_nullable INTEGER,
  encryption_type INTEGER, is_masked INTEGER, is_column_set INTEGER);
CREATE TABLE IF NOT EXISTS "sys.types" (name TEXT, system_type_id INTEGER, user_type_id INTEGER, max_length INTEGER,
  is_assembly_type INTEGER, is_user_defined INTEGER);
CREATE TABLE IF NOT EXISTS "sys.indexes" (object_id INTEGER, index_id INTEGER, name TEXT, is_unique INTEGER,
  is_primary_key INTEGER, has_filter INTEGER, is_disabled INTEGER, is_hypothetical INTEGER);
CREATE TABLE IF NOT EXISTS "sys.index_columns" (object_id INTEGER, index_id INTEGER, column_id INTEGER, key_ordinal INTEGER);
CREATE TABLE IF NOT EXISTS "sys.databases" (database_id INTEGER, name TEXT, snapshot_isolation_state INTEGER,
  is_read_committed_snapshot_on INTEGER, compatibility_level INTEGER, service_broker_guid TEXT);
CREATE TABLE IF NOT EXISTS "sys.database_permissions" (class INTEGER, major_id INTEGER, minor_id INTEGER);
CREATE TABLE IF NOT EXISTS "sys.partitions" (partition_id INTEGER, hobt_id INTEGER, object_id INTEGER, index_id INTEGER, rows INTEGER);
CREATE TABLE IF NOT EXISTS "sys.allocation_units" (container_id INTEGER, type INTEGER, used_pages INTEGER);
CREATE TABLE IF NOT EXISTS "sys.change_tracking_databases" (database_id INTEGER, is_auto_cleanup_on INTEGER,
  retention_period INTEGER, retention_period_units_desc TEXT);
CREATE TABLE IF NOT EXISTS "sys.change_tracking_tables" (object_id INTEGER, min_valid_version INTEGER, begin_version INTEGER);
CREATE TABLE IF NOT EXISTS "sys.dm_tran_commit_table" (commit_ts INTEGER, commit_time TEXT);
CREATE TABLE IF NOT EXISTS "sys.icetap_version" (value INTEGER);
CREATE TABLE IF NOT EXISTS "sys.icetap_rowversion" (value INTEGER);
CREATE TABLE IF NOT EXISTS "sys.icetap_changes" (object_id INTEGER, version INTEGER, operation TEXT, key BLOB);
"""


@dataclass
class ColumnOf:
    """A column as it was declared."""

    name: str
    declared: str
    is_nullable: bool = True

    @property
    def base(self) -> str:
        """The type's name alone."""
        return {"rowversion": "timestamp"}.get(name := WireTypeName(self.declared), name)


def WireTypeName(declared: str) -> str:  # noqa: N802 - reads as a type
    """Return the name of a declared type, without its size."""
    return declared.partition("(")[0].strip(" []").lower()


@dataclass
class TableOf:
    """A table, a view, or a catalogue view."""

    schema: str
    name: str
    object_id: int
    columns: list[ColumnOf]
    key: list[str] = field(default_factory=list)
    kind: str = "U "

    @property
    def source(self) -> str:
        """Its name in SQLite."""
        return f'"{self.schema}.{self.name}"'

    @property
    def writable(self) -> list[str]:
        """The columns that an INSERT without names fills."""
        return [one.name for one in self.columns if one.base != "timestamp"]

    def column(self, name: str) -> ColumnOf:
        """Return a column.

        Raises:
            ServerError: 207.
        """
        found = next((one for one in self.columns if one.name.lower() == name.lower()), None)
        if found is None:
            raise ServerError(207, f"Invalid column name '{name}'.")
        return found


def bare(name: str) -> str:
    """Return a name without its brackets."""
    name = name.strip()
    return name[1:-1].replace("]]", "]") if name.startswith("[") else name.strip('"')


def two_parts(text: str) -> tuple[str, str]:
    """Return schema and name of `[dbo].[t]`, `dbo.t` or `t`."""
    parts = [bare(part) for part in re.findall(r"\[(?:[^\]]|\]\])+\]|[^.\[\]]+", text.strip()) if part]
    return (parts[0], parts[1]) if len(parts) == 2 else ("dbo", parts[0])


class Catalogue:
    """What there is; shared by all sessions of a server."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        connection.executescript(_SCHEMA)
        self._tables: dict[tuple[str, str], TableOf] = {}
        self.denied: set[tuple[str | None, str | None]] = set()
        self._schemas: list[str] = []
        self._last_id = 1000
        for name in re.findall(r'"sys\.(\w+)" \((.*?)\);', _SCHEMA, re.DOTALL):
            columns = [part.split() for part in name[1].split(",")]
            kinds = {"INTEGER": "int", "TEXT": "nvarchar(128)", "BLOB": "varbinary(max)"}
            self._tables["sys", name[0]] = TableOf(
                "sys", name[0], 0, [ColumnOf(one[0], kinds[one[1]]) for one in columns]
            )
        for name, (system, user, length, assembly) in _TYPES.items():
            connection.execute(
                'INSERT INTO "sys.types" VALUES (?, ?, ?, ?, ?, 0)', (name, system, user, length, assembly)
            )
        connection.execute(
            "INSERT INTO \"sys.databases\" VALUES (5, 'shop', 1, 0, 160, '6F9619FF-8B86-D011-B42D-00C04FC964FF')"
        )
        connection.execute('INSERT INTO "sys.icetap_version" VALUES (0)')
        connection.execute('INSERT INTO "sys.icetap_rowversion" VALUES (2000)')
        self._add_schema(connection, "dbo")

    def find(self, schema: str, name: str) -> TableOf | None:
        """Return a table, or None."""
        return self._tables.get((schema.lower(), name.lower()))

    def table(self, schema: str, name: str) -> TableOf:
        """Return a table.

        Raises:
            ServerError: 208.
        """
        found = self.find(schema, name)
        if found is None:
            raise ServerError(208, f"Invalid object name '{schema}.{name}'.")
        return found

    def object_id(self, name: str | None) -> int | None:
        """OBJECT_ID: None for what is not there."""
        found = self.find(*two_parts(name)) if name else None
        return found.object_id if found else None

    def described(self, name: str, declared: str) -> tuple[Any, ...]:
        """Return a row of sys.dm_exec_describe_first_result_set."""
        kind, length, precision, scale = _facts(declared)
        collation = COLLATION if kind in _TEXTS else None
        return name, declared, length, precision, scale, collation, None, None, None

    # --- DDL ----------------------------------------------------------------------------------------

    def define(
        self,
        connection: sqlite3.Connection,
        sql: str,
        *,
        view: Callable[[str], tuple[str, list[tuple[str, str]]]],
    ) -> bool:
        """Run a statement that defines something; return whether it is one."""
        if match := _CREATE.match(sql):
            self._create_table(connection, match["table"], match["body"])
        elif match := _VIEW.match(sql):
            translated, columns = view(match["sql"])
            found = self._new(connection, match["view"], [ColumnOf(*column) for column in columns], kind="V ")
            names = ", ".join(_quoted(one.name) for one in found.columns)
            connection.execute(f"CREATE VIEW {found.source} ({names}) AS {translated}")
        elif match := _INDEX.match(sql):
            indexed = [bare(name.split()[0]) for name in match["columns"].split(",")]
            table, has_filter = self.table(*two_parts(match["table"])), bool(match["where"])
            self._index(connection, table, indexed, unique=bool(match["unique"]), has_filter=has_filter)
        elif match := _DATABASE.match(sql):
            self._alter_database(connection, match["what"].upper(), on=match["on"].upper() == "ON")
        elif match := _TRACK.match(sql):
            table = self.table(*two_parts(match["table"]))
            self._track(connection, table, on=match["how"].upper() == "ENABLE")
        elif match := _ADD.match(sql):
            self._add_column(connection, self.table(*two_parts(match["table"])), match["column"])
        elif match := re.match(r"CREATE SCHEMA (\S+)", sql, re.IGNORECASE):
            self._add_schema(connection, bare(match[1]))
        elif match := re.match(r"DROP (TABLE|VIEW) (.+)", sql, re.IGNORECASE):
            self._drop(connection, self.table(*two_parts(match[2])), match[1])
        elif match := re.match(r"TRUNCATE TABLE (.+)", sql, re.IGNORECASE):
            self._truncate(connection, self.table(*two_parts(match[1])))
        else:
            return False
        return True

    def _add_schema(self, connection: sqlite3.Connection, name: str) -> None:
        self._schemas.append(name)
        connection.execute('INSERT INTO "sys.schemas" VALUES (?, ?)', (len(self._schemas), name))

    def _new(
        self, connection: sqlite3.Connection, name: str, columns: list[ColumnOf], *, kind: str
    ) -> TableOf:
        schema, plain = two_parts(name)
        if self.find(schema, plain):
            raise ServerError(2714, f"There is already an object named '{plain}' in the database.")
        self._last_id += 1
        table = TableOf(schema, plain, self._last_id, columns, kind=kind)
        self._tables[schema.lower(), plain.lower()] = table
        connection.execute(
            'INSERT INTO "sys.objects" VALUES (?, ?, ?, ?, 0)',
            (self._last_id, self._schemas.index(schema) + 1, plain, kind),
        )
        for number, column in enumerate(columns, 1):
            self._insert_column(connection, table, column, number)
        return table

    @staticmethod
    def _insert_column(connection: sqlite3.Connection, table: TableOf, column: ColumnOf, number: int) -> None:
        kind, length, precision, scale = _facts(column.declared)
        system, user, *_ = _TYPES[kind]
        collation = COLLATION if kind in _TEXTS else None
        connection.execute(
            'INSERT INTO "sys.columns" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, 0, 0)',
            (
                table.object_id,
                number,
                column.name,
                system,
                user,
                length,
                precision,
                scale,
                collation,
                column.is_nullable,
            ),
        )

    def _create_table(self, connection: sqlite3.Connection, name: str, body: str) -> None:
        columns, keys = [], []
        for part in _top_level(body):
            if match := re.match(
                r"\s*(?:CONSTRAINT \S+ )?PRIMARY KEY[^(]*\((.*)\)", part, re.IGNORECASE | re.DOTALL
            ):
                keys = [bare(one.split()[0]) for one in match[1].split(",")]
                continue
            column, is_key = _column_of(part)
            columns.append(column)
            keys += [column.name] if is_key else []
        for one in columns:
            one.is_nullable = one.is_nullable and one.name not in keys
        table = self._new(connection, name, columns, kind="U ")
        table.key = keys
        connection.execute('INSERT INTO "sys.tables" VALUES (?, 0)', (table.object_id,))
        connection.execute('INSERT INTO "sys.partitions" VALUES (?, ?, ?, 1, 0)', (table.object_id,) * 3)
        connection.execute('INSERT INTO "sys.allocation_units" VALUES (?, 1, 2)', (table.object_id,))
        key = f", PRIMARY KEY ({', '.join(map(_quoted, keys))})" if keys else ""
        connection.execute(
            f"CREATE TABLE {table.source} ({', '.join(_sqlite_column(one) for one in columns)}{key})"
        )
        if keys:
            self._index(connection, table, keys, unique=True, is_key=True)
        version = next((one.name for one in columns if one.base == "timestamp"), None)
        if version is not None:
            self._version_triggers(connection, table, version)

    @staticmethod
    def _version_triggers(connection: sqlite3.Connection, table: TableOf, column: str) -> None:
        for event in ("INSERT", "UPDATE"):
            connection.execute(
                f'CREATE TRIGGER "rv {event} {table.object_id}" AFTER {event} ON {table.source} BEGIN '
                'UPDATE "sys.icetap_rowversion" SET value = value + 1; '
                f"UPDATE {table.source} SET {_quoted(column)} = tds_cast((SELECT value FROM \"sys.icetap_rowversion\"), 'binary(8)') "
                "WHERE rowid = NEW.rowid; END"
            )

    @staticmethod
    def _index(
        connection: sqlite3.Connection,
        table: TableOf,
        columns: list[str],
        *,
        unique: bool,
        is_key: bool = False,
        has_filter: bool = False,
    ) -> None:
        ((number,),) = connection.execute(
            'SELECT count(*) + 1 FROM "sys.indexes" WHERE object_id = ?', (table.object_id,)
        ).fetchall()
        connection.execute(
            'INSERT INTO "sys.indexes" VALUES (?, ?, ?, ?, ?, ?, 0, 0)',
            (table.object_id, number, f"i{number}", unique, is_key, has_filter),
        )
        names = [one.name for one in table.columns]
        for place, name in enumerate(columns, 1):
            connection.execute(
                'INSERT INTO "sys.index_columns" VALUES (?, ?, ?, ?)',
                (table.object_id, number, names.index(name) + 1, place),
            )

    @staticmethod
    def _alter_database(connection: sqlite3.Connection, what: str, *, on: bool) -> None:
        if what == "ALLOW_SNAPSHOT_ISOLATION":
            connection.execute('UPDATE "sys.databases" SET snapshot_isolation_state = ?', (int(on),))
        else:
            connection.execute('DELETE FROM "sys.change_tracking_databases"')
            if on:
                connection.execute("INSERT INTO \"sys.change_tracking_databases\" VALUES (5, 1, 2, 'DAYS')")

    def _track(self, connection: sqlite3.Connection, table: TableOf, *, on: bool) -> None:
        if not connection.execute('SELECT 1 FROM "sys.change_tracking_databases"').fetchone():
            raise ServerError(
                5088, "Change tracking must be enabled on the database before it can be enabled on tables."
            )
        if not on:
            connection.execute(
                'DELETE FROM "sys.change_tracking_tables" WHERE object_id = ?', (table.object_id,)
            )
            return
        if not table.key:
            raise ServerError(
                4997,
                f"Cannot enable change tracking on table '{table.name}'. Change tracking requires a primary key on the table.",
            )
        connection.execute(
            'INSERT INTO "sys.change_tracking_tables" SELECT ?, value, value FROM "sys.icetap_version"',
            (table.object_id,),
        )
        for event, row, operation in (("INSERT", "NEW", "I"), ("UPDATE", "NEW", "U"), ("DELETE", "OLD", "D")):
            key = ", ".join(f"{row}.{_quoted(name)}" for name in table.key)
            moved = (
                f" WHEN ({', '.join(f'NEW.{_quoted(n)}' for n in table.key)}) IS NOT ({', '.join(f'OLD.{_quoted(n)}' for n in table.key)})"
                if event == "UPDATE"
                else ""
            )
            connection.execute(
                f'CREATE TRIGGER "ct {event} {table.object_id}" AFTER {event} ON {table.source} BEGIN INSERT INTO "sys.icetap_changes" '
                f"SELECT {table.object_id}, value, '{operation}', json_array({key}) FROM \"sys.icetap_version\"; END"
            )
            if moved:  # a changed key is a deletion and an insertion
                old = ", ".join(f"OLD.{_quoted(name)}" for name in table.key)
                connection.execute(
                    f'CREATE TRIGGER "ct key {table.object_id}" AFTER UPDATE ON {table.source}{moved} BEGIN INSERT INTO "sys.icetap_changes" '
                    f"SELECT {table.object_id}, value, 'D', json_array({old}) FROM \"sys.icetap_version\"; END"
                )

    def _add_column(self, connection: sqlite3.Connection, table: TableOf, text: str) -> None:
        column, _ = _column_of(text)
        table.columns.append(column)
        self._insert_column(connection, table, column, len(table.columns))
        connection.execute(f"ALTER TABLE {table.source} ADD COLUMN {_sqlite_column(column)}")

    def _drop(self, connection: sqlite3.Connection, table: TableOf, kind: str) -> None:
        connection.execute(f"DROP {kind} {table.source}")
        for name in (
            "objects",
            "tables",
            "columns",
            "indexes",
            "index_columns",
            "change_tracking_tables",
            "partitions",
        ):
            connection.execute(f'DELETE FROM "sys.{name}" WHERE object_id = ?', (table.object_id,))
        del self._tables[table.schema.lower(), table.name.lower()]

    def _truncate(self, connection: sqlite3.Connection, table: TableOf) -> None:
        """A truncated table has no changes any more: the smallest valid version moves up."""
        self.next_version(connection)
        connection.execute(f"DELETE FROM {table.source}")
        connection.execute('DELETE FROM "sys.icetap_changes" WHERE object_id = ?', (table.object_id,))
        self.forget(connection, table)
        connection.execute(
            'UPDATE "sys.change_tracking_tables" SET begin_version = min_valid_version WHERE object_id = ?',
            (table.object_id,),
        )

    # --- change tracking ------------------------------------------------------------------------------

    @staticmethod
    def forget(connection: sqlite3.Connection, table: TableOf) -> None:
        """Clean up: changes up to now are no longer known."""
        connection.execute(
            'UPDATE "sys.change_tracking_tables" SET min_valid_version = (SELECT value FROM "sys.icetap_version") WHERE object_id = ?',
            (table.object_id,),
        )
        connection.execute('DELETE FROM "sys.icetap_changes" WHERE object_id = ?', (table.object_id,))

    @staticmethod
    def next_version(connection: sqlite3.Connection) -> None:
        """Count a transaction."""
        connection.execute('UPDATE "sys.icetap_version" SET value = value + 1')
        connection.execute(
            "INSERT INTO \"sys.dm_tran_commit_table\" SELECT value, strftime('%Y-%m-%d %H:%M:%f', 'now') FROM \"sys.icetap_version\""
        )

    def changes_sql(self, target: str, since: str) -> str:
        """Return the net changes of a table since a version, as CHANGETABLE shows them."""
        table = self.table(*two_parts(target))
        keys = ", ".join(
            f"json_extract(key, '$[{number}]') AS {_quoted(name)}" for number, name in enumerate(table.key)
        )
        return (
            # The last of a key's changes: SQLite takes the other columns of the row that has the maximum.
            "(SELECT max(rowid), version AS SYS_CHANGE_VERSION, "
            f'operation AS SYS_CHANGE_OPERATION, {keys} FROM "sys.icetap_changes" '
            f"WHERE object_id = {table.object_id} AND version > COALESCE({since}, -1) GROUP BY key)"
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _top_level(body: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for at, character in enumerate(body):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append(body[start:at])
            start = at + 1
    return [*parts, body[start:]]


def _column_of(text: str) -> tuple[ColumnOf, bool]:
    match = _COLUMN.match(text)
    assert match, text
    rest = match["rest"].upper()
    declared = match["type"].replace("[", "").replace("]", "").strip().lower()
    declared = {"sysname": "nvarchar(128)", "integer": "int"}.get(declared, declared)
    is_key = "PRIMARY KEY" in rest
    return ColumnOf(bare(match["name"]), declared, is_nullable="NOT NULL" not in rest and not is_key), is_key


def _sqlite_column(column: ColumnOf) -> str:
    collation = _COLLATIONS.get(column.base) or ("tds_text" if column.base in _TEXTS else None)
    return _quoted(column.name) + (f" COLLATE {collation}" if collation else "")


def _facts(declared: str) -> tuple[str, int, int, int]:
    """Return a type's name, length in bytes, precision and scale, as sys.columns has them."""
    name = WireTypeName(declared)
    name = {"rowversion": "timestamp", "integer": "int", "dec": "decimal"}.get(name, name)
    if name in {"decimal", "numeric"}:
        kind = WireType.of(declared)
        return name, 17, kind.size, kind.scale
    if name in {"time", "datetime2", "datetimeoffset"}:
        return name, _TYPES[name][2], 0, WireType.of(declared).scale
    if name in {"char", "varchar", "nchar", "nvarchar", "binary", "varbinary"}:
        size = WireType.of(declared).size
        return name, -1 if size == -1 else size * (2 if name[0] == "n" else 1), 0, 0
    return name, _TYPES[name][2], 0, 0
