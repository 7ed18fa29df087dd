"""Settings: how one is declared, and what is checked before anything else happens."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from icetap.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SDK_SETTINGS = frozenset(
    {
        "add_record_metadata",
        "batch_config",
        "faker_config",
        "flattening_enabled",
        "flattening_separator",
        "flattening_max_depth",
        "flattening_max_key_length",
        "stream_map_config",
        "stream_maps",
    }
)
"""Settings that the Singer SDK declares by itself."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known name, or an empty text."""
    candidates = sorted(known)
    near = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def check_settings(
    config: Mapping[str, Any],
    jsonschema: Mapping[str, Any],
    *,
    plugin: str,
    elsewhere: Mapping[str, str] | None = None,
) -> None:
    """Refuse settings that the plug-in does not have.

    Args:
        config: The settings as given.
        jsonschema: The plug-in's own JSON Schema of its settings.
        plugin: The plug-in's command, for the message.
        elsewhere: Settings that plug-ins of other makers have, and what to do instead, as a sentence without its end.

    Raises:
        ConfigurationError: Naming each unknown setting and the known one that is nearest.
    """
    known = set(jsonschema.get("properties", {}))
    unknown = sorted(set(config) - known - SDK_SETTINGS)
    if not unknown:
        return
    elsewhere = elsewhere or {}
    found = " ".join(
        f"'{name}': {elsewhere[name]}."
        if name in elsewhere
        else f"'{name}'{did_you_mean(name, known) or '.'}"
        for name in unknown
    )
    raise ConfigurationError(
        f"{plugin} has no setting {found} Run `{plugin} --about` for the settings it has."
    )
