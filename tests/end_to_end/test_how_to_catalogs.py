"""The page on catalogs and object stores: each of its blocks loads a table, with other addresses."""

import json
import re
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from icetap.testing.lakes import rest_catalog
from icetap.testing.proxies import TokenGate

from .pipes import BIN

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "use-a-catalog.md"
BLOCKS = [
    yaml.safe_load(text)[0]["config"]
    for text in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
]
SECRET = "s3cret of the client/+"
MESSAGES = [
    {
        "type": "SCHEMA",
        "stream": "s",
        "schema": {"type": "object", "properties": {"id": {"type": "integer"}}},
        "key_properties": ["id"],
    },
    *({"type": "RECORD", "stream": "s", "record": {"id": number}} for number in (1, 2, 3)),
    {"type": "STATE", "value": {"bookmarks": {"s": {"replication_key": "id", "replication_key_value": 3}}}},
]


def documented(place, **addresses):
    """The settings of a block, with the addresses of this test's servers."""
    text = json.dumps(BLOCKS[place])
    for name, address in addresses.items():
        written = {"db": "db.example.com/iceberg", "folder": "/data/warehouse"}.get(
            name, f"https://{name}.example.com"
        )
        assert written in text
        text = text.replace(written, address)
    assert "example.com" not in text
    return json.loads(text)


def loads_and_answers(project, settings, *, secrets, **environ):
    """Load with Meltano, ask with `icetap query`, look with `inspect`; nobody tells a secret."""
    project.configure(target={"warehouse": None, **settings})
    content = json.loads((project.folder / "meltano.yml").read_text())
    loader = content["plugins"]["loaders"][0]
    loader["config"] = settings
    (project.folder / "meltano.yml").write_text(json.dumps(content))
    project.print_lines(MESSAGES)
    said = project.run("tap-lines", "target-iceberg", **environ)
    said += project.run("tap-lines", "target-iceberg", **environ)
    assert "3 unchanged" in said
    asked = subprocess.run(
        [str(BIN / "icetap"), "query", "--json", "select count(*) as n from s"],
        cwd=project.folder,
        env={**project.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout) == [{"n": 3}]
    told = said + asked.stdout + asked.stderr
    assert [secret for secret in secrets if secret in told or quote(secret, safe="") in told] == []


def test_the_page_has_four_blocks():
    assert [block["catalog"]["type"] for block in BLOCKS] == ["sql", "rest", "rest", "rest"]


def test_a_sql_catalog_on_postgresql(project, postgres_server):
    address = f"{postgres_server.host}:{postgres_server.port}/{postgres_server.new_database()}"
    loads_and_answers(
        project,
        documented(0, db=address, folder=str(project.folder / "lake")),
        secrets=[postgres_server.password],
        CATALOG_USER=postgres_server.user,
        CATALOG_PASSWORD=quote(postgres_server.password, safe=""),
    )


@pytest.mark.servers
@pytest.mark.parametrize("place", [1, 2], ids=["credential", "auth"])
def test_a_rest_catalog_with_oauth2(project, tmp_path, place):
    with (
        rest_catalog(tmp_path / "rest") as server,
        TokenGate(server.port, client="icetap", secret=SECRET) as gate,
    ):
        loads_and_answers(
            project, documented(place, catalog=gate.url), secrets=[SECRET], CATALOG_SECRET=SECRET
        )
        assert gate.issued
        assert server.table("s")


@pytest.mark.servers
def test_tables_in_s3(project, tmp_path, s3_server):
    keys = s3_server.properties()
    with rest_catalog(tmp_path / "rest", store=s3_server) as server:
        loads_and_answers(
            project,
            documented(3, catalog=server.url, s3=keys["s3.endpoint"]),
            secrets=[keys["s3.secret-access-key"]],
            S3_ACCESS_KEY_ID=keys["s3.access-key-id"],
            S3_SECRET_ACCESS_KEY=keys["s3.secret-access-key"],
        )
        assert server.table("s")["metadata-location"].startswith("s3://lake/warehouse/raw/s/")
