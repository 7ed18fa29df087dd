"""Whether an Iceberg table is whole: every file there, every delete meant for a row, every key once.

It trusts nothing that a writer says of itself: manifests are read anew, files are opened, counts are made again.
"""

from __future__ import annotations

import posixpath
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFileContent

from icetap.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyiceberg.manifest import ManifestEntry
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

KEYS = "icetap.keys"
TOLD = 5  # of many findings of one kind, so many are told


def table_findings(table: Table, *, keys: Sequence[str] | None = None) -> list[str]:
    """Return what is wrong with a table, empty when nothing is.

    Checked are every snapshot that the table still knows (are its files there?) and the newest one in
    depth: a file listed twice, a delete for a file or a row that is not there, a delete that is older
    than its file, counts in the summary, and keys that stand there twice.

    Args:
        table: The table, freshly loaded.
        keys: Columns that are unique; default the ones that the loader has noted.
    """
    found: list[str] = []
    for snapshot in table.metadata.snapshots:
        found += _missing(table, snapshot)
    head = table.metadata.current_snapshot()
    if head is None or found:
        return found
    entries = list(_live(table, head))
    found += _listed_twice(entries)
    found += _deletes(table, entries)
    found += _counts(head, entries)
    noted = [key for key in table.properties.get(KEYS, "").split(",") if key]
    found += _doubled(table, noted if keys is None else keys)
    return found


def _live(table: Table, snapshot: Snapshot) -> Iterator[ManifestEntry]:
    for manifest in snapshot.manifests(table.io):
        yield from manifest.fetch_manifest_entry(table.io, discard_deleted=True)


def _missing(table: Table, snapshot: Snapshot) -> list[str]:
    """Files that a snapshot needs and that are not there, or not as long as they should be."""
    told = f"snapshot {snapshot.snapshot_id}"
    if not table.io.new_input(snapshot.manifest_list).exists():
        return [f"{told}: its list of manifests is gone: {snapshot.manifest_list}"]
    found = []
    for manifest in snapshot.manifests(table.io):
        if not table.io.new_input(manifest.manifest_path).exists():
            found.append(f"{told}: a manifest is gone: {manifest.manifest_path}")
            continue
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
            place = table.io.new_input(entry.data_file.file_path)
            if not place.exists():
                found.append(f"{told}: a file that it lists is gone: {entry.data_file.file_path}")
            elif len(place) != entry.data_file.file_size_in_bytes:
                found.append(f"{told}: a file is not as long as listed: {entry.data_file.file_path}")
    return found[:TOLD]


def _listed_twice(entries: Sequence[ManifestEntry]) -> list[str]:
    times = Counter(entry.data_file.file_path for entry in entries)
    return [f"listed {count} times: {path}" for path, count in times.items() if count > 1][:TOLD]


def _deletes(table: Table, entries: Sequence[ManifestEntry]) -> list[str]:
    data = {
        entry.data_file.file_path: entry
        for entry in entries
        if entry.data_file.content == DataFileContent.DATA
    }
    found: list[str] = []
    for entry in entries:
        if entry.data_file.content == DataFileContent.DATA:
            continue
        name = posixpath.basename(entry.data_file.file_path)
        positions = _positions(table, entry)
        if not positions:
            found.append(f"delete file {name} deletes nothing")
        for path, rows in positions.items():
            target = data.get(path)
            if target is None:
                found.append(f"delete file {name} dangles: {path} is not in the table")
            elif (entry.sequence_number or 0) < (target.sequence_number or 0):
                found.append(f"delete file {name} is older than the file that it is meant for: {path}")
            elif max(rows) >= target.data_file.record_count:
                found.append(f"delete file {name} names row {max(rows)} of {path}, which has fewer")
            elif entry.data_file.partition != target.data_file.partition:
                found.append(f"delete file {name} is of another partition than {path}")
    return found[:TOLD]


def _positions(table: Table, entry: ManifestEntry) -> dict[str, list[int]]:
    with table.io.new_input(entry.data_file.file_path).open() as source:
        rows = pq.read_table(source, columns=["file_path", "pos"])
    found: dict[str, list[int]] = defaultdict(list)
    for path, position in zip(rows["file_path"].to_pylist(), rows["pos"].to_pylist(), strict=True):
        found[path].append(position)
    return found


def _counts(head: Snapshot, entries: Sequence[ManifestEntry]) -> list[str]:
    """Totals of the summary that are not what the manifests say."""
    data = [e.data_file for e in entries if e.data_file.content == DataFileContent.DATA]
    deletes = [e.data_file for e in entries if e.data_file.content != DataFileContent.DATA]
    counted = {
        "total-records": sum(file.record_count for file in data),
        "total-data-files": len(data),
        "total-delete-files": len(deletes),
        "total-position-deletes": sum(file.record_count for file in deletes),
        "total-files-size": sum(file.file_size_in_bytes for file in (*data, *deletes)),
    }
    told = dict(head.summary.additional_properties) if head.summary else {}
    return [
        f"the newest snapshot's summary says {name} {told[name]}, counted are {count}"
        for name, count in counted.items()
        if name in told and int(told[name]) != count
    ]


def _doubled(table: Table, keys: Sequence[str]) -> list[str]:
    if not keys:
        return []
    batches = list(read_table(table, columns=list(keys)))
    if not batches:
        return []
    rows = pa.Table.from_batches(batches)
    times = rows.group_by(list(keys), use_threads=False).aggregate([([], "count_all")])
    twice = times.filter(pc.greater(times["count_all"], 1))
    return [f"a key stands there {row['count_all']} times: {row}" for row in twice.slice(0, TOLD).to_pylist()]
