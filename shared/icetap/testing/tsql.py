"""Enough of SQL Server's SQL on SQLite for a tap's statements and its tests; `icetap.testing.tds` carries it.

It proves statements, drivers and logic, and is no proof of SQL Server's own behaviour. Statements are read by sqlglot
and turned into SQLite's; catalogue views, change tracking and rowversions are tables that DDL and triggers keep.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp

from icetap.testing import tsql_values
from icetap.testing.tds import CutError, Login, Result, ServerError
from icetap.testing.tsql_catalogue import Catalogue, two_parts
from icetap.testing.tsql_translation import Scope, cast_call, cast_inserted, converted, type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

_CHANGETABLE = re.compile(
    r"CHANGETABLE\s*\(\s*CHANGES\s+(?P<table>[^,]+?)\s*,\s*(?P<since>@P\d+|NULL|\d+)\s*\)", re.IGNORECASE
)
_WAIT = re.compile(r"WAITFOR DELAY '(\d\d):(\d\d):(\d\d)'", re.IGNORECASE)
_NAME_OR_TEXT = re.compile(r"'(?:[^']|'')*'|\"((?:[^\"]|\"\")*)\"")
_PROPERTIES = {"ProductVersion": "16.0.1000.6", "Edition": "Developer Edition"}
_HEX = re.compile(r"'(?:[^']|'')*'|\[[^\]]*\]|\b0x([0-9A-Fa-f]*)")  # sqlglot makes numbers of them
_NOTHING = re.compile(
    r"^(SET (?!TRANSACTION)|USE |(CREATE|DROP) DATABASE |ALTER DATABASE \S+ SET SINGLE_USER)", re.IGNORECASE
)
_ERRORS = (
    (("no such table",), 208, "Invalid object name"),
    (("no such column",), 207, "Invalid column name"),
)


@dataclass
class Server:
    """One database and what tests do to it.

    `fail` maps a piece of a statement to the errors that it meets, one each time; `cut_after` drops the connection
    after so many rows of a statement with that piece.
    """

    folder: Path
    password: str = "pa55 w;rd}"  # noqa: S105 - invented
    user: str = "reader"
    has_snapshots: bool = True
    may_unmask: bool = True
    fail: dict[str, list[ServerError]] = field(default_factory=dict)
    cut_after: dict[str, int] = field(default_factory=dict)
    refuse_logins: list[ServerError] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    held_rowversion: int | None = None

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.path = self.folder / "server.db"
        with contextlib.closing(self.open()) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            self.catalogue = Catalogue(connection)

    def open(self) -> sqlite3.Connection:
        """Open the file, with SQL Server's functions and collations."""
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
        connection.execute("PRAGMA synchronous = OFF")
        connection.create_collation("tds_guid", tsql_values.compare_guids)
        connection.create_collation("tds_decimal", tsql_values.compare_decimals)
        connection.create_collation("tds_text", tsql_values.compare_texts)
        for name, count, function in (
            ("tds_cast", -1, tsql_values.cast),
            ("tds_object_id", 1, self._object_id),
            (
                "tds_property",
                1,
                _PROPERTIES.get,
            ),
            ("tds_permission", -1, self._permission),
            ("tds_hex", 1, bytes.fromhex),
            ("quotename", 1, lambda name: "[" + name.replace("]", "]]") + "]"),
            ("concat", -1, lambda *parts: "".join("" if part is None else str(part) for part in parts)),
            ("tds_utc", 2, lambda text, _: None if text is None else text[:-6] + "+00:00"),
            ("tds_method", 2, _method),
        ):
            connection.create_function(name, count, function, deterministic=False)
        return connection

    def _object_id(self, name: str | None) -> int | None:
        return self.catalogue.object_id(name)

    def _permission(
        self, what: str | None, _kind: str, right: str, column: str | None = None, *_: Any
    ) -> int:
        if right == "UNMASK":
            return int(self.may_unmask)
        if right == "VIEW CHANGE TRACKING":
            return int((what, right) not in self.catalogue.denied)
        return int((what, column) not in self.catalogue.denied and (what, None) not in self.catalogue.denied)

    def insert(self, name: str, rows: Sequence[Sequence[object]]) -> None:
        """Insert rows without a statement for each: parsing takes a while."""
        table = self.catalogue.table(*two_parts(name))
        casts = ", ".join(f"tds_cast(?, '{table.column(one).declared}')" for one in table.writable)
        names = ", ".join(f'"{one}"' for one in table.writable)
        with self.lock, contextlib.closing(self.open()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            self.catalogue.next_version(connection)
            connection.executemany(f"INSERT INTO {table.source} ({names}) VALUES ({casts})", rows)
            connection.execute("COMMIT")

    def login(self, login: Login) -> ServerSession:
        """Let a client in.

        Raises:
            ServerError: 18456 and what tests ask for.
        """
        if self.refuse_logins:
            raise self.refuse_logins.pop(0)
        if (login.user, login.password) != (self.user, self.password):
            raise ServerError(18456, f"Login failed for user '{login.user}'.", severity=14)
        return ServerSession(self)


def _method(name: str, value: Any) -> Any:
    """A method of a CLR type: shapes are stored as `SRID|well-known binary`, hierarchies as their text."""
    if value is None:
        return None
    match name.lower():
        case "tostring":
            return str(value)
        case "stsrid":
            return int.from_bytes(value[:4], "little")
        case _:
            return bytes(value[4:])


class ServerSession:
    """One connection: runs batches of statements."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection = server.open()
        self._isolation = "READ COMMITTED"

    def close(self) -> None:
        """Forget the session and its transaction."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def execute(
        self, sql: str, parameters: Sequence[Any], is_cancelled: Callable[[], bool]
    ) -> Iterable[Result]:
        """Run a batch, statement by statement."""
        self._server.statements.append(sql)
        for piece, errors in self._server.fail.items():
            if piece in sql and errors:
                raise errors.pop(0)
        if match := _WAIT.search(sql):
            end = time.monotonic() + int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3])
            while time.monotonic() < end:
                time.sleep(0.02)
                is_cancelled()
        for statement in _split(sql):
            try:
                yield self._run(statement, parameters)
            except sqlite3.Error as error:
                raise _server_error(error) from error

    def _run(self, sql: str, parameters: Sequence[Any]) -> Result:
        words = " ".join(sql.upper().split()[:4])
        if _NOTHING.match(sql) or words.startswith("WAITFOR"):
            return Result()
        if words.startswith("SET TRANSACTION ISOLATION"):
            self._isolation = sql.upper().partition("LEVEL ")[2].strip()
            return Result()
        if words.startswith("BEGIN TRAN"):
            if self._isolation == "SNAPSHOT" and not self._server.has_snapshots:
                raise ServerError(
                    3952,
                    "Snapshot isolation transaction failed accessing database 'shop' because snapshot isolation is not allowed in this database.",
                )
            self._connection.execute("BEGIN")
            return Result(transaction=True)
        if words.startswith(("COMMIT", "ROLLBACK")):
            if self._connection.in_transaction:
                self._connection.execute(words.split()[0])
            return Result(transaction=False)
        with self._server.lock:
            if self._server.catalogue.define(self._connection, sql, view=self._view_of):
                return Result()
        if words.startswith(("SELECT", "WITH")):
            return self._select(sql, parameters)
        return self._write(sql, parameters)

    # --- reading ------------------------------------------------------------------------------------

    def _select(self, sql: str, parameters: Sequence[Any]) -> Result:
        if "dm_exec_describe_first_result_set" in sql:
            return self._describe(sql, str(parameters[0]))
        tree = self._tree(sql)
        columns = self._columns_of(tree)
        self._convert_compared(tree)
        cursor = self._connection.execute(self._translated(tree), _named(parameters))
        rows: Iterator[Any] = iter(cursor)
        limit = next((count for piece, count in self._server.cut_after.items() if piece in sql), None)
        return Result(columns, rows if limit is None else self._cut(rows, limit, sql))

    def _convert_compared(self, tree: exp.Expr) -> None:
        """Give values that a column is compared with the column's type, as SQL Server does."""
        sources = self._sources(tree)
        for node in tree.find_all(exp.GTE, exp.GT, exp.LTE, exp.LT, exp.EQ):
            if isinstance(node.this, exp.Column) and isinstance(node.expression, exp.Parameter | exp.Literal):
                node.set("expression", cast_call(node.expression, type_of(node.this, sources)))

    def _cut(self, rows: Iterator[Any], limit: int, sql: str) -> Iterator[Any]:
        for number, row in enumerate(rows):
            if number >= limit:
                self._server.cut_after = {
                    piece: count for piece, count in self._server.cut_after.items() if piece not in sql
                }
                raise CutError
            yield row

    def _describe(self, sql: str, query: str) -> Result:
        names = [one.alias_or_name for one in self._tree(sql).expressions]
        types = [
            "nvarchar(128)",
            "nvarchar(256)",
            "int",
            "int",
            "int",
            "nvarchar(128)",
            "nvarchar(128)",
            "int",
            "nvarchar(4000)",
        ]
        try:
            tree = self._tree(query)
            self._connection.execute(f"EXPLAIN {self._translated(tree)}")
            rows = [
                self._server.catalogue.described(name, declared) for name, declared in self._columns_of(tree)
            ]
        except (sqlglot.ParseError, sqlite3.Error, ServerError) as error:
            found = error if isinstance(error, ServerError) else _server_error(error)
            rows = [(None, None, None, None, None, None, None, found.number, found.message)]
        return Result(list(zip(names, types, strict=True)), rows)

    def _columns_of(self, tree: exp.Expr) -> list[tuple[str, str]]:
        """Infer names and types of a SELECT's columns."""
        sources = self._sources(tree)
        return [(one.alias_or_name, type_of(one, sources)) for one in tree.selects]  # type: ignore[attr-defined]

    def _sources(self, tree: exp.Expr) -> dict[str, dict[str, str]]:
        """Return the columns of each FROM item by its alias."""
        found: dict[str, dict[str, str]] = {}
        ctes = {cte.alias: cte.this for cte in tree.root().find_all(exp.CTE)}
        for source in tree.find_all(exp.Table, exp.Subquery):
            if isinstance(source, exp.Subquery):
                found[source.alias.lower()] = {
                    name.lower(): kind for name, kind in self._columns_of(source.this)
                }
            elif source.name in ctes:
                columns = self._columns_of(ctes[source.name])
                found[source.alias_or_name.lower()] = {name.lower(): kind for name, kind in columns}
            else:
                table = self._server.catalogue.table(*_parts(source))
                found[source.alias_or_name.lower()] = {
                    one.name.lower(): one.declared for one in table.columns
                }
        return found

    def _view_of(self, sql: str) -> tuple[str, list[tuple[str, str]]]:
        tree = self._tree(sql)
        return self._translated(tree), self._columns_of(tree)

    # --- writing ------------------------------------------------------------------------------------

    def _write(self, sql: str, parameters: Sequence[Any]) -> Result:
        """INSERT, UPDATE, DELETE: values take the form of their columns."""
        tree = self._tree(sql)
        target = tree.find(exp.Table)
        assert target is not None, sql
        table = self._server.catalogue.table(target.db or "dbo", target.name)
        if isinstance(tree, exp.Insert):
            cast_inserted(tree, table)
        elif isinstance(tree, exp.Update):
            for assignment in tree.expressions:
                declared = table.column(assignment.this.name).declared
                assignment.set("expression", cast_call(assignment.expression, declared))
        self._convert_compared(tree)
        translated = self._translated(tree)
        with self._server.lock:
            if self._connection.in_transaction:
                self._connection.execute(translated, _named(parameters))
                return Result()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._server.catalogue.next_version(self._connection)
                self._connection.execute(translated, _named(parameters))
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
        return Result()

    # --- translation --------------------------------------------------------------------------------

    @staticmethod
    def _tree(sql: str) -> exp.Expr:
        def changes(match: re.Match[str]) -> str:
            return f"sys.[changetable {match['table'].replace(']', ']]')} {match['since']}]"

        sql = _HEX.sub(lambda match: match[0] if match[1] is None else f"tds_hex('{match[1]}')", sql)
        try:
            return sqlglot.parse_one(_CHANGETABLE.sub(changes, sql), read="tsql")
        except sqlglot.ParseError as error:
            raise ServerError(102, f"Incorrect syntax near '{str(error)[:60]}'.", severity=15) from error

    def _translated(self, tree: exp.Expr) -> str:
        scope = Scope(self._server.catalogue, self._server.held_rowversion)
        return _in_brackets(converted(tree.copy(), scope).sql(dialect="sqlite", identify=True))


def _in_brackets(sql: str) -> str:
    """Put names in brackets: SQLite takes a name in double quotes that no column has for a text."""

    def bracketed(match: re.Match[str]) -> str:
        name = match[1]
        return match[0] if name is None or "]" in name else "[" + name.replace('""', '"') + "]"

    return _NAME_OR_TEXT.sub(bracketed, sql)


def _parts(source: exp.Expr) -> tuple[str, str]:
    """Return schema and name; what CHANGETABLE shows has the columns of its table, and its own."""
    if source.name.startswith("changetable "):
        return two_parts(source.name.removeprefix("changetable ").rpartition(" ")[0])
    return source.text("db") or "dbo", source.name


def _named(parameters: Sequence[Any]) -> dict[str, Any]:
    return {f"P{number}": value for number, value in enumerate(parameters, 1)}


def _split(sql: str) -> list[str]:
    """Split a batch at its semicolons."""
    parts = re.findall(r"(?:'(?:[^']|'')*'|\[[^\]]*\]|[^;'\[])+", sql)
    return [part.strip() for part in parts if part.strip()]


def _server_error(error: Exception) -> ServerError:
    text = str(error)
    for signs, number, message in _ERRORS:
        if any(sign in text for sign in signs):
            return ServerError(number, f"{message} '{text.rpartition(' ')[2]}'.")
    return ServerError(50000, text)
