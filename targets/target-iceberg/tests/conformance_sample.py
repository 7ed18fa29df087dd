"""A warehouse for the conformance suite; see `icetap.testing.samples`."""

from pathlib import Path

from icetap.catalogs import open_catalog
from icetap.tables import read_table
from icetap.testing.samples import Sample


def make(folder: Path, *, canary: str) -> Sample:
    """A warehouse whose catalog has a property that is a secret."""
    return Sample(config=_config(folder) | {"catalog": {**_config(folder)["catalog"], "token": canary}})


def rows(folder: Path, stream: str) -> list[dict]:
    """Read a stream's table back."""
    table = open_catalog(_config(folder)).load_table(f"raw.{stream}")
    return [row for batch in read_table(table) for row in batch.to_pylist()]


def _config(folder: Path) -> dict:
    catalog = {"type": "sql", "uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"file://{folder}"}
    return {"warehouse": str(folder), "catalog": catalog}
