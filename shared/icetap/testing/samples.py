"""How a connector gives the conformance suite a source, or a target, to work with.

A connector has the file `tests/conformance_sample.py`. A tap's has

- `make(folder, *, rows, canary) -> Sample`: make a source in an empty folder whose incremental streams, together,
  have about `rows` records, at least one of them with the text `canary` in an ordinary column;
- `change(folder) -> {stream: [key, …]}`: change one record and add one in each incremental stream, later than all
  before; the keys as the stream has them (a tuple when there are several).

A target's has

- `make(folder, *, canary) -> Sample`: settings for loading into an empty folder;
- `rows(folder, stream) -> [{…}, …]`: what has been loaded so far, read back.

Either `make` puts the canary into every secret setting that the connector can run with.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import ModuleType

    from icetap.connectors import Connector
    from icetap.testing.api import FakeApi

SAMPLE_FILE = "conformance_sample.py"


@dataclass(frozen=True)
class Sample:
    """A source to read, or a place to load into."""

    config: Mapping[str, Any]
    """Settings with which the connector runs on this machine."""

    rows: Mapping[str, int] = field(default_factory=dict)
    """Records of each stream in a first run."""

    incremental: Sequence[str] = ()
    """Streams that a second run reads from the bookmark on."""

    api: FakeApi | None = None
    """For taps of APIs: the fake that the settings lead to; traps are set in it, and requests counted."""

    requests: tuple[int, int] | None = None
    """For taps of APIs: how many requests a first run makes, and a second one when nothing has changed."""

    page_traps: Mapping[str, Callable[[], AbstractContextManager[Mapping[str, Any]]]] = field(
        default_factory=dict
    )
    """For taps of APIs, by the names in `icetap.testing.api.PAGE_TRAPS`: sets one, and gives the settings with which
    streams are read by pages."""

    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Singer metadata for a stream, such as `{"orders": {"replication-method": "INCREMENTAL", …}}`."""


def load_sample(connector: Connector) -> ModuleType:
    """Import a connector's `conformance_sample.py`.

    Raises:
        FileNotFoundError: When it has none.
    """
    if connector.folder is None:
        raise FileNotFoundError(f"{connector.name} is installed without its tests")
    path = connector.folder / "tests" / SAMPLE_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: the conformance suite needs it to make a source. See icetap.testing.samples."
        )
    name = f"conformance_sample_of_{connector.name.replace('-', '_')}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:  # a .py file always has a loader
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
