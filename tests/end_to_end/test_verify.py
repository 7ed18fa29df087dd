"""`icetap verify` over the real tap and the real loader: equal when it is equal, and every single break is named."""

import json
import subprocess
import sys
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from icetap.catalogs import open_catalog

from .pipes import BIN, measured
from .project import Project
from .sources import execute
from .types_table import CASES, KINDS, REFUSED

LIMIT_MB = 512
GROWTH = 1.25
SIZES = [
    pytest.param((60_000, 240_000), id="short"),
    pytest.param((1_000_000, 10_000_000), id="long", marks=[pytest.mark.soak, pytest.mark.timeout(7200)]),
]


def verify(project, *arguments, code):
    """Run `icetap verify … --json` in a project, check its exit code, and return the streams by name."""
    command = [sys.executable, "-c", "from icetap.cli import main; main()", "verify", *arguments, "--json"]
    done = subprocess.run(
        command,
        cwd=project.folder,
        env=project.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, (
        f"exit code {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    )
    return (
        {stream["stream"]: stream for stream in json.loads(done.stdout)["streams"]}
        if done.stdout
        else done.stderr
    )


def load(project, tap, *options):
    """Load without Meltano, which takes seconds to start; the loader's settings are the project's."""
    reading = subprocess.Popen([str(tap), *options], stdout=subprocess.PIPE, env=project.environ)
    environ = {
        **project.environ,
        "TARGET_ICEBERG_WAREHOUSE": str(project.warehouse),
        "MELTANO_EXTRACTOR_NAME": "tap-sqlite",
    }
    command = [str(BIN / "target-iceberg"), "--config", "ENV"]
    done = subprocess.run(
        command, stdin=reading.stdout, capture_output=True, text=True, env=environ, check=False
    )
    assert (reading.wait(), done.returncode) == (0, 0), done.stderr[-3000:]


@pytest.fixture
def empty(tmp_path):
    """A project for which Meltano itself is never started."""
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder)


# --- equal ----------------------------------------------------------------------------------------------


def one_row_for_each_value():
    """The whole table of types as one stream: a column for each kind, a row for each value."""
    properties = {"id": {"type": "integer"}, **{name: kind.schema for name, kind in KINDS.items()}}
    schema = {"type": "object", "properties": properties}
    lines = [json.dumps({"type": "SCHEMA", "stream": "types", "schema": schema, "key_properties": ["id"]})]
    lines += [
        f'{{"type": "RECORD", "stream": "types", "record": {{"id": {number}, "{kind}": {KINDS[kind].values[value][0]}}}}}'
        for number, (kind, value) in enumerate(CASES)
    ]
    return lines


def test_every_type_arrives_equal_and_what_was_refused_is_counted(empty):
    project = empty.configure()
    project.print_lines(one_row_for_each_value())
    load(project, "/bin/cat", str(project.lines))

    found = verify(project, "tap-lines", code=1)["types"]

    refused = sum(value is REFUSED for kind in KINDS.values() for _, value in kind.values.values())
    assert found["examples"] == []
    assert (found["refused"], found["source_rows"]) == (refused, len(CASES) - refused)
    assert found["source_rows"] == found["table_rows"]


# --- broken ---------------------------------------------------------------------------------------------

COLUMNS = "id INTEGER PRIMARY KEY, name TEXT, price DECIMAL(16,2), at TIMESTAMP, ratio REAL, note TEXT"
ROWS = 50


def cell(column, value, *, row=7):
    """A break: another value in one cell."""

    def change(rows):
        place = rows.schema.get_field_index(column)
        values = rows.column(column).to_pylist()
        values[row - 1] = value
        return rows.set_column(
            place, rows.schema.field(place), pa.array(values, rows.schema.field(place).type)
        )

    return change


BREAKS = {
    "untouched": (lambda rows: rows, None),
    "one_value": (cell("name", "nome 7"), ("different", 7, ["name"])),
    "a_letters_case": (cell("name", "Name 7"), ("different", 7, ["name"])),
    "null_for_empty": (cell("note", None), ("different", 7, ["note"])),
    "empty_for_null": (cell("note", "", row=8), ("different", 8, ["note"])),
    "last_digit": (cell("price", Decimal("99999999999.08")), ("different", 7, ["price"])),
    "microsecond": (cell("at", 1_704_067_207_000_124), ("different", 7, ["at"])),
    "last_bit": (cell("ratio", 7.000000000000001), ("different", 7, ["ratio"])),
    "missing_row": (lambda rows: rows.filter(pc.not_equal(rows["id"], 7)), ("missing", 7, [])),
    "extra_row": (
        lambda rows: pa.concat_tables([rows, cell("id", 77)(rows).filter(pc.equal(cell("id", 77)(rows)["id"], 77))]),
        ("extra", 77, []),
    ),
    "doubled_row": (lambda rows: pa.concat_tables([rows, rows.slice(6, 1)]), ("doubled", 7, [])),
}  # fmt: skip


@pytest.fixture
def broken(empty):
    """One table for each break, all of the same source rows, and their project."""
    database = empty.folder / "shop.db"
    series = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})"
    row = (
        "i, 'name ' || i, printf('99999999999.%02d', i), printf('2024-01-01 00:00:%02d.000123', i), i * 1.0, "
        "CASE WHEN i % 2 THEN '' END"
    )
    for name in BREAKS:
        execute(
            database, f"CREATE TABLE {name} ({COLUMNS})", f"INSERT INTO {name} {series} SELECT {row} FROM n"
        )
    project = empty.configure({"database": str(database), "number_as": "decimal"})
    config = project.folder / "tap.json"
    config.write_text(json.dumps({"database": str(database), "number_as": "decimal"}))
    load(project, BIN / "tap-sqlite", "--config", str(config))
    catalog = open_catalog({"warehouse": str(project.warehouse)})
    for name, (change, _) in BREAKS.items():
        table = catalog.load_table(("raw", name))
        table.overwrite(change(table.scan().to_arrow().sort_by("id")))
    return project


def test_every_single_break_is_found_and_named(broken):
    found = verify(broken, "tap-sqlite", "target-iceberg", code=1)

    named = {
        name: [(each["kind"], each["key"]["id"], each["columns"]) for each in stream["examples"]]
        for name, stream in found.items()
    }
    assert named == {name: [expected] if expected else [] for name, (_, expected) in BREAKS.items()}
    assert [name for name, stream in found.items() if stream["equal"]] == ["untouched"]
    assert all(
        stream["missing"] + stream["extra"] + stream["different"] + stream["doubled"] <= 1
        for stream in found.values()
    )


# --- what changes at the source ---------------------------------------------------------------------------


def test_an_incremental_stream_is_compared_up_to_its_bookmark(empty, database):
    metadata = {"orders": {"replication-method": "INCREMENTAL", "replication-key": "updated_at"}}
    project = empty.configure({"database": str(database)}, metadata=metadata)
    project_config = project.folder / "tap.json"
    options = {"orders": {"replication_method": "INCREMENTAL", "replication_key": "updated_at"}}
    project_config.write_text(json.dumps({"database": str(database), "streams": options}))
    load(project, BIN / "tap-sqlite", "--config", str(project_config))
    execute(
        database,
        "UPDATE orders SET customer = 'later', updated_at = '2024-01-01 00:00:00' WHERE id = 3",
        "INSERT INTO orders VALUES (501, 'new', 1.0, '2024-01-02 00:00:00')",
    )

    (orders,) = verify(project, "tap-sqlite", "target-iceberg", "orders", code=0).values()
    assert (orders["not_loaded"], orders["compared_up_to"]) == (
        2,
        "updated_at up to 2023-11-14T22:21:40.000000",
    )


# --- memory ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", SIZES)
def test_memory_does_not_grow_with_the_table(tmp_path, sizes):
    """Both sizes differ from their tables in every hundredth row, so that rows are looked at too."""
    peaks = {}
    for size in sizes:
        database = tmp_path / f"{size}.db"
        series = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {size})"
        row = "i, 'customer ' || (i % 9973), i / 7, '2024-01-01 00:00:00', i / 97.0, hex(i * 2654435761)"
        execute(
            database, f"CREATE TABLE orders ({COLUMNS})", f"INSERT INTO orders {series} SELECT {row} FROM n"
        )
        project = Project(tmp_path / str(size))
        project.folder.mkdir()
        tap, target = project.folder / "tap.json", project.folder / "target.json"
        tap.write_text(
            json.dumps({"database": str(database), "batch_config": {"encoding": {"format": "arrow"}}})
        )
        target.write_text(json.dumps({"warehouse": str(project.warehouse)}))
        load(project, BIN / "tap-sqlite", "--config", str(tap))
        execute(database, "UPDATE orders SET note = 'changed' WHERE id % 100 = 0")
        command = [str(BIN / "target-iceberg"), "verify", "--json", "--config", str(target)]
        reading = subprocess.Popen(
            [str(BIN / "tap-sqlite"), "--config", str(tap)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        watched = measured(command, into=project.folder / "peak")
        done = subprocess.run(watched, stdin=reading.stdout, capture_output=True, text=True, check=False)
        assert (reading.wait(), done.returncode) == (0, 1), done.stderr[-2000:]
        assert json.loads(done.stdout)["streams"][0]["different"] == size // 100
        peaks[size] = int((project.folder / "peak").read_text())
    print(f"peaks in MB: {peaks}")
    small, large = peaks.values()
    assert large < LIMIT_MB, peaks
    assert large <= GROWTH * small, peaks
