"""Refused rows that are loaded again: those that fit now, exactly once, and never over newer ones."""

from __future__ import annotations

import contextlib
import json

import pytest
from click.testing import CliRunner

from icetap.errors import DataError, StateError
from target_iceberg.commands import commands
from target_iceberg.contracts import refused_rows, replay
from target_iceberg.signals import Termination

ID = {"id": {"type": "integer"}}
LONG = {"type": ["null", "integer"]}
TEXT = {"type": ["null", "string"]}
INSTANT = {"type": ["null", "string"], "format": "date-time"}


@pytest.fixture
def quarantined(lake, singer):
    """Load rows of stream s with the columns id, v and at; rows whose v is a text are refused."""

    def load(*rows, v=LONG, keys=("id",), cursor=None, version=None, activate=False, **config):
        schema = singer.schema(properties={**ID, "v": v, "at": INSTANT}, keys=list(keys), cursor=cursor)
        messages = [schema, *(singer.record(row, version=version) for row in rows)]
        if activate:
            messages.append(singer.activate(version))
        return lake.ok(*messages, **config)

    return load


def replayed(lake, **options):
    config = options.pop("config", {})
    return replay.StreamReplay(
        lake.catalog,
        {**lake.config, **config},
        lake.table(),
        pipeline="default",
        termination=Termination(),
        **options,
    ).run()


def fates(report) -> dict:
    return {fate.name: count for fate, count in report.fates.items()}


def waiting(lake) -> list[dict]:
    rows = lake.table("s__rejected").scan().to_arrow().to_pylist()
    assert all(row["replay_id"] is None for row in rows)
    return sorted((json.loads(row["record"]) for row in rows), key=lambda row: str(row.get("id")))


def values(lake, column="v") -> dict:
    return {row["id"]: row[column] for row in lake.rows()}


def day(number: int) -> str:
    return f"2026-01-{number:02}T00:00:00Z"


# --- after a fix ------------------------------------------------------------------------------------------


def test_rows_that_fit_after_a_new_schema_are_loaded_and_leave_the_quarantine(lake, quarantined):
    quarantined({"id": 1, "v": 1}, {"id": 2, "v": "two"}, {"id": 3, "v": "three"})
    quarantined(v=TEXT)  # the source's SCHEMA is right now; no row came

    report = replayed(lake)

    assert fates(report) == {"LOAD": 2}
    assert report.loaded["inserted"] == 2
    assert [(row["id"], row["v"], row["v__string"]) for row in lake.rows()] == [
        (1, 1, None),
        (2, None, "two"),
        (3, None, "three"),
    ]
    assert waiting(lake) == []
    assert fates(replayed(lake)) == {}


def test_rows_fit_by_other_settings(lake, quarantined):
    quarantined({"id": 1, "v": 1}, {"id": 2, "v": "two"})
    report = replayed(lake, config={"schema_policy": "discard"})
    assert fates(report) == {"LOAD": 1}
    assert values(lake) == {1: 1, 2: None}


def test_rows_that_still_do_not_fit_stay_with_their_reason(lake, quarantined):
    quarantined({"id": 1, "v": 1}, {"id": 2, "v": "two"}, {"id": None, "v": 3}, {"v": "x"})
    quarantined(v=TEXT)
    before = lake.table().metadata

    report = replayed(lake)

    assert fates(report) == {"LOAD": 1, "REFUSED": 2}
    assert report.reasons == {("id", "a key that is missing or null"): 2}
    assert len(waiting(lake)) == 2
    assert len(lake.table().metadata.snapshots) == len(before.snapshots) + 1


def test_the_bookmark_and_the_fence_of_the_pipeline_stay(lake, singer, quarantined):
    quarantined({"id": 1, "v": 1}, {"id": 2, "v": "two"})
    lake.ok(singer.schema(properties={**ID, "v": TEXT, "at": INSTANT}), singer.state(s=7))
    before = lake.property()
    replayed(lake)
    assert lake.property() == before
    lake.ok(singer.state(s=7), singer.schema(), singer.records([9]), singer.state(s=9))
    assert lake.ids() == [1, 2, 9]


def test_a_dry_run_changes_nothing(lake, quarantined):
    quarantined({"id": 1, "v": 1}, {"id": 2, "v": "two"})
    quarantined(v=TEXT)
    before = [lake.table(name).metadata for name in ("s", "s__rejected")]
    report = replayed(lake, is_dry_run=True)
    assert fates(report) == {"LOAD": 1}
    assert [lake.table(name).metadata for name in ("s", "s__rejected")] == before


def test_a_table_without_the_schema_in_its_quarantine_is_read_by_its_own_columns(lake, quarantined):
    quarantined({"id": 1, "v": 1}, {"id": 2, "v": "two"})
    quarantined(v=TEXT)
    with lake.table("s__rejected").transaction() as transaction:
        transaction.remove_properties("icetap.schema")
    assert fates(replayed(lake)) == {"REFUSED": 1}
    assert fates(replayed(lake, config={"schema_policy": "discard"})) == {"LOAD": 1}


def test_stream_maps_are_not_applied_twice(lake, singer):
    maps = {"s": {"v": "v", "id": "id", "doubled": "str(id * 2)", "__else__": None}}
    schema = singer.schema(properties={**ID, "v": LONG})
    lake.ok(schema, singer.record({"id": 1, "v": "x"}), stream_maps=maps)
    report = replayed(lake, config={"stream_maps": maps, "schema_policy": "discard"})
    assert fates(report) == {"LOAD": 1}
    assert [row["doubled"] for row in lake.rows()] == ["2"]


# --- newer rows --------------------------------------------------------------------------------------------


def test_an_older_row_never_overwrites_a_newer_one(lake, quarantined):
    quarantined(
        {"id": 1, "v": "old", "at": day(2)},
        {"id": 2, "v": "new", "at": day(5)},
        {"id": 3, "v": "x", "at": day(3)},
        {"id": 4, "v": "alone", "at": day(1)},
        cursor="at",
    )
    quarantined(
        *({"id": number, "v": number, "at": day(3)} for number in (1, 2, 3)), cursor="at"
    )  # arrived since
    quarantined(v=TEXT, cursor="at")

    report = replayed(lake)

    assert fates(report) == {"NEWER": 1, "LOAD": 2, "CONFLICT": 1}
    assert values(lake, "v__string") == {1: None, 2: "new", 3: None, 4: "alone"}
    assert [row["id"] for row in waiting(lake)] == [3]


@pytest.mark.parametrize(
    ("choice", "value", "left"), [("load", "x", 0), ("drop", None, 0), ("keep", None, 1)]
)
def test_the_owner_decides_when_nothing_tells_which_row_is_newer(lake, quarantined, choice, value, left):
    quarantined({"id": 1, "v": "x"})
    quarantined({"id": 1, "v": 1})
    quarantined(v=TEXT)
    replayed(lake, on_conflict=choice)
    assert values(lake, "v__string" if choice == "load" else "v")[1] == (value if choice == "load" else 1)
    assert len(waiting(lake)) == left


def test_the_time_of_arrival_tells_where_the_source_has_no_order(lake, quarantined):
    quarantined({"id": 2, "v": 1}, add_record_metadata=True)
    quarantined({"id": 1, "v": "old"}, {"id": 2, "v": "new"}, add_record_metadata=True)
    quarantined({"id": 1, "v": 1}, add_record_metadata=True)
    quarantined(v=TEXT, add_record_metadata=True)
    report = replayed(lake, config={"add_record_metadata": True})
    assert fates(report) == {"NEWER": 1, "LOAD": 1}
    assert values(lake, "v__string") == {1: None, 2: "new"}


def test_the_newest_refused_row_of_a_key_wins(lake, quarantined):
    quarantined({"id": 1, "v": "b", "at": day(2)}, {"id": 1, "v": "a", "at": day(1)}, cursor="at")
    quarantined({"id": 1, "v": "c", "at": day(2)}, cursor="at")
    quarantined(v=TEXT, cursor="at")
    assert fates(replayed(lake)) == {"LOAD": 3}
    assert values(lake, "v__string") == {1: "c"}


def test_rows_refused_before_a_complete_read_are_out_of_date(lake, quarantined):
    def read(version, *rows, v=LONG):
        quarantined(*rows, v=v, version=version, activate=True)

    read(1, {"id": 1, "v": 1}, {"id": 2, "v": "gone since"})
    read(2, {"id": 1, "v": 1}, {"id": 3, "v": "refused by the newest read"})
    quarantined(v=TEXT)
    report = replayed(lake)
    assert fates(report) == {"OUT_OF_DATE": 1, "LOAD": 1}
    assert lake.ids() == [1, 3]
    assert waiting(lake) == []


def test_a_delete_that_was_refused_deletes(lake, singer, quarantined):
    quarantined({"id": 1, "v": 1, "at": day(1)}, {"id": 2, "v": 1, "at": day(3)}, cursor="at")
    gone = {"v": "x", "at": day(2), "_sdc_deleted_at": day(2)}
    quarantined({"id": 1, **gone}, {"id": 2, **gone}, cursor="at")
    quarantined(v=TEXT, cursor="at")
    report = replayed(lake)
    assert fates(report) == {"LOAD": 1, "NEWER": 1}
    assert lake.ids() == [2]


def test_a_history_gets_the_versions_that_were_refused_in_their_place(lake, quarantined):
    history = {"load_method": "history"}
    quarantined({"id": 1, "v": 1, "at": day(1)}, {"id": 1, "v": "x", "at": day(2)}, cursor="at", **history)
    quarantined({"id": 1, "v": 3, "at": day(3)}, cursor="at", **history)
    quarantined(v=TEXT, cursor="at", **history)
    assert fates(replayed(lake, config=history)) == {"LOAD": 1}
    versions = sorted(lake.rows(), key=lambda row: row["_valid_from"])
    assert [row["v"] or row["v__string"] for row in versions] == [1, "x", 3]
    assert [row["_is_current"] for row in versions] == [False, False, True]


@pytest.mark.parametrize("is_stored", [True, False], ids=["a-row-that-was-there", "a-row-that-never-came"])
def test_a_key_that_was_deleted_since_does_not_come_back_by_itself(lake, quarantined, is_stored):
    quarantined({"id": 9, "v": 9, "at": day(1)}, *([{"id": 1, "v": 1, "at": day(1)}] if is_stored else []))
    quarantined({"id": 1, "v": "x", "at": day(2)})
    quarantined({"id": 1, "_sdc_deleted_at": day(3)}, {"id": 9, "v": 10, "at": day(3)})
    quarantined({"id": 2, "v": "y", "at": day(4)}, v=LONG)
    quarantined(v=TEXT)
    assert fates(replayed(lake)) == {"CONFLICT": 1, "LOAD": 1}
    assert lake.ids() == [2, 9]
    assert fates(replayed(lake, on_conflict="load")) == {"LOAD": 1}
    assert lake.ids() == [1, 2, 9]


# --- streams without keys -----------------------------------------------------------------------------------


def test_rows_without_keys_are_appended_once(lake, singer, quarantined):
    rows = [{"id": 1, "v": "x"}, {"id": 1, "v": "x"}, {"id": 2, "v": 2}]
    quarantined(*rows, keys=())
    quarantined(v=TEXT, keys=())
    assert fates(replayed(lake)) == {"LOAD": 2}
    assert fates(replayed(lake)) == {}
    assert lake.ids() == [1, 1, 2]


@pytest.mark.parametrize("group", [2, 1000], ids=["in-groups", "at-once"])
def test_a_row_that_several_runs_refused_is_loaded_once_by_choice(lake, quarantined, monkeypatch, group):
    monkeypatch.setattr(refused_rows, "GROUP_ROWS", group)
    first = [{"id": 1, "v": "x"}, {"id": 1, "v": "x"}, {"id": 2, "v": "y"}]
    quarantined(*first, keys=())
    quarantined(*first, {"id": 3, "v": "z"}, keys=())  # its repetition
    quarantined(v=TEXT, keys=())
    assert fates(replayed(lake, is_distinct=True)) == {"LOAD": 4, "REPEATED": 3}
    assert lake.ids() == [1, 1, 2, 3]
    assert waiting(lake) == []


def test_a_run_after_a_replay_goes_on_where_the_last_one_was(lake, singer):
    schema = singer.schema(properties={**ID, "v": LONG}, keys=[], cursor="id")
    text = singer.schema(properties={**ID, "v": TEXT}, keys=[], cursor="id")
    rows = [singer.record({"id": 1, "v": 1}), singer.record({"id": 2, "v": "x"})]
    lake.ok(schema, rows, singer.state(s=2))
    lake.ok(singer.state(s=2), text, singer.state(s=2))
    replayed(lake)
    lake.ok(singer.state(s=2), text, singer.record({"id": 3, "v": "y"}), singer.state(s=3))
    assert lake.ids() == [1, 2, 3]


def test_rows_that_no_state_covers_yet_keep_a_replay_waiting(lake, singer):
    schema = singer.schema(properties={**ID, "v": LONG}, keys=[], cursor="id")
    rows = [singer.record({"id": 1, "v": "x"}), singer.record({"id": 2, "v": 2})]
    lake.ok(schema, rows)
    with pytest.raises(StateError, match="Run the pipeline once"):
        replayed(lake)


# --- crashes and company ------------------------------------------------------------------------------------


class Killed(BaseException):
    """Ends a replay as a signal would."""


@pytest.mark.parametrize("keys", [("id",), ()], ids=["keys", "no-keys"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_replay_that_is_killed_at_any_commit_loses_and_doubles_nothing(
    lake, quarantined, monkeypatch, keys, when, number
):
    """Its commits: the rows are marked, loaded, removed; each may be the last thing that happens."""
    from target_iceberg.tables import loaded_table

    quarantined({"id": 1, "v": 1}, {"id": 2, "v": "x"}, {"id": 3, "v": "y"}, {"id": None, "v": 1}, keys=keys)
    quarantined(v=TEXT, keys=keys)
    original = loaded_table.commit_change
    done = 0

    def commit(table, change, *, stage):
        nonlocal done
        done += 1
        if done == number and when == "before":
            raise Killed
        landed = original(table, change, stage=stage)
        if done == number:
            raise Killed
        return landed

    for module in (loaded_table, refused_rows):
        monkeypatch.setattr(module, "commit_change", commit)
    with pytest.raises(Killed):
        replayed(lake)
    monkeypatch.undo()

    report = replayed(lake)

    left = [row for row in waiting(lake) if row["id"] is not None]
    assert left == []
    found = lake.table().scan().to_arrow().column("id").to_pylist()
    assert sorted(found, key=str) == ([1, 2, 3] if keys else [1, 2, 3, None])
    if number == 2 and when == "after":
        assert report.finished == 2, "it was loaded, and only had to be removed"


def test_a_newer_row_that_comes_during_the_replay_is_not_overwritten(lake, quarantined, monkeypatch):
    quarantined({"id": 1, "v": "x", "at": day(2)}, cursor="at")
    quarantined(v=TEXT, cursor="at")
    original = refused_rows.RefusedRows.swap
    came = []

    def swap(self, paths, tables, *, run_id):
        swapped = original(self, paths, tables, run_id=run_id)
        if not came:
            came.append(True)
            quarantined({"id": 1, "v": "newer", "at": day(3)}, v=TEXT, cursor="at")
        return swapped

    monkeypatch.setattr(refused_rows.RefusedRows, "swap", swap)
    report = replayed(lake)
    assert fates(report) == {"NEWER": 1}
    assert values(lake, "v__string") == {1: "newer"}
    assert waiting(lake) == []


def test_rows_refused_during_the_replay_wait_for_the_next_one(lake, quarantined, monkeypatch):
    quarantined({"id": 1, "v": "x"}, {"id": 2, "v": 2})
    quarantined(v=TEXT)
    original = refused_rows.commit_change
    came = []

    def commit(table, change, *, stage):
        if not came:
            came.append(True)
            quarantined({"id": None, "v": "y"}, v=TEXT)
        return original(table, change, stage=stage)

    monkeypatch.setattr(refused_rows, "commit_change", commit)
    assert fates(replayed(lake)) == {"LOAD": 1}
    assert [row["v"] for row in waiting(lake)] == ["y"]


@pytest.mark.parametrize("keys", [("id",), ()], ids=["keys", "no-keys"])
@pytest.mark.parametrize("number", range(1, 5))
def test_of_two_replays_at_once_one_stops_and_each_row_is_loaded_once(
    lake, quarantined, monkeypatch, keys, number
):
    """The second begins before any commit of the first, which looks dead to it."""
    from target_iceberg.tables import loaded_table

    quarantined({"id": 2, "v": "x"}, {"id": 3, "v": "y"}, {"id": 4, "v": 4}, keys=keys)
    quarantined(v=TEXT, keys=keys)
    original = loaded_table.commit_change
    state = {"done": 0, "inside": False}

    def commit(table, change, *, stage):
        if not state["inside"]:
            state["done"] += 1
            if state["done"] == number:
                state["inside"] = True
                replayed(lake)
                state["inside"] = False
        return original(table, change, stage=stage)

    for module in (loaded_table, refused_rows):
        monkeypatch.setattr(module, "commit_change", commit)
    with contextlib.suppress(refused_rows.TakenOverError):
        replayed(lake)
    monkeypatch.undo()
    replayed(lake)
    assert lake.ids() == [2, 3, 4]
    assert waiting(lake) == []


@pytest.mark.parametrize("last", [1, 2, 3, 4])
def test_a_replay_that_only_seemed_dead_cannot_load_what_another_took_over(
    lake, quarantined, monkeypatch, last
):
    """The second begins when the first is about to load, and is killed after its own first to fourth commit."""
    from target_iceberg.tables import loaded_table

    quarantined({"id": 2, "v": "x"}, {"id": 3, "v": "y"}, {"id": 4, "v": 4}, keys=())
    quarantined(v=TEXT, keys=())
    original = loaded_table.commit_change
    done = []

    def commit(table, change, *, stage):
        done.append(table.name()[-1])
        if len(done) == 2:
            with contextlib.suppress(Killed):
                replayed(lake)
        landed = original(table, change, stage=stage)
        if len(done) == 2 + last:
            raise Killed
        return landed

    for module in (loaded_table, refused_rows, replay):
        monkeypatch.setattr(module, "commit_change", commit)
    with contextlib.suppress(refused_rows.TakenOverError, Killed):
        replayed(lake)
    monkeypatch.undo()
    replayed(lake)
    assert lake.ids() == [2, 3, 4]
    assert waiting(lake) == []


def test_many_rows_are_loaded_in_groups(lake, quarantined, monkeypatch):
    monkeypatch.setattr(refused_rows, "GROUP_ROWS", 40)
    quarantined(*({"id": number, "v": "x"} for number in range(100)), keys=())
    quarantined(*({"id": number, "v": "x"} for number in range(100, 110)), keys=())
    quarantined(*({"id": number, "v": "x"} for number in range(110, 120)), keys=())
    quarantined(v=TEXT, keys=())
    assert fates(replayed(lake)) == {"LOAD": 120}
    assert lake.ids() == list(range(120))
    assert lake.snapshots() == 3


def test_a_stream_that_does_not_fit_its_table_changes_nothing(lake, quarantined):
    quarantined({"id": 1, "v": 1}, {"id": 2, "v": "two"})
    quarantined(v=TEXT, schema_policy="discard")
    with pytest.raises(DataError, match="'v'"):
        replayed(lake, config={"schema_policy": "freeze", "streams": {"s": {"on_rejected": "quarantine"}}})
    assert [row["id"] for row in waiting(lake)] == [2]


def test_the_command_tells_people_and_programs(lake, quarantined):
    quarantined({"id": 1, "v": 1}, {"id": 2, "v": "two"}, {"id": None, "v": "x"})
    quarantined(v=TEXT)
    path = lake.folder / "settings.json"
    path.write_text(json.dumps(lake.config))
    dry = CliRunner().invoke(commands, ["replay-rejected", "--dry-run", "--json", "--config", str(path)])
    assert json.loads(dry.stdout)["streams"][0]["load"] == 1
    done = CliRunner().invoke(commands, ["replay-rejected", "s", "--config", str(path)])
    assert done.exit_code == 0
    assert "2 refused rows" in done.stdout
    assert "1 loaded: 1 inserted" in done.stdout
    assert "1 rows: a key that is missing or null (column 'id')" in done.stdout
    again = CliRunner().invoke(commands, ["replay-rejected", "nothing", "--config", str(path)])
    assert again.exit_code == 2


def test_one_stream_that_fails_does_not_keep_the_others(lake, singer, quarantined):
    quarantined({"id": 1, "v": 1}, {"id": 2, "v": "two"})
    quarantined(v=TEXT, schema_policy="discard")
    other = {"properties": {**ID, "v": LONG}}
    lake.ok(singer.schema("t", **other), singer.record({"id": 3, "v": "three"}, "t"))
    lake.ok(singer.schema("t", properties={**ID, "v": TEXT}))
    path = lake.folder / "settings.json"
    path.write_text(
        json.dumps({**lake.config, "streams": {"s": {"schema_policy": "freeze", "on_rejected": "skip"}}})
    )
    done = CliRunner().invoke(commands, ["replay-rejected", "--config", str(path)])
    assert done.exit_code == 3
    assert "s -> raw.s: 0 refused rows\n  failed: " in done.stdout
    assert "t -> raw.t: 1 refused rows\n  1 loaded" in done.stdout
