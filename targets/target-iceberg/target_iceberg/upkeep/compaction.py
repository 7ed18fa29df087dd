"""Files that are too small or have lost many rows, written again as few whole ones.

The rows stay what they are: a compaction is a snapshot of the operation `replace`, which carries no bookmark
and trips no fence. It is planned on one snapshot. When another writer commits meanwhile, the new files are
used all the same as long as the old ones and their deletes are what they were; else they are thrown away
and the next round plans anew.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyiceberg.table.snapshots import Operation

from icetap.errors import DataError, StateError
from icetap.tables import position_deletes, read_task
from target_iceberg.tables.commit import Change, SchemaStage, commit_change
from target_iceberg.tables.retrying import has_moved, until_settled
from target_iceberg.tables.table_files import table_files
from target_iceberg.tables.writer import DataFileWriter, delete_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from target_iceberg.tables.table_files import LiveFile, TableFiles
    from target_iceberg.tables.writer import WriterOptions

MAINTENANCE = "icetap.maintenance"
"""Summary entry that says which upkeep made a snapshot."""

ROUNDS = 3
"""How often a table is planned anew, when loads have changed the very files that were being rewritten."""


@dataclass(frozen=True)
class CompactionOptions:
    """Which files are written again.

    Attributes:
        target_bytes: Size of the files wanted.
        small_share: Files below this share of it are small.
        min_files: So many small files of one partition are worth it.
        dead_share: Files that have lost this share of their rows are written again, whatever their size.
        max_delete_files: So are files to which this many delete files apply.
        group_bytes: Bytes that one snapshot replaces, at most (but for a single file that is larger).
    """

    target_bytes: int = 256 * 2**20
    small_share: float = 0.75
    min_files: int = 5
    dead_share: float = 0.1
    max_delete_files: int = 5
    group_bytes: int = 2 * 2**30

    def is_small(self, file: LiveFile) -> bool:
        """Whether a file would do better together with others."""
        return file.bytes < self.small_share * self.target_bytes

    def is_worn(self, file: LiveFile) -> bool:
        """Whether so many of a file's rows are deleted that it should be written again alone."""
        if not file.deletes:
            return False
        return file.dead_rows >= self.dead_share * file.rows or len(file.deletes) >= self.max_delete_files


@dataclass
class Compacted:
    """What compaction did, or would do.

    Attributes:
        snapshots: Snapshots made.
        files_before, bytes_before: Data files that left.
        files_after, bytes_after: Data files that took their place; of a plan, unknown.
        delete_files: Delete files that left.
        skipped: Groups given up because loads changed their files each time.
    """

    snapshots: int = 0
    files_before: int = 0
    bytes_before: int = 0
    files_after: int = 0
    bytes_after: int = 0
    delete_files: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class Group:
    """Files that one snapshot replaces: pieces of one partition each, in the order of their rows."""

    pieces: tuple[tuple[LiveFile, ...], ...]

    @property
    def files(self) -> list[LiveFile]:
        """All of them."""
        return [file for piece in self.pieces for file in piece]

    @property
    def paths(self) -> frozenset[str]:
        """Where they lie."""
        return frozenset(file.path for file in self.files)


def plan_groups(content: TableFiles, options: CompactionOptions) -> list[Group]:
    """Return what is worth writing again, each group for a snapshot of its own."""
    by_place: dict[object, list[LiveFile]] = defaultdict(list)
    for file in content.files:
        by_place[repr(file.place)].append(file)
    pieces = [piece for files in by_place.values() for piece in _pieces(files, options)]
    groups: list[list[tuple[LiveFile, ...]]] = []
    room = 0
    for piece in pieces:
        size = _bytes(piece)
        if not groups or size > room:
            groups.append([])
            room = options.group_bytes
        groups[-1].append(piece)
        room -= size
    return [Group(tuple(group)) for group in groups]


def _pieces(files: Sequence[LiveFile], options: CompactionOptions) -> Iterable[tuple[LiveFile, ...]]:
    """Yield the files of one partition that are to become one, or a few, in pieces of bounded size."""
    worn = [file for file in files if options.is_worn(file)]
    small = _alike([file for file in files if options.is_small(file) and not options.is_worn(file)])
    if len(small) + len(worn) < max(options.min_files, 2):
        small = []
    chosen = sorted([*worn, *small], key=lambda file: (file.sequence_number, file.path))
    piece: list[LiveFile] = []
    for file in chosen:
        if piece and _bytes(piece) + file.bytes > options.group_bytes:
            yield tuple(piece)
            piece = []
        piece.append(file)
    if len(piece) > 1 or any(options.is_worn(file) for file in piece):
        yield tuple(piece)


def _alike(files: list[LiveFile]) -> list[LiveFile]:
    """Return the smallest files up to the first that is larger than all before it together.

    So a file is written again only along with at least as many bytes that are new to it: each row is
    rewritten a few times on its way into a whole file, not once in every run.
    """
    found: list[LiveFile] = []
    total = 0
    for file in sorted(files, key=lambda one: one.bytes):
        if len(found) > 1 and file.bytes > total:
            break
        found.append(file)
        total += file.bytes
    return found


def _bytes(files: Iterable[LiveFile]) -> int:
    return sum(file.bytes for file in files)


def plan_compaction(table: Table, options: CompactionOptions) -> Compacted:
    """Return what would be written again."""
    content = table_files(table)
    groups = plan_groups(content, options)
    removed = frozenset(path for group in groups for path in group.paths)
    files = [file for group in groups for file in group.files]
    return Compacted(
        snapshots=len(groups),
        files_before=len(files),
        bytes_before=_bytes(files),
        delete_files=len(content.needless_deletes(removed)),
    )


@dataclass
class Compaction:
    """Compacts one table.

    Attributes:
        table: The table; fresh after each commit.
        options: What is written again.
        writer: How the new files are written.
        pause: Called with the name of each point at which another writer may come in between.
    """

    table: Table
    options: CompactionOptions
    writer: WriterOptions
    pause: Callable[[str], None]
    done: Compacted = field(default_factory=Compacted)

    def run(self) -> Compacted:
        """Write groups again until none is left that is worth it.

        Raises:
            DataError: When rows would change: nothing of that group is committed.
            StateError: When other writers commit each time.
        """
        for _ in range(ROUNDS):
            self.done.skipped = 0
            content = until_settled(self.table, lambda: table_files(self.table))
            for group in plan_groups(content, self.options):
                self._replace(group)
            if not self.done.skipped:
                break
        self._drop_needless()
        return self.done

    def _replace(self, group: Group) -> None:
        try:
            files = self._rewritten(group)
        except FileNotFoundError:
            if not has_moved(self.table):
                raise
            self.done.skipped += 1
            return
        self.pause("files are rewritten")

        def commit() -> bool:
            content = table_files(self.table)
            if not _is_as_planned(group, content):
                return False
            self._commit(content, added=files, removed=group.paths)
            return True

        try:
            is_made = until_settled(self.table, commit)
        except (StateError, DataError):
            delete_files(self.table, files)
            raise
        # After any other fault a commit may still land: its files are left, for the sweep if it does not.
        if not is_made:
            delete_files(self.table, files)
            self.done.skipped += 1
            return
        self.done.files_before += len(group.files)
        self.done.bytes_before += _bytes(group.files)
        self.done.files_after += len(files)
        self.done.bytes_after += sum(one.file_size_in_bytes for one in files)

    def _rewritten(self, group: Group) -> list[DataFile]:
        """Write the live rows of a group's files, in their order; one row group is held in memory."""
        files: list[DataFile] = []
        try:
            for piece in group.pieces:
                writer = DataFileWriter(self.table, schema=self.table.schema(), options=self.writer)
                try:
                    for file in piece:
                        self._copy(file, writer)
                    files += writer.close()
                except BaseException:
                    writer.abort()
                    raise
        except BaseException:
            delete_files(self.table, files)
            raise
        return files

    def _copy(self, file: LiveFile, writer: DataFileWriter) -> None:
        before = writer.rows
        for batch in read_task(self.table, file.task):
            writer.write(batch)
        dead = len(position_deletes(self.table.io, file.task))
        if writer.rows - before != file.rows - dead:
            raise DataError(
                f"{file.path} should hold {file.rows:,} rows, {dead:,} of them deleted, but "
                f"{writer.rows - before:,} were read. Nothing was changed; look at that file."
            )

    def _commit(self, content: TableFiles, *, added: Sequence[DataFile], removed: frozenset[str]) -> None:
        needless = content.needless_deletes(removed)
        change = Change(
            added=added,
            removed=removed,
            removed_deletes=needless,
            parent=self.table.metadata.current_snapshot_id,
            operation=Operation.REPLACE,
            summary={MAINTENANCE: "compaction"},
        )
        self.pause("compaction is planned")
        commit_change(self.table, change, stage=SchemaStage(self.table))
        self.done.snapshots += 1
        self.done.delete_files += len(needless)

    def _drop_needless(self) -> None:
        """Remove delete files that no data file needs, whoever left them behind."""

        def commit() -> None:
            content = table_files(self.table)
            if content.needless_deletes():
                self._commit(content, added=(), removed=frozenset())

        until_settled(self.table, commit)


def _is_as_planned(group: Group, content: TableFiles) -> bool:
    """Whether the snapshot still lists a group's files, with the very deletes that they had."""
    present = {file.path: file for file in content.files}
    return all(
        (now := present.get(file.path)) is not None and _deletes(now) == _deletes(file)
        for file in group.files
    )


def _deletes(file: LiveFile) -> set[str]:
    return {delete.file.file_path for delete in file.deletes}
