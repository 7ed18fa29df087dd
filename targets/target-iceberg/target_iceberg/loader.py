"""The whole way of a row through the loader: messages in, staged rows, commits, STATE lines out."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from icetap.allocator import HEAP
from icetap.errors import ConfigurationError, DataError, IcetapError
from icetap.types import schema_from_iceberg, schema_from_singer
from target_iceberg.contracts import metadata
from target_iceberg.contracts.evolution import Evolution, conform, plan_evolution, with_overflow
from target_iceberg.contracts.lenient import Losses
from target_iceberg.contracts.quarantine import keep_rejected, quarantine_of, remember_schema
from target_iceberg.decoding.batch_files import batch_files
from target_iceberg.decoding.batch_lane import BatchLane
from target_iceberg.decoding.decode import StreamDecoder
from target_iceberg.decoding.maps import StreamMaps
from target_iceberg.decoding.reader import Message, Tick
from target_iceberg.decoding.reader import Run as RecordRun
from target_iceberg.methods.stream import StreamLoad
from target_iceberg.positions.boundary import NAMES
from target_iceberg.positions.states import StateLedger
from target_iceberg.reporting import report
from target_iceberg.run import Run
from target_iceberg.settings import stream_settings, table_keys
from target_iceberg.tables.commit import new_run_id
from target_iceberg.tables.layout import follow_settings
from target_iceberg.tables.layout_settings import layout_wish
from target_iceberg.tables.opening import (
    NewLayout,
    check_keys,
    check_table,
    open_table,
    table_identifier,
    table_location,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

    from target_iceberg.decoding.decode import Begun, Decoded, Rejected
    from target_iceberg.run import Replay
    from target_iceberg.settings import StreamSettings
    from target_iceberg.signals import Termination

LOGGER = logging.getLogger("target-iceberg")
DECODING_THREADS = 2
REJECTED_ROWS = 10_000
"""Refused rows that are held before they are written to the quarantine table."""


@dataclass
class _Stream:
    """What the loader knows of a stream: how to decode it, and where it goes."""

    load: StreamLoad
    decoder: StreamDecoder
    settings: StreamSettings
    message: Mapping[str, Any]
    """The newest SCHEMA, as mapped."""
    evolution: Evolution
    keys: tuple[str, ...]
    rejected: list[Rejected] = field(default_factory=list)
    has_kept: bool = False
    """Whether rows of it were put into the quarantine table."""
    keeps_deletes: bool = False

    @property
    def cursor(self) -> str | None:
        """The stream's replication key, when it is one column."""
        cursors = self.message.get("bookmark_properties") or []
        return cursors[0] if len(cursors) == 1 and cursors[0] in self.decoder.schema.names else None

    @property
    def columns(self) -> pa.Schema:
        """The columns of the next batch, those of the record's metadata among them."""
        own = self.decoder.schema
        if self.keeps_deletes:
            own = own.append(metadata.DELETED_AT_FIELD)
        return metadata.with_own_columns(own, self.settings, stream=self.load.name)


class Loader:
    """Takes the messages of a tap and loads them."""

    def __init__(
        self,
        catalog: Catalog,
        config: Mapping[str, Any],
        *,
        pipeline: str,
        emit: Callable[[str], None],
        termination: Termination,
        replay: Replay | None = None,
    ) -> None:
        self._catalog = catalog
        self._config = config
        self._emit = emit
        self._termination = termination
        self._ledger = StateLedger()
        self._run = Run(new_run_id(), pipeline, self._ledger, config.get("memory_limit_mb", 512), replay)
        self._streams: dict[str, _Stream] = {}
        self._began = time.monotonic()
        self._maps = StreamMaps(config)
        self._left_out: set[str] = set()
        self._begun: deque[tuple[RecordRun, Begun | None]] = deque()
        self._pool = ThreadPoolExecutor(DECODING_THREADS, thread_name_prefix="decode")
        files = batch_files(config.get("batch_root"), properties=catalog.properties)
        self._batches = BatchLane(files, maps=self._maps, pool=self._pool)
        self.is_finished = False

    # --- messages --------------------------------------------------------------------------------

    def begin(self, run: RecordRun) -> None:
        """Begin to decode a run in another thread; `take` gets the same runs, in the same order."""
        stream = self._streams.get(run.stream)
        if stream is not None and not self._maps.applies_to(run.stream):
            self._begun.append((run, stream.decoder.begin(run, pool=self._pool)))

    def take(self, item: RecordRun | Message | Tick) -> None:
        """Handle one thing that the reader found."""
        match item:
            case RecordRun():
                is_begun = bool(self._begun) and self._begun[0][0] is item
                self._records(item, self._begun.popleft()[1] if is_begun else None)
            case Message(type="SCHEMA"):
                self._schema(item.value, line=item.line)
            case Message(type="STATE"):
                self._state(item.value["value"])
            case Message(type="ACTIVATE_VERSION"):
                if item.value["stream"] not in self._left_out:
                    stream = self._stream(item.value["stream"], line=item.line)
                    stream.load.activate(str(item.value["version"]))
            case Message(type="BATCH"):
                self._batch(item.value, line=item.line)
        self._commit_due()

    def _stream(self, name: str, *, line: int) -> _Stream:
        if name not in self._streams:
            raise DataError(
                f"line {line} of the input speaks of stream '{name}' before its SCHEMA. "
                "The tap breaks the Singer specification; look for an error of its own in the log."
            )
        return self._streams[name]

    def _schema(self, message: Mapping[str, Any], *, line: int) -> None:
        name = message["stream"]
        mapped = self._maps.schema(message)
        if mapped is None:
            self._left_out.add(name)
            return
        message = mapped
        if not message["schema"].get("properties"):
            raise DataError(f"line {line} of the input: the SCHEMA of stream '{name}' has no properties")
        settings = stream_settings(self._config, name)
        keys = settings.key_properties or tuple(message.get("key_properties") or ())
        known = self._streams.get(name)
        if known and known.message["schema"] == message["schema"] and known.keys == keys:
            return
        columns = schema_from_singer(message["schema"], key_properties=keys, number_as=settings.number_as)
        check_keys(columns, keys, stream=name)
        if known is None:
            self._streams[name] = self._new_stream(message, columns, keys=keys, settings=settings)
        elif known.keys != keys:
            raise DataError(
                f"line {line} of the input changes the key of stream '{name}' from ({', '.join(known.keys)}) to "
                f"({', '.join(keys)}). Set 'streams.{name}.key_properties' to one key, and give the table that key with "
                f"`target-iceberg rekey` if it has the other."
            )
        else:
            known.decoder = _decoder(name, columns, settings)
            known.message = message
            self._admit(known)
            self._remember(known)

    def _new_stream(
        self,
        message: Mapping[str, Any],
        columns: pa.Schema,
        *,
        keys: tuple[str, ...],
        settings: StreamSettings,
    ) -> _Stream:
        name = message["stream"]
        everything = metadata.with_own_columns(columns, settings, stream=name)
        table = self._table_of(name, everything, keys=table_keys(keys, settings), settings=settings)
        evolution = plan_evolution(
            schema_from_iceberg(table.schema()),
            everything,
            rules=settings.rules,
            names=json.loads(table.properties.get(NAMES, "{}")),
            identifier_case=settings.identifier_case,
        )
        own_keys = tuple(evolution.mapping[key] for key in keys)
        check_table(table, keys=table_keys(own_keys, settings), stream=name)
        load = self._new_load(name, table, keys=own_keys, settings=settings)
        load.job.is_incremental = bool(message.get("bookmark_properties"))
        stream = _Stream(
            load,
            _decoder(name, columns, settings),
            settings,
            message,
            evolution,
            keys,
            keeps_deletes=load.job.keeps_deleted,
        )
        load.job.cursor = evolution.mapping.get(stream.cursor) if stream.cursor else None
        load.before_commit = lambda: self._keep_rejected(stream)
        self._remember(stream)
        self._admit(stream)
        self._follow_settings(stream)
        return stream

    def _follow_settings(self, stream: _Stream) -> None:
        """Give the table the layout and the properties that the settings ask for."""
        follow_settings(
            stream.load.target,
            layout_wish(stream.settings, stream=stream.load.name),
            mapping=stream.evolution.mapping,
            stream=stream.load.name,
            announce=stream.load.job.announce,
        )

    def _new_load(
        self, name: str, table: Table, *, keys: tuple[str, ...], settings: StreamSettings
    ) -> StreamLoad:
        """Say what becomes of a stream's rows; `verification` compares them instead."""
        return StreamLoad(name, table, keys=keys, settings=settings, run=self._run)

    def _table_of(
        self, stream: str, columns: pa.Schema, *, keys: tuple[str, ...], settings: StreamSettings
    ) -> Table:
        """Open the stream's table; a new one is planned as if an empty one were widened."""
        planned = plan_evolution(
            pa.schema([]), columns, rules=settings.rules, identifier_case=settings.identifier_case
        )
        if not planned.schema.names:
            raise ConfigurationError(
                f"setting 'streams.{stream}.columns' leaves out every column of stream '{stream}', which has no key"
            )
        pipeline = self._run.pipeline
        identifier = table_identifier(stream, settings=settings, pipeline=pipeline)
        location = table_location(identifier, stream=stream, settings=settings, pipeline=pipeline)
        wish = layout_wish(settings, stream=stream)
        return open_table(
            self._catalog,
            identifier,
            fields=list(planned.schema),
            keys=tuple(planned.mapping[key] for key in keys),
            stream=stream,
            names=json.dumps(planned.names),
            layout=NewLayout(stream, wish, planned.mapping, location),
        )

    def _admit(self, stream: _Stream) -> None:
        """Find a column for everything that the decoder knows, as the contract allows."""
        evolution = plan_evolution(
            stream.load.target.schema_stage.columns,
            stream.columns,
            rules=stream.settings.rules,
            names=json.loads(stream.load.target.names),
            identifier_case=stream.settings.identifier_case,
        )
        self._evolve(stream, evolution)

    def _evolve(self, stream: _Stream, evolution: Evolution) -> None:
        if evolution.violations:
            differences = "\n  ".join(evolution.violations)
            rules = stream.settings.rules
            is_frozen = any(rules.policy_of(name) == "freeze" for name in stream.columns.names)
            advice = (
                ", let the table follow it with 'schema_policy: evolve', or leave what differs out with 'discard'"
                if is_frozen
                else ""
            )
            raise DataError(
                f"stream '{stream.load.name}' does not fit its table:\n  {differences}\nMend the source{advice}."
            )
        if evolution.is_change:
            stream.load.target.schema_stage.widen(evolution.widened)
        for text in evolution.announcements:
            stream.load.announce(text)
        stream.load.target.names = json.dumps(evolution.names)
        stream.evolution = evolution

    def _records(self, run: RecordRun, begun: Begun | None) -> None:
        if run.stream in self._left_out:
            return
        stream = self._stream(run.stream, line=run.first_line)
        size = run.input_bytes
        HEAP.passed(size)
        if self._maps.applies_to(run.stream):
            run = self._maps.run(run)
        for decoded in stream.decoder.decode(run, begun=begun) if run.count else ():
            self._write(stream, decoded, input_bytes=size)
            size = 0

    def _batch(self, message: Mapping[str, Any], *, line: int) -> None:
        if message["stream"] in self._left_out:
            return
        stream = self._stream(message["stream"], line=line)
        for decoded, size in self._batches.decoded(message, decoder=stream.decoder, line=line):
            self._write(stream, decoded, input_bytes=size)
            self._commit_due()

    def _write(self, stream: _Stream, decoded: Decoded, *, input_bytes: int) -> None:
        self._ledger.rows_came()
        self._reject(stream, decoded.rejected)
        for column, count in decoded.lossy.items():
            stream.load.counts.lossy[column] = stream.load.counts.lossy.get(column, 0) + count
        for column, count in decoded.nulled.items():
            is_left_out = column in stream.evolution.discarded
            counts = stream.load.counts
            (counts.discarded if is_left_out else counts.nulled)[column] += count
        if decoded.batch.num_rows:
            self._stage(stream, decoded, input_bytes=input_bytes)
        self._check_rejected(stream)

    def _stage(self, stream: _Stream, decoded: Decoded, *, input_bytes: int) -> None:
        batch = decoded.batch
        deleted = decoded.deleted
        if stream.keeps_deletes or (deleted is not None and stream.load.only_appends):
            batch = metadata.with_deletes(batch, decoded)
            deleted = deleted if stream.load.job.keeps_deleted else None
            is_new, stream.keeps_deletes = not stream.keeps_deletes, True
        else:
            is_new = False
        if stream.load.job.keeps_history:
            batch = metadata.with_validity(
                batch, decoded, cursor=stream.cursor, load_time=stream.load.job.load_time
            )
        if stream.settings.add_record_metadata:
            batch = metadata.with_metadata(batch, decoded)
        if (
            is_new
            or decoded.new_fields
            or not stream.evolution.schema.equals(stream.load.target.schema_stage.columns)
        ):
            self._admit(stream)
        evolution = with_overflow(stream.evolution, batch, rules=stream.settings.rules)
        if evolution is not stream.evolution:
            self._evolve(stream, evolution)
        losses = Losses(stream.load.counts.discarded, stream.load.counts.nulled)
        stream.load.target.deletes_came |= deleted is not None
        stream.load.write(
            conform(batch, evolution, losses=losses),
            deleted=deleted,
            version=decoded.version,
            input_bytes=input_bytes,
        )

    def _reject(self, stream: _Stream, rows: list[Rejected]) -> None:
        if not rows:
            return
        stream.load.counts.rejected += len(rows)
        stream.load.counts.read += len(rows)
        stream.rejected += [row for row in rows if row.consequence == "quarantine"]
        if len(stream.rejected) >= REJECTED_ROWS:
            self._keep_rejected(stream)
        first = next((row for row in rows if row.consequence == "fail"), None)
        if first is not None:
            raise DataError(
                f"line {first.line} of {first.place}, stream '{stream.load.name}', "
                + (f"column '{first.column}'" if first.column is not None else "the whole row")
                + f": {first.reason}. "
                "Mend the source, or set 'on_rejected: quarantine' to keep such rows in a table of their own."
            )

    def _check_rejected(self, stream: _Stream) -> None:
        """Stop where more rows were refused than the owner allows: what comes next is hardly better."""
        most, refused = stream.settings.max_rejected, stream.load.counts.rejected
        if most is None or refused <= most:
            return
        has_kept = stream.has_kept or stream.rejected
        kept = f" The refused rows are in {quarantine_of(stream.load.table)}." if has_kept else ""
        raise DataError(
            f"stream '{stream.load.name}': {refused} rows were refused, more than 'max_rejected' ({most}) allows, "
            f"so the run stops; what came before is loaded.{kept} Mend the source, or raise 'max_rejected'."
        )

    def _state(self, value: Any) -> None:
        self._ledger.receive(value)
        for stream in self._streams.values():
            stream.load.state_came()

    # --- commits ---------------------------------------------------------------------------------

    def _commit_due(self) -> None:
        due = [stream for stream in self._streams.values() if stream.load.is_due]
        if not due:
            return
        # An opaque STATE speaks of all streams: they are committed together.
        for stream in self._streams.values() if self._ledger.is_opaque else due:
            self._commit(stream, at_end=False)

    def _commit(self, stream: _Stream, *, at_end: bool) -> None:
        with self._termination.held_back():
            stream.load.commit(at_end=at_end)
            self._print_state()
            if not (stream.load.staged_rows or stream.load.failure):
                self._batches.committed(stream.load.name)

    def _remember(self, stream: _Stream) -> None:
        """Let refused rows be read by the newest SCHEMA when they are loaded again."""
        if self._run.replay is None:
            remember_schema(self._catalog, stream.load.table, stream.message)

    def _keep_rejected(self, stream: _Stream) -> None:
        rejected, stream.rejected = stream.rejected, []
        stream.has_kept = stream.has_kept or bool(rejected)
        keep_rejected(
            self._catalog, stream.load.table, rejected, message=stream.message, run_id=self._run.run_id
        )

    def _print_state(self) -> None:
        line = self._ledger.printable()
        if line is not None:
            self._emit(line)

    def finish(self, *, is_cut_short: bool = False) -> None:
        """Commit what came, at the end of the input.

        Args:
            is_cut_short: The input broke off: then its end proves nothing complete.

        Raises:
            DataError: When a stream could not be committed whole.
        """
        self.is_finished = True
        for stream in self._streams.values():
            stream.load.job.is_cut_short = is_cut_short
            self._commit(stream, at_end=True)
            if kept := self._batches.kept[stream.load.name]:
                stream.load.job.warn(f"left {kept} BATCH files where they are: their names tell of no run")
        with self._termination.held_back():
            self._print_state()
        failures = list(self._failures())
        if failures:
            raise DataError("; ".join(failures))

    def _failures(self) -> Iterator[str]:
        for stream in self._streams.values():
            load = stream.load
            if load.failure:
                yield f"stream '{load.name}': {load.failure}"

    def discard(self) -> None:
        """Remove what is staged; the next run reads it again."""
        for stream in self._streams.values():
            try:
                stream.load.discard()
            except (OSError, IcetapError):
                LOGGER.warning("stream %s: staged files could not all be removed", stream.load.name)

    def report(self, outcome: str) -> dict[str, Any]:
        """Return the run report."""
        return report.as_json(
            [stream.load for stream in self._streams.values()],
            run_id=self._run.run_id,
            pipeline=self._run.pipeline,
            seconds=time.monotonic() - self._began,
            outcome=outcome,
        )


def _decoder(stream: str, columns: pa.Schema, settings: StreamSettings) -> StreamDecoder:
    return StreamDecoder(stream, columns, record_metadata=settings.add_record_metadata, rules=settings.rules)
