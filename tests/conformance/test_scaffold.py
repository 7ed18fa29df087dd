"""A tap that `icetap new tap` has just written passes the whole suite."""

import inspect
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from icetap.testing.checkouts import document, scaffolded
from icetap.testing.conformance import every, leaks, taps

ROOT = Path(__file__).resolve().parents[2]


def suite_of(module):
    """The tests of a module of the suite, by name; of one that has several cases, the first."""
    return [
        pytest.param(partial(function, **first_case(function)), id=name)
        for name, function in vars(module).items()
        if name.startswith("test_") and inspect.isfunction(function)
    ]


def first_case(function):
    marks = [mark for mark in getattr(function, "pytestmark", ()) if mark.name == "parametrize"]
    firsts = {mark.args[0]: mark.args[1][0] for mark in marks}
    return {name: getattr(first, "values", (first,))[0] for name, first in firsts.items()}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A fresh tap after `make docs`."""
    subject = scaffolded(tmp_path_factory.mktemp("scaffold"))
    document(subject, ROOT / "docs" / "generator")
    return subject


@pytest.mark.parametrize("conforms", [*suite_of(every), *suite_of(taps), *suite_of(leaks)])
def test_a_fresh_tap_passes(fresh, conforms):
    conforms(fresh)


def test_the_tests_that_come_with_a_fresh_tap_pass(fresh):
    command = [
        str(fresh.scripts / "python"),
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(fresh.connector.folder),
    ]

    done = subprocess.run(command, env=fresh.environ, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize("tool", [["check"], ["format", "--check"]], ids=["lint", "format"])
def test_a_fresh_tap_follows_the_style_of_the_house(fresh, tool):
    checkout = fresh.connector.folder.parents[1]
    (checkout / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    if not (checkout / "shared").exists():  # how imports are sorted depends on what is of the house
        (checkout / "shared").symlink_to(ROOT / "shared")

    done = subprocess.run(
        [sys.executable, "-m", "ruff", *tool, "--no-cache", str(fresh.connector.folder)],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
