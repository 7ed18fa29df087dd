"""The loader's settings as a catalog."""

import sys

import pytest

from icetap.catalogs import catalog_settings, open_catalog
from icetap.errors import ConfigurationError


def test_without_settings_the_catalog_is_a_file_in_the_projects_warehouse(tmp_path):
    found = catalog_settings({}, root=tmp_path)

    assert found.name == "icetap"
    assert found.properties == {
        "type": "sql",
        "uri": f"sqlite:///{tmp_path}/warehouse/catalog.db",
        "warehouse": f"file://{tmp_path}/warehouse",
    }


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("lake", "file://{}/lake"),
        ("../lake", "file://{}/lake"),
        ("/data/lake/", "file:///data/lake"),
        ("file:///data/lake", "file:///data/lake"),
    ],
)
def test_a_folder_may_be_written_in_several_ways(tmp_path, text, location):
    parent = tmp_path.parent if text.startswith("..") else tmp_path

    assert catalog_settings({"warehouse": text}, root=tmp_path).warehouse == location.format(parent)


def test_catalog_properties_go_through_unchanged_and_take_the_warehouse_only_when_it_is_given():
    catalog = {"type": "rest", "uri": "https://c", "auth": {"type": "oauth2"}, "ssl": True, "n": 3}

    assert catalog_settings({"catalog": catalog}).properties == {**catalog, "ssl": "true", "n": "3"}
    assert (
        catalog_settings({"catalog": catalog, "warehouse": "s3://b/w/"}).properties["warehouse"] == "s3://b/w"
    )
    named = {**catalog, "warehouse": "prod"}
    assert catalog_settings({"catalog": named, "warehouse": "s3://b/w"}).properties["warehouse"] == "prod"


def test_names_with_dots_that_meltano_has_taken_apart_are_joined_again():
    nested = {
        "type": "rest",
        "s3": {"endpoint": "http://s", "secret-access-key": "k"},
        "header": {"X-Iceberg-Access-Delegation": ""},
        "auth": {"type": "oauth2", "oauth2": {"client_id": "c"}},
    }

    assert catalog_settings({"catalog": nested}).properties == {
        "type": "rest",
        "s3.endpoint": "http://s",
        "s3.secret-access-key": "k",
        "header.X-Iceberg-Access-Delegation": "",
        "auth": {"type": "oauth2", "oauth2": {"client_id": "c"}},
    }


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"warehouse": "s3://bucket/lake"}, "Set 'catalog'"),
        ({"warehouse": "/data/50%"}, "holds %"),
        ({"catalog": "rest"}, "must be an object"),
        ({"catalog": ["rest"]}, "must be an object"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_way_out(settings, words):
    with pytest.raises(ConfigurationError, match=words):
        catalog_settings(settings)


def test_opening_makes_the_folder_and_twice_is_once(tmp_path):
    open_catalog({"warehouse": str(tmp_path / "a b" / "lake")}).create_namespace("raw")

    assert open_catalog({"warehouse": str(tmp_path / "a b" / "lake")}).list_namespaces() == [("raw",)]


def test_a_reader_does_not_make_a_warehouse(tmp_path):
    with pytest.raises(ConfigurationError, match="Load something first"):
        open_catalog({"warehouse": str(tmp_path / "lake")}, create=False)

    assert list(tmp_path.iterdir()) == []


def test_a_catalog_that_cannot_be_opened_is_told_without_its_address():
    settings = {"catalog": {"type": "sql", "uri": "nothing+driver://user:hunter2@host/db"}}

    with pytest.raises(ConfigurationError, match="cannot be opened") as caught:
        open_catalog(settings)

    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(catalog_settings(settings))


def test_a_driver_that_is_not_installed_is_named_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg2", None)

    with pytest.raises(ConfigurationError, match=r"'psycopg2', which is not installed.* 'catalog-postgres'"):
        open_catalog({"catalog": {"type": "sql", "uri": "postgresql+psycopg2://u:p@127.0.0.1:1/d"}})


def test_a_catalog_whose_own_package_is_missing_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)

    with pytest.raises(ConfigurationError, match=r"'boto3', which is not installed.* extra of pyiceberg"):
        open_catalog({"catalog": {"type": "glue"}})
