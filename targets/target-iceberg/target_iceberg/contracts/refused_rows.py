"""The quarantine table of one stream as a replay uses it: rows in groups, taken and given back in one commit each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from icetap.errors import StateError
from icetap.tables import plan_files, read_task
from target_iceberg.contracts.quarantine import REPLAY_ID, SCHEMA, quarantine_stage, write_rows
from target_iceberg.decoding.json_text import parse_json
from target_iceberg.tables.commit import Change, TableMovedError, commit_change
from target_iceberg.tables.writer import delete_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from pyiceberg.manifest import DataFile
    from pyiceberg.table import FileScanTask, Table

GROUP_ROWS = 20_000
"""Rows that are looked at, and loaded, at once."""
_ATTEMPTS = 12


class TakenOverError(StateError):
    """Another replay has taken the same rows."""

    def __init__(self, stream: str) -> None:
        super().__init__(
            f"stream '{stream}': another replay (or a compaction) is working on the same rows, so this one stops. "
            "Run it again when the other one is done."
        )


class RefusedRows:
    """The rows of one quarantine table."""

    def __init__(self, table: Table, *, stream: str) -> None:
        self.table = table
        self._stream = stream

    @property
    def message(self) -> dict[str, Any] | None:
        """The stream's newest SCHEMA; None in tables of versions that did not note it."""
        text = self.table.properties.get(SCHEMA)
        found: dict[str, Any] | None = parse_json(text) if text else None
        return found

    def groups(self) -> Iterator[tuple[frozenset[str], pa.Table]]:
        """Yield the rows in the order in which they were refused, with the paths of their files.

        What is swapped meanwhile does not come again. A file with more rows than a group comes in pieces,
        all with its path; `split` makes them files of their own.
        """
        paths: set[str] = set()
        rows: list[pa.Table] = []
        count = 0
        for task in self._tasks():
            if count and count + task.file.record_count > GROUP_ROWS:
                yield frozenset(paths), pa.concat_tables(rows)
                paths, rows, count = set(), [], 0
            for piece in self._pieces(task):
                if count and count + piece.num_rows > GROUP_ROWS:
                    yield frozenset(paths), pa.concat_tables(rows)
                    paths, rows, count = set(), [], 0
                paths.add(task.file.file_path)
                rows.append(piece)
                count += piece.num_rows
        if count:
            yield frozenset(paths), pa.concat_tables(rows)

    def split(self, *, run_id: str) -> None:
        """Cut files with more rows than a group into several."""
        for task in self._tasks():
            if task.file.record_count > GROUP_ROWS:
                self.swap(frozenset([task.file.file_path]), self._pieces(task), run_id=run_id)

    def taken(self) -> dict[str, frozenset[str]]:
        """Return the files with rows that a replay has taken and not finished, by its id."""
        if REPLAY_ID not in {one.name for one in self.table.schema().fields}:
            return {}
        found: dict[str, set[str]] = {}
        for task in self._tasks():
            for batch in read_task(self.table, task, columns=[REPLAY_ID]):
                for replay_id in pc.unique(batch.column(0)).drop_null().to_pylist():
                    found.setdefault(replay_id, set()).add(task.file.file_path)
        return {replay_id: frozenset(paths) for replay_id, paths in found.items()}

    def read(self, paths: frozenset[str]) -> pa.Table:
        """Return the rows of these files, which must be listed."""
        tasks = [task for task in self._tasks() if task.file.file_path in paths]
        if len(tasks) != len(paths):
            raise TakenOverError(self._stream)
        return pa.concat_tables([piece for task in tasks for piece in self._pieces(task)])

    def swap(self, paths: frozenset[str], tables: Iterable[pa.Table], *, run_id: str) -> frozenset[str]:
        """Replace files by others, one at least for each of these tables that has rows; return their paths.

        Raises:
            TakenOverError: When somebody else has replaced one of the files.
        """
        stage = quarantine_stage(self.table)
        files: list[DataFile] = []
        for table in tables:
            files += write_rows(self.table, table.to_batches(), stage=stage, run_id=run_id)
        for attempt in range(_ATTEMPTS):
            change = Change(added=files, removed=paths, parent=self.table.metadata.current_snapshot_id)
            try:
                commit_change(self.table, change, stage=stage)
            except TableMovedError:
                self.table.refresh()
                if not paths <= {task.file.file_path for task in self._tasks()}:
                    break
                # Refused rows of a load that runs came in between: they are in files of their own.
                stage = quarantine_stage(self.table)
                time.sleep(min(0.05 * 2**attempt, 2.0))
            else:
                return frozenset(data_file.file_path for data_file in files)
        delete_files(self.table, files)
        raise TakenOverError(self._stream)

    def _tasks(self) -> Sequence[FileScanTask]:
        column = self.table.schema().find_field("rejected_at").field_id

        def first_moment(task: FileScanTask) -> int:
            return int.from_bytes((task.file.lower_bounds or {}).get(column, b""), "little", signed=True)

        return sorted(plan_files(self.table), key=first_moment)

    def _pieces(self, task: FileScanTask) -> Iterator[pa.Table]:
        for batch in read_task(self.table, task, batch_size=GROUP_ROWS):
            rows = pa.Table.from_batches([batch])
            if REPLAY_ID not in rows.schema.names:
                rows = rows.append_column(REPLAY_ID, pa.nulls(len(rows), pa.string()))
            yield rows


def marked(rows: pa.Table, replay_id: str | None, places: Sequence[int]) -> pa.Table:
    """Return the rows, those at these places taken by a replay, the others by none."""
    taken = pc.is_in(pa.arange(0, len(rows)), value_set=pa.array(places, pa.int64()))
    column = pc.if_else(taken, pa.scalar(replay_id, pa.string()), pa.scalar(None, pa.string()))
    return rows.set_column(rows.schema.get_field_index(REPLAY_ID), REPLAY_ID, column)
