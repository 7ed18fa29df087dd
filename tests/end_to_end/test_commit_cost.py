"""What a commit costs does not grow with a table's history, as long as it is maintained."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from icetap.catalogs import open_catalog
from icetap.testing.tables import table_findings

if TYPE_CHECKING:
    from types import ModuleType

BENCH = Path(__file__).parents[2] / "bench" / "commits.py"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_commits", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_commits", module)
    spec.loader.exec_module(module)
    return module


def weight(folder: Path) -> dict[str, int]:
    """What each commit has to read and write again: the metadata file, its snapshots, the list of manifests."""
    table = open_catalog({"warehouse": str(folder / "warehouse")}).load_table("raw.orders")
    assert table_findings(table) == []
    head = table.current_snapshot()
    assert head is not None
    return {
        "metadata": Path(table.metadata_location.removeprefix("file://")).stat().st_size,
        "snapshots": len(table.metadata.snapshots),
        "manifests": len(head.manifests(table.io)),
    }


def test_after_sixty_commits_a_maintained_table_is_as_light_as_after_forty(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "KEYS", 200)
    monkeypatch.setattr(bench, "CHANGED", 2)
    weights = {}

    def watch(commits: int) -> None:
        if commits in {20, 40, 60}:
            weights[commits] = weight(tmp_path)

    bench.course(tmp_path, 60, maintain_every=20, watch=watch)
    assert weights[20]["snapshots"] == 20
    assert weights[40]["snapshots"] == weights[60]["snapshots"] == 20 + bench.KEPT
    assert weights[60]["manifests"] <= weights[20]["manifests"]
    # The log of older metadata files grows to a hundred entries, and then no more.
    assert weights[60]["metadata"] <= 1.2 * weights[40]["metadata"]


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_the_last_ten_of_a_thousand_commits_cost_at_most_half_as_much_again_as_the_first(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = bench.course(tmp_path, bench.COMMITS, maintain_every=bench.EVERY)
    assert found.growth <= 1.5, (found.first(), found.last())
    weight(tmp_path)
