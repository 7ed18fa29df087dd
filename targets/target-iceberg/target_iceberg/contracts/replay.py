"""Rows from the quarantine, loaded again: exactly once, whatever happens in between.

A group of rows is looked at on one snapshot of the stream's table. Those that leave the quarantine are marked
there with the replay's id (one commit), loaded in a commit of the stream's table that carries the same id and
builds on that very snapshot, and then removed (one commit). A replay that was ended in between leaves marks: the
next one removes the rows when the table knows their id, and loads them otherwise. Before it takes them for not
loaded it moves the table's head, so that a replay that only seemed dead cannot commit any more.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.table.snapshots import Operation

from icetap.errors import ConfigurationError, DataError, IcetapError, StateError
from icetap.types import schema_from_iceberg, singer_from_schema
from target_iceberg.contracts.quarantine import REPLAY_ID, find_quarantine
from target_iceberg.contracts.refused_rows import RefusedRows, TakenOverError, marked
from target_iceberg.contracts.replay_verdicts import GOES, Examiner, Fate, Repetitions, Verdict, record_line
from target_iceberg.decoding.reader import Message
from target_iceberg.decoding.reader import Run as RecordRun
from target_iceberg.loader import Loader
from target_iceberg.positions import bookmarks
from target_iceberg.run import MovedDuringReplayError, Replay
from target_iceberg.settings import stream_settings
from target_iceberg.tables.commit import Change, SchemaStage, commit_change, new_run_id
from target_iceberg.tables.loaded_table import REPLAY, STREAM, keys_and_names
from target_iceberg.tables.opening import table_identifier
from target_iceberg.tables.retrying import until_settled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

    from target_iceberg.signals import Termination

_ATTEMPTS = 12
_MAPS = ("stream_maps", "stream_map_config", "flattening_enabled", "flattening_max_depth")
"""Settings that have been applied already to what the quarantine holds."""


@dataclass
class ReplayReport:
    """What a replay did with the rows of one stream."""

    stream: str
    table: str
    rows: int = 0
    fates: Counter[Fate] = field(default_factory=Counter)
    reasons: Counter[tuple[str | None, str]] = field(default_factory=Counter)
    """Column and reason of the rows that still do not fit."""
    loaded: Counter[str] = field(default_factory=Counter)
    """What loading did: inserted, updated, deleted, unchanged, repeated."""
    finished: int = 0
    """Rows that an earlier replay had loaded and not removed."""
    announcements: list[str] = field(default_factory=list)
    failure: IcetapError | None = None
    """Why the rest of the rows was not looked at."""


class StreamReplay:
    """Replays the refused rows of one stream.

    Args:
        catalog: The catalog.
        config: The loader's settings.
        table: The stream's table.
        pipeline: The pipeline's name, for the tables' names.
        termination: Ends the process between two groups.
        on_conflict: See `Examiner`.
        is_distinct: Load a row once that several runs have refused.
        is_dry_run: Look only.
    """

    def __init__(
        self,
        catalog: Catalog,
        config: Mapping[str, Any],
        table: Table,
        *,
        pipeline: str,
        termination: Termination,
        on_conflict: str = "keep",
        is_distinct: bool = False,
        is_dry_run: bool = False,
    ) -> None:
        self._repetitions = Repetitions() if is_distinct else None
        self._catalog = catalog
        self._config = config
        self._table = table
        self._stream: str = table.properties[STREAM]
        self._pipeline = pipeline
        self._termination = termination
        self._on_conflict = on_conflict
        self._is_dry_run = is_dry_run
        self._settings = stream_settings(config, self._stream)
        self._check_name()
        self.report = ReplayReport(self._stream, ".".join(table.name()))

    def _check_name(self) -> None:
        """Refuse settings by which the stream would be loaded into another table now."""
        wanted = table_identifier(self._stream, settings=self._settings, pipeline=self._pipeline)
        if wanted != tuple(self._table.name()):
            raise ConfigurationError(
                f"stream '{self._stream}' goes to {'.'.join(wanted)} by the settings, but its refused rows are those of "
                f"{'.'.join(self._table.name())}. Give this command the settings (and the 'pipeline') of the loads."
            )

    def told(self) -> ReplayReport:
        """Do as `run` does, and report an error that a person can act on rather than raise it."""
        try:
            return self.run()
        except IcetapError as error:
            self.report.failure = error
            return self.report

    def run(self) -> ReplayReport:
        """Replay every row that was refused so far, and tell what became of it.

        Raises:
            StateError: When another replay works on the same rows, or the table keeps moving.
            DataError: When the stream as a whole does not fit its table.
        """
        quarantine = find_quarantine(self._catalog, self._table)
        if quarantine is None or quarantine.metadata.current_snapshot_id is None:
            return self.report
        rows = RefusedRows(quarantine, stream=self._stream)
        message = self._message(rows)
        if not self._is_dry_run:
            self._check_head()
            self._finish_earlier(rows)
            rows.split(run_id=new_run_id())
        for paths, group in rows.groups():
            with self._termination.held_back():
                self._replay(rows, message, paths=paths, group=group)
        return self.report

    def _message(self, rows: RefusedRows) -> dict[str, Any]:
        """Return the SCHEMA by which rows are read: the newest one, else one made from the table."""
        found = rows.message
        if found is None:
            keys, names = keys_and_names(self._table)
            columns = schema_from_iceberg(self._table.schema())
            own = {column: name for name, column in names.items()}
            named = pa.schema([one.with_name(own.get(one.name, one.name)) for one in columns])
            key_columns = [one for one in (keys or "").split(",") if one]
            found = {
                "schema": singer_from_schema(named),
                "key_properties": [own.get(one, one) for one in key_columns],
            }
        return {**found, "type": "SCHEMA", "stream": self._stream}

    def _check_head(self) -> None:
        """Refuse to put rows upon others that the next run would take back."""
        metadata = self._table.metadata
        pipelines = [
            name.removeprefix(bookmarks.PROPERTY_PREFIX)
            for name in metadata.properties
            if name.startswith(bookmarks.PROPERTY_PREFIX)
        ]
        if any(bookmarks.head_is_open(metadata, name) for name in pipelines):
            raise StateError(
                f"stream '{self._stream}': the newest rows of {self.report.table} came after the tap's last STATE, and "
                "the next run takes them back. Run the pipeline once, then replay again."
            )

    # --- what earlier replays left -----------------------------------------------------------------

    def _finish_earlier(self, rows: RefusedRows) -> None:
        while taken := rows.taken():
            replay_id, paths = next(iter(taken.items()))
            self._table.refresh()
            if self._table.properties.get(REPLAY) != replay_id:
                self._move_head()
            found = rows.read(paths)
            is_own = pc.fill_null(pc.equal(found.column(REPLAY_ID), replay_id), False)
            if self._table.properties.get(REPLAY) == replay_id:
                self.report.finished += pc.sum(is_own).as_py()
                rows.swap(paths, [found.filter(pc.invert(is_own))], run_id=new_run_id())
            else:
                rows.swap(paths, [marked(found, None, [])], run_id=new_run_id())

    def _move_head(self) -> None:
        """Make a snapshot that changes nothing: commits that were planned on the one before are refused from now on."""

        def commit() -> None:
            change = Change(parent=self._table.metadata.current_snapshot_id, operation=Operation.REPLACE)
            commit_change(self._table, change, stage=SchemaStage(self._table))

        until_settled(self._table, commit)

    # --- one group ----------------------------------------------------------------------------------

    def _replay(
        self, rows: RefusedRows, message: Mapping[str, Any], *, paths: frozenset[str], group: pa.Table
    ) -> None:
        if not self._is_dry_run and group.column(REPLAY_ID).null_count < len(group):
            raise TakenOverError(self._stream)
        for _ in range(_ATTEMPTS):
            self._table.refresh()
            verdicts = self._examined(message, group)
            leaving = [place for place, verdict in enumerate(verdicts) if verdict.fate in GOES]
            if self._is_dry_run or not leaving:
                self._count(verdicts)
                return
            replay = Replay(new_run_id(), self._table.metadata.current_snapshot_id)
            paths = rows.swap(paths, [marked(group, replay.replay_id, leaving)], run_id=replay.replay_id)
            try:
                self._load(message, group, verdicts, replay)
            except MovedDuringReplayError:
                continue
            except (ConfigurationError, DataError):
                # Nothing was sent. After any other error the next replay finds out whether it was loaded.
                rows.swap(paths, [marked(group, None, [])], run_id=replay.replay_id)
                raise
            staying = pa.array(
                [place for place in range(len(group)) if place not in set(leaving)], pa.int64()
            )
            rows.swap(paths, [marked(group.take(staying), None, [])], run_id=replay.replay_id)
            self._count(verdicts)
            return
        raise StateError(
            f"stream '{self._stream}': other writers committed to {self.report.table} each time refused rows were "
            "compared with it. Replay again when they are done."
        )

    def _examined(self, message: Mapping[str, Any], group: pa.Table) -> list[Verdict]:
        examiner = Examiner(
            self._table,
            message,
            settings=self._settings,
            on_conflict=self._on_conflict,
            repetitions=self._repetitions,
        )
        return examiner.examine(group)

    def _load(
        self, message: Mapping[str, Any], group: pa.Table, verdicts: Sequence[Verdict], replay: Replay
    ) -> None:
        records = group.column("record")
        # The newest of a key comes last, which is the one that stays.
        places = sorted(
            (place for place, verdict in enumerate(verdicts) if verdict.fate is Fate.LOAD),
            key=lambda place: (verdicts[place].cursor is not None, verdicts[place].cursor, place),
        )
        if not places:
            return
        lines = b"".join(record_line(records[place].as_py()) for place in places)
        config = self._load_config(message)
        if config["streams"][self._stream]["load_method"] == "append-only":
            # Appended rows of a stream with a replication key would wait for a STATE.
            message = {name: value for name, value in message.items() if name != "bookmark_properties"}
        loader = Loader(
            self._catalog,
            config,
            pipeline=self._pipeline,
            emit=lambda _line: None,
            termination=self._termination,
            replay=replay,
        )
        try:
            loader.take(Message("SCHEMA", dict(message), 0))
            loader.take(RecordRun(self._stream, lines, len(places), first_line=1))
            loader.finish()
        except BaseException:
            loader.discard()
            raise
        (done,) = loader.report("finished")["streams"]
        for word in ("inserted", "updated", "deleted", "unchanged", "repeated"):
            self.report.loaded[word] += done[f"rows_{word}"]
        self.report.announcements += [
            text for text in done["evolved"] if text not in self.report.announcements
        ]

    def _load_config(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings with which rows are added to what the table holds."""
        method = self._settings.load_method
        keys = self._settings.key_properties or message.get("key_properties")
        if method not in {"append-only", "history"}:
            method = "upsert" if keys else "append-only"
        streams = dict(self._config.get("streams") or {})
        streams[self._stream] = {
            **streams.get(self._stream, {}),
            "load_method": method,
            "full_table_completion": "marker",
            "on_rejected": "fail",
            "max_rejected": None,
        }
        kept = {name: value for name, value in self._config.items() if name not in _MAPS}
        return {**kept, "streams": streams}

    def _count(self, verdicts: Sequence[Verdict]) -> None:
        self.report.rows += len(verdicts)
        self.report.fates.update(verdict.fate for verdict in verdicts)
        self.report.reasons.update(
            (verdict.column, verdict.reason) for verdict in verdicts if verdict.fate is Fate.REFUSED
        )


# --- reports ----------------------------------------------------------------------------------------------


def as_json(report: ReplayReport) -> dict[str, Any]:
    """Return a report for programs."""
    return {
        "stream": report.stream,
        "table": report.table,
        "rows": report.rows,
        **{fate.name.lower(): report.fates[fate] for fate in Fate},
        **{f"rows_{word}": count for word, count in sorted(report.loaded.items())},
        "finished_from_before": report.finished,
        "reasons": [
            {"column": column, "reason": reason, "rows": count}
            for (column, reason), count in report.reasons.most_common()
        ],
        "evolved": report.announcements,
        "failure": None if report.failure is None else str(report.failure),
    }


def as_text(reports: Sequence[ReplayReport], *, is_dry_run: bool) -> str:
    """Return reports for people."""
    found = [report for report in reports if report.rows or report.finished or report.failure]
    if not found:
        return "No row waits in quarantine."
    lines = ["This is a dry run: nothing was changed."] if is_dry_run else []
    for report in found:
        lines.append(f"{report.stream} -> {report.table}: {report.rows:,} refused rows")
        if report.finished:
            lines.append(
                f"  {report.finished:,} more were loaded by a replay that was ended; they are removed now"
            )
        lines += [
            f"  {report.fates[fate]:,} {fate.value}{_details(report, fate)}"
            for fate in Fate
            if report.fates[fate]
        ]
        lines += [
            f"    {count:,} rows: {reason}" + (f" (column '{column}')" if column else "")
            for (column, reason), count in report.reasons.most_common()
        ]
        lines += [f"  {text}" for text in report.announcements]
        if report.failure is not None:
            lines.append(f"  failed: {report.failure}")
    return "\n".join(lines)


def _details(report: ReplayReport, fate: Fate) -> str:
    if fate is not Fate.LOAD:
        return ""
    told = [f"{count:,} {word}" for word, count in report.loaded.items() if count]
    return f": {', '.join(told)}" if told else ""
