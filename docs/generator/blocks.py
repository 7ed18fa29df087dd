"""A connector as a plug-in of meltano.yml."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from plugins import Plugin, Setting

# The words that Meltano's own schema of meltano.yml knows (read in Meltano 4.4.1).
CAPABILITIES = {
    "tap": {
        "about", "activate-version", "batch", "catalog", "discover", "log-based", "properties",
        "schema-flattening", "state", "stream-maps", "structured-logging", "test",
    },
    "target": {
        "about", "activate-version", "batch", "datatype-failsafe", "hard-delete", "schema-flattening",
        "soft-delete", "stream-maps", "structured-logging",
    },
}  # fmt: skip
KINDS = {
    "integer": "integer",
    "number": "decimal",
    "boolean": "boolean",
    "object": "object",
    "array": "array",
}


def plugin_block(plugin: Plugin) -> str:
    """Return the list item of a connector, indented as meltano.yml is."""
    block: dict[str, Any] = {
        "name": plugin.command,
        "namespace": plugin.command.replace("-", "_"),
        "label": plugin.manifest["title"],
        "docs": plugin.manifest["docs"],
        "pip_url": plugin.pip_url,
        "executable": plugin.command,
        "capabilities": [word for word in plugin.about["capabilities"] if word in CAPABILITIES[plugin.kind]],
    }
    if plugin.required_together():
        block["settings_group_validation"] = plugin.required_together()
    block["settings"] = [meltano_setting(setting) for setting in plugin.settings()]
    block["commands"] = {
        "about": {"args": "--about --format=json", "description": "Describe the plug-in and its settings"},
        **plugin.manifest.get("commands", {}),
    }
    return list_item(block)


def arrow_block(plugin: Plugin) -> str:
    """Return the list item of the same tap with the Arrow lane switched on."""
    return list_item(
        {
            "name": f"{plugin.command}-arrow",
            "inherit_from": plugin.command,
            "label": f"{plugin.manifest['title']}, Arrow files for target-iceberg",
            "config": {"batch_config": {"encoding": {"format": "arrow"}}},
        }
    )


def meltano_setting(setting: Setting) -> dict[str, Any]:
    """Return a setting in Meltano's words; the default only where it is a plain value."""
    entry: dict[str, Any] = {"name": setting.name, "label": setting.title, "kind": kind(setting)}
    if setting.secret:
        entry["sensitive"] = True
    default = setting.schema.get("default")
    if default is not None and not isinstance(default, dict | list):
        entry["value"] = default
    if setting.choices:
        entry["options"] = [{"label": choice, "value": choice} for choice in setting.choices]
    if setting.description:
        entry["description"] = setting.description
    return entry


def kind(setting: Setting) -> str:
    """Return Meltano's kind; a setting that takes a list or an object as well as a text is written as text."""
    if setting.choices:
        return "options"
    if setting.schema.get("format") == "date-time":
        return "date_iso8601"
    if len(setting.types) == 1:
        return KINDS.get(setting.types[0], "string")
    return "string"


def list_item(block: dict[str, Any]) -> str:
    """Write one item of a list of plug-ins, two spaces deep."""
    text = yaml.safe_dump([block], sort_keys=False, allow_unicode=True, width=116)
    return textwrap.indent(text, "  ")
