"""What a run did, for people on the log and for programs as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icetap.allocator import peak_memory_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from target_iceberg.methods.stream import StreamLoad


FINISHED, FAILED, ENDED = "finished", "failed", "was ended"
"""How a run ends: as it should, by a fault, or by a signal."""


def as_json(
    streams: Iterable[StreamLoad], *, run_id: str, pipeline: str, seconds: float, outcome: str
) -> dict[str, Any]:
    """Return the report of a run that ends now, as docs/reference/run-report.md describes it."""
    now = datetime.now(UTC)
    return {
        "run_id": run_id,
        "pipeline": pipeline,
        "outcome": outcome,
        "error": None,
        "started_at": (now - timedelta(seconds=seconds)).isoformat(),
        "ended_at": now.isoformat(),
        "seconds": round(seconds, 3),
        "version": version("icetap-target-iceberg"),
        "peak_memory_mb": peak_memory_bytes() // 2**20,
        "streams": [_stream(stream, seconds) for stream in streams],
    }


def _stream(stream: StreamLoad, seconds: float) -> dict[str, Any]:
    counts = stream.counts
    return {
        "stream": stream.name,
        "table": ".".join(stream.table.name()),
        "rows_read": counts.read,
        "rows_inserted": counts.inserted,
        "rows_updated": counts.updated,
        "rows_deleted": counts.deleted,
        "rows_unchanged": counts.unchanged,
        "rows_repeated": counts.repeated,
        "rows_rejected": counts.rejected,
        "input_bytes": counts.input_bytes,
        "rows_per_second": round(counts.read / seconds) if seconds else 0,
        "commits": counts.commits,
        "files": counts.files,
        "snapshot_id": counts.snapshot_id,
        "bookmark_from": stream.started_from,
        "bookmark_to": stream.bookmark,
        "lossy_values": counts.lossy,
        "discarded_values": dict(+counts.discarded),
        "nulled_values": dict(+counts.nulled),
        "evolved": counts.announcements,
        "warnings": counts.warnings,
        "failure": stream.failure,
    }


def for_people(report: dict[str, Any]) -> str:
    """Return the report as text: a line a stream, what changed, and a query to paste.

    Meltano takes any output line with certain words for a failure, so none of them stands here when
    all went well.
    """
    lines = [
        (
            f"Run {report['run_id']} of pipeline '{report['pipeline']}' {report['outcome']} in {report['seconds']:.1f} s, "
            f"{report['peak_memory_mb']} MB at most."
        )
    ]
    for stream in report["streams"]:
        lines.append(f"  {stream['stream']} -> {stream['table']}: {_counts(stream, report['outcome'])}")
        lines += [f"    {text}" for text in [*stream["evolved"], *stream["warnings"]]]
        lines += [
            f"    column '{column}': {count:,} values lost digits that its type cannot hold"
            for column, count in stream["lossy_values"].items()
        ]
        lines += [
            f"    column '{column}': {count:,} values left out"
            for column, count in stream["discarded_values"].items()
        ]
        lines += [
            f"    column '{column}': {count:,} values did not fit and are null"
            for column, count in stream["nulled_values"].items()
        ]
        if stream["failure"]:
            lines.append(f"    failed: {stream['failure']}")
    if report["streams"]:
        fullest = max(report["streams"], key=lambda stream: stream["rows_read"])
        lines.append(f'Look at it:  icetap query "select * from {_quoted(fullest["table"])} limit 10"')
    return "\n".join(lines)


def _counts(stream: dict[str, Any], outcome: str) -> str:
    told = [f"{stream['rows_read']:,} rows read"]
    words = ("inserted", "updated", "deleted", "unchanged", "repeated", "rejected")
    told += [f"{stream['rows_' + word]:,} {word}" for word in words if stream["rows_" + word]]
    if not stream["commits"]:
        told.append("nothing new" if outcome == "finished" else "nothing committed")
    return ", ".join(told)


def _quoted(table: str) -> str:
    """Return the name as SQL inside a shell's double quotes; a namespace of several parts is one name."""
    parts = table.rsplit(".", 1)
    return ".".join(part if part.isidentifier() else f'\\"{part}\\"' for part in parts)


def write(report: dict[str, Any], path: str) -> None:
    """Write the report as a JSON file, whole or not at all."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(target.name + ".part")
    draft.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    draft.replace(target)
