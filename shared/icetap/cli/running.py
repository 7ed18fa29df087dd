"""Running a connector's command: `icetap` never imports a tap, so that each one's environment is its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icetap.errors import ConfigurationError, IcetapError
from icetap.secrets.scratch import file_for_children

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from icetap.cli.configuration import Connection


class ConnectorFailedError(IcetapError):
    """The connector ended with an error, which it has told on stderr."""

    def __init__(self, command: str, exit_code: int) -> None:
        super().__init__(f"{command} ended with exit code {exit_code}.")
        self.exit_code = exit_code


def ask_connector(connection: Connection, *arguments: str) -> Any:
    """Run a connector once and return what it printed, as parsed JSON (numbers keep their digits).

    Raises:
        ConfigurationError: When the command is not installed.
        ConnectorFailedError: When it ends with another exit code than 0.
        IcetapError: When what it printed is not JSON.
    """
    exit_code, printed = run_connector(connection, *arguments)
    if exit_code != 0:
        raise ConnectorFailedError(connection.command, exit_code)
    try:
        return parse_json(printed)
    except ValueError as error:
        raise IcetapError(
            f"{connection.command} {' '.join(arguments)} printed {len(printed)} bytes that are not JSON. "
            "Check that its version fits this `icetap`."
        ) from error


def run_connector(connection: Connection, *arguments: str) -> tuple[int, bytes]:
    """Run a connector once and return (exit code, what it wrote to stdout).

    Its settings go through a file in memory; what it logs goes to this process's stderr as it comes.

    Raises:
        ConfigurationError: When the command is not installed.
    """
    executable = find_executable(connection)
    with settings_files(connection) as files:
        command = [str(executable), *files.options(connection), "--config", "ENV", *arguments]
        done = _run(command, connection, files=files)
    # A signal's number is negative here; a shell would say 128 + signal.
    return (128 - done.returncode if done.returncode < 0 else done.returncode), done.stdout


def parse_json(text: bytes) -> Any:
    """Parse JSON without rounding: numbers with a fraction become `Decimal`."""
    from decimal import Decimal  # noqa: PLC0415 -- only when there is something to parse

    return json.loads(text, parse_float=Decimal)


def find_executable(connection: Connection) -> Path:
    """Return where the connector's command is: beside this Python, in Meltano's own environments, or on PATH."""
    for folder in _script_folders(connection):
        if os.access(candidate := folder / connection.command, os.X_OK):
            return candidate
    found = shutil.which(connection.command, path=connection.environ.get("PATH"))
    if found:
        return Path(found)
    raise ConfigurationError(
        f"The command {connection.command} is not installed here. In a Meltano project run "
        f"`meltano install {connection.name}`; in a checkout run `make setup`."
    )


def _script_folders(connection: Connection) -> Iterator[Path]:
    yield Path(sysconfig.get_path("scripts"))
    yield Path(sys.executable).parent
    if connection.project is not None:
        kind = "loaders" if connection.command.startswith("target-") else "extractors"
        # A plug-in that inherits another one shares its environment unless it has a pip_url of its own.
        for plugin in connection.project.chain(connection.name):
            yield connection.project.root / ".meltano" / kind / plugin["name"] / "venv" / "bin"


def _run(
    command: Sequence[str], connection: Connection, *, files: SettingsFiles
) -> subprocess.CompletedProcess[bytes]:
    with subprocess.Popen(  # noqa: S603 -- a connector's command, found by name, without a shell
        command,
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        cwd=connection.folder,
        env=connection.environ,
        pass_fds=files.descriptors,
    ) as process:
        try:
            stdout, _ = process.communicate()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
    return subprocess.CompletedProcess(command, process.returncode, stdout)


class SettingsFiles:
    """The settings of connectors as files in memory; nothing of them is left when this process is killed."""

    def __init__(self, *connections: Connection) -> None:
        self._of = {
            id(connection): file_for_children(json.dumps(connection.settings, default=str), name="settings")
            for connection in connections
        }

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What the connectors have to inherit (`pass_fds`)."""
        return tuple(descriptor for _, descriptor in self._of.values())

    def options(self, connection: Connection, *, even_empty: bool = False) -> list[str]:
        """Return the connector's option `--config`; nothing for one without settings, unless that is asked for."""
        path, _ = self._of[id(connection)]
        return ["--config", str(path)] if connection.settings or even_empty else []


@contextmanager
def settings_files(*connections: Connection) -> Iterator[SettingsFiles]:
    """Make the files of connectors' settings, for as long as they run."""
    files = SettingsFiles(*connections)
    try:
        yield files
    finally:
        for descriptor in files.descriptors:
            os.close(descriptor)
