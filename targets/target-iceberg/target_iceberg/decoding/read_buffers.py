"""Memory that files are read into, used again and again: new memory costs more than what is read into it."""

from __future__ import annotations

import ctypes
import mmap
import weakref
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from typing_extensions import Buffer

LARGE_BYTES = 2**20
"""Reads from this size on go to blocks."""
IDLE_BYTES = 64 * 2**20
"""What blocks may hold that nobody uses."""
_ROUND_BYTES = 4 * 2**20


class ReadBuffers:
    """Blocks of memory, each of which comes back once nothing that Arrow made of it is left."""

    def __init__(self) -> None:
        self._idle: list[mmap.mmap] = []

    def take(self, size: int) -> memoryview:
        """Return memory of so many bytes, with any content."""
        block = self._block(size)
        # Unlike a view, this can be watched; all views of the memory keep it.
        owner = (ctypes.c_char * len(block)).from_buffer(block)
        weakref.finalize(owner, self._come_back, block).atexit = False
        return memoryview(owner).cast("B")[:size]

    def release(self) -> None:
        """Give the blocks back to the system that nobody uses."""
        self._idle.clear()

    def _block(self, size: int) -> mmap.mmap:
        fitting = [block for block in self._idle if len(block) >= size]
        if fitting:
            block = min(fitting, key=len)
            self._idle.remove(block)
            return block
        return mmap.mmap(-1, -(-size // _ROUND_BYTES) * _ROUND_BYTES)

    def _come_back(self, block: mmap.mmap) -> None:
        if sum(map(len, self._idle)) + len(block) <= IDLE_BYTES:
            self._idle.append(block)


class BufferedFile:
    """A file whose large reads go to memory that is used again.

    Args:
        file: Read from its beginning on.
        buffers: The memory.
    """

    def __init__(self, file: BinaryIO, buffers: ReadBuffers) -> None:
        self._file = file
        self._buffers = buffers
        self._size = file.seek(0, 2)
        file.seek(0)
        self.closed = False

    def read(self, size: int = -1) -> Buffer:
        """Return the next bytes: `size` of them, or all to the end."""
        left = self._size - self._file.tell()
        if not LARGE_BYTES <= size <= left:
            return self._file.read(size)
        view, done = self._buffers.take(size), 0
        while done < size and (count := self._file.readinto(view[done:])):  # type: ignore[attr-defined]
            done += count
        return view[:done]

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place of the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place in the file."""
        return self._file.tell()

    def close(self) -> None:
        """Leave the file open: it is another's."""
        self.closed = True
