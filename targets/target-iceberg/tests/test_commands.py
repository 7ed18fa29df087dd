"""The commands beside loading: what they print, what they change, how they end."""

from __future__ import annotations

import gc
import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from pyiceberg.exceptions import NoSuchTableError

from icetap.testing.tables import table_findings
from target_iceberg import program
from target_iceberg.commands import commands
from target_iceberg.target import TargetIceberg

KEYLESS = {"keys": [], "cursor": "id"}


@pytest.fixture
def call(lake):
    """Run a command on the lake; what it printed, and its exit code."""

    def run(*arguments, code=0, config=None, **options):
        path = lake.folder / "command.json"
        path.write_text(json.dumps({**lake.config, **(config or {})}))
        done = CliRunner().invoke(commands, [*arguments, "--config", str(path)], **options)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return done

    return run


def test_garbage_is_collected_again_once_the_program_is_imported(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "target_iceberg.target.main", lambda: seen.append((gc.isenabled(), gc.get_freeze_count() > 0))
    )

    program.main()

    gc.unfreeze()
    assert seen == [(True, True)]


def test_every_command_has_help_and_stands_in_the_manifest_and_in_the_helps_epilog():
    manifest = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())
    listed = manifest["tool"]["icetap"]["connector"]["commands"]
    epilog = TargetIceberg.get_singer_command().epilog
    for name, command in commands.commands.items():
        assert command.help
        assert name in epilog
        if name != "verify":  # it wants a tap on its stdin
            assert listed[name]["args"].split() == [name, "--config=ENV"]


def test_an_unknown_command_is_refused_with_the_nearest(call):
    assert "did you mean 'maintain'" in call("maintian", code=2).output


def test_maintain_tells_people_what_it_did(lake, singer, call):
    for number in range(6):
        lake.ok(singer.schema(**KEYLESS), singer.records([number]))
    said = call("maintain", "--dry-run").output
    assert said.startswith("Nothing was changed")
    assert "compacted: 6 files" in said
    said = call("maintain", "s", "--expire-days", "0", "--keep-snapshots", "1").output
    assert "compacted: 6 files" in said
    assert "-> 1 files" in said
    assert lake.ids() == list(range(6))
    assert not any(word in said.lower() for word in ("error", "fail", "exception"))


def test_maintain_reports_as_json_table_by_table(lake, singer, call):
    lake.ok(singer.schema("a"), singer.records([1], "a"))
    lake.ok(singer.schema("b"), singer.records([1], "b"))
    report = json.loads(call("maintain", "raw.*", "--json", "--no-sweep").output)
    assert [one["table"] for one in report["tables"]] == ["raw.a", "raw.b"]
    assert report["tables"][0]["sweep"] is None
    assert report["tables"][0]["after"]["files"] == 1


def test_numbers_come_from_the_settings_of_the_stream(lake, singer, call):
    for number in range(6):
        lake.ok(singer.schema(), singer.records([number]))
    config = {"expire_days": 30, "streams": {"s": {"expire_days": 0, "keep_snapshots": 2}}}
    call("maintain", config=config)
    assert lake.snapshots() == 2


def test_numbers_may_come_from_variables_as_meltano_sets_them(lake, singer, monkeypatch):
    for number in range(3):
        lake.ok(singer.schema(), singer.records([number]))
    monkeypatch.setenv("TARGET_ICEBERG_WAREHOUSE", lake.config["warehouse"])
    monkeypatch.setenv("TARGET_ICEBERG_EXPIRE_DAYS", "0.0")
    monkeypatch.setenv("TARGET_ICEBERG_KEEP_SNAPSHOTS", "2")
    done = CliRunner().invoke(commands, ["maintain", "--config=ENV"])
    assert done.exit_code == 0, done.output
    assert lake.snapshots() == 2


def test_a_quarantine_is_looked_after_with_its_table(lake, singer, call):
    for number in range(6):
        lake.ok(singer.schema(), singer.records([number]), singer.record({"id": "x", "name": "bad"}))
    report = json.loads(call("maintain", "s", "--json").output)
    assert [one["table"] for one in report["tables"]] == ["raw.s", "raw.s__rejected"]
    assert report["tables"][1]["after"]["files"] == 1


def test_the_table_of_runs_is_looked_after_with_all_the_others(lake, singer, call):
    for number in range(6):
        lake.ok(singer.schema(), singer.records([number]), run_log=True)
    report = json.loads(call("maintain", "--json").output)
    assert [one["table"] for one in report["tables"]] == ["raw.s", "icetap.runs"]
    assert (report["tables"][1]["before"]["files"], report["tables"][1]["after"]["files"]) == (6, 1)


@pytest.mark.parametrize("command", ["maintain", "inspect", "reset"])
def test_a_stream_that_was_never_loaded_is_refused_with_the_nearest(lake, singer, call, command):
    lake.ok(singer.schema("orders"), singer.records([1], "orders"))
    said = call(command, "ordres", code=2).output
    assert "did you mean 'orders'" in said


def test_a_table_that_cannot_be_looked_after_does_not_stop_the_others(lake, singer, call):
    lake.ok(singer.schema("a"), singer.schema("b"), singer.records([1], "a"), singer.records([1], "b"))
    for path in (lake.folder / "warehouse" / "raw" / "a").rglob("*-m0.avro"):
        path.unlink()
    report = json.loads(call("maintain", "--json", code=1).output)
    assert "is gone" in report["tables"][0]["failure"]
    assert report["tables"][1]["failure"] is None


def test_inspect_shows_sizes_debt_and_what_upkeep_would_do(lake, singer, call):
    lake.ok(singer.schema(), singer.records(range(40)), singer.state(s=39))
    lake.ok(
        singer.schema(),
        singer.records([3], name="new"),
        singer.record({"id": "x"}),
        merge_mode="merge-on-read",
    )
    (told,) = json.loads(call("inspect", "--json").output)
    assert (told["rows"], told["files"], told["delete_files"], told["deleted_rows"]) == (40, 2, 1, 1)
    assert told["file_sizes"] == {"under 1 MB": 2}
    assert told["rejected_rows"] == 1
    assert json.loads(told["bookmarks"]["default"]) == singer.at(39)
    assert set(told["upkeep"]) == {"files_to_compact", "delete_files_to_drop", "snapshots_to_expire"}
    said = call("inspect", "s").output
    assert "40 rows in 2 data files" in said
    assert "1 delete files take 1 rows away (2.4 %)" in said
    assert "1 rejected rows in raw.s__rejected" in said


def test_inspect_has_something_to_say_of_an_empty_catalog(call):
    assert "No stream has been loaded" in call("inspect").output


# --- reset ---------------------------------------------------------------------------------------


def test_after_a_reset_the_next_run_reads_from_the_start_and_doubles_nothing(lake, singer, call):
    lake.ok(singer.schema(), singer.records([1, 2]), singer.state(s=2))
    said = call("reset", "s").output
    assert "the bookmark of pipeline 'default' is forgotten" in said
    assert "meltano state clear" in said
    assert lake.property()["bookmark"] is None
    lake.ok(singer.state(), singer.schema(), singer.records([1, 2, 3]), singer.state(s=3))
    assert lake.ids() == [1, 2, 3]


@pytest.mark.parametrize("told", [["--data"], ["--drop"]], ids=["emptied", "dropped"])
@pytest.mark.parametrize("keys", [["id"], []], ids=["keyed", "key-less"])
def test_with_its_rows_gone_a_stream_is_loaded_as_for_the_first_time(lake, singer, call, told, keys):
    lake.ok(singer.state(), singer.schema(keys=keys, cursor="id"), singer.records([1, 2]), singer.state(s=2))
    report = json.loads(call("reset", "s", *told, "--yes", "--json").output)
    assert report["rows"] == 2
    assert lake.ids() == []
    lake.ok(singer.state(), singer.schema(keys=keys, cursor="id"), singer.records([1, 2]), singer.state(s=2))
    assert lake.ids() == [1, 2]
    assert table_findings(lake.table()) == []


def test_an_emptied_table_still_has_its_rows_in_older_snapshots(lake, singer, call):
    lake.ok(singer.schema(), singer.records([1, 2]))
    first = lake.table().metadata.current_snapshot_id
    call("reset", "s", "--data", "--yes")
    assert lake.table().scan(snapshot_id=first).to_arrow().num_rows == 2


def test_a_dropped_table_takes_its_files_along(lake, singer, call):
    lake.ok(singer.schema(), singer.records([1, 2]))
    call("reset", "s", "--drop", "--yes")
    with pytest.raises(NoSuchTableError):
        lake.table()
    assert [path for path in (lake.folder / "warehouse" / "raw").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("told", [["--data"], ["--drop"], []], ids=["empty", "drop", "appended"])
def test_what_cannot_be_taken_back_is_not_done_without_a_yes(lake, singer, call, told):
    lake.ok(singer.schema(**KEYLESS), singer.records([1]), singer.state(s=1))
    assert "--yes" in call("reset", "s", *told, code=2).output
    assert lake.ids() == [1]
    assert lake.property()["bookmark"] is not None


def test_rows_that_are_appended_are_there_twice_after_a_reset_and_that_is_said(lake, singer, call):
    lake.ok(singer.state(), singer.schema(**KEYLESS), singer.records([1]), singer.state(s=1))
    assert "will be there twice" in call("reset", "s", "--yes").output
    lake.ok(singer.state(), singer.schema(**KEYLESS), singer.records([1]), singer.state(s=1))
    assert lake.ids() == [1, 1]


def test_of_several_pipelines_one_must_be_named_and_the_other_keeps_its_bookmark(lake, singer, call):
    for name, end in (("one", 1), ("two", 2)):
        lake.ok(singer.schema(), singer.records([end]), singer.state(s=end), pipeline=name)
    assert "Name one with --pipeline" in call("reset", "s", code=2).output
    assert "did you mean 'one'" in call("reset", "s", "--pipeline", "onne", code=2).output
    call("reset", "s", "--pipeline", "one")
    assert lake.property(pipeline="one")["bookmark"] is None
    assert json.loads(lake.property(pipeline="two")["bookmark"]) == singer.at(2)


def test_a_run_that_loads_meanwhile_is_refused_after_a_reset(lake, singer, call, monkeypatch):
    from target_iceberg.tables import loaded_table as module

    lake.ok(singer.schema(), singer.records([1]), singer.state(s=1))
    original, done = module.commit_change, []

    def commit(table, change, *, stage):
        if not done:
            done.append(1)
            call("reset", "s")
        return original(table, change, stage=stage)

    monkeypatch.setattr(module, "commit_change", commit)
    refused = lake.load(singer.state(s=1), singer.schema(), singer.records([2]), singer.state(s=2))
    assert isinstance(refused.error, module.FenceError)
    assert lake.ids() == [1]
