"""A tap run inside of the test's own process: many short runs, each in milliseconds instead of a second."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import signal
import sys
import tempfile
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from icetap.columnar.output import LineWriter
from icetap.errors import IcetapError
from icetap.secrets import redaction

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pytest

    from icetap.tap import IcetapTap


@dataclass(frozen=True)
class TapRun:
    """What a run left behind."""

    stdout: str
    log: str = ""
    """What was logged at the level DEBUG, redacted as it is in a process of its own; kept by `run_tap` only."""

    error: Exception | None = None

    @cached_property
    def messages(self) -> list[dict[str, Any]]:
        """The Singer messages, numbers with their digits."""
        if self.stdout and not self.stdout.endswith("\n"):
            raise AssertionError(f"the last line is cut: {self.stdout[-200:]!r}")
        return [json.loads(line, parse_float=Decimal) for line in self.stdout.splitlines()]

    @property
    def types(self) -> list[str]:
        """The types of all messages, in order."""
        return [message["type"] for message in self.messages]

    def of(self, kind: str, stream: str | None = None) -> list[dict[str, Any]]:
        """Return the messages of a type, of one stream or of all."""
        return [
            message
            for message in self.messages
            if message["type"] == kind and stream in {None, message.get("stream")}
        ]

    def records(self, stream: str | None = None) -> list[dict[str, Any]]:
        """Return the records of one stream or of all, in order."""
        return [message["record"] for message in self.of("RECORD", stream)]

    def schema(self, stream: str | None = None) -> dict[str, Any]:
        """Return the properties of the last SCHEMA."""
        found: dict[str, Any] = self.of("SCHEMA", stream)[-1]["schema"]["properties"]
        return found

    def tables(self) -> dict[str, pa.Table]:
        """Read all files that the BATCH messages name, by stream."""
        found: dict[str, list[pa.Table]] = {}
        for message in self.of("BATCH"):
            for url in message["manifest"]:
                with pa.OSFile(url.removeprefix("file://")) as source:
                    found.setdefault(message["stream"], []).append(pa.ipc.open_file(source).read_all())
        return {stream: pa.concat_tables(tables) for stream, tables in found.items()}

    def table(self) -> pa.Table:
        """Return the table of the one stream whose rows came in files."""
        (table,) = self.tables().values()
        return table

    @property
    def state(self) -> dict[str, Any]:
        """The value of the last STATE; numbers as Python's, as a file would give them back."""
        states = self.of("STATE")
        found: dict[str, Any] = json.loads(json.dumps(states[-1]["value"], default=float)) if states else {}
        return found

    def bookmark(self, stream: str) -> dict[str, Any]:
        """Return a stream's bookmark."""
        found: dict[str, Any] = self.state["bookmarks"][stream]
        return found

    def good(self) -> TapRun:
        """Return this run if it ended well.

        Raises:
            AssertionError: With what went wrong.
        """
        if self.error is not None:
            raise AssertionError(
                f"the run ended with {type(self.error).__name__}: {self.error}"
            ) from self.error
        return self


def read(tap: IcetapTap, *, may_end_with: tuple[type[Exception], ...] = ()) -> TapRun:
    """Run a tap to its end, or to an error of the classes with which it may end; any other is raised."""
    error: Exception | None = None
    with tempfile.TemporaryFile() as output:
        tap.messages.lines = LineWriter(output.fileno())
        try:
            tap.run()
        except may_end_with as raised:
            error = raised
        output.seek(0)
        return TapRun(output.read().decode(), error=error)


def run_tap(
    tap_class: type[IcetapTap],
    config: Mapping[str, Any],
    *,
    state: Mapping[str, Any] | None = None,
    catalog: Mapping[str, Any] | None = None,
) -> TapRun:
    """Make a tap and run it to its end, or to its first error that a person can act on."""
    with _log() as log, signals_kept():
        try:
            tap = tap_class(
                config=dict(config),
                state=copy.deepcopy(dict(state)) if state is not None else None,
                catalog=copy.deepcopy(dict(catalog)) if catalog is not None else None,
            )
            done = read(tap, may_end_with=(IcetapError,))
        except IcetapError as error:  # it could not even be made
            done = TapRun("", error=error)
        if done.error is not None:
            logging.getLogger(tap_class.name).error("%s", done.error)
        return replace(done, log=log.getvalue())


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: bytes
    stderr: bytes


def run_command(
    tap_class: type[IcetapTap],
    *arguments: str,
    config: Mapping[str, Any],
    folder: Path,
    captured: pytest.CaptureFixture[bytes],
) -> Done:
    """Run a tap's command with a config file, in this process: a new one costs a second each time."""
    file = folder / "config.json"
    file.write_text(json.dumps(config), "utf-8")
    handlers, hook = list(logging.root.handlers), sys.excepthook
    captured.readouterr()
    code = 0
    with signals_kept():
        try:
            tap_class.cli.main(["--config", str(file), *arguments], prog_name=tap_class.name)
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            logging.root.handlers, sys.excepthook = handlers, hook
            logging.captureWarnings(False)
    out, err = captured.readouterr()
    return Done(code, out, err)


def discover(tap_class: type[IcetapTap], config: Mapping[str, Any], *, select: bool = True) -> dict[str, Any]:
    """Return the catalog that a tap discovers, every stream selected."""
    with signals_kept():
        tap = tap_class(config=dict(config), setup_mapper=False)
        catalog: dict[str, Any] = json.loads(json.dumps(tap.catalog_dict))
    for stream in catalog["streams"] if select else ():
        for entry in stream["metadata"]:
            if not entry["breadcrumb"]:
                entry["metadata"]["selected"] = True
    return catalog


def settings_findings(tap_class: type[IcetapTap], config: Mapping[str, Any]) -> list[tuple[bool, str]]:
    """Return what `--test` finds."""
    with signals_kept():
        return list(tap_class(config=dict(config)).test_findings())


@contextlib.contextmanager
def _log() -> Iterator[io.StringIO]:
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    redaction.install()
    try:
        yield text
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


@contextlib.contextmanager
def signals_kept() -> Iterator[None]:
    """A tap answers signals in its own way; the test's process goes on as before."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
