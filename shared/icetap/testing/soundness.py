"""What must hold of every table with position deletes: nothing dangles, nothing is told wrongly, readers agree."""

from __future__ import annotations

import functools
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from pyiceberg.manifest import DataFileContent
from pyiceberg.table import StaticTable

from icetap.tables import read_table
from icetap.testing.engines import duckdb_reader, polars_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import duckdb
    import pyarrow as pa
    from pyiceberg.manifest import DataFile, ManifestEntry
    from pyiceberg.table import Table

    Row = dict[str, Any]

PATH_ID, POSITION_ID = 2147483546, 2147483545


def data_files(table: Table) -> dict[str, ManifestEntry]:
    """Return what the newest snapshot lists of data files, by path."""
    return {
        path: entry
        for path, entry in _entries(table).items()
        if entry.data_file.content == DataFileContent.DATA
    }


def delete_files(table: Table) -> dict[str, ManifestEntry]:
    """Return what the newest snapshot lists of delete files, by path."""
    return {
        path: entry
        for path, entry in _entries(table).items()
        if entry.data_file.content != DataFileContent.DATA
    }


def _entries(table: Table) -> dict[str, ManifestEntry]:
    snapshot = table.current_snapshot()
    manifests = snapshot.manifests(table.io) if snapshot else []
    entries = [
        entry for one in manifests for entry in one.fetch_manifest_entry(table.io, discard_deleted=True)
    ]
    found = {entry.data_file.file_path: entry for entry in entries}
    assert len(found) == len(entries), "a file is listed twice"
    return found


def delete_rows(table: Table, delete_file: DataFile) -> pa.Table:
    """Return the rows of a position delete file, as they are stored."""
    with table.io.new_input(delete_file.file_path).open() as source:
        return pq.read_table(source)


def assert_sound(table: Table) -> None:
    """Check the delete files of the newest snapshot, and the totals of its summary."""
    data, deletes = data_files(table), delete_files(table)
    by_file: dict[str, list[int]] = defaultdict(list)
    for entry in deletes.values():
        for path, position in _checked(table, entry, data):
            by_file[path].append(position)
    assert all(len(set(listed)) == len(listed) for listed in by_file.values()), "a row is deleted twice"
    snapshot = table.current_snapshot()
    if snapshot is None or snapshot.summary is None:
        return
    counted = {
        "total-data-files": len(data),
        "total-delete-files": len(deletes),
        "total-records": sum(entry.data_file.record_count for entry in data.values()),
        "total-position-deletes": sum(entry.data_file.record_count for entry in deletes.values()),
        "total-equality-deletes": 0,
    }
    told = snapshot.summary.additional_properties
    assert {name: int(told[name]) for name in counted} == counted


def _checked(table: Table, entry: ManifestEntry, data: Mapping[str, ManifestEntry]) -> list[tuple[str, int]]:
    """Return the paths and positions that a delete file lists, once all that is said of it is true."""
    one = entry.data_file
    rows = delete_rows(table, one)
    pairs = list(zip(rows["file_path"].to_pylist(), rows["pos"].to_pylist(), strict=True))
    assert pairs == sorted(set(pairs)), "not sorted by path, then position, each once"
    assert len(pairs) == one.record_count
    assert one.lower_bounds[PATH_ID] == pairs[0][0].encode()
    assert one.upper_bounds[PATH_ID] == pairs[-1][0].encode()
    for path, position in pairs:
        assert path in data, f"{one.file_path} deletes rows of {path}, which has left"
        of = data[path].data_file
        assert position < of.record_count
        assert (one.spec_id, one.partition) == (of.spec_id, of.partition)
        assert (entry.sequence_number or 0) >= (data[path].sequence_number or 0)
    return pairs


def agreed_rows(table: Table, *, without: tuple[str, ...] = ()) -> list[Row]:
    """Return the rows of a table, sorted by their first column, once four readers have agreed on them.

    Args:
        table: The table, as last loaded.
        without: Readers that are known not to read it.
    """
    ours = [row for batch in read_table(table) for row in batch.to_pylist()]
    place = table.metadata_location
    readers: dict[str, Callable[[], list[Row]]] = {
        "pyiceberg": lambda: StaticTable.from_metadata(place).scan().to_arrow().to_pylist(),
        "Polars": lambda: polars_rows(table),
        "DuckDB": lambda: duckdb_scan(place),
    }
    expected = sorted(map(in_one_form, ours), key=repr)
    for name, read in readers.items():
        if name not in without:
            assert sorted(map(in_one_form, read()), key=repr) == expected, f"{name} reads other rows"
    return sorted(ours, key=_first_value)


def _first_value(row: Row) -> tuple[bool, Any]:
    value = next(iter(row.values()))
    return value is None, value


@functools.cache
def _duckdb() -> duckdb.DuckDBPyConnection:
    return duckdb_reader()


def duckdb_scan(metadata_location: str) -> list[Row]:
    """Read a table with DuckDB's own Iceberg reader, loaded once for the process."""
    rows: list[Row] = (
        _duckdb()
        .sql(f"FROM iceberg_scan('{metadata_location.removeprefix('file://')}')")
        .to_arrow_table()
        .to_pylist()
    )
    return rows


def in_one_form(value: Any) -> Any:
    """Return a value in a form that does not depend on the reader: pairs of a map are lists."""
    if isinstance(value, dict):
        return {key: in_one_form(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [in_one_form(item) for item in value]
    return value
