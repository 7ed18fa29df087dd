"""Folders for what does not fit in memory, of which none outlasts its process for long.

A process that is killed removes nothing, and what it had spilled may be gigabytes. So a folder is locked while its
process lives, and whoever makes the next one, or starts a load, removes those that nobody holds. The kernel lets go of
`flock` however a process ends, and knows of it in every container that shares the temporary folder, where the number of
a process means nothing: https://man7.org/linux/man-pages/man2/flock.2.html (read 2026-11-22).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

PREFIX = "icetap-scratch-"


class ScratchFolder:
    """A folder of mode 0700 in the system's temporary folder; it ends with the block, the object or the process.

    Args:
        what: What is kept there, for those who look: a word.

    Attributes:
        path: The folder.
    """

    def __init__(self, what: str) -> None:
        sweep()
        self.path, held = _new_locked(f"{PREFIX}{what}-")
        self._close = weakref.finalize(self, _remove, self.path, held)

    def close(self) -> None:
        """Remove the folder and all that is in it."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def sweep() -> int:
    """Remove this user's scratch folders whose processes are gone; return how many."""
    swept = 0
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as found:
        for entry in found:
            if entry.name.startswith(PREFIX):
                swept += _sweep(Path(entry.path))
    return swept


def _new_locked(prefix: str) -> tuple[Path, int]:
    """Return a new folder and the descriptor that holds its lock."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix))
        with contextlib.suppress(FileNotFoundError):  # swept before it was opened
            descriptor = _opened(path)
            if _locks(descriptor) and path.exists():  # not swept between the two
                return path, descriptor
            os.close(descriptor)


def _sweep(path: Path) -> bool:
    try:
        descriptor = _opened(path)
    except OSError:  # another user's, a link, or gone by now
        return False
    try:
        if os.fstat(descriptor).st_uid != os.getuid() or not _locks(descriptor, where_unknown=False):
            return False
        shutil.rmtree(path, ignore_errors=True)
        return not path.exists()
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _locks(descriptor: int, *, where_unknown: bool = True) -> bool:
    """Take the lock if it is free.

    Args:
        descriptor: The folder's.
        where_unknown: The answer where folders have no locks (NFS): one may use them, and not sweep them.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return where_unknown
    return True


def _remove(path: Path, descriptor: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(descriptor)
