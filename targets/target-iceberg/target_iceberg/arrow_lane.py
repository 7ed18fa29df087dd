"""The Arrow lane: BATCH manifests -> files of ours -> record batches of the declared types.

A manifest is input from outside. Only regular files of this user, under the batch folder, with the name
of a batch file and reached without a symbolic link are opened; anything else is refused before it is
touched.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from icetap.columnar.batches import BATCH_FILE
from icetap.errors import ConfigurationError, DataError
from target_iceberg.conform import cast_exactly

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a named pipe must not block


class BatchFiles:
    """Files that a tap has left under one folder.

    Args:
        root: The folder, in which only this user can write.
    """

    def __init__(self, root: Path) -> None:
        self._given = root.expanduser().absolute()
        self._real = Path(os.path.realpath(self._given))

    def paths(self, message: Mapping[str, Any], *, line: int) -> list[Path]:
        """Return the files of a BATCH message, each checked; `line` is the message's, for errors.

        Raises:
            ConfigurationError: When the encoding is not Arrow.
            DataError: When the manifest names something that is not a batch file of this user.
        """
        encoding = message["encoding"].get("format")
        if encoding != "arrow":
            raise ConfigurationError(
                f"line {line} of the input is a BATCH in the encoding '{encoding}', which this version does "
                "not read: set 'batch_config.encoding.format: arrow' on the tap, or remove 'batch_config'"
            )
        where = f"line {line} of the input, a BATCH of stream '{message['stream']}'"
        paths = []
        for number, url in enumerate(message["manifest"], start=1):
            try:
                path = self._path(url)
                self._open(path).close()
            except _OutsideError as outside:
                raise DataError(
                    f"{where}, names as file {number} of its manifest {outside}. Only files that a tap of this "
                    "user has written into the folder of the setting 'batch_root' are read"
                ) from None
            paths.append(path)
        return paths

    def open(self, path: Path) -> BinaryIO:
        """Open a file that `paths` returned, by the same rules.

        Raises:
            DataError: When the file is gone or has been replaced by something else.
        """
        try:
            return self._open(path)
        except _OutsideError as outside:
            raise DataError(
                f"a file of a BATCH message has become {outside} since the message came: "
                "something else works in the folder of the setting 'batch_root'"
            ) from None

    def _open(self, path: Path) -> BinaryIO:
        folder = self._open_root()
        try:
            *above, name = path.relative_to(self._real).parts
            for part in above:
                inner = os.open(part, _OPEN_FOLDER, dir_fd=folder)
                os.close(folder)
                folder = inner
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
            if path.is_relative_to(root):
                below = path.relative_to(root)
                break
        else:
            raise _OutsideError("a file outside the batch folder")
        if not BATCH_FILE.fullmatch(below.name):
            raise _OutsideError("a file without the name of a batch file")
        return self._real / below


class _OutsideError(ValueError):
    """What is wrong with an entry of a manifest; never holds the entry."""


def read_batches(
    file: BinaryIO, fields: Sequence[pa.Field], *, optional: pa.Field
) -> Iterator[pa.RecordBatch]:
    """Yield a file's record batches in the declared types; one of them is in memory.

    Args:
        file: An Arrow IPC file.
        fields: The declared columns. A column that the file lacks is null.
        optional: A column that the file may have beside them; the batches always have it, last.

    Raises:
        DataError: When the file is damaged, has a column that is not declared, or values that do not
            fit the declared type exactly.
    """
    wanted = pa.schema([*fields, optional])
    try:
        with pa.ipc.open_file(pa.PythonFile(file, mode="r")) as reader:
            _check_columns(reader.schema, wanted)
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                batch.validate(full=True)
                yield _typed(batch, wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, pa.ArrowException):
            raise
        raise DataError(
            "a BATCH file is not a readable Arrow file: it was cut off, or something other than a tap wrote it"
        ) from error


def _typed(batch: pa.RecordBatch, wanted: pa.Schema) -> pa.RecordBatch:
    arrays = []
    for one in wanted:
        place = batch.schema.get_field_index(one.name)
        if place < 0:
            arrays.append(pa.nulls(batch.num_rows, one.type))
            continue
        try:
            arrays.append(
                cast_exactly(_plain(batch.column(place)), _plain_field(batch.schema.field(place)), to=one)
            )
        except pa.ArrowInvalid:
            raise DataError(
                f"column '{one.name}' of a BATCH file holds values that do not fit {one.type} exactly"
            ) from None
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)


def _plain(array: pa.Array) -> pa.Array:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _plain_field(field: pa.Field) -> pa.Field:
    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field


def _check_columns(found: pa.Schema, wanted: pa.Schema) -> None:
    for one in found:
        if wanted.get_field_index(one.name) < 0 or len(found.get_all_field_indices(one.name)) > 1:
            raise DataError(
                f"a BATCH file has the column '{one.name}', which the stream's SCHEMA does not declare "
                "or which it has twice"
            )
        declared = wanted.field(one.name)
        if not _same_family(_plain_field(one).type, declared.type):
            raise DataError(
                f"column '{one.name}' of a BATCH file is {one.type}; SCHEMA declares {declared.type}"
            )


def _same_family(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Say whether a cast between the types can only change the width of values, not their meaning."""
    if pa.types.is_struct(wanted):
        members = {child.name: child.type for child in wanted}
        return pa.types.is_struct(found) and all(
            child.name in members and _same_family(child.type, members[child.name]) for child in found
        )
    if pa.types.is_map(wanted):
        return bool(pa.types.is_map(found)) and _same_family(found.item_type, wanted.item_type)
    if pa.types.is_list(wanted):
        return bool(pa.types.is_list(found)) and _same_family(found.value_type, wanted.value_type)
    if pa.types.is_timestamp(wanted):
        return bool(pa.types.is_timestamp(found)) and bool(found.tz) == bool(wanted.tz)
    if wanted == pa.uuid():
        return found in {wanted, pa.binary(16)}
    return any(is_one(found) and is_one(wanted) for is_one in _FAMILIES)


_FAMILIES = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_date,
    pa.types.is_time,
    lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind),
)
