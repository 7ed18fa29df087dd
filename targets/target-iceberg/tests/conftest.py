"""A small lake: messages in, tables out, with the real loader on a real SQL catalog."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from pyiceberg.exceptions import NoSuchTableError

from icetap.catalogs import open_catalog
from icetap.errors import IcetapError
from icetap.testing.engines import duckdb_reader
from target_iceberg.target import TargetIceberg

if TYPE_CHECKING:
    from pathlib import Path

PEOPLE = {"id": {"type": "integer"}, "name": {"type": ["null", "string"]}}


def schema(
    stream: str = "s",
    *,
    properties: dict | None = None,
    keys: list[str] | None = None,
    cursor: str | None = None,
) -> dict:
    message = {
        "type": "SCHEMA",
        "stream": stream,
        "schema": {"type": "object", "properties": PEOPLE if properties is None else properties},
        "key_properties": ["id"] if keys is None else keys,
    }
    return message | ({"bookmark_properties": [cursor]} if cursor else {})


def record(row: dict, stream: str = "s", *, version: int | None = None) -> dict:
    message = {"type": "RECORD", "stream": stream, "record": row}
    return message if version is None else message | {"version": version}


def records(ids, stream: str = "s", *, name: str = "a", version: int | None = None) -> list[dict]:
    return [record({"id": one, "name": f"{name}{one}"}, stream, version=version) for one in ids]


def state(**bookmarks: Any) -> dict:
    """A STATE; a number stands for the SDK's bookmark at this value of `id`."""
    parts = {stream: at(part) if isinstance(part, int) else part for stream, part in bookmarks.items()}
    return {"type": "STATE", "value": {"bookmarks": parts}}


def at(value: Any, column: str = "id") -> dict:
    return {"replication_key": column, "replication_key_value": value}


def activate(version: int, stream: str = "s") -> dict:
    return {"type": "ACTIVATE_VERSION", "stream": stream, "version": version}


def lines_of(messages) -> bytes:
    out = []
    for one in messages:
        text = one if isinstance(one, bytes) else (one if isinstance(one, str) else json.dumps(one)).encode()
        out.append(text)
    return b"".join(text + b"\n" for text in out)


@dataclass
class Outcome:
    lines: list[str]
    error: BaseException | None
    report: dict = field(default_factory=dict)

    @property
    def states(self) -> list[dict]:
        return [json.loads(line) for line in self.lines]

    @property
    def last_state(self) -> dict | None:
        return self.states[-1] if self.lines else None

    def stream(self, name: str = "s") -> dict:
        return next(one for one in self.report["streams"] if one["stream"] == name)


@functools.cache
def other_reader():
    """DuckDB with its own Iceberg reader, loaded once."""
    return duckdb_reader()


class Lake:
    """One warehouse; `load` runs the loader in this process, `spawn` and `run` as a command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = {"warehouse": str(folder / "warehouse")}
        self._number = 0

    # --- loading ---

    def file(self, messages) -> Path:
        self._number += 1
        path = self.folder / f"input-{self._number}.jsonl"
        path.write_bytes(messages if isinstance(messages, bytes) else lines_of(messages))
        return path

    def load(self, *messages, **config) -> Outcome:
        """Load messages; lists among them are taken apart. An error that a person can act on is returned."""
        flat: list = []
        for one in messages:
            flat += one if isinstance(one, list) else [one]
        out = io.StringIO()
        error: BaseException | None = None
        target = TargetIceberg(config={**self.config, **config}, parse_env_config=False)
        with self.file(flat).open("rb") as source, contextlib.redirect_stdout(out):
            try:
                target.load(source)
            except IcetapError as caught:
                error = caught
        lines = out.getvalue().splitlines()
        return Outcome(lines, error, target.loader.report("tested"))

    def ok(self, *messages, **config) -> Outcome:
        outcome = self.load(*messages, **config)
        if outcome.error:
            raise outcome.error
        return outcome

    def command(self, **config) -> list[str]:
        self._number += 1
        path = self.folder / f"config-{self._number}.json"
        path.write_text(json.dumps({**self.config, **config}))
        code = "from target_iceberg.program import main; main()"
        return [sys.executable, "-c", code, "--config", str(path)]

    def run(self, messages, **config) -> subprocess.CompletedProcess:
        with self.file(messages).open("rb") as source:
            return subprocess.run(
                self.command(**config), stdin=source, capture_output=True, timeout=120, check=False
            )

    def spawn(self, *, prelude: str = "", **config) -> subprocess.Popen:
        command = self.command(**config)
        command[2] = prelude + "\n" + command[2]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ}
        )

    # --- looking ---

    @property
    def catalog(self):
        return open_catalog(self.config)

    def table(self, stream: str = "s"):
        return self.catalog.load_table(("raw", stream))

    def rows(self, stream: str = "s", *, by: str = "id") -> list[dict]:
        """The rows as DuckDB's own reader sees them, sorted."""
        try:
            table = self.table(stream)
        except NoSuchTableError:
            return []
        if table.metadata.current_snapshot_id is None:
            return []
        location = table.metadata_location.removeprefix("file://")
        found = other_reader().sql(f"FROM iceberg_scan('{location}')").to_arrow_table().to_pylist()
        return sorted(found, key=lambda row: (row[by] is None, row[by]))

    def ids(self, stream: str = "s") -> list:
        """The ids as pyiceberg sees them, sorted: the quick look."""
        try:
            table = self.table(stream)
        except NoSuchTableError:
            return []
        return sorted(table.scan(selected_fields=("id",)).to_arrow().column("id").to_pylist())

    def names(self, stream: str = "s") -> dict:
        table = self.table(stream).scan().to_arrow()
        rows = table.to_pylist()
        assert len({row["id"] for row in rows}) == len(rows), "a key is there twice"
        return {row["id"]: row["name"] for row in rows}

    def snapshots(self, stream: str = "s") -> int:
        return len(self.table(stream).metadata.snapshots)

    def head(self, stream: str = "s") -> dict:
        snapshot = self.table(stream).current_snapshot()
        return dict(snapshot.summary.additional_properties)

    def property(self, stream: str = "s", *, pipeline: str = "default") -> dict:
        return json.loads(self.table(stream).properties[f"icetap.bookmark.{pipeline}"])


@pytest.fixture
def lake(tmp_path, monkeypatch) -> Lake:
    monkeypatch.delenv("MELTANO_EXTRACTOR_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    logging.getLogger("target-iceberg").setLevel(logging.WARNING)
    return Lake(tmp_path)


@dataclass(frozen=True)
class Singer:
    """Builders of messages."""

    schema = staticmethod(schema)
    record = staticmethod(record)
    records = staticmethod(records)
    state = staticmethod(state)
    activate = staticmethod(activate)
    at = staticmethod(at)


@pytest.fixture(scope="session")
def singer() -> Singer:
    return Singer()
