"""A throw-away Meltano project whose plug-ins are the commands installed here, so that a run starts at once."""

import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .pipes import BIN, SECONDS

LINES_TAP = """#!/bin/sh
cat "$TAP_LINES_FILE"
"""


@dataclass
class Project:
    """A project with `tap-sqlite`, `tap-sqlite-arrow`, `tap-lines` (prints a file) and `target-iceberg`."""

    folder: Path

    def configure(
        self,
        tap: dict[str, Any] | None = None,
        target: dict[str, Any] | None = None,
        *,
        metadata: dict[str, Any] | None = None,
        loaders: list[dict[str, Any]] | None = None,
        extractors: list[dict[str, Any]] | None = None,
    ) -> "Project":
        """Write `meltano.yml` (JSON is YAML)."""
        arrow = {"batch_config": {"encoding": {"format": "arrow"}}}
        capabilities = ["catalog", "discover", "state"]
        lines = self.folder / "tap-lines"
        lines.write_text(LINES_TAP)
        lines.chmod(0o755)
        sqlite = self.plugin("tap-sqlite", config=tap or {}, capabilities=capabilities)
        content = {
            "project_id": "end-to-end",
            "default_environment": "dev",
            "send_anonymous_usage_stats": False,
            "environments": [{"name": "dev"}],
            "plugins": {
                "extractors": [
                    {**sqlite, "metadata": metadata or {}},
                    {"name": "tap-sqlite-arrow", "inherit_from": "tap-sqlite", "config": arrow},
                    self.plugin(
                        "tap-lines",
                        executable=lines,
                        config={"file": str(self.lines)},
                        settings=[{"name": "file"}],
                        capabilities=[],
                    ),
                    *(extractors or []),
                ],
                "loaders": [
                    self.plugin(
                        "target-iceberg", config={"warehouse": str(self.warehouse), **(target or {})}
                    ),
                    *(loaders or []),
                ],
            },
        }
        (self.folder / "meltano.yml").write_text(json.dumps(content, indent=1))
        return self

    @staticmethod
    def plugin(name: str, *, executable: Path | None = None, **options: Any) -> dict[str, Any]:
        """A plug-in without an environment of its own: Meltano runs the command that is there."""
        command = str(executable or BIN / name)
        return {"name": name, "namespace": name.replace("-", "_"), "executable": command, **options}

    @property
    def warehouse(self) -> Path:
        return self.folder / "warehouse"

    @property
    def lines(self) -> Path:
        """The file that `tap-lines` prints."""
        return self.folder / "lines.jsonl"

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MELTANO_")}
        return {**kept, "NO_COLOR": "1", "MELTANO_CLI_LOG_FORMAT": "plain"}

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start `meltano …` in a process group of its own, its output in one pipe."""
        return subprocess.Popen(
            [str(BIN / "meltano"), *arguments],
            cwd=self.folder,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def run(self, *arguments: str, code: int | None = 0, **environ: str) -> str:
        """Run `meltano run …` to its end, check its exit code, and return what it said."""
        process = self.start("run", *arguments, **environ)
        said, _ = process.communicate(timeout=SECONDS)
        assert code is None or process.returncode == code, f"exit code {process.returncode}:\n{said[-5000:]}"
        return said

    def print_lines(self, messages: list[Any]) -> None:
        """Let `tap-lines` print these messages; texts are printed as they are."""
        text = "".join(
            (message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)) + "\n"
            for message in messages
        )
        self.lines.write_text(text, "utf-8")

    @property
    def _database(self) -> Path:
        return self.folder / ".meltano" / "meltano.db"

    def state(self, tap: str = "tap-sqlite", target: str = "target-iceberg") -> dict[str, Any]:
        """The state that Meltano keeps for a pair; empty when it keeps none."""
        with closing(sqlite3.connect(self._database, timeout=30)) as database:
            row = database.execute(
                "SELECT completed_state, partial_state FROM state WHERE state_id = ?",
                (f"dev:{tap}-to-{target}",),
            ).fetchone()
        completed, partial = (json.loads(text) if text else {} for text in row or ("", ""))
        state: dict[str, Any] = {**completed, **partial}.get("singer_state", {})
        return state

    def set_state(
        self, state: dict[str, Any] | None, tap: str = "tap-sqlite", target: str = "target-iceberg"
    ) -> None:
        """Put another state in its place, or none, as `meltano state set` and `clear` do."""
        with closing(sqlite3.connect(self._database, timeout=30)) as database:
            given = (f"dev:{tap}-to-{target}",)
            database.execute("DELETE FROM state WHERE state_id = ?", given)
            if state is not None:
                text = json.dumps({"singer_state": state})
                database.execute(
                    "INSERT INTO state (state_id, completed_state, partial_state) VALUES (?, ?, '{}')",
                    (*given, text),
                )
            database.commit()


def new_project(folder: Path, template: Path) -> Project:
    """A project in a new folder; Meltano's own database comes from one that is set up already."""
    shutil.copytree(template, folder)
    return Project(folder)
