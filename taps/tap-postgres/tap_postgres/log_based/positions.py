"""Positions in the write-ahead log: LSNs as PostgreSQL writes them, and as numbers."""

from __future__ import annotations

import re

from icetap.errors import StateError

_LSN = re.compile(r"([0-9A-F]{1,8})/([0-9A-F]{1,8})", re.IGNORECASE)


def lsn(text: str) -> int:
    """Return an LSN such as `16/B374D848` as the number of a byte.

    https://www.postgresql.org/docs/current/datatype-pg-lsn.html (read 2026-11-21)

    Raises:
        StateError: When the text is none.
    """
    match = _LSN.fullmatch(text)
    if match is None:
        raise StateError(
            f"the state's 'log_position' is {text!r}; expected an LSN such as '16/B374D848'. "
            "Run once with --full-refresh, or correct the state."
        )
    return int(match[1], 16) << 32 | int(match[2], 16)


def lsn_text(number: int) -> str:
    """Return a number as an LSN."""
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"
