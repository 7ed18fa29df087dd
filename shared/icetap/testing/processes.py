"""A connector's command in a process of its own: for signals, pipes, and ends that `icetap.testing.in_process` has not."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def start(name: str, *arguments: str, config: Mapping[str, Any], folder: Path) -> subprocess.Popen[bytes]:
    """Start a command with a config file in a folder, both its outputs piped."""
    file = folder / "config.json"
    file.write_text(json.dumps(config), "utf-8")
    command = [str(Path(sysconfig.get_path("scripts")) / name), *arguments, "--config", str(file)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
