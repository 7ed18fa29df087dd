"""Writers, compaction, expiry and sweep on one table at once: no row lost, none doubled, no file missed.

Actors stop at named points, before and after each commit and between the parts of upkeep, and go on in an
order that the round's number decides. `12` rounds each run always, `200` in `make soak`.
"""

from __future__ import annotations

import io
import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

import target_iceberg.tables.commit
import target_iceberg.tables.loaded_table
import target_iceberg.upkeep.expiry
from icetap.catalogs import open_catalog
from icetap.testing.interleaving import Interleaving, point, points_around
from icetap.testing.tables import table_findings
from target_iceberg.target import TargetIceberg
from target_iceberg.upkeep.maintenance import Maintenance, MaintenanceOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROUNDS = [
    pytest.param(12, id="12 rounds"),
    pytest.param(200, id="200 rounds", marks=[pytest.mark.soak, pytest.mark.timeout(7200)]),
]
KEYS = 60
POINTS = (
    (target_iceberg.tables.loaded_table, "commit_change"),
    (target_iceberg.tables.commit, "send_commit"),
    (target_iceberg.upkeep.expiry, "send_commit"),
)


@pytest.fixture(autouse=True)
def _stopping(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.delenv("MELTANO_EXTRACTOR_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    with points_around(*POINTS):
        yield


class Race:
    """A table `raw.s` with what it should hold, and actors on it."""

    def __init__(self, folder: Path, *, keys: list[str]) -> None:
        self.config = {"warehouse": str(folder / "warehouse")}
        self.keys = keys
        self.folder = folder
        self.states: list[str] = []

    def messages(self, rows: list[dict[str, Any]], *, start: Any = None, state: Any = None) -> bytes:
        schema = {
            "properties": {"id": {"type": "integer"}, "value": {"type": ["string", "null"]}},
            "type": "object",
        }
        lines: list[dict[str, Any]] = []
        if start is not None:
            lines.append({"type": "STATE", "value": {"bookmarks": {"s": start} if start else {}}})
        lines.append(
            {
                "type": "SCHEMA",
                "stream": "s",
                "schema": schema,
                "key_properties": self.keys,
                "bookmark_properties": ["id"],
            }
        )
        lines += [{"type": "RECORD", "stream": "s", "record": row} for row in rows]
        if state is not None:
            lines.append({"type": "STATE", "value": {"bookmarks": {"s": state}}})
        return b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    def loader(self, messages: bytes, **config: Any) -> Callable[[], None]:
        """An actor that loads; made here, as only the main thread may handle signals."""
        target = TargetIceberg(config={**self.config, **config}, parse_env_config=False)
        path = self.folder / f"input-{time.monotonic_ns()}"
        path.write_bytes(messages)

        def load() -> None:
            with path.open("rb") as source:
                target.load(io.TextIOWrapper(source))

        return load

    def keeper(self, **options: Any) -> Callable[[], None]:
        """An actor that does upkeep."""
        chosen = MaintenanceOptions(**{"expire_days": 0.0, "keep_snapshots": 1, "min_files": 2, **options})

        def keep() -> None:
            catalog = open_catalog(self.config)
            report = Maintenance(catalog, self.config, chosen, pause=point).of(catalog.load_table("raw.s"))
            assert report.failure is None, report.failure

        return keep

    def tidy_up(self, number: int) -> None:
        """Expire snapshots now and then, so that rounds do not grow slower."""
        if number % 10 == 9:
            self.keeper(sweep=False)()

    def rows(self) -> list[tuple[int, str | None]]:
        found = open_catalog(self.config).load_table("raw.s").scan().to_arrow()
        return sorted(zip(found["id"].to_pylist(), found["value"].to_pylist(), strict=True))

    def findings(self) -> list[str]:
        return table_findings(open_catalog(self.config).load_table("raw.s"))


def play(number: int, actors: dict[str, Callable[[], None]], *, may_fail: tuple[str, ...] = ()) -> list[str]:
    """One round; the trace for the message of an assertion."""
    turns = Interleaving(number)
    errors = turns.run(actors)
    assert set(errors) <= set(may_fail), (number, turns.trace, errors)
    return turns.trace


def mode(number: int) -> str:
    """The merge mode of a round: two of each in turn."""
    return ("copy-on-write", "merge-on-read")[number // 2 % 2]


def changes(number: int, *, name: str) -> list[dict[str, Any]]:
    """Rows of a round: some keys changed, a new one, and one deleted."""
    keys = [(number * 7 + step * 11) % KEYS for step in range(5)] + [KEYS + number]
    return [{"id": key, "value": f"{name}{number}"} for key in dict.fromkeys(keys)]


@pytest.fixture
def keyed(tmp_path: Path) -> Race:
    race = Race(tmp_path, keys=["id"])
    race.loader(race.messages([{"id": key, "value": "first"} for key in range(KEYS)]))()
    return race


@pytest.mark.parametrize("rounds", ROUNDS)
def test_two_writers_of_the_same_keys(keyed: Race, rounds: int) -> None:
    model = dict(keyed.rows())
    for number in range(rounds):
        given = {name: changes(number, name=name) for name in ("one", "two")}
        trace = play(
            number,
            {
                name: keyed.loader(keyed.messages(rows), pipeline=name, merge_mode=mode(number))
                for name, rows in given.items()
            },
        )
        found = keyed.rows()
        assert len(dict(found)) == len(found), (number, trace)
        values = {row["id"]: {f"one{number}", f"two{number}"} for row in given["one"]}
        assert dict(found).keys() == model.keys() | values.keys(), (number, trace)
        for key, value in found:
            assert value in values.get(key, {model.get(key)}), (number, trace)
        assert keyed.findings() == [], (number, trace)
        model = dict(found)
        keyed.tidy_up(number)


@pytest.mark.parametrize("rounds", ROUNDS)
def test_compaction_and_expiry_against_a_writer(keyed: Race, rounds: int) -> None:
    model = dict(keyed.rows())
    for number in range(rounds):
        rows = changes(number, name="new")
        model |= {row["id"]: row["value"] for row in rows}
        gone = (number * 13) % KEYS
        model.pop(gone, None)
        rows.append({"id": gone, "_sdc_deleted_at": "2026-01-01T00:00:00Z"})
        actors = {
            "writer": keyed.loader(keyed.messages(rows), merge_mode=mode(number)),
            "keeper": keyed.keeper(),
        }
        if number % 4 == 3:
            actors["other keeper"] = keyed.keeper()
        trace = play(number, actors)
        assert keyed.rows() == sorted(model.items()), (number, trace)
        assert keyed.findings() == [], (number, trace)


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_sweep_against_a_writer(keyed: Race, rounds: int) -> None:
    model = dict(keyed.rows())
    data = keyed.folder / "warehouse" / "raw" / "s" / "data"
    then = time.time() - 10 * 86_400
    for number in range(rounds):
        orphan = data / f"icetap-{number:012x}-000001.parquet"
        orphan.write_bytes(b"left by a run that was killed")
        for path in data.iterdir():
            os.utime(path, (then, then))
        rows = changes(number, name="new")
        model |= {row["id"]: row["value"] for row in rows}
        trace = play(
            number,
            {
                "writer": keyed.loader(keyed.messages(rows), merge_mode=mode(number)),
                "keeper": keyed.keeper(compact=False, expire=False, orphan_days=3.0),
            },
        )
        assert not orphan.exists(), (number, trace)
        assert keyed.rows() == sorted(model.items()), (number, trace)
        assert keyed.findings() == [], (number, trace)
        keyed.tidy_up(number)


@pytest.mark.parametrize("rounds", ROUNDS)
def test_compaction_and_expiry_against_a_load_that_goes_back(tmp_path: Path, rounds: int) -> None:
    """A key-less stream whose tap starts each time where the run before began: its rows come again."""
    race = Race(tmp_path, keys=[])

    def at(number: int) -> dict[str, Any]:
        return {"replication_key": "id", "replication_key_value": number}

    race.loader(race.messages([{"id": 0, "value": "first"}], start={}, state=at(0)))()
    confirmed, first = [(0, "first")], 0
    for number in range(rounds):
        pieces = [
            race.messages([{"id": first + step, "value": f"round {number}"}], state=at(first + step))
            for step in (1, 2, 3)
        ]
        load = race.loader(race.messages([], start=at(first)) + b"".join(pieces), batch_size_rows=1)
        trace = play(number, {"writer": load, "keeper": race.keeper(sweep=False)})
        added = [(first + step, f"round {number}") for step in (1, 2, 3)]
        assert race.rows() == [*confirmed, *added], (number, trace)
        assert race.findings() == [], (number, trace)
        if number % 3 == 2:  # at last Meltano has stored the state
            confirmed, first = [*confirmed, *added], first + 3
