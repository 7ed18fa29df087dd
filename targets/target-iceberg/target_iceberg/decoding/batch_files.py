"""Files that BATCH messages name: only those of the batch folder are opened.

A manifest is input from outside. In a folder of this machine only regular files of this user, reached
without a symbolic link, are opened; in an object store only objects under the prefix of the setting.
Anything else is refused before it is touched.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyiceberg.io import load_file_io

from icetap.columnar.batches import BATCH_FILE, default_batch_root
from icetap.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyiceberg.io import FileIO

LOGGER = logging.getLogger("target-iceberg")

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a named pipe must not block
_OUTSIDE_WORDS = (
    "Only files that a tap of this user has written into the folder of the setting 'batch_root' are read"
)
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


class BatchFiles(Protocol):
    """Where BATCH files lie."""

    def names(self, message: Mapping[str, Any], *, where: str) -> list[str]:
        """Return the files of a BATCH message, each checked; `where` is the message's place, for errors.

        Raises:
            DataError: When the manifest names something else than a batch file.
        """
        ...

    def open(self, name: str) -> BinaryIO:
        """Open a file that `names` returned, by the same rules.

        Raises:
            DataError: When the file is gone or has been replaced by something else.
        """
        ...

    def delete(self, name: str) -> None:
        """Delete a file that `names` returned; one that is gone is no fault."""
        ...


def batch_files(root: str | None, *, properties: Mapping[str, str]) -> BatchFiles:
    """Return the files under the setting `batch_root`: a folder, or the URI of a prefix in an object store.

    Args:
        root: The setting; empty for the folder that the taps use by default.
        properties: The catalog's, which hold the credentials of its object store.
    """
    if root and "://" in root and not root.startswith("file://"):
        return StoreFiles(root, io=load_file_io(dict(properties), root))
    if root and root.startswith("file://"):
        root = unquote(urlsplit(root).path)
    return LocalFiles(Path(root) if root else default_batch_root())


def is_read_once(name: str) -> bool:
    """Say whether the file is of a tap of ours, which waits until its files are gone."""
    return BATCH_FILE.fullmatch(name.rpartition("/")[2]) is not None


def carries_run(name: str, *, stream: str) -> bool:
    """Say whether the file carries the name of the run that wrote it, so that no one else wants it.

    Taps of ours name their files so, and so does the Singer SDK (`<tap>--<stream>-<run>-<number>.json.gz`, 0.54.9).
    """
    last = name.rpartition("/")[2]
    pattern = rf".*--{re.escape(stream)}-{_UUID}[-=][0-9]{{1,12}}\.(json\.gz|parquet|parquet\.gz)"
    return is_read_once(name) or re.fullmatch(pattern, last) is not None


class LocalFiles:
    """Files that a tap has left under one folder of this machine.

    Args:
        root: The folder, in which only this user can write.
    """

    def __init__(self, root: Path) -> None:
        self._given = root.expanduser().absolute()
        self._real = Path(os.path.realpath(self._given))

    def names(self, message: Mapping[str, Any], *, where: str) -> list[str]:
        """See `BatchFiles`."""
        names = []
        for number, url in enumerate(message["manifest"], start=1):
            try:
                path = self._path(url)
                self._open(path).close()
            except _OutsideError as outside:
                raise _refusal(where, number, outside) from None
            names.append(str(path))
        return names

    def open(self, name: str) -> BinaryIO:
        """See `BatchFiles`."""
        try:
            return self._open(Path(name))
        except _OutsideError as outside:
            raise DataError(
                f"a file of a BATCH message has become {outside} since the message came: "
                "something else works in the folder of the setting 'batch_root'"
            ) from None

    def delete(self, name: str) -> None:
        """See `BatchFiles`."""
        with contextlib.suppress(_OutsideError, FileNotFoundError):
            folder, last = self._open_above(Path(name))
            try:
                os.unlink(last, dir_fd=folder)
            finally:
                os.close(folder)

    def _open(self, path: Path) -> BinaryIO:
        folder, name = self._open_above(path)
        try:
            descriptor = os.open(name, _OPEN_FILE, dir_fd=folder)
        except FileNotFoundError:
            raise _OutsideError("a file that is not there") from None
        except OSError:
            raise _OutsideError("a file behind a symbolic link, or one that cannot be opened") from None
        finally:
            os.close(folder)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            os.close(descriptor)
            raise _OutsideError("something that is not a regular file of this user")
        return os.fdopen(descriptor, "rb")

    def _open_above(self, path: Path) -> tuple[int, str]:
        """Open the folder that holds the file, following no link; return it with the file's own name."""
        *above, name = path.relative_to(self._real).parts
        folder = self._open_root()
        try:
            for part in above:
                inner = os.open(part, _OPEN_FOLDER, dir_fd=folder)
                os.close(folder)
                folder = inner
        except OSError as error:
            os.close(folder)
            missing = isinstance(error, FileNotFoundError)
            raise _OutsideError(
                "a file that is not there" if missing else "a file behind a symbolic link"
            ) from None
        return folder, name

    def _open_root(self) -> int:
        try:
            folder = os.open(self._real, _OPEN_FOLDER)
        except OSError as error:
            raise ConfigurationError(
                f"setting 'batch_root' is '{self._given}', which cannot be opened ({error.strerror}): "
                "tap and loader must name the same folder of this machine"
            ) from None
        found = os.fstat(folder)
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            os.close(folder)
            raise ConfigurationError(
                f"setting 'batch_root' is '{self._given}', where others than this user may write: "
                "expected a folder of this user's own with mode 0700"
            )
        return folder

    def _path(self, url: object) -> Path:
        """Return the path below the root's real path that a manifest's URL names."""
        try:
            parts = urlsplit(url) if isinstance(url, str) else None
        except ValueError:
            parts = None
        if parts is None or parts.scheme != "file" or parts.netloc not in {"", "localhost"}:
            raise _OutsideError("something other than a file:// URL of this machine")
        text = unquote(parts.path)
        path = Path(text)
        if parts.query or parts.fragment or "\0" in text or ".." in path.parts or not path.is_absolute():
            raise _OutsideError("a URL with '..', a query or a fragment")
        for root in (self._real, self._given):
            if path != root and path.is_relative_to(root):
                return self._real / path.relative_to(root)
        raise _OutsideError("a file outside the batch folder")


class StoreFiles:
    """Objects that a tap has left under one prefix of an object store.

    Args:
        root: The prefix, as a URI.
        io: Access to the store.
    """

    def __init__(self, root: str, *, io: FileIO) -> None:
        self._prefix = root.rstrip("/") + "/"
        self._io = io

    def names(self, message: Mapping[str, Any], *, where: str) -> list[str]:
        """See `BatchFiles`."""
        names: list[str] = []
        for number, url in enumerate(message["manifest"], start=1):
            try:
                names.append(self._checked(url))
            except _OutsideError as outside:
                raise _refusal(where, number, outside) from None
        return names

    def open(self, name: str) -> BinaryIO:
        """See `BatchFiles`."""
        try:
            return cast("BinaryIO", self._io.new_input(name).open())
        except FileNotFoundError:
            raise DataError("a file of a BATCH message is not in the object store") from None

    def delete(self, name: str) -> None:
        """See `BatchFiles`."""
        try:
            self._io.delete(name)
        except (OSError, pa.ArrowException):
            LOGGER.warning("a BATCH file that was loaded could not be deleted from the object store")

    def _checked(self, url: object) -> str:
        if not isinstance(url, str) or not url.startswith(self._prefix):
            raise _OutsideError("something that is not under the prefix")
        below = url.removeprefix(self._prefix)
        parts = unquote(below).split("/")
        if not url.isprintable() or {"", ".", ".."} & set(parts) or set("?#\\") & set(below):
            raise _OutsideError("a URI with '..', a query or a fragment")
        return url


class _OutsideError(ValueError):
    """What is wrong with an entry of a manifest; never holds the entry."""


def _refusal(where: str, number: int, outside: _OutsideError) -> DataError:
    return DataError(f"{where}, names as file {number} of its manifest {outside}. {_OUTSIDE_WORDS}")
