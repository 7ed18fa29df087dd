"""The command: exit codes, signals, pipes, files that are odd, and what people ask for."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from icetap.testing import processes

MANY = """
CREATE TABLE t (id INTEGER PRIMARY KEY, note TEXT);
INSERT INTO t(note) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
SELECT 'a note of some length, row ' || i FROM n;
"""
COMMAND = str(Path(sys.executable).parent / "tap-sqlite")


def last_line(done):
    return done.stderr.decode().splitlines()[-1]


def test_version_is_the_packages(command):
    done = subprocess.run([COMMAND, "--version"], capture_output=True, check=True)
    assert done.stdout.decode().startswith("tap-sqlite v0.")


def test_about_describes_every_setting(command):
    done = subprocess.run([COMMAND, "--about", "--format=json"], capture_output=True, check=True)
    settings = json.loads(done.stdout)["settings"]["properties"]
    assert {"database", "path", "streams", "queries", "batch_config", "on_rejected"} <= set(settings)
    assert [name for name, setting in settings.items() if not setting.get("description")] == []


WRONG = [
    pytest.param({}, "setting 'database' is missing", id="no-database"),
    pytest.param({"databse": "x"}, "did you mean 'database'?", id="unknown-setting"),
    pytest.param({"database": "none.db"}, "there is no file", id="no-file"),
    pytest.param({"database": "."}, "is a folder", id="folder"),
    pytest.param({"database": "x", "path": "y"}, "are the same", id="name-and-alias"),
    pytest.param({"database": "x", "batch_size": 0}, "0 is less than the minimum of 1", id="out-of-bounds"),
    pytest.param({"database": "x", "on_rejected": "ignore"}, "'ignore' is not one of", id="no-such-choice"),
    pytest.param({"database": "x", "attach": {"main": "y"}}, "alias 'main'", id="alias-main"),
]


@pytest.mark.parametrize(("config", "message"), WRONG)
def test_wrong_settings_end_with_one_line_and_exit_code_2(command, tmp_path, config, message):
    done = command("--discover", **config)
    assert done.returncode == 2
    assert message in last_line(done)
    assert b"Traceback" not in done.stderr
    assert not (tmp_path / "none.db").exists(), "a file was created"


def test_the_alias_path_and_urls_are_understood(database, command):
    path = database("CREATE TABLE t (a INT)")
    for config in ({"path": str(path)}, {"database": f"sqlite:///{path}"}, {"database": f"file://{path}"}):
        assert json.loads(command("--discover", **config).stdout)["streams"][0]["stream"] == "t"


@pytest.mark.parametrize(
    "name", ["wh?at.db", "ha#sh.db", "100%.db", "50%41.db", "a b.db", "ü☃.db", "q'uote\".db"]
)
def test_any_path_is_opened_as_it_is(database, command, tmp_path, name):
    path = database("CREATE TABLE t (a INT); INSERT INTO t VALUES (1)", name=name)
    before = sorted(tmp_path.iterdir())
    done = command(database=str(path))
    assert done.returncode == 0
    assert b'"record":{"a":1}' in done.stdout
    assert {file.name for file in tmp_path.iterdir()} - {file.name for file in before} <= {"config.json"}


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough" * 40, os.urandom(4096)], ids=["text", "encrypted"]
)
def test_a_file_that_is_no_database_is_said_so(command, tmp_path, content):
    (tmp_path / "x.db").write_bytes(content)
    done = command("--discover", database=str(tmp_path / "x.db"))
    assert done.returncode == 2
    assert "file is not a database. It is no SQLite file, or it is encrypted" in last_line(done)


def test_a_damaged_file_ends_with_a_message_and_exit_code_3(database, command):
    path = database(MANY)
    content = bytearray(path.read_bytes())
    content[8192 : len(content) // 2] = b"\xff" * (len(content) // 2 - 8192)
    path.write_bytes(content)
    done = command(database=str(path))
    assert done.returncode == 3
    assert "The file is damaged" in last_line(done)


def test_data_errors_have_exit_code_3_and_what_was_written_is_whole(database, command):
    path = database("CREATE TABLE t (id INTEGER PRIMARY KEY, v INT)", {"t": [(1, 1), (2, 2), (3, "x")]})
    done = command(database=str(path), batch_size=2)
    assert done.returncode == 3
    assert done.stdout.endswith(b"\n")
    assert done.stdout.count(b'"RECORD"') == 1


def test_a_locked_database_is_waited_for_and_then_said(database, tmp_path):
    path = database("CREATE TABLE t (a INT)")
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    # In a process of its own: SQLite's locks are between processes.
    process = start(path, tmp_path, busy_timeout_ms=500)
    _, errors = process.communicate(timeout=30)
    writer.close()
    assert process.returncode == 1
    assert "database is locked" in errors.decode()
    assert "busy_timeout_ms" in errors.decode()


def test_a_file_that_another_process_writes_is_read_as_of_one_moment(database, tmp_path):
    path = database("PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, batch INT)")
    script = (
        "import sqlite3, sys\n"
        f"c = sqlite3.connect({str(path)!r}, isolation_level=None)\n"
        "print('go', flush=True)\n"
        "for batch in range(100000):\n"
        "    c.execute('BEGIN')\n"
        "    c.executemany('INSERT INTO t(batch) VALUES (?)', [(batch,)] * 10)\n"
        "    c.execute('COMMIT')\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline()
        time.sleep(0.3)
        config = tmp_path / "c.json"
        config.write_text(json.dumps({"database": str(path), "batch_size": 7}))
        done = subprocess.run([COMMAND, "--config", str(config)], capture_output=True, check=False)
        writer.kill()
    assert done.returncode == 0, done.stderr[-500:]
    rows = done.stdout.count(b'"type":"RECORD"')
    assert rows > 0
    assert rows % 10 == 0


def test_the_write_ahead_log_is_read_and_nothing_is_written(database, command):
    path = database("CREATE TABLE t (a INT)")
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("INSERT INTO t VALUES (5)")
    writer.commit()
    content = path.read_bytes()
    assert b'"record":{"a":5}' in command(database=str(path)).stdout
    assert path.read_bytes() == content
    writer.close()


def test_immutable_reads_a_file_in_a_folder_that_cannot_be_written(database, command):
    path = database("CREATE TABLE t (a INT); INSERT INTO t VALUES (1)")
    assert b'"record":{"a":1}' in command(database=str(path), immutable=True).stdout


def start(path, tmp_path, **config):
    return processes.start("tap-sqlite", config={"database": str(path), **config}, folder=tmp_path)


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["term", "int"]
)
@pytest.mark.parametrize("lane", ["records", "arrow"])
def test_a_signal_ends_the_run_after_a_whole_line(database, tmp_path, signum, code, lane):
    path = database(MANY)
    config = {"batch_size": 500}
    if lane == "arrow":
        config["batch_config"] = {"storage": {"root": str(tmp_path / "b")}}
    process = start(path, tmp_path, **config)
    head = process.stdout.read(20_000) if lane == "records" else process.stdout.readline()
    process.send_signal(signum)
    rest, errors = process.communicate(timeout=30)
    assert process.returncode == code, errors
    lines = (head + rest).splitlines(keepends=True)
    assert lines[-1].endswith(b"\n")
    assert next(json.loads(line)["type"] for line in lines if line) == "STATE"
    assert len(lines) < 200_000
    assert b"Traceback" not in errors
    if lane == "arrow":
        announced = b"".join(lines).count(b'"BATCH"')
        assert len(list(tmp_path.glob("b/*"))) == announced


def test_a_target_that_is_gone_ends_the_run_quietly(database, tmp_path):
    process = start(database(MANY), tmp_path)
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.wait(timeout=30)
    assert process.returncode == 141
    assert b"The target stopped reading" in errors
    assert b"Traceback" not in errors
    assert b"Exception ignored" not in errors


def test_a_closed_standard_output_is_told_of(database, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"database": str(database(MANY))}))
    words = ["sh", "-c", 'exec "$0" --config "$1" >&-', COMMAND, str(tmp_path / "config.json")]
    done = subprocess.run(words, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert last_line(done).endswith("standard output is closed: there is nowhere to write records to")


def test_preview_shows_the_first_records_of_a_stream(database, command):
    path = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v DECIMAL(4,2))", {"t": [(n, n / 4) for n in range(5)]}
    )
    shown = json.loads(
        command("--preview", "t", "--limit", "2", database=str(path), number_as="decimal").stdout
    )
    assert shown["columns"][0] == {"name": "id", "type": "int64", "native_type": "INTEGER", "key": True}
    assert (len(shown["rows"]), shown["more"]) == (2, True)
    assert shown["rows"][1] == {"id": 1, "v": 0.25}
    assert json.loads(command("--preview", "t", database=str(path)).stdout)["more"] is False


def test_preview_shows_a_query(database, command):
    path = database("CREATE TABLE t (a INT)", {"t": [(1,), (2,)]})
    shown = json.loads(command("--sql", "SELECT a FROM t ORDER BY a DESC;", database=str(path)).stdout)
    assert shown["rows"] == [{"a": 2}, {"a": 1}]


def test_preview_of_an_unknown_stream_offers_the_nearest(database, command):
    done = command("--preview", "order", database=str(database("CREATE TABLE orders (a INT)")))
    assert done.returncode == 2
    assert "did you mean 'orders'?" in last_line(done)


def test_browse_lists_tables_columns_and_estimates(database, command):
    path = database(MANY + "CREATE VIEW v AS SELECT id FROM t; ANALYZE;")
    shown = json.loads(command("--browse", database=str(path)).stdout)
    assert [(table["name"], table["kind"], table["estimated_rows"]) for table in shown["tables"]] == [
        ("t", "table", 200_000),
        ("v", "view", None),
    ]
    one = json.loads(command("--browse", "main.v", database=str(path)).stdout)
    assert [table["name"] for table in one["tables"]] == ["v"]


def test_test_says_what_works_and_what_does_not(database, command):
    path = database("CREATE TABLE t (id INTEGER PRIMARY KEY, v INT)", {"t": [(1, 1)]})
    good = command("--test", database=str(path))
    assert good.returncode == 0
    assert b"ok    connected: SQLite 3." in good.stdout
    assert b"ok    stream 't': readable, FULL_TABLE, key: id" in good.stdout
    bad = command("--test", database=str(path), streams={"t": {"where": "nix = 1"}})
    assert bad.returncode == 1
    assert b"FAIL  " in bad.stdout
    assert b"no such column: nix" in bad.stdout


def test_test_can_print_the_schema_messages(database, command):
    done = command("--test=schema", database=str(database("CREATE TABLE t (a INT)")))
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()] == ["SCHEMA"]


def test_stream_maps_work_in_the_record_lane(database, sync):
    path = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, v REAL)",
        {"t": [(1, "ann", 0.1), (2, "bob", 2.5)]},
    )
    maps = {"t": {"upper": "name.upper()", "name": None, "__filter__": "id > 1"}}
    out = sync(path, stream_maps=maps)
    assert [{**record, "v": float(record["v"])} for record in out.records()] == [
        {"id": 2, "v": 2.5, "upper": "BOB"}
    ]
    assert set(out.schema("t")) == {"id", "v", "upper"}


def test_stream_maps_are_refused_in_the_arrow_lane(database, command, tmp_path):
    path = database("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    done = command(
        database=str(path),
        stream_maps={"t": {"id": "id"}},
        batch_config={"storage": {"root": str(tmp_path / "b")}},
    )
    assert done.returncode == 2
    assert "'stream_maps'" in last_line(done)


def test_no_value_of_a_row_stands_in_the_logs(database, command):
    path = database("CREATE TABLE t (id INTEGER PRIMARY KEY, v INT)", {"t": [(1, "canary-in-a-row")]})
    for arguments in ([], ["--test"], ["--preview", "t"]):
        assert b"canary-in-a-row" not in command(*arguments, database=str(path)).stderr


def test_wide_rows_are_read_in_smaller_blocks(database, tmp_path):
    path = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)",
        {"t": [(n, os.urandom(400_000)) for n in range(600)]},
    )
    script = (
        "from icetap.allocator import peak_memory_bytes; from tap_sqlite.tap import TapSQLite\n"
        f"tap = TapSQLite(config={{'database': {str(path)!r}}})\n"
        "before = peak_memory_bytes()\n"
        "for page in tap.streams['t'].pages(): pass\n"
        "print((peak_memory_bytes() - before) // 2**20)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert int(done.stdout) < 150, "MB for 240 MB of rows of 400 kB"


def test_type_scan_looks_at_selected_streams_only(database, sync, monkeypatch):
    from tap_sqlite import dialect
    from tap_sqlite.tap import TapSQLite

    path = database("CREATE TABLE a (x INT); CREATE TABLE b (x INT)")
    catalog = TapSQLite(config={"database": str(path)}).catalog_dict
    catalog["streams"] = [stream for stream in catalog["streams"] if stream["stream"] == "a"]
    looked_at = []
    monkeypatch.setattr(
        dialect, "scanned", lambda _, source, promises: looked_at.append(source) or dict(promises)
    )
    sync(path, catalog=catalog, type_scan=True)
    assert looked_at == ['"main"."a"']


@pytest.mark.parametrize("state", [{"bookmarks": {"t": "2020"}}, {"bookmarks": ["t"]}], ids=["text", "list"])
def test_state_of_another_shape_is_refused(database, sync, state):
    from icetap.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="bookmarks"):
        sync(database("CREATE TABLE t (a INT)"), state=state)


def test_the_sdks_own_connection_test_passes(database):
    from tap_sqlite.tap import TapSQLite

    path = database(
        "CREATE TABLE t (a INT, b BLOB, c DATETIME); INSERT INTO t VALUES (1, x'00', '2020-01-01 00:00:00')"
    )
    tap = TapSQLite(config={"database": str(path)})
    tap.messages.lines._descriptor = os.open(os.devnull, os.O_WRONLY)
    assert tap.run_connection_test()


def test_nothing_can_be_written_through_the_connection(database):
    from icetap.errors import IcetapError
    from tap_sqlite.connection import DatabaseFile

    path = database("CREATE TABLE t (a INT)")
    connection = DatabaseFile(path, {"b": path}, immutable=False, busy_timeout_ms=100).open()
    for statement in ("INSERT INTO t VALUES (1)", "DROP TABLE t", "INSERT INTO b.t VALUES (1)"):
        with pytest.raises(IcetapError, match="readonly"):
            connection.rows(statement)
    connection.close()


def test_a_condition_may_end_in_a_semicolon_or_a_comment(database, sync):
    path = database("CREATE TABLE t (n INT)", {"t": [(1,), (2,)]})
    for where in ("n = 1;", "n = 1 -- one"):
        assert sync(path, streams={"t": {"where": where}}).records() == [{"n": 1}]


def test_wrong_sql_names_its_stream(database, command):
    path = str(database("CREATE TABLE t (n INT); CREATE TABLE u (n INT)"))
    wrong_where = command(database=path, streams={"u": {"where": "n = = 1"}})
    assert (wrong_where.returncode, b"stream 'u': " in wrong_where.stderr) == (2, True)
    wrong_query = command(database=path, queries=[{"name": "mine", "sql": "SELEC 1"}])
    assert (wrong_query.returncode, b"setting 'queries', 'mine': " in wrong_query.stderr) == (2, True)


def test_new_names_are_not_empty(database, command):
    path = str(database("CREATE TABLE t (n INT)"))
    for options in ({"rename": {"n": ""}}, {"stream_name": ""}):
        assert command(database=path, streams={"t": options}).returncode == 2
