"""Fixtures of the end-to-end tests: Meltano projects and bare pipes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .pipes import Pipe
from .project import Project, new_project
from .sources import execute
from .warm import WarmCommands


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which Meltano has made its database, which takes seconds."""
    folder = tmp_path_factory.mktemp("meltano") / "template"
    folder.mkdir()
    project = Project(folder).configure()
    done = project.start("state", "list")
    said, _ = done.communicate(timeout=120)
    assert done.returncode == 0, said
    return folder


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmCommands]:
    """Commands whose imports are done: a short run is little else."""
    with WarmCommands() as launch:
        yield launch


@pytest.fixture
def project(tmp_path: Path, template: Path) -> Project:
    """A Meltano project of the test's own."""
    return new_project(tmp_path / "project", template)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with a table of orders that has a key and a time of change."""
    path = tmp_path / "shop.db"
    execute(
        path,
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, amount REAL, updated_at TIMESTAMP)",
        "CREATE TABLE clicks (moment INTEGER, page TEXT)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) "
        "INSERT INTO orders SELECT i, 'customer ' || i, i / 4.0, datetime(1700000000 + i, 'unixepoch') FROM n",
        "INSERT INTO clicks SELECT id / 3, 'page ' || (id % 7) FROM orders",
    )
    return path


@pytest.fixture
def pipe(tmp_path: Path, warm: WarmCommands) -> Pipe:
    """A pipe whose tap and settings the test fills in."""
    return Pipe(tmp_path / "pipe", {}, {}, launch=warm)
