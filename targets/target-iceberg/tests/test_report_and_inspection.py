"""What a run and the tables tell of themselves."""

from __future__ import annotations

import json
import shlex
import subprocess

import pytest

from icetap.catalogs import open_catalog
from icetap.errors import ConfigurationError
from target_iceberg.upkeep.inspection import read_state


def test_the_report_counts_and_is_written_whole(lake, singer):
    path = lake.folder / "deep" / "report.json"
    lake.ok(singer.schema(), singer.records([1, 2]), singer.state(s=2), report_path=str(path))
    report = json.loads(path.read_text())
    (one,) = report["streams"]
    assert (one["rows_read"], one["rows_inserted"], one["commits"], one["table"]) == (2, 2, 1, "raw.s")
    assert one["bookmark_to"] == json.dumps(singer.at(2))
    assert report["outcome"] == "finished"


def test_a_report_that_cannot_be_written_does_not_spoil_the_run(lake, singer):
    (lake.folder / "file").write_text("x")
    outcome = lake.ok(
        singer.schema(),
        singer.records([1]),
        singer.state(s=1),
        report_path=str(lake.folder / "file" / "r.json"),
    )
    assert outcome.last_state == singer.state(s=1)["value"]


def test_the_report_for_people_ends_in_a_query_and_sounds_no_alarm(lake, singer, capfd):
    lake.ok(singer.schema(), singer.records([1]))
    text = capfd.readouterr().err
    assert text.strip().splitlines()[-1].endswith('icetap query "select * from raw.s limit 10"')
    assert not any(word in text.lower() for word in ("error", "fail", "exception", "critical"))


def test_the_query_to_paste_runs_in_a_shell_whatever_the_names(lake, singer, capfd):
    lake.ok(singer.schema("2026-orders"), singer.records([1], "2026-orders"), namespace="a.b")
    command = capfd.readouterr().err.strip().splitlines()[-1].partition("icetap query ")[2]
    assert shlex.split(command) == ['select * from "a.b"."2026_orders" limit 10']


def test_a_failed_run_does_not_call_what_it_dropped_nothing_new(lake, singer, capfd):
    lake.load(singer.schema(), singer.records([1]), singer.schema("t"), "noise", on_rejected="fail")
    lake.load(singer.schema("r"), singer.records(["x"], "r"), on_rejected="fail")
    text = capfd.readouterr().err
    assert "nothing new" not in text
    assert "nothing committed" in text


def test_a_failed_run_reports_too(lake, singer):
    path = lake.folder / "report.json"
    lake.load(singer.schema(), singer.records([1]), "noise", report_path=str(path))
    report = json.loads(path.read_text())
    assert report["outcome"] == "failed"
    assert report["streams"][0]["rows_inserted"] == 1


def test_read_state_puts_the_streams_together_and_inspect_shows_them(lake, singer):
    lake.ok(
        singer.schema("a"),
        singer.schema("b"),
        singer.records([1], "a"),
        singer.records([1, 2], "b"),
        singer.state(a=1, b=2),
    )
    command = lake.command()
    state = subprocess.run([*command, "--read-state"], capture_output=True, timeout=60, check=True).stdout
    assert json.loads(state) == singer.state(a=1, b=2)["value"]
    shown = subprocess.run(
        [*command[:3], "inspect", *command[3:], "--json"], capture_output=True, timeout=60, check=True
    ).stdout
    tables = {one["table"]: one for one in json.loads(shown)}
    assert tables["raw.b"]["rows"] == 2
    assert tables["raw.b"]["keys"] == ["id"]
    assert json.loads(tables["raw.a"]["bookmarks"]["default"]) == singer.at(1)


def test_read_state_takes_the_only_pipeline_and_asks_which_of_several(lake, singer):
    lake.ok(singer.schema(), singer.records([1]), singer.state(s=1), pipeline="one")
    catalog = open_catalog(lake.config)

    assert json.loads(read_state(catalog, None)) == singer.state(s=1)["value"]

    lake.ok(singer.schema(), singer.records([2]), singer.state(s=2), pipeline="two")
    with pytest.raises(ConfigurationError, match="several pipelines: one, two"):
        read_state(catalog, None)
    assert json.loads(read_state(catalog, "two")) == singer.state(s=2)["value"]


def test_read_state_returns_an_opaque_state_whole(lake, singer):
    lake.ok(singer.schema(), singer.records([1]), {"type": "STATE", "value": {"offset": 7}})
    state = subprocess.run(
        [*lake.command(), "--read-state"], capture_output=True, timeout=60, check=True
    ).stdout
    assert json.loads(state) == {"offset": 7}
