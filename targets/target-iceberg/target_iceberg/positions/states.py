"""STATE messages: what the tap began with, what it sent, and what may be printed.

A STATE with a `bookmarks` object is split by stream: a stream's part is printed once its rows are
committed. Any other STATE is opaque; it is printed when everything before it is committed.
Parts are kept as JSON text, so that numbers keep their digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from icetap.types import canonical_json
from target_iceberg.decoding.json_text import dump_json, parse_json

PROGRESS = "progress_markers"
"""What the SDK puts into the STATE of unsorted streams while they run; the next run begins without it."""


def same_bookmark(one: str | None, other: str | None) -> bool:
    """Whether two bookmarks are equal; bookmarks are never compared as larger or smaller.

    Meltano parses and writes states again, so white space, order of keys and 1.0 for 1 do not count.
    """
    one, other = _resumable(one), _resumable(other)
    if one is None or other is None:
        return one is other
    return one == other or canonical_json(one) == canonical_json(other)


def has_progress(bookmark: str | None) -> bool:
    """Whether a bookmark tells of rows that a tap has sent but could not resume after."""
    return bookmark is not None and f'"{PROGRESS}"' in bookmark


def _resumable(bookmark: str | None) -> str | None:
    """Return what a tap would begin with: the bookmark without the SDK's progress markers."""
    if bookmark is None or not has_progress(bookmark):
        return bookmark
    value = _without_progress(parse_json(bookmark))
    return dump_json(value) if value else None


def _without_progress(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_progress(child) for key, child in value.items() if key != PROGRESS}
    if isinstance(value, list):
        return [_without_progress(child) for child in value]
    return value


@dataclass(frozen=True)
class Start:
    """Where the tap began a stream.

    Attributes:
        bookmark: The stream's part of the first STATE, None for the beginning.
        is_stated: Whether a STATE came before the first row. Taps that repeat nothing leave it open.
    """

    bookmark: str | None
    is_stated: bool


class StateLedger:
    """Keeps the parts of STATE by stream, as received and as committed."""

    def __init__(self) -> None:
        self._first: Any = None
        self._rows_came = False
        self._newest: dict[str, Any] | None = None
        self._others: dict[str, Any] = {}
        self._received: dict[str, str] = {}
        self._committed: dict[str, str | None] = {}
        self._opaque: str | None = None
        self._behind: set[str] = set()
        self._printed: str | None = None
        self._has_commit = False
        self.is_opaque = False
        self.was_seen = False

    def rows_came(self) -> None:
        """Notice that a row came: a STATE from now on does not tell where the tap began."""
        self._rows_came = True

    def receive(self, value: Any) -> None:
        """Take a STATE message's value."""
        if not self.was_seen and not self._rows_came:
            self._first = value
        self.was_seen = True
        bookmarks = value.get("bookmarks") if isinstance(value, dict) else None
        if isinstance(bookmarks, dict):
            self.is_opaque = False
            self._newest = value
            self._received = {stream: dump_json(part) for stream, part in bookmarks.items()}
        elif _says_something(value):
            self.is_opaque = True
            self._newest = None
            self._opaque = dump_json(value)
            self._behind = set(self._committed)

    def start_of(self, stream: str) -> Start:
        """Return where the tap began to read a stream."""
        if self._first is None:
            return Start(None, is_stated=False)
        bookmarks = self._first.get("bookmarks") if isinstance(self._first, dict) else None
        if isinstance(bookmarks, dict):
            part = bookmarks.get(stream)
            return Start(dump_json(part) if part else None, is_stated=True)
        return Start(dump_json(self._first) if _says_something(self._first) else None, is_stated=True)

    def part_of(self, stream: str) -> str | None:
        """Return the newest bookmark that the tap sent for a stream."""
        part = self._opaque if self.is_opaque else self._received.get(stream)
        return None if part in _NOTHING else part

    def hold(self, stream: str) -> None:
        """Print nothing new for this stream until `commit` is called: it has a table."""
        self._committed.setdefault(stream, self.start_of(stream).bookmark)

    def commit(self, stream: str) -> None:
        """Notice that everything of a stream up to the newest STATE is in its table."""
        self._has_commit = True
        self._committed[stream] = self._received.get(stream)
        self._behind.discard(stream)

    def printable(self) -> str | None:
        """Return the STATE line to print, or None when it would say nothing new."""
        if self._committed and not self._has_commit:
            return None
        text = self._opaque_line() if self.is_opaque else self._split_line()
        if text is None or text == self._printed:
            return None
        self._printed = text
        return text

    def _opaque_line(self) -> str | None:
        return None if self._behind else self._opaque

    def _split_line(self) -> str | None:
        if self._newest is None:
            return None
        parts = {stream: self._committed.get(stream, part) for stream, part in self._received.items()}
        for stream, bookmark in self._committed.items():
            parts.setdefault(stream, bookmark)
        if all(parts[stream] == part for stream, part in self._received.items()):
            self._others = {key: value for key, value in self._newest.items() if key != "bookmarks"}
        printed = {stream: part for stream, part in parts.items() if part is not None}
        if not printed:
            return None
        others = "".join(f"{dump_json(key)}: {dump_json(value)}, " for key, value in self._others.items())
        bookmarks = ", ".join(f"{dump_json(stream)}: {part}" for stream, part in printed.items())
        return f'{{{others}"bookmarks": {{{bookmarks}}}}}'


_NOTHING = frozenset({"{}", "null"})
"""Parts of a STATE that say nothing about where a stream is."""


def _says_something(value: Any) -> bool:
    return bool(value) and not (isinstance(value, dict) and set(value) <= {"currently_syncing"})
