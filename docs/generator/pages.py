"""Markdown from what connectors, command line and type table say of themselves."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import click

from icetap import types
from plugins import FROM_THE_SDK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plugins import Plugin, Setting

WRITTEN = "<!-- Written by `make docs`. Do not edit. -->\n\n"

SINGER_TYPES: list[tuple[str, dict[str, Any]]] = [
    ("a truth value", {"type": "boolean"}),
    ("a whole number", {"type": "integer"}),
    ("a whole number within 32 bits", {"type": "integer", "minimum": 0, "maximum": 2147483647}),
    ("a number", {"type": "number"}),
    (
        "an exact number (our taps)",
        {
            "type": "number",
            "x-sql-datatype": "decimal",
            "x-sql-datatype-properties": {"precision": 38, "scale": 9},
        },
    ),
    (
        "an exact number in a string",
        {"type": "string", "format": "singer.decimal", "precision": 20, "scale": 2},
    ),
    ("text", {"type": "string"}),
    ("a date", {"type": "string", "format": "date"}),
    ("an instant", {"type": "string", "format": "date-time"}),
    ("a local time stamp", {"type": "string", "format": "date-time", "x-sql-datatype": "timestamp"}),
    ("a time of day", {"type": "string", "format": "time"}),
    ("a UUID", {"type": "string", "format": "uuid"}),
    ("bytes", {"type": "string", "contentEncoding": "base64"}),
    ("an object with named fields", {"type": "object", "properties": {"a": {"type": "integer"}}}),
    ("an object with values of one type", {"type": "object", "additionalProperties": {"type": "integer"}}),
    ("a list", {"type": "array", "items": {"type": "integer"}}),
    ("any object", {"type": "object"}),
    ("anything", {}),
    ("text or a whole number", {"type": ["string", "integer"]}),
    ("a whole number or a number", {"type": ["integer", "number"]}),
    ("a truth value or a whole number", {"type": ["boolean", "integer"]}),
]


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; cells must not hold line breaks."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def type_words(setting: Setting) -> str:
    """Say in words what a setting takes, with its bounds."""
    if setting.choices:
        return " or ".join(f"`{choice}`" for choice in setting.choices)
    words = {"string": "text", "integer": "whole number", "boolean": "true or false", "array": "list"}
    said = " or ".join(words.get(name, name) for name in setting.types) or "any value"
    low, high = setting.schema.get("minimum"), setting.schema.get("maximum")
    if low is not None and high is not None:
        said += f", {low} to {high}"
    elif low is not None or high is not None:
        said += f", at least {low}" if low is not None else f", at most {high}"
    if setting.schema.get("format") == "date-time":
        said = "RFC 3339"
    return f"{said}, secret" if setting.secret else said


def default_words(setting: Setting) -> str:
    """Show a default as one types it."""
    default = setting.schema.get("default")
    if default is None:
        return "**required**" if setting.required else ""
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def row(setting: Setting) -> list[str]:
    """A setting as a line of a table."""
    return [f"`{setting.name}`", type_words(setting), default_words(setting), setting.description]


def settings_table(plugin: Plugin) -> str:
    """The connector's own settings as a table, those of the SDK as a sentence."""
    own = [setting for setting in plugin.settings() if setting.name not in FROM_THE_SDK]
    text = table(["Setting", "Takes", "Default", "What it does"], [row(setting) for setting in own])
    shared = [f"`{setting.name}`" for setting in plugin.settings() if setting.name in FROM_THE_SDK]
    if shared:
        text += f"\nFrom the Singer SDK: {', '.join(shared)}.\n"
    return text


def connector_page(plugin: Plugin) -> str:
    """A connector's page of the reference: every setting with variable, bounds and examples."""
    manifest = plugin.manifest
    kind = "tap" if plugin.kind == "tap" else "loader"
    page = f"{WRITTEN}# {plugin.command}\n\n{plugin.about.get('description') or manifest['title']}\n\n"
    page += f"Kind: {kind}. Category: {manifest['category']}. Documentation of the system: <{manifest['docs']}>.\n"
    methods = manifest.get("replication_methods") or manifest.get("load_methods")
    if methods:
        what = "Replication" if plugin.kind == "tap" else "Load"
        page += f"{what} methods: {', '.join(f'`{method}`' for method in methods)}.\n"
    page += (
        f"Capabilities: {', '.join(f'`{word}`' for word in plugin.about['capabilities'])}.\n\n## Settings\n\n"
    )
    page += "".join(setting_section(plugin, setting) for setting in plugin.settings())
    return page + commands_section(plugin)


def commands_section(plugin: Plugin) -> str:
    """The help of every command that a connector has beside its work in a pipeline."""
    if "command_line" not in plugin.manifest:
        return ""
    group = EntryPoint(plugin.command, plugin.manifest["command_line"], "").load()
    known = ", ".join(f"`{name}`" for name in plugin.manifest.get("commands", {}))
    return (
        f"## Commands\n\nThrough Meltano: `meltano invoke {plugin.command}:<command>`, where a command is one of "
        f"{known}; options follow it.\n\n" + "".join(help_sections(group, plugin.command, depth=3))
    )


def setting_section(plugin: Plugin, setting: Setting) -> str:
    """One setting in full."""
    variable = f"{plugin.command}_{setting.name}".replace("-", "_").upper()
    page = f"### `{setting.name}`\n\n{setting.title}. {setting.description}\n\n"
    page += f"- Takes: {type_words(setting)}\n"
    if default_words(setting):
        page += f"- Default: {default_words(setting)}\n"
    page += f"- Environment variable: `{variable}`\n"
    examples = setting.schema.get("examples", [])
    if examples:
        page += f"- Example: {', '.join(f'`{json.dumps(example)}`' for example in examples)}\n"
    inner = setting.inner() if setting.name not in FROM_THE_SDK else []
    if inner:
        page += (
            f"\n{table(['Option', 'Takes', 'Default', 'What it does'], [row(option) for option in inner])}"
        )
    return f"{page}\n"


def connectors_page(plugins: list[Plugin]) -> str:
    """The list of connectors."""
    rows = [
        [
            f"[{plugin.command}]({plugin.command}.md)",
            plugin.manifest["title"],
            plugin.manifest["category"],
            ", ".join(
                plugin.manifest.get("replication_methods") or plugin.manifest.get("load_methods") or []
            ),
            "yes" if plugin.manifest.get("arrow_lane") else "",
        ]
        for plugin in plugins
    ]
    header = ["Connector", "System", "Category", "Methods", "Arrow lane"]
    return f"{WRITTEN}# Connectors\n\n{table(header, rows)}"


def types_page() -> str:
    """The table of types, computed by the code that uses it."""
    rows = []
    for words, schema in SINGER_TYPES:
        field = types.field_from_singer("column", schema)
        holds = {"json": " (JSON text)", "text": " (the value's text)"}.get(types.kind_of(field) or "", "")
        arrow, iceberg = f"`{field.type}`{holds}", f"`{types.iceberg_type(field)}`"
        rows.append([words, f"`{json.dumps(schema)}`", arrow, iceberg])
    head = "# Types\n\nWhat a tap declares, and what the column becomes. The reasons: [types](../explanation/types.md).\n\n"
    return f"{WRITTEN}{head}{table(['Value', 'Singer schema', 'Arrow', 'Iceberg'], rows)}"


def command_page(main: click.Command) -> str:
    """The help of a command and of all its subcommands."""
    return f"{WRITTEN}# icetap\n\n" + "".join(help_sections(main, "icetap"))


def help_sections(command: click.Command, path: str, *, depth: int = 2) -> Iterator[str]:
    """One section for a command, then one for each of its subcommands."""
    with click.Context(command, info_name=path, max_content_width=100) as context:
        yield f"{'#' * depth} `{path}`\n\n```\n{command.get_help(context)}\n```\n\n"
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                if inner is not None:
                    yield from help_sections(inner, f"{path} {name}", depth=depth)
