"""Which connectors there are: read from their manifests, never from a list.

A connector's manifest is the table `[tool.icetap.connector]` in its `pyproject.toml`. In a checkout every
folder in `taps/` and `targets/` that has one counts; elsewhere the installed distributions do, by the commands
`tap-…` and `target-…` that they bring.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from icetap.errors import ConfigurationError
from icetap.settings import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MEMBERS = ("taps/*/pyproject.toml", "targets/*/pyproject.toml")


@dataclass(frozen=True, slots=True)
class Connector:
    """One tap or target, as its manifest describes it."""

    name: str
    """Its command, such as `tap-sqlite`."""

    kind: str
    """`tap` or `target`."""

    title: str
    distribution: str
    version: str
    folder: Path | None
    """Where its `pyproject.toml` lies; None when only the installed package is known."""

    entry_point: str = ""
    """What its command calls, such as `tap_sqlite.program:main`."""

    dependencies: tuple[str, ...] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def package(self) -> str:
        """The import name, such as `tap_sqlite`."""
        return self.entry_point.partition(":")[0].partition(".")[0]

    @property
    def env_prefix(self) -> str:
        """What its environment variables begin with, such as `TAP_SQLITE_`."""
        return self.name.upper().replace("-", "_") + "_"


def checkout_around(start: Path) -> Path | None:
    """Return the nearest folder, from `start` upwards, that is a checkout with `taps/` or `targets/`."""
    for folder in (start, *start.parents):
        members = ((folder / pattern).parent.parent for pattern in MEMBERS)
        if (folder / "pyproject.toml").is_file() and any(parent.is_dir() for parent in members):
            return folder
    return None


def find_connectors(start: Path | None = None) -> list[Connector]:
    """Return the connectors of the checkout around `start` (default: the working folder), or those installed."""
    checkout = checkout_around((start or Path.cwd()).absolute())
    found = _in_checkout(checkout) if checkout else _installed()
    return sorted(found, key=lambda connector: (connector.kind, connector.name))


def connector_named(name: str, connectors: Iterable[Connector]) -> Connector:
    """Return the connector with this name.

    Raises:
        ConfigurationError: When there is none, with the nearest name and the whole list.
    """
    by_name = {connector.name: connector for connector in connectors}
    if name in by_name:
        return by_name[name]
    known = ", ".join(by_name) or "none"
    hint = did_you_mean(name, by_name) or "."
    raise ConfigurationError(f"No connector is called '{name}'{hint} There are: {known}.")


def _manifests(checkout: Path) -> Iterator[Path]:
    for pattern in MEMBERS:
        yield from sorted(checkout.glob(pattern))


def _in_checkout(checkout: Path) -> Iterator[Connector]:
    for path in _manifests(checkout):
        connector = _from_pyproject(path)
        if connector is not None:
            yield connector


def _from_pyproject(path: Path) -> Connector | None:
    """Read a manifest; None when this package is not a connector."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}.") from error
    manifest = content.get("tool", {}).get("icetap", {}).get("connector")
    if manifest is None:
        return None
    project = content.get("project", {})
    scripts = project.get("scripts", {})
    if path.parent.name not in scripts:
        raise ConfigurationError(
            f"{path}: the folder is called '{path.parent.name}', but [project.scripts] has no command of that name."
        )
    return Connector(
        name=path.parent.name,
        kind=str(manifest.get("kind", "")),
        title=str(manifest.get("title", "")),
        distribution=str(project.get("name", "")),
        version=str(project.get("version", "")),
        folder=path.parent,
        entry_point=scripts[path.parent.name],
        dependencies=tuple(project.get("dependencies", ())),
        manifest=manifest,
    )


def _installed() -> Iterator[Connector]:
    seen = set()
    for entry in metadata.entry_points(group="console_scripts"):
        kind = entry.name.partition("-")[0]
        if entry.dist is None or kind not in {"tap", "target"} or entry.name in seen:
            continue
        if not entry.dist.name.startswith("icetap-"):
            continue
        seen.add(entry.name)
        source = _editable_folder(entry.dist)
        known = _from_pyproject(source / "pyproject.toml") if source else None
        yield known or Connector(
            name=entry.name,
            kind=kind,
            title=entry.dist.metadata["Summary"] or "",
            distribution=entry.dist.name,
            version=entry.dist.version,
            folder=None,
            entry_point=entry.value,
            dependencies=tuple(entry.dist.requires or ()),
        )


def _editable_folder(distribution: metadata.Distribution) -> Path | None:
    """The folder that an editable installation points to (PEP 610), when it still is there."""
    text = distribution.read_text("direct_url.json")
    url = json.loads(text).get("url", "") if text else ""
    if not url.startswith("file://"):
        return None
    folder = Path(unquote(urlsplit(url).path))
    return folder if (folder / "pyproject.toml").is_file() else None
