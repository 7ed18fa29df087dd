"""Bodies of any size: read record by record from a file, whatever they are packed in."""

import csv
import gzip
import io
import json
import tracemalloc
import zipfile
from decimal import Decimal

import pytest

from icetap.rest import (
    Format,
    JSONPath,
    NoPaging,
    PagePaging,
    PassingFaultError,
    UnreadableStreamError,
    query,
)
from icetap.rest.bodies import record_batches
from icetap.testing.api import FakeApi, Reply

from .rest_tap import SINCE, read, things

ROWS = [{"id": n, "text": f"é {n}"} for n in range(1203)]
WHOLE = json.dumps({"meta": {"n": 1}, "data": ROWS, "after": [1]}, ensure_ascii=False)
LINES = "".join(f"{json.dumps(row, ensure_ascii=False)}\r\n" for row in ROWS)
TABLE = io.StringIO()
csv.DictWriter(TABLE, ["id", "text"]).writeheader()
csv.DictWriter(TABLE, ["id", "text"]).writerows(ROWS)
AS_TEXT = [{"id": str(row["id"]), "text": row["text"]} for row in ROWS]


@pytest.fixture
def api():
    with FakeApi() as server:
        yield server


def zipped(*contents):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("folder")
        for number, content in enumerate(contents):
            archive.writestr(f"folder/{number}", content)
    return file.getvalue()


def values(content, path, **options):
    batches = list(record_batches(io.BytesIO(content), Format(**options), JSONPath(path)))
    assert all(len(batch) <= 500 for batch in batches)
    return [value for batch in batches for value in batch]


@pytest.mark.parametrize(
    ("content", "path", "options", "expected"),
    [
        pytest.param(WHOLE.encode(), "$.data[*]", {}, ROWS, id="json"),
        pytest.param(WHOLE.encode(), "$.data", {}, ROWS, id="json, the list by its name"),
        pytest.param(json.dumps(ROWS).encode(), "$", {}, ROWS, id="json, a list"),
        pytest.param(b"\xef\xbb\xbf" + WHOLE.encode(), "$.data[*]", {}, ROWS, id="json with a mark"),
        pytest.param(WHOLE.encode("utf-16"), "$.data", {"encoding": "utf-16"}, ROWS, id="json in UTF-16"),
        pytest.param(WHOLE.encode("latin-1"), "$.data", {"encoding": "latin-1"}, ROWS, id="json in Latin 1"),
        pytest.param(
            b'{"a": {"x": {"id": 1}, "y": {"id": 2}}}',
            "$.a.*",
            {},
            [{"id": 1}, {"id": 2}],
            id="an object's values",
        ),
        pytest.param(b'{"a": {"id": 1}}', "$.a", {}, [{"id": 1}], id="one object"),
        pytest.param(
            b'{"a": [{"b": {"id": 1}}, {"b": {"id": 2}}]}',
            "$.a[*].b",
            {},
            [{"id": 1}, {"id": 2}],
            id="inside of each",
        ),
        pytest.param(b'{"a": []}', "$.a", {}, [], id="an empty list"),
        pytest.param(b'{"a": null}', "$.a", {}, [], id="null instead of a list"),
        pytest.param(
            b'[{"n": 1.10, "m": 12345678901234567890}]',
            "$",
            {},
            [{"n": Decimal("1.10"), "m": 12345678901234567890}],
            id="digits stay",
        ),
        pytest.param(LINES.encode(), "$", {"name": "jsonl"}, ROWS, id="jsonl"),
        pytest.param(TABLE.getvalue().encode(), "$[*]", {"name": "csv"}, AS_TEXT, id="csv"),
        pytest.param(
            b'a;b\r\n1;"x\ny"\r\n',
            "$",
            {"name": "csv", "delimiter": ";"},
            [{"a": "1", "b": "x\ny"}],
            id="csv with a line end in a value",
        ),
        pytest.param(
            b"<all><one>1</one><one>2</one></all>", "$.all.one", {"name": "xml"}, ["1", "2"], id="xml"
        ),
        pytest.param(gzip.compress(WHOLE.encode()), "$.data", {}, ROWS, id="json in gzip"),
        pytest.param(
            zipped(LINES, ""),
            "$",
            {"name": "jsonl", "compression": "zip"},
            ROWS,
            id="jsonl in zip",
        ),
        pytest.param(
            zipped("a\n1\n", "a\n2\n"),
            "$",
            {"name": "csv", "compression": "zip"},
            [{"a": "1"}, {"a": "2"}],
            id="two tables in zip",
        ),
        pytest.param(
            zipped(WHOLE, '{"data": [{"id": 9}]}'),
            "$.data",
            {"compression": "zip"},
            [*ROWS, {"id": 9}],
            id="two documents in zip",
        ),
    ],
)
def test_records_are_found_in_every_format_and_packing(content, path, options, expected):
    assert values(content, path, **options) == expected


@pytest.mark.parametrize(
    ("content", "path", "options", "says"),
    [
        pytest.param(WHOLE.encode()[:9000], "$.data", {}, "cannot be read on after", id="json that is cut"),
        pytest.param(
            gzip.compress(WHOLE.encode())[:999],
            "$.data",
            {},
            "cannot be read on after",
            id="gzip that is cut",
        ),
        pytest.param(
            b"PK no zip", "$.data", {"compression": "zip"}, "cannot be read on after 0", id="no zip"
        ),
        pytest.param(WHOLE.encode(), "$.items", {}, r"no records at '\$.items'", id="no such place"),
        pytest.param(WHOLE.encode(), "$.meta.n", {}, r"no records at '\$.meta.n'", id="a number"),
        pytest.param(
            LINES.encode(),
            "$[*].row",
            {"name": "jsonl"},
            r"no records at '\$\[\*\].row'",
            id="no such place in any line",
        ),
    ],
)
def test_a_body_that_cannot_be_read_is_said_to_be_that(content, path, options, says):
    with pytest.raises(UnreadableStreamError, match=says):
        values(content, path, **options)


def test_a_large_body_is_read_in_little_memory():
    file = io.BytesIO(
        b'{"data":[' + b",".join(b'{"id":%d,"text":"%0100d"}' % (n, n) for n in range(50_000)) + b"]}"
    )
    tracemalloc.start()
    try:
        count = sum(len(batch) for batch in record_batches(file, Format(), JSONPath("$.data")))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert count == 50_000
    assert peak < 1_500_000, "of more than 6 MB"


STREAMED = {"format": Format(stream=True), "paging": None}


def test_a_stream_is_saved_and_read_from_its_file(api):
    rows = [{"id": n, "at": "2026-01-01T00:00:00Z"} for n in range(1001)]
    api.route("GET", "/things", lambda call: {"data": rows})

    run = read(api, things(**STREAMED, incremental=SINCE)).good()

    assert len(run.records("things")) == 1001
    assert run.state["bookmarks"]["things"]["replication_key_value"] == "2026-01-01T00:00:00.000000Z"


def test_the_servers_time_bounds_the_bookmark_of_a_saved_body_too(api):
    api.route("GET", "/things", lambda call: {"data": [{"id": 1, "at": "2999-01-01T00:00:00Z"}]})

    run = read(api, things(**STREAMED, incremental=SINCE)).good()

    assert run.state["bookmarks"]["things"]["replication_key_value"] < "2999"


def test_a_page_of_html_is_asked_for_again(api):
    answers = [Reply(b"<html>soon</html>", media_type="text/html"), {"data": [{"id": 1}]}]
    api.route("GET", "/things", lambda call: answers.pop(0))

    assert read(api, things(**STREAMED)).good().records("things") == [{"id": 1}]


def test_a_body_that_is_cut_off_is_asked_for_again_and_then_given_up(api):
    api.route("GET", "/things", lambda call: Reply({"data": [{"id": 1}]}, cut_after=5))

    run = read(api, things(**STREAMED))

    assert isinstance(run.error, PassingFaultError)
    assert len(api.calls) == 3


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        pytest.param(
            {"paging": PagePaging(page=query("page"))}, "cannot be one of several pages", id="pages"
        ),
        pytest.param({"records_jsonpath": "$.data[0].rows[*]"}, "a path of names", id="a path with a number"),
    ],
)
def test_what_cannot_be_read_as_a_stream_is_refused(api, declared, says):
    api.route("GET", "/things", lambda call: {"data": []})

    assert says in str(read(api, things(**{"paging": NoPaging(), **STREAMED, **declared})).error)


def test_a_saved_body_that_says_there_is_more_is_refused(api):
    api.route("GET", "/things", lambda call: {"data": [{"id": 1}], "has_more": True})

    assert "has_more" in str(read(api, things(**STREAMED)).error)


def test_a_redirect_of_a_large_body_to_another_host_is_followed_without_credentials(api):
    with FakeApi() as store:
        elsewhere = store.url.replace("127.0.0.1", "localhost")
        store.route("GET", "/file", lambda call: {"data": [{"id": 1}]})
        location = {"Location": f"{elsewhere}/file?signature=not-for-logs"}
        api.route("GET", "/things", lambda call: Reply({}, status=302, headers=location))

        run = read(
            api, things(**STREAMED, headers={"X-Key": "{config.token}"}), token="a-secret-token"
        ).good()

    assert run.records("things") == [{"id": 1}]
    assert api.calls[0].headers["x-key"] == "a-secret-token"
    assert not {"authorization", "x-key"} & set(store.calls[0].headers)
    assert "not-for-logs" not in run.log
