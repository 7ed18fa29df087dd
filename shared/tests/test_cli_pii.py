"""`icetap pii` proposes masks that the tap then takes, and tells no value."""

import json
import sqlite3

import click.testing
import pytest
import yaml

from icetap.cli.command import icetap
from icetap.cli.pii import proposals

EMAILS = [f"person{number}@example.com" for number in range(9)]
ROWS = [
    {
        "id": number,
        "login": email,
        "profile": json.dumps({"phone": f"+55 11 98765-43{number:02}", "tags": ["a"]}),
        "address": {"street": f"Rua {number}", "ok": True},
        "note": "nothing",
    }
    for number, email in enumerate(EMAILS)
]
PREVIEW = {
    "stream": "users",
    "columns": [
        {"name": name, "type": "int64" if name == "id" else "string", "key": name == "login"}
        for name in ROWS[0]
    ],
    "rows": ROWS,
}


def test_parts_of_nested_columns_are_proposed_by_their_paths():
    found = {each.column: each.mask for each in proposals(PREVIEW)}

    assert found == {"login": "hash", "profile.phone": "partial", "address.street": "redact"}


def test_what_has_a_mask_or_is_kept_is_not_proposed_again():
    masks = {"use*": {"login": "keep", "address.*": "drop"}}

    assert [each.column for each in proposals(PREVIEW, masks=masks)] == ["profile.phone"]


@pytest.fixture
def database(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("MELTANO_ENVIRONMENT", "MELTANO_PROJECT_ROOT"):
        monkeypatch.delenv(name, raising=False)
    connection = sqlite3.connect(tmp_path / "crm.db")
    connection.execute(
        "CREATE TABLE people (id INTEGER PRIMARY KEY, contact TEXT, full_name TEXT, n INTEGER)"
    )
    connection.executemany(
        "INSERT INTO people (contact, full_name, n) VALUES (?, ?, 1)",
        [(email, f"Ana {number}") for number, email in enumerate(EMAILS)],
    )
    connection.commit()
    connection.close()
    return tmp_path / "crm.db"


def test_the_proposal_is_a_block_that_the_tap_takes_and_holds_no_value(database, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"database": str(database)}))
    runner = click.testing.CliRunner()

    done = runner.invoke(icetap, ["pii", "tap-sqlite", "people", "--config", str(config)])

    assert done.exit_code == 0, done.output
    block = yaml.safe_load(done.output)
    assert block == {"masks": {"people": {"contact": "hash", "full_name": "redact"}}}
    assert "9 of 9 sampled values have the form of: e-mail address" in done.output
    assert not [text for text in (*EMAILS, "Ana") if text in done.output]
    config.write_text(json.dumps({"database": str(database), **block, "mask_key": "pepper for tests"}))
    again = runner.invoke(icetap, ["pii", "tap-sqlite", "people", "--config", str(config)])
    assert (again.exit_code, again.stdout) == (0, "")
