"""Temporary files that nobody else can read: rows before their masks are applied, keys that a driver wants as a file."""

from __future__ import annotations

import atexit
import io
import os
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from typing_extensions import Buffer, override

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import CipherContext

_BLOCK_BYTES = 16  # of AES
_BUFFER_BYTES = 256 * 1024


def encrypted_file() -> IO[bytes]:
    """Return a temporary file whose bytes on the disk are of use to nobody.

    It has no name, and its key is in this process's memory alone: AES-256 in counter mode, so that one may go on anywhere.
    """
    return cast("IO[bytes]", io.BufferedRandom(_Encrypted(), _BUFFER_BYTES))


class _Encrypted(io.RawIOBase):
    """The bytes of a temporary file, encrypted."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed in `close`
        self._key = os.urandom(32)
        self._nonce = int.from_bytes(os.urandom(_BLOCK_BYTES), "big")
        self._stream: CipherContext | None = None

    @override
    def readable(self) -> bool:
        return True

    @override
    def writable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._stream = None
        return self._file.seek(offset, whence)

    @override
    def tell(self) -> int:
        return self._file.tell()

    @override
    def readinto(self, buffer: Any, /) -> int:
        stream = self._stream_from_here()
        content = self._file.read(len(buffer))
        buffer[: len(content)] = stream.update(content)
        return len(content)

    @override
    def write(self, content: Buffer, /) -> int:
        start, data = self._file.tell(), bytes(content)
        written = self._file.write(self._stream_from_here().update(data))
        if written != len(data):
            self.seek(start + written)  # the stream has gone on further than the file
        return written

    @override
    def truncate(self, size: int | None = None, /) -> int:
        return self._file.truncate(size)

    @override
    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def _stream_from_here(self) -> CipherContext:
        if self._stream is None:
            from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415

            block, skipped = divmod(self._file.tell(), _BLOCK_BYTES)
            counter = (self._nonce + block) % (1 << 8 * _BLOCK_BYTES)
            mode = modes.CTR(counter.to_bytes(_BLOCK_BYTES, "big"))
            self._stream = Cipher(algorithms.AES(self._key), mode).encryptor()
            self._stream.update(bytes(skipped))
        return self._stream


def file_for_children(content: str, *, name: str) -> tuple[Path, int]:
    """Return the path of a file in memory for processes that inherit its descriptor, and that descriptor.

    Where the system has no such files, it is a temporary one, removed when this process ends.
    """
    if not hasattr(os, "memfd_create"):
        path = file_of(content, name=name)
        return path, os.open(path, os.O_RDONLY)
    descriptor = _in_memory(content, name=name)
    return Path(f"/dev/fd/{descriptor}"), descriptor


def file_of(content: str, *, name: str) -> Path:
    """Return the path of a file in memory, for libraries that take nothing else; it ends with the process.

    It is this user's alone, of mode 0600. Where the system has no such files, it is a temporary one.

    Args:
        content: The file's text.
        name: What it is, for those who look at the process's open files.
    """
    if not hasattr(os, "memfd_create"):
        descriptor, path = tempfile.mkstemp(prefix="icetap-")
        atexit.register(lambda: Path(path).unlink(missing_ok=True))
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
        return Path(path)
    return Path(f"/proc/self/fd/{_in_memory(content, name=name)}")


def _in_memory(content: str, *, name: str) -> int:
    descriptor = os.memfd_create(f"icetap-{name}")
    os.fchmod(descriptor, 0o600)
    with os.fdopen(os.dup(descriptor), "w", encoding="utf-8") as file:
        file.write(content)
    return descriptor
