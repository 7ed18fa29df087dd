"""The folder of Arrow files between a tap and the loader, on one machine.

A tap writes IPC files here and names them in BATCH messages; the loader reads each once and deletes
it. Both compute the same default folder, so that nothing has to be configured.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from icetap.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BATCH_FILE = re.compile(r"icetap-(?P<run>[0-9a-f]{12})-(?P<pid>[0-9]{1,10})-(?P<number>[0-9]{1,12})\.arrow")
"""The names of batch files; the loader deletes no others."""

FILES_AHEAD = 16
"""A tap waits while this many of its files are not read yet."""

STALL_SECONDS = 60.0
"""A tap stops waiting when no file was taken for this long, until one is: the target may not delete what it read."""

LEFTOVER_SECONDS = 3600.0
"""Files of a dead tap are kept for this long: its loader may still be reading them."""

MAX_FILE_BYTES = 8 * 1024 * 1024
"""Rows that the loader has not written yet keep the pages of their whole file."""

MAX_FILE_ROWS = 262_144
MAX_FILE_SECONDS = 10.0

_POLL_SECONDS = 0.02


def default_batch_root() -> Path:
    """Return the folder for batch files: the Meltano project's, else one of the user's own."""
    project = os.environ.get("MELTANO_PROJECT_ROOT")
    if project:
        return Path(project) / ".meltano" / "run" / "icetap-batches"
    return Path(tempfile.gettempdir()) / f"icetap-batches-{os.getuid()}"


def batch_root(batch_config: Mapping[str, Any]) -> Path:
    """Return the folder that the setting `batch_config` names, or the default one.

    Raises:
        ConfigurationError: When the encoding is not `arrow` or the folder is not on this machine.
    """
    encoding = (batch_config.get("encoding") or {}).get("format", "arrow")
    if encoding != "arrow":
        raise ConfigurationError(
            f"setting 'batch_config.encoding.format' is '{encoding}'; this tap writes 'arrow' files only"
        )
    root = (batch_config.get("storage") or {}).get("root")
    if not root:
        return default_batch_root()
    if "://" not in root:
        return Path(root)
    address = urlsplit(root)
    if address.scheme != "file" or address.netloc not in {"", "localhost"}:
        raise ConfigurationError(
            f"setting 'batch_config.storage.root' has the scheme '{address.scheme}'; "
            "expected a folder of this machine, as a path or a file:// URL"
        )
    return Path(unquote(address.path))


class BatchFolder:
    """Writes one run's batch files; holds at most one file open and no rows.

    Args:
        root: The folder. It is created readable by its owner alone.
        is_reader_gone: Tells whether waiting for the loader has become pointless.
    """

    def __init__(self, root: Path, *, is_reader_gone: Callable[[], bool] = lambda: False) -> None:
        self.root = _private_folder(root)
        self._is_reader_gone = is_reader_gone
        self._run = secrets.token_hex(6)
        self._number = 0
        self._unread: list[Path] = []
        self._are_taken = True

    def new_file(self, schema: pa.Schema) -> BatchFile:
        """Open the next file, once the loader has taken enough of the earlier ones.

        Raises:
            BrokenPipeError: When the loader is gone.
        """
        self._wait_for_room()
        self._number += 1
        path = self.root / f"icetap-{self._run}-{os.getpid()}-{self._number}.arrow"
        return BatchFile(path, schema, on_close=self._unread.append)

    def _wait_for_room(self) -> None:
        waited_since = time.monotonic()
        while True:
            before = len(self._unread)
            self._unread = [path for path in self._unread if path.exists()]
            if len(self._unread) < before:
                waited_since, self._are_taken = time.monotonic(), True
            if len(self._unread) < FILES_AHEAD or not self._are_taken:
                return
            if self._is_reader_gone():
                raise BrokenPipeError
            if time.monotonic() - waited_since >= STALL_SECONDS:
                self._are_taken = False
                return
            time.sleep(_POLL_SECONDS)

    def sweep(self) -> int:
        """Delete files that dead taps left behind; return how many."""
        swept = 0
        oldest = time.time() - LEFTOVER_SECONDS
        for path in self.root.iterdir():
            match = BATCH_FILE.fullmatch(path.name.removesuffix(".part"))
            if match is None or _is_alive(int(match["pid"])):
                continue
            try:
                if path.lstat().st_mtime < oldest:
                    path.unlink()
                    swept += 1
            except FileNotFoundError:  # another run swept it first
                continue
        return swept


class BatchFile:
    """One Arrow IPC file, visible under its name once it is whole."""

    def __init__(self, path: Path, schema: pa.Schema, *, on_close: Callable[[Path], None]) -> None:
        self.path = path
        self.rows = 0
        self._bytes = 0
        self._on_close = on_close
        self._opened_at = time.monotonic()
        self._partial = path.with_name(path.name + ".part")
        os.close(os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        # pyarrow's own file, so that no Python runs for each buffer. Appending, as it is new and empty: of a file that was
        # opened to be cut, ext4 writes all to the disk when it is closed, though it is read and deleted within seconds.
        # https://man7.org/linux/man-pages/man5/ext4.5.html (auto_da_alloc, read 2026-11-22)
        self._sink = pa.OSFile(str(self._partial), "ab")
        self._writer = pa.ipc.new_file(self._sink, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        self._writer.write_batch(batch)
        self.rows += batch.num_rows
        self._bytes += batch.nbytes

    @property
    def is_full(self) -> bool:
        """Whether it is time for a new file: by bytes, by rows, or so that the loader need not wait."""
        return (
            self._bytes >= MAX_FILE_BYTES
            or self.rows >= MAX_FILE_ROWS
            or time.monotonic() - self._opened_at >= MAX_FILE_SECONDS
        )

    def close(self) -> str:
        """Finish the file and return its URL."""
        self._writer.close()
        self._sink.close()
        self._partial.rename(self.path)
        self._on_close(self.path)
        return self.path.as_uri()

    def discard(self) -> None:
        """Drop the file: nothing was said about it."""
        self._sink.close()
        self._partial.unlink(missing_ok=True)


def _private_folder(root: Path) -> Path:
    """Create the folder with mode 0700, or check that the one found is ours."""
    root = root.expanduser().absolute()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = root.stat()
    except OSError as error:
        raise ConfigurationError(
            f"the folder for batch files {root} cannot be made: {error.strerror}. "
            "Set 'batch_config.storage.root' to a folder that this user may write."
        ) from error
    if found.st_uid != os.getuid():
        raise ConfigurationError(
            f"the folder for batch files {root} belongs to another user. "
            "Set 'batch_config.storage.root' to a folder of your own."
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        root.chmod(0o700)
    return root


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
