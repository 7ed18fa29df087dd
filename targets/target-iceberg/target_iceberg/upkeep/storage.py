"""The files that lie under a location, whether a table knows them or not: listing and deleting them."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pyarrow import fs
from pyiceberg.io.pyarrow import PyArrowFileIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyiceberg.io import FileIO
    from pyiceberg.table import Table

DELETING_THREADS = 8

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_PLACES = (
    "write.data.path",
    "write.metadata.path",
    "write.object-storage.path",
    "write.folder-storage.path",
)
"""Table properties that put files elsewhere than under the location."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as the storage shows it.

    Attributes:
        path: Its plain path: as in `plain_path`.
        size: Bytes.
        modified: When it was last written; None when the storage does not say.
    """

    path: str
    size: int
    modified: datetime | None


def plain_path(location: str) -> str:
    """Return a location without its scheme, so that `file:///a`, `file:/a` and `/a` are the same.

    In object stores it begins with the bucket.
    """
    if location.startswith("file:"):
        return "/" + location.removeprefix("file:").lstrip("/")
    return _SCHEME.sub("", location)


def spellings(location: str) -> set[str]:
    """Return the plain paths that a location may mean; percent signs are read both ways."""
    path = plain_path(location)
    return {path, unquote(path)}


class Storage:
    """Where a table's files lie, with the table's credentials."""

    def __init__(self, table: Table) -> None:
        self._properties = table.io.properties
        self.root = plain_path(table.location()).rstrip("/")
        """The plain path of the table's location."""
        scheme = _SCHEME.match(table.location())
        self._scheme = scheme.group(1).lower() if scheme else "file"
        self._location = table.location()
        places = [
            self.root,
            *(plain_path(table.properties[name]) for name in _PLACES if name in table.properties),
        ]
        self._places = tuple(f"{place.rstrip('/')}/" for place in places)

    def covers(self, location: str) -> bool:
        """Whether a file lies where this table's own files are written."""
        return plain_path(location).startswith(self._places)

    def files(self) -> Iterator[StoredFile]:
        """Yield every file under the table's location, folder by folder; links are not followed."""
        if self._scheme == "file":
            yield from _local_files(self.root)
        else:
            yield from _remote_files(self._filesystem(), self.root)

    def delete(self, paths: Iterable[str]) -> int:
        """Delete files by their plain paths; one that is gone already is no fault. Returns how many went."""
        filesystem = None if self._scheme == "file" else self._filesystem()

        def delete(path: str) -> bool:
            try:
                if filesystem is None:
                    Path(path).unlink()
                else:
                    filesystem.delete_file(path)
            except FileNotFoundError:
                return False
            return True

        with ThreadPoolExecutor(DELETING_THREADS, thread_name_prefix="delete") as pool:
            return sum(pool.map(delete, paths))

    def _filesystem(self) -> fs.FileSystem:
        # Whatever the table's own FileIO is, this one can list; it takes the same properties.
        io = PyArrowFileIO(self._properties)
        scheme, netloc, _ = io.parse_location(self._location, self._properties)
        return io.fs_by_scheme(scheme, netloc)


def _local_files(root: str) -> Iterator[StoredFile]:
    folders = [root]
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except FileNotFoundError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield StoredFile(entry.path, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _remote_files(filesystem: fs.FileSystem, root: str) -> Iterator[StoredFile]:
    folders = [root]
    while folders:
        for entry in filesystem.get_file_info(fs.FileSelector(folders.pop(), allow_not_found=True)):
            if entry.type == fs.FileType.Directory:
                folders.append(entry.path)
            elif entry.type == fs.FileType.File:
                yield StoredFile(entry.path, entry.size, entry.mtime)


def delete_locations(io: FileIO, locations: Iterable[str]) -> int:
    """Delete files by their locations, a few at a time; one that is gone already is no fault.

    Returns:
        How many were deleted.
    """

    def delete(location: str) -> bool:
        try:
            io.delete(location)
        except FileNotFoundError:
            return False
        return True

    with ThreadPoolExecutor(DELETING_THREADS, thread_name_prefix="delete") as pool:
        return sum(pool.map(delete, locations))
