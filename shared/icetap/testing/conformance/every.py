"""What is true of taps and targets alike."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icetap.connectors import checkout_around
from icetap.testing.findings import (
    config_findings,
    documentation_findings,
    import_findings,
    leak_findings,
    meltano_findings,
)
from icetap.testing.subject import SECRET_CANARY

if TYPE_CHECKING:
    from icetap.testing.subject import Subject

CONFIGURATION_ERROR = 2


def test_the_manifest_says_what_people_need(connector: Subject) -> None:
    manifest = connector.connector.manifest
    wanted = ["title", "kind", "category", "docs", f"{_method(connector)}_methods"]

    missing = [f"[tool.icetap.connector] has no {name}" for name in wanted if not manifest.get(name)]

    assert missing == []
    assert connector.connector.kind == connector.connector.name.partition("-")[0]
    assert connector.connector.distribution == f"icetap-{connector.connector.name}"


def _method(connector: Subject) -> str:
    return "replication" if connector.connector.kind == "tap" else "load"


def test_the_version_is_told(connector: Subject) -> None:
    outcome = connector.run("--version")

    assert outcome.exit_code == 0
    assert connector.connector.version in outcome.stdout.decode() + outcome.stderr


def test_about_describes_the_connector(connector: Subject) -> None:
    about = connector.about

    assert about["name"] == connector.connector.name
    assert about["version"] == connector.connector.version
    assert about["description"], "--about has no description: give the class a docstring"
    assert connector.settings, "--about lists no settings"


def test_settings_can_be_understood_without_the_source(connector: Subject) -> None:
    assert list(config_findings(connector.settings)) == []


def test_an_unknown_setting_is_refused_with_the_nearest_name(connector: Subject) -> None:
    known = max(connector.settings, key=len)
    misspelt = f"{known[:-1]}q"

    outcome = connector.run(*_start_only(connector), config={**connector.sample.config, misspelt: "x"})

    assert outcome.exit_code == CONFIGURATION_ERROR, (
        f"an unknown setting ended with exit code {outcome.exit_code}"
    )
    assert f"'{misspelt}'" in outcome.stderr, "the message does not name the unknown setting"
    assert f"did you mean '{known}'" in outcome.stderr, "the message does not name the nearest setting"
    assert outcome.stdout == b""


def test_settings_of_the_wrong_type_end_with_exit_code_2(connector: Subject) -> None:
    """All are wrong at first, then those that no message has named."""
    wrong = {name: [[SECRET_CANARY]] for name in connector.sample.config}
    while wrong:
        outcome = connector.run(*_start_only(connector), config={**connector.sample.config, **wrong})

        lists = f"lists as {', '.join(wrong)}"
        assert outcome.exit_code == CONFIGURATION_ERROR, f"{lists} ended with exit code {outcome.exit_code}"
        assert "Traceback" not in outcome.stderr, f"{lists} ended with a traceback"
        left = {name: value for name, value in wrong.items() if f"'{name}'" not in outcome.stderr}
        assert len(left) < len(wrong), f"the message names no setting of {lists}"
        wrong = left


def test_a_configuration_that_is_not_json_ends_with_exit_code_2(connector: Subject) -> None:
    path = connector.new_folder() / "config.json"
    path.write_text(f'{{"password": "{SECRET_CANARY}"')

    outcome = connector.run("--config", str(path), *_start_only(connector))

    assert outcome.exit_code == CONFIGURATION_ERROR
    assert "Traceback" not in outcome.stderr
    assert list(leak_findings(outcome, SECRET_CANARY, on_stdout=True)) == []


def test_no_secret_is_told(connector: Subject) -> None:
    """Neither when it works, nor when a secret is wrong or at the wrong place."""
    secrets = [name for name, schema in connector.settings.items() if schema.get("secret")]
    works = connector.sample.config
    texts = {name: SECRET_CANARY for name in secrets if "string" in str(connector.settings[name].get("type"))}
    wrong: dict[str, Any] = {name: [[SECRET_CANARY]] for name in secrets}
    for added in [{}, texts, wrong]:
        outcome = connector.run(
            *_start_only(connector), config={**works, **added}, environ={"LOGLEVEL": "DEBUG"}
        )

        assert list(leak_findings(outcome, SECRET_CANARY, on_stdout=True)) == []


def test_no_secret_stays_in_the_temporary_folder(connector: Subject) -> None:
    secrets = [name for name, schema in connector.settings.items() if schema.get("secret")]
    texts = {name: SECRET_CANARY for name in secrets if "string" in str(connector.settings[name].get("type"))}
    folder = connector.new_folder()

    connector.run(
        *_start_only(connector), config={**connector.sample.config, **texts}, environ={"TMPDIR": str(folder)}
    )

    left = [
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and SECRET_CANARY.encode() in path.read_bytes()
    ]
    assert left == []


def test_only_declared_dependencies_are_imported(connector: Subject) -> None:
    folder = connector.connector.folder
    assert folder is not None

    findings = list(import_findings(folder / connector.connector.package, connector.connector.dependencies))

    assert findings == []


def test_the_package_can_be_imported_alone(connector: Subject) -> None:
    """No work at import, and nothing that only the tests' environment brings."""
    module, _, name = connector.connector.entry_point.partition(":")
    code = f"from {module} import {name.partition('.')[0]} as command; getattr(command, 'load', list)()"
    command = [str(connector.scripts / "python"), "-I", "-c", code]

    done = subprocess.run(command, env=connector.environ, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")


def test_the_readme_tells_every_setting(connector: Subject) -> None:
    folder = connector.connector.folder
    assert folder is not None

    findings = documentation_findings(folder, connector.settings, command=connector.connector.name)

    assert list(findings) == []


def test_meltano_yml_declares_the_plugin_with_every_setting(connector: Subject) -> None:
    folder = connector.connector.folder
    checkout = checkout_around(folder) if folder else None
    assert checkout is not None

    findings = meltano_findings(
        Path(checkout) / "meltano.yml", connector.settings, command=connector.connector.name
    )

    assert list(findings) == []


def _start_only(connector: Subject) -> list[str]:
    """What makes a connector check its settings and do little more; a target ends at the end of input."""
    return ["--discover"] if connector.connector.kind == "tap" else []
