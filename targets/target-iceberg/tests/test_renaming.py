"""`rename-column`: the table's column has another name, the tap's goes on into it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from icetap.errors import ConfigurationError, StateError
from target_iceberg.commands import commands
from target_iceberg.contracts.renaming import rename_column
from target_iceberg.tables import loaded_table

ID = {"id": {"type": "integer"}}
TEXT = {"type": ["null", "string"]}
LONG = {"type": ["null", "integer"]}


@pytest.fixture
def load(lake, singer):
    def load(*rows, properties=None, keys=("id",), **config):
        schema = singer.schema(properties={**ID, **(properties or {"v": LONG})}, keys=list(keys))
        return lake.load(schema, *(singer.record(row) for row in rows), **config)

    return load


def columns(lake) -> list[str]:
    return [one.name for one in lake.table().schema().fields]


@pytest.mark.parametrize("old", ["v", "amount"], ids=["by-the-table", "by-the-source"])
def test_the_taps_column_goes_on_into_the_renamed_one(lake, load, old):
    load({"id": 1, "v": 1})
    rename_column(lake.table(), "v", "amount")
    if old == "amount":
        rename_column(lake.table(), "v", "total")
    name = "total" if old == "amount" else "amount"
    assert load({"id": 2, "v": 2}).error is None
    assert columns(lake) == ["id", name]
    assert [row[name] for row in lake.rows()] == [1, 2]


def test_a_key_may_be_renamed(lake, load):
    load({"id": 1, "v": 1}, {"id": 2, "v": 1})
    rename_column(lake.table(), "id", "order_id")
    assert lake.table().properties["icetap.keys"] == "order_id"
    assert lake.table().schema().identifier_field_names() == {"order_id"}
    assert load({"id": 2, "v": 2}, {"id": 3, "v": 3}).error is None
    assert [row["v"] for row in lake.rows(by="order_id")] == [1, 2, 3]


def test_variants_of_a_renamed_column_are_found_again(lake, load):
    load({"id": 1, "v": 1})
    load({"id": 2, "v": "x"}, properties={"v": TEXT})
    rename_column(lake.table(), "v", "amount")
    rename_column(lake.table(), "v__string", "amount_text")
    load({"id": 3, "v": "y"}, properties={"v": TEXT})
    load({"id": 4, "v": 4})
    assert columns(lake) == ["id", "amount", "amount_text"]
    assert [(row["amount"], row["amount_text"]) for row in lake.rows()] == [
        (1, None),
        (None, "x"),
        (None, "y"),
        (4, None),
    ]


def test_json_text_stays_json_text(lake, load):
    load({"id": 1, "v": {"b": 1, "a": 2}}, properties={"v": {"type": "object"}})
    rename_column(lake.table(), "v", "document")
    done = load({"id": 1, "v": {"a": 2, "b": 1}}, properties={"v": {"type": "object"}})
    assert done.stream()["rows_unchanged"] == 1


def test_a_column_of_the_source_with_the_new_name_gets_another(lake, load):
    load({"id": 1, "v": 1})
    rename_column(lake.table(), "v", "w")
    load({"id": 2, "v": 2, "w": 3}, properties={"v": LONG, "w": LONG})
    assert columns(lake) == ["id", "w", "w_2"]
    assert [(row["w"], row["w_2"]) for row in lake.rows()] == [(1, None), (2, 3)]


def test_a_boundary_without_keys_is_found_by_the_new_name(lake, singer):
    schema = singer.schema(properties=ID, keys=[], cursor="id")
    lake.ok(schema, singer.record({"id": 1}), singer.record({"id": 2}), singer.state(s=2))
    rename_column(lake.table(), "id", "number")
    lake.ok(singer.state(s=2), schema, singer.record({"id": 2}), singer.record({"id": 3}), singer.state(s=3))
    assert [row["number"] for row in lake.rows(by="number")] == [1, 2, 3]


@pytest.mark.parametrize("new", ["id", "ID", "V", ""], ids=["another", "another-in-capitals", "", "empty"])
def test_a_name_that_is_taken_is_refused(lake, load, new):
    load({"id": 1, "v": 1})
    if new == "V":
        rename_column(lake.table(), "v", "V")  # the same column in capitals meets nobody
        assert columns(lake) == ["id", "V"]
        return
    with pytest.raises(ConfigurationError):
        rename_column(lake.table(), "v", new)
    assert columns(lake) == ["id", "v"]


@pytest.mark.parametrize(
    ("old", "said"), [("w", "did you mean"), ("_sdc_sequence", "own")], ids=["unknown", "own"]
)
def test_a_column_that_cannot_be_renamed_is_refused(lake, load, old, said):
    load({"id": 1, "v": 1}, properties={"v": LONG, "ww": LONG}, add_record_metadata=True)
    with pytest.raises(ConfigurationError, match=said):
        rename_column(lake.table(), old, "x")


def test_a_load_that_runs_meanwhile_is_fenced_off(lake, load, monkeypatch):
    load({"id": 1, "v": 1})
    original = loaded_table.commit_change
    done = []

    def commit(table, change, *, stage):
        if not done:
            done.append(True)
            rename_column(lake.table(), "v", "amount")
        return original(table, change, stage=stage)

    monkeypatch.setattr(loaded_table, "commit_change", commit)
    assert isinstance(load({"id": 2, "v": 2}).error, StateError)
    assert columns(lake) == ["id", "amount"]
    assert load({"id": 2, "v": 2}).error is None


def test_the_command(lake, load):
    load({"id": 1, "v": 1})
    path = lake.folder / "settings.json"
    path.write_text(json.dumps(lake.config))
    done = CliRunner().invoke(commands, ["rename-column", "s", "v", "amount", "--config", str(path)])
    assert (done.exit_code, columns(lake)) == (0, ["id", "amount"])
    refused = CliRunner().invoke(commands, ["rename-column", "s", "amount", "id", "--config", str(path)])
    assert refused.exit_code == 2
    assert "already" in refused.stderr
