"""A tap's messages compared with the tables that they would be loaded into; nothing is written.

The rows take the loader's own way up to the point where they would be staged: decoded, mapped, conformed to the
table's columns. So a value is compared as it would be stored, and what the loader would refuse is refused here.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any

from pyiceberg.exceptions import NoSuchTableError
from typing_extensions import override

from target_iceberg.decoding.ahead import in_advance
from target_iceberg.decoding.reader import messages
from target_iceberg.loader import Loader
from target_iceberg.tables.opening import table_identifier
from target_iceberg.verification.comparison import comparing
from target_iceberg.verification.differences import Findings
from target_iceberg.verification.stream_check import Bench, StreamCheck

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import BinaryIO

    import pyarrow as pa
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

    from target_iceberg.contracts.evolution import Evolution
    from target_iceberg.decoding.decode import Rejected
    from target_iceberg.methods.stream import StreamLoad
    from target_iceberg.settings import StreamSettings
    from target_iceberg.signals import Termination

_WRITING = (
    *(
        "commit_table",
        "create_table",
        "create_table_transaction",
        "register_table",
        "rename_table",
        "drop_table",
    ),
    *("purge_table", "create_namespace", "drop_namespace", "update_namespace_properties"),
)


class _NoTableError(Exception):
    """There is no table for a stream."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Verifier(Loader):
    """Takes the messages of a tap and compares them with the tables."""

    def __init__(
        self,
        catalog: Catalog,
        config: Mapping[str, Any],
        *,
        pipeline: str,
        termination: Termination,
        bench: Bench,
        streams: Sequence[str] = (),
    ) -> None:
        _refuse_to_write(catalog)
        super().__init__(catalog, config, pipeline=pipeline, emit=_say_nothing, termination=termination)
        self._wanted = streams
        self._bench = bench
        self._checks: dict[str, StreamCheck] = {}
        self._absent: dict[str, Findings] = {}

    @override
    def _schema(self, message: Mapping[str, Any], *, line: int) -> None:
        name = message["stream"]
        if self._wanted and not any(fnmatch.fnmatchcase(name, pattern) for pattern in self._wanted):
            self._left_out.add(name)
            return
        try:
            super()._schema(message, line=line)
        except _NoTableError as absent:
            self._left_out.add(name)
            self._absent[name] = Findings(name, absent.name)

    @override
    def _table_of(
        self, stream: str, columns: pa.Schema, *, keys: tuple[str, ...], settings: StreamSettings
    ) -> Table:
        identifier = table_identifier(stream, settings=settings, pipeline=self._run.pipeline)
        try:
            return self._catalog.load_table(identifier)
        except NoSuchTableError:
            raise _NoTableError(".".join(identifier)) from None

    @override
    def _new_load(
        self, name: str, table: Table, *, keys: tuple[str, ...], settings: StreamSettings
    ) -> StreamLoad:
        check = StreamCheck(name, table, keys=keys, settings=settings, run=self._run, bench=self._bench)
        self._checks[name] = check
        return check

    @override
    def _evolve(self, stream: Any, evolution: Evolution) -> None:
        super()._evolve(stream, evolution)
        self._checks[stream.load.name].learn(evolution)

    @override
    def _reject(self, stream: Any, rows: list[Rejected]) -> None:
        stream.load.counts.rejected += len(rows)

    @override
    def _batch(self, message: Mapping[str, Any], *, line: int) -> None:
        super()._batch(message, line=line)
        # The tap wrote its files for this comparison; nobody else will read them.
        self._batches.committed(message["stream"])

    @override
    def _state(self, value: Any) -> None:
        pass

    @override
    def _check_rejected(self, stream: Any) -> None:
        pass

    @override
    def _keep_rejected(self, stream: Any) -> None:
        pass

    @override
    def _remember(self, stream: Any) -> None:
        pass

    @override
    def _follow_settings(self, stream: Any) -> None:
        pass

    def findings(self) -> list[Findings]:
        """Return what was found, by stream in the order of its name."""
        found = {**self._absent, **{name: check.conclude() for name, check in self._checks.items()}}
        return [found[name] for name in sorted(found)]


def _say_nothing(_line: str) -> None:
    pass


def _refuse_to_write(catalog: Catalog) -> None:
    """Take from a catalog all that writes: whatever a loader does beside rows, a comparison must not do it."""
    for name in _WRITING:
        setattr(catalog, name, _refused)


def _refused(*_arguments: Any, **_options: Any) -> None:
    raise TypeError("a comparison writes nothing")


def verify(
    source: BinaryIO,
    *,
    catalog: Catalog,
    config: Mapping[str, Any],
    pipeline: str,
    termination: Termination,
    streams: Sequence[str] = (),
    limit: int,
) -> list[Findings]:
    """Compare the messages of a tap's full read with the tables that they are loaded into.

    Args:
        source: The messages. Whether the tap came to its end is for the caller to know.
        catalog: Where the tables are.
        config: The loader's settings.
        pipeline: The name under which the bookmarks are kept.
        termination: Ends the work on a signal.
        streams: Names or globs of the streams to compare; none means all.
        limit: Examples of each kind of difference.
    """
    with comparing() as engine:
        verifier = Verifier(
            catalog,
            config,
            pipeline=pipeline,
            termination=termination,
            bench=Bench(engine, limit=limit),
            streams=streams,
        )
        for item in in_advance(messages(source.fileno(), tick_seconds=1.0), verifier.begin):
            verifier.take(item)
        return verifier.findings()
