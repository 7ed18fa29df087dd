"""How this process takes memory from the system and gives it back."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import sys
from pathlib import Path

# Numbers of glibc's `malloc.h` (https://man7.org/linux/man-pages/man3/mallopt.3.html, read 2026-11-21).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
GIVEN_BACK_AFTER_BYTES = 128 * 1024 * 1024
_OPTIONS = {_MMAP_THRESHOLD: 2**22, _TRIM_THRESHOLD: 2**24, _ARENA_MAX: 1}


def keep_memory_flat() -> None:
    """Let freed memory go back to the system, so that a load of any size holds about the same.

    Arrow's own allocator keeps much of what it has freed: a merge of a million rows held 500 MB with it, and
    holds 350 MB with the system's, in the same time (pyarrow 26, 2026-11-21). It also asks for pages of 2 MB, which
    are cleared whole: without it, tap-postgres took a tenth less processor time for a million rows (2026-11-22).

    glibc, for its part, gives threads heaps of their own. Each of the loader's commits has a writer in a new
    thread, which may come to any of them, and every heap then holds the most that a writer ever needed: with two
    heaps 20 million rows held 10 to 20 % more than one million, with four more still. With one heap for all threads
    they hold 3 to 7 % more (237 and 230 MB), in the same processor time; tap-postgres, whose readers are threads,
    held 224 MB instead of 251 of five million rows (2026-11-22). Nor may glibc keep freed blocks of up to 32 MB, as
    it comes to do. Bounds of 1 and 8 MB would hold 10 MB less of 20 million rows, but up to a tenth of the
    processor time then goes into memory that is given back and asked for again.

    Choices made in the environment (`ARROW_DEFAULT_MEMORY_POOL`, `MALLOC_*`) stay. To be called before pyarrow is
    imported; does nothing with another C library.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for option, value in _OPTIONS.items():
        set_option(option, value)


class Heap:
    """This process' heap, from which what was freed is given back now and then."""

    def __init__(self) -> None:
        self._passed = 0

    def passed(self, size: int) -> None:
        """Count bytes of RECORD lines, made or read; after each `GIVEN_BACK_AFTER_BYTES`, give back what is free.

        What lies free between blocks in use grows for a long time without that: 20 million lines held 16 and 17 % more
        than one million in tap-mysql and the loader, with it 11 and 13 % (2026-11-22). Files of Arrow leave few such
        holes; giving these back took up to a tenth of a load's time. Does nothing with another C library than glibc.
        """
        self._passed += size
        if self._passed >= GIVEN_BACK_AFTER_BYTES:
            self._passed = 0
            with contextlib.suppress(AttributeError, OSError, TypeError):
                ctypes.CDLL(None).malloc_trim(0)


HEAP = Heap()


# --- how much it holds ---------------------------------------------------------------------------------

_PEAK = re.compile(r"^VmHWM:\s*(\d+) kB", re.MULTILINE)


def _status() -> str:
    """Linux's own account of this process: `ru_maxrss` holds what the parent held when it forked, too.

    https://man7.org/linux/man-pages/man5/proc_pid_status.5.html (read 2026-11-21)
    """
    try:
        return Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def peak_memory_bytes() -> int:
    """Return the most memory that this process has held, in bytes."""
    if peak := _PEAK.search(_status()):
        return int(peak[1]) * 2**10
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 2**10
