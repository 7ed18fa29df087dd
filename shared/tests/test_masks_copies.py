"""A mask follows a value into the streams below its own, and into what is computed of it."""

import json
import logging
import tempfile

import pytest
from singer_sdk import Stream

from icetap.errors import ConfigurationError
from icetap.records.masks.values import KeyedHash
from icetap.records.tap import RecordTap
from icetap.rest import Incremental, NoPaging, RecordRules, query
from icetap.rest.marks import mark
from icetap.testing.api import FakeApi, Reply

from .rest_tap import read, tap_of, things

KEY = "pepper for tests"
EMAIL = "canary@example.org"
HASHED = KeyedHash(KEY).text(EMAIL.encode())


# --- the REST engine --------------------------------------------------------------------------------


@pytest.fixture
def api():
    with FakeApi() as server:
        server.route("GET", "/people", lambda _: {"data": [{"id": 1, "login": {"email": EMAIL}}]})
        server.route("GET", "/people/{email}/orders", lambda _: {"data": [{"id": 7}]})
        server.route("GET", "/people/{email}/orders/{id}/lines", lambda _: {"data": [{"id": 9}]})
        yield server


def family(**declared):
    common = {"properties": None}
    people = things(
        NoPaging(), name="people", path="/people", child_context={"person": "$.login.email"}, **common
    )
    orders = things(
        NoPaging(),
        name="orders",
        path="/people/{person}/orders",
        parent="people",
        child_context={"order": "$.id"},
        **{**common, **declared},
    )
    lines = things(
        NoPaging(), name="lines", path="/people/{person}/orders/{order}/lines", parent="orders", **common
    )
    return tap_of(people, orders, lines)


def test_a_mask_follows_what_children_and_grandchildren_have_from_a_parent(api):
    run = read(api, tap=family(), masks={"people": {"login.*": "hash"}}, mask_key=KEY).good()

    assert [record["person"] for record in run.records("orders") + run.records("lines")] == [HASHED, HASHED]
    assert EMAIL not in run.stdout + run.log
    assert "/people/canary%40example.org/orders" in [call.path for call in api.calls]


@pytest.mark.parametrize(
    ("masks", "person"),
    [
        pytest.param({"people": {"login": "redact"}}, None, id="of-what-it-is-in"),
        pytest.param(
            {"people": {"login.email": "hash"}, "orders": {"person": "partial"}},
            "******@example.org",
            id="own-mask",
        ),
        pytest.param({"people": {"login.email": "hash"}, "orders": {"per*": "keep"}}, EMAIL, id="kept"),
        pytest.param({"people": {"login.*": "redact", "login.email": "keep"}}, EMAIL, id="original-kept"),
    ],
)
def test_the_mask_of_the_copy_is_its_own_or_else_that_of_the_original(api, masks, person):
    run = read(api, tap=family(), masks=masks, mask_key=KEY).good()

    assert run.records("orders")[0]["person"] == person


@pytest.mark.parametrize("names", [{"person": "$.login"}, {"person": "$.login", "again": "$.login.email"}])
def test_a_mask_of_a_part_follows_into_a_copy_of_the_whole(api, names):
    tap = tap_of(
        things(NoPaging(), name="people", path="/people", child_context=names, properties=None),
        things(NoPaging(), name="orders", path="/people/1/orders", parent="people", properties=None),
    )
    api.route("GET", "/people/1/orders", lambda _: {"data": [{"id": 7}]})

    run = read(api, tap=tap, masks={"people": {"login.email": "hash"}}, mask_key=KEY).good()

    (order,) = run.records("orders")
    assert order == {"id": 7, "person": {"email": HASHED}} | {
        name: HASHED for name in names if name == "again"
    }
    assert EMAIL not in run.stdout + run.log


def test_a_mask_follows_new_names_and_what_is_computed(api):
    rules = RecordRules(
        add={"of": "person {parent.person}", "again": "{record.person}"}, rename={"person": "who"}
    )

    run = read(
        api,
        tap=family(rules=rules),
        masks={"people": {"login.email": "redact"}},
        streams={"orders": {"rename": {"who": "buyer"}}},
    ).good()

    record = run.records("orders")[0]
    assert (record["buyer"], record["of"], record["again"]) == (None, None, None)
    assert EMAIL not in run.stdout + run.log


def test_what_looks_personal_in_the_parent_is_hidden_in_the_child_whatever_its_name(api):
    run = read(api, tap=family(), mask_new_personal_columns="redact").good()

    assert run.records("lines")[0]["person"] is None


def test_a_copy_that_is_a_key_is_hashed_or_refused(api):
    tap = family(primary_keys=("person", "id"))
    masks = {"people": {"login.email": "redact"}}

    assert read(api, tap=tap, masks=masks, mask_key=KEY).good().records("orders")[0]["person"] == HASHED
    error = read(api, tap=tap, masks=masks).error
    assert isinstance(error, ConfigurationError)
    assert "key column 'person' is a copy of 'login.email' of stream 'people'" in str(error)


@pytest.mark.parametrize("status", [400, 403, 500])
def test_the_words_of_an_api_are_told_without_masks_alone(api, status):
    api.route("GET", "/people", lambda _: Reply({"error": f"{EMAIL} is blocked"}, status=status))
    tap = family()
    tap.error_text = "$.error"
    settings = {"max_retries": 0, "tap": tap}

    open_, masked = read(api, **settings), read(api, masks={"*": {"*": "keep"}}, **settings)

    assert f"'{EMAIL} is blocked'" in str(open_.error)
    assert EMAIL not in f"{masked.error} {masked.log}"
    assert "its words are not told" in str(masked.error)


def test_the_state_recognises_a_hidden_parent_by_what_nobody_can_guess(api):
    """One bookmark for each parent: a hash without a key could be tried with every address that there is."""
    api.route("GET", "/people/{email}/orders", lambda _: {"data": [{"id": 7, "at": "2026-01-01T00:00:00Z"}]})
    incremental = Incremental(replication_key="at", start=query("since"))
    masked = family(incremental=incremental, bookmark_by_parent=True)
    masks = {"people": {"login.email": "redact"}}

    runs = [
        read(api, tap=masked, masks=masks, mask_key=key, streams={"lines": {"stream_name": "l"}}).good()
        for key in (KEY, KEY, "another pepper for tests")
    ]

    marks = [list(run.bookmark("orders")["parents"]) for run in runs]
    assert marks[0] == marks[1] != marks[2]
    assert mark({"person": EMAIL}) not in marks[0]
    assert EMAIL not in runs[0].stdout
    assert "'mask_key'" in str(read(api, tap=masked, masks=masks).error)


@pytest.mark.parametrize(("masks", "is_kept"), [({}, True), ({"*": {"*": "keep"}}, False)])
def test_answers_that_masks_would_hide_are_kept_in_no_folder(api, tmp_path, monkeypatch, masks, is_kept):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tap = family()(config={"base_url": api.url, "masks": masks})

    tap.keep_answers(60)
    tap.preview("people", sql=None, limit=1)

    assert any(path.is_file() for path in tmp_path.rglob("*")) is is_kept


# --- streams of the SDK -----------------------------------------------------------------------------


class People(Stream):
    name = "people"
    primary_keys = ("id",)
    schema = {  # noqa: RUF012 - the SDK declares it so
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "login": {"type": "object", "properties": {"email": {"type": "string"}}},
        },
    }

    def get_records(self, context):
        yield {"id": 1, "login": {"email": EMAIL}}

    def get_child_context(self, record, context):
        return {"person": record["login"]["email"]}


class Orders(Stream):
    name = "orders"
    parent_stream_type = People
    state_partitioning_keys = ()
    schema = {  # noqa: RUF012
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "person": {"type": ["string", "null"]},
            "buyer": {"type": ["string", "null"]},
        },
    }

    def get_records(self, context):
        self.logger.warning("Looking at %s, %s", context, [ValueError(context["person"])])
        yield {"id": 7, "person": context["person"]}

    def post_process(self, row, context=None):
        return {**row, "buyer": f"Person {context['person']}"}


class TapPeople(RecordTap):
    name = "tap-people"
    config_jsonschema = {"properties": {}}  # noqa: RUF012
    kinds = (People, Orders)

    def discover_streams(self):
        return [kind(self) for kind in self.kinds]


@pytest.fixture
def sync(tmp_path):
    """Run a tap of SDK streams; return what it wrote."""

    def run(masks, *, kinds=(People, Orders)):
        tap = type("Tap", (TapPeople,), {"kinds": kinds})(config={"masks": masks, "mask_key": KEY})
        with (tmp_path / "out").open("wb") as out:
            tap.messages.lines._descriptor = out.fileno()
            tap.run()
        return (tmp_path / "out").read_text()

    return run


def records(written, stream):
    messages = map(json.loads, written.splitlines())
    return [each["record"] for each in messages if each["type"] == "RECORD" and each["stream"] == stream]


def test_a_mask_follows_into_child_streams_of_the_sdk_by_whatever_name(sync):
    written = sync({"people": {"login.email": "hash"}})

    (order,) = records(written, "orders")
    assert order["person"] == HASHED
    assert order["buyer"] == KeyedHash(KEY).text(f"Person {EMAIL}".encode())
    assert EMAIL not in written


def test_where_the_streams_code_takes_no_marked_values_names_decide(sync):
    class Picky(People):
        schema = {"properties": {"id": {"type": "integer"}, "person": {"type": "string"}}}  # noqa: RUF012

        def get_records(self, context):
            yield {"id": 1, "person": EMAIL}

        def get_child_context(self, record, context):
            assert record["person"] == EMAIL
            return {"person": record["person"]}

    orders = type("Orders", (Orders,), {"parent_stream_type": Picky, "post_process": lambda _, row, __: row})

    written = sync({"people": {"person": "redact"}}, kinds=(Picky, orders))

    assert records(written, "orders")[0]["person"] is None


def test_a_bookmark_for_each_hidden_parent_is_refused(sync, tmp_path):
    orders = type("Orders", (Orders,), {"state_partitioning_keys": None})

    with pytest.raises(ConfigurationError, match="keeps a bookmark for each 'person'"):
        sync({"people": {"login.email": "hash"}}, kinds=(People, orders))

    assert EMAIL not in (tmp_path / "out").read_text()


def test_the_log_of_a_run_with_masks_names_contexts_and_tells_no_value_of_them(sync, capsys, monkeypatch):
    from icetap.secrets import redaction

    handler = logging.StreamHandler()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    monkeypatch.setattr(logging.getLogger(), "level", logging.DEBUG)
    logging.getLogger("singer_sdk.metrics").setLevel(logging.INFO)
    redaction.install()

    sync({"people": {"login.email": "hash"}})

    told = capsys.readouterr().err
    assert EMAIL not in told
    assert 'Looking at {person}, ["ValueError: (its message is not shown' in told
    assert '"metric":"record_count"' in told
    assert '"context":"{person}"' in told
