"""The catalog that Meltano would give a plug-in of the project, for questions about what it reads."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from icetap.cli.running import parse_json, run_connector
from icetap.cli.selection import selected_catalog
from icetap.scratch_folders import ScratchFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from icetap.cli.configuration import Connection


@contextmanager
def catalog_options(tap: Connection) -> Iterator[list[str]]:
    """Yield the options that give a tap the project's `select`, `metadata` and `schema`.

    There are none for a tap that is no plug-in or has none of the three, nor when it cannot discover: then
    what is asked of it fails as well, and says why.

    Raises:
        ConfigurationError: When nothing is selected.
    """
    is_plugin = tap.project is not None and tap.name in tap.project.plugins("tap")
    extras = tap.project.extras(tap.name) if tap.project and is_plugin else {}
    if not extras:
        yield []
        return
    quiet = replace(tap, environ={**tap.environ, "LOGLEVEL": "CRITICAL"})
    exit_code, printed = run_connector(quiet, "--discover")
    if exit_code != 0:
        yield []
        return
    catalog = selected_catalog(parse_json(printed), extras)
    with ScratchFolder("catalog") as folder:
        path = folder.path / "catalog.json"
        path.write_text(json.dumps(catalog, default=str), "utf-8")
        yield ["--catalog", str(path)]
