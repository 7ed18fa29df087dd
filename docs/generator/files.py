"""Text between markers in files that are otherwise written by hand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from blocks import arrow_block, plugin_block
from pages import settings_table
from plugins import ROOT

if TYPE_CHECKING:
    from plugins import Plugin

LISTS = {"tap": "  extractors:", "target": "  loaders:"}


class MarkerError(Exception):
    """A file lacks a marker, or holds one for a connector that is not there."""


def between(text: str, *, begin: str, end: str, content: str, where: str) -> str:
    """Replace what stands between two marker lines.

    Raises:
        MarkerError: When the pair of markers is not there exactly once.
    """
    pattern = re.compile(rf"(?<={re.escape(begin)}\n).*?(?=^[ ]*{re.escape(end)}$)", re.DOTALL | re.MULTILINE)
    if len(pattern.findall(text)) != 1:
        raise MarkerError(
            f"{where}: expected `{begin}` … `{end}` once. Put both lines where the text belongs."
        )
    return pattern.sub(lambda _: content, text)


def settings_in_readme(plugin: Plugin) -> str:
    """Return the connector's README with a fresh table of settings."""
    readme = plugin.folder / "README.md"
    return between(
        readme.read_text(encoding="utf-8"),
        begin="<!-- settings:begin -->",
        end="<!-- settings:end -->",
        content=f"\n{settings_table(plugin)}\n",
        where=str(readme.relative_to(ROOT)),
    )


def plugins_in_meltano(text: str, plugins: list[Plugin]) -> str:
    """Return meltano.yml with a fresh block for each plug-in; a new one is put at the head of its list."""
    blocks: dict[str, tuple[str, str]] = {}
    for plugin in plugins:
        blocks[plugin.command] = (plugin.kind, plugin_block(plugin))
        if plugin.manifest.get("arrow_lane"):
            blocks[f"{plugin.command}-arrow"] = (plugin.kind, arrow_block(plugin))
    for name in re.findall(r"^ *# generated:begin (\S+)$", text, re.MULTILINE):
        if name not in blocks:
            raise MarkerError(
                f"meltano.yml has a block for '{name}', which is no connector here: take it out."
            )
    for name, (kind, block) in blocks.items():
        begin, end = f"# generated:begin {name}", f"# generated:end {name}"
        if begin not in text:
            head = f"{LISTS[kind]}\n"
            text = text.replace(head, f"{head}  {begin}\n  {end}\n", 1)
        text = between(text, begin=begin, end=end, content=block, where="meltano.yml")
    return text
