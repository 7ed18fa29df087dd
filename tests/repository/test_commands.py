"""The commands of the house: make, CI, Meltano."""

import json
import os
import re
import subprocess
import sys
from importlib.resources import files as resources

import jsonschema
import pytest
import yaml

from .conftest import ROOT

TARGETS = {"demo", "test", "test-servers", "check", "bench", "soak", "docs"}


@pytest.fixture(scope="module")
def meltano():
    return yaml.safe_load((ROOT / "meltano.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def makefile():
    """Each target of the Makefile with its one line and its recipe."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    rules = re.findall(r"^([a-z-]+):(?!=)[^\n#]*(?:## ([^\n]+))?\n((?:\t[^\n]*\n)*)", text, re.MULTILINE)
    return {name: (title, recipe.splitlines()) for name, title, recipe in rules}


def test_every_make_target_says_what_it_does(makefile):
    assert set(makefile) >= TARGETS
    assert [name for name, (title, _) in makefile.items() if not title] == []


def test_every_make_recipe_is_short(makefile):
    assert {name: len(recipe) for name, (_, recipe) in makefile.items() if not 0 <= len(recipe) <= 3} == {}


def test_make_help_lists_every_target(makefile):
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [name for name in makefile if f"make {name} " not in shown] == []


def test_ci_runs_check_and_both_kinds_of_tests():
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert re.search(r"make .*\bcheck test test-servers\b", script.read_text(encoding="utf-8"))


def test_meltano_yml_follows_meltanos_own_schema(meltano):
    schema = json.loads(
        resources("meltano.schemas").joinpath("meltano.schema.json").read_text(encoding="utf-8")
    )
    errors = jsonschema.Draft202012Validator(schema).iter_errors(meltano)
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_meltano_sends_no_statistics_and_asks_no_hub(meltano):
    assert meltano["send_anonymous_usage_stats"] is False
    plugins = [plugin for kind in meltano["plugins"].values() for plugin in kind]
    asks = [
        plugin["name"]
        for plugin in plugins
        if "inherit_from" not in plugin and not {"namespace", "executable", "pip_url"} <= set(plugin)
    ]
    assert asks == []


def test_meltano_yml_has_every_connector_and_nothing_that_is_not_there(meltano, connectors):
    names = {plugin["name"] for kind in meltano["plugins"].values() for plugin in kind}
    wanted = {connector.folder.name for connector in connectors}
    wanted |= {
        f"{connector.folder.name}-arrow" for connector in connectors if connector.manifest.get("arrow_lane")
    }
    assert wanted <= names
    inherited = {plugin.get("inherit_from") for kind in meltano["plugins"].values() for plugin in kind} - {
        None
    }
    assert inherited <= names


def test_jobs_and_schedules_name_what_exists(meltano):
    names = {plugin["name"] for kind in meltano["plugins"].values() for plugin in kind}
    jobs = {job["name"]: [word for task in job["tasks"] for word in task.split()] for job in meltano["jobs"]}
    assert {word for words in jobs.values() for word in words} <= names
    assert {schedule["job"] for schedule in meltano["schedules"]} <= set(jobs)
    assert {environment["name"] for environment in meltano["environments"]} >= {"dev", "prod"}
    assert meltano["default_environment"] == "dev"


def test_generated_files_are_fresh():
    done = subprocess.run(
        [sys.executable, "docs/generator", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
