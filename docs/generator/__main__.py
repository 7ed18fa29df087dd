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
import sys
from typing import TYPE_CHECKING

from connector_format import format_page
from files import MarkerError, plugins_in_meltano, settings_in_readme
from icetap.cli.command import icetap
from pages import command_page, connector_page, connectors_page, types_page
from plugins import ROOT, Plugin, every_plugin

if TYPE_CHECKING:
    from pathlib import Path


CONNECTOR_FORMAT = ROOT / "taps" / "tap-rest" / "tap_rest" / "rest-connector-1.schema.json"


def everything(plugins: list[Plugin]) -> dict[Path, str]:
    """Return every generated file with the text that it should have."""
    meltano = ROOT / "meltano.yml"
    reference = ROOT / "docs" / "reference"
    return {
        meltano: plugins_in_meltano(meltano.read_text(encoding="utf-8"), plugins),
        reference / "connectors.md": connectors_page(plugins),
        # A checkout with other connectors than ours may be without tap-rest.
        **(
            {reference / "connector-format.md": format_page(CONNECTOR_FORMAT)}
            if CONNECTOR_FORMAT.exists()
            else {}
        ),
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
