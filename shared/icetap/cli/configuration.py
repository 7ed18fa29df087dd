"""The settings of one connector, from wherever the user keeps them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icetap.cli.project import find_project
from icetap.connectors import connector_named, find_connectors
from icetap.errors import ConfigurationError
from icetap.settings import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from icetap.cli.project import Project

CATALOG_SETTINGS = {"warehouse": "string", "catalog": "object", "catalog_name": "string"}
"""What `icetap query` reads of the loader's settings, with Meltano's kind."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A connector with its settings."""

    name: str
    """As the user called it: a plug-in of `meltano.yml`, or a connector."""

    command: str
    """The connector's executable, such as `tap-sqlite`."""

    settings: Mapping[str, Any] = field(repr=False)  # may hold credentials
    environ: Mapping[str, str] = field(repr=False)
    """Environment variables for its process."""

    folder: Path
    """Its working folder: what relative paths in its settings start from."""

    project: Project | None


def read_connection(
    name: str, *, config: Path | None, environment: str | None, kind: str = "tap"
) -> Connection:
    """Find a connector and its settings.

    The settings come from the file `config` when given, else from the `meltano.yml` around; environment
    variables (`TAP_X_…`) beat both, by the connector's own doing (`--config ENV`).

    Args:
        name: A plug-in's or a connector's name.
        config: A JSON file of settings.
        environment: The Meltano environment; default as Meltano has it.
        kind: `tap` or `target`.

    Raises:
        ConfigurationError: When there is no such connector, or the settings cannot be read.
    """
    project = find_project(Path.cwd(), environment=environment)
    plugins = project.plugins(kind) if project else {}
    if project and name in plugins:
        command = project.command(name)
    else:
        connectors = [each for each in find_connectors() if each.kind == kind]
        hidden = {each.name for each in connectors}
        if name not in hidden and (set(plugins) - hidden):
            known = sorted({*plugins, *hidden})
            hint = did_you_mean(name, known) or "."
            raise ConfigurationError(f"No {kind} is called '{name}'{hint} There are: {', '.join(known)}.")
        command = connector_named(name, connectors).name
    environ = {"LOGLEVEL": "WARNING", **os.environ}  # people asked a question; how the tap runs is no answer
    folder = Path.cwd()
    settings: dict[str, Any] = {}
    if config is not None:
        settings = _read_json(config)
    elif project and name in plugins:
        settings = project.settings(name)
        folder = project.root
    if project:
        environ = {"MELTANO_PROJECT_ROOT": str(project.root), **project.dotenv, **environ}
    return Connection(name, command, settings, environ, folder, project)


def read_catalog_settings(
    target: str, *, config: Path | None, environment: str | None
) -> tuple[dict[str, Any], Path]:
    """Find where the tables are.

    Args:
        target: The loader's name in `meltano.yml`, such as `target-iceberg`.
        config: The loader's settings as a JSON file; beats `meltano.yml`, not the environment variables.
        environment: The Meltano environment; default as Meltano has it.

    Returns:
        The loader's settings, and the folder that a relative warehouse starts from.

    Raises:
        ConfigurationError: When the settings cannot be read.
    """
    project = find_project(Path.cwd(), environment=environment)
    root = project.root if project else Path(os.environ.get("MELTANO_PROJECT_ROOT") or Path.cwd())
    settings: dict[str, Any] = {}
    loaders = project.plugins("target") if project else {}
    if config is not None:
        settings = _read_json(config)
    elif project and target in loaders:
        return _without_references(project.settings(target, also=CATALOG_SETTINGS)), root
    elif target != "target-iceberg":
        hint = did_you_mean(target, loaders) or "."
        raise ConfigurationError(
            f"No loader is called '{target}'{hint} There are: {', '.join(loaders) or 'none'}."
        )
    variables = {**(project.dotenv if project else {}), **os.environ}
    for name in CATALOG_SETTINGS:
        if found := variables.get(f"TARGET_ICEBERG_{name.upper()}"):
            settings[name] = found
    return _without_references(settings), root


def _without_references(settings: Mapping[str, Any]) -> dict[str, Any]:
    from icetap.secrets.references import resolve  # noqa: PLC0415 -- only `query` opens a catalog itself

    declared = {name: {"type": kind, "secret": name == "catalog"} for name, kind in CATALOG_SETTINGS.items()}
    return resolve(settings, {"properties": declared}).config


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"The configuration file {path} cannot be read: {error.strerror}."
        ) from error
    except ValueError:
        # Without the parser's own words: they quote the text, which may hold a password.
        raise ConfigurationError(f"The configuration file {path} is not valid JSON.") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"The configuration file {path} must hold a JSON object of settings.")
    return content
