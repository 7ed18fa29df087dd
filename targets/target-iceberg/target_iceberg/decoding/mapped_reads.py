"""Reading a file of this machine where it lies: new memory to copy it into costs more than all else done with it."""

from __future__ import annotations

import io
import mmap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

LARGE_BYTES = 2**20
"""Reads from this size on are mapped, each by itself, so that rows that wait keep no more memory than their own."""


class MappedReads:
    """A file whose large reads are not copied; they stay when it is closed and deleted.

    Nobody may change the file any more: the process ends when one reads where it was cut.

    Args:
        file: Read from its beginning on.
    """

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._size = file.seek(0, io.SEEK_END)
        file.seek(0)
        self.closed = False

    def read(self, size: int = -1) -> Buffer:
        """Return the next bytes: `size` of them, or all to the end."""
        place = self._file.tell()
        if not LARGE_BYTES <= size <= self._size - place:
            return self._file.read(size)
        self._file.seek(place + size)
        before = place % mmap.ALLOCATIONGRANULARITY
        mapped = mmap.mmap(self._file.fileno(), before + size, access=mmap.ACCESS_READ, offset=place - before)
        return memoryview(mapped)[before:]

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place of the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place in the file."""
        return self._file.tell()

    def close(self) -> None:
        """Leave the file open: it is another's."""
        self.closed = True
