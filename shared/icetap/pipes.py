"""The pipe between a tap and what it writes into."""

from __future__ import annotations

import contextlib
import fcntl

PIPE_BYTES = 1 << 20
"""The most that Linux grants a user by default (https://man7.org/linux/man-pages/man7/pipe.7.html, read 2026-11-22)."""


def widen(descriptor: int) -> None:
    """Let a pipe hold 1 MB instead of 64 KB: its two sides wake each other less often. Leaves anything else as it is.

    A million RECORD lines of tap-postgres took a sixth less time into a reader that does not do so itself (2026-11-22).
    """
    with contextlib.suppress(OSError, AttributeError):  # a file, or another system
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
