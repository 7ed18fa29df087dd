"""`icetap new tap NAME`: a tap that runs and passes conformance before its first line is changed."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from icetap.connectors import checkout_around
from icetap.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.abc import Traversable

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_ENDING = ".tmpl"  # so that no tool takes a template for the code it will be


def new_tap(name: str, *, start: Path, title: str | None = None) -> Path:
    """Write the folder `taps/tap-NAME` of the checkout around a folder.

    Args:
        name: The tap's name without `tap-`, in lower case with hyphens.
        start: A folder in the checkout.
        title: What the source calls itself; default the name, capitalised.

    Returns:
        The new folder.

    Raises:
        ConfigurationError: When the name cannot be a command, the tap is there already, or this is no checkout.
    """
    name = name.removeprefix("tap-")
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"'{name}' cannot be a tap's name: use lower-case letters, digits and hyphens."
        )
    checkout = checkout_around(start.absolute())
    if checkout is None:
        raise ConfigurationError(f"{start} is not inside a checkout with taps/ or targets/. Go to one first.")
    folder = checkout / "taps" / f"tap-{name}"
    if folder.exists():
        raise ConfigurationError(f"{folder} is there already. Choose another name, or remove that folder.")
    words = _words(name, title)
    for template, path in _templates(resources.files("icetap.cli") / "scaffold" / "tap", Path()):
        target = folder / _filled(str(path), words)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_filled(template.read_text("utf-8"), words), "utf-8")
    return folder


def _words(name: str, title: str | None) -> dict[str, str]:
    base = "".join(part.capitalize() for part in name.split("-"))
    return {
        "command": f"tap-{name}",
        "package": f"tap_{name.replace('-', '_')}",
        "class": f"Tap{base}",
        "base": base,
        "title": title or name.replace("-", " ").capitalize(),
    }


def _templates(folder: Traversable, path: Path) -> Iterator[tuple[Traversable, Path]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            # The folder of the Python package is named after the tap.
            inner = "@@package@@" if entry.name == "package" else entry.name
            yield from _templates(entry, path / inner)
        elif entry.name.endswith(_ENDING):
            yield entry, path / entry.name.removesuffix(_ENDING)


def _filled(text: str, words: dict[str, str]) -> str:
    return re.sub(r"@@(\w+)@@", lambda match: words[match[1]], text)
