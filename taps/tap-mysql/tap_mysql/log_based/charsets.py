"""Texts of the log, which are in the character sets of their columns, as UTF-8: as the server itself converts them."""

from __future__ import annotations

import codecs
import functools
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Rows = Callable[[str], list[tuple[Any, ...]]]
    ToUtf8 = Callable[[Sequence[bytes | None]], pa.Array]

_PLAIN = frozenset({"utf8mb4", "utf8mb3", "utf8", "ascii", "binary"})
_PYTHON = {"ucs2": "utf-16-be", "utf16": "utf-16-be", "utf16le": "utf-16-le", "utf32": "utf-32-be"}
_CONVERTED_AT_ONCE = 200
_REMEMBERED = 20_000


class Charsets:
    """The server's character sets.

    Args:
        rows: Runs a statement on an open connection and returns its rows.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._converters: dict[str, ToUtf8] = {}

    @functools.cached_property
    def by_collation(self) -> dict[int, str]:
        """The character sets' names by the numbers of their collations."""
        found = self._rows(
            "SELECT id, character_set_name FROM information_schema.collations WHERE id IS NOT NULL"
        )
        columns = self._rows(
            "SELECT 1 FROM information_schema.columns WHERE table_schema = 'information_schema' "
            "AND table_name = 'COLLATION_CHARACTER_SET_APPLICABILITY' AND column_name = 'ID'"
        )
        if columns:  # MariaDB keeps the collations that fit several character sets here
            found += self._rows(
                "SELECT id, character_set_name FROM information_schema.collation_character_set_applicability "
                "WHERE id IS NOT NULL"
            )
        return {int(number): _text(name) for number, name in found if name is not None}

    @functools.cached_property
    def _single_bytes(self) -> frozenset[str]:
        found = self._rows(
            "SELECT character_set_name FROM information_schema.character_sets WHERE maxlen = 1"
        )
        return frozenset(_text(name) for (name,) in found)

    def converter(self, charset: str) -> ToUtf8:
        """Return what makes binary arrays of UTF-8 of texts in a character set."""
        if charset not in self._converters:
            self._converters[charset] = self._new_converter(charset)
        return self._converters[charset]

    def _new_converter(self, charset: str) -> ToUtf8:
        if charset in _PLAIN:
            return lambda values: pa.array(values, pa.binary())
        if charset in _PYTHON:
            name = _PYTHON[charset]
            return lambda values: _utf8(None if value is None else value.decode(name) for value in values)
        if charset in self._single_bytes:
            table = self._table(charset)
            decode = codecs.charmap_decode
            return lambda values: _utf8(
                None if value is None else decode(value, "strict", table)[0] for value in values
            )
        return _ServerConverter(self._rows, charset)

    def _table(self, charset: str) -> str:
        """Return the 256 characters of a character set, as the server shows them."""
        items = ", ".join(f"HEX(CONVERT(_{charset} x'{byte:02x}' USING utf8mb4))" for byte in range(256))
        (row,) = self._rows(f"SELECT {items}")
        return "".join(bytes.fromhex(_text(item)).decode() for item in row)


class _ServerConverter:
    """Character sets of several bytes that are rarely met: the server converts them, what is equal only once."""

    def __init__(self, rows: Rows, charset: str) -> None:
        self._rows = rows
        self._charset = charset
        self._known: dict[bytes, str] = {}

    def __call__(self, values: Sequence[bytes | None]) -> pa.Array:
        if len(self._known) > _REMEMBERED:
            self._known.clear()
        unknown = sorted({value for value in values if value is not None and value not in self._known})
        for start in range(0, len(unknown), _CONVERTED_AT_ONCE):
            some = unknown[start : start + _CONVERTED_AT_ONCE]
            items = ", ".join(
                f"HEX(CONVERT(_{self._charset} x'{value.hex()}' USING utf8mb4))" for value in some
            )
            (row,) = self._rows(f"SELECT {items}")
            self._known |= {
                value: bytes.fromhex(_text(item)).decode() for value, item in zip(some, row, strict=True)
            }
        return _utf8(None if value is None else self._known[value] for value in values)


def _utf8(texts: Any) -> pa.Array:
    return pa.array(list(texts), pa.string()).view(pa.binary())


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
