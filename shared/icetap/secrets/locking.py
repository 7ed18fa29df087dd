"""A lock between processes of one machine, held through a file."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from icetap.errors import ConfigurationError, RetriableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_POLL_SECONDS = 0.02


@contextlib.contextmanager
def locked(path: Path, *, what: str, timeout_seconds: float) -> Iterator[None]:
    """Hold the lock of a file, which is made with mode 0600 and stays.

    The kernel lets go of it when the process ends, however it ends.

    Args:
        path: The lock file.
        what: What is locked, for the message.
        timeout_seconds: How long to wait for it.

    Raises:
        ConfigurationError: When the file cannot be opened.
        RetriableError: When another process still holds it after that time.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"the lock {path} of {what} cannot be opened: {error.strerror}. It has to be a file that this user may write."
        ) from None
    try:
        end = time.monotonic() + timeout_seconds
        while not _try_lock(descriptor):
            if time.monotonic() >= end:
                raise RetriableError(
                    f"{what} is locked by another process for more than {timeout_seconds:g} seconds. "
                    f"Try again when it has ended; `fuser {path}` says which one it is."
                )
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
