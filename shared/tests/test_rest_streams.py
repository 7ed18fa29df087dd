"""Streams of the REST engine: bookmarks, windows, parents, schemas that grow, values that keep their digits."""

from datetime import UTC, datetime, timedelta

import pytest

from icetap.errors import DataError, SkippableError, StateError
from icetap.rest import (
    CursorPaging,
    ErrorRule,
    Incremental,
    LinkPaging,
    Match,
    Next,
    NoPaging,
    PagePaging,
    query,
)
from icetap.testing.api import FakeApi, Loaded, MovingSource, Reply
from icetap.testing.api.tables import by_cursor

from .rest_tap import PAGE, SINCE, bookmark, read, serve, tap_of, things


@pytest.fixture
def api():
    with FakeApi() as server:
        yield server


# --- bookmarks --------------------------------------------------------------------------------------


def test_the_bookmark_is_the_largest_value_seen_and_canonical(api):
    serve(api, [{"id": 1, "at": "2026-01-03T01:00:00+01:00"}, {"id": 2, "at": "2026-01-02T00:00:00.5Z"}])

    run = read(api, things(PAGE, incremental=SINCE)).good()

    assert bookmark(run) == {"replication_key": "at", "replication_key_value": "2026-01-03T00:00:00.000000Z"}
    assert run.records("things")[0]["at"] == "2026-01-03T01:00:00+01:00", "the record itself is not changed"


def test_the_next_run_asks_from_the_bookmark_less_the_lookback_on(api):
    serve(api, [{"id": 1, "at": "2026-01-03T00:00:00Z"}])
    stream = things(PAGE, incremental=SINCE)
    state = read(api, stream).good().state

    read(api, stream, state=state, lookback_seconds=3600).good()

    assert api.calls[-2].param("since") == "2026-01-02T23:00:00Z"


@pytest.mark.parametrize(
    "hours", [-5, 5], ids=["the server's clock is behind", "the server's clock is ahead"]
)
def test_a_bookmark_is_never_later_than_the_servers_time(api, hours):
    """A record with a time of the future does not hide what is written until then."""
    api.skew = timedelta(hours=hours)
    serve(api, [{"id": 1, "at": "2030-01-01T00:00:00Z"}])

    found = bookmark(read(api, things(PAGE, incremental=SINCE)).good())["replication_key_value"]

    assert datetime.fromisoformat(found) <= min(api.now(), datetime.now(UTC))


def test_a_killed_run_of_an_unordered_stream_has_moved_no_bookmark(api):
    """The second page does not come; what the first one had is not the last that was missing."""
    rows = [{"id": n, "at": f"2026-01-0{9 - n}T00:00:00Z"} for n in range(1, 6)]
    api.route(
        "GET", "/things", lambda call: {"data": rows} if call.param("page") == "1" else Reply(b"", status=400)
    )

    run = read(api, things(PAGE, incremental=SINCE))

    assert run.error is not None
    assert "things" not in run.state["bookmarks"]


def test_an_ordered_stream_goes_on_where_it_was_killed(api):
    rows = [{"id": n, "at": f"2026-01-0{n}T00:00:00Z"} for n in range(1, 6)]
    stream = things(PAGE, incremental=Incremental(replication_key="at", start=query("since"), order="asc"))
    api.route(
        "GET", "/things", lambda call: {"data": rows} if call.param("since") == "" else Reply(b"", status=400)
    )

    run = read(api, stream)

    assert bookmark(run)["replication_key_value"] == "2026-01-05T00:00:00.000000Z"


def test_an_order_that_is_not_kept_ends_the_run(api):
    serve(api, [{"id": 1, "at": "2026-01-02T00:00:00Z"}, {"id": 2, "at": "2026-01-01T00:00:00Z"}])
    stream = things(PAGE, incremental=Incremental(replication_key="at", start=query("since"), order="asc"))

    run = read(api, stream)

    assert isinstance(run.error, DataError)
    assert "order: asc" in str(run.error)


def test_newest_first_ends_where_the_last_run_began(api):
    rows = [{"id": n, "at": f"2026-01-{30 - n:02}T00:00:00Z"} for n in range(20)]
    api.route("GET", "/things", lambda call: {"data": rows[(int(call.param("page")) - 1) * 5 :][:5]})
    stream = things(PAGE, incremental=Incremental(replication_key="at", order="desc", filter="client"))
    state = {
        "bookmarks": {
            "things": {"replication_key": "at", "replication_key_value": "2026-01-24T00:00:00.000000Z"}
        }
    }

    run = read(api, stream, state=state).good()

    assert [record["id"] for record in run.records("things")] == [0, 1, 2, 3, 4, 5, 6]
    assert len(api.calls) == 2


@pytest.mark.parametrize(
    ("record_format", "value", "emitted", "kept"),
    [
        pytest.param(
            ("timestamp",),
            1767225600,
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00.000000Z",
            id="Unix seconds",
        ),
        pytest.param(
            ("timestamp_ms",),
            1767225600123,
            "2026-01-01T00:00:00.123000Z",
            "2026-01-01T00:00:00.123000Z",
            id="milliseconds",
        ),
        pytest.param(
            ("%d/%m/%Y %H:%M",),
            "02/01/2026 03:04",
            "2026-01-02T03:04:00Z",
            "2026-01-02T03:04:00.000000Z",
            id="a pattern",
        ),
        pytest.param(
            ("timestamp", "iso8601"),
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00.000000Z",
            id="two",
        ),
    ],
)
def test_cursors_in_other_formats_become_times(api, record_format, value, emitted, kept):
    serve(api, [{"id": 1, "at": value}])

    run = read(
        api, things(PAGE, incremental=Incremental(replication_key="at", record_format=record_format))
    ).good()

    assert run.records("things")[0]["at"] == emitted
    assert bookmark(run)["replication_key_value"] == kept


def test_numbers_stay_numbers_where_the_schema_says_so(api):
    serve(api, [{"id": 1, "at": 1767225600}])
    properties = {"id": {"type": "integer"}, "at": {"type": "integer"}}
    incremental = Incremental(
        replication_key="at", record_format=("timestamp",), start=query("since"), start_format="timestamp"
    )

    run = read(api, things(PAGE, incremental=incremental, properties=properties)).good()
    api.route("GET", "/things", lambda _: {"data": []})
    read(api, things(PAGE, incremental=incremental, properties=properties), state=run.state).good()

    assert bookmark(run)["replication_key_value"] == 1767225600
    assert api.calls[-1].param("since") == "1767225600"


def test_a_cursor_of_another_format_ends_the_run_without_its_value(api):
    serve(api, [{"id": 1, "at": "2026-01-02 of my diary"}])

    run = read(api, things(PAGE, incremental=SINCE))

    assert isinstance(run.error, DataError)
    assert "'at'" in str(run.error)
    assert "diary" not in run.log


def test_a_foreign_bookmark_is_refused(api):
    serve(api, [])
    state = {"bookmarks": {"things": {"replication_key": "at", "replication_key_value": "abc"}}}

    assert isinstance(read(api, things(PAGE, incremental=SINCE), state=state).error, StateError)


def test_windows_are_half_open_and_each_moves_the_bookmark(api):
    asked = []

    def answer(call):
        asked.append((call.param("since"), call.param("until")))
        return {"data": []}

    api.route("GET", "/things", answer)
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=25)
    incremental = Incremental(
        replication_key="at",
        start=query("since"),
        end=query("until"),
        window=timedelta(days=10),
        initial=start.isoformat(),
    )

    run = read(api, things(NoPaging(), incremental=incremental)).good()

    days = [(start + timedelta(days=days)).isoformat().replace("+00:00", "Z") for days in (0, 10, 20)]
    assert asked == [(days[0], days[1]), (days[1], days[2]), (days[2], "")]
    values = [
        message["value"]["bookmarks"].get("things", {}).get("replication_key_value")
        for message in run.of("STATE")
    ]
    assert [datetime.fromisoformat(value) for value in values[1:]] == [
        start + timedelta(days=10),
        start + timedelta(days=20),
    ]


def test_an_api_that_filters_by_a_time_that_records_lack_gets_the_runs_own(api):
    serve(api, [{"id": 1}])
    stream = things(PAGE, incremental=Incremental(start=query("since")))

    run = read(api, stream).good()

    assert set(run.records("things")[0]) == {"id", "_sync_time"}
    api.route("GET", "/things", lambda _: {"data": []})
    read(api, stream, state=run.state).good()
    assert api.calls[-1].param("since")[:19] == bookmark(run)["replication_key_value"][:19]


# --- full reads -------------------------------------------------------------------------------------


def test_a_full_read_ends_with_its_version(api):
    serve(api, [{"id": 1}])

    run = read(api, things(PAGE)).good()

    (record,), (end,) = run.of("RECORD"), run.of("ACTIVATE_VERSION")
    assert record["version"] == end["version"] == bookmark(run)["version"]


def test_an_empty_full_read_says_so_twice(api):
    serve(api, [])

    assert len(read(api, things(PAGE)).good().of("ACTIVATE_VERSION")) == 2


def test_a_skipped_parent_is_counted_and_makes_the_read_incomplete(api):
    api.route("GET", "/things", lambda _: {"data": [{"id": 1}, {"id": 2}, {"id": 3}]})
    api.route(
        "GET",
        "/things/{id}/parts",
        lambda call: Reply({}, status=404) if call.groups["id"] == "2" else {"data": [{"id": 7}]},
    )
    parent = things(NoPaging(), child_context={"thing_id": "$.id"})
    gone = ErrorRule(Match(status=[404]), "skip", "the thing is gone")
    child = things(
        NoPaging(),
        name="parts",
        path="/things/{thing_id}/parts",
        parent="things",
        primary_keys=("thing_id", "id"),
        errors=[gone],
    )

    run = read(api, tap=tap_of(parent, child)).good()

    assert [record["thing_id"] for record in run.records("parts")] == [1, 3]
    assert [message["stream"] for message in run.of("ACTIVATE_VERSION")] == ["things"]
    assert "Stream parts: 1 parts skipped: the thing is gone" in run.log


def test_a_child_without_access_is_left_out_and_its_parent_is_read(api):
    api.route("GET", "/things", lambda _: {"data": [{"id": 1}, {"id": 2}]})
    api.route("GET", "/things/{id}/parts", lambda _: Reply({}, status=403))
    parent = things(NoPaging(), child_context={"thing_id": "$.id"})
    child = things(NoPaging(), name="parts", path="/things/{thing_id}/parts", parent="things")

    run = read(api, tap=tap_of(parent, child), on_no_access="skip").good()

    assert [record["id"] for record in run.records("things")] == [1, 2]
    assert "Stream parts is left out" in run.log
    assert len(api.calls) == 2
    assert isinstance(read(api, tap=tap_of(parent, child)).error, SkippableError)


def test_a_stream_without_keys_repeats_no_record_within_a_run(api):
    """Neither to go on by value, nor for late records: nothing would tell the repeated ones apart."""
    rows = [{"at": f"2026-01-01T00:00:0{number}Z"} for number in range(8)]

    def answer(call):
        found = [row for row in rows if row["at"] >= call.param("since")]
        return {"data": found[(int(call.param("page")) - 1) * 5 :][:5]}

    api.route("GET", "/things", answer)
    incremental = Incremental(replication_key="at", start=query("since"), order="asc", lookback_seconds=60)
    stream = things(PAGE, incremental=incremental, primary_keys=(), properties=None)

    run = read(api, stream).good()
    again = read(api, stream, state=run.state).good()

    assert run.records("things") == rows
    assert again.records("things") == rows[-1:]


# --- parents ----------------------------------------------------------------------------------------


def test_grandchildren_inherit_contexts_and_each_has_pages_of_its_own(api):
    """Parents with no, one and three pages of children: nobody's pages are another's."""
    counts = {1: 0, 2: 1, 3: 3}
    api.route("GET", "/a", lambda _: [{"id": n} for n in counts])

    def children(call):
        page, owner = int(call.param("page")), int(call.groups["a"])
        return [{"id": owner * 10 + page}] if page <= counts[owner] else []

    api.route("GET", "/a/{a}/b", children)
    api.route("GET", "/a/{a}/b/{b}/c", lambda call: [{"id": 1, "of": call.groups["b"]}])
    pages = PagePaging(page=query("page"))
    common = {"records_jsonpath": "$", "properties": None}
    a = things(NoPaging(), name="a", path="/a", child_context={"a_id": "$.id"}, **common)
    b = things(pages, name="b", path="/a/{a_id}/b", parent="a", child_context={"b_id": "$.id"}, **common)
    c = things(
        NoPaging(),
        name="c",
        path="/a/{a_id}/b/{b_id}/c",
        parent="b",
        primary_keys=("a_id", "b_id", "id"),
        **common,
    )

    run = read(api, tap=tap_of(c, b, a)).good()

    assert [record["id"] for record in run.records("b")] == [21, 31, 32, 33]
    assert [(record["a_id"], record["b_id"]) for record in run.records("c")] == [
        (2, 21),
        (3, 31),
        (3, 32),
        (3, 33),
    ]
    assert len(run.of("SCHEMA")) == 3


def test_partitions_are_each_read(api):
    api.route("GET", "/things", lambda call: {"data": [{"id": 1 if call.param("region") == "us" else 2}]})
    stream = things(
        NoPaging(), partition_by={"region": ["us", "eu"]}, params={"region": "{partition.region}"}
    )

    assert [record["id"] for record in read(api, stream).good().records("things")] == [1, 2]


# --- a source that changes while it is read ---------------------------------------------------------


@pytest.mark.parametrize("style", ["page", "cursor"])
def test_a_table_equals_a_source_that_changes_while_it_is_read(api, style):
    source = MovingSource(api, 7, style=style)
    ordered = Incremental(replication_key="at", start=query("since"), order="asc", lookback_seconds=300)
    unordered = Incremental(replication_key="at", start=query("since"), lookback_seconds=300)
    cursor = CursorPaging(token=query("after"), next=Next(last_record="id"), has_more="$.has_more")
    gone = [ErrorRule(lambda answer: answer.status == 404, "fail")]
    stream = (
        things(PAGE, incremental=ordered)
        if style == "page"
        else things(cursor, incremental=unordered, errors=gone)
    )
    stream.properties = {**stream.properties, "n": {"type": "integer"}, "created": {"type": "integer"}}
    loaded = Loaded(3)
    for _ in range(50):
        loaded.take(read(api, stream, state=loaded.state))
        source.unrest.between_runs()
    source.unrest.stop()
    loaded.take(read(api, stream, state=loaded.state), whole=True)

    expected = sorted((row["id"], row["at"], row["n"]) for row in source.table.records.values())
    assert loaded.values("things", "id", "at", "n") == expected


def test_a_cursor_that_expires_is_begun_anew_where_a_rule_says_so(api):
    """The record that the cursor names is deleted between two pages."""
    rows = [{"id": n} for n in range(12)]

    def answer(call):
        try:
            found, more = by_cursor(rows, after=call.param("after") or None, size=5)
        except KeyError:
            return Reply({"error": {"code": "resource_missing"}}, status=400)
        if len(api.calls) == 1:
            rows.remove({"id": 4})
        return {"data": found, "has_more": more}

    api.route("GET", "/things", answer)
    paging = CursorPaging(token=query("after"), next=Next(last_record="id"), has_more="$.has_more")
    expired = ErrorRule(Match(status=[400], path="$.error.code", equals="resource_missing"), "restart")

    run = read(api, things(paging, errors=[expired])).good()
    for_ever = read(api, things(paging, errors=[ErrorRule(lambda _: True, "restart")]))

    assert {record["id"] for record in run.records("things")} == set(range(12))
    assert "expired 3 times" in str(for_ever.error)


def test_links_of_a_page_may_be_relative(api):
    def answer(call):
        return {"data": [{"id": 2}]} if call.param("p") else {"data": [{"id": 1}], "next": "?p=2"}

    api.route("GET", "/things", answer)

    run = read(api, things(LinkPaging(next=Next(path="$.next")))).good()

    assert [record["id"] for record in run.records("things")] == [1, 2]
