"""What a statement in the log means for the tables that are read: only the shape of it is looked at."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tap_mysql.log_based.events import Statement


class Effect(enum.Enum):
    """What a statement does to a table."""

    ALTERED = "altered"
    EMPTIED = "emptied"
    CREATED = "created"
    DROPPED = "dropped"
    REPLACED = "replaced by another table"
    WRITTEN = "written by a statement that the log holds as text"


@dataclass(frozen=True, slots=True)
class TableEffect:
    """A statement's effect on one table; `table` is None for all tables of the database.

    `changes_rows` says that rows may be other ones now though the log has no changes of them.
    """

    effect: Effect
    database: str
    table: str | None
    changes_rows: bool = False


# Quoted names keep their quotes here, so that a column called `table` is no keyword.
_TOKEN = re.compile(
    r"""
    (?P<comment> --[ \t\r\n][^\n]* | \#[^\n]* | /\*(?!M?!).*?\*/ )
    | (?P<opening> /\*M?![0-9]* ) | (?P<closing> \*/ )
    | (?P<quoted> `(?:[^`]|``)*` )
    | (?P<string> '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" )
    | (?P<word> [\w$]+ )
    | (?P<other> \S )
    """,
    re.VERBOSE | re.DOTALL,
)
_WRITES = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD"})


def _tokens(text: str) -> Iterator[str]:
    for match in _TOKEN.finditer(text):
        if match.lastgroup not in {"comment", "opening", "closing"}:
            yield match[0]


def effects_of(statement: Statement) -> list[TableEffect]:
    """Return what a statement does to tables; nothing for all that leaves rows and columns as they are."""
    tokens = _Tokens(list(_tokens(statement.text)), statement.database)
    verb = tokens.word()
    if verb in _WRITES:
        return [TableEffect(Effect.WRITTEN, database, name) for database, name in tokens.all_names()]
    if verb == "TRUNCATE":
        tokens.skip("TABLE")
        return [TableEffect(Effect.EMPTIED, *tokens.name())]
    if verb in {"DROP", "CREATE", "ALTER", "RENAME"}:
        return _definition(verb, tokens)
    return []


def _definition(verb: str, tokens: _Tokens) -> list[TableEffect]:
    options = tokens.skip("OR", "REPLACE", "ONLINE", "OFFLINE", "IGNORE", "TEMPORARY")
    if "TEMPORARY" in options:
        return []
    what = tokens.word()
    if what in {"DATABASE", "SCHEMA"} and verb == "DROP":
        tokens.skip("IF", "EXISTS")
        return [TableEffect(Effect.DROPPED, tokens.name()[1], None)]
    if what not in {"TABLE", "TABLES"}:
        return []
    condition = tokens.skip("IF", "NOT", "EXISTS")
    if verb == "RENAME":
        return _renamed(list(_renames(tokens)))
    if verb == "DROP":
        return [TableEffect(Effect.DROPPED, *name) for name in tokens.names()]
    if verb == "CREATE":
        # If it was there before, nothing happened; if it was dropped before, that was told.
        return [] if condition else [TableEffect(Effect.CREATED, *tokens.name())]
    return _altered(tokens)


def _renames(tokens: _Tokens) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    while True:
        old = tokens.name()
        if tokens.skip("WAIT", "NOWAIT") == ["WAIT"]:
            tokens.take()
        tokens.skip("TO")
        yield old, tokens.name()
        if tokens.peek() != ",":
            return
        tokens.take()


def _renamed(pairs: Sequence[tuple[tuple[str, str], tuple[str, str]]]) -> list[TableEffect]:
    """Say which names are without a table after all, and which have another one: tables are often swapped."""
    new = [name for _, name in pairs]
    left = [name for name, _ in pairs if name not in new]
    return [
        *(TableEffect(Effect.DROPPED, *name) for name in left),
        *(TableEffect(Effect.REPLACED, *name, changes_rows=True) for name in new),
    ]


_REWRITING = frozenset({"MODIFY", "CHANGE", "CONVERT", "IMPORT", "DISCARD"})
_REWRITING_PAIRS = (["RENAME", "COLUMN"], ["ADD", "SYSTEM"], ["DROP", "SYSTEM"])
_PARTITION_LOSSES = frozenset({"TRUNCATE", "DROP", "EXCHANGE", "CONVERT"})


def _altered(tokens: _Tokens) -> list[TableEffect]:
    """Look at an ALTER's actions: some move the table, some change or remove rows that the log does not tell of."""
    table = tokens.name()
    found: list[TableEffect] = []
    changes_rows = False
    for action in tokens.actions():
        words = [word.upper() for word in action[:2]]
        if words[:1] == ["RENAME"] and words[1:] not in (["INDEX"], ["KEY"], ["COLUMN"]):
            new = _Tokens(action, table[0])
            new.skip("RENAME", "TO", "AS", "=")
            found += _renamed([(table, new.name())])
        elif words in _REWRITING_PAIRS or words[0] in _REWRITING:
            changes_rows = True
        elif len(words) > 1 and words[1] == "PARTITION" and words[0] in _PARTITION_LOSSES:
            changes_rows = True
            found += _exchanged(action, table[0])
    return [*found, TableEffect(Effect.ALTERED, *table, changes_rows=changes_rows)]


def _exchanged(action: Sequence[str], database: str) -> list[TableEffect]:
    words = [word.upper() for word in action]
    if words[0] != "EXCHANGE" or "TABLE" not in words:
        return []
    other = _Tokens(action[words.index("TABLE") + 1 :], database)
    return [TableEffect(Effect.ALTERED, *other.name(), changes_rows=True)]


class _Tokens:
    """The tokens of a statement, read from the left; past the end there are empty ones."""

    def __init__(self, tokens: Sequence[str], database: str) -> None:
        self._tokens = tokens
        self._database = database
        self._next = 0

    def peek(self, ahead: int = 0) -> str:
        place = self._next + ahead
        return self._tokens[place] if place < len(self._tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self._next += 1
        return token

    def word(self) -> str:
        return self.take().upper()

    def skip(self, *words: str) -> list[str]:
        """Skip these words, in any order; return which there were."""
        skipped = []
        while self.peek().upper() in words:
            skipped.append(self.word())
        return skipped

    def name(self) -> tuple[str, str]:
        """Take `table` or `database.table`."""
        first = _unquoted(self.take())
        if self.peek() != ".":
            return self._database, first
        self.take()
        return first, _unquoted(self.take())

    def names(self) -> list[tuple[str, str]]:
        found = [self.name()]
        while self.peek() == ",":
            self.take()
            found.append(self.name())
        return found

    def all_names(self) -> list[tuple[str, str]]:
        """Everything that may be the name of a table: a statement that writes may name it anywhere."""
        found = []
        while self.peek():
            before = self._next
            if self.peek()[0] in "`_$" or self.peek()[0].isalnum():
                found.append(self.name())
            if self._next == before:
                self.take()
        return found

    def actions(self) -> Iterator[list[str]]:
        """Yield the actions of an ALTER, cut at the commas outside of brackets."""
        if self.skip("WAIT", "NOWAIT") == ["WAIT"]:
            self.take()
        action: list[str] = []
        depth = 0
        while piece := self.take():
            depth += {"(": 1, ")": -1}.get(piece, 0)
            if piece == "," and depth == 0:
                if action:
                    yield action
                action = []
            else:
                action.append(piece)
        if action:
            yield action


def _unquoted(piece: str) -> str:
    if piece[:1] in {"`", '"'} and len(piece) >= 2:
        return piece[1:-1].replace(piece[0] * 2, piece[0])
    return piece
