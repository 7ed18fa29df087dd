"""Ways through pages: what ends a read, and what ends a run."""

import pytest

from icetap.rest import (
    CursorPaging,
    EndlessReadError,
    Incremental,
    LinkPaging,
    Next,
    NoPaging,
    OffsetPaging,
    PagePaging,
    Size,
    TruncatedReadError,
    query,
)
from icetap.testing.api import FakeApi, Reply
from icetap.testing.api.tables import by_cursor

from .rest_tap import read, things

SIZE = Size(query("size"), 3)
ROWS = [{"id": number} for number in range(1, 8)]
PAGE = PagePaging(page=query("page"), size=SIZE)


@pytest.fixture
def api():
    with FakeApi() as server:
        yield server


def ids(run):
    return [record["id"] for record in run.good().records("things")]


def numbered(**extra):
    def answer(call):
        page, size = int(call.param("page")), int(call.param("size"))
        return {"data": ROWS[(page - 1) * size : page * size], **extra}

    return answer


def test_a_short_page_is_not_the_end(api):
    """A server that gives two records where three were asked for has more all the same."""
    pages = {1: ROWS[:3], 2: ROWS[3:5], 3: ROWS[5:], 4: []}
    api.route("GET", "/things", lambda call: {"data": pages[int(call.param("page"))]})

    assert ids(read(api, things(PAGE))) == [1, 2, 3, 4, 5, 6, 7]


def test_the_first_page_is_asked_for_by_its_number(api):
    api.route("GET", "/things", numbered())

    read(api, things(PAGE)).good()

    assert api.calls[0].param("page") == "1"


@pytest.mark.parametrize(
    ("signal", "extra", "requests"),
    [
        pytest.param({}, {}, 4, id="none: an empty page"),
        pytest.param({"total": "$.total"}, {"total": 7}, 3, id="total"),
        pytest.param({"total_pages": "$.pages"}, {"pages": 3}, 3, id="total_pages"),
        pytest.param({"stop_on_short_page": True}, {}, 3, id="a short page, where the API promises that"),
    ],
)
def test_the_apis_own_signal_saves_the_last_request(api, signal, extra, requests):
    api.route("GET", "/things", numbered(**extra))
    paging = PagePaging(page=query("page"), size=SIZE, **signal)

    assert ids(read(api, things(paging))) == [1, 2, 3, 4, 5, 6, 7]
    assert len(api.calls) == requests


@pytest.mark.parametrize(
    ("paging", "signal"),
    [
        pytest.param(
            PagePaging(page=query("page"), size=SIZE, has_more="$.more"), {"more": True}, id="page, has_more"
        ),
        pytest.param(
            PagePaging(page=query("page"), size=SIZE, total="$.total"), {"total": 7}, id="page, total"
        ),
        pytest.param(
            OffsetPaging(offset=query("page"), size=SIZE, total="$.total"), {"total": 7}, id="offset, total"
        ),
        pytest.param(
            CursorPaging(token=query("page"), next=Next(path="$.next"), size=SIZE),
            {},
            id="cursor, next token",
        ),
    ],
)
def test_an_empty_page_in_the_middle_ends_nothing(api, paging, signal):
    pages = {"0": ROWS[:3], "1": ROWS[:3], "2": [], "3": ROWS[3:6], "6": ROWS[6:], "4": ROWS[6:]}

    def answer(call):
        token = call.param("page", "1")
        if isinstance(paging, OffsetPaging):
            return {
                "data": [] if token == "3" else ROWS[int(token) : int(token) + 3][: 3 if token != "6" else 1],
                **signal,
            }
        following = {"1": "2", "2": "3", "3": "4"}.get(token)
        more = {"more": following is not None} if "more" in signal else signal
        return {"data": pages[token], "next": following, **more}

    api.route("GET", "/things", answer)
    expected = [1, 2, 3, 7] if isinstance(paging, OffsetPaging) else [1, 2, 3, 4, 5, 6, 7]

    assert ids(read(api, things(paging))) == expected


def test_an_offset_grows_by_what_was_received(api):
    """A server that caps the page size below what was asked for loses nothing."""

    def answer(call):
        offset = int(call.param("offset"))
        return {"data": ROWS[offset : offset + 2]}

    api.route("GET", "/things", answer)

    assert ids(read(api, things(OffsetPaging(offset=query("offset"), size=SIZE)))) == [1, 2, 3, 4, 5, 6, 7]


def test_the_next_offset_may_be_any_text_and_zero(api):
    tokens = {"0": ("x/1", ROWS[:3]), "x/1": (0, ROWS[3:6]), "end": (None, [])}
    seen = []

    def answer(call):
        seen.append(call.param("offset"))
        following, rows = tokens["end" if len(seen) == 3 else call.param("offset")]
        return {"data": rows, "next_offset": following}

    api.route("GET", "/things", answer)
    paging = OffsetPaging(offset=query("offset"), next=Next(path="$.next_offset"))

    assert ids(read(api, things(paging))) == [1, 2, 3, 4, 5, 6]
    assert seen == ["0", "x/1", "0"]


def test_the_last_record_may_be_the_cursor(api):
    def answer(call):
        rows, more = by_cursor(ROWS, after=call.param("after") or None, size=3)
        return {"data": rows, "has_more": more}

    api.route("GET", "/things", answer)
    paging = CursorPaging(token=query("after"), next=Next(last_record="id"), has_more="$.has_more")

    assert ids(read(api, things(paging))) == [1, 2, 3, 4, 5, 6, 7]
    assert len(api.calls) == 3


def test_links_are_followed_as_they_are(api):
    """Some APIs refuse any parameter beside the link's own."""

    def answer(call):
        if call.param("page_info") == "t/2":
            assert set(call.params) == {"page_info"}
            return {"data": ROWS[3:]}
        return Reply(
            {"data": ROWS[:3]}, headers={"Link": '</things?page_info=t%2F2>; rel="next", </x>; rel="prev"'}
        )

    api.route("GET", "/things", answer)

    assert ids(read(api, things(LinkPaging(size=SIZE), params={"status": "any"}))) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("paging", "says"),
    [
        pytest.param(PAGE, "same records as the page before", id="the same page again"),
        pytest.param(
            CursorPaging(token=query("after"), next=Next(path="$.next")),
            "next token repeats",
            id="the same token again",
        ),
        pytest.param(LinkPaging(next=Next(path="$.link")), "next token repeats", id="the same link again"),
    ],
)
def test_pages_that_repeat_end_the_run(api, paging, says):
    api.route("GET", "/things", lambda _: {"data": ROWS, "next": "again", "link": "/things?page=1"})

    run = read(api, things(paging))

    assert isinstance(run.error, EndlessReadError)
    assert says in str(run.error)
    assert len(api.calls) <= 3


def test_more_pages_than_allowed_are_an_error_and_no_silent_end(api):
    api.route("GET", "/things", numbered())

    run = read(api, things(PagePaging(page=query("page"), size=SIZE, max_pages=2)))

    assert isinstance(run.error, EndlessReadError)
    assert "max_pages" in str(run.error)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(
            Reply({"data": ROWS}, headers={"Link": '</things?p=2>; rel="next"'}), id="a Link header"
        ),
        pytest.param(Reply({"data": ROWS, "has_more": True}), id="has_more"),
        pytest.param(Reply({"data": ROWS, "next": "/things?p=2"}), id="a next link"),
        pytest.param(Reply({"data": ROWS, "meta": {"next_cursor": "abc"}}), id="a next cursor"),
        pytest.param(Reply({"data": ROWS, "@odata.nextLink": "https://x/y"}), id="OData"),
        pytest.param(Reply({"data": ROWS, "total": 99}), id="a larger total"),
    ],
)
def test_an_answer_that_says_there_is_more_ends_a_run_that_cannot_ask(api, reply):
    api.route("GET", "/things", lambda _: reply)

    assert isinstance(read(api, things(None)).error, TruncatedReadError)
    assert ids(read(api, things(NoPaging()))) == [1, 2, 3, 4, 5, 6, 7]


def test_a_cursor_without_a_token_is_no_end_when_the_api_says_more(api):
    api.route("GET", "/things", lambda _: {"data": ROWS, "has_more": True, "next": None})
    paging = CursorPaging(token=query("after"), next=Next(path="$.next"), has_more="$.has_more")

    assert isinstance(read(api, things(paging)).error, TruncatedReadError)


def test_records_that_are_somewhere_else_are_an_error_with_their_place(api):
    api.route("GET", "/things", lambda _: {"result": {"items": ROWS}})

    run = read(api, things(NoPaging()))

    assert "'$.data[*]'" in str(run.error)
    assert "'$.result.items[*]'" in str(run.error)


def test_an_answer_without_records_is_none(api):
    api.route("GET", "/things", lambda _: {"data": []})

    assert ids(read(api, things(NoPaging()))) == []


def test_records_that_move_away_take_no_neighbour_with_them(api):
    """The first record is changed after the first page: by number, the fourth would be skipped."""
    rows = [{"id": number, "at": f"2026-01-01T00:00:0{number}Z"} for number in range(1, 8)]

    def answer(call):
        rows.sort(key=lambda row: row["at"])
        found = [row for row in rows if row["at"] >= call.param("since")]
        page = found[(int(call.param("page")) - 1) * 3 :][:3]
        page = [dict(row) for row in page]
        if len(api.calls) == 2:
            rows[0]["at"] = "2026-01-01T00:00:09Z"
        return {"data": page}

    api.route("GET", "/things", answer)
    incremental = Incremental(replication_key="at", start=query("since"), order="asc")

    assert set(ids(read(api, things(PAGE, incremental=incremental)))) == {1, 2, 3, 4, 5, 6, 7}
