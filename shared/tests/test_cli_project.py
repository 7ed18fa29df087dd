"""Settings of a connection: Meltano's precedence, and nothing secret on the way."""

import json
import textwrap

import pytest

from icetap.cli.configuration import read_catalog_settings, read_connection
from icetap.cli.project import find_project
from icetap.errors import ConfigurationError

MELTANO_YML = """
default_environment: dev
environments:
- name: dev
  config:
    plugins:
      extractors:
      - name: tap-a
        config: {user: from-dev, nested: {in_dev: 1}}
- name: prod
  config:
    plugins:
      loaders:
      - name: target-iceberg
        config: {warehouse: s3://lake/prod}
plugins:
  extractors:
  - name: tap-a
    namespace: tap_a
    settings:
    - {name: user}
    - {name: port, kind: integer}
    - {name: tls, kind: boolean}
    - {name: streams, kind: object}
    - {name: nested.in_variable, kind: integer}
    config:
      user: from-plugin
      host: from-plugin
      file: ${MELTANO_PROJECT_ROOT}/data.db
      greeting: hello $NAME_FROM_DOTENV, ${MISSING}!
      nested: {in_plugin: 1}
      nested.dotted: 2
  - name: tap-b
    inherit_from: tap-a
    config: {user: from-child}
  - name: tap-lost
    inherit_from: tap-c
  loaders:
  - name: target-iceberg
    namespace: target_iceberg
    config: {warehouse: lake}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder inside a Meltano project; variables that could get in the way are gone."""
    for name in ("MELTANO_ENVIRONMENT", "MELTANO_PROJECT_ROOT", "TARGET_ICEBERG_WAREHOUSE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "meltano.yml").write_text(MELTANO_YML)
    inner = tmp_path / "notebooks"
    inner.mkdir()
    monkeypatch.chdir(inner)
    return tmp_path


def settings(folder, name="tap-a", *, environment=None, **environ):
    return find_project(folder, environment=environment, environ=environ).settings(name)


@pytest.mark.parametrize(
    ("dotenv", "environ", "user"),
    [
        ("", {"MELTANO_ENVIRONMENT": "prod"}, "from-plugin"),
        ("", {}, "from-dev"),
        ("TAP_A_USER=from-dotenv", {}, "from-dotenv"),
        ("TAP_A_USER=from-dotenv", {"TAP_A_USER": "from-variable"}, "from-variable"),
    ],
    ids=["plug-in config", "environment in meltano.yml", ".env", "environment variable"],
)
def test_each_place_beats_the_one_before(project, dotenv, environ, user):
    (project / ".env").write_text(dotenv)

    assert settings(project / "notebooks", **environ)["user"] == user


def test_objects_are_merged_and_dotted_names_are_objects(project):
    found = settings(project, TAP_A_NESTED_IN_VARIABLE="3")

    assert found["nested"] == {"in_plugin": 1, "dotted": 2, "in_dev": 1, "in_variable": 3}


def test_values_from_variables_have_the_kind_of_their_setting(project):
    found = settings(
        project, TAP_A_PORT="5432", TAP_A_TLS="yes", TAP_A_STREAMS='{"a": {}}', TAP_A_UNDECLARED="x"
    )

    assert (found["port"], found["tls"], found["streams"]) == (5432, True, {"a": {}})
    assert "undeclared" not in found


def test_a_value_of_another_kind_is_refused_without_being_repeated(project):
    with pytest.raises(ConfigurationError, match="TAP_A_PORT must hold a value of kind integer") as caught:
        settings(project, TAP_A_PORT="hunter2")

    assert "hunter2" not in str(caught.value)


def test_variables_inside_values_are_filled_in_and_missing_ones_are_empty(project):
    (project / ".env").write_text("NAME_FROM_DOTENV=Ada")

    found = settings(project)

    assert found["greeting"] == "hello Ada, !"
    assert found["file"] == f"{project}/data.db"


def test_a_plugin_inherits_what_it_does_not_say_itself(project):
    found = settings(project, "tap-b")

    assert (found["user"], found["host"]) == ("from-child", "from-plugin")
    assert settings(project, "tap-b", TAP_B_USER="from-variable")["user"] == "from-variable"
    assert find_project(project).command("tap-b") == "tap-a"


def test_a_plugin_that_inherits_from_nothing_is_told(project):
    with pytest.raises(
        ConfigurationError, match="'tap-lost' inherits from 'tap-c', which is not in the file"
    ):
        settings(project, "tap-lost")


def test_an_unknown_environment_is_told_with_those_there_are(project):
    with pytest.raises(
        ConfigurationError, match=r"no environment 'prud'; did you mean 'prod'\? There are: dev, prod"
    ):
        find_project(project, environment="prud")


def test_a_broken_meltano_yml_is_told_by_its_line_without_its_text(project):
    (project / "meltano.yml").write_text("plugins:\n  password: [hunter2\n  b: c")

    with pytest.raises(ConfigurationError, match="line 3: this is not valid YAML") as caught:
        find_project(project)

    assert "hunter2" not in str(caught.value)


def test_an_unknown_tap_is_told_with_plugins_and_connectors(project):
    with pytest.raises(ConfigurationError, match=r"No tap is called 'tap-aa'; did you mean 'tap-a'\?"):
        read_connection("tap-aa", config=None, environment=None)


def test_the_connector_runs_in_the_project_with_its_variables(project):
    (project / ".env").write_text("TAP_A_PASSWORD=x")

    connection = read_connection("tap-b", config=None, environment=None)

    assert (connection.command, connection.folder) == ("tap-a", project)
    assert connection.environ["TAP_A_PASSWORD"] == "x"
    assert connection.environ["MELTANO_PROJECT_ROOT"] == str(project)


def test_a_file_given_beats_meltano_yml(project):
    (project / "settings.json").write_text(json.dumps({"user": "from-file"}))

    connection = read_connection("tap-a", config=project / "settings.json", environment=None)

    assert connection.settings == {"user": "from-file"}


@pytest.mark.parametrize(
    ("text", "words"), [("{'password': 'hunter2'}", "not valid JSON"), ("[1]", "must hold a JSON object")]
)
def test_a_bad_settings_file_is_told_without_its_text(project, text, words):
    (project / "settings.json").write_text(text)

    with pytest.raises(ConfigurationError, match=words) as caught:
        read_connection("tap-a", config=project / "settings.json", environment=None)

    assert "hunter2" not in str(caught.value)


def test_a_connection_never_shows_its_settings(project):
    (project / ".env").write_text("TAP_A_USER=hunter2")

    assert "hunter2" not in repr(read_connection("tap-a", config=None, environment=None))


@pytest.mark.parametrize(
    ("environment", "variables", "warehouse"),
    [
        (None, {}, "lake"),
        ("prod", {}, "s3://lake/prod"),
        ("prod", {"TARGET_ICEBERG_WAREHOUSE": "elsewhere"}, "elsewhere"),
    ],
)
def test_the_warehouse_is_found_as_the_loader_finds_it(
    project, monkeypatch, environment, variables, warehouse
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    found, root = read_catalog_settings("target-iceberg", config=None, environment=environment)

    assert (found["warehouse"], root) == (warehouse, project)


def test_a_catalog_may_come_from_a_variable_as_json(project, monkeypatch):
    monkeypatch.setenv("TARGET_ICEBERG_CATALOG", '{"type": "rest"}')

    assert read_catalog_settings("target-iceberg", config=None, environment=None)[0]["catalog"] == {
        "type": "rest"
    }


def test_a_meltano_yml_without_plugins_is_no_obstacle(tmp_path, monkeypatch):
    (tmp_path / "meltano.yml").write_text(textwrap.dedent("version: 1\nplugins:\n"))
    monkeypatch.chdir(tmp_path)

    assert read_catalog_settings("target-iceberg", config=None, environment=None) == ({}, tmp_path)
