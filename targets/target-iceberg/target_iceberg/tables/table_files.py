"""What the newest snapshot of a table lists: data files, and the delete files that apply to each."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile, DataFileContent
from pyiceberg.table import FileScanTask

from icetap.errors import DataError
from target_iceberg.tables.internals import referenced_data_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyiceberg.io import FileIO
    from pyiceberg.manifest import ManifestEntry
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot
    from pyiceberg.typedef import Record


@dataclass(frozen=True, slots=True)
class DeleteFile:
    """A file of position deletes.

    Attributes:
        file: As the manifest lists it.
        sequence_number: It applies to data files that are not younger.
        positions: Data file to the number of its rows that are deleted here.
    """

    file: DataFile
    sequence_number: int
    positions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LiveFile:
    """A data file and the position delete files that apply to it."""

    file: DataFile
    sequence_number: int
    deletes: tuple[DeleteFile, ...] = ()

    @property
    def path(self) -> str:
        """Where it lies."""
        return str(self.file.file_path)

    @property
    def bytes(self) -> int:
        """Its size."""
        return int(self.file.file_size_in_bytes)

    @property
    def rows(self) -> int:
        """Rows in the file, deleted ones too."""
        return int(self.file.record_count)

    @property
    def dead_rows(self) -> int:
        """Rows that are deleted; one that is deleted twice counts twice."""
        return sum(delete.positions.get(self.path, 0) for delete in self.deletes)

    @property
    def place(self) -> tuple[int, Record]:
        """Partition spec and partition."""
        return self.file.spec_id, self.file.partition

    @property
    def task(self) -> FileScanTask:
        """The file as a task for the reader."""
        return FileScanTask(self.file, delete_files={delete.file for delete in self.deletes})


@dataclass(frozen=True)
class TableFiles:
    """The files of one snapshot."""

    files: tuple[LiveFile, ...] = ()
    deletes: tuple[DeleteFile, ...] = ()
    manifests: int = 0

    def needless_deletes(self, removed: frozenset[str] = frozenset()) -> frozenset[str]:
        """Return the delete files that no data file needs, once the files named have left."""
        live = {one.path for one in self.files if one.path not in removed}
        needed = {delete.file.file_path for one in self.files if one.path in live for delete in one.deletes}
        return frozenset(path for one in self.deletes if (path := one.file.file_path) not in needed)


def table_files(table: Table) -> TableFiles:
    """Read the manifests of the newest snapshot; column statistics are left out, so that many files fit in memory.

    Raises:
        DataError: When the table has equality deletes, or delete files that are not Parquet.
    """
    head = table.metadata.current_snapshot()
    if head is None:
        return TableFiles()
    data: list[tuple[DataFile, int]] = []
    deletes: list[DeleteFile] = []
    for entry in live_entries(head, table.io):
        number = entry.sequence_number or 0
        if entry.data_file.content == DataFileContent.DATA:
            data.append((_without_statistics(entry.data_file), number))
        else:
            _check_readable(table, entry.data_file)
            deletes.append(DeleteFile(entry.data_file, number, _positions(table.io, entry.data_file)))
    by_path: dict[str, list[DeleteFile]] = defaultdict(list)
    for delete in deletes:
        for path in delete.positions:
            by_path[path].append(delete)
    files = tuple(
        LiveFile(file, number, tuple(one for one in by_path[file.file_path] if one.sequence_number >= number))
        for file, number in data
    )
    return TableFiles(files, tuple(deletes), len(head.manifests(table.io)))


def live_entries(snapshot: Snapshot, io: FileIO) -> Iterator[ManifestEntry]:
    """Yield what a snapshot lists, manifest by manifest."""
    for manifest in snapshot.manifests(io):
        yield from manifest.fetch_manifest_entry(io, discard_deleted=True)


def _without_statistics(data_file: DataFile) -> DataFile:
    light = DataFile.from_args(
        content=data_file.content,
        file_path=data_file.file_path,
        file_format=data_file.file_format,
        partition=data_file.partition,
        record_count=data_file.record_count,
        file_size_in_bytes=data_file.file_size_in_bytes,
        sort_order_id=data_file.sort_order_id,
    )
    light.spec_id = data_file.spec_id
    return light


def _check_readable(table: Table, delete_file: DataFile) -> None:
    name = ".".join(table.name())
    if delete_file.content != DataFileContent.POSITION_DELETES:
        raise DataError(
            f"table {name} has equality deletes, which cannot be read here. "
            "Have the engine that wrote them rewrite its data files (compaction) first."
        )
    if delete_file.file_format.name != "PARQUET":
        raise DataError(
            f"table {name} has a delete file of format {delete_file.file_format.name} ({delete_file.file_path}); "
            "only Parquet files of position deletes can be read."
        )


def _positions(io: FileIO, delete_file: DataFile) -> dict[str, int]:
    path = referenced_data_file(delete_file)
    if path is not None:
        return {path: delete_file.record_count}
    with io.new_input(delete_file.file_path).open() as source:
        column = pq.read_table(source, columns=["file_path"]).column("file_path")
    return {one["values"]: one["counts"] for one in pc.value_counts(column).to_pylist()}
