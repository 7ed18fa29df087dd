"""A checkout with a freshly scaffolded tap, installed in an environment of its own; to test, and to break."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from typing import TYPE_CHECKING

from icetap.cli.new import new_tap
from icetap.connectors import connector_named, find_connectors
from icetap.testing.subject import Subject

if TYPE_CHECKING:
    from pathlib import Path

    from icetap.connectors import Connector

MELTANO_YML = """\
plugins:
  extractors:

  loaders:
"""
PYPROJECT = """\
[tool.uv.workspace]
members = ["taps/*"]
"""


def scaffolded(folder: Path, name: str = "help-desk") -> Subject:
    """Write a checkout into an empty folder, with the tap that `icetap new tap NAME` makes, installed."""
    checkout = folder / "checkout"
    (checkout / "taps").mkdir(parents=True)
    (checkout / "pyproject.toml").write_text(PYPROJECT)
    (checkout / "meltano.yml").write_text(MELTANO_YML)
    new_tap(name, start=checkout)
    connector = connector_named(f"tap-{name}", find_connectors(checkout))
    return Subject(connector, folder, scripts=_install(connector, folder / "environment"))


def _install(connector: Connector, folder: Path) -> Path:
    """Make an environment in which the connector is installed as an editable package; return its scripts.

    The rest comes from the environment of the tests, so that nothing is fetched or built.
    """
    venv.create(folder, symlinks=True, with_pip=False)
    variables = {"base": str(folder), "platbase": str(folder)}
    packages = folder / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    scripts = folder / "bin"
    assert sysconfig.get_path("purelib", vars=variables).endswith(packages.name)
    (packages / "connector.pth").write_text(
        f"{connector.folder}\nimport site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    )
    information = packages / f"{connector.distribution.replace('-', '_')}-{connector.version}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {connector.distribution}\nVersion: {connector.version}\n"
    )
    module, _, function = connector.entry_point.partition(":")
    command = scripts / connector.name
    command.write_text(
        f"#!{scripts / 'python'}\nfrom {module} import {function.partition('.')[0]}\n{function}()\n"
    )
    command.chmod(0o755)
    return scripts


def document(subject: Subject, generator: Path) -> None:
    """Run the generator of the docs (`make docs`) over the scaffolded tap's checkout."""
    folder = subject.connector.folder
    assert folder is not None
    checkout = folder.parents[1]
    (checkout / "docs" / "reference").mkdir(parents=True)
    shutil.copytree(generator, checkout / "docs" / "generator")  # it writes to the checkout that it lies in
    done = subprocess.run(
        [str(subject.scripts / "python"), str(checkout / "docs" / "generator")],
        env=subject.environ,
        cwd=checkout,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
