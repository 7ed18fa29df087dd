"""`rekey`: another key for a table, when every row has it and no two the same."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from icetap.errors import ConfigurationError, DataError, StateError
from target_iceberg.commands import commands
from target_iceberg.contracts import rekey as module

TEXT = {"type": ["null", "string"]}
LONG = {"type": ["null", "integer"]}
NAMED = {"id": LONG, "name": TEXT, "at": LONG}
CLEAN = [{"id": 1, "name": "a", "at": 1}, {"id": 2, "name": "b", "at": 1}]
DOUBLE = {"id": 3, "name": "a", "at": 2}
NAMELESS = {"id": 4, "name": None, "at": 3}


@pytest.fixture
def people(lake, singer):
    """Load rows of stream s with the columns id, name and at; by default with the key id."""

    def load(*rows, keys=("id",), properties=None, **config):
        properties = properties or {**NAMED, **{key: {"type": NAMED[key]["type"][1]} for key in keys}}
        schema = singer.schema(properties=properties, keys=list(keys))
        return lake.load(schema, *(singer.record(row) for row in rows), **config)

    return load


def rekeyed(lake, *keys, is_dry_run=False, **removes):
    removes = module.RowsToRemove(**removes)
    return module.Rekeying(lake.table(), keys, removes=removes).run(is_dry_run=is_dry_run)


def key_of(lake) -> tuple:
    table = lake.table()
    required = {one.name for one in table.schema().fields if one.required}
    assert required == table.schema().identifier_field_names()
    return table.properties["icetap.keys"], required


@pytest.mark.parametrize("old", [("id",), ()], ids=["from-a-key", "from-none"])
@pytest.mark.parametrize("new", [("name",), ("name", "id")], ids=["one-column", "two-columns"])
def test_a_table_with_a_new_key_is_merged_by_it(lake, people, old, new):
    people(*CLEAN, keys=old)
    refused = people(*CLEAN, keys=new)
    assert isinstance(refused.error, DataError)
    assert f"target-iceberg rekey s --keys {','.join(new)}" in str(refused.error)

    assert rekeyed(lake, *new).is_done

    assert key_of(lake) == (",".join(new), set(new))
    done = people({"id": 1, "name": "a", "at": 9}, {"id": 3, "name": "c", "at": 9}, keys=new)
    assert done.error is None
    assert [(row["id"], row["at"]) for row in lake.rows()] == [(1, 9), (2, 1), (3, 9)]


def test_keys_in_another_order_are_the_same_key(lake, people):
    assert people(*CLEAN, keys=("id", "name")).error is None
    assert people(*CLEAN, keys=("name", "id")).error is None


def test_the_old_key_may_be_null_afterwards(lake, people):
    people(*CLEAN)
    rekeyed(lake, "name")
    assert people({"id": None, "name": "c", "at": 1}, keys=("name",)).error is None
    assert len(lake.rows()) == 3


def test_a_table_may_lose_its_key(lake, people):
    people(*CLEAN)
    assert rekeyed(lake).is_done
    assert key_of(lake) == ("", set())
    assert people(*CLEAN, keys=()).error is None
    assert len(lake.rows()) == 4


def test_rows_in_the_way_are_told_and_nothing_changes(lake, people):
    people(*CLEAN, DOUBLE, NAMELESS)
    before = lake.table().metadata
    report = rekeyed(lake, "name")
    assert not report.is_done
    assert report.nulls == {"name": 1}
    assert (report.repeated_keys, report.repeated_rows) == (1, 2)
    assert report.examples == [({"name": "a"}, 2)]
    assert lake.table().metadata == before
    refusal = str(module.refusal(report))
    assert "--drop-null-keys" in refusal
    assert "--latest-by" in refusal


@pytest.mark.parametrize("merge_mode", ["copy-on-write", "merge-on-read"])
def test_rows_in_the_way_are_removed_by_choice(lake, people, merge_mode):
    people(*CLEAN, {"id": 9, "name": "z", "at": 1})
    people(DOUBLE, NAMELESS, {"id": 2, "name": "b", "at": 5}, merge_mode=merge_mode)
    dry = rekeyed(lake, "name", is_dry_run=True, without_key=True, latest_by="at")
    assert (dry.removed, dry.is_done) == (2, False)
    assert not rekeyed(lake, "name", without_key=True).is_done
    assert not rekeyed(lake, "name", latest_by="at").is_done
    report = rekeyed(lake, "name", without_key=True, latest_by="at")
    assert (report.removed, report.is_done) == (2, True)
    assert [(row["id"], row["name"], row["at"]) for row in lake.rows()] == [
        (2, "b", 5),
        (3, "a", 2),
        (9, "z", 1),
    ]
    assert people({"id": 3, "name": "a", "at": 7}, keys=("name",)).error is None
    assert len(lake.rows()) == 3


def test_files_of_a_partitioned_table_are_written_again_in_their_partition(lake, people):
    layout = {"partition_by": ["at"], "sort_by": ["id"]}
    people(*CLEAN, {**DOUBLE, "at": 1}, NAMELESS, **layout)
    before = {task.file.file_path for task in lake.table().scan().plan_files()}
    assert rekeyed(lake, "name", without_key=True, latest_by="id").is_done
    after = list(lake.table().scan().plan_files())
    assert [(row["id"], row["at"]) for row in lake.rows()] == [(2, 1), (3, 1)]
    assert [task.file.partition[0] for task in after] == [1]
    assert not before & {task.file.file_path for task in after}


def test_a_load_that_runs_meanwhile_is_fenced_off(lake, people, monkeypatch):
    from target_iceberg.tables import loaded_table

    people(*CLEAN)
    original = loaded_table.commit_change
    done = []

    def commit(table, change, *, stage):
        if not done:
            done.append(True)
            rekeyed(lake, "name")
        return original(table, change, stage=stage)

    monkeypatch.setattr(loaded_table, "commit_change", commit)
    outcome = people({"id": 7, "name": "a", "at": 1})
    assert isinstance(outcome.error, StateError)
    assert "key" in str(outcome.error)
    assert lake.ids() == [1, 2]


def test_rows_that_arrive_meanwhile_are_looked_at_too(lake, people, monkeypatch):
    people(*CLEAN)
    original = module.commit_change
    done = []

    def commit(table, change, *, stage):
        if not done:
            done.append(True)
            people(DOUBLE)
        return original(table, change, stage=stage)

    monkeypatch.setattr(module, "commit_change", commit)
    assert not rekeyed(lake, "name").is_done
    assert key_of(lake) == ("id", {"id"})


@pytest.mark.parametrize(
    ("keys", "said"),
    [(["nam"], "did you mean 'name'"), (["tags"], "cannot be compared")],
    ids=["unknown", "an-array"],
)
def test_columns_that_cannot_be_keys_are_refused(lake, people, keys, said):
    people(*CLEAN, properties={**NAMED, "id": {"type": "integer"}, "tags": {"type": "array", "items": TEXT}})
    with pytest.raises(ConfigurationError, match=said):
        rekeyed(lake, *keys)


def test_a_history_keeps_its_key(lake, people):
    people(*CLEAN, load_method="history")
    refused = people(*CLEAN, keys=("name",), load_method="history")
    assert "key_properties" in str(refused.error)
    assert "rekey" not in str(refused.error)
    with pytest.raises(ConfigurationError, match="history"):
        rekeyed(lake, "name")


@pytest.mark.parametrize(("first", "then"), [("history", "upsert"), ("upsert", "history")])
def test_a_history_is_not_made_of_another_table_by_a_new_key(people, first, then):
    people(*CLEAN, load_method=first)
    refused = people(*CLEAN, load_method=then)
    assert isinstance(refused.error, DataError)
    assert "table_name" in str(refused.error)
    assert "rekey" not in str(refused.error)


def test_the_command_tells_what_is_left_to_do(lake, people):
    people(*CLEAN, DOUBLE)
    path = lake.folder / "settings.json"
    path.write_text(json.dumps(lake.config))

    def run(*arguments):
        return CliRunner().invoke(
            commands, ["rekey", "s", "--keys", "name", "--config", str(path), *arguments]
        )

    refused = run()
    assert refused.exit_code == 3
    assert "name = a: 2 rows" in refused.stdout
    assert "Nothing was changed" in refused.stderr
    assert json.loads(run("--dry-run", "--json").stdout)["repeated_rows"] == 2
    done = run("--latest-by", "at")
    assert done.exit_code == 0
    assert "streams.s.key_properties: [name]" in done.stdout
