"""The end of a run is told in four places, and none of them decides how it ends."""

from __future__ import annotations

import json
import signal
import stat
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

from icetap.catalogs import open_catalog
from icetap.errors import ConfigurationError
from icetap.secrets.redaction import REDACTOR
from target_iceberg.commands import commands
from target_iceberg.reporting import ending, on_failure_command, report, run_log

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "reference" / "run-report.md"


def runs(lake) -> list[dict]:
    table = open_catalog(lake.config).load_table(run_log.IDENTIFIER)
    return table.scan().to_arrow().sort_by("ended_at").to_pylist()


def a_report(**more) -> dict:
    made = report.as_json([], run_id="0123456789ab", pipeline="p", seconds=1.5, outcome=report.FINISHED)
    return made | more


# --- the table of runs --------------------------------------------------------------------------------------


def test_each_run_appends_a_row_for_each_stream(lake, singer):
    lake.ok(
        singer.schema(), singer.schema("t"), singer.records([1, 2]), singer.records([1], "t"), singer.state(s=2, t=1),
        run_log=True, pipeline="shop",
    )  # fmt: skip
    lake.ok(singer.state(s=2), singer.schema(), singer.records([2]), singer.records(["x"]), singer.state(s=3), run_log=True, pipeline="shop")  # fmt: skip

    first, second, third = sorted(runs(lake), key=lambda row: (row["ended_at"], row["stream"]))
    assert [row["stream"] for row in (first, second, third)] == ["s", "t", "s"]
    assert first["run_id"] == second["run_id"] != third["run_id"]
    assert (first["pipeline"], first["table"], first["outcome"]) == ("shop", "raw.s", "finished")
    assert (first["rows_read"], first["rows_inserted"], first["rows_rejected"]) == (2, 2, 0)
    assert (third["rows_read"], third["rows_unchanged"], third["rows_rejected"]) == (2, 1, 1)
    assert json.loads(third["bookmark_from"]) == singer.at(2)
    assert json.loads(third["bookmark_to"]) == singer.at(3)
    assert first["snapshot_id"] == lake.table().metadata.snapshots[0].snapshot_id
    assert first["started_at"] < first["ended_at"] <= third["started_at"]
    assert first["peak_memory_mb"] > 0
    assert first["error"] is None


def test_without_the_setting_there_is_no_table(lake, singer):
    lake.ok(singer.schema(), singer.records([1]))
    assert not lake.catalog.namespace_exists("icetap")


def test_a_failed_run_is_in_the_table_with_its_reason(lake, singer):
    lake.load(singer.schema(), singer.records([1, "x"]), run_log=True, on_rejected="fail")
    (row,) = runs(lake)
    assert row["outcome"] == "failed"
    assert "line 3 of the input, stream 's', column 'id'" in row["error"]


def test_a_run_without_streams_has_one_row(lake):
    lake.load("noise", run_log=True)
    (row,) = runs(lake)
    assert (row["stream"], row["outcome"], row["rows_read"]) == (None, "failed", None)
    assert "not JSON" in row["error"]


def test_evolution_and_losses_are_kept(lake, singer):
    lake.ok(singer.schema(), singer.records([1]), run_log=True)
    lake.ok(
        singer.schema(
            properties={"id": {"type": "integer"}, "name": {"type": "string"}, "n": {"type": "number"}}
        ),
        singer.record({"id": 2, "n": 0.12345678901234567890123}) | {},
        '{"type": "RECORD", "stream": "s", "record": {"id": 3, "n": 0.12345678901234567890123}}',
        run_log=True,
    )
    row = runs(lake)[-1]
    assert row["evolved"] == ["column 'n' (double) is new"]
    assert json.loads(row["lossy_values"]) == {"n": 1}


def test_a_log_that_cannot_be_written_changes_nothing(lake, singer, monkeypatch, caplog):
    def broken(*_):
        raise OSError("no disk")

    monkeypatch.setattr(run_log, "append", broken)
    lake.ok(singer.schema(), singer.records([1]), singer.state(s=1), run_log=True)
    assert "not in the table icetap.runs (OSError)" in caplog.text
    outcome = lake.load(singer.schema(), "noise", run_log=True)
    assert "not JSON" in str(outcome.error)


def test_a_report_that_cannot_be_made_does_not_hide_why_the_run_failed(lake, monkeypatch, caplog):
    def broken(_):
        raise ValueError

    monkeypatch.setattr(report, "for_people", broken)
    outcome = lake.load("noise")
    assert "not JSON" in str(outcome.error)
    assert "could not be told (ValueError)" in caplog.text


def test_an_older_table_gets_the_columns_it_lacks_and_a_newer_one_keeps_its_own(lake, monkeypatch):
    catalog = open_catalog(lake.config)
    monkeypatch.setattr(run_log, "COLUMNS", pa.schema([run_log.COLUMNS.field("run_id")]))
    run_log._open(catalog)
    monkeypatch.undo()
    run_log.append(catalog, a_report())
    table = catalog.load_table(run_log.IDENTIFIER)
    with table.update_schema() as update:
        update.union_by_name(pa.schema([pa.field("later", pa.string())]))
    run_log.append(catalog, a_report(outcome=report.FAILED))
    found = catalog.load_table(run_log.IDENTIFIER).scan().to_arrow()
    assert sorted(found["outcome"].to_pylist()) == ["failed", "finished"]
    assert found["later"].to_pylist() == [None, None]


def test_upkeep_of_everything_looks_after_the_table_of_runs(lake, singer, tmp_path):
    for number in range(6):
        lake.ok(singer.schema(), singer.records([number]), run_log=True)
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(lake.config))
    result = CliRunner().invoke(commands, ["maintain", "--config", str(settings), "--json"])
    told = {one["table"]: one for one in json.loads(result.stdout)["tables"]}
    assert told["icetap.runs"]["after"]["files"] == 1
    assert len(runs(lake)) == 6


def test_runs_that_end_at_once_all_get_into_the_table(lake):
    """Twelve writers, each with a catalog of its own, behind a barrier; the table does not exist yet."""
    barrier = threading.Barrier(12)
    failures = []

    catalogs = [open_catalog(lake.config) for _ in range(12)]

    def end(number: int, catalog) -> None:
        barrier.wait()
        try:
            run_log.append(catalog, a_report(run_id=f"{number:012}"))
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            failures.append(error)

    threads = [threading.Thread(target=end, args=(number, catalogs[number])) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(row["run_id"] for row in runs(lake)) == [f"{number:012}" for number in range(12)]


# --- the command on failure ---------------------------------------------------------------------------------


def script(folder: Path, body: str) -> str:
    """A program of our own, to be run without a shell."""
    path = folder / "alert me.py"
    path.write_text(f"#!{sys.executable}\nimport json, os, sys, time\n{body}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


KEEP = """
out = sys.argv[1]
json.dump({"argv": sys.argv[2:], "report": json.load(sys.stdin), "env": dict(os.environ)}, open(out, "w"))
print("STATE?")
"""


def test_the_command_gets_the_report_and_little_else(lake, singer, tmp_path, monkeypatch):
    monkeypatch.setenv("TAP_SHOP_PASSWORD", "hunter22")
    out = tmp_path / "told.json"
    command = [script(tmp_path, KEEP), str(out), "$(touch x)", "; rm -rf"]

    outcome = lake.load(
        singer.schema(), singer.records([1, "x"]), on_failure_command=command, on_rejected="fail"
    )

    told = json.loads(out.read_text())
    assert told["argv"] == ["$(touch x)", "; rm -rf"], "there is no shell"
    assert told["report"]["outcome"] == "failed"
    assert told["report"]["error"] == str(outcome.error)
    assert told["report"]["streams"][0]["stream"] == "s"
    assert told["env"]["ICETAP_RUN_ID"] == told["report"]["run_id"]
    assert told["env"]["ICETAP_EXIT_CODE"] == "3"
    assert told["env"]["ICETAP_ERROR"] == str(outcome.error)
    assert set(told["env"]) <= {*on_failure_command.PASSED_ON, "LC_CTYPE"} | {
        name for name in told["env"] if name.startswith("ICETAP_")
    }
    assert "hunter22" not in out.read_text()
    assert outcome.lines == []


def test_a_text_is_split_into_arguments(lake, tmp_path):
    out = tmp_path / "told.json"
    lake.load("noise", on_failure_command=f"'{script(tmp_path, KEEP)}' {out} --channel 'a b'")
    assert json.loads(out.read_text())["argv"] == ["--channel", "a b"]


def test_success_is_told_to_nobody(lake, singer, tmp_path):
    out = tmp_path / "told.json"
    lake.ok(singer.schema(), singer.records([1]), on_failure_command=[script(tmp_path, KEEP), str(out)])
    assert not out.exists()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("sys.exit(7)", "exit code 7: it wrote nothing"),
        ("print('no network'); sys.exit(1)", "exit code 1: no network"),
        ("sys.stderr.write('x' * 100_000); sys.exit(1)", "exit code 1: xxx"),
        ("os.kill(os.getpid(), 9)", "exit code -9"),
    ],
    ids=["exit-code", "its-words", "much-output", "killed"],
)
def test_a_command_that_fails_is_logged_and_changes_nothing(body, words, lake, tmp_path, caplog):
    outcome = lake.load("noise", on_failure_command=[script(tmp_path, body)])
    assert "not JSON" in str(outcome.error)
    assert words in caplog.text
    assert len(caplog.text) < 5_000


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path, caplog):
    out = tmp_path / "pid"
    body = f"""
import subprocess
child = subprocess.Popen(["sleep", "600"])
open({str(out)!r}, "w").write(str(child.pid))
child.wait()
"""
    began = time.monotonic()
    on_failure_command.run([script(tmp_path, body)], a_report(), exit_code=1, seconds=2)
    assert time.monotonic() - began < 10
    assert "longer than 2 s and was killed" in caplog.text
    child = int(out.read_text())
    for _ in range(100):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("its child lives on")


def test_a_command_that_reads_nothing_is_fine(tmp_path, caplog):
    on_failure_command.run([script(tmp_path, "sys.exit(0)")], a_report(error="x" * 10**6), exit_code=1)
    assert not caplog.text


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("", "names no program"),
        ([], "names no program"),
        ("'open", "cannot be split"),
        (["a\0b"], "names no program"),
        ("/no/such/program --x", "'/no/such/program', which cannot be found"),
        (["not an installed program --x", "y"], "in an environment variable, the arguments as JSON"),
    ],
)
def test_a_command_that_cannot_be_run_is_refused_at_the_start(setting, words):
    with pytest.raises(ConfigurationError, match="on_failure_command") as raised:
        on_failure_command.check(setting)
    assert words in str(raised.value)


def test_a_text_from_the_environment_is_split_too():
    assert on_failure_command.arguments(["notify --channel data"]) == ["notify", "--channel", "data"]


def test_a_catalog_that_cannot_be_opened_is_told_too(lake, tmp_path):
    out = tmp_path / "told.json"
    config = {"catalog": {"type": "sql", "uri": "postgresql://u:hunter22@127.0.0.1:1/x"}, "max_retries": 0}
    done = lake.run([], **config, on_failure_command=[script(tmp_path, KEEP), str(out)])
    told = json.loads(out.read_text())
    assert str(done.returncode) == told["env"]["ICETAP_EXIT_CODE"] != "0"
    assert "catalog" in told["report"]["error"]
    assert told["report"]["streams"] == []
    assert b"hunter22" not in done.stderr + done.stdout + out.read_bytes()


def test_a_load_that_is_asked_to_end_is_in_the_table_but_no_failure(lake, singer, tmp_path):
    out = tmp_path / "told.json"
    process = lake.spawn(run_log=True, on_failure_command=[script(tmp_path, KEEP), str(out)])
    process.stdin.write(json.dumps(singer.schema()).encode() + b"\n")
    process.stdin.flush()
    for _ in range(200):
        if lake.catalog.table_exists(("raw", "s")):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    assert [row["outcome"] for row in runs(lake)] == ["was ended"]
    assert not out.exists()


# --- secrets, and the page that describes the report --------------------------------------------------------


def test_a_secret_is_in_none_of_the_places(lake, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(REDACTOR, "_forms", [])
    REDACTOR.add("hunter22")
    out, path = tmp_path / "told.json", tmp_path / "report.json"
    config = {
        "report_path": str(path),
        "run_log": True,
        "on_failure_command": [script(tmp_path, KEEP), str(out)],
    }
    summary = a_report(outcome=report.FAILED)
    error = ConfigurationError("cannot sign in with hunter22")
    ending.tell(summary, config=config, catalog=open_catalog(lake.config), error=error)
    (row,) = runs(lake)
    everything = out.read_text() + path.read_text() + str(row) + capfd.readouterr().err
    assert "hunter22" not in everything
    assert row["error"] == "cannot sign in with ***REDACTED***"


def test_the_page_describes_every_field_of_the_report_and_no_other(lake, singer):
    outcome = lake.ok(singer.schema(), singer.records([1]))
    fields = set(outcome.report) | set(outcome.report["streams"][0])
    described = {
        line.split("`")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `") and "`" in line
    }
    assert described == fields | set(run_log.COLUMNS.names)
