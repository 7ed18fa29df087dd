"""Upkeep of loaded tables: compact files, merge manifests, expire snapshots, sweep what nothing needs.

Each part is safe beside a running load, and none touches a bookmark. What a part may not do to a table is
told, and the other parts go on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pyiceberg.table.snapshots import Operation

from icetap import faults
from icetap.errors import ConfigurationError, IcetapError
from target_iceberg.contracts.quarantine import find_quarantine
from target_iceberg.settings import stream_settings
from target_iceberg.tables.commit import Change, SchemaStage, commit_change, new_run_id
from target_iceberg.tables.loaded_table import STREAM
from target_iceberg.tables.opening import FORMAT_VERSION
from target_iceberg.tables.retrying import until_settled
from target_iceberg.tables.table_files import table_files
from target_iceberg.tables.writer import WriterOptions
from target_iceberg.upkeep import inspection
from target_iceberg.upkeep.compaction import (
    MAINTENANCE,
    Compacted,
    Compaction,
    CompactionOptions,
    plan_compaction,
)
from target_iceberg.upkeep.expiry import Expired, ExpiryOptions, expire, plan_expiry
from target_iceberg.upkeep.sweep import Swept, foreign_roots, plan_sweep, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

    from target_iceberg.settings import StreamSettings

MIN_MANIFESTS = 20
"""So many manifests are written together as few."""


@dataclass(frozen=True)
class MaintenanceOptions:
    """What is done to each table; None in a number means what the settings say of its stream."""

    compact: bool = True
    expire: bool = True
    sweep: bool = True
    is_dry_run: bool = False
    min_files: int = 5
    expire_days: float | None = None
    keep_snapshots: int | None = None
    orphan_days: float | None = None

    def of_stream(self, settings: StreamSettings) -> MaintenanceOptions:
        """Return the options with the stream's own numbers filled in."""
        names = ("expire_days", "keep_snapshots", "orphan_days")
        given = {name: getattr(self, name) for name in names}
        return replace(
            self,
            **{name: getattr(settings, name) if value is None else value for name, value in given.items()},
        )


@dataclass
class TableReport:
    """What was done to one table.

    Attributes:
        table: Namespace and name.
        before, after: Counts of files, delete files, manifests, snapshots, and bytes in the newest snapshot.
        manifests_merged: Whether manifests were written together in a snapshot of their own.
        notes: What was left out, and why.
        failure: What went wrong, None when nothing did.
    """

    table: str
    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    compaction: Compacted | None = None
    manifests_merged: bool = False
    expiry: Expired | None = None
    sweep: Swept | None = None
    notes: list[str] = field(default_factory=list)
    failure: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


class Maintenance:
    """Looks after tables one by one."""

    def __init__(
        self,
        catalog: Catalog,
        config: Mapping[str, Any],
        options: MaintenanceOptions,
        *,
        pause: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Prepare.

        Args:
            catalog: The catalog.
            config: The loader's settings.
            options: What to do.
            pause: Called with the name of each point at which another writer may come in between.
        """
        self._catalog = catalog
        self._config = config
        self._options = options
        self._pause = pause
        self._run_id = new_run_id()
        self._locations: dict[str, str] | None = None

    def of(self, table: Table) -> TableReport:
        """Do everything that the options ask for to one table."""
        report = TableReport(".".join(table.name()))
        try:
            report.before = until_settled(table, lambda: counts(table))
            self._look_after(table, report)
            table.refresh()
            report.after = until_settled(table, lambda: counts(table))
        except Exception as error:
            told = error if isinstance(error, IcetapError) else faults.explained(error)
            if told is None:
                raise
            report.failure = str(told)
        return report

    def _look_after(self, table: Table, report: TableReport) -> None:
        settings = stream_settings(self._config, table.properties.get(STREAM, ""))
        options = self._options.of_stream(settings)
        if table.format_version > FORMAT_VERSION:
            report.notes.append(
                f"it has format version {table.format_version}; only versions up to {FORMAT_VERSION} are looked after"
            )
            return
        if options.compact:
            self._compact(table, report, settings=settings)
        keeps_files = table.properties.get("gc.enabled", "true").lower() == "false"
        if keeps_files and (options.expire or options.sweep):
            report.notes.append("its property gc.enabled is false, so nothing is expired or swept")
            return
        if options.expire:
            self._expire(table, report, options=options)
        if options.sweep:
            self._sweep(table, report, options=options)

    def _compact(self, table: Table, report: TableReport, *, settings: StreamSettings) -> None:
        target = settings.target_file_size_mb * 2**20
        options = CompactionOptions(target_bytes=target, min_files=self._options.min_files)
        if self._options.is_dry_run:
            report.compaction = plan_compaction(table, options)
            return
        writer = WriterOptions(self._run_id, target, settings.compression)
        report.compaction = Compaction(table, options, writer, self._pause).run()
        report.manifests_merged = merge_manifests(table, pause=self._pause)
        if report.compaction.skipped:
            report.notes.append(
                f"{report.compaction.skipped} groups of files were left alone, as loads changed them each time"
            )

    def _expire(self, table: Table, report: TableReport, *, options: MaintenanceOptions) -> None:
        kept = ExpiryOptions(
            expire_days=options.expire_days or 0.0,
            keep_snapshots=max(options.keep_snapshots or 1, 1),
            keeps_rewinds=self._may_rewind(table),
        )
        if options.is_dry_run:
            report.expiry = plan_expiry(table, kept)
        else:
            report.expiry = expire(table, kept, pause=self._pause)

    def _may_rewind(self, table: Table) -> bool:
        """Whether runs append to this table: with keys they merge, and never go back."""
        settings = stream_settings(self._config, table.properties.get(STREAM, ""))
        return settings.load_method == "append-only" or not inspection.keys_of(table)

    def _sweep(self, table: Table, report: TableReport, *, options: MaintenanceOptions) -> None:
        age = timedelta(days=options.orphan_days or 0.0)
        try:
            others = foreign_roots(table, self._other_locations(table))
        except ConfigurationError as error:
            report.notes.append(str(error))
            return
        if options.is_dry_run:
            report.sweep = plan_sweep(table, older_than=age, others=others)
        else:
            report.sweep = sweep(table, older_than=age, others=others, pause=self._pause)

    def _other_locations(self, table: Table) -> list[str]:
        if self._locations is None:
            self._locations = {
                ".".join(one.name()): one.location() for one in inspection.every_table(self._catalog)
            }
        own = ".".join(table.name())
        return [location for name, location in self._locations.items() if name != own]


def merge_manifests(table: Table, *, pause: Callable[[str], None] = lambda _: None) -> bool:
    """Write small manifests together when there are many; whether that was worth a snapshot."""

    def commit() -> bool:
        head = table.metadata.current_snapshot()
        if head is None or len(head.manifests(table.io)) < MIN_MANIFESTS:
            return False
        change = Change(
            parent=head.snapshot_id,
            operation=Operation.REPLACE,
            merges_manifests=True,
            summary={MAINTENANCE: "manifests"},
        )
        pause("manifests are planned")
        commit_change(table, change, stage=SchemaStage(table))
        return True

    return until_settled(table, commit)


def counts(table: Table) -> dict[str, int]:
    """Return how many files, delete files, manifests, snapshots and bytes the table has now."""
    head = table.metadata.current_snapshot()
    content = table_files(table) if head else None
    data = [one.file for one in content.files] if content else []
    deletes = [one.file for one in content.deletes] if content else []
    return {
        "files": len(data),
        "delete_files": len(deletes),
        "bytes": sum(one.file_size_in_bytes for one in (*data, *deletes)),
        "manifests": content.manifests if content else 0,
        "snapshots": len(table.metadata.snapshots),
    }


def with_quarantines(catalog: Catalog, tables: Iterable[Table]) -> list[Table]:
    """Return the tables, each followed by the one that holds its rejected rows, where there is one."""
    found: dict[tuple[str, ...], Table] = {}
    for table in tables:
        found.setdefault(table.name(), table)
        rejected = find_quarantine(catalog, table)
        if rejected is not None:
            found.setdefault(rejected.name(), rejected)
    return list(found.values())


def as_text(reports: Sequence[TableReport], *, is_dry_run: bool) -> str:
    """Return reports for people."""
    if not reports:
        return "No stream has been loaded into this catalog yet."
    lines = ["Nothing was changed; this is what would be done:"] if is_dry_run else []
    for report in reports:
        lines += [report.table, *(f"  {text}" for text in _told(report, is_dry_run=is_dry_run))]
    return "\n".join(lines)


def _told(report: TableReport, *, is_dry_run: bool) -> list[str]:
    lines = []
    if (done := report.compaction) is not None:
        lines.append(_compaction_told(done, is_dry_run=is_dry_run))
    if report.manifests_merged:
        lines.append(f"manifests: {report.before['manifests']:,} -> {report.after['manifests']:,}")
    if (gone := report.expiry) is not None:
        size = "" if is_dry_run else f", {gone.files:,} files, {megabytes(gone.bytes)}"
        outside = f"; {gone.kept_outside:,} files elsewhere were kept" if gone.kept_outside else ""
        lines.append(f"expired: {gone.snapshots:,} snapshots{size}{outside}")
    if (swept := report.sweep) is not None:
        lines.append(f"swept: {swept.files:,} files that nothing needs, {megabytes(swept.bytes)}")
        lines += [f"  {path}" for path in swept.paths] if is_dry_run else []
    lines += [f"note: {text}" for text in report.notes]
    if report.failure:
        lines.append(f"failed: {report.failure}")
    return lines


def _compaction_told(done: Compacted, *, is_dry_run: bool) -> str:
    if not done.files_before and not done.delete_files:
        return "compacted: nothing worth it"
    after = "" if is_dry_run else f" -> {done.files_after:,} files, {megabytes(done.bytes_after)}"
    deletes = f", {done.delete_files:,} delete files gone" if done.delete_files else ""
    return (
        f"compacted: {done.files_before:,} files, {megabytes(done.bytes_before)}{after}{deletes}, "
        f"in {done.snapshots:,} snapshots"
    )


def megabytes(size: int) -> str:
    """Return a number of bytes as megabytes."""
    return f"{size / 2**20:,.1f} MB"
