"""The table of types, value by value, through `meltano run`, read back by engines that are not ours."""

import json

import pytest

from . import lake
from .project import new_project
from .types_table import CASES, KINDS, REFUSED, is_same, messages, row_zero


class Loaded:
    """The tables after a run, and after a second one that rewrote their files; read by DuckDB."""

    def __init__(self, folder, template) -> None:
        self.project = new_project(folder, template).configure(
            target={"report_path": str(folder / "report.json")}
        )
        self.project.print_lines(messages())
        self.project.run("tap-lines", "target-iceberg")
        self.report = {
            stream["stream"]: stream for stream in json.loads((folder / "report.json").read_text())["streams"]
        }
        self.first = {name: self._read(name) for name in KINDS}
        lines = messages()
        self.project.print_lines(
            [line for line in lines if '"SCHEMA"' in line] + [row_zero(name, "second") for name in KINDS]
        )
        self.project.run("tap-lines", "target-iceberg")
        self.second = {name: self._read(name) for name in KINDS}

    def _read(self, name):
        value = "CAST(v AS VARCHAR)" if KINDS[name].as_text else "v"
        rows = lake.query(self.project.warehouse, name, f"SELECT id, note, {value} FROM t")
        return {row[0]: row[1:] for row in rows}

    def rejected(self, name):
        if not lake.has_table(self.project.warehouse, f"{name}__rejected"):
            return {}
        found = lake.query(
            self.project.warehouse, f"{name}__rejected", 'SELECT record, "column", reason FROM t'
        )
        # A line that holds no text at all, for half a character in it, is kept whole.
        records = ((json.loads(raw), column, reason) for raw, column, reason in found)
        return {record.get("record", record)["id"]: (column, reason) for record, column, reason in records}


@pytest.fixture(scope="session")
def loaded(tmp_path_factory, template):
    return Loaded(tmp_path_factory.mktemp("types") / "project", template)


def place(kind, value):
    return list(KINDS[kind].values).index(value) + 1


@pytest.mark.parametrize(("kind", "value"), CASES, ids=[f"{kind}-{value}" for kind, value in CASES])
def test_a_value_arrives_as_it_was_or_is_refused(loaded, kind, value):
    raw, expected = KINDS[kind].values[value]
    number = place(kind, value)
    if expected is REFUSED:
        assert number not in loaded.first[kind], f"{raw[:80]} became {loaded.first[kind][number]}"
        column, reason = loaded.rejected(kind)[number]
        assert column == "v"
        assert reason
        return
    for rows in (loaded.first[kind], loaded.second[kind]):
        assert number in rows, loaded.rejected(kind).get(number)
        found = rows[number][1]
        assert is_same(expected, found, as_text=KINDS[kind].as_text), f"{str(found)[:80]!r} for {raw[:80]}"


def test_the_second_run_has_rewritten_every_file(loaded):
    for kind in KINDS:
        assert loaded.first[kind][0][0] == "first"
        assert loaded.second[kind][0][0] == "second"
        operations = [one["summary"]["operation"] for one in lake.snapshots(loaded.project.warehouse, kind)]
        assert operations[-1] == "overwrite", f"{kind}: {operations}"


def test_what_is_lost_by_declaration_is_counted(loaded):
    assert loaded.report["double"]["lossy_values"] == {"v": 1}
    assert loaded.report["timestamptz"]["lossy_values"] == {"v": 1}
    refused = {
        name: sum(value is REFUSED for _, value in kind.values.values()) for name, kind in KINDS.items()
    }
    assert {name: stream["rows_rejected"] for name, stream in loaded.report.items()} == refused
