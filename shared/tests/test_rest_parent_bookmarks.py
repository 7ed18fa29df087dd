"""Bookmarks of single parents and partitions: what is asked for, what the state holds, how large it gets."""

import json
from dataclasses import replace

import pytest

from icetap.rest import ErrorRule, Incremental, LinkPaging, Match, NoPaging, bookmarks, query
from icetap.testing.api import FakeApi, Reply

from .rest_tap import bookmark, read, tap_of, things

PARTS = {
    "name": "parts",
    "parent": "things",
    "path": "/things/{thing_id}/parts",
    "primary_keys": ("thing_id", "id"),
    "incremental": Incremental(replication_key="at", start=query("since")),
    "bookmark_by_parent": True,
    "errors": [ErrorRule(Match(status=[410]), "skip", "gone")],
}


def tap(**declared):
    parent = things(NoPaging(), child_context={"thing_id": "$.id"})
    return tap_of(parent, things(**{"paging": NoPaging(), **PARTS, **declared}))


class Shop:
    """Things, and parts of each with the day of their last change."""

    def __init__(self, api, parts):
        self.api, self.parts = api, parts
        api.route("GET", "/things", lambda call: {"data": [{"id": thing} for thing in self.parts]})
        api.route("GET", "/things/{id}/parts", self.answer)

    def answer(self, call):
        found = self.parts[int(call.groups["id"])]
        if isinstance(found, Reply):
            return found
        since = call.param("since")[:10]
        return {
            "data": [
                {"id": day, "at": f"2026-01-{day:02}T00:00:00Z"}
                for day in found
                if f"2026-01-{day:02}" >= since
            ]
        }

    def asked(self):
        found = [(call.path, call.param("since")[:10]) for call in self.api.calls if call.path != "/things"]
        self.api.calls.clear()
        return found


@pytest.fixture
def api():
    with FakeApi() as server:
        yield server


@pytest.mark.parametrize("workers", [1, 3])
def test_a_new_parent_is_read_from_its_beginning_and_the_others_from_their_own_bookmark(api, workers):
    shop = Shop(api, {1: [3, 9], 2: [5]})
    first = read(api, tap=tap(), max_parallel=workers).good()
    shop.asked()
    shop.parts |= {1: [3, 9, 11], 3: [1, 2]}

    again = read(api, tap=tap(), state=first.state, max_parallel=workers).good()

    assert sorted(shop.asked()) == [
        ("/things/1/parts", "2026-01-09"),
        ("/things/2/parts", "2026-01-05"),
        ("/things/3/parts", ""),
    ]
    assert [(each["thing_id"], each["id"]) for each in again.records("parts")] == [
        (1, 9),
        (1, 11),
        (2, 5),
        (3, 1),
        (3, 2),
    ]


def test_the_state_holds_no_value_of_a_parent_and_forgets_those_that_are_gone(api):
    shop = Shop(api, {1: [3], 77777: [5]})
    first = read(api, tap=tap()).good()
    del shop.parts[77777]

    again = read(api, tap=tap(), state=first.state).good()

    assert "77777" not in json.dumps(first.state)
    assert sorted(bookmark(first, "parts")["parents"].values()) == [
        "2026-01-03T00:00:00.000000Z",
        "2026-01-05T00:00:00.000000Z",
    ]
    assert list(bookmark(again, "parts")["parents"].values()) == ["2026-01-03T00:00:00.000000Z"]


def test_a_parent_that_is_skipped_keeps_its_bookmark_where_it_was(api):
    shop = Shop(api, {1: [3], 2: [5]})
    first = read(api, tap=tap()).good()
    shop.parts |= {1: [4], 2: Reply({}, status=410)}

    again = read(api, tap=tap(), state=first.state).good()

    assert set(bookmark(again, "parts")["parents"].values()) == {
        "2026-01-04T00:00:00.000000Z",
        "2026-01-05T00:00:00.000000Z",
    }
    assert "Stream parts: 1 parts skipped: gone" in again.log


def test_a_parent_that_is_skipped_in_its_middle_is_read_from_where_it_was(api):
    def answer(call):
        if call.param("page") == "2":
            return Reply({}, status=410)
        link = f'<{api.url}{call.path}?page=2>; rel="next"'
        return Reply({"data": [{"id": 9, "at": "2026-01-09T00:00:00Z"}]}, headers={"Link": link})

    Shop(api, {1: [3]})
    api.route("GET", "/things/1/parts", answer)

    run = read(api, tap=tap(paging=LinkPaging())).good()

    assert len(run.records("parts")) == 1
    assert bookmark(run, "parts")["parents"] == {}


@pytest.mark.parametrize(
    ("parts", "is_refused"),
    [
        pytest.param({1: [9], 2: [3]}, False, id="from parent to parent"),
        pytest.param({1: [9, 3]}, True, id="within a parent"),
    ],
)
def test_the_order_that_is_declared_holds_within_each_parent(api, parts, is_refused):
    Shop(api, parts)
    ordered = replace(PARTS["incremental"], order="asc")

    run = read(api, tap=tap(incremental=ordered))

    assert ("not in the order" in str(run.error)) is is_refused


def test_a_killed_run_is_gone_on_with_at_the_parents_that_it_had_not_read(api, monkeypatch):
    monkeypatch.setattr(bookmarks, "STATE_SECONDS", 0.0)
    shop = Shop(api, {1: [3], 2: [5], 3: Reply({}, status=404)})
    killed = read(api, tap=tap())
    shop.asked()
    shop.parts[3] = [7]

    again = read(api, tap=tap(), state=killed.state).good()

    assert killed.error is not None
    assert shop.asked() == [
        ("/things/1/parts", "2026-01-03"),
        ("/things/2/parts", "2026-01-05"),
        ("/things/3/parts", ""),
    ]
    assert again.records("parts")[-1]["id"] == 7


def test_many_parents_make_few_states(api):
    Shop(api, {thing: [1] for thing in range(300)})

    run = read(api, tap=tap()).good()

    assert len(bookmark(run, "parts")["parents"]) == 300
    assert len([message for message in run.messages if message["type"] == "STATE"]) <= 4


def test_bookmarks_beyond_the_limit_are_left_out_and_their_parents_read_anew_each_time(api, monkeypatch):
    monkeypatch.setattr(bookmarks, "MOST_PARENTS", 3)
    shop = Shop(api, {thing: [1] for thing in range(9)})
    first = read(api, tap=tap()).good()
    shop.asked()

    again = read(api, tap=tap(), state=first.state).good()

    asked = [since for _, since in shop.asked()]
    assert (asked.count(""), asked.count("2026-01-01")) == (6, 3)
    assert bookmark(again, "parts")["parents"] == bookmark(first, "parts")["parents"]
    assert "bookmarks of 3 parents are kept; all others" in again.log


def test_partitions_have_bookmarks_of_their_own(api):
    rows = {"us": ["2026-01-09"], "eu": ["2026-01-02"]}
    api.route(
        "GET",
        "/things",
        lambda call: {"data": [{"id": 1, "at": f"{day}T00:00:00Z"} for day in rows[call.param("region")]]},
    )
    stream = things(
        NoPaging(),
        params={"region": "{partition.region}"},
        partition_by={"region": ["us", "eu"]},
        incremental=PARTS["incremental"],
        bookmark_by_parent=True,
    )
    first = read(api, stream).good()
    api.calls.clear()

    read(api, stream, state=first.state).good()

    assert [(call.param("region"), call.param("since")[:10]) for call in api.calls] == [
        ("us", "2026-01-09"),
        ("eu", "2026-01-02"),
    ]


@pytest.mark.parametrize("by_parent", [True, False], ids=["to one for each", "to one for all"])
def test_a_bookmark_of_the_other_kind_is_read_from_the_beginning(api, by_parent):
    shop = Shop(api, {1: [3], 2: [5]})
    first = read(api, tap=tap(bookmark_by_parent=not by_parent)).good()
    shop.asked()

    read(api, tap=tap(bookmark_by_parent=by_parent), state=first.state).good()

    assert {since for _, since in shop.asked()} == {""}
