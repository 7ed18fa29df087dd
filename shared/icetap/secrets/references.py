"""References to secrets in settings, replaced by their values in memory alone.

`secret://name` is the project's encrypted store, `env://NAME` an environment variable, `file://path` the
text of a file (secret settings only: elsewhere such an address is a place), `literal://text` the text itself. Other stores come through the
entry-point group `icetap.secret_stores`: scheme -> a function that takes what stands behind `://` and
returns the value; `icetap.errors.ConfigurationError` is what it raises.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from icetap.errors import ConfigurationError, IcetapError
from icetap.secrets.redaction import REDACTOR, is_credential
from icetap.secrets.rotating import ORIGINS
from icetap.secrets.store import open_store, project_folder
from icetap.settings import did_you_mean

STORES_GROUP = "icetap.secret_stores"

Resolver = Callable[[str], str]

_REFERENCE = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_ADDRESS = re.compile(r"ur[li]|dsn|address|endpoint|proxy|host|connection|webhook|command|location")
_WEB = frozenset({"http", "https"})
_MAX_FILE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Resolved:
    """Settings without references."""

    config: dict[str, Any] = field(repr=False)
    references: dict[str, str]
    """Where each value came from: path of the setting (`ssh_tunnel.password`) -> reference."""


def resolve(config: Mapping[str, Any], jsonschema: Mapping[str, Any]) -> Resolved:
    """Replace every reference in settings, nested ones too, and register its value for redaction.

    A value is converted to its setting's type where that is not a text (`port: env://PGPORT`).

    Args:
        config: Settings as given; left as they are.
        jsonschema: The plug-in's JSON Schema of its settings.

    Raises:
        ConfigurationError: Naming the setting and the reference, when there is nothing behind it.
    """
    walk = _Walk({})
    resolved = {
        name: walk.value(value, _property(jsonschema, name), path=name) for name, value in config.items()
    }
    return Resolved(resolved, walk.references)


@dataclass(frozen=True, slots=True)
class _Walk:
    references: dict[str, str]

    def value(self, value: Any, schema: Mapping[str, Any], *, path: str, is_secret: bool = False) -> Any:
        is_secret = is_secret or bool(schema.get("secret") or schema.get("writeOnly"))
        if isinstance(value, str):
            return self._text(value, schema, path=path, is_secret=is_secret)
        if isinstance(value, Mapping):
            return {
                name: self.value(
                    child,
                    _property(schema, name),
                    path=f"{path}.{name}",
                    is_secret=is_secret and (not isinstance(child, str) or is_credential(name)),
                )
                for name, child in value.items()
            }
        if isinstance(value, list):
            items = schema.get("items")
            inner = items if isinstance(items, Mapping) else {}
            return [
                self.value(child, inner, path=f"{path}[{number}]", is_secret=is_secret)
                for number, child in enumerate(value)
            ]
        return value

    def _text(self, text: str, schema: Mapping[str, Any], *, path: str, is_secret: bool) -> Any:
        if "://" not in text:
            return text
        if text.lstrip().startswith("{") and "object" in _types(schema):
            return self._object(text, schema, path=path, is_secret=is_secret)
        if is_secret and (scheme := _nearly(text)):
            raise ConfigurationError(
                f"setting '{path}' is nearly a reference; those of this store begin with '{scheme}://', in lower case "
                "and without a space before it."
            )
        match = _REFERENCE.fullmatch(text)
        if match is None or (match["scheme"] == "file" and not is_secret):
            return text
        resolver = _resolver(match["scheme"])
        if resolver is None:
            if is_secret and not _may_be_address(match["scheme"], schema, path=path):
                raise ConfigurationError(_unknown_scheme(match["scheme"], path=path))
            return text
        try:
            found = resolver(match["rest"])
        except IcetapError as error:
            raise type(error)(f"setting '{path}' is {text}: {error}") from None
        REDACTOR.add(found)
        self.references[path] = text
        ORIGINS[found] = text
        return _typed(found, schema, path=path, reference=text)

    def _object(self, text: str, schema: Mapping[str, Any], *, path: str, is_secret: bool) -> Any:
        """Look into an object that came as JSON text: environment variables can hold nothing else."""
        try:
            value = json.loads(text)
        except ValueError:
            return text
        return self.value(value, schema, path=path, is_secret=is_secret)


def _nearly(text: str) -> str | None:
    """Return the scheme that a text was meant to begin with, when a slip keeps it from being a reference."""
    given = text.partition("://")[0]
    meant = given.strip().lower()
    meant = {f"{scheme}s": scheme for scheme in _OURS}.get(meant, meant)
    return meant if meant in _OURS and meant != given else None


def _may_be_address(scheme: str, schema: Mapping[str, Any], *, path: str) -> bool:
    """Say whether a secret setting may hold an address, as those do that have a password in them."""
    examples = schema.get("examples") or ()
    return (
        scheme in _WEB
        or _ADDRESS.search(path.rpartition(".")[2].lower()) is not None
        or schema.get("format") == "uri"
        or "object" in _types(schema)
        or any("://" in str(example) for example in examples)
    )


def _unknown_scheme(scheme: str, *, path: str) -> str:
    known = sorted({*_OURS, *(point.name for point in entry_points(group=STORES_GROUP))})
    listed = ", ".join(f"{each}://" for each in known)
    near = did_you_mean(scheme, known) or "."
    return (
        f"setting '{path}' begins as a reference does, with a scheme that is not known{near} There are: {listed}. A package "
        f"with an entry point in the group '{STORES_GROUP}' adds others. A value that really begins so, such as a password, "
        "is written behind 'literal://'."
    )


def _property(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    declared = (schema.get("properties") or {}).get(name)
    if declared is None:
        declared = schema.get("additionalProperties")
    return declared if isinstance(declared, Mapping) else {}


def _types(schema: Mapping[str, Any]) -> tuple[str, ...]:
    declared = schema.get("type", ())
    return (declared,) if isinstance(declared, str) else tuple(declared)


def _typed(found: str, schema: Mapping[str, Any], *, path: str, reference: str) -> Any:
    types = set(_types(schema)) - {"null"}
    if not types or "string" in types:
        return found
    try:
        return json.loads(found)
    except ValueError:
        wanted = " or ".join(sorted(types))
        raise ConfigurationError(f"setting '{path}' is {reference}: its text is no {wanted}") from None


# --- stores -----------------------------------------------------------------------------------------


def _resolver(scheme: str) -> Resolver | None:
    """Return what resolves a scheme; None for schemes of ordinary addresses."""
    if scheme in _OURS:
        return _OURS[scheme]
    for point in entry_points(group=STORES_GROUP, name=scheme):
        loaded: Resolver = point.load()
        return loaded
    return None


def _from_store(name: str) -> str:
    return open_store().get(name)


def _from_environment(name: str) -> str:
    found = os.environ.get(name)
    if found is None:
        near = did_you_mean(name, os.environ)
        raise ConfigurationError(
            f"there is no environment variable '{name}'{near or '.'} Set it, or correct the name."
        )
    return found


def _from_file(rest: str) -> str:
    """Return a file's text without the line's end that editors add; a relative path starts at the project."""
    path = project_folder() / Path(unquote(rest)).expanduser()
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise ConfigurationError("the file is larger than 1 MiB; is it the right one?")
        return content.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ConfigurationError(f"the file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError("the file is not UTF-8 text") from None


def _literal(text: str) -> str:
    return text


_OURS: dict[str, Resolver] = {
    "secret": _from_store,
    "env": _from_environment,
    "file": _from_file,
    "literal": _literal,
}
