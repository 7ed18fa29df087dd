"""The generator of meltano.yml, settings tables and reference."""

import importlib
import sys
from types import SimpleNamespace

import pytest
import yaml

from .conftest import ROOT

EMPTY = "plugins:\n  extractors:\n\n  loaders:\n  - name: mine\n"
ABOUT = {
    "capabilities": ["catalog", "validate-records"],
    "settings": {
        "properties": {
            "stream_maps": {"type": "object"},
            "host": {"type": ["string"], "title": "Host", "description": "Name or\n address."},
            "password": {"type": ["string", "null"], "title": "Password", "secret": True, "writeOnly": True},
            "port": {"type": ["integer", "null"], "minimum": 1, "maximum": 65535, "default": 5432},
            "mode": {"type": ["string", "null"], "enum": ["fast", "safe"], "default": "safe"},
            "since": {"type": ["string", "null"], "format": "date-time"},
            "tables": {"type": ["array", "null"]},
            "either": {"anyOf": [{"type": "string"}, {"type": "array"}]},
        },
        "required": ["host"],
    },
}


@pytest.fixture(scope="module")
def generator():
    sys.path.insert(0, str(ROOT / "docs" / "generator"))
    try:
        modules = {name: importlib.import_module(name) for name in ("plugins", "blocks", "pages", "files")}
    finally:
        sys.path.pop(0)
    return SimpleNamespace(**modules)


@pytest.fixture
def plugin(generator):
    connector = SimpleNamespace(
        name="tap-shop",
        kind="tap",
        manifest={"title": "Shop", "docs": "https://example.com", "arrow_lane": True},
        dependencies=("icetap[sql]",),
    )
    return generator.plugins.Plugin(connector, ABOUT)


def test_a_new_connector_is_put_at_the_head_of_its_list_with_its_arrow_lane(generator, plugin):
    text = generator.files.plugins_in_meltano(EMPTY, [plugin])
    written = yaml.safe_load(text)["plugins"]
    assert {item["name"] for item in written["extractors"]} == {"tap-shop", "tap-shop-arrow"}
    assert [item["name"] for item in written["loaders"]] == ["mine"]


def test_writing_twice_changes_nothing(generator, plugin):
    once = generator.files.plugins_in_meltano(EMPTY, [plugin])
    assert generator.files.plugins_in_meltano(once, [plugin]) == once


def test_what_was_written_by_hand_beside_a_block_stays(generator, plugin):
    once = generator.files.plugins_in_meltano(EMPTY, [plugin])
    edited = once.replace(
        "  # generated:end tap-shop\n", "  # generated:end tap-shop\n    config:\n      host: here\n"
    )
    edited = edited.replace("label: Shop", "label: Old name")
    fresh = yaml.safe_load(generator.files.plugins_in_meltano(edited, [plugin]))["plugins"]["extractors"]
    (shop,) = [item for item in fresh if item["name"] == "tap-shop"]
    assert shop["config"] == {"host": "here"}
    assert shop["label"] == "Shop"


def test_a_block_of_a_connector_that_is_gone_is_refused(generator, plugin):
    once = generator.files.plugins_in_meltano(EMPTY, [plugin])
    with pytest.raises(generator.files.MarkerError, match="tap-shop"):
        generator.files.plugins_in_meltano(once, [])


def test_a_file_without_markers_is_refused_by_name(generator):
    with pytest.raises(generator.files.MarkerError, match=r"README\.md"):
        generator.files.between("text", begin="<begin>", end="<end>", content="", where="README.md")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("password", {"kind": "string", "sensitive": True}, id="secret"),
        pytest.param("port", {"kind": "integer", "value": 5432}, id="number with default"),
        pytest.param("since", {"kind": "date_iso8601"}, id="instant"),
        pytest.param("tables", {"kind": "array"}, id="list"),
        pytest.param("either", {"kind": "string"}, id="text or list"),
        pytest.param(
            "host", {"kind": "string", "description": "Name or address."}, id="description in one line"
        ),
        pytest.param(
            "mode",
            {
                "kind": "options",
                "value": "safe",
                "options": [{"label": "fast", "value": "fast"}, {"label": "safe", "value": "safe"}],
            },
            id="choice",
        ),
    ],
)
def test_a_setting_is_told_in_meltanos_words(generator, plugin, name, expected):
    (setting,) = [setting for setting in plugin.settings() if setting.name == name]
    written = generator.blocks.meltano_setting(setting)
    assert {key: value for key, value in written.items() if key not in {"name", "label"}} == expected


def test_a_plugin_installs_both_local_packages_in_the_tested_versions(generator, plugin):
    (block,) = yaml.safe_load(generator.blocks.plugin_block(plugin))
    assert block["pip_url"].split() == [
        "-c",
        "${MELTANO_PROJECT_ROOT}/constraints.txt",
        "-e",
        "${MELTANO_PROJECT_ROOT}/shared[sql]",
        "-e",
        "${MELTANO_PROJECT_ROOT}/taps/tap-shop",
    ]
    assert block["capabilities"] == ["catalog"]
    assert block["settings_group_validation"] == [["host"]]
    assert block["settings"][-1]["name"] == "stream_maps"


def test_the_settings_table_names_bounds_defaults_and_secrets(generator, plugin):
    table = generator.pages.settings_table(plugin)
    assert "| `host` | text | **required** | Name or address. |" in table
    assert "| `password` | text, secret |" in table
    assert "| `port` | whole number, 1 to 65535 | `5432` |" in table
    assert "From the Singer SDK: `stream_maps`." in table
