"""Write everything that follows from the connectors themselves, so that nobody keeps a list by hand.

What a connector says of itself (the manifest `[tool.icetap.connector]` in its pyproject.toml, and its own
`--about --format=json`) becomes the plug-ins of meltano.yml, the settings table in its README and its page in
docs/reference. Text outside the markers is left alone.

    python docs/generator            write what is stale
    python docs/generator --check    write nothing; name what is stale and exit with 1
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from typing import TYPE_CHECKING

from blocks import arrow_block, plugin_block
from icetap.cli.command import icetap
from pages import command_page, connector_page, connectors_page, settings_table, types_page
from plugins import ROOT, Plugin, every_plugin

if TYPE_CHECKING:
    from pathlib import Path

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


def everything(plugins: list[Plugin]) -> dict[Path, str]:
    """Return every generated file with the text that it should have."""
    meltano = ROOT / "meltano.yml"
    reference = ROOT / "docs" / "reference"
    return {
        meltano: plugins_in_meltano(meltano.read_text(encoding="utf-8"), plugins),
        reference / "connectors.md": connectors_page(plugins),
        reference / "icetap.md": command_page(icetap),
        reference / "types.md": types_page(),
        **{plugin.folder / "README.md": settings_in_readme(plugin) for plugin in plugins},
        **{reference / f"{plugin.command}.md": connector_page(plugin) for plugin in plugins},
    }


def read(path: Path) -> str:
    """The text of a file, empty when there is none."""
    return path.read_text(encoding="utf-8") if path.exists() else ""


def main() -> int:
    """Write or check; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 when something is stale"
    )
    check = parser.parse_args().check
    stale = [
        (path, old, text) for path, text in everything(every_plugin()).items() if (old := read(path)) != text
    ]
    for path, old, text in stale:
        name = str(path.relative_to(ROOT))
        if check:
            print(
                *difflib.unified_diff(old.splitlines(), text.splitlines(), name, name, lineterm="", n=0),
                sep="\n",
            )
            print(f"{name} is stale: run `make docs`")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MarkerError as problem:
        sys.exit(str(problem))
