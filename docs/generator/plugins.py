"""What each connector says of itself: its manifest, and its own `--about`."""

from __future__ import annotations

import concurrent.futures
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icetap.connectors import Connector, find_connectors
from icetap.settings import SDK_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
# The SDK knows these two by name; what they mean here is ours.
FROM_THE_SDK = SDK_SETTINGS - {"add_record_metadata", "batch_config"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as a person meets it."""

    name: str
    schema: dict[str, Any]
    required: bool

    @property
    def title(self) -> str:
        """The label of a form field."""
        return str(self.schema.get("title") or self.name.replace("_", " ").capitalize())

    @property
    def description(self) -> str:
        """One paragraph without line breaks."""
        return " ".join(str(self.schema.get("description", "")).split())

    @property
    def secret(self) -> bool:
        """Whether the value must never be shown."""
        return bool(self.schema.get("secret") or self.schema.get("writeOnly"))

    @property
    def types(self) -> list[str]:
        """The JSON types it takes, without null."""
        declared = self.schema.get("type", [])
        named = [declared] if isinstance(declared, str) else list(declared)
        for alternative in [*self.schema.get("anyOf", []), *self.schema.get("oneOf", [])]:
            if isinstance(alternative, dict):
                inner = alternative.get("type", [])
                named += [inner] if isinstance(inner, str) else inner
        return [name for name in dict.fromkeys(named) if name != "null"]

    def inner(self) -> list[Setting]:
        """The options inside an object, inside each entry of a map, or inside each item of a list."""
        places = [self.schema, self.schema.get("additionalProperties"), self.schema.get("items")]
        return [
            Setting(name, schema, name in place.get("required", []))
            for place in places
            if isinstance(place, dict)
            for name, schema in place.get("properties", {}).items()
        ]

    @property
    def choices(self) -> list[str]:
        """The allowed values, or an empty list."""
        return [str(value) for value in self.schema.get("enum", []) if value is not None]


@dataclass(frozen=True, slots=True)
class Plugin:
    """One connector and what it says of itself."""

    connector: Connector
    about: dict[str, Any]

    @property
    def command(self) -> str:
        """Its command, which is its name in meltano.yml too."""
        return self.connector.name

    @property
    def kind(self) -> str:
        """Either `tap` or `target`."""
        return self.connector.kind

    @property
    def manifest(self) -> Mapping[str, Any]:
        """The table `[tool.icetap.connector]`."""
        return self.connector.manifest

    @property
    def folder(self) -> Path:
        """Where the package lies."""
        return ROOT / f"{self.kind}s" / self.command

    @property
    def pip_url(self) -> str:
        """What Meltano installs: both local packages, editable, in the versions of constraints.txt."""
        root = "${MELTANO_PROJECT_ROOT}"
        extras = "".join(
            re.findall(r"^icetap(\[[^\]]*\])", "\n".join(self.connector.dependencies), re.MULTILINE)
        )
        path = self.folder.relative_to(ROOT).as_posix()
        return f"-c {root}/constraints.txt -e {root}/shared{extras} -e {root}/{path}"

    def settings(self) -> list[Setting]:
        """The connector's own settings first, those of the Singer SDK last."""
        declared = self.about["settings"]
        required = set(declared.get("required", []))
        found = [Setting(name, schema, name in required) for name, schema in declared["properties"].items()]
        return sorted(found, key=lambda setting: setting.name in FROM_THE_SDK)

    def required_together(self) -> list[list[str]]:
        """Alternative sets of settings of which one must be complete."""
        declared = self.about["settings"]
        always = list(declared.get("required", []))
        alternatives = [entry["required"] for entry in declared.get("anyOf", []) if "required" in entry]
        return [[*always, *entry] for entry in alternatives] or ([always] if always else [])


def ask(connector: Connector) -> Plugin:
    """Ask an installed connector what it is.

    Raises:
        SystemExit: When the connector cannot say; with the last line of what it wrote.
    """
    executable = Path(sys.executable).with_name(connector.name)
    done = subprocess.run(
        [executable, "--about", "--format=json"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        sys.exit(f"{connector.name} --about failed: {said}")
    return Plugin(connector, json.loads(done.stdout))


def every_plugin() -> list[Plugin]:
    """Every connector of this checkout."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(ask, find_connectors(ROOT)))
