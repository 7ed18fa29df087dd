"""What was measured, as tables of bench/README.md."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from measure import Series, Usage

README = Path(__file__).with_name("README.md")
RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    what: str
    measured: str
    goal: str = ""
    is_met: bool | None = None

    def cells(self) -> tuple[str, str, str, str]:
        """Return the cells; a line without a goal has none."""
        met = {None: "", True: "yes", False: "**no**"}[self.is_met]
        return self.what, self.measured, self.goal, met


def table(rows: Sequence[Row]) -> str:
    """Return a table in Markdown."""
    head = "| what | measured | goal | met |\n|---|---|---|---|\n"
    return head + "".join("| " + " | ".join(row.cells()) + " |\n" for row in rows)


def keep(name: str, rows: Sequence[Row], *, environment: str) -> None:
    """Put a table between its markers in the README, and beside it as JSON."""
    _put(name, table(rows), [vars(row) for row in rows], environment=environment)


def keep_lines(name: str, head: Sequence[str], lines: Sequence[Sequence[str]], *, environment: str) -> None:
    """Put a table with columns of its own between its markers, and beside it as JSON."""
    named = [dict(zip(head, line, strict=True)) for line in lines]
    _put(name, lines_table(head, lines), named, environment=environment)


def lines_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    listed = [head, ["---"] * len(head), *lines]
    return "".join("| " + " | ".join(line) + " |\n" for line in listed)


def _put(name: str, text: str, rows: Sequence[object], *, environment: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(
        json.dumps({"environment": environment, "rows": rows}, indent=2), encoding="utf-8"
    )
    block = f"<!-- results:begin {name} -->\n{text}\n{environment}\n<!-- results:end {name} -->"
    pattern = rf"<!-- results:begin {name} -->.*?<!-- results:end {name} -->"
    known = README.read_text(encoding="utf-8")
    README.write_text(re.sub(pattern, lambda _: block, known, flags=re.DOTALL), encoding="utf-8")


def seconds(series: Series) -> str:
    """Say how long it took: the best run and the one in the middle."""
    return f"{series.best:.2f} s (median {series.median:.2f}), processor {series.cpu:.2f} s"


def loader(found: Mapping[str, Series], *, rows: int, peer_rows: int, size: int) -> list[Row]:
    """Rates are of the rows alone: the same program's time for no rows is taken off, on both sides."""
    ours, ours_empty = found["target-iceberg"], found["target-iceberg, no rows"]
    peer, peer_empty = found["SDK target"], found["SDK target, no rows"]
    rate = rows / (ours.best - ours_empty.best)
    peer_rate = peer_rows / (peer.best - peer_empty.best)
    return [
        Row(f"target-iceberg, {rows:,} RECORD lines ({size / rows:.0f} bytes each)", seconds(ours)),
        Row("its start and end, without rows", seconds(ours_empty)),
        Row(f"SDK's target that drops everything, the first {peer_rows:,} of them", seconds(peer)),
        Row("its start and end, without rows", seconds(peer_empty)),
        Row("target-iceberg, records per second", f"{rate:,.0f}", "≥ 300,000", rate >= 300_000),
        Row("the same, start and end counted in", f"{rows / ours.best:,.0f}"),
        Row("SDK's target, records per second", f"{peer_rate:,.0f}"),
        Row("ratio", f"{rate / peer_rate:.1f}", "≥ 30", rate / peer_rate >= 30),
    ]


def loader_parts(seconds_of: Mapping[str, float]) -> list[Row]:
    """The parts of a run, the longest first; seconds of processor."""
    whole = sum(seconds_of.values())
    longest_first = sorted(seconds_of.items(), key=lambda part: -part[1])
    return [Row(part, f"{spent:.2f} s, {spent / whole:.0%}") for part, spent in longest_first]


def pipeline(found: Mapping[str, Series], *, rows: int) -> list[Row]:
    """The fixed start of Meltano and its plug-ins is what an empty table takes, and is taken off."""
    arrow, record, peer = found["Arrow lane"], found["RECORD lane"], found["ADBC to Parquet"]
    arrow_net = arrow.best - found["Arrow lane, no rows"].best
    record_net = record.best - found["RECORD lane, no rows"].best
    peer_net = peer.best - found["ADBC to Parquet, no rows"].best
    return [
        Row(f"`meltano run`, Arrow lane, {rows:,} rows", seconds(arrow)),
        Row("its fixed part: an empty table", seconds(found["Arrow lane, no rows"])),
        Row(f"`meltano run`, RECORD lane, {rows:,} rows", seconds(record)),
        Row("its fixed part: an empty table", seconds(found["RECORD lane, no rows"])),
        Row("ADBC into Parquet with pyarrow", seconds(peer)),
        Row("its fixed part: an empty table", seconds(found["ADBC to Parquet, no rows"])),
        Row(
            "Arrow lane without its fixed part, to ADBC's whole wall",
            f"{arrow_net / peer.best:.2f}",
            "≤ 2.5",
            arrow_net / peer.best <= 2.5,
        ),
        Row("both without their fixed parts", f"{arrow_net / peer_net:.2f}"),
        Row("whole wall to whole wall", f"{arrow.best / peer.best:.2f}"),
        Row(
            "RECORD lane to Arrow lane, whole wall",
            f"{record.best / arrow.best:.2f}",
            "≤ 3",
            record.best / arrow.best <= 3,
        ),
        Row("both without their fixed parts", f"{record_net / arrow_net:.2f}"),
    ]


def memory(used: Mapping[tuple[str, int], tuple[Usage, Usage]]) -> list[Row]:
    """What tap and loader held, by lane and rows; and how much more of them at the largest size than at the smallest."""
    rows = [
        Row(
            f"{size:,} rows, {lane} lane",
            f"tap {tap.peak_mb:.0f} MB, loader {target.peak_mb:.0f} MB (in {target.wall:.1f} s)",
            "each < 512 MB",
            max(tap.peak_mb, target.peak_mb) < 512,
        )
        for (lane, size), (tap, target) in used.items()
    ]
    smallest, largest = (choose(size for _, size in used) for choose in (min, max))
    for lane in dict.fromkeys(lane for lane, _ in used) if largest > smallest else ():
        pairs = zip(used[lane, smallest], used[lane, largest], strict=True)
        growth = [large.peak_mb / small.peak_mb - 1 for small, large in pairs]
        rows.append(
            Row(
                f"{lane} lane, growth from {smallest:,} to {largest:,} rows",
                f"tap {growth[0]:+.0%}, loader {growth[1]:+.0%}",
                "≤ 15 %",
                max(growth) <= 0.15,
            )
        )
    return rows


def upsert(found: Mapping[str, Series], *, rows: int) -> list[Row]:
    """Whole runs of the loader, against the mere call in pyiceberg."""
    changed, peer = found["changed"], found["pyiceberg"]
    most = max(found[name].peak_mb for name in ("first load", "unchanged", "changed"))
    return [
        Row(f"first load of {rows:,} rows", seconds(found["first load"])),
        Row(f"all {rows:,} sent again, none changed: nothing is written", seconds(found["unchanged"])),
        Row(f"{rows // 10:,} changed, spread over the whole table", seconds(changed)),
        Row("most memory of these three", f"{most:.0f} MB", "< 512 MB", most < 512),
        Row(f"pyiceberg's `Table.upsert` of the same {rows // 10:,} rows (the call alone)", seconds(peer)),
        Row("pyiceberg's call to the loader's whole run", f"{peer.best / changed.best:.1f}"),
    ]
