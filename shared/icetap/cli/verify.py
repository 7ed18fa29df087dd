"""`icetap verify`: a tap's full read against the tables it was loaded into.

The tap runs as in `meltano run`, but without a state, and its messages go to `target-iceberg verify`, which compares
them row by row with the tables. Neither is imported: each has an environment of its own.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icetap.cli.running import (
    ConnectorFailedError,
    SettingsFiles,
    find_executable,
    parse_json,
    settings_files,
)
from icetap.cli.selection import selected_catalog
from icetap.connectors import find_connectors
from icetap.errors import IcetapError
from icetap.scratch_folders import ScratchFolder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from icetap.cli.configuration import Connection

EQUAL, DIFFERS = 0, 1


def verify(
    tap: Connection, target: Connection, *, streams: Sequence[str], options: Sequence[str]
) -> tuple[bool, str]:
    """Compare; return whether everything is equal, and what the loader has to say of it.

    Args:
        tap: The source.
        target: The loader whose tables are compared.
        streams: Names of streams or globs; none means all that are selected.
        options: Further options of `target-iceberg verify`.

    Raises:
        ConfigurationError: When a stream is unknown, or nothing is selected.
        SourceNotReadError: When the tap failed on the way.
        ConnectorFailedError: When the tap could not discover, or the loader not compare.
    """
    with (
        ScratchFolder("verify") as folder,
        settings_files(tap, target) as settings,
    ):
        files = folder.path
        reading = [str(find_executable(tap)), *_config_options(tap, settings)]
        catalog = _catalog_options(tap, reading, streams, files=files, settings=settings)
        # A tap without a catalog reads all it has; then the loader leaves out what was not asked for.
        chosen = [] if catalog else [part for stream in streams for part in ("--stream", stream)]
        comparing = [str(find_executable(target)), "verify", *_config_options(target, settings)]
        return _run(
            [*reading, *catalog], [*comparing, *chosen, *options], tap=tap, target=target, settings=settings
        )


# --- commands ---------------------------------------------------------------------------------------------


def _config_options(connection: Connection, settings: SettingsFiles) -> list[str]:
    """The settings as a file; our own connectors read environment variables too."""
    is_ours = _is_ours(connection)
    return [
        *settings.options(connection, even_empty=not is_ours),
        *(("--config", "ENV") if is_ours else ()),
    ]


def _is_ours(connection: Connection) -> bool:
    return Path(connection.command).name in {each.name for each in find_connectors()}


def _catalog_options(
    tap: Connection, reading: Sequence[str], streams: Sequence[str], *, files: Path, settings: SettingsFiles
) -> list[str]:
    """Discover and select as Meltano would; nothing for taps without a catalog."""
    plugin = tap.name if tap.project and tap.name in tap.project.plugins("tap") else None
    chain = tap.project.chain(plugin) if tap.project and plugin else []
    declared = [each["capabilities"] for each in chain if each.get("capabilities") is not None]
    if declared and "discover" not in declared[0]:
        return []
    with _started([*reading, "--discover"], tap, settings=settings, stdin=subprocess.DEVNULL) as process:
        printed, _ = process.communicate()
    if process.returncode != 0:
        raise ConnectorFailedError(f"{tap.command} --discover", _exit_code(process.returncode))
    try:
        discovered = parse_json(printed)
    except ValueError as error:
        raise IcetapError(
            f"{tap.command} --discover printed something that is not JSON. Check the command."
        ) from error
    extras = tap.project.extras(plugin) if tap.project and plugin else {}
    catalog = selected_catalog(discovered, extras, streams=streams)
    path = files / "catalog.json"
    path.write_text(json.dumps(catalog, default=str), "utf-8")
    return ["--properties" if declared and "catalog" not in declared[0] else "--catalog", str(path)]


# --- processes --------------------------------------------------------------------------------------------


def _run(
    reading: Sequence[str],
    comparing: Sequence[str],
    *,
    tap: Connection,
    target: Connection,
    settings: SettingsFiles,
) -> tuple[bool, str]:
    with (
        _started(reading, tap, settings=settings, stdin=subprocess.DEVNULL) as source,
        _started(
            comparing, target, settings=settings, stdin=source.stdout, environ=_as_meltano_would(tap)
        ) as comparison,
    ):
        if source.stdout is not None:
            source.stdout.close()  # so that the tap notices when nobody reads any more
        printed, _ = comparison.communicate()
        read = source.wait()
    text = printed.decode("utf-8", "replace").rstrip("\n")
    if comparison.returncode not in {EQUAL, DIFFERS} or not text:
        raise ConnectorFailedError(f"{target.command} verify", _exit_code(comparison.returncode) or 1)
    if read != 0:
        # What the tap did not send would look like rows that it does not have.
        raise SourceNotReadError(tap.command, _exit_code(read))
    return comparison.returncode == EQUAL, text


class SourceNotReadError(IcetapError):
    """The tap ended with an error, so that nothing is known of what it did not send."""

    def __init__(self, command: str, exit_code: int) -> None:
        super().__init__(
            f"{command} ended with exit code {exit_code}: the source was not read to its end, so nothing is proved. "
            "Its own message says why."
        )
        self.exit_code = exit_code


def _exit_code(returncode: int) -> int:
    # A signal's number is negative here; a shell would say 128 + signal.
    return 128 - returncode if returncode < 0 else returncode


def _as_meltano_would(tap: Connection) -> dict[str, str]:
    """What names the pipeline and the place to the loader."""
    named = {"MELTANO_EXTRACTOR_NAME": tap.name}
    if tap.project is not None and tap.project.environment:
        named["MELTANO_ENVIRONMENT"] = tap.project.environment
    return named


def _settings_as_variables(connection: Connection) -> dict[str, str]:
    """The settings of a foreign plug-in as Meltano sets them too: some read nothing else."""
    if connection.project is None or _is_ours(connection):
        return {}
    return {
        re.sub(r"\W", "_", f"{connection.name}_{name}").upper(): value
        if isinstance(value, str)
        else json.dumps(value)
        for name, value in connection.settings.items()
    }


@contextlib.contextmanager
def _started(
    command: Sequence[str],
    connection: Connection,
    *,
    settings: SettingsFiles,
    stdin: Any,
    environ: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a connector; one that still runs when this process is ended is ended too."""
    with subprocess.Popen(  # noqa: S603 -- a connector's command, found by name, without a shell
        command,
        stdin=stdin,
        stdout=subprocess.PIPE,
        cwd=connection.folder,
        env={**connection.environ, **_settings_as_variables(connection), **(environ or {})},
        pass_fds=settings.descriptors,
    ) as process:
        try:
            yield process
        except BaseException:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise
