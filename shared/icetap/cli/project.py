"""A Meltano project as `icetap` needs it: which plug-ins there are, and the settings each one gets.

Precedence is Meltano's: environment variable > `.env` > `meltano.yml` environment > plug-in config; what a
plug-in does not say itself comes from the one it inherits from. Defaults are left to the plug-in.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from icetap.errors import ConfigurationError
from icetap.settings import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PROJECT_FILE = "meltano.yml"
EXTRAS = {"select": "array", "metadata": "object", "schema": "object"}
"""What Meltano changes in a tap's catalog, with the kind of each."""
_KINDS = {"tap": "extractors", "target": "loaders"}
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_TRUE = frozenset({"true", "1", "yes", "on"})


@dataclass(frozen=True, slots=True)
class Project:
    """What a `meltano.yml` and the `.env` beside it say."""

    root: Path
    content: Mapping[str, Any] = field(repr=False)
    dotenv: Mapping[str, str] = field(repr=False)
    environment: str | None
    """The active Meltano environment."""

    environ: Mapping[str, str] = field(repr=False)

    def plugins(self, kind: str) -> dict[str, Mapping[str, Any]]:
        """Return the definitions of the project's taps or targets by name."""
        listed = (self.content.get("plugins") or {}).get(_KINDS[kind]) or []
        return {plugin["name"]: plugin for plugin in listed}

    def chain(self, name: str) -> list[Mapping[str, Any]]:
        """Return the definition of a plug-in and of all it inherits from, itself first.

        Raises:
            ConfigurationError: When it inherits from a plug-in that is not there, or from itself.
        """
        known = {**self.plugins("tap"), **self.plugins("target")}
        chain: list[Mapping[str, Any]] = []
        current: str | None = name
        while current is not None:
            if current not in known or known[current] in chain:
                raise ConfigurationError(
                    f"{self.root / PROJECT_FILE}: plug-in '{name}' inherits from '{current}', which is not in the "
                    f"file or inherits from itself{did_you_mean(current, set(known) - {current}) or '.'}"
                )
            chain.append(known[current])
            current = known[current].get("inherit_from")
        return chain

    def command(self, name: str) -> str:
        """Return the executable of a plug-in, such as `tap-sqlite` for `tap-sqlite-arrow`."""
        chain = self.chain(name)
        executables = [str(plugin["executable"]) for plugin in chain if plugin.get("executable")]
        return executables[0] if executables else str(chain[-1]["name"])

    def settings(self, name: str, *, also: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the settings that Meltano would give a plug-in, without defaults.

        Args:
            name: The plug-in's name.
            also: Settings (name to Meltano's kind) that may come from the environment although
                `meltano.yml` does not declare them.
        """
        chain = self.chain(name)
        kinds = {**(also or {}), **_declared_kinds(chain)}
        variables = {**self.dotenv, **self.environ}
        merged: dict[str, Any] = {}
        for plugin in reversed(chain):
            configs = (plugin.get("config") or {}, self._of_environment(plugin["name"]).get("config") or {})
            for config in configs:
                merged = _overlay(merged, _expanded(_nested(config), self._expansions()))
            merged = _overlay(merged, _from_variables(plugin, kinds, variables))
        return merged

    def extras(self, name: str) -> dict[str, Any]:
        """Return the `select`, `metadata` and `schema` of a tap: which of its streams and columns are read."""
        variables = {**self.dotenv, **self.environ}
        found: dict[str, Any] = {}
        for plugin in reversed(self.chain(name)):
            for level in (plugin, self._of_environment(plugin["name"])):
                config = level.get("config") or {}
                for extra in EXTRAS:
                    value = level.get(extra) or config.get(f"_{extra}")
                    found[extra] = value or found.get(extra)
        for extra, kind in EXTRAS.items():
            variable = re.sub(r"\W", "_", f"{name}__{extra}").upper()
            if variable in variables:
                found[extra] = _typed(variables[variable], kind, variable)
        return {extra: _expanded(value, self._expansions()) for extra, value in found.items() if value}

    def _of_environment(self, name: str) -> Mapping[str, Any]:
        """Return what the active environment says of a plug-in."""
        for environment in self.content.get("environments") or []:
            if environment.get("name") == self.environment:
                plugins = (environment.get("config") or {}).get("plugins") or {}
                listed: list[Mapping[str, Any]] = [each for kind in plugins.values() for each in kind]
                return next((each for each in listed if each.get("name") == name), {})
        return {}

    def _expansions(self) -> Mapping[str, str]:
        fixed = {"MELTANO_PROJECT_ROOT": str(self.root), "MELTANO_ENVIRONMENT": self.environment or ""}
        return {**fixed, **self.dotenv, **self.environ}


def find_project(
    start: Path, *, environment: str | None = None, environ: Mapping[str, str] | None = None
) -> Project | None:
    """Read the Meltano project around a folder; None outside a project.

    Args:
        start: The folder to start from, upwards.
        environment: The Meltano environment; default `MELTANO_ENVIRONMENT`, else the file's default.
        environ: Environment variables; default this process's.

    Raises:
        ConfigurationError: When `meltano.yml` cannot be read, or has no such environment.
    """
    variables = os.environ if environ is None else environ
    start = start.absolute()
    root = next((folder for folder in (start, *start.parents) if (folder / PROJECT_FILE).is_file()), None)
    if root is None:
        return None
    content = _read_yaml(root / PROJECT_FILE)
    active = environment or variables.get("MELTANO_ENVIRONMENT") or content.get("default_environment")
    known = [each.get("name") for each in content.get("environments") or []]
    if environment and environment not in known:
        raise ConfigurationError(
            f"{root / PROJECT_FILE} has no environment '{environment}'"
            f"{did_you_mean(environment, known) or '.'} There are: {', '.join(known) or 'none'}."
        )
    return Project(root, content, _read_dotenv(root / ".env"), active, variables)


def _read_yaml(path: Path) -> Mapping[str, Any]:
    import yaml  # noqa: PLC0415 -- keeps `--help` fast

    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        # The parser's own text quotes the line, which may hold a password.
        raise ConfigurationError(f"{path}{where}: this is not valid YAML. Correct that line.") from None
    return content if isinstance(content, dict) else {}


def _read_dotenv(path: Path) -> Mapping[str, str]:
    if not path.is_file():
        return {}
    from dotenv import dotenv_values  # noqa: PLC0415 -- keeps `--help` fast

    return {name: value for name, value in dotenv_values(path).items() if value is not None}


def _declared_kinds(chain: list[Mapping[str, Any]]) -> dict[str, str]:
    return {
        setting["name"]: str(setting.get("kind") or "string")
        for plugin in reversed(chain)
        for setting in plugin.get("settings") or []
    }


def _from_variables(
    plugin: Mapping[str, Any], kinds: Mapping[str, str], variables: Mapping[str, str]
) -> dict[str, Any]:
    """Settings of one plug-in from variables such as `TAP_SQLITE_DATABASE`; its own name beats its namespace."""
    found: dict[str, Any] = {}
    for owner in filter(None, (plugin.get("namespace"), plugin["name"])):
        for setting, kind in kinds.items():
            variable = re.sub(r"\W", "_", f"{owner}_{setting}").upper()
            if variable in variables:
                found[setting] = _typed(variables[variable], kind, variable)
    return _nested(found)


def _typed(text: str, kind: str, variable: str) -> Any:
    try:
        match kind:
            case "integer":
                return int(text)
            case "decimal":
                return float(text)
            case "boolean":
                return text.strip().lower() in _TRUE
            case "array" | "object":
                return json.loads(text)
            case _:
                return text
    except ValueError:
        raise ConfigurationError(
            f"The environment variable {variable} must hold a value of kind {kind}."
        ) from None


def _expanded(value: Any, variables: Mapping[str, str]) -> Any:
    """Replace `$NAME` and `${NAME}` in every text; unknown ones become empty, as in Meltano."""
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], ""), value)
    if isinstance(value, dict):
        return {name: _expanded(part, variables) for name, part in value.items()}
    if isinstance(value, list):
        return [_expanded(part, variables) for part in value]
    return value


def _nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted names (`batch_config.encoding.format`) into objects."""
    result: dict[str, Any] = {}
    for path, value in _paths(settings):
        *parents, last = path
        inner = result
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise ConfigurationError(f"The setting '{parent}' is given both as a value and as an object.")
        inner[last] = value
    return result


def _paths(settings: Mapping[str, Any]) -> Iterator[tuple[list[str], Any]]:
    for name, value in settings.items():
        yield str(name).split("."), value


def _overlay(base: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two levels of settings; objects are merged name by name, as Meltano does."""
    merged = dict(base)
    for name, value in above.items():
        if isinstance(value, dict) and isinstance(merged.get(name), dict):
            merged[name] = _overlay(merged[name], value)
        else:
            merged[name] = value
    return merged
