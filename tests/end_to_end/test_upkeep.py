"""Upkeep through Meltano: as commands of the loader, and as a utility that a job and its schedule can name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from . import lake
from .pipes import BIN, SECONDS

if TYPE_CHECKING:
    from .project import Project

SCHEMA = {
    "type": "SCHEMA",
    "stream": "orders",
    "schema": {"type": "object", "properties": {"id": {"type": "integer"}}},
    "key_properties": ["id"],
}
UTILITY = {
    "name": "target-iceberg-upkeep",
    "namespace": "target_iceberg",
    "executable": str(BIN / "target-iceberg"),
    "settings": [{"name": "warehouse"}],
    "commands": {"maintain": "maintain --config=ENV"},
}


def meltano(project: Project, *arguments: str, **environ: str) -> str:
    process = project.start(*arguments, **environ)
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said[-3000:]
    return said


def test_commands_of_the_plug_in_and_a_scheduled_job_look_after_the_tables(project: Project) -> None:
    project.configure(target={"expire_days": 0, "keep_snapshots": 1})
    definition: dict[str, Any] = json.loads((project.folder / "meltano.yml").read_text())
    loader = definition["plugins"]["loaders"][0]
    loader["commands"] = {name: {"args": f"{name} --config=ENV"} for name in ("maintain", "reset")}
    loader["settings"] = [{"name": name} for name in ("warehouse", "expire_days", "keep_snapshots")]
    utility = {**UTILITY, "config": {"warehouse": str(project.warehouse)}}
    definition["plugins"]["utilities"] = [utility]
    definition["jobs"] = [
        {"name": "nightly", "tasks": ["tap-lines target-iceberg", "target-iceberg-upkeep:maintain"]}
    ]
    definition["schedules"] = [{"name": "every-night", "interval": "0 3 * * *", "job": "nightly"}]
    (project.folder / "meltano.yml").write_text(json.dumps(definition))
    project.print_lines(
        [SCHEMA, *({"type": "RECORD", "stream": "orders", "record": {"id": number}} for number in (1, 2))]
    )

    said = meltano(project, "schedule", "run", "every-night")
    assert "raw.orders" in said
    assert "compacted: nothing worth it" in said
    said = meltano(project, "invoke", "target-iceberg:reset", "orders", "--data", "--yes")
    assert "2 rows are gone" in said
    said = meltano(project, "invoke", "target-iceberg:maintain", "orders")
    assert "expired: 1 snapshots" in said
    assert len(lake.snapshots(project.warehouse, "orders")) == 1
    assert lake.query(project.warehouse, "orders") == []
