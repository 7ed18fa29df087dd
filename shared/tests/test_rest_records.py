"""Records of the REST engine: digits, schemas that grow, rules, masks, streams read in a way of their own."""

from decimal import Decimal
from functools import partial

import pytest

from icetap.errors import DataError
from icetap.rest import (
    Filter,
    Format,
    NoPaging,
    Part,
    RecordPage,
    RecordRules,
    in_order,
)
from icetap.testing.api import FakeApi, Reply
from icetap.testing.in_process import discover

from .rest_tap import PAGE, SINCE, bookmark, read, serve, tap_of, things


@pytest.fixture
def api():
    with FakeApi() as server:
        yield server


def test_numbers_keep_their_digits(api):
    text = b'{"data":[{"id":9007199254740993,"a":0.10,"b":99999999999999.01,"c":1e400,"d":12345678901234567890123}]}'
    api.route("GET", "/things", lambda _: Reply(text))

    run = read(api, things(NoPaging(), properties=None)).good()

    line = next(line for line in run.stdout.splitlines() if '"RECORD"' in line)
    assert (
        '"id":9007199254740993,"a":0.10,"b":99999999999999.01,"c":1E+400,"d":12345678901234567890123' in line
    )


def test_texts_become_exact_decimals(api):
    serve(api, [{"id": 1, "total": "120.50"}, {"id": 2, "total": None}])
    decimal = {"type": ["number", "null"], "x-sql-datatype": "decimal"}
    stream = things(
        NoPaging(), convert={"total": "decimal"}, properties={"id": {"type": "integer"}, "total": decimal}
    )

    run = read(api, stream).good()

    assert '"total":120.50' in run.stdout
    assert run.records("things")[0]["total"] == Decimal("120.50")


def test_a_schema_grows_before_the_first_record_that_needs_it_and_is_remembered(api):
    pages = [
        [{"id": 1, "n": 1, "o": {"x": 1}, "gone": None}],
        [{"id": 2, "n": 1.5, "o": {"x": 1, "y": "new"}}],
        [],
    ]
    api.route("GET", "/things", lambda call: {"data": pages[int(call.param("page")) - 1]})
    stream = things(PAGE, properties=None)

    run = read(api, stream).good()

    kinds = [(message["type"], message.get("record", {}).get("id")) for message in run.messages]
    assert [kind for kind in kinds if kind[0] in {"SCHEMA", "RECORD"}] == [
        ("SCHEMA", None),
        ("RECORD", 1),
        ("SCHEMA", None),
        ("RECORD", 2),
    ]
    first, second = (message["schema"]["properties"] for message in run.of("SCHEMA"))
    assert (first["n"]["type"], second["n"]["type"]) == (["integer", "null"], ["number", "null"])
    assert set(second["o"]["properties"]) == {"x", "y"}
    assert "gone" not in second
    catalog = discover(tap_of(stream), {"base_url": api.url})
    pages[1], pages[0] = [], [{"id": 1, "n": 1, "o": {"x": 1}}]
    again = read(api, stream, state=run.state).good()
    assert again.of("SCHEMA")[0]["schema"]["properties"] == second
    assert catalog["streams"][0]["schema"]["properties"] == first


def test_a_null_without_a_type_waits_for_a_value(api):
    serve(
        api, [{"id": 1, "later": None, "o": {"x": 1, "y": None}}, {"id": 2, "later": None, "o": {"x": None}}]
    )

    run = read(api, things(NoPaging(), properties=None)).good()

    assert run.records("things") == [{"id": 1, "o": {"x": 1}}, {"id": 2, "o": {"x": None}}]


@pytest.mark.parametrize(
    ("policy", "records"),
    [("evolve", [{"id": 1}, {"id": 2, "new": "x"}]), ("discard", [{"id": 1}, {"id": 2}]), ("freeze", None)],
)
def test_new_fields_follow_the_policy(api, policy, records):
    serve(api, [{"id": 1}, {"id": 2, "new": "x"}])

    run = read(api, things(NoPaging(), properties={"id": {"type": "integer"}}), schema_policy=policy)

    if records is None:
        assert isinstance(run.error, DataError)
        assert "'new'" in str(run.error)
    else:
        assert run.good().records("things") == records


@pytest.mark.parametrize(
    "record",
    [pytest.param({"id": None, "at": None}, id="null"), pytest.param({"at": None}, id="missing")],
)
def test_a_record_without_its_key_follows_on_rejected(api, record):
    serve(api, [record, {"id": 2}])

    refused = read(api, things(NoPaging()))
    skipped = read(api, things(NoPaging()), on_rejected="skip").good()

    assert isinstance(refused.error, DataError)
    assert [each["id"] for each in skipped.records("things")] == [2]
    assert "1 records left out: the key 'id' is missing or null" in skipped.log


def test_declared_rules_filter_add_rename_and_drop(api):
    rows = [{"id": 1, "s": "draft"}, {"id": 2, "s": "done", "pdf": "…", "n": {"code": "x"}}]
    serve(api, rows, meta={"at": "noon"})
    rules = RecordRules(
        filter=[Filter(field="s", not_among=["draft"])],
        add={"as_of": "{response.meta.at}", "code": "{record.n.code}", "none": "{record.zz}"},
        rename={"s": "status"},
        drop=["pdf", "n"],
    )

    run = read(api, things(NoPaging(), rules=rules, properties=None)).good()

    assert run.records("things") == [{"id": 2, "status": "done", "as_of": "noon", "code": "x"}]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        pytest.param("jsonl", b'{"id":1}\n\n{"id":2}\n', id="JSON lines"),
        pytest.param("csv", b"\xef\xbb\xbfid,name\n1,a\n2,b\n", id="CSV with a byte order mark"),
        pytest.param("xml", b"<r><t><id>1</id></t><t><id>2</id></t></r>", id="XML"),
    ],
)
def test_other_formats_are_read(api, name, body):
    api.route("GET", "/things", lambda _: Reply(body, media_type="text/plain"))
    path = "$.r.t[*]" if name == "xml" else "$[*]"

    run = read(api, things(NoPaging(), format=Format(name), records_jsonpath=path, properties=None)).good()

    assert [int(record["id"]) for record in run.records("things")] == [1, 2]


def test_options_of_streams_rename_and_key_them(api):
    serve(api, [{"id": 1, "at": "2026-01-02T00:00:00Z", "sku": "a"}])
    options = {
        "th*": {
            "stream_name": "goods",
            "rename": {"at": "changed_at", "sku": "code"},
            "key_properties": ["sku"],
        }
    }
    stream = things(PAGE, incremental=SINCE, properties=None)

    run = read(api, stream, streams=options).good()
    read(api, stream, streams=options, state=run.state).good()

    assert run.records("goods") == [{"id": 1, "changed_at": "2026-01-02T00:00:00Z", "code": "a"}]
    (schema,) = run.of("SCHEMA")
    assert (schema["key_properties"], schema["bookmark_properties"]) == (["code"], ["changed_at"])
    assert bookmark(run, "goods")["replication_key"] == "changed_at"
    assert api.calls[-1].param("since") == "2026-01-02T00:00:00Z"


def test_options_of_no_stream_are_refused_with_the_nearest_name(api):
    serve(api, [])

    run = read(api, things(PAGE), streams={"thing": {"lookback_seconds": 1}})

    assert "did you mean 'things'" in str(run.error)


def test_masks_hold_for_columns_that_come_later(api):
    pages = [
        [{"id": 1, "email": "ada@example.org"}],
        [{"id": 2, "email": "bob@example.org", "phone": "123456789"}],
        [],
    ]
    api.route("GET", "/things", lambda call: {"data": pages[int(call.param("page")) - 1]})

    run = read(api, things(PAGE, properties=None), masks={"things": {"email": "redact", "ph*": "redact"}})

    for told in ("ada@", "bob@", "123456789"):
        assert told not in run.stdout + run.log


@pytest.mark.parametrize("status", [400, 500])
def test_an_error_does_not_tell_a_masked_value_that_is_in_a_childs_path(api, status):
    api.route("GET", "/things", lambda _: {"data": [{"id": 1, "email": "ada@example.org"}]})
    api.route(
        "GET", "/things/{id}/parts", lambda _: Reply({"error": "no user ada@example.org"}, status=status)
    )
    parent = things(NoPaging(), child_context={"thing": "$.email"}, properties=None)
    child = things(NoPaging(), name="parts", path="/things/{thing}/parts", parent="things")

    run = read(
        api,
        tap=tap_of(parent, child, error_text="$.error"),
        masks={"things": {"email": "redact"}},
        max_retries=1,
    )

    assert "GET /things/{thing}/parts: " in str(run.error)
    assert "example.org" not in f"{run.error} {run.log} {run.stdout}"


def test_flattening_gives_flat_columns(api):
    serve(api, [{"id": 1, "o": {"x": 1, "y": {"z": "deep"}}}])

    run = read(
        api, things(NoPaging(), properties=None), flattening_enabled=True, flattening_max_depth=3
    ).good()

    assert run.records("things") == [{"id": 1, "o__x": 1, "o__y__z": "deep"}]
    assert set(run.of("SCHEMA")[-1]["schema"]["properties"]) == {"id", "o__x", "o__y__z"}


def test_a_stream_may_be_read_in_a_way_of_its_own(api):
    """A first list, then a feed of events whose objects are asked for one by one, several at once and in order."""
    api.route("GET", "/things", lambda _: {"data": [{"id": n} for n in range(3)]})
    api.route(
        "GET", "/things/{id}", lambda call: {"id": int(call.groups["id"]), "at": "2026-01-01T00:00:00Z"}
    )
    api.route(
        "GET", "/events", lambda call: {"data": [5, 4, 3], "cursor": "e9", "after": call.param("after")}
    )

    class Charges(things(NoPaging())):
        name = "charges"

        def read(self, contexts):
            self.version = None
            known = self.bookmark().get("events")
            if known is None:
                for page in self.pages_of(Part()):
                    yield RecordPage(page.records, {"events": "e0"})
                return
            events = self.client.get("/events", after=known)

            def asked(number):
                yield self.client.get(f"/things/{number}")

            tasks = (partial(asked, number) for number in events["data"])
            yield RecordPage(list(in_order(tasks, workers=4)), {"events": events["cursor"]})

    first = read(api, Charges).good()
    second = read(api, Charges, state=first.state, max_parallel=4).good()

    assert [record["id"] for record in first.records("charges")] == [0, 1, 2]
    assert [record["id"] for record in second.records("charges")] == [5, 4, 3]
    assert (bookmark(first, "charges"), bookmark(second, "charges")) == ({"events": "e0"}, {"events": "e9"})
    assert first.of("ACTIVATE_VERSION") == []
