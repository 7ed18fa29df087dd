"""What a table holds and what state it is in: sizes, files, snapshots, bookmarks, and the upkeep that it needs."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pyiceberg.transforms import IdentityTransform

from icetap.errors import DataError
from target_iceberg.contracts.quarantine import find_quarantine
from target_iceberg.positions import bookmarks
from target_iceberg.tables.loaded_table import STREAM, VERSION
from target_iceberg.tables.table_files import TableFiles, table_files
from target_iceberg.upkeep.inspection import keys_of, pipelines_of
from target_iceberg.upkeep.maintenance import Maintenance, MaintenanceOptions, megabytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyiceberg.catalog import Catalog
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table
    from pyiceberg.table.sorting import SortOrder

SIZES_MB = (1, 16, 64, 256, 1024)
"""Limits between the classes of file sizes."""


def describe(table: Table, *, catalog: Catalog, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a table holds, for every pipeline that loads it, as plain values."""
    metadata = table.metadata
    schema = table.schema()
    return {
        "table": ".".join(table.name()),
        "stream": table.properties.get(STREAM),
        "keys": keys_of(table),
        **_content(table),
        "snapshots": len(metadata.snapshots),
        "oldest_snapshot": _time(min((one.timestamp_ms for one in metadata.snapshots), default=None)),
        "newest_snapshot": _time(max((one.timestamp_ms for one in metadata.snapshots), default=None)),
        "snapshot_id": metadata.current_snapshot_id,
        "version": table.properties.get(VERSION),
        "partition_by": _partition_words(table.spec(), schema),
        "sort_by": _sort_words(table.sort_order(), schema),
        "location": table.location(),
        "rejected_rows": _rejected_rows(catalog, table),
        "bookmarks": {name: bookmarks.read_position(metadata, name).bookmark for name in pipelines_of(table)},
        "upkeep": _upkeep(table, catalog=catalog, config=config),
    }


def _content(table: Table) -> dict[str, Any]:
    try:
        content = table_files(table)
    except DataError as error:
        head = table.metadata.current_snapshot()
        told = bookmarks.entries_of(head) if head else {}
        return {
            "rows": None,
            "files": int(told.get("total-data-files", 0)),
            "delete_files": int(told.get("total-delete-files", 0)),
            "bytes": int(told.get("total-files-size", 0)),
            "unreadable": str(error),
        }
    dead = sum(file.dead_rows for file in content.files)
    everything = [one.file for one in content.files] + [one.file for one in content.deletes]
    return {
        "rows": sum(file.rows for file in content.files) - dead,
        "files": len(content.files),
        "delete_files": len(content.deletes),
        "deleted_rows": dead,
        "bytes": sum(file.file_size_in_bytes for file in everything),
        "file_sizes": _file_sizes(content),
        "manifests": content.manifests,
    }


def _file_sizes(content: TableFiles) -> dict[str, int]:
    """Return how many data files there are of each class of sizes."""
    classes = [f"under {SIZES_MB[0]} MB"]
    classes += [f"{low} to {high} MB" for low, high in itertools.pairwise(SIZES_MB)]
    classes.append(f"over {SIZES_MB[-1]} MB")
    found = Counter(sum(file.bytes >= limit * 2**20 for limit in SIZES_MB) for file in content.files)
    return {name: found[number] for number, name in enumerate(classes) if found[number]}


def _time(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _partition_words(spec: PartitionSpec, schema: Schema) -> list[str]:
    return [_with_transform(field.transform, field.source_id, schema) for field in spec.fields]


def _sort_words(order: SortOrder, schema: Schema) -> list[str]:
    return [
        f"{_with_transform(field.transform, field.source_id, schema)} {field.direction.value.lower()}"
        for field in order.fields
    ]


def _with_transform(transform: Any, source_id: int, schema: Schema) -> str:
    column = schema.find_column_name(source_id) or "a dropped column"
    if isinstance(transform, IdentityTransform):
        return column
    name, _, parameter = str(transform).removesuffix("]").partition("[")
    return f"{name}({parameter}, {column})" if parameter else f"{name}({column})"


def _rejected_rows(catalog: Catalog, table: Table) -> int:
    quarantine = find_quarantine(catalog, table)
    head = quarantine.metadata.current_snapshot() if quarantine else None
    return int(bookmarks.entries_of(head).get("total-records", 0)) if head else 0


def _upkeep(table: Table, *, catalog: Catalog, config: Mapping[str, Any]) -> dict[str, int]:
    """Return what `maintain` would do; orphans are not looked for, as that lists the whole storage."""
    options = MaintenanceOptions(is_dry_run=True, sweep=False)
    report = Maintenance(catalog, config, options).of(table)
    return {
        "files_to_compact": report.compaction.files_before if report.compaction else 0,
        "delete_files_to_drop": report.compaction.delete_files if report.compaction else 0,
        "snapshots_to_expire": report.expiry.snapshots if report.expiry else 0,
    }


def as_text(descriptions: Sequence[dict[str, Any]]) -> str:
    """Return descriptions for people: a paragraph a table."""
    if not descriptions:
        return "No stream has been loaded into this catalog yet."
    return "\n".join("\n  ".join(_paragraph(one)) for one in descriptions)


def _paragraph(one: dict[str, Any]) -> list[str]:
    lines = [f"{one['table']}  (stream {one['stream']}, key {', '.join(one['keys']) or 'none'})"]
    if "unreadable" in one:
        lines.append(one["unreadable"])
    else:
        lines.append(f"{one['rows']:,} rows in {one['files']:,} data files, {megabytes(one['bytes'])}")
        if one["delete_files"]:
            share = 100 * one["deleted_rows"] / max(one["rows"] + one["deleted_rows"], 1)
            lines.append(
                f"{one['delete_files']:,} delete files take {one['deleted_rows']:,} rows away ({share:.1f} %)"
            )
        if one["file_sizes"]:
            lines.append(
                "sizes: " + ", ".join(f"{count:,} {name}" for name, count in one["file_sizes"].items())
            )
        lines.append(f"{one['manifests']:,} manifests")
    lines.append(
        f"{one['snapshots']:,} snapshots" + (f" since {one['oldest_snapshot']}" if one["snapshots"] else "")
    )
    if one["partition_by"]:
        lines.append(f"partitioned by {', '.join(one['partition_by'])}")
    if one["sort_by"]:
        lines.append(f"sorted by {', '.join(one['sort_by'])}")
    if one["rejected_rows"]:
        lines.append(f"{one['rejected_rows']:,} rejected rows in {one['table']}__rejected")
    lines += [
        f"bookmark of {pipeline}: {bookmark or 'none'}" for pipeline, bookmark in one["bookmarks"].items()
    ]
    lines.append(_upkeep_words(one["upkeep"]))
    lines.append(one["location"])
    return lines


def _upkeep_words(upkeep: Mapping[str, int]) -> str:
    words = {
        "files_to_compact": "compact {:,} files",
        "delete_files_to_drop": "drop {:,} delete files",
        "snapshots_to_expire": "expire {:,} snapshots",
    }
    todo = [text.format(upkeep[name]) for name, text in words.items() if upkeep[name]]
    return (
        f"maintain would {', '.join(todo)}"
        if todo
        else "maintain has nothing to do, but for files that nothing needs"
    )
