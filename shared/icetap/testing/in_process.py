"""A tap run inside of the test's own process: many short runs, each in milliseconds instead of a second."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import signal
import tempfile
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

from icetap.columnar.output import LineWriter
from icetap.errors import IcetapError
from icetap.secrets import redaction

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from icetap.tap import IcetapTap


@dataclass(frozen=True)
class TapRun:
    """What a run left behind."""

    stdout: str
    log: str
    """What was logged at the level DEBUG, redacted as it is in a process of its own."""

    error: IcetapError | None

    @cached_property
    def messages(self) -> list[dict[str, Any]]:
        """The Singer messages, numbers with their digits."""
        return [json.loads(line, parse_float=Decimal) for line in self.stdout.splitlines()]

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """Return the messages of a type."""
        return [message for message in self.messages if message["type"] == kind]

    def records(self, stream: str) -> list[dict[str, Any]]:
        """Return the records of a stream, in order."""
        return [message["record"] for message in self.of_type("RECORD") if message["stream"] == stream]

    @property
    def state(self) -> dict[str, Any]:
        """The value of the last STATE; numbers as Python's, as a file would give them back."""
        states = self.of_type("STATE")
        found: dict[str, Any] = json.loads(json.dumps(states[-1]["value"], default=float)) if states else {}
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


def run_tap(
    tap_class: type[IcetapTap],
    config: Mapping[str, Any],
    *,
    state: Mapping[str, Any] | None = None,
    catalog: Mapping[str, Any] | None = None,
) -> TapRun:
    """Run a tap to its end, or to its first error that a person can act on."""
    error: IcetapError | None = None
    with tempfile.TemporaryFile() as output, _log() as log, signals_kept():
        try:
            tap = tap_class(
                config=dict(config),
                state=copy.deepcopy(dict(state)) if state is not None else None,
                catalog=copy.deepcopy(dict(catalog)) if catalog is not None else None,
            )
            tap.messages.lines = LineWriter(output.fileno())
            tap.run()
        except IcetapError as found:
            error = found
            logging.getLogger(tap_class.name).error("%s", found)  # noqa: TRY400 -- as a process says it
        output.seek(0)
        return TapRun(output.read().decode(), log.getvalue(), error)


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
