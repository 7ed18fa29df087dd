"""What the rules of the house look at: the files that git has or would take, and the packages among them."""

import ast
import importlib.metadata
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Import:
    """One import of a module, with its place."""

    file: Path
    line: int
    module: str
    only_for_types: bool

    @property
    def top(self):
        return self.module.partition(".")[0]

    @property
    def where(self):
        return f"{self.file.relative_to(ROOT)}:{self.line}"

    def is_of(self, *names):
        return any(self.module == name or self.module.startswith(f"{name}.") for name in names)


@dataclass(frozen=True)
class Package:
    """A member of the workspace."""

    folder: Path
    declared: dict[str, Any]

    @property
    def name(self):
        return self.declared["project"]["name"]

    @property
    def module(self):
        """The folder that is imported."""
        (found,) = [path.parent for path in self.folder.glob("*/__init__.py") if path.parent.name != "tests"]
        return found

    @property
    def manifest(self):
        return self.declared.get("tool", {}).get("icetap", {}).get("connector")

    def sources(self):
        return sorted(path for path in self.module.rglob("*.py") if "scaffold" not in path.parts)

    def imports(self):
        return [found for path in self.sources() for found in imports_of(path)]


def imports_of(path: Path) -> Iterator[Import]:
    """Every import in a file, those inside functions too; relative ones are left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, alias.name, node in typing_only)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield Import(path, node.lineno, f"{node.module}.{alias.name}", node in typing_only)


def read_package(pyproject: Path) -> Package:
    return Package(pyproject.parent, tomllib.loads(pyproject.read_text(encoding="utf-8")))


def every_package() -> list[Package]:
    found = [
        ROOT / "shared/pyproject.toml",
        *ROOT.glob("taps/*/pyproject.toml"),
        *ROOT.glob("targets/*/pyproject.toml"),
    ]
    return [read_package(path) for path in sorted(found)]


def every_file() -> list[Path]:
    """The files of the repository: those that git has, and new ones that it does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


@pytest.fixture(scope="session")
def packages():
    return every_package()


@pytest.fixture(scope="session")
def library():
    return read_package(ROOT / "shared/pyproject.toml")


@pytest.fixture(scope="session")
def connectors():
    return [package for package in every_package() if package.manifest is not None]


@pytest.fixture(scope="session")
def files():
    return every_file()


@pytest.fixture(scope="session")
def texts(files):
    """Every text file of the repository, by path."""
    found = {}
    for path in files:
        try:
            found[path] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


@pytest.fixture(scope="session")
def root_project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def constraints():
    """The versions of constraints.txt that hold on this Python, by canonical name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {
        canonicalize_name(need.name): str(need.specifier).removeprefix("==")
        for need in wanted
        if need.marker is None or need.marker.evaluate()
    }


def closure(needs: list[str]) -> Iterator[tuple[str, str]]:
    """Every installed distribution that the requirements lead to, with its version."""
    seen: set[tuple[str, str]] = set()
    todo = [(Requirement(need), "") for need in needs]
    while todo:
        need, extra = todo.pop()
        if need.marker is not None and not need.marker.evaluate({"extra": extra}):
            continue
        for wanted in ["", *need.extras]:
            key = (canonicalize_name(need.name), wanted)
            if key in seen:
                continue
            seen.add(key)
            found = importlib.metadata.distribution(need.name)
            yield key[0], found.version
            todo += [(Requirement(line), wanted) for line in found.requires or []]
