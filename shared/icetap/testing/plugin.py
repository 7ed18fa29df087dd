"""The pytest plug-in: connectors and servers as fixtures, and at the end which real servers were used.

Loaded by `-p icetap.testing.plugin` in the root's pytest options.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from icetap.connectors import find_connectors
from icetap.secrets.redaction import REDACTOR
from icetap.testing.servers import LEDGER
from icetap.testing.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from icetap.connectors import Connector
    from icetap.testing.databases import Postgres
    from icetap.testing.lakes import S3, RestServer
    from icetap.testing.mariadb import MariaDB

SUITE = "icetap.testing.conformance"
_KINDS = {"connector": ("tap", "target"), "tap": ("tap",), "rest_tap": ("tap",), "target": ("target",)}
_REST = re.compile(r"icetap\[(?:.*,)?\s*rest\b")
_subjects: dict[str, Subject] = {}
pytest.register_assert_rewrite(SUITE)  # before any test imports a part of it


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test of the suite that asks for `connector`, `tap` or `target` every one that there is."""
    if not metafunc.function.__module__.startswith(SUITE):
        return
    for name, kinds in _KINDS.items():
        if name in metafunc.fixturenames:
            found = [each for each in find_connectors(metafunc.config.rootpath) if each.kind in kinds]
            if name == "rest_tap":
                found = [each for each in found if any(_REST.match(text) for text in each.dependencies)]
            metafunc.parametrize(name, found, ids=[each.name for each in found], indirect=True)


@pytest.fixture(autouse=True)
def _no_secrets_of_other_tests() -> Iterator[None]:
    """What one test keeps secret may be an ordinary word in the messages that the next one reads."""
    yield
    REDACTOR.forget()


@pytest.fixture(scope="session")
def connector(request: pytest.FixtureRequest, conformance_workspace: Path) -> Subject:
    """Each connector of the checkout."""
    return _subject(request.param, conformance_workspace)


@pytest.fixture(scope="session")
def tap(request: pytest.FixtureRequest, conformance_workspace: Path) -> Subject:
    """Each tap of the checkout."""
    return _subject(request.param, conformance_workspace)


@pytest.fixture(scope="session")
def rest_tap(request: pytest.FixtureRequest, conformance_workspace: Path) -> Subject:
    """Each tap of an HTTP API: its manifest asks for `icetap[rest]`."""
    return _subject(request.param, conformance_workspace)


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest, conformance_workspace: Path) -> Subject:
    """Each target of the checkout."""
    return _subject(request.param, conformance_workspace)


@pytest.fixture(scope="session")
def conformance_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all connectors of this session."""
    return tmp_path_factory.mktemp("conformance")


def _subject(found: Connector, workspace: Path) -> Subject:
    """One subject for each connector and session, so that its first run is made once."""
    return _subjects.setdefault(found.name, Subject(found, workspace))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """PostgreSQL; a test makes a database of its own in it."""
    from icetap.testing.databases import postgres

    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDB]:
    """MariaDB with its binary log on; a test makes a database of its own in it."""
    from icetap.testing.mariadb import mariadb

    with mariadb() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """An S3 server that checks credentials."""
    from icetap.testing.lakes import s3

    with s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def rest_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestServer]:
    """Iceberg's own REST catalog on a local folder."""
    from icetap.testing.lakes import rest_catalog

    with rest_catalog(tmp_path_factory.mktemp("rest")) as server:
        yield server


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker of pytest-xdist: hand the ledger to the process that prints it."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["icetap_servers"] = (LEDGER.used, LEDGER.missing)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker of pytest-xdist noted."""
    used, missing = getattr(node, "workeroutput", {}).get("icetap_servers", ({}, {}))
    LEDGER.used.update(used)
    LEDGER.missing.update(missing)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell which real servers and engines were used, and which could not be had."""
    lines = LEDGER.lines()
    if lines:
        terminalreporter.section("real servers and engines")
        for line in lines:
            terminalreporter.write_line(line)
