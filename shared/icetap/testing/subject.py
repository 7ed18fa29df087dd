"""A connector under test: its command run as a process, its answers as values."""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sysconfig
import tempfile
import threading
import time
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icetap.program import Program
from icetap.settings import SDK_SETTINGS
from icetap.testing.samples import load_sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

    from icetap.connectors import Connector
    from icetap.testing.samples import Sample

TIMEOUT_SECONDS = 120
CANARY = "canary-7f3a9c"
"""A text that is in a source's data, and must be nowhere else."""

SECRET_CANARY = "secret/7f3a+9c=d&"  # noqa: S105 -- nothing is signed in to with it
"""A text that is in secret settings; its percent-encoded and base64 forms differ from itself."""

LARGE_ROWS = 25_000
"""More than any pipe and any buffer of a tap holds."""

_KIB = 1024


@dataclass(frozen=True)
class Outcome:
    """What a process left behind."""

    exit_code: int
    """As a shell reports it: 128 + signal when a signal ended it."""

    stdout: bytes
    stderr: str
    peak_bytes: int
    """Most memory that it held at once (resident)."""

    @property
    def lines(self) -> list[str]:
        """Lines of stdout without their ends."""
        return self.stdout.decode("utf-8").splitlines()

    @cached_property
    def messages(self) -> list[dict[str, Any]]:
        """Singer messages on stdout, numbers with their digits; lines that are none are left out."""
        found = []
        for line in self.lines:
            try:
                message = json.loads(line, parse_float=_digits)
            except ValueError:
                continue
            if isinstance(message, dict):
                found.append(message)
        return found

    def records(self, stream: str | None = None) -> list[dict[str, Any]]:
        """Records in the order emitted, of one stream or of all."""
        return [
            message["record"]
            for message in self.messages
            if message.get("type") == "RECORD" and stream in {None, message["stream"]}
        ]

    def schemas(self) -> dict[str, dict[str, Any]]:
        """The last SCHEMA message of each stream."""
        return {message["stream"]: message for message in self.messages if message.get("type") == "SCHEMA"}

    @property
    def state(self) -> dict[str, Any] | None:
        """The value of the last STATE."""
        values = [message["value"] for message in self.messages if message.get("type") == "STATE"]
        return values[-1] if values else None


def _digits(text: str) -> Any:
    return Decimal(text)


@dataclass
class Subject:
    """One connector, with a folder to work in."""

    connector: Connector
    workspace: Path
    scripts: Path = field(default_factory=lambda: Path(sysconfig.get_path("scripts")))
    """The folder of commands of the environment that the connector is installed in."""

    _catalogs: dict[str, bytes] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(10**9)))

    @cached_property
    def plugin_class(self) -> Any:
        """The class of a tap: its command is the class's `cli`."""
        command = pkgutil.resolve_name(self.connector.entry_point)
        place = command.place if isinstance(command, Program) else self.connector.entry_point
        return pkgutil.resolve_name(place.removesuffix(".cli"))

    @cached_property
    def sample_module(self) -> ModuleType:
        """The connector's own `conformance_sample.py`."""
        return load_sample(self.connector)

    def new_folder(self) -> Path:
        """Make an empty folder of its own."""
        folder = self.workspace / f"{self.connector.name}-{next(self._numbers)}"
        folder.mkdir(parents=True)
        return folder

    @cached_property
    def folder(self) -> Path:
        """The folder of the sample that `sample` and `first_run` use; nobody changes it."""
        return self.new_folder()

    @cached_property
    def sample(self) -> Sample:
        """A small source, or a place to load into."""
        return self.make_sample(self.folder)

    @cached_property
    def large_sample(self) -> Sample:
        """A source of `LARGE_ROWS` rows, which nobody changes: to make it takes longer than most tests of it."""
        return self.make_sample(self.new_folder(), rows=LARGE_ROWS)

    def make_sample(self, folder: Path, *, rows: int = 60) -> Sample:
        """Make a source (or a place to load into) in a folder."""
        if self.connector.kind == "target":
            made: Sample = self.sample_module.make(folder, canary=SECRET_CANARY)
        else:
            made = self.sample_module.make(folder, rows=rows, canary=CANARY)
        return made

    @cached_property
    def about(self) -> dict[str, Any]:
        """What `--about --format=json` prints."""
        described: dict[str, Any] = json.loads(self.run("--about", "--format=json").stdout)
        return described

    @cached_property
    def settings(self) -> dict[str, dict[str, Any]]:
        """The JSON Schema of each setting that is the connector's own, by name."""
        declared = self.about["settings"].get("properties", {})
        return {name: schema for name, schema in declared.items() if name not in SDK_SETTINGS}

    @property
    def catalog(self) -> dict[str, Any]:
        """What `--discover` prints for the sample."""
        return self.discover(self.sample)

    def discover(self, sample: Sample) -> dict[str, Any]:
        """Return what `--discover` prints for a sample; asked once for each."""
        found: dict[str, Any] = json.loads(self.printed_catalog(sample))
        return found

    def printed_catalog(self, sample: Sample) -> bytes:
        """Return the same as text."""
        key = json.dumps(sample.config, sort_keys=True)
        if key not in self._catalogs:
            outcome = self.run("--discover", config=sample.config)
            if outcome.exit_code != 0:
                raise AssertionError(f"--discover ended with {outcome.exit_code}: {outcome.stderr[-2000:]}")
            self._catalogs[key] = outcome.stdout
        return self._catalogs[key]

    @cached_property
    def first_run(self) -> Outcome:
        """A complete run over the sample, which logs all that it can."""
        return self.read(self.sample, environ={"LOGLEVEL": "DEBUG"})

    @property
    def environ(self) -> dict[str, str]:
        """This process's variables without settings of connectors, and with byte code kept in the workspace."""
        owned = (
            "TAP_",
            "TARGET_",
            "MELTANO_",
            "LOGLEVEL",
            "SINGER_SDK_",
            "PYTHONDONTWRITEBYTECODE",
            "PYTHONPATH",
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith(owned)}
        cache = Path(tempfile.gettempdir()) / f"icetap-conformance-bytecode-{os.getuid()}"
        return {
            **kept,
            "PYTHONPYCACHEPREFIX": str(cache),
        }

    def run(
        self,
        *arguments: str,
        config: Mapping[str, Any] | None = None,
        stdin: bytes = b"",
        environ: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Run the connector to its end."""
        with self.start(*arguments, config=config, environ=environ) as process:
            return finish(process, stdin=stdin)

    def start(
        self,
        *arguments: str,
        config: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start the connector with pipes at all three ends."""
        command = [str(self.scripts / self.connector.name), *arguments]
        if config is not None:
            path = self.new_folder() / "config.json"
            path.write_text(json.dumps(config), "utf-8")
            command += ["--config", str(path)]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self.environ, **(environ or {})},
            cwd=self.workspace,
            bufsize=0,  # what a test has read of the output, and only that, is gone from the pipe
        )

    def read(
        self,
        sample: Sample,
        *,
        state: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Run a tap over all streams of a sample, from a state."""
        return self.run(*self.reading(sample, state=state), config=sample.config, environ=environ)

    def reading(self, sample: Sample, *, state: Mapping[str, Any] | None = None) -> list[str]:
        """Return the arguments for reading all streams of a sample, from a state."""
        folder = self.new_folder()
        catalog = _selected(self.discover(sample), sample.metadata)
        (folder / "catalog.json").write_text(json.dumps(catalog), "utf-8")
        arguments = ["--catalog", str(folder / "catalog.json")]
        if state is not None:
            (folder / "state.json").write_text(json.dumps(state, default=str), "utf-8")
            arguments += ["--state", str(folder / "state.json")]
        return arguments


def finish(process: subprocess.Popen[bytes], *, stdin: bytes = b"") -> Outcome:
    """Feed a process, wait for its end and collect what it left."""
    timer = threading.Timer(TIMEOUT_SECONDS, process.kill)
    timer.start()
    peak: list[int] = []
    watcher = threading.Thread(target=_watch_memory, args=(process.pid, peak), daemon=True)
    watcher.start()
    try:
        stdout, stderr = process.communicate(stdin)
    finally:
        timer.cancel()
    watcher.join()
    code = process.returncode
    return Outcome(
        128 - code if code < 0 else code,
        stdout,
        stderr.decode("utf-8", "replace"),
        peak_bytes=max(peak, default=0),
    )


def _watch_memory(pid: int, peak: list[int]) -> None:
    """Collect a process's peak resident memory, in bytes, until it is gone."""
    status = Path(f"/proc/{pid}/status")
    while True:
        try:
            text = status.read_text()
        except OSError:  # gone, or a machine without /proc
            return
        lines = [line for line in text.splitlines() if line.startswith("VmHWM")]
        if not lines:  # ended, and not yet waited for
            return
        peak.append(int(lines[0].split()[1]) * _KIB)
        time.sleep(0.01)


def _selected(catalog: dict[str, Any], metadata: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The catalog with every stream selected and a sample's metadata in it, as Meltano writes it: in both places."""
    for stream in catalog["streams"]:
        rules = metadata.get(stream["tap_stream_id"], {})
        stream.update({name.replace("-", "_"): value for name, value in rules.items()})
        for entry in stream["metadata"]:
            if not entry["breadcrumb"]:
                entry["metadata"].update({"selected": True, **rules})
    return catalog
