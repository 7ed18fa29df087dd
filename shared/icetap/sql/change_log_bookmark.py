"""Bookmarks of streams that follow a change log."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from icetap.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from icetap.sql.dialect import Value
    from icetap.sql.stream import SQLStream

_DECIMAL = re.compile(r"decimal128\((\d+), (\d+)\)")
_INTEGERS = ("int8", "int16", "int32", "int64")


@dataclass(frozen=True, slots=True)
class LogBookmark:
    """How far a stream has come.

    Args:
        position: Everything before it has been read; None before the first full read has begun.
        version: The number of the full read that the log goes on from.
        source: `ChangeLog.source_id` when the bookmark was made.
        table: `ChangeLog.identity` then.
        columns: The columns that the rows loaded so far have, with their Arrow types.
        column_mark: `ChangeLog.column_mark` when those were looked at.
        is_unannounced: Whether no row of the version has come yet: then it is activated again behind the first.
        full_read: Where a full read was interrupted; None when it is complete.
    """

    position: str | None = None
    version: int = 0
    source: str | None = None
    table: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    column_mark: Value = None
    is_unannounced: bool = False
    full_read: Mapping[str, Any] | None = None

    @classmethod
    def from_state(cls, given: Mapping[str, Any], *, stream: str) -> LogBookmark:
        """Read a stream's bookmark; one of another replication method has no position.

        Raises:
            StateError: When the position is none.
        """
        position = given.get("log_position")
        if position is not None and not isinstance(position, str):
            raise StateError(
                f"stream '{stream}': the state's 'log_position' is no text. "
                "Run once with --full-refresh, or correct the state."
            )
        version, columns = given.get("version"), given.get("columns")
        return cls(
            position=position,
            version=int(version) if isinstance(version, int | float) else 0,
            source=given.get("log_source"),
            table=given.get("table"),
            columns=columns if isinstance(columns, dict) else {},
            column_mark=given.get("column_mark"),
            is_unannounced=bool(given.get("is_unannounced")),
            full_read=given.get("position") if position is not None else None,
        )

    def as_state(self) -> dict[str, Any]:
        """Return the bookmark as it stands in a STATE."""
        found = {
            "version": self.version,
            "log_position": self.position,
            "log_source": self.source,
            "table": self.table,
            "columns": dict(self.columns),
            "column_mark": self.column_mark,
            "is_unannounced": self.is_unannounced or None,
            "position": self.full_read,
        }
        return {name: value for name, value in found.items() if value is not None}

    def at(self, position: str) -> LogBookmark:
        """Return the bookmark further on in the log."""
        return replace(self, position=position)


def forget_other_method(stream: SQLStream) -> None:
    """Leave of the bookmark of another replication method only the version: what is read now is read from its start.

    Before the first STATE, by which the loader knows that nothing is left out.
    """
    given = stream.bookmark()
    if given and "log_position" not in given:
        stream.set_bookmark({"version": given["version"]} if "version" in given else {})


def column_types(schema: pa.Schema) -> dict[str, str]:
    """Return the names and types of columns as a bookmark keeps them."""
    return {column.name: str(column.type) for column in schema}


def is_wider(old: str, new: str) -> bool:
    """Say whether every value of one type, in the words of `column_types`, is the same in another."""
    if old in _INTEGERS and new in _INTEGERS:
        return _INTEGERS.index(old) <= _INTEGERS.index(new)
    narrow, wide = _DECIMAL.fullmatch(old), _DECIMAL.fullmatch(new)
    if narrow and wide:
        return narrow[2] == wide[2] and int(narrow[1]) <= int(wide[1])
    return old == new
